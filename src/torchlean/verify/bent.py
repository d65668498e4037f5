"""A region of a network with curves and products.

The kernel's own bounds decide at the root where they can; else what relus, curves and products read is split: a relu at
0, anything else in the middle of its box.

Source   Shi et al. 2024, arXiv:2405.21063 (branching on general nonlinearities)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.verify.attack import attack, descend
from torchlean.verify.problem import Budget, Problem, Proof, Stuck
from torchlean.verify.seal import seal

if TYPE_CHECKING:
    from torch import Tensor

    from torchlean.verify.maps import TorchMaps
    from torchlean.verify.places import Places, Pushes

STEPS_ROOT, STEPS = 30, 10
WORK = 1 << 22  # entries that a batch of nodes has together, on the CPU
FLAT = 1e-9  # of a value's size: a box narrower than this is not split again


def prove_bent(problem: Problem) -> Proof:
    """Raises Found, Stuck, Budget, OutOfTime."""
    kernel, builder = problem.kernel, tc.TreeBuilder()
    state = kernel.start()
    bounds = kernel.bound(state, derive=False)
    refuted = kernel.refuted(state, bounds.margin, problem.slack())
    if refuted.all():
        return Proof(builder.build()[0], 1, 1)
    problem.deadline.check()
    share = problem.deadline.part(max(0.01, min(10.0, 0.1 * problem.deadline.left)))
    problem.try_points(attack(problem.target, problem.rng, 64, 100, 40, share))
    # The flag closes what the kernel's own lines refute, and clips the box of what is split; the root's record, which
    # comes before it, reads the box as it was.
    builder.flag(0, tc.EXAMINE)
    state.open &= ~refuted
    return _Search(problem, builder).run(state)


@dataclass(frozen=True, eq=False)
class Node:
    """An open tree node. `start`: open clause -> parameters and multipliers of its row in the parent's batch."""

    number: int
    state: tc.State
    start: dict[int, tuple[Places, Pushes, int]]


