"""Clauses below one state, each alone in cases of its own, searched by splitting relus.

Boxes are tightened by the clause (tighten.py) while that helps, for many nodes at once. Where little is missing then,
and on a device nearly everywhere, a tree is tried whose boxes change only where a split says so (relus.py). What is
left of one that is given up stands deep below few nodes, where most splits have an easy side: these nodes are tightened
next. What no tree closed in part is split, and its halves are tightened (advance.py).

On a device several batches of cases go on side by side (lanes.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torchlean_check as tc
from torchlean.verify.advance import Advance, Harvest
from torchlean.verify.cases import Case
from torchlean.verify.lanes import Lanes
from torchlean.verify.relus import Relus

LANES = 3  # batches of cases side by side, on a device
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
        self._most = MOST  # fewer while memory does not do for more

    def run(self, starts: Sequence[tuple[int, int, float]]) -> int:
        """Close tree nodes, the last first; how many nodes were bounded.

        starts   of each: its number, the only clause that is open there, and its bound as far as it is known
        """
        relus, neurons = self.relus, self.relus.neurons
        waiting = [
            Case(number, clause, neurons.side(relus.splits), neurons.lo.copy(), neurons.hi.copy(), bound)
            for number, clause, bound in starts
        ]
        advance = Advance(relus, self.scales, self.cases)
        while waiting and not self._side_by_side:
            self.deadline.check()
            if relus.engine.move(self.deadline.spent):
                relus.take_maps()
                advance = Advance(relus, self.scales, self.cases)
                continue
            batch, waiting = self._next(waiting, 1)
            waiting = self._taken(waiting, batch, advance(batch))
        if waiting:
            self._run_lanes(advance, waiting)
        return relus.visited

    def _run_lanes(self, advance: Advance, waiting: list[Case]) -> None:
        most, beside = LANES, [advance.beside(LANES) for _ in range(LANES)]
        try:
            with Lanes(self.relus.maps, beside) as lanes:
                while waiting or lanes.busy:
                    self.deadline.check()
                    while waiting and lanes.busy < most:
                        batch, waiting = self._next(waiting, most - lanes.busy)
                        lanes.start(batch)
                    batch, harvest = lanes.next()
                    if harvest is None and len(batch) == 1:  # others may have what it needs
                        if most == 1:
                            raise MemoryError
                        most -= 1
                    waiting = self._taken(waiting, batch, harvest)
        finally:
            self.relus.visited += sum(lane.relus.visited for lane in beside)

    @property
    def _side_by_side(self) -> bool:
        return self.relus.engine.device and not self.deadline.steps

    def _next(self, waiting: list[Case], shares: int) -> tuple[list[Case], list[Case]]:
        """Cases to tighten together, and those that wait on: as many as fit, and no more than a share of them."""
        size, engine = 1, self.relus.engine
        if engine.device:
            usual = TOGETHER * engine.batch(len(self.relus.neurons)) // max(1, 2 * waiting[-1].unstable)
            fit = min(self._most, self.deadline.memory.size(max(1, usual)))
            size = min(fit, -(-len(waiting) // shares))
        return waiting[-size:], waiting[:-size]

    def _taken(self, waiting: list[Case], batch: list[Case], harvest: Harvest | None) -> list[Case]:
        """Write what became of a batch into the tree; the cases that wait now."""
        if harvest is None:
            self._most = max(1, len(batch) // 2)
            return self._kept([*waiting, *batch], 0)
        if len(batch) >= self._most:
            self._most = min(MOST, 2 * self._most)
        for number, record in harvest.records.items():
            self.builder.record(number, record)
        children: list[Case] = []
        for grown in harvest.grown:
            ids = self.builder.graft(grown.number, grown.builder, grown.root)
            for case in grown.children:
                case.number = int(ids[case.number])
            children += grown.children
        return self._kept([*waiting, *children], self.relus.maps.memory // SHARES)

    def _kept(self, waiting: list[Case], room: int) -> list[Case]:
        """Where more bytes than that are kept to start from, the cases that wait longest start anew."""
        if waiting:
            each = 2 * waiting[-1].unstable * 2 * len(self.relus.neurons) * (4 if self.relus.engine.device else 8)
            for case in waiting[: -max(1, room // max(1, each))]:
                case.warm.clear()
        return waiting
