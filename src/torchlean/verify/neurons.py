"""A region decided by splitting relus: for inputs of high dimension.

The root is bounded by the kernel; below it the boxes of values change only where a split says so. Each node optimises
slopes and split multipliers for its open clauses, many nodes in one batch; what looks refuted is refuted by the kernel
with the same numbers, and only that counts.

Source   Bunel et al. 2020, arXiv:1909.06588 (the cost of a chord as a score); De Palma et al. 2021, arXiv:2104.06718
         (the best few are tried on both sides before one is taken)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.verify.attack import attack, descend
from torchlean.verify.boxes import search_with_kernel
from torchlean.verify.dual import Best, Boxes, Dual, Forms, Neurons
from torchlean.verify.maps import Engine
from torchlean.verify.problem import Budget, Problem, Proof, Stuck
from torchlean.verify.refine import refine
from torchlean.verify.tables import slope_table

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]
Ints = NDArray[np.int64]

STEPS_ROOT, STEPS, STEPS_LAST = 60, 16, 300
CANDIDATES = 6  # neurons that are tried on both sides
FEW = 64  # inputs up to which a network without unstable neurons is searched over its inputs


@dataclass(frozen=True, eq=False)
class Node:
    """An open tree node.

    side    [U] -1 where z <= 0 was split, +1 where z >= 0, else 0
    start   open clause -> slopes and multipliers to start from, [U] each, or None at the root
    """

    number: int
    side: NDArray[np.int8]
    start: dict[int, tuple[F32, F32] | None]


@dataclass(frozen=True, eq=False)
class Bounded:
    """The open clauses of a batch of nodes, one item each, and their bounds."""

    node: Ints
    clause: Ints
    row: Ints
    side: F64
    best: Best


def prove_by_neurons(problem: Problem) -> Proof:
    """Raises Found, Stuck, OutOfTime."""
    kernel, builder = problem.kernel, tc.TreeBuilder()
    state = kernel.start()
    bounds = kernel.bound(state, derive=True)
    problem.deadline.check()
    builder.flag(0, tc.DERIVE)
    if kernel.refuted(state, bounds.margin, problem.slack()).all():
        return Proof(builder.build()[0], 1, 1)
    search = _Search(problem, builder, state)
    share = problem.deadline.part(max(0.01, min(10.0, 0.15 * problem.deadline.left)))
    problem.try_points(attack(problem.target, problem.rng, 64, 300, 50, share))
    if len(search.neurons) == 0 and len(problem.varying) <= FEW:
        boxes = search_with_kernel(problem, builder, np.zeros(1, np.int64), kernel.start())
        return Proof(builder.build()[0], len(builder.leaves()), boxes)
    return search.run()


class _Search:
    """The tree of one problem. `state` is the root's; its boxes are those of every node, but for the splits."""

    def __init__(self, problem: Problem, builder: tc.TreeBuilder, state: tc.State) -> None:
        self.problem, self.builder, self.state = problem, builder, state
        self.engine = Engine(problem.network)
        region = problem.region
        self.clause_rows = [np.flatnonzero(region.row_clause == c) for c in range(len(region.clauses))]
        self.target = 4 * float(problem.slack().max())
        self.nodes = 0
        self._settle()

    def _settle(self) -> None:
        """Take the boxes of the root as they are now."""
        boxes: Boxes = {k: (lo[0], hi[0]) for k, (lo, hi) in self.state.boxes.items()}
        self.boxes, self.neurons = boxes, Neurons.of(boxes)
        self._take_maps()

    def _take_maps(self) -> None:
        self.dual = Dual(self.problem.kernel, self.boxes, self.neurons, self.engine.maps)
        self.problem.target = replace(self.problem.target, maps=self.engine.maps)

    def run(self) -> Proof:
        """The tree below the root, which is tried with slopes for the clauses alone before hidden ones get theirs."""
        first = self._first()
        found, records = self._close([first])
        derivations: tuple[tc.Derivation, ...] = ()
        refutations = records[0]
        if first.start:
            derivations = refine(self.problem, self.state, self.engine)
            self._settle()
            first = self._first()
            found, records = self._close([first])
            # a clause that was refuted before the derivations is refuted again by the same numbers after them
            refutations = [*refutations, *records[0]]
        if derivations or refutations:
            self.builder.record(0, tc.Record(derivations, tuple(refutations)))
        waiting = self._split([first], found)
        while waiting:
            self.problem.deadline.check()
            if self.engine.move(self.problem.deadline.spent):
                self._take_maps()
            memory = self.problem.deadline.memory
            size = memory.size(self.engine.batch(len(self.neurons)))
            batch = [replace(node, start=dict(node.start)) for node in waiting[-size:]]
            children = memory.attempt(lambda batch=batch: self._visit(batch), len(batch), self.builder)  # type: ignore[misc]
            if children is not None:
                waiting = waiting[:-size] + children
        tree, _ = self.builder.build()
        # Each leaf was refuted by the kernel when it was found; the whole tree is replayed as the checker will.
        tables = tuple(self.problem.files.tables)
        outcome = tc.replay(self.problem.kernel, tree, tables=tables, deadline=self.problem.deadline.end)
        self.problem.deadline.check()
        if outcome.failed is not None or len(outcome.holes):
            raise Stuck("the proof's replay does not agree with the search")
        return Proof(tree, outcome.leaves, self.nodes)

    def _first(self) -> Node:
        opens = np.flatnonzero(self.state.open[0]).tolist()
        return Node(0, np.zeros(len(self.neurons), np.int8), dict.fromkeys(opens))

    def _visit(self, batch: list[Node]) -> list[Node]:
        """Bound a batch of nodes; returns the children of those that stay open."""
        found, records = self._close(batch)
        for node, mine in zip(batch, records, strict=True):
            if mine:
                self.builder.record(node.number, tc.Record((), tuple(mine)))
        return self._split(batch, found)

    def _close(self, batch: list[Node]) -> tuple[Bounded, list[list[tc.Refutation]]]:
        """Bound the open clauses of each node, and refute what can be: those clauses leave `node.start`."""
        self.nodes += len(batch)
        found = self._bound(batch)
        value = self.dual.maps.get(found.best.value)
        self._candidates(found, value)
        records: list[list[tc.Refutation]] = [[] for _ in batch]
        closing, maps = np.flatnonzero(value > self.target), self.dual.maps
        chunk = self.problem.kernel.chunk
        for start in range(0, len(closing), chunk):
            self.problem.deadline.check()
            part = closing[start : start + chunk]
            at = maps.index(part)
            alpha, beta = np.asarray(maps.get(found.best.alpha[at])), np.asarray(maps.get(found.best.beta[at]))
            for j, refutation in zip(part.tolist(), self._refute(found, part, alpha, beta), strict=True):
                if refutation is not None:
                    node, clause = batch[found.node[j]], int(found.clause[j])
                    records[found.node[j]].append(refutation)
                    del node.start[clause]
                    if node.number == 0:
                        self.state.open[0, clause] = False
        return found, records

    def _bound(self, batch: list[Node]) -> Bounded:
        items = [(i, c) for i, node in enumerate(batch) for c in node.start]
        node, clause = (np.array(a, np.int64) for a in zip(*items, strict=True))
        side = np.stack([n.side for n in batch])[node].astype(np.float64)
        default, nothing = self.neurons.default().astype(np.float32), np.zeros(len(self.neurons), np.float32)
        starts = [batch[i].start[c] or (default, nothing) for i, c in items]
        put = self.dual.maps.put
        given = put(side), put(np.stack([a for a, _ in starts])), put(np.stack([b for _, b in starts]))
        row = np.array([self.clause_rows[c][0] for c in clause.tolist()])
        if any(len(rows) > 1 for rows in self.clause_rows):
            row = self._best_rows(clause, *given)
        steps = STEPS_ROOT if batch[0].number == 0 else STEPS
        best = self.dual.maximise(self._forms(row), *given, steps, target=self.target)
        maps = self.dual.maps
        final = np.flatnonzero(maps.get(((best.cost <= 0).all(-1)) & (best.value <= self.target)))
        if len(final):  # no split is left to gain by: only better multipliers
            i = maps.index(final)
            more = self.dual.maximise(
                self._forms(row[final]), given[0][i], best.alpha[i], best.beta[i], STEPS_LAST, target=self.target
            )
            best.value[i], best.alpha[i], best.beta[i], best.point[i] = more.value, more.alpha, more.beta, more.point
        return Bounded(node, clause, row, side, best)

    def _forms(self, row: Ints) -> Forms:
        """The inequalities' g as forms of the output."""
        region, put = self.problem.region, self.dual.maps.put
        direct = put(region.rows_x[row]) if region.rows_x.any() else None
        return Forms(self.problem.network.output, put(region.rows_y[row]), direct, put(region.rows_c[row]))

    def _best_rows(self, clause: Ints, side: object, alpha: object, beta: object) -> Ints:
        """Of each clause's inequalities, the one whose bound is best before any optimisation."""
        most = np.full(len(clause), -np.inf)
        chosen = np.zeros(len(clause), np.int64)
        for position in range(max(len(rows) for rows in self.clause_rows)):
            tried = np.array([rows[min(position, len(rows) - 1)] for rows in (self.clause_rows[c] for c in clause)])
            value = self.dual.maps.get(self.dual.maximise(self._forms(tried), side, alpha, beta, 0).value)
            chosen = np.where(value > most, tried, chosen)
            most = np.maximum(most, value)
        return chosen

    def _candidates(self, found: Bounded, value: F64) -> None:
        """Look at the minimisers of the least bounds, after a short descent. Raises Found."""
        worst = np.argsort(value, kind="stable")[:8]
        target = self.problem.target
        start = target.clip(self.dual.maps.get(found.best.point[self.dual.maps.index(worst)]))
        points, g = descend(target, start, found.clause[worst], 5, self.problem.deadline, size=0.1)
        if (g <= 0).any():
            self.problem.try_points(points[np.argsort(g)])

    def _refute(self, found: Bounded, items: Ints, alpha: F64, beta: F64) -> list[tc.Refutation | None]:
        """The kernel's own refutations with the optimised numbers; None where it does not agree.

        Shapes   alpha, beta: [len(items), U]
        """
        neurons, clauses, side = self.neurons, found.clause[items], found.side[items]
        network, kernel = self.problem.network, self.problem.kernel
        tables = [slope_table(network, neurons, a) for a in alpha]
        rows = [table.floats() for table in tables]
        slopes = {value: np.concatenate([row[value] for row in rows]) for value in rows[0]}
        used = np.where(side != 0, beta.astype(np.float64), 0.0)
        splits: list[tuple[int, int, int, F64, F64]] = []
        for n in np.flatnonzero(used.any(axis=0)).tolist():
            for sign in (-1, 1):
                mine = used[:, n] * (side[:, n] == sign)
                if mine.any():
                    splits.append((int(neurons.value[n]), int(neurons.entry[n]), sign, 0 * mine, mine))
        refuted = kernel.refute(self._state(side), [(int(c), ()) for c in clauses], slopes, splits)
        out: list[tc.Refutation | None] = []
        for j, table in enumerate(tables):
            if not refuted[j]:
                out.append(None)
                continue
            self.problem.files.tables.append(table)
            multipliers = tuple(
                (int(neurons.value[n]), int(neurons.entry[n]), int(side[j, n]), float(used[j, n]))
                for n in np.flatnonzero(used[j]).tolist()
            )
            out.append(tc.Refutation(int(clauses[j]), (), len(self.problem.files.tables) - 1, multipliers))
        return out

    def _state(self, side: F64) -> tc.State:
        """The kernel's states at some nodes: the root's boxes, cut by the splits above.   Shapes   side: [B, U]"""
        state = self.state.take(np.zeros(len(side), np.int64))
        for value, part in self.neurons.at.items():
            i, mine = self.neurons.index[value], side[:, part]
            lo, hi = state.boxes[value]
            lo[:, i], hi[:, i] = np.where(mine > 0, 0.0, lo[:, i]), np.where(mine < 0, 0.0, hi[:, i])
        state.given[:] = (side != 0).any(axis=1)
        return state

    def _split(self, batch: list[Node], found: Bounded) -> list[Node]:
        """The children of those nodes of a bounded batch that have an open clause."""
        bound = self.dual.maps.get(found.best.value)
        ends = np.searchsorted(found.node, np.arange(len(batch) + 1))  # items stand node by node
        nodes, items, starts = [], [], []
        alpha, beta = (np.asarray(self.dual.maps.get(a), np.float32) for a in (found.best.alpha, found.best.beta))
        for i, node in enumerate(batch):
            mine = {int(found.clause[j]): j for j in range(ends[i], ends[i + 1])}
            mine = {c: j for c, j in mine.items() if c in node.start}
            if mine:
                nodes.append(node)
                items.append(min(mine.values(), key=lambda j: bound[j]))  # the clause that is furthest from refuted
                starts.append({c: (alpha[j], beta[j]) for c, j in mine.items()})
        if not nodes:
            return []
        chosen = self._choose(found, np.array(items))
        value, entry = self.neurons.value[chosen], self.neurons.entry[chosen]
        pairs = self.builder.split_value([n.number for n in nodes], value, entry, 0.0)
        children = []
        for numbers, sign in zip(pairs, (-1, 1), strict=True):
            sides = np.stack([n.side for n in nodes])
            sides[np.arange(len(nodes)), chosen] = sign
            parts = zip(numbers.tolist(), sides, starts, strict=True)
            children.append([Node(number, side, dict(start)) for number, side, start in parts])
        return [child for pair in zip(*children, strict=True) for child in pair]

    def _choose(self, found: Bounded, items: Ints) -> Ints:
        """The neuron to split for each item: of those whose chords cost most, the one whose worse child is best."""
        maps = self.dual.maps
        at = maps.index(items)
        cost = maps.get(found.best.cost[at])
        if not (cost.max(axis=1, initial=0.0) > 0).all():
            if self.problem.semantics == "float32":
                raise Budget
            raise Stuck("every relu that matters is decided, and the bound still does not close")
        count = min(CANDIDATES, cost.shape[1])
        tried = np.argpartition(-cost, count - 1, axis=1)[:, :count]
        side = np.repeat(found.side[items], 2 * count, axis=0).reshape(len(items), count, 2, -1)
        np.put_along_axis(side[:, :, 0], tried[:, :, None], -1.0, axis=2)
        np.put_along_axis(side[:, :, 1], tried[:, :, None], 1.0, axis=2)
        each = np.repeat(np.arange(len(items)), 2 * count)
        value = np.empty(len(each))
        size = self.engine.batch(len(self.neurons))
        flat = side.reshape(len(each), -1)
        for start in range(0, len(each), size):
            part = items[each[start : start + size]]
            i = maps.index(part)
            best = self.dual.maximise(self._forms(found.row[part]), maps.put(flat[start : start + size]),
                                      found.best.alpha[i], found.best.beta[i], 0)  # fmt: skip
            value[start : start + size] = maps.get(best.value)
        both = np.minimum(value.reshape(len(items), count, 2), self.target)
        score = both.min(axis=2) + 0.1 * both.max(axis=2)
        score[np.take_along_axis(cost, tried, axis=1) <= 0] = -np.inf
        return np.take_along_axis(tried, score.argmax(axis=1)[:, None], axis=1)[:, 0]
