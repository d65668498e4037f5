"""Agreement: run a program on several executors and hold every node's difference against the promises.

Node by node: each executor gets the reference's inputs of the node, so a difference is that node's own. Two results
within the op's `rounding` E of the same real value lie within 2 E of each other: so far may an executor be from the
reference, and one executor from another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np

from torchlean import ops
from torchlean.errors import MissingRule, Unsupported, UsageError
from torchlean.floats import BINARY32, FORMATS
from torchlean.frozen import frozen
from torchlean.ir import ALIGNED, EXPAND, Graph, Node
from torchlean.passes.expand import expand
from torchlean.run.compare import Difference, compare, is_float
from torchlean.run.execute import REFERENCE, executor
from torchlean.run.program import Program, sizes_of
from torchlean.run.promises import EXACTLY, NONE, STANDARD, Arrays, Executor, Promise, promise, takes_format
from torchlean.run.schedule import builder

KEPT, BROKEN, UNPROMISED, NOT_RUN = "kept", "broken", "unpromised", "not run"


@frozen
class NodeReport:
    """One node on one executor, over all entries of all its results; the numbers are those of `run.compare.Difference`.

    against   what it is compared with: `reference`, or another executor
    status    `kept`, `broken`, `unpromised` (it ran; nothing is promised) or `not run`
    why       the entry that breaks the promise, or why there is none, or why it did not run
    """

    number: int
    op: str
    where: str
    executor: str
    against: str
    promise: str
    status: str
    why: str = ""
    ulps: int | None = None
    error: float | None = None
    use: float | None = None
    outside: int = 0
    entries: int = 0

    @property
    def kept(self) -> bool:
        return self.status != BROKEN


@frozen
class Agreement:
    """Every node on every executor."""

    nodes: tuple[NodeReport, ...]

    @property
    def broken(self) -> NodeReport | None:
        """The first node that breaks a promise, or None."""
        return next((n for n in self.nodes if n.status == BROKEN), None)

    @property
    def missed(self) -> tuple[NodeReport, ...]:
        """The nodes that an executor could not run."""
        return tuple(n for n in self.nodes if n.status == NOT_RUN)

    @property
    def summary(self) -> str:
        """What was found, and what was not compared."""
        if self.broken is not None:
            n = self.broken
            return f"{n.where} breaks the promise of {n.executor}: {n.why}"
        said = ["every promise is kept"]
        for status, words in ((UNPROMISED, "without a promise"), (NOT_RUN, "could not be run")):
            several = [n for n in self.nodes if n.status == status]
            if several:
                names = ", ".join(sorted({f"{n.op} on {n.executor}" for n in several}))
                said.append(f"{len(several)} {words} ({names})")
        outside = sum(n.outside for n in self.nodes if n.status == KEPT)
        if outside:
            said.append(f"{outside} entries outside the promise")
        return "; ".join(said)

    def __str__(self) -> str:
        head = f"{'node':>5}  {'op':<16} {'executor':<12} {'against':<12} {'promise':<9}"
        rows = [f"{head} {'ulps':>10}  {'error':>10}  {'use':>9}  {'outside':>7}"]
        for n in self.nodes:
            line = f"%{n.number:>4}  {n.op:<16} {n.executor:<12} {n.against:<12} {n.promise:<9}"
            if n.error is not None:
                ulps = "NaN" if n.ulps is None else f"{n.ulps:.4g}" if n.ulps > 10**9 else str(n.ulps)
                line += f" {ulps:>10}  {n.error:10.3g}  {n.use:9.2g}  {n.outside:7d}"
            rows.append(line + ("" if n.status == KEPT else f"  {n.status.upper()}  {n.where}: {n.why}"))
        return "\n".join([*rows, self.summary])


def agree(program: Program, inputs: Arrays, on: Sequence[str | Executor]) -> Agreement:
    """Compare the executors `on` with the reference, and with each other where both promise `standard`.

    inputs   an array per input, any sizes for the symbolic axes
    on       names (`eager-cpu`, `eager-cuda`), or executors of one's own
    Raises   Unsupported when an executor's device or package is absent; UsageError for an unknown name, one given
             twice, or none besides the reference.
    """
    executors = [executor(e) if isinstance(e, str) else e for e in on]
    names = [e.name for e in executors]
    executors = [e for e in executors if e is not REFERENCE]
    if len(set(names)) < len(names) or not executors:
        raise UsageError(
            "agreement needs executors to compare with the reference",
            where="agree(on=...)",
            expected="at least one executor besides the reference, each named once",
            got=", ".join(names) or "none",
            fix='on=["eager-cpu"]',
        )
    for e in executors:
        e.present()
    graph = program.specialise(**sizes_of(program.graph, inputs)).graph
    graph = expand(graph, lambda op: EXPAND in (op.lower, op.rounding))
    found: dict[int, tuple[np.ndarray, ...]] = {}
    values = {**program.parameters, **program.states, **inputs}
    REFERENCE.run(graph, values, lambda number, results: found.__setitem__(number, results))
    return Agreement(
        tuple(
            report
            for number, node in enumerate(graph.nodes)
            if node.inputs
            for report in _node(graph, number, node, found, executors)
        )
    )


def _node(
    graph: Graph,
    number: int,
    node: Node,
    found: Mapping[int, tuple[np.ndarray, ...]],
    executors: Sequence[Executor],
) -> Iterator[NodeReport]:
    alone, values = _alone(graph, node, found)
    allowed = [allowed_difference(node, values, r) for r in found[number]]
    special = any(is_float(v) and not np.isfinite(_wide(v)).all() for v in values.values())
    where = graph.describe(number)
    answers: dict[str, list[np.ndarray]] = {REFERENCE.name: list(found[number])}
    promises: dict[str, Promise] = {}
    for e in executors:
        promises[e.name] = _weakest(e, node)
        try:
            answers[e.name] = list(e.run(alone, values, None).values())
        except (Unsupported, MissingRule) as problem:
            why = f"{problem.what}: {problem.got}"
            yield NodeReport(number, node.op, where, e.name, REFERENCE.name, promises[e.name].kind, NOT_RUN, why)
    pairs = [(e.name, REFERENCE.name) for e in executors]
    standard = [e.name for e in executors if promises[e.name].kind == STANDARD]
    pairs += [(b, a) for a, b in combinations(standard, 2)]
    for name, against in pairs:
        if name in answers and against in answers:
            kept = promises[name]
            open_ = special and any(e.open_at(node.op) for e in executors if e.name in (name, against))
            differences = [
                compare(kept.kind, a, b, np.where(_reached(node, values, r), np.inf, limit) if open_ else limit)
                for r, a, b, limit in zip(found[number], answers[against], answers[name], allowed, strict=True)
            ]
            worst = next((d for d in differences if not d.kept), max(differences, key=lambda d: d.use))
            entries = sum(a.size for a in found[number])
            yield _report(number, node.op, where, name, against, kept, worst, entries)


def _wide(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float64)


def _reached(node: Node, values: Mapping[str, np.ndarray], reference: np.ndarray) -> np.ndarray:
    """Which entries a NaN or an infinity may have reached: of a discrete result, all; of an elementwise function, also
    those whose limit is finite.
    """
    if not is_float(reference):
        return np.ones(reference.shape, bool)
    found = ~np.isfinite(_wide(reference))
    if ops.ALL[node.op].batch is ALIGNED:
        for v in values.values():
            if is_float(v):
                found = found | ~np.isfinite(_wide(v))
    return found


def _report(
    number: int, op: str, where: str, name: str, against: str, kept: Promise, d: Difference, entries: int
) -> NodeReport:
    status = BROKEN if d.broken else UNPROMISED if kept.kind == NONE else KEPT
    why = d.broken or (kept.why if kept.kind == NONE else "")
    return NodeReport(
        number, op, where, name, against, kept.kind, status, why, d.ulps, d.error, d.use, d.outside, entries
    )


def _weakest(e: Executor, node: Node) -> Promise:
    """The weakest promise for the node's results."""
    order = (NONE, STANDARD, EXACTLY)
    return min((promise(e, node.op, t.dtype) for t in node.types), key=lambda p: order.index(p.kind))


