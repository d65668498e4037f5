"""Arguments of sine, cosine and tangent, reduced to the nearest multiple of pi / 2, with relative accuracy.

Below 2^20 by the subtraction of Cody and Waite in three steps, above by the integer arithmetic of Payne and Hanek.
No binary32 argument but 0 comes nearer to a multiple of pi / 2 than 2^-29.3 (16367173 2^72 does), which continued
fractions show and a test repeats.

Source   Muller, Elementary Functions, 3rd edition 2016, doi:10.1007/978-1-4899-7983-4, sections 11.2, 11.4 and 11.5.
"""

from __future__ import annotations

from typing import TypeAlias

import flint
import numpy as np
from numpy.typing import NDArray

from torchlean.floats.elementary.constants import split
from torchlean.floats.rounding import F64

I64: TypeAlias = NDArray[np.int64]

CODY_WAITE = 2.0**20  # below it |k| < 2^20
_FIRST, _LAST = -4, 105  # the last significand bits of 24-bit numbers from 2^19 to 2^129 weigh 2^-4 to 2^105


def _words() -> list[NDArray[np.uint64]]:
    """2^118 (2^e 2 / pi modulo 4) for e = _FIRST ... _LAST, rounded down, as words of 40 bits; the highest first."""
    with flint.ctx.workprec(400):
        mantissa, exponent = (2 / flint.arb.pi()).mid().man_exp()
    words = np.empty((3, _LAST + 1 - _FIRST), np.uint64)
    for column, e in enumerate(range(_FIRST, _LAST + 1)):
        window = int(mantissa) >> -int(exponent) - 118 - e
        words[:, column] = [window >> shift & (1 << 40) - 1 for shift in (80, 40, 0)]
    return list(words)


_TWO_OVER_PI, _HALF_PI = split(lambda: 2 / flint.arb.pi())[0], split(lambda: flint.arb.pi() / 2)[0]
# pi / 2 in three parts; the first two have at most 33 bits, so that their multiples by k < 2^20 are exact.
_HIGH = split(lambda: flint.arb.pi() / 2, -32)[0]
_MIDDLE, _LOW = split(lambda: flint.arb.pi() / 2 - _HIGH, -65)
_WORDS = _words()
_SHIFT, _MASK = np.uint64(40), np.uint64((1 << 40) - 1)


def _cody_waite(x: F64) -> tuple[I64, F64]:
    k = x * _TWO_OVER_PI
    np.rint(k, out=k)
    # The first two multiples are exact. So is the first difference: where k is not 0 both sides are whole multiples
    # of 2^-53, and of 2^-32 if |k| is large, less than 1 apart.
    r = x - k * _HIGH
    r -= k * _MIDDLE
    r -= k * _LOW
    return k.astype(np.int64), r


def _payne_hanek(x: F64) -> tuple[I64, F64]:
    bits = x.view(np.int64)
    column = (bits >> 52 & 0x7FF) - (1023 + 23 + _FIRST)
    significand = (bits >> 29 & 0x7FFFFF | 0x800000).view(np.uint64)  # of 24 bits: x is a binary32 number
    high, middle, low = (words.take(column, mode="clip") for words in _WORDS)
    # 24 bits times 40, and a carry of 24: below 2^64 at each step. The highest word keeps its part modulo 4.
    low *= significand
    middle *= significand
    middle += low >> _SHIFT
    high *= significand
    high += middle >> _SHIFT
    high &= _MASK  # 2 bits of k and 38 of the fraction
    k = (high + np.uint64(1 << 37) >> np.uint64(38)).view(np.int64)
    r = (high.view(np.int64) - (k << 38)) * 2.0**-38
    r += (middle & _MASK) * 2.0**-78
    r += (low & _MASK) * 2.0**-118
    r *= _HALF_PI
    negative = bits < 0
    np.negative(k, out=k, where=negative)
    np.negative(r, out=r, where=negative)
    return k, r


def quarter_turns(x: F64) -> tuple[I64, F64]:
    """(k, r) with x = k pi / 2 + r, k modulo 4, and |r| <= pi / 4 (1 + 2^-30).

    Shapes   x: [n] float64, binary32 numbers -> [n] int64, [n] float64
    Error    of r, relative, with u = 2^-53. Below 2^20: 2.1 u, for two roundings of r; the multiple of the last part
             errs by k 2^-66 u, which is below 2^-46 u where |r| may be as small as 2^-28.
             Above: 3.5 u, for the two last additions, the factor pi / 2 and its product. What was cut off below
             2^-118 costs at most 2^24 2^-118 of a quarter turn, 2^-64 of the least r.
    Wide     below 2^6 the same for every float64 x: the least |r| is 2^-61 (Muller, section 11.3.2), k 2^-66 u below
             it. Where the second difference is below 2^-13 it is exact, as a multiple of 2^-66.
    """
    small = np.abs(x) < CODY_WAITE
    if small.all():
        return _cody_waite(x)
    if not small.any():
        return _payne_hanek(x)
    k, r = _cody_waite(np.where(small, x, 0.0))
    large = ~small
    k[large], r[large] = _payne_hanek(x[large])
    return k, r
