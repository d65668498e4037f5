"""Derivatives as programs. Each transform takes a graph and returns a graph; compose them freely.

Names   the derivative of the only output with respect to the source `w` is the output `grad:w`; a cotangent or tangent
        is the input `cotangent:y` or `tangent:x`; blocks are the outputs `jacobian:w` and `hessian:w`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod

import numpy as np

from torchlean import ops
from torchlean.errors import GraphError
from torchlean.grad.reverse import copy_into, prepare, pull_back, zeros
from torchlean.ir import Builder, Graph, Tensor, Value
from torchlean.passes import simplify, vmap


def value_and_grad(graph: Graph, wrt: Iterable[str] | None = None, of: str | None = None) -> Graph:
    """`graph` with the gradient of one scalar output added.

    wrt      names of inputs, parameters or states; every parameter when None
    of       the output to differentiate, when there are several
    Returns  a graph with the outputs and updates of `graph` and `grad:NAME` for each name
    Raises   GraphError when the output is no float scalar, or a name is none of the graph's sources.
    """
    names = list(graph.parameters) if wrt is None else list(wrt)
    graph = prepare(graph)
    value = graph.output(of)
    kind = graph.type(value)
    if kind.shape or kind.dtype.kind != "float":
        raise GraphError(
            "only a scalar has a gradient",
            where=graph.describe(value.node),
            expected="a float scalar, f32[]",
            got=str(kind),
            fix="reduce it first, y.mean(), or use jacobian or vjp",
        )
    g = Builder(ops.ALL, where="gradient")
    copies = copy_into(g, graph)
    one = g.constant(1.0, kind.dtype)
    found = pull_back(g, graph, copies, {value: one}, _sources(graph, names))
    return _finish(g, graph, copies, {f"grad:{n}": t for n, t in zip(names, found, strict=True)})


def grad(graph: Graph, wrt: Iterable[str] | None = None, of: str | None = None) -> Graph:
    """Only the gradient of `value_and_grad`."""
    return _only(value_and_grad(graph, wrt, of), "grad:")


def vjp(graph: Graph, wrt: Iterable[str] | None = None) -> Graph:
    """Vector-Jacobian product: adds inputs `cotangent:OUTPUT`, and outputs `grad:NAME` = cotangent . d output / d NAME.

    wrt   names of sources; every float input when None
    """
    names = _float_inputs(graph) if wrt is None else list(wrt)
    graph = prepare(graph)
    g = Builder(ops.ALL, where="vjp")
    copies = copy_into(g, graph)
    seeds: dict[Value, Tensor] = {}
    for name, value in graph.outputs:
        if graph.type(value).dtype.kind == "float":
            cotangent = g.input(f"cotangent:{name}", graph.type(value))
            seeds[value] = g.add(seeds[value], cotangent) if value in seeds else cotangent
    found = pull_back(g, graph, copies, seeds, _sources(graph, names))
    return _finish(g, graph, copies, {f"grad:{n}": t for n, t in zip(names, found, strict=True)})


def jvp(graph: Graph, wrt: Iterable[str] | None = None) -> Graph:
    """Jacobian-vector product: inputs `tangent:NAME` are added, and outputs `tangent:OUTPUT`.

    The vjp is linear in its cotangent; its transpose is the jvp.
    Source   Frostig et al. 2021, arXiv:2105.09469 (transposition), read in the other direction.
    """
    names = _float_inputs(graph) if wrt is None else list(wrt)
    back = prepare(_only(vjp(graph, names), "grad:"))
    g = Builder(ops.ALL, where="jvp")
    forward = copy_into(g, graph)
    cotangents = {n: i for n, i in back.inputs.items() if n.startswith("cotangent:")}
    copies: list[tuple[Tensor, ...]] = []
    for number, node in enumerate(back.nodes):  # the cotangent's value does not matter: the vjp is linear in it
        if number in cotangents.values():
            value = graph.output(node.name.removeprefix("cotangent:"))
            copies.append((zeros(g, forward[value.node][value.index]),))
        elif node.op in ("input", "parameter", "state"):
            copies.append((g._source(node.op, node.name, node.type),))
        else:
            inputs = tuple(copies[v.node][v.index].value for v in node.inputs)
            first = g.add_node(node.op, inputs, node.attributes, node.types, node.where).value.node
            copies.append(tuple(Tensor(g, Value(first, i)) for i in range(len(node.types))))
    seeds: dict[Value, Tensor] = {}
    for name in names:
        value = back.output(f"grad:{name}")
        tangent = g.input(f"tangent:{name}", back.type(value))
        seeds[value] = g.add(seeds[value], tangent) if value in seeds else tangent
    found = pull_back(g, back, copies, seeds, list(cotangents.values()))
    tangents = {n.replace("cotangent:", "tangent:"): t for n, t in zip(cotangents, found, strict=True)}
    return _finish(g, graph, forward, tangents)


def jacobian(graph: Graph, wrt: Iterable[str] | None = None, of: str | None = None) -> Graph:
    """All first derivatives of one output, `jacobian:NAME` of shape [*output, *source].

    The graph must be specialised: the rows are a vjp batched over the unit cotangents.
    """
    names = _float_inputs(graph) if wrt is None else list(wrt)
    output, value = _named_output(graph, of)
    kind = graph.type(value)
    rows = prod(kind.sizes)
    single = Graph(graph.nodes, ((output, value),))
    batched = vmap(_only(vjp(single, names), "grad:"), ops.ALL, (f"cotangent:{output}",), rows)
    g = Builder(ops.ALL, where="jacobian")
    forward = copy_into(g, graph)
    basis = g.constant(np.eye(rows).reshape(rows, *kind.sizes), kind.dtype)
    others = {n: g.input(n, t) for n, t in batched.source_types("input").items() if n != f"cotangent:{output}"}
    found = g.inline(batched, {**others, f"cotangent:{output}": basis})
    blocks = {
        f"jacobian:{n}": g.reshape(found[f"grad:{n}"], shape=(*kind.sizes, *found[f"grad:{n}"].shape[1:]))
        for n in names
    }
    return _finish(g, graph, forward, blocks)


def hessian(graph: Graph, wrt: Iterable[str] | None = None, of: str | None = None) -> Graph:
    """Second derivatives of one scalar output, the block of each name with itself.

    `hessian:NAME` has the shape [*source, *source].
    """
    names = _float_inputs(graph) if wrt is None else list(wrt)
    first = grad(graph, names, of)
    g = Builder(ops.ALL, where="hessian")
    forward = copy_into(g, graph)
    blocks = {}
    for name in names:
        block = _only(jacobian(first, [name], f"grad:{name}"), "jacobian:")
        inputs = {n: g.input(n, t) for n, t in block.source_types("input").items()}
        blocks[f"hessian:{name}"] = g.inline(block, inputs)[f"jacobian:{name}"]
    return _finish(g, graph, forward, blocks)


def _named_output(graph: Graph, of: str | None) -> tuple[str, Value]:
    value = graph.output(of)
    return next((n, v) for n, v in graph.outputs if v == value and (of is None or n == of))


def _float_inputs(graph: Graph) -> list[str]:
    return [n for n, t in graph.source_types("input").items() if t.dtype.kind == "float"]


def _sources(graph: Graph, names: Sequence[str]) -> list[int]:
    known = graph.inputs | graph.parameters | graph.states
    for name in names:
        if name not in known or graph.nodes[known[name]].type.dtype.kind != "float":
            raise GraphError(
                "no such source to differentiate by",
                where="wrt",
                expected="a float input, parameter or state of " + ", ".join(known),
                got=name,
                fix="name one of them",
            )
    return [known[name] for name in names]


def _finish(g: Builder, graph: Graph, copies: Sequence[tuple[Tensor, ...]], extra: dict[str, Tensor]) -> Graph:
    outputs = {n: copies[v.node][v.index] for n, v in graph.outputs}
    updates = {n: copies[v.node][v.index] for n, v in graph.updates}
    return simplify(g.finish({**outputs, **extra}, updates), ops.ALL)


def _only(graph: Graph, prefix: str) -> Graph:
    """The outputs whose names start so, without updates; what they do not need is dropped, but not an input."""
    return simplify(Graph(graph.nodes, tuple((n, v) for n, v in graph.outputs if n.startswith(prefix))), ops.ALL)
