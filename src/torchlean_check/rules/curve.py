"""Trusted. Nodes y = f(z), elementwise: an execution is within the tolerance table of f, and inside of its range.

A backward step replaces G on f(z) by a G where G > 0 and s G where G < 0, and charges the offsets of those lines.
Source  SEMANTICS 2 and 5.
"""

from __future__ import annotations

import numpy as np

from torchlean_check.arith import Arithmetic, Ints, each
from torchlean_check.network import Curve
from torchlean_check.rules import convex, steps
from torchlean_check.rules.elementary import Floats
from torchlean_check.rules.functions import find
from torchlean_check.rules.relu import Lines

Box = tuple[Floats, Floats]
Crossed = tuple[Floats, Floats, list[Floats]]  # offset and its error, both [R], and coefficients per source


def _interval(node: Curve, box: Box) -> Box:
    return (steps if node.name in steps.NAMES else convex).interval(node.name, *box)


def error(node: Curve, box: Box, wide: float) -> tuple[Floats, Floats]:
    """The error box of an execution, and the largest result.   Shapes  [size] each

    A subnormal divisor may be flushed to 0: so a reciprocal counts twice.
    """
    size, argument = (np.maximum(*(np.abs(v) for v in ends)) for ends in (_interval(node, box), box))
    relative = node.relative + node.spread * 2.0**-24 * (1.0 + wide)
    error = (node.absolute + node.steep * argument + relative * size) * (1.0 + 2.0**-40)
    return error, size * (2.0 if node.name == "reciprocal" else 1.0)


def enclose(node: Curve, box: Box, kappa: Floats) -> Box:
    low, high = _interval(node, box)
    low, high = low - kappa - 2.0**-50 * np.abs(low), high + kappa + 2.0**-50 * np.abs(high)
    if node.name in steps.NAMES:
        return low, high
    least, most = find(node.name).reach
    return np.maximum(low, least), np.minimum(high, most)


def lines(node: Curve, places: tuple[Floats, Floats], box: Box) -> Lines:
    return steps.lines(node.name, *box) if node.name in steps.NAMES else convex.lines(node.name, *box, *places)


def cross(node: Curve, found: Lines, g: Floats, box: Ints, arith: Arithmetic, mags: list[Floats]) -> Crossed:
    down = np.minimum(g, 0.0)
    up = g - down
    a, s, t = (each(v, box) for v in (found.a, found.s, found.t))
    p = each(found.p, box) if found.p is not None else np.zeros_like(t)
    shift = arith.dots(up, p) + arith.dots(down, t)
    size = arith.dots(up, np.abs(p)) - arith.dots(down, np.abs(t))
    return shift, size * arith.gamma(g.shape[1] + 2) * 2.0, [up * a + down * s]
