"""A graph as a list of calls: what an executor that lowers node by node needs, worked out once.

Sources and intermediates live in numbered slots; a slot is emptied after its last reader, so memory is bounded by the
largest set of values alive at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torchlean import ops
from torchlean.frozen import frozen
from torchlean.ir import EXPAND, Builder, Graph, Value
from torchlean.meaning.evaluate import last_use


@frozen
class Step:
    """slots[out...] = function(xp, *slots[inputs], **attrs); then `spent` are emptied."""

    number: int
    function: Callable[..., Any]
    inputs: tuple[Value, ...]
    attrs: Mapping[str, Any]
    several: bool
    spent: tuple[int, ...]


@frozen
class Schedule:
    """The calls of a specialised graph whose composite ops without a `lower` of their own are expanded."""

    graph: Graph
    sources: tuple[tuple[int, str], ...]
    steps: tuple[Step, ...]

    def run(
        self, xp: Any, values: Mapping[str, Any], observe: Callable[[int, Any], None] | None = None
    ) -> dict[str, Any]:
        """Outputs by name, and updates as `update:NAME`. `values` are xp arrays by source name."""
        slots: dict[int, Any] = {number: (values[name],) for number, name in self.sources}
        for step in self.steps:
            result = step.function(xp, *[slots[v.node][v.index] for v in step.inputs], **step.attrs)
            slots[step.number] = result if step.several else (result,)
            if observe is not None:
                observe(step.number, slots[step.number])
            for number in step.spent:
                del slots[number]
        answer = {name: slots[v.node][v.index] for name, v in self.graph.outputs}
        answer.update((f"update:{name}", slots[v.node][v.index]) for name, v in self.graph.updates)
        return answer


def schedule(graph: Graph) -> Schedule:
    """The schedule of a specialised graph. Raises MissingRule for an op without a `lower`."""
    graph = expand_for_execution(graph)
    last = last_use(graph)
    sources, steps = [], []
    for number, node in enumerate(graph.nodes):
        if node.op in ("input", "parameter", "state"):
            sources.append((number, node.name))
            continue
        function = ops.ALL[node.op].rule("lower")
        steps.append(
            Step(number, function, node.inputs, node.attributes, len(node.types) > 1, tuple(last.get(number, ())))
        )
    return Schedule(graph, tuple(sources), tuple(steps))


def expand_for_execution(graph: Graph) -> Graph:
    """Replace every op whose `lower` is EXPAND by its definition's graph; the others keep their node."""
    if not any(ops.ALL[n.op].lower is EXPAND for n in graph.nodes):
        return graph
    from torchlean.passes.expand import expand

    return expand(graph, lambda op: op.lower is EXPAND)


def builder(where: str | None = None) -> Builder:
    """A builder over the whole vocabulary."""
    return Builder(ops.ALL, where)
