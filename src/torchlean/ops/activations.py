"""Piecewise-linear activations.

Shapes   x: [*s] -> [*s]
Floats   comparison and selection only, so every number system gives the same answer
"""

from __future__ import annotations

from typing import Any

from torchlean.ir import ALIGNED, DERIVED, EXACT, Onnx, Op
from torchlean.ops.common import elementwise
from torchlean.ops.lines import Lines


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
    the chord's slope, which may be rounded freely: its bias is derived from the rounded slope and rounded up, as the larger
    of the two ends' gaps, max(-s lo, hi - s hi).

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


relu = Op("relu", elementwise("relu", 1), relu_meaning, relu_vjp, batch=ALIGNED, interval=DERIVED, relax=relu_relax,
          rounding=EXACT, lower=lambda xp, x: xp.maximum(x, xp.zeros_like(x)), onnx=Onnx("Relu", since=6))  # fmt: skip

OPS = (relu,)
