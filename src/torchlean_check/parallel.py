"""The replay in several processes: subtrees are dealt out by the work that they hold.

This process visits the nodes above them, and takes one share. The workers are fresh interpreters that run this file;
each receives the plan and its share through a pipe from its own parent. While it uses its processor it says so, byte
by byte before its answer; one that is silent for long is ended, and there is no verdict.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np

from torchlean_check.bush import levels
from torchlean_check.errors import CheckError, WorkerError
from torchlean_check.kernel import Ints
from torchlean_check.parent import end_with_reader
from torchlean_check.records import RECORD, SPLIT, Entries, Slopes16, SlopeTable
from torchlean_check.tree import Front, Plan, Replay, join, run

FINER = 4  # times less than its share: what a process may get in one piece
BEAT = b"\0"  # no pickle begins with it
EVERY, USED = 1.0, 0.05  # seconds after which a worker says that it used so many seconds of its processor
LOOK, LOOKS = 1.0, 60  # seconds between looks at a worker, and how many in a row may find it silent


def replay_parallel(
    plan: Plan, start: Front, slack: float, workers: int, deadline: float | None, stop_at_failure: bool
) -> Replay:
    """Like `run`, with the nodes below a first stretch shared out among this process and `workers` - 1 others."""
    held = subtrees(plan)
    much = held > held[start.nodes].sum() // (FINER * workers)
    first = run(plan, start, slack, deadline, stop_at_failure, only=much)
    if first.finished or first.failed is None or (deadline is not None and time.monotonic() > deadline):
        return first
    front = first.failed
    env = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]),
    }
    dealt = [at for at in deal(held[front.nodes], workers) if len(at)]
    mine, *others = [Front(front.nodes[at], front.state.take(at)) for at in dealt]
    running: list[_Worker] = []
    threads = plan.kernel.threads
    try:
        for share in others:
            command = [sys.executable, "-P", "-m", "torchlean_check.parallel"]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
            running.append(_Worker(process))
            left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
            running[-1].share = pickle.dumps((below(plan, share.nodes), share, slack, left, stop_at_failure))
            running[-1].start()
        plan.kernel.threads = 1  # the other processors are taken
        parts = [run(plan, mine, slack, deadline, stop_at_failure)]
        parts += [worker.result() for worker in running]
    finally:
        plan.kernel.threads = threads
        for worker in running:
            worker.end()
    failed = [p.failed for p in parts if p.failed is not None]
    holes = np.unique(np.concatenate([first.holes, *(p.holes for p in parts)]))
    return Replay(
        first.leaves + sum(p.leaves for p in parts),
        holes,
        join(failed) if failed else None,
        first.nodes + sum(p.nodes for p in parts),
        all(p.finished for p in parts),
    )


class _Worker(Thread):
    """Sends a process its share and reads what it says: more than a pipe holds, both of it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        super().__init__(daemon=True)
        self.process, self.share, self.said = process, b"", bytearray()

    def run(self) -> None:
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None and stdout is not None
        with stdin, stdout:
            with suppress(BrokenPipeError):  # a worker that died is noticed by its exit status
                stdin.write(self.share)
                stdin.close()
            self.share = b""
            while some := os.read(stdout.fileno(), 1 << 20):
                self.said += some

    def result(self) -> Replay:
        """Wait for the answer. Raises the worker's CheckError; WorkerError where it fails, or stands still.

        Silence is counted in looks: when this process is stopped for a while, its workers are not at fault.
        """
        silent, heard = 0, -1
        while self.is_alive():
            self.join(LOOK)
            silent, heard = silent + 1 if len(self.said) == heard else 0, len(self.said)
            if silent > LOOKS:
                raise WorkerError(
                    "a worker process stands still",
                    where="parallel replay",
                    expected=f"a sign of work in {LOOK * LOOKS:g} s",
                    got="none: it is stopped, or has no share of a processor",
                    fix="run it again, or with --workers 1",
                )
        code, answer = self.process.wait(), bytes(self.said).lstrip(BEAT)
        try:
            part = pickle.loads(answer) if code == 0 else None
        except Exception as problem:  # bytes that are no pickle raise almost anything
            part = problem
        if isinstance(part, CheckError):
            raise part
        if not isinstance(part, Replay):
            raise WorkerError(
                "a worker process ended without an answer",
                where="parallel replay",
                expected="exit status 0 and a result",
                got=f"exit status {code}, {len(answer)} bytes{f': {part!r:.200}' if part is not None else ''}",
                fix="run with --workers 1",
            )
        return part

    def end(self) -> None:
        """End the process, if it still runs; then this thread ends too."""
        self.process.kill()
        self.process.wait()
        if self.ident is None:  # it was not started: nobody else closes the pipes
            self.run()
        self.join()


