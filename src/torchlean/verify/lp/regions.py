"""A region of few inputs decided by splitting them, with a linear program where the kernel's bound nearly suffices.

A linear program costs as much as hundreds of the kernel's boxes, so it is asked only where the deficit is one that it
has made up for before.
"""

from __future__ import annotations

from statistics import median

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.verify.boxes import EACH, SMALLEST, aim, settle
from torchlean.verify.lp.highs import INF
from torchlean.verify.lp.integer import try_point
from torchlean.verify.lp.multipliers import refuted
from torchlean.verify.lp.triangle import Triangle
from torchlean.verify.outcome import Proof, Stuck
from torchlean.verify.problem import Problem

F64 = NDArray[np.float64]
TRIES = 6  # linear programs before their gain is known
RECENT = 40  # gains that are remembered
BATCH = 64  # boxes that the kernel bounds at once


def prove_by_inputs(problem: Problem) -> Proof:
    """Raises Found, Stuck, Budget, OutOfTime, Unsupported."""
    return _Search(problem).run()


class _Search:
    def __init__(self, problem: Problem) -> None:
        self.problem, self.kernel, self.builder = problem, problem.kernel, tc.TreeBuilder()
        self.slack = problem.slack()
        self.target = 4 * float(self.slack.max())
        self.gains: list[float] = []
        self.boxes = 0

    def run(self) -> Proof:
        waiting = [(np.zeros(1, np.int64), self.kernel.start())]
        while waiting:
            self.problem.deadline.check()
            nodes, state = waiting.pop()
            if len(nodes) > BATCH:
                waiting.append((nodes[:-BATCH], state.take(np.arange(len(nodes) - BATCH))))
                nodes, state = nodes[-BATCH:], state.take(np.arange(len(nodes) - BATCH, len(nodes)))
            waiting += self._visit(nodes, state)
        tree, _ = self.builder.build()
        problem = self.problem
        outcome = tc.replay(self.kernel, tree, tables=tuple(problem.files.tables), workers=problem.workers,
                            deadline=problem.deadline.end)  # fmt: skip
        problem.deadline.check()
        if outcome.failed is not None or len(outcome.holes):
            raise Stuck("the proof's replay does not agree with the search")
        return Proof(tree, outcome.leaves, self.boxes)

    def _visit(self, nodes: NDArray[np.int64], state: tc.State) -> list[tuple[NDArray[np.int64], tc.State]]:
        """Bound a batch of boxes; returns the halves of those that stay open, the nearest to closed last."""
        self.boxes += len(nodes)
        inherited = state.take(np.arange(len(nodes)))
        bounds = self.kernel.bound(state, derive=True)
        closed = self.kernel.refuted(state, bounds.margin, self.slack).all(axis=1)
        self.builder.flag(nodes[closed], tc.DERIVE)
        clipped = self.kernel.clip(state, bounds)
        gone = ~closed & ~clipped.open.any(axis=1)
        self.builder.flag(nodes[gone], EACH)
        left = np.flatnonzero(~closed & ~gone)
        left = np.array([i for i in left.tolist() if not self._close(int(nodes[i]), inherited.take([i]),
                                                                      bounds.margin[i])], np.int64)  # fmt: skip
        if not len(left):
            return []
        part, margin = clipped.take(left), bounds.margin[left]
        axis, points = aim(part, margin, bounds.form[left], self.problem.region.row_clause)
        points = self.problem.target.clip(points)
        met = (self.problem.target.worst(self.problem.target.rows(points)) <= 0).any(axis=1)
        if met.any():
            self.problem.try_points(points[met])
        width = (part.hi - part.lo)[np.arange(len(left)), axis]
        size = np.maximum(np.abs(part.hi), np.abs(part.lo))[np.arange(len(left)), axis]
        narrow = np.flatnonzero(~(width > SMALLEST * size))
        if len(narrow):
            settle(self.problem, part.lo[narrow[0]], part.hi[narrow[0]], final=True)
        low, high = self.builder.split(nodes[left], axis, None, EACH)
        below, above = self.kernel.split(part, axis)
        order = np.argsort(margin.max(axis=1), kind="stable")
        both = np.stack([order, order + len(left)], axis=1).ravel()
        return [(np.concatenate([low, high])[both], tc.State.join([below, above]).take(both))]

    def _close(self, node: int, state: tc.State, margin: F64) -> bool:
        """Whether linear programs refute every open clause of a box; their record then stands at its node.

        state   one row, as the node inherits it
        """
        rows = self.problem.region.row_clause
        clauses = np.flatnonzero(state.open[0]).tolist()
        best = {c: float(margin[rows == c].max()) for c in clauses}
        most = 1.5 * median(self.gains) if len(self.gains) >= TRIES else INF
        if -min(best.values()) > most:
            return False
        derivations = tuple(tc.Derivation(value) for value in sorted(self.kernel.network.relu_inputs))
        for d in derivations:
            self.kernel.derive_at(state, d.value)
        if state.empty[0]:
            return False
        boxes = {k: (lo[0], hi[0]) for k, (lo, hi) in state.boxes.items()}
        triangle = Triangle(self.kernel, boxes, state.lo[0], state.hi[0])
        side = np.zeros(len(triangle.neurons))
        refutations, opened = [], len(self.problem.files.tables)
        for clause in sorted(clauses, key=lambda c: best[c]):
            solved = triangle.clause(clause, side, self.problem.deadline.left)
            self.problem.deadline.check()
            refutation = None
            if solved is not None and solved.value > self.target:
                refutation = refuted(self.problem, triangle, clause, solved, state)
            if solved is not None and solved.value < INF:
                self.gains = [*self.gains[-RECENT:], solved.value - best[clause]]
            if refutation is None:
                if solved is not None and solved.value < INF:
                    try_point(self.problem, solved.columns[: self.problem.network.inputs], clause)
                del self.problem.files.tables[opened:]
                return False
            refutations.append(refutation)
        self.builder.record(node, tc.Record(derivations, tuple(refutations)))
        return True
