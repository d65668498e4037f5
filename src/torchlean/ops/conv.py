"""Convolution and its two transposes, with one to three spatial axes.

Shapes   conv: x[b, c, *sp], weight[o, c/groups, *k], bias[o] -> [b, o, *out],
         out = (sp + low + high - d (k - 1) - 1) // s + 1
         conv_transpose: x[b, o, *out], weight[o, c/groups, *k] -> [b, c, *size]: conv's transpose in x
         conv_weight_grad: x[b, c, *sp], y[b, o, *out] -> [o, c/groups, *k]: conv's transpose in weight
Attrs    stride, dilation: an int per spatial axis; padding: (low, high) per spatial axis, filled with 0; groups
Floats   the reference order is input channel, kernel row, kernel column, the bias last; another order is covered
         by `rounding`
"""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any

import numpy as np

from torchlean.floats.formats import BINARY32, Format
from torchlean.floats.sums import any_order_bound
from torchlean.ir import DERIVED, Builder, Linear, Missing, Onnx, Op, TensorType
from torchlean.ir.dims import as_size
from torchlean.ops.common import UP, Attrs, Types, is_float, one_dtype, only_attrs, refuse
from torchlean.ops.layout import dilate
from torchlean.ops.namespace import functional, is_torch, pad_spatial, window_view

WINDOW = ("stride", "padding", "dilation", "groups")


def check_window(op: str, attrs: Attrs, axes: int) -> None:
    """Raises ShapeError unless stride, dilation and padding have an entry per spatial axis, and each is in range."""
    for name in ("stride", "dilation", "kernel"):
        if name in attrs and (len(attrs[name]) != axes or any(not isinstance(v, int) or v < 1 for v in attrs[name])):
            raise refuse(
                op,
                f"{name} needs a positive int per spatial axis",
                f"{axes} ints >= 1",
                str(attrs[name]),
                f"{name}=({', '.join(['1'] * axes)},)",
            )
    if len(attrs["padding"]) != axes or any(len(p) != 2 or min(p) < 0 for p in attrs["padding"]):
        raise refuse(
            op,
            "padding needs (low, high) per spatial axis",
            f"{axes} pairs of ints >= 0",
            str(attrs["padding"]),
            f"padding=({', '.join(['(0, 0)'] * axes)},)",
        )


def out_sizes(op: str, sizes: Any, kernel: Any, attrs: Attrs) -> tuple[Any, ...]:
    """The number of windows per spatial axis. Raises ShapeError where there is none."""
    dilation = attrs.get("dilation", (1,) * len(kernel))
    result = tuple(
        (n + lo + hi - d * (k - 1) - 1) // s + 1
        for n, k, s, d, (lo, hi) in zip(sizes, kernel, attrs["stride"], dilation, attrs["padding"], strict=True)
    )
    if any(isinstance(n, int) and n < 1 for n in result):
        raise refuse(
            op,
            "the kernel is larger than the padded input",
            f"spatial axes of at least {list(kernel)} with dilation",
            f"{list(sizes)}, padding {attrs['padding']}",
            "use a smaller kernel or more padding",
        )
    return result


def _ranks(op: str, x: TensorType, w: TensorType) -> None:
    if not 3 <= x.rank <= 5 or w.rank != x.rank:
        raise refuse(
            op,
            "needs a batch axis, a channel axis and one to three spatial axes",
            "x: [b, c, *sp], weight of the same rank",
            f"{x} and {w}",
            "reshape to [1, c, *sp] for one example",
        )


def _grouped(op: str, channels: Any, groups: Any) -> None:
    if (
        isinstance(groups, bool)
        or not isinstance(groups, int)
        or groups < 1
        or not isinstance(channels, int)
        or channels % groups
    ):
        raise refuse(
            op,
            "the channels do not divide into the groups",
            "a known number of channels, a multiple of groups",
            f"{channels} channels, groups={groups}",
            "groups=1",
        )