def work(plan: Plan) -> Ints:
    """How many rows each node bounds, roughly."""
    found = np.ones(len(plan.kind), np.int64)
    found[(plan.tree.op & RECORD) > 0] += plan.columns.rows()
    return found


def subtrees(plan: Plan) -> Ints:
    """The work at and below each node."""
    inner, found = plan.kind >= SPLIT, work(plan)
    for level in reversed(levels(inner)):
        at = level.start + np.flatnonzero(inner[level])
        found[at] += found[plan.child[at]] + found[plan.child[at] + 1]
    return found


def below(plan: Plan, nodes: Ints) -> Plan:
    """The plan with only those records and tables that are read at and below these nodes."""
    read = np.zeros(len(plan.kind), np.bool_)
    while len(nodes):
        read[nodes] = True
        inner = nodes[plan.kind[nodes] >= SPLIT]
        nodes = np.concatenate([plan.child[inner], plan.child[inner] + 1])
    part, kept = copy(plan), read[(plan.tree.op & RECORD) > 0]
    part.records = plan.records.kept(kept)
    part.tree = replace(plan.tree, records=())
    part.tables = Tables({i: plan.tables[i] for i in plan.columns.tables(kept)})
    return part


class Tables(dict[int, SlopeTable]):
    """Some slope tables by their positions: a pipe takes those of one search together."""

    def __reduce__(self) -> tuple[Any, ...]:
        sets: dict[int, list[int]] = {}
        for i, table in self.items():
            sets.setdefault(id(table.entries), []).append(i)
        packed = [(ids, self[ids[0]].entries, np.stack([self[i].slopes for i in ids])) for ids in sets.values()]
        return _unpacked, (packed,)


def _unpacked(sets: list[tuple[list[int], Mapping[int, Entries], Slopes16]]) -> Tables:
    every = [(i, SlopeTable(entries, row)) for ids, entries, rows in sets for i, row in zip(ids, rows, strict=True)]
    return Tables(every)


def deal(work: Ints, shares: int) -> list[Ints]:
    """Positions in each share: the largest first, each to the share that has least."""
    given: list[list[int]] = [[] for _ in range(shares)]
    load = [0] * shares
    for at in np.argsort(-work, kind="stable").tolist():
        least = load.index(min(load))
        given[least].append(at)
        load[least] += int(work[at])
    return [np.array(sorted(positions), np.int64) for positions in given]


@contextmanager
def _beating() -> Iterator[None]:
    """Say on standard output, again and again, that this process has used its processor; silence when it has not."""
    over = Event()

    def beat() -> None:
        used = 0.0
        while not over.wait(EVERY):
            if time.process_time() > used + USED:
                used = time.process_time()
                os.write(1, BEAT)

    beats = Thread(target=beat)
    beats.start()
    try:
        yield
    finally:
        over.set()
        beats.join()


def _work() -> None:
    end_with_reader(1)
    with _beating():
        plan, front, slack, left, stop = pickle.loads(sys.stdin.buffer.read())
        plan.kernel.threads = 1
        deadline = None if left is None else time.monotonic() + left
        try:
            answer: Replay | CheckError = run(plan, front, slack, deadline, stop)
        except CheckError as error:
            answer = error
    sys.stdout.buffer.write(pickle.dumps(answer))


if __name__ == "__main__":
    _work()
