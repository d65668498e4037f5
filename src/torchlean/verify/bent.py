"""A region of a network with curves and products.

The kernel's own bounds decide at the root where they can; else what relus, curves and products read is split: a relu at
0, anything else where it leaves least (points.py), and of all the one whose halves gain most (branching.py).

Source   Shi et al. 2024, arXiv:2405.21063 (branching on general nonlinearities)
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.frozen import frozen
from torchlean.verify.attack import descend
from torchlean.verify.forms import Forms
from torchlean.verify.outcome import Budget, Proof, Stuck
from torchlean.verify.problem import Problem
from torchlean.verify.seal import seal
from torchlean_check.records import slope_rows

if TYPE_CHECKING:
    from torchlean.verify.maps import TorchMaps
    from torchlean.verify.places import Bent, Places, Pushes

STEPS_ROOT, STEPS = 30, 10
SHARE = 0.5  # of the time that is left: for boxes at the root


def prove_bent(problem: Problem) -> Proof:
    """Raises Found, Stuck, Budget, OutOfTime."""
    kernel, builder = problem.kernel, tc.TreeBuilder()
    state = kernel.start()
    if kernel.refuted(state, kernel.bound(state, derive=False).margin, problem.slack()).all():
        return Proof(builder.build()[0], 1, 1)
    problem.deadline.check()
    return _Search(problem, builder, state).run()


@frozen(eq=False)
class Node:
    """An open tree node, and what its record holds.

    start   open clause -> parameters and multipliers of its row in the parent's batch
    """

    number: int
    state: tc.State
    start: dict[int, tuple[Places, Pushes, int]]
    derived: tuple[tc.Derivation, ...] = ()
    refuted: list[tc.Refutation] = field(default_factory=list)


@frozen(eq=False)
class Bounded:
    """Open clauses of a batch of nodes, as items (position in the batch, clause), with their best bounds.

    state   a row for each item      Shapes   value: [items]
    """

    items: list[tuple[int, int]]
    state: tc.State
    bent: Bent
    forms: Forms
    value: NDArray[np.float64]
    places: Places
    pushes: Pushes


class _Search:
    """state   the root's, which it tightens"""

    def __init__(self, problem: Problem, builder: tc.TreeBuilder, state: tc.State) -> None:
        from torchlean.verify.maps import Engine, TorchMaps

        self.problem, self.builder, self.state, self.nodes = problem, builder, state, 0
        engine = Engine(problem.network, heavy=True)
        assert isinstance(engine.maps, TorchMaps)
        self.maps: TorchMaps = engine.maps
        self.clause_rows = [np.flatnonzero(problem.region.row_clause == c) for c in range(len(problem.region.clauses))]
        self.goal = 4 * float(problem.slack().max())

    def run(self) -> Proof:
        from torchlean.verify.places import batch

        waiting, memory = self._root(), self.problem.deadline.memory
        while waiting:
            self.problem.deadline.check()
            size = memory.size(batch(self.problem.network, self.maps))
            taken, waiting = waiting[-size:], waiting[:-size]
            children = memory.attempt(lambda taken=taken: self._visit(taken), len(taken), self.builder)  # type: ignore[misc]
            waiting += taken if children is None else children
        return seal(self.problem, self.builder, self.nodes)

    def _root(self) -> list[Node]:
        """Places for the clauses alone; where they are not enough, an attack, and once more after hidden boxes."""
        from torchlean.verify.hidden import tighten

        problem, state, kernel = self.problem, self.state, self.problem.kernel
        # The flag closes what the kernel's own lines refute, and clips the box of what is split; the root's record,
        # which comes before it, reads the box as it was.
        self.builder.flag(0, tc.EXAMINE)
        derived: tuple[tc.Derivation, ...] = ()
        for last in (False, True):
            if last:
                share = problem.deadline.part(max(0.01, min(10.0, 0.1 * problem.deadline.left)))
                problem.attack(64, 100, 40, share)
                share = problem.deadline.part(max(0.01, SHARE * problem.deadline.left))
                derived = tighten(problem, state, self.maps, share)
                self.builder.record(0, tc.Record(derived))
            state.open[:] = True  # narrower boxes can make a bound worse: so every clause is asked again
            state.open &= ~kernel.refuted(state, kernel.bound(state, derive=False).margin, problem.slack())
            root = Node(0, state, {}, derived)
            found = self._close([root], STEPS_ROOT) if state.open.any() else None
            if found is None or not state.open.any():
                return []
        assert found is not None
        return self._split([root], found)

    def _visit(self, batch: list[Node]) -> list[Node]:
        """Bound the open clauses of a batch of nodes; refute or split."""
        batch = [node for node in batch if node.state.open.any()]  # a batch that is tried again may be closed by now
        return self._split(batch, self._close(batch, STEPS)) if batch else []

    def _close(self, batch: list[Node], steps: int) -> Bounded:
        """Bound the open clauses of a batch of nodes, and refute those that can be."""
        from torchlean.verify.places import Bent

        self.nodes += len(batch)
        items = [(i, c) for i, node in enumerate(batch) for c in np.flatnonzero(node.state.open[0]).tolist()]
        state = tc.State.join([batch[i].state for i, _ in items])
        region, put = self.problem.region, self.maps.put
        row = np.array([self.clause_rows[c][0] for _, c in items])
        direct = put(region.rows_x[row]) if region.rows_x.any() else None
        forms = Forms(self.problem.network.output, put(region.rows_y[row]), direct, put(region.rows_c[row]))
        bent = Bent(self.problem.kernel, state, self.maps)
        best, places, pushes = bent.improve(forms, *self._starts(bent, batch, items, state), steps, self.goal)
        found = Bounded(items, state, bent, forms, self.maps.get(best), places, pushes)
        for node, refutations in zip(batch, self._refute(found, len(batch)), strict=True):
            if refutations:
                node.refuted.extend(refutations)
                self.builder.record(node.number, tc.Record(node.derived, tuple(node.refuted)))
                node.state.open[0, [r.clause for r in refutations]] = False
        return found

    def _starts(
        self, bent: Bent, batch: list[Node], items: list[tuple[int, int]], state: tc.State
    ) -> tuple[Places, Pushes]:
        """The parents' parameters, and multipliers for the splits above each node, 0 for the newest."""
        import torch

        places = bent.start(len(items), self.problem.network.output)
        for j, (i, c) in enumerate(items):
            if c in batch[i].start:
                before, _, r = batch[i].start[c]
                for key, p in before.items():
                    places[key][j] = p[r]
        pushes: Pushes = {}
        for j, path in enumerate(state.paths):
            for value, index, side, at in path:
                if value not in pushes:
                    shape = len(items), self.problem.network.nodes[value].size
                    pushes[value] = tuple(torch.zeros(shape, device=self.maps.device) for _ in range(3))  # type: ignore[assignment]
                pushes[value][0][j, index], pushes[value][1][j, index] = side, at
        for j, (i, c) in enumerate(items):
            if c in batch[i].start:
                _, before_pushes, r = batch[i].start[c]
                for value, (side_, _, beta) in before_pushes.items():
                    if value not in pushes:
                        continue  # split elsewhere in the parent's batch
                    same = side_[r] == pushes[value][0][j]
                    pushes[value][2][j] = torch.where(same, beta[r], torch.zeros_like(beta[r]))
        return places, pushes

    def _refute(self, found: Bounded, count: int) -> list[list[tc.Refutation]]:
        """The kernel's own refutations with the optimised numbers, for each node of the batch."""
        from torchlean.verify.places import slope_tables

        closing = np.flatnonzero(found.value > self.goal)
        tables = slope_tables(found.places, closing)
        betas = {value: self.maps.get(beta) for value, (_, _, beta) in found.pushes.items()}
        splits = [
            [(*split, float(betas[split[0]][j, split[1]])) for split in _tightest(found.state.paths[j])]
            for j in closing.tolist()
        ]
        records: list[list[tc.Refutation]] = [[] for _ in range(count)]
        kernel, files = self.problem.kernel, self.problem.files
        for start in range(0, len(closing), kernel.chunk):
            self.problem.deadline.check()
            part = slice(start, start + kernel.chunk)
            mine = [found.items[j] for j in closing[part].tolist()]
            push = tc.Pushes.split([(n, *split) for n, each in enumerate(splits[part]) for split in each])
            asked = [(c, ()) for _, c in mine]
            slopes = slope_rows(tables[part], kernel.network.places)
            good = kernel.refute(found.state.take(closing[part]), asked, slopes, push)
            for n, (i, c) in enumerate(mine):
                if good[n]:
                    (place,) = files.add([tables[start + n]]).tolist()
                    multipliers = tuple((v, e, side, m) for v, e, side, _, m in splits[start + n] if m > 0)
                    records[i].append(tc.Refutation(c, (), place, multipliers))
        return records

    def _candidates(self, found: Bounded, left: list[int]) -> None:
        """A short descent from the middles of the least bounded boxes. Raises Found."""
        worst = sorted(left, key=lambda j: found.value[j])[:4]
        target, state = self.problem.target, found.state
        start = target.clip(0.5 * (state.lo[worst] + state.hi[worst]))
        clauses = np.array([found.items[j][1] for j in worst])
        points, g = descend(target, start, clauses, 10, self.problem.deadline, size=0.25)
        if (g <= 0).any():
            self.problem.try_points(points[np.argsort(g)])

    def _split(self, batch: list[Node], found: Bounded) -> list[Node]:
        """The children of what stays open, split for the clause that is furthest from refuted."""
        from torchlean.verify.branching import choose
        from torchlean.verify.places import batch as most

        left = [j for j, (i, c) in enumerate(found.items) if batch[i].state.open[0, c]]
        if not left:
            return []
        self._candidates(found, left)
        mine: dict[int, list[int]] = {}
        for j in left:
            mine.setdefault(found.items[j][0], []).append(j)
        rows = np.array([min(items, key=lambda j: found.value[j]) for items in mine.values()])
        size = self.problem.deadline.memory.size(most(self.problem.network, self.maps))
        splits, scores = choose(found, rows, self.goal, size)
        if not (scores > 0).all():
            raise Budget if self.problem.semantics == "float32" else Stuck("no split is left that could help")
        children = []
        for n, (i, items) in enumerate(mine.items()):
            node, value, index, at = batch[i], int(splits.value[n]), int(splits.index[n]), float(splits.at[n])
            low, high = self.builder.split_value([node.number], value, index, at)
            start = {found.items[j][1]: (found.places, found.pushes, j) for j in items}
            pair = self.problem.kernel.split_value(node.state, value, index, at)
            for number, part in zip((int(low[0]), int(high[0])), pair, strict=True):
                if not part.empty[0]:
                    children.append(Node(number, part, start))
        return children


def _tightest(path: tuple[tuple[int, int, int, float], ...]) -> list[tuple[int, int, int, float]]:
    """Of repeated splits of one entry on one side, the tightest, which is the one that the kernel reads."""
    found: dict[tuple[int, int, int], float] = {}
    for value, index, side, at in path:
        key = value, index, side
        found[key] = at if key not in found else (max if side > 0 else min)(found[key], at)
    return [(*key, at) for key, at in found.items()]
