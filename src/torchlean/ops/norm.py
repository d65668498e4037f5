"""Normalization over an axis, and batch normalization at inference.

Shapes   softmax, log_softmax: x[*s] -> [*s] over `axis`, counted from the end
         batch_norm: x[b, c, *sp], scale[c], bias[c], mean[c], var[c] -> [b, c, *sp]
Floats   composites; `rounding` is that of the whole, for every formula that SEMANTICS 2 and 3 allow
"""

from __future__ import annotations

from typing import Any

import numpy as np

from torchlean.floats.formats import BINARY32, Format
from torchlean.floats.sums import growth
from torchlean.ir import DERIVED, EXPAND, LEADING, Linear, Onnx, Op, TensorType
from torchlean.ops.common import TINY, UP, Attrs, Types, U, arity, is_float, normal_axes, one_dtype, only_attrs, refuse
from torchlean.ops.namespace import functional, is_torch
from torchlean.ops.softmax_lines import log_softmax_relax, softmax_relax
from torchlean.ops.tolerances import TOLERANCES


def axis_type(op: str) -> Any:
    """The type rule of an op over one axis, counted from the end."""

    def rule(attrs: Attrs, *types: TensorType) -> Types:
        arity(op, types, 1)
        only_attrs(op, attrs, "axis")
        is_float(op, *types)
        (x,) = types
        (axis,) = normal_axes(op, attrs["axis"], x.rank)
        if attrs["axis"] != axis or (isinstance(x.shape[axis], int) and x.shape[axis] == 0):
            raise refuse(
                op,
                "needs an axis counted from the end, with an entry",
                str(axis),
                f"axis={attrs['axis']} of {x}",
                f"axis={axis}",
            )
        return types

    return rule


def _shifted(N: Any, x: Any, axis: int) -> Any:
    return N.sub(x, N.max(x, axes=(axis,), keepdims=True))


def softmax_meaning(N: Any, x: Any, *, axis: int) -> Any:
    """e^(x - max) over its sum: the largest exponent is 0, so that nothing overflows."""
    e = N.exp(_shifted(N, x, axis))
    return N.div(e, N.sum(e, axes=(axis,), keepdims=True))


def softmax_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any, *, axis: int) -> Any:
    """s (dy - sum(s dy))."""
    (s,), (dy,) = outputs, cotangents
    return (g.mul(s, g.sub(dy, g.sum(g.mul(s, dy), axes=(axis,), keepdims=True))),)


def _exponentials(x: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray, float, int]:
    """What both roundings need: the relative error of an exponential, that of their sum, the absolute part, the count.

    The exponent t = x - c, |c - max x| <= 1, has |t| <= 2 X + 1 and the error s = u |t| + 2^-126. So an exponential is
    e^t (1 + d) + a with |d| <= e^s (1 + r) - 1; the exact sum S of the e^t is at least 1/e, so that k parts a are
    at most k a e S together; additions in any order add the factor 1 + g. A flushed dividend is a part a, too.
    """
    k = x.shape[axis]
    s = (U * (2 * np.max(x, axis=axis, keepdims=True) + 1) + TINY) * UP
    r, a = TOLERANCES["exp"].r, TOLERANCES["exp"].a + TINY
    with np.errstate(over="ignore"):
        one = (np.expm1(s) + r * np.exp(s)) * UP
        g = growth(k)
        total = (one + g + one * g + 3 * k * a) * UP
    return one, total, a, k


def softmax_rounding(magnitudes: Any, result: np.ndarray, *, axis: int) -> np.ndarray:
    """p (1 + d) / (1 + D) and one division: relative errors of SEMANTICS 2's softmax, and its underflows.

    E = p ((1 + d)(1 + 3u) / (1 - D) - 1) + 8 a; infinite where D >= 1.
    """
    (x,) = magnitudes
    one, total, a, _ = _exponentials(x, axis)
    left = 1 - total
    with np.errstate(over="ignore", invalid="ignore"):
        above = (one + 3 * U + 3 * U * one + total) / np.where(left > 0, left, 1.0)
        bound = (np.minimum(result, 1.0) * above + 8 * a * (1 + above)) * UP
    return np.where((left > 0) & np.isfinite(bound), bound, np.inf)


def softmax_lower(xp: Any, x: Any, *, axis: int) -> Any:
    if is_torch(xp):
        return functional().softmax(x, dim=axis)
    e = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return e / np.sum(e, axis=axis, keepdims=True)


def log_softmax_meaning(N: Any, x: Any, *, axis: int) -> Any:
    """(x - max) - log of the sum of e^(x - max)."""
    t = _shifted(N, x, axis)
    return N.sub(t, N.log(N.sum(N.exp(t), axes=(axis,), keepdims=True)))


def log_softmax_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any, *, axis: int) -> Any:
    """dy - softmax sum(dy)."""
    (y,), (dy,) = outputs, cotangents
    return (g.sub(dy, g.mul(g.exp(y), g.sum(dy, axes=(axis,), keepdims=True))),)


