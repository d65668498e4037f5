"""What a dual solution of the triangle relaxation says in a certificate's words: slopes, weights, split multipliers.

With G the coefficient that the backward walk has on a relu's output, G = m_0 + m_1 - m_c, of the multipliers of
a >= 0, a >= z and the chord a <= s (z - l); on its input the rows leave L = m_1 - s m_c, so the lower slope is L / G
(0 to 1 unless both a lower face and the chord are in force). A split's multiplier is that of the face that says it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.frozen import frozen
from torchlean.verify.dual import Neurons
from torchlean.verify.lp.highs import INF, Solution
from torchlean.verify.lp.triangle import Triangle
from torchlean.verify.problem import Problem
from torchlean.verify.tables import slope_table
from torchlean_check.records import slope_rows

F64 = NDArray[np.float64]
MOST = 2.0 - 2.0**-14  # the largest slope that a table holds
SMALL = 1e-9  # multipliers below this are noise of the solver


@frozen(eq=False)
class Multipliers:
    """alpha, beta: [U], as in `Dual`; weights: of the clause's inequalities, in its order."""

    alpha: F64
    beta: F64
    weights: tuple[float, ...]

    def splits(self, neurons: Neurons, side: F64) -> tuple[tuple[int, int, int, float], ...]:
        """(value, index, side, multiplier) of the splits that are used."""
        return tuple((int(neurons.value[n]), int(neurons.entry[n]), int(side[n]), float(self.beta[n]))
                     for n in np.flatnonzero((side != 0) & (self.beta > 0)).tolist())  # fmt: skip


def multipliers(triangle: Triangle, found: Solution, clause: int | None) -> Multipliers:
    """Of a solution for `clause` (None: for an entry) under the splits that the triangle has now.

    Where no point exists the weights are 0: the split multipliers alone are then positive.
    """
    neurons, side = triangle.neurons, triangle.side
    alpha, beta = neurons.default(), np.zeros(len(neurons))
    used = triangle.z >= 0
    a, over, chord = (c[used] for c in (triangle.a, triangle.over, triangle.chord))
    lo, hi, s = neurons.lo[used], neurons.hi[used], side[used]
    m0, m1, mc = found.column_dual[a], found.row_dual[over], -found.row_dual[chord]
    g, l = m0 + m1 - mc, m1 - hi / (hi - lo) * mc
    free = (s == 0) & (g > SMALL)
    alpha[used] = np.where(free, np.clip(l / np.where(free, g, 1.0), -MOST, MOST), alpha[used])
    held = np.where(s > 0, m0, m1)  # where a = z, a >= 0 is the split; where a = 0, a >= z is
    beta[used] = np.where((s != 0) & (held > SMALL), held, 0.0)
    if clause is None:
        return Multipliers(alpha, beta, ())
    rows = triangle.rows_of(clause)
    weights = np.zeros(len(rows)) if found.value == INF else np.maximum(found.row_dual[rows], 0.0)
    return Multipliers(alpha, beta, tuple(float(w) for w in weights))


def refuted(
    problem: Problem, triangle: Triangle, clause: int, found: Solution, state: tc.State
) -> tc.Refutation | None:
    """The solution as a refutation that the kernel accepts at `state`; None where it does not.

    state   one row, whose boxes hold the splits that the triangle has now
    """
    m = multipliers(triangle, found, clause)
    table = slope_table(triangle.neurons, m.alpha)
    splits = m.splits(triangle.neurons, triangle.side)
    weights = tuple(enumerate(m.weights)) if len(m.weights) > 1 or not any(m.weights) else ()
    push = tc.Pushes.split([(0, value, index, side, 0.0, beta) for value, index, side, beta in splits])
    slopes = slope_rows([table], problem.network.places)
    if not problem.kernel.refute(state, [(clause, weights)], slopes, push)[0]:
        return None
    problem.files.tables.append(table)
    return tc.Refutation(clause, weights, len(problem.files.tables) - 1, splits)
