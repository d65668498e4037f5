"""The checker's network: a flat list of affine and relu nodes over flat vectors.

A node's position in `nodes` is its value id; value 0 is the input. Linear maps know three things: `apply` (forward on
rows of vectors), `transpose` (backward on rows of coefficients) and `absolute` (the map with |weights|). All products
go through the caller's `product(rows, matrix)`, so that each arithmetic brings its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from torchlean_check.sparse import Sparse

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Product = Callable[[Floats, Floats], Floats]  # [R, k], [k, n] -> [R, n]


@dataclass(frozen=True, eq=False)
class Dense:
    """y = weight x.   Shapes  weight: [out, in]"""

    weight: Floats
    forward: Floats = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", np.ascontiguousarray(self.weight, dtype=np.float64))
        object.__setattr__(self, "forward", np.ascontiguousarray(self.weight.T))

    def apply(self, x: Floats, product: Product) -> Floats:
        return product(x, self.forward)

    def transpose(self, rows: Floats, product: Product) -> Floats:
        return product(rows, self.weight)

    def absolute(self) -> Dense:
        return Dense(np.abs(self.weight))

    def leaves(self) -> Floats:
        """Nonzero weights per output.   Shapes  [out]"""
        return np.count_nonzero(self.weight, axis=1).astype(np.float64)

    @property
    def depth(self) -> int:
        """Terms in the longest sum that `apply` or `transpose` forms."""
        return max(self.weight.shape)


@dataclass(frozen=True, eq=False)
class Scale:
    """y = factor * x, elementwise.   Shapes  factor: [n]"""

    factor: Floats

    def apply(self, x: Floats, product: Product) -> Floats:
        return x * self.factor

    transpose = apply

    def absolute(self) -> Scale:
        return Scale(np.abs(self.factor))

    def leaves(self) -> Floats:
        return np.count_nonzero(self.factor[:, None], axis=1).astype(np.float64)

    depth = 1


@dataclass(frozen=True, eq=False)
class Select:
    """y = x[index], or 0 where index is -1. Every input is read at most once.   Shapes  index: [out]"""

    index: Ints
    in_size: int

    def apply(self, x: Floats, product: Product) -> Floats:
        return np.where(self.index < 0, 0.0, x[:, self.index])

    def transpose(self, rows: Floats, product: Product) -> Floats:
        y = np.zeros((len(rows), self.in_size))
        kept = self.index >= 0
        y[:, self.index[kept]] = rows[:, kept]
        return y

    def absolute(self) -> Select:
        return self

    def leaves(self) -> Floats:
        return (self.index >= 0).astype(np.float64)

    depth = 1


@dataclass(frozen=True, eq=False)
class Conv:
    """ONNX Conv on one image: cross-correlation with zero padding, 1 to 3 spatial axes.

    Shapes  weight: [out channels, in channels / groups, *kernel]; in_shape, out_shape: (channels, *spatial)
            pads: (low per axis, high per axis), as ONNX writes them
    """

    weight: Floats
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    groups: int
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    kernels: tuple[Floats, ...] = field(init=False)  # per group [out channels, in channels * kernel]
    forward: tuple[Floats, ...] = field(init=False)

    def __post_init__(self) -> None:
        grouped = np.ascontiguousarray(self.weight).reshape(self.groups, self.out_shape[0] // self.groups, -1)
        object.__setattr__(self, "kernels", tuple(np.ascontiguousarray(k) for k in grouped))
        object.__setattr__(self, "forward", tuple(np.ascontiguousarray(k.T) for k in grouped))

    def _windows(self) -> list[tuple[tuple[int, ...], tuple[slice, ...]]]:
        """Per kernel position, the slices of the padded input that it reads."""
        out = []
        for k in np.ndindex(*self.weight.shape[2:]):
            starts = [a * d for a, d in zip(k, self.dilations, strict=True)]
            out.append(
                (
                    k,
                    tuple(
                        slice(a, a + s * (n - 1) + 1, s)
                        for a, s, n in zip(starts, self.strides, self.out_shape[1:], strict=True)
                    ),
                )
            )
        return out

    def _padded(self) -> list[int]:
        axes = len(self.strides)
        return [self.in_shape[1 + i] + self.pads[i] + self.pads[axes + i] for i in range(axes)]

    def _inside(self) -> tuple[slice, ...]:
        axes = len(self.strides)
        return tuple(slice(self.pads[i], self.pads[i] + self.in_shape[1 + i]) for i in range(axes))

    def apply(self, x: Floats, product: Product) -> Floats:
        batch, spots, groups = len(x), math.prod(self.out_shape[1:]), self.groups
        image = np.zeros((batch, self.in_shape[0], *self._padded()))
        image[(slice(None), slice(None), *self._inside())] = x.reshape(batch, *self.in_shape)
        columns = np.stack([image[(slice(None), slice(None), *w)] for _, w in self._windows()], axis=2)
        columns = columns.reshape(batch, groups, -1, spots).transpose(
            1, 0, 3, 2
        )  # group, batch, spot, channel * kernel
        y = [product(columns[g].reshape(batch * spots, -1), self.forward[g]) for g in range(groups)]
        joined = np.stack(y).reshape(groups, batch, spots, -1).transpose(1, 0, 3, 2)
        return np.ascontiguousarray(joined).reshape(batch, -1)

    def transpose(self, rows: Floats, product: Product) -> Floats:
        batch, spots, groups = len(rows), math.prod(self.out_shape[1:]), self.groups
        g = rows.reshape(batch, groups, -1, spots).transpose(1, 0, 3, 2)
        per = self.in_shape[0] // groups
        image = np.zeros((batch, self.in_shape[0], *self._padded()))
        for i in range(groups):
            part = product(np.ascontiguousarray(g[i]).reshape(batch * spots, -1), self.kernels[i])
            parts = np.moveaxis(part.reshape(batch, *self.out_shape[1:], per, -1), (-1, -2), (0, 2))
            for j, (_, w) in enumerate(self._windows()):
                image[(slice(None), slice(i * per, (i + 1) * per), *w)] += parts[j]
        inside = image[(slice(None), slice(None), *self._inside())]
        return np.ascontiguousarray(inside).reshape(batch, -1)

    def absolute(self) -> Conv:
        return Conv(
            np.abs(self.weight), self.strides, self.pads, self.dilations, self.groups, self.in_shape, self.out_shape
        )

    def leaves(self) -> Floats:
        per_channel = np.count_nonzero(self.weight.reshape(len(self.weight), -1), axis=1)
        return np.repeat(per_channel.astype(np.float64), math.prod(self.out_shape[1:]))

    @property
    def depth(self) -> int:
        return math.prod(self.weight.shape[1:]) + self.weight.shape[0] + math.prod(self.weight.shape[2:])


Map = Dense | Sparse | Scale | Select | Conv


def matrix(weight: Floats) -> Dense | Sparse:
    """The map y = weight x.   Shapes  weight: [out, in]"""
    return Sparse.of(weight) or Dense(weight)


@dataclass(frozen=True, eq=False)
class Input:
    size: int
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Affine:
    """y = sum over terms map(x_source) + bias, and the float32 error box that an execution of it needs (SEMANTICS 3).

    leaves    [size] number N of products and bias under one rounding tree; 0: no rounding
    adds      True where one more addition follows the tree: its error is u max|sum| + 2^-126
    weight_rel, bias_err   how far the stored weights (relatively) and bias (absolutely, [size]) may be from the exact
    ones
    magnitude [size] what stands for |bias| in the magnitude sum; at least |bias|
    most      inputs up to this size overflow in no formula that an execution may use, whatever the result's size
    scale     the largest factor by which a formula multiplies what underflowed before, beyond the weights
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


@dataclass(frozen=True, eq=False)
class Relu:
    source: int
    size: int
    shape: tuple[int, ...]
    where: str


AnyNode = Input | Affine | Relu


@dataclass(frozen=True, eq=False)
class Network:
    nodes: tuple[AnyNode, ...]
    output: int
    input_shape: tuple[int, ...]
    relu_inputs: tuple[int, ...]

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
    return [node.source] if isinstance(node, Relu) else []


def as_floats(array: npt.NDArray[Any]) -> Floats:
    return np.asarray(array, dtype=np.float64)


def exact_by_intervals(nodes: Sequence[AnyNode], k: int) -> bool:
    """Whether the interval walk is already exact at value k: one matrix, and otherwise diagonal maps, between the
    input and it."""
    matrices = 0
    while k > 0:
        node = nodes[k]
        if not isinstance(node, Affine) or len(node.terms) != 1:
            return False
        matrices += not isinstance(node.terms[0][0], (Scale, Select))
        k = node.terms[0][1]
    return matrices <= 1
