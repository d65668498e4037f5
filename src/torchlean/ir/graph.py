"""The program's form: an immutable graph in single-assignment order.

A node is an op's name, its inputs, its attributes and its output types; a value is a node and an output index. Nodes
stand in topological order. The kinds of inputs are nodes too: `input`, `parameter`, `state` (each with a `name`) and
`constant` (with its `value`). A graph carries no weights. Where a node came from (`where`) is shown in errors and is no
part of equality or hash.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias, Union

import numpy as np

from torchlean.errors import GraphError
from torchlean.frozen import frozen
from torchlean.ir.dims import Dim, Size
from torchlean.ir.types import DType, TensorType, numpy_dtype, type_of

SOURCES = ("input", "parameter", "state", "constant")


@frozen
class Literal:
    """An array as an attribute: equal and hashed by dtype, shape and bits."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes = field(repr=False)

    @staticmethod
    def of(array: np.ndarray) -> Literal:
        type_of(array)  # refuses a dtype that programs lack
        shape = tuple(int(s) for s in np.shape(array))
        return Literal(array.dtype.name, shape, array.astype(array.dtype.newbyteorder("="), copy=False).tobytes())

    @cached_property
    def array(self) -> np.ndarray:
        """The values, read-only."""
        return np.frombuffer(self.data, dtype=numpy_dtype(self.dtype)).reshape(self.shape)

    def __str__(self) -> str:
        if not self.shape and self.dtype == "bool":
            return str(bool(self.array))
        if not self.shape:
            return repr(self.array.item())
        return f"<{self.dtype}{list(self.shape)}>"


Attr: TypeAlias = Union[
    bool, int, float, str, Dim, DType, TensorType, Literal, "Graph", tuple["Attr", ...], None
]


def _exact(value: Attr) -> object:
    """A stand-in for an attribute whose equality is that of kind and bits (nan equals itself)."""
    if isinstance(value, tuple):
        return tuple(_exact(v) for v in value)
    if isinstance(value, float):
        return float, struct.pack(">d", value)
    return (bool, value) if isinstance(value, bool) else value


@dataclass(frozen=True, order=True)
class Value:
    """The output number `index` of node number `node`."""

    node: int
    index: int = 0

    def __str__(self) -> str:
        return f"%{self.node}" if self.index == 0 else f"%{self.node}.{self.index}"

    __repr__ = __str__


@frozen(eq=False)
class Node:
    """One application of an op. Equal when the attributes are equal bit by bit: 0.0, -0.0, 0 and False all differ."""

    op: str
    inputs: tuple[Value, ...]
    attrs: tuple[tuple[str, Attr], ...]
    types: tuple[TensorType, ...]
    where: str = ""

    @cached_property
    def _identity(self) -> tuple[object, ...]:
        return self.op, self.inputs, tuple((name, _exact(value)) for name, value in self.attrs), self.types

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Node) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @cached_property
    def attributes(self) -> dict[str, Attr]:
        return dict(self.attrs)

    @property
    def type(self) -> TensorType:
        """The type of a node with one output."""
        (only,) = self.types
        return only

    @property
    def name(self) -> str:
        """The name of an input, parameter or state."""
        return str(self.attributes["name"])


@frozen
class Graph:
    """Nodes in topological order, the values that are the outputs, and the new values of states.

    Outputs are named; `updates` maps a state's name to the value that it takes after a run.
    """

    nodes: tuple[Node, ...]
    outputs: tuple[tuple[str, Value], ...]
    updates: tuple[tuple[str, Value], ...] = ()

    def sources(self, kind: str) -> dict[str, int]:
        """Name -> node number of the inputs of one kind, in order."""
        return {n.name: i for i, n in enumerate(self.nodes) if n.op == kind}

    @property
    def inputs(self) -> dict[str, int]:
        return self.sources("input")

    @property
    def parameters(self) -> dict[str, int]:
        return self.sources("parameter")

    @property
    def states(self) -> dict[str, int]:
        return self.sources("state")

    def type(self, value: Value) -> TensorType:
        return self.nodes[value.node].types[value.index]

    def source_types(self, kind: str) -> dict[str, TensorType]:
        return {name: self.nodes[i].type for name, i in self.sources(kind).items()}

    @property
    def output_types(self) -> dict[str, TensorType]:
        return {name: self.type(v) for name, v in self.outputs}

    def roots(self) -> Iterator[Value]:
        """The values that the graph delivers: outputs, then updates."""
        yield from (v for _, v in self.outputs)
        yield from (v for _, v in self.updates)

    def consumers(self) -> Mapping[int, tuple[int, ...]]:
        """Node number -> the numbers of the nodes that read it."""
        readers: dict[int, list[int]] = {i: [] for i in range(len(self.nodes))}
        for i, node in enumerate(self.nodes):
            for v in dict.fromkeys(v.node for v in node.inputs):
                readers[v].append(i)
        return {i: tuple(r) for i, r in readers.items()}

    def subgraphs(self) -> Iterator[tuple[int, str, Graph]]:
        """Every (node number, attribute, graph) of the nodes that carry a graph."""
        for i, node in enumerate(self.nodes):
            for name, value in node.attrs:
                if isinstance(value, Graph):
                    yield i, name, value

    def symbols(self) -> frozenset[str]:
        """The names of all symbolic dimensions."""
        from torchlean.ir.dims import symbols

        return frozenset(name for n in self.nodes for t in n.types for d in t.shape for name in symbols(d))

    def describe(self, index: int) -> str:
        """One node as an error names it: number, op, source line."""
        node = self.nodes[index]
        return f"node %{index} ({node.op})" + (f", {node.where}" if node.where else "")

    def output(self, name: str | None = None) -> Value:
        """The only output, or the one with this name. Raises GraphError."""
        found = [v for n, v in self.outputs if name is None or n == name]
        if len(found) == 1:
            return found[0]
        raise GraphError(
            "no such output" if name else "the graph has several outputs",
            where="graph outputs",
            expected="one of " + ", ".join(n for n, _ in self.outputs),
            got=str(name),
            fix="name the output",
        )

    def __str__(self) -> str:
        from torchlean.ir.text import format_graph

        return format_graph(self)


def static_size(size: Size) -> int:
    """`size` as an int; only for code that runs on specialised graphs."""
    assert isinstance(size, int), size
    return size
