"""A graph over a batch of what it took one of.

Each op's `batch` field says how its node is batched. Let the batch axis have size B, and let an input be *batched*
when it has type [B, *s] where the node's own input has [*s]. At least one input is batched; no rule runs otherwise.

LEADING   Every input that is not batched is broadcast to [B, *s]; the op is applied with the same attributes. Right
          for ops whose axes are counted from the end and whose type rule takes leading axes on all inputs at once.
ALIGNED   Elementwise. Let r be the largest rank among the node's own inputs. A batched input [B, *s] of rank(s) < r
          is reshaped to [B, 1, ..., 1, *s] of rank r + 1, and an input that is not batched to [1, ..., 1, *s] of that
          rank, unless it is a scalar; the op is applied with the same attributes.
EXPAND    The op's meaning is traced with the builder as number system, and that graph is batched.
a rule    (g, inputs, batched, **attrs) -> output or outputs: `batched[i]` says whether `inputs[i]` is batched, so
          that a weight, say, need not be repeated.

Every output of a batched node is batched: its type is the node's own with B in front, and this is checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torchlean.errors import GraphError, InternalError, UsageError
from torchlean.ir import ALIGNED, EXPAND, LEADING, Builder, Graph, Node, Op, OpTable, Size, Tensor, TensorType
from torchlean.ir import dims as dimensions
from torchlean.ir.lint import NAMED
from torchlean.passes.rewrite import copy
from torchlean.passes.specialise import symbols


def vmap(graph: Graph, table: OpTable, batched: Sequence[str] = (), size: Size | str = "batch") -> Graph:
    """`graph` with a new leading axis on the named sources and on every output.

    batched   names of inputs, parameters or states; the others are shared by the whole batch
    size      of the new axis: an int, or a symbol that the graph does not have yet
    An output that depends on no batched source is broadcast. A batched state's update is batched; a shared state's must
    not depend on a batched source.
    Raises    UsageError for an unknown name or a symbol in use; MissingRule; GraphError for a shared state's batched
              update
    """
    lead = dimensions.as_size(size)
    known = [node.name for node in graph.nodes if node.op in NAMED]
    for name in batched:
        if name not in known:
            raise UsageError(
                "no such source to batch",
                where="vmap",
                expected="one of " + ", ".join(known),
                got=name,
                fix="name one of them",
            )
    if clash := dimensions.symbols(lead) & symbols(graph):
        raise UsageError(
            "the new axis has the name of another",
            where="vmap",
            expected="an int, or a symbol that is new to the graph",
            got=", ".join(clash),
            fix="choose another name: vmap(..., size='examples')",
        )
    return _vmap(graph, table, frozenset(batched), lead)


def _vmap(graph: Graph, table: OpTable, names: frozenset[str], lead: Size) -> Graph:
    g = Builder(table)
    made: list[tuple[Tensor, ...]] = []
    batched: list[bool] = []  # by node: all outputs of a node are batched, or none
    for node in graph.nodes:
        g.line = node.where
        inputs = tuple(made[v.node][v.index] for v in node.inputs)
        flags = tuple(batched[v.node] for v in node.inputs)
        if node.op in NAMED:
            own = node.name in names
            made.append((_source(g, node, _with(lead, node.type) if own else node.type),))
        else:
            own = any(flags)
            made.append(_batch(g, table[node.op], node, inputs, flags, lead) if own else copy(g, node, inputs))
        batched.append(own)
    g.line = "vmap"

    def delivered(node: int, index: int) -> Tensor:
        x = made[node][index]
        return x if batched[node] else _repeat(g, x, lead)

    outputs = {name: delivered(v.node, v.index) for name, v in graph.outputs}
    updates = {}
    for name, v in graph.updates:
        if name not in names and batched[v.node]:
            raise GraphError(
                "a shared state cannot take a value of each example",
                where=f"update of {name!r} by {graph.describe(v.node)}",
                expected="a value that depends on no batched source, or a batched state",
                got=str(made[v.node][v.index].type),
                fix=f"name {name!r} among the batched sources, or reduce over the batch in the program",
            )
        updates[name] = delivered(v.node, v.index) if name in names else made[v.node][v.index]
    return g.finish(outputs, updates)


def _source(g: Builder, node: Node, type: TensorType) -> Tensor:
    return {"input": g.input, "parameter": g.parameter, "state": g.state}[node.op](node.name, type)


def _with(lead: Size, type: TensorType) -> TensorType:
    return type.with_shape((lead, *type.shape))


def _repeat(g: Builder, x: Tensor, lead: Size) -> Tensor:
    repeated = g.broadcast(x, shape=(lead, *x.shape))
    assert isinstance(repeated, Tensor)
    return repeated


def _batch(
    g: Builder, op: Op, node: Node, inputs: tuple[Tensor, ...], batched: tuple[bool, ...], lead: Size
) -> tuple[Tensor, ...]:
    """The batched node's outputs, by its op's rule."""
    rule = op.rule("batch")
    attrs = node.attributes
    result: Any
    if rule is LEADING:
        full = (x if own else _repeat(g, x, lead) for x, own in zip(inputs, batched, strict=True))
        result = g.apply(op.name, *full, **attrs)
    elif rule is ALIGNED:
        result = g.apply(op.name, *_aligned(g, inputs, batched), **attrs)
    elif rule is EXPAND:
        result = _expanded(g, op, node, inputs, batched, lead)
    else:
        result = rule(g, inputs, batched, **attrs)
    outputs = tuple(result) if isinstance(result, tuple | list) else (result,)
    expected = tuple(_with(lead, t) for t in node.types)
    if tuple(t.type for t in outputs) != expected:
        raise InternalError(
            f"the batch rule of {op.name} gives other types",
            where=f"{node.op}, {node.where}",
            expected=", ".join(map(str, expected)),
            got=", ".join(str(t.type) for t in outputs),
            fix="correct the rule in the op's record",
        )
    return outputs


def _aligned(g: Builder, inputs: tuple[Tensor, ...], batched: tuple[bool, ...]) -> list[Tensor]:
    rank = max(x.type.rank - own for x, own in zip(inputs, batched, strict=True))
    aligned = []
    for x, own in zip(inputs, batched, strict=True):
        ones = (1,) * (rank + 1 - x.type.rank)
        if ones and (own or x.shape):
            x = g.reshape(x, shape=(*x.shape[:1], *ones, *x.shape[1:]) if own else (*ones, *x.shape))
        aligned.append(x)
    return aligned


def _expanded(
    g: Builder, op: Op, node: Node, inputs: tuple[Tensor, ...], batched: tuple[bool, ...], lead: Size
) -> tuple[Tensor, ...]:
    """The definition's graph, batched and copied in."""
    inner = Builder(g.table, where=node.where)
    own = [x.type.with_shape(x.shape[1:]) if b else x.type for x, b in zip(inputs, batched, strict=True)]
    tensors = [inner.input(f"x{i}", t) for i, t in enumerate(own)]
    result = op.rule("meaning")(inner, *tensors, **node.attributes)
    outputs = result if isinstance(result, tuple) else (result,)
    definition = inner.finish({f"y{i}": y for i, y in enumerate(outputs)})
    names = frozenset(f"x{i}" for i, b in enumerate(batched) if b)
    return tuple(g.inline(_vmap(definition, g.table, names, lead), list(inputs)).values())
