"""Branch and bound over inputs with the checker's kernel itself: for leaves that the float32 search closed too early,
and for
networks that are no dense stack. Slow and certain: what it closes, the checker closes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.verify.problem import Budget, Problem, Stuck
from torchlean.verify.search import FLOOR

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]
EACH = tc.DERIVE | tc.EXAMINE
SMALLEST = 2.0**-44  # relative width below which a box is not split again
PROBE = 48  # batches between looks at what keeps the narrowest box open


def search_with_kernel(problem: Problem, builder: tc.TreeBuilder, nodes: Ints, state: tc.State) -> int:
    """Split below `nodes` until every leaf closes; returns how many boxes that took.

    Raises   Found, Stuck, Budget, OutOfTime
    """
    return some_with_kernel(problem, builder, nodes, state, None)[0]


def some_with_kernel(
    problem: Problem, builder: tc.TreeBuilder, nodes: Ints, state: tc.State, most: int | None
) -> tuple[int, list[tuple[Ints, tc.State]]]:
    """The same, but it stops when `most` boxes are bounded, and returns the nodes that are still open."""
    kernel, slack = problem.kernel, problem.slack()
    waiting = [(nodes, state)]
    boxes = batches = 0
    while waiting and (most is None or boxes < most):
        problem.deadline.check()
        nodes, state = waiting.pop()
        if len(nodes) > kernel.chunk:
            cut = np.arange(len(nodes)) < len(nodes) - kernel.chunk
            waiting.append((nodes[cut], state.take(np.flatnonzero(cut))))
            nodes, state = nodes[~cut], state.take(np.flatnonzero(~cut))
        memory = problem.deadline.memory
        bounds = memory.attempt(lambda state=state: kernel.bound(state, derive=True), len(nodes))  # type: ignore[misc]
        if bounds is None:
            kernel.chunk = len(nodes) // 2
            waiting.append((nodes, state))
            continue
        boxes += len(nodes)
        builder.flag(nodes, tc.DERIVE)
        closed = kernel.refuted(state, bounds.margin, slack).all(axis=1)
        left = np.flatnonzero(~closed)
        if not left.size:
            continue
        clipped = kernel.clip(state, bounds)
        left = left[clipped.open[left].any(axis=1)]
        gone = np.flatnonzero(~closed & ~clipped.open.any(axis=1))
        if gone.size:
            builder.flag(nodes[gone], EACH)
        if not left.size:
            continue
        part, margin, form = clipped.take(left), bounds.margin[left], bounds.form[left]
        axis, points = aim(part, margin, form, problem.region.row_clause)
        points = problem.target.clip(points)
        met = (problem.target.worst(problem.target.rows(points)) <= 0).any(axis=1)
        if met.any():
            problem.try_points(points[met])
        width = (part.hi - part.lo)[np.arange(len(left)), axis]
        size = np.maximum(np.abs(part.hi), np.abs(part.lo))[np.arange(len(left)), axis]
        points_left = np.flatnonzero(~(width > SMALLEST * size))
        batches += 1
        if points_left.size or batches % PROBE == 0:
            probe = points_left[0] if points_left.size else (part.hi - part.lo).sum(axis=1).argmin()
            settle(problem, part.lo[probe], part.hi[probe], final=bool(points_left.size))
        low, high = builder.split(nodes[left], axis, None, EACH)
        below, above = kernel.split(part, axis)
        order = np.argsort(-margin.max(axis=1), kind="stable")
        both = np.stack([order, order + len(left)], axis=1).ravel()
        waiting.append((np.concatenate([low, high])[both], tc.State.join([below, above]).take(both)))
    return boxes, waiting


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
        and not _closed(problem.kernel, middle, middle)
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


def aim(state: tc.State, margin: F64, form: F64, row_clause: Ints) -> tuple[Ints, F64]:
    """The coordinate to split, and the corner where the best inequality of the worst clause is least.

    The score is the influence of the best inequality of each open clause, with a floor, times the width.
    Shapes   -> [B], [B, n]
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
    score = np.maximum(weight, FLOOR * weight.max(axis=1, keepdims=True)) * width
    score = np.where(score.max(axis=1, keepdims=True) > 0, score, width)
    return score.argmax(axis=1), np.where(form[every, worst] > 0, state.lo, state.hi)
