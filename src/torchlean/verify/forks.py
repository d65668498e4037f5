"""Bounds of hidden neurons that are each the least over a small tree of relu splits of its own.

A neuron's tree grows by its worst leaves, with the slopes that were optimised for the whole and no new multipliers, so
a node costs one walk; all neurons of a value grow together. The bound is the least of the leaves, so of all splits that
one is taken whose worse side may gain most at the minimiser (walk.py). Halving what the lines lose in the first layers
pays in every later one: complete solvers tighten these boxes by mixed integer programs for the same reason.

Source   Tjeng et al. 2019, arXiv:1711.07356 (progressive tightening); Bunel et al. 2020, arXiv:1909.06588
"""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchlean.frozen import frozen
from torchlean.verify.budget import Memory
from torchlean.verify.clock import Deadline
from torchlean.verify.derive import STABLE
from torchlean.verify.dual import Dual
from torchlean.verify.forms import Clause, Forms
from torchlean.verify.maps import Maps

SHARES = 16  # of the memory, of which the splits of all leaves may take one
LITTLE = 1e-6  # of what its lines may cost: what splitting a neuron counts at least

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]


@frozen(eq=False)
class Forks:
    """Which sides of a value's neurons are bounded, and from what: a bound that was optimised for each.

    factor   the side's sign over the neuron's width
    side     the splits above           clause   what joins the bound with multipliers `weight`, or None
    Shapes   entry, factor: [N], side, alpha, beta: [N, U], weight: [N, r] or None, box: lo, hi, [N, U] each, or None;
             arrays of the walk's maps
    """

    value: int
    entry: Any
    factor: Any
    side: Any
    alpha: Any
    beta: Any
    clause: Clause | None = None
    weight: Any | None = None
    box: tuple[Any, Any] | None = None


@frozen(eq=False)
class Trees:
    """Trees in one list of nodes, whose first ones are the roots; beside a first child stands the other.

    case   value << 32 | index of the neuron that is split, -1 at a leaf     low   the first child, or -1
    """

    case: Ints
    low: Ints

    def preorder(self, roots: Ints) -> tuple[Ints, Ints]:
        """How many nodes some trees have, and the cases of all of them, tree after tree."""
        low, size, place = self.low, *(np.ones(len(self.low), np.int64) for _ in range(2))
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
        cases[place[every]] = self.case[every]
        return size[roots], cases


@frozen(eq=False)
class Leaves:
    """Leaves of the bounds that go on, in the order in which they were made.

    of, node   the bound, and the tree node       best   the neuron to split; -1: no lines cost anything
    Shapes     [L] each, side: [L, U]; arrays of the walk's maps
    """

    of: Any
    node: Any
    side: Any
    value: Any
    best: Any

    def then(self, stay: Any, more: Leaves, xp: Any) -> Leaves:
        """Those that stay, and more."""
        names = (f.name for f in fields(Leaves))
        return Leaves(*(xp.concatenate([getattr(self, name)[stay], getattr(more, name)]) for name in names))


def fork(
    dual: Dual, forks: Forks, most: int, size: int, deadline: Deadline, share: Deadline, memory: Memory
) -> tuple[F64, Trees]:
    """The least bound of each over at most so many leaves, measured in its width, and the trees.

    size   problems that are walked at once
    """
    maps, xp, total = dual.maps, dual.xp, len(forks.entry)
    most = min(most, max(1, maps.memory // (SHARES * 4 * total * max(1, len(dual.neurons)))))
    low = 0 * maps.count(total * (2 * most - 1)) - 1  # per tree node, as what is split there
    split, every = low + 0, maps.count(total)
    leaves = Leaves(every, every, forks.side, *_walk(dual, forks, every, forks.side, size, memory))
    least = leaves.value
    while True:
        at, stay, least = _worst(maps, leaves, least, most)
        if share.left < 0:
            break
        deadline.check()
        if not len(at):
            break
        new, both, best = len(at), xp.concatenate([at, at]), leaves.best[at]
        entry, children = (maps.count(new), best), total + 2 * maps.count(new)
        low[leaves.node[at]], split[leaves.node[at]] = children, best
        total += 2 * new
        of, side, node = leaves.of[both], leaves.side[both], xp.concatenate([children, children + 1])
        side[:new][entry], side[new:][entry] = -1.0, 1.0
        made = Leaves(of, node, side, *_walk(dual, forks, of, side, size, memory))
        leaves = leaves.then(stay, made, xp)
    case = (dual.neurons.value << 32 | dual.neurons.entry)[maps.get(split[:total])]
    first = maps.get(low[:total])
    return np.asarray(maps.get(least), np.float64), Trees(np.where(first < 0, -1, case), first)


def _worst(maps: Maps, leaves: Leaves, least: Any, most: int) -> tuple[Any, Any, Any]:
    """The leaves to split, the others of the bounds that go on, and the least bounds.

    The worse half of a bound's leaves is split, while it may have more. It is done once its neuron is stable, and once
    no split helps its worst leaf.
    """
    xp, every = maps.xp, maps.count(len(least))
    order = maps.order(leaves.value)
    order = order[maps.order(leaves.of[order])]
    of = leaves.of[order]
    first = xp.searchsorted(of, every)
    count = xp.searchsorted(of, every + 1) - first
    worst = order[xp.clip(first, None, len(order) - 1)]
    least = xp.where(count > 0, leaves.value[worst], least)
    going = (count > 0) & (count < most) & (leaves.value[worst] < STABLE) & (leaves.best[worst] >= 0)
    rank = 0 * order
    rank[order] = maps.count(len(order)) - first[of]
    going, room = going[leaves.of], xp.minimum((count + 1) // 2, most - count)[leaves.of]
    chosen = going & (rank < room) & (leaves.best >= 0)
    (_, at), (_, stay) = maps.nonzero(chosen[None]), maps.nonzero((going & ~chosen)[None])
    return at, stay, least


def _walk(dual: Dual, forks: Forks, of: Any, side: Any, size: int, memory: Memory) -> tuple[Any, Any]:
    """The bound of each leaf, and the neuron to split; -1 where no lines cost anything."""
    maps, xp, width = dual.maps, dual.xp, dual.network.nodes[forks.value].size
    parts: list[tuple[Any, Any]] = []
    start = 0
    while start < len(of):
        rows = slice(start, start + memory.size(size))
        i = of[rows]
        weight = None if forks.weight is None else forks.weight[i]
        box = None if forks.box is None else (forks.box[0][i], forks.box[1][i])
        forms = Forms.entries(maps, forks.value, width, forks.entry[i], forks.factor[i], forks.clause)
        given = forms, side[rows], forks.alpha[i], forks.beta[i]
        found = memory.attempt(partial(dual.gains, *given, weight=weight, box=box), len(i))
        if found is None:
            continue
        best, *sides = found
        least = xp.nan_to_num(xp.minimum(*sides))
        score = xp.where(best.cost > 0, xp.maximum(least, LITTLE * best.cost), dual.zero)
        value = xp.where(best.value == best.value, best.value, -np.inf)  # what is no number is no bound
        parts.append((value, xp.where(xp.amax(score, -1) <= 0, -1, score.argmax(-1))))
        start += len(i)
    value, best = (xp.concatenate(column) for column in zip(*parts, strict=True))
    return value, best
