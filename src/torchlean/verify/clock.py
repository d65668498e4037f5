"""Time limits: a deadline that the search asks, and an alarm that does not ask the search."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from torchlean.errors import Exhausted, UsageError
from torchlean.verify.budget import Memory


class OutOfTime(Exhausted):
    """The wall clock ran out."""


class Deadline:
    """A point in monotonic time, `seconds` from now; and the memory that the run may take.

    steps    whether the search's choices rest on a count of steps and not on the time (`Steps`)
    """

    steps = False

    def __init__(self, seconds: float, memory: Memory | None = None) -> None:
        if not seconds > 0:
            raise UsageError("a time limit must be positive", where="timeout", expected="seconds > 0", got=str(seconds),
                             fix="--timeout 60")  # fmt: skip
        self.start = time.monotonic()
        self.end = self.start + seconds
        self.memory = memory or Memory()

    def part(self, seconds: float) -> Deadline:
        """A deadline within this one, `seconds` from now."""
        return Deadline(seconds, self.memory)

    @property
    def elapsed(self) -> float:
        """Seconds of wall clock since the start, whatever the clock counts."""
        return time.monotonic() - self.start

    @property
    def left(self) -> float:
        return self.end - time.monotonic()

    @property
    def spent(self) -> float:
        return time.monotonic() - self.start

    @property
    def worked(self) -> float:
        """Processor seconds of this process."""
        return time.process_time()

    def check(self) -> None:
        """Raises OutOfTime."""
        if not self.left > 0:
            raise out_of_time(self.end - self.start)


class Steps(Deadline):
    """A clock that each `check` moves on by STEP; the wall clock ends the run all the same, then without a proof."""

    steps = True

    def __init__(self, seconds: float, memory: Memory | None = None) -> None:
        super().__init__(seconds, memory)
        self._wall, self._seconds, self.count = Deadline(seconds), seconds, 0

    @property
    def left(self) -> float:
        return self._seconds - self.spent

    @property
    def spent(self) -> float:
        return self.count * STEP

    @property
    def worked(self) -> float:
        return self.spent

    def part(self, seconds: float) -> Deadline:
        return _Part(self, seconds)

    def check(self) -> None:
        self.count += 1
        self._wall.check()


class _Part(Steps):
    """A share of the steps of another clock."""

    def __init__(self, whole: Steps, seconds: float) -> None:
        super().__init__(seconds, whole.memory)
        self._whole, self._from = whole, whole.spent

    @property
    def spent(self) -> float:
        return self._whole.spent - self._from

    def check(self) -> None:
        self._whole.check()


STEP = 0.005  # seconds that a step stands for


def out_of_time(seconds: float) -> OutOfTime:
    return OutOfTime(
        "the time limit was reached",
        where="verify",
        expected=f"an answer within {seconds:g} s",
        got="none",
        fix="give a larger --timeout",
    )


@contextmanager
def alarm(deadline: Deadline) -> Iterator[None]:
    """Raise OutOfTime in the main thread at the deadline, whatever runs there; elsewhere only its checks act.

    It rings again and again: Python drops what is raised inside a destructor.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise out_of_time(deadline.end - deadline.start)

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(deadline.left, 0.001), 0.25)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
