"""The replay in several processes: each takes every n-th waiting node and replays what stands below it.

Workers are fresh interpreters that run this file; they receive the plan and their share through a pipe from their own
parent.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from torchlean_check.errors import CheckError
from torchlean_check.tree import Front, Plan, Replay, join, run


def replay_parallel(
    plan: Plan, start: Front, slack: float, workers: int, deadline: float | None, stop_at_failure: bool
) -> Replay:
    """Like `run`, with the nodes below a first stretch shared out among processes."""
    first = run(plan, start, slack, deadline, stop_at_failure, until=64 * workers)
    if first.finished or first.failed is None or (deadline is not None and time.monotonic() > deadline):
        return first
    front = first.failed
    remaining = None if deadline is None else max(deadline - time.monotonic(), 0.0)
    env = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]),
    }
    shares = []
    for w in range(workers):
        rows = np.arange(w, len(front.nodes), workers)
        shares.append(
            pickle.dumps((plan, Front(front.nodes[rows], front.state.take(rows)), slack, remaining, stop_at_failure))
        )
    running = [
        subprocess.Popen(
            [sys.executable, "-P", "-m", "torchlean_check.parallel"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=env,
        )
        for _ in shares
    ]
    try:
        for process, share in zip(running, shares, strict=True):
            assert process.stdin is not None
            process.stdin.write(share)
            process.stdin.close()
        answers = [process.stdout.read() for process in running if process.stdout is not None]
        if any(process.wait() != 0 for process in running):
            raise CheckError(
                "a worker process ended without an answer",
                where="parallel replay",
                expected="exit status 0",
                got="another",
                fix="run with --workers 1",
            )
    finally:
        for process in running:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
    parts = []
    for answer in answers:
        part = pickle.loads(answer)
        if isinstance(part, CheckError):
            raise part
        parts.append(part)
    failed = [p.failed for p in parts if p.failed is not None]
    holes = np.unique(np.concatenate([first.holes, *(p.holes for p in parts)]))
    return Replay(
        first.leaves + sum(p.leaves for p in parts),
        holes,
        join(failed) if failed else None,
        first.nodes + sum(p.nodes for p in parts),
        all(p.finished for p in parts),
    )


def _work() -> None:
    plan, front, slack, remaining, stop = pickle.loads(sys.stdin.buffer.read())
    try:
        answer: Replay | CheckError = run(
            plan, front, slack, None if remaining is None else time.monotonic() + remaining, stop
        )
    except CheckError as error:
        answer = error
    sys.stdout.buffer.write(pickle.dumps(answer))


if __name__ == "__main__":
    _work()
