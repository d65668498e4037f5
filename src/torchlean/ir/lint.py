"""The rules that every graph keeps: order, arity, types, names, attributes, outputs, reachability.

Run after every pass in tests, and on every graph that is read from a file or text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from torchlean.errors import GraphError, TorchLeanError
from torchlean.ir.dims import Dim
from torchlean.ir.graph import Attr, Graph, Literal, Node, Value
from torchlean.ir.op import OpTable
from torchlean.ir.types import DType, TensorType

NAMED = ("input", "parameter", "state")
RESERVED = ("#", "__metadata__")  # the program file stores constants under #0, #1, ... and safetensors its own key


def lint(graph: Graph, table: OpTable, *, allow_dead: bool = True) -> None:
    """Raises GraphError or ShapeError at the first node that breaks a rule; the error names the node and its line.

    allow_dead   whether a node may reach no output and no update (named sources, the graph's signature, always may)
    """
    _lint(graph, table, allow_dead, "")


def reachable(graph: Graph) -> frozenset[int]:
    """The numbers of the nodes that some output or update depends on."""
    found: set[int] = set()
    waiting = [v.node for v in graph.roots()]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(v.node for v in graph.nodes[node].inputs)
    return frozenset(found)


def _lint(graph: Graph, table: OpTable, allow_dead: bool, inside: str) -> None:
    for index, node in enumerate(graph.nodes):
        where = inside + graph.describe(index)
        _check_attributes(node, where)
        for attribute, inner in node.attrs:
            if isinstance(inner, Graph):
                _lint(inner, table, allow_dead, f"{where}, in {attribute}: ")
        _check_op(graph, index, table, where)
    _check_names(graph, inside)
    for name, value in (*graph.outputs, *graph.updates):
        _check_value(graph, value, len(graph.nodes), f"{inside}output or update {name!r}")
    _check_updates(graph, inside)
    if not allow_dead:
        _check_reach(graph, inside)


def _check_op(graph: Graph, index: int, table: OpTable, where: str) -> None:
    """The op exists, its inputs come before it, and its type rule gives the types that the node states."""
    node = graph.nodes[index]
    if node.op not in table:
        raise GraphError(
            f"no op is named {node.op!r}",
            where=where,
            expected="an op of the table",
            got=node.op,
            fix="check the spelling; the op table in the documentation lists every name",
        )
    for value in node.inputs:
        _check_value(graph, value, index, where)
    try:
        types = table[node.op].type_rule(node.attributes, *(graph.type(v) for v in node.inputs))
    except TorchLeanError as error:
        raise type(error)(
            error.what, where=where, expected=error.expected, got=error.got, fix=error.fix
        ) from error
    except (TypeError, KeyError) as error:
        raise GraphError(
            f"{node.op} has the wrong inputs or attributes",
            where=where,
            expected=f"the inputs and attributes of {node.op}",
            got=f"{len(node.inputs)} inputs, attributes {sorted(node.attributes)} ({error!r})",
            fix=f"see the op table for {node.op}",
        ) from error
    if tuple(types) != node.types:
        raise GraphError(
            "a node states other types than its op gives",
            where=where,
            expected=", ".join(map(str, types)),
            got=", ".join(map(str, node.types)),
            fix="build nodes with Builder.apply, which infers their types",
        )


def _check_value(graph: Graph, value: Value, before: int, where: str) -> None:
    """`value` exists and comes from a node before node number `before`."""
    if not 0 <= value.node < before:
        raise GraphError(
            "a value is read that no earlier node makes",
            where=where,
            expected=f"a value of the {before} nodes before",
            got=str(value),
            fix="put nodes in topological order",
        )
    if not 0 <= value.index < len(graph.nodes[value.node].types):
        raise GraphError(
            "a node has no output of this number",
            where=where,
            expected=f"an output of {graph.describe(value.node)}, which has {len(graph.nodes[value.node].types)}",
            got=f"output {value.index}",
            fix="count outputs from 0",
        )


def _check_attributes(node: Node, where: str) -> None:
    names = [name for name, _ in node.attrs]
    if names != sorted(set(names)) or not all(name.isidentifier() for name in names):
        raise GraphError(
            "the attributes are not in order",
            where=where,
            expected="identifiers, sorted, each once",
            got=", ".join(map(repr, names)),
            fix="build nodes with Builder.apply or Builder.add_node",
        )
    for name, value in node.attrs:
        if not _is_attribute(value):
            raise GraphError(
                f"the attribute {name} has a type that a program cannot hold",
                where=where,
                expected="bool, int, float, str, dimension, dtype, type, array, graph, or a tuple of them",
                got=repr(value),
                fix="convert it",
            )


def _is_attribute(value: Attr) -> bool:
    if isinstance(value, tuple):
        return all(_is_attribute(v) for v in value)
    kinds = (bool, int, float, str, Dim, DType, TensorType, Literal)
    return value is None or type(value) in kinds or isinstance(value, Graph)


def _check_names(graph: Graph, inside: str) -> None:
    """Sources have one name each, across their kinds; outputs likewise, and updates."""
    seen: dict[str, int] = {}
    for index, node in enumerate(graph.nodes):
        if node.op in NAMED:
            where = inside + graph.describe(index)
            _check_name(node.name, where)
            if node.name in seen:
                raise GraphError(
                    f"two sources are named {node.name!r}",
                    where=where,
                    expected="one name for one source",
                    got=f"also {graph.describe(seen[node.name])}",
                    fix="share the node, or choose another name",
                )
            seen[node.name] = index
    _check_distinct((name for name, _ in graph.outputs), inside + "graph outputs")
    _check_distinct((name for name, _ in graph.updates), inside + "graph updates")


def _check_distinct(names: Iterable[str], where: str) -> None:
    for name, count in Counter(names).items():
        _check_name(name, where)
        if count > 1:
            raise GraphError(
                f"{name!r} stands twice", where=where, expected="distinct names", got=f"{count} times", fix="rename one"
            )


def _check_name(name: object, where: str) -> None:
    if not isinstance(name, str) or not name or not name.isprintable() or name.startswith(RESERVED):
        raise GraphError(
            "not a name",
            where=where,
            expected="printable text, not empty, that does not begin with " + " or ".join(RESERVED),
            got=repr(name),
            fix="choose another name",
        )


def _check_updates(graph: Graph, inside: str) -> None:
    """An update names a state and has its type."""
    states = graph.source_types("state")
    for name, value in graph.updates:
        where = f"{inside}update of {name!r} by {graph.describe(value.node)}"
        if name not in states:
            raise GraphError(
                "an update names no state",
                where=where,
                expected=f"one of: {', '.join(states) or 'no states'}",
                got=repr(name),
                fix="declare it: g.state(name, type)",
            )
        if graph.type(value) != states[name]:
            raise GraphError(
                "an update has another type than its state",
                where=where,
                expected=str(states[name]),
                got=str(graph.type(value)),
                fix="reshape, or cast the new value",
            )


def _check_reach(graph: Graph, inside: str) -> None:
    live = reachable(graph)
    for index, node in enumerate(graph.nodes):
        if index not in live and node.op not in NAMED:
            raise GraphError(
                "a node reaches no output",
                where=inside + graph.describe(index),
                expected="every node is read by an output or an update, directly or not",
                got="a dead node",
                fix="run passes.simplify, which drops dead nodes",
            )
