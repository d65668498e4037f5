"""Ascents recorded as CUDA graphs: of a step's hundreds of small operations, each takes less time than its launch.

A recording is made for each shape: batches are filled up to a power of two. Its arrays stay where they are: what is
given is copied into them, and what is found is copied out.
"""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from torchlean.frozen import frozen
from torchlean.verify.ascent import Best, Given, Run, ascend, foresee
from torchlean.verify.budget import recording
from torchlean.verify.fused import run_of

if TYPE_CHECKING:
    from torchlean.verify.dual import Dual

LEAST, FEW = 256, 1 << 19  # problems, and problems times neurons: fewer take as long
MOST = 1 << 24  # problems times neurons: with more, the operations take longer than their launches
OFTEN = 2  # times that a shape without steps has come before it is worth a recording: one with steps is at once
ROOM = 8  # of the memory: where less than one part of so many is free, what the allocator keeps is given back first


@frozen(eq=False)
class Recording:
    """The ascent whose arrays the graphs work on, and the schedule's row that they read.

    begin   looks and makes the first step; without steps it looks alone, and `step` and `finish` are None
    sides   what splits may gain, where that is what it looks for
    """

    ascent: Run
    now: Any
    begin: Any
    step: Any = None
    finish: Any = None
    sides: tuple[Any, ...] = ()


class Recorder:
    """The recordings for one dual, which owns them."""

    def __init__(self, dual: Dual) -> None:
        self.dual, self.torch = weakref.proxy(dual), dual.xp
        self.kept: dict[tuple[object, ...], Recording | None] = {}
        self.seen: Counter[tuple[object, ...]] = Counter()
        self.pool, self._done = self.torch.cuda.graph_pool_handle(), self.torch.cuda.Event()

    def ascend(self, given: Given, steps: int, target: float) -> Best:
        """See `torchlean.verify.ascent.ascend`."""
        with self._turn():
            kept = self._recording(given, steps)
            if kept is not None:
                self._run(kept, steps, target, len(given.side))
                return _copied(kept, len(given.side))
        return ascend(self.dual.ascent(given), self.dual.plan(steps), target)

    def gains(self, given: Given) -> tuple[Best, Any, Any]:
        """See `torchlean.verify.dual.Dual.gains`."""
        with self._turn():
            kept, count = self._recording(given, 0, gains=True), len(given.side)
            if kept is not None:
                kept.begin.replay()
                low, high = (a[:count].clone() for a in kept.sides)
                return _copied(kept, count), low, high
        return foresee(self.dual.ascent(given))

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Recordings work in the same memory: one at a time, and each after what the last one left was copied out."""
        cuda = self.torch.cuda
        with recording:
            cuda.current_stream().wait_event(self._done)
            try:
                yield
            finally:
                self._done.record(cuda.current_stream())

    def _run(self, kept: Recording, steps: int, target: float, count: int) -> None:
        if steps == 0:
            kept.begin.replay()
            return
        plan = self.dual.plan(steps)
        kept.now.copy_(plan[0])
        kept.begin.replay()
        for t in range(1, steps):
            if target < float("inf") and bool((kept.ascent.value[:count] > target).all()):
                return
            kept.now.copy_(plan[t])
            kept.step.replay()
        kept.finish.replay()

    def _recording(self, given: Given, steps: int, gains: bool = False) -> Recording | None:
        """The one for these shapes, with what is given; None where there is none, or not yet."""
        forms = given.forms
        rows = filled(len(given.side), len(self.dual.neurons))
        optional = forms.direct is None, forms.own is None, given.weight is None, given.box[0].ndim
        key = (rows, forms.target, id(forms.clause), *optional, steps == 0, given.hold, gains)
        self.seen[key] += 1
        if key not in self.kept and (steps or self.seen[key] >= OFTEN):
            try:
                self.kept[key] = self._record(_room(given, rows), steps, gains)
            except RuntimeError:  # no memory for it, or an operation that this device cannot record
                self.kept[key] = None
        kept = self.kept.get(key)
        if kept is not None:
            for own, new in zip(_arrays(kept.ascent.given), _arrays(given), strict=True):
                own[: len(new)].copy_(new)
        return kept

    def _record(self, given: Given, steps: int, gains: bool) -> Recording:
        # the run has the proxy as well: recordings end with their dual, and their memory with them
        ascent, now = run_of(self.dual, given, lazy=False), self.torch.ones(3, device=given.side.device)
        if gains:
            sides: list[Any] = []
            graph = self._graph(lambda: sides.append(ascent.gains()))
            return Recording(ascent, now, graph, sides=sides[-1])
        if steps == 0:
            return Recording(ascent, now, self._graph(ascent.look))
        begin = self._graph(lambda: ascent.begin(now))
        return Recording(ascent, now, begin, self._graph(lambda: ascent.step(now)), self._graph(ascent.finish))

    def _graph(self, call: Callable[[], object]) -> Any:
        """The call's operations, recorded; they run once before, since libraries set themselves up in a first call."""
        cuda = self.torch.cuda
        aside, graph = _aside(), cuda.CUDAGraph()
        aside.wait_stream(cuda.current_stream())
        with cuda.stream(aside):
            call()
            aside.synchronize()
            free, total = cuda.mem_get_info()
            if free < total // ROOM:  # a recording cannot have what the allocator keeps
                cuda.empty_cache()
            collects = gc.isenabled()
            gc.disable()  # what is freed meanwhile may not call the device
            graph.capture_begin(pool=self.pool, capture_error_mode="thread_local")
            try:
                call()
            finally:
                graph.capture_end()
                if collects:
                    gc.enable()
        cuda.current_stream().wait_stream(aside)
        return graph


def filled(count: int, neurons: int) -> int:
    """How many problems are recorded where there are so many, each with so many neurons."""
    least = min(LEAST, max(1, FEW // max(1, neurons)))
    return max(1 << least.bit_length() - 1, 1 << (count - 1).bit_length())


@cache
def _aside() -> Any:
    """The stream of all recordings: the default one cannot be recorded. The allocator keeps what each once used."""
    import torch

    cuda: Any = torch.cuda
    return cuda.Stream()


def _copied(kept: Recording, count: int) -> Best:
    """What was found for the first problems."""
    found = kept.ascent.best
    columns = (getattr(found, f.name) for f in fields(Best))
    return Best(*(None if a is None else a[:count].clone() for a in columns))


def _arrays(given: Given) -> list[Any]:
    forms = given.forms
    per = forms.seed, forms.direct, forms.bias, forms.own
    found = (*per, given.side, given.alpha, given.beta, given.weight, *given.box)
    return [a for a in found if a is not None]


def _room(given: Given, rows: int) -> Given:
    """Arrays of these shapes, for so many problems."""

    def room(a: Any) -> Any:
        return None if a is None else a.new_zeros((rows, *a.shape[1:]))

    forms = given.forms
    per = {name: room(getattr(forms, name)) for name in ("seed", "direct", "bias", "own")}
    forms = replace(forms, **per)
    box = tuple(a.new_zeros(a.shape) if a.ndim == 1 else room(a) for a in given.box)
    start = room(given.side), room(given.alpha), room(given.beta), room(given.weight)
    return Given(forms, *start, (box[0], box[1]), given.hold)
