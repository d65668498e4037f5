"""float64 kernels of sine, cosine and tangent over all of binary32: reduction to the nearest multiple of pi / 2 and
Taylor polynomials there. In the error bounds u is 2^-53, a rounding's largest relative error.
"""

from __future__ import annotations

from fractions import Fraction
from math import factorial

import numpy as np

from torchlean.floats.elementary.kernel import Kernel, horner
from torchlean.floats.elementary.reduction import quarter_turns
from torchlean.floats.rounding import F64

SINE = [float(Fraction((-1) ** n, factorial(2 * n + 1))) for n in range(1, 8)]  # -1/3! ... -1/15!
COSINE = [float(Fraction((-1) ** n, factorial(2 * n))) for n in range(2, 9)]  # 1/4! ... 1/16!


def _sine(r: F64, z: F64) -> F64:
    """sin r for |r| <= pi / 4, z = r^2.

    Error   relative, 2 u: 1.2 u of the evaluation, 0.1 u of the coefficients, 0.6 u of the terms left out, r^17 / 17!.
            A test proves the first by running this code on balls.
    """
    t = horner(z, SINE)
    t *= r * z
    t += r
    return t


def _cosine(z: F64) -> F64:
    """cos r for |r| <= pi / 4, z = r^2.

    Error   relative, 2.3 u: 2.25 u of the evaluation, as for the sine; the terms left out are below r^18 / 18!.
    """
    t = horner(z, COSINE)
    t *= z * z
    t += 1.0 - 0.5 * z
    return t


def _turned(x: F64, ahead: int) -> F64:
    """sin(x + ahead pi / 2)."""
    k, r = quarter_turns(x)
    k += ahead
    z = r * r
    t = np.where(k & 1, _cosine(z), _sine(r, z))
    np.negative(t, out=t, where=(k & 2) != 0)
    return t


def sin(x: F64) -> F64:
    """Error   relative, 6 u: 3.5 u of r, not enlarged, and 2.3 u of the polynomials."""
    return _turned(x, 0)


def cos(x: F64) -> F64:
    """Error   as sin."""
    return _turned(x, 1)


def tan(x: F64) -> F64:
    """Error   relative, 11 u: 3.5 u of r, enlarged by r / (sin r cos r) <= 1.58, 4.3 u of the polynomials and 1 u."""
    k, r = quarter_turns(x)
    z = r * r
    s, c = _sine(r, z), _cosine(z)
    odd = (k & 1) != 0
    np.negative(s, out=s, where=odd)
    return np.where(odd, c, s) / np.where(odd, s, c)


_WIDE = (2.0**-1022, 2.0**6)
KERNELS = {
    "sin": Kernel(sin, 2.0**-50, _WIDE),
    "cos": Kernel(cos, 2.0**-50, _WIDE),
    "tan": Kernel(tan, 2.0**-49, _WIDE),
}
