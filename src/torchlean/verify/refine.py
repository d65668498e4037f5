"""Tighter boxes of hidden neurons: each unstable one gets slopes of its own, optimised for its bound (alpha-CROWN).

Where one clause alone is open, only what violates it counts: multiples of its inequalities, which are <= 0 there,
join each bound (INVPROP). The multipliers and slopes go into the certificate, for each bound that gained by them.

Source   Xu et al. 2021, arXiv:2011.13824; Kotha et al. 2023, arXiv:2302.01404
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.verify.clock import Deadline
from torchlean.verify.dual import Clause, Dual, Forms, Neurons, Split
from torchlean.verify.maps import Engine
from torchlean.verify.problem import Problem
from torchlean.verify.tables import slope_tables

STEPS, STEPS_CLAUSE = 16, 10
GAIN = 0.01  # of a neuron's width: the least improvement that is worth a table
NONE = np.zeros(0, np.int64)
LEAST = 0.01  # of the mean width of a value: with less, values further from the output are left alone

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Warm:
    """Where the last pass over a value ended.

    Shapes  rows, columns: sorted keys; alpha, beta: [rows, columns]; weight: [rows, inequalities]
    """

    rows: Ints
    columns: Ints
    alpha: F64
    beta: F64
    weight: F64


class Refinement:
    """Derivations for one state, which they tighten; `found` collects them, their tables join the problem's.

    clause, scale   the clause that alone is open, if any, and the size of its g, on which its multipliers are measured
    """

    def __init__(
        self,
        problem: Problem,
        state: tc.State,
        engine: Engine,
        clause: int | None = None,
        scale: float = 1.0,
        splits: tuple[Split, ...] = (),
        warm: dict[int, Warm] | None = None,
    ) -> None:
        self.problem, self.state, self.engine, self.clause, self.scale = problem, state, engine, clause, scale
        self.splits = splits  # above the state
        self.found: list[tc.Derivation] = []
        self.warm = dict(warm or {})

    def forward(self, share: Deadline, only: Mapping[int, Ints] | None = None) -> None:
        """One pass without the clause, in the order of the network. What was derived when the time ends, stands.

        only   the entries of each value that are worth slopes of their own; None: all
        """
        kernel = self.problem.kernel
        for value in sorted(kernel.network.relu_inputs):
            if kernel.tight[value]:
                continue
            if share.left < 0 or self.state.empty[0]:
                return
            kernel.derive_at(self.state, value)
            self.found.append(tc.Derivation(value))
            self._value(value, share, None if only is None else only.get(value, NONE))

    def cycle(self, share: Deadline) -> None:
        """From the last value towards the first, until two in turn gain little by the clause, and back to the last."""
        values = sorted(self.problem.kernel.network.relu_inputs, reverse=True)
        gains: list[float] = []
        for value in values:
            gains.append(self._value(value, share))
            if max(gains[-2:]) < LEAST and len(gains) > 1:
                break
        furthest = max((i for i, gain in enumerate(gains) if gain >= LEAST), default=0)
        for value in values[:furthest][::-1]:  # they read what was tightened
            self._value(value, share)

    def _value(self, value: int, share: Deadline, only: Ints | None = None) -> float:
        """Both sides of every unstable neuron of one value; returns the share of their mean width that is gone."""
        if share.left < 0 or self.state.empty[0]:
            return 0.0
        problem, maps = self.problem, self.engine.maps
        before = {k: (lo[0], hi[0]) for k, (lo, hi) in self.state.boxes.items()}
        lo, hi = before[value]
        unstable = np.flatnonzero((lo < 0) & (hi > 0))
        unstable = unstable if only is None else np.intersect1d(unstable, only)
        if not len(unstable):
            return 0.0
        boxes = before if self.clause is not None else {k: box for k, box in before.items() if k < value}
        neurons = Neurons.of(boxes, self.splits)
        dual = Dual(problem.kernel, boxes, neurons, maps)
        entries, signs = np.concatenate([unstable, unstable]), np.repeat([1.0, -1.0], len(unstable))
        width = (hi - lo)[entries]
        alpha, beta, weight = self._start(value, neurons, entries, signs)
        side = neurons.side(self.splits)
        memory = problem.deadline.memory
        size = memory.size(self.engine.batch(len(neurons)))
        for start in range(0, len(entries), size):
            problem.deadline.check()
            if share.left < 0:
                break
            part = slice(start, start + size)
            entry, sign, wide = entries[part], signs[part], width[part]
            seed = np.zeros((len(entry), len(lo)))
            seed[np.arange(len(entry)), entry] = sign / wide
            forms = Forms(value, maps.put(seed), None, maps.put(np.zeros(len(entry))), self._clause())
            sides = maps.put(np.repeat(side[None], len(entry), axis=0))
            given = forms, sides, maps.put(alpha[part]), maps.put(beta[part])
            steps, weights = (STEPS, None) if self.clause is None else (STEPS_CLAUSE, maps.put(weight[part]))
            best = memory.attempt(partial(dual.maximise, *given, steps, target=np.inf, weight=weights), len(entry))
            if best is None:
                break
            alpha[part], beta[part] = maps.get(best.alpha), maps.get(best.beta)
            weight[part] = 0.0 if best.weight is None else maps.get(best.weight)
            old = np.where(sign > 0, lo[entry], -hi[entry]) / wide
            gained = np.flatnonzero(maps.get(best.value) > old + GAIN)
            wide = wide[gained, None]
            betas = np.where(side != 0, beta[part][gained] * wide, 0.0)
            factors = weight[part][gained] * wide / self.scale
            self._derive(value, neurons, entry[gained], sign[gained], alpha[part][gained], betas, factors)
        if self.clause is not None:
            self.warm[value] = Warm(_keys(signs < 0, entries), _keys(neurons.value, neurons.entry), alpha, beta, weight)
        after = self.state.boxes[value]
        return 1.0 - float((after[1][0] - after[0][0])[unstable].sum() / (hi - lo)[unstable].sum())

    def _start(self, value: int, neurons: Neurons, entries: Ints, signs: F64) -> tuple[F64, F64, F64]:
        """Slopes and multipliers to start from: those of the last pass, whose neurons these are among."""
        warm, count = self.warm.get(value), len(entries)
        if warm is None:
            rows = 0 if self.clause is None else len(self._rows())
            alpha = np.repeat(neurons.default()[None], count, axis=0)
            return alpha, np.zeros_like(alpha), np.zeros((count, rows))
        at = np.searchsorted(warm.rows, _keys(signs < 0, entries))
        both = np.ix_(at, np.searchsorted(warm.columns, _keys(neurons.value, neurons.entry)))
        return warm.alpha[both], warm.beta[both], warm.weight[at]

    def _rows(self) -> Ints:
        return np.flatnonzero(self.problem.region.row_clause == self.clause)

    def _clause(self) -> Clause | None:
        if self.clause is None:
            return None
        region, rows, put = self.problem.region, self._rows(), self.engine.maps.put
        direct = put(region.rows_x[rows] / self.scale) if region.rows_x[rows].any() else None
        return Clause(put(region.rows_y[rows] / self.scale), direct, put(region.rows_c[rows] / self.scale))

    def _derive(self, value: int, neurons: Neurons, entry: Ints, sign: F64, alpha: F64, beta: F64, factor: F64) -> None:
        """Let the kernel derive these bounds, in chunks.   Shapes  [N], [N], [N, U], [N, U], [N, r]"""
        kernel, tables = self.problem.kernel, self.problem.files.tables
        side = neurons.side(self.splits)
        for start in range(0, len(entry), kernel.row_chunk):
            bounds, floats = [], []
            made = slope_tables(kernel.network, neurons, alpha[start : start + kernel.row_chunk])
            for j, table in enumerate(made, start):
                multipliers = tuple(
                    (int(neurons.value[n]), int(neurons.entry[n]), int(side[n]), float(beta[j, n]))
                    for n in np.flatnonzero(beta[j]).tolist()
                )
                weights = tuple(enumerate(factor[j].tolist()))
                bounds.append(tc.Bound(int(entry[j]), int(sign[j]), weights, len(tables), multipliers))
                tables.append(table)
                floats.append(table.floats())
            slopes = {k: np.concatenate([f[k] for f in floats]) for k in floats[0]}
            asked = [(b.index, b.side, b.weights) for b in bounds]
            push = tc.Pushes.split([
                (j, v, i, s, 0.0, m) for j, b in enumerate(bounds) for v, i, s, m in b.multipliers
            ])  # fmt: skip
            kernel.derive_at(self.state, value, asked, slopes, push, self.clause)
            self.found.append(tc.Derivation(value, tuple(bounds), -1 if self.clause is None else self.clause))
            if self.state.empty[0]:
                return


def _keys(high: NDArray[np.generic], low: Ints) -> Ints:
    return high.astype(np.int64) << 32 | low
