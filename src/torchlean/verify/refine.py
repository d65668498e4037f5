"""Tighter boxes of hidden neurons: each unstable one gets slopes of its own, optimised for its bound (alpha-CROWN).

The slopes go into the certificate, one table for each side of each neuron that gained by them.
Source   Xu et al. 2021, arXiv:2011.13824
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.bounds.dense import Rows, Stack
from torchlean.verify.clock import Deadline
from torchlean.verify.dual import Dual, Layers, Problems
from torchlean.verify.lower import Origin
from torchlean.verify.tables import slope_table

F64 = NDArray[np.float64]

STEPS, CHUNK = 24, 192
GAIN = 0.01  # of a neuron's width: the least improvement that is worth a table


def refine(
    kernel: tc.Kernel,
    state: tc.State,
    stack: Stack,
    origins: tuple[Origin, ...],
    boxes: Callable[[tc.State], tuple[Layers, Layers]],
    largest: Layers,
    tables: list[tc.SlopeTable],
    deadline: Deadline,
) -> tuple[tc.Derivation, ...]:
    """Derivations, layer by layer, each applied to `state` by the kernel; their tables are appended to `tables`."""
    found: list[tc.Derivation] = []
    region = kernel.region
    size = np.maximum(np.abs(region.lo), np.abs(region.hi))
    for k in range(1, len(stack.layers)):
        value, index = origins[k]
        for v in np.unique(value).tolist():
            kernel.derive_at(state, v, None, None, ())
            found.append(tc.Derivation(v))
        lo, hi = boxes(state)
        count = len(value)
        open_ = np.flatnonzero((lo[k][:count] < 0) & (hi[k][:count] > 0))
        signed = np.concatenate([open_, open_])
        sign = np.repeat([1.0, -1.0], len(open_))
        for start in range(0, len(signed), CHUNK):
            deadline.check()
            n, s = signed[start : start + CHUNK], sign[start : start + CHUNK]
            layer = stack.layers[k]
            part = Stack(
                stack.layers[:k],
                Rows(
                    (layer.weight[n] * s[:, None]).astype(np.float32),
                    layer.size[n],
                    np.zeros((len(n), stack.inputs), np.float32),
                    (layer.bias[n] * s).astype(np.float32),
                    layer.rate[n],
                ),
                stack.inputs,
            )
            dual = Dual(part, region.lo, region.hi, largest[:k], size)
            repeated = [[np.repeat(v[None], len(n), axis=0) for v in side[:k]] for side in (lo, hi)]
            zeros = [np.zeros_like(v) for v in repeated[0]]
            alpha = [np.where(high > -low, 1.0, 0.0) for low, high in zip(*repeated, strict=True)]
            low, high = repeated
            best = dual.maximise(Problems(low, high, zeros, np.arange(len(n)), alpha, zeros), STEPS, target=np.inf)
            before = np.where(s > 0, lo[k][n], -hi[k][n])
            gained = best.value > before + GAIN * (hi[k][n] - lo[k][n])
            for j in np.flatnonzero(gained).tolist():
                v, i = int(value[n[j]]), int(index[n[j]])
                table = slope_table(kernel.network, origins[:k], [a[j] for a in best.alpha])
                tables.append(table)
                kernel.derive_at(state, v, np.array([i]), table.floats(), ())
                found.append(tc.Derivation(v, (i,), len(tables) - 1))
    return tuple(found)
