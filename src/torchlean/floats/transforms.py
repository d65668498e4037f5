"""Error-free transforms: a floating-point sum or product, and exactly what its rounding left out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchlean.errors import UsageError

# Splitting factors of Veltkamp: 2^ceil(p/2) + 1.
_SPLIT: dict[str, float] = {"float32": 4097.0, "float64": 134217729.0}


def two_sum(a: NDArray[Any], b: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """(s, e) with s = fl(a + b) and s + e = a + b exactly, unless s overflows (then e is NaN or infinite).

    Near the largest number an inner step may overflow although s does not: e is then not finite.

    Shapes   a, b: broadcast, of one dtype, float32 or float64
    Source   Knuth, TAOCP 2, 4.2.2, theorem B; subnormals included.
    """
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def fast_two_sum(a: NDArray[Any], b: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """`two_sum` in three operations, for |a| >= |b| or a = 0.

    Source   Dekker 1971, doi:10.1007/BF01397083, section 4.
    """
    s = a + b
    return s, b - (s - a)


def _halves(a: NDArray[Any], split: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    c = split * a
    high = c - (c - a)
    return high, a - high


def two_product(a: NDArray[Any], b: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """(p, e) with p = fl(a b) and p + e = a b exactly, where a b = 0 or no part leaves the normal range.

    float64  for |a|, |b| <= 2^995 and 2^-968 <= |a b| <= 2^1020
    float32  for |a|, |b| <= 2^114 and 2^-101 <= |a b| <= 2^126

    Shapes   a, b: broadcast, of one dtype, float32 or float64
    Source   Dekker 1971, doi:10.1007/BF01397083, section 5. No fused multiply-add is used.
    """
    dtype = np.result_type(a, b)
    if dtype.name not in _SPLIT:
        raise UsageError(
            "two_product splits float32 and float64 numbers only",
            where="floats.two_product",
            expected=" or ".join(_SPLIT),
            got=dtype.name,
            fix="convert to float64, where the product of two narrower numbers is exact",
        )
    split = dtype.type(_SPLIT[dtype.name])
    p = a * b
    ah, al = _halves(a, split)
    bh, bl = _halves(b, split)
    return p, ((ah * bh - p) + ah * bl + al * bh) + al * bl


__all__ = ["fast_two_sum", "two_product", "two_sum"]
