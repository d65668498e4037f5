"""Branch and bound over inputs with the checker's kernel: what it closes, the checker closes, so nothing is replayed.

Last in, first out, many boxes at once; a box's bounds start from its parent's.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.verify.outcome import Budget, Stuck
from torchlean.verify.problem import Problem
from torchlean.verify.smear import smear

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]
EACH = tc.DERIVE | tc.EXAMINE
SMALLEST = 2.0**-44  # relative width below which a box is not split again
FLOOR = 0.05  # a coordinate without influence still counts this share of the largest, so that it is split at last
FEW_BOXES = 8  # at a time, of a sparse network: each has thousands of neurons to bound
PROBE = 48  # batches between looks at what keeps the narrowest box open


class Recorder(Protocol):
    """Where splits are written down: the certificate's tree builder, or a log for it."""

    def split(self, nodes: Ints, axis: Ints, at: F64 | None = None, flags: int = 0) -> tuple[Ints, Ints]: ...

    def flag(self, nodes: Ints, flags: int) -> None: ...


class Search:
    """The open boxes of one region, as fronts: tree nodes and their states.

    boxes    how many were bounded      points   [P, n] of the last batch: where its open boxes look worst
    """

    def __init__(self, problem: Problem, recorder: Recorder, nodes: Ints, state: tc.State) -> None:
        self.problem, self.recorder = problem, recorder
        self.waiting = [tc.Front(nodes, state)]
        self.boxes = self.batches = 0
        self.points: F64 = np.zeros((0, problem.network.inputs))
        self._slack = problem.slack()
        self.chunk = min(problem.kernel.chunk, FEW_BOXES) if problem.sparse else problem.kernel.chunk

    @property
    def size(self) -> int:
        return sum(len(front.nodes) for front in self.waiting)

    def step(self) -> None:
        """Bound the topmost boxes; close, shrink or split them. Raises Stuck, Budget, Found."""
        kernel, region, recorder = self.problem.kernel, self.problem.region, self.recorder
        front = self._pop(self.chunk)
        nodes, state = front.nodes, front.state
        self.points = self.points[:0]
        memory = self.problem.deadline.memory
        bounds = memory.attempt(lambda: kernel.bound(state, derive=True), len(nodes))
        if bounds is None:
            self.chunk = len(nodes) // 2
            self.push(nodes, state)
            return
        self.boxes += len(nodes)
        self.batches += 1
        recorder.flag(nodes, tc.DERIVE)
        left = np.flatnonzero(~kernel.refuted(state, bounds.margin, self._slack).all(axis=1))
        if not left.size:
            return
        state, bounds = state.take(left), _some(bounds, left)
        clipped = kernel.clip(state, bounds)
        some = clipped.open.any(axis=1)
        recorder.flag(nodes[left[~some]], EACH)
        at = np.flatnonzero(some)
        if not at.size:
            return
        part, margin, form, nodes = clipped.take(at), bounds.margin[at], bounds.form[at], nodes[left[at]]
        axis, self.points = aim(part, margin, form, region.row_clause, smear(kernel, part))
        self._probe(part, axis)
        low, high = recorder.split(nodes, axis, None, EACH)
        order = np.argsort(-margin.max(axis=1), kind="stable")  # the least margin on top
        both = np.stack([order, order + len(nodes)], axis=1).ravel()
        self.push(np.concatenate([low, high])[both], tc.State.join(kernel.split(part, axis)).take(both))

    def push(self, nodes: Ints, state: tc.State) -> None:
        if len(nodes):
            self.waiting.append(tc.Front(nodes, state))

    def take_all(self) -> tuple[Ints, tc.State]:
        """Every open box; none is left."""
        front = self._pop(self.size)
        return front.nodes, front.state

    def _pop(self, count: int) -> tc.Front:
        """The topmost boxes."""
        found = [self.waiting.pop()]
        while self.waiting and sum(len(f.nodes) for f in found) < count:
            found.append(self.waiting.pop())
        nodes, state = np.concatenate([f.nodes for f in found]), tc.State.join([f.state for f in found])
        more = len(nodes) - count
        if more > 0:  # of the lowest front that was taken
            first = len(nodes) - len(found[-1].nodes)
            self.push(nodes[first : first + more], state.take(np.arange(first, first + more)))
            kept = np.delete(np.arange(len(nodes)), np.arange(first, first + more))
            nodes, state = nodes[kept], state.take(kept)
        return tc.Front(nodes, state)

    def _probe(self, part: tc.State, axis: Ints) -> None:
        """Now and then, and where a box is hardly more than a point: what keeps it open."""
        every = np.arange(len(part))
        width = (part.hi - part.lo)[every, axis]
        size = np.maximum(np.abs(part.hi), np.abs(part.lo))[every, axis]
        points = np.flatnonzero(~(width > SMALLEST * size))
        if points.size or self.batches % PROBE == 0:
            probe = points[0] if points.size else (part.hi - part.lo).sum(axis=1).argmin()
            settle(self.problem, part.lo[probe], part.hi[probe], final=bool(points.size))


