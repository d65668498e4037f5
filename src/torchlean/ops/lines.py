"""What a nonlinear op's `relax` returns: a line below and a line above it on a box.

    lower: sum_i lower[i] * x_i + lower_bias <= f(x) <= sum_i upper[i] * x_i + upper_bias     on lo_i <= x_i <= hi_i

Elementwise, so each array has the output's shape (inputs broadcast to it); leading batch axes are allowed. For a
reduction (`max`) a slope has the input's shape, and its terms are summed over the reduced axes. Trailing inputs that
are constants may have no slope: what they add then stands in the biases. A slope of None belongs to an input, a
condition, that the lines do not read.

Slopes may be rounded freely: each bias is derived from the slopes as stored and moved outward by more than its own
rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torchlean.frozen import frozen


@frozen
class Lines:
    """Slopes per input, and one bias each. Sound over the reals for the slopes as stored.

    mixes   the axis along which each result reads every entry (softmax): slopes then have one more axis, the last, over
            those entries
    """

    lower: tuple[Any, ...]
    lower_bias: Any
    upper: tuple[Any, ...]
    upper_bias: Any
    mixes: int | None = None


class Relax(Protocol):
    """(xp, boxes, slope, **attrs) -> Lines.

    boxes   a (lo, hi) pair per input
    slope   the free slope in [0, 1], or None for the rule's own choice: of the lower line, or of the upper one
            where the function is concave (minimum)
    """

    def __call__(self, xp: Any, boxes: tuple[tuple[Any, Any], ...], slope: Any | None, **attrs: Any) -> Lines: ...


Points = Sequence[tuple[Any, Any]]


def above(xp: Any, slope: Any, points: Points) -> Any:
    """The least bias, rounded up, of a line of this slope above the points (v, f(v)).

    A piecewise-linear f lies below the line on a box when its ends and its kinks inside do. f(v) may carry one
    rounding.
    """
    gaps = [f - slope * v for v, f in points]
    best, size = gaps[0], xp.abs(points[0][1]) + xp.abs(slope * points[0][0])
    for gap, (v, f) in zip(gaps[1:], points[1:], strict=True):
        best = xp.maximum(best, gap)
        size = xp.maximum(size, xp.abs(f) + xp.abs(slope * v))
    return best + slack(xp, size)


def below(xp: Any, slope: Any, points: Points) -> Any:
    """The largest bias, rounded down, of a line of this slope below the points (v, f(v))."""
    return -above(xp, -slope, [(v, -f) for v, f in points])


def slack(xp: Any, size: Any) -> Any:
    """More than three roundings of numbers up to `size`, and more than any underflow."""
    info = xp.finfo(size.dtype)
    return 4 * float(info.eps) * size + 4 * float(info.smallest_normal)


def chord(xp: Any, lo: Any, hi: Any, flo: Any, fhi: Any, least: Any, most: Any) -> Any:
    """The slope from (lo, flo) to (hi, fhi), within [least, most]; `most` on a point."""
    wide = hi > lo
    rise = (fhi - flo) / xp.where(wide, hi - lo, xp.ones_like(lo))
    return xp.clip(xp.where(wide, rise, xp.full_like(lo, most)), least, most)
