"""Trusted. Elementary functions in float64 with proved errors, from additions, products, quotients and powers of two.

`value` and `slope` are within ERROR (1 + |.|) of f and f'. Taylor remainders are below 2^-57, each of the few dozen
roundings is at most 2^-53 of a partial result, and none of these is above 4 times the largest of 1 and the final one:
ERROR = 2^-46 is ample. Outside of its domain a function is NaN, which proves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
ERROR = 2.0**-46
LN2 = (0.693145751953125, 1.4286068203094172e-06)  # the first part has 20 bits: k times it is exact
HALF_PI = (105414357 / 2.0**26, 1.5707963267948966 - 105414357 / 2.0**26, 6.123233995736766e-17)  # 27, 26 and 53 bits


def series(x: Floats, terms: Sequence[float] | Floats) -> Floats:
    """The sum of terms[n] x^n, each a number or one for each x."""
    total = np.full_like(x, terms[-1])
    for c in terms[-2::-1]:
        total = total * x + c
    return total


def exp(x: Floats) -> Floats:
    """e^x on [-700, 700]."""
    inside = np.abs(x) <= 700.0
    x = np.where(inside, x, 0.0)
    k = np.rint(x * 1.4426950408889634)
    r = (x - k * LN2[0]) - k * LN2[1]  # below 0.35
    found = np.ldexp(series(r, [1.0 / math.factorial(n) for n in range(15)]), k.astype(np.int64))
    return np.where(inside, found, np.nan)


def turned(x: Floats, quarter: int) -> Floats:
    """sin(x + quarter pi / 2) on [-2^16, 2^16]: k has 16 bits, so its products with both first parts are exact."""
    inside = np.abs(x) <= 65536.0
    x = np.where(inside, x, 0.0)
    k = np.rint(x / HALF_PI[0])
    r = ((x - k * HALF_PI[0]) - k * HALF_PI[1]) - k * HALF_PI[2]  # below 0.79
    odd = r * series(r * r, [(-1.0) ** n / math.factorial(2 * n + 1) for n in range(10)])
    even = series(r * r, [(-1.0) ** n / math.factorial(2 * n) for n in range(11)])
    turn = (k + quarter) % 4
    found = np.where(turn % 2 == 0, odd, even) * np.where(turn >= 2, -1.0, 1.0)
    return np.where(inside, found, np.nan)


def _log(x: Floats) -> tuple[Floats, Floats]:
    """A guess w, and x e^-w - 1: log x - w is log(x e^-w), which is that but for half its square."""
    with np.errstate(all="ignore"):
        w = np.log(x)
        off = x * exp(-w) - 1.0
        return w, np.where((x > 0.0) & (np.abs(off) < 2.0**-40), off, np.nan)


def log(x: Floats) -> Floats:
    w, off = _log(x)
    return w + off


def power(x: Floats, p: float) -> Floats:
    """x^p: n - 1 products for a whole n = p > 0; else for x > 0 and p with 31 bits or less, down to 2^-27, as
    e^(p h) e^(p (log x - h)): h has 22 bits, so p h is exact, and p log x is known to |p| 2^-51."""
    if p > 0 and p == int(p):
        half = power(x, p // 2) if p > 1 else x
        return x if p == 1 else half * half * x if p % 2 else half * half
    w, off = _log(x)
    with np.errstate(all="ignore"):
        h = np.rint(w * 2.0**12) * 2.0**-12
        return exp(p * h) * exp(p * ((w - h) + off))


def sigmoid(x: Floats) -> Floats:
    e = exp(-np.minimum(np.abs(x), 700.0))
    return np.where(x >= 0.0, 1.0, e) / (1.0 + e)


def bell(x: Floats) -> Floats:
    e = exp(-np.minimum(np.abs(x), 700.0))
    return e / ((1.0 + e) * (1.0 + e))


def tanh(x: Floats) -> Floats:
    e = exp(-np.minimum(2.0 * np.abs(x), 700.0))
    return np.copysign((1.0 - e) / (1.0 + e), x)


def softplus(x: Floats) -> Floats:
    """log(1 + e^x): max(x, 0) and the logarithm of a number from 1 to 2."""
    return np.maximum(x, 0.0) + log(1.0 + exp(-np.minimum(np.abs(x), 700.0)))


def silu_slope(x: Floats) -> Floats:
    """Of x sigmoid(x)."""
    return sigmoid(x) + x * bell(x)