def log_softmax_rounding(magnitudes: Any, result: np.ndarray, *, axis: int) -> np.ndarray:
    """The exponent's error, the logarithm's (its operand's relative error D moves it by at most D / (1 - D)), the
    subtraction's.

    The sum lies in [1/e, e k], so |log| <= 1 + log k; the final subtraction may be fused differently, max + log first:
    two additions of numbers up to X + 1 + log k.
    """
    (x,) = magnitudes
    _, total, _, k = _exponentials(x, axis)
    left = 1 - total
    largest = np.max(x, axis=axis, keepdims=True)
    log = (1 + np.log(k)) * UP
    s = U * (2 * largest + 1) + TINY
    with np.errstate(over="ignore", invalid="ignore"):
        moved = total / np.where(left > 0, left, 1.0)
        rough = s + moved + TOLERANCES["log"].r * (log + moved) + TOLERANCES["log"].a
        bound = (rough + U * (result + rough + 2 * (largest + log + moved)) + 3 * TINY) * UP
    return np.where((left > 0) & np.isfinite(bound), bound, np.inf)


def log_softmax_lower(xp: Any, x: Any, *, axis: int) -> Any:
    if is_torch(xp):
        return functional().log_softmax(x, dim=axis)
    t = x - np.max(x, axis=axis, keepdims=True)
    return t - np.log(np.sum(np.exp(t), axis=axis, keepdims=True))


def batch_norm_type(attrs: Attrs, *types: TensorType) -> Types:
    """Four vectors with an entry per channel; the channel axis is the second."""
    arity("batch_norm", types, 5)
    only_attrs("batch_norm", attrs, "epsilon")
    is_float("batch_norm", *types)
    one_dtype("batch_norm", types)
    x, *vectors = types
    if x.rank < 2 or any(t.shape != x.shape[1:2] for t in vectors):
        raise refuse(
            "batch_norm",
            "scale, bias, mean and var need an entry per channel, the second axis of x",
            f"vectors of [{x.shape[1] if x.rank > 1 else 'c'}]",
            ", ".join(map(str, types)),
            "permute x to [b, c, *sp]",
        )
    if isinstance(attrs["epsilon"], bool) or not isinstance(attrs["epsilon"], int | float) or not attrs["epsilon"] >= 0:
        raise refuse(
            "batch_norm", "epsilon must be a number >= 0", "epsilon >= 0", str(attrs["epsilon"]), "epsilon=1e-5"
        )
    return (x,)


def batch_norm_meaning(N: Any, x: Any, scale: Any, bias: Any, mean: Any, var: Any, *, epsilon: float) -> Any:
    """(x - mean) (scale / sqrt(var + epsilon)) + bias, channel by channel."""
    rank = len(N.shape(x))

    def column(v: Any) -> Any:
        return N.reshape(v, shape=(1, N.shape(v)[0], *([1] * (rank - 2))))

    factor = N.div(scale, N.sqrt(N.add(var, N.literal(epsilon, var))))
    return N.add(N.mul(N.sub(x, column(mean)), column(factor)), column(bias))


def batch_norm_rounding(
    magnitudes: Any, result: np.ndarray, *, epsilon: float, fmt: Format = BINARY32
) -> np.ndarray:
    """10 u (|s| (X + |mean|) + |bias|), s = scale / sqrt(var + epsilon), and the underflows of its five operations.

    Difference, product and quotient may come in any order: infinite where one of them may overflow before the next.
    scale and var are constant (they are outside `relax`'s linear inputs), so their magnitudes are their values.
    Source   SEMANTICS 3, batch norm by either formula.
    """
    x, scale, bias, mean, var = magnitudes
    shape = (1, -1) + (1,) * (x.ndim - 2)
    u, tiny = fmt.unit_roundoff, fmt.smallest_normal
    with np.errstate(divide="ignore"):
        s = np.where(var + epsilon > 2 * tiny, scale / np.sqrt(var + epsilon), np.inf).reshape(shape)
    reach = x + mean.reshape(shape)
    inverse = 1 / np.sqrt(np.min(var) + epsilon + tiny)
    bound: np.ndarray = (
        10 * u * (s * reach + bias.reshape(shape))
        + 8 * tiny * (1 + s + reach + scale.reshape(shape) + inverse + reach * inverse)  # the last: scale is flushed
    ) * UP
    with np.errstate(over="ignore"):
        peak = reach * np.maximum(scale.reshape(shape), inverse)
    return np.where(peak < 2.0 ** (fmt.emax - 1), bound, np.inf)


def batch_norm_lower(xp: Any, x: Any, scale: Any, bias: Any, mean: Any, var: Any, *, epsilon: float) -> Any:
    shape = (1, -1) + (1,) * (x.ndim - 2)
    factor = scale / xp.sqrt(var + epsilon)
    return (x - xp.reshape(mean, shape)) * xp.reshape(factor, shape) + xp.reshape(bias, shape)


softmax = Op(
    "softmax",
    axis_type("softmax"),
    softmax_meaning,
    softmax_vjp,
    batch=LEADING,
    interval=DERIVED,
    relax=softmax_relax,
    rounding=softmax_rounding,
    lower=softmax_lower,
    onnx=Onnx("Softmax", since=13),
    composite=True,
)
log_softmax = Op(
    "log_softmax",
    axis_type("log_softmax"),
    log_softmax_meaning,
    log_softmax_vjp,
    batch=LEADING,
    interval=DERIVED,
    relax=log_softmax_relax,
    rounding=log_softmax_rounding,
    lower=log_softmax_lower,
    onnx=Onnx("LogSoftmax", since=13),
    composite=True,
)
batch_norm = Op(
    "batch_norm",
    batch_norm_type,
    batch_norm_meaning,
    EXPAND,
    batch=EXPAND,
    interval=DERIVED,
    relax=Linear((0, 2, 3)),
    rounding=batch_norm_rounding,
    lower=batch_norm_lower,
    onnx=Onnx("BatchNormalization", since=9),
    composite=True,
)

OPS = (softmax, log_softmax, batch_norm)
