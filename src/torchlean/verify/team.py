"""A second process for hard searches: it takes half of the open boxes and sends back the splits that it made.

The halves of a search share nothing, so each keeps a list of its splits; the parent writes them into the one tree. A
worker that dies loses its boxes, which the parent then searches itself.
"""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe
from typing import Any

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.verify import child

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass
class Log:
    """A recorder that remembers: each split as (nodes, axis), each flag as (nodes, flags), with ids of its own.

    start   the ids of the given boxes are 0, 1, ... start - 1
    """

    start: int
    size: int = 0
    entries: list[tuple[Ints, Ints | None, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.size = self.start

    def split(self, nodes: Ints, axis: Ints, at: F64 | None = None, flags: int = 0) -> tuple[Ints, Ints]:
        self.entries.append((nodes, axis, flags))
        low = self.size + 2 * np.arange(len(nodes))
        self.size += 2 * len(nodes)
        return low, low + 1

    def flag(self, nodes: Ints, flags: int) -> None:
        if len(nodes):
            self.entries.append((nodes, None, flags))

    def write(self, builder: tc.TreeBuilder, roots: Ints) -> Ints:
        """Do the same in `builder`, where the given boxes are the nodes `roots`; returns its id of each id here."""
        ids = np.empty(self.size, np.int64)
        ids[: self.start] = roots
        end = self.start
        for nodes, axis, flags in self.entries:
            if axis is None:
                builder.flag(ids[nodes], flags)
                continue
            low, high = builder.split(ids[nodes], axis, None, flags)
            count = 2 * len(nodes)
            ids[end : end + count : 2], ids[end + 1 : end + count : 2] = low, high
            end += count
        return ids


@dataclass
class Worker:
    """A child process that searches `front`; `answer` is ready when `done`."""

    process: int
    pipe: Connection
    front: tc.Front

    def done(self) -> bool:
        return self.pipe.poll()

    def answer(self) -> Any:
        """What the child sent, or None when it died."""
        try:
            found = pickle.loads(self.pipe.recv_bytes())
        except (EOFError, OSError):
            found = None
        self.end()
        return found

    def end(self) -> None:
        self.pipe.close()
        child.end(self.process)


def start(front: tc.Front, work: Callable[[tc.Front], Any]) -> Worker:
    """Fork a child that sends work(front)."""
    ours, theirs = Pipe(duplex=False)
    process = child.fork(theirs.fileno())
    if process == 0:
        try:
            signal.setitimer(signal.ITIMER_REAL, 0)
            ours.close()
            theirs.send_bytes(pickle.dumps(work(front), protocol=pickle.HIGHEST_PROTOCOL))
        finally:
            os._exit(0)
    theirs.close()
    return Worker(process, ours, front)
