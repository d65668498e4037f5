"""relu: any coefficients below and above, the exact minimum charged.

A backward step replaces G on relu(z) by any L on z and charges min over z in [lo, hi] of G relu(z) - L z. Here L is a
G where G > 0 and s G where G < 0, each product rounded; what is charged is G+ p + G- t with p <= min(relu(z) - a z)
and t >= max(relu(z) - s z). The difference is linear on each side of 0, so its extremes are at lo, at hi, or at 0
clipped into the box. Source  SEMANTICS 5; Zhang et al. 2018, arXiv:1811.00866.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from torchlean_check.frozen import frozen

Floats = npt.NDArray[np.float64]


@frozen(eq=False)
class Lines:
    """Shapes  [batch, n]; p is None where it is 0 everywhere."""

    a: Floats
    s: Floats
    p: Floats | None
    t: Floats

    def take(self, columns: npt.NDArray[np.int64]) -> Lines:
        """Those of some neurons."""
        a, s, t = (x.take(columns, axis=1) for x in (self.a, self.s, self.t))
        return Lines(a, s, None if self.p is None else self.p.take(columns, axis=1), t)


def default_slope(lo: Floats, hi: Floats) -> Floats:
    """The lower slope that leaves the smaller area: 1 where hi > -lo, else 0."""
    return (hi > -lo).astype(np.float64)


def lines(lo: Floats, hi: Floats, slope: Floats | None = None) -> Lines:
    """Lines for finite lo <= hi; `slope` may be any finite numbers, nan where the default rule is meant.

    Bounds  relu(z) - a z >= p and relu(z) - s z <= t on [lo, hi], also after a G and s G are rounded to nearest
            (2^-53 relative)
            and after sums of n < 2^20 such terms of one sign are rounded in any order (the factors 1 + 2^-32)
    """
    a = default_slope(lo, hi)
    if slope is not None:
        a = np.where(np.isnan(slope), a, slope)
    active, inactive = lo >= 0.0, hi <= 0.0
    a = np.where(active, 1.0, np.where(inactive, 0.0, a))
    unstable = ~(active | inactive)
    l, u = np.where(unstable, lo, -1.0), np.where(unstable, hi, 1.0)
    s = np.where(unstable, u / (u - l), a)
    size = np.maximum(-l, u) + 2.0**-900  # so that nothing below is lost by underflow
    # Three roundings, each at most 2^-53 size max(1, |s|), and the rounding of s G: 4 * 2^-53 size; s is at most 1.
    t = np.where(unstable, (np.maximum(np.maximum(-s * l, u - s * u), 0.0) + 2.0**-50 * size) * (1.0 + 2.0**-32), 0.0)
    if ((a >= 0.0) & (a <= 1.0)).all():
        return Lines(a, s, None, t)  # a rounded product a G stays in [0, G]: the minimum is exactly 0
    low = np.minimum(np.minimum(-a * l, u - a * u), 0.0) - 2.0**-50 * size * (1.0 + np.abs(a))
    p = np.where(unstable & ((a < 0.0) | (a > 1.0)), low * (1.0 + 2.0**-32), 0.0)
    return Lines(a, s, p, t)
