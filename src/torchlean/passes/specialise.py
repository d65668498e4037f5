"""Symbolic dimensions replaced by sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torchlean.errors import ShapeError, UsageError
from torchlean.ir import Dim, Graph, Node, Size, TensorType
from torchlean.ir import dims as dimensions
from torchlean.ir.graph import Attr


def specialise(graph: Graph, **sizes: Size) -> Graph:
    """`graph` with each named symbol replaced, `specialise(graph, batch=32)`: in types, attributes, graphs inside.

    sizes    ints >= 0, or dimensions, which rename or relate symbols; replaced all at once
    Type rules commute with this, so types are substituted and not inferred again.
    Raises   UsageError for a symbol that the graph does not have, or a size that is none; ShapeError, naming the node,
             where a dimension becomes negative
    """
    known = symbols(graph)
    for name, size in sizes.items():
        if name not in known:
            raise UsageError(
                f"the program has no symbolic dimension {name!r}",
                where=f"specialise({name}=...)",
                expected="one of " + ", ".join(sorted(known)) if known else "no size: every axis is known",
                got=name,
                fix="print the program to see its dimensions",
            )
        if isinstance(size, bool) or not isinstance(size, int | Dim) or (isinstance(size, int) and size < 0):
            raise UsageError(
                "a size must be an int or a dimension",
                where=f"specialise({name}=...)",
                expected="an int >= 0",
                got=repr(size),
                fix="pass the number of entries along that axis",
            )
    return _Substitution(sizes).graph(graph) if sizes else graph


def symbols(graph: Graph) -> frozenset[str]:
    """The names of all symbolic dimensions: of types, of attributes, and of the graphs inside."""
    return frozenset(name for node in graph.nodes for name in _node_symbols(node))


def _node_symbols(node: Node) -> Iterator[str]:
    for t in node.types:
        yield from (name for size in t.shape for name in dimensions.symbols(size))
    for _, value in node.attrs:
        yield from _attr_symbols(value)


def _attr_symbols(value: Attr) -> Iterator[str]:
    match value:
        case Dim():
            yield from dimensions.symbols(value)
        case TensorType():
            yield from (name for size in value.shape for name in dimensions.symbols(size))
        case Graph():
            yield from symbols(value)
        case tuple():
            for v in value:
                yield from _attr_symbols(v)


class _Substitution:
    """One set of sizes, put into graphs; types that occur often are computed once."""

    def __init__(self, sizes: Mapping[str, Size]) -> None:
        self.sizes = sizes
        self.types: dict[TensorType, TensorType] = {}

    def graph(self, graph: Graph) -> Graph:
        nodes = []
        for index, node in enumerate(graph.nodes):
            try:
                attrs = tuple((name, self.attribute(value)) for name, value in node.attrs)
                nodes.append(Node(node.op, node.inputs, attrs, tuple(map(self.type, node.types)), node.where))
            except ShapeError as error:
                raise ShapeError(
                    error.what, where=f"{graph.describe(index)}: {error.where}", expected=error.expected, got=error.got,
                    fix=f"choose other sizes than {', '.join(f'{n}={s}' for n, s in self.sizes.items())}",
                ) from None  # fmt: skip
        return Graph(tuple(nodes), graph.outputs, graph.updates)

    def type(self, old: TensorType) -> TensorType:
        if old not in self.types:
            self.types[old] = old.substitute(self.sizes)
        return self.types[old]

    def attribute(self, value: Attr) -> Attr:
        match value:
            case Dim():
                return dimensions.substitute(value, self.sizes)
            case TensorType():
                return self.type(value)
            case Graph():
                return self.graph(value)
            case tuple():
                return tuple(self.attribute(v) for v in value)
        return value
