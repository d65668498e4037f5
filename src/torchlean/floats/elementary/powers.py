"""Kernels of the algebraic functions rsqrt cbrt hypot, and of pow.

Bands   in u = 2^-53. sqrt: u. rsqrt: two roundings, 2 u. hypot: squares of binary32 numbers are exact; a sum, of
        which the root halves the error, and the root: 1.5 u. cbrt: the last Halley step ends in one addition: u, and
        2/3 u for the two roundings of t^3, of which a third enters the correction. pow: y log x within 2^-60 relative,
        which is 2^-53 absolute in the range of binary32, and the exponential: 2.1 u.
"""

from __future__ import annotations

import numpy as np

from torchlean.floats.elementary.exponential import power_of_e
from torchlean.floats.elementary.kernel import Kernel
from torchlean.floats.elementary.logarithm import log_parts
from torchlean.floats.formats import BINARY64
from torchlean.floats.rounding import F64

_THIRD_OF_BIAS = np.int64(0x2A9F7893) << np.int64(32)  # one third of the bits moves a number near its cube root: 3 %
_UPPER = np.int64(-1 << 27)


def sqrt(x: F64) -> F64:
    return np.sqrt(x)


def rsqrt(x: F64) -> F64:
    return 1.0 / np.sqrt(x)


def cbrt(x: F64) -> F64:
    """Halley's iteration t <- t + t (a - t^3) / (2 t^3 + a), cubic, from 5 bits to 15, 47 and beyond 53."""
    a = np.abs(x)
    bits = a.view(np.int64) // 3
    bits += _THIRD_OF_BIAS
    t = bits.view(np.float64)
    for _ in range(3):
        cube = t * t
        cube *= t
        step = a - cube
        step *= t
        cube += cube
        cube += a
        step /= cube
        t = t + step
    return np.copysign(t, x)


def hypot(x: F64, y: F64) -> F64:
    return np.sqrt(x * x + y * y)


def pow(x: F64, y: F64) -> F64:
    """|x|^y as e^(y log |x|), the logarithm in two parts. For x < 0: NaN where y is not whole, negative where odd."""
    a, r, b = log_parts(np.abs(x))
    high = a + r  # |a| > |r| or a = 0: Dekker's sum is exact
    low = (a - high) + r
    low += b
    total = high + low  # so that what y multiplies beside it is small
    low += high - total
    high = total
    upper = (high.view(np.int64) & _UPPER).view(np.float64)
    low += high - upper
    z = y * upper  # exact: 24 and 26 bits
    low *= y
    beyond = np.abs(z) > 690.0
    z = np.clip(z, -690.0, 690.0)
    low[beyond] = 0.0
    s, p = power_of_e(z, low)
    p *= s
    p += s
    half = y * 0.5
    odd = (np.floor(half) != half) & (np.floor(y) == y)
    p = np.where(odd & (x < 0), -p, p)
    return np.where((x < 0) & (np.floor(y) != y), np.nan, p)


KERNELS = {
    "sqrt": Kernel(sqrt, 2.0**-53),
    "rsqrt": Kernel(rsqrt, 2.0**-51.9, (BINARY64.smallest_normal, BINARY64.max)),
    "cbrt": Kernel(cbrt, 2.0**-51, (2.0**-600, 2.0**600)),
    "hypot": Kernel(hypot, 2.0**-52),
    "pow": Kernel(pow, 2.0**-50),
}
