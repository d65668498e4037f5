"""Step functions: floor.

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

OPS = (floor,)
