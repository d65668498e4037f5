"""The loop that passes share: walk a graph in order and build the new one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torchlean.ir import Builder, Graph, Node, OpTable, Tensor, Value
from torchlean.ir.lint import NAMED

Step: TypeAlias = Callable[[Builder, Node, tuple[Tensor, ...]], "tuple[Tensor, ...] | None"]


def rewrite(graph: Graph, table: OpTable, step: Step) -> Graph:
    """The graph in which every node is what `step` makes of it.

    step     (g, node, inputs) -> the node's outputs in the new graph, built with `g` from the new `inputs`; None
             copies the node
    Source lines are kept: what `step` builds gets the line of its node. Nothing is dropped; see `drop_unreachable`.
    """
    g = Builder(table)
    made: list[tuple[Tensor, ...]] = []
    for node in graph.nodes:
        g.line = node.where
        inputs = tuple(made[v.node][v.index] for v in node.inputs)
        outputs = step(g, node, inputs)
        if outputs is None:
            kept = all(t.type == graph.type(v) for t, v in zip(inputs, node.inputs, strict=True))
            outputs = copy(g, node, inputs) if kept else infer(g, node, inputs)
        made.append(outputs)
    return g.finish(
        {name: made[v.node][v.index] for name, v in graph.outputs},
        {name: made[v.node][v.index] for name, v in graph.updates},
    )


def copy(g: Builder, node: Node, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The node as it stands, over inputs of the same types."""
    if node.op in NAMED:
        source: Callable[..., Tensor] = {"input": g.input, "parameter": g.parameter, "state": g.state}[node.op]
        return (source(node.name, node.type),)
    first = g.add_node(node.op, tuple(t.value for t in inputs), node.attributes, node.types, node.where).value.node
    return tuple(Tensor(g, Value(first, i)) for i in range(len(node.types)))


def infer(g: Builder, node: Node, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The node's op over inputs of other types; the type rule gives the types of its outputs."""
    result = g.apply(node.op, *inputs, **node.attributes)
    return result if isinstance(result, tuple) else (result,)
