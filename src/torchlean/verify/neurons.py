"""A region decided by splitting relus: for inputs of high dimension.

The root is bounded by the kernel, then with slopes for the clauses, then with slopes for every unstable neuron. What is
still open is taken clause by clause (clauses.py). Only what the kernel repeats counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

import torchlean_check as tc
from torchlean.verify import forest
from torchlean.verify.below import search_below
from torchlean.verify.bounded import Bounded
from torchlean.verify.boxes import search_with_kernel
from torchlean.verify.clauses import ClauseSearch
from torchlean.verify.maps import Engine
from torchlean.verify.outcome import Proof, Stuck
from torchlean.verify.problem import Problem
from torchlean.verify.refine import Refinement
from torchlean.verify.relus import STEPS, STEPS_ROOT, Relus
from torchlean.verify.seal import seal

Start = tuple[int, int, float]  # a tree node, the only clause that is open there, and its bound

SHARE = 0.3  # of the time that is left: for boxes before clauses are taken apart
LEAVES = 1, 16, 64, 256, 1024, 4096  # of the trees of hidden bounds, pass by pass while a clause is open
FIRST, WORTH = 16, 0.3  # leaves; what a pass with so many must bring, of what is missing, to have trees everywhere
LONG = 1024  # leaves, after which another pass must be worth it: this one has halved what is missing
LITTLE = 0.25  # of what is missing: where a pass brings less, one of four times the leaves is not worth its time
SMALL, TRIED = 256, 0.3  # unstable neurons where a tree of all clauses is tried, for this share of the pass before it
TOGETHER = 16  # clauses that are searched side by side
FEW = 64  # inputs up to which a network without unstable neurons is searched over its inputs


def prove_by_neurons(problem: Problem) -> Proof:
    """Raises Found, Stuck, OutOfTime."""
    kernel, builder = problem.kernel, tc.TreeBuilder()
    state = kernel.start()
    bounds = kernel.bound(state, derive=True)
    problem.deadline.check()
    builder.flag(0, tc.DERIVE)
    if kernel.refuted(state, bounds.margin, problem.slack()).all():
        return Proof(builder.build()[0], 1, 1)
    engine = Engine(problem.network)
    relus = Relus(problem, state, engine, (), trust=True)
    share = problem.deadline.part(max(0.01, min(10.0, 0.15 * problem.deadline.left)))
    problem.attack(64, 300, 50, share)
    if len(relus.neurons) == 0 and len(problem.varying) <= FEW:
        boxes = search_with_kernel(problem, builder, np.zeros(1, np.int64), kernel.start())
        return Proof(builder.build()[0], len(builder.leaves()), boxes)
    found, starts, worth = _root(builder, relus)
    scales = {clause: abs(bound) for _, clause, bound in starts}
    if starts and problem.crew is not None:
        return _dealt(builder, relus, found, starts, scales, worth)
    for first in range(0, len(starts), TOGETHER):
        some = starts[first : first + TOGETHER]
        ClauseSearch(builder, relus, {clause: scales[clause] for _, clause, _ in some}, worth).run(some)
    def again(number: int, left: tc.State, trust: bool) -> int:
        known, cases = (scales, worth) if trust else ({}, False)
        return search_below(problem, builder, number, left, engine, known, cases, trust, relus.family)

    return seal(problem, builder, relus.visited, again)


def _root(builder: tc.TreeBuilder, relus: Relus) -> tuple[Bounded, list[Start], bool]:
    """Close what can be closed without splits for a clause: with slopes for the clauses alone, then for hidden neurons.

    Returns the last bounds of the clauses that were open then; of those that still are, where each stands alone, the
    best first; and whether hidden neurons are worth trees everywhere.
    """
    problem, state, deadline = relus.problem, relus.state, relus.problem.deadline
    found, refutations = _close(relus)
    refinement, number, worth = Refinement(problem, state, relus.engine, relus.trust), 0, False
    for leaves in LEAVES:
        if not state.open.any():
            break
        if relus.engine.move(deadline.spent):
            relus.take_maps()
        begun = deadline.spent
        refinement.forward(deadline.part(max(0.01, SHARE * deadline.left)), leaves=leaves)
        took = deadline.spent - begun
        relus.settle()
        before = _missing(relus, found)
        relus.raise_planes()
        # what was refuted before derivations is refuted again by the same numbers after them
        found, more = _close(relus)
        refutations += more
        if leaves == FIRST:
            worth = _missing(relus, found) < (1 - WORTH) * before
        items = np.flatnonzero(state.open[0, found.nodes.clause])
        if len(items) and len(relus.neurons) <= SMALL:
            relus.repeat(len(items))
            parts = Bounded.join([(found, int(j)) for j in items], relus.maps)
            trees = forest.grow(relus, parts, TRIED * took)
            if trees.closed:  # they rest on these boxes: narrower ones are derived beside them
                builder.record(number, tc.Record(tuple(refinement.found), tuple(refutations)))
                refinement.found, refutations = [], []
            for i in trees.closed:
                clause = int(found.nodes.clause[items[i]])
                alone, number = (int(n[0]) for n in builder.split_clause(number, clause))
                builder.graft(alone, trees.builder, trees.roots[i])
                state.open[0, clause] = False
        left = _missing(relus, found)
        if leaves >= LONG and 2 * left > before:
            break
        if leaves >= FIRST and left > (1 - LITTLE) * before and not relus.engine.device:
            break
        if 2 * took > SHARE * deadline.left:
            break  # with more leaves the next pass takes longer still, and would end before it is through
    if refinement.found or refutations:
        builder.record(number, tc.Record(tuple(refinement.found), tuple(refutations)))
    items, starts = np.flatnonzero(state.open[0, found.nodes.clause]), []
    for j in items[np.argsort(-found.value[items], kind="stable")].tolist():  # the last `number` has no open clause
        clause, bound = int(found.nodes.clause[j]), float(found.value[j])
        alone, number = (int(n[0]) for n in builder.split_clause(number, clause))
        starts.append((alone, clause, bound))
    return found, starts, worth


def _dealt(
    builder: tc.TreeBuilder,
    relus: Relus,
    found: Bounded,
    starts: Sequence[Start],
    scales: Mapping[int, float],
    worth: bool,
) -> Proof:
    """The open clauses, and where they are fewer than the workers, their first cases, closed by the crew."""
    from torchlean.verify.parts import finish  # here: only a crew needs it

    problem = relus.problem
    assert problem.crew is not None
    _spread(builder, relus, found, starts, problem.crew.size)
    tree, position = builder.build()
    left = tc.replay(problem.kernel, tree, tables=tuple(problem.files.tables), workers=problem.replayers,
                     deadline=problem.deadline.end).failed  # fmt: skip
    problem.deadline.check()
    nodes = relus.visited
    if left is not None:
        ids = np.argsort(position)[left.nodes]
        for number in ids.tolist():
            builder.forget(number)
        nodes += finish(problem, builder, tc.Front(ids, left.state), "neurons", worth, scales)
    return Proof(builder.build()[0], len(builder.leaves()), nodes)


def _spread(builder: tc.TreeBuilder, relus: Relus, found: Bounded, starts: Sequence[Start], size: int) -> None:
    """Split relus below all starts, level by level, until so many nodes are open. Raises Budget."""
    item = {int(clause): j for j, clause in enumerate(found.nodes.clause)}
    home = np.zeros(len(starts), np.int64)
    parts = Bounded.join([(found, item[clause]) for _, clause, _ in starts], relus.maps)
    parts = parts.at(np.array([number for number, _, _ in starts]), home)
    while 0 < len(parts.nodes) < size:
        try:
            below = relus.bound(relus.children(builder, parts, np.arange(len(parts.nodes))), STEPS)
        except Stuck:  # a worker tightens first, and may find a split
            return
        closed, records = relus.refuter.refute(below)
        builder.record_all(below.nodes.number[closed], records)
        left = np.delete(np.arange(len(below.nodes)), closed).tolist()
        if not left:
            return
        parts = Bounded.join([(below, j) for j in left], relus.maps)


def _missing(relus: Relus, found: Bounded) -> float:
    """How far the worst of the open clauses is from being refuted."""
    left = relus.state.open[0, found.nodes.clause]
    return float(-found.value[left].min(initial=0.0))


def _close(relus: Relus) -> tuple[Bounded, list[tc.Refutation]]:
    """Bound the open clauses of the root; refutations of the kernel close them."""
    found = relus.bound(relus.root(0), STEPS_ROOT)
    relus.descend(found)
    refutations = [r for record in relus.refuter.refute(found, trust=False)[1] for r in record.refutations]
    for refutation in refutations:
        relus.state.open[0, refutation.clause] = False
    return found, refutations
