"""Trusted. What the checker knows of each function of one variable: its value, slope, convexity and range.

`value` and `slope` are within ERROR (1 + |.|) of f and f' (`elementary`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np

from torchlean_check.frozen import frozen
from torchlean_check.rules import gauss
from torchlean_check.rules.elementary import Floats, bell, exp, log, power, sigmoid, silu_slope, softplus, tanh, turned


@frozen
class Function:
    """f is convex below `bend` and concave above it where `convex`, else the other way round; a `wave` bends at
    phase pi + k pi; a `gate` is convex between -bend and bend and concave beyond. f is monotone, or falls up to `dip`
    and rises from there on, or is a wave. `reach`: encloses f's range, and what implementations give. `positive`: is
    defined from 2^-126 on; what is smaller may be flushed to 0."""

    value: Callable[[Floats], Floats]
    slope: Callable[[Floats], Floats]
    convex: bool = True
    bend: float = math.inf
    dip: float | None = None
    reach: tuple[float, float] = (-math.inf, math.inf)
    wave: float | None = None
    gate: bool = False
    positive: bool = False


FUNCTIONS = {
    "exp": Function(exp, exp, reach=(0.0, math.inf)),
    "log": Function(log, lambda x: 1.0 / x, convex=False, positive=True),
    "sqrt": Function(np.sqrt, lambda x: 0.5 / np.sqrt(x), convex=False, reach=(0.0, math.inf)),
    "rsqrt": Function(
        lambda x: 1.0 / np.sqrt(x), lambda x: -0.5 / (x * np.sqrt(x)), reach=(0.0, math.inf), positive=True
    ),
    "reciprocal": Function(lambda x: 1.0 / x, lambda x: -1.0 / (x * x), convex=False, bend=0.0),
    "square": Function(lambda x: x * x, lambda x: 2.0 * x, dip=0.0, reach=(0.0, math.inf)),
    "sigmoid": Function(sigmoid, bell, bend=0.0, reach=(0.0, 1.0)),
    "tanh": Function(tanh, lambda x: 4.0 * bell(2.0 * x), bend=0.0, reach=(-1.0, 1.0)),
    "erf": Function(gauss.erf, gauss.erf_slope, bend=0.0, reach=(-1.0, 1.0)),
    "softplus": Function(softplus, sigmoid, reach=(0.0, math.inf)),
    # f'' = s(x) s(-x) (2 - x tanh(x / 2)), and (4 / sqrt pi) e^-x^2 (1 - x^2): the slope falls from 0, rises through
    # its only zero, and falls to 1 or 2.
    "silu": Function(lambda x: x * sigmoid(x), silu_slope, bend=2.3993572805154677, dip=-1.2784645427610738, gate=True),
    "gelu": Function(gauss.gate, gauss.gate_slope, bend=1.0, dip=-0.5315968851493932, gate=True),  # x (1 + erf(x))
    "sin": Function(lambda x: turned(x, 0), lambda x: turned(x, 1), reach=(-1.0, 1.0), wave=0.0),
    "cos": Function(lambda x: turned(x, 1), lambda x: turned(x, 2), reach=(-1.0, 1.0), wave=0.5),
}


def named_power(p: float) -> str:
    return f"pow {p!r}"


def named_elu(alpha: float) -> str:
    return f"elu {alpha!r}"


@cache
def find(name: str) -> Function:
    """The function of that name; "pow p" is x^p, for a whole p > 0, or else for p from 2^-4 to 8 in magnitude; "elu a"
    is x above 0 and a (e^x - 1) below, for a from 0 to 8."""
    kind, _, number = name.partition(" ")
    return {"pow": _power, "elu": _elu}[kind](float(number)) if number else FUNCTIONS[name]


def _elu(a: float) -> Function:
    """Convex for a <= 1. Else convex up to 0 and concave from there on: the slope at 0 is that of the left, and any
    line of a slope above 1 lies above the right side."""

    def value(x: Floats) -> Floats:
        return np.where(x > 0.0, x, a * (exp(np.clip(x, -700.0, 0.0)) - 1.0))

    def slope(x: Floats) -> Floats:
        return np.where(x > 0.0, 1.0, a * exp(np.clip(x, -700.0, 0.0)))

    return Function(value, slope, bend=math.inf if a <= 1.0 else 0.0, reach=(-a, math.inf))


def _power(p: float) -> Function:
    def value(x: Floats) -> Floats:
        return power(x, p)

    def slope(x: Floats) -> Floats:
        return p * power(x, p - 1.0)

    if p <= 0 or p != int(p):
        return Function(value, slope, convex=not 0.0 < p < 1.0, reach=(0.0, math.inf), positive=True)
    if p % 2 == 0:
        return Function(value, slope, dip=0.0, reach=(0.0, math.inf))
    return Function(value, slope, convex=False, bend=0.0)
