"""Tighter boxes of hidden neurons: each unstable one gets slopes of its own, optimised for its bound (alpha-CROWN).

Source   Xu et al. 2021, arXiv:2011.13824
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.verify.ascent import Given
from torchlean.verify.clock import Deadline
from torchlean.verify.derive import MARGIN, derive, helps, take
from torchlean.verify.dual import Dual, Neurons
from torchlean.verify.facets import learn
from torchlean.verify.forks import fork
from torchlean.verify.forms import Forms
from torchlean.verify.maps import Engine
from torchlean.verify.planes import Family
from torchlean.verify.problem import Problem
from torchlean.verify.tables import slope_tables
from torchlean_check.pushes import NO_SPLITS
from torchlean_check.woven import bounds

STEPS = 16
LEARNED = 64  # bounds of a value that planes are learned for
NONE = np.zeros(0, np.int64)

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]


class Refinement:
    """Derivations for one state, which they tighten; `found` collects them, their tables join the problem's.

    trust    whether bounds may wait for the replay of the whole tree
    """

    def __init__(self, problem: Problem, state: tc.State, engine: Engine, trust: bool = False) -> None:
        self.problem, self.state, self.engine, self.trust = problem, state, engine, trust
        self.found: list[tc.Derivation] = []
        self.families: dict[int, Family | None] = {}

    def forward(self, share: Deadline, only: Mapping[int, Ints] | None = None, leaves: int = 1) -> None:
        """One pass in the order of the network. What was derived when the time ends, stands.

        only     the entries of each value that are worth slopes of their own; None: all
        leaves   of each bound's own tree (forks.py)
        """
        kernel = self.problem.kernel
        for value in sorted(kernel.network.relu_inputs):
            if kernel.tight[value]:
                continue
            if share.left < 0 or self.state.empty[0]:
                return
            self.engine.move(self.problem.deadline.spent)
            if not self.trust:  # its slopes follow the boxes, and those of the replay are a little narrower
                kernel.derive_at(self.state, value)
                self.found.append(tc.Derivation(value))
            self._value(value, share, None if only is None else only.get(value, NONE), leaves)

    def _value(self, value: int, share: Deadline, only: Ints | None, leaves: int) -> None:
        """Both sides of every unstable neuron of one value."""
        problem, maps = self.problem, self.engine.maps
        boxes = {k: (lo[0], hi[0]) for k, (lo, hi) in self.state.boxes.items() if k <= value}
        lo, hi = boxes.pop(value)
        unstable = np.flatnonzero((lo < 0) & (hi > 0))
        unstable = unstable if only is None else np.intersect1d(unstable, only)
        if not len(unstable) or share.left < 0 or self.state.empty[0]:
            return
        entries, signs = np.concatenate([unstable, unstable]), np.repeat([1.0, -1.0], len(unstable))
        width = (hi - lo)[entries]
        if boxes:
            some = np.linspace(0, len(entries) - 1, min(LEARNED, len(entries))).astype(np.int64)
            asked = maps.index(entries[some]), maps.put(signs[some] / width[some])
            forms = Forms.entries(maps, value, len(lo), *asked)
            self.families[value] = learn(problem, boxes, (), maps, forms, 0.0, self.families.get(value))
        neurons = Neurons.of(boxes, family=self.families.get(value))
        dual = Dual(problem.kernel, boxes, neurons, maps)
        default, memory = neurons.default(), problem.deadline.memory
        start, usual = 0, self.engine.batch(len(neurons))
        while start < len(entries) and not (share.left < 0 or self.state.empty[0]):
            problem.deadline.check()
            size = memory.size(usual)
            part = slice(start, start + size)
            entry, sign, wide = entries[part], signs[part], width[part]
            count = len(entry)
            nothing = maps.zeros(count, len(neurons))
            asked = maps.index(entry), maps.put(sign / wide)
            forms = Forms.entries(maps, value, len(lo), *asked)
            given = forms, nothing, maps.put(np.repeat(default[None], count, axis=0)), nothing
            best = memory.attempt(partial(dual.maximise, *given, STEPS, target=np.inf), count)
            if best is None:
                continue
            old, found, trees = np.where(sign > 0, lo[entry], -hi[entry]) / wide, maps.get(best.value), None
            if leaves > 1 and len(neurons):
                bounded = Given(forms, nothing, best.alpha, nothing, None, (dual.lo, dual.hi), hold=True)
                grow = partial(fork, dual, bounded, leaves, size, problem.deadline, share)
                if (grown := memory.attempt(grow, max(count, min(size, leaves)))) is None:
                    continue
                found, trees = grown
            start += count
            gained = helps(np.asarray(found, np.float64), old)
            i = maps.index(gained)
            table = problem.files.add(
                slope_tables(neurons, maps, best.alpha[i], best.upper[i] if trees is None else None)
            )
            nodes = (0 * gained, NONE) if trees is None else trees.preorder(gained)
            weights = 0 * gained, NONE, np.zeros(0)
            made = bounds(entry[gained], sign[gained].astype(np.int64), weights, table, NO_SPLITS, nodes)
            if self.trust and len(made):
                self.found.append(tc.Derivation(value, made))
                taken = (found[gained] - MARGIN) * wide[gained]
                low, high = (end[0] for end in self.state.boxes[value])
                take(low, high, entry[gained], sign[gained], taken)
            else:
                self.found += derive(problem, self.state, value, made)
