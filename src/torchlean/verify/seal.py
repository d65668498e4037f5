"""A tree becomes a proof where the checker's replay closes every leaf of it.

A search may trust its own bounds while it runs: this replay, in several processes, is what decides.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import torchlean_check as tc
from torchlean.verify.outcome import Proof, Stuck
from torchlean.verify.problem import Problem
from torchlean_check.tree import Front


def seal(
    problem: Problem, builder: tc.TreeBuilder, nodes: int, again: Callable[[int, tc.State, bool], int] | None = None
) -> Proof:
    """Replay the whole tree as the checker will.

    nodes   how many the search bounded
    again   for a leaf that does not close and its state: grow the tree there, and whether the search may trust its own
            bounds once more, from boxes that are proved now; how many it bounded
    Raises  Stuck where leaves stay open, OutOfTime
    """
    leaves, start, ids, rounds = 0, None, np.zeros(0, np.int64), [False, True]
    while True:
        tree, position = builder.build()
        front = None if start is None else Front(position[ids], start)
        outcome = tc.replay(
            problem.kernel, tree, tables=tuple(problem.files.tables), workers=problem.replayers, front=front,
            deadline=problem.deadline.end,
        )  # fmt: skip
        problem.deadline.check()
        leaves += outcome.leaves
        if outcome.failed is None and not len(outcome.holes):
            return Proof(tree, leaves, nodes)
        if outcome.failed is None or again is None or not rounds:
            raise Stuck("the proof's replay does not agree with the search")
        trust, start, ids = rounds.pop(), outcome.failed.state, np.argsort(position)[outcome.failed.nodes]
        for j, number in enumerate(ids.tolist()):
            builder.forget(number)  # what is found now is found without it: narrower boxes can make a bound worse
            nodes += again(number, start.take([j]), trust)
