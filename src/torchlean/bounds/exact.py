"""Numbers read exactly, and rounded once, outward, when floats are asked for.

A float means its exact binary value; text such as "0.1" and a Fraction mean that decimal.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchlean.errors import DataError, DomainError, ShapeError

Number = int | float | str | Fraction | np.floating[Any] | np.integer[Any]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_MAX32 = float(np.finfo(np.float32).max)


def exact_values(values: Any, where: str) -> tuple[list[Fraction], tuple[int, ...]]:
    """Numbers read exactly, row-major, with their shape.

    Errors   DataError for NaN, infinity, a bool, or text that is no decimal; ShapeError for ragged nesting
    """
    if isinstance(values, np.ndarray) and values.dtype.kind == "f":
        finite = np.isfinite(values)
        if not bool(finite.all()):
            i = int(np.flatnonzero(~finite.ravel())[0])
            raise _not_a_number(values.ravel()[i], f"{where}[{i}]")
        return [Fraction(*v.as_integer_ratio()) for v in values.ravel().tolist()], tuple(values.shape)
    try:
        array = np.array(values, dtype=object)
    except ValueError as error:
        raise _ragged(where) from error
    flat = array.ravel().tolist()
    if any(isinstance(v, list | tuple | np.ndarray) for v in flat):
        raise _ragged(where)
    return [exact(v, f"{where}[{i}]") for i, v in enumerate(flat)], tuple(array.shape)


def exact(value: Any, where: str) -> Fraction:
    """One number read exactly: a float is its binary value, text is a decimal.

    Errors   DataError for NaN, infinity, a bool, or text that is no decimal
    """
    if isinstance(value, bool | np.bool_):
        raise _not_a_number(value, where)
    if isinstance(value, str) and len(value) > 4000:
        raise _not_a_number(value[:20] + "...", where)
    try:
        if isinstance(value, str):
            return _decimal(value)
        if isinstance(value, float | np.floating | Decimal):
            return Fraction(*value.as_integer_ratio())
        return Fraction(value) if isinstance(value, Fraction) else Fraction(index(value))
    except (ValueError, OverflowError, TypeError, ZeroDivisionError) as error:
        raise _not_a_number(value, where) from error


def both_roundings32(values: Sequence[Fraction]) -> tuple[F32, F32]:
    """Each value rounded down and up to float32.

    The nearest float64 q of v answers for v unless q is itself a float32: float32 values are float64 values and
    rounding is monotone, so v and q lie on the same side of every float32 but q. Only there are the rationals compared.
    """
    try:
        nearest = np.array([v.numerator / v.denominator for v in values], np.float64)
    except OverflowError:
        nearest = np.array([_nearest64(v) for v in values], np.float64)
    _refuse_beyond32(~(np.abs(nearest) <= _MAX32), values)
    single = nearest.astype(np.float32)
    back = single.astype(np.float64)
    above, below = back > nearest, back < nearest
    for i in np.flatnonzero(back == nearest).tolist():
        n, d = float(nearest[i]).as_integer_ratio()
        difference = n * values[i].denominator - d * values[i].numerator
        above[i], below[i] = difference > 0, difference < 0
    with np.errstate(over="ignore"):  # the neighbour of the largest float32 is infinite: refused where it is needed
        down = np.where(above, np.nextafter(single, np.float32(-np.inf)), single)
        up = np.where(below, np.nextafter(single, np.float32(np.inf)), single)
    _refuse_beyond32(~(np.isfinite(down) & np.isfinite(up)), values)
    return down, up


def directed64(v: Fraction, *, up: bool) -> float:
    """The smallest float64 >= v when `up`, else the largest <= v; infinite beyond the largest float64."""
    nearest = _nearest64(v)
    if np.isinf(nearest):
        return nearest if (nearest > 0) == up else float(np.nextafter(nearest, 0.0))
    candidate = Fraction(nearest)
    if up and candidate < v:
        return float(np.nextafter(nearest, np.inf))
    if not up and candidate > v:
        return float(np.nextafter(nearest, -np.inf))
    return nearest


def exceeds(a: Fraction, b: Fraction) -> bool:
    """a > b, several times faster than Fraction's own comparison."""
    return a.numerator * b.denominator > b.numerator * a.denominator


def show(value: Fraction) -> str:
    """A rational for an error message: its nearest float64."""
    return f"{_nearest64(value):.17g}"


def shape_error(what: str, expected: str, got: object) -> ShapeError:
    """A ShapeError about the arguments of a box."""
    return ShapeError(what, where="box", expected=expected, got=str(got), fix="reshape it to the expected shape")


def _decimal(text: str) -> Fraction:
    """A decimal or a ratio, with an exponent of at most four digits."""
    mantissa, mark, exponent = text.lower().partition("e")
    if mark and len(exponent.strip().lstrip("+-")) > 4:
        raise ValueError("exponent too large")
    return Fraction(mantissa + mark + exponent)


def _nearest64(v: Fraction) -> float:
    try:
        return v.numerator / v.denominator
    except OverflowError:
        return float("inf") if v > 0 else float("-inf")


def _refuse_beyond32(beyond: NDArray[np.bool_], values: Sequence[Fraction]) -> None:
    if beyond.any():
        i = int(np.flatnonzero(beyond)[0])
        raise DomainError(
            "an input bound is beyond the largest float32",
            where=f"coordinate {i}",
            expected=f"magnitude at most {_MAX32:.9g}",
            got=show(values[i]),
            fix="give a bounded input in float32's range",
        )


def _ragged(where: str) -> ShapeError:
    return shape_error(f"{where} must not be ragged", "nested lists of one length", "rows of different lengths")


def _not_a_number(value: object, where: str) -> DataError:
    return DataError(
        "a bound must be a finite number",
        where=where,
        expected="an int, a finite float, a Fraction, or a decimal as text",
        got=repr(value),
        fix="every coordinate of a region needs a finite lower and upper bound",
    )
