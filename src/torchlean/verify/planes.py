"""Planes above the relus of the first layer: upper bounds by the inputs themselves, where a chord reads a sum of them.

For z = w x + b and any a, relu(z) <= a x + c on the input box where c >= max -a x and c >= max (w - a) x + b. With
a = m w, 0 <= m <= 1, these are the facets of the hull of relu over the box, which the chord, all m alike, does not see:
inputs that the minimiser has at different ends need different shares m. The upper line of a neuron is its chord and its
plane, mixed by a share that each bound optimises like a slope; the shares m are learned for many bounds (facets.py).

Shapes   P problems, K planes, E inputs that one neuron reads at most, n inputs
Source   Anderson et al. 2020, arXiv:1811.01988; Tjandraatmadja et al. 2020, arXiv:2006.14076
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.frozen import frozen
from torchlean.verify.maps import Maps
from torchlean_check.arith import Rounded
from torchlean_check.blocks import Blocks
from torchlean_check.network import Affine, Network, Relu
from torchlean_check.records import UNIT

if TYPE_CHECKING:
    from torchlean.verify.dual import Dual, Neurons

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]

Boxes = Mapping[int, tuple[F64, F64]]

GRID = 2.0**-8  # of the shares m in a certificate
MOST = 1 << 26  # entries of the neurons' rows: each is written out once, over what the first layer reads and gives


@frozen(eq=False)
class Edges:
    """The first layer of a network, as far as some neurons go: which inputs each reads, and with what weights.

    relu, value   the node, and what it reads     entry   [K] entries of the value, rising
    index, weight   [K, E]; what a neuron does not read has weight 0
    bias, error     [K]; error: the most by which an execution's z exceeds w x + b
    """

    relu: int
    value: int
    entry: Ints
    index: Ints
    weight: F64
    bias: F64
    error: F64

    def take(self, which: Ints) -> Edges:
        """Those of some neurons."""
        columns = (getattr(self, f.name)[which] for f in fields(Edges) if f.name not in ("relu", "value"))
        return Edges(self.relu, self.value, *columns)

    def within(self, boxes: Boxes) -> Edges | None:
        """Those of the neurons that are unstable in these boxes, which stand within the root's."""
        if self.value not in boxes:
            return None
        lo, hi = (end[self.entry] for end in boxes[self.value])
        which = np.flatnonzero((lo < 0) & (hi > 0))
        return self.take(which) if len(which) else None

    def chord(self, boxes: Boxes) -> F64:
        """The shares m of the chords.   Shapes  -> [K, E]"""
        lo, hi = (end[self.entry] for end in boxes[self.value])
        return np.repeat((hi / (hi - lo))[:, None], self.index.shape[1], axis=1)

    @staticmethod
    def of(kernel: tc.Kernel) -> Edges | None:
        """Those of the neurons that the root leaves unstable; None where no relu reads the inputs by one map, or where
        so many do that planes above them would fill the memory.
        """
        found = first_relu(kernel.network)
        if found is None:
            return None
        relu, value, node = found
        lo, hi = (end[0] for end in kernel.start().boxes[value])
        entry = np.flatnonzero((lo < 0) & (hi > 0))
        if not 0 < len(entry) * max(node.size, kernel.network.inputs) <= MOST:
            return None
        rows = np.zeros((len(entry), node.size))
        rows[np.arange(len(entry)), entry] = 1.0
        weight = node.terms[0][0].transpose(rows, Rounded().product)
        most = max(1, int((weight != 0).sum(axis=1).max()))
        index = np.sort(np.argsort(weight == 0, axis=1, kind="stable")[:, :most], axis=1)
        weight, bias = np.take_along_axis(weight, index, axis=1), node.bias[entry]
        return Edges(relu, value, entry, index, weight, bias, kernel.charges[value].kappa[entry])


def first_relu(network: Network) -> tuple[int, int, Affine] | None:
    """The first relu that reads one map of the inputs, and what it reads, if no other relu reads that."""
    read = [node.source for node in network.nodes if isinstance(node, Relu)]
    for k in range(len(network.nodes)):
        found = network.first(k)
        if found is not None and read.count(found[0]) == 1:
            return k, *found
    return None


@frozen(eq=False)
class Family:
    """Planes above some neurons, as a certificate has them: shares m on its grid.

    number   the position of its table in the certificate    key   of a bound's shares, in slope tables
    matrix, const   [K, n], [K]
    """

    edges: Edges
    number: int
    key: int
    matrix: F64
    const: F64

    @staticmethod
    def of(kernel: tc.Kernel, edges: Edges, shares: F64, number: int) -> tuple[Family, tc.SlopeTable]:
        """The family with these shares, and its table.   Shapes  shares: [K, E]"""
        network, region = kernel.network, kernel.region
        units = np.rint(np.clip(shares, 0, 1) / GRID) * (GRID / UNIT)
        a = (units * UNIT * edges.weight).astype(np.float32).astype(np.float64)
        matrix = np.zeros((len(a), network.inputs))
        np.put_along_axis(matrix, edges.index, a, axis=1)
        const = constants(np, edges.weight, a, edges.bias + edges.error, region.lo[edges.index], region.hi[edges.index])
        row, column = np.nonzero(edges.weight)  # rising: rows of one neuron, inputs in order
        count = len(network.nodes)
        at = edges.entry[row] * network.inputs + edges.index[row, column]
        table = tc.SlopeTable({3 * count + edges.relu: at}, units[row, column].astype(np.int16))
        return Family(edges, number, (4 + number) * count + edges.relu, matrix, const), table

    def shares_of(self, edges: Edges, chord: F64) -> F64:
        """The shares m of other neurons, those of the chord where it has none.   Shapes  chord: [K, E] -> [K, E]"""
        found, mine = chord.copy(), np.isin(edges.entry, self.edges.entry)
        place, weight = np.searchsorted(self.edges.entry, edges.entry[mine]), edges.weight[mine]
        a = self.matrix[place[:, None], edges.index[mine]]
        found[mine] = np.where(weight == 0, 0.0, a / np.where(weight == 0, 1.0, weight))
        return found


