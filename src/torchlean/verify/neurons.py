"""A region decided by splitting relus: for inputs of high dimension.

The root is bounded by the kernel, then with slopes for the clauses, then with slopes for every unstable neuron. What is
still open is taken clause by clause: boxes are tightened by the clause (refine.py) while that helps, and a node that
stays open is split. Where little is missing, a small tree is tried whose boxes change only where a split says so; its
nodes optimise slopes and split multipliers, many in one batch. What looks refuted is refuted by the kernel with the
same numbers, and only that counts.

Source   Bunel et al. 2020, arXiv:1909.06588 (the cost of a chord as a score); De Palma et al. 2021, arXiv:2104.06718
         (the best few are tried on both sides before one is taken); Kotha et al. 2023, arXiv:2302.01404 (INVPROP)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.verify.attack import attack, descend
from torchlean.verify.boxes import search_with_kernel
from torchlean.verify.dual import Best, Boxes, Dual, Forms, Neurons, Split
from torchlean.verify.maps import Engine
from torchlean.verify.problem import Budget, Problem, Proof, Stuck
from torchlean.verify.refine import Refinement, Warm
from torchlean.verify.tables import slope_table

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]
Ints = NDArray[np.int64]

STEPS_ROOT, STEPS, STEPS_LAST = 60, 16, 60
SHARE, TIGHTEN = 0.3, 0.4  # of the time that is left: for boxes before clauses are taken apart, and for each clause
TRIAL = 400  # nodes of a tree that is tried with boxes as they are:
NEAR, SMALL, TINY = 0.15, 256, 64  # where a clause lacks this share of its first bound, or where neurons are so few
PROGRESS = 0.05  # of a clause's first bound: what a cycle of tightening must bring, to be followed by another
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
    search = _Search(problem, builder, state, 0, Engine(problem.network))
    share = problem.deadline.part(max(0.01, min(10.0, 0.15 * problem.deadline.left)))
    problem.try_points(attack(problem.target, problem.rng, 64, 300, 50, share))
    if len(search.neurons) == 0 and len(problem.varying) <= FEW:
        boxes = search_with_kernel(problem, builder, np.zeros(1, np.int64), kernel.start())
        return Proof(builder.build()[0], len(builder.leaves()), boxes)
    nodes = search.run()
    tree, _ = builder.build()
    # Each leaf was refuted by the kernel when it was found; the whole tree is replayed as the checker will.
    outcome = tc.replay(kernel, tree, tables=tuple(problem.files.tables), deadline=problem.deadline.end)
    problem.deadline.check()
    if outcome.failed is not None or len(outcome.holes):
        raise Stuck("the proof's replay does not agree with the search")
    return Proof(tree, outcome.leaves, nodes)


class _Search:
    """The tree below one node. `state` is that node's; its boxes are those of every node below, but for the splits."""

    def __init__(
        self,
        problem: Problem,
        builder: tc.TreeBuilder,
        state: tc.State,
        number: int,
        engine: Engine,
        splits: tuple[Split, ...] = (),
    ) -> None:
        self.problem, self.builder, self.state, self.number, self.engine = problem, builder, state, number, engine
        self.splits = splits  # above the node
        region = problem.region
        self.clause_rows = [np.flatnonzero(region.row_clause == c) for c in range(len(region.clauses))]
        self.target = 4 * float(problem.slack().max())
        self.nodes = 0
        self._settle()

    def _settle(self) -> None:
        """Take the boxes of the state as they are now."""
        boxes: Boxes = {k: (lo[0], hi[0]) for k, (lo, hi) in self.state.boxes.items()}
        self.boxes, self.neurons = boxes, Neurons.of(boxes, self.splits)
        self._take_maps()

    def _take_maps(self) -> None:
        self.dual = Dual(self.problem.kernel, self.boxes, self.neurons, self.engine.maps)
        self.problem.target = replace(self.problem.target, maps=self.engine.maps)

    def run(self) -> int:
        """Close what is open: with slopes for the clauses alone, then for hidden neurons, then clause by clause.

        Returns how many nodes were bounded.
        """
        first = self._first()
        found, records = self._close([first])
        refutations = records[0]
        refinement = Refinement(self.problem, self.state, self.engine)
        if first.start:
            refinement.forward(self.problem.deadline.part(max(0.01, SHARE * self.problem.deadline.left)))
            self._settle()
            first = self._first()
            found, records = self._close([first])
            # a clause that was refuted before the derivations is refuted again by the same numbers after them
            refutations = [*refutations, *records[0]]
        if refinement.found or refutations:
            self.builder.record(self.number, tc.Record(tuple(refinement.found), tuple(refutations)))
        value = self.dual.maps.get(found.best.value)
        if first.start and len(self.neurons) <= SMALL and self._try_tree(first, found):
            return self.nodes
        left = sorted((float(value[j]), c) for j, c in enumerate(found.clause.tolist()) if c in first.start)
        other = self.number
        for margin, clause in left:  # the last `other` has no open clause
            alone, other = (int(n[0]) for n in self.builder.split_clause(other, clause))
            state = self.state.take([0])
            state.open[0] = np.arange(state.open.shape[1]) == clause
            below = _Search(self.problem, self.builder, state, alone, self.engine)
            below.run_clause(clause, abs(margin), margin, {})
            self.nodes += below.nodes
        return self.nodes

    def run_clause(self, clause: int, scale: float, before: float, warm: dict[int, Warm]) -> None:
        """Close the one clause that is open, whose g is of this size: tighten boxes by it while that helps, then split.

        before   the bound from the boxes as they are      warm   where earlier passes over them ended
        """
        share = self.problem.deadline.part(max(0.01, TIGHTEN * self.problem.deadline.left))
        refinement = Refinement(self.problem, self.state, self.engine, clause, scale, self.splits, warm)
        bounds = [before]
        while True:
            if self.engine.move(self.problem.deadline.spent):
                self._take_maps()
            refinement.cycle(share)
            if self.state.empty[0]:
                self.builder.record(self.number, tc.Record(tuple(refinement.found)))
                return
            self._settle()
            first = self._first()
            found, records = self._close([first])
            bounds.append(float(self.dual.maps.get(found.best.value)[0]))
            if not first.start or share.left < 0 or bounds[-1] < bounds[-2] + PROGRESS * scale:
                break
        self.builder.record(self.number, tc.Record(tuple(refinement.found), tuple(records[0])))
        if not first.start:
            return
        tightens, few = bounds[-1] > before + PROGRESS * scale, len(self.neurons) <= SMALL
        tries = bounds[-1] > -NEAR * scale or len(self.neurons) <= TINY
        if tightens and tries and self._try_tree(first, found):
            return
        children = self._split([first], found)
        left = children if tightens else self._tree(children, TRIAL if few else None)
        for node in left:
            below = self._below(node)
            below.run_clause(clause, scale, bounds[-1] if tightens else -np.inf, refinement.warm)
            self.nodes += below.nodes

    def _below(self, node: Node) -> _Search:
        """The search below a node of this one's tree, with boxes of its own."""
        state, splits = self.state, self.splits
        for n in np.flatnonzero(node.side != self.neurons.side(splits)).tolist():
            split = int(self.neurons.value[n]), int(self.neurons.entry[n]), int(node.side[n])
            state = self.problem.kernel.split_value(state, *split[:2], 0.0)[split[2] > 0]
            splits = (*splits, split)
        return _Search(self.problem, self.builder, state, node.number, self.engine, splits)

    def _try_tree(self, first: Node, found: Bounded) -> bool:
        """Whether a small tree closes the node; otherwise nothing of it is kept."""
        builder, number, tables = self.builder, self.number, self.problem.files.tables
        mark = len(tables)
        self.builder, self.number = tc.TreeBuilder(), 0
        try:
            closed = not self._tree(self._split([replace(first, number=0)], found), TRIAL)
        except (Budget, Stuck):
            closed = False
        if closed:
            builder.graft(number, self.builder)
        else:
            del tables[mark:]
        self.builder, self.number = builder, number
        return closed

    def _tree(self, waiting: list[Node], most: int | None = None) -> list[Node]:
        """Visit nodes, the newest first, until none is open, or more than `most` were visited; returns what is left."""
        end = None if most is None else self.nodes + most
        while waiting:
            self.problem.deadline.check()
            if end is not None and self.nodes > end:
                break
            if self.engine.move(self.problem.deadline.spent):
                self._take_maps()
            memory = self.problem.deadline.memory
            size = memory.size(self.engine.batch(len(self.neurons)))
            batch = [replace(node, start=dict(node.start)) for node in waiting[-size:]]
            children = memory.attempt(lambda batch=batch: self._visit(batch), len(batch), self.builder)  # type: ignore[misc]
            if children is not None:
                waiting = waiting[:-size] + children
        return waiting

    def _first(self) -> Node:
        opens = np.flatnonzero(self.state.open[0]).tolist()
        return Node(self.number, self.neurons.side(self.splits), dict.fromkeys(opens))

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
                    if node.number == self.number:
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
        steps = STEPS_ROOT if batch[0].number == self.number else STEPS
        best = self.dual.maximise(self._forms(row), *given, steps, target=self.target)
        maps = self.dual.maps
        final = np.flatnonzero(maps.get(((best.cost <= 0).all(-1)) & (best.value <= self.target)))
        if len(final):  # no split is left to gain by: only better multipliers
            i = maps.index(final)
            more = self.dual.maximise(
                self._forms(row[final]), given[0][i], best.alpha[i], best.beta[i], STEPS_LAST, target=self.target
            )
            for name in ("value", "alpha", "beta", "upper", "point"):
                getattr(best, name)[i] = getattr(more, name)
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
        row, n = np.nonzero(used)
        push = tc.Pushes(row, neurons.value[n], neurons.entry[n], -(used * side)[row, n], np.zeros(len(n)))
        refuted = kernel.refute(self._state(side), [(int(c), ()) for c in clauses], slopes, push)
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
        state.given |= (side != 0).any(axis=1)
        return state

    def _split(self, batch: list[Node], found: Bounded) -> list[Node]:
        """The children of those nodes of a bounded batch that have an open clause."""
        bound = self.dual.maps.get(found.best.value)
        ends = np.searchsorted(found.node, np.arange(len(batch) + 1))  # items stand node by node
        nodes, items, starts = [], [], []
        best = found.best
        alpha, beta, upper = (
            np.asarray(self.dual.maps.get(a), np.float32) for a in (best.alpha, best.beta, best.upper)
        )
        for i, node in enumerate(batch):
            mine = {int(found.clause[j]): j for j in range(ends[i], ends[i + 1])}
            mine = {c: j for c, j in mine.items() if c in node.start}
            if mine:
                nodes.append(node)
                items.append(min(mine.values(), key=lambda j: bound[j]))  # the clause that is furthest from refuted
                starts.append(mine)
        if not nodes:
            return []
        chosen = self._choose(found, np.array(items))
        value, entry = self.neurons.value[chosen], self.neurons.entry[chosen]
        pairs = self.builder.split_value([n.number for n in nodes], value, entry, 0.0)
        children = []
        for numbers, sign in zip(pairs, (-1, 1), strict=True):
            pair: list[Node] = []
            for number, node, start, n in zip(numbers.tolist(), nodes, starts, chosen.tolist(), strict=True):
                side = node.side.copy()
                duals: dict[int, tuple[F32, F32] | None] = {}
                side[n] = sign
                for c, j in start.items():
                    pushed = beta[j].copy()
                    pushed[n] = first_multiplier(alpha[j, n], upper[j, n], sign)
                    duals[c] = alpha[j], pushed
                pair.append(Node(number, side, duals))
            children.append(pair)
        return [child for pair in zip(*children, strict=True) for child in pair]

    def _cost_of_contradiction(self, found: Bounded, items: Ints) -> F64:
        """What the lines of each neuron cost the bound of all splits together, each in the measure of its width."""
        maps, at, side = self.dual.maps, self.dual.maps.index(items), found.side[items]
        beta = maps.put((side != 0) / (self.neurons.hi - self.neurons.lo))
        return maps.get(
            self.dual.maximise(self._forms(found.row[items]), maps.put(side), found.best.alpha[at], beta, 0).cost
        )

    def _choose(self, found: Bounded, items: Ints) -> Ints:
        """The neuron to split for each item: of those whose chords cost most, the one whose worse child is best."""
        maps = self.dual.maps
        at = maps.index(items)
        cost = maps.get(found.best.cost[at])
        stuck = cost.max(axis=1, initial=0.0) <= 0
        if stuck.any():  # no line costs anything: it closes only if the splits above contradict each other
            cost[stuck] = self._cost_of_contradiction(found, items[stuck])
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
        alpha, upper, beta = (maps.get(a[at]) for a in (found.best.alpha, found.best.upper, found.best.beta))
        pushed = np.repeat(beta, 2 * count, axis=0).reshape(side.shape)
        for position, sign in enumerate((-1, 1)):
            a, u = (np.take_along_axis(x, tried, axis=1) for x in (alpha, upper))
            first = first_multiplier(a, u, sign)
            np.put_along_axis(pushed[:, :, position], tried[:, :, None], first[:, :, None], axis=2)
        flat_beta = pushed.reshape(len(each), -1)
        for start in range(0, len(each), size):
            part = items[each[start : start + size]]
            i = maps.index(part)
            best = self.dual.maximise(self._forms(found.row[part]), maps.put(flat[start : start + size]),
                                      found.best.alpha[i], maps.put(flat_beta[start : start + size]), 0)  # fmt: skip
            value[start : start + size] = maps.get(best.value)
        both = np.minimum(value.reshape(len(items), count, 2), self.target)
        score = both.min(axis=2) + 0.1 * both.max(axis=2)
        score[np.take_along_axis(cost, tried, axis=1) <= 0] = -np.inf
        return np.take_along_axis(tried, score.argmax(axis=1)[:, None], axis=1)[:, 0]


def first_multiplier(alpha: Any, upper: Any, side: int) -> Any:
    """A new split's multiplier with which the lower line of slope alpha is what it was before the split."""
    return np.clip(upper, 0, None) * (alpha if side < 0 else 1 - alpha)
