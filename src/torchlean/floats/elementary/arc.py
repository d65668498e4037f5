"""float64 kernels of arc sine, arc cosine, arc tangent and of the angle of a vector: one evaluation serves all four.

In the error bounds u is 2^-53, a rounding's largest relative error.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import flint
import numpy as np

from torchlean.floats.elementary.constants import split, table
from torchlean.floats.elementary.kernel import Kernel, horner
from torchlean.floats.rounding import F64

ARC = [float(Fraction((-1) ** n, 2 * n + 1)) for n in range(1, 6)]  # -1/3 ... -1/11


def _angle(j: int) -> Callable[[], flint.arb]:
    return lambda: (flint.arb(j) / 16).atan()


_ANGLES = table(map(_angle, range(17)))[0]
_HALF_PI, _PI = split(lambda: flint.arb.pi() / 2)[0], split(flint.arb.pi)[0]


def atan2(y: F64, x: F64) -> F64:
    """The angle of the vector (x, y), in [-pi, pi], with the sign of y.

    With q <= 1 the smaller side over the larger and c = j / 16 nearest to q, atan q = atan c + atan t for
    t = (q - c) / (1 + c q), and |t| <= 1/32.

    Error   relative, 12 u. For c = 0: t has one rounding, and atan t two more in all. Else, against a result of at
            least q / 1.3: the table's value 2 u, the product c large 2 u, the rest of t 4 u, the terms left out
            (t^13 / 13) nothing, the last addition 1 u. The complements to pi / 2 and pi round a larger number.
    """
    rise, run = np.abs(y), np.abs(x)
    small, large = np.minimum(rise, run), np.maximum(rise, run)
    c = small / large
    c *= 16
    np.rint(c, out=c)
    angle = _ANGLES.take(c.astype(np.int64), mode="clip")
    c *= 1 / 16
    t = small - c * large
    t /= large + c * small
    z = t * t
    rest = horner(z, ARC)
    rest *= z * t
    rest += t
    angle += rest
    np.subtract(_HALF_PI, angle, out=angle, where=rise > run)
    np.subtract(_PI, angle, out=angle, where=x < 0)
    return np.copysign(angle, y, out=angle)


def atan(x: F64) -> F64:
    """Error   as atan2."""
    return atan2(x, np.ones_like(x))


def _other_side(x: F64) -> F64:
    """sqrt(1 - x^2), within 2.5 u: 1 - x is exact near 1, where the factor 1 + x is rounded once."""
    return np.sqrt((1.0 - x) * (1.0 + x))


def asin(x: F64) -> F64:
    """Error   relative, 15 u: as atan2, and 2.5 u of the other side, not enlarged."""
    return atan2(x, _other_side(x))


def acos(x: F64) -> F64:
    """Error   as asin. Between asin and this no subtraction is made near x = 1, where acos is small."""
    return atan2(_other_side(x), x)


KERNELS = {
    "asin": Kernel(asin, 2.0**-49, (2.0**-1022, 1.0)),
    "acos": Kernel(acos, 2.0**-49, (2.0**-1022, 1.0)),
    "atan": Kernel(atan, 2.0**-49, (2.0**-1022, 2.0**1022)),
    "atan2": Kernel(atan2, 2.0**-49),
}
