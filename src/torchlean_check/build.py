"""Building trees, for provers. Nothing here is trusted: what it builds is replayed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from torchlean_check.packed import Records
from torchlean_check.records import (
    HOLE,
    KIND,
    LEAF,
    RECORD,
    SPLIT,
    SPLIT_AT,
    SPLIT_CLAUSE,
    SPLIT_VALUE,
    Record,
    Tree,
)

Ints = npt.NDArray[np.int64]

MUCH = 0.5


class TreeBuilder:
    """A tree that grows by splitting leaves, in batches. Node ids count up in order of creation; 0 is the root."""

    def __init__(self) -> None:
        self._size = 1
        self._op = np.zeros(64, np.uint8)
        self._low = np.full(64, -1, np.int64)  # first child
        self._value = np.zeros(64, np.int64)  # what a value split is of
        self._axis = np.zeros(64, np.int64)  # input coordinate, clause, or index in the value
        self._at = np.zeros(64)
        self._records: dict[int, Record | Ints] = {}  # or its words

    def __len__(self) -> int:
        return self._size

    def _grow(self, size: int) -> None:
        while size > len(self._op):
            self._op, self._value, self._axis, self._at = (
                np.concatenate([a, np.zeros_like(a)]) for a in (self._op, self._value, self._axis, self._at)
            )
            self._low = np.concatenate([self._low, np.full_like(self._low, -1)])

    def _children(self, nodes: Ints, kind: int, flags: int) -> tuple[Ints, Ints]:
        if (self._op[nodes] & KIND != LEAF).any() or (np.diff(np.sort(nodes)) == 0).any():
            raise ValueError("only leaves can be split, each once")
        low: Ints = self._size + 2 * np.arange(len(nodes), dtype=np.int64)
        self._size += 2 * len(nodes)
        self._grow(self._size)
        self._op[nodes] |= kind | flags
        self._low[nodes] = low
        return low, low + 1

    def split(
        self, nodes: npt.ArrayLike, axis: npt.ArrayLike, at: npt.ArrayLike | None = None, flags: int = 0
    ) -> tuple[Ints, Ints]:
        """Split leaves on input coordinates, at the midpoint of the replayed box or at thresholds; returns the
        children's ids."""
        ids = np.atleast_1d(np.asarray(nodes, np.int64))
        if not (np.asarray(axis) >= 0).all() or not (np.asarray(axis) < 1 << 16).all():
            raise ValueError("an axis is from 0 to 65535")
        out = self._children(ids, SPLIT if at is None else SPLIT_AT, flags)
        self._axis[ids] = axis
        if at is not None:
            self._at[ids] = at
        return out

    def split_clause(self, nodes: npt.ArrayLike, clause: npt.ArrayLike) -> tuple[Ints, Ints]:
        """Split leaves on a clause: (this one alone is open, the others are); returns the children's ids."""
        ids = np.atleast_1d(np.asarray(nodes, np.int64))
        if not ((np.asarray(clause) >= 0) & (np.asarray(clause) < 1 << 16)).all():
            raise ValueError("a clause is from 0 to 65535")
        out = self._children(ids, SPLIT_CLAUSE, 0)
        self._axis[ids] = clause
        return out

    def split_value(
        self, nodes: npt.ArrayLike, value: Any, index: Any, at: Any = 0.0, flags: int = 0
    ) -> tuple[Ints, Ints]:
        """Split leaves on neurons: value ids and flat indices of relu inputs; returns (z <= at, z >= at)."""
        ids = np.atleast_1d(np.asarray(nodes, np.int64))
        out = self._children(ids, SPLIT_VALUE, flags)
        self._value[ids], self._axis[ids], self._at[ids] = value, index, at
        return out

    def flag(self, nodes: npt.ArrayLike, flags: int) -> None:
        self._op[np.asarray(nodes, np.int64)] |= flags

    def hole(self, nodes: npt.ArrayLike) -> None:
        """Assume leaves without proof: the verdict becomes `holey`."""
        self._op[np.asarray(nodes, np.int64)] |= HOLE

    def record(self, node: int, record: Record) -> None:
        self._records[int(node)] = record
        self._op[node] |= RECORD

    def record_all(self, nodes: npt.ArrayLike, records: Records) -> None:
        """Nodes, each of them once, and the record of each."""
        ids = np.asarray(nodes, np.int64)
        self._records.update(zip(ids.tolist(), records.each(), strict=True))
        self._op[ids] |= RECORD

    def forget(self, node: int) -> None:
        """Take a node's record away."""
        if self._records.pop(int(node), None) is not None:
            self._op[node] ^= RECORD

    def graft(self, node: int, other: TreeBuilder, root: int = 0) -> Ints:
        """Put what another tree has below one of its nodes in the place of a leaf, which keeps its own record.

        Returns the ids here of its ids there, -1 where they are not below the root.
        """
        if self._op[node] & KIND != LEAF or other._op[root] & RECORD:
            raise ValueError("a tree is grafted on a leaf, and its root has no record")
        theirs = np.concatenate(other._levels(root))
        ids = np.full(len(other), -1, np.int64)
        ids[theirs] = np.concatenate([[node], self._size + np.arange(len(theirs) - 1)])
        self._size += len(theirs) - 1
        self._grow(self._size)
        mine, inner, low = ids[theirs], other._op[theirs], other._low[theirs]
        self._op[mine] |= inner
        self._low[mine] = np.where(low < 0, -1, ids[low])
        self._value[mine], self._axis[mine] = other._value[theirs], other._axis[theirs]
        self._at[mine] = other._at[theirs]
        self._records.update({int(ids[i]): other._records[i] for i in theirs[(inner & RECORD) > 0].tolist()})
        return ids

    def cut(self, root: int, leaves: Ints, most: int) -> dict[int, tuple[tuple[int, int, int], ...]]:
        """Take back splits of values below a root, so that at most so many nodes are left that have one of the leaves.

        Returns those nodes, leaves now, each with the splits above it from the root on: value, index, -1 or +1. Empty,
        and nothing taken back, where they would be most of the tree (`MUCH`), a level counting half of the one above.
        """
        levels = self._levels(root)
        depth, parent = np.zeros(self._size, np.int64), np.full(self._size, -1)
        for level, ids in enumerate(levels):
            depth[ids] = level
            inner = ids[self._low[ids] >= 0]
            parent[self._low[inner]] = parent[self._low[inner] + 1] = inner
        by_depth = leaves[np.argsort(depth[leaves], kind="stable")]
        above = np.searchsorted(depth[by_depth], np.arange(len(levels) + 1))  # how many are less deep
        level, deepest = len(levels), leaves[:0]
        while above[level] + len(deepest) > most:
            level -= 1
            deepest = np.concatenate([np.unique(parent[deepest]), by_depth[above[level] : above[level + 1]]])
        kept = np.unique(np.concatenate([by_depth[: above[level]], deepest]))
        if not (0.5 ** depth[kept]).sum() <= MUCH:
            return {}
        self._op[kept] &= ~np.uint8(KIND)
        self._low[kept] = -1
        return {node: self._above(node, root, parent) for node in kept.tolist()}

    def _above(self, node: int, root: int, parent: Ints) -> tuple[tuple[int, int, int], ...]:
        found = []
        while node != root:
            above = int(parent[node])
            side = -1 if self._low[above] == node else 1
            found.append((int(self._value[above]), int(self._axis[above]), side))
            node = above
        return tuple(reversed(found))

    def leaves(self) -> Ints:
        return np.nonzero((self._op[: self._size] & KIND) == LEAF)[0]

    def _levels(self, root: int) -> list[Ints]:
        """The ids at and below a node, level by level."""
        levels: list[Ints] = [np.array([root], np.int64)]
        while len(inner := levels[-1][self._low[levels[-1]] >= 0]):
            low = self._low[inner]
            levels.append(np.stack([low, low + 1], axis=1).reshape(-1))
        return levels

    def build(self) -> tuple[Tree, Ints]:
        """The tree breadth-first, and where each id stands in it."""
        order = np.concatenate(self._levels(0))
        position = np.empty(self._size, np.int64)
        position[order] = np.arange(len(order))
        op = self._op[order]
        kind = op & KIND
        by_axis, by_at, values = (
            order[(kind == SPLIT) | (kind == SPLIT_AT) | (kind == SPLIT_CLAUSE)],
            order[kind == SPLIT_AT],
            order[kind == SPLIT_VALUE],
        )
        records = Records.of([self._records[i] for i in order[(op & RECORD) > 0].tolist()])
        tree = Tree(
            op,
            self._axis[by_axis].astype(np.uint16),
            self._at[by_at],
            self._value[values].astype(np.uint32),
            self._axis[values].astype(np.uint32),
            self._at[values],
            records,
        )
        return tree, position
