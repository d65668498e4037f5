"""The same program in another float format."""

from __future__ import annotations

from torchlean.ir import Builder, DType, Graph, Literal, Node, OpTable, Tensor, TensorType, f32
from torchlean.ir.graph import Attr
from torchlean.ir.lint import NAMED
from torchlean.ir.types import DTYPES, numpy_dtype
from torchlean.passes.rewrite import infer, rewrite


def retype(graph: Graph, table: OpTable, to: DType, source: DType = f32) -> Graph:
    """`graph` with every `source` value of dtype `to` instead: sources, constants, casts and the graphs inside.

    Constants are rounded once, to nearest even (exact when `to` holds every value of `source`); float attributes keep
    the value that the program was built with, and are rounded where an op meets them.
    """

    def type_(t: TensorType) -> TensorType:
        return t.with_dtype(to) if t.dtype == source else t

    def attribute(name: str, value: Attr) -> Attr:
        match value:
            case TensorType():
                return type_(value)
            case DType():
                return to if value == source else value
            case str() if name == "dtype" and DTYPES.get(value) == source:
                return to.name
            case Literal() if value.dtype == source.numpy:
                return Literal.of(value.array.astype(numpy_dtype(to.numpy)))
            case Graph():
                return retype(value, table, to, source)
            case tuple():
                return tuple(attribute(name, v) for v in value)
        return value

    def step(g: Builder, node: Node, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if node.op in NAMED:
            make = {"input": g.input, "parameter": g.parameter, "state": g.state}[node.op]
            return (make(node.name, type_(node.type)),)
        attrs = tuple((name, attribute(name, value)) for name, value in node.attrs)
        if node.op == "constant":
            return (g.add_node("constant", (), dict(attrs), tuple(map(type_, node.types))),)
        return infer(g, Node(node.op, node.inputs, attrs, node.types, node.where), inputs)

    return rewrite(graph, table, step)
