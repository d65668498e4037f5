"""The replay of a split tree, which decides whether every leaf closes.

The replay takes nodes in batches from a stack, so that parents hand their state to their children and memory stays
bounded.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from torchlean_check import bush, fit, steps
from torchlean_check.fit import bad
from torchlean_check.frozen import frozen
from torchlean_check.kernel import Bools, Ints, Kernel, State
from torchlean_check.network import Floats
from torchlean_check.packed import Columns, Records
from torchlean_check.pushes import NO_SPLITS
from torchlean_check.records import (
    DERIVE,
    EXAMINE,
    HOLE,
    KIND,
    LEAF,
    MAX_DEPTH,
    MAX_NODES,
    RECORD,
    SPLIT,
    SPLIT_AT,
    SPLIT_CLAUSE,
    SPLIT_VALUE,
    SlopeTable,
    Tree,
)
from torchlean_check.rules import planes

MUCH = 4096  # rows to bound, beyond which other processes take part


@frozen(eq=False)
class Front:
    """Tree nodes and their states."""

    nodes: Ints
    state: State

    def take(self, which: Bools) -> Front:
        return Front(self.nodes[which], self.state.take(np.flatnonzero(which)))


@frozen(eq=False)
class Replay:
    """leaves: closed; holes: nodes assumed; failed: leaves that did not close (state None when none failed)."""

    leaves: int
    holes: Ints
    failed: Front | None
    nodes: int
    finished: bool


def _ranks(mask: Bools) -> Ints:
    """How many True stand before each position."""
    return (np.cumsum(mask) - mask).astype(np.int64)


class Plan:
    """A tree with what replay looks up: children and positions in the columns. Refuses a tree that is not one."""

    def __init__(self, tree: Tree, kernel: Kernel, tables: Sequence[SlopeTable]) -> None:
        op, kind = tree.op, tree.op & KIND
        count = len(op)
        if not 0 < count <= MAX_NODES:
            raise bad("the tree has no nodes, or too many", "tree", f"1 to {MAX_NODES}", count)
        if (kind > SPLIT_CLAUSE).any() or (op & ~np.uint8(KIND | DERIVE | EXAMINE | RECORD)).any():
            raise bad(
                "a node has an unknown kind or flag",
                f"node {int(np.argmax((kind > SPLIT_CLAUSE) | (op > 63)))}",
                "kinds 0 to 5",
                op.max(),
            )
        inner = kind >= SPLIT
        self.child: Ints = 1 + 2 * _ranks(inner)
        if 1 + 2 * int(inner.sum()) != count or (self.child[inner] <= np.nonzero(inner)[0]).any():
            raise bad(
                "the tree is not a full binary tree",
                "tree",
                f"{1 + 2 * int(inner.sum())} nodes, children after parents",
                count,
            )
        level, depth = 0, 0
        while level < count and inner[level:].any():  # the first node of each level
            first = level + int(np.argmax(inner[level:]))
            level, depth = int(self.child[first]), depth + 1
            if depth > MAX_DEPTH:
                raise bad("the tree is too deep", "tree", f"at most {MAX_DEPTH} levels", "more")
        by_value, by_at, by_record = kind == SPLIT_VALUE, kind == SPLIT_AT, (op & RECORD) > 0
        by_axis = inner & ~by_value
        for name, mask, column in (
            ("axis", by_axis, tree.axis),
            ("at", by_at, tree.at),
            ("value", by_value, tree.value),
            ("index", by_value, tree.index),
            ("value_at", by_value, tree.value_at),
            ("record", by_record, tree.records),
        ):
            if len(column) != int(mask.sum()):
                raise bad(f"column {name} does not fit the tree", "tree", f"{int(mask.sum())} entries", len(column))
        most = np.where(kind[by_axis] == SPLIT_CLAUSE, len(kernel.region.clauses), kernel.network.inputs)
        if (tree.axis >= most).any():
            raise bad("a split names an input or a clause that does not exist", "tree", f"below {most}", tree.axis)
        if not (np.isfinite(tree.at).all() and np.isfinite(tree.value_at).all()):
            raise bad("a threshold is nan or infinite", "tree", "finite thresholds", "nan or infinity")
        self.records = Records.of(tree.records)
        fit.check(kernel.network, kernel.region, tree, self.records, tables)
        planes.known(kernel, tables)
        self.tree, self.kernel, self.kind = tree, kernel, kind
        self.tables: Sequence[SlopeTable] | Mapping[int, SlopeTable] = tables
        self.axis_at, self.at_at, self.value_at, self.record_at = (
            _ranks(m) for m in (by_axis, by_at, by_value, by_record)
        )
        self.bush = bush.sizes(self)

    @property
    def columns(self) -> Columns:
        return self.records.columns

    # -- one batch ---------------------------------------------------------------------------------------------------

    def visit(self, nodes: Ints, state: State, slack: Floats | float) -> tuple[Bools, list[Front], list[int]]:
        """Do what a batch of nodes says: (leaf closed or not, the children's fronts, positions of holes)."""
        kernel, op, kind = self.kernel, self.tree.op[nodes], self.kind[nodes]
        if (op & RECORD).any():
            state = self._records(nodes, state)
        derive, look = (op & DERIVE) > 0, (kind == LEAF) | ((op & EXAMINE) > 0)
        live = ~state.empty & state.open.any(axis=1)
        closed = ~live
        parts: list[tuple[Ints, State]] = []
        for d in (False, True):
            for examine in (False, True):
                at = np.nonzero(live & (derive == d) & (look == examine))[0]
                if not len(at):
                    continue
                part = state.take(at)
                if examine:
                    bounds = kernel.bound(part, derive=d)
                    closed[at] = kernel.refuted(part, bounds.margin, slack).all(axis=1)
                    if (op[at] & EXAMINE).any():
                        part = kernel.clip(part, bounds)
                        closed[at] |= ~part.open.any(axis=1)
                elif d:
                    with np.errstate(all="ignore"):
                        kernel.derive(part)
                    closed[at] |= part.empty
                parts.append((at, part))
        fronts = []
        for at, part in parts:
            going = np.nonzero(~closed[at] & (kind[at] >= SPLIT))[0]
            if len(going):
                fronts += self._children(nodes[at[going]], part.take(going))
        holes = [int(i) for i in np.nonzero(~closed & (kind == HOLE))[0]]
        return closed, fronts, holes

    def _records(self, nodes: Ints, state: State) -> State:
        """Do the derivations of each node, in order, then the refutations of all."""
        rows = np.flatnonzero(self.tree.op[nodes] & RECORD)
        record, before = self.record_at[nodes[rows]], self.columns.derivations
        if (before[record + 1] > before[record]).any():
            parts = [state.take([i]) for i in range(len(nodes))]
            for i, k in zip(rows.tolist(), record.tolist(), strict=True):
                for d in range(before[k], before[k + 1]):
                    steps.derive(self, int(nodes[i]), parts[i], d)
            state = State.join(parts)
        opened = state.open.copy()
        opened[rows] = steps.refute(self, nodes[rows], state, rows, NO_SPLITS)
        return replace(state, open=opened)

    def _children(self, nodes: Ints, state: State) -> list[Front]:
        tree, kind = self.tree, self.kind[nodes]
        out = []
        for which in (SPLIT, SPLIT_AT, SPLIT_CLAUSE):
            at = np.nonzero(kind == which)[0]
            if len(at):
                axis = tree.axis[self.axis_at[nodes[at]]].astype(np.int64)
                if which == SPLIT_CLAUSE:
                    pair = self.kernel.split_clause(state.take(at), axis)
                else:
                    threshold = tree.at[self.at_at[nodes[at]]] if which == SPLIT_AT else None
                    pair = self.kernel.split(state.take(at), axis, threshold)
                out.append(_siblings(self.child[nodes[at]], *pair))
        for j in np.nonzero(kind == SPLIT_VALUE)[0].tolist():
            i = self.value_at[nodes[j]]
            pair = self.kernel.split_value(
                state.take([j]), int(tree.value[i]), int(tree.index[i]), float(tree.value_at[i])
            )
            out.append(_siblings(self.child[nodes[j : j + 1]], *pair))
        return out


def _siblings(child: Ints, low: State, high: State) -> Front:
    both = State.join([low, high])
    order = np.arange(2 * len(low)).reshape(2, -1).T.reshape(-1)  # siblings side by side: they share unstable neurons
    return Front(np.stack([child, child + 1], axis=1).reshape(-1), both.take(order))


def join(fronts: Sequence[Front]) -> Front:
    return (
        fronts[0]
        if len(fronts) == 1
        else Front(np.concatenate([f.nodes for f in fronts]), State.join([f.state for f in fronts]))
    )


def replay(
    kernel: Kernel,
    tree: Tree,
    *,
    tables: Sequence[SlopeTable] = (),
    front: Front | None = None,
    slack: float = 0.0,
    workers: int = 1,
    deadline: float | None = None,
    stop_at_failure: bool = False,
) -> Replay:
    """Visit the tree from its root (or from `front`).

    slack     extra margin that a leaf's default bounds must clear, times each inequality's magnitude at the root (a
              writer uses 2^-40)
    deadline  time.monotonic() after which the replay stops with finished False
    """
    plan = Plan(tree, kernel, tables)
    start = front if front is not None else Front(np.zeros(1, np.int64), kernel.start())
    if workers > 1 and len(tree.op) + plan.columns.rows().sum() > MUCH:
        from torchlean_check.parallel import replay_parallel

        return replay_parallel(plan, start, slack, workers, deadline, stop_at_failure)
    return run(plan, start, slack, deadline, stop_at_failure)


def run(
    plan: Plan, start: Front, slack: float, deadline: float | None, stop_at_failure: bool, only: Bools | None = None
) -> Replay:
    """The replay in this process. With `only`, nodes that it does not hold are not visited: they are among `failed`."""
    kernel = plan.kernel
    scale: Floats | float = slack
    if slack:
        r = kernel.region
        scale = slack * (
            np.abs(r.rows_y) @ kernel.mags[kernel.network.output] + np.abs(r.rows_x) @ kernel.mags[0] + np.abs(r.rows_c)
        )
    waiting, aside = _parted([start], only)
    failed: list[Front] = []
    leaves = visited = 0
    holes: list[int] = []
    while waiting:
        if deadline is not None and time.monotonic() > deadline:
            return Replay(leaves, np.array(holes, np.int64), join([*failed, *waiting, *aside]), visited, False)
        batch = [waiting.pop()]
        while waiting and sum(len(f.nodes) for f in batch) < kernel.chunk:
            batch.append(waiting.pop())
        now = join(batch)
        if len(now.nodes) > kernel.chunk:
            last = np.arange(len(now.nodes)) >= len(now.nodes) - kernel.chunk
            waiting.append(now.take(~last))
            now = now.take(last)
        if only is None and (bushes := bush.some(plan, now.nodes, now.state)).any():
            if not bushes.all():
                waiting.append(now.take(~bushes))
            now = now.take(bushes)
            done, others = bush.replay(plan, now.nodes, now.state)
            waiting += [Front(np.array([node]), state) for node, state in others]
            visited += done
            leaves += int(plan.bush[now.nodes].sum()) - len(others)
            continue
        closed, fronts, at_holes = plan.visit(now.nodes, now.state, scale)
        going, left = _parted(fronts, only)
        waiting += going
        aside += left
        visited += len(now.nodes)
        holes += [int(now.nodes[i]) for i in at_holes]
        leaves += int(closed.sum())
        lost = ~closed & (plan.kind[now.nodes] == LEAF)
        if lost.any():
            failed.append(now.take(lost))
            if stop_at_failure:
                return Replay(leaves, np.array(sorted(holes), np.int64), failed[0], visited, True)
    open_ = [*failed, *aside]
    return Replay(leaves, np.array(sorted(holes), np.int64), join(open_) if open_ else None, visited, not aside)


def _parted(fronts: list[Front], only: Bools | None) -> tuple[list[Front], list[Front]]:
    """What `only` holds, and the rest."""
    if only is None:
        return fronts, []
    marked = [(f, only[f.nodes]) for f in fronts]
    return [f.take(m) for f, m in marked if m.any()], [f.take(~m) for f, m in marked if not m.all()]
