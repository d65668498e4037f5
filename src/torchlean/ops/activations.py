"""Piecewise-linear activations.

Shapes   x: [*s] -> [*s]
Floats   comparison and selection only, so every number system gives the same answer
"""

from __future__ import annotations

from typing import Any

import numpy as np

from torchlean.floats.formats import BINARY32, Format
from torchlean.ir import ALIGNED, DERIVED, EXACT, Onnx, Op, TensorType
from torchlean.ops.common import Attrs, Types, arity, elementwise, is_float, only_attrs, refuse
from torchlean.ops.elementwise import mul_rounding
from torchlean.ops.lines import Lines, above, chord


def relu_meaning(N: Any, x: Any) -> Any:
    """max(x, 0). relu(-0.0) is +0.0 and relu(nan) is nan."""
    # Not where(x > 0, x, 0): over an interval an undecided where is the hull of both sides.
    return N.maximum(x, N.zero)  # IEEE 754-2019 maximum: -0 < +0, nan propagates


def relu_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """The cotangent where x > 0, else 0: the kink takes slope 0, as PyTorch does."""
    (x,), (dy,) = inputs, cotangents
    return (g.where(g.less(g.literal(0.0, x), x), dy, g.literal(0.0, dy)),)


def relu_relax(xp: Any, boxes: Any, slope: Any | None = None) -> Lines:
    """One line below and one above relu on [lo, hi].

    Any lower slope in [0, 1] is sound, with bias 0; `slope` chooses it, by default the smaller area. The upper line has
    the chord's slope, which may be rounded freely: its bias is derived from the rounded slope and rounded up, as
    the larger of the two ends' gaps, max(-s lo, hi - s hi).

    Shapes   lo, hi, slope: [*s]
    Source   Zhang et al. 2018, arXiv:1811.00866, section 3.2.
    """
    ((lo, hi),) = boxes
    zero, one = xp.zeros_like(lo), xp.ones_like(lo)
    unstable = (lo < 0) & (hi > 0)
    width = xp.where(unstable, hi - lo, one)
    chord = xp.clip(xp.where(unstable, hi / width, xp.where(lo >= 0, one, zero)), 0.0, 1.0)
    # One rounding in each product and one in the difference; eps covers both and the smallest normal number underflow.
    info = xp.finfo(lo.dtype)
    gap = xp.maximum(-chord * lo, hi - chord * hi)
    bias = xp.where(unstable, gap + 4 * info.eps * (xp.abs(lo) + xp.abs(hi)) + 4 * info.smallest_normal, zero)
    if slope is None:
        slope = xp.where(hi > -lo, one, zero)
    below = xp.where(unstable, slope, xp.where(lo >= 0, one, zero))
    return Lines((below,), zero, (chord,), bias)


relu = Op(
    "relu",
    elementwise("relu", 1),
    relu_meaning,
    relu_vjp,
    batch=ALIGNED,
    interval=DERIVED,
    relax=relu_relax,
    rounding=EXACT,
    lower=lambda xp, x: xp.maximum(x, xp.zeros_like(x)),
    onnx=Onnx("Relu", since=6),
)


def leaky_relu_type(attrs: Attrs, *types: TensorType) -> Types:
    """A slope between 0 and 1 left of the origin."""
    arity("leaky_relu", types, 1)
    only_attrs("leaky_relu", attrs, "slope")
    is_float("leaky_relu", *types)
    slope = attrs["slope"]
    if isinstance(slope, bool) or not isinstance(slope, int | float) or not 0 <= slope <= 1:
        raise refuse(
            "leaky_relu",
            "the slope must lie between 0 and 1",
            "0 <= slope <= 1",
            str(slope),
            "write where(less(x, 0), slope * x, x) for another slope",
        )
    return types


def leaky_relu_meaning(N: Any, x: Any, *, slope: float) -> Any:
    """max(x, slope x)."""
    return N.maximum(x, N.mul(x, N.literal(slope, x)))


def leaky_relu_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any, *, slope: float) -> Any:
    """The cotangent where x > 0, else slope times it, as PyTorch does."""
    (x,), (dy,) = inputs, cotangents
    return (g.where(g.less(g.literal(0.0, x), x), dy, g.mul(dy, g.literal(slope, dy))),)


def leaky_relu_relax(xp: Any, boxes: Any, free: Any | None = None, *, slope: float) -> Lines:
    """Below: any slope between `slope` and 1 through the origin, slope + free (1 - slope). Above: the chord.

    Shapes   lo, hi, free: [*s]
    """
    ((lo, hi),) = boxes
    one, zero = xp.ones_like(lo), xp.zeros_like(lo)
    across = (lo < 0) & (hi > 0)
    if free is None:
        free = xp.where(hi > -lo, one, zero)
    stable = xp.where(lo >= 0, one, slope * one)
    lower = xp.where(across, xp.clip(slope + free * (1 - slope), slope, 1.0), stable)
    upper = xp.where(across, chord(xp, lo, hi, slope * lo, hi, slope, 1.0), stable)
    bias = xp.where(across, above(xp, upper, [(lo, slope * lo), (hi, hi)]), zero)
    return Lines((lower,), zero, (upper,), bias)


def leaky_relu_rounding(
    magnitudes: Any, result: np.ndarray, *, slope: float, fmt: Format = BINARY32
) -> np.ndarray:
    """One product. Source: SEMANTICS 3."""
    (x,) = magnitudes
    return mul_rounding((x, np.float64(slope)), result, fmt=fmt)


def leaky_relu_lower(xp: Any, x: Any, *, slope: float) -> Any:
    return xp.maximum(x, slope * x)


leaky_relu = Op(
    "leaky_relu",
    leaky_relu_type,
    leaky_relu_meaning,
    leaky_relu_vjp,
    batch=ALIGNED,
    interval=DERIVED,
    relax=leaky_relu_relax,
    rounding=leaky_relu_rounding,
    lower=leaky_relu_lower,
    onnx=Onnx("LeakyRelu", since=6),
    composite=True,
)

OPS = (relu, leaky_relu)
