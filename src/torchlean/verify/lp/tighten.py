"""Tighter boxes of hidden neurons, by one linear program for each end of each unstable one.

The slopes that the dual gives go into the certificate, a table for each end that gained.
Source   Tjeng et al. 2019, arXiv:1711.07356, section 4.2
"""

from __future__ import annotations

import numpy as np

import torchlean_check as tc
from torchlean.verify.clock import Deadline
from torchlean.verify.lp.multipliers import multipliers
from torchlean.verify.lp.triangle import Triangle
from torchlean.verify.problem import Problem
from torchlean.verify.tables import slope_table
from torchlean_check.records import slope_rows

GAIN = 0.01  # of a neuron's width: the least improvement that is worth a table


def tighten(problem: Problem, state: tc.State, share: Deadline) -> tuple[tc.Derivation, ...]:
    """Derivations, value by value, each applied to `state` (one row) by the kernel; their tables join the problem's.

    It stops when `share` is used: what was derived by then stands.
    """
    found: list[tc.Derivation] = []
    kernel = problem.kernel
    for value in sorted(kernel.network.relu_inputs):
        if kernel.tight[value]:
            continue
        if share.left < 0:
            break
        kernel.derive_at(state, value)
        found += [tc.Derivation(value), *_value(problem, state, value, share)]
    return tuple(found)


def _value(problem: Problem, state: tc.State, value: int, share: Deadline) -> list[tc.Derivation]:
    kernel, tables = problem.kernel, problem.files.tables
    boxes = {k: (lo[0], hi[0]) for k, (lo, hi) in state.boxes.items() if k < value}
    unstable = np.flatnonzero((state.boxes[value][0][0] < 0) & (state.boxes[value][1][0] > 0))
    if not len(unstable):
        return []
    triangle = Triangle(kernel, boxes, state.lo[0], state.hi[0], (value, unstable))
    found: list[tc.Derivation] = []
    for entry in unstable.tolist():
        for sign in (1.0, -1.0):
            lo, hi = (float(side[0, entry]) for side in state.boxes[value])
            if not lo < 0 < hi:  # the other end has decided it
                continue
            problem.deadline.check()
            if share.left < 0:
                return found
            solved = triangle.entry(value, entry, sign, share.left)
            if solved is None or not solved.value > (lo if sign > 0 else -hi) + GAIN * (hi - lo):
                continue
            alpha = multipliers(triangle, solved, None).alpha
            table = slope_table(triangle.neurons, alpha)
            tables.append(table)
            bound = tc.Bound(entry, int(sign), (), len(tables) - 1)
            slopes = slope_rows([table], kernel.network.places)
            kernel.derive_at(state, value, [(bound.index, bound.side, bound.weights)], slopes)
            found.append(tc.Derivation(value, (bound,)))
    return found
