"""A region decided by splitting relus: for inputs of high dimension.

The root is bounded once by the kernel; below it the boxes of values change only where a split says so. Each node
optimises slopes and split multipliers for its open clauses; what looks refuted is refuted by the kernel with the same
numbers, and only that counts. Splits go where a chord costs most (Bunel et al. 2020, arXiv:1909.06588).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.verify.attack import attack, descend
from torchlean.verify.boxes import search_with_kernel
from torchlean.verify.clock import Deadline
from torchlean.verify.dual import Best, Dual, Layers, Problems
from torchlean.verify.lower import TooLarge, lower_with_origins
from torchlean.verify.problem import Budget, Problem, Proof, Stuck
from torchlean.verify.refine import refine
from torchlean.verify.tables import slope_table

F64 = NDArray[np.float64]

STEPS_ROOT, STEPS = 60, 16
BATCH = 12_000  # relus of all nodes that are bounded together, in at most 128 nodes


@dataclass
class Node:
    """A tree node, its kernel state, and the slopes and multipliers that each open clause starts from."""

    number: int
    state: tc.State
    side: Layers
    start: dict[int, tuple[Layers, Layers]]
    depth: int


def prove_by_neurons(problem: Problem) -> Proof:
    """Raises Found, Stuck, OutOfTime."""
    kernel, builder = problem.kernel, tc.TreeBuilder()
    state = kernel.start()
    bounds = kernel.bound(state, derive=True)
    slack = problem.slack()
    problem.deadline.check()
    builder.flag(0, tc.DERIVE)
    if kernel.refuted(state, bounds.margin, slack).all():
        return Proof(builder.build()[0], 1, 1)
    share = Deadline(max(0.01, min(10.0, 0.15 * problem.deadline.left)))
    problem.try_points(attack(problem.target, problem.rng, 64, 300, 50, share))
    try:
        search = _Search(problem, builder)
    except TooLarge:
        if len(problem.varying) > 64:
            raise Stuck(
                "the network is too large for the neuron search, and one pass of bounds does not decide"
            ) from None
        boxes = search_with_kernel(problem, builder, np.zeros(1, np.int64), kernel.start())
        return Proof(builder.build()[0], len(builder.leaves()), boxes)
    return search.run(state)


class _Search:
    def __init__(self, problem: Problem, builder: tc.TreeBuilder) -> None:
        self.problem, self.builder = problem, builder
        stack, self.origins = lower_with_origins(problem.network, problem.region, problem.semantics)
        kernel, region = problem.kernel, problem.region
        self.stack = stack
        root = kernel.start()
        lo, hi = self._boxes(root)
        largest = [
            np.where(layer.gate, np.maximum(high, 0), np.maximum(np.abs(low), np.abs(high)))
            for layer, low, high in zip(stack.layers, lo, hi, strict=True)
        ]
        self.largest = largest
        self.dual = Dual(stack, region.lo, region.hi, largest, np.maximum(np.abs(region.lo), np.abs(region.hi)))
        self.clause_rows = [np.flatnonzero(region.row_clause == c) for c in range(len(region.clauses))]
        self.tables = problem.files.tables
        self.leaves = self.nodes = 0

    def _boxes(self, state: tc.State) -> tuple[Layers, Layers]:
        """The boxes of every layer's z in one state; linear entries by their relu inputs. Shapes: [n_k] each"""
        sides: tuple[Layers, Layers] = ([], [])
        for layer, (value, index) in zip(self.stack.layers, self.origins, strict=True):
            for which, out in enumerate(sides):
                z = np.zeros(len(layer.bias))
                for v in np.unique(value):
                    z[: len(value)][value == v] = state.boxes[int(v)][which][0, index[value == v]]
                out.append(z)
        for k, layer in enumerate(self.stack.layers):
            if layer.gate.all():
                continue
            region = self.problem.region
            low, high = (region.lo, region.hi) if k == 0 else self._after(k - 1, sides[0][k - 1], sides[1][k - 1])
            through = ~layer.gate
            weight = layer.weight[through].astype(np.float64)
            plus, minus = np.maximum(weight, 0), np.minimum(weight, 0)
            sides[0][k][through], sides[1][k][through] = plus @ low + minus @ high, plus @ high + minus @ low
        return sides

    def _after(self, k: int, lo: F64, hi: F64) -> tuple[F64, F64]:
        gate = self.stack.layers[k].gate
        return np.where(gate, np.maximum(lo, 0), lo), np.where(gate, np.maximum(hi, 0), hi)

    def run(self, state: tc.State) -> Proof:
        """The tree below the root, which is tried with slopes for the clauses alone before hidden ones get theirs."""
        zeros = [np.zeros(n) for n in self.stack.sizes]
        first = Node(0, state, zeros, {}, 0)
        waiting: list[Node] = []
        best, items, refuted = self._close([first])
        derivations: tuple[tc.Derivation, ...] = ()
        if state.open.any():
            derivations = refine(self.problem.kernel, state, self.stack, self.origins, self._boxes, self.largest,
                                 self.tables, self.problem.deadline)  # fmt: skip
            best, items, more = self._close([first])
            # a clause that was refuted before the derivations is refuted again by the same numbers after them
            refuted[0] += more[0]
        if derivations or refuted[0]:
            self.builder.record(0, tc.Record(derivations, tuple(refuted[0])))
        if state.open.any():
            waiting = self._split(first, best, [(j, c) for j, (_, c) in enumerate(items) if state.open[0, c]])
        else:
            self.leaves += 1
        size = max(1, min(128, BATCH // sum(self.stack.sizes)))
        while waiting:
            self.problem.deadline.check()
            batch, waiting = waiting[-size:], waiting[:-size]
            waiting += self._visit(batch)
        tree, _ = self.builder.build()
        # Each leaf was refuted by the kernel when it was found; the whole tree is replayed as the checker will.
        outcome = tc.replay(self.problem.kernel, tree, tables=tuple(self.tables), deadline=self.problem.deadline.end)
        self.problem.deadline.check()
        if outcome.failed is not None or len(outcome.holes):
            raise Stuck("the proof's replay does not agree with the search")
        return Proof(tree, outcome.leaves, self.nodes)

    def _visit(self, batch: list[Node]) -> list[Node]:
        """Bound a batch of nodes; returns the children of those that stay open."""
        best, items, records = self._close(batch)
        children = []
        for i, node in enumerate(batch):
            if records[i]:
                self.builder.record(node.number, tc.Record((), tuple(records[i])))
            mine = [(j, clause) for j, (k, clause) in enumerate(items) if k == i and node.state.open[0, clause]]
            if not mine or node.state.empty[0]:
                self.leaves += 1
                continue
            children += self._split(node, best, mine)
        return children

    def _close(self, batch: list[Node]) -> tuple[Best, list[tuple[int, int]], list[list[tc.Refutation]]]:
        """Bound the open clauses of each node and refute what can be: (bounds, (node, clause) of each, refutations)."""
        self.nodes += len(batch)
        items = [(i, int(c)) for i, node in enumerate(batch) for c in np.flatnonzero(node.state.open[0])]
        best = self._bound(batch, items)
        self._candidates(best, items)
        records: list[list[tc.Refutation]] = [[] for _ in batch]
        for j, (i, clause) in enumerate(items):
            if best.value[j] > 0:
                found = self._refute(batch[i], clause, best, j)
                if found is not None:
                    records[i].append(found)
                    batch[i].state.open[0, clause] = False
        return best, items, records

    def _bound(self, batch: list[Node], items: list[tuple[int, int]]) -> Best:
        boxes = [self._boxes(node.state) for node in batch]
        who = np.array([i for i, _ in items])
        lo = [np.stack([b[0][k] for b in boxes])[who] for k in range(len(self.stack.layers))]
        hi = [np.stack([b[1][k] for b in boxes])[who] for k in range(len(self.stack.layers))]
        side = [np.stack([node.side[k] for node in batch])[who] for k in range(len(self.stack.layers))]
        alpha = [np.where(high > -low, 1.0, 0.0) for low, high in zip(lo, hi, strict=True)]
        beta = [np.zeros_like(s) for s in side]
        for j, (i, clause) in enumerate(items):
            if clause in batch[i].start:
                for into, old in zip(
                    (*alpha, *beta), (*batch[i].start[clause][0], *batch[i].start[clause][1]), strict=True
                ):
                    into[j] = old
        row = np.array([self.clause_rows[c][0] for _, c in items])
        if any(len(rows) > 1 for rows in self.clause_rows):
            row = self._best_rows(items, lo, hi, side, alpha, beta, row)
        steps = STEPS_ROOT if batch[0].depth == 0 else STEPS
        return self.dual.maximise(Problems(lo, hi, side, row, alpha, beta), steps, target=self._target())

    def _best_rows(
        self,
        items: list[tuple[int, int]],
        lo: Layers,
        hi: Layers,
        side: Layers,
        alpha: Layers,
        beta: Layers,
        row: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """Of each clause's inequalities, the one whose bound is best before any optimisation."""
        most = np.full(len(items), -np.inf)
        chosen = row.copy()
        for position in range(max(len(rows) for rows in self.clause_rows)):
            tried = np.array([self.clause_rows[c][min(position, len(self.clause_rows[c]) - 1)] for _, c in items])
            value = self.dual.maximise(Problems(lo, hi, side, tried, alpha, beta), 0).value
            chosen = np.where(value > most, tried, chosen)
            most = np.maximum(most, value)
        return chosen

    def _target(self) -> float:
        return float(self.problem.slack().max()) * 4

    def _candidates(self, best: Best, items: list[tuple[int, int]]) -> None:
        """Look at the minimisers of the least bounds, after a short descent. Raises Found."""
        worst = np.argsort(best.value, kind="stable")[:8]
        clause = np.array([items[j][1] for j in worst])
        target = self.problem.target
        points, g = descend(target, target.clip(best.point[worst]), clause, 5, self.problem.deadline, size=0.1)
        if (g <= 0).any():
            self.problem.try_points(points[np.argsort(g)])

    def _refute(self, node: Node, clause: int, best: Best, j: int) -> tc.Refutation | None:
        """The kernel's own refutation with the optimised numbers, or None."""
        multipliers = []
        for k, (value, index) in enumerate(self.origins):
            count = len(value)
            for n in np.flatnonzero((best.beta[k][j][:count] > 0) & (node.side[k][:count] != 0)).tolist():
                multipliers.append((int(value[n]), int(index[n]), int(node.side[k][n]), float(best.beta[k][j][n])))
        table = slope_table(self.problem.network, self.origins, [a[j] for a in best.alpha])
        splits = [(v, i, s, 0.0, m) for v, i, s, m in multipliers]
        if not self.problem.kernel.refute(node.state, clause, (), table.floats(), splits):
            return None
        self.tables.append(table)
        return tc.Refutation(clause, (), len(self.tables) - 1, tuple(multipliers))

    def _split(self, node: Node, best: Best, open_: list[tuple[int, int]]) -> list[Node]:
        """Split on the neuron whose chord costs most in the clause that is furthest from refuted."""
        worst = min(open_, key=lambda pair: best.value[pair[0]])[0]
        scores = [np.where(node.side[k] == 0, best.fall[k][worst], 0) for k in range(len(self.stack.layers))]
        k = int(np.argmax([s.max() for s in scores]))
        n = int(scores[k].argmax())
        if not scores[k][n] > 0:
            if self.problem.semantics == "float32":
                raise Budget
            raise Stuck("every relu is decided, and the bound still does not close")
        value, index = int(self.origins[k][0][n]), int(self.origins[k][1][n])
        numbers = self.builder.split_value(node.number, value, index, 0.0)
        states = self.problem.kernel.split_value(node.state, value, index, 0.0)
        start = {c: ([a[j] for a in best.alpha], [b[j] for b in best.beta]) for j, c in open_}
        children = []
        for number, state, sign in zip(numbers, states, (-1.0, 1.0), strict=True):
            side = [s.copy() if i == k else s for i, s in enumerate(node.side)]
            side[k][n] = sign
            children.append(Node(int(number[0]), state, side, start, node.depth + 1))
        return children
