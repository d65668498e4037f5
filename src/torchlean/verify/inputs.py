"""A region decided by splitting inputs: the kernel's search, attacks on the way, and a second process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.verify.attack import descend, evolve
from torchlean.verify.boxes import Search, look_at
from torchlean.verify.clock import Deadline
from torchlean.verify.glance import closes
from torchlean.verify.outcome import Budget, Proof, Stuck
from torchlean.verify.problem import Problem

if TYPE_CHECKING:
    from torchlean.verify.team import Worker

F64 = NDArray[np.float64]

FIRST_ATTACK = 0.25  # processor seconds of search before the long attack, which then comes at three times the time
BATCHES = 4  # of boxes before it: where a network is large, so few may decide the region
FORK_AFTER = 0.5  # processor seconds of search before a second process takes half of the open boxes
SHIFT = 4.0  # seconds after which a worker hands back what it left open, so that the halves stay even
ATTACK = 2.0  # seconds of an attack while parts are out, at most: their answers wait for its end
DESCEND_EVERY = 16  # batches between gradient descents from the search's own points


def prove_by_inputs(problem: Problem) -> Proof:
    """Raises Found, Stuck, Budget, OutOfTime."""
    if not problem.looked and closes(problem.kernel):
        return Proof.of_one_leaf()
    look_at(problem, problem.nearest)
    builder = tc.TreeBuilder()
    search = Search(problem, builder, np.zeros(1, np.int64), problem.kernel.start())
    next_attack, start = FIRST_ATTACK, problem.deadline.worked
    worker: Worker | None = None
    try:
        while search.waiting or worker is not None:
            problem.deadline.check()
            spent = problem.deadline.worked - start
            if spent > next_attack and search.batches >= BATCHES:
                next_attack = 3 * spent
                problem.try_points(evolve(problem.target, problem.rng, Deadline(0.1 + 0.3 * spent)))
            if problem.crew is not None and search.size >= 2 * problem.crew.size and spent > FORK_AFTER:
                search.boxes += _dealt(problem, search, builder)
                continue
            enough = problem.workers > 1 and search.size > 2 * search.chunk
            if worker is None and enough and spent > FORK_AFTER and problem.crew is None:
                from torchlean.verify import team  # loads multiprocessing: most searches end before

                nodes, state = search.take_all()
                mine, theirs = np.arange(0, len(nodes), 2), np.arange(1, len(nodes), 2)  # alike
                search.push(nodes[mine], state.take(mine))
                problem.kernel.threads = 1
                worker = team.start(tc.Front(nodes[theirs], state.take(theirs)), lambda front: _half(problem, front))
            if worker is not None and (worker.done() or not search.waiting):
                search.boxes += _merge(problem, search, builder, worker)
                worker = None
                continue
            search.step()
            look_at(problem, search.points)
            if search.batches % DESCEND_EVERY == 0:
                _descend(problem, search.points)
    finally:
        if worker is not None:
            worker.end()
    return Proof(builder.build()[0], len(builder.leaves()), search.boxes)


def _dealt(problem: Problem, search: Search, builder: tc.TreeBuilder) -> int:
    """All open boxes, closed by the workers of the crew, with attacks meanwhile; how many they bounded."""
    from torchlean.verify.parts import finish  # here: most searches end before

    begun = next_attack = problem.deadline.spent

    def meanwhile() -> None:
        nonlocal next_attack
        spent = problem.deadline.spent - begun
        if problem.deadline.spent > next_attack:
            next_attack = problem.deadline.spent + 3 * spent
            problem.try_points(evolve(problem.target, problem.rng, Deadline(min(ATTACK, 0.1 + 0.3 * spent))))

    return finish(problem, builder, tc.Front(*search.take_all()), "inputs", meanwhile=meanwhile)


def _half(problem: Problem, front: tc.Front) -> tuple[Any, ...]:
    """A worker's shift: ("done", its Log, nodes and states that it left open, boxes); ("point", x) on a find; ("none",)
    where a box cannot be closed, which the parent meets in its turn.
    """
    from torchlean.verify.team import Log

    log = Log(len(front.nodes))
    search = Search(problem, log, np.arange(len(front.nodes)), front.state)
    end = problem.deadline.spent + SHIFT
    while search.waiting and problem.deadline.spent < end:
        try:
            search.step()
        except (Stuck, Budget):
            return ("none",)
        points = problem.target.clip(search.points)
        met = (problem.target.worst(problem.target.rows(points)) <= 0).any(axis=1)
        if met.any():
            return "point", points[met]
    left = search.take_all() if search.waiting else (np.zeros(0, np.int64), front.state.take([]))
    return "done", log, left, search.boxes


def _merge(problem: Problem, search: Search, builder: tc.TreeBuilder, worker: Worker) -> int:
    """Wait for the worker and write its part of the tree; where it has none, its boxes come back. Returns its boxes."""
    found = worker.answer()
    if found is not None and found[0] == "done":
        _, log, (nodes, state), boxes = found
        search.push(log.write(builder, worker.front.nodes)[nodes], state)
        return int(boxes)
    search.push(worker.front.nodes, worker.front.state)
    if found is not None:
        problem.workers = 1  # what it met is decided here, where each box is looked at
        if found[0] == "point":
            problem.try_points(found[1])
    return 0


def _descend(problem: Problem, points: F64) -> None:
    """Some descent from the best of the search's points. Raises Found."""
    if not len(points):
        return
    target = problem.target
    points = target.clip(points)
    worst = target.worst(target.rows(points))
    nearest = np.argsort(worst.min(axis=1), kind="stable")[:24]
    best, g = descend(target, points[nearest], worst[nearest].argmin(axis=1), 8, problem.deadline, size=0.01)
    if (g <= 0).any():
        problem.try_points(best[np.argsort(g)])
