"""Trusted. Choice and comparison of twins: nothing rounds; what both computations surely choose alike costs nothing."""

from __future__ import annotations

import numpy as np

from torchlean_check.rules.rounding_pointwise import Box, boxes, neg
from torchlean_check.twin import Floats, Twin, joined


def maximum(x: Twin, y: Twin) -> Twin:
    """Where one side surely wins in both, its difference; else the larger of the two."""
    first = (x.lo >= y.hi) & (x.real_lo >= y.real_hi)
    second = (y.lo >= x.hi) & (y.real_lo >= x.real_hi)
    apart = np.where(first, x.apart, np.where(second, y.apart, np.maximum(x.apart, y.apart)))
    (a, ra), (b, rb) = boxes(x), boxes(y)
    floats, reals = ((np.maximum(p[0], q[0]), np.maximum(p[1], q[1])) for p, q in ((a, b), (ra, rb)))
    return joined(x.dtype, floats, reals, apart)


def minimum(x: Twin, y: Twin) -> Twin:
    return neg(maximum(neg(x), neg(y)))


def compare(x: Twin, y: Twin, strict: bool) -> Twin:
    """x < y, or x <= y. The same in both where all operands are, or where both decide alike."""

    def ends(a: Box, b: Box) -> Box:
        surely, maybe = (a[1] < b[0], a[0] < b[1]) if strict else (a[1] <= b[0], a[0] <= b[1])
        return surely.astype(np.float64), maybe.astype(np.float64)

    (a, ra), (b, rb) = boxes(x), boxes(y)
    same = (x.apart == 0) & (y.apart == 0)
    return joined("bool", ends(a, b), ends(ra, rb), np.where(same, 0.0, np.inf))


def where(c: Twin, x: Twin, y: Twin) -> Twin:
    """Each pair of sides that the two computations may choose."""

    def pick(lo: Floats, hi: Floats, a: Box, b: Box) -> Box:
        yes, no = lo == 1, hi == 0
        low, high = np.minimum(a[0], b[0]), np.maximum(a[1], b[1])
        return np.where(yes, a[0], np.where(no, b[0], low)), np.where(yes, a[1], np.where(no, b[1], high))

    (a, ra), (b, rb) = boxes(x), boxes(y)
    may = ((c.hi == 1) & (c.real_hi == 1), (c.lo == 0) & (c.real_lo == 0), c.apart != 0)
    same = np.maximum(np.where(may[0], x.apart, 0.0), np.where(may[1], y.apart, 0.0))
    apart = np.where(may[2], np.inf, same)
    return joined(x.dtype, pick(c.lo, c.hi, a, b), pick(c.real_lo, c.real_hi, ra, rb), apart)
