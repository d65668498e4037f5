"""Intervals as Arb balls and back: an independent arithmetic to hold this one against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from torchlean.floats.formats import BINARY64, Format
from torchlean.floats.interval.carrier import Interval
from torchlean.floats.rounding import Rounding, round_rational

if TYPE_CHECKING:
    import flint


def to_arb(x: Interval) -> list[flint.arb]:
    """Each interval as a ball that contains it, in row order, at the working precision of `flint.ctx`.

    A bounded interval gives a ball with its exact midpoint where the precision holds it; an unbounded one the whole
    line.
    """
    import flint

    balls = []
    for lo, hi in zip(x.lo.ravel().tolist(), x.hi.ravel().tolist(), strict=True):
        if np.isinf(lo) or np.isinf(hi):
            balls.append(flint.arb(0, float("inf")))
        else:
            balls.append(flint.arb(lo) if lo == hi else flint.arb(lo).union(flint.arb(hi)))
    return balls


def from_arb(balls: Sequence[flint.arb], fmt: Format = BINARY64) -> Interval:
    """The smallest interval of the format around each ball. Raises UsageError for a ball that is NaN.

    Shapes   n balls -> [n]
    """
    low, high = [], []
    for ball in balls:
        if not ball.is_finite():
            nan = not ball.mid() == ball.mid()  # noqa: SIM201 -- a NaN is neither equal nor unequal to itself
            low.append(np.nan if nan else -np.inf)
            high.append(np.nan if nan else np.inf)
            continue
        low.append(round_rational(_exact(ball.lower()), fmt, Rounding.DOWN))
        high.append(round_rational(_exact(ball.upper()), fmt, Rounding.UP))
    return Interval(np.asarray(low, fmt.dtype), np.asarray(high, fmt.dtype))


def _exact(x: flint.arb) -> flint.fmpq:
    import flint

    mantissa, exponent = x.man_exp()
    shift = int(exponent)
    return flint.fmpq(int(mantissa) << max(shift, 0), 1 << max(-shift, 0))


__all__ = ["from_arb", "to_arb"]