class _Search:
    def __init__(self, problem: Problem, builder: tc.TreeBuilder) -> None:
        from torchlean.verify.maps import Engine, TorchMaps

        self.problem, self.builder, self.nodes = problem, builder, 0
        engine = Engine(problem.network, heavy=True)
        assert isinstance(engine.maps, TorchMaps)
        self.maps: TorchMaps = engine.maps
        self.entries = sum(node.size for node in problem.network.nodes)
        self.clause_rows = [np.flatnonzero(problem.region.row_clause == c) for c in range(len(problem.region.clauses))]
        self.goal = 4 * float(problem.slack().max())

    def run(self, state: tc.State) -> Proof:
        waiting, memory = [Node(0, state, {})], self.problem.deadline.memory
        while waiting:
            self.problem.deadline.check()
            most = max(1, (WORK if self.maps.device == "cpu" else 64 * WORK) // (2 * self.entries))
            size = memory.size(most)
            batch, waiting = waiting[-size:], waiting[:-size]
            children = memory.attempt(lambda batch=batch: self._visit(batch), len(batch), self.builder)  # type: ignore[misc]
            waiting += batch if children is None else children
        return seal(self.problem, self.builder, self.nodes)

    def _visit(self, batch: list[Node]) -> list[Node]:
        """Bound the open clauses of a batch of nodes; refute or split."""
        import torch

        from torchlean.verify.places import Bent

        self.nodes += len(batch)
        items = [(i, c) for i, node in enumerate(batch) for c in np.flatnonzero(node.state.open[0]).tolist()]
        state = tc.State.join([batch[i].state for i, _ in items])
        region, put = self.problem.region, self.maps.put
        row = np.array([self.clause_rows[c][0] for _, c in items])
        rows, direct, offset = put(region.rows_y[row]), put(region.rows_x[row]), put(region.rows_c[row])
        bent = Bent(self.problem.kernel, state, self.maps)
        places, pushes = self._starts(bent, batch, items, state)
        root = batch[0].number == 0
        best, places, pushes = bent.improve(
            rows, direct, offset, places, pushes, STEPS_ROOT if root else STEPS, self.goal
        )
        value = self.maps.get(best)
        records = self._refute(batch, items, np.flatnonzero(value > self.goal), state, places, pushes)
        for i, found in enumerate(records):
            if found:
                self.builder.record(batch[i].number, tc.Record((), tuple(found)))
                batch[i].state.open[0, [r.clause for r in found]] = False
        left = [j for j, (i, c) in enumerate(items) if batch[i].state.open[0, c]]
        if not left:
            return []
        losses: dict[int, torch.Tensor] = {}
        with torch.no_grad():
            bent.bound(rows, direct, places, pushes, losses)
        self._candidates(items, left, value, state)
        return self._split(batch, items, left, value, state, losses, (places, pushes))

    def _starts(
        self, bent: object, batch: list[Node], items: list[tuple[int, int]], state: tc.State
    ) -> tuple[Places, Pushes]:
        """The parents' parameters, and multipliers for the splits above each node, 0 for the newest."""
        import torch

        from torchlean.verify.places import Bent

        assert isinstance(bent, Bent)
        places = bent.start(len(items))
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

    def _refute(
        self,
        batch: list[Node],
        items: list[tuple[int, int]],
        closing: NDArray[np.int64],
        state: tc.State,
        places: Places,
        pushes: Pushes,
    ) -> list[list[tc.Refutation]]:
        """The kernel's own refutations with the optimised numbers; what it agrees to is closed."""
        from torchlean.verify.places import slope_table

        records: list[list[tc.Refutation]] = [[] for _ in batch]
        for j in closing.tolist():
            self.problem.deadline.check()
            i, clause = items[j]
            table = slope_table(places, j)
            multipliers = []
            split = []
            for value, index, side, at in _tightest(state.paths[j]):
                beta = float(pushes[value][2][j, index])
                if beta > 0:
                    multipliers.append((value, index, side, beta))
                    split.append((0, value, index, side, at, beta))
            push = tc.Pushes.split(split)
            if not self.problem.kernel.refute(state.take([j]), [(clause, ())], table.floats(), push)[0]:
                continue
            self.problem.files.tables.append(table)
            records[i].append(tc.Refutation(clause, (), len(self.problem.files.tables) - 1, tuple(multipliers)))
        return records

    def _candidates(
        self, items: list[tuple[int, int]], left: list[int], value: NDArray[np.float64], state: tc.State
    ) -> None:
        """A short descent from the middles of the least bounded boxes. Raises Found."""
        worst = sorted(left, key=lambda j: value[j])[:4]
        target = self.problem.target
        start = target.clip(0.5 * (state.lo[worst] + state.hi[worst]))
        points, g = descend(target, start, np.array([items[j][1] for j in worst]), 10, self.problem.deadline, size=0.25)
        if (g <= 0).any():
            self.problem.try_points(points[np.argsort(g)])

    def _split(
        self, batch: list[Node], items: list[tuple[int, int]], left: list[int], value: NDArray[np.float64],
        state: tc.State, losses: dict[int, Tensor], found: tuple[Places, Pushes],
    ) -> list[Node]:  # fmt: skip
        """The children of what stays open, split where the lines of the clause furthest from refuted lose most."""
        network, children = self.problem.network, []
        for i, node in enumerate(batch):
            mine = [j for j in left if items[j][0] == i]
            if not mine:
                continue
            j = min(mine, key=lambda j: value[j])
            best, where, at = 0.0, None, 0.0
            for k, loss in losses.items():
                scores = self.maps.get(loss[j])
                lo, hi = node.state.boxes[k][0][0], node.state.boxes[k][1][0]
                unstable = (lo < 0) & (hi > 0)
                wide = hi - lo > FLAT * np.maximum(np.abs(lo), np.abs(hi))
                scores = np.where(wide if k not in network.relu_inputs else unstable, scores, 0.0)
                index = int(scores.argmax())
                if scores[index] > best:
                    best, where = float(scores[index]), (k, index)
                    at = 0.0 if k in network.relu_inputs else float(0.5 * lo[index] + 0.5 * hi[index])
            if where is None:
                raise Budget if self.problem.semantics == "float32" else Stuck("no split is left that could help")
            low, high = self.builder.split_value([node.number], where[0], where[1], at)
            start = {items[j][1]: (*found, j) for j in mine}
            pair = self.problem.kernel.split_value(node.state, where[0], where[1], at)
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
