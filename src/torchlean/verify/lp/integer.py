"""Which neurons a proof has to split: the exact relus that make a mixed-integer program infeasible.

A relu is exact where a binary variable d says its phase: a <= z - l (1 - d) and a <= u d. All others keep their
triangle. While the program has a point, that point is tried as a witness, and the relus that it breaks most become
exact. HiGHS gives no proof of infeasibility: its answer only says where the tree is to be split.

Source   Tjeng et al. 2019, arXiv:1711.07356 (the encoding)
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from torchlean.verify.clock import Deadline
from torchlean.verify.lp.highs import INF, Rows, Solution, least_integer
from torchlean.verify.lp.triangle import Triangle
from torchlean.verify.problem import Problem

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]
EACH = 12  # relus that become exact after a round
REAL = 1e-7  # gaps below this are noise of the solver


def neurons_to_split(problem: Problem, triangle: Triangle, clause: int, root: Solution, share: Deadline) -> Ints:
    """Positions in the triangle's neurons, in the order in which they became exact. Raises Found.

    root   the triangle's solution for `clause` without splits: its multipliers say how much a gap matters
    Returns what it has when `share` is used, or when the program's point breaks no relu.
    """
    weight = _weight(triangle, root)
    exact: list[int] = []
    while share.left > 0:
        problem.deadline.check()
        settled, point = least_integer(*_program(triangle, clause, np.array(exact, np.int64)), share.left, True)
        if point is None:
            break
        try_point(problem, point[: problem.network.inputs], clause)
        gap = gaps(triangle, point)
        gap[exact] = 0.0
        worst = np.argsort(-gap * weight, kind="stable")[:EACH]
        worst = worst[gap[worst] > REAL]
        if not settled or not len(worst):
            break
        exact += worst.tolist()
    return np.array(exact, np.int64)


def gaps(triangle: Triangle, point: F64) -> F64:
    """How far each relu's output is above the relu of its input, at a point of the relaxation.   Shapes  -> [U]"""
    used = triangle.z >= 0
    gap = np.zeros(len(used))
    gap[used] = point[triangle.a[used]] - np.maximum(point[triangle.z[used]], 0.0)
    return np.maximum(gap, 0.0)


def try_point(problem: Problem, x: F64, clause: int) -> None:
    """Replay an input as it is and after a short descent, where it looks violating. Raises Found."""
    from torchlean.verify.attack import descend

    start = problem.target.clip(x[None])
    points, g = descend(problem.target, start, np.array([clause]), 5, problem.deadline, size=0.1)
    if g[0] <= 0:
        problem.try_points(points)


def _weight(triangle: Triangle, root: Solution) -> F64:
    used = triangle.z >= 0
    weight = np.zeros(len(used))
    weight[used] = np.abs(root.row_dual[triangle.chord[used]])
    return weight + 1e-3 * weight.max(initial=0.0) + 1e-9


def _program(triangle: Triangle, clause: int, exact: Ints) -> tuple[Rows, Ints]:
    """The triangle with t <= 0 for `clause`, and exact relus; which of its columns are binary."""
    triangle.clause_only(clause)
    rows, t = triangle.program.rows, triangle.t
    cost, hi = np.zeros(len(rows.cost)), rows.col_hi.copy()
    cost[t], hi[t] = 1.0, 0.0
    rows = replace(rows, cost=cost, col_hi=hi)
    exact = exact[triangle.z[exact] >= 0]
    if not len(exact):
        return rows, exact
    z, a = triangle.z[exact], triangle.a[exact]
    lo, up = triangle.neurons.lo[exact], triangle.neurons.hi[exact]
    d, nothing, ones = np.arange(len(exact)) + len(cost), np.full(len(exact), -INF), np.ones(len(exact))
    rows = rows.with_more((0.0 * ones, ones), (nothing, -lo, np.stack([a, z, d], 1), np.stack([ones, -ones, -lo], 1)))
    none = np.zeros(0), np.zeros(0)
    return rows.with_more(none, (nothing, 0.0 * ones, np.stack([a, d], 1), np.stack([ones, -up], 1))), d
