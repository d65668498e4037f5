"""The replay in several processes: subtrees are dealt out by the work that they hold.

This process visits the nodes above them, and takes one share.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np

from torchlean_check.bush import levels
from torchlean_check.kernel import Ints
from torchlean_check.records import RECORD, SPLIT, Entries, Slopes16, SlopeTable
from torchlean_check.tree import Front, Plan, Replay, join, run
from torchlean_check.worker import shared

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
    dealt = [at for at in deal(held[front.nodes], workers) if len(at)]
    mine, *others = [Front(front.nodes[at], front.state.take(at)) for at in dealt]
    threads, plan.kernel.threads = plan.kernel.threads, 1  # the other processors are taken
    try:
        left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
        given = [(below(plan, share.nodes), share, slack, left, stop_at_failure) for share in others]
        parts = shared(_run, (plan, mine, slack, left, stop_at_failure), given, Replay)
    finally:
        plan.kernel.threads = threads
    failed = [p.failed for p in parts if p.failed is not None]
    holes = np.unique(np.concatenate([first.holes, *(p.holes for p in parts)]))
    return Replay(
        first.leaves + sum(p.leaves for p in parts),
        holes,
        join(failed) if failed else None,
        first.nodes + sum(p.nodes for p in parts),
        all(p.finished for p in parts),
    )


def _run(plan: Plan, front: Front, slack: float, left: float | None, stop_at_failure: bool) -> Replay:
    """left: seconds, or None"""
    return run(plan, front, slack, None if left is None else time.monotonic() + left, stop_at_failure)


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
