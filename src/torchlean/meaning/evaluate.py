"""The meaning of a graph: its ops' definitions, one after another, over a number system."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torchlean import ops
from torchlean.errors import GraphError, TorchLeanError, UsageError
from torchlean.ir import Graph, Node

Observer = Callable[[int, Node, tuple[Any, ...]], None]


def evaluate(graph: Graph, N: Any, values: Mapping[str, Any], observe: Observer | None = None) -> dict[str, Any]:
    """Every output of a specialised `graph`, by name; the new value of a state under `update:NAME`.

    values    the carrier of every input, parameter and state, by name
    observe   called with (number, node, results) after each node; results die with their last reader otherwise
    Raises    UsageError when a source has no value; the error of a node names the node and its source line.
    """
    results: dict[int, tuple[Any, ...]] = {}
    last = last_use(graph)
    for number, node in enumerate(graph.nodes):
        if node.op in ("input", "parameter", "state"):
            found: tuple[Any, ...] = (_source(graph, number, values),)
        else:
            arguments = [results[v.node][v.index] for v in node.inputs]
            try:
                inside = any(isinstance(value, Graph) for value in node.attributes.values())
                system = Running(N) if inside else N
                value = ops.ALL[node.op].rule("meaning")(system, *arguments, **node.attributes)
            except TorchLeanError as error:
                raise at_node(error, graph, number) from None
            found = value if isinstance(value, tuple) and len(node.types) > 1 else (value,)
        results[number] = found
        if observe is not None:
            observe(number, node, found)
        for spent in last.get(number, ()):
            del results[spent]
    answer = {name: results[v.node][v.index] for name, v in graph.outputs}
    answer.update((f"update:{name}", results[v.node][v.index]) for name, v in graph.updates)
    return answer


class Running:
    """A number system that also runs subgraphs: what `call` and `scan` need of it."""

    def __init__(self, system: Any) -> None:
        self._system = system

    def __getattr__(self, name: str) -> Any:
        return getattr(self._system, name)

    def run(self, graph: Graph, *values: Any) -> tuple[Any, ...]:
        """The outputs of a graph of inputs, in order."""
        return tuple(evaluate(graph, self._system, dict(zip(graph.inputs, values, strict=True))).values())


def _source(graph: Graph, number: int, values: Mapping[str, Any]) -> Any:
    node = graph.nodes[number]
    if node.name in values:
        return values[node.name]
    raise UsageError(
        f"the {node.op} {node.name!r} has no value",
        where=graph.describe(number),
        expected=f"a value of type {node.type}",
        got="values for " + (", ".join(values) or "nothing"),
        fix=f"pass {node.name}=...",
    )


def last_use(graph: Graph) -> dict[int, list[int]]:
    """Node number -> the results that nobody reads after it."""
    last: dict[int, int] = {}
    for number, node in enumerate(graph.nodes):
        last[number] = number
        for v in node.inputs:
            last[v.node] = number
    for v in graph.roots():
        last.pop(v.node, None)
    spent: dict[int, list[int]] = {}
    for value, reader in last.items():
        spent.setdefault(reader, []).append(value)
    return spent


def at_node(error: TorchLeanError, graph: Graph, number: int) -> TorchLeanError:
    """The error with its node and source line."""
    if isinstance(error, GraphError) or "node %" in error.where:
        return error
    return type(error)(
        error.what,
        where=f"{graph.describe(number)}; {error.where}",
        expected=error.expected,
        got=error.got,
        fix=error.fix,
    )
