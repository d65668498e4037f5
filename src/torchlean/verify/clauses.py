"""Clauses below one state, each alone in cases of its own, searched by splitting relus.

Boxes are tightened by the clause (tighten.py) while that helps, for many nodes at once. Where little is missing then,
and on a device nearly everywhere, a tree is tried whose boxes change only where a split says so (relus.py). What is
left of one that is given up stands deep below few nodes, where most splits have an easy side: these nodes are tightened
next. What no tree closed in part is split, and its halves are tightened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.frozen import frozen
from torchlean.verify.cases import Case, Start
from torchlean.verify.dual import Split
from torchlean.verify.outcome import Stuck
from torchlean.verify.relus import BALANCE, STEPS_ROOT, Bounded, Relus
from torchlean.verify.tighten import Tightening

TIGHTEN = 0.4  # of the time that is left: for tightening a batch of cases
NEAR, TINY = 0.1, 64  # a tree is tried where this share of the clause's first bound lacks, or neurons are so few
FAR = 1.0  # the share on a device, where a tree soon closes the easy side of many splits: what is left is tightened
FARTHER, NEARER = 1.5, 0.7  # what the share becomes by: all trees closed in half of the time they had; few did
FEW = 0.25  # of the trees
STEEP = 0.8  # the exponent of `relus.worth` on a device, where hidden neurons have no trees: a side soon closes
LEAVES_ROOT, LEAVES = 16, 8  # of the trees that the bounds of hidden neurons have of their own
MATTER = 0.98  # of what lines may cost a clause's bound: the neurons that cost it are tightened, or all that have trees
PROGRESS = 0.05  # of the clause's first bound: what a cycle of tightening must bring, to be followed by another
TRIED = 0.5  # of the time of tightening: what trees may have at least
AT_ONCE, EACH = 2.0, 0.5  # seconds that all and each have at least on a device, where each level takes its time
MOST_NODES, MOST_NODES_CASES = 1 << 18, 1 << 15  # of a tree: fewer where tightening, with trees of its own, does more
MOST_NODES_HOST = 1 << 9  # where a case is tightened in the time of some hundred nodes, and closes more than they do
REST = 16  # leaves that are left of a tree that was not closed in its time: what is closed is kept
TOGETHER = 24  # batches of neurons that are tightened in one pass, on a device
MOST = 512  # cases of a pass
SHARES = 16  # of the memory, of which the multipliers that waiting cases start from may take one


class ClauseSearch:
    """The search for clauses below the state of `relus`.

    scales   clause -> the size of its g
    cases    whether the bounds of hidden neurons are worth trees of their own below the root, too
    """

    def __init__(
        self, builder: tc.TreeBuilder, relus: Relus, scales: Mapping[int, float], cases: bool = False
    ) -> None:
        self.builder, self.relus, self.scales, self.cases = builder, relus, scales, cases
        self.deadline = relus.problem.deadline
        self.tightening = Tightening(relus, scales)
        self.leaves = LEAVES if cases else 1
        self.credit = 0.0  # seconds that tightening took and trees did not waste: a tree may have them
        relus.balance = STEEP if relus.engine.device and not cases else BALANCE
        self.near = FAR if relus.engine.device and not cases else NEAR

    def run(self, starts: Sequence[tuple[int, int, float]]) -> int:
        """Close tree nodes, the last first; how many nodes were bounded.

        starts   of each: its number, the only clause that is open there, and its bound as far as it is known
        """
        relus, neurons = self.relus, self.relus.neurons
        waiting = [
            Case(number, clause, neurons.side(relus.splits), neurons.lo.copy(), neurons.hi.copy(), bound)
            for number, clause, bound in starts
        ]
        while waiting:
            self.deadline.check()
            if relus.engine.move(self.deadline.spent):
                relus.take_maps()
            size = self._size(waiting[-1])
            batch, waiting = waiting[-size:], waiting[:-size]
            call = partial(self._advance, batch)
            children = relus.problem.deadline.memory.attempt(call, len(batch), self.builder)
            waiting += batch if children is None else children
            self._forget(waiting, 0 if children is None else relus.maps.memory // SHARES)
        return relus.visited

    def _forget(self, waiting: list[Case], room: int) -> None:
        """Where more bytes are kept to start from, the cases that wait longest start anew."""
        if waiting:
            each = 2 * waiting[-1].unstable * 2 * len(self.relus.neurons) * (4 if self.relus.engine.device else 8)
            for case in waiting[: -max(1, room // max(1, each))]:
                case.warm.clear()

    def _size(self, case: Case) -> int:
        """How many cases to tighten together."""
        engine = self.relus.engine
        if not engine.device:
            return 1
        most = min(MOST, TOGETHER * engine.batch(len(self.relus.neurons)) // max(1, 2 * case.unstable))
        return self.deadline.memory.size(max(1, most))

    def _advance(self, batch: list[Case]) -> list[Case]:
        """Tighten cases, close what can be closed, and split the others: their children."""
        begun = self.deadline.spent
        ends = self._tighten(batch)
        took = self.deadline.spent - begun
        self.credit += took
        for case in ends:
            if case.found:
                self.builder.record(case.number, tc.Record(tuple(case.found)))
        tries = [c for c in ends if c.bound > -self.near * self.scales[c.clause] or c.unstable <= TINY]
        cut = self._try(sorted(tries, key=lambda case: case.bound), ends, took) if tries else []
        return cut + (self._split(ends) if ends else [])

    def _try(self, tries: list[Case], ends: dict[Case, tuple[Bounded, int]], took: float) -> list[Case]:
        """Trees for cases, the last first; closed ones leave `ends`. Of those that are closed in part, what is left."""
        relus, begun = self.relus, self.deadline.spent
        least = max(AT_ONCE, EACH * len(tries)) if relus.engine.device else 0.0
        seconds = max(TRIED * took, self.credit, least)
        visited = relus.visited
        relus.enter(tries)
        most = (MOST_NODES_CASES if self.cases else MOST_NODES) if relus.engine.device else MOST_NODES_HOST
        trees = forest(relus, Bounded.join([ends[case] for case in tries], relus.maps), seconds, most)
        used = self.deadline.spent - begun + relus.replay_of(relus.visited - visited)
        closed = len(trees.closed) / len(tries)
        self.credit -= used * (1 - closed)
        if closed + len(trees.left) / len(tries) < FEW:
            self.near *= NEARER
        elif closed == 1 and used < 0.5 * seconds:
            self.near *= FARTHER
        out = []
        for i, case in enumerate(tries):
            left = trees.left.get(i, {})
            if not left and i not in trees.closed:
                continue
            ids = self.builder.graft(case.number, trees.builder, trees.roots[i])
            del ends[case]
            for node, splits in left.items():
                sides = [(relus.neurons.number(value, entry), side) for value, entry, side in splits]
                out.append(case.child(int(ids[node]), sides, case.start))
        return out

    def _tighten(self, batch: list[Case]) -> dict[Case, tuple[Bounded, int]]:
        """Cycles of tightening while they help. What stays open, with its bound: an item of a batch."""
        relus, share = self.relus, self.deadline.part(max(0.01, TIGHTEN * self.deadline.left))
        ends: dict[Case, tuple[Bounded, int]] = {}
        going = batch
        while going:
            self.tightening.cycle(going, share, self.leaves if going[0].side.any() else LEAVES_ROOT)
            for case in going:
                if case.empty:
                    self.builder.record(case.number, tc.Record(tuple(case.found)))
                    ends.pop(case, None)
            going = [case for case in going if not case.empty]
            if not going:
                break
            relus.enter(going)
            found = relus.bound(relus.roots(going), STEPS_ROOT)
            relus.descend(found)
            helped, closed = [], dict(zip(*relus.refute(found), strict=True))
            matters = _dearest(np.nan_to_num(relus.maps.get(found.best.cost)), MATTER)
            for j, case in enumerate(going):
                if j in closed:
                    self.builder.record(case.number, tc.Record(tuple(case.found), closed[j].refutations))
                    ends.pop(case, None)
                    continue
                gain, case.bound = float(found.value[j]) - case.bound, float(found.value[j])
                case.start = Start(relus.maps, found.best.alpha[j], found.best.beta[j])
                case.matters = None if self.cases else matters[j]
                ends[case] = found, j
                if gain >= PROGRESS * self.scales[case.clause] and share.left >= 0:
                    helped.append(case)
            going = helped
        return ends

    def _split(self, ends: dict[Case, tuple[Bounded, int]]) -> list[Case]:
        """Both halves of each case."""
        relus, cases = self.relus, list(ends)
        relus.enter(cases)
        found = Bounded.join([ends[case] for case in cases], relus.maps)
        every = np.arange(len(cases))
        numbers = np.array([case.number for case in cases])
        halves = relus.children(self.builder, found.at(numbers, every), every)
        sides = np.asarray(relus.maps.get(halves.side))
        out = []
        for j, (number, home) in enumerate(zip(halves.number.tolist(), halves.home.tolist(), strict=True)):
            neuron = int(np.flatnonzero(sides[j] != cases[home].side)[0])
            start = Start(relus.maps, halves.alpha[j], halves.beta[j])
            out.append(cases[home].child(number, [(neuron, int(sides[j, neuron]))], start))
        return out


@frozen
class Forest:
    """Trees in a builder of their own.

    roots    of each bounded node that was given, where its tree stands
    closed   the positions of those that are closed
    left     position -> the leaves that are open where enough is closed, and the splits above each
    """

    builder: tc.TreeBuilder
    roots: list[int]
    closed: list[int]
    left: dict[int, dict[int, tuple[Split, ...]]]


def forest(relus: Relus, found: Bounded, seconds: float, most: int = MOST_NODES) -> Forest:
    """Trees for bounded nodes, each in a home of its own, the last first, given up as `Relus.grow` has it."""
    every, builder, roots, other = np.arange(len(found.nodes)), tc.TreeBuilder(), [], 0
    for _ in every:
        alone, other = (int(n[0]) for n in builder.split_clause(other, 0))
        roots.append(alone)
    try:
        children = relus.children(builder, found.at(np.array(roots), every), every)
        left = relus.grow(builder, children, seconds, most)
    except Stuck:
        return Forest(builder, roots, [], {})
    if left is None:
        return Forest(builder, roots, every.tolist(), {})
    cuts = {
        i: builder.cut(roots[i], np.unique(left.number[left.home == i]), REST) for i in np.unique(left.home).tolist()
    }
    closed = np.setdiff1d(every, left.home).tolist()
    return Forest(builder, roots, closed, {i: cut for i, cut in cuts.items() if cut})


def _dearest(cost: NDArray[np.floating], share: float) -> NDArray[np.bool_]:
    """The fewest neurons that have this share of the cost.   Shapes  [N, U] -> [N, U]"""
    order = np.argsort(-cost, axis=1)
    before = np.cumsum(np.take_along_axis(cost, order, axis=1), axis=1)
    found = np.zeros(cost.shape, np.bool_)
    least = np.pad(before, ((0, 0), (1, 0)))[:, :-1] < share * before[:, -1:]
    np.put_along_axis(found, order, least, axis=1)
    return found
