"""Counter-based random numbers with the same bits on every machine.

Philox's raw words are fixed by its definition; everything after them uses only + - * / sqrt and frexp, which IEEE 754
fixes. A library's normal generator would go through the platform's log and exp, whose last bits differ between them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from math import log

import numpy as np

from torchlean.errors import UsageError

_LN2 = log(2.0)

# Wichura 1988, Algorithm AS 241 (PPND16): the numerator and denominator of three ranges, highest power first.
_CENTRE = (
    (2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4, 4.5921953931549871457e4,
     1.3731693765509461125e4, 1.9715909503065514427e3, 1.3314166789178437745e2, 3.3871328727963666080e0),
    (5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4, 2.1213794301586595867e4,
     5.3941960214247511077e3, 6.8718700749205790830e2, 4.2313330701600911252e1, 1.0),
)  # fmt: skip
_TAIL = (
    (7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1, 1.27045825245236838258e0,
     3.64784832476320460504e0, 5.76949722146069140550e0, 4.63033784615654529590e0, 1.42343711074968357734e0),
    (1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2, 1.48103976427480074590e-1,
     6.89767334985100004550e-1, 1.67638483018380384940e0, 2.05319162663775882187e0, 1.0),
)  # fmt: skip
_FAR = (
    (2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3, 2.65321895265761230930e-2,
     2.96560571828504891230e-1, 1.78482653991729133580e0, 5.46378491116411436990e0, 6.65790464350110377720e0),
    (2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5, 7.86869131145613259100e-4,
     1.48753612908506148525e-2, 1.36929880922735805310e-1, 5.99832206555887937690e-1, 1.0),
)  # fmt: skip


class Stream:
    """The random numbers of one (seed, name): asking twice for the same shape gives the same numbers."""

    def __init__(self, seed: int, name: str) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**64:
            raise UsageError("a seed is an unsigned 64-bit integer", where=f"random stream {name!r}",
                             expected="0 <= seed < 2**64", got=repr(seed), fix="pass seed=0")  # fmt: skip
        word = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
        self._key = np.array([int(seed), word], dtype=np.uint64)

    def bits(self, count: int) -> np.ndarray:
        """uint64[count]: the first words of the stream."""
        words: np.ndarray = np.random.Philox(key=self._key).random_raw(count)
        return words

    def uniform(self, shape: Sequence[int]) -> np.ndarray:
        """float64[*shape], multiples of 2^-53 in [0, 1)."""
        words = self.bits(int(np.prod(shape, dtype=np.int64))) >> np.uint64(11)
        return (words.astype(np.float64) * 2.0**-53).reshape(shape)

    def normal(self, shape: Sequence[int]) -> np.ndarray:
        """float64[*shape], standard normal by inversion: relative error below 1e-15 of the quantile."""
        words = self.bits(int(np.prod(shape, dtype=np.int64))) >> np.uint64(12)
        return quantile((words.astype(np.float64) + 0.5) * 2.0**-52).reshape(shape)


def quantile(p: np.ndarray) -> np.ndarray:
    """The standard normal quantile of p in (0, 1). Source: Wichura 1988, Algorithm AS 241."""
    q = p - 0.5
    centre = np.abs(q) <= 0.425
    root = np.sqrt(-_log(np.where(centre, 0.5, np.minimum(p, 1.0 - p))))
    tail = np.where(root <= 5.0, _ratio(_TAIL, root - 1.6), _ratio(_FAR, root - 5.0))
    result: np.ndarray = np.where(centre, q * _ratio(_CENTRE, 0.180625 - q * q), np.where(q < 0, -tail, tail))
    return result


def _ratio(polynomials: tuple[tuple[float, ...], tuple[float, ...]], r: np.ndarray) -> np.ndarray:
    over, under = polynomials
    result: np.ndarray = _horner(over, r) / _horner(under, r)
    return result


def _horner(coefficients: Sequence[float], r: np.ndarray) -> np.ndarray:
    total = np.full_like(r, coefficients[0])
    for c in coefficients[1:]:
        total = total * r + c  # two array operations: no fused multiply-add
    return total


def _log(x: np.ndarray) -> np.ndarray:
    """log of positive x from IEEE operations alone: 2 artanh((m - 1) / (m + 1)) + e log 2, |m - 1| small."""
    m, e = np.frexp(x)
    low = m < 0.7071067811865476
    m, e = np.where(low, 2.0 * m, m), np.where(low, e - 1, e)
    f = (m - 1.0) / (m + 1.0)
    series = _horner([1.0 / k for k in range(25, 0, -2)], f * f)
    result: np.ndarray = 2.0 * f * series + e * _LN2
    return result
