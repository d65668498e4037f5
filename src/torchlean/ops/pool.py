"""Pooling over the trailing axes; the axes before them are left alone.

Shapes   x[*b, *sp], kernel with an entry per pooled axis -> [*b, *out], out = (sp + low + high - k) // s + 1
         avg_pool_transpose: x[*b, *out] -> [*b, *size]: avg_pool's transpose
Attrs    kernel, stride: an int per pooled axis; padding: (low, high) per pooled axis, each below the kernel
         count_include_pad: whether the padding counts in the divisor of avg_pool (as 0); max_pool ignores the padding
Floats   max_pool selects: exact. avg_pool: k additions and one division; another order is covered by `rounding`
"""

from __future__ import annotations

from math import inf, prod
from typing import Any

import numpy as np

from torchlean.floats.formats import BINARY32, Format
from torchlean.floats.sums import any_order_bound, growth, stays_finite
from torchlean.ir import DERIVED, EXACT, EXPAND, LEADING, Linear, Missing, Onnx, Op, TensorType
from torchlean.ir.dims import as_size
from torchlean.ops.common import UP, Attrs, Types, arity, is_float, only_attrs, refuse
from torchlean.ops.conv import check_window, conv_transpose_lower, out_sizes
from torchlean.ops.layout import dilate
from torchlean.ops.namespace import array_like, functional, is_torch, merge_lead, pad_spatial, window_view

WINDOW = ("kernel", "stride", "padding")


def _check(op: str, attrs: Attrs, x: TensorType, *more: str) -> int:
    """The number of pooled axes. Raises ShapeError."""
    only_attrs(op, attrs, *WINDOW, *more)
    is_float(op, x)
    axes = len(attrs["kernel"])
    if not 1 <= axes <= 3 or x.rank <= axes:
        raise refuse(
            op,
            "pools one to three trailing axes, with at least one axis before them",
            f"x: [*b, {axes} axes]",
            str(x),
            "reshape x to [1, *sp]",
        )
    check_window(op, attrs, axes)
    if any(max(pad) >= k for pad, k in zip(attrs["padding"], attrs["kernel"], strict=True)):
        raise refuse(
            op,
            "a window would lie in the padding alone",
            f"padding below the kernel {attrs['kernel']}",
            str(attrs["padding"]),
            "pad less",
        )
    return axes


def avg_pool_type(attrs: Attrs, *types: TensorType) -> Types:
    """The trailing axes become their numbers of windows."""
    arity("avg_pool", types, 1)
    (x,) = types
    axes = _check("avg_pool", attrs, x, "count_include_pad")
    return (x.with_shape((*x.shape[:-axes], *out_sizes("avg_pool", x.shape[-axes:], attrs["kernel"], attrs))),)


def counts(size: Any, kernel: Any, stride: Any, padding: Any, count_include_pad: bool) -> np.ndarray:
    """The divisor of every window, [*out] float64."""
    if count_include_pad:
        return np.full((1,) * len(kernel), float(prod(kernel)))
    total = np.ones(())
    for n, k, s, (lo, hi) in zip(size, kernel, stride, padding, strict=True):
        start = np.arange((n + lo + hi - k) // s + 1) * s - lo
        inside = np.minimum(start + k, n) - np.maximum(start, 0)
        total = total[..., None] * inside
    return total.astype(np.float64)


def _divide(N: Any, x: Any, divisor: np.ndarray) -> Any:
    shape = (1,) * (len(N.shape(x)) - divisor.ndim) + divisor.shape
    return N.div(x, N.constant(divisor.reshape(shape).astype(N.dtype(x))))


def avg_pool_meaning(N: Any, x: Any, *, kernel: Any, stride: Any, padding: Any, count_include_pad: bool) -> Any:
    """The sum of each window over the number of its entries; padded entries are 0."""
    low, high = zip(*padding, strict=True)
    axes = len(kernel)
    size = N.shape(x)[-axes:]
    windows = N.windows(
        x, kernel=tuple(kernel), stride=tuple(stride), dilation=(1,) * axes, low=low, high=high, value=0.0
    )
    total = N.sum(windows, axes=tuple(range(-axes, 0)), keepdims=False)
    return _divide(N, total, counts(size, kernel, stride, padding, count_include_pad))


def avg_pool_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any, **attrs: Any) -> Any:
    """The transpose."""
    size = inputs[0].shape[-len(attrs["kernel"]) :]
    return (g.avg_pool_transpose(cotangents[0], size=size, **attrs),)


