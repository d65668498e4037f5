"""HiGHS as this package uses it: one linear program that is solved again and again, and mixed-integer ones.

Nothing here is trusted: its numbers become multipliers of a certificate, or points that are replayed.
Source   Huangfu and Hall 2018, doi:10.1007/s12532-017-0130-5; the package highspy, extra `lp`
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchlean.errors import InternalError, Unsupported
from torchlean.frozen import frozen

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]
INF = float("inf")


@frozen(eq=False)
class Rows:
    """Sparse constraints lo <= A v <= hi on columns with bounds and costs.

    start, index, value   A row by row, compressed: [rows + 1], [nonzeros], [nonzeros]
    """

    col_lo: F64
    col_hi: F64
    cost: F64
    row_lo: F64
    row_hi: F64
    start: Ints
    index: Ints
    value: F64

    def reduced(self, dual: F64) -> F64:
        """-A^T dual, what a combination of the rows leaves on the columns.   Shapes  [rows] -> [columns]"""
        weight = np.repeat(dual, np.diff(self.start)) * self.value
        total: F64 = np.bincount(self.index, weight, minlength=len(self.cost)).astype(np.float64)
        return -total

    def with_more(self, columns: tuple[F64, F64], rows: tuple[F64, F64, Ints, F64]) -> Rows:
        """More columns (lo, hi) and more rows, all of one length (lo, hi, index [m, t], value [m, t])."""
        lo, hi, index, value = rows
        return replace(
            self,
            col_lo=np.concatenate([self.col_lo, columns[0]]),
            col_hi=np.concatenate([self.col_hi, columns[1]]),
            cost=np.concatenate([self.cost, np.zeros(len(columns[0]))]),
            row_lo=np.concatenate([self.row_lo, lo]),
            row_hi=np.concatenate([self.row_hi, hi]),
            start=np.concatenate([self.start, self.start[-1] + index.shape[1] * np.arange(1, len(index) + 1)]),
            index=np.concatenate([self.index, index.ravel()]),
            value=np.concatenate([self.value, value.ravel()]),
        )


@frozen(eq=False)
class Solution:
    """value: of the objective, inf where no point exists (then the duals are a ray that shows it)."""

    value: float
    columns: F64
    column_dual: F64
    row_dual: F64


def load_highspy() -> Any:
    """HiGHS's own interface. Raises Unsupported where it is not installed.

    Not `highspy.Highs`: making one prints a banner on standard output, where the verdict's word stands first.
    """
    try:
        from highspy import _core
    except ImportError:
        raise Unsupported("linear programs need HiGHS", where="strategy lp", expected="the package highspy",
                          got="not installed", fix="pip install torchlean[lp]") from None  # fmt: skip
    return _core


class LinearProgram:
    """Keeps the last basis, so that a changed cost or bound costs a few pivots."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self._core, self._solver = load_highspy(), _loaded(rows, np.zeros(0, np.int64))
        self._solver.setOptionValue("presolve", "off")

    def set_columns(self, index: Ints, lo: F64, hi: F64) -> None:
        if len(index):
            self._solver.changeColsBounds(len(index), index.astype(np.int32), lo, hi)
            self.rows.col_lo[index], self.rows.col_hi[index] = lo, hi

    def set_rows(self, index: Ints, lo: F64, hi: F64) -> None:
        if len(index):
            self._solver.changeRowsBounds(len(index), index.astype(np.int32), lo, hi)
            self.rows.row_lo[index], self.rows.row_hi[index] = lo, hi

    def minimise(self, index: Ints, cost: F64, seconds: float) -> Solution | None:
        """The least cost . v[index]; None where the solver gave up, or the time ran out."""
        solver = self._solver
        changed = self.rows.cost.copy()
        changed[:] = 0.0
        changed[index] = cost
        moved = np.flatnonzero(changed != self.rows.cost)
        if len(moved):
            solver.changeColsCost(len(moved), moved.astype(np.int32), changed[moved])
            self.rows.cost[:] = changed
        end = solver.getRunTime() + max(seconds, 0.0)
        solver.setOptionValue("time_limit", end)
        found = self._run()
        if found is None and solver.getRunTime() < end:  # from the last basis it may get lost
            solver.clearSolver()
            solver.setOptionValue("time_limit", end)
            found = self._run()
        return found

    def _run(self) -> Solution | None:
        solver = self._solver
        solver.run()
        status, known = solver.getModelStatus(), self._core.HighsModelStatus
        if status == known.kInfeasible:
            return self._ray()
        if status != known.kOptimal:
            return None
        found = solver.getSolution()
        return Solution(solver.getInfo().objective_function_value, np.array(found.col_value),
                        np.array(found.col_dual), np.array(found.row_dual))  # fmt: skip

    def _ray(self) -> Solution | None:
        """A combination of the rows whose least value over the bounds is positive."""
        _, some, ray = self._solver.getDualRay()
        if not some:
            return None
        ray = np.array(ray, np.float64)
        ray /= max(float(np.abs(ray).max()), 1e-300)
        for dual in (ray, -ray):
            left = self.rows.reduced(dual)
            if _least(dual, self.rows.row_lo, self.rows.row_hi) + _least(left, self.rows.col_lo, self.rows.col_hi) > 0:
                return Solution(INF, np.zeros(0), left, dual)
        return None


