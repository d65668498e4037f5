"""Reverse mode, graph to graph: walk the nodes backward and ask each op's `vjp` for nodes.

Source   Griewank and Walther 2008, Evaluating Derivatives, section 3.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torchlean import ops
from torchlean.errors import GraphError
from torchlean.ir import EXPAND, Builder, Graph, Tensor, Value
from torchlean.passes.expand import expand


def prepare(graph: Graph) -> Graph:
    """`graph` with every op whose `vjp` is EXPAND replaced by its definition."""
    return expand(graph, lambda op: op.vjp is EXPAND)


def copy_into(g: Builder, graph: Graph) -> list[tuple[Tensor, ...]]:
    """Copy every node of `graph` into `g`; the copies' values, by node number."""
    copies: list[tuple[Tensor, ...]] = []
    for node in graph.nodes:
        if node.op in ("input", "parameter", "state"):
            source = {"input": g.input, "parameter": g.parameter, "state": g.state}[node.op]
            copies.append((source(node.name, node.type),))
            continue
        inputs = tuple(copies[v.node][v.index].value for v in node.inputs)
        first = g.add_node(node.op, inputs, node.attributes, node.types, node.where)
        copies.append(tuple(Tensor(g, Value(first.value.node, i)) for i in range(len(node.types))))
    return copies


def active_nodes(graph: Graph, wrt: Iterable[int]) -> set[int]:
    """The nodes whose value depends on one of `wrt` through float values."""
    active = set(wrt)
    for number, node in enumerate(graph.nodes):
        if any(v.node in active for v in node.inputs) and any(t.dtype.kind == "float" for t in node.types):
            active.add(number)
    return active


def pull_back(
    g: Builder,
    graph: Graph,
    copies: Sequence[tuple[Tensor, ...]],
    seeds: Mapping[Value, Tensor],
    wrt: Sequence[int],
) -> list[Tensor]:
    """The cotangents of the source nodes `wrt`, given cotangents of values: nodes are added to `g`.

    graph    prepared; `copies` are its values in `g`
    Returns  one tensor per member of `wrt`; zeros where nothing depends on it
    """
    active = active_nodes(graph, wrt)
    cotangents: dict[Value, Tensor] = dict(seeds)
    caller = g.line
    for number in range(len(graph.nodes) - 1, -1, -1):
        node = graph.nodes[number]
        received = [cotangents.get(Value(number, i)) for i in range(len(node.types))]
        if number not in active or all(c is None for c in received) or not node.inputs:
            continue
        g.line = f"gradient of %{number}" + (f", {node.where}" if node.where else "")
        filled = tuple(zeros(g, copies[number][i]) if c is None else c for i, c in enumerate(received))
        inputs = tuple(copies[v.node][v.index] for v in node.inputs)
        given = ops.ALL[node.op].rule("vjp")(g, inputs, copies[number], filled, **node.attributes)
        for value, cotangent in zip(node.inputs, given, strict=True):
            if cotangent is None or value.node not in active:
                continue
            if cotangent.type != graph.type(value):
                raise GraphError(
                    f"the vjp rule of {node.op} gives a cotangent of another type",
                    where=graph.describe(number),
                    expected=str(graph.type(value)),
                    got=str(cotangent.type),
                    fix="correct the op's vjp",
                )
            known = cotangents.get(value)
            cotangents[value] = cotangent if known is None else g.add(known, cotangent)
    g.line = caller
    return [cotangents[Value(n)] if Value(n) in cotangents else zeros(g, copies[n][0]) for n in wrt]


def zeros(g: Builder, like: Tensor) -> Tensor:
    """Zeros of a tensor's type."""
    zero = g.literal(0.0, like)
    return g.broadcast(zero, shape=like.shape) if like.shape else zero
