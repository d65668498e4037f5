"""Directed arithmetic: the sum, difference, product, quotient and square root rounded up or down, tight everywhere.

The processor's rounding mode is never touched. The nearest result is moved one step where the error that an error-free
transform found says so. Each function takes the format of the result, binary64 unless told; rounding down to binary64
and then down to a narrower format is rounding down once, and where both operands are float32 arrays and the result is
binary32, the float64 product, quotient or root already tells the direction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from torchlean.floats.formats import BINARY32, BINARY64, Format
from torchlean.floats.rounding import F64, narrow, round_down, round_up
from torchlean.floats.steps import in_blocks, stepped
from torchlean.floats.transforms import two_product, two_sum

# Inside these the error-free product is one; outside, the significands are multiplied and the exponents added.
_SMALL, _HUGE = 2.0**-960, 2.0**1020

# Each kernel below takes one block and a direction. Where an operand is zero, infinite or NaN, the error comes out as
# zero or NaN, and the IEEE result stays.


def _scaled(s: F64, e: F64, exponent: NDArray[Any], up: bool) -> F64:
    """(s + e) 2^exponent rounded once, 1/4 <= |s| <= 4 and |e| at most half an ulp of s; only e's sign is used."""
    nearest = np.ldexp(s, exponent)
    left = s - np.ldexp(nearest, -exponent)  # exact, and at least an ulp of s where it is not zero
    error = np.where(left == 0, e, left)
    return stepped(nearest, error > 0 if up else error < 0, up)


def _add(a: NDArray[Any], b: NDArray[Any], up: bool) -> NDArray[Any]:
    """a + b, both float32 or both float64."""
    s, e = two_sum(a, b)
    result = stepped(s, e > 0 if up else e < 0, up)
    odd = ~np.isfinite(e) & np.isfinite(a) & np.isfinite(b)
    if odd.any():  # near the largest number: at a quarter of the size nothing overflows, and nothing underflows
        x, y = a[odd] * a.dtype.type(0.25), b[odd] * b.dtype.type(0.25)
        s, e = two_sum(x, y)
        whole = s * s.dtype.type(4)
        error = np.where(np.isinf(whole), -whole, e)
        result[odd] = stepped(whole, error > 0 if up else error < 0, up)
    return result


def _mul(a: F64, b: F64, up: bool) -> F64:
    p, e = two_product(a, b)
    size = np.abs(p)
    result = stepped(p, e > 0 if up else e < 0, up)
    odd = ~((size >= _SMALL) & (size <= _HUGE) & np.isfinite(e))
    if odd.any():
        odd &= (a != 0) & (b != 0) & np.isfinite(a) & np.isfinite(b)
        (x, i), (y, j) = np.frexp(a[odd]), np.frexp(b[odd])
        result[odd] = _scaled(*two_product(x, y), i + j, up)
    return result


def _quotient(a: F64, b: F64) -> tuple[F64, F64]:
    """The nearest quotient, and a number with the sign of what it lacks."""
    q = a / b
    p, e = two_product(q, b)
    return q, ((a - p) - e) * np.sign(b)  # a - p is exact (Sterbenz); the last subtraction keeps the sign


def _div(a: F64, b: F64, up: bool) -> F64:
    q, rest = _quotient(a, b)
    result = stepped(q, rest > 0 if up else rest < 0, up)
    size, ratio = np.abs(a), np.abs(q)
    odd = ~((size >= _SMALL) & (size <= _HUGE) & (ratio >= _SMALL) & (ratio <= _HUGE) & np.isfinite(rest))
    if odd.any():
        odd &= (a != 0) & (b != 0) & np.isfinite(a) & np.isfinite(b)
        (x, i), (y, j) = np.frexp(a[odd]), np.frexp(b[odd])
        result[odd] = _scaled(*_quotient(x, y), i - j, up)
    return result


def _sqrt(a: F64, up: bool) -> F64:
    s = np.sqrt(a)
    p, e = two_product(s, s)
    rest = (a - p) - e
    result = stepped(s, rest > 0 if up else rest < 0, up)
    odd = ~((a >= _SMALL) & (a <= _HUGE))
    if odd.any():
        odd &= (a > 0) & np.isfinite(a)
        scale = np.where(a[odd] < 1, 2.0**128, 2.0**-128)  # its square moves a into the range above
        result[odd] = _sqrt(a[odd] * scale * scale, up) / scale
    return result


def _narrow_mul(a: NDArray[Any], b: NDArray[Any], up: bool) -> NDArray[Any]:
    return narrow(a.astype(np.float64) * b.astype(np.float64), up)  # the product is exact: 48 bits


