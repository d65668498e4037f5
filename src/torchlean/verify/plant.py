"""What a certificate's tree has below some of its nodes, in the place of leaves of a tree that grows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean_check.packed import Records
from torchlean_check.records import DERIVE, EXAMINE, RECORD, SPLIT, SPLIT_AT, SPLIT_CLAUSE, SPLIT_VALUE, distinct
from torchlean_check.tree import Plan

Ints = NDArray[np.int64]


def plant(builder: tc.TreeBuilder, nodes: Ints, plan: Plan, roots: Ints, tables: int) -> Ints:
    """Put what stands below the roots in a plan's tree in the place of leaves without records.

    tables    how many the builder's certificate has before the plan's
    Returns   the builder's ids of the tree's nodes, -1 where they are not below the roots
    """
    tree, level = plan.tree, roots
    ids = np.full(len(plan.kind), -1, np.int64)
    ids[roots] = nodes
    while len(level):
        for kind in (SPLIT, SPLIT_AT, SPLIT_VALUE, SPLIT_CLAUSE):
            some = level[plan.kind[level] == kind]
            if len(some):
                ids[plan.child[some]], ids[plan.child[some] + 1] = _split(builder, ids[some], plan, some, kind)
        low = plan.child[level[plan.kind[level] >= SPLIT]]
        level = np.concatenate([low, low + 1])
    for flag in (DERIVE, EXAMINE):
        builder.flag(ids[(ids >= 0) & ((tree.op & flag) > 0)], flag)
    here = np.flatnonzero((tree.op & RECORD) > 0)
    if len(here):
        builder.record_all(ids[here], _moved(plan.records, tables))
    return ids


def moved(tables: Sequence[tc.SlopeTable], before: int, nodes: int) -> list[tc.SlopeTable]:
    """Tables that stand `before` places further on, as they name planes there.   nodes: how many the network has"""
    sets = {
        id(table.entries): {key + before * nodes if key >= 4 * nodes else key: at for key, at in table.entries.items()}
        for table in distinct(tables)
    }
    return [tc.SlopeTable(sets[id(table.entries)], table.slopes) for table in tables]


def _split(builder: tc.TreeBuilder, ids: Ints, plan: Plan, nodes: Ints, kind: int) -> tuple[Ints, Ints]:
    """Split leaves of the builder as nodes of the plan, all of one kind, are split."""
    tree = plan.tree
    if kind == SPLIT_VALUE:
        i = plan.value_at[nodes]
        return builder.split_value(ids, tree.value[i], tree.index[i], tree.value_at[i])
    axis = tree.axis[plan.axis_at[nodes]]
    if kind == SPLIT_CLAUSE:
        return builder.split_clause(ids, axis)
    return builder.split(ids, axis, tree.at[plan.at_at[nodes]] if kind == SPLIT_AT else None)


def _moved(records: Records, tables: int) -> Records:
    """Records that name tables so many places further on."""
    steps, words = records.columns.steps, records.words.copy()
    named = steps.weight + 2 * steps.weights
    words[named] += np.where(words[named] >= 0, tables, 0)
    return Records(words, records.starts)
