"""Rounding by hand: into a format, and the directed float64 operations that intervals are made of.

The processor's rounding mode is never touched. A directed result is the nearest one, moved by one step where the error
that an error-free transform found says so.
"""

from __future__ import annotations

from enum import Enum
from fractions import Fraction
from typing import Any, TypeAlias

import flint
import numpy as np
from numpy.typing import NDArray

from torchlean.errors import UsageError
from torchlean.floats.formats import BINARY16, BINARY32, BINARY64, Format, exact, next_down, next_up

F64: TypeAlias = NDArray[np.float64]
F32: TypeAlias = NDArray[np.float32]


class Rounding(Enum):
    """Directions of IEEE 754-2019, section 4.3, and rounding to odd.

    To odd, an inexact result takes the neighbour whose last significand bit is 1: a later rounding at two bits less
    then rounds the exact value once (Boldo and Melquiond 2008, doi:10.1109/TC.2007.70819).
    """

    NEAREST = "to nearest, ties to even"
    NEAREST_AWAY = "to nearest, ties away from zero"
    TOWARD_ZERO = "toward zero"
    UP = "toward +inf"
    DOWN = "toward -inf"
    TO_ODD = "to odd"

    @property
    def to_nearest(self) -> bool:
        return self in (Rounding.NEAREST, Rounding.NEAREST_AWAY)

    @classmethod
    def named(cls, name: str) -> Rounding:
        """The direction of this name, its own or IEEE 754's: "UP", "roundTowardPositive". Raises UsageError."""
        found = {**cls.__members__, **{ieee: cls[own] for own, ieee in _IEEE_NAMES.items()}}.get(name)
        if found is None:
            raise UsageError(
                "no rounding direction of this name",
                where="floats.Rounding.named",
                expected=", ".join(f"{own} ({ieee})" for own, ieee in _IEEE_NAMES.items()),
                got=str(name),
                fix="use one of these names",
            )
        return found

    def away(self, negative: bool) -> bool:
        """Whether an inexact result of this sign takes the neighbour of larger magnitude; directed modes only."""
        return self is (Rounding.DOWN if negative else Rounding.UP)


_IEEE_NAMES = {
    "NEAREST": "roundTiesToEven",
    "NEAREST_AWAY": "roundTiesToAway",
    "TOWARD_ZERO": "roundTowardZero",
    "UP": "roundTowardPositive",
    "DOWN": "roundTowardNegative",
    "TO_ODD": "roundToOdd",
}


def _round_directed(x: F64, fmt: Format, up: bool) -> NDArray[Any]:
    nearest = round_nearest(x, fmt)
    back = nearest.astype(np.float64)
    wrong = back < x if up else back > x
    return np.where(wrong, next_up(nearest) if up else next_down(nearest), nearest).astype(fmt.dtype)


def round_up(x: F64, fmt: Format = BINARY32) -> NDArray[Any]:
    """Smallest number of the format >= x.

    Shapes   x: [*s] float64 -> [*s] of the format's dtype
    Error    0 <= result - x < ulp(result)
    NaN      NaN.   Overflow  +inf above MAX, -MAX below -MAX, -inf only from -inf
    """
    return _round_directed(np.asarray(x, np.float64), fmt, up=True)


def round_down(x: F64, fmt: Format = BINARY32) -> NDArray[Any]:
    """Largest number of the format <= x. The mirror image of `round_up`."""
    return _round_directed(np.asarray(x, np.float64), fmt, up=False)


def round_nearest(x: F64, fmt: Format = BINARY32) -> NDArray[Any]:
    """x rounded once to the format, ties to even.

    Shapes   x: [*s] float64 -> [*s] of the format's dtype
    """
    x = np.asarray(x, np.float64)
    with np.errstate(all="ignore"):
        if fmt in (BINARY32, BINARY64, BINARY16):
            return x.astype(fmt.dtype)
        # The library goes through float32 and would round twice; float32 rounded to odd keeps what the second needs.
        return odd_float32(x).astype(fmt.dtype)


def odd_float32(x: F64) -> F32:
    """x rounded to odd in float32: where inexact, the neighbour with the odd significand.

    A later rounding to nearest at a precision of at most 22 bits then gives what one rounding of x would.
    Source   Boldo and Melquiond 2008, doi:10.1109/TC.2007.70819.
    """
    with np.errstate(all="ignore"):
        nearest = np.asarray(x, np.float64).astype(np.float32)
    back = nearest.astype(np.float64)
    even = (np.ascontiguousarray(nearest).view(np.int32).reshape(nearest.shape) & 1) == 0
    move_up = even & (back < x)
    move_down = even & (back > x)
    return np.where(move_up, next_up(nearest), np.where(move_down, next_down(nearest), nearest)).astype(np.float32)


