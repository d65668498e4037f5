"""Step functions: floor and sign.

Shapes   x: [*s] -> [*s]
Floats   exact. An operand that may be flushed to 0 counts as 0 too
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from torchlean.ir import ALIGNED, EXACT, Onnx, Op
from torchlean.ops.common import TINY, elementwise
from torchlean.ops.elementwise import no_vjp
from torchlean.ops.lines import Lines, above, below


def floor_meaning(N: Any, x: Any) -> Any:
    """The largest whole number that is not above x."""
    return N.floor(x)


def floor_interval(N: Any, x: Any) -> Any:
    """The ends' floors; a range that ends below 0 at a number that may be flushed ends at 0."""
    return N.floor(replace(x, hi=_flushed(np, x.hi)))


def _flushed(xp: Any, hi: Any) -> Any:
    return xp.where((hi < 0) & (hi > -TINY), xp.zeros_like(hi), hi)


def floor_relax(xp: Any, boxes: Any, slope: Any | None = None) -> Lines:
    """Below and above the steps and their limits from both sides, with `slope` in [0, 1] free in both lines.

    Between a = floor(lo) and b = floor(hi), and for a slope s in [0, 1], what a line of slope s must pass below is
    lowest at the right end of the first step, (a + 1, a): of the right ends (k + 1, k) the gap k - s (k + 1) grows with
    k. It must pass above the left end of the last step, (b, b). On one step both lines are its constant.
    """
    ((lo, hi),) = boxes
    a, b = xp.floor(lo), xp.floor(_flushed(xp, hi))
    flat = a == b
    s = (0.5 if slope is None else xp.clip(slope, 0.0, 1.0)) * xp.ones_like(lo)
    s = xp.where(flat, xp.zeros_like(lo), s)
    lower, upper = below(xp, s, [(a + 1, a)]), above(xp, s, [(b, b)])
    still = s == 0
    return Lines((s,), xp.where(still, a, lower), (s,), xp.where(still, b, upper))


floor = Op(
    "floor",
    elementwise("floor", 1),
    floor_meaning,
    no_vjp,
    batch=ALIGNED,
    interval=floor_interval,
    relax=floor_relax,
    rounding=EXACT,
    lower=lambda xp, x: xp.floor(x),
    onnx=Onnx("Floor", since=6),
)


def sign_meaning(N: Any, x: Any) -> Any:
    """1 above 0, -1 below, x itself at a zero and for NaN."""
    below = N.where(N.less(x, N.zero), N.literal(-1.0, x), x)
    return N.where(N.less(N.zero, x), N.literal(1.0, x), below)


def sign_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """Zero: what PyTorch gives for the derivative of a step."""
    return (g.mul(cotangents[0], 0.0),)


def sign_interval(N: Any, x: Any) -> Any:
    """The ends' signs; a number that may be flushed counts as 0, too."""
    lo, hi = np.sign(np.where(np.abs(x.lo) < TINY, np.minimum(x.lo, 0.0), x.lo)), np.sign(x.hi)
    lo, hi = np.where((x.lo > 0) & (x.lo < TINY), 0.0, lo), np.where((x.hi < 0) & (x.hi > -TINY), 0.0, hi)
    return replace(x, lo=lo, hi=hi)


def sign_relax(xp: Any, boxes: Any, slope: Any | None = None) -> Lines:
    """On a box with numbers on both sides of 0, below: -1 + s x, 0 <= s <= 2 / hi, -1 at 0 and at most 1 at hi; above:
    1 + s x, 0 <= s <= 2 / -lo. `slope` in [0, 1] is the part of the largest s, in both; by default the line that is
    nearer on the whole has its largest, the other none. Where 0 is an end of the box, a line passes through it.

    On one side of 0 both lines are constant. Numbers that may be flushed are on both: the biases give way by TINY.
    """
    ((lo, hi),) = boxes
    zero, one = xp.zeros_like(lo), xp.ones_like(lo)
    smaller = 1 - 4 * float(xp.finfo(lo.dtype).eps)
    least = xp.where(lo < 0, -one, xp.where(lo < TINY, zero, one))
    most = xp.where(hi > 0, one, xp.where(hi > -TINY, zero, -one))
    free = None if slope is None else xp.clip(slope, 0.0, 1.0) * one

    def rate(end: Any, start: Any, near: Any) -> Any:
        """Of the line that starts at `start` (of size 0 or 1) at 0 and reaches at most 1 at `end`."""
        t = xp.where(near, one, zero) if free is None else free
        s = smaller * t * (1 - start) / xp.where(end >= TINY, end, one)
        return xp.where((end >= TINY) & xp.isfinite(s), s, zero)

    low = xp.where(least == most, zero, rate(hi, least, hi >= -lo))
    high = xp.where(least == most, zero, rate(-lo, -most, -lo >= hi))
    return Lines((low,), least - low * TINY, (high,), most + high * TINY)


def sign_lower(xp: Any, x: Any) -> Any:
    one = xp.ones_like(x)
    return xp.where(x > 0, one, xp.where(x < 0, -one, x))


sign = Op(
    "sign",
    elementwise("sign", 1),
    sign_meaning,
    sign_vjp,
    batch=ALIGNED,
    interval=sign_interval,
    relax=sign_relax,
    rounding=EXACT,
    lower=sign_lower,
    onnx=Onnx("Sign", since=9),
    composite=True,
)

OPS = (floor, sign)
