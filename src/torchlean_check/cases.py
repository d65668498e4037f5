"""Trusted. Bounds that are the least over a case distinction of their own: a full binary tree of value splits at 0.

Every execution at a state meets z <= 0 or z >= 0 at each split, so it is in some leaf; each leaf's bound holds where
its splits do, and the least of them everywhere. A leaf whose splits contradict proved boxes holds no execution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from torchlean_check.cuts import Cuts
from torchlean_check.errors import CheckError
from torchlean_check.frozen import frozen
from torchlean_check.network import Floats, Ints
from torchlean_check.pushes import Pushes, Splits
from torchlean_check.worker import shared

if TYPE_CHECKING:
    from torchlean_check.kernel import Kernel, Slopes, State

Case = tuple[int, int] | None  # value and index that are split, or a leaf; a tree is a sequence of these in preorder
Asked = Sequence[tuple[int, int, Sequence[tuple[int, float]]]]  # entry, side, weights of a clause's inequalities
MOST = 1 << 12  # leaves of one bound
BLOCK = 8  # chunks of rows whose splits are written out at once
MUCH = 1 << 14  # leaves that are worth several processes


@frozen(eq=False)
class Trees:
    """Full binary trees in preorder, one for each bound, one after the other.

    words   value << 32 | index of what is split, z <= 0 first; -1 at a leaf
    sizes   [bounds] the nodes of each: a leaf alone where a bound has no cases
    """

    words: Ints
    sizes: Ints

    @staticmethod
    def of(trees: Sequence[Sequence[Case]]) -> Trees:
        every = [tree or (None,) for tree in trees]
        words = [-1 if case is None else case[0] << 32 | case[1] for tree in every for case in tree]
        return Trees(np.array(words, np.int64), np.array([len(tree) for tree in every], np.int64))

    @property
    def leaves(self) -> Ints:
        """How many each has."""
        return (self.sizes + 1) // 2

    def take(self, part: slice) -> Trees:
        ends = np.concatenate([[0], np.cumsum(self.sizes)])
        return Trees(self.words[ends[part.start] : ends[part.stop]], self.sizes[part])

    def rows(self) -> tuple[Ints, Splits]:
        """The tree of each leaf, and the splits above the leaves, as rows 0, 1, ..."""
        inner = self.words >= 0
        tree = np.repeat(np.arange(len(self.sizes)), self.sizes)
        steps = np.where(inner, 1, -1)
        waiting = np.cumsum(steps) - steps + tree  # of each tree, how many nodes wait where this one is met
        order = np.lexsort((waiting, tree))  # where it has as many again, its first subtree is done
        other = np.zeros(len(inner), np.int64)
        other[order[:-1]] = order[1:]
        split = np.flatnonzero(inner)
        parent, side = np.full(len(inner), -1), np.zeros(len(inner), np.int64)
        for children, z in ((split + 1, -1), (other[split], 1)):
            parent[children], side[children] = split, z
        node = np.flatnonzero(~inner)
        of, row = tree[node], np.arange(len(node))
        found: list[tuple[Ints, Ints, Ints]] = [(node[:0],) * 3]
        while len(node):
            there = parent[node] >= 0
            node, row = node[there], row[there]
            found.append((row, parent[node], side[node]))
            node = parent[node]
        row, at, sign = (np.concatenate(column) for column in zip(*found, strict=True))
        by = np.argsort(row, kind="stable")
        word = self.words[at[by]]
        return of, Splits(row[by], word >> 32, word & 0xFFFFFFFF, sign[by], np.zeros(len(word)))


def check(inner: Any, sizes: Ints) -> None:
    """CheckError unless each run of nodes is such a tree, or empty.   inner: which nodes split; sizes: of the runs"""
    total, ends = np.cumsum(np.where(inner, 1, -1)), np.cumsum(sizes)
    before = np.repeat(np.concatenate([[0], total])[ends - sizes], sizes)
    last = np.zeros(len(total), np.bool_)
    last[ends[sizes > 0] - 1] = True
    if ((total - before == -1) != last).any() or (sizes >= 2 * MOST).any():  # no node waits after the last alone
        raise _bad(int(sizes.max()))


def _bad(nodes: int) -> CheckError:
    return CheckError(
        "the cases of a bound are not a full binary tree, or too many",
        where="record",
        expected=f"splits and leaves in preorder, at most {MOST} leaves",
        got=f"{nodes} cases",
        fix="write the certificate again",
    )


def spread(job: Callable[[Any], Any], parts: Sequence[Any], threads: int) -> Iterable[Any]:
    """The results for each part, in order; in several threads, as numpy computes without the interpreter's lock."""
    if threads == 1 or len(parts) == 1:
        return map(job, parts)
    from concurrent.futures import ThreadPoolExecutor

    def quiet(part: Any) -> Any:
        with np.errstate(all="ignore"):  # each thread has its own
            return job(part)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(quiet, parts))


