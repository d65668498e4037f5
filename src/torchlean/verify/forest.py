"""Trees of relu splits for bounded nodes, in a builder of their own: they may be given up."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.frozen import frozen
from torchlean.verify.bounded import Bounded
from torchlean.verify.crew import joined
from torchlean.verify.dual import Split
from torchlean.verify.outcome import Stuck
from torchlean.verify.relus import Relus

MOST = 1 << 18  # nodes of a tree
REST = 16  # leaves that are left of a tree that was not closed in its time: what is closed is kept

Ints = NDArray[np.int64]


@frozen
class Forest:
    """Trees in a builder of their own.

    roots    of each bounded node that was given, where its tree stands
    closed   the positions of those that are closed
    left     position -> the leaves that are open where enough is closed, and the splits above each
    """

    builder: tc.TreeBuilder
    roots: list[int]
    closed: list[int]
    left: dict[int, dict[int, tuple[Split, ...]]]


def grow(relus: Relus, found: Bounded, seconds: float, most: int = MOST) -> Forest:
    """Trees for bounded nodes, each in a home of its own, the last first, given up as `Relus.grow` has it."""
    every = np.arange(len(found.nodes))
    builder, roots = homes(len(every))
    try:
        children = relus.children(builder, found.at(np.array(roots), every), every)
        left = relus.grow(builder, children, seconds, most)
    except Stuck:
        return Forest(builder, roots, [], {})
    if left is None:
        return Forest(builder, roots, every.tolist(), {})
    cuts = {
        i: builder.cut(roots[i], np.unique(left.number[left.home == i]), REST) for i in np.unique(left.home).tolist()
    }
    closed = np.setdiff1d(every, left.home).tolist()
    return Forest(builder, roots, closed, {i: cut for i, cut in cuts.items() if cut})


def homes(count: int) -> tuple[tc.TreeBuilder, list[int]]:
    """A builder with so many leaves, below each of which a tree may grow."""
    builder = tc.TreeBuilder()
    return builder, joined(count, partial(builder.split_clause, clause=0)).tolist()
