"""The replay in several processes: subtrees are dealt out by the work that they hold.

This process visits the nodes above them, and takes one share. The workers are fresh interpreters that run this file;
each receives the plan and its share through a pipe from its own parent.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from copy import copy
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np

from torchlean_check.bush import levels
from torchlean_check.errors import CheckError, WorkerError
from torchlean_check.kernel import Ints
from torchlean_check.records import RECORD, SPLIT, Entries, Slopes16, SlopeTable
from torchlean_check.tree import Front, Plan, Replay, join, run

FINER = 4  # times less than its share: what a process may get in one piece


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
    running: list[subprocess.Popen[bytes]] = []
    senders: list[Thread] = []
    threads = plan.kernel.threads
    try:
        for share in others:
            command = [sys.executable, "-P", "-m", "torchlean_check.parallel"]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
            running.append(process)
            left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
            sent = pickle.dumps((below(plan, share.nodes), share, slack, left, stop_at_failure))
            senders.append(Thread(target=_send, args=(process, sent)))
            senders[-1].start()  # a share is longer than a pipe holds, and its reader is still starting
        plan.kernel.threads = 1  # the other processors are taken
        parts = [run(plan, mine, slack, deadline, stop_at_failure)]
        for sender in senders:
            sender.join()
        answers = [process.stdout.read() for process in running if process.stdout is not None]
        codes = [process.wait() for process in running]
    finally:
        plan.kernel.threads = threads
        for process in running:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
    parts += map(_result, answers, codes)
    failed = [p.failed for p in parts if p.failed is not None]
    holes = np.unique(np.concatenate([first.holes, *(p.holes for p in parts)]))
    return Replay(
        first.leaves + sum(p.leaves for p in parts),
        holes,
        join(failed) if failed else None,
        first.nodes + sum(p.nodes for p in parts),
        all(p.finished for p in parts),
    )


def _result(answer: bytes, code: int) -> Replay:
    """What a worker wrote before it ended. Raises its CheckError; WorkerError where it is something else."""
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


def _send(process: subprocess.Popen[bytes], share: bytes) -> None:
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # a worker that died is noticed by its exit status
        process.stdin.write(share)
        process.stdin.close()


def _work() -> None:
    plan, front, slack, left, stop = pickle.loads(sys.stdin.buffer.read())
    plan.kernel.threads = 1
    try:
        answer: Replay | CheckError = run(plan, front, slack, None if left is None else time.monotonic() + left, stop)
    except CheckError as error:
        answer = error
    sys.stdout.buffer.write(pickle.dumps(answer))


if __name__ == "__main__":
    _work()