def constants(xp: Any, weight: Any, a: Any, bias: Any, lo: Any, hi: Any) -> Any:
    """The least c of each plane.   Shapes  weight, a, lo, hi: [K, E]; bias: [K] -> [K]"""
    rest = weight - a
    zero = -xp.where(a > 0, a * lo, a * hi).sum(-1)
    return xp.maximum(zero, bias + xp.where(rest > 0, rest * hi, rest * lo).sum(-1))


class Matrix(Protocol):
    """The planes' coefficients.   Shapes  [K, n]"""

    def sums(self, weight: Any) -> Any:
        """Shapes  [P, K] -> [P, n]"""

    def values(self, point: Any) -> Any:
        """Shapes  [P, n] -> [P, K]"""


@frozen(eq=False)
class Dense:
    matrix: Any

    def sums(self, weight: Any) -> Any:
        return weight @ self.matrix

    def values(self, point: Any) -> Any:
        return point @ self.matrix.T


class InBlocks:
    """As dense blocks: rows of a convolution read few inputs, and a processor counts its products."""

    def __init__(self, edges: Edges, matrix: F64, maps: Maps) -> None:
        self.maps, self.shape = maps, matrix.shape
        row, at = np.nonzero(edges.weight)
        column = edges.index[row, at]
        blocks = Blocks.of((len(matrix), matrix.shape[1]), row, column, matrix[row, column]).blocks
        self.blocks = [(maps.index(rows), maps.index(columns), maps.put(part)) for rows, columns, part in blocks]

    def sums(self, weight: Any) -> Any:
        turned, out = self._turned(weight), self.maps.zeros(self.shape[1], len(weight))
        for rows, columns, part in self.blocks:
            out[columns] += part.T @ turned[rows]
        return out.T

    def values(self, point: Any) -> Any:
        turned, out = self._turned(point), self.maps.zeros(self.shape[0], len(point))
        for rows, columns, part in self.blocks:
            out[rows] = part @ turned[columns]
        return out.T

    def _turned(self, rows: Any) -> Any:
        """Transposed in memory, too: what blocks read stands side by side."""
        out = self.maps.zeros(rows.shape[1], len(rows))
        out[...] = rows.T
        return out


@frozen(eq=False)
class Planes:
    """A family in the arrays of a dual's maps.

    flat    its neurons in the flat vector     slot   and in the part of it that is its value's
    entry   and in the value     error   what of const are float32's error boxes
    """

    relu: int
    value: int
    flat: Any
    slot: Any
    entry: Any
    matrix: Matrix
    const: Any
    error: Any

    @staticmethod
    def of(neurons: Neurons, maps: Maps) -> Planes | None:
        family = neurons.family
        if family is None or not len(neurons.raised):
            return None
        mine, flat = neurons.raised, neurons.below_planes
        edges, rows = family.edges.take(mine), family.matrix[mine]
        matrix = Dense(maps.put(rows)) if maps.records else InBlocks(edges, rows, maps)
        const, error = maps.put(family.const[mine]), maps.put(edges.error)
        flat, slot, entry = map(maps.index, (flat, flat - neurons.at[edges.value].start, edges.entry))
        return Planes(edges.relu, edges.value, flat, slot, entry, matrix, const, error)


class Raised:
    """The planes' part of one walk: below them, and back.

    share      [P, K] of each plane in the upper line
    weight     [P, K] the coefficients that the planes have taken, <= 0
    above      [P, K] the upper lines at the minimiser; None, like `weight`, where no walk has crossed the relus
    gradient   [P, K] of the bound in the shares
    """

    def __init__(self, dual: Dual, planes: Planes, share: Any, free: Any) -> None:
        """free: [P, K] which neurons have an upper line to choose"""
        self.xp, self.planes, self.share = dual.xp, planes, share
        self.free = self.xp.where(free, dual.one, dual.zero)
        self.weight: Any = None
        self.above: Any = None
        self.gradient: Any = 0 * share

    def take(self, upper: Any) -> tuple[Any, Any, Any]:
        """What planes take of coefficients on their relus: the bound's gain, its charge, and its form's.

        Shapes  upper: [P, K] -> [P], [P], [P, n]
        """
        planes = self.planes
        self.down = self.xp.clip(upper, None, 0) * self.free
        self.weight = self.down * self.share
        return self.weight @ planes.const, -self.weight @ planes.error, planes.matrix.sums(self.weight)

    def meet(self, point: Any, line: Any) -> None:
        """The upper lines at the minimiser, where the chords have these values.   Shapes  [P, n], [P, K]"""
        apart = self.free * (self.planes.matrix.values(point) + self.planes.const - line)
        self.gradient, self.above = self.down * apart, line + self.share * apart
