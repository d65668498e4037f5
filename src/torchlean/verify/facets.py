"""Planes learned for many bounds together, the open clauses or the neurons of a value: one family that serves them all.

Slopes, split multipliers and shares of planes rise for each bound, as ascent.py has it, while the shares m that make
the planes rise for the sum of the bounds. Below splits the planes of the root lose little of what they gain there.

Source   Tjandraatmadja et al. 2020, arXiv:2006.14076; De Palma et al. 2021, arXiv:2101.05844 (the dual by ascent)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.verify.ascent import Ascent, Given, climb, schedule
from torchlean.verify.dual import Boxes, Dual, Neurons, Split
from torchlean.verify.forms import Forms
from torchlean.verify.maps import Maps
from torchlean.verify.planes import Dense, Edges, Family, constants
from torchlean.verify.problem import Problem
from torchlean.verify.walk import Walk
from torchlean_check.rules.planes import known

F64 = NDArray[np.float64]

STEPS, AGAIN = 80, 30  # the latter for planes that were learned before
RATE = 0.1
USED = 0.05  # of an upper line: with a smaller share for every bound, a plane is left out


class _Facets(Ascent):
    """An ascent in which the planes move as well."""

    def __init__(
        self, kernel: tc.Kernel, dual: Dual, given: Given, edges: Edges, goal: float, shares: F64
    ) -> None:
        """shares: the m to start from, [K, E]"""
        super().__init__(dual, given)
        maps, region = dual.maps, kernel.region
        assert dual.planes is not None
        self.planes = dual.planes
        self.index, self.weight = maps.index(edges.index), maps.put(edges.weight)
        self.lo, self.hi = (maps.put(end[edges.index]) for end in (region.lo, region.hi))
        self.bias, self.goal = maps.put(edges.bias + edges.error), goal
        ends = self.weight * self.lo, self.weight * self.hi
        self.low, self.high = self.xp.minimum(*ends), self.xp.maximum(*ends)
        self.rows = maps.count(len(edges.entry))[:, None]
        self.shares = maps.put(shares)
        self.first, self.second = 0 * self.shares, 0 * self.shares
        self.most, self.learned = -np.inf, self.shares
        self._raise()

    def _raise(self) -> None:
        """Let the dual have the planes of the shares as they are."""
        a = self.shares * self.weight
        matrix = self.dual.maps.zeros(len(a), len(self.dual.center))
        matrix[self.rows, self.index] = a
        const = constants(self.xp, self.weight, a, self.bias, self.lo, self.hi)
        self.zero = -self.xp.where(a > 0, a * self.lo, a * self.hi).sum(-1) >= const
        self.dual.planes = replace(self.planes, matrix=Dense(matrix), const=const)

    def _move(self, walk: Walk, point: Any, now: Any) -> None:
        total = float(self.xp.clip(walk.total, None, self.goal).sum())
        if total > self.most:
            self.most, self.learned = total, self.shares + 0
        assert walk.raised is not None
        taken, ends = walk.raised.weight, self.xp.where(self.zero[:, None], self.low, self.high)
        at = (taken.T @ point)[self.rows, self.index]
        gradient = at * self.weight - taken.sum(0)[:, None] * ends
        super()._move(walk, point, now)
        climb(self.xp, self.shares, gradient, self.first, self.second, RATE, now, 1)
        self._raise()


def learn(
    problem: Problem, boxes: Boxes, splits: Sequence[Split], maps: Maps, forms: Forms, goal: float,
    before: Family | None = None,
) -> Family | None:  # fmt: skip
    """A family of planes for bounds of these forms, its table among the problem's; None where none would use one.

    goal     what a bound may have, beyond which it counts no more
    before   planes to start from
    """
    kernel, tables = problem.kernel, problem.files.tables
    edges = problem.edges and problem.edges.within(boxes)
    if edges is None:
        return None
    chord = edges.chord(boxes)
    family, _ = Family.of(kernel, edges, chord, 0)
    neurons = Neurons.of(boxes, splits, family)
    dual, count = Dual(kernel, boxes, neurons, maps), len(forms.bias)
    side, alpha = (np.repeat(a[None], count, axis=0) for a in (neurons.side(splits), neurons.default()))
    start = maps.put(side), maps.put(alpha), maps.zeros(*side.shape), None, (dual.lo, dual.hi)
    shares = chord if before is None else before.shares_of(edges, chord)
    run = _Facets(kernel, dual, Given(forms, *start), edges, goal, shares)
    plan = schedule(STEPS if before is None else AGAIN)
    run.begin(plan[0])
    for now in plan[1:]:
        if bool((run.value > goal).all()):
            break
        run.step(now)
    upper, share = (maps.get(a) for a in (run.best.upper, run.best.alpha))
    share = np.where(upper[:, neurons.below_planes] < 0, share[:, len(neurons) :], 0.0)
    used = np.flatnonzero((share > USED).any(axis=0))
    if not len(used):
        return None
    family, table = Family.of(kernel, edges.take(used), maps.get(run.learned)[used], len(tables))
    tables.append(table)
    entry = family.edges.entry
    known(kernel, [*tables, tc.SlopeTable({family.key: entry}, np.zeros(len(entry), np.int16))])
    return family
