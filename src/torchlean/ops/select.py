"""Choosing among values: maximum, minimum, clip, abs.

Shapes   broadcast as in `common.broadcast_shapes` -> [*s]
Floats   comparison and selection only: exact in every number system. -0 < +0, NaN propagates (IEEE 754-2019 maximum)
"""

from __future__ import annotations

from math import inf, isnan
from typing import Any

from torchlean.ir import ALIGNED, DERIVED, EXACT, Onnx, Op, TensorType
from torchlean.ops.common import Attrs, Types, arity, elementwise, is_float, only_attrs, refuse, unbroadcast
from torchlean.ops.lines import Lines, above, below, chord, slack


def abs_meaning(N: Any, x: Any) -> Any:
    """|x|: the sign bit cleared."""
    return N.abs(x)


def abs_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """The cotangent with x's sign; 0 at 0, as PyTorch does."""
    (x,), (dy,) = inputs, cotangents
    zero = g.literal(0.0, x)
    return (g.where(g.less(zero, x), dy, g.where(g.less(x, zero), g.neg(dy), zero)),)


def abs_relax(xp: Any, boxes: Any, slope: Any | None = None) -> Lines:
    """Below: any slope in [-1, 1] through the origin (2 `slope` - 1). Above: the chord's slope, bias from both ends.

    Shapes   lo, hi, slope: [*s]
    """
    ((lo, hi),) = boxes
    one, zero = xp.ones_like(lo), xp.zeros_like(lo)
    free = xp.where(hi > -lo, one, zero) if slope is None else xp.clip(slope, 0.0, 1.0)
    lower = xp.where(lo >= 0, one, xp.where(hi <= 0, -one, 2 * free - 1))
    across = (lo < 0) & (hi > 0)
    upper = xp.where(across, chord(xp, lo, hi, xp.abs(lo), xp.abs(hi), -1.0, 1.0), lower)
    bias = xp.where(across, above(xp, upper, [(lo, xp.abs(lo)), (hi, xp.abs(hi))]), zero)
    return Lines((lower,), zero, (upper,), bias)


def maximum_meaning(N: Any, x: Any, y: Any) -> Any:
    """The larger one."""
    return N.maximum(x, y)


def minimum_meaning(N: Any, x: Any, y: Any) -> Any:
    """The smaller one."""
    return N.minimum(x, y)


def _choice_vjp(g: Any, x: Any, y: Any, dz: Any, x_wins: Any, y_wins: Any) -> Any:
    zero = g.literal(0.0, dz)
    tie = g.where(g.equal(x, y), g.mul(dz, 0.5), zero)
    return unbroadcast(g, g.where(x_wins, dz, tie), x), unbroadcast(g, g.where(y_wins, dz, tie), y)


def maximum_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """The cotangent to the larger side, half to each on a tie, as PyTorch does."""
    (x, y), (dz,) = inputs, cotangents
    return _choice_vjp(g, x, y, dz, g.less(y, x), g.less(x, y))


def minimum_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """The cotangent to the smaller side, half to each on a tie, as PyTorch does."""
    (x, y), (dz,) = inputs, cotangents
    return _choice_vjp(g, x, y, dz, g.less(x, y), g.less(y, x))


def _complement(t: Any) -> tuple[Any, Any]:
    """(t', 1 - t') with a sum of exactly 1: by Sterbenz's lemma one of the two differences is exact."""
    rest = 1 - t
    return 1 - rest, rest


def maximum_relax(xp: Any, boxes: Any, slope: Any | None = None) -> Lines:
    """Below: t x + (1 - t) y for any t in [0, 1] (`slope`). Above: c x + (1 - c) y and a bias.

    max(x, y) - c x - (1 - c) y = max((1 - c)(x - y), c (y - x)), so the bias is the larger of these at the box's
    corners. Where one side always wins, both lines are that side.

    Shapes   lo, hi, slope: [*s], broadcast
    """
    (lx, hx), (ly, hy) = boxes
    rise, fall = hx - ly, hy - lx
    one, zero = xp.ones_like(rise), xp.zeros_like(rise)
    x_wins, y_wins = lx >= hy, ly >= hx
    free = xp.where(rise >= fall, one, zero) if slope is None else xp.clip(slope, 0.0, 1.0) * one
    total = rise + fall
    share = xp.clip(xp.where((total > 0) & (total < inf), rise / xp.where(total > 0, total, one), 0.5 * one), 0.0, 1.0)
    t, s = _complement(xp.where(x_wins, one, xp.where(y_wins, zero, free)))
    c, d = _complement(xp.where(x_wins, one, xp.where(y_wins, zero, share)))
    size = xp.abs(hx) + xp.abs(ly) + xp.abs(hy) + xp.abs(lx)
    bias = xp.maximum(xp.maximum(d * rise, c * fall), zero) + slack(xp, size)
    return Lines((t, s), zero, (c, d), xp.where(x_wins | y_wins, zero, bias))