def _least(weight: F64, lo: F64, hi: F64) -> float:
    """The least weight . v over lo <= v <= hi; weights of 1e-9 do not ask for a bound that is infinite."""
    end = np.where(weight > 0, lo, hi)
    some = (weight != 0) & ~((np.abs(weight) < 1e-9) & ~np.isfinite(end))
    return float((weight[some] * end[some]).sum())


def least_integer(rows: Rows, integer: Ints, seconds: float, first: bool) -> tuple[bool, F64 | None]:
    """A mixed-integer program: (whether it is settled, a point or None).

    integer   columns that take whole values        first   whether any point will do, or the best is asked for
    Settled without a point: the solver holds that there is none.
    """
    core, solver = load_highspy(), _loaded(rows, integer)
    solver.setOptionValue("time_limit", max(seconds, 0.0))
    if first:
        solver.setOptionValue("mip_max_improving_sols", 1)
    solver.run()
    status, known = solver.getModelStatus(), core.HighsModelStatus
    if status in (known.kInfeasible, known.kUnboundedOrInfeasible):
        return True, None
    info = solver.getInfo()
    if info.primal_solution_status != int(core.SolutionStatus.kSolutionStatusFeasible):
        return False, None
    return True, np.array(solver.getSolution().col_value)


def _loaded(rows: Rows, integer: Ints) -> Any:
    core = load_highspy()
    lp = core.HighsLp()
    lp.num_col_, lp.num_row_ = len(rows.cost), len(rows.row_lo)
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = rows.cost, rows.col_lo, rows.col_hi
    lp.row_lower_, lp.row_upper_ = rows.row_lo, rows.row_hi
    lp.a_matrix_.format_ = core.MatrixFormat.kRowwise
    lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = rows.start, rows.index, rows.value
    if len(integer):
        kinds = np.full(len(rows.cost), core.HighsVarType.kContinuous)
        kinds[integer] = core.HighsVarType.kInteger
        lp.integrality_ = kinds.tolist()
    solver = core._Highs()
    for name, value in (("output_flag", False), ("threads", 1), ("random_seed", 0)):
        solver.setOptionValue(name, value)
    if solver.passModel(lp) == core.HighsStatus.kError:
        raise InternalError("HiGHS refuses a linear program", where="strategy lp", expected="a well-formed program",
                            got=f"{lp.num_row_} rows, {lp.num_col_} columns", fix="report it")  # fmt: skip
    return solver
