"""Agreement: run a program on several executors and hold every node's difference against the promises.

Node by node: each executor gets the reference's inputs of the node, so a difference is that node's own. Both results
lie within the op's `rounding` of the same real value, hence within twice that of each other. A NaN, an infinity or a
wrong dtype on one side only breaks the promise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from torchlean import ops
from torchlean.ir import EXPAND, Graph, Node
from torchlean.passes.expand import expand
from torchlean.run.execute import execute
from torchlean.run.program import Program, sizes_of
from torchlean.run.promises import promise


@dataclass(frozen=True)
class NodeReport:
    """One node on one executor, over all entries.

    ulps    largest distance from the reference in units in the last place of its float32 result
    error   largest absolute difference
    use     largest part of the allowed difference: above 1 the promise is broken
    """

    number: int
    op: str
    where: str
    executor: str
    promise: str
    ulps: float
    error: float
    use: float
    kept: bool


@dataclass(frozen=True)
class Agreement:
    """Every node on every executor."""

    nodes: tuple[NodeReport, ...]

    @property
    def broken(self) -> NodeReport | None:
        """The first node that breaks a promise, or None."""
        return next((n for n in self.nodes if not n.kept), None)

    def __str__(self) -> str:
        rows = [f"{'node':>5}  {'op':<16} {'executor':<12} {'promise':<9} {'ulps':>10}  {'error':>10}  {'use':>9}"]
        for n in self.nodes:
            mark = "" if n.kept else "   BROKEN  " + n.where
            name = f"%{n.number:>4}  {n.op:<16} {n.executor:<12} {n.promise:<9}"
            rows.append(f"{name} {n.ulps:10.3g}  {n.error:10.3g}  {n.use:9.2g}{mark}")
        verdict = "every promise is kept" if self.broken is None else f"node %{self.broken.number} breaks its promise"
        return "\n".join([*rows, verdict])


def agree(program: Program, inputs: Mapping[str, np.ndarray], on: Sequence[str]) -> Agreement:
    """Compare the executors `on` with the reference.

    inputs   an array per input, any sizes for the symbolic axes
    Raises   Unsupported when an executor's device is absent.
    """
    graph = program.specialise(**sizes_of(program.graph, inputs)).graph
    graph = expand(graph, lambda op: EXPAND in (op.lower, op.rounding))
    found: dict[int, tuple[np.ndarray, ...]] = {}
    values = {**program.parameters, **program.states, **inputs}
    execute(graph, values, "reference", lambda number, results: found.__setitem__(number, results))
    reports = [
        _compare(graph, number, node, found, executor)
        for number, node in enumerate(graph.nodes)
        if node.inputs
        for executor in on
        if executor != "reference"
    ]
    return Agreement(tuple(reports))


def _compare(
    graph: Graph, number: int, node: Node, found: Mapping[int, tuple[np.ndarray, ...]], executor: str
) -> NodeReport:
    alone, values = _alone(graph, node, found)
    answers = execute(alone, values, executor)
    kind = promise(executor, node.op)
    reports = []
    for i, name in enumerate(answers):
        reference, other = found[number][i], answers[name]
        allowed = _allowed(node, values, reference, kind)
        error = np.abs(reference.astype(np.float64) - other.astype(np.float64))
        same = (
            (reference == other) | (np.isnan(reference) & np.isnan(other))
            if reference.dtype.kind == "f"
            else reference == other
        )
        error = np.where(same, 0.0, error)
        fits = other.shape == reference.shape and other.dtype == reference.dtype
        kept = fits and bool(np.all(same | (error <= allowed)))
        floats = reference.dtype.kind == "f"
        ulps = float(np.max(error / _ulp(reference) if floats else error, initial=0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            use = np.where(error > 0, error / allowed, 0.0)
        reports.append(
            NodeReport(
                number,
                node.op,
                graph.describe(number),
                executor,
                kind,
                ulps,
                float(np.max(error, initial=0.0)),
                float(np.max(use, initial=0.0)),
                kept,
            )
        )
    return next((r for r in reports if not r.kept), reports[0])


def _alone(
    graph: Graph, node: Node, found: Mapping[int, tuple[np.ndarray, ...]]
) -> tuple[Graph, dict[str, np.ndarray]]:
    """The node as a graph of its own, and its inputs' values."""
    from torchlean.run.schedule import builder

    g = builder(where="agree")
    values = {f"x{i}": found[v.node][v.index] for i, v in enumerate(node.inputs)}
    tensors = [g.input(f"x{i}", graph.type(v)) for i, v in enumerate(node.inputs)]
    result = g.apply(node.op, *tensors, **node.attributes)
    results = result if isinstance(result, tuple) else (result,)
    return g.finish({f"y{i}": t for i, t in enumerate(results)}), values


def _allowed(node: Node, values: Mapping[str, np.ndarray], reference: np.ndarray, kind: str) -> np.ndarray:
    """The largest difference that the two promises allow, entry by entry."""
    if kind == "exact":
        return np.zeros(())
    if kind == "none" or reference.dtype != np.float32:
        return np.full((), np.inf)
    magnitudes = tuple(np.abs(v.astype(np.float64)) if v.dtype.kind == "f" else v for v in values.values())
    size = np.abs(reference.astype(np.float64))
    once: np.ndarray = ops.ALL[node.op].rule("rounding")(magnitudes, size, **node.attributes)
    again: np.ndarray = ops.ALL[node.op].rule("rounding")(magnitudes, size + 2 * once, **node.attributes)
    return 2 * again


def _ulp(x: np.ndarray) -> np.ndarray:
    return np.maximum(np.spacing(np.abs(np.where(np.isfinite(x), x, 1.0))), np.finfo(x.dtype).smallest_subnormal)
