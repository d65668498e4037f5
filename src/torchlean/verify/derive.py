"""Bounds become derivations: the kernel derives them as the replay of the tree will, or they are trusted till then."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.verify.problem import Problem
from torchlean_check.cases import Trees
from torchlean_check.records import slope_rows

GAIN = 0.01  # of a neuron's width: the least improvement that is worth a table
MARGIN = 0.0005  # of it: what a bound that waits for the replay gives away, since it may be a float32 sum

STABLE = 2 * MARGIN  # a bound of so much keeps its neuron stable when it has given this away

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]


def derive(
    problem: Problem, state: tc.State, value: int, bounds: Sequence[tc.Bound], clause: int | None = None
) -> Iterator[tc.Derivation]:
    """Chunk by chunk, in place, until the state is empty: each derivation, once the kernel has done it.

    clause   where it alone is open and joins the bounds
    """
    kernel, tables = problem.kernel, problem.files.tables
    size = max(1, kernel.row_chunk // max((len(b.cases) // 2 + 1 for b in bounds), default=1))
    for start in range(0, len(bounds), size):
        problem.deadline.check()
        chunk = bounds[start : start + size]
        asked = [(b.index, b.side, b.weights) for b in chunk]
        push = tc.Pushes.split([(j, v, i, s, 0.0, m) for j, b in enumerate(chunk) for v, i, s, m in b.multipliers])
        trees = Trees.of([b.cases for b in chunk])
        slopes = slope_rows([tables[b.table] for b in chunk], kernel.network.places)
        kernel.derive_at(state, value, asked, slopes, push, clause, trees)
        yield tc.Derivation(value, tuple(chunk), -1 if clause is None else clause)
        if state.empty[0]:
            return


def helps(bound: F64, old: F64) -> Ints:
    """Which bounds, measured in their neurons' widths, are worth a table.

    None that is 0 or more by less than it gives away: its neuron would be stable for the replay and not for the search.
    The replay would have another line of it there, and what rests on the search's may not be proved by it.
    """
    return np.flatnonzero((bound > old + GAIN) & ~((bound >= 0) & (bound < STABLE)))


def take(lo: F64, hi: F64, entry: Ints, sign: F64, bound: F64) -> bool:
    """Narrow a box in place by bounds that are trusted; whether it contradicts itself now.

    Shapes   lo, hi: [size]; entry, sign, bound: [N]: sign * value[entry] >= bound
    """
    lower = sign > 0
    np.maximum.at(lo, entry[lower], bound[lower])
    np.minimum.at(hi, entry[~lower], -bound[~lower])
    return bool((lo[entry] > hi[entry]).any())
