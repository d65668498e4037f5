"""Trusted. Elementary functions of twins: Arb for the ends, a bound of the slope for the difference.

Table "tolerances-1": an implementation is within a + r |f| of f, clamped to f's range (SEMANTICS 2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from torchlean_check.twin import Floats, Twin, down, joined, once, up

TABLE = "tolerances-1"
ABSOLUTE = {"exp": 2.0**-124, "log": 2.0**-126, "tanh": 2.0**-125, "sigmoid": 2.0**-21, "sqrt": 2.0**-62}
RELATIVE = {"exp": 2.0**-20, "log": 2.0**-20, "tanh": 2.0**-20, "sigmoid": 2.0**-20, "sqrt": 2.0**-22}
RANGE = {"tanh": (-1.0, 1.0), "sigmoid": (0.0, 1.0)}


def _ball(name: str, x: Any, flint: Any) -> Any:
    if name == "sigmoid":
        return 1 / (1 + (-x).exp())
    return getattr(x, name)()


def _ends(name: str, lo: Floats, hi: Floats) -> tuple[Floats, Floats]:
    """[f(lo), f(hi)], outward, of an increasing f; NaN, so refused, outside its domain or beyond float64."""
    import flint

    def at(x: Floats, side: Callable[[float], float]) -> Floats:
        known: dict[float, float] = {}
        for value in set(x.ravel().tolist()):
            with flint.ctx.workprec(80):
                ball = _ball(name, flint.arb(value), flint)
            whole = ball.is_finite() and np.isfinite(float(ball.mid()))
            # mid to nearest is off by an ulp at most, the radius is far below another: two steps outward
            wide = whole and ball.rad() <= abs(ball.mid()) * flint.arb(2) ** -60
            known[value] = side(side(float(ball.mid()))) if wide or (whole and ball.is_zero()) else np.nan
        return np.array([known[v] for v in x.ravel().tolist()], np.float64).reshape(x.shape)

    return at(lo, lambda v: float(np.nextafter(v, -np.inf))), at(hi, lambda v: float(np.nextafter(v, np.inf)))


def apply(name: str, x: Twin) -> Twin:
    """f(x~) - f(x) = f'(t) (x~ - x) with t between them; sqrt also by sqrt |x~ - x|.

    A logarithm or a root of what may be negative, and a logarithm of what may be subnormal, is refused.
    """
    floats, reals = _ends(name, x.lo, x.hi), _ends(name, x.real_lo, x.real_hi)
    least, most = np.minimum(x.lo, x.real_lo), np.maximum(x.hi, x.real_hi)
    low, high = np.minimum(floats[0], reals[0]), np.maximum(floats[1], reals[1])
    with np.errstate(all="ignore"):
        if name == "exp":
            apart = up(x.apart * high)
        elif name == "log":
            apart = up(x.apart / np.where(least > 2.0**-126, least, np.nan))
        elif name == "tanh":
            nearest = np.where((low <= 0) & (high >= 0), 0.0, np.minimum(np.abs(low), np.abs(high)))
            apart = up(x.apart * up(1 - down(nearest * nearest)))
        elif name == "sigmoid":
            slope = np.maximum(up(low * up(1 - low)), up(high * up(1 - high)))
            apart = up(x.apart * np.where((least <= 0) & (most >= 0), 0.25, np.minimum(slope, 0.25)))
        else:
            floats, reals = (np.maximum(floats[0], 0.0), floats[1]), (np.maximum(reals[0], 0.0), reals[1])
            under = floats[0] + reals[0]
            apart = np.minimum(up(np.sqrt(x.apart)), np.where(under > 0, up(x.apart / down(under)), np.inf))
    exact = joined(x.dtype, floats, reals, np.where(x.apart == 0, 0.0, apart))
    absolute = 2.0**-511 if name == "sqrt" and x.dtype == "float64" else ABSOLUTE[name]
    found = once(exact, RELATIVE[name], absolute)
    if name not in RANGE:
        return found
    bottom, top = RANGE[name]
    box = np.maximum(found.lo, bottom), np.minimum(found.hi, top)
    return joined(x.dtype, box, (found.real_lo, found.real_hi), found.apart)