def _alone(
    graph: Graph, node: Node, found: Mapping[int, tuple[np.ndarray, ...]]
) -> tuple[Graph, dict[str, np.ndarray]]:
    """The node as a graph of its own, and its inputs' values."""
    g = builder(where="agree")
    values = {f"x{i}": found[v.node][v.index] for i, v in enumerate(node.inputs)}
    tensors = [g.input(f"x{i}", graph.type(v)) for i, v in enumerate(node.inputs)]
    result = g.apply(node.op, *tensors, **node.attributes)
    results = result if isinstance(result, tuple) else (result,)
    return g.finish({f"y{i}": t for i, t in enumerate(results)}), values


def allowed_difference(node: Node, values: Arrays, reference: np.ndarray) -> np.ndarray:
    """How far two executions may be apart, entry by entry: 2 E; infinite where nothing is promised.

    A NaN or an infinity among the inputs is left out of E: it does not round. What it makes of a result is held by the
    result's class (NaN, which infinity, or finite). E >= u sum |w| X for a sum, so E < u 2^emax says that no partial
    sum overflows in any order.
    """
    rounding = ops.ALL[node.op].rounding
    if not callable(rounding) or not is_float(reference):
        return _undefined(node, values)
    fmt = FORMATS.get(reference.dtype.name, BINARY32)
    attrs = {**node.attributes, "fmt": fmt} if takes_format(node.op) else node.attributes
    arrays = list(values.values())
    finite = [np.isfinite(_wide(v)) for v in arrays]
    magnitudes = tuple(
        np.where(ok, np.abs(np.where(ok, v, 0).astype(np.float64)), 0.0) if is_float(v) else v
        for ok, v in zip(finite, arrays, strict=True)
    )
    size = np.abs(_wide(reference))
    overflows = np.isinf(size) & (ops.ALL[node.op].batch is ALIGNED)
    for ok in finite if ops.ALL[node.op].batch is ALIGNED else ():
        overflows = overflows & ok
    size = np.where(np.isfinite(size), size, np.where(overflows, fmt.max, 0.0))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        once: np.ndarray = rounding(magnitudes, size, **attrs)
        again: np.ndarray = rounding(magnitudes, size + 2 * once, **attrs)
    return np.where(again < fmt.unit_roundoff * 2.0**fmt.emax, 2 * again, np.inf)


def _undefined(node: Node, values: Arrays) -> np.ndarray:
    """0, and infinite where the op leaves the result open: a float that the target integer cannot hold."""
    (x,) = values.values() if len(values) == 1 else (None,)
    if node.op != "cast" or x is None or not is_float(x) or node.types[0].dtype.kind != "int":
        return np.zeros(())
    limits = np.iinfo(node.types[0].dtype.numpy)
    wide = _wide(x)
    return np.where((wide > float(limits.min) - 1) & (wide < float(limits.max)), 0.0, np.inf)
