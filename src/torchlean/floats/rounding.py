"""Rounding by hand: a float64 number or an exact rational, into a format. The processor's mode is never touched."""

from __future__ import annotations

from enum import Enum
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from torchlean.errors import UsageError
from torchlean.floats.formats import BINARY16, BINARY32, BINARY64, Format, exact, next_down, next_up
from torchlean.floats.steps import in_blocks, stepped
from torchlean.floats.transforms import two_sum

if TYPE_CHECKING:
    import flint

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


def narrow(x: F64, up: bool) -> F32:
    """float64 to float32, up or down. A block of `in_blocks`: one pass over arrays that fit the cache."""
    nearest = x.astype(np.float32)
    return stepped(nearest, nearest < x if up else nearest > x, up)


def _round_directed(x: F64, fmt: Format, up: bool) -> NDArray[Any]:
    if fmt is BINARY32:
        return in_blocks(lambda block: (narrow(block, up),), 1, np.float32, x)[0]
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


def round_onto(x: NDArray[Any], fmt: Format) -> NDArray[Any]:
    """x with its values rounded once onto the numbers of a format, ties to even; the dtype of x stays.

    Overflow   infinite, or NaN where the format has no infinity

    Shapes   x: [*s] float32 or float64 -> the same
    """
    with np.errstate(invalid="ignore"):  # a signaling NaN is quieted
        return round_nearest(np.asarray(x, np.float64), fmt).astype(np.asarray(x).dtype)


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
    import flint

    p, q = exact(x).as_integer_ratio()
    return flint.fmpq(p, q)


__all__ = [
    "BINARY32", "BINARY64", "F32", "F64", "Rounding", "narrow", "odd_float32", "odd_sum", "rational", "round_down",
    "round_nearest", "round_rational", "round_up",
]  # fmt: skip
