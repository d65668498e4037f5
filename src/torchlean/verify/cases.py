"""Tree nodes with boxes of their own, below one root: only the neurons that the root leaves unstable are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.frozen import frozen
from torchlean.verify.dual import Neurons
from torchlean.verify.maps import Maps

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]


@frozen(eq=False)
class Warm:
    """Where the last pass over a value ended.

    at      [2, neurons of the value]: the row of each lower (0) and upper bound (1), or -1
    duals   [rows, U + K + U + inequalities] slopes, split multipliers and those of clauses, in the arrays of these maps
    """

    maps: Maps
    at: Ints
    duals: Any


@frozen(eq=False)
class Start:
    """Slopes and split multipliers that a bound of the clause starts from.   Shapes  [U] each, arrays of these maps"""

    maps: Maps
    alpha: Any
    beta: Any


@dataclass(eq=False)
class Case:
    """An open tree node.

    number     the tree node                      clause   the only one that is open there
    side       [U] the splits above it: -1, +1, or 0
    lo, hi     [U] boxes                          empty    whether two of its bounds contradict each other
    bound      of its clause, as far as it is known: at first its parent's
    start      of the bound, or None
    matters    [U] the neurons whose boxes are worth a bound of their own; None: all
    warm       relu input -> where the last pass over it ended
    found      what was derived here
    """

    number: int
    clause: int
    side: NDArray[np.int8]
    lo: F64
    hi: F64
    bound: float
    start: Start | None = None
    matters: NDArray[np.bool_] | None = None
    warm: dict[int, Warm] = field(default_factory=dict)
    found: list[tc.Derivation] = field(default_factory=list)
    empty: bool = False

    @property
    def unstable(self) -> int:
        return int(((self.lo < 0) & (self.hi > 0)).sum())

    def child(self, number: int, splits: Sequence[tuple[int, int]], start: Start | None) -> Case:
        """Where each of these neurons is on this side of 0: (neuron, -1 or +1)."""
        sides, lo, hi = self.side.copy(), self.lo.copy(), self.hi.copy()
        for n, side in splits:
            sides[n] = side
            lo[n], hi[n] = (max(lo[n], 0.0), hi[n]) if side > 0 else (lo[n], min(hi[n], 0.0))
        return Case(number, self.clause, sides, lo, hi, self.bound, start, self.matters, dict(self.warm))


def states(root: tc.State, neurons: Neurons, lo: F64, hi: F64) -> tc.State:
    """The kernel's states at some nodes below the root.   Shapes  lo, hi: [B, U]"""
    state = root.take(np.zeros(len(lo), np.int64))
    for value, part in neurons.at.items():
        i = neurons.index[value]
        state.boxes[value][0][:, i], state.boxes[value][1][:, i] = lo[:, part], hi[:, part]
    state.given[:] = True
    return state


def stacked(cases: Sequence[Case], name: str) -> Any:
    return np.stack([getattr(case, name) for case in cases])
