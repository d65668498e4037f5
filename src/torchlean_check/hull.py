"""Exact numbers to binary64 and binary32, each rounded in a stated direction.

Source  SEMANTICS 2: the walk's box contains the exact region and every float32 point of [RD(lo), RU(hi)].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def nearest(x: Fraction) -> float:
    """The binary64 nearest to x; OverflowError beyond the largest one."""
    return x.numerator / x.denominator  # int / int is correctly rounded in Python


def down(x: Fraction) -> float:
    """Largest binary64 <= x."""
    f = nearest(x)
    p, q = f.as_integer_ratio()
    return f if p * x.denominator <= x.numerator * q else math.nextafter(f, -math.inf)


def up(x: Fraction) -> float:
    """Smallest binary64 >= x."""
    f = nearest(x)
    p, q = f.as_integer_ratio()
    return f if p * x.denominator >= x.numerator * q else math.nextafter(f, math.inf)


def down32(x: Floats) -> Floats:
    """Largest float32 <= x, as float64; -inf where there is none.   Shapes  [n] -> [n]"""
    with np.errstate(over="ignore"):
        f = x.astype(np.float32)
    return np.where(f.astype(np.float64) > x, np.nextafter(f, np.float32(-np.inf)), f).astype(np.float64)


def hull(lo: Sequence[Fraction], hi: Sequence[Fraction], semantics: str) -> tuple[Floats, Floats]:
    """The walk's box: `real` rounds outward to binary64, `float32` outward to float32 (which contains the former).

    Shapes  n, n -> [n], [n]
    Error   OverflowError where an end has no finite float on its outer side
    """
    low = np.array([down(x) for x in lo], dtype=np.float64)
    high = np.array([up(x) for x in hi], dtype=np.float64)
    if semantics == "float32":
        low, high = down32(low), -down32(-high)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise OverflowError("a bound has no finite float")
    return low, high
