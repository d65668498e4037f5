"""What is done with a batch of cases: tightened, closed, given a tree, or split. See clauses.py."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from functools import partial

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.frozen import frozen
from torchlean.verify import forest
from torchlean.verify.bounded import Bounded
from torchlean.verify.cases import Case, Start
from torchlean.verify.choice import BALANCE
from torchlean.verify.relus import STEPS_ROOT, Relus
from torchlean.verify.tighten import Tightening

TIGHTEN = 0.4  # of the time that is left: for tightening a batch of cases
NEAR, TINY = 0.1, 64  # a tree is tried where this share of the clause's first bound lacks, or neurons are so few
FAR = 1.0  # the share on a device, where a tree soon closes the easy side of many splits: what is left is tightened
FARTHER, NEARER = 1.5, 0.7  # what the share becomes by: all trees closed in half of the time they had; few did
FEW = 0.25  # of the trees
STEEP = 0.8  # the exponent of `choice.worth` on a device, where hidden neurons have no trees: a side soon closes
LEAVES_ROOT, LEAVES = 16, 8  # of the trees that the bounds of hidden neurons have of their own
MATTER = 0.98  # of what lines may cost a clause's bound: the neurons that cost it are tightened, or all that have trees
PROGRESS = 0.05  # of the clause's first bound: what a cycle of tightening must bring, to be followed by another
TRIED = 0.5  # of the time of tightening: what trees may have at least
AT_ONCE, EACH = 2.0, 0.5  # seconds that all and each have at least on a device, where each level takes its time
MOST_CASES = 1 << 15  # nodes of a tree: fewer where tightening, with trees of its own, does more
MOST_HOST = 1 << 9  # where a case is tightened in the time of some hundred nodes, and closes more than they do


@frozen(eq=False)
class Grown:
    """What stands in the place of a case: what a builder of its own has below `root`, where `children` are open."""

    number: int
    builder: tc.TreeBuilder
    root: int
    children: list[Case]


@frozen(eq=False)
class Harvest:
    """What became of cases: tree node -> its record, and what grew there."""

    records: dict[int, tc.Record]
    grown: list[Grown]


class Advance:
    """The work on cases below the state of `relus`, of which nothing else is changed.

    scales   clause -> the size of its g
    cases    whether the bounds of hidden neurons are worth trees of their own below the root, too
    """

    lanes = 1  # that do the same on the device at once

    def __init__(self, relus: Relus, scales: Mapping[int, float], cases: bool) -> None:
        self.relus, self.scales, self.cases = relus, scales, cases
        self.deadline = relus.problem.deadline
        self.tightening = Tightening(relus, scales)
        self.leaves = LEAVES if cases else 1
        self.credit = 0.0  # seconds that tightening took and trees did not waste: a tree may have them
        relus.balance = STEEP if relus.engine.device and not cases else BALANCE
        self.near = FAR if relus.engine.device and not cases else NEAR

    def beside(self, lanes: int) -> Advance:
        """Another for one of so many lanes (lanes.py); what is recorded is shared."""
        made = copy(self)
        made.relus, made.lanes = self.relus.beside(), lanes
        made.deadline, made.tightening = made.relus.problem.deadline, self.tightening.beside(made.relus)
        return made

    def __call__(self, batch: list[Case]) -> Harvest | None:
        """Tighten cases, close what can be closed, and split the others.

        None: there is no memory for so many, or for one beside what other lanes have. Raises MemoryError without others
        """
        kept = [(case.start, *case.warm.values()) for case in batch]  # others' arrays: theirs again when this is over
        try:
            return self.deadline.memory.attempt(partial(self._advance, batch), len(batch))
        except MemoryError:
            if self.lanes == 1:
                raise
            return None
        finally:
            self.relus.maps.finish()
            del kept

    def stop(self) -> None:
        """Let a call end soon, by OutOfTime."""
        self.deadline.end = -np.inf

    def _advance(self, batch: list[Case]) -> Harvest:
        begun = self.deadline.spent
        records, ends = self._tighten(batch)
        took = self.deadline.spent - begun
        self.credit += took
        records |= {case.number: tc.Record(tuple(case.found)) for case in ends if case.found}
        tries = [c for c in ends if c.bound > -self.near * self.scales[c.clause] or c.unstable <= TINY]
        grown = self._try(sorted(tries, key=lambda case: case.bound), ends, took) if tries else []
        return Harvest(records, grown + (self._split(ends) if ends else []))

    def _try(self, tries: list[Case], ends: dict[Case, tuple[Bounded, int]], took: float) -> list[Grown]:
        """Trees for cases, the last first; those that are closed, at least in part, leave `ends`."""
        relus, begun = self.relus, self.deadline.spent
        least = self.lanes * max(AT_ONCE, EACH * len(tries)) if relus.engine.device else 0.0
        seconds = max(TRIED * took, self.credit, least)
        visited = relus.visited
        relus.enter(tries)
        most = (MOST_CASES if self.cases else forest.MOST) if relus.engine.device else MOST_HOST
        trees = forest.grow(relus, Bounded.join([ends[case] for case in tries], relus.maps), seconds, most)
        used = self.deadline.spent - begun + relus.refuter.seconds(relus.visited - visited)
        closed = len(trees.closed) / len(tries)
        self.credit -= used * (1 - closed)
        if closed + len(trees.left) / len(tries) < FEW:
            self.near *= NEARER
        elif closed == 1 and used < 0.5 * seconds:
            self.near *= FARTHER
        grown = []
        for i, case in enumerate(tries):
            left = trees.left.get(i, {})
            if not left and i not in trees.closed:
                continue
            del ends[case]
            children = []
            for node, splits in left.items():
                sides = [(relus.neurons.number(value, entry), side) for value, entry, side in splits]
                children.append(case.child(node, sides, case.start))
            grown.append(Grown(case.number, trees.builder, trees.roots[i], children))
        return grown

    def _tighten(self, batch: list[Case]) -> tuple[dict[int, tc.Record], dict[Case, tuple[Bounded, int]]]:
        """Cycles of tightening while they help.

        Returns the records of what is closed, and what stays open, with its bound: an item of a batch.
        """
        relus, share = self.relus, self.deadline.part(max(0.01, TIGHTEN * self.deadline.left))
        records: dict[int, tc.Record] = {}
        ends: dict[Case, tuple[Bounded, int]] = {}
        going = batch
        while going:
            self.tightening.cycle(going, share, self.leaves if going[0].side.any() else LEAVES_ROOT)
            for case in going:
                if case.empty:
                    records[case.number] = tc.Record(tuple(case.found))
                    ends.pop(case, None)
            going = [case for case in going if not case.empty]
            if not going:
                break
            relus.enter(going)
            found = relus.bound(relus.roots(going), STEPS_ROOT)
            relus.descend(found)
            helped, closed = [], dict(zip(*relus.refuter.refute(found), strict=True))
            alpha, beta = list(found.best.alpha), list(found.best.beta)
            matters = _dearest(np.nan_to_num(relus.maps.get(found.best.cost)), MATTER)
            for j, case in enumerate(going):
                if j in closed:
                    records[case.number] = tc.Record(tuple(case.found), closed[j].refutations)
                    ends.pop(case, None)
                    continue
                gain, case.bound = float(found.value[j]) - case.bound, float(found.value[j])
                case.start = Start(relus.maps, alpha[j], beta[j])
                case.matters = None if self.cases else matters[j]
                ends[case] = found, j
                if gain >= PROGRESS * self.scales[case.clause] and share.left >= 0:
                    helped.append(case)
            going = helped
        return records, ends

    def _split(self, ends: dict[Case, tuple[Bounded, int]]) -> list[Grown]:
        """Both halves of each case."""
        relus, cases = self.relus, list(ends)
        relus.enter(cases)
        found = Bounded.join([ends[case] for case in cases], relus.maps)
        every = np.arange(len(cases))
        builder, roots = forest.homes(len(cases))
        halves = relus.children(builder, found.at(np.array(roots), every), every)
        sides, alpha, beta = np.asarray(relus.maps.get(halves.side)), list(halves.alpha), list(halves.beta)
        children: list[list[Case]] = [[] for _ in cases]
        for j, (number, home) in enumerate(zip(halves.number.tolist(), halves.home.tolist(), strict=True)):
            neuron = int(np.flatnonzero(sides[j] != cases[home].side)[0])
            start = Start(relus.maps, alpha[j], beta[j])
            children[home].append(cases[home].child(number, [(neuron, int(sides[j, neuron]))], start))
        return [Grown(c.number, builder, root, two) for c, root, two in zip(cases, roots, children, strict=True)]


def _dearest(cost: NDArray[np.floating], share: float) -> NDArray[np.bool_]:
    """The fewest neurons that have this share of the cost.   Shapes  [N, U] -> [N, U]"""
    order = np.argsort(-cost, axis=1)
    before = np.cumsum(np.take_along_axis(cost, order, axis=1), axis=1)
    found = np.zeros(cost.shape, np.bool_)
    least = np.pad(before, ((0, 0), (1, 0)))[:, :-1] < share * before[:, -1:]
    np.put_along_axis(found, order, least, axis=1)
    return found