def odd_sum(a: F64, b: F64) -> F64:
    """a + b rounded to odd in float64, so that rounding the result to float32 rounds the exact sum once."""
    with np.errstate(all="ignore"):
        s, e = two_sum(a, b)
    even = (np.ascontiguousarray(s).view(np.int64).reshape(np.shape(s)) & 1) == 0
    usable = even & np.isfinite(s)
    return np.where(usable & (e > 0), next_up(s), np.where(usable & (e < 0), next_down(s), s))


def round_rational(q: Fraction | flint.fmpq, fmt: Format = BINARY32, mode: Rounding = Rounding.NEAREST) -> float:
    """An exact rational rounded once to the format; the result is exact as a Python float.

    Overflow   to nearest: inf from (2 - 2^-precision) 2^emax on; directed away from zero: inf above MAX; toward zero
               and to odd: MAX. A zero result is +0 when q >= 0 and -0 when q < 0. A format without infinity is
               refused: floats.soft.encode takes a rule for its overflow.
    """
    if not fmt.has_infinity:
        raise UsageError(
            "the format has no infinity to overflow to",
            where="floats.round_rational",
            expected="a format with infinities",
            got=fmt.name,
            fix="floats.soft.encode(q, fmt, mode, Rules(overflow=...))",
        )
    numerator, denominator = int(q.numerator), int(q.denominator)
    if numerator == 0:
        return 0.0
    negative, numerator = numerator < 0, abs(numerator)
    # exponent = floor(log2(q)), by bit lengths and one comparison
    exponent = numerator.bit_length() - denominator.bit_length()
    if (numerator << max(-exponent, 0)) < (denominator << max(exponent, 0)):
        exponent -= 1
    quantum = max(exponent, fmt.emin) - fmt.precision + 1
    whole, rest = divmod(numerator << max(-quantum, 0), denominator << max(quantum, 0))
    scaled_denominator = denominator << max(quantum, 0)
    if mode.to_nearest:
        tie_up = mode is Rounding.NEAREST_AWAY or whole % 2 == 1
        whole += 2 * rest > scaled_denominator or (2 * rest == scaled_denominator and tie_up)
    elif mode is Rounding.TO_ODD:
        whole |= rest > 0
    elif rest and mode.away(negative):
        whole += 1
    last = fmt.emax - fmt.precision + 1  # the quantum of the largest binade
    if quantum > last or (quantum == last and whole >> fmt.precision):
        magnitude = float("inf") if mode.to_nearest or mode.away(negative) else fmt.max
    else:
        magnitude = float(np.ldexp(float(whole), quantum))
    return -magnitude if negative else magnitude


def rational(x: float) -> flint.fmpq:
    """The exact value of a finite float as a FLINT rational. Raises UsageError for NaN and infinities."""
    p, q = exact(x).as_integer_ratio()
    return flint.fmpq(p, q)


def two_sum(a: F64, b: F64) -> tuple[F64, F64]:
    """(s, e) with s = fl(a + b) and s + e = a + b exactly, unless s overflows.

    Shapes   a, b: broadcast, one float dtype
    Source   Knuth, TAOCP 2, 4.2.2, theorem B; subnormals included.
    """
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


_SPLIT = 134217729.0  # 2^27 + 1


def _halves(a: F64) -> tuple[F64, F64]:
    c = _SPLIT * a
    high = c - (c - a)
    return high, a - high


def two_product(a: F64, b: F64) -> tuple[F64, F64]:
    """(p, e) with p = fl(a b) and p + e = a b exactly, for |a|, |b| <= 2^995 and 2^-968 <= |a b| <= 2^1020 or a b = 0.

    Shapes   a, b: broadcast float64
    Source   Dekker 1971, doi:10.1007/BF01397083.
    """
    p = a * b
    ah, al = _halves(a)
    bh, bl = _halves(b)
    return p, ((ah * bh - p) + ah * bl + al * bh) + al * bl


_BIG, _SMALL, _HUGE = 2.0**995, 2.0**-960, 2.0**1020


def _directed(s: F64, low: Any, high: Any, up: bool) -> F64:
    """s moved one step where the exact value lies beyond it on the side of `up`.

    low, high   whether the exact value is below, above s
    """
    if up:
        return np.where(high, np.nextafter(s, np.inf), s)
    return np.where(low, np.nextafter(s, -np.inf), s)


def _add(a: F64, b: F64, up: bool) -> F64:
    with np.errstate(all="ignore"):
        s, e = two_sum(a, b)
        overflow = np.isinf(s) & np.isfinite(a) & np.isfinite(b)
        spurious = np.isfinite(s) & ~np.isfinite(e)  # near MAX the transform itself may overflow
        low, high = (np.isfinite(s) & (e < 0)) | spurious, (np.isfinite(s) & (e > 0)) | spurious
        return _directed(s, low | (overflow & (s > 0)), high | (overflow & (s < 0)), up)


def add_down(a: F64, b: F64) -> F64:
    """Largest float64 <= a + b. Tight. inf - inf is NaN.   Shapes   a, b: broadcast."""
    return _add(np.asarray(a, np.float64), np.asarray(b, np.float64), up=False)


