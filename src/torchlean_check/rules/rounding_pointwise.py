"""Trusted. Elementwise arithmetic of twins. Operands broadcast as numpy's do."""

from __future__ import annotations

import numpy as np

from torchlean_check.twin import TINY, UNIT, Floats, Twin, above, below, down, joined, once, up

Box = tuple[Floats, Floats]


def _times(a: Box, b: Box) -> Box:
    four = [p * q for p in a for q in b]
    return below(np.minimum.reduce(four)), above(np.maximum.reduce(four))


def _over(a: Box, b: Box) -> Box:
    """NaN, so refused, where the divisor may be 0."""
    through = (b[0] <= 0) & (b[1] >= 0)
    with np.errstate(all="ignore"):
        four = [np.where(through, np.nan, p / q) for p in a for q in b]
    return below(np.minimum.reduce(four)), above(np.maximum.reduce(four))


def boxes(x: Twin) -> tuple[Box, Box]:
    return (x.lo, x.hi), (x.real_lo, x.real_hi)


def add(x: Twin, y: Twin) -> Twin:
    floats = below(x.lo + y.lo), above(x.hi + y.hi)
    reals = below(x.real_lo + y.real_lo), above(x.real_hi + y.real_hi)
    exact = joined(x.dtype, floats, reals, up(x.apart + y.apart))
    return once(exact, UNIT[x.dtype], 2 * TINY[x.dtype])


def neg(x: Twin) -> Twin:
    return Twin(x.dtype, -x.hi, -x.lo, -x.real_hi, -x.real_lo, x.apart)


def sub(x: Twin, y: Twin) -> Twin:
    return add(x, neg(y))


def mul(x: Twin, y: Twin) -> Twin:
    """x~ y~ - x y = dx y~ + x dy, or dx y + x~ dy. A product with itself is not negative."""
    (a, ra), (b, rb) = boxes(x), boxes(y)
    floats, reals = _times(a, b), _times(ra, rb)
    if x is y:
        floats, reals = (np.maximum(floats[0], 0.0), floats[1]), (np.maximum(reals[0], 0.0), reals[1])
    one = up(up(x.apart * y.size) + up(x.real_size * y.apart))
    two = up(up(x.apart * y.real_size) + up(x.size * y.apart))
    lost = TINY[x.dtype] * (4 + x.size + y.size) * (1 + 2.0**-20)
    exact = joined(x.dtype, floats, reals, np.minimum(one, two))
    return once(exact, UNIT[x.dtype], lost)


def div(x: Twin, y: Twin) -> Twin:
    """x~ / y~ - x / y = (dx - (x / y) dy) / y~. By reciprocal or not: 3 u |q|. A divisor that may be 0 or
    flushed to it is refused.
    """
    (a, ra), (b, rb) = boxes(x), boxes(y)
    floats, reals = _over(a, b), _over(ra, rb)
    least = np.minimum(np.abs(y.lo), np.abs(y.hi))
    quotient = np.maximum(np.abs(reals[0]), np.abs(reals[1]))
    with np.errstate(all="ignore"):
        exact = joined(x.dtype, floats, reals, up(up(x.apart + up(quotient * y.apart)) / down(least)))
        lost = TINY[x.dtype] * (2 + 1 / least + x.size) * (1 + 2.0**-20)
    return once(exact, 3 * UNIT[x.dtype], np.where(least >= TINY[x.dtype], lost, np.inf))


def cast(x: Twin, dtype: str) -> Twin:
    """To float32 or float64: the same number, rounded once where the format is narrower."""
    same = Twin(dtype, x.lo, x.hi, x.real_lo, x.real_hi, x.apart)
    if dtype == x.dtype or x.dtype == "bool" or (x.dtype, dtype) == ("float32", "float64"):
        return same
    return once(same, UNIT[dtype], TINY[dtype])
