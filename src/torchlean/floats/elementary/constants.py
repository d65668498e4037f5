"""float64 constants and tables for the kernels: correctly rounded values of Arb balls, the same on every machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import flint
import numpy as np

from torchlean.errors import InternalError
from torchlean.floats.rounding import F64

_PRECISION = 240


def _whole(x: flint.arb) -> tuple[int, int]:
    mantissa, exponent = x.mid().man_exp()
    return int(mantissa), int(exponent)


def _nearest(mantissa: int, exponent: int) -> float:
    """mantissa 2^exponent to float64, ties to even: Python's division of integers is correctly rounded."""
    return float(mantissa << exponent) if exponent >= 0 else mantissa / (1 << -exponent)


def split(ball: Callable[[], flint.arb], quantum: int | None = None) -> tuple[float, float]:
    """(high, low) with high + low within 2^-52 |low| of a constant.

    quantum   high is a multiple of 2^quantum; None: the float64 nearest to the constant
    """
    with flint.ctx.workprec(_PRECISION):
        x = ball()
        if x.rel_accuracy_bits() < 160 and not x.is_zero():
            raise InternalError(
                "a constant is not known well enough",
                where="floats.elementary.constants",
                expected="160 bits",
                got=str(x),
                fix="report this",
            )
        mantissa, exponent = _whole(x)
        if quantum is None:
            high = _nearest(mantissa, exponent)
        else:
            shift = quantum - exponent
            high = float(np.ldexp(float((mantissa + (1 << (shift - 1))) >> shift), quantum)) if shift > 0 else 0.0
        rest, below = _whole(x - flint.arb(high))
        return high, _nearest(rest, below)


def table(balls: Iterable[Callable[[], flint.arb]], quantum: int | None = None) -> tuple[F64, F64]:
    """Two arrays: the high and the low part of each constant."""
    pairs = [split(ball, quantum) for ball in balls]
    return np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
