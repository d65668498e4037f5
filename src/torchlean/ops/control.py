"""Programs inside programs, and nodes that steer transformations.

Shapes   call, custom_vjp: the inputs of the graph attribute, in order -> its outputs, in order
         scan: carries, then sequences [t, *s], then constants -> final carries, then stacked results [t, *r]
         detach, barrier: x[*s] -> [*s]
Floats   call and scan are their bodies; detach and barrier are the identity

A graph attribute has inputs only: no parameters, states or updates; what it needs is passed in. A number system
runs it with
`N.run(graph, *values) -> tuple`, and so does the tracer, which copies it in. All rules but types are EXPAND: the
definition's graph is the body (a scan is unrolled).
"""

from __future__ import annotations

from typing import Any

from torchlean.ir import ALIGNED, DERIVED, EXACT, EXPAND, Graph, Linear, Missing, Onnx, Op, TensorType
from torchlean.ops.common import Attrs, Types, arity, only_attrs, refuse
from torchlean.ops.lines import Lines


def _body(op: str, attrs: Attrs, name: str) -> Graph:
    """The graph attribute. Raises ShapeError unless it is a graph of inputs and outputs alone."""
    graph = attrs[name]
    if not isinstance(graph, Graph) or graph.parameters or graph.states or graph.updates:
        raise refuse(
            op,
            f"{name} must be a graph without parameters, states and updates",
            "a graph whose sources are inputs",
            type(graph).__name__,
            "pass parameters as inputs",
        )
    return graph


def _fits(op: str, graph: Graph, types: tuple[TensorType, ...]) -> tuple[TensorType, ...]:
    """The output types of `graph` on inputs of these types. Raises ShapeError."""
    wanted = tuple(graph.source_types("input").values())
    if wanted != types:
        raise refuse(
            op,
            "the inputs are not those of the graph",
            ", ".join(map(str, wanted)),
            ", ".join(map(str, types)),
            "trace the graph for these types",
        )
    return tuple(graph.type(v) for _, v in graph.outputs)


def call_type(attrs: Attrs, *types: TensorType) -> Types:
    """The types of the graph's outputs."""
    only_attrs("call", attrs, "graph")
    return _fits("call", _body("call", attrs, "graph"), types)


def _only(results: tuple[Any, ...]) -> Any:
    return results[0] if len(results) == 1 else results


def call_meaning(N: Any, *inputs: Any, graph: Graph) -> Any:
    """The graph on these inputs."""
    return _only(N.run(graph, *inputs))


def custom_vjp_type(attrs: Attrs, *types: TensorType) -> Types:
    """`vjp` takes the inputs, the outputs and a cotangent per output; it returns a cotangent per input."""
    only_attrs("custom_vjp", attrs, "graph", "vjp")
    found = _fits("custom_vjp", _body("custom_vjp", attrs, "graph"), types)
    back = _fits("custom_vjp", _body("custom_vjp", attrs, "vjp"), (*types, *found, *found))
    if back != types:
        raise refuse(
            "custom_vjp",
            "the vjp graph must return a cotangent per input",
            ", ".join(map(str, types)),
            ", ".join(map(str, back)),
            "return zeros for an input without a derivative",
        )
    return found


def custom_vjp_meaning(N: Any, *inputs: Any, graph: Graph, vjp: Graph) -> Any:
    """The graph on these inputs."""
    return _only(N.run(graph, *inputs))


def custom_vjp_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any, *, graph: Graph, vjp: Graph) -> Any:
    """The graph given for it."""
    return tuple(g.run(vjp, *inputs, *outputs, *cotangents))