def avg_pool_lower(xp: Any, x: Any, *, kernel: Any, stride: Any, padding: Any, count_include_pad: bool) -> Any:
    """numpy: a sum over windows; torch: its pooling with divisor 1, then one division."""
    low, high = zip(*padding, strict=True)
    axes = len(kernel)
    divisor = array_like(xp, counts(x.shape[-axes:], kernel, stride, padding, count_include_pad), x)
    padded = pad_spatial(xp, x, low, high)
    if not is_torch(xp):
        total = window_view(padded, tuple(kernel), tuple(stride), (1,) * axes).sum(axis=tuple(range(-axes, 0)))
        return total / divisor
    flat = merge_lead(xp, padded, axes)
    one = (1,) if axes == 1 else ()
    if one:
        flat = flat[:, :, None, :]
    pool = functional().avg_pool3d if axes == 3 else functional().avg_pool2d
    total = pool(flat, (*one, *kernel), (*one, *stride), divisor_override=1)
    return total.reshape(*x.shape[:-axes], *total.shape[-axes:]) / divisor


def _mean_bound(
    total: np.ndarray, leaves: np.ndarray, divisor: np.ndarray, sums: np.ndarray, fmt: Format
) -> np.ndarray:
    # The weights 1 / divisor add up to at most 1 a leaf; N = k + 2 counts the division. The additions may come first:
    # there is no bound where they overflow though the quotient does not.
    bound = any_order_bound(total / divisor * UP, leaves + 2, leaves / divisor * UP + 1, sums * UP, fmt=fmt)
    grown = growth(leaves, fmt.unit_roundoff) * sums
    return np.where(stays_finite(sums, grown, fmt), bound, np.inf)


def avg_pool_rounding(
    magnitudes: Any, result: np.ndarray, *, fmt: Format = BINARY32, **attrs: Any
) -> np.ndarray:
    """N = k + 2 for k nonzero entries: additions and a division by reciprocal or not. Source: SEMANTICS 3."""
    (x,) = magnitudes
    divisor = counts(x.shape[-len(attrs["kernel"]) :], **attrs)
    total = avg_pool_lower(np, x, **attrs) * divisor
    leaves = np.rint(avg_pool_lower(np, (x > 0).astype(np.float64), **attrs) * divisor)
    return _mean_bound(total, leaves, divisor, total, fmt)


def avg_pool_transpose_type(attrs: Attrs, *types: TensorType) -> Types:
    """`size` are the sizes of the result's trailing axes; avg_pool maps them to those of x."""
    op = "avg_pool_transpose"
    arity(op, types, 1)
    (x,) = types
    axes = _check(op, attrs, x, "count_include_pad", "size")
    size = tuple(as_size(s) for s in attrs["size"])
    if len(size) != axes or out_sizes(op, size, attrs["kernel"], attrs) != x.shape[-axes:]:
        raise refuse(
            op,
            "avg_pool does not map this size to that of x",
            f"a size that gives {list(x.shape[-axes:])}",
            str(size),
            "give the size of the pooled tensor",
        )
    return (x.with_shape((*x.shape[:-axes], *size)),)


def avg_pool_transpose_meaning(
    N: Any, x: Any, *, kernel: Any, stride: Any, padding: Any, count_include_pad: bool, size: Any
) -> Any:
    """Each entry over its window's count goes to every position of the window; a position folds in row-major
    window order.
    """
    axes = len(kernel)
    x = _divide(N, x, counts(size, kernel, stride, padding, count_include_pad))
    lead = len(N.shape(x)) - axes
    x = dilate(N, x, (1,) * lead + tuple(stride))
    spread = N.shape(x)[lead:]
    low = tuple(k - 1 - lo for k, (lo, _) in zip(kernel, padding, strict=True))
    high = tuple(n - m + k - 1 - a for n, m, k, a in zip(size, spread, kernel, low, strict=True))
    shape = N.shape(x)
    x = N.slice(
        x,
        starts=(0,) * len(shape),
        steps=(1,) * len(shape),
        stops=(*shape[:lead], *(n - max(-b, 0) for n, b in zip(spread, high, strict=True))),
    )
    windows = N.windows(
        x,
        kernel=tuple(kernel),
        stride=(1,) * axes,
        dilation=(1,) * axes,
        low=low,
        high=tuple(max(b, 0) for b in high),
        value=0.0,
    )
    return N.sum(windows, axes=tuple(range(-axes, 0)), keepdims=False)


def avg_pool_transpose_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any, *, size: Any, **attrs: Any) -> Any:
    """avg_pool."""
    return (g.avg_pool(cotangents[0], **attrs),)


