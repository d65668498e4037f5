"""How far a quantized program may be from its float32 program, on every input of a region.

Both graphs are walked node by node. A value is carried as a twin: what the first program may have, what the second may
have, and their difference, bounded by forms in which the difference of the operands stands once
(`rounding.Differences`: W~ x~ - W x = W~ (x~ - x) + (W~ - W) x). A node that only rounds adds its noise. In `float32`
semantics each side's error box is added to its value and to the difference: the bound is about every execution of the
one program beside every execution of the other, on the same input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchlean import ops
from torchlean.bounds.boxed import Boxed, boxed
from torchlean.bounds.interval import interval_walk
from torchlean.bounds.region import Box
from torchlean.bounds.rounding import error_box
from torchlean.errors import UsageError
from torchlean.ir import Node, Value
from torchlean.meaning import IntervalReal, Ranges
from torchlean.quant.noise import quantize_noise, round_to_noise
from torchlean.quant.pairing import Pairing, pairing
from torchlean.rounding import Twin, any_order
from torchlean.rounding.differences import Differences
from torchlean.rounding.twin import apart, exactly, meet, ranges
from torchlean.run.program import Program

F64 = NDArray[np.float64]
IR = IntervalReal()


@dataclass(frozen=True)
class Step:
    """One node of the second program that stands for a value of the first.

    value      [least, largest] of the first program's value, over all entries
    noise      the largest that the node itself adds, where it only rounds; 0 elsewhere
    difference the largest |second - first| of any entry
    """

    number: int
    op: str
    where: str
    value: tuple[float, float]
    noise: float
    difference: float


@dataclass(frozen=True)
class Difference:
    """lo, hi: an enclosure of second - first, entry by entry, of the output; `semantics` says of what executions."""

    lo: F64
    hi: F64
    semantics: str
    steps: tuple[Step, ...] = field(repr=False)

    @property
    def largest(self) -> float:
        """The largest magnitude of any entry."""
        return float(np.maximum(np.abs(self.lo), np.abs(self.hi)).max(initial=0.0))


def difference(
    first: Program,
    second: Program,
    region: Box | Sequence[Box],
    *,
    semantics: str = "float32",
    output: str | None = None,
) -> Difference:
    """Bounds of second(x) - first(x) over a region, for two programs of one structure (see `pairing`).

    semantics   `float32`: of any float32 execution of each, in any order of sums, at every float32 input of the
                region's hull. `real`: of both real meanings; rounding onto a grid is part of the meaning
    output      its name, where there are several
    Rigorous    outward rounded throughout; infinite where a value may overflow or be NaN
    Raises      UsageError where the programs do not correspond or there is no such semantics; MissingRule; ShapeError
    """
    if semantics not in ("real", "float32"):
        raise UsageError("no such semantics", where="difference", expected="'float32' or 'real'", got=repr(semantics),
                         fix="semantics='float32'")  # fmt: skip
    several = not isinstance(region, Box)
    regions = [region] if isinstance(region, Box) else list(region)
    walk = _Walk(boxed(first, regions, semantics), boxed(second, regions, semantics))
    walk.run()
    value = walk.second.graph.output(output)
    gap = walk.found[value].gap
    shape = walk.second.graph.type(value).sizes
    lo, hi = (np.broadcast_to(a, shape) for a in (gap.lo, gap.hi))
    leading = bool(first.input_type.shape[:1]) and not isinstance(first.input_type.shape[0], int)
    if not several and not leading:
        lo, hi = lo[0], hi[0]
    return Difference(lo, hi, semantics, tuple(walk.steps))


class _Walk:
    """The twins of the second graph's values that stand for values of the first."""

    def __init__(self, first: Boxed, second: Boxed) -> None:
        self.first, self.second = first, second
        self.pairs: Pairing = pairing(first.graph, second.graph, (first.dependent, second.dependent))
        self.boxes = interval_walk(first), interval_walk(second)
        self.found: dict[Value, Twin] = {}
        self.steps: list[Step] = []

    def run(self) -> None:
        graph = self.second.graph
        for number, node in enumerate(graph.nodes):
            values = [Value(number, i) for i in range(len(node.types)) if Value(number, i) in self.pairs.first]
            if not values:
                continue
            noise = None
            if number not in self.second.dependent and self.pairs.first[values[0]].node not in self.first.dependent:
                twins = [self._constant(v) for v in values]
            elif node.op == "input":
                twins = [exactly(self.boxes[1][number][0])]
            elif number in self.pairs.rounding:
                twin, noise = self._rounded(number, node)
                twins = [twin]
            else:
                twins = self._applied(number, node, values)
            for v, twin in zip(values, twins, strict=True):
                self.found[v] = twin
            if twins[0].is_float:
                self.steps.append(_step(number, node, twins[0], noise))

    def _boxes(self, v: Value) -> tuple[Ranges, Ranges]:
        """By the interval walks: what the first program's value may be, and the second's."""
        a = self.pairs.first[v]
        return self.boxes[0][a.node][a.index], self.boxes[1][v.node][v.index]

    def _constant(self, v: Value) -> Twin:
        a, b = self._boxes(v)
        ours, theirs = self.first.graph.nodes[self.pairs.first[v].node], self.second.graph.nodes[v.node]
        if ours.op == theirs.op == "parameter":
            left, right = self.first.arrays[ours.name], self.second.arrays[theirs.name]
            if left.dtype == right.dtype and left.tobytes() == right.tobytes():
                return exactly(a)
        elif ours.op == theirs.op == "constant" and ours == theirs:
            return exactly(a)
        shape = np.broadcast_shapes(a.shape, b.shape)
        gap = apart(b, a)
        return meet(a, b, ranges(np.broadcast_to(gap.lo, shape), np.broadcast_to(gap.hi, shape)))

    def _applied(self, number: int, node: Node, values: list[Value]) -> list[Twin]:
        """One op on both sides."""
        given = [self.found[v] for v in node.inputs]
        result: Any = ops.ALL[node.op].rule("meaning")(Differences(), *given, **node.attributes)
        results = result if isinstance(result, tuple) and len(node.types) > 1 else (result,)
        twins = []
        for v in values:
            twin: Twin = results[v.index]
            if self.second.semantics == "float32":
                twin = any_order.settled(node, given, twin)
                ours = self.first.graph.nodes[self.pairs.first[v].node]
                twin = _turned(any_order.settled(ours, [_turned(t) for t in given], _turned(twin)))
            twins.append(self._met(v, twin))
        return twins

    def _rounded(self, number: int, node: Node) -> tuple[Twin, Ranges]:
        """The second side rounds; the first stays."""
        x = self.found[self.pairs.rounding[number]]
        noise = self._noise(node, x.computed)
        error = self._error(number, node, x.computed)
        if error is not None:
            noise = IR.add(noise, ranges(-error, error))
        v = Value(number)
        gap = IR.add(x.gap, noise)
        twin = meet(x.real, self._boxes(v)[1], ranges(gap.lo, gap.hi))
        low, high = IR.add(x.computed, noise).lo, IR.add(x.computed, noise).hi
        box = twin.computed
        inside = Ranges(np.maximum(box.lo, low), np.minimum(box.hi, high), box.nan, box.dtype)
        return meet(x.real, inside, twin.gap), noise

    def _noise(self, node: Node, x: Ranges) -> Ranges:
        if node.op == "round_to":
            return round_to_noise(x, dtype=node.attributes["dtype"], overflow=str(node.attributes["overflow"]))
        if node.op == "cast":
            return ranges(np.zeros(x.shape), 0.0)
        codes = self.second.graph.nodes[node.inputs[0].node]
        scale, zero = (self.boxes[1][v.node][v.index] for v in node.inputs[1:])
        if (scale.lo != scale.hi).any() or (zero.lo != zero.hi).any():
            return ranges(np.full(x.shape, -np.inf), np.inf)
        attrs: Any = codes.attributes
        step, middle = (_along(np.asarray(a.lo, np.float64), attrs["axis"], len(x.shape)) for a in (scale, zero))
        return quantize_noise(x, step, middle, attrs["lo"], attrs["hi"])

    def _error(self, number: int, node: Node, x: Ranges) -> F64 | None:
        if self.second.semantics != "float32":
            return None
        inputs = [self.boxes[1][v.node][v.index] for v in node.inputs]
        return error_box(node, inputs, self.boxes[1][number][0])

    def _met(self, v: Value, twin: Twin) -> Twin:
        """With the interval walks' boxes."""
        a, b = self._boxes(v)
        return meet(_common(twin.real, a), _common(twin.computed, b), twin.gap)


def _common(x: Ranges, y: Ranges) -> Ranges:
    if x.lo.dtype != np.float64:
        return x
    return Ranges(np.maximum(x.lo, y.lo), np.minimum(x.hi, y.hi), np.asarray(x.nan & y.nan), x.dtype)


def _turned(x: Twin) -> Twin:
    """The two sides exchanged."""
    return Twin(x.computed, x.real, ranges(-x.gap.hi, -x.gap.lo))


def _along(v: F64, axis: Any, rank: int) -> F64:
    return v if axis is None else v.reshape((1,) * (rank + axis) + (-1,) + (1,) * (-axis - 1))


def _step(number: int, node: Node, twin: Twin, noise: Ranges | None) -> Step:
    def largest(r: Ranges) -> float:
        return float(np.maximum(np.abs(r.lo), np.abs(r.hi)).max(initial=0.0))

    ends = float(np.min(twin.real.lo, initial=np.inf)), float(np.max(twin.real.hi, initial=-np.inf))
    return Step(number, node.op, node.where, ends, 0.0 if noise is None else largest(noise), largest(twin.gap))
