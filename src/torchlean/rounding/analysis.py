"""The walk: every node's twin, in node order, and what is read from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

import numpy as np

from torchlean import floats, ops
from torchlean.bounds.region import Box
from torchlean.errors import DataError, MissingRule, ShapeError, UsageError
from torchlean.frozen import frozen
from torchlean.ir import EXPAND, Graph, TensorType, Value
from torchlean.meaning import Ranges
from torchlean.meaning.dtypes import kind_of
from torchlean.meaning.evaluate import at_node
from torchlean.passes import expand
from torchlean.rounding import any_order
from torchlean.rounding.differences import IR, Differences
from torchlean.rounding.left_to_right import LeftToRight
from torchlean.rounding.twin import Twin, exactly
from torchlean.run.program import Program, sizes_of

ORDERS = ("any", "reference")


@frozen
class NodeError:
    """One value of the graph: what its entries may be, all of them taken together.

    number, op, where      the node, of the graph in which losses and calls are written out
    name                   of an input, parameter, state, output (or `update:STATE`); else empty
    computed, real         [least, largest] over all entries
    difference             the largest |float - real| of any entry; inf where it is unbounded, 0 for what surely agrees
    ulps                   the same in units in the last place of the largest magnitude
    overflow, nan          whether a float execution may give an infinity, a NaN
    undefined              whether the real meaning may be undefined (a division by 0, a logarithm of 0)
    twin                   the entries themselves
    """

    number: int
    op: str
    where: str
    name: str
    shape: tuple[int, ...]
    dtype: str
    computed: tuple[float, float]
    real: tuple[float, float]
    difference: float
    ulps: float
    overflow: bool
    nan: bool
    undefined: bool
    twin: Twin = field(repr=False, compare=False)


@frozen
class Table:
    """The analysis of one program. `order`: "any" or "reference"; `nodes`: in node order."""

    graph: Graph
    order: str
    nodes: tuple[NodeError, ...]

    def __getitem__(self, name: str) -> NodeError:
        """The node of an input, output or `update:STATE`. Raises UsageError."""
        found = {**dict(self.graph.outputs), **{f"update:{n}": v for n, v in self.graph.updates}}
        for node in self.nodes:
            if node.name == name or (name in found and found[name] == Value(node.number)):
                return node
        raise UsageError(
            "no value of this name",
            where="rounding table",
            expected=", ".join([*self.graph.inputs, *found]),
            got=name,
            fix="name an input, an output or update:STATE",
        )


def analyse(program: Program, region: Box | Mapping[str, Box], order: str = "any") -> Table:
    """How far the float values of every node may be from the real ones, for every float32 input of the region.

    Both computations start from the same input, a point of the region's float32 hull; parameters and states have their
    values. An integer input takes the whole numbers of its box.

    region   a box for the only input, or one for each, by name; a symbolic leading axis that the box lacks is 1
    order    "any": every float32 execution of SEMANTICS 2 (sums in any order, fused or not, subnormals flushed or not,
             functions within the tolerance table). "reference": the reference executor, which is one of them
    Raises   UsageError, ShapeError, DataError for a region that does not fit; MissingRule where an op cannot be bounded
    """
    if order not in ORDERS:
        raise UsageError("no such order", where="rounding", expected=" or ".join(ORDERS), got=repr(order),
                         fix='order="any"')  # fmt: skip
    boxes = fitted(program, region)
    program = program.specialise(**sizes_of(program.graph, {n: np.empty(b.shape) for n, b in boxes.items()}))
    graph = expand(program.graph, lambda op: op.rounding is EXPAND)
    arrays = {**program.parameters, **program.states}
    inputs = {n: _box(b, graph.source_types("input")[n].dtype.numpy) for n, b in boxes.items()}
    walked = walk(graph, inputs, arrays, order)
    names = {v.node: n for n, v in graph.outputs} | {v.node: f"update:{n}" for n, v in graph.updates}
    rows = []
    for number, (node, results) in enumerate(zip(graph.nodes, walked, strict=True)):
        name = node.name if node.op in ("input", "parameter", "state") else names.get(number, "")
        rows += [_row(number, node.op, node.where, name, twin) for twin in results]
    return Table(graph, order, tuple(rows))


def walk(
    graph: Graph, inputs: Mapping[str, Ranges], arrays: Mapping[str, np.ndarray], order: str
) -> list[tuple[Twin, ...]]:
    """The twins of every node's results."""
    anyhow = order == "any"
    N = Differences() if anyhow else LeftToRight()
    source = any_order.source if anyhow else exactly
    found: list[tuple[Twin, ...]] = []
    for number, node in enumerate(graph.nodes):
        if node.op == "input":
            found.append((source(inputs[node.name]),))
            continue
        if node.op in ("parameter", "state"):
            found.append((source(IR.constant(arrays[node.name])),))
            continue
        given = [found[v.node][v.index] for v in node.inputs]
        try:
            result = ops.ALL[node.op].rule("meaning")(N, *given, **node.attributes)
            results = result if isinstance(result, tuple) and len(node.types) > 1 else (result,)
            if anyhow:
                results = tuple(any_order.settled(node, given, t) for t in results) if given else _sources(results)
        except MissingRule as error:
            raise at_node(error, graph, number) from None
        found.append(results)
    return found


