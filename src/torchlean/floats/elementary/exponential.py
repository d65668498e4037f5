"""Kernels of exp and what is made of it: exp2 expm1 sinh cosh tanh sigmoid silu.

Method   x = k ln2/512 + r with |r| <= ln2/1024, and e^x = 2^(k/512) (1 + p), p = e^r - 1 by its Taylor polynomial.
         2^(k/512) comes from a table of 512 values, each with what its rounding lost, and k's upper bits as exponent.
Bands    below, from the error of one rounding u = 2^-53; measured by bench/exhaustive.py and the tests.
         e^x: u for the last addition, u 2^-9 for the rest (p and its product, both below 2^-10): 1.01 u.
Source   Tang 1989, doi:10.1145/63522.214389.
"""

from __future__ import annotations

from functools import cache, partial

import flint
import numpy as np

from torchlean.floats.elementary.constants import split, table
from torchlean.floats.elementary.kernel import Kernel, horner
from torchlean.floats.rounding import F64

_BITS = 9
_N = 1 << _BITS
_WHOLE = 1.5 * 2.0**52  # adding it leaves a whole number in the low bits, ties to even
_LIMIT = 700.0  # e^700 and e^-700 are beyond every binary32 number, and far inside binary64


@cache
def _tables() -> tuple[F64, F64]:
    """2^(j/512), and what its rounding lost relative to it."""
    high, low = table([partial(_root_of_two, j) for j in range(_N)])
    return high, low / high


def _root_of_two(j: int) -> flint.arb:
    return flint.arb(2) ** (flint.arb(j) / _N)


@cache
def _steps() -> tuple[float, float, float]:
    """512 / ln2, and ln2 / 512 in two parts; the first has 32 bits, so that its product with k is exact."""
    high, low = split(lambda: flint.arb.const_log2() / _N, -42)
    return split(lambda: _N / flint.arb.const_log2())[0], high, low


def _power(whole: F64, r: F64) -> tuple[F64, F64]:
    """(s, p) with 2^(k/512) e^r = s (1 + p), s a float64 value of 2^(k/512).

    whole   k + _WHOLE;   |r| <= 0.0007
    """
    bits = whole.view(np.int64)
    high, low = _tables()
    index = bits & (_N - 1)
    scale = np.take(high, index, mode="clip").view(np.int64)
    scale += (bits >> _BITS) << 52
    p = horner(r, (1 / 2, 1 / 6, 1 / 24, 1 / 120))
    p *= r
    p *= r
    p += np.take(low, index, mode="clip")
    p += r
    return scale.view(np.float64), p


def power_of_e(x: F64, tail: F64 | None = None) -> tuple[F64, F64]:
    """(s, p) with e^(x + tail) = s (1 + p), |p| < 2^-10; for |x| <= 700.

    tail   a part too small for x; None: 0
    """
    inverse, high, low = _steps()
    whole = x * inverse
    whole += _WHOLE
    k = whole - _WHOLE
    r = x - k * high  # exact: k has 20 bits
    k *= low
    r -= k
    if tail is not None:
        r += tail
    return _power(whole, r)


def _within(x: F64) -> F64:
    return np.clip(x, -_LIMIT, _LIMIT)


def exp(x: F64) -> F64:
    s, p = power_of_e(_within(x))
    p *= s
    p += s
    return p


def exp2(x: F64) -> F64:
    x = np.clip(x, -1000.0, 1000.0)
    whole = x * _N
    whole += _WHOLE
    r = x - (whole - _WHOLE) * (1 / _N)  # exact
    r *= _LN2
    s, p = _power(whole, r)
    p *= s
    p += s
    return p


_LN2 = 0.6931471805599453


def expm1(x: F64) -> F64:
    """s (1 + p) - 1. Near 0, s is 1 and the result is p; elsewhere s - 1 is above |p| and loses at most u."""
    s, p = power_of_e(_within(x))
    p *= s
    s -= 1.0
    p += s
    return p


def sinh(x: F64) -> F64:
    e = expm1(np.abs(x))
    e += e / (e + 1.0)
    e *= 0.5
    return np.copysign(e, x)


def cosh(x: F64) -> F64:
    e = exp(x)
    e += 1.0 / e
    e *= 0.5
    return e


def tanh(x: F64) -> F64:
    e = expm1(x + x)
    return e / (e + 2.0)


def sigmoid(x: F64) -> F64:
    e = exp(-x)
    e += 1.0
    return np.divide(1.0, e, out=e)


def silu(x: F64) -> F64:
    return np.maximum(x, -_LIMIT) * sigmoid(x)


# In units of u = 2^-53, to first order, worst case: expm1 2.1 (near 1/1024: s - 1 and the sum; the products below);
# sinh 4 (expm1, +1, quotient, sum); cosh 4; tanh 7 (expm1 doubles at the negative end; sum, quotient);
# sigmoid 3.1; silu 4.1. The bands stand above; what was observed is in docs/elementary.md.
_TINY = 2.0**-1000
KERNELS = {
    "exp": Kernel(exp, 2.0**-51.5, (0.0, 690.0)),
    "exp2": Kernel(exp2, 2.0**-51.5, (0.0, 990.0)),
    "expm1": Kernel(expm1, 2.0**-51, (_TINY, 690.0)),
    "sinh": Kernel(sinh, 2.0**-50.5, (_TINY, 690.0)),
    "cosh": Kernel(cosh, 2.0**-50.5, (0.0, 690.0)),
    "tanh": Kernel(tanh, 2.0**-50, (_TINY, 2.0**1000)),
    "sigmoid": Kernel(sigmoid, 2.0**-50.5, (0.0, 690.0)),
    "silu": Kernel(silu, 2.0**-50.5, (_TINY, 690.0)),
}
