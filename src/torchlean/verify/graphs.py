"""What is done with problems again and again, recorded as CUDA graphs: of its hundreds of small operations, each takes
less time than its launch.

A recording is made for each shape: batches are filled up to a power of two. Its arrays stay where they are: what is
given is copied into them, and what is found is copied out.
"""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from torchlean.frozen import frozen
from torchlean.verify.ascent import Best, Given, Question, Run, ascend
from torchlean.verify.budget import recording
from torchlean.verify.fused import run_of

if TYPE_CHECKING:
    from torchlean.verify.dual import Dual

LEAST, FEW = 256, 1 << 19  # problems, and problems times neurons: fewer take as long
MOST = 1 << 24  # problems times neurons: with more, the operations take longer than their launches
OFTEN = 2  # times that a question has come in a shape before it is worth a recording: an ascent is at once
LONGEST = 64  # steps of an ascent
LOOK = 10  # steps of an ascent, after which the host asks whether it may end: the device stands still meanwhile
ROOM = 8  # of the memory: where less than one part of so many is free, what the allocator keeps is given back first

Columns = tuple[Any, ...]  # arrays with a row for each problem, or None


@frozen(eq=False)
class Recording:
    """The arrays that a graph reads, and those that it leaves."""

    given: Given
    more: Columns
    graph: Any
    found: Columns

    def take(self, given: Given, more: Columns) -> None:
        """Copy in what is given."""
        for own, new in zip([*_arrays(self.given), *self.more], [*_arrays(given), *more], strict=True):
            own[: len(new)].copy_(new)

    def copied(self, count: int) -> Columns:
        """What was found for the first problems."""
        return tuple(None if a is None else a[:count].clone() for a in self.found)


@frozen(eq=False)
class Climb(Recording):
    """An ascent: `graph` looks and makes the first step, `finish` leaves what was found.

    plan   [LONGEST, 3] its schedule      at   the row of it that the next step reads; a graph keeps no array alive
    """

    run: Run
    plan: Any
    at: Any
    step: Any
    finish: Any


class Recorder:
    """The recordings for one dual, which owns them."""

    def __init__(self, dual: Dual) -> None:
        self.dual, self.torch = weakref.proxy(dual), dual.xp
        self.kept: dict[tuple[object, ...], Recording | None] = {}
        self.seen: Counter[tuple[object, ...]] = Counter()
        self.pool, self._done = self.torch.cuda.graph_pool_handle(), self.torch.cuda.Event()

    def ascend(self, given: Given, steps: int, target: float) -> Best:
        """See `torchlean.verify.ascent.ascend`; some steps are made beyond the last that it needs."""
        count, plan = len(given.side), self.dual.plan(steps)
        with self._turn():
            kept = self._recording(None, given, ()) if 0 < steps <= LONGEST else None
            if kept is not None:
                assert isinstance(kept, Climb)
                kept.plan[:steps].copy_(plan)
                kept.graph.replay()
                for t in range(1, steps):
                    if t % LOOK == 0 and target < float("inf") and bool((kept.run.value[:count] > target).all()):
                        break
                    kept.step.replay()
                kept.finish.replay()
                return Best(*kept.copied(count))
        return ascend(self.dual.ascent(given), plan, target)

    def answer(self, question: Question, given: Given, *more: Any) -> Columns:
        """See `torchlean.verify.dual.Dual.answer`."""
        with self._turn():
            if (kept := self._recording(question, given, more)) is not None:
                kept.graph.replay()
                return kept.copied(len(given.side))
        return question(self.dual, given, *more)

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

    def _recording(self, question: Question | None, given: Given, more: Columns) -> Recording | None:
        """The one for these shapes, with what is given; None where there is none, or not yet.

        question   None: an ascent
        """
        forms = given.forms
        rows = filled(len(given.side), len(self.dual.neurons))
        optional = forms.direct is None, forms.own is None, given.weight is None, given.box[0].ndim
        key = (question, rows, forms.target, id(forms.clause), *optional, given.hold)
        self.seen[key] += 1
        if key not in self.kept and (question is None or self.seen[key] >= OFTEN):
            try:
                room = _room(given, rows), tuple(_rows(a, rows) for a in more)
                self.kept[key] = self._climb(room[0]) if question is None else self._asked(question, *room)
            except RuntimeError:  # no memory for it, or an operation that this device cannot record
                self.kept[key] = None
        if (kept := self.kept.get(key)) is not None:
            kept.take(given, more)
        return kept

    def _asked(self, question: Question, given: Given, more: Columns) -> Recording:
        found: list[Columns] = []
        graph = self._graph(lambda: found.append(question(self.dual, given, *more)))
        return Recording(given, more, graph, found[-1])

    def _climb(self, given: Given) -> Climb:
        # the run has the proxy as well: recordings end with their dual, and their memory with them
        run, torch, found = run_of(self.dual, given, lazy=False), self.torch, list[Columns]()
        plan = torch.ones(LONGEST, 3, device=given.side.device)
        at = torch.zeros(1, dtype=torch.int64, device=given.side.device)

        def now() -> Any:
            row = plan.index_select(0, at)[0]
            at.add_(1)
            return row

        def begin() -> None:
            at.zero_()
            run.begin(now())

        def finish() -> None:
            run.finish()
            found.append(run.best.columns)

        begins, steps, ends = (self._graph(call) for call in (begin, lambda: run.step(now()), finish))
        return Climb(given, (), begins, found[-1], run, plan, at, steps, ends)

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
            try:
                graph.capture_begin(pool=self.pool, capture_error_mode="thread_local")
                try:
                    call()
                finally:
                    graph.capture_end()  # raises, too, where the operations could not be recorded
            finally:
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


def _arrays(given: Given) -> list[Any]:
    forms = given.forms
    per = forms.seed, forms.direct, forms.bias, forms.own
    found = (*per, given.side, given.alpha, given.beta, given.weight, *given.box)
    return [a for a in found if a is not None]


def _room(given: Given, rows: int) -> Given:
    """Arrays of these shapes, for so many problems."""
    forms = given.forms
    per = {name: _rows(getattr(forms, name), rows) for name in ("seed", "direct", "bias", "own")}
    forms = replace(forms, **per)
    box = tuple(a.new_zeros(a.shape) if a.ndim == 1 else _rows(a, rows) for a in given.box)
    alpha, beta, weight = (_rows(a, rows) for a in (given.alpha, given.beta, given.weight))
    return Given(forms, _rows(given.side, rows), alpha, beta, weight, (box[0], box[1]), given.hold)


def _rows(a: Any, rows: int) -> Any:
    """An array like this one with so many rows."""
    return None if a is None else a.new_zeros((rows, *a.shape[1:]))
