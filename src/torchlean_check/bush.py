"""Trusted. Bushes: subtrees of value splits alone, whose leaves hold refutations and nothing else.

No box is derived in a bush, so each leaf has the boxes of the state at its root, met with the splits between. All
leaves of several bushes are bounded together, and no state is made for them.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from torchlean_check import steps
from torchlean_check.network import Ints
from torchlean_check.pushes import Splits
from torchlean_check.records import LEAF, RECORD, SPLIT, SPLIT_VALUE

if TYPE_CHECKING:
    from torchlean_check.kernel import Bools, State
    from torchlean_check.tree import Plan

MOST = 1 << 10  # leaves: a larger subtree is entered node by node
TOGETHER = 1 << 12  # leaves of bushes that are bounded together, before the clock is looked at


def levels(inner: Bools) -> list[slice]:
    """The nodes of each level of a tree in breadth-first order."""
    parents, ends = np.cumsum(inner), [0, 1]
    while ends[-1] < len(inner):
        ends.append(1 + 2 * int(parents[ends[-1] - 1]))
    return [slice(*pair) for pair in pairwise(ends)]


def sizes(plan: Plan) -> Ints:
    """How many leaves the bush at each node has; 0 where none is."""
    op = plan.tree.op
    plain = np.diff(plan.columns.derivations) == 0
    found = np.zeros(len(op), np.int64)
    found[np.flatnonzero(op & RECORD)[plain]] = 1
    found[op != LEAF | RECORD] = 0
    for level in reversed(levels(plan.kind >= SPLIT)):
        at = level.start + np.flatnonzero(op[level] == SPLIT_VALUE)
        low, high = found[plan.child[at]], found[plan.child[at] + 1]
        found[at] = np.where((low > 0) & (high > 0) & (low + high <= MOST), low + high, 0)
    return found


def some(plan: Plan, nodes: Ints, state: State) -> Bools:
    """The first bushes among nodes where a clause is open, so many as are bounded together."""
    going = (plan.kind[nodes] == SPLIT_VALUE) & ~state.empty & state.open.any(axis=1)
    size = np.where(going, plan.bush[nodes], 0)
    return (size > 0) & (np.cumsum(size) <= max(TOGETHER, int(size.max(initial=0))))


def _leaves(plan: Plan, nodes: Ints) -> tuple[Ints, Ints, Splits]:
    """The leaves of bushes, which of the bushes each is in, and the splits between: of each leaf from the root on."""
    tree, home, none = plan.tree, np.arange(len(nodes)), len(plan.tree.value)
    path = np.zeros((len(nodes), 0), np.int64)  # splits as positions in their columns; ~ where z <= at
    found = []
    while len(nodes):
        inner = plan.kind[nodes] == SPLIT_VALUE
        found.append((nodes[~inner], home[~inner], path[~inner]))
        at, low = plan.value_at[nodes[inner]], plan.child[nodes[inner]]
        nodes, home = np.stack([low, low + 1], axis=1).reshape(-1), np.repeat(home[inner], 2)
        path = np.hstack([np.repeat(path[inner], 2, axis=0), np.stack([~at, at], axis=1).reshape(-1, 1)])
    wide = [np.pad(p, ((0, 0), (0, path.shape[1] - p.shape[1])), constant_values=none) for _, _, p in found]
    nodes, home = (np.concatenate(column) for column in zip(*(part[:2] for part in found), strict=True))
    order = np.argsort(home, kind="stable")
    path = np.concatenate(wide)[order]
    row, column = np.nonzero(path != none)
    step = path[row, column]
    i, side = np.where(step < 0, ~step, step), np.where(step < 0, -1, 1)
    splits = Splits(row, tree.value[i].astype(np.int64), tree.index[i].astype(np.int64), side, tree.value_at[i])
    return nodes[order], home[order], splits


def replay(plan: Plan, nodes: Ints, state: State) -> tuple[int, list[tuple[int, State]]]:
    """How many nodes are done with the bushes at some; the leaves that are not refuted, each with its state."""
    leaf, home, below = _leaves(plan, nodes)
    failed = np.flatnonzero(steps.refute(plan, leaf, state, home, below).any(axis=1))
    states = [_state(plan, state.take(home[i : i + 1]), below.take(failed[n : n + 1])) for n, i in enumerate(failed)]
    done = 2 * len(leaf) - len(nodes) - len(failed)
    return done, list(zip(leaf[failed].tolist(), states, strict=True))


def _state(plan: Plan, state: State, splits: Splits) -> State:
    """Of one leaf, as if its bush were entered node by node."""
    for value, entry, side, at in zip(
        *(column.tolist() for column in (splits.value, splits.entry, splits.side, splits.at)), strict=True
    ):
        state = plan.kernel.split_value(state, value, entry, at)[side > 0]
    return state
