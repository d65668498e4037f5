"""relu: any coefficients below and above, the exact minimum charged.

A backward step replaces G on relu(z) by any L on z and charges min over z in [lo, hi] of G relu(z) - L z. Here L is a
G where G > 0 and s G where G < 0, each product rounded; what is charged is G+ p + G- t with p <= min(relu(z) - a z)
and t >= max(relu(z) - s z). The difference is linear on each side of 0, so its extremes are at lo, at hi, or at 0
clipped into the box. Source  SEMANTICS 5; Zhang et al. 2018, arXiv:1811.00866.
"""

from __future__ import annotations

import numpy as np

from torchlean_check.arith import Arithmetic, Floats, Ints
from torchlean_check.frozen import frozen
from torchlean_check.pushes import of_rows


@frozen(eq=False)
class Lines:
    """Shapes  [batch, n]; p is None where it is 0 everywhere.

    but   None; or s and t are [1, n] for the whole batch, but for some entries: row (sorted) and column of each, s, t
    """

    a: Floats
    s: Floats
    p: Floats | None
    t: Floats
    but: tuple[Ints, Ints, Floats, Floats] | None = None

    def take(self, columns: Ints) -> Lines:
        """Those of some neurons."""
        a, s, t = (x.take(columns, axis=1) for x in (self.a, self.s, self.t))
        return Lines(a, s, None if self.p is None else self.p.take(columns, axis=1), t)


def default_slope(lo: Floats, hi: Floats) -> Floats:
    """The lower slope that leaves the smaller area: 1 where hi > -lo, else 0."""
    return (hi > -lo).astype(np.float64)


def lines(lo: Floats, hi: Floats, slope: Floats | None = None) -> Lines:
    """Lines for finite lo <= hi; `slope` may be any finite numbers, nan where the default rule is meant.

    Bounds  relu(z) - a z >= p and relu(z) - s z <= t on [lo, hi], also after a G and s G are rounded to nearest
            (2^-53 relative) and after sums of n < 2^20 such terms of one sign are rounded in any order (the factors
            1 + 2^-32)
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


def shared(box: tuple[Floats, Floats], slope: Floats, row: Ints, column: Ints, lo: Floats, hi: Floats) -> Lines:
    """Lines of rows that have one box, unstable everywhere, but for the boxes lo, hi of some entries.

    Shapes  box: [1, n]; slope: [rows, n], each nan or in [0, 1]; row (sorted), column, lo, hi: [entries]
    """
    whole = lines(*box)
    a = np.where(np.isnan(slope), whole.a, slope)
    part = lines(lo, hi, slope[row, column])
    a[row, column] = part.a
    return Lines(a, whole.s, None, whole.t, (row, column, part.s, part.t))


def back(line: Lines, rows: Floats, box: Ints, arith: Arithmetic) -> Floats:
    """A step back, in place; what it adds to the bounds.   box: the batch's row that each row belongs to"""
    down = np.minimum(rows, 0.0)
    up = rows - down
    if line.but is None:
        shift = arith.dots(down, line.t.take(box, axis=0))
        down *= line.s.take(box, axis=0)
    else:
        row, i = of_rows(line.but[0], box)
        column, s, t = (values[i] for values in line.but[1:])
        own = down[row, column]
        down[row, column] = 0.0
        shift = arith.against(down, line.t[0]) + np.bincount(row, own * t, len(box))
        down *= line.s
        down[row, column] = own * s
    if line.p is not None:
        shift = shift + arith.dots(up, line.p.take(box, axis=0))
    up *= line.a.take(box, axis=0)
    np.add(up, down, out=rows)
    return shift
