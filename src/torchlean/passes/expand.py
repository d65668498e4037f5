"""Replace chosen composite ops by their definitions' graphs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torchlean import ops
from torchlean.errors import MissingRule
from torchlean.ir import Builder, Graph, Op, Tensor
from torchlean.passes.rewrite import rewrite


def expand(graph: Graph, chosen: Callable[[Op], bool]) -> Graph:
    """`graph` with every node whose op is `chosen` replaced by its meaning, traced; repeated until none is left.

    Raises   MissingRule when a chosen op is its own definition (a primitive).
    """
    while any(chosen(ops.ALL[node.op]) for node in graph.nodes):
        graph = rewrite(
            graph,
            ops.ALL,
            lambda g, node, inputs: (
                _definition(g, ops.ALL[node.op], inputs, node.attributes) if chosen(ops.ALL[node.op]) else None
            ),
        )
    return graph


def _definition(g: Builder, op: Op, inputs: tuple[Tensor, ...], attrs: Mapping[str, object]) -> tuple[Tensor, ...]:
    if not op.composite:
        raise MissingRule(
            f"{op.name} has no definition by other ops",
            where=f"op {op.name}",
            expected="a composite op",
            got="a primitive",
            fix="write the rule in its record",
        )
    result = op.rule("meaning")(g, *inputs, **attrs)
    return result if isinstance(result, tuple) else (result,)