def _some(bounds: tc.Bounds, rows: Ints) -> tc.Bounds:
    return tc.Bounds(bounds.margin[rows], bounds.refuted[rows], bounds.form[rows], bounds.offset[rows])


def search_with_kernel(problem: Problem, builder: tc.TreeBuilder, nodes: Ints, state: tc.State) -> int:
    """Split below `nodes` until every leaf closes; returns how many boxes that took.

    Raises   Found, Stuck, Budget, OutOfTime
    """
    search = Search(problem, builder, nodes, state)
    while search.waiting:
        problem.deadline.check()
        search.step()
        look_at(problem, search.points)
    return search.boxes


def look_at(problem: Problem, points: F64) -> None:
    """Evaluate points of a search. Raises Found, Budget."""
    if len(points):
        points = problem.target.clip(points)
        g = problem.target.worst(problem.target.rows(points)).min(axis=1)
        if (g <= 0).any():
            problem.try_points(points[g <= 0])
        ask_rounding(problem, points[g.argmin()], float(g.min()))


def ask_rounding(problem: Problem, point: F64, g: float) -> None:
    """Whether rounding alone keeps a point open that misses a clause by g: then no box that holds it closes.

    A point is asked about where it is half as near as the last one.   Raises Found, Budget
    """
    if problem.semantics == "float32" and 0 < g < 0.5 * problem.asked:
        problem.asked = g
        settle(problem, point, point, final=False)


def settle(problem: Problem, lo: F64, hi: F64, final: bool) -> bool:
    """Why a box stays open: whether the kernel closes it after all.

    Raises   Found; Budget where it is closed over the reals and not even its middle point is for float32; Stuck where
             it is not closed and `final`
    """
    if _closed(problem.kernel, lo, hi):
        return True
    middle = 0.5 * (lo + hi)
    if (
        problem.semantics == "float32"
        and _closed(problem.real_kernel, lo, hi)
        and ((lo == hi).all() or not _closed(problem.kernel, middle, middle))
    ):
        ends = problem.target.clip(np.stack([middle, lo, hi]))
        problem.try_points(ends, most=3)  # rounding may do more than stand against a proof
        raise Budget
    if final:
        raise Stuck("a box as narrow as a point stays open, and no point of it is a witness")
    return False


def _closed(kernel: tc.Kernel, lo: F64, hi: F64) -> bool:
    state = kernel.start()
    state.lo[0], state.hi[0] = lo, hi
    return bool(kernel.bound(state, derive=True).refuted.all())


def aim(state: tc.State, margin: F64, form: F64, row_clause: Ints, smeared: F64 | None = None) -> tuple[Ints, F64]:
    """The coordinate to split, and the corner where the best inequality of the worst clause is least.

    The score is the influence of the best inequality of each open clause, its share added to that of `smeared`, with a
    floor, times the width.
    Shapes   smeared: [B, n] -> [B], [B, n]
    """
    every = np.arange(len(state))
    width = state.hi - state.lo
    weight = np.zeros(width.shape)
    worst, worst_margin = np.zeros(len(state), np.intp), np.full(len(state), np.inf)
    for c in range(state.open.shape[1]):
        rows = np.flatnonzero(row_clause == c)
        best = rows[margin[:, rows].argmax(axis=1)]
        is_open = state.open[:, c]
        weight = np.where(is_open[:, None], np.maximum(weight, np.abs(form[every, best])), weight)
        closer = is_open & (margin[every, best] < worst_margin)
        worst, worst_margin = np.where(closer, best, worst), np.where(closer, margin[every, best], worst_margin)
    if smeared is not None:
        weight = _share(weight, width) + _share(smeared, width)
    score = np.maximum(weight, FLOOR * weight.max(axis=1, keepdims=True)) * width
    score = np.where(score.max(axis=1, keepdims=True) > 0, score, width)
    return score.argmax(axis=1), np.where(form[every, worst] > 0, state.lo, state.hi)


def _share(weight: F64, width: F64) -> F64:
    """Weights whose products with the widths sum to 1, or all 0."""
    return weight / np.maximum((weight * width).sum(axis=1, keepdims=True), 2.0**-900)
