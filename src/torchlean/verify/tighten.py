"""Tighter boxes of hidden neurons where one clause alone is open, for many tree nodes at once (INVPROP).

Only what violates that clause counts: multiples of its inequalities, which are <= 0 there, join the bound of each
unstable neuron, whose slopes, split multipliers and clause multipliers are optimised together. What a bound gains by
them is taken over as it is, less a margin for float32, and becomes a derivation that the replay of the whole tree
repeats (seal.py); a search that trusts nothing lets the kernel derive it at once.

Source   Kotha et al. 2023, arXiv:2302.01404; Xu et al. 2021, arXiv:2011.13824 (slopes)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.verify.ascent import Best, Given
from torchlean.verify.cases import Case, Warm, stacked, states
from torchlean.verify.clock import Deadline
from torchlean.verify.derive import MARGIN, derive, helps, take
from torchlean.verify.forks import Trees, fork
from torchlean.verify.forms import Clause, Forms
from torchlean.verify.maps import Maps
from torchlean.verify.relus import Relus
from torchlean.verify.tables import multipliers, slope_tables
from torchlean_check.woven import bounds

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]

STEPS = 10
LEAST = 0.01  # of the mean width of a value: with less, values further from the output are left alone


class Tightening:
    """Passes over the hidden values of cases below the state of `relus`, in each of which one of some clauses is open.

    scales   clause -> the size of its g, on which its multipliers are measured
    """

    def __init__(self, relus: Relus, scales: Mapping[int, float]) -> None:
        self.relus, self.problem = relus, relus.problem
        of = self.problem.region.row_clause
        self.rows = np.flatnonzero(np.isin(of, list(scales)))
        self.of = of[self.rows]
        self.place = np.array([(self.of[:r] == c).sum() for r, c in enumerate(self.of.tolist())])  # in its clause
        self.scale = np.array([scales[c] for c in self.of.tolist()])
        self._joins: tuple[Maps, Clause] | None = None

    def beside(self, relus: Relus) -> Tightening:
        """The same below a state of its own lane; what is recorded is shared."""
        self._clause()
        made = copy(self)
        made.relus, made.problem = relus, relus.problem
        return made

    def cycle(self, cases: list[Case], share: Deadline, leaves: int = 1) -> None:
        """From the last value towards the first, until two in turn gain little by the clause, and back to the last.

        leaves   of each bound's own tree (forks.py)
        """
        values = sorted(self.problem.network.relu_inputs, reverse=True)
        gains: dict[Case, list[float]] = {case: [] for case in cases}
        going = cases
        for value in values:
            for case, gain in zip(going, self._value(value, going, share, leaves), strict=True):
                gains[case].append(gain)
            going = [c for c in going if not c.empty and (len(gains[c]) < 2 or max(gains[c][-2:]) >= LEAST)]
            if not going:
                break
        furthest = {c: max((i for i, gain in enumerate(g) if gain >= LEAST), default=0) for c, g in gains.items()}
        for i in range(max(furthest.values()) - 1, -1, -1):  # they read what was tightened
            if again := [c for c in cases if i < furthest[c] and not c.empty]:
                self._value(values[i], again, share, leaves)

    def _value(self, value: int, cases: list[Case], share: Deadline, leaves: int) -> list[float]:
        """Both sides of every unstable neuron of one value; returns the share of their mean width that is gone."""
        relus, maps, memory = self.relus, self.relus.maps, self.problem.deadline.memory
        part = relus.neurons.at[value]
        lo, hi = (np.stack([end[part] for end in ends]) for ends in ([c.lo for c in cases], [c.hi for c in cases]))
        open_ = (lo < 0) & (hi > 0)
        for c, own in enumerate(cases):
            open_[c] &= True if own.matters is None else own.matters[part]
        case, column = np.nonzero(open_)
        if not len(case) or share.left < 0:
            return [0.0] * len(cases)
        case, column, sign = np.repeat(case, 2), np.repeat(column, 2), np.tile([1.0, -1.0], len(case))
        wide = (hi - lo)[case, column]
        old = np.where(sign > 0, lo[case, column], -hi[case, column]) / wide
        entry, factor, home = maps.index(relus.neurons.index[value][column]), maps.put(sign / wide), maps.index(case)
        parts = [slice(a, b) for a, b in pairwise(np.searchsorted(case, np.arange(len(cases) + 1)).tolist())]
        duals, (k, u) = self._start(value, cases, parts, column, sign), (relus.neurons.width, len(relus.neurons))
        alpha, beta, weight = duals[:, :k], duals[:, k : k + u], duals[:, k + u :]
        hold = self._holds(value, cases)
        if hold:
            alpha[...] = maps.xp.stack([c.start.alpha for c in cases if c.start is not None])[home]
        sides, *box = (maps.put(stacked(cases, name)) for name in ("side", "lo", "hi"))
        usual, width = relus.engine.batch(len(relus.neurons)), relus.dual.network.nodes[value].size
        own = maps.put((np.array([c.clause for c in cases])[case][:, None] == self.of).astype(np.float64))
        clause, done = self._clause(), 0
        while done < len(case) and not share.left < 0:
            self.problem.deadline.check()
            size = memory.size(usual)
            rows = slice(done, min(done + size, len(case)))
            count, i = rows.stop - done, home[rows]
            side, boxes = sides[i], (box[0][i], box[1][i])
            forms = Forms.entries(maps, value, width, entry[rows], factor[rows], clause, own[rows])
            given = forms, side, alpha[rows], beta[rows]
            call = partial(relus.dual.maximise, *given, STEPS, target=np.inf, weight=weight[rows], box=boxes, hold=hold)
            best = memory.attempt(call, count)
            if best is None:
                continue
            bound, trees = np.asarray(maps.get(best.value), np.float64), None
            if leaves > 1:
                bounded = Given(forms, side, best.alpha, best.beta, best.weight, boxes, hold=True)
                grow = partial(fork, relus.dual, bounded, leaves, size, self.problem.deadline, share)
                if (grown := memory.attempt(grow, max(count, min(size, leaves)))) is None:
                    continue
                bound, trees = grown
            alpha[rows], beta[rows], weight[rows] = best.alpha, best.beta, best.weight
            gained = helps(bound, old[rows])
            at = done + gained
            taken = (bound[gained] - MARGIN) * wide[at]
            self._take(value, cases, case[at], column[at], sign[at], wide[at], taken, best, gained, side, trees, hold)
            done = rows.stop
        self._keep(value, cases, [p for p in parts if p.stop <= done], column, sign, duals)
        after = np.stack([c.hi[part] - c.lo[part] for c in cases])
        before, now = (np.where(open_, w, 0.0).sum(axis=1) for w in (hi - lo, after))
        return [1.0 - n / b if b > 0 else 0.0 for n, b in zip(now.tolist(), before.tolist(), strict=True)]

    def _holds(self, value: int, cases: list[Case]) -> bool:
        """Whether the slopes stay as the clause's bound has them: those of a value that no relu stands before serve the
        clause alone, and its neurons share a table in the certificate."""
        first = self.relus.neurons.at[value].start == 0
        return first and all(c.start is not None and c.start.maps is self.relus.maps for c in cases)

    def _start(self, value: int, cases: list[Case], parts: list[slice], column: Ints, sign: F64) -> Any:
        """Slopes and multipliers to start from, as `Warm` has them: those of the last pass, where it had these neurons.

        parts   the rows of each case
        """
        maps, neurons, count = self.relus.maps, self.relus.neurons, len(column)
        slopes, others = neurons.default(), np.zeros(len(neurons) + len(self.rows))
        duals = maps.put(np.concatenate([slopes, others])) + maps.zeros(count, len(slopes) + len(others))
        row, known, start = np.full(count, -1), list[Warm](), 0  # of each, among all that is known
        for own, rows in zip(cases, parts, strict=True):
            warm = own.warm.get(value)
            if warm is not None and warm.maps is maps:
                at = warm.at[(sign[rows] < 0).astype(np.int64), column[rows]]
                row[rows] = np.where(at >= 0, start + at, -1)
                known.append(warm)
                start += len(warm.duals)
        if known:
            i, j = maps.index(np.flatnonzero(row >= 0)), maps.index(row[row >= 0])
            duals[i] = maps.xp.concatenate([warm.duals for warm in known])[j]
        return duals

    def _keep(
        self, value: int, cases: list[Case], parts: list[slice], column: Ints, sign: F64, duals: Any
    ) -> None:
        """Remember where the pass ended, for the first cases, whose every row was done."""
        part = self.relus.neurons.at[value]
        for own, rows in zip(cases, parts, strict=False):
            if rows.stop > rows.start:
                at = np.full((2, part.stop - part.start), -1)
                at[(sign[rows] < 0).astype(np.int64), column[rows]] = np.arange(rows.stop - rows.start)
                own.warm[value] = Warm(self.relus.maps, at, duals[rows] + 0)  # a view would keep the others' alive

    def _clause(self) -> Clause:
        """The rows of all clauses in the arrays of the maps: one object, by which a recording knows them."""
        maps, region = self.relus.maps, self.problem.region
        if self._joins is None or self._joins[0] is not maps:
            y, x = region.rows_y[self.rows] / self.scale[:, None], region.rows_x[self.rows] / self.scale[:, None]
            c = region.rows_c[self.rows] / self.scale
            self._joins = maps, Clause(maps.put(y), maps.put(x) if x.any() else None, maps.put(c))
        return self._joins[1]

    def _take(
        self, value: int, cases: list[Case], case: Ints, column: Ints, sign: F64, wide: F64, bound: F64, best: Best,
        rows: Ints, side: Any, trees: Trees | None, hold: bool,
    ) -> None:  # fmt: skip
        """Take bounds over into the cases, as derivations.

        Shapes  case, rows: [N], rising; column, sign, wide, bound: [N]; rows: theirs in `best`, `side` and the trees
        """
        if self.relus.trust:
            kept = self._narrow(value, cases, case, column, sign, bound)
            case, column, sign, wide, rows = case[kept], column[kept], sign[kept], wide[kept], rows[kept]
        if not len(case):
            return
        relus, neurons, maps, i = self.relus, self.relus.neurons, self.relus.maps, self.relus.maps.index(rows)
        table = self._tables(case, best, i, trees, hold)
        splits = multipliers(neurons, maps, side[i], best.beta[i], wide)
        of = np.array([c.clause for c in cases])[case]
        nodes = (0 * rows, rows[:0]) if trees is None else trees.preorder(rows)
        assert best.weight is not None
        weights = self._weights(of, best.weight[i], wide)
        made = bounds(neurons.index[value][column], sign.astype(np.int64), weights, table, splits, nodes)
        for part in _parts(case):
            own, found = cases[case[part.start]], made.part(part)
            if relus.trust:
                own.found.append(tc.Derivation(value, found, own.clause))
            else:
                self._derive(value, own, found)

    def _narrow(
        self, value: int, cases: list[Case], case: Ints, column: Ints, sign: F64, bound: F64
    ) -> NDArray[np.bool_]:
        """Take bounds over into the boxes; which of them are needed: where two contradict each other, they alone."""
        needed, at = np.ones(len(case), np.bool_), self.relus.neurons.at[value].start + column
        for part in _parts(case):
            own, n = cases[case[part.start]], at[part]
            if own.empty:
                needed[part] = False
            elif take(own.lo, own.hi, n, sign[part], bound[part]):
                own.empty = True
                needed[part] = n == n[np.argmax(own.lo[n] - own.hi[n])]
        return needed

    def _tables(self, case: Ints, best: Best, i: Any, trees: Trees | None, hold: bool) -> Ints:
        """Where the table of each bound stands: one serves all of a case, if their slopes were held."""
        neurons, maps = self.relus.neurons, self.relus.maps
        _, first, each = np.unique(case, return_index=True, return_inverse=True)
        if not hold:
            first = each = np.arange(len(case))
        j = i[maps.index(first)]
        made = slope_tables(neurons, maps, best.alpha[j], best.upper[j] if trees is None and not hold else None)
        return self.problem.files.add(made)[each]

    def _weights(self, clause: Ints, weight: Any, wide: F64) -> tuple[Ints, Ints, F64]:
        """Of each bound, the multipliers of its clause's inequalities: how many, which, and what they are."""
        factor = np.asarray(self.relus.maps.get(weight), np.float64) * wide[:, None] / self.scale
        mine = clause[:, None] == self.of
        j, r = np.nonzero(mine)
        return mine.sum(axis=1), self.place[r], factor[j, r]

    def _derive(self, value: int, case: Case, bounds: Sequence[tc.Bound]) -> None:
        """Let the kernel derive these bounds."""
        relus = self.relus
        state = states(relus.state, relus.neurons, case.lo[None], case.hi[None])
        case.found += derive(self.problem, state, value, bounds, case.clause)
        part, i = relus.neurons.at[value], relus.neurons.index[value]
        case.lo[part], case.hi[part] = (end[0, i] for end in state.boxes[value])
        case.empty = bool(state.empty[0])


def _parts(case: Ints) -> list[slice]:
    """The rows of each case, which stand together."""
    return [slice(a, b) for a, b in pairwise([*np.flatnonzero(np.diff(case, prepend=-1)).tolist(), len(case)])]
