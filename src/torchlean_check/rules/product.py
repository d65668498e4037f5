"""Trusted. Nodes z = x y, elementwise: planes below and above on a box.

With x = m + u and y = n + v on a box of half widths h and k,  x y = n x + m y - m n + u v,  and for t in [-1, 1]
t (k u + h v) - h k <= u v <= t (k u - h v) + h k:  at t = 1 and -1 the differences are (h -+ u) (k -+ v), so >= 0.
Source  SEMANTICS 3 and 5; McCormick 1976, doi:10.1007/BF01580665.
"""

from __future__ import annotations

import numpy as np

from torchlean_check.arith import Arithmetic, Ints, each
from torchlean_check.frozen import frozen
from torchlean_check.network import Product
from torchlean_check.rules.elementary import Floats

Box = tuple[Floats, Floats]
Crossed = tuple[Floats, Floats, list[Floats]]


@frozen(eq=False)
class Plane:
    """a x + b y + c, on one side of x y on the box, also after a G and b G are rounded to nearest."""

    a: Floats
    b: Floats
    c: Floats


def seen(node: Product, x: Box, y: Box) -> tuple[Box, Box]:
    """The factors' boxes."""
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
    x, y = seen(node, x, y)
    size = np.maximum(*(np.abs(v) for v in _interval(x, y)))
    factors = sum(np.maximum(np.abs(v[0]), np.abs(v[1])) for v in (x, y))
    return (node.units * 2.0**-24 * size + 2.0**-126 * (2.0 + factors)) * (1.0 + 2.0**-20), size


def enclose(node: Product, x: Box, y: Box, kappa: Floats) -> Box:
    low, high = _interval(*seen(node, x, y))
    return low - kappa - 2.0**-50 * np.abs(low), high + kappa + 2.0**-50 * np.abs(high)


def lines(node: Product, places: tuple[Floats, Floats], x: Box, y: Box) -> tuple[Plane, Plane]:
    """A plane below and one above; places in [-1, 1]: of the planes between McCormick's two, 0 being the middle one."""
    x, y = seen(node, x, y)
    m, n = 0.5 * x[0] + 0.5 * x[1], 0.5 * y[0] + 0.5 * y[1]
    h, k = (np.maximum(v[1] - c, c - v[0]) for v, c in ((x, m), (y, n)))
    sizes = [np.maximum(np.abs(v[0]), np.abs(v[1])) for v in (x, y)]
    loss = h * k * (1.0 + 2.0**-48) + 2.0**-45 * sizes[0] * sizes[1] + 2.0**-1000
    found = []
    for place, side in zip(places, (1.0, -1.0), strict=True):
        turn = place * h * side
        found.append(Plane(n + place * k, m + turn, -m * n - place * k * m - turn * n - side * loss))
    return found[0], found[1]


def cross(
    node: Product, found: tuple[Plane, Plane], g: Floats, box: Ints, arith: Arithmetic, mags: list[Floats]
) -> Crossed:
    """Where an entry is read more than once, its coefficients are added up, and that sum's rounding is charged."""
    down = np.minimum(g, 0.0)
    up = g - down
    low, high = (Plane(*(each(v, box) for v in (p.a, p.b, p.c))) for p in found)
    shift = arith.dots(up, low.c) + arith.dots(down, high.c)
    size = arith.dots(up, np.abs(low.c)) - arith.dots(down, np.abs(high.c))
    charge, parts = size * arith.gamma(g.shape[1] + 2) * 2.0, []
    moved = up * low.a + down * high.a, up * low.b + down * high.b
    for select, rows, mag in zip((node.left, node.right), moved, mags, strict=True):
        if select.depth > 1:
            charge = charge + arith.dots(np.abs(rows), mag[None, select.index]) * arith.gamma(select.depth) * 2.0
        parts.append(select.transpose(rows, np.matmul))
    return shift, charge, parts
