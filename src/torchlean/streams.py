"""The standard streams, which may be closed, full or without a reader."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TextIO


def open_closed() -> None:
    """Where a standard stream is closed, the null device: its number would go to the next file that is opened."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), "r+"))


def complain(said: object) -> None:
    """Print on standard error. What it does not take is dropped: an exit code never depends on it."""
    with suppress(OSError):
        print(said, file=sys.stderr, flush=True)


def report(said: object) -> None:
    """Print how far a long work is. Where whoever reads it has gone, the work goes on, and says no more."""
    try:
        print(said, flush=True)
    except BrokenPipeError:
        drop(sys.stdout)


def drop(stream: TextIO) -> None:
    """Send what a stream still holds, and all that follows, to the null device: it is not tried again at the exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
