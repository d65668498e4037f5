"""The checker's network: a flat list of affine nodes and of nonlinear ones (relu, curves, products) over flat vectors.

A node's position in `nodes` is its value id; value 0 is the input. Linear maps know four things: `apply` (forward on
rows of vectors), `transpose` (backward on rows of coefficients), `back` (the same where only some columns are not 0, to
those inputs that they reach) and `absolute` (the map with |weights|). All products go through the caller's
`product(rows, matrix)`, so that each arithmetic brings its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Any

import numpy as np
import numpy.typing as npt

from torchlean_check.conv import Conv, Turned
from torchlean_check.frozen import frozen
from torchlean_check.sparse import Part, Sparse, few, full, nothing

TABLES = "none/1", "tolerances-1"
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Multiply = Callable[[Floats, Floats], Floats]  # [R, k], [k, n] -> [R, n]


@frozen(eq=False)
class Dense:
    """y = weight x.   Shapes  weight: [out, in]"""

    weight: Floats
    forward: Floats = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", np.ascontiguousarray(self.weight, dtype=np.float64))
        object.__setattr__(self, "forward", self.weight.T)  # a view: the BLAS multiplies by either as fast

    def apply(self, x: Floats, product: Multiply) -> Floats:
        return product(x, self.forward)

    def transpose(self, rows: Floats, product: Multiply) -> Floats:
        return product(rows, self.weight)

    def back(self, rows: Floats, columns: Ints | None, product: Multiply) -> Part:
        return product(full(rows, columns, len(self.weight)), self.weight), None

    def absolute(self) -> Dense:
        return Dense(np.abs(self.weight))

    def leaves(self) -> Floats:
        """Nonzero weights per output.   Shapes  [out]"""
        return np.count_nonzero(self.weight, axis=1).astype(np.float64)

    @property
    def depth(self) -> int:
        """Terms in the longest sum that `apply` or `transpose` forms."""
        return max(self.weight.shape)


@frozen(eq=False)
class Scale:
    """y = factor * x, elementwise.   Shapes  factor: [n]"""

    factor: Floats

    def apply(self, x: Floats, product: Multiply) -> Floats:
        return x * self.factor

    transpose = apply

    def back(self, rows: Floats, columns: Ints | None, product: Multiply) -> Part:
        return rows * (self.factor if columns is None else self.factor[columns]), columns

    def absolute(self) -> Scale:
        return Scale(np.abs(self.factor))

    def leaves(self) -> Floats:
        return np.count_nonzero(self.factor[:, None], axis=1).astype(np.float64)

    depth = 1


@frozen(eq=False)
class Rows:
    """y = x weight for each row of a matrix x.   Shapes  weight: [k, n]; x: [rows * k]; y: [rows * n]"""

    weight: Floats
    rows: int
    turned: Floats = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", np.ascontiguousarray(self.weight, dtype=np.float64))
        object.__setattr__(self, "turned", self.weight.T)

    def apply(self, x: Floats, product: Multiply) -> Floats:
        return product(x.reshape(len(x) * self.rows, -1), self.weight).reshape(len(x), -1)

    def transpose(self, rows: Floats, product: Multiply) -> Floats:
        return product(rows.reshape(len(rows) * self.rows, -1), self.turned).reshape(len(rows), -1)

    def back(self, rows: Floats, columns: Ints | None, product: Multiply) -> Part:
        return self.transpose(full(rows, columns, self.rows * self.weight.shape[1]), product), None

    def absolute(self) -> Rows:
        return Rows(np.abs(self.weight), self.rows)

    def leaves(self) -> Floats:
        return np.tile(np.count_nonzero(self.weight, axis=0).astype(np.float64), self.rows)

    @property
    def depth(self) -> int:
        return max(self.weight.shape)


@frozen(eq=False)
class Select:
    """y = x[index], or 0 where index is -1.   Shapes  index: [out]

    depth   how often the most read input is read: so many terms the transpose adds up
    """

    index: Ints
    in_size: int
    depth: int = field(init=False)
    order: Ints = field(init=False)  # the outputs, those that read one input side by side

    def __post_init__(self) -> None:
        kept = np.nonzero(self.index >= 0)[0]
        object.__setattr__(self, "depth", int(np.bincount(self.index[kept], minlength=1).max()))
        object.__setattr__(self, "order", kept[np.argsort(self.index[kept], kind="stable")])

    def apply(self, x: Floats, product: Multiply) -> Floats:
        return np.where(self.index < 0, 0.0, x[:, self.index])

    def transpose(self, rows: Floats, product: Multiply) -> Floats:
        y = np.zeros((len(rows), self.in_size))
        read = self.index[self.order]
        if self.depth <= 1:
            y[:, read] = rows[:, self.order]
        else:
            first = np.nonzero(np.diff(read, prepend=-1))[0]
            y[:, read[first]] = np.add.reduceat(rows[:, self.order], first, axis=1)
        return y

    def back(self, rows: Floats, columns: Ints | None, product: Multiply) -> Part:
        if columns is None or self.depth > 1:
            return self.transpose(full(rows, columns, len(self.index)), product), None
        read = self.index[columns]
        return (rows[:, read >= 0], read[read >= 0]) if (read >= 0).any() else nothing(rows)

    def absolute(self) -> Select:
        return self

    def leaves(self) -> Floats:
        return (self.index >= 0).astype(np.float64)


Map = Dense | Rows | Sparse | Scale | Select | Conv | Turned


def matrix(weight: npt.NDArray[Any]) -> Dense | Sparse:
    """The map y = weight x, of floats of any format.   Shapes  weight: [out, in]"""
    return Sparse.of(weight) or Dense(weight)


def from_entries(shape: tuple[int, int], row: Ints, column: Ints, weight: Floats) -> Dense | Sparse:
    """The same of its entries, given row by row, none twice."""
    if few(len(row), math.prod(shape)):
        return Sparse.made(shape, row, column, weight)
    whole = np.zeros(shape)
    whole[row, column] = weight
    return Dense(whole)


def sliding(conv: Conv) -> Conv | Dense:
    """The map, as a matrix where the kernel is nearly as large as its input: then that is little more work."""
    spots, outputs = math.prod(conv.in_shape[1:]), math.prod(conv.out_shape)
    if conv.groups * spots > 2 * math.prod(conv.weight.shape[2:]) or outputs * conv.in_shape[0] * spots > 1 << 22:
        return conv
    return Dense(conv.transpose(np.eye(outputs), np.matmul))


@frozen(eq=False)
class Input:
    size: int
    shape: tuple[int, ...]


@frozen(eq=False)
class Pair:
    """Two entries of value `source`, of which each entry is the smaller or the larger one, up to the error box.

    apart   the value of their differences      Shapes  left, right, larger: [size]
    """

    source: int
    apart: int
    left: Ints
    right: Ints
    larger: npt.NDArray[np.bool_]


@frozen(eq=False)
class Affine:
    """y = sum over terms map(x_source) + bias, and the float32 error box that an execution of it needs (SEMANTICS 3).

    leaves    [size] number N of products and bias under one rounding tree; 0: no rounding
    adds      True where one more addition follows the tree: its error is u max|sum| + 2^-126
    weight_rel, bias_err   how far the stored weights (relatively) and bias (absolutely, [size]) may be from the exact
    ones
    magnitude [size] what stands for |bias| in the magnitude sum; at least |bias|
    most      inputs up to this size overflow in no formula that an execution may use, whatever the result's size
    scale     the largest factor by which a formula multiplies what underflowed before, beyond the weights
    pair      what it is beside, where it is a minimum or maximum written with relus
    """

    terms: tuple[tuple[Map, int], ...]
    bias: Floats
    size: int
    shape: tuple[int, ...]
    leaves: Floats
    adds: bool
    weight_rel: float
    bias_err: Floats
    magnitude: Floats
    where: str
    most: float = math.inf
    scale: float = 1.0
    pair: Pair | None = None


@frozen(eq=False)
class Relu:
    source: int
    size: int
    shape: tuple[int, ...]
    where: str


@frozen(eq=False)
class Curve:
    """y = f(x), elementwise, with f named in `rules.curve`. A float32 execution is within absolute + relative |f(x)|
    of it, and inside of f's range (SEMANTICS 2).

    steep          absolute grows by `steep` |x|
    spread, wide   relative grows by `spread` 2^-24 (1 + the largest magnitude of value `wide`)
    """

    name: str
    source: int
    size: int
    shape: tuple[int, ...]
    where: str
    absolute: float = 0.0
    relative: float = 0.0
    steep: float = 0.0
    spread: float = 0.0
    wide: int = 0


@frozen(eq=False)
class Product:
    """y = left(x) * right(x'), elementwise, of two values seen through selections.

    units   a float32 execution rounds it with a relative error of so many 2^-24; 0: it is a term of a sum that rounds
    """

    left: Select
    right: Select
    sources: tuple[int, int]
    size: int
    shape: tuple[int, ...]
    where: str
    units: float = 1.0


Nonlinear = Relu | Curve | Product
AnyNode = Input | Affine | Nonlinear


@frozen
class Ref:
    """A value of a file's graph: the node that computes it, and the shape it has in the file. kind: "bool" and "int64"
    there are 0 or 1, and whole numbers, here; "" is float32."""

    value: int
    shape: tuple[int, ...]
    kind: str = ""


@frozen(eq=False)
class Network:
    """boxed: the values that nonlinear nodes read, which have boxes; relu_inputs: those of them that a relu reads.

    lattice   of those, the differences in minima and maxima that intervals are enough for
    """

    nodes: tuple[AnyNode, ...]
    output: int
    input_shape: tuple[int, ...]
    relu_inputs: tuple[int, ...] = field(init=False)
    boxed: tuple[int, ...] = field(init=False)
    lattice: frozenset[int] = field(init=False)

    def __post_init__(self) -> None:
        relus = {source for node in self.nodes if isinstance(node, Relu) for source in sources(node)}
        every = {source for node in self.nodes if isinstance(node, (Relu, Curve, Product)) for source in sources(node)}
        object.__setattr__(self, "relu_inputs", tuple(sorted(relus)))
        object.__setattr__(self, "boxed", tuple(sorted(every)))
        object.__setattr__(self, "lattice", left_to_intervals(self.nodes))

    def places(self, key: int) -> int:
        """How many numbers slope tables may have under a key; 0: it is none. Of n nodes,

        k                 the lower slopes of what a relu reads
        n + 2 k (+ 1)     where the lines below (above) of a curve or a product lie
        3 n + k           planes above relu k, which reads one map of the input: shares of the weights, row by row
        (4 + t) n + k     what of its upper lines are those planes of table t (rules/planes.py)
        """
        count = len(self.nodes)
        kind, k = divmod(key, count)
        if kind == 0:
            return self.nodes[k].size if k in self.relu_inputs else 0
        if kind in (1, 2):
            node = self.nodes[(key - count) // 2]
            return node.size if isinstance(node, (Curve, Product)) else 0
        size = self.nodes[k].size * (self.inputs if kind == 3 else 1)
        return size if kind > 2 and self.first(k) and size < 1 << 32 else 0

    def first(self, k: int) -> tuple[int, Affine] | None:
        """What relu k reads, its value and node, where that is one map of the network's input."""
        relu = self.nodes[k]
        if not isinstance(relu, Relu):
            return None
        node = self.nodes[relu.source]
        return (relu.source, node) if isinstance(node, Affine) and list(sources(node)) == [0] else None

    @property
    def rules(self) -> tuple[str, ...]:
        """What any proof about it rests on: the families of its nodes, and the functions of its curves."""
        kinds = {"relu": Relu, "product": Product}
        found = [name for name, kind in kinds.items() if any(isinstance(node, kind) for node in self.nodes)]
        return ("affine", *found, *sorted({node.name for node in self.nodes if isinstance(node, Curve)}))

    @property
    def table(self) -> str:
        """The id of the tolerance table that a claim about float32 needs."""
        return TABLES[any(isinstance(node, Curve) for node in self.nodes)]

    @property
    def inputs(self) -> int:
        return self.nodes[0].size

    @property
    def outputs(self) -> int:
        return self.nodes[self.output].size

    @property
    def maps(self) -> set[type]:
        """The kinds of linear maps in it."""
        return {type(m) for node in self.nodes if isinstance(node, Affine) for m, _ in node.terms}


def sources(node: AnyNode) -> Sequence[int]:
    if isinstance(node, Affine):
        return [source for _, source in node.terms]
    if isinstance(node, Product):
        return node.sources
    return [node.source] if isinstance(node, (Relu, Curve)) else []


def as_floats(array: npt.NDArray[Any]) -> Floats:
    return np.asarray(array, dtype=np.float64)


def exact_by_intervals(nodes: Sequence[AnyNode], k: int) -> bool:
    """Whether the interval walk is already exact at value k: one matrix between the input and it, and otherwise maps
    whose rows read one entry each."""
    matrices = 0
    while k > 0:
        node = nodes[k]
        if not isinstance(node, Affine) or len(node.terms) != 1:
            return False
        matrices += not _moves(node.terms[0][0])
        k = node.terms[0][1]
    return matrices <= 1


def _moves(linear: Map) -> bool:
    if isinstance(linear, (Dense, Sparse)):
        return bool(linear.leaves().max() <= 1.0)
    return isinstance(linear, Scale) or (isinstance(linear, Select) and linear.depth <= 1)


def left_to_intervals(nodes: Sequence[AnyNode]) -> frozenset[int]:
    """The values b - a of pairs whose a and b are exact by intervals, or are such minima and maxima themselves."""
    pairs, found = set[int](), set[int]()
    for k, node in enumerate(nodes):
        pair = node.pair if isinstance(node, Affine) else None
        if pair is not None and (pair.source in pairs or exact_by_intervals(nodes, pair.source)):
            pairs.add(k)
            found.add(pair.apart)
    return frozenset(found)