def conv_type(attrs: Attrs, *types: TensorType) -> Types:
    """The channel axis of x is groups times the weight's second axis; the bias may be absent."""
    if len(types) not in (2, 3):
        raise refuse(
            "conv",
            "wrong number of inputs",
            "x, weight and perhaps bias",
            f"{len(types)} inputs",
            "conv(x, weight, bias, ...)",
        )
    only_attrs("conv", attrs, *WINDOW)
    is_float("conv", *types)
    x, w = types[:2]
    _ranks("conv", x, w)
    check_window("conv", attrs, x.rank - 2)
    _grouped("conv", w.shape[0], attrs["groups"])
    if x.shape[1] != w.shape[1] * attrs["groups"]:
        raise refuse(
            "conv",
            "the channel axis of x must be the input axis of weight",
            f"x: [b, {w.shape[1] * attrs['groups']}, *sp] because weight is {w} and groups={attrs['groups']}",
            f"x: {x}",
            "permute x so that its second axis holds the channels, or give the weight [o, channels / groups, *k]",
        )
    if len(types) == 3 and types[2].shape != w.shape[:1]:
        raise refuse(
            "conv",
            "the bias must have one entry per output channel",
            f"bias: [{w.shape[0]}]",
            str(types[2]),
            "reshape the bias",
        )
    out = out_sizes("conv", x.shape[2:], w.shape[2:], attrs)
    return (TensorType((x.shape[0], w.shape[0], *out), one_dtype("conv", types)),)


def _per_channel(N: Any, bias: Any, axes: int) -> Any:
    return N.reshape(bias, shape=(1, N.shape(bias)[0], *([1] * axes)))


