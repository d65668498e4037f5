"""Binary floating-point formats as data, and steps along their number lines.

A format is its precision and exponent range (IEEE 754-2019, table 3.5). Every finite number of a format here is also a
binary64 number, so a float64 array can carry any of them exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchlean.errors import Unsupported, UsageError


@dataclass(frozen=True)
class Format:
    """One binary format with subnormals, infinities and NaN.

    name        the numpy name of the dtype that stores it
    precision   significand bits, the hidden one included
    emin, emax  exponents of the smallest normal number 2^emin and of the largest binade
    """

    name: str
    precision: int
    emin: int
    emax: int

    def __post_init__(self) -> None:
        if self.precision < 2 or self.emin >= self.emax:
            raise UsageError(
                "a format needs two significand bits and an exponent range",
                where=f"format {self.name}",
                expected="precision >= 2 and emin < emax",
                got=f"precision {self.precision}, emin {self.emin}, emax {self.emax}",
                fix="use one of floats.FORMATS, or correct the numbers",
            )

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
        return float(np.ldexp(2.0 - 2.0 ** (1 - self.precision), self.emax))

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy dtype. Raises Unsupported for bfloat16 where ml_dtypes is not installed."""
        if self.name != "bfloat16":
            return np.dtype(self.name)
        try:
            import ml_dtypes
        except ImportError:
            raise Unsupported(
                "numpy has no bfloat16 of its own",
                where="floats.formats",
                expected="the package ml_dtypes",
                got="not installed",
                fix="pip install ml_dtypes, or use f32",
            ) from None
        found: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return found

    def __str__(self) -> str:
        return self.name


BINARY16 = Format("float16", 11, -14, 15)
BINARY32 = Format("float32", 24, -126, 127)
BINARY64 = Format("float64", 53, -1022, 1023)
BFLOAT16 = Format("bfloat16", 8, -126, 127)

FORMATS: dict[str, Format] = {f.name: f for f in (BINARY16, BINARY32, BINARY64, BFLOAT16)}


def format_of(dtype: Any) -> Format:
    """The format that a numpy dtype, or its name, stores. Raises UsageError for one that is not here."""
    name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    try:
        return FORMATS[name]
    except KeyError:
        raise UsageError(
            "no floating-point format of this name",
            where="floats.format_of",
            expected=", ".join(FORMATS),
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


_BITS: dict[int, type[np.signedinteger[Any]]] = {2: np.int16, 4: np.int32, 8: np.int64}


def _step(x: NDArray[Any], towards: int) -> NDArray[Any]:
    """The neighbour of x in its own dtype, by bits: numbers of one sign are ordered like their bit patterns."""
    x = np.asarray(x)
    integer = _BITS[format_of(x.dtype).dtype.itemsize]
    bits = np.ascontiguousarray(x).view(integer).reshape(x.shape)
    negative = bits < 0
    zero = x == 0
    with np.errstate(over="ignore"):  # the bits of a NaN or of -0 may wrap; their result is not used
        moved = bits + np.where(negative, -towards, towards).astype(integer)
    smallest = np.array(1 if towards > 0 else np.iinfo(integer).min + 1, integer)
    last = (bits == np.asarray(towards * np.inf, x.dtype).view(integer)) | np.isnan(x)
    result = np.where(zero, smallest, np.where(last, bits, moved)).astype(integer)
    return result.view(x.dtype).reshape(x.shape)


def next_up(x: NDArray[Any]) -> NDArray[Any]:
    """The least number of x's format above x; from -inf to -MAX, from MAX to inf; inf and NaN stay.

    Shapes   x: [*s] of a float dtype -> the same
    Source   IEEE 754-2019, 5.3.1 nextUp
    """
    return _step(x, 1)


def next_down(x: NDArray[Any]) -> NDArray[Any]:
    """The greatest number of x's format below x; -inf and NaN stay. Source: IEEE 754-2019, 5.3.1 nextDown."""
    return _step(x, -1)


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
