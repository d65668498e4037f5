"""The exact value of an elementary function, rounded to odd in float64 by MPFR: one number that every narrower format
and rounding mode can be rounded from, since an inexact value never falls on a number or midpoint of these.

MPFR's own functions are correctly rounded; they are rounded toward zero here, and the ternary value says whether
anything was lost. Functions that MPFR lacks are composed without cancellation, at a precision
that decides.
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
_PRECISIONS = (120, 1000)
_GUARD = 10  # bits: a composition's few roundings stay far below
_TINY = gmpy2.mpfr(2) ** -2000  # stands for any smaller magnitude: it underflows in every format


def _rsqrt(x: float) -> Any:
    """IEEE 754's rSqrt keeps the sign of a zero, MPFR's rec_sqrt does not."""
    return gmpy2.rec_sqrt(x) if x else gmpy2.mpfr(math.copysign(math.inf, x))


_DIRECT: dict[str, Callable[..., Any]] = {
    name: getattr(gmpy2, name)
    for name in (
        "exp", "exp2", "expm1", "log", "log1p", "log2", "log10", "sin", "cos", "tan", "asin", "acos", "atan", "sinh",
        "cosh", "tanh", "asinh", "acosh", "atanh", "erf", "cbrt", "sqrt", "hypot", "atan2",
    )
}  # fmt: skip
_DIRECT["rsqrt"] = _rsqrt
_DIRECT["pow"] = lambda x, y: gmpy2.get_context().pow(x, y)


def direct(name: str) -> Callable[..., Any] | None:
    """MPFR's own function, in the context of the caller; None where it has none."""
    return _DIRECT.get(name)


def _beside(v: Any, sign: int) -> Any:
    """v moved a little: the value is closer to v than that, and so no number of a format lies between."""
    return v + sign * abs(v) * _LITTLE


_LITTLE = gmpy2.mpfr(2) ** -90 / 3  # not a number of few bits, so that no context holds the sum exactly


def _sigmoid(x: float) -> Any:
    if x < -1000:
        return _TINY
    return _beside(gmpy2.mpfr(1), -1) if x > 64 else 1 / (1 + gmpy2.exp(-x))


def _silu(x: float) -> Any:
    if x < -1000:
        return -_TINY
    return _beside(gmpy2.mpfr(x), -1) if x > 64 else x * _sigmoid(x)


def _softplus(x: float) -> Any:
    if x < -1000:
        return _TINY
    if x > 64:
        return _beside(gmpy2.mpfr(x), 1)
    return gmpy2.log1p(gmpy2.exp(x)) if x <= 0 else x + gmpy2.log1p(gmpy2.exp(-x))


def _gelu(x: float) -> Any:
    if x < -50:
        return -_TINY
    return _beside(gmpy2.mpfr(x), -1) if x > 12 else x * gmpy2.erfc(-x / gmpy2.sqrt(gmpy2.mpfr(2))) / 2


# The compositions, and their results at -inf, -0, 0 and inf; None: a composition too.
_COMPOSED: dict[str, tuple[Callable[[float], Any], tuple[float | None, ...]]] = {
    "sigmoid": (_sigmoid, (0.0, 0.5, 0.5, 1.0)),
    "silu": (_silu, (-0.0, -0.0, 0.0, math.inf)),
    "softplus": (_softplus, (0.0, None, None, math.inf)),
    "gelu": (_gelu, (-0.0, -0.0, 0.0, math.inf)),
}
NAMES = (*_DIRECT, *_COMPOSED)


def _known(x: float, at: tuple[float | None, ...]) -> float | None:
    """The exact result at x, if it is one of the four, or NaN."""
    if math.isnan(x):
        return x
    if math.isinf(x):
        return at[3 if x > 0 else 0]
    return at[1 if math.copysign(1.0, x) < 0 else 2] if x == 0 else None


def _composed(name: str, x: list[float], context: Any) -> list[Any]:
    """Both ends of the error round alike, or the precision rises. Source: Ziv 1991, doi:10.1145/114697.116813."""
    function, at = _COMPOSED[name]
    known = [_known(v, at) for v in x]
    with gmpy2.context(context) as here:
        results = [None if v is None else here.plus(gmpy2.mpfr(v)) for v in known]
    left = [i for i, v in enumerate(known) if v is None]
    for precision in _PRECISIONS:
        slack = gmpy2.mpfr(2) ** (_GUARD - precision)
        with gmpy2.context(precision=precision):
            middles = [function(x[i]) for i in left]
            widths = [v * slack for v in middles]
            ends = [(v - w, v + w) for v, w in zip(middles, widths, strict=True)]
        with gmpy2.context(context) as here:
            rounded = [(here.plus(a), here.plus(b)) for a, b in ends]
        for i, (a, b) in zip(left, rounded, strict=True):
            results[i] = a if a == b and a.rc == b.rc else None
        left = [i for i in left if results[i] is None]
    if left:
        raise ArithmeticError(f"{name}: no precision decides {[x[i] for i in left[:3]]}")
    return results


def values(name: str, arguments: Sequence[F64], context: Any) -> list[Any]:
    """f at each element, as an MPFR number rounded once in the context, with its ternary value."""
    lists = [a.tolist() for a in arguments]
    if name not in _DIRECT:
        return _composed(name, lists[0], context)
    with gmpy2.context(context):
        return list(map(_DIRECT[name], *lists))


def toward_zero(name: str, x: F64, second: F64 | None = None) -> tuple[F64, NDArray[np.bool_]]:
    """f(x) rounded toward zero in float64, and whether that lost anything.

    Shapes   x (, second): [n] -> [n], [n]
    Range    what underflows gives a zero, what overflows the largest finite number; both are inexact
    """
    found = values(name, [x] if second is None else [x, second], _TOWARD_ZERO)
    results = np.fromiter(map(float, found), np.float64, len(found))
    inexact = np.fromiter([v.rc != 0 for v in found], np.bool_, len(found))
    return results, inexact & np.isfinite(results)


def odd(name: str, x: F64, second: F64 | None = None) -> F64:
    """f(x) rounded to odd in float64.

    Shapes   x (, second): [n] -> [n]
    Range    a nonzero value below the smallest normal number becomes the smallest subnormal one, one above the
             largest finite number that number: both round as the value does in binary32 and narrower formats
    """
    results, inexact = toward_zero(name, x, second)
    return (results.view(np.int64) | inexact).view(np.float64)
