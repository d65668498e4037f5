"""The dual bound with optimised slopes and split multipliers (alpha-beta-CROWN), batched over problems.

For each problem (boxes, split signs, one linear form of a value) the backward walk (walk.py) gives a lower bound. It is
concave piecewise in the lower slopes alpha and the multipliers beta, which ascent.py improves.

Only the neurons that the root's boxes leave unstable have slopes, signs and multipliers: they stand in one flat vector,
relu by relu in the order of the network (`Neurons`). Each problem may have narrower boxes of its own for them. Behind
the slopes stand the shares of planes (planes.py).

Shapes   P problems, n inputs, U unstable neurons, K of them with planes, size_k entries of value k
Source   Xu et al. 2021, arXiv:2011.13824 (alpha); Wang et al. 2021, arXiv:2103.06624 (beta)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.frozen import frozen
from torchlean.verify.ascent import Best, Given, Question, Run, ascend, looked, schedule
from torchlean.verify.forms import Forms
from torchlean.verify.fused import Places, run_of
from torchlean.verify.graphs import MOST, Recorder
from torchlean.verify.maps import Maps
from torchlean.verify.planes import Family, Planes
from torchlean.verify.walk import Lines
from torchlean_check.network import Network

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]
NONE: Ints = np.zeros(0, np.int64)
START = 0.5  # of an upper line: its plane's share
Boxes = Mapping[int, tuple[F64, F64]]  # value that a relu reads -> (lo, hi), each [size]
Split = tuple[int, int, int]  # value, entry, side: -1 where z <= 0, +1 where z >= 0


@frozen(eq=False)
class Neurons:
    """The unstable neurons of a set of boxes, and those that splits above made stable: they have multipliers.

    at      value that a relu reads -> its part of the flat vector
    index   value that a relu reads -> the flat indices in the value of the neurons of that part
    value, entry   [U]: the value and the index in it of each
    lo, hi  [U]
    family  planes above some of them, or None    raised   [K] which of the family's are above unstable neurons
    """

    at: dict[int, slice]
    index: dict[int, Ints]
    value: Ints
    entry: Ints
    lo: F64
    hi: F64
    family: Family | None = None
    raised: Ints = field(default_factory=lambda: NONE)

    @staticmethod
    def of(boxes: Boxes, splits: Sequence[Split] = (), family: Family | None = None) -> Neurons:
        at, index, start = {}, {}, 0
        for k, (lo, hi) in sorted(boxes.items()):
            undecided = (lo < 0) & (hi > 0)
            mine = [entry for value, entry, _ in splits if value == k]
            undecided[mine] = lo[mine] < hi[mine]
            index[k] = np.flatnonzero(undecided)
            at[k] = slice(start, start + len(index[k]))
            start = at[k].stop

        def flat(parts: list[Any]) -> Any:
            return np.concatenate([*parts, np.zeros(0, parts[0].dtype if parts else np.int64)])

        return Neurons(
            at,
            index,
            flat([np.full(len(i), k) for k, i in index.items()]),
            flat(list(index.values())),
            flat([boxes[k][0][i] for k, i in index.items()]).astype(np.float64),
            flat([boxes[k][1][i] for k, i in index.items()]).astype(np.float64),
            family,
            NONE if family is None else np.flatnonzero(np.isin(family.edges.entry, index[family.edges.value])),
        )

    def __len__(self) -> int:
        return len(self.value)

    @property
    def width(self) -> int:
        """How many slopes there are, with the shares of planes."""
        return len(self) + len(self.raised)

    @property
    def below_planes(self) -> Ints:
        """The positions of those with planes.   Shapes  [K]"""
        if self.family is None or not len(self.raised):
            return NONE
        edges = self.family.edges
        return self.at[edges.value].start + np.searchsorted(self.index[edges.value], edges.entry[self.raised])

    @cached_property
    def entries(self) -> dict[int, Ints]:
        """Of each value that has any, as slope tables name them; those with planes at last."""
        found = {value: index for value, index in self.index.items() if len(index)}
        if self.family is not None and len(self.raised):
            found[self.family.key] = self.family.edges.entry[self.raised]
        return found

    def side(self, splits: Sequence[Split]) -> NDArray[np.int8]:
        """-1, +1 or 0 where there is no split.   Shapes  [U]"""
        found = np.zeros(len(self), np.int8)
        for value, entry, side in splits:
            found[(self.value == value) & (self.entry == entry)] = side
        return found

    def number(self, value: int, entry: int) -> int:
        """The position of a neuron in the flat vector."""
        return self.at[value].start + int(np.searchsorted(self.index[value], entry))

    def default(self) -> F64:
        """The slopes that leave the smaller areas, and the planes' shares to start from.   Shapes  [U + K]"""
        return np.concatenate([self.hi > -self.lo, np.full(len(self.raised), START)])