def minimum_relax(xp: Any, boxes: Any, slope: Any | None = None) -> Lines:
    """min(x, y) = -max(-x, -y): the lines of `maximum_relax`, turned over; `slope` is free in the upper one."""
    turned = maximum_relax(xp, tuple((-hi, -lo) for lo, hi in boxes), slope)
    return Lines(turned.upper, -turned.upper_bias, turned.lower, -turned.lower_bias)


def clip_type(attrs: Attrs, *types: TensorType) -> Types:
    """Bounds lo <= hi; -inf or inf where one side is open."""
    arity("clip", types, 1)
    only_attrs("clip", attrs, "lo", "hi")
    is_float("clip", *types)
    lo, hi = attrs["lo"], attrs["hi"]
    if any(isinstance(v, bool) or not isinstance(v, int | float) or isnan(v) for v in (lo, hi)) or not lo <= hi:
        raise refuse(
            "clip", "needs numbers lo <= hi", "lo <= hi", f"lo={lo}, hi={hi}", "use -inf or inf for an open side"
        )
    return types


def clip_meaning(N: Any, x: Any, *, lo: float, hi: float) -> Any:
    """min(max(x, lo), hi); an infinite bound does nothing."""
    if lo > -inf:
        x = N.maximum(x, N.literal(lo, x))
    return N.minimum(x, N.literal(hi, x)) if hi < inf else x


def clip_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any, *, lo: float, hi: float) -> Any:
    """The cotangent where lo <= x <= hi (both ends included, as PyTorch does), else 0."""
    (x,), (dy,) = inputs, cotangents
    inside = g.logical_and(g.less_equal(g.literal(lo, x), x), g.less_equal(x, g.literal(hi, x)))
    return (g.where(inside, dy, g.literal(0.0, dy)),)


def clip_relax(xp: Any, boxes: Any, slope: Any | None = None, *, lo: float, hi: float) -> Lines:
    """Any slope is sound below and above: each bias comes from the box's ends and the kinks inside.

    Below: `slope`, by default from (lo, lo) to the box's upper end; above: from the box's lower end to (hi, hi).

    Shapes   lo, hi of the box, slope: [*s]
    """
    ((l, u),) = boxes
    first = xp.clip(xp.full_like(l, lo), l, u)  # the kinks, moved into the box
    last = xp.clip(xp.full_like(l, hi), l, u)

    def f(x: Any) -> Any:
        return xp.clip(x, lo, hi)

    points = [(v, f(v)) for v in (l, first, last, u)]
    lower = chord(xp, first, u, f(first), f(u), 0.0, 1.0)
    upper = chord(xp, l, last, f(l), f(last), 0.0, 1.0)
    convex = u <= hi  # then slope 0 may be the better line below
    lower = xp.where(convex & (l < lo) & (u - lo < lo - l), xp.zeros_like(l), lower)
    lower = lower if slope is None else xp.clip(slope, 0.0, 1.0) * xp.ones_like(l)
    flat, linear = (u <= lo) | (l >= hi), (l >= lo) & (u <= hi)
    zero, one = xp.zeros_like(l), xp.ones_like(l)
    lower = xp.where(flat, zero, xp.where(linear, one, lower))
    upper = xp.where(flat, zero, xp.where(linear, one, upper))
    lower_bias = xp.where(linear, zero, xp.where(flat, f(l), below(xp, lower, points)))
    upper_bias = xp.where(linear, zero, xp.where(flat, f(l), above(xp, upper, points)))
    return Lines((lower,), lower_bias, (upper,), upper_bias)


def _op(
    name: str, type_rule: Any, meaning: Any, vjp: Any, relax: Any, lower: Any, onnx: Onnx, composite: bool = False
) -> Op:
    return Op(
        name,
        type_rule,
        meaning,
        vjp,
        batch=ALIGNED,
        interval=DERIVED,
        relax=relax,
        rounding=EXACT,
        lower=lower,
        onnx=onnx,
        composite=composite,
    )


abs_ = _op("abs", elementwise("abs", 1), abs_meaning, abs_vjp, abs_relax, lambda xp, x: xp.abs(x), Onnx("Abs", since=6))
maximum = _op(
    "maximum",
    elementwise("maximum", 2),
    maximum_meaning,
    maximum_vjp,
    maximum_relax,
    lambda xp, x, y: xp.maximum(x, y),
    Onnx("Max", since=8),
)
minimum = _op(
    "minimum",
    elementwise("minimum", 2),
    minimum_meaning,
    minimum_vjp,
    minimum_relax,
    lambda xp, x, y: xp.minimum(x, y),
    Onnx("Min", since=8),
)
clip = _op(
    "clip",
    clip_type,
    clip_meaning,
    clip_vjp,
    clip_relax,
    lambda xp, x, *, lo, hi: xp.clip(x, lo, hi),
    Onnx("Clip", since=11),
    composite=True,
)

OPS = (abs_, maximum, minimum, clip)
