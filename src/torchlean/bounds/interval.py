"""The interval walk: every node's box from its inputs' boxes, by each op's interval rule.

Rigorous: the number systems `IntervalReal` and `IntervalFloat` round outward.
"""

from __future__ import annotations

from typing import Any

from torchlean import ops
from torchlean.bounds.boxed import Boxed
from torchlean.ir import DERIVED, Node
from torchlean.meaning import IntervalFloat, IntervalReal
from torchlean.meaning.ranges import hull
from torchlean.ops.tolerances import TOLERANCES

SYSTEMS: dict[str, tuple[Any, ...]] = {
    "real": (IntervalReal(),),
    # The real meaning is enclosed as well: a claim about every float32 execution implies the claim about the reals.
    "float32": (IntervalFloat({name: (t.a, t.r) for name, t in TOLERANCES.items()}), IntervalReal()),
}


def source_box(semantics: str, boxed: Boxed, number: int) -> Any:
    """The box of an input or parameter."""
    N, node = SYSTEMS[semantics][0], boxed.graph.nodes[number]
    if number == boxed.input:
        return N.enclose(boxed.lo, boxed.hi, node.type.dtype.numpy)
    return N.constant(boxed.arrays[node.name])


def node_box(semantics: str, node: Node, inputs: list[Any]) -> tuple[Any, ...]:
    """The boxes of a node's results. Raises MissingRule where the op has no interval rule."""
    op = ops.ALL[node.op]
    rule = op.rule("interval")
    if rule is DERIVED:
        rule = op.rule("meaning")
    found: list[tuple[Any, ...]] = []
    for N in SYSTEMS[semantics]:
        result = rule(N, *inputs, **node.attributes)
        found.append(result if isinstance(result, tuple) and len(node.types) > 1 else (result,))
    return found[0] if len(found) == 1 else tuple(hull(pair) for pair in zip(*found, strict=True))


def interval_walk(boxed: Boxed, semantics: str = "real") -> list[tuple[Any, ...]]:
    """The boxes of every node's results, in node order.

    semantics   `real`: of the real meaning; `float32`: of every float32 execution, and of the real meaning
    """
    found: list[tuple[Any, ...]] = []
    for number, node in enumerate(boxed.graph.nodes):
        if node.op in ("input", "parameter"):
            found.append((source_box(semantics, boxed, number),))
        else:
            found.append(node_box(semantics, node, [found[v.node][v.index] for v in node.inputs]))
    return found
