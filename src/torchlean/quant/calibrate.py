"""Choosing a quantizer from values that it will meet."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchlean.errors import DataError, UsageError
from torchlean.ops.quantize import EXACT_BITS
from torchlean.quant.quantizer import Quantizer

METHODS = ("minmax", "percentile", "mse")
F64 = NDArray[np.float64]

_LEAST = 2.0**-110  # the smallest scale chosen: no code times it is subnormal
_SHRINKS = np.linspace(1.0, 0.3, 36)  # the parts of the range that `mse` tries


def calibrate(
    array: Any,
    bits: int = 8,
    *,
    symmetric: bool = True,
    axis: int | None = None,
    method: str = "minmax",
    percentile: float = 99.9,
) -> Quantizer:
    """A quantizer for values like those of `array`, with int8 codes.

    bits        2 to 8; symmetric: zero point 0 and codes -(2^(bits-1) - 1) .. 2^(bits-1) - 1, else all 2^bits codes
    axis        one scale for each index of this axis; None: one for the array
    method      `minmax`: nothing saturates (an end may lie half a step outside the grid).  `percentile`: that part of
                the magnitudes, or of the values on either side, does not.  `mse`: the part of the range, of 36 tried
                down to 0.3, with the least squared error on the array (Banner et al. 2019, arXiv:1810.05723)
    Scales      rounded up to 16 significant bits, so that dequantization is exact in float32. An array of zeros: 1
    Raises      DataError for an empty array, NaN or infinities; UsageError for bits, method or percentile
    """
    values = np.asarray(array)
    _check(values, bits, axis, method, percentile)
    rows = values.astype(np.float64)
    if axis is None:
        rows = rows.reshape(1, -1)
    else:
        axis = axis if axis < 0 else axis - values.ndim
        rows = np.moveaxis(rows, axis, 0).reshape(values.shape[axis], -1)
    least, most = _range(rows, symmetric, method, percentile)
    if method != "mse":
        return _fitted(least, most, bits, symmetric, axis)
    best, error = np.ones(len(rows)), np.full(len(rows), np.inf)
    for part in _SHRINKS:
        tried = _fitted(least * part, most * part, bits, symmetric, -2)
        found = np.square(tried.round(rows.astype(np.float32)).astype(np.float64) - rows).sum(axis=-1)
        best, error = np.where(found < error, part, best), np.minimum(found, error)
    return _fitted(least * best, most * best, bits, symmetric, axis)


def _range(rows: F64, symmetric: bool, method: str, percentile: float) -> tuple[F64, F64]:
    """The ends that are to be representable, one pair a row; 0 lies between."""
    if method == "percentile" and symmetric:
        most = np.percentile(np.abs(rows), percentile, axis=-1)
        return -most, most
    if method == "percentile":
        least, most = np.percentile(rows, [100 - percentile, percentile], axis=-1)
    else:
        least, most = rows.min(axis=-1), rows.max(axis=-1)
    least, most = np.minimum(least, 0.0), np.maximum(most, 0.0)
    if symmetric:
        most = np.maximum(-least, most)
        least = -most
    return least, most


def _fitted(least: F64, most: F64, bits: int, symmetric: bool, axis: int | None) -> Quantizer:
    hi = 2 ** (bits - 1) - 1
    lo = -hi if symmetric else -hi - 1
    scale = _short((most - least) / (hi - lo))
    zero = np.zeros(len(scale)) if symmetric else np.clip(np.rint(lo - least / scale), lo, hi)
    found, point = scale.astype(np.float32), zero.astype(np.int8)
    if axis is None:
        return Quantizer(found.reshape(()), point.reshape(()), lo, hi)
    return Quantizer(found, point, lo, hi, axis)


def _short(scale: F64) -> F64:
    """The least number of 16 significant bits at or above each scale; 1 for 0."""
    mantissa, exponent = np.frexp(np.where(scale > 0, np.maximum(scale, _LEAST), 1.0))
    return np.ldexp(np.ceil(np.ldexp(mantissa, EXACT_BITS)), exponent - EXACT_BITS)


def _check(values: NDArray[Any], bits: int, axis: int | None, method: str, percentile: float) -> None:
    if isinstance(bits, bool) or not isinstance(bits, int) or not 2 <= bits <= 8:
        raise _usage("this number of bits is not supported", "2 to 8", repr(bits), "bits=8, or bits=4")
    if method not in METHODS:
        raise _usage("no such method", ", ".join(METHODS), repr(method), "method='minmax'")
    if not 50 < percentile <= 100:
        raise _usage("a percentile is a part in percent", "above 50, at most 100", repr(percentile), "percentile=99.9")
    if axis is not None and not -values.ndim <= axis < values.ndim:
        raise _usage("no such axis", f"-{values.ndim} to {values.ndim - 1}", str(axis), "count the axes of the array")
    if values.dtype.kind not in "fiu" and values.dtype.name != "bfloat16":
        raise _data("calibration needs numbers", "a float array", values.dtype.name)
    if values.size == 0:
        raise _data("there is nothing to calibrate from", "at least one value", f"shape {list(values.shape)}")
    finite = np.isfinite(values.astype(np.float64))
    if not finite.all():
        raise _data("calibration values must be finite", "no NaN and no infinity",
                    f"{int((~finite).sum())} of {values.size} values that are not")  # fmt: skip
    if np.abs(values.astype(np.float64)).max() > 2.0**120:
        raise _data("calibration values are too large", "magnitudes up to 2^120", str(np.abs(values).max()))


def _usage(what: str, expected: str, got: str, fix: str) -> UsageError:
    return UsageError(what, where="calibrate", expected=expected, got=got, fix=fix)


def _data(what: str, expected: str, got: str) -> DataError:
    return DataError(what, where="calibrate", expected=expected, got=got, fix="look where the array comes from")
