"""Trusted. What one value may be in float arithmetic and over the reals, and how far these two may be apart.

Every number here is float64, moved outward: an operation to nearest is at most half a step off, so one step covers it.
Source  SEMANTICS 2 and 3: each operation gives exact (1 + d) + h with |d| <= u and |h| <= the smallest normal number,
and never the sign opposite to the exact result's.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from torchlean_check.frozen import frozen

Floats = npt.NDArray[np.float64]

UNIT = {"float32": 2.0**-24, "float64": 2.0**-53}
TINY = {"float32": 2.0**-126, "float64": 2.0**-1022}


def up(x: Floats) -> Floats:
    return np.nextafter(x, np.inf)


def down(x: Floats) -> Floats:
    return np.nextafter(x, -np.inf)


def below(x: Floats) -> Floats:
    """At most what one operation to nearest gave as x; not across 0: the sign of a rounded result is exact.

    -0 may be a negative result that underflowed.
    """
    return np.where(np.signbit(x), down(x), np.maximum(down(x), 0.0))


def above(x: Floats) -> Floats:
    return -below(-x)


@frozen(eq=False)
class Twin:
    """lo, hi: every float execution;  real_lo, real_hi: the real value;  apart >= |float - real|, entry by entry.

    dtype   float32, float64, int64 or bool (0 and 1). A discrete value with `apart` 0 surely is the same in both.
    """

    dtype: str
    lo: Floats
    hi: Floats
    real_lo: Floats
    real_hi: Floats
    apart: Floats

    @property
    def shape(self) -> tuple[int, ...]:
        return self.lo.shape

    @property
    def size(self) -> Floats:
        """At least |float value|."""
        return np.maximum(np.abs(self.lo), np.abs(self.hi))

    @property
    def real_size(self) -> Floats:
        return np.maximum(np.abs(self.real_lo), np.abs(self.real_hi))

    def move(self, f: Callable[[Floats], Floats]) -> Twin:
        """The same rearrangement of every array."""
        return Twin(self.dtype, *(f(a) for a in (self.lo, self.hi, self.real_lo, self.real_hi, self.apart)))

    @property
    def finite(self) -> bool:
        """Whether every end is a number, and no enclosure is empty."""
        ends = (self.lo, self.hi, self.real_lo, self.real_hi, self.apart)
        whole = bool((self.lo <= self.hi).all() and (self.real_lo <= self.real_hi).all())
        return whole and all(bool(np.isfinite(a).all()) for a in ends)


def source(lo: Floats, hi: Floats, dtype: str) -> Twin:
    """An input or constant, the same number in both; a subnormal one may be read as 0."""
    low, high, apart = lo.copy(), hi.copy(), np.zeros(lo.shape)
    if dtype in TINY:
        tiny = TINY[dtype]
        meets = ((lo < tiny) & (hi > 0)) | ((hi > -tiny) & (lo < 0))
        low[meets & (lo > 0)], high[meets & (hi < 0)], apart[meets] = 0.0, 0.0, tiny
    return Twin(dtype, low, high, lo, hi, apart)


def joined(dtype: str, floats: tuple[Floats, Floats], reals: tuple[Floats, Floats], apart: Floats) -> Twin:
    """A twin whose three parts narrow each other; `apart` may be inf: then the ends alone speak."""
    (lo, hi), (real_lo, real_hi) = floats, reals
    with np.errstate(invalid="ignore"):
        apart = np.minimum(apart, np.maximum(up(hi - real_lo), up(real_hi - lo)))
        lo, hi = np.maximum(lo, down(real_lo - apart)), np.minimum(hi, up(real_hi + apart))
    apart = np.where((lo == hi) & (real_lo == real_hi) & (lo == real_lo), 0.0, apart)
    return Twin(dtype, lo, hi, real_lo, real_hi, np.maximum(apart, 0.0))


def once(x: Twin, relative: float, absolute: Floats | float) -> Twin:
    """x, exact on its float operands, as the result of one operation: off by relative |x| + absolute, its sign kept."""

    def error(size: Floats) -> Floats:
        return up(up(relative * size) + absolute)

    return _off(x, error(x.size), (error(np.abs(x.lo)), error(np.abs(x.hi))), True)


def rounded(x: Twin, error: Floats, keeps_sign: bool) -> Twin:
    """x, exact on its float operands, as a float result off by at most `error`."""
    return _off(x, error, (error, error), keeps_sign)


def _off(x: Twin, error: Floats, ends: tuple[Floats, Floats], keeps_sign: bool) -> Twin:
    """`ends`: how far a result from near each end may be off; z - relative |z| - absolute grows with z.

    Not finite (so refused by the caller) where a result reaches 2^emax.
    """
    limit = 2.0**127 if x.dtype == "float32" else 2.0**1023
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.where(up(x.size + error) < limit, error, np.inf)
        lo, hi, apart = down(x.lo - ends[0]), up(x.hi + ends[1]), up(x.apart + error)
    if keeps_sign:
        lo, hi = np.where(x.lo >= 0, np.maximum(lo, 0.0), lo), np.where(x.hi <= 0, np.minimum(hi, 0.0), hi)
    found = joined(x.dtype, (lo, hi), (x.real_lo, x.real_hi), apart)
    return found if np.isfinite(error).all() else found.move(lambda a: np.full(a.shape, np.nan))