def correlate(N: Any, x: Any, weight: Any, stride: Any, dilation: Any, low: Any, high: Any, groups: int) -> Any:
    """[b, c, *sp] with [o, c/groups, *k] -> [b, o, *out]: each entry the fold of products over channel, then
    kernel position.
    """
    o, inner, *kernel = N.shape(weight)
    windows = N.windows(
        x,
        kernel=tuple(kernel),
        stride=tuple(stride),
        dilation=tuple(dilation),
        low=tuple(low),
        high=tuple(high),
        value=0.0,
    )
    b, _, *rest = N.shape(windows)
    out, size = rest[: len(kernel)], prod(kernel)
    windows = N.reshape(windows, shape=(b, groups, inner, prod(out), size))
    windows = N.reshape(N.permute(windows, axes=(-5, -4, -2, -3, -1)), shape=(b, groups, prod(out), inner * size))
    rows = N.reshape(weight, shape=(1, groups, o // groups, inner * size))
    y = N.permute(N.dot(windows, rows), axes=(-4, -3, -1, -2))
    return N.reshape(y, shape=(b, o, *out))


def conv_meaning(
    N: Any, x: Any, weight: Any, bias: Any = None, *, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    """Cross-correlation (the kernel is not flipped), zeros around x, the bias added last."""
    low, high = zip(*padding, strict=True)
    y = correlate(N, x, weight, stride, dilation, low, high, groups)
    return y if bias is None else N.add(y, _per_channel(N, bias, len(stride)))


def conv_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any, **attrs: Any) -> Any:
    """dx by conv_transpose, dweight by conv_weight_grad, dbias the sum over all but the channels."""
    (x, w, *bias), (dy,) = inputs, cotangents
    dx = g.conv_transpose(dy, w, size=x.shape[2:], **attrs)
    dw = g.conv_weight_grad(x, dy, kernel=w.shape[2:], **attrs)
    others = tuple(i for i in range(-x.type.rank, 0) if i != 1 - x.type.rank)
    return (dx, dw, *(g.sum(dy, axes=others, keepdims=False) for _ in bias))


def _spread(g: Builder, inputs: Any, batched: Any, op: str, attrs: dict[str, Any]) -> Any:
    """One more leading axis v for conv and conv_transpose: into the batch where the weight is shared, else into
    the groups.
    """
    x, w = inputs
    v = (x if batched[0] else w).shape[0]
    if not batched[1]:
        y = g.apply(op, g.reshape(x, shape=(v * x.shape[1], *x.shape[2:])), w, **attrs)
        return g.reshape(y, shape=(v, x.shape[1], *y.shape[1:]))
    if not batched[0]:
        x = g.broadcast(x, shape=(v, *x.shape))
    b, c = x.shape[1:3]
    x = g.permute(x, axes=(1, 0, *range(2, x.type.rank)))
    y = g.apply(
        op,
        g.reshape(x, shape=(b, v * c, *x.shape[3:])),
        g.reshape(w, shape=(v * w.shape[1], *w.shape[2:])),
        **{**attrs, "groups": v * attrs["groups"]},
    )
    y = g.reshape(y, shape=(b, v, y.shape[1] // v, *y.shape[2:]))
    return g.permute(y, axes=(1, 0, *range(2, y.type.rank)))


def conv_batch(g: Any, inputs: Any, batched: Any, **attrs: Any) -> Any:
    """The extra axis goes into the batch, or into the groups where the weight has it; a batched bias is added after."""
    x, w, *bias = inputs
    if not any(batched[1:]):
        y = g.conv(g.reshape(x, shape=(x.shape[0] * x.shape[1], *x.shape[2:])), w, *bias, **attrs)
        return (g.reshape(y, shape=(*x.shape[:2], *y.shape[1:])),)
    if not any(batched[:2]):
        y = g.conv(x, w, **attrs)
        y = g.broadcast(y, shape=(bias[0].shape[0], *y.shape))
    else:
        y = _spread(g, (x, w), batched[:2], "conv", attrs)
    for b in bias:
        lead = b.shape[0] if batched[2] else 1
        y = g.add(y, g.reshape(b, shape=(lead, 1, b.shape[-1], *([1] * (y.type.rank - 3)))))
    return (y,)


def conv_lower(
    xp: Any, x: Any, weight: Any, bias: Any = None, *, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    """numpy: windows and one matrix product a group; torch: its convolution."""
    low, high = zip(*padding, strict=True)
    axes = len(stride)
    if is_torch(xp):
        if low == high:
            return _torch("conv", axes)(x, weight, bias, tuple(stride), low, tuple(dilation), groups)
        return _torch("conv", axes)(
            pad_spatial(xp, x, low, high), weight, bias, tuple(stride), 0, tuple(dilation), groups
        )
    o, inner, *kernel = weight.shape
    windows = window_view(pad_spatial(np, x, low, high), tuple(kernel), tuple(stride), tuple(dilation))
    b, _, *rest = windows.shape
    out, size = rest[:axes], prod(kernel)
    columns = windows.reshape(b, groups, inner, *out, *kernel)
    columns = np.moveaxis(columns, 2, 2 + axes).reshape(b, groups, prod(out), inner * size)
    y = columns @ np.swapaxes(weight.reshape(groups, o // groups, inner * size), -1, -2)
    y = np.swapaxes(y, -1, -2).reshape(b, o, *out)
    return y if bias is None else y + bias.reshape(1, o, *([1] * axes))


def _torch(name: str, axes: int) -> Any:
    return getattr(functional(), f"{name}{axes}d")


def _any_order(lower: Any, x: np.ndarray, w: np.ndarray, **attrs: Any) -> tuple[np.ndarray, ...]:
    """(sum |w| X, leaves, sum |w|, sum X) of every entry, by the op's own numpy form on magnitudes and on
    indicators.
    """
    some_x, some_w = (x > 0).astype(np.float64), (w > 0).astype(np.float64)
    return tuple(lower(np, a, b, **attrs) for a, b in ((x, w), (some_x, some_w), (some_x, w), (x, some_w)))


def conv_rounding(
    magnitudes: Any, result: np.ndarray, *, fmt: Format = BINARY32, **attrs: Any
) -> np.ndarray:
    """The any-order bound over the nonzero products of each entry and the bias. Source: SEMANTICS 3."""
    x, w, *bias = magnitudes
    products, leaves, weights, operands = _any_order(conv_lower, x, w, **attrs)
    for b in bias:
        b = b.reshape(1, -1, *([1] * (w.ndim - 2)))
        products, leaves = products + b, leaves + (b > 0)
    return any_order_bound(products * UP, leaves, weights * UP, operands * UP, fmt=fmt)


def conv_transpose_type(attrs: Attrs, *types: TensorType) -> Types:
    """`size` are the spatial sizes of the result; conv maps them to those of x."""
    if len(types) != 2:
        raise refuse(
            "conv_transpose",
            "wrong number of inputs",
            "x and weight",
            f"{len(types)} inputs",
            "conv_transpose(x, weight, ...)",
        )
    only_attrs("conv_transpose", attrs, *WINDOW, "size")
    is_float("conv_transpose", *types)
    x, w = types
    _ranks("conv_transpose", x, w)
    check_window("conv_transpose", attrs, x.rank - 2)
    _grouped("conv_transpose", w.shape[0], attrs["groups"])
    size = tuple(as_size(s) for s in attrs["size"])
    if x.shape[1] != w.shape[0]:
        raise refuse(
            "conv_transpose",
            "the channel axis of x must be the first axis of weight",
            f"x: [b, {w.shape[0]}, *sp]",
            str(x),
            "permute x or the weight",
        )
    if len(size) != x.rank - 2 or out_sizes("conv_transpose", size, w.shape[2:], attrs) != x.shape[2:]:
        raise refuse(
            "conv_transpose",
            "conv does not map this size to that of x",
            f"a size that gives {list(x.shape[2:])}",
            str(size),
            "size = (x - 1) * stride + dilation * (kernel - 1) + 1 - low - high, plus less than one stride",
        )
    return (TensorType((x.shape[0], w.shape[1] * attrs["groups"], *size), one_dtype("conv_transpose", types)),)


def conv_transpose_meaning(
    N: Any, x: Any, weight: Any, *, stride: Any, padding: Any, dilation: Any, groups: int, size: Any
) -> Any:
    """Zeros between x's entries, then correlation with the flipped kernel, in and out channels exchanged."""
    o, inner, *kernel = N.shape(weight)
    axes = len(kernel)
    x = dilate(N, x, (1,) * (len(N.shape(x)) - axes) + tuple(stride))
    spread = N.shape(x)[2:]
    low = tuple(d * (k - 1) - lo for k, d, (lo, _) in zip(kernel, dilation, padding, strict=True))
    high = tuple(n - m + d * (k - 1) - a for n, m, k, d, a in zip(size, spread, kernel, dilation, low, strict=True))
    shape = N.shape(x)
    x = N.slice(
        x,
        starts=(0, 0, *(max(-a, 0) for a in low)),
        steps=(1,) * len(shape),
        stops=(*shape[:2], *(n - max(-b, 0) for n, b in zip(spread, high, strict=True))),
    )
    for axis, k in enumerate(kernel):
        weight = N.gather(weight, np.arange(k)[::-1].copy(), axis=axis - axes)
    weight = N.reshape(weight, shape=(groups, o // groups, inner, prod(kernel)))
    weight = N.reshape(N.permute(weight, axes=(-4, -2, -3, -1)), shape=(groups * inner, o // groups, *kernel))
    return correlate(
        N, x, weight, (1,) * axes, dilation, tuple(max(a, 0) for a in low), tuple(max(b, 0) for b in high), groups
    )


def conv_transpose_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any, *, size: Any, **attrs: Any) -> Any:
    """dx by conv, dweight by conv_weight_grad with the roles exchanged."""
    (x, w), (dz,) = inputs, cotangents
    return g.conv(dz, w, **attrs), g.conv_weight_grad(dz, x, kernel=w.shape[2:], **attrs)


def conv_transpose_batch(g: Any, inputs: Any, batched: Any, **attrs: Any) -> Any:
    """As conv's."""
    return (_spread(g, inputs, batched, "conv_transpose", attrs),)


def conv_transpose_lower(
    xp: Any, x: Any, weight: Any, *, stride: Any, padding: Any, dilation: Any, groups: int, size: Any
) -> Any:
    """numpy: one matrix product, then the kernel positions one after another; torch: its transposed convolution,
    cropped.
    """
    o, inner, *kernel = weight.shape
    axes, low = len(kernel), tuple(lo for lo, _ in padding)
    if is_torch(xp):
        full = _torch("conv_transpose", axes)(x, weight, None, tuple(stride), 0, 0, groups, tuple(dilation))
    else:
        b, _, *out = x.shape
        terms = np.swapaxes(weight.reshape(groups, o // groups, -1), -1, -2) @ x.reshape(b, groups, o // groups, -1)
        full = _laid(terms.reshape(b, groups * inner, *kernel, *out), axes, stride, dilation)
    high = tuple(n + a - m for n, a, m in zip(size, low, full.shape[2:], strict=True))
    return pad_spatial(xp, full, tuple(-a for a in low), high)


def _laid(terms: np.ndarray, axes: int, stride: Any, dilation: Any) -> np.ndarray:
    """Terms [b, c, *kernel, *out] added up where windows overlap; moved only where they lie side by side."""
    b, c, *sizes = terms.shape
    kernel, out = sizes[:axes], sizes[axes:]
    whole = tuple((n - 1) * s + d * (k - 1) + 1 for n, s, d, k in zip(out, stride, dilation, kernel, strict=True))
    if tuple(stride) == tuple(kernel) and all(d == 1 for d in dilation):
        order = [v for i in range(axes) for v in (2 + axes + i, 2 + i)]
        return terms.transpose(0, 1, *order).reshape(b, c, *whole)
    full = np.zeros((b, c, *whole), terms.dtype)
    for at in product(*(range(k) for k in kernel)):
        where: Any = tuple(
            slice(i * d, i * d + (n - 1) * s + 1, s) for i, d, n, s in zip(at, dilation, out, stride, strict=True)
        )
        entries: Any = (slice(None), slice(None), *at)
        full[(..., *where)] += terms[entries]
    return full


def conv_transpose_rounding(
    magnitudes: Any, result: np.ndarray, *, fmt: Format = BINARY32, **attrs: Any
) -> np.ndarray:
    """The any-order bound over the nonzero products of each entry. Source: SEMANTICS 3."""
    products, leaves, weights, operands = _any_order(conv_transpose_lower, *magnitudes, **attrs)
    return any_order_bound(products * UP, leaves, weights * UP, operands * UP, fmt=fmt)


def conv_weight_grad_type(attrs: Attrs, *types: TensorType) -> Types:
    """`kernel` are the kernel's sizes; conv maps x's spatial sizes to y's."""
    op = "conv_weight_grad"
    if len(types) != 2:
        raise refuse(op, "wrong number of inputs", "x and y", f"{len(types)} inputs", "conv_weight_grad(x, y, ...)")
    only_attrs(op, attrs, *WINDOW, "kernel")
    is_float(op, *types)
    x, y = types
    _ranks(op, x, y)
    check_window(op, attrs, x.rank - 2)
    _grouped(op, x.shape[1], attrs["groups"])
    _grouped(op, y.shape[1], attrs["groups"])
    if x.shape[0] != y.shape[0] or out_sizes(op, x.shape[2:], attrs["kernel"], attrs) != y.shape[2:]:
        raise refuse(
            op,
            "conv does not map x's sizes to y's",
            f"y: [{x.shape[0]}, o, *{list(out_sizes(op, x.shape[2:], attrs['kernel'], attrs))}]",
            str(y),
            "give the attributes of the convolution",
        )
    return (TensorType((y.shape[1], x.shape[1] // attrs["groups"], *attrs["kernel"]), one_dtype(op, types)),)


def conv_weight_grad_meaning(
    N: Any, x: Any, y: Any, *, stride: Any, padding: Any, dilation: Any, groups: int, kernel: Any
) -> Any:
    """Each entry folds products over the batch, then over y's positions."""
    low, high = zip(*padding, strict=True)
    windows = N.windows(
        x, kernel=tuple(kernel), stride=tuple(stride), dilation=tuple(dilation), low=low, high=high, value=0.0
    )
    b, c = N.shape(x)[:2]
    _, o, *out = N.shape(y)
    size, places = prod(kernel), prod(out)
    windows = N.reshape(windows, shape=(b, groups, c // groups, places, size))
    windows = N.reshape(N.permute(windows, axes=(-4, -3, -1, -5, -2)), shape=(groups, c // groups * size, b * places))
    rows = N.reshape(y, shape=(b, groups, o // groups, places))
    rows = N.reshape(N.permute(rows, axes=(-3, -2, -4, -1)), shape=(groups, o // groups, b * places))
    return N.reshape(N.dot(rows, windows), shape=(o, c // groups, *kernel))


def conv_weight_grad_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any, *, kernel: Any, **attrs: Any) -> Any:
    """dx by conv_transpose, dy by conv, with the cotangent as weight."""
    (x, y), (dw,) = inputs, cotangents
    return g.conv_transpose(y, dw, size=x.shape[2:], **attrs), g.conv(x, dw, **attrs)


def conv_weight_grad_batch(g: Any, inputs: Any, batched: Any, *, groups: int, **attrs: Any) -> Any:
    """The extra axis goes into the groups of both."""
    v = next(t.shape[0] for t, own in zip(inputs, batched, strict=True) if own)
    merged = []
    for t, own in zip(inputs, batched, strict=True):
        t = t if own else g.broadcast(t, shape=(v, *t.shape))
        t = g.permute(t, axes=(1, 0, *range(2, t.type.rank)))
        merged.append(g.reshape(t, shape=(t.shape[0], v * t.shape[2], *t.shape[3:])))
    w = g.conv_weight_grad(*merged, groups=v * groups, **attrs)
    return (g.reshape(w, shape=(v, w.shape[0] // v, *w.shape[1:])),)


def conv_weight_grad_lower(
    xp: Any, x: Any, y: Any, *, stride: Any, padding: Any, dilation: Any, groups: int, kernel: Any
) -> Any:
    """numpy: windows and one matrix product a group; torch: its weight gradient."""
    low, high = zip(*padding, strict=True)
    axes, kernel = len(stride), tuple(kernel)
    b, c = x.shape[:2]
    _, o, *out = y.shape
    if is_torch(xp):
        import torch

        padded = x if low == high else pad_spatial(xp, x, low, high)
        weight = x.new_empty((o, c // groups, *kernel))
        found = torch.ops.aten.convolution_backward(
            y,
            padded,
            weight,
            None,
            list(stride),
            list(low) if low == high else [0] * axes,
            list(dilation),
            False,
            [0] * axes,
            groups,
            [False, True, False],
        )
        return found[1]
    windows = window_view(pad_spatial(np, x, low, high), kernel, tuple(stride), tuple(dilation))
    size, places = prod(kernel), prod(out)
    columns = (
        windows.reshape(b, groups, c // groups, places, size).transpose(1, 2, 4, 0, 3).reshape(groups, -1, b * places)
    )
    rows = y.reshape(b, groups, o // groups, places).transpose(1, 2, 0, 3).reshape(groups, o // groups, b * places)
    return (rows @ np.swapaxes(columns, -1, -2)).reshape(o, c // groups, *kernel)


def conv_weight_grad_rounding(
    magnitudes: Any, result: np.ndarray, *, fmt: Format = BINARY32, **attrs: Any
) -> np.ndarray:
    """The any-order bound over the nonzero products of each entry. Source: SEMANTICS 3."""
    products, leaves, weights, operands = _any_order(conv_weight_grad_lower, *magnitudes, **attrs)
    return any_order_bound(products * UP, leaves, weights * UP, operands * UP, fmt=fmt)


conv = Op(
    "conv",
    conv_type,
    conv_meaning,
    conv_vjp,
    batch=conv_batch,
    interval=DERIVED,
    relax=Linear((0, 2)),
    rounding=conv_rounding,
    lower=conv_lower,
    onnx=Onnx("Conv", since=1),
)
conv_transpose = Op(
    "conv_transpose",
    conv_transpose_type,
    conv_transpose_meaning,
    conv_transpose_vjp,
    batch=conv_transpose_batch,
    interval=DERIVED,
    relax=Linear((0,), jointly=False),
    rounding=conv_transpose_rounding,
    lower=conv_transpose_lower,
    onnx=Onnx("ConvTranspose", since=1),
)
conv_weight_grad = Op(
    "conv_weight_grad",
    conv_weight_grad_type,
    conv_weight_grad_meaning,
    conv_weight_grad_vjp,
    batch=conv_weight_grad_batch,
    interval=DERIVED,
    relax=Linear((0, 1), jointly=False),
    rounding=conv_weight_grad_rounding,
    lower=conv_weight_grad_lower,
    onnx=Missing("a gradient: ONNX has no operator for it"),
)

OPS = (conv, conv_transpose, conv_weight_grad)
