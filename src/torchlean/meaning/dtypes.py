"""What the number systems share about dtypes: names, kinds, ranges of integers, and the casts between them."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from torchlean import floats
from torchlean.errors import ShapeError, Unsupported
from torchlean.floats.rounding import odd_sum
from torchlean.ir.types import DTYPES, DType

AnyDType: TypeAlias = "DType | str | np.dtype[Any] | type[Any]"
Array: TypeAlias = NDArray[Any]


def name_of(dtype: AnyDType) -> str:
    """The numpy name of a dtype given as an IR dtype, its name, a numpy name, or a numpy dtype. Raises ShapeError."""
    if isinstance(dtype, DType):
        return dtype.numpy
    if isinstance(dtype, str):
        if dtype in DTYPES:
            return DTYPES[dtype].numpy
        name = dtype
    else:
        name = np.dtype(dtype).name
    if name not in _KINDS:
        raise ShapeError(
            "no dtype of this name",
            where="number system",
            expected=", ".join(DTYPES),
            got=name,
            fix="cast to one of these",
        )
    return name


_KINDS = {d.numpy: d.kind for d in DTYPES.values()}


def kind_of(dtype: AnyDType) -> str:
    """ "float", "int" or "bool"."""
    return _KINDS[name_of(dtype)]


def numpy_dtype(dtype: AnyDType) -> np.dtype[Any]:
    """The numpy dtype that carries it. Raises Unsupported for fp8, and for bfloat16 without ml_dtypes."""
    name = name_of(dtype)
    if name == "bfloat16":
        return floats.BFLOAT16.dtype
    if name.startswith("float8"):
        raise Unsupported(
            "the number systems do not compute in fp8",
            where=f"dtype {name}",
            expected="a dtype to compute in: f32, f64, f16, bf16, integers, bool",
            got=name,
            fix='cast(x, dtype="f32") first',
        )
    return np.dtype(name)


def cast_array(x: Array, dtype: AnyDType) -> Array:
    """The cast of the program: one meaning for every number system's exact part.

    float -> float   rounded once, to nearest-even
    float -> int     truncated toward zero, then clamped to the range; NaN becomes 0
    float -> bool    x != 0 (NaN is true)
    int -> int       modulo 2^bits
    int -> float     rounded once

    Shapes   [*s] -> [*s]
    """
    target, kind = numpy_dtype(dtype), kind_of(dtype)
    x = np.asarray(x)
    source = kind_of(x.dtype)
    with np.errstate(all="ignore"):
        if x.dtype == target:
            return x
        if kind == "bool":
            return np.asarray(x != 0)
        if source == "float" and kind == "float":
            return floats.round_nearest(x, floats.format_of(target)) if x.dtype.name == "float64" else x.astype(target)
        if source == "float":
            return _truncate(x, target)
        if target.name == "bfloat16" and source == "int":
            # Through float32 it would round twice; two exact halves and a sum rounded to odd do not.
            low = x.astype(np.int64) & 0xFFFFFFFF
            high = (x.astype(np.int64) - low).astype(np.float64)
            return floats.round_nearest(odd_sum(high, low.astype(np.float64)), floats.BFLOAT16)
        return x.astype(target)


def _truncate(x: Array, target: np.dtype[Any]) -> Array:
    info = np.iinfo(target)
    whole = np.trunc(x.astype(np.float64))
    inside = np.isfinite(whole) & (whole >= float(info.min)) & (whole < float(info.max) + 1.0)
    result = np.where(inside, whole, 0.0).astype(np.int64).astype(target)
    result = np.where(~inside & (whole > 0), np.asarray(info.max, target), result)
    return np.where(~inside & (whole < 0), np.asarray(info.min, target), result).astype(target)


def round_array(x: Array, dtype: AnyDType) -> Array:
    """x with its values moved onto the grid of another dtype; the dtype of x stays.

    A float grid is rounded to nearest-even; an integer grid to nearest-even, then clamped to its range; NaN stays for a
    float grid and becomes 0 for an integer one. Beyond a float grid: infinite, or NaN where it has no infinity.
    """
    x = np.asarray(x)
    if kind_of(dtype) == "int":
        with np.errstate(all="ignore"):
            return cast_array(cast_array(np.rint(x), dtype), x.dtype)
    return floats.round_onto(x, floats.format_of(name_of(dtype)))


def integer_range(dtype: AnyDType) -> tuple[int, int]:
    """Smallest and largest value of an integer dtype; 0 and 1 for bool."""
    if kind_of(dtype) == "bool":
        return 0, 1
    info = np.iinfo(numpy_dtype(dtype))
    return int(info.min), int(info.max)


def literal_array(x: float | int | bool, dtype: AnyDType) -> Array:
    """A Python number as a scalar of the dtype, rounded once. Raises ShapeError where the dtype cannot hold it."""
    kind, target = kind_of(dtype), numpy_dtype(dtype)
    if kind == "float":
        return cast_array(np.asarray(float(x)), target)
    low, high = integer_range(dtype)
    if int(x) != x or not low <= int(x) <= high:
        raise ShapeError(
            f"{target.name} cannot hold this number",
            where="a literal",
            expected=f"a whole number from {low} to {high}",
            got=repr(x),
            fix="cast the tensor to a wider dtype first",
        )
    return np.asarray(int(x), target)