def add_up(a: F64, b: F64) -> F64:
    """Smallest float64 >= a + b. Tight. inf - inf is NaN.   Shapes   a, b: broadcast."""
    return _add(np.asarray(a, np.float64), np.asarray(b, np.float64), up=True)


def sub_down(a: F64, b: F64) -> F64:
    """Largest float64 <= a - b."""
    return add_down(a, np.negative(b))


def sub_up(a: F64, b: F64) -> F64:
    """Smallest float64 >= a - b."""
    return add_up(a, np.negative(b))


def _finish(s: F64, error: F64, exactly: Any, usable: Any, infinite: Any, sign: F64, up: bool) -> F64:
    """One step by the sign of `error` where it is `usable`; always one step where neither that nor `exactly` holds.

    sign   of the exact result, which the step never crosses
    """
    unknown = ~usable & ~exactly & ~infinite
    known = usable & ~exactly
    stepped = _directed(s, (known & (error < 0)) | unknown, (known & (error > 0)) | unknown, up)
    if up:
        return np.where(unknown & (sign < 0) & (stepped > 0), -0.0, stepped)
    return np.where(unknown & (sign > 0) & (stepped < 0), 0.0, stepped)


def _mul(a: F64, b: F64, up: bool) -> F64:
    with np.errstate(all="ignore"):
        p, e = two_product(a, b)
        size = np.abs(p)
        usable = (np.abs(a) <= _BIG) & (np.abs(b) <= _BIG) & (size >= _SMALL) & (size <= _HUGE)
        zero = (a == 0) | (b == 0)
        return _finish(p, e, zero | np.isnan(p), usable, np.isinf(a) | np.isinf(b), np.sign(a) * np.sign(b), up)


def mul_down(a: F64, b: F64) -> F64:
    """A float64 <= a b: the largest when 2^-960 <= |a b| <= 2^1020 and |a|, |b| <= 2^995, else at most one step lower.

    0 times a finite number is 0; 0 times inf is NaN.   Shapes   a, b: broadcast.
    """
    return _mul(np.asarray(a, np.float64), np.asarray(b, np.float64), up=False)


def mul_up(a: F64, b: F64) -> F64:
    """A float64 >= a b. The mirror image of `mul_down`."""
    return _mul(np.asarray(a, np.float64), np.asarray(b, np.float64), up=True)


def _div(a: F64, b: F64, up: bool) -> F64:
    with np.errstate(all="ignore"):
        q = a / b
        p, e = two_product(q, b)
        rest = ((a - p) - e) * np.sign(b)  # a - p is exact (Sterbenz); the last subtraction keeps the sign
        size = np.abs(a)
        within = (np.abs(q) <= _BIG) & (np.abs(b) <= _BIG) & (size >= _SMALL) & (size <= _HUGE) & (np.abs(q) >= _SMALL)
        exactly = (a == 0) | np.isnan(q)
        infinite = np.isinf(a) | np.isinf(b) | (b == 0)
        return _finish(q, rest, exactly, within & np.isfinite(q), infinite, np.sign(a) * np.sign(b), up)


def div_down(a: F64, b: F64) -> F64:
    """A float64 <= a / b: the largest inside the range stated at `mul_down`, else at most one step lower.

    b = 0 gives what IEEE division gives.   Shapes   a, b: broadcast.
    """
    return _div(np.asarray(a, np.float64), np.asarray(b, np.float64), up=False)


def div_up(a: F64, b: F64) -> F64:
    """A float64 >= a / b. The mirror image of `div_down`."""
    return _div(np.asarray(a, np.float64), np.asarray(b, np.float64), up=True)


def _sqrt(a: F64, up: bool) -> F64:
    with np.errstate(all="ignore"):
        # The square of the scale moves the argument into the range of the error-free product.
        scale = np.where(a < _SMALL, 2.0**128, np.where(a > _HUGE, 2.0**-128, 1.0))
        a = a * scale * scale
        s = np.sqrt(a)
        p, e = two_product(s, s)
        exactly = (a == 0) | np.isnan(s)
        return _finish(s, (a - p) - e, exactly, np.isfinite(a), np.isinf(a), s, up) / scale


def sqrt_down(a: F64) -> F64:
    """Largest float64 <= sqrt(a). Tight; NaN for a < 0."""
    return _sqrt(np.asarray(a, np.float64), up=False)


def sqrt_up(a: F64) -> F64:
    """Smallest float64 >= sqrt(a). The mirror image of `sqrt_down`."""
    return _sqrt(np.asarray(a, np.float64), up=True)


__all__ = [
    "BINARY32", "BINARY64", "F32", "F64", "Rounding", "add_down", "add_up", "div_down", "div_up", "mul_down", "mul_up",
    "odd_float32", "odd_sum", "rational", "round_down", "round_nearest", "round_rational", "round_up", "sqrt_down",
    "sqrt_up", "sub_down", "sub_up", "two_product", "two_sum",
]  # fmt: skip
