"""A region decided by splitting inputs: the float32 search finds a tree, the kernel replays it and repairs what failed."""

from __future__ import annotations

import numpy as np

import torchlean_check as tc
from torchlean.verify.attack import descend, evolve
from torchlean.verify.boxes import EACH, search_with_kernel
from torchlean.verify.lower import TooLarge, lower
from torchlean.verify.problem import SLACK, Problem, Proof
from torchlean.verify.search import Pile, Search

FIRST_ATTACK = 0.25  # seconds of search before the long attack, which then comes again at three times the time
DESCEND_EVERY = 16  # chunks between gradient descents from the search's own candidates


def prove_by_inputs(problem: Problem) -> Proof:
    """Raises Found, OutOfTime."""
    builder = tc.TreeBuilder()
    try:
        stack = lower(problem.network, problem.region, problem.semantics)
    except TooLarge:
        boxes = search_with_kernel(problem, builder, np.zeros(1, np.int64), problem.kernel.start())
        tree, _ = builder.build()
        return Proof(tree, len(builder.leaves()), boxes)
    region = problem.region
    search = Search(stack, region.row_clause, len(region.clauses), builder, EACH)
    pile = Pile(search.root(region.lo, region.hi))
    chunks, next_attack = 0, FIRST_ATTACK
    start = problem.deadline.spent
    while pile.size:
        problem.deadline.check()
        if problem.deadline.spent - start > next_attack:
            next_attack *= 3
            problem.try_points(evolve(problem.target, problem.rng, problem.deadline))
        search.step(pile)
        chunks += 1
        if search.candidates is not None:
            look_at(problem, search.candidates, chunks % DESCEND_EVERY == 0)
    builder.flag(builder.leaves(), tc.DERIVE)
    tree, position = builder.build()
    outcome = tc.replay(problem.kernel, tree, slack=SLACK, workers=problem.workers, deadline=problem.deadline.end)
    problem.deadline.check()
    boxes = search.counts.boxes
    if outcome.failed is not None:
        ids = np.empty(len(position), np.int64)
        ids[position] = np.arange(len(position))
        boxes += search_with_kernel(problem, builder, ids[outcome.failed.nodes], outcome.failed.state)
        tree, _ = builder.build()
    return Proof(tree, len(builder.leaves()), boxes)


def look_at(problem: Problem, points: np.ndarray, descending: bool) -> None:
    """Evaluate candidates of the search, now and then after some descent. Raises Found."""
    target = problem.target
    points = target.clip(points)
    worst = target.worst(target.rows(points))
    met = (worst <= 0).any(axis=1)
    if met.any():
        problem.try_points(points[met])
    if descending:
        nearest = np.argsort(worst.min(axis=1), kind="stable")[:24]
        best, g = descend(target, points[nearest], worst[nearest].argmin(axis=1), 8, problem.deadline, size=0.01)
        if (g <= 0).any():
            problem.try_points(best[np.argsort(g)])