def _sources(results: tuple[Twin, ...]) -> tuple[Twin, ...]:
    return tuple(any_order.source(t.real) for t in results)


def fitted(program: Program, region: Box | Mapping[str, Box]) -> dict[str, Box]:
    """A box of the input's shape for every input. Raises UsageError, ShapeError."""
    types = program.graph.source_types("input")
    given = {next(iter(types)): region} if isinstance(region, Box) and len(types) == 1 else region
    if isinstance(given, Box) or set(given) != set(types):
        raise UsageError(
            "the region must give a box for every input",
            where="rounding(program, region)",
            expected="boxes for " + ", ".join(types),
            got="one box" if isinstance(given, Box) else ", ".join(given) or "none",
            fix="region={" + ", ".join(f"{n!r}: tl.box(...)" for n in types) + "}",
        )
    return {name: _shaped(name, given[name], types[name]) for name in types}


def _shaped(name: str, box: Box, t: TensorType) -> Box:
    shape = t.shape
    symbolic = [i for i, s in enumerate(shape) if not isinstance(s, int)]
    want = box.shape
    if len(want) != len(shape):
        rest = tuple(int(s) for s in shape if isinstance(s, int))
        if not symbolic and int(np.prod(rest)) == box.size:
            want = rest
        elif symbolic == [0] and np.prod(rest) and box.size % int(np.prod(rest)) == 0:
            want = (box.size // int(np.prod(rest)), *rest)
    fits = len(want) == len(shape) and all(not isinstance(s, int) or s == n for s, n in zip(shape, want, strict=True))
    if not fits:
        raise ShapeError(
            "the region does not fit the input",
            where=f"input {name}",
            expected=str(t),
            got=f"a box of shape {list(box.shape)}",
            fix="build the box from an input of the program",
        )
    return box.reshape(want)


def _box(box: Box, dtype: str) -> Ranges:
    if kind_of(dtype) == "float":
        lo, hi = box.outer64()
        return IR.enclose(lo, hi, dtype)
    low = np.array([-(-v.numerator // v.denominator) for v in box.lo], np.int64).reshape(box.shape)
    high = np.array([v.numerator // v.denominator for v in box.hi], np.int64).reshape(box.shape)
    if (low > high).any():
        raise DataError(
            "the box of an integer input holds no whole number",
            where="region",
            expected="a whole number in every coordinate",
            got="none between two of its ends",
            fix="give whole ends",
        )
    if kind_of(dtype) == "bool":
        return IR.enclose(low > 0, high > 0, dtype)
    return IR.enclose(low, high, dtype)


def _row(number: int, op: str, where: str, name: str, twin: Twin) -> NodeError:
    def hull(r: Ranges) -> tuple[float, float]:
        if r.lo.size == 0:
            return 0.0, 0.0
        return float(np.min(r.lo)), float(np.max(r.hi))

    size = max((abs(v) for v in hull(twin.computed)), default=0.0)
    gap = np.maximum(np.abs(twin.gap.lo), np.abs(twin.gap.hi))
    difference = float(gap.max(initial=0.0))
    step = float(floats.ulp(np.asarray(size), floats.format_of(twin.dtype))) if twin.is_float else 1.0
    infinite = twin.is_float and bool((np.isinf(twin.computed.lo) | np.isinf(twin.computed.hi)).any())
    return NodeError(
        number, op, where, name, twin.shape, twin.dtype, hull(twin.computed), hull(twin.real), difference,
        difference / step if np.isfinite(step) else (0.0 if difference == 0 else float("inf")),
        infinite, bool(twin.computed.nan.any()), bool(twin.real.nan.any()), twin,
    )  # fmt: skip
