"""A leaf of a tree taken up again by splitting relus: from the kernel's state there, with what is open there."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

import torchlean_check as tc
from torchlean.verify.clauses import ClauseSearch
from torchlean.verify.glance import SLACK
from torchlean.verify.maps import Engine
from torchlean.verify.planes import Family
from torchlean.verify.problem import Problem
from torchlean.verify.relus import STEPS, STEPS_ROOT, Relus


def search_below(
    problem: Problem,
    builder: tc.TreeBuilder,
    number: int,
    state: tc.State,
    engine: Engine,
    scales: Mapping[int, float],
    cases: bool,
    trust: bool,
    family: Family | None = None,
) -> int:
    """Close a leaf whose state is the kernel's; how many nodes were bounded.

    scales        clause -> the size of its g; what is of no such clause, is tried with a tree at once
    cases, trust  see `ClauseSearch` and `Relus`
    family        planes that were learned above; None: they are learned here
    Raises        Found, Budget, Stuck, OutOfTime
    """
    other, nodes, clauses = number, 0, np.flatnonzero(state.open[0]).tolist()
    for clause in clauses:
        alone = other
        if len(clauses) > 1:
            alone, other = (int(n[0]) for n in builder.split_clause(other, clause))
        relus = _relus(problem, only(state, clause), engine, trust)
        relus.raise_planes(family)
        scale, bound = float(problem.slack().max() / SLACK), 0.0
        if clause in scales:
            found = relus.bound(relus.root(alone), STEPS_ROOT)
            scale, bound = scales[clause], float(found.value[0])
        nodes += ClauseSearch(builder, relus, {clause: scale}, cases).run([(alone, clause, bound)])
    return nodes


def halve(problem: Problem, builder: tc.TreeBuilder, number: int, state: tc.State, engine: Engine) -> list[int]:
    """Split a leaf whose state is the kernel's, a clause off or a relu, and do no more; the leaves.

    Raises   Budget, Stuck
    """
    clauses = np.flatnonzero(state.open[0])
    if len(clauses) > 1:
        return [int(n[0]) for n in builder.split_clause(number, clauses[0])]
    relus = _relus(problem, state, engine, trust=False)
    return relus.children(builder, relus.bound(relus.root(number), STEPS), np.zeros(1, np.int64)).number.tolist()


def _relus(problem: Problem, state: tc.State, engine: Engine, trust: bool) -> Relus:
    return Relus(problem, state, engine, tuple((v, i, side) for v, i, side, _ in state.paths[0]), trust)


def only(state: tc.State, clause: int) -> tc.State:
    """A copy where one clause alone is open."""
    alone = state.take([0])
    alone.open[0] = np.arange(alone.open.shape[1]) == clause
    return alone