class Dual:
    """The walk on one network with the root's boxes and the kernel's charges."""

    def __init__(self, kernel: tc.Kernel, boxes: Boxes, neurons: Neurons, maps: Maps) -> None:
        network, region = kernel.network, kernel.region
        self.network: Network = network
        self.neurons, self.maps, self.xp = neurons, maps, maps.xp
        put = maps.put
        self.charge = {k: put(c.kappa) for k, c in kernel.charges.items()}
        self.active = {k: put(((lo >= 0) & (hi > 0)).astype(np.float64)) for k, (lo, hi) in boxes.items()}
        self.index = {k: maps.index(i) for k, i in neurons.index.items()}
        self.lo, self.hi = put(neurons.lo), put(neurons.hi)
        self.center, self.radius = put(0.5 * (region.lo + region.hi)), put(0.5 * (region.hi - region.lo))
        self.zero, self.one = put(np.zeros(())), put(np.ones(()))
        self.planes = Planes.of(neurons, maps)
        self.recorder = Recorder(self) if maps.records else None
        self._plans: dict[int, Any] = {}
        self.place: dict[int, Any] = {}  # of a run by kernels
        if maps.fused:
            self.places = Places(network, boxes, neurons)
            self.place = {k: maps.xp.as_tensor(p, device=self.center.device) for k, p in self.places.host.items()}

    def maximise(
        self,
        forms: Forms,
        side: Any,
        alpha: Any,
        beta: Any,
        steps: int,
        target: float = 0.0,
        weight: Any | None = None,
        box: tuple[Any, Any] | None = None,
        hold: bool = False,
    ) -> Best:
        """The best bounds after so many steps of ascent.py; it stops when every problem's bound is above `target`.

        side    [P, U]: -1 where z <= 0 was split, +1 where z >= 0, else 0
        alpha, beta   [P, U + K], [P, U]: where to start, the planes' shares last; weight   [P, r]: the same for the
                clause's multipliers
        box     lo, hi of the neurons, each [P, U] or [U]; None: the root's
        hold    whether the slopes stay as they are
        """
        given = Given(forms, side, alpha, beta, weight, (self.lo, self.hi) if box is None else box, hold)
        if not steps:
            return Best(*self.answer(looked, given))
        if (recorder := self._recorder(given)) is not None:
            return recorder.ascend(given, steps, target)
        return ascend(self.ascent(given), self.plan(steps), target)

    def ascent(self, given: Given, lazy: bool = True) -> Run:
        """A run on these problems (ascent.py)."""
        return run_of(self, given, lazy)

    def plan(self, steps: int) -> Any:
        """The schedule of so many steps, in the arrays of the maps."""
        if steps not in self._plans:
            self._plans[steps] = self.maps.put(np.array(schedule(steps)).reshape(-1, 3))
        return self._plans[steps]

    def answer(self, question: Question, given: Given, *more: Any) -> tuple[Any, ...]:
        """What a question finds about these problems.

        more   what else it is told   Shapes  of each, and of each answer: a row for each problem
        """
        if (recorder := self._recorder(given)) is not None:
            return recorder.answer(question, given, *more)
        return question(self, given, *more)

    def _recorder(self, given: Given) -> Recorder | None:
        """Where there are problems, and not too many to be worth a recording."""
        return self.recorder if 0 < len(given.side) * len(self.neurons) <= MOST else None

    def lines(self, side: Any, box: tuple[Any, Any] | None = None) -> Lines:
        """The lines of every neuron where these splits and boxes hold; None: the root's boxes."""
        xp = self.xp
        lo, hi = (self.lo, self.hi) if box is None else box
        on = (side > 0) | (lo >= 0)
        free = ~(on | (side < 0) | (hi <= 0))
        fixed = xp.where(on, self.one, self.zero)
        chord = xp.where(free, hi / xp.where(free, hi - lo, self.one), fixed)
        return Lines(lo, hi, fixed, chord, xp.where(free, -chord * lo, self.zero), free)
