"""The backward linear walk (CROWN): bounds of a program's values as linear forms of its input.

One direction, two kinds of step. A linear op is crossed by its transpose. A nonlinear op f is crossed by its lines: where a
coefficient is positive the line below f is used, where it is negative the line above. Any slope is sound, because the
offset is derived from it; slopes are data. Written once over an array namespace: numpy, or torch on CPU or CUDA.

Shapes   B boxes, R rows; coefficients on a value of shape s are [B, R, *s], boxes of it [B, *s]
Floats   in float64 the result is a proved bound: an error box E_k is charged as |L_k| E_k at every node that rounds
         (`rounding.py`), which in the real semantics is 2^-12 of float32's and covers the walk's own rounding; sums of the
         offset are charged apart. In float32 (CUDA by default) it guides a search.
Source   Zhang et al. 2018, arXiv:1811.00866; Xu et al. 2020, arXiv:2002.12920; SEMANTICS 3 and 5
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchlean import ops
from torchlean.bounds.interval import interval_walk
from torchlean.bounds.rounding import WALK, error_boxes
from torchlean.bounds.transpose import Transpose
from torchlean.errors import MissingRule, UsageError
from torchlean.ir import EXPAND, Graph, Linear, Node, Value, f64
from torchlean.meaning.ranges import Ranges

F64 = NDArray[np.float64]
LOSS = 2.0**-44  # of the sum of magnitudes that an offset adds up: covers the rounding of 2^8 float64 additions of folds


@dataclass
class Settings:
    """How to walk.

    semantics   "float32" or "real"      device   "cpu" (numpy, float64) or "cuda" (torch)
    budget      bytes that the coefficients of one chunk of rows may take; halved whenever memory runs out
    slopes      the free slope of each nonlinear node's lines, by node number, in [0, 1]: [*s] or [B, *s]
    """

    semantics: str = "float32"
    device: str = "cpu"
    budget: int = 1 << 28
    slopes: Mapping[int, Any] = field(default_factory=dict)


class LinearWalk:
    """The walk of one specialised program over a batch of boxes.

    program   one input, batch axis of size 1      lo, hi   [B, *input shape without the batch axis]
    Raises    MissingRule where an op has neither a transpose nor lines
    """

    def __init__(self, program: Any, lo: F64, hi: F64, settings: Settings) -> None:
        from torchlean.passes import expand, retype

        graph = expand(program.graph, lambda op: op.relax is EXPAND)
        self.settings = settings
        self.graph: Graph = retype(graph, ops.ALL, f64)
        self.xp, self.dtype = _namespace(settings.device)
        (name, self.input), *more = self.graph.inputs.items()
        if more:
            raise UsageError("bounds need a program with one input", where="bounds", expected="one input",
                             got=", ".join(self.graph.inputs), fix="concatenate the inputs")  # fmt: skip
        arrays = {**program.parameters, **program.states}
        self.count = len(lo)
        self.lo, self.hi = self._array(lo), self._array(hi)
        shape = graph.type(Value(self.input)).sizes
        self.ranges = [
            interval_walk(graph, arrays, {name: (lo[b].reshape(shape), hi[b].reshape(shape))}, settings.semantics)
            for b in range(self.count)
        ]
        whole = {v: _union([r[v] for r in self.ranges]) for v in self.ranges[0]}
        scale = 1.0 if settings.semantics == "float32" else WALK
        self.errors = {v: self._array(scale * e) for v, e in error_boxes(graph, whole).items()}
        self.boxes: dict[Value, tuple[Any, Any]] = {}
        self.moving = self._moving()
        self.values: dict[Value, Any] = {}
        self._constants(arrays)
        self._transposes: dict[int, Transpose] = {}
        self._offsets: dict[int, Any] = {}
        self._lines: dict[int, Any] = {}
        self._tighten()

    def _array(self, x: Any) -> Any:
        if self.xp is np:
            return np.asarray(x, np.float64)
        return self.xp.asarray(np.asarray(x), dtype=self.dtype, device=self.settings.device)

    def _moving(self) -> set[int]:
        """The nodes that depend on the input."""
        moving = {self.input}
        for i, node in enumerate(self.graph.nodes):
            if any(v.node in moving for v in node.inputs):
                moving.add(i)
        return moving

    def _constants(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The values that do not depend on the input, in float64. An op among them widens by its own error box."""
        for i, node in enumerate(self.graph.nodes):
            if i in self.moving:
                continue
            if node.op in ("parameter", "state"):
                result = self._array(np.asarray(arrays[node.name]))
            else:
                inputs = [self.values[v] for v in node.inputs]
                result = ops.ALL[node.op].rule("lower")(self.xp, *inputs, **node.attributes)
            outputs = result if isinstance(result, tuple) else (result,)
            self.values.update((Value(i, j), v) for j, v in enumerate(outputs))

    def box(self, value: Value) -> tuple[Any, Any]:
        """What is known of a value, [B, *s]."""
        if value not in self.boxes:
            lo = np.stack([r[value].lo.astype(np.float64) for r in self.ranges])
            hi = np.stack([r[value].hi.astype(np.float64) for r in self.ranges])
            self.boxes[value] = self._array(lo), self._array(hi)
        return self.boxes[value]

    def _tighten(self) -> None:
        """Bound every value that a nonlinear op reads, where that op is not already linear on the box."""
        for i, node in enumerate(self.graph.nodes):
            if i not in self.moving or not node.inputs or isinstance(ops.ALL[node.op].relax, Linear):
                continue
            ops.ALL[node.op].rule("relax")
            for v in node.inputs:
                if v.node == self.input or v.node not in self.moving or v in self._tight:
                    continue
                lo, hi = self.box(v)
                open_ = (lo < 0) & (hi > 0) if node.op in CROSSES_ZERO else hi > lo
                targets = np.flatnonzero(_numpy(open_).reshape(self.count, -1).any(axis=0))
                if targets.size:
                    self.bound(v, targets)
                self._tight.add(v)

    @property
    def _tight(self) -> set[Value]:
        return self.__dict__.setdefault("_done", set())  # type: ignore[no-any-return]

    def bound(self, value: Value, targets: NDArray[np.intp]) -> None:
        """Intersect the box of `value` with the walk's bounds, for the flat entries `targets`."""
        lo, hi = self.box(value)
        shape = lo.shape
        flat_lo, flat_hi = self.xp.reshape(lo, (self.count, -1)), self.xp.reshape(hi, (self.count, -1))
        size = int(flat_lo.shape[1])
        for part in self._chunks(targets, value):
            rows = np.zeros((2 * len(part), size))
            rows[np.arange(len(part)), part] = 1.0
            rows[np.arange(len(part)) + len(part), part] = -1.0
            least = self.least(value, rows.reshape(-1, *shape[1:]))
            r, index = len(part), part if self.xp is np else self.xp.asarray(part, device=self.settings.device)
            flat_lo[:, index] = self.xp.maximum(flat_lo[:, index], least[:, :r])
            flat_hi[:, index] = self.xp.minimum(flat_hi[:, index], -least[:, r:])
        self.boxes[value] = self.xp.reshape(flat_lo, shape), self.xp.reshape(flat_hi, shape)

    def _chunks(self, targets: NDArray[np.intp], value: Value) -> list[NDArray[np.intp]]:
        widest = max(prod(n.types[0].sizes) for n in self.graph.nodes[: value.node + 1] if n.types)
        rows = max(1, self.settings.budget // (8 * 6 * 2 * self.count * widest))
        return [targets[i : i + rows] for i in range(0, len(targets), rows)]

    def least(self, value: Value, rows: F64) -> Any:
        """Proved lower bounds of <row, value> for each row. Shapes: [R, *s] -> [B, R]

        When memory runs out, the rows are halved and the budget with them.
        """
        try:
            form, offset = self.form(value, rows)
            return self._concrete(form, offset)
        except MemoryError:
            return self._halved(value, rows)
        except RuntimeError as error:  # torch.OutOfMemoryError is one
            if "out of memory" not in str(error):
                raise
            return self._halved(value, rows)

    def _halved(self, value: Value, rows: F64) -> Any:
        if len(rows) == 1:
            raise MemoryError("one row does not fit")
        self.settings.budget = max(1, self.settings.budget // 2)
        middle = len(rows) // 2
        return self.xp.concat([self.least(value, rows[:middle]), self.least(value, rows[middle:])], axis=1)

    def form(self, value: Value, rows: F64) -> tuple[Any, Any]:
        """Lower linear forms: <row, value> >= <form, x> + offset on each box. Shapes: -> [B, R, *input], [B, R]"""
        xp, count = self.xp, len(rows)
        start = xp.broadcast_to(self._array(rows)[None], (self.count, *rows.shape))
        waiting: dict[Value, Any] = {value: start}
        offset = xp.zeros((self.count, count), dtype=start.dtype)
        if xp is not np:
            offset = offset.to(self.settings.device)
        mass = offset + 0.0
        for i in range(value.node, self.input, -1):
            mine = {v: c for v, c in waiting.items() if v.node == i}
            if not mine:
                continue
            node = self.graph.nodes[i]
            for v in mine:
                del waiting[v]
            if len(node.types) > 1:
                raise MissingRule("the linear walk does not cross ops with several outputs", where=self.graph.describe(i),
                                  expected="one output", got=f"{len(node.types)} outputs", fix="use method='interval'")  # fmt: skip
            coefficients = mine[Value(i)]
            if Value(i) in self.errors:
                charge = _dot(xp, xp.abs(coefficients), self.errors[Value(i)][None, None])
                offset, mass = offset - charge, mass + charge
            relax = ops.ALL[node.op].relax
            crossed = self._cross_linear if isinstance(relax, Linear) else self._cross_lines
            parts, constant, size = crossed(i, node, coefficients)
            offset, mass = offset + constant, mass + size
            for v, part in parts:
                waiting[v] = waiting[v] + part if v in waiting else part
        shape = self.graph.type(Value(self.input)).sizes
        found = waiting.get(Value(self.input))
        if found is None:
            found = xp.zeros((self.count, count, *shape), dtype=start.dtype)
        return found, offset - LOSS * mass

    def _cross_linear(self, i: int, node: Node, rows: Any) -> tuple[list[tuple[Value, Any]], Any, Any]:
        xp = self.xp
        relax: Linear = ops.ALL[node.op].relax
        perturbed = tuple(k for k, v in enumerate(node.inputs) if v.node in self.moving)
        if any(k not in relax.args for k in perturbed) or (len(perturbed) > 1 and not relax.jointly):
            raise MissingRule(f"{node.op} is not linear in its perturbed inputs", where=self.graph.describe(i),
                              expected="one perturbed factor", got=f"perturbed inputs {perturbed}",
                              fix="use method='interval', or rewrite the program")  # fmt: skip
        constants = {k: self.values[v] for k, v in enumerate(node.inputs) if k not in perturbed}
        if i not in self._transposes:
            self._transposes[i] = Transpose(self.graph, i, perturbed, constants, xp)
            zeros = [constants.get(k, self._array(np.zeros(self.graph.type(v).sizes))) for k, v in enumerate(node.inputs)]
            self._offsets[i] = ops.ALL[node.op].rule("lower")(xp, *zeros, **node.attributes)
        flat = xp.reshape(rows, (rows.shape[0] * rows.shape[1], *rows.shape[2:]))
        results = self._transposes[i](flat)
        parts = [
            (node.inputs[k], xp.reshape(r, (*rows.shape[:2], *r.shape[1:]))) for k, r in zip(perturbed, results, strict=True)
        ]
        constant = self._offsets[i][None, None]
        return parts, _dot(xp, rows, constant), _dot(xp, xp.abs(rows), xp.abs(constant))

    def _cross_lines(self, i: int, node: Node, rows: Any) -> tuple[list[tuple[Value, Any]], Any, Any]:
        xp = self.xp
        if i not in self._lines:
            boxes = tuple(self._operand(v) for v in node.inputs)
            slope = self.settings.slopes.get(i)
            given = None if slope is None else xp.broadcast_to(self._array(slope), boxes[0][0].shape)
            self._lines[i] = ops.ALL[node.op].rule("relax")(xp, boxes, given, **node.attributes)
        lines = self._lines[i]
        up, down = xp.maximum(rows, xp.zeros_like(rows)), xp.minimum(rows, xp.zeros_like(rows))
        low, high = lines.lower_bias[:, None], lines.upper_bias[:, None]
        constant = _dot(xp, up, low) + _dot(xp, down, high)
        size = _dot(xp, up, xp.abs(low)) - _dot(xp, down, xp.abs(high))
        if node.op == "max" and not node.attributes["keepdims"]:
            full = _kept(self.graph.type(node.inputs[0]).sizes, node.attributes["axes"])
            up, down = (xp.reshape(c, (*c.shape[:2], *full)) for c in (up, down))
        parts = []
        for v, below, above in zip(node.inputs, lines.lower, lines.upper, strict=True):
            part = up * below[:, None] + down * above[:, None]
            if v.node not in self.moving:
                value = self.values[v][None, None]
                constant, size = constant + _dot(xp, part, value), size + _dot(xp, xp.abs(part), xp.abs(value))
                continue
            part = _summed_to(xp, part, self.graph.type(v).sizes)
            lo, hi = self.box(v)
            size = size + _dot(xp, xp.abs(part), xp.maximum(xp.abs(lo), xp.abs(hi))[:, None])  # rounding of slope * c
            parts.append((v, part))
        return parts, constant, size

    def _operand(self, v: Value) -> tuple[Any, Any]:
        if v.node in self.moving:
            return self.box(v)
        value = self.xp.broadcast_to(self.values[v][None], (self.count, *self.values[v].shape))
        return value, value

    def _concrete(self, form: Any, offset: Any) -> Any:
        xp = self.xp
        shape = (self.count, 1, *form.shape[2:])
        lo, hi = xp.reshape(self.lo, shape), xp.reshape(self.hi, shape)
        least = xp.minimum(form * lo, form * hi)
        size = xp.maximum(xp.abs(form * lo), xp.abs(form * hi))
        axes = tuple(range(2, len(form.shape)))
        total = xp.sum(least, axis=axes)
        return offset + total - LOSS * (xp.abs(offset) + xp.sum(size, axis=axes))


CROSSES_ZERO = frozenset({"relu", "leaky_relu", "abs"})  # linear where the box does not cross 0


def _namespace(device: str) -> tuple[Any, Any]:
    if device == "cpu":
        return np, np.float64
    from torchlean.run.execute import torch_namespace

    xp, torch = torch_namespace(device)
    return xp, torch.float32


def _numpy(x: Any) -> np.ndarray:
    return np.asarray(x) if isinstance(x, np.ndarray) else np.asarray(x.cpu().numpy())


def _union(ranges: list[Ranges]) -> Ranges:
    if len(ranges) == 1:
        return ranges[0]
    first = ranges[0]
    lo, hi = first.lo, first.hi
    for r in ranges[1:]:
        lo, hi = np.minimum(lo, r.lo), np.maximum(hi, r.hi)
    return Ranges(lo, hi, first.nan, first.dtype)


def _dot(xp: Any, rows: Any, value: Any) -> Any:
    """<rows, value> over the value's axes. Shapes: [B, R, *s], broadcastable to it -> [B, R]"""
    return xp.sum(rows * value, axis=tuple(range(2, len(rows.shape))))


def _kept(sizes: tuple[int, ...], axes: Any) -> tuple[int, ...]:
    ones = {a % len(sizes) for a in axes}
    return tuple(1 if k in ones else s for k, s in enumerate(sizes))


def _summed_to(xp: Any, part: Any, sizes: tuple[int, ...]) -> Any:
    """The transpose of broadcasting an operand of shape `sizes`. Shapes: [B, R, *s] -> [B, R, *sizes]"""
    extra = len(part.shape) - 2 - len(sizes)
    if extra:
        part = xp.sum(part, axis=tuple(range(2, 2 + extra)))
    ones = tuple(k + 2 for k, s in enumerate(sizes) if s == 1 and part.shape[k + 2] != 1)
    return xp.sum(part, axis=ones, keepdims=True) if ones else part
