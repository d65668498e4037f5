"""Trees of relu splits below one state, whose boxes change only where a split says so.

The nodes of a batch optimise slopes and split multipliers together. What looks refuted becomes a refutation with the
same numbers (refuter.py); the others are split (choice.py).

Source   Wang et al. 2021, arXiv:2103.06624 (multipliers)
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.verify.attack import descend
from torchlean.verify.bounded import Bounded
from torchlean.verify.cases import Case, stacked
from torchlean.verify.choice import BALANCE, choose, costs, first_multiplier
from torchlean.verify.dual import Boxes, Dual, Neurons, Split
from torchlean.verify.facets import learn
from torchlean.verify.forms import Clause, Forms
from torchlean.verify.maps import Engine
from torchlean.verify.nodes import Nodes, Queue
from torchlean.verify.outcome import Budget, Stuck
from torchlean.verify.planes import Family
from torchlean.verify.problem import Problem
from torchlean.verify.refuter import Refuter
from torchlean.verify.tables import on_grid

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]

STEPS_ROOT, STEPS, STEPS_OWN, STEPS_LAST = 60, 10, 16, 60
LEVELS = 16  # of a tree with the same slopes: a table in the certificate holds them for all leaves below
TRIAL = 400  # nodes of a tree that is tried, at least
HOPE = 8  # times what its lines may cost a bound: what splits may give it
SOON = 0.4  # of a tree's time, after which it is given up where little of it is closed
LOOKS = 8  # batches to one look: a descent from the minimisers of the least bounds, and a question to the kernel


class Left(NamedTuple):
    """Tree nodes that are open, and the home of each."""

    number: Ints
    home: Ints


class Relus:
    """Trees below one state, which has these splits above it; each below a case of its own, once cases were entered.

    trust    whether what the kernel need not see at once may wait for the replay of the whole tree
    """

    def __init__(
        self,
        problem: Problem,
        state: tc.State,
        engine: Engine,
        splits: tuple[Split, ...],
        trust: bool,
    ) -> None:
        self.problem, self.state, self.engine = problem, state, engine
        self.splits, self.trust, self.balance = splits, trust, BALANCE
        region = problem.region
        count = np.bincount(region.row_clause, minlength=len(region.clauses))[:, None]
        first = np.cumsum(count)[:, None] - count
        self._rows_of = first + np.minimum(np.arange(count.max(initial=1)), count - 1)  # a clause's last one repeated
        self.target = 4 * float(problem.slack().max())
        self.family: Family | None = None
        self.visited = self._batches = self._source = 0
        self.refuter = Refuter(problem, state, self.target, trust)
        self.settle()

    def beside(self) -> Relus:
        """Another for a lane of its own (lanes.py), with a clock and homes of its own; what is recorded is shared."""
        made = copy(self)
        made.problem = copy(self.problem)
        made.problem.deadline = copy(self.problem.deadline)
        made.refuter = copy(self.refuter)
        made.refuter.problem = made.problem
        made.visited = made._batches = 0
        made._live_in(self.lo, self.hi)
        return made

    def settle(self) -> None:
        """Take the boxes of the state as they are now."""
        boxes: Boxes = {k: (lo[0], hi[0]) for k, (lo, hi) in self.state.boxes.items()}
        self.boxes, self.neurons = boxes, Neurons.of(boxes, self.splits, self.family)
        self.lo, self.hi = self.neurons.lo[None], self.neurons.hi[None]
        self.take_maps()

    def raise_planes(self, family: Family | None = None) -> None:
        """Have these planes; None: learn some for the open clauses, in the place of those that there are."""
        if family is None:
            forms = self.forms(self.maps.index(self._rows(self.root(0))))
            family = learn(self.problem, self.boxes, self.splits, self.maps, forms, self.target, self.family)
        self.family = family
        self.settle()

    def take_maps(self) -> None:
        """Work in the engine's arrays."""
        self.maps = self.engine.maps
        self.dual = Dual(self.problem.kernel, self.boxes, self.neurons, self.maps)
        if self.engine.heavy:  # else numpy has a few points' values before a device is asked for them
            self.problem.target = replace(self.problem.target, maps=self.maps)
        region, put = self.problem.region, self.maps.put
        direct = put(region.rows_x) if region.rows_x.any() else None
        self._inequalities = Clause(put(region.rows_y), direct, put(region.rows_c))
        self._live_in(self.lo, self.hi)

    def enter(self, cases: Sequence[Case]) -> None:
        """Let the homes of nodes be these cases."""
        self._live_in(stacked(cases, "lo"), stacked(cases, "hi"))

    def repeat(self, count: int) -> None:
        """Let there be so many homes, each with the boxes of the state itself."""
        self._live_in(*(np.repeat(end[None], count, axis=0) for end in (self.neurons.lo, self.neurons.hi)))

    def _live_in(self, lo: F64, hi: F64) -> None:
        self.refuter.enter(self.neurons, lo, hi)
        self.lo, self.hi = lo, hi  # [homes, U]
        self._put = self.maps.put(lo), self.maps.put(hi)

    def box(self, home: Any) -> tuple[Any, Any]:
        """The boxes of each node's case.   home: of these maps"""
        if len(self.lo) == 1:
            return self._put[0][0], self._put[1][0]
        return self._put[0][home], self._put[1][home]

    def root(self, number: int) -> Nodes:
        """The state itself, once for each open clause."""
        clauses = np.flatnonzero(self.state.open[0])
        side = np.repeat(self.neurons.side(self.splits)[None], len(clauses), axis=0)
        return self._nodes(np.full(len(clauses), number), clauses, np.zeros(len(clauses), np.int64), side)

    def roots(self, cases: Sequence[Case]) -> Nodes:
        """The cases that were entered."""
        number = np.array([case.number for case in cases])
        clause = np.array([case.clause for case in cases])
        nodes = self._nodes(number, clause, np.arange(len(cases)), stacked(cases, "side"))
        known = {j: c.start for j, c in enumerate(cases) if c.start is not None and c.start.maps is self.maps}
        if known:
            i, stack = self.maps.index(np.array(list(known))), self.maps.xp.stack
            nodes.alpha[i] = stack([start.alpha for start in known.values()])
            nodes.beta[i] = stack([start.beta for start in known.values()])
        return nodes

    def _nodes(self, number: Ints, clause: Ints, home: Ints, side: NDArray[np.int8]) -> Nodes:
        alpha = self.maps.put(np.repeat(self.neurons.default()[None], len(number), axis=0))
        host = number, clause, home, 0 * number, self._sources(len(number))
        return Nodes(*host, self.maps.put(side), alpha, self.maps.zeros(*side.shape))

    def _sources(self, count: int) -> Ints:
        """New ones."""
        self._source += count
        return np.arange(self._source - count, self._source)

    def grow(self, builder: tc.TreeBuilder, nodes: Nodes, seconds: float, most: int) -> Left | None:
        """Visit nodes, those of the last home first, until none is open; returns what is left, and what no split helps.

        Their boxes may be at fault, which were narrowed for other splits: a search may narrow them for these.
        seconds   with the replay's, after which the tree is given up, if TRIAL nodes were visited: earlier where little
                  is closed, later where most is
        most      nodes in each home, after which it is given up in the same way
        """
        clock, memory, visited = self.problem.deadline, self.problem.deadline.memory, self.visited
        self._aside: list[tuple[Ints, Ints]] = []
        queue, start, homes = Queue(nodes, self.maps), clock.spent, len(np.unique(nodes.home))
        while len(queue):
            clock.check()
            more = self.visited - visited
            used = max((clock.spent - start + self.refuter.seconds(more)) / max(seconds, 1e-9), more / (most * homes))
            if more > TRIAL and _given_up(used, queue.closed()):
                left = queue.all()
                self._aside.append((left.number, left.home))
                break
            if self.engine.move(clock.spent):
                self.take_maps()
                queue.move(self.maps)
            batch = queue.pop(memory.size(self.engine.batch(len(self.neurons))))
            children = memory.attempt(lambda batch=batch: self._visit(builder, batch), len(batch), builder)  # type: ignore[misc]
            queue.push(batch if children is None else children)
        return Left(*map(np.concatenate, zip(*self._aside, strict=True))) if self._aside else None

    def _visit(self, builder: tc.TreeBuilder, batch: Nodes) -> Nodes:
        """Bound a batch of nodes; returns the children of those that stay open."""
        found, looks = self.bound(batch, STEPS, hold=True), self._batches % LOOKS == 0
        if looks:
            self.descend(found)
        self._batches += 1
        left = self._record(builder, found, looks)
        due = batch.depth[left] % LEVELS == 0
        halves = self._halves(builder, found, left[~due])
        if not due.any():
            return halves
        again = self.bound(found.improved(left[due]), STEPS_OWN)
        more = self._halves(builder, again, self._record(builder, again, looks))
        return Nodes.join([halves, more], self.maps.xp)

    def _record(self, builder: tc.TreeBuilder, found: Bounded, ask: bool) -> Ints:
        """Record the refutations of nodes; returns the positions of the others."""
        closed, made = self.refuter.refute(found, ask=ask)
        builder.record_all(found.nodes.number[closed], made)
        return np.delete(np.arange(len(found.nodes)), closed)

    def _halves(self, builder: tc.TreeBuilder, found: Bounded, items: Ints) -> Nodes:
        """The children of some of the bounded nodes; those that no split can help here are put aside."""
        if not len(items):
            return found.nodes.take(slice(0, 0))
        dear, none = costs(self, found, items)
        lost = self._beyond(found, items) | none
        if lost.any():
            self._aside.append((found.nodes.number[items[lost]], found.nodes.home[items[lost]]))
        kept = np.flatnonzero(~lost)
        return self._split(builder, found, items[kept], dear[self.maps.index(kept)])

    def bound(self, nodes: Nodes, steps: int, hold: bool = False) -> Bounded:
        """The best bound of each node's clause.

        hold    whether the slopes stay as they are
        """
        self.visited += len(nodes)
        given, home = (nodes.side, nodes.alpha, nodes.beta), self.maps.index(nodes.home)
        row = self._rows(nodes)
        forms, box = self.forms(self.maps.index(row)), self.box(home)
        best = self.dual.maximise(forms, *given, steps, target=self.target, box=box, hold=hold)
        own = np.full(len(nodes), not hold)
        xp = self.maps.xp
        chords = xp.where(best.upper < 0, xp.clip(best.cost, 0, None), self.dual.zero).sum(-1)
        host = np.array(self.maps.get(xp.stack([best.value, best.charge, best.cost.sum(-1), chords])))
        last = np.flatnonzero((host[3] <= 0) & (host[0] <= self.target))
        if len(last):  # no split gains: without a chord, the best slopes and multipliers make the bound exact
            i = self.maps.index(last)
            start, forms, box = (given[0][i], best.alpha[i], best.beta[i]), forms.take(i), self.box(home[i])
            more = self.dual.maximise(forms, *start, STEPS_LAST, target=self.target, box=box)
            own[last] = True
            for name in ("value", "charge", "alpha", "beta", "upper", "cost", "point"):
                getattr(best, name)[i] = getattr(more, name)
            host[:3, last] = self.maps.get(xp.stack([more.value, more.charge, more.cost.sum(-1)]))
        value, charge, cost, _ = host
        return Bounded(nodes, row, best, value, own, charge, cost, self.maps)

    def _rows(self, nodes: Nodes) -> Ints:
        """Of each clause's inequalities, the one whose bound is best before any optimisation."""
        each = self._rows_of[nodes.clause]
        chosen: Ints = each[:, 0]
        if (each[:, -1] == chosen).all():
            return chosen
        most, given = np.full(len(nodes), -np.inf), (nodes.side, nodes.alpha, nodes.beta)
        box = self.box(self.maps.index(nodes.home))
        for tried in each.T:
            forms = self.forms(self.maps.index(tried))
            value = self.maps.get(self.dual.maximise(forms, *given, 0, box=box).value)
            chosen, most = np.where(value > most, tried, chosen), np.maximum(most, value)
        return chosen

    def forms(self, row: Any) -> Forms:
        """The inequalities' g as forms of the output.   row: of these maps"""
        g = self._inequalities
        return Forms(self.problem.network.output, g.rows[row], None if g.direct is None else g.direct[row], g.bias[row])

    def descend(self, found: Bounded) -> None:
        """Look at the minimisers of the least bounds, after a short descent. Raises Found."""
        worst = np.argsort(found.value, kind="stable")[:8]
        target = self.problem.target
        start = target.clip(self.maps.get(found.best.point[self.maps.index(worst)]))
        points, g = descend(target, start, found.nodes.clause[worst], 5, self.problem.deadline, size=0.1)
        if (g <= 0).any():
            self.problem.try_points(points[np.argsort(g)])

    def children(self, builder: tc.TreeBuilder, found: Bounded, items: Ints) -> Nodes:
        """Both children of some of the bounded nodes. Raises Budget or Stuck where no split can help."""
        if self._beyond(found, items).any():
            raise Budget
        dear, none = costs(self, found, items)
        if none.any():
            if self._real(found, items)[none].all():
                raise Budget
            raise Stuck("every relu that matters is decided, and the bound still does not close")
        return self._split(builder, found, items, dear)

    def _split(self, builder: tc.TreeBuilder, found: Bounded, items: Ints, dear: Any) -> Nodes:
        """Both children of some of the bounded nodes, each of which a split may help; dear: their `choice.costs`."""
        maps, xp, nodes, best = self.maps, self.maps.xp, found.nodes, found.best
        chosen = choose(self, found, items, dear) if len(items) else items
        value, entry = self.neurons.value[chosen], self.neurons.entry[chosen]
        numbers = builder.split_value(nodes.number[items], value, entry, 0.0)
        i, at = maps.index(items), (maps.count(len(items)), maps.index(chosen))
        # held slopes are those of a table: with others a node may close by a hair that the kernel does not find
        alpha, upper = on_grid(xp, best.alpha[i]), best.upper[i]
        source = np.where(found.own[items], self._sources(len(items)), nodes.source[items])
        parts = []
        for number, sign in zip(numbers, (-1, 1), strict=True):
            side, beta = nodes.side[i], best.beta[i]  # copies
            side[at], beta[at] = sign, first_multiplier(xp, alpha[at], upper[at], sign)
            host = number, nodes.clause[items], nodes.home[items], nodes.depth[items] + 1, source
            parts.append(Nodes(*host, side, alpha, beta))
        return Nodes.join(parts, xp)

    def _real(self, found: Bounded, items: Ints) -> NDArray[np.bool_]:
        """Whether float32's rounding alone keeps a bound open."""
        if self.problem.semantics == "real":
            return np.zeros(len(items), np.bool_)
        closed: NDArray[np.bool_] = (found.value + found.charge)[items] > self.target
        return closed

    def _beyond(self, found: Bounded, items: Ints) -> NDArray[np.bool_]:
        """Whether rounding alone keeps a bound open, and by more than any split may give."""
        return self._real(found, items) & ((found.value + HOPE * found.cost)[items] < 0)


def _given_up(used: float, closed: float) -> bool:
    """Whether to give up a tree that used this share of its time and is closed to this share: so it would not end."""
    return used > 1 + closed or (used > SOON and closed < 0.25 * used)
