"""Bounds of hidden neurons that are each the least over a small tree of relu splits of its own.

A neuron's tree grows by its worst leaves, with the slopes that were optimised for the whole and no new multipliers, so
a node costs one walk; all neurons of a value grow together, in rounds that are the same for all: nearly all trees use
all of their leaves. The bound is the least of the leaves, so of all splits that one is taken whose worse side may gain
most at the minimiser (walk.py). Halving what the lines lose in the first layers pays in every later one: complete
solvers tighten these boxes by mixed integer programs for the same reason.

Shapes   P bounds, M leaves of each at most, U unstable neurons
Source   Tjeng et al. 2019, arXiv:1711.07356 (progressive tightening); Bunel et al. 2020, arXiv:1909.06588
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchlean.frozen import frozen
from torchlean.verify.ascent import Given
from torchlean.verify.clock import Deadline
from torchlean.verify.derive import STABLE
from torchlean.verify.dual import Dual

SHARES = 16  # of the memory, of which the splits of all leaves may take one
AT_ONCE = 16  # leaves of trees that are recorded whole: they grow without a look at the clock
LITTLE = 1e-6  # of what its lines may cost: what splitting a neuron counts at least

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]


@frozen(eq=False)
class Trees:
    """The tree of each bound, in a list of nodes whose first one is the root.

    case   value << 32 | index of the neuron that is split, -1 at a leaf
    low    the first child, beside which stands the other, or -1
    Shapes   [P, nodes] each
    """

    case: Ints
    low: Ints

    def preorder(self, rows: Ints) -> tuple[Ints, Ints]:
        """How many nodes the trees of some bounds have, and the cases of all of them, tree after tree."""
        start = np.arange(len(self.low))[:, None] * self.low.shape[1]
        low, roots = np.where(self.low < 0, -1, self.low + start).ravel(), rows * self.low.shape[1]
        size, place = (np.ones(len(low), np.int64) for _ in range(2))
        levels, inner = [roots], list[Ints]()
        while len(levels[-1]):
            inner.append(levels[-1][low[levels[-1]] >= 0])
            levels.append(np.concatenate([low[inner[-1]], low[inner[-1]] + 1]))
        for ids in reversed(inner):
            size[ids] += size[low[ids]] + size[low[ids] + 1]
        place[roots] = np.cumsum(size[roots]) - size[roots]
        for ids in inner:
            first = low[ids]
            place[first], place[first + 1] = place[ids] + 1, place[ids] + 1 + size[first]
        every = np.concatenate(levels)
        cases = np.empty(len(every), np.int64)
        cases[place[every]] = self.case.ravel()[every]
        return size[roots], cases


def fork(dual: Dual, given: Given, most: int, size: int, deadline: Deadline, share: Deadline) -> tuple[F64, Trees]:
    """Each bound as the least over a tree of at most so many leaves, and the trees.

    size   problems that are walked at once
    """
    maps, neurons = dual.maps, dual.neurons
    most = min(most, max(1, maps.memory // (SHARES * 4 * max(1, len(given.side) * len(neurons)))))
    if most <= AT_ONCE and maps.records:
        least, split, low = dual.answer(AtOnce(most, size), given)
    else:
        leaves = Leaves(dual, given, most, size, alike=False)
        for count, room in rounds(most):
            if share.left < 0:
                break
            deadline.check()
            leaves.grow(count, room)
        least, split, low = leaves.found
    split = maps.get(split)
    case = np.where(split < 0, -1, (neurons.value << 32 | neurons.entry)[split])
    return np.asarray(maps.get(least), np.float64), Trees(case, maps.get(low))


@frozen
class AtOnce:
    """A question (ascent.py): the least of the leaves, and at each tree node the neuron that is split, and its first
    child, -1 at leaves.

    Shapes   [P], [P, 2 M - 1] each
    """

    most: int
    size: int

    def __call__(self, dual: Dual, given: Given, /, *more: Any) -> tuple[Any, ...]:
        leaves = Leaves(dual, given, self.most, self.size, alike=True)
        for count, room in rounds(self.most):
            leaves.grow(count, room)
        return leaves.found


def rounds(most: int) -> Iterator[tuple[int, int]]:
    """How many leaves each tree has, and how many are split then: the worse half."""
    count = 1
    while count < most:
        room = min((count + 1) // 2, most - count)
        yield count, room
        count += room


class Leaves:
    """The leaves of all trees in slots, and their tree nodes. An empty slot has no split, and inf for a value.

    alike          whether the same is done for trees that go on and for those that are done, as a recording must
    value, split   of each leaf, and the neuron to split: -1 where no lines cost anything
    side, node     the splits above it, and its tree node
    Shapes         side: [P, M, U], else [P, M]
    """

    def __init__(self, dual: Dual, given: Given, most: int, size: int, alike: bool) -> None:
        self.dual, self.given, self.size, self.alike = dual, given, size, alike
        (count, width), maps = given.side.shape, dual.maps
        self.node = 0 * maps.count(count * most).reshape(count, most)
        self.split, self.value = self.node - 1, maps.zeros(count, most) + np.inf
        self.side = maps.zeros(count, most, width)
        self.low = 0 * maps.count(count * (2 * most - 1)).reshape(count, -1) - 1
        self.inner = self.low + 0  # the neuron that is split at a tree node
        self.side[:, 0] = given.side
        self.value[:, 0], self.split[:, 0] = leaf(dual, given)

    @property
    def found(self) -> tuple[Any, Any, Any]:
        return self.dual.xp.amin(self.value, -1), self.inner, self.low

    def grow(self, count: int, room: int) -> None:
        """Split so many of the leaves in the first slots, the worst ones.

        A tree is done once its neuron is stable, and once no split helps its worst leaf.
        """
        maps, xp = self.dual.maps, self.dual.xp
        rows, slot = maps.count(len(self.value))[:, None], maps.order(self.value[:, :count])[:, :room]
        value, split, node = self.value[rows, slot], self.split[rows, slot], self.node[rows, slot]
        going = (value[:, :1] < STABLE) & (split[:, :1] >= 0) & (split >= 0)
        self.inner[rows, node] = xp.where(going, split, -1)
        children = 2 * count - 1 + 2 * maps.count(room)
        self.low[rows, node] = xp.where(going, children, -1)
        self.node[rows, slot] = xp.where(going, children, node)
        self.node[:, count : count + room] = children + 1
        low, entry = self.side[rows, slot], (rows, maps.count(room), xp.where(going, split, 0))
        high, own = low + 0, low[entry]
        low[entry], high[entry] = xp.where(going, -self.dual.one, own), xp.where(going, self.dual.one, own)
        values, splits = self._walk(xp.stack([low, high]), going)
        self.side[rows, slot], self.side[:, count : count + room] = low, high
        self.value[rows, slot] = xp.where(going, values[0], value)
        self.split[rows, slot] = xp.where(going, splits[0], split)
        self.value[:, count : count + room] = xp.where(going, values[1], np.inf)
        self.split[:, count : count + room] = xp.where(going, splits[1], -1)

    def _walk(self, sides: Any, going: Any) -> tuple[Any, Any]:
        """Values and splits of leaves with these sides, where trees go on.

        Shapes  [2, P, room, U], [P, room] -> [2, P, room] each
        """
        maps, xp, shape = self.dual.maps, self.dual.xp, sides.shape[:-1]
        flat, parts = sides.reshape(-1, sides.shape[-1]), []
        value, split = maps.zeros(len(flat)), 0 * maps.count(len(flat))
        at = maps.count(len(flat)) if self.alike else maps.nonzero(xp.stack([going, going]).reshape(1, -1))[1]
        for start in range(0, len(at), self.size):
            some = at[start : start + self.size]
            parts.append(leaf(self.dual, self.given.take(some // shape[2] % shape[1], flat[some])))
        if parts:
            value[at], split[at] = (xp.concatenate(column) for column in zip(*parts, strict=True))
        return value.reshape(shape), split.reshape(shape)


def leaf(dual: Dual, given: Given) -> tuple[Any, ...]:
    """The bound of each problem, and the neuron to split: the one whose worse side may gain most.   Shapes  [P] each"""
    xp, run = dual.xp, dual.ascent(given, lazy=False)
    sides = run.gains()
    best = run.best
    score = xp.where(best.cost > 0, xp.maximum(xp.nan_to_num(xp.minimum(*sides)), LITTLE * best.cost), dual.zero)
    value = xp.where(best.value == best.value, best.value, -np.inf)  # what is no number is no bound
    return value, xp.where(xp.amax(score, -1) <= 0, -1, score.argmax(-1))