def scan_type(attrs: Attrs, *types: TensorType) -> Types:
    """The body maps (carries, one entry of each sequence, constants) to (carries, results)."""
    only_attrs("scan", attrs, "body", "carries", "sequences", "length")
    body = _body("scan", attrs, "body")
    carries, sequences, length = attrs["carries"], attrs["sequences"], attrs["length"]
    if not isinstance(length, int) or isinstance(length, bool) or length < 0 or min(carries, sequences) < 0:
        raise refuse("scan", "needs a known number of steps", "length: an int >= 0", str(length), "length=x.shape[0]")
    if carries + sequences > len(types):
        raise refuse(
            "scan",
            "more carries and sequences than inputs",
            f"at least {carries + sequences} inputs",
            str(len(types)),
            "pass carries, sequences, constants in this order",
        )
    middle = types[carries : carries + sequences]
    if any(t.rank < 1 or t.shape[0] != length for t in middle):
        raise refuse(
            "scan",
            "a sequence's first axis is the step",
            f"[{length}, *s]",
            ", ".join(map(str, middle)),
            "permute the step axis to the front",
        )
    found = _fits(
        "scan", body, (*types[:carries], *(t.with_shape(t.shape[1:]) for t in middle), *types[carries + sequences :])
    )
    if found[:carries] != types[:carries]:
        raise refuse(
            "scan",
            "the body must return its carries with their types",
            ", ".join(map(str, types[:carries])),
            ", ".join(map(str, found[:carries])),
            "cast or reshape the carry in the body",
        )
    return (*found[:carries], *(t.with_shape((length, *t.shape)) for t in found[carries:]))


def scan_meaning(N: Any, *inputs: Any, body: Graph, carries: int, sequences: int, length: int) -> Any:
    """The body `length` times: each step takes the carries of the one before and entry t of every sequence."""
    state = tuple(inputs[:carries])
    middle, constants = inputs[carries : carries + sequences], inputs[carries + sequences :]
    kinds = tuple(body.type(v) for _, v in body.outputs)[carries:]
    stacked: list[list[Any]] = [[] for _ in kinds]
    for t in range(length):
        entries = []
        for x in middle:
            shape = N.shape(x)
            part = N.slice(x, starts=(t, *(0 for _ in shape[1:])), stops=(t + 1, *shape[1:]), steps=(1,) * len(shape))
            entries.append(N.reshape(part, shape=tuple(shape[1:])))
        results = N.run(body, *state, *entries, *constants)
        state = tuple(results[:carries])
        for kept, y in zip(stacked, results[carries:], strict=True):
            kept.append(N.reshape(y, shape=(1, *N.shape(y))))
    if length == 0 and kinds:
        raise refuse("scan", "no steps give no results to stack", "length >= 1", "0", "leave the scan out")
    ends = (N.concat(kept, axis=-kind.rank - 1) for kept, kind in zip(stacked, kinds, strict=True))
    return _only((*state, *ends))


def identity_type(op: str) -> Any:
    """The type of the only input."""

    def rule(attrs: Attrs, *types: TensorType) -> Types:
        arity(op, types, 1)
        only_attrs(op, attrs)
        return types

    return rule


def identity_meaning(N: Any, x: Any) -> Any:
    """x."""
    return x


def detach_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """None: a constant for every derivative."""
    return (None,)


def detach_relax(xp: Any, boxes: Any, slope: Any | None = None) -> Lines:
    """The identity. Not Linear: its vjp is not its transpose."""
    ((lo, _),) = boxes
    one, zero = xp.ones_like(lo), xp.zeros_like(lo)
    return Lines((one,), zero, (one,), zero)


def barrier_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """A barrier for the cotangent, too."""
    return (g.barrier(cotangents[0]),)


NO_GRAPH = Missing("a subgraph is written as the nodes of its body")


def _control(name: str, type_rule: Any, meaning: Any, vjp: Any) -> Op:
    return Op(
        name,
        type_rule,
        meaning,
        vjp,
        batch=EXPAND,
        interval=DERIVED,
        relax=EXPAND,
        rounding=EXPAND,
        lower=EXPAND,
        onnx=NO_GRAPH,
        composite=True,
    )


call = _control("call", call_type, call_meaning, EXPAND)
custom_vjp = _control("custom_vjp", custom_vjp_type, custom_vjp_meaning, custom_vjp_vjp)
scan = _control("scan", scan_type, scan_meaning, EXPAND)
detach = Op(
    "detach",
    identity_type("detach"),
    identity_meaning,
    detach_vjp,
    batch=ALIGNED,
    interval=DERIVED,
    relax=detach_relax,
    rounding=EXACT,
    lower=lambda xp, x: x,
    onnx=Onnx("Identity", since=1),
)
barrier = Op(
    "barrier",
    identity_type("barrier"),
    identity_meaning,
    barrier_vjp,
    batch=ALIGNED,
    interval=DERIVED,
    relax=Linear((0,)),
    rounding=EXACT,
    lower=lambda xp, x: x,
    onnx=Onnx("Identity", since=1),
)

OPS = (call, custom_vjp, scan, detach, barrier)
