"""Kernels of log and what is made of it: log2 log10 log1p softplus asinh acosh atanh.

Method   x = 2^e m, m in [0.7, 1.4), c from a table of 512 values with c near 1/m, r = m c - 1 exactly, |r| < 2^-9.9,
         and log x = e ln2 - log c + log(1 + r), the last by its Taylor polynomial. Around 1, c is 1 and e is 0: the
         result is log(1 + r) with r = x - 1, so that the relative error stays small up to the zero of log.
Source   Tang 1990, doi:10.1145/98267.98294.
"""

from __future__ import annotations

from functools import cache, partial

import flint
import numpy as np
from numpy.typing import NDArray

from torchlean.floats.elementary.constants import split, table
from torchlean.floats.elementary.exponential import exp
from torchlean.floats.elementary.kernel import Kernel, horner
from torchlean.floats.formats import BINARY64
from torchlean.floats.rounding import F64
from torchlean.floats.transforms import two_sum

_BITS = 9
_N = 1 << _BITS
_SHIFT = 52 - _BITS
_EXPONENT = np.int64(-1 << 52)
# Intervals start half a step below a multiple, so that 1 lies inside one.
_FIRST = int(np.float64(0.7109375).view(np.int64)) - (1 << (_SHIFT - 1))
_UPPER = np.int64(-1 << 27)  # the upper 26 bits of a significand


@cache
def _tables() -> tuple[F64, F64, F64]:
    """c with at most 26 bits, and -log c in two parts, the first a multiple of 2^-42."""
    starts = (_FIRST + (np.arange(_N + 1, dtype=np.int64) << _SHIFT)).view(np.float64)
    inverse = np.rint(2.0**26 / (starts[:-1] + starts[1:])) * 2.0**-25
    inverse[(starts[:-1] < 1.0) & (starts[1:] > 1.0)] = 1.0
    return inverse, *table([partial(_minus_log, c) for c in inverse.tolist()], -42)


def _minus_log(c: float) -> flint.arb:
    return -flint.arb(c).log()


@cache
def _ln2() -> tuple[float, float]:
    """The first a multiple of 2^-42: its product with an exponent is exact, and so is the sum with a table value."""
    return split(flint.arb.const_log2, -42)


def _series(r: F64) -> F64:
    """(log(1 + r) - r) / r^2 for |r| < 2^-9.9; what is left out is below 2^-52 of it."""
    return horner(r, (-1 / 2, 1 / 3, -1 / 4, 1 / 5, -1 / 6))


def log_parts(x: F64, tail: F64 | None = None) -> tuple[F64, F64, F64]:
    """(a, r, b) with log(x + tail) = a + r + b; a is a multiple of 2^-42, |r| < 2^-9.9, |b| < 2^-20.

    x + tail is a sum that x is the rounding of; without tail, r is exact if x has at most 26 bits.
    For normal x > 0. Where a is not 0, |a| > 1.4 |r|.
    """
    inverse, log_high, log_low = _tables()
    ln2_high, ln2_low = _ln2()
    bits = x.view(np.int64)
    offset = bits - _FIRST
    index = (offset >> _SHIFT) & (_N - 1)
    e = (offset >> 52).astype(np.float64)
    offset &= _EXPONENT
    m_bits = bits - offset
    m = m_bits.view(np.float64)
    c = np.take(inverse, index, mode="clip")
    upper = (m_bits & _UPPER).view(np.float64)
    r = upper * c
    r -= 1.0
    r += (m - upper) * c
    if tail is not None:  # after the sum above, which is exact around 1
        r += tail * _power_of_two(offset) * c
    b = _series(r)
    b *= r
    b *= r
    b += e * ln2_low
    b += np.take(log_low, index, mode="clip")
    a = np.take(log_high, index, mode="clip")
    e *= ln2_high
    a += e
    return a, r, b


_ONE = np.int64(1023 << 52)


def _power_of_two(offset: NDArray[np.int64]) -> F64:
    """2^-e from e 2^52."""
    return (_ONE - offset).view(np.float64)


def _sum(a: F64, r: F64, b: F64) -> F64:
    b += r
    b += a
    return b


def log(x: F64) -> F64:
    return _sum(*log_parts(x))


def log2(x: F64) -> F64:
    return log(x) * _LOG2_E


def log10(x: F64) -> F64:
    return log(x) * _LOG10_E


_LOG2_E, _LOG10_E = 1.4426950408889634, 0.4342944819032518


def log1p(x: F64) -> F64:
    return _sum(*log_parts(*two_sum(x, np.ones_like(x))))


def softplus(x: F64) -> F64:
    return np.maximum(x, 0.0) + log1p(exp(-np.abs(x)))


def asinh(x: F64) -> F64:
    a = np.abs(x)
    square = a * a
    return np.copysign(log1p(a + square / (1.0 + np.sqrt(1.0 + square))), x)


def acosh(x: F64) -> F64:
    t = x - 1.0
    return log1p(t + np.sqrt(t * (x + 1.0)))


def atanh(x: F64) -> F64:
    a = np.abs(x)
    return np.copysign(0.5 * log1p((a + a) / (1.0 - a)), x)


_TINY, _LARGE = 2.0**-480, 2.0**480
KERNELS = {
    "log": Kernel(log, 2.0**-51, (BINARY64.smallest_normal, BINARY64.max)),
    "log2": Kernel(log2, 2.0**-50.5, (BINARY64.smallest_normal, BINARY64.max)),
    "log10": Kernel(log10, 2.0**-50.5, (BINARY64.smallest_normal, BINARY64.max)),
    "log1p": Kernel(log1p, 2.0**-51, (_TINY, _LARGE)),
    "softplus": Kernel(softplus, 2.0**-50.5, (0.0, 690.0)),
    "asinh": Kernel(asinh, 2.0**-50, (_TINY, _LARGE)),
    "acosh": Kernel(acosh, 2.0**-50, (1.0, _LARGE)),
    "atanh": Kernel(atanh, 2.0**-50, (_TINY, 1.0)),
}
