"""Trusted. Nodes z = x y, elementwise: a pair of parallel planes through the middle of the box.

With x = m + u and y = n + v on a box of half widths h and k,  x y = n x + m y - m n + u v  and  |u v| <= h k.
Source  SEMANTICS 3 and 5; McCormick 1976, doi:10.1007/BF01580665.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from torchlean_check.arith import Arithmetic, Ints, each
from torchlean_check.network import Product
from torchlean_check.rules.elementary import Floats

Box = tuple[Floats, Floats]
Crossed = tuple[Floats, Floats, list[Floats]]


@dataclass(frozen=True, eq=False)
class Planes:
    """x y is within `apart` of a x + b y + middle, also after a G and b G are rounded to nearest."""

    a: Floats
    b: Floats
    middle: Floats
    apart: Floats


def _factors(node: Product, x: Box, y: Box) -> tuple[Box, Box]:
    left, right = node.left.index, node.right.index
    return (x[0][..., left], x[1][..., left]), (y[0][..., right], y[1][..., right])


def _interval(x: Box, y: Box) -> Box:
    four = [p * q for p in x for q in y]
    low, high = np.minimum.reduce(four), np.maximum.reduce(four)
    return low - 2.0**-50 * np.abs(low) - 2.0**-1000, high + 2.0**-50 * np.abs(high) + 2.0**-1000


def error(node: Product, x: Box, y: Box) -> tuple[Floats, Floats]:
    """The error box of an execution, and the largest result: `units` roundings; a factor or the result may be flushed.

    Shapes  [size] each
    """
    x, y = _factors(node, x, y)
    size = np.maximum(*(np.abs(v) for v in _interval(x, y)))
    factors = sum(np.maximum(np.abs(v[0]), np.abs(v[1])) for v in (x, y))
    return (node.units * 2.0**-24 * size + 2.0**-126 * (2.0 + factors)) * (1.0 + 2.0**-20), size


def enclose(node: Product, x: Box, y: Box, kappa: Floats) -> Box:
    low, high = _interval(*_factors(node, x, y))
    return low - kappa - 2.0**-50 * np.abs(low), high + kappa + 2.0**-50 * np.abs(high)


def lines(node: Product, x: Box, y: Box) -> Planes:
    x, y = _factors(node, x, y)
    m, n = 0.5 * x[0] + 0.5 * x[1], 0.5 * y[0] + 0.5 * y[1]
    h, k = (np.maximum(v[1] - c, c - v[0]) for v, c in ((x, m), (y, n)))
    sizes = [np.maximum(np.abs(v[0]), np.abs(v[1])) for v in (x, y)]
    return Planes(n, m, -m * n, h * k * (1.0 + 2.0**-48) + 2.0**-48 * sizes[0] * sizes[1] + 2.0**-1000)


def cross(node: Product, found: Planes, g: Floats, box: Ints, arith: Arithmetic, mags: list[Floats]) -> Crossed:
    """Where an entry is read more than once, its coefficients are added up, and that sum's rounding is charged."""
    shift, size = arith.dots(g, each(found.middle, box)), np.abs(g)
    apart = arith.dots(size, each(found.apart, box)) * (1.0 + 2.0**-32)
    charge = arith.dots(size, each(np.abs(found.middle), box)) * arith.gamma(g.shape[1] + 2) * 2.0
    parts = []
    for select, slope, mag in ((node.left, found.a, mags[0]), (node.right, found.b, mags[1])):
        each_one = g * each(slope, box)
        if select.depth > 1:
            charge = charge + arith.dots(np.abs(each_one), mag[None, select.index]) * arith.gamma(select.depth) * 2.0
        parts.append(select.transpose(each_one, np.matmul))
    return shift - apart, charge, parts
