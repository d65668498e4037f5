"""Trusted. What records ask for: derivations at a state, and refutations of rows below states."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from torchlean_check.cuts import Cuts
from torchlean_check.duals import duals
from torchlean_check.fit import bad
from torchlean_check.network import Ints
from torchlean_check.pushes import Splits

if TYPE_CHECKING:
    from torchlean_check.kernel import Bools, State
    from torchlean_check.tree import Plan


def refute(plan: Plan, nodes: Ints, state: State, home: Ints, below: Splits) -> Bools:
    """Which clauses the refutations of nodes leave open; each is below the state's row `home`, by splits."""
    kernel, s, above, left = plan.kernel, plan.columns.steps, _splits(state), state.open[home]
    every, step = plan.columns.refuting(plan.record_at[nodes])
    for at in _chunks(home[every], kernel.row_chunk):
        rows, i = every[at], step[at]
        mine, here = np.unique(home[rows], return_inverse=True)
        splits = below.take(rows)
        given = duals(kernel.network, plan.tables, s, i, splits + above.take(home[rows]), nodes[rows])
        part = state if len(mine) == len(state) else state.take(mine)
        asked = list(zip(s.clause[i].tolist(), s.weighed(i), strict=True))
        refuted = kernel.refute(part, asked, *given, Cuts.of(part, here, splits))
        left[rows[refuted], s.clause[i][refuted]] = False
    return left


def _chunks(home: Ints, size: int) -> Iterator[slice]:
    """Runs of at most so many rows: below one state, where it has many."""
    start = 0
    while start < len(home):
        end = start + size
        other = np.flatnonzero(home[start:end] != home[start])
        if len(other) and other[0] >= size // 4:
            end = start + int(other[0])
        yield slice(start, end)
        start = end


def derive(plan: Plan, node: int, state: State, d: int) -> None:
    """One derivation at a state of one row, in place, unless no execution in question is left there."""
    if state.empty[0] or not state.open.any():
        return
    kernel, c, s = plan.kernel, plan.columns, plan.columns.steps
    value, clause, i = int(c.value[d]), int(c.clause[d]), np.arange(c.bounds[d], c.bounds[d + 1])
    if clause >= 0 and np.flatnonzero(state.open[0]).tolist() != [clause]:
        raise bad("a derivation uses a clause that is not the only one open", f"node {node}", "it alone", clause)
    if not len(i):
        return kernel.derive_at(state, value)
    asked = list(zip(s.index[i].tolist(), s.side[i].tolist(), s.weighed(i), strict=True))
    given = duals(kernel.network, plan.tables, s, i, _splits(state).take(0 * i), 0 * i + node)
    kernel.derive_at(state, value, asked, *given, None if clause < 0 else clause, s.trees(i))


def _splits(state: State) -> Splits:
    """The value splits above each row of a state."""
    return Splits.of([(row, *split) for row, path in enumerate(state.paths) for split in path])
