"""Split trees: their form, and the replay that decides whether every leaf closes.

A tree is columns over its nodes in breadth-first order; children of a split stand side by side and after their parent.
The replay takes nodes in batches from a stack, so that parents hand their state to their children and memory stays
bounded.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from torchlean_check.errors import CheckError
from torchlean_check.kernel import Bools, Ints, Kernel, Slopes, Splits, State
from torchlean_check.network import Floats

LEAF, HOLE, SPLIT, SPLIT_AT, SPLIT_VALUE = range(5)
KIND, DERIVE, EXAMINE, RECORD = 7, 8, 16, 32
MAX_NODES, MAX_DEPTH = 1 << 26, 4096
UNIT = 2.0**-14  # of the slopes in tables


@dataclass(frozen=True)
class Derivation:
    """Bounds for some inputs of one relu. targets None: all that are unstable. multipliers: (value, index, side, m)."""

    value: int
    targets: tuple[int, ...] | None = None
    table: int = -1
    multipliers: tuple[tuple[int, int, int, float], ...] = ()


@dataclass(frozen=True)
class Refutation:
    """One clause refuted by explicit multipliers. weights: (inequality, weight); none: any single inequality."""

    clause: int
    weights: tuple[tuple[int, float], ...] = ()
    table: int = -1
    multipliers: tuple[tuple[int, int, int, float], ...] = ()


@dataclass(frozen=True)
class Record:
    derivations: tuple[Derivation, ...] = ()
    refutations: tuple[Refutation, ...] = ()


@dataclass(frozen=True, eq=False)
class SlopeTable:
    """Lower slopes per value that a relu reads, in units of 2^-14; -32768: the default rule."""

    slopes: dict[int, npt.NDArray[np.int16]]

    def floats(self) -> dict[int, Floats]:
        return {k: np.where(s == -32768, np.nan, s * UNIT)[None] for k, s in self.slopes.items()}


@dataclass(frozen=True, eq=False)
class Tree:
    """op [n] one byte a node; axis per split of kind 2 or 3, at per kind 3, value, index, value_at per kind 4,
    records per flag."""

    op: npt.NDArray[np.uint8]
    axis: npt.NDArray[np.uint16]
    at: Floats
    value: npt.NDArray[np.uint32]
    index: npt.NDArray[np.uint32]
    value_at: Floats
    records: tuple[Record, ...]


@dataclass(frozen=True, eq=False)
class Front:
    """Tree nodes and their states."""

    nodes: Ints
    state: State


@dataclass(frozen=True, eq=False)
class Replay:
    """leaves: closed; holes: nodes assumed; failed: leaves that did not close (state None when none failed)."""

    leaves: int
    holes: Ints
    failed: Front | None
    nodes: int
    finished: bool


def bad(what: str, where: str, expected: str, got: object) -> CheckError:
    return CheckError(what, where=where, expected=expected, got=str(got), fix="write the certificate again")


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
        if (kind > SPLIT_VALUE).any() or (op & ~np.uint8(KIND | DERIVE | EXAMINE | RECORD)).any():
            raise bad(
                "a node has an unknown kind or flag",
                f"node {int(np.argmax((kind > SPLIT_VALUE) | (op > 63)))}",
                "kinds 0 to 4",
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
        by_axis, by_at = (kind == SPLIT) | (kind == SPLIT_AT), kind == SPLIT_AT
        by_value, by_record = kind == SPLIT_VALUE, (op & RECORD) > 0
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
        network = kernel.network
        if (tree.axis >= network.inputs).any():
            raise bad("a split names an input that does not exist", "tree", f"below {network.inputs}", tree.axis.max())
        if not (np.isfinite(tree.at).all() and np.isfinite(tree.value_at).all()):
            raise bad("a threshold is nan or infinite", "tree", "finite thresholds", "nan or infinity")
        for value, index in zip(tree.value.tolist(), tree.index.tolist(), strict=True):
            self._neuron(kernel, value, index)
        for record in tree.records:
            self._record(kernel, record, len(tables))
        self.tree, self.kernel, self.kind = tree, kernel, kind
        self.tables: list[Slopes] = [table.floats() for table in tables]
        self.axis_at, self.at_at, self.value_at, self.record_at = (
            _ranks(m) for m in (by_axis, by_at, by_value, by_record)
        )

    @staticmethod
    def _neuron(kernel: Kernel, value: int, index: int) -> None:
        if value not in kernel.network.relu_inputs or not 0 <= index < kernel.network.nodes[value].size:
            raise bad(
                "a neuron does not exist",
                "tree",
                "a value that a relu reads, an index inside it",
                f"value {value}, index {index}",
            )

    def _record(self, kernel: Kernel, record: Record, tables: int) -> None:
        steps: list[Derivation | Refutation] = [*record.derivations, *record.refutations]
        for d in steps:
            if isinstance(d, Derivation):
                for i in d.targets if d.targets is not None else (0,):
                    self._neuron(kernel, d.value, i)
            elif not 0 <= d.clause < len(kernel.region.clauses):
                raise bad("a clause does not exist", "record", f"below {len(kernel.region.clauses)}", d.clause)
            else:
                size = len(kernel.region.clauses[d.clause])
                if any(not 0 <= i < size or not np.isfinite(w) for i, w in d.weights):
                    raise bad(
                        "a clause weight names no inequality, or is not finite", "record", f"below {size}", d.weights
                    )
            if not -1 <= d.table < tables:
                raise bad("a slope table does not exist", "record", f"-1 to {tables - 1}", d.table)
            for value, index, side, m in d.multipliers:
                self._neuron(kernel, value, index)
                if side not in (-1, 1) or not np.isfinite(m):
                    raise bad("a split multiplier is not understood", "record", "side 1 or -1, finite", f"{side}, {m}")

    def _splits(self, state: State, multipliers: Sequence[tuple[int, int, int, float]], node: int) -> Splits:
        """Multipliers with the threshold of the tightest such split above the node."""
        out = []
        for value, index, side, m in multipliers:
            found = [at for v, i, s, at in state.paths[0] if (v, i, s) == (value, index, side)]
            if not found:
                raise bad(
                    "a multiplier names a split that is not on its path",
                    f"node {node}",
                    "a value split above",
                    f"{value}, {index}, {side}",
                )
            out.append((value, index, side, max(found) if side > 0 else min(found), max(m, 0.0)))
        return out

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
        parts, steps = [], []
        for i, node in enumerate(nodes.tolist()):
            part = state.take([i])
            if self.tree.op[node] & RECORD and not part.empty[0]:
                record = self.tree.records[self.record_at[node]]
                for d in record.derivations:
                    self.kernel.derive_at(
                        part,
                        d.value,
                        None if d.targets is None else np.array(d.targets, np.int64),
                        self._table(d.table),
                        self._splits(part, d.multipliers, node),
                    )
                steps += [(i, node, r) for r in record.refutations]
            parts.append(part)
        joined = State.join(parts)
        for at in range(0, len(steps), self.kernel.chunk):
            self._refutations(joined, steps[at : at + self.kernel.chunk])
        return joined

    def _refutations(self, state: State, steps: list[tuple[int, int, Refutation]]) -> None:
        """Close the clauses that are refuted, all at once. A step is (row, node, refutation)."""
        rows, clauses = (np.array(a, np.int64) for a in zip(*((i, r.clause) for i, _, r in steps), strict=True))
        part, count = state.take(rows), len(steps)
        slopes: dict[int, Floats] = {}
        split: dict[tuple[int, int, int], tuple[Floats, Floats]] = {}
        for j, (_, node, r) in enumerate(steps):
            for value, slope in (self._table(r.table) or {}).items():
                slopes.setdefault(value, np.full((count, slope.shape[1]), np.nan))[j] = slope
            for value, index, side, at, m in self._splits(part.take([j]), r.multipliers, node):
                two = split.setdefault((value, index, side), (np.zeros(count), np.zeros(count)))
                two[0][j], two[1][j] = at, two[1][j] + m
        asked = [(r.clause, r.weights) for _, _, r in steps]
        refuted = self.kernel.refute(part, asked, slopes, [(*key, *two) for key, two in split.items()])
        state.open[rows[refuted], clauses[refuted]] = False

    def _table(self, number: int) -> Slopes | None:
        return None if number < 0 else self.tables[number]

    def _children(self, nodes: Ints, state: State) -> list[Front]:
        tree, kind = self.tree, self.kind[nodes]
        out = []
        for which in (SPLIT, SPLIT_AT):
            at = np.nonzero(kind == which)[0]
            if len(at):
                axis = tree.axis[self.axis_at[nodes[at]]].astype(np.int64)
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
    if workers > 1 and len(tree.op) > 4096:
        from torchlean_check.parallel import replay_parallel

        return replay_parallel(plan, start, slack, workers, deadline, stop_at_failure)
    return run(plan, start, slack, deadline, stop_at_failure)


def run(
    plan: Plan, start: Front, slack: float, deadline: float | None, stop_at_failure: bool, until: int = 0
) -> Replay:
    """The replay in this process. With `until`, stops as soon as that many nodes wait, and returns them as `failed`,
    unfinished."""
    kernel = plan.kernel
    scale: Floats | float = slack
    if slack:
        r = kernel.region
        scale = slack * (
            np.abs(r.rows_y) @ kernel.mags[kernel.network.output] + np.abs(r.rows_x) @ kernel.mags[0] + np.abs(r.rows_c)
        )
    waiting = [start]
    failed: list[Front] = []
    leaves = visited = 0
    holes: list[int] = []
    while waiting:
        size = sum(len(f.nodes) for f in waiting)
        if (until and size >= until) or (deadline is not None and time.monotonic() > deadline):
            return Replay(leaves, np.array(holes, np.int64), join([*failed, *waiting]), visited, False)
        batch = [waiting.pop()]
        while waiting and sum(len(f.nodes) for f in batch) < kernel.chunk:
            batch.append(waiting.pop())
        now = join(batch)
        if len(now.nodes) > kernel.chunk:
            cut = len(now.nodes) - kernel.chunk
            waiting.append(Front(now.nodes[:cut], now.state.take(np.arange(cut))))
            now = Front(now.nodes[cut:], now.state.take(np.arange(cut, len(now.nodes))))
        closed, fronts, at_holes = plan.visit(now.nodes, now.state, scale)
        waiting += fronts
        visited += len(now.nodes)
        holes += [int(now.nodes[i]) for i in at_holes]
        leaves += int(closed.sum())
        lost = np.nonzero(~closed & (plan.kind[now.nodes] == LEAF))[0]
        if len(lost):
            failed.append(Front(now.nodes[lost], now.state.take(lost)))
            if stop_at_failure:
                break
    return Replay(leaves, np.array(sorted(holes), np.int64), join(failed) if failed else None, visited, True)
