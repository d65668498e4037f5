"""A region decided by splitting inputs: the float32 search finds a tree, the kernel replays and repairs it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.bounds.dense import Stack
from torchlean.verify.attack import descend, evolve
from torchlean.verify.boxes import EACH, PROBE, search_with_kernel, settle, some_with_kernel
from torchlean.verify.lower import Origin, TooLarge, lower_with_origins
from torchlean.verify.problem import SLACK, Problem, Proof
from torchlean.verify.search import Counts, Front, Pile, Search

if TYPE_CHECKING:
    from torchlean.verify.team import Worker

Ints = NDArray[np.int64]

FIRST_BOXES = 64  # that the kernel bounds itself: most searches end here, and need no replay
FIRST_ATTACK = 0.25  # seconds of search before the long attack, which then comes again at three times the time
FORK_AFTER = 0.6  # seconds of search before a second process takes half of the open boxes
SHIFT = 4.0  # seconds after which a worker hands back what it left open, so that the halves stay even
DESCEND_EVERY = 16  # chunks between gradient descents from the search's own candidates


def prove_by_inputs(problem: Problem) -> Proof:
    """Raises Found, OutOfTime."""
    builder = tc.TreeBuilder()
    if problem.sparse:  # composed as a dense stack it would be much larger
        boxes = search_with_kernel(problem, builder, np.zeros(1, np.int64), problem.kernel.start())
        return Proof(builder.build()[0], len(builder.leaves()), boxes)
    boxes, waiting = some_with_kernel(problem, builder, np.zeros(1, np.int64), problem.kernel.start(), FIRST_BOXES)
    if not waiting:
        return Proof(builder.build()[0], len(builder.leaves()), boxes)
    nodes, state = np.concatenate([n for n, _ in waiting]), tc.State.join([s for _, s in waiting])
    try:
        stack, origins = lower_with_origins(problem.network, problem.region, problem.semantics)
    except TooLarge:
        boxes += search_with_kernel(problem, builder, nodes, state)
        return Proof(builder.build()[0], len(builder.leaves()), boxes)
    region = problem.region
    search = Search(stack, region.row_clause, len(region.clauses), builder, EACH)
    _search(problem, stack, search, Pile(_front(stack, origins, nodes, state)), builder)
    builder.flag(builder.leaves(), tc.DERIVE)
    tree, position = builder.build()
    outcome = tc.replay(problem.kernel, tree, front=tc.Front(position[nodes], state), slack=SLACK,
                        workers=problem.workers, deadline=problem.deadline.end)  # fmt: skip
    problem.deadline.check()
    boxes += search.counts.boxes
    if outcome.failed is not None:
        ids = np.empty(len(position), np.int64)
        ids[position] = np.arange(len(position))
        boxes += search_with_kernel(problem, builder, ids[outcome.failed.nodes], outcome.failed.state)
        tree, _ = builder.build()
    return Proof(tree, len(builder.leaves()), boxes)


def _front(stack: Stack, origins: tuple[Origin, ...], nodes: Ints, state: tc.State) -> Front:
    """Open boxes of the kernel's search as the float32 search takes them."""
    sides = [np.full((len(nodes), sum(stack.sizes)), end, np.float32) for end in (-np.inf, np.inf)]
    start = 0
    for size, (value, index) in zip(stack.sizes, origins, strict=True):
        for v in dict.fromkeys(value.tolist()):
            at = np.flatnonzero(value == v)
            for side, box in zip(sides, state.boxes[v], strict=True):
                side[:, start + at] = box[:, index[at]]
        start += size
    return Front(nodes, state.lo, state.hi, sides[0], sides[1], state.open)


def _search(problem: Problem, stack: Stack, search: Search, pile: Pile, builder: tc.TreeBuilder) -> None:
    """Empty the pile, with a second process once it is worth one. Raises Found, Budget, OutOfTime."""
    chunks, next_attack, start, noisy = 0, FIRST_ATTACK, problem.deadline.spent, 0
    worker: Worker | None = None
    try:
        while pile.size or worker is not None:
            problem.deadline.check()
            spent = problem.deadline.spent - start
            if spent > next_attack:
                next_attack *= 3
                problem.try_points(evolve(problem.target, problem.rng, problem.deadline))
            if worker is None and problem.workers > 1 and spent > FORK_AFTER and pile.size > 8 * search.chunk:
                from torchlean.verify import team  # loads multiprocessing: most searches end before

                worker = team.start(pile.take_half(), lambda front: _half(problem, stack, front))
            if worker is not None and (worker.done() or not pile.size):
                _merge(problem, search, pile, builder, worker)
                worker = None
                continue
            search.step(pile)
            chunks += 1
            if search.candidates is not None:
                look_at(problem, search.candidates, chunks % DESCEND_EVERY == 0)
            if search.smallest is not None and chunks % PROBE == 0:
                noisy = noisy + 1 if settle(problem, *search.smallest, final=False) else 0
                if noisy > 2 and worker is None:
                    return  # float32 is too coarse for this search: the kernel takes what is left
    finally:
        if worker is not None:
            worker.end()


def _half(problem: Problem, stack: Stack, front: Front) -> tuple[str, Any, Front | None, Counts | None]:
    """A worker's shift: ("done", its Log, what it left open, counts), or ("point", x, None, None) on a find."""
    from torchlean.verify.team import Log

    log = Log(len(front))
    region = problem.region
    search = Search(stack, region.row_clause, len(region.clauses), log, EACH)
    pile = Pile(replace(front, nodes=np.arange(len(front))))
    end = problem.deadline.spent + SHIFT
    while pile.size and problem.deadline.spent < end:
        search.step(pile)
        if search.candidates is not None:
            points = problem.target.clip(search.candidates)
            met = (problem.target.worst(problem.target.rows(points)) <= 0).any(axis=1)
            if met.any():
                return "point", points[met], None, None
    return "done", log, pile.pop(pile.size), search.counts


def _merge(problem: Problem, search: Search, pile: Pile, builder: tc.TreeBuilder, worker: Worker) -> None:
    """Wait for the worker and write its part of the tree; where it has none, its boxes come back to the pile."""
    found = worker.answer()
    if found is not None and found[0] == "done":
        _, log, left, counts = found
        ids = log.write(builder, worker.front.nodes)
        pile.push(replace(left, nodes=ids[left.nodes]))
        search.counts.boxes += counts.boxes
        search.counts.leaves += counts.leaves
        return
    pile.push(worker.front)
    if found is not None:
        problem.try_points(found[1])
        problem.workers = 1  # its points were no witnesses: search these boxes here, where each is looked at


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
