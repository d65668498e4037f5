"""A smaller graph of the same meaning, in every number system.

Only rewrites that keep each value's bits in `Float` under every rounding direction, -0 and NaN included, and its exact
value; an enclosure may only get tighter. So these stay: `x + 0` (-0 + 0 is +0), `x - 0` and `x + (-0)` (+0 becomes -0
when rounding down), `x * 0` (NaN, -0), `sum` over no axis or an axis of one entry (the fold starts at +0), `x / c` as
`x * (1 / c)`. A node that nothing reads is dropped together with the DomainError that it might raise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from torchlean.ir import Builder, Graph, Literal, Node, OpTable, Tensor, Value
from torchlean.ir.graph import Attr
from torchlean.ir.lint import NAMED, reachable
from torchlean.passes.rewrite import copy, rewrite

Rule: TypeAlias = Callable[[Builder, Node, tuple[Tensor, ...]], "Tensor | None"]

NEVER_MERGED = frozenset({"barrier"})  # its purpose is to stand between equal nodes


def simplify(graph: Graph, table: OpTable) -> Graph:
    """Drops dead nodes, merges equal ones and applies `RULES`, until nothing changes; in the graphs inside too.

    Inputs, parameters and states stay, read or not: they are the graph's signature. Output and update names stay.
    """
    while True:
        simpler = drop_unreachable(_once(drop_unreachable(graph), table))
        if simpler == graph:
            return graph
        graph = simpler


def drop_unreachable(graph: Graph) -> Graph:
    """The graph without the nodes that no output and no update depends on; sources with a name stay."""
    live = reachable(graph)
    number: dict[int, int] = {}
    kept: list[Node] = []

    def moved(v: Value) -> Value:
        return Value(number[v.node], v.index)

    for index, node in enumerate(graph.nodes):
        if index in live or node.op in NAMED:
            number[index] = len(kept)
            kept.append(Node(node.op, tuple(map(moved, node.inputs)), node.attrs, node.types, node.where))
    if len(kept) == len(graph.nodes):
        return graph
    return Graph(
        tuple(kept),
        tuple((name, moved(v)) for name, v in graph.outputs),
        tuple((name, moved(v)) for name, v in graph.updates),
    )


def _once(graph: Graph, table: OpTable) -> Graph:
    """One walk: each node is rewritten, else merged with an equal one before it (same op, inputs, attribute bits)."""
    seen: dict[Node, tuple[Tensor, ...]] = {}

    def step(g: Builder, node: Node, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        for rule in RULES.get(node.op, ()):
            found = rule(g, node, inputs)
            if found is not None:
                assert found.type == node.type, f"{rule.__name__} changes the type of {node.op}"
                return (found,)
        attrs = tuple((name, _simplified(value, table)) for name, value in node.attrs)
        node = Node(node.op, tuple(t.value for t in inputs), attrs, node.types, node.where)
        if node not in seen or node.op in NEVER_MERGED:
            seen[node] = copy(g, node, inputs)
        return seen[node]

    return rewrite(graph, table, step)


def _simplified(value: Attr, table: OpTable) -> Attr:
    return simplify(value, table) if isinstance(value, Graph) else value


def _made_by(g: Builder, x: Tensor, *ops: str) -> Node | None:
    """The node that made x, when its op is one of these."""
    node = g.node(x.value)
    return node if node.op in ops else None


# Rules


def unchanged(g: Builder, node: Node, inputs: tuple[Tensor, ...]) -> Tensor | None:
    """An op that only moves entries, and in order, moves none when the type stays: x."""
    (x,) = inputs
    return x if x.type == node.type else None


def reshape_of_reshape(g: Builder, node: Node, inputs: tuple[Tensor, ...]) -> Tensor | None:
    """Both keep the row-major order, so the last shape alone counts."""
    inner = _made_by(g, inputs[0], "reshape", "flatten")
    return g.reshape(Tensor(g, inner.inputs[0]), shape=node.type.shape) if inner else None


def permute_of_permute(g: Builder, node: Node, inputs: tuple[Tensor, ...]) -> Tensor | None:
    """One permutation; x itself when it moves no axis. Axis i of a permute is axis axes[i] of its input."""
    (x,) = inputs
    rank = x.type.rank
    axes = _axes(node, rank)
    inner = _made_by(g, x, "permute")
    if inner is not None:
        before = _axes(inner, rank)
        x, axes = Tensor(g, inner.inputs[0]), tuple(before[a] for a in axes)
    if axes == tuple(range(rank)):
        return x
    return g.permute(x, axes=tuple(a - rank for a in axes)) if inner else None


def _axes(node: Node, rank: int) -> tuple[int, ...]:
    axes = node.attributes["axes"]
    assert isinstance(axes, tuple)
    return tuple(a % rank for a in axes if isinstance(a, int))


def broadcast_of_broadcast(g: Builder, node: Node, inputs: tuple[Tensor, ...]) -> Tensor | None:
    """Repeating what is repeated."""
    inner = _made_by(g, inputs[0], "broadcast")
    return g.broadcast(Tensor(g, inner.inputs[0]), shape=node.type.shape) if inner else None


def undone(g: Builder, node: Node, inputs: tuple[Tensor, ...]) -> Tensor | None:
    """neg(neg(x)) is x: the sign bit flips twice, of -0 and NaN too. Likewise logical_not."""
    inner = _made_by(g, inputs[0], node.op)
    return Tensor(g, inner.inputs[0]) if inner else None


def idempotent(g: Builder, node: Node, inputs: tuple[Tensor, ...]) -> Tensor | None:
    """abs, relu, floor and round leave their own results as they are."""
    return inputs[0] if _made_by(g, inputs[0], node.op) else None


def abs_of_neg(g: Builder, node: Node, inputs: tuple[Tensor, ...]) -> Tensor | None:
    """abs clears the sign bit, whatever it was."""
    inner = _made_by(g, inputs[0], "neg")
    return g.abs(Tensor(g, inner.inputs[0])) if inner else None


def times_one(g: Builder, node: Node, inputs: tuple[Tensor, ...]) -> Tensor | None:
    """x * 1 and 1 * x are x: the product is exact in every rounding, also of -0, infinities and NaN."""
    x, y = inputs
    if x.type == node.type and _is_one(g, y):
        return x
    return y if y.type == node.type and _is_one(g, x) else None


def over_one(g: Builder, node: Node, inputs: tuple[Tensor, ...]) -> Tensor | None:
    """x / 1 is x."""
    x, y = inputs
    return x if x.type == node.type and _is_one(g, y) else None


def _is_one(g: Builder, x: Tensor) -> bool:
    """Whether x is a constant of ones."""
    node = _made_by(g, x, "constant")
    value = node.attributes["value"] if node else None
    return isinstance(value, Literal) and bool(np.all(value.array == 1))


def whole_slice(g: Builder, node: Node, inputs: tuple[Tensor, ...]) -> Tensor | None:
    """From 0 by steps of 1 to the end of every axis: x."""
    (x,) = inputs
    starts, steps = node.attributes["starts"], node.attributes["steps"]
    assert isinstance(starts, tuple) and isinstance(steps, tuple)
    if x.type == node.type and all(s == 0 for s in starts) and all(s == 1 for s in steps):
        return x
    return None


def concat_of_one(g: Builder, node: Node, inputs: tuple[Tensor, ...]) -> Tensor | None:
    """One part: itself."""
    return inputs[0] if len(inputs) == 1 else None


RULES: dict[str, tuple[Rule, ...]] = {
    "reshape": (unchanged, reshape_of_reshape),
    "flatten": (unchanged,),
    "broadcast": (unchanged, broadcast_of_broadcast),
    "pad": (unchanged,),  # its widths are not negative
    "cast": (unchanged,),
    "permute": (permute_of_permute,),
    "slice": (whole_slice,),
    "concat": (concat_of_one,),
    "neg": (undone,),
    "logical_not": (undone,),
    "abs": (idempotent, abs_of_neg),
    "relu": (idempotent,),
    "floor": (idempotent,),
    "round": (idempotent,),
    "mul": (times_one,),
    "div": (over_one,),
}
