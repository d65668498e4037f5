"""Division through zero in two pieces."""

from __future__ import annotations

import numpy as np

from torchlean.floats.interval.carrier import Interval


def quotients(x: Interval, y: Interval) -> tuple[Interval, Interval]:
    """x / y as two pieces: their union is {a / b: a in x, b in y, b != 0}, rounded outward.

    Where the divisor straddles zero and x does not hold it, the pieces are (-inf, p] and [q, inf); else both are the
    hull, `x / y`. Raises DomainError where y is [0, 0].

    Shapes   x, y: broadcast
    Source   Ratz 1996, On extended interval arithmetic and inclusion isotonicity; IEEE 1788-2015, 10.5.5
    """
    hull = x / y
    apart = (y.lo < 0) & (y.hi > 0) & ((x.lo > 0) | (x.hi < 0))
    zero, one = np.zeros_like(y.lo), np.ones_like(y.lo)
    left = x / Interval(np.where(apart, y.lo, one), np.where(apart, zero, one))
    right = x / Interval(np.where(apart, zero, one), np.where(apart, y.hi, one))
    positive = x.lo > 0  # then the negative divisors give the lower piece
    first, second = (
        Interval(
            np.where(apart, np.where(positive, a.lo, b.lo), hull.lo),
            np.where(apart, np.where(positive, a.hi, b.hi), hull.hi),
        )
        for a, b in ((left, right), (right, left))
    )
    return first, second


__all__ = ["quotients"]
