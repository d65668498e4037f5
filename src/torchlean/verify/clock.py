"""Time limits: a deadline that the search asks, and an alarm that does not ask the search."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from torchlean.errors import Exhausted, UsageError


class OutOfTime(Exhausted):
    """The wall clock ran out."""


class Deadline:
    """A point in monotonic time, `seconds` from now."""

    def __init__(self, seconds: float) -> None:
        if not seconds > 0:
            raise UsageError("a time limit must be positive", where="timeout", expected="seconds > 0", got=str(seconds),
                             fix="--timeout 60")  # fmt: skip
        self.start = time.monotonic()
        self.end = self.start + seconds

    @property
    def left(self) -> float:
        return self.end - time.monotonic()

    @property
    def spent(self) -> float:
        return time.monotonic() - self.start

    def check(self) -> None:
        """Raises OutOfTime."""
        if not self.left > 0:
            raise out_of_time(self.end - self.start)


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
