"""Boxes of what relus, curves and products read, tightened at one state: each end gets places of its own.

One pass in the order of the network is enough, since a bound reads only what stands before it.
Source   Xu et al. 2021, arXiv:2011.13824 (slopes of intermediate bounds)
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.verify.clock import Deadline
from torchlean.verify.derive import derive
from torchlean.verify.forms import Forms
from torchlean.verify.maps import TorchMaps
from torchlean.verify.places import Bent, batch, slope_tables, wide
from torchlean.verify.problem import Problem
from torchlean_check.network import Affine, Input

STEPS = 10
GAIN = 0.005  # of an entry's width: the least improvement that is worth a table

Ints = NDArray[np.int64]


def tighten(problem: Problem, state: tc.State, maps: TorchMaps, share: Deadline) -> tuple[tc.Derivation, ...]:
    """Derivations, each applied to `state` (one row) by the kernel; their tables join the problem's.

    What was derived when the time ends, stands.
    """
    kernel, found = problem.kernel, list[tc.Derivation]()
    for value in sorted(kernel.network.boxed):
        if kernel.tight[value] or not (value in kernel.bent or value in kernel.network.relu_inputs):
            continue
        if share.left < 0 or state.empty[0]:
            break
        if all(isinstance(node, (Affine, Input)) for node in kernel.network.nodes[: value + 1]):
            continue  # no line stands between it and the inputs
        kernel.derive_at(state, value)
        found += [tc.Derivation(value), *_value(problem, state, maps, value, share)]
    return tuple(found)


def _value(problem: Problem, state: tc.State, maps: TorchMaps, value: int, share: Deadline) -> list[tc.Derivation]:
    """Both ends of every entry of a value whose box matters."""
    network, memory = problem.network, problem.deadline.memory
    lo, hi = state.boxes[value][0][0], state.boxes[value][1][0]
    entries = np.flatnonzero(wide(lo, hi) & (((lo < 0) & (hi > 0)) | (value not in network.relu_inputs)))
    entry, sign = np.repeat(entries, 2), np.tile([1.0, -1.0], len(entries))
    width = (hi - lo)[entry]
    old = np.where(sign > 0, lo[entry], -hi[entry]) / width
    bent, found, at = Bent(problem.kernel, state, maps), list[tc.Derivation](), 0
    while at < len(entry) and not share.left < 0 and not state.empty[0]:
        problem.deadline.check()
        part = slice(at, at + memory.size(batch(network, maps)))
        seed = maps.index(entry[part]), maps.put(sign[part] / width[part])
        forms = Forms.entries(maps, value, len(lo), *seed)
        count = len(forms.bias)
        call = partial(bent.improve, forms, bent.start(count, value), {}, STEPS, np.inf)
        best = memory.attempt(call, count)
        if best is None:
            continue
        at += count
        gained = np.flatnonzero(maps.get(best[0]) > old[part] + GAIN)
        tables = problem.files.add(slope_tables(best[1], gained)).tolist()
        bounds = [
            tc.Bound(int(entry[part][j]), int(sign[part][j]), (), table)
            for j, table in zip(gained.tolist(), tables, strict=True)
        ]
        found += derive(problem, state, value, bounds)
    return found