def least(
    kernel: Kernel,
    state: State,
    value: int,
    asked: Asked,
    slopes: Slopes | None,
    push: Pushes,
    clause: int | None,
    trees: Trees | None,
) -> Floats:
    """Lower bounds of side z for entries of a value at a state of one row, each the least over the leaves of its tree.

    trees   None: no bound has cases
    Shapes  slopes per value: [len(asked), size] or [1, size]; push: by row of `asked`   -> [len(asked)]
    """
    from torchlean_check.kernel import HUGE, Facts

    trees = Trees.of([()] * len(asked)) if trees is None else trees
    check(trees.words >= 0, trees.sizes)
    if kernel.threads > 1 and trees.leaves.sum() > MUCH:
        alone = copy(kernel)
        alone.threads, alone.planes = 1, {key: p for key, p in kernel.planes.items() if key in (slopes or {})}
        mine, *others = [
            (alone, state, value, asked[part], _rows(slopes, np.arange(part.start, part.stop)),
             push.take(np.arange(part.start, part.stop)), clause, trees.take(part))
            for part in shares(trees, -(-int(trees.leaves.sum()) // kernel.threads))
        ]  # fmt: skip
        return np.concatenate(shared(least, mine, others, np.ndarray))
    entry, side = (np.array(column, np.int64) for column in zip(*(a[:2] for a in asked), strict=True))
    chunk, facts = kernel.row_chunk, Facts(state, None, kernel.compress)

    def low(part: slice) -> Floats:
        of, splits = trees.take(part).rows()
        out = np.full(part.stop - part.start, HUGE)  # more than any value: no execution is there
        for start in range(0, len(of), chunk):
            mine = part.start + of[start : start + chunk]
            row = np.arange(len(mine))
            cuts = Cuts.of(state, 0 * mine, splits.take(start + row))
            here, toward = facts.below(cuts, _rows(slopes, mine)), side[mine].astype(np.float64)
            if clause is None:
                form, offset = kernel.walk(here, value, row, (entry[mine], toward), push.take(mine))
            else:
                each, which = np.unique(mine, return_inverse=True)  # leaves of one bound have the same weights
                weighed = kernel.weighed(clause, [asked[j][2] for j in each.tolist()])[0].take(which)
                seed = Pushes(row, 0 * row + value, entry[mine], toward, np.zeros(len(row)))
                form, offset = kernel.objective(here, row, weighed, push.take(mine) + seed)
            found = np.where(cuts.empty, HUGE, kernel.lowest(state, cuts.home, form, offset))
            np.minimum.at(out, mine - part.start, found)
        return out

    return np.concatenate(list(spread(low, shares(trees, BLOCK * chunk), kernel.threads)))


def _rows(slopes: Slopes | None, mine: Ints) -> Slopes | None:
    return None if slopes is None else {k: s if len(s) == 1 else s[mine] for k, s in slopes.items()}


def shares(trees: Trees, leaves: int) -> list[slice]:
    """Runs of bounds with about so many leaves."""
    share = (np.cumsum(trees.leaves) - trees.leaves) // leaves
    ends = [*np.flatnonzero(np.diff(share, prepend=-1)).tolist(), len(share)]
    return [slice(a, b) for a, b in pairwise(ends)]
