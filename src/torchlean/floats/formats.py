"""Binary floating-point formats as data, and steps along their number lines.

A format is its precision, its exponent range (IEEE 754-2019, table 3.5) and its special values. Every finite number of
a format here is also a binary64 number, so a float64 array can carry any of them exactly.
"""

from __future__ import annotations

from enum import Enum
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchlean.errors import Unsupported, UsageError
from torchlean.frozen import frozen


class Specials(Enum):
    """Which patterns are no finite number."""

    IEEE = "the last exponent holds the infinities and the NaNs"
    ONE_NAN = "no infinity; all ones is NaN, and the rest of the last exponent are numbers (OCP FP8, E4M3)"


@frozen
class Format:
    """One binary format with subnormals and signed zeros, stored as sign, biased exponent and fraction.

    name        the numpy name of the dtype that stores it, where there is one
    precision   significand bits, the hidden one included
    emin, emax  exponents of the smallest normal number 2^emin and of the largest binade
    specials    where the NaNs are, and whether there are infinities
    """

    name: str
    precision: int
    emin: int
    emax: int
    specials: Specials = Specials.IEEE

    def __post_init__(self) -> None:
        if self.precision < 2 or self.emin >= self.emax:
            raise UsageError(
                "a format needs two significand bits and an exponent range",
                where=f"format {self.name}",
                expected="precision >= 2 and emin < emax",
                got=f"precision {self.precision}, emin {self.emin}, emax {self.emax}",
                fix="use one of floats.FORMATS, or correct the numbers",
            )
        if self._last_exponent & (self._last_exponent + 1):
            raise UsageError(
                "a format's exponents do not fill a field of bits",
                where=f"format {self.name}",
                expected="2^k - 2 normal exponents, or 2^k - 1 where there is no infinity",
                got=f"{self.emax - self.emin + 1} exponents, {self.emin} to {self.emax}",
                fix="build it with floats.Format.custom(name, exponent_bits, precision)",
            )
        if self.precision > 53 or self.emin - self.precision < -1075 or self.emax > 1023:
            raise UsageError(
                "a format reaches beyond binary64",
                where=f"format {self.name}",
                expected="precision <= 53, smallest subnormal >= 2^-1074, emax <= 1023",
                got=f"precision {self.precision}, emin {self.emin}, emax {self.emax}",
                fix="choose fewer exponent or significand bits",
            )

    @classmethod
    def custom(cls, name: str, exponent_bits: int, precision: int, specials: Specials = Specials.IEEE) -> Format:
        """The format with this field of exponents and IEEE's bias, 2^(exponent_bits - 1) - 1.

        Raises UsageError for less than two exponent bits or two significand bits, and beyond binary64.
        """
        if exponent_bits < 2:
            raise UsageError(
                "a format needs exponent bits",
                where=f"format {name}",
                expected="at least two: zeros and subnormals take one pattern, infinities and NaN another",
                got=f"{exponent_bits} exponent bits",
                fix="give the format two exponent bits or more",
            )
        bias = (1 << (min(exponent_bits, 64) - 1)) - 1
        return cls(name, precision, 1 - bias, bias + (specials is Specials.ONE_NAN), specials)

    @property
    def unit_roundoff(self) -> float:
        """u = 2^-precision: the largest relative error of rounding to nearest in the normal range."""
        return float(2.0**-self.precision)

    @property
    def smallest_normal(self) -> float:
        return float(2.0**self.emin)

    @property
    def smallest_subnormal(self) -> float:
        return float(np.ldexp(1.0, self.emin - self.precision + 1))

    @property
    def max(self) -> float:
        """The largest finite number."""
        lost = 1 - self.precision if self.has_infinity else 2 - self.precision
        return float(np.ldexp(2.0 - 2.0**lost, self.emax))

    @property
    def has_infinity(self) -> bool:
        return self.specials is Specials.IEEE

    # the bit pattern, from its low end: fraction, exponent, sign

    @property
    def _last_exponent(self) -> int:
        return self.emax - self.emin + (2 if self.has_infinity else 1)

    @property
    def bias(self) -> int:
        return 1 - self.emin

    @cached_property
    def exponent_bits(self) -> int:
        return self._last_exponent.bit_length()

    @property
    def fraction_bits(self) -> int:
        return self.precision - 1

    @cached_property
    def width(self) -> int:
        """Bits of a pattern."""
        return 1 + self.exponent_bits + self.fraction_bits

    @cached_property
    def storage(self) -> np.dtype[Any]:
        """The unsigned dtype of a bit pattern, which lies in its low `width` bits.

        (A tf32 pattern shifted left by 13 is the binary32 pattern of the same number.)
        """
        return np.dtype(f"u{next(n for n in (1, 2, 4, 8) if 8 * n >= self.width)}")

    @cached_property
    def magnitude_mask(self) -> int:
        """All bits but the sign."""
        return (1 << (self.width - 1)) - 1

    @cached_property
    def max_bits(self) -> int:
        """The largest finite number; what lies above in magnitude is infinite or NaN."""
        return (self._last_exponent << self.fraction_bits) - 1 if self.has_infinity else self.magnitude_mask - 1

    @cached_property
    def last_number_bits(self) -> int:
        """Infinity, or the largest finite number where there is none; what lies above in magnitude is NaN."""
        return self.max_bits + self.has_infinity

    @cached_property
    def quiet_bit(self) -> int:
        """The fraction's first bit, set in a quiet NaN (IEEE 754-2019, 6.2.1). A single NaN is quiet."""
        return 1 << (self.fraction_bits - 1)

    @cached_property
    def nan_bits(self) -> int:
        """The quiet NaN with sign and payload 0."""
        return self.last_number_bits | self.quiet_bit if self.has_infinity else self.magnitude_mask

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy dtype. Raises Unsupported where none exists, or where it needs ml_dtypes and that is missing."""
        if CATALOG.get(self.name) != self or self.name == "tf32":
            raise Unsupported(
                "no numpy dtype stores this format",
                where=f"format {self.name}",
                expected="a format with a dtype: " + ", ".join(n for n in CATALOG if n != "tf32"),
                got=self.name,
                fix="keep it as bit patterns of dtype Format.storage, and compute with floats.soft",
            )
        if self.name in ("float16", "float32", "float64"):
            return np.dtype(self.name)
        try:
            import ml_dtypes
        except ImportError:
            raise Unsupported(
                f"numpy has no {self.name} of its own",
                where="floats.formats",
                expected="the package ml_dtypes",
                got="not installed",
                fix="pip install ml_dtypes, or use f32",
            ) from None
        found: np.dtype[Any] = np.dtype(getattr(ml_dtypes, self.name))
        return found

    def __str__(self) -> str:
        return self.name


BINARY16 = Format("float16", 11, -14, 15)
BINARY32 = Format("float32", 24, -126, 127)
BINARY64 = Format("float64", 53, -1022, 1023)
BFLOAT16 = Format("bfloat16", 8, -126, 127)
TF32 = Format("tf32", 11, -126, 127)
E4M3FN = Format("float8_e4m3fn", 4, -6, 8, Specials.ONE_NAN)
E5M2 = Format("float8_e5m2", 3, -14, 15)

# The formats that programs compute in; and every named one (fp8: OCP 8-bit Floating Point Specification, table 1).
FORMATS: dict[str, Format] = {f.name: f for f in (BINARY16, BINARY32, BINARY64, BFLOAT16)}
CATALOG: dict[str, Format] = FORMATS | {f.name: f for f in (TF32, E4M3FN, E5M2)}


def format_of(dtype: Any) -> Format:
    """The format of this name, or that a numpy dtype stores. Raises UsageError for one that is not here."""
    name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    try:
        return CATALOG[name]
    except KeyError:
        raise UsageError(
            "no floating-point format of this name",
            where="floats.format_of",
            expected=", ".join(CATALOG),
            got=name,
            fix="cast to one of these dtypes first",
        ) from None


def ulp(x: NDArray[np.float64], fmt: Format = BINARY32) -> NDArray[np.float64]:
    """Spacing of the format's numbers in the binade of |x|; the subnormal spacing below it.

    Shapes     x: [*s] float64 -> [*s] float64
    NaN, inf   NaN
    """
    x = np.asarray(x, np.float64)
    _, exponent = np.frexp(x)
    with np.errstate(all="ignore"):
        step = np.ldexp(1.0, np.maximum(exponent - 1, fmt.emin) - fmt.precision + 1)
        return np.where(np.isfinite(x), np.where(x == 0, fmt.smallest_subnormal, step), np.nan)


def step_bits(bits: NDArray[Any], fmt: Format, upward: bool) -> NDArray[Any]:
    """The neighbouring pattern on one side: magnitudes of one sign are ordered as their patterns.

    From the zeros to the smallest subnormal; an infinity on that side and NaN stay; the largest number of a format
    without infinity becomes NaN.   Shapes   bits: [*s] of fmt.storage -> the same
    """
    kind = fmt.storage.type
    magnitude = bits & kind(fmt.magnitude_mask)
    negative = bits > kind(fmt.magnitude_mask)
    outward = ~negative if upward else negative
    moved = bits + np.where(outward, kind(1), ~kind(0))
    smallest = kind(1 if upward else fmt.magnitude_mask + 2)
    stays = magnitude > kind(fmt.last_number_bits)
    if fmt.has_infinity:
        stays |= outward & (magnitude == kind(fmt.last_number_bits))
    return np.asarray(np.where(magnitude == 0, smallest, np.where(stays, bits, moved)), fmt.storage)


def _step(x: NDArray[Any], upward: bool) -> NDArray[Any]:
    x = np.asarray(x)
    fmt = format_of(x.dtype)
    bits = np.ascontiguousarray(x).view(fmt.storage).reshape(x.shape)
    return step_bits(bits, fmt, upward).view(x.dtype)


def next_up(x: NDArray[Any]) -> NDArray[Any]:
    """The least number of x's format above x; from -inf to -MAX, from MAX to inf; inf and NaN stay.

    Shapes   x: [*s] of a float dtype -> the same
    Source   IEEE 754-2019, 5.3.1 nextUp
    """
    return _step(x, upward=True)


def next_down(x: NDArray[Any]) -> NDArray[Any]:
    """The greatest number of x's format below x; -inf and NaN stay. Source: IEEE 754-2019, 5.3.1 nextDown."""
    return _step(x, upward=False)


def exact(x: float) -> Fraction:
    """The real number that a finite float stands for. Raises UsageError for NaN and infinities."""
    if not np.isfinite(x):
        raise UsageError(
            "only a finite float is a real number",
            where="floats.exact",
            expected="a finite float",
            got=repr(float(x)),
            fix="handle NaN and infinities before",
        )
    return Fraction(float(x))
