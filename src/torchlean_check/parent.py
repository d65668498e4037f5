"""A child process ends with its parent, however that one ended: nothing can be sent by a process that was killed."""

from __future__ import annotations

import os
import select
import signal
from threading import Thread

READER = "TORCHLEAN_ENDS_WITH_READER"  # set by who starts a command and reads its standard output


def end_with_reader(pipe: int) -> None:
    """End this process as soon as nobody has the other end of `pipe`, the writing end of a pipe, open any more.

    A thread waits for that, so a process that is stopped ends only when it goes on. A reading end that a sibling
    inherited counts until the sibling ends, which it does by the same rule. Nothing happens where the system has no
    `poll`.
    """
    if hasattr(select, "poll"):
        Thread(target=_wait, args=(pipe,), daemon=True).start()


def heed_reader() -> None:
    """Where whoever started this process asks for it, `end_with_reader` of standard output."""
    if os.environ.get(READER):
        end_with_reader(1)


def _wait(pipe: int) -> None:
    poll = select.poll()
    poll.register(pipe, 0)  # that the other end is closed is told unasked
    poll.poll()
    os.kill(os.getpid(), signal.SIGKILL)
