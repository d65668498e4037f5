"""Interval arithmetic on arrays of ends: the tightest numbers of the format around every result.

Each function takes lower and upper ends, all float32 or all float64, and returns two arrays of that dtype. Nothing is
checked here. An end that comes out as 0 * inf or inf / inf is 0: the product of zero with every real number.

Shapes   operands broadcast
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from torchlean.floats.directed import KERNELS
from torchlean.floats.rounding import narrow
from torchlean.floats.steps import in_blocks

Array: TypeAlias = NDArray[Any]
Ends: TypeAlias = tuple[Array, Array]


def _zero_if_nan(x: Array) -> Array:
    nan = np.isnan(x)
    return np.where(nan, x.dtype.type(0), x) if nan.any() else x


def add(alo: Array, ahi: Array, blo: Array, bhi: Array) -> Ends:
    once = KERNELS[alo.dtype.name]["add"]
    lo, hi = in_blocks(lambda a, b, c, d: (once(a, c, False), once(b, d, True)), 2, alo.dtype, alo, ahi, blo, bhi)
    return lo, hi


def sub(alo: Array, ahi: Array, blo: Array, bhi: Array) -> Ends:
    return add(alo, ahi, -bhi, -blo)


def mul(alo: Array, ahi: Array, blo: Array, bhi: Array) -> Ends:
    kernel = _mul32 if alo.dtype == np.float32 else _mul64
    lo, hi = in_blocks(kernel, 2, alo.dtype, alo, ahi, blo, bhi)
    return lo, hi


def _mul32(alo: Array, ahi: Array, blo: Array, bhi: Array) -> Ends:
    """The four products are exact in float64."""
    a, b, c, d = (end.astype(np.float64) for end in (alo, ahi, blo, bhi))
    products = [_zero_if_nan(x * y) for x in (a, b) for y in (c, d)]
    lo = np.minimum(np.minimum(products[0], products[1]), np.minimum(products[2], products[3]))
    hi = np.maximum(np.maximum(products[0], products[1]), np.maximum(products[2], products[3]))
    return narrow(lo, False), narrow(hi, True)


def _mul64(alo: Array, ahi: Array, blo: Array, bhi: Array) -> Ends:
    """The signs tell which two ends meet in each result; two products each where both operands straddle zero."""
    once = KERNELS["float64"]["mul"]
    a_positive, a_negative, b_positive, b_negative = alo >= 0, ahi <= 0, blo >= 0, bhi <= 0
    a_inner = np.where(a_negative, alo, ahi)  # which end of a counts where b straddles zero
    lo = once(
        np.where(b_positive, alo, np.where(b_negative, ahi, a_inner)),
        np.where(a_positive, blo, np.where(a_negative | b_positive, bhi, blo)),
        False,
    )
    hi = once(
        np.where(b_positive, ahi, np.where(b_negative, alo, a_inner)),
        np.where(a_positive, bhi, np.where(a_negative | b_negative, blo, bhi)),
        True,
    )
    both = ~(a_positive | a_negative | b_positive | b_negative)
    if both.any():
        lo[both] = np.minimum(lo[both], once(alo[both], bhi[both], False))
        hi[both] = np.maximum(hi[both], once(alo[both], blo[both], True))
    return _zero_if_nan(lo), _zero_if_nan(hi)


def div(alo: Array, ahi: Array, blo: Array, bhi: Array) -> Ends:
    """The hull of the quotients by the nonzero numbers of b. Where b is [0, 0] there is none: the whole line."""
    lo, hi = in_blocks(_div, 2, alo.dtype, alo, ahi, blo, bhi)
    return lo, hi


def _div(alo: Array, ahi: Array, blo: Array, bhi: Array) -> Ends:
    once = KERNELS[alo.dtype.name]["div"]
    flip = bhi <= 0  # a / b = (-a) / (-b)
    alo, ahi = np.where(flip, -ahi, alo), np.where(flip, -alo, ahi)
    blo, bhi = np.where(flip, np.abs(bhi), np.where(blo == 0, 0, blo)), np.where(flip, -blo, bhi)
    lo = _zero_if_nan(once(alo, np.where(alo >= 0, bhi, blo), False))
    hi = _zero_if_nan(once(ahi, np.where(ahi >= 0, blo, bhi), True))
    anything = ((blo < 0) & ((alo != 0) | (ahi != 0))) | (bhi == 0)
    infinity = alo.dtype.type(np.inf)
    return np.where(anything, -infinity, lo), np.where(anything, infinity, hi)


def magnitudes(lo: Array, hi: Array) -> Ends:
    """The smallest and the largest absolute value."""
    low, high = np.abs(lo), np.abs(hi)
    within = (lo <= 0) & (hi >= 0)
    return np.where(within, lo.dtype.type(0), np.minimum(low, high)), np.maximum(low, high)


def square(lo: Array, hi: Array) -> Ends:
    once = KERNELS[lo.dtype.name]["mul"]
    least, most = magnitudes(lo, hi)
    low, high = in_blocks(lambda a, b: (once(a, a, False), once(b, b, True)), 2, lo.dtype, least, most)
    return low, high


def sqrt(lo: Array, hi: Array) -> Ends:
    """Of the part at and above zero."""
    once = KERNELS[lo.dtype.name]["sqrt"]
    low, high = in_blocks(lambda a, b: (once(a, False), once(b, True)), 2, lo.dtype, np.maximum(lo, 0), hi)
    return low, high


def pown(lo: Array, hi: Array, n: int) -> Ends:
    """The n-th power, n >= 1, through float64: in float32 the tightest but for rare cases one step off.

    Error   in float64 a relative (n - 1) 2^-52 in each end, outward
    """
    a, b = lo.astype(np.float64), hi.astype(np.float64)
    if n % 2 == 0:
        a, b = magnitudes(a, b)
    low, high = _signed_power(a, n, False), _signed_power(b, n, True)
    if lo.dtype == np.float64:
        return low, high
    narrowed = in_blocks(lambda x, y: (narrow(x, False), narrow(y, True)), 2, np.float32, low, high)
    return narrowed[0], narrowed[1]


def _signed_power(x: Array, n: int, up: bool) -> Array:
    negative = x < 0  # (-x)^n is mirrored, and so is the direction
    if not negative.any():
        return _power(x, n, up)
    return np.where(negative, -_power(np.abs(x), n, not up), _power(np.abs(x), n, up))


def _power(base: Array, n: int, up: bool) -> Array:
    """base^n for base >= 0, from the highest bit of n down."""

    def kernel(x: Array) -> tuple[Array]:
        result = x
        for bit in bin(n)[3:]:
            result = once(result, result, up)
            if bit == "1":
                result = once(result, x, up)
        return (result,)

    once = KERNELS["float64"]["mul"]
    return in_blocks(kernel, 1, np.float64, base)[0]


__all__ = ["add", "div", "magnitudes", "mul", "pown", "sqrt", "square", "sub"]
