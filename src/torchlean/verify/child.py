"""Processes that a search forks. Each answers through a pipe, and ends with its parent."""

from __future__ import annotations

import os
import signal
import warnings
from contextlib import suppress

from torchlean_check.parent import end_with_reader


def fork(pipe: int) -> int:
    """Fork a child, which ends as soon as nobody reads `pipe`; it closes the reading end itself.   Returns  0 there"""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads may run: the child needs none of them
        process = os.fork()
    if process == 0:
        with suppress(RuntimeError, MemoryError):  # no room for a thread: then its own time limit ends it
            end_with_reader(pipe)
    return process


def end(process: int) -> None:
    """Kill a child that may have ended, and reap it."""
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitpid(process, 0)