def avg_pool_transpose_lower(
    xp: Any, x: Any, *, kernel: Any, stride: Any, padding: Any, count_include_pad: bool, size: Any
) -> Any:
    """A transposed convolution with ones, of one channel."""
    axes = len(kernel)
    x = x / array_like(xp, counts(size, kernel, stride, padding, count_include_pad), x)
    ones = array_like(xp, np.ones((1, 1, *kernel)), x)
    y = conv_transpose_lower(
        xp, merge_lead(xp, x, axes), ones, stride=stride, padding=padding, dilation=(1,) * axes, groups=1, size=size
    )
    return xp.reshape(y, (*x.shape[:-axes], *size))


def avg_pool_transpose_rounding(
    magnitudes: Any, result: np.ndarray, *, fmt: Format = BINARY32, **attrs: Any
) -> np.ndarray:
    """N = leaves + 2: every entry is divided, then added."""
    (x,) = magnitudes
    total = avg_pool_transpose_lower(np, x, **attrs)
    unit = {**attrs, "count_include_pad": True}
    leaves = np.rint(avg_pool_transpose_lower(np, (x > 0).astype(np.float64), **unit) * prod(attrs["kernel"]))
    sums = avg_pool_transpose_lower(np, x, **unit) * prod(attrs["kernel"])
    return _mean_bound(total, leaves, np.ones(()), sums, fmt)


def max_pool_type(attrs: Attrs, *types: TensorType) -> Types:
    """The trailing axes become their numbers of windows."""
    arity("max_pool", types, 1)
    (x,) = types
    axes = _check("max_pool", attrs, x)
    return (x.with_shape((*x.shape[:-axes], *out_sizes("max_pool", x.shape[-axes:], attrs["kernel"], attrs))),)


def max_pool_meaning(N: Any, x: Any, *, kernel: Any, stride: Any, padding: Any) -> Any:
    """The maximum of each window; the first in row-major order takes the gradient.

    A padded position repeats the nearest entry, which the window holds anyway: so no system needs an infinity.
    """
    axes = len(kernel)
    lead, sizes = N.shape(x)[:-axes], N.shape(x)[-axes:]
    out = []
    for i, (n, k, s, (lo, hi)) in enumerate(zip(sizes, kernel, stride, padding, strict=True)):
        if not isinstance(n, int):
            raise refuse(
                "max_pool",
                "this step needs known sizes",
                "pooled axes of known size",
                f"{n}",
                "specialise the program first",
            )
        start = np.arange((n + lo + hi - k) // s + 1) * s - lo
        at = np.clip(start[:, None] + np.arange(k), 0, n - 1)
        x = N.gather(x, N.constant(at.reshape(-1).astype(np.int64)), axis=i - axes)
        out.append(len(start))
    pairs = tuple(v for n, k in zip(out, kernel, strict=True) for v in (n, k))
    x = N.reshape(x, shape=(*lead, *pairs))
    ends = range(-2 * axes, 0)
    x = N.permute(x, axes=(*range(-2 * axes - len(lead), -2 * axes), *ends[0::2], *ends[1::2]))
    return N.max(x, axes=tuple(range(-axes, 0)), keepdims=False)


def max_pool_lower(xp: Any, x: Any, *, kernel: Any, stride: Any, padding: Any) -> Any:
    """numpy: a maximum over windows; torch: its pooling."""
    low, high = zip(*padding, strict=True)
    axes = len(kernel)
    padded = pad_spatial(xp, x, low, high, value=-inf)
    if not is_torch(xp):
        return window_view(padded, tuple(kernel), tuple(stride), (1,) * axes).max(axis=tuple(range(-axes, 0)))
    y = getattr(functional(), f"max_pool{axes}d")(merge_lead(xp, padded, axes), tuple(kernel), tuple(stride))
    return y.reshape(*x.shape[:-axes], *y.shape[-axes:])


avg_pool = Op(
    "avg_pool",
    avg_pool_type,
    avg_pool_meaning,
    avg_pool_vjp,
    batch=LEADING,
    interval=DERIVED,
    relax=Linear((0,)),
    rounding=avg_pool_rounding,
    lower=avg_pool_lower,
    onnx=Onnx("AveragePool", since=7),
)
avg_pool_transpose = Op(
    "avg_pool_transpose",
    avg_pool_transpose_type,
    avg_pool_transpose_meaning,
    avg_pool_transpose_vjp,
    batch=LEADING,
    interval=DERIVED,
    relax=Linear((0,)),
    rounding=avg_pool_transpose_rounding,
    lower=avg_pool_transpose_lower,
    onnx=Missing("a gradient: ONNX has no operator for it"),
)
max_pool = Op(
    "max_pool",
    max_pool_type,
    max_pool_meaning,
    EXPAND,
    batch=LEADING,
    interval=DERIVED,
    relax=EXPAND,
    rounding=EXACT,
    lower=max_pool_lower,
    onnx=Onnx("MaxPool", since=8),
    composite=True,
)

OPS = (avg_pool, avg_pool_transpose, max_pool)
