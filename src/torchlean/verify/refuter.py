"""What bounds refute becomes records with the same numbers.

The kernel repeats the most doubtful refutations of some batches; where it agrees to them, the others wait for the
replay of the whole tree (seal.py), which decides.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.verify.bounded import Bounded
from torchlean.verify.cases import states
from torchlean.verify.dual import Neurons
from torchlean.verify.problem import Problem
from torchlean.verify.tables import multipliers, pushes, slope_tables
from torchlean_check.cuts import Cuts
from torchlean_check.packed import Records
from torchlean_check.pushes import Splits
from torchlean_check.records import slope_rows
from torchlean_check.woven import refutations

DOUBTFUL = 16  # refutations that the kernel repeats before others wait for the replay, and more where it disagrees

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]


class Refuter:
    """For trees below one state.

    target   what a bound must be above            trust   whether what the kernel need not see at once may wait
    Shapes   lo, hi: [homes, U], boxes of the neurons
    """

    def __init__(self, problem: Problem, state: tc.State, target: float, trust: bool) -> None:
        self.problem, self.state, self.target, self.trust = problem, state, target, trust
        self._asked, self._took = 0, 0.0  # leaves that the kernel has seen, and the seconds that it took
        self._sure = False  # whether it agreed to all that it was asked the last time

    def enter(self, neurons: Neurons, lo: F64, hi: F64) -> None:
        """Let the homes of nodes have these boxes."""
        self._neurons, self._lo, self._hi = neurons, lo, hi
        self._placed: dict[int, int] = {}  # source -> where the problem's tables hold it

    def refute(self, found: Bounded, trust: bool | None = None, ask: bool = True) -> tuple[Ints, Records]:
        """Which nodes are closed, in rising order, and of each a record: its refutation by the optimised numbers.

        ask   whether the kernel repeats the most doubtful ones, even where it agreed the last time
        """
        closing = np.flatnonzero(found.value > self.target)
        closing = closing[np.argsort(found.value[closing], kind="stable")]
        chunk, start, closed = self.problem.kernel.chunk, 0, [closing[:0]]
        trusted = self.trust if trust is None else trust
        size, sure = min(chunk, DOUBTFUL) if trusted else chunk, trusted and self._sure and not ask
        while start < len(closing):
            self.problem.deadline.check()
            part = closing[start:] if sure else closing[start : start + size]
            closed.append(part if sure else self._agreed(found, part))
            # Where the kernel agrees to the most doubtful ones that are left, the others wait for the replay.
            sure = len(closed[-1]) == len(part) and trusted
            start, size = start + len(part), min(chunk, 2 * size)
        self._sure = sure
        items = np.concatenate(closed)
        order, table = np.argsort(items), self._places(found, items)
        items = items[order]
        return items, refutations(found.nodes.clause[items], table[order], self._multipliers(found, items))

    def _multipliers(self, found: Bounded, items: Ints) -> Splits:
        maps, i = found.maps, found.maps.index(items)
        return multipliers(self._neurons, maps, found.nodes.side[i], found.best.beta[i])

    def _places(self, found: Bounded, items: Ints) -> Ints:
        """Where the problem's tables hold the slopes of closed nodes, once for each source: new ones join them."""
        source = np.where(found.own[items], ~items, found.nodes.source[items])
        each, first, which = np.unique(source, return_index=True, return_inverse=True)
        place = np.array([self._placed.get(s, -1) for s in each.tolist()], np.int64)
        new = np.flatnonzero(place < 0)
        new = new[np.argsort(first[new])]
        place[new] = self.problem.files.add(self._tables(found, items[first[new]]))
        self._placed |= {s: p for s, p in zip(each[new].tolist(), place[new].tolist(), strict=True) if s >= 0}
        return place[which]

    def _tables(self, found: Bounded, items: Ints) -> list[tc.SlopeTable]:
        """The slopes of some of the bounded nodes. Where others may share them, every one is kept."""
        maps, i = found.maps, found.maps.index(items)
        shared = maps.index(~found.own[items])[:, None] > 0
        return slope_tables(self._neurons, maps, found.best.alpha[i], found.best.upper[i], shared)

    def _agreed(self, found: Bounded, items: Ints) -> Ints:
        """Those of some nodes whose clauses the kernel refutes with the optimised numbers."""
        homes, home = np.unique(found.nodes.home[items], return_inverse=True)
        state = states(self.state, self._neurons, self._lo[homes], self._hi[homes])
        side = found.maps.get(found.nodes.side[found.maps.index(items)])
        row, n = np.nonzero(side)
        value, entry, sign = self._neurons.value[n], self._neurons.entry[n], side[row, n].astype(np.int64)
        cuts = Cuts.of(state, home, Splits(row, value, entry, sign, np.zeros(len(row))))
        slopes = slope_rows(self._tables(found, items), self.problem.network.places)
        push = pushes(self._multipliers(found, items))
        asked = [(c, ()) for c in found.nodes.clause[items].tolist()]
        begun = self.problem.deadline.spent
        agrees = self.problem.kernel.refute(state, asked, slopes, push, cuts)
        self._asked, self._took = self._asked + len(items), self._took + self.problem.deadline.spent - begun
        return items[agrees]

    def seconds(self, nodes: int) -> float:
        """About how many seconds the replay of a tree with so many nodes takes: a device visits more than it can."""
        return 0.5 * nodes * self._took / max(1, self._asked) / self.problem.replayers
