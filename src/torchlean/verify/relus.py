"""Trees of relu splits below one state, whose boxes change only where a split says so.

The nodes of a batch optimise slopes and split multipliers together. What looks refuted becomes a refutation with the
same numbers: the kernel repeats the most doubtful ones of some batches, and where it agrees to them the others wait for
the replay of the whole tree (seal.py), which decides.

The neuron to split is the one whose two sides gain most (`worth`). What they may gain at most is read off the bound's
minimiser for all neurons by one walk (walk.py); the few that look best are bounded on both sides.

Source   De Palma et al. 2021, arXiv:2104.06718 (the best few are tried on both sides before one is taken); Wang et al.
         2021, arXiv:2103.06624 (multipliers)
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import fields, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.frozen import frozen
from torchlean.verify.ascent import NARROW, Best
from torchlean.verify.attack import descend
from torchlean.verify.cases import Case, stacked, states
from torchlean.verify.dual import Boxes, Dual, Neurons, Split
from torchlean.verify.facets import learn
from torchlean.verify.forms import Clause, Forms
from torchlean.verify.maps import Engine, Maps
from torchlean.verify.nodes import HOST, Nodes, Queue
from torchlean.verify.outcome import Budget, Stuck
from torchlean.verify.planes import Family
from torchlean.verify.problem import Problem
from torchlean.verify.tables import multipliers, on_grid, pushes, slope_tables
from torchlean_check.cuts import Cuts
from torchlean_check.packed import Records
from torchlean_check.pushes import Splits
from torchlean_check.records import slope_rows
from torchlean_check.woven import refutations

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]

STEPS_ROOT, STEPS, STEPS_OWN, STEPS_LAST = 60, 10, 16, 60
LEVELS = 16  # of a tree with the same slopes: a table in the certificate holds them for all leaves below
TRIAL = 400  # nodes of a tree that is tried, at least
CANDIDATES = 4  # neurons that are tried on both sides
BALANCE = 0.3  # 0: of two splits, the one with the greater product of gains is better; 1: with the greater sum
SHARE = 1e-3  # of what its lines may cost: what a side of a neuron may gain at least, where none looks better
LEAST = 1e-9  # what a side gains at least
HOPE = 8  # times what its lines may cost a bound: what splits may give it
SOON = 0.4  # of a tree's time, after which it is given up where little of it is closed
DOUBTFUL = 16  # refutations that the kernel repeats before others wait for the replay, and more where it disagrees
LOOKS = 8  # batches to one look: a descent from the minimisers of the least bounds, and a question to the kernel


@frozen(eq=False)
class Bounded:
    """Nodes with the bounds of their clauses, each by the one inequality in `row`, in the arrays of these maps.

    own     whether each has slopes of its own: else it has those of its nodes
    Shapes  row, value, own: [N]
    """

    nodes: Nodes
    row: Ints
    best: Best
    value: F64
    own: NDArray[np.bool_]
    maps: Maps

    def at(self, number: Ints, home: Ints | None = None) -> Bounded:
        """The same at other tree nodes, and in other homes."""
        home = self.nodes.home if home is None else home
        return replace(self, nodes=replace(self.nodes, number=number, home=home))

    def improved(self, items: Ints) -> Nodes:
        """Some of the nodes, starting from where their bounds were reached."""
        i = self.maps.index(items)
        host = {name: getattr(self.nodes, name)[items] for name in HOST}
        return Nodes(**host, side=self.nodes.side[i], alpha=self.best.alpha[i], beta=self.best.beta[i])

    @staticmethod
    def join(parts: Sequence[tuple[Bounded, int]], maps: Maps) -> Bounded:
        """One item of each."""

        def moved(found: Bounded, a: Any) -> Any:
            return a if found.maps is maps else maps.put(found.maps.get(a))

        nodes = Nodes.join(
            [found.nodes.take(slice(j, j + 1)).put(partial(moved, found)) for found, j in parts], maps.xp
        )
        columns: dict[str, Any] = {}
        for name in (f.name for f in fields(Best)):
            mine = [(found, getattr(found.best, name), j) for found, j in parts]
            none = mine[0][1] is None
            columns[name] = None if none else maps.xp.stack([moved(found, a[j : j + 1])[0] for found, a, j in mine])
        row, value, own = (
            np.array([getattr(found, name)[j] for found, j in parts]) for name in ("row", "value", "own")
        )
        return Bounded(nodes, row, Best(**columns), value, own, maps)


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
        self._asked, self._took = 0, 0.0  # leaves that the kernel has seen, and the seconds that it took
        self._sure = False  # whether it agreed to all that it was asked the last time
        self.settle()

    def beside(self) -> Relus:
        """Another for a lane of its own (lanes.py), with a clock and homes of its own; what is recorded is shared."""
        made = copy(self)
        made.problem = copy(self.problem)
        made.problem.deadline = copy(self.problem.deadline)
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
            forms = self._forms(self.maps.index(self._rows(self.root(0))))
            family = learn(self.problem, self.boxes, self.splits, self.maps, forms, self.target, self.family)
        self.family = family
        self.settle()

    def take_maps(self) -> None:
        """Work in the engine's arrays."""
        self.maps = self.engine.maps
        self.dual = Dual(self.problem.kernel, self.boxes, self.neurons, self.maps)
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
        self._placed: dict[int, int] = {}  # source -> where the problem's tables hold it
        self.lo, self.hi = lo, hi  # [homes, U]
        self._put = self.maps.put(lo), self.maps.put(hi)

    def _box(self, home: Any) -> tuple[Any, Any]:
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
        for j, case in enumerate(cases):
            if case.start is not None and case.start.maps is self.maps:
                nodes.alpha[j], nodes.beta[j] = case.start.alpha, case.start.beta
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
            used = max((clock.spent - start + self.replay_of(more)) / max(seconds, 1e-9), more / (most * homes))
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
        closed, made = self.refute(found, ask=ask)
        builder.record_all(found.nodes.number[closed], made)
        return np.delete(np.arange(len(found.nodes)), closed)

    def _halves(self, builder: tc.TreeBuilder, found: Bounded, items: Ints) -> Nodes:
        """The children of some of the bounded nodes; those that no split can help here are put aside."""
        if not len(items):
            return found.nodes.take(slice(0, 0))
        costs = self._costs(found, items)
        lost = self._beyond(found, items) | self._decided(costs)
        if lost.any():
            self._aside.append((found.nodes.number[items[lost]], found.nodes.home[items[lost]]))
        kept = np.flatnonzero(~lost)
        return self._split(builder, found, items[kept], costs[self.maps.index(kept)])

    def bound(self, nodes: Nodes, steps: int, hold: bool = False) -> Bounded:
        """The best bound of each node's clause.

        hold    whether the slopes stay as they are
        """
        self.visited += len(nodes)
        given, home = (nodes.side, nodes.alpha, nodes.beta), self.maps.index(nodes.home)
        row = self._rows(nodes)
        forms, box = self._forms(self.maps.index(row)), self._box(home)
        best = self.dual.maximise(forms, *given, steps, target=self.target, box=box, hold=hold)
        own = np.full(len(nodes), not hold)
        chords = self.maps.xp.where(best.upper < 0, best.cost, self.dual.zero)
        last = np.flatnonzero(self.maps.get((chords <= 0).all(-1) & (best.value <= self.target)))
        if len(last):  # no split gains: without a chord, the best slopes and multipliers make the bound exact
            i = self.maps.index(last)
            start, forms, box = (given[0][i], best.alpha[i], best.beta[i]), forms.take(i), self._box(home[i])
            more = self.dual.maximise(forms, *start, STEPS_LAST, target=self.target, box=box)
            own[last] = True
            for name in ("value", "charge", "alpha", "beta", "upper", "cost", "point"):
                getattr(best, name)[i] = getattr(more, name)
        return Bounded(nodes, row, best, self.maps.get(best.value), own, self.maps)

    def _rows(self, nodes: Nodes) -> Ints:
        """Of each clause's inequalities, the one whose bound is best before any optimisation."""
        each = self._rows_of[nodes.clause]
        chosen: Ints = each[:, 0]
        if (each[:, -1] == chosen).all():
            return chosen
        most, given = np.full(len(nodes), -np.inf), (nodes.side, nodes.alpha, nodes.beta)
        box = self._box(self.maps.index(nodes.home))
        for tried in each.T:
            forms = self._forms(self.maps.index(tried))
            value = self.maps.get(self.dual.maximise(forms, *given, 0, box=box).value)
            chosen, most = np.where(value > most, tried, chosen), np.maximum(most, value)
        return chosen

    def _forms(self, row: Any) -> Forms:
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
        i = self.maps.index(items)
        return multipliers(self.neurons, self.maps, found.nodes.side[i], found.best.beta[i])

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
        maps, i = self.maps, self.maps.index(items)
        shared = maps.index(~found.own[items])[:, None] > 0
        return slope_tables(self.neurons, maps, found.best.alpha[i], found.best.upper[i], shared)

    def _agreed(self, found: Bounded, items: Ints) -> Ints:
        """Those of some nodes whose clauses the kernel refutes with the optimised numbers."""
        homes, home = np.unique(found.nodes.home[items], return_inverse=True)
        state = states(self.state, self.neurons, self.lo[homes], self.hi[homes])
        side = self.maps.get(found.nodes.side[self.maps.index(items)])
        row, n = np.nonzero(side)
        value, entry, sign = self.neurons.value[n], self.neurons.entry[n], side[row, n].astype(np.int64)
        cuts = Cuts.of(state, home, Splits(row, value, entry, sign, np.zeros(len(row))))
        slopes = slope_rows(self._tables(found, items), self.problem.network.places)
        push = pushes(self._multipliers(found, items))
        asked = [(c, ()) for c in found.nodes.clause[items].tolist()]
        begun = self.problem.deadline.spent
        agrees = self.problem.kernel.refute(state, asked, slopes, push, cuts)
        self._asked, self._took = self._asked + len(items), self._took + self.problem.deadline.spent - begun
        return items[agrees]

    def replay_of(self, nodes: int) -> float:
        """About how many seconds the replay of a tree with so many nodes takes: a device visits more than it can."""
        return 0.5 * nodes * self._took / max(1, self._asked) / self.problem.replayers

    def children(self, builder: tc.TreeBuilder, found: Bounded, items: Ints) -> Nodes:
        """Both children of some of the bounded nodes. Raises Budget or Stuck where no split can help."""
        if self._beyond(found, items).any():
            raise Budget
        costs = self._costs(found, items)
        decided = self._decided(costs)
        if decided.any():
            if self._real(found, items)[decided].all():
                raise Budget
            raise Stuck("every relu that matters is decided, and the bound still does not close")
        return self._split(builder, found, items, costs)

    def _split(self, builder: tc.TreeBuilder, found: Bounded, items: Ints, costs: Any) -> Nodes:
        """Both children of some of the bounded nodes, each of which a split may help; costs: theirs, see `_costs`."""
        maps, xp, nodes, best = self.maps, self.maps.xp, found.nodes, found.best
        chosen = self._choose(found, items, costs) if len(items) else items
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
        closed: NDArray[np.bool_] = (found.value + np.asarray(self.maps.get(found.best.charge)))[items] > self.target
        return closed

    def _beyond(self, found: Bounded, items: Ints) -> NDArray[np.bool_]:
        """Whether rounding alone keeps a bound open, and by more than any split may give."""
        cost = np.asarray(self.maps.get(found.best.cost.sum(-1)))
        return self._real(found, items) & ((found.value + HOPE * cost)[items] < 0)

    def _costs(self, found: Bounded, items: Ints) -> Any:
        """What the lines of each neuron may cost, 0 where it is not to be split.   Shapes  -> [N, U]"""
        xp, nodes, at = self.maps.xp, found.nodes, self.maps.index(items)
        lo, hi = self._box(self.maps.index(nodes.home[items]))
        free = (nodes.side[at] == 0) & (lo < 0) & (hi > 0)
        costs = xp.where(free, xp.nan_to_num(found.best.cost[at]), self.dual.zero)
        none = xp.amax(costs, -1) <= 0
        if bool(none.any()):  # it closes only if the splits above contradict each other
            other = xp.nan_to_num(self._costs_of_contradiction(found, items))
            costs = xp.where(none[:, None] & free, other, costs)
        return costs

    def _decided(self, costs: Any) -> NDArray[np.bool_]:
        """Whether no neuron is left that matters."""
        return np.asarray(self.maps.get(self.maps.xp.amax(costs, -1) <= 0))

    def _choose(self, found: Bounded, items: Ints, cost: Any) -> Ints:
        """The neuron to split for each item: of those whose sides may gain most, the one whose sides gain most."""
        maps, xp, nodes, best = self.maps, self.maps.xp, found.nodes, found.best
        at, home, row = (maps.index(column) for column in (items, nodes.home, found.row))
        lo, hi = self._box(home[at])
        count = min(CANDIDATES, cost.shape[1])
        most = maps.largest(self._hopes(found, at, row[at], (lo, hi), cost), count)
        every = maps.count(2 * len(items) * count)  # both sides of each candidate of each item
        each, neuron, values = at[every // (2 * count)], most.reshape(-1)[every // 2], []
        sign = (2 * (every % 2) - 1) * self.dual.one
        size = self.problem.deadline.memory.size(self.engine.batch(len(self.neurons)))
        for start in range(0, len(every), size):
            part = slice(start, start + size)
            i, signs, entry = each[part], sign[part], (maps.count(len(each[part])), neuron[part])
            side, alpha, beta, upper = nodes.side[i], best.alpha[i], best.beta[i], best.upper[i]  # copies
            low, high = (first_multiplier(xp, alpha[entry], upper[entry], s) for s in (-1, 1))
            side[entry], beta[entry] = signs, xp.where(signs < 0, low, high)
            forms, box = self._forms(row[i]), self._box(home[i])
            values.append(self.dual.maximise(forms, side, alpha, beta, 0, box=box).value)
        value = np.asarray(maps.get(xp.concatenate(values)), np.float64)
        both = np.minimum(value.reshape(len(items), count, 2), self.target)
        low, high = np.moveaxis(np.maximum(both - found.value[items, None, None], LEAST), 2, 0)
        score = np.nan_to_num(worth(low, high, self.balance))  # what is no number is no gain
        rows = maps.count(len(items))
        score[maps.get(best.upper[at[:, None], most]) >= 0] = 0.0  # no chord is in use: nothing was gained
        score[maps.get(cost[rows[:, None], most]) <= 0] = -np.inf
        return np.asarray(maps.get(most[rows, maps.index(score.argmax(axis=1))]))

    def _hopes(self, found: Bounded, at: Any, row: Any, box: tuple[Any, Any], cost: Any) -> Any:
        """A score of each neuron, by what its sides may gain; where no chord is in use, by what its lines cost.

        Shapes  at, row: [N], indices of the maps; box: [N, U] or [U] each; cost: [N, U] -> [N, U]
        """
        xp, nodes, best = self.maps.xp, found.nodes, found.best
        _, *sides = self.dual.gains(self._forms(row), nodes.side[at], best.alpha[at], best.beta[at], box=box)
        need = xp.clip(self.target - xp.nan_to_num(best.value[at]), LEAST, None)[:, None]
        low, high = (xp.minimum(xp.maximum(xp.nan_to_num(gain), SHARE * cost), need) for gain in sides)
        score = worth(low, high, self.balance)
        return xp.where(cost > 0, xp.where(best.upper[at] < 0, score, LEAST * score), self.dual.zero)

    def _costs_of_contradiction(self, found: Bounded, items: Ints) -> Any:
        """What the lines of each neuron cost the bound of all splits together, each in the measure of its width."""
        maps, at = self.maps, self.maps.index(items)
        forms, (lo, hi) = self._forms(maps.index(found.row[items])), self._box(maps.index(found.nodes.home[items]))
        side = found.nodes.side[at]
        beta = abs(side) / maps.xp.clip(hi - lo, NARROW, None)
        return self.dual.maximise(forms, side, found.best.alpha[at], beta, 0, box=(lo, hi)).cost


def _given_up(used: float, closed: float) -> bool:
    """Whether to give up a tree that used this share of its time and is closed to this share: so it would not end."""
    return used > 1 + closed or (used > SOON and closed < 0.25 * used)


def worth(low: Any, high: Any, balance: float = BALANCE) -> Any:
    """A score of splits by what both sides gain: the greater, the smaller the tree.

    If all splits below gained as much, a bound that lacks d would take about exp(y d) leaves, where exp(-y low) +
    exp(-y high) = 1. Their power mean of exponent BALANCE is log 2 / y within 3 % where one gains up to 100 times the
    other: a side that closes is worth more than a product says.

    Shapes   any, the same of both; balance: the exponent
    Source   Le Bodic and Nemhauser 2015, arXiv:1511.01818 (trees whose splits all gain as much)
    """
    return low**balance + high**balance


def first_multiplier(xp: Any, alpha: Any, upper: Any, side: int) -> Any:
    """A new split's multiplier with which the lower line of slope alpha is what it was before the split."""
    return xp.clip(upper, 0, None) * (alpha if side < 0 else 1 - alpha)
