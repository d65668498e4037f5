"""Trusted. Lines of a gate, convex between two bends -b and b and concave beyond, on boxes that hold both bends inside.

Below: the tangent at any d of the convex part is below that part; the concave parts are least, minus the line, at
their ends, of which -b and b belong to the convex part too. Above: a concave part is below its tangent at the box's
end, and what is convex is largest, minus the line, at -b or b, which belong to the concave parts too.
"""

from __future__ import annotations

import numpy as np

from torchlean_check.rules.elementary import ERROR, Floats
from torchlean_check.rules.functions import Function

Line = tuple[Floats, Floats]  # slope and offset
STEPS = 12  # halvings of the search for a tangent: any result is sound


def below(f: Function, lo: Floats, hi: Floats, place: Floats) -> Line:
    """The tangent at `place`, from -1 to 1 over the box, or as near to it as one passes below both ends."""
    dip = 0.0 if f.dip is None else f.dip
    first = _farthest(f, lo, np.full_like(lo, dip), np.full_like(lo, -f.bend))
    last = _farthest(f, hi, np.full_like(lo, dip), np.full_like(lo, f.bend))
    d = np.clip(0.5 * lo + 0.5 * hi + place * (0.5 * hi - 0.5 * lo), first, last)
    at, a = f.value(d), f.slope(d)
    p = np.minimum(at - a * d, np.minimum(f.value(lo) - a * lo, f.value(hi) - a * hi))
    return a, p - _loss(f, lo, hi, a)


def _farthest(f: Function, end: Floats, near: Floats, far: Floats) -> Floats:
    """The place nearest to `far` whose tangent passes below f at `end`, as that at `near` does."""
    target = f.value(end)
    for _ in range(STEPS):
        middle = 0.5 * near + 0.5 * far
        fits = f.value(middle) + f.slope(middle) * (end - middle) <= target
        near, far = np.where(fits, middle, near), np.where(fits, far, middle)
    return near


def above(f: Function, lo: Floats, hi: Floats) -> Line:
    """The chord, as a line below -f."""
    at_lo, at_hi = f.value(lo), f.value(hi)
    s = (at_hi - at_lo) / (hi - lo)
    ends = np.maximum(at_lo - s * lo, at_hi - s * hi)
    left = at_lo + f.slope(lo) * (-f.bend - lo) + s * f.bend
    right = at_hi + f.slope(hi) * (f.bend - hi) - s * f.bend
    return -s, -np.maximum(ends, np.maximum(left, right)) - _loss(f, lo, hi, s)


def _loss(f: Function, lo: Floats, hi: Floats, s: Floats) -> Floats:
    """Over the errors of values and slopes, and the rounding of a line and of its multiples."""
    size = np.maximum(np.abs(lo), np.abs(hi))
    return 8.0 * ERROR * (np.abs(f.value(lo)) + np.abs(f.value(hi)) + 4.0 + (np.abs(s) + 4.0) * size)