def _narrow_div(a: NDArray[Any], b: NDArray[Any], up: bool) -> NDArray[Any]:
    # A quotient of 24-bit numbers that is not such a number differs from every one by more than 2^-49 of itself.
    return narrow(a.astype(np.float64) / b.astype(np.float64), up)


def _narrow_sqrt(a: NDArray[Any], up: bool) -> NDArray[Any]:
    return narrow(np.sqrt(a.astype(np.float64)), up)  # by the same argument


# Block kernels by dtype: the operands, then the direction.
KERNELS: dict[str, dict[str, Callable[..., NDArray[Any]]]] = {
    "float64": {"add": _add, "mul": _mul, "div": _div, "sqrt": _sqrt},
    "float32": {"add": _add, "mul": _narrow_mul, "div": _narrow_div, "sqrt": _narrow_sqrt},
}


def _apply(name: str, operands: Sequence[ArrayLike], up: bool, fmt: Format) -> NDArray[Any]:
    arrays = [np.asarray(a) for a in operands]
    narrow_ones = fmt is BINARY32 and all(a.dtype == np.float32 for a in arrays)
    if not narrow_ones:
        arrays = [a.astype(np.float64, copy=False) for a in arrays]
    kernel, dtype = KERNELS[arrays[0].dtype.name][name], arrays[0].dtype
    (result,) = in_blocks(lambda *block: (kernel(*block, up),), 1, dtype, *arrays)
    if narrow_ones or fmt is BINARY64:
        return result
    return round_up(result, fmt) if up else round_down(result, fmt)


def add_down(a: ArrayLike, b: ArrayLike, fmt: Format = BINARY64) -> NDArray[Any]:
    """Largest number of the format <= a + b. Tight. inf - inf is NaN.

    Shapes     a, b: broadcast -> of the format's dtype
    Overflow   MAX above it, -inf below -MAX; the sum of infinities of one sign is itself
    """
    return _apply("add", (a, b), False, fmt)


def add_up(a: ArrayLike, b: ArrayLike, fmt: Format = BINARY64) -> NDArray[Any]:
    """Smallest number of the format >= a + b. The mirror image of `add_down`."""
    return _apply("add", (a, b), True, fmt)


def sub_down(a: ArrayLike, b: ArrayLike, fmt: Format = BINARY64) -> NDArray[Any]:
    """Largest number of the format <= a - b. Tight; otherwise as `add_down`."""
    return _apply("add", (a, np.negative(b)), False, fmt)


def sub_up(a: ArrayLike, b: ArrayLike, fmt: Format = BINARY64) -> NDArray[Any]:
    """Smallest number of the format >= a - b. The mirror image of `sub_down`."""
    return _apply("add", (a, np.negative(b)), True, fmt)


def mul_down(a: ArrayLike, b: ArrayLike, fmt: Format = BINARY64) -> NDArray[Any]:
    """Largest number of the format <= a b. Tight, subnormal results included.

    0 times a finite number is 0; 0 times inf is NaN.   Shapes   a, b: broadcast -> of the format's dtype
    """
    return _apply("mul", (a, b), False, fmt)


def mul_up(a: ArrayLike, b: ArrayLike, fmt: Format = BINARY64) -> NDArray[Any]:
    """Smallest number of the format >= a b. The mirror image of `mul_down`."""
    return _apply("mul", (a, b), True, fmt)


def div_down(a: ArrayLike, b: ArrayLike, fmt: Format = BINARY64) -> NDArray[Any]:
    """Largest number of the format <= a / b. Tight, subnormal results included.

    b = 0 gives what IEEE division gives.   Shapes   a, b: broadcast -> of the format's dtype
    """
    return _apply("div", (a, b), False, fmt)


def div_up(a: ArrayLike, b: ArrayLike, fmt: Format = BINARY64) -> NDArray[Any]:
    """Smallest number of the format >= a / b. The mirror image of `div_down`."""
    return _apply("div", (a, b), True, fmt)


def sqrt_down(a: ArrayLike, fmt: Format = BINARY64) -> NDArray[Any]:
    """Largest number of the format <= sqrt(a). Tight; NaN for a < 0."""
    return _apply("sqrt", (a,), False, fmt)


def sqrt_up(a: ArrayLike, fmt: Format = BINARY64) -> NDArray[Any]:
    """Smallest number of the format >= sqrt(a). The mirror image of `sqrt_down`."""
    return _apply("sqrt", (a,), True, fmt)


__all__ = [
    "KERNELS", "add_down", "add_up", "div_down", "div_up", "mul_down", "mul_up", "sqrt_down", "sqrt_up", "sub_down",
    "sub_up",
]  # fmt: skip
