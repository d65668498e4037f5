"""The exact value of an elementary function, rounded to odd in float64 by MPFR: one number that every narrower format
and rounding mode can be rounded from, since an inexact value never falls on a number or midpoint of these.

MPFR's own functions are correctly rounded; they are rounded toward zero here, and the ternary value says whether
anything was lost. Functions that MPFR lacks are composed at 200 bits without cancellation.
Source   Boldo and Melquiond 2008, doi:10.1109/TC.2007.70819; Fousse et al. 2007, doi:10.1145/1236463.1236468.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import gmpy2
import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

_TOWARD_ZERO = gmpy2.context(precision=53, emin=-1021, emax=1024, round=gmpy2.RoundToZero)
_WIDE = gmpy2.context(precision=200)
_DIRECT: dict[str, Callable[..., Any]] = {
    name: getattr(gmpy2, name)
    for name in (
        "exp", "exp2", "expm1", "log", "log1p", "log2", "log10", "sin", "cos", "tan", "asin", "acos", "atan", "sinh",
        "cosh", "tanh", "asinh", "acosh", "atanh", "erf", "cbrt", "sqrt", "hypot", "atan2",
    )
}  # fmt: skip
_DIRECT["pow"] = lambda x, y: gmpy2.get_context().pow(x, y)
_TINY = gmpy2.mpfr(2) ** -2000  # stands for any smaller magnitude: it underflows in every format


def _beside(v: Any, sign: int) -> Any:
    """v, if precision hides that the value lies a little above or below."""
    return gmpy2.next_above(v) if sign > 0 else gmpy2.next_below(v)


def _sigmoid(x: float) -> Any:
    if x == 0 or not math.isfinite(x):
        return gmpy2.mpfr(0.5 if x == 0 else 1.0 if x > 0 else 0.0 if x < 0 else x)
    if x < -1000:
        return _TINY
    return _beside(gmpy2.mpfr(1), -1) if x > 130 else 1 / (1 + gmpy2.exp(-gmpy2.mpfr(x)))


def _silu(x: float) -> Any:
    if x == 0 or not math.isfinite(x):
        return gmpy2.mpfr(-0.0 if x < 0 else x)
    if x < -1000:
        return -_TINY
    return _beside(gmpy2.mpfr(x), -1) if x > 130 else x * _sigmoid(x)


def _softplus(x: float) -> Any:
    if not math.isfinite(x):
        return gmpy2.mpfr(0.0 if x < 0 else x)
    if x < -1000:
        return _TINY
    if x > 130:
        return _beside(gmpy2.mpfr(x), 1)
    return gmpy2.log1p(gmpy2.exp(gmpy2.mpfr(x))) if x <= 0 else x + gmpy2.log1p(gmpy2.exp(-gmpy2.mpfr(x)))


def _gelu(x: float) -> Any:
    if x == 0 or not math.isfinite(x):
        return gmpy2.mpfr(-0.0 if x < 0 else x)
    if x < -50:
        return -_TINY
    return _beside(gmpy2.mpfr(x), -1) if x > 16 else x * gmpy2.erfc(-x / gmpy2.sqrt(gmpy2.mpfr(2))) / 2


def _rsqrt(x: float) -> Any:
    return gmpy2.mpfr(math.copysign(math.inf, x)) if x == 0 else gmpy2.rec_sqrt(gmpy2.mpfr(x))


_COMPOSED: dict[str, Callable[[float], Any]] = {
    "sigmoid": _sigmoid, "silu": _silu, "softplus": _softplus, "gelu": _gelu, "rsqrt": _rsqrt,
}  # fmt: skip
NAMES = (*_DIRECT, *_COMPOSED)


def values(name: str, arguments: Sequence[F64], context: Any) -> list[Any]:
    """f at each element, as an MPFR number rounded once in the context, with its ternary value."""
    lists = [a.tolist() for a in arguments]
    if name in _DIRECT:
        with gmpy2.context(context):
            return list(map(_DIRECT[name], *lists))
    with gmpy2.context(_WIDE):
        wide = list(map(_COMPOSED[name], *lists))
    with gmpy2.context(context) as here:
        return list(map(here.plus, wide))


def odd(name: str, x: F64, second: F64 | None = None) -> F64:
    """f(x) rounded to odd in float64.

    Shapes   x (, second): [n] -> [n]
    Range    a nonzero value below the smallest normal number becomes the smallest subnormal one, one above the
             largest finite number that number: both round as the value does in binary32 and narrower formats
    """
    found = values(name, [x] if second is None else [x, second], _TOWARD_ZERO)
    toward_zero = np.fromiter(map(float, found), np.float64, len(found))
    inexact = np.fromiter([v.rc != 0 for v in found], np.int64, len(found))
    inexact[~np.isfinite(toward_zero)] = 0
    return (toward_zero.view(np.int64) | inexact).view(np.float64)
