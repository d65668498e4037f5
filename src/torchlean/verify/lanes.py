"""Calls side by side: while one waits for the device, another has the host.

Each lane has a thread, and a line of its own on the device. What launches operations gives the interpreter back at each
of them for a moment, and asks for it again: beside a thread that computes in Python, 60 launches took 290 ms with
Python's usual interval of 5 ms, 4 ms with 0.1 ms, and 1.5 ms with SWITCH.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

from torchlean.frozen import frozen
from torchlean.verify.maps import Maps

if TYPE_CHECKING:
    from types import TracebackType

SWITCH = 2e-5  # seconds after which a thread that computes lets another have the interpreter

Job = TypeVar("Job")
Result = TypeVar("Result")
JobIn = TypeVar("JobIn", contravariant=True)
ResultOut = TypeVar("ResultOut", covariant=True)


class Work(Protocol[JobIn, ResultOut]):
    """What a lane does. A call is over when the device has done all of it: other lanes read what it made."""

    def __call__(self, job: JobIn, /) -> ResultOut: ...

    def stop(self) -> None:
        """Let a call that goes on end soon, by raising."""


class Lanes(Generic[Job, Result]):
    """A lane for each of some works."""

    def __init__(self, maps: Maps, works: Sequence[Work[Job, Result]]) -> None:
        self._maps = maps
        self._idle = [_Lane(work, maps.apart()) for work in works]
        self._running: dict[Future[Result], tuple[_Lane[Job, Result], Job]] = {}
        self._pool = ThreadPoolExecutor(len(works))

    def __enter__(self) -> Self:
        self._together, self._interval = self._maps.together(), sys.getswitchinterval()
        self._together.__enter__()
        sys.setswitchinterval(SWITCH)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for lane, _ in self._running.values():
                lane.work.stop()
            self._pool.shutdown()
        finally:
            sys.setswitchinterval(self._interval)
            self._together.__exit__(None, None, None)

    @property
    def busy(self) -> int:
        """How many lanes have a call."""
        return len(self._running)

    def start(self, job: Job) -> None:
        """Give a job to a free lane."""
        lane = self._idle.pop()
        self._running[self._pool.submit(lane.run, job)] = lane, job

    def next(self) -> tuple[Job, Result]:
        """Wait for a call. Raises what it raised."""
        future = next(iter(wait(self._running, return_when=FIRST_COMPLETED).done))
        lane, job = self._running.pop(future)
        self._idle.append(lane)
        return job, future.result()


@frozen(eq=False)
class _Lane(Generic[Job, Result]):
    work: Work[Job, Result]
    apart: Callable[[], AbstractContextManager[object]]

    def run(self, job: Job) -> Result:
        with self.apart():
            return self.work(job)
