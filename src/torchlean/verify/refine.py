"""Tighter boxes of hidden neurons: each unstable one gets slopes of its own, optimised for its bound (alpha-CROWN).

The slopes go into the certificate, one table for each side of each neuron that gained by them.
Source   Xu et al. 2021, arXiv:2011.13824
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.verify.clock import Deadline
from torchlean.verify.dual import Dual, Forms, Neurons
from torchlean.verify.maps import Engine
from torchlean.verify.problem import Problem
from torchlean.verify.tables import slope_table

Ints = NDArray[np.int64]
NONE = np.zeros(0, np.int64)
STEPS = 24
SHARE = 0.3  # of the time that is left
GAIN = 0.01  # of a neuron's width: the least improvement that is worth a table


def refine(
    problem: Problem, state: tc.State, engine: Engine, only: Mapping[int, Ints] | None = None
) -> tuple[tc.Derivation, ...]:
    """Derivations, value by value, each applied to `state` by the kernel; their tables join the problem's.

    only   the entries of each value that are worth slopes of their own; None: all

    It stops early when its share of the time is used: what was derived by then stands.
    """
    found: list[tc.Derivation] = []
    kernel = problem.kernel
    share = problem.deadline.part(max(0.01, SHARE * problem.deadline.left))
    for value in sorted(kernel.network.relu_inputs):
        if kernel.tight[value]:
            continue
        if share.left < 0:
            break
        kernel.derive_at(state, value, None, None, ())
        found.append(tc.Derivation(value))
        found += _value(problem, state, engine, value, share, None if only is None else only.get(value, NONE))
    return tuple(found)


def _value(
    problem: Problem, state: tc.State, engine: Engine, value: int, share: Deadline, only: Ints | None
) -> list[tc.Derivation]:
    """Both sides of every unstable neuron of one value."""
    kernel, tables = problem.kernel, problem.files.tables
    boxes = {k: (lo[0], hi[0]) for k, (lo, hi) in state.boxes.items() if k < value}
    neurons = Neurons.of(boxes)
    if not len(neurons):
        return []
    dual = Dual(kernel, boxes, neurons, engine.maps)
    put, get = engine.maps.put, engine.maps.get
    lo, hi = (side[0].copy() for side in state.boxes[value])
    unstable = np.flatnonzero((lo < 0) & (hi > 0))
    unstable = unstable if only is None else np.intersect1d(unstable, only)
    entries, signs = np.concatenate([unstable, unstable]), np.repeat([1.0, -1.0], len(unstable))
    found = []
    size = problem.deadline.memory.size(engine.batch(len(neurons)))
    for start in range(0, len(entries), size):
        problem.deadline.check()
        if share.left < 0:
            break
        entry, sign = entries[start : start + size], signs[start : start + size]
        seed = np.zeros((len(entry), len(lo)))
        seed[np.arange(len(entry)), entry] = sign
        shape = len(entry), len(neurons)
        nothing = put(np.zeros(shape))
        alpha = put(np.broadcast_to(neurons.default(), shape))
        forms = Forms(value, put(seed), None, put(np.zeros(len(entry))))
        best = problem.deadline.memory.attempt(
            lambda f=forms, a=alpha, b=nothing: dual.maximise(f, b, a, b, STEPS, target=np.inf),  # type: ignore[misc]
            len(entry),
        )
        if best is None:
            break
        before = np.where(sign > 0, lo[entry], -hi[entry])
        gained = get(best.value) > before + GAIN * (hi[entry] - lo[entry])
        slopes = get(best.alpha)
        for j in np.flatnonzero(gained).tolist():
            table = slope_table(kernel.network, neurons, slopes[j])
            tables.append(table)
            kernel.derive_at(state, value, entry[j : j + 1], table.floats(), ())
            found.append(tc.Derivation(value, (int(entry[j]),), len(tables) - 1))
    return found
