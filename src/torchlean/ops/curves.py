"""Lines around a smooth function that bends at most once in a box: convex up to `bend`, concave beyond it.

A function with the two the other way round is the negative of one of these; one without a bend is convex (bend inf) or
concave (bend -inf) throughout.

The lower line of slope s, any number, and touching point p, any point of the convex part [lo, m], m = bend moved into
[lo, hi]. For v in [lo, m], with D between the bounds of f'(p), convexity gives

    f(v) - s v >= f(p) - s p + (D - s)(v - p) >= f(p) - s p - max(0, s - D)(m - p) - max(0, D - s)(p - lo).

On [m, hi] f(v) - s v is concave, so it is at least the smaller of its ends' values; the end m lies in the convex part.
Hence the bias: the least of the right side above and f(hi) - s hi. Nothing else is assumed of s and p, so both may be
rounded, searched for or chosen by an optimiser. The upper line is the lower one of -f(-v), turned back.

Shapes   boxes, slopes, biases: [*s]
Source   Zhang et al. 2018, arXiv:1811.00866, section 3.2 and appendix; Xu et al. 2020, arXiv:2011.13824, section 3
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from torchlean.frozen import frozen
from torchlean.ops.lines import Lines, below

Pair: TypeAlias = tuple[Any, Any]
Bounds: TypeAlias = Callable[[Any], Pair]

HALVINGS = 30  # of the search for the touching point: any point is sound, this one is the best to 2^-30 of the width
LIBRARY = 16  # ulps of a library function: twice the tolerance table's (float32), four times what numpy and torch state


def rough(xp: Any, value: Any, ulps: float = LIBRARY, least: float | None = None) -> Pair:
    """Bounds of a number that `value` gives within some ulps and four smallest normal numbers; not below `least`.

    An infinite value stands for a number beyond the largest: its lower bound is the largest.
    """
    info = xp.finfo(value.dtype)
    largest = float(info.max)
    finite = xp.abs(value) <= largest
    margin = ulps * float(info.eps) * xp.abs(xp.where(finite, value, xp.zeros_like(value)))
    margin = margin + 4 * float(info.smallest_normal)
    low = xp.where(finite, value, xp.clip(value, None, largest)) - margin
    high = xp.where(finite, value, xp.clip(value, -largest, None)) + margin
    return low if least is None else xp.where(low < least, xp.full_like(low, least), low), high


@frozen
class Curve:
    """A function by bounds of its values and of its derivative at points of the box."""

    value: Bounds
    rate: Bounds

    def turned(self) -> Curve:
        """-f(-v)."""

        def value(v: Any) -> Pair:
            low, high = self.value(-v)
            return -high, -low

        return Curve(value, lambda v: self.rate(-v))

    def negated(self) -> Curve:
        """-f."""

        def minus(bounds: Bounds) -> Bounds:
            def turned(v: Any) -> Pair:
                low, high = bounds(v)
                return -high, -low

            return turned

        return Curve(minus(self.value), minus(self.rate))


def curved(xp: Any, box: Pair, curve: Curve, bend: Any, free: Any | None, hull: Pair) -> Lines:
    """The lines of a curve that is convex up to `bend` and concave beyond.

    `free` in [0, 1] moves the touching point of a tangent from the box's end to the farthest point that is tight; by
    default it is the middle of the box, or the farthest point where that comes first. It moves both lines where the
    box holds a bend.

    hull   constants below and above f on the box, for where a slope or a bias overflows
    """
    lo, hi = box
    middle = xp.minimum(xp.maximum(bend + xp.zeros_like(lo), lo), hi)
    with np.errstate(all="ignore"):
        slope, bias = _under(xp, lo, hi, middle, curve, free, hull[0])
        upper, most = _under(xp, -hi, -lo, -middle, curve.turned(), free, -hull[1])
    return Lines((slope,), bias, (upper,), -most)


def turned_over(lines: Lines) -> Lines:
    """The lines of -f from those of f."""
    return Lines(
        tuple(-s for s in lines.upper), -lines.upper_bias, tuple(-s for s in lines.lower), -lines.lower_bias
    )


def _under(xp: Any, lo: Any, hi: Any, middle: Any, curve: Curve, free: Any | None, least: Any) -> Pair:
    at_lo, at_hi, rates = curve.value(lo), curve.value(hi), curve.rate(lo)
    last, touches = _farthest(xp, lo, hi, middle, curve, at_hi[0])
    half = lo / 2 + hi / 2
    p = xp.minimum(half, last) if free is None else lo + xp.clip(free, 0.0, 1.0) * (last - lo)
    p = xp.minimum(xp.maximum(xp.where(touches, p, lo), lo), middle)
    down, up = curve.rate(p)
    ends, steepest = curve.rate(hi), curve.rate(middle)
    rise = (at_hi[0] - at_lo[0]) / xp.where(hi > lo, hi - lo, xp.ones_like(lo))
    straight = xp.minimum(xp.maximum(rise, xp.minimum(rates[0], ends[0])), steepest[1])
    slope = xp.where(touches, down / 2 + up / 2, straight)
    zero, info = xp.zeros_like(lo), xp.finfo(lo.dtype)
    slope = xp.where(xp.abs(slope) < float(info.max), slope, zero)
    right = xp.where(middle > p, xp.maximum(slope - down, zero) * (middle - p), zero)
    left = xp.where(p > lo, xp.maximum(up - slope, zero) * (p - lo), zero)
    lost = (left + right) * (1 + 8 * float(info.eps))
    bias = below(xp, slope, [(p, curve.value(p)[0] - lost), (hi, at_hi[0])])
    sound = (xp.abs(bias) < float(info.max)) & (xp.abs(slope * lo) < float(info.max))
    return xp.where(sound, slope, zero), xp.where(sound, bias, least)


def _farthest(xp: Any, lo: Any, hi: Any, middle: Any, curve: Curve, end: Any) -> Pair:
    """The last point of the convex part whose tangent does not pass above (hi, f(hi)), and whether there is one."""

    def fits(p: Any) -> Any:
        return (curve.value(p)[0] + curve.rate(p)[0] * (hi - p) <= end) | (p >= hi)

    first, last = lo, middle
    whole = fits(middle)
    if not bool(xp.all(whole | (middle <= lo))):
        for _ in range(HALVINGS):
            p = first / 2 + last / 2
            good = fits(p)
            first, last = xp.where(good, p, first), xp.where(good, last, p)
    return xp.where(whole, middle, first), (middle >= hi) | ((middle > lo) & fits(lo))


__all__ = ["LIBRARY", "Bounds", "Curve", "Pair", "curved", "rough", "turned_over"]
