"""What is decided before any kernel or ball: special values of two arguments, and exact results.

Source   IEEE 754-2019, 9.2.1, for pow, hypot, atan2, rSqrt, exp2, log2, log10.
"""

from __future__ import annotations

import numpy as np

from torchlean.floats.elementary.function import Settled
from torchlean.floats.elementary.powers import cbrt
from torchlean.floats.rounding import F64, two_product

_TENS = np.array([float(10**k) for k in range(23)])  # the powers of ten that are float64 numbers


def exact_exp2(x: F64) -> Settled:
    """Whole x in the range of binary64; its other dyadic results do not exist."""
    known = (np.rint(x) == x) & (np.abs(x) <= 1022)
    return np.ldexp(1.0, np.where(known, x, 0.0).astype(np.int64)), known


def exact_log2(x: F64) -> Settled:
    mantissa, exponent = np.frexp(x)
    return (exponent - 1).astype(np.float64), mantissa == 0.5


def exact_log10(x: F64) -> Settled:
    place = np.clip(np.searchsorted(_TENS, x), 0, len(_TENS) - 1)
    return place.astype(np.float64), _TENS[place] == x


def exact_sqrt(x: F64) -> Settled:
    """Squares: a root with more than 27 bits has a square with more than 53, so that r is exact where r r is."""
    root = np.sqrt(x)
    product, error = two_product(root, root)
    return root, (product == x) & (error == 0)


def exact_rsqrt(x: F64) -> Settled:
    """Powers of four: the root of any other dyadic number has an odd factor, and its reciprocal is not dyadic."""
    mantissa, exponent = np.frexp(x)
    half = exponent - 1
    return np.ldexp(1.0, -(half >> 1)), (mantissa == 0.5) & (half % 2 == 0)


def exact_cbrt(x: F64) -> Settled:
    """Cubes. A root with more than 18 bits has a cube with more than 53."""
    _, exponent = np.frexp(x)
    third = exponent // 3
    small = np.ldexp(x, -3 * third)  # in [1/2, 4)
    root = np.rint(cbrt(small) * 2.0**18) * 2.0**-18
    return np.ldexp(root, third), root * root * root == small


def rsqrt(x: F64) -> Settled:
    """rSqrt(+-0) = +-inf, rSqrt(inf) = +0, NaN below 0."""
    values, settled = exact_rsqrt(x)
    values = np.where(settled, values, np.where(x == 0, np.copysign(np.inf, x), 0.0))
    invalid = np.isnan(x) | (x < 0)
    values[invalid] = np.nan
    return values, settled | invalid | (x == 0) | np.isinf(x)


def hypot(x: F64, y: F64) -> Settled:
    """An infinity wins over NaN; |x| where the other is 0. For other exact roots the ball is exact."""
    x, y = np.abs(x), np.abs(y)
    infinite = np.isinf(x) | np.isinf(y)
    values = np.where(infinite, np.inf, x + y)
    return values, infinite | np.isnan(values) | (x == 0) | (y == 0)


def pow(x: F64, y: F64) -> Settled:
    """IEEE 754-2019 pow: pow(x, 0) = 1 and pow(1, y) = 1 even for NaN, pow(-1, inf) = 1, NaN for x < 0 and y not whole.

    Finite results beside these are exact where |x| is a power of two or where y = n / 2^j and x is a 2^j-th power; the
    ball finds the latter.
    """
    size = np.abs(x)
    whole = np.floor(y) == y
    half = y * 0.5
    odd = whole & (np.floor(half) != half)
    limit = (x == 0) | np.isinf(x) | np.isinf(y)
    values = np.where(size == 1, 1.0, np.where((size > 1) == (y > 0), np.inf, 0.0))
    mantissa, exponent = np.frexp(size)
    power = (exponent - 1) * y
    two = (mantissa == 0.5) & (np.rint(power) == power) & (np.abs(power) <= 1000) & ~limit
    values[two] = np.ldexp(1.0, power[two].astype(np.int64))
    values = np.where(odd & np.signbit(x), -values, values)
    invalid = np.isnan(x) | np.isnan(y) | ((x < 0) & np.isfinite(x) & ~whole)
    values[invalid] = np.nan
    one = (y == 0) | (x == 1)
    values[one] = 1.0
    return values, limit | two | invalid | one


def atan2(y: F64, x: F64) -> Settled:
    """+-0 where x is positive or +0; NaN for NaN. The other special values are fractions of pi: see `atan2_alike`."""
    zero = (y == 0) & ~np.signbit(x)
    zero |= np.isfinite(y) & (x == np.inf)
    invalid = np.isnan(x) | np.isnan(y)
    return np.where(invalid, np.nan, np.copysign(0.0, y)), zero & ~invalid | invalid


def atan2_between(y: F64, x: F64) -> tuple[F64, F64]:
    """|atan2(y, x)| < |y / x| for x > 0, stated where the quotient of these binary32 numbers has at most 29 bits.

    Such a quotient is exact: another differs from a number of 29 bits by more than half an ulp, since 29 bits times the
    24 of x make 53. Only there may a small angle lie beside a number or midpoint of a format, which have 25.
    """
    quotient = y / x
    short = (np.ascontiguousarray(quotient).view(np.int64) & ((1 << 24) - 1)) == 0
    known = short & (x > 0)
    return np.where(known, np.minimum(quotient, 0.0), -np.inf), np.where(known, np.maximum(quotient, 0.0), np.inf)


def atan2_alike(y: F64, x: F64) -> tuple[F64, F64]:
    """Zeros and infinities as finite arguments: the fractions of pi are no closer to any number or midpoint of a format
    than 2^-149 is to 0."""
    far_y, far_x = np.isinf(y), np.isinf(x)
    behind = np.signbit(x) & ~far_y & ((y == 0) | far_x)  # +-pi
    y = np.where(behind, np.copysign(2.0**-149, y), np.where(far_y, np.copysign(1.0, y), y))
    across = np.where(far_y, np.where(far_x, np.sign(x), 0.0), x)  # pi/4, pi/2, 3 pi/4
    return y, np.where(behind, -1.0, across)
