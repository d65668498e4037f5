"""The backward linear walk (CROWN): linear lower bounds of chosen values over each box.

Coefficients go backward from the values asked about. A linear node is crossed by its transpose, a nonlinear one by the
lines of its `relax`; what a line or a constant adds goes to the offset. Values of an image are asked about tile by
tile, and coefficients are kept in the window that they reach (`windows`). With `float32` semantics every rounding
node's error box is charged by the full coefficient at its value (SEMANTICS 3). Written over an array namespace: numpy
or torch on a device.

Shapes   R rows (the values asked about), B boxes; coefficients of a node [R, *its shape], where its shape starts with B
Floats   a search: the walk's own rounding is not charged. A claim rests on the certificate kernel, never on this
Source   Zhang et al. 2018, arXiv:1811.00866; Xu et al. 2020, arXiv:2002.12920, section 3 (general graphs)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchlean import ops
from torchlean.bounds.boxed import Boxed
from torchlean.bounds.crossing import cross
from torchlean.bounds.interval import node_box
from torchlean.bounds.rounding import magnitude
from torchlean.bounds.windows import Window, around, convolved, cut, moved, one_hot, padded, tiles, union, whole
from torchlean.errors import Exhausted, MissingRule
from torchlean.ir import ALIGNED, Linear, Node, TensorType, Value
from torchlean.meaning import Ranges
from torchlean.ops.lines import Relax

F64 = NDArray[np.float64]

KINK_AT_ZERO = frozenset({"relu", "leaky_relu", "abs"})  # exact unless 0 is inside: only then are tighter bounds wanted
ACROSS = frozenset(("add", "sub", "neg", "mul", "div", "batch_norm"))  # linear ops that keep every entry in its place


@dataclass
class Walk:
    """The facts about every node that the walk has so far, in node order; `refine` adds the next node's.

    boxes    per node and output: what its value may be        errors   per node: its error box, or None
    slopes   node number -> [B, *shape]: the free lower slope of a nonlinear node; absent: the rule's own choice
    xp, put  the namespace, and numpy array -> its array       budget   bytes that the coefficients may take
    """

    boxed: Boxed
    xp: Any
    put: Any
    budget: int
    slopes: Mapping[int, Any]
    boxes: list[tuple[Ranges, ...]] = field(default_factory=list)
    errors: list[Any] = field(default_factory=list)
    _lines: dict[int, Any] = field(default_factory=dict)
    _constants: dict[int, Any] = field(default_factory=dict)

    def refine(self, tighten: bool) -> None:
        """Find every node's box, first by its interval rule, then, where a kink or curve reads it, by the walk."""
        graph = self.boxed.graph
        wanted = {v for n in graph.nodes for v in n.inputs if self._nonlinear(n) and v.node in self.boxed.dependent}
        for number, node in enumerate(graph.nodes):
            found, error = node_box(self.boxed, number, [self.boxes[v.node][v.index] for v in node.inputs])
            self.boxes.append(found)
            self.errors.append(error)
            if tighten and Value(number) in wanted and node.op != "input":
                self.boxes[number] = (self._tightened(number), *found[1:])

    def _tightened(self, number: int) -> Ranges:
        box = self.boxes[number][0]
        if box.lo.dtype != np.float64:  # whole numbers: their range is their interval rule's
            return box
        readers = [n.op for n in self.boxed.graph.nodes if Value(number) in n.inputs and self._nonlinear(n)]
        loose = (box.lo < 0) & (box.hi > 0) if set(readers) <= KINK_AT_ZERO else box.lo < box.hi
        targets = np.flatnonzero(loose.reshape(len(loose), -1).any(axis=0))
        if not len(targets):
            return box
        low, high = self.bound(number, targets)
        lo, hi = box.lo.reshape(len(loose), -1).copy(), box.hi.reshape(len(loose), -1).copy()
        lo[:, targets], hi[:, targets] = np.maximum(lo[:, targets], low), np.minimum(hi[:, targets], high)
        crossed = lo > hi  # by the walk's own rounding, at most
        lo, hi = np.where(crossed, box.lo.reshape(lo.shape), lo), np.where(crossed, box.hi.reshape(hi.shape), hi)
        return Ranges(lo.reshape(box.shape), hi.reshape(box.shape), box.nan, box.dtype)

    def bound(self, number: int, targets: NDArray[np.intp]) -> tuple[F64, F64]:
        """Lower and upper bounds [B, len(targets)] of the entries `targets` of a node's value in each box.

        Rows are walked in chunks that fit the budget; the budget is halved when memory runs out all the same.
        Raises   Exhausted when not even one row fits.
        """
        low, high = (np.empty((self.boxed.boxes, len(targets))) for _ in range(2))
        widest = max(int(np.prod(n.types[0].sizes)) for n in self.boxed.graph.nodes[: number + 1])
        most = max(1, self.budget // (widest * 8 * 6 * 2))
        place = np.empty(int(targets.max()) + 1 if len(targets) else 0, np.intp)
        place[targets] = np.arange(len(targets))
        left = tiles(shape_of(self.boxed.graph.nodes[number]), targets, most)[::-1]
        while left:
            chunk = left.pop()
            rows = len(chunk)
            try:
                both = self._walk(number, np.concatenate([chunk, chunk]), np.repeat([1.0, -1.0], rows))
            except (MemoryError, RuntimeError) as problem:
                if isinstance(problem, RuntimeError) and "out of memory" not in str(problem):
                    raise
                if rows == 1:
                    raise Exhausted(
                        "memory ran out",
                        where=f"bounds of {self.boxed.graph.describe(number)}",
                        expected="one row of coefficients to fit",
                        got=str(problem),
                        fix="bound fewer boxes at once",
                    ) from None
                self.budget //= 2
                left += [chunk[rows // 2 :], chunk[: rows // 2]]
                continue
            low[:, place[chunk]], high[:, place[chunk]] = both[:rows].T, -both[rows:].T
        return low, high

    def _walk(self, number: int, targets: NDArray[np.intp], signs: F64) -> F64:
        """Lower bounds [R, B] of signs[r] * (entry targets[r] of the value) over each box."""
        graph = self.boxed.graph
        shape = graph.nodes[number].types[0].sizes
        window = around(shape, targets)
        seed = one_hot(shape, targets, signs, window)
        pending: dict[int, tuple[Any, Window | None]] = {number: (self.put(seed), window)}
        offset = self.put(np.zeros((len(targets), shape[0])))
        for at in range(number, -1, -1):
            if at not in pending:
                continue
            rows, window = pending.pop(at)
            node = graph.nodes[at]
            if at == self.boxed.input:
                box = self.boxes[at][0]
                lo, hi = cut(box.lo, window, shape_of(node)), cut(box.hi, window, shape_of(node))
                least = self._least(rows, (lo + hi) / 2, (hi - lo) / 2)
                if self.boxed.balls is not None:
                    full = rows if window is None else whole(self.xp, rows, window, shape_of(node))
                    least = self._within_balls(full, least)
                offset = offset + least
                continue
            if self.errors[at] is not None:
                error = np.broadcast_to(self.errors[at], shape_of(node))
                offset = offset - self._spread(rows, cut(error, window, shape_of(node)))
            if window is not None and not self._windowed(node):
                rows, window = whole(self.xp, rows, window, shape_of(node)), None
            for value, part, where in self._back(at, node, rows, window):
                if value is None:
                    offset = offset + part
                elif value in pending:
                    pending[value] = self._sum(pending[value], (part, where), shape_of(graph.nodes[value]))
                else:
                    pending[value] = part, where
        result: F64 = _numpy(offset).astype(np.float64)
        return np.where(np.isnan(result), -np.inf, result)  # an infinite bias that no coefficient meets

    def _sum(
        self, first: tuple[Any, Window | None], second: tuple[Any, Window | None], shape: tuple[int, ...]
    ) -> tuple[Any, Window | None]:
        """Coefficients of a value that two nodes read."""
        (a, here), (b, there) = first, second
        if here is None or there is None:
            return whole(self.xp, a, here, shape) + whole(self.xp, b, there, shape), None
        both = union(here, there)
        return moved(a, here, both, self.xp) + moved(b, there, both, self.xp), both

    def _windowed(self, node: Node) -> bool:
        """Whether the node can be crossed within a window."""
        moving = self._moving(node)
        types = [self.boxed.graph.type(node.inputs[i]) for i in moving]
        if node.op in ("conv", "conv_transpose"):
            return moving == [0] and node.type.rank == 4
        if node.op == "reshape":
            return types[0].rank > 2 and types[0].shape[-2:] == node.type.shape[-2:]
        if self._nonlinear(node):
            alike = all(t.shape == node.type.shape for t in types) and len(moving) == len(node.inputs)
            return alike and ops.ALL[node.op].batch is ALIGNED
        return node.op in ACROSS and all(t.shape == node.type.shape for t in types)

    def _back(self, at: int, node: Node, rows: Any, window: Window | None) -> Any:
        """(node number, coefficients, their window) of each input, and (None, [R, B], None) for the offset."""
        inputs = [self.boxes[v.node][v.index] for v in node.inputs]
        relax = ops.ALL[node.op].rule("relax")
        types = tuple(self.boxed.graph.type(v) for v in node.inputs)
        if not isinstance(relax, Linear):
            yield from self._back_lines(at, node, rows, window, inputs, relax)
        elif self._linear_here(node, relax):
            yield from self._back_linear(at, node, rows, window, relax, inputs, types)
        elif relax.lines is not None:
            yield from self._back_lines(at, node, rows, window, inputs, relax.lines)
        elif set(self._moving(node)) <= set(relax.args) and len(node.inputs) == 2:
            yield from self._back_product(at, node, rows, inputs, types)
        else:
            raise MissingRule(
                f"{node.op} has several factors that depend on the input",
                where=self.boxed.graph.describe(at),
                expected="one perturbed factor, the others constant",
                got=f"inputs {self._moving(node)} depend on the region",
                fix="use method='interval', which has a rule for it",
            )

    def _moving(self, node: Node) -> list[int]:
        return [i for i, v in enumerate(node.inputs) if v.node in self.boxed.dependent]

    def _linear_here(self, node: Node, relax: Linear) -> bool:
        """Whether the op is linear in those of its inputs that depend on the region."""
        moving = self._moving(node)
        return set(moving) <= set(relax.args) and (relax.jointly or len(moving) < 2)

    def _nonlinear(self, node: Node) -> bool:
        relax = ops.ALL[node.op].relax
        return not (isinstance(relax, Linear) and self._linear_here(node, relax))

    def _back_linear(
        self,
        at: int,
        node: Node,
        rows: Any,
        window: Window | None,
        relax: Linear,
        inputs: list[Ranges],
        types: tuple[TensorType, ...],
    ) -> Any:
        moving = self._moving(node)
        if at not in self._constants:
            self._constants[at] = self._constant_part(node, inputs, moving, relax)
        given, shift, spread = self._constants[at]
        for i in moving:
            if window is None:
                yield node.inputs[i].node, cross(self.xp, node, types, i, rows, given), None
            else:
                yield node.inputs[i].node, *self._cross_window(node, types, i, rows, given, window)
        shape = shape_of(node)
        if shift is not None:
            yield None, self._dot(rows, self.put(cut(np.broadcast_to(shift, shape), window, shape))), None
        if spread is not None:
            yield None, -self._spread(rows, cut(np.broadcast_to(spread, shape), window, shape)), None

    def _cross_window(
        self, node: Node, types: tuple[TensorType, ...], arg: int, rows: Any, given: list[Any], window: Window
    ) -> tuple[Any, Window]:
        """`cross` of a linear node within a window."""
        xp = self.xp
        if node.op in ("conv", "conv_transpose"):
            small, sizes, reads, adds, keeps = convolved(node, types, window)
            part = cross(xp, small, sizes, arg, padded(xp, rows, adds), given)
            return cut(part, keeps, sizes[0].sizes), reads
        if node.op == "reshape":
            return xp.reshape(rows, (rows.shape[0], *types[0].sizes[:-2], *rows.shape[-2:])), window
        if node.op == "batch_norm":
            resized = types[0].with_shape((*types[0].shape[:-2], *rows.shape[-2:]))
            return cross(xp, replace(node, types=(resized,)), (resized, *types[1:]), arg, rows, given), window
        if node.op in ("mul", "div"):
            factor = cut(xp.broadcast_to(given[1 - arg], shape_of(node)), window, shape_of(node))
            return (rows * factor if node.op == "mul" else rows / factor), window
        return (-rows if node.op == "neg" or (node.op == "sub" and arg == 1) else rows), window

    def _back_product(self, at: int, node: Node, rows: Any, inputs: list[Ranges], types: tuple[TensorType, ...]) -> Any:
        """A form f that is linear in each of two varying inputs, with middles m, n and radii r, s:

            f(x, y) = f(x, n) + f(m, y) - f(m, n) + f(x - m, y - n),  |f(x - m, y - n)| <= f(r, s)

        since the forms here add products of entries. These are the planes between McCormick's two on each side.
        """
        if at not in self._constants:
            middles = [_middle(b) for b in inputs]
            radii = [(b.hi - b.lo) / 2 for b in inputs]
            self._constants[at] = [self.put(m) for m in middles], _value(node, middles), _value(node, radii)
        given, product, spread = self._constants[at]
        yield None, -self._dot(rows, self.put(product)), None
        yield None, -self._spread(rows, spread), None
        for i, v in enumerate(node.inputs):
            others = [None if j == i else g for j, g in enumerate(given)]
            yield v.node, cross(self.xp, node, types, i, rows, others), None

    def _constant_part(self, node: Node, inputs: list[Ranges], moving: list[int], relax: Linear) -> Any:
        """The constant inputs at the middle of their ranges; the value that they alone give; and by how much either may
        be off, since a computed constant is known to a range only.
        """
        fixed = [i for i in range(len(inputs)) if i not in moving]
        middle = [_middle(b) for b in inputs]
        given = [self.put(m, exact=m.dtype != np.float64) if i in fixed else None for i, m in enumerate(middle)]
        addends = [i for i in fixed if relax.jointly and i in relax.args]
        still = [np.zeros_like(m) if i in moving else m for i, m in enumerate(middle)]
        shift = _value(node, still) if addends else None
        spread: F64 | None = None
        for i in fixed:
            radius = (inputs[i].hi - inputs[i].lo) / 2 if middle[i].dtype == np.float64 else np.zeros(())
            if radius.any():
                sizes = [
                    np.zeros_like(m) if j in moving and i in addends else magnitude(inputs[j]) if j in moving else m
                    for j, m in enumerate(middle)
                ]
                sizes[i] = radius
                for j in addends:
                    sizes[j] = radius if j == i else np.zeros_like(middle[j])
                part = np.abs(_value(node, sizes))
                spread = part if spread is None else spread + part
        return given, shift, spread

    def _back_lines(
        self, at: int, node: Node, rows: Any, window: Window | None, inputs: list[Ranges], relax: Relax
    ) -> Any:
        xp = self.xp
        if at not in self._lines:
            ends = tuple((self.put(b.lo), self.put(b.hi)) for b in inputs)
            found = relax(xp, ends, self.slopes.get(at), **node.attributes)
            self._lines[at] = found, bool(xp.any(found.lower_bias != 0)), bool(xp.any(found.upper_bias != 0))
        lines, lifted_below, lifted_above = self._lines[at]
        above = xp.clip(rows, 0.0, None) if lifted_below or lines.mixes is not None else None
        below = xp.clip(rows, None, 0.0) if lifted_above or lines.mixes is not None else None
        shape = shape_of(node)
        if lifted_below:
            yield None, self._dot(above, cut(lines.lower_bias, window, shape)), None
        if lifted_above:
            yield None, self._dot(below, cut(lines.upper_bias, window, shape)), None
        for v, lower, upper in zip(node.inputs, lines.lower, lines.upper, strict=False):
            if lower is None:  # a condition
                continue
            if lines.mixes is not None:
                part = self._mixed_back(above, lower, lines.mixes) + self._mixed_back(below, upper, lines.mixes)
            else:
                wide = self._repeated(rows, lower, node)
                part = wide * xp.where(wide > 0, cut(lower, window, shape), cut(upper, window, shape))
            if window is None:
                part = self._reduced(part, self.boxed.graph.type(v).sizes)
            yield v.node, part, window

    def _repeated(self, rows: Any, slope: Any, node: Node) -> Any:
        """The rows of a reduction, with 1 for the axes that it took away."""
        if node.op not in ("max", "min"):
            return rows
        rank = len(slope.shape)
        kept = tuple(1 if i - rank in node.attributes["axes"] else n for i, n in enumerate(slope.shape))  # type: ignore[operator]
        return self.xp.reshape(rows, (rows.shape[0], *kept))

    def _mixed_back(self, rows: Any, slope: Any, axis: int) -> Any:
        """Rows [R, *s] times slopes [*s, n]: each result's coefficient to the n entries along the axis.

        As products of matrices [R, n] [n, n], one for each place beside the axis.
        """
        xp = self.xp
        moved, matrix = xp.moveaxis(xp.moveaxis(rows, axis, -1), 0, -2), xp.moveaxis(slope, axis - 1, -2)
        return xp.moveaxis(xp.moveaxis(moved @ matrix, -2, 0), -1, axis)

    def _reduced(self, part: Any, shape: tuple[int, ...]) -> Any:
        """Sum the coefficients over axes along which the input was broadcast."""
        extra = len(part.shape) - 1 - len(shape)
        if extra:
            part = self.xp.sum(part, axis=tuple(range(1, 1 + extra)))
        ones = tuple(i + 1 for i, n in enumerate(shape) if n == 1 and part.shape[i + 1] != 1)
        return self.xp.sum(part, axis=ones, keepdims=True) if ones else part

    def _least(self, rows: Any, middle: F64, radius: F64) -> Any:
        """[R, B]: the least of rows . x over x in middle +- radius."""
        return self._dot(rows, self.put(middle)) - self._spread(rows, radius)

    def _within_balls(self, rows: Any, least: Any) -> Any:
        """The larger of the bounds by the boxes and by the balls in them."""
        assert self.boxed.balls is not None
        flat = _numpy(rows).astype(np.float64).reshape(*rows.shape[:2], -1)
        return self.xp.maximum(least, self.put(self.boxed.balls.least(flat)))

    def _spread(self, rows: Any, radius: F64) -> Any:
        return self._dot(self.xp.abs(rows), self.put(np.ascontiguousarray(radius)))

    def _dot(self, rows: Any, values: Any) -> Any:
        """[R, B]: the sum of rows * values, which broadcast to [B, *shape], over all axes but the rows and the boxes.

        A product of matrices for each box: nothing of the size of the rows is made.
        """
        xp, shape = self.xp, rows.shape
        values = xp.broadcast_to(values, shape[1:])
        flat, columns = xp.reshape(rows, (*shape[:2], -1)), xp.reshape(values, (shape[1], -1))
        if shape[1] == 1:
            return flat[:, 0, :] @ columns[0][:, None]
        return (xp.permute_dims(flat, (1, 0, 2)) @ columns[..., None])[..., 0].T


def _middle(box: Ranges) -> np.ndarray:
    """A constant's value: exact for integers and bools, the middle of the range for floats."""
    return (box.lo + box.hi) / 2 if box.lo.dtype == np.float64 else box.lo


def shape_of(node: Node) -> tuple[int, ...]:
    """The sizes of a node's first output."""
    return node.types[0].sizes


def _value(node: Node, arrays: list[F64]) -> F64:
    from array_api_compat import numpy as namespace

    found: F64 = ops.ALL[node.op].rule("lower")(namespace, *arrays, **node.attributes)
    return found


def _numpy(x: Any) -> np.ndarray:
    array: np.ndarray = x if isinstance(x, np.ndarray) else x.detach().cpu().numpy()
    return array
