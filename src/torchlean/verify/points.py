"""Where to split what a curve or a product reads: where the lines of both halves leave the least area between them.

For each function, the areas of all boxes between some marks are measured once, as the kernel draws its lines, with
tangents at the middle, which are the nearest ones. Between the marks, an area over the cube of its box's width is
interpolated: for a smooth function that is nearly constant where boxes are narrow. A box's points are tried at
sixteenths of it. Powers look alike at every scale, exp at every place and waves in every period, so few marks serve.
A product's planes are 2 h k apart on a box of half widths h and k: that volume, 8 h^2 k^2, is least at the middle.

Source   Shi et al. 2024, arXiv:2405.21063, section 3.4 (branching points made ahead)
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from torchlean.frozen import frozen
from torchlean_check.network import Curve, Network, Product
from torchlean_check.rules import convex, steps
from torchlean_check.rules.functions import find

F64 = NDArray[np.float64]

MARKS = 33  # of each function: so the areas of 528 boxes; of waves, which bend more often, twice as many
FAR = 16.0  # beyond it, functions with a bend are as good as straight, and exp is nearly 0 beside its greatest value
NEAR = 2.0**-12  # of a box's greater end: the least that a function with a pole is measured at
SHARES = np.arange(1, 16) / 16  # of a box, where it may be split
GAIN = 0.97  # of the area at the middle: what another point must leave less than
SAME = 1e-6  # by which two areas may differ and count as one
BITS = 10  # of a point, in the measure of its box's width


@frozen(eq=False)
class Table:
    """dense   the area between the lines on a box between two marks, over the cube of its width

    Shapes   marks: [M], increasing; dense: [M, M], symmetric
    """

    marks: F64
    dense: F64

    def area(self, lo: F64, hi: F64) -> F64:
        """Of boxes within the marks; NaN where it is not known.   Shapes  any, the same of both"""
        (i, u), (j, v) = (self._between(end) for end in (lo, hi))
        left, right = ((1 - v) * self.dense[k, j] + v * self.dense[k, j + 1] for k in (i, i + 1))
        found: F64 = ((1 - u) * left + u * right) * (hi - lo) ** 3
        return found

    def _between(self, x: F64) -> tuple[NDArray[np.intp], F64]:
        i = np.clip(np.searchsorted(self.marks, x, side="right") - 1, 0, len(self.marks) - 2)
        return i, (x - self.marks[i]) / (self.marks[i + 1] - self.marks[i])


@cache
def table(name: str) -> Table:
    """Of a function of `rules.functions`."""
    marks = _marks(name)
    i, j = np.triu_indices(len(marks), 1)
    lo, hi = marks[i], marks[j]
    middle, width, place = 0.5 * lo + 0.5 * hi, hi - lo, np.zeros(len(lo))
    found = convex.lines(name, lo, hi, place, place)
    assert found.p is not None
    dense = np.zeros((len(marks), len(marks)))
    dense[i, j] = np.maximum((found.s - found.a) * middle + found.t - found.p, 0.0) / width**2
    beside = dense[np.arange(len(marks) - 1), np.arange(1, len(marks))]
    np.fill_diagonal(dense, 0.5 * np.append(beside, beside[-1]) + 0.5 * np.append(beside[0], beside))
    return Table(marks, np.triu(dense) + np.triu(dense, 1).T)


def best(name: str, lo: F64, hi: F64) -> F64:
    """The point of each box, strictly inside of it; the middle, where the table knows none that leaves less.

    Two points that mirror each other and leave as much make none: an odd function's point on [-a, a] is 0. Where even
    the middle is no float inside (ends that are next to each other, or no numbers), it is returned all the same.
    Shapes   [N], [N] -> [N]
    """
    middle = 0.5 * lo + 0.5 * hi
    if name in steps.NAMES:
        return middle
    known = table(name)
    with np.errstate(all="ignore"):
        shift, scale = _frame(name, lo, hi)
        ends = np.sort(np.stack([(lo - shift) * scale, (hi - shift) * scale]), axis=0)
        low, high = np.clip(ends, known.marks[0], known.marks[-1])
        points = low + (high - low) * SHARES[:, None]
        left = known.area(np.broadcast_to(low, points.shape), points)
        areas = left + known.area(points, np.broadcast_to(high, points.shape))
        areas = np.where(np.isfinite(areas), areas, np.inf)
        first, every = areas.argmin(axis=0), np.arange(len(lo))
        least = areas[first, every]
        mirrored = np.abs(areas[len(SHARES) - 1 - first, every] - least) <= SAME * least
        better = (least < GAIN * areas[len(SHARES) // 2]) & ~mirrored
        unit = np.exp2(np.floor(np.log2(hi - lo)) - BITS)
        found = np.rint((points[first, every] / scale + shift) / unit) * unit
        return np.where(better & (lo < found) & (found < hi), found, middle)


def points(network: Network, value: int, lo: F64, hi: F64) -> F64:
    """The points of boxes of a value's entries: 0 for what a relu reads, else the mean of its readers' best ones.

    Shapes   [N], [N] -> [N]
    """
    if value in network.relu_inputs:
        return np.zeros_like(lo)
    found = [best(node.name, lo, hi) for node in network.nodes if isinstance(node, Curve) and node.source == value]
    if any(isinstance(node, Product) and value in node.sources for node in network.nodes):
        found.append(0.5 * lo + 0.5 * hi)
    mean: F64 = np.mean(found, axis=0)
    return mean


def _scales(name: str) -> bool:
    """Whether f(c x) is a f(x) + b."""
    return name in ("log", "sqrt", "rsqrt", "reciprocal", "square") or name.startswith("pow ")


def _marks(name: str) -> F64:
    """Where a function is measured, in the frame of `_frame`."""
    f = find(name)
    if _scales(name) and (f.positive or name in ("sqrt", "reciprocal")):
        return np.geomspace(NEAR, 1.0, MARKS)
    if _scales(name):
        return np.linspace(-1.0, 1.0, MARKS)
    if name == "exp":
        return np.linspace(-FAR, 0.0, MARKS)
    if f.wave is not None:
        return np.linspace(-2.0 * np.pi, 2.0 * np.pi, 2 * MARKS - 1)
    half = np.sinh(np.linspace(0.0, np.arcsinh(2.0 * FAR), MARKS // 2 + 1)) / 2.0
    return np.concatenate([-half[:0:-1], half])


def _frame(name: str, lo: F64, hi: F64) -> tuple[F64 | float, F64 | float]:
    """shift, scale: (x - shift) scale moves each box to the marks, where it looks alike."""
    if _scales(name):
        return 0.0, 1.0 / np.where(hi >= -lo, hi, lo)
    if name == "exp":
        return hi, 1.0
    if find(name).wave is not None:
        return 2.0 * np.pi * np.rint((0.5 * lo + 0.5 * hi) / (2.0 * np.pi)), 1.0
    return 0.0, 1.0
