"""Trusted. The error function in float64, and t (1 + erf(t)), of which gelu is made.

Around each multiple c of 1/4 up to 6 a Taylor polynomial of degree 14. With Hermite's polynomials H its coefficients
are (2 / sqrt pi) e^-c^2 (-1)^(n-1) H_(n-1)(c) / n!, and |H_n(c)| < 1.09 2^(n/2) sqrt(n!) e^(c^2/2) (Cramer; Abramowitz
and Stegun 22.14.17): at a distance of at most 1/8 the terms left out are below 2^-59 together. 1 - erf(6) < 2^-55.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import numpy as np

from torchlean_check.rules.elementary import Floats, exp, series

RATE = 1.1283791670955126  # 2 / sqrt pi, to 2^-53
DEGREE, FINE = 14, 1 << 200


@cache
def _table() -> Floats:
    """Shapes  -> [DEGREE + 1, 25]: the coefficients around 0, 1/4, ... 6."""
    found = np.zeros((DEGREE + 1, 25))
    for k in range(25):
        c, part, total = Fraction(k, 4), FINE * k // 4, 0
        for n in range(150):  # terms (-1)^n c^(2n+1) / n! / (2n+1) in units of 2^-200; the rest is below 2^-80
            total += (-1) ** n * part // (2 * n + 1)
            part = part * k * k // (16 * (n + 1))
        found[0, k] = total / FINE * RATE
        steep = RATE * float(exp(np.array(-k * k / 16.0)))
        before, now, factorial = Fraction(0), Fraction(1), 1
        for n in range(1, DEGREE + 1):
            factorial *= n
            found[n, k] = steep * float((-1) ** (n - 1) * now / factorial)
            before, now = now, 2 * c * now - 2 * (n - 1) * before
    return found


def erf(x: Floats) -> Floats:
    """The error function. NaN where x is NaN or infinite."""
    size = np.fmin(np.abs(x), 6.0)
    k = np.rint(4.0 * size).astype(np.int64)
    return np.copysign(series(size - 0.25 * k, _table()[:, k]), x) + 0.0 * x


def erf_slope(x: Floats) -> Floats:
    return RATE * exp(-np.minimum(x * x, 700.0))


def gate(x: Floats) -> Floats:
    """x (1 + erf(x)); below -6 it lies between -2^-52 and 0."""
    return np.where(x < -6.0, 0.0, x * (1.0 + erf(x)))


def gate_slope(x: Floats) -> Floats:
    return 1.0 + erf(x) + x * erf_slope(x)
