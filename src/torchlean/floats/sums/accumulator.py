"""A long accumulator: sums of float64 numbers as integers in base 2^32, without rounding, and one rounding out of it.

Each number is cut at fixed powers of 2^32 into at most four integers below 2^32; equal powers of one row are added up
as whole numbers. The order of the terms cannot matter.
Source   Kulisch and Miranker 1986, doi:10.1137/1028001; here over limbs that only span the exponents that occur.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchlean.floats.formats import Format
from torchlean.floats.rounding import F64, Rounding

_LIMB = 32
_MASK = (1 << _LIMB) - 1
_FIRST = -1074
_POWERS = np.ldexp(1.0, np.arange(_FIRST, 1024))  # [2^-1074 .. 2^1023]
_LEAST = -31  # the least power of 2^32 that a float64 number can be scaled by without overflow


class Accumulator:
    """Exact sums of float64 numbers, one per row.

    rows               number of sums
    smallest, largest  exponents: every bit added lies in [2^smallest, 2^(largest + 1))
    """

    def __init__(self, rows: int, smallest: int, largest: int) -> None:
        self.lowest = (smallest >> 5) - 3  # three limbs below, for the cutting; two above, for carries and the sign
        self.count = max(largest >> 5, _LEAST) - self.lowest + 3
        self.limbs = np.zeros((rows, self.count), np.int64)

    def add(self, x: F64, exponent: NDArray[np.int64] | int = 0) -> None:
        """Add sum_j x[:, j] 2^exponent[:, j] to each row. At most 2^31 terms in all.

        Shapes   x, exponent: [rows, n] finite; where exponents are given, x is zero or normal
        """
        step = max(1, (1 << 20) // max(1, len(x)))  # so that each whole number stays below 2^53
        for start in range(0, x.shape[1], step):
            cut = slice(start, start + step)
            self._add(x[:, cut], exponent if isinstance(exponent, int) else exponent[:, cut])

    def _add(self, x: F64, exponent: NDArray[np.int64] | int) -> None:
        x = np.ascontiguousarray(x)
        size = ((x.view(np.int64) >> 52) & 0x7FF) - 1023 + exponent
        limb = size >> 5
        if isinstance(exponent, int):
            limb = np.maximum(limb, _LEAST)
        limb = np.where(x == 0, self.lowest + 3, limb)
        y = x * _POWERS[np.where(x == 0, -_FIRST, exponent - _LIMB * limb - _FIRST)]
        place = limb - self.lowest + np.arange(len(x))[:, None] * self.count
        while True:
            whole = np.trunc(y)
            found = np.bincount(place.ravel(), weights=whole.ravel(), minlength=self.limbs.size)
            self.limbs += found.astype(np.int64).reshape(self.limbs.shape)
            y = (y - whole) * 2.0**_LIMB
            if not y.any():
                return
            place = place - 1

    def _digits(self) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Base 2^32 digits [count, rows] of the magnitudes, and which sums are negative."""
        digits = np.ascontiguousarray(self.limbs.T)
        _carry(digits)
        negative = digits[-1] < 0
        digits = np.where(negative, -digits, digits)
        _carry(digits)
        return digits, negative

    def rounded(self, fmt: Format, mode: Rounding) -> F64:
        """Each sum rounded once to the format; exact as float64. A sum of zero is +0.

        Overflow   as in `round_rational`
        """
        digits, negative = self._digits()
        nonzero = digits != 0
        top = np.maximum(self.count - 1 - np.argmax(nonzero[::-1], axis=0), 2)
        columns = np.arange(digits.shape[1])
        high, middle, low = (digits[top - i, columns].astype(np.uint64) for i in range(3))
        sticky = np.argmax(nonzero, axis=0) < top - 2
        significand, exponent = _leading(high, middle, low, sticky, (top - 1 + self.lowest) * _LIMB)
        magnitude = _round(significand, exponent, negative, fmt, mode)
        return np.where(nonzero.any(axis=0), np.where(negative, -magnitude, magnitude), 0.0)


def _carry(digits: NDArray[np.int64]) -> None:
    for i in range(len(digits) - 1):
        digits[i + 1] += digits[i] >> _LIMB
        digits[i] &= _MASK


def _leading(high: Any, middle: Any, low: Any, sticky: Any, exponent: Any) -> tuple[Any, Any]:
    """The leading 62 bits of three digits, rounded to odd, and the exponent of their last.

    exponent   that of the last bit of `middle`
    """
    both = (high << np.uint64(_LIMB)) | middle
    left = 30 - np.frexp(high.astype(np.float64))[1].astype(np.int64)
    up, down = np.maximum(left, 0).astype(np.uint64), np.maximum(-left, 0).astype(np.uint64)
    one = np.uint64(1)
    beyond = np.uint64(_LIMB) - up
    bits = ((both << up) | (low >> beyond)) >> down
    rest = np.where(down > 0, (both & ((one << down) - one)) | low, low & ((one << beyond) - one))
    return bits | ((rest != 0) | sticky).astype(np.uint64), exponent - left


def _round(bits: Any, exponent: Any, negative: Any, fmt: Format, mode: Rounding) -> F64:
    """bits 2^exponent rounded once, for 62-bit significands that were rounded to odd."""
    quantum = np.maximum(exponent + 61, fmt.emin) - fmt.precision + 1
    shift = np.clip(quantum - exponent, 1, 63).astype(np.uint64)  # beyond 63 everything is below half a quantum
    one = np.uint64(1)
    whole, rest, half = bits >> shift, bits & ((one << shift) - one), one << (shift - one)
    if mode is Rounding.NEAREST:
        more = (rest > half) | ((rest == half) & (whole & one == one))
    elif mode is Rounding.NEAREST_AWAY:
        more = rest >= half
    elif mode is Rounding.TO_ODD:
        more = (rest > 0) & (whole & one == 0)
    elif mode is Rounding.TOWARD_ZERO:
        more = np.zeros(rest.shape, bool)
    else:
        more = (rest > 0) & (negative == (mode is Rounding.DOWN))
    with np.errstate(over="ignore"):
        magnitude = np.ldexp((whole + more).astype(np.float64), quantum)
    if mode.to_nearest:
        most: Any = np.inf
    elif mode in (Rounding.UP, Rounding.DOWN):
        most = np.where(negative == (mode is Rounding.DOWN), np.inf, fmt.max)
    else:
        most = fmt.max
    return np.where(magnitude > fmt.max, most, magnitude)


__all__ = ["Accumulator"]
