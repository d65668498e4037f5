"""Bounds of hidden neurons that are each the least over a small tree of relu splits of its own.

A neuron's tree grows by its worst leaves, with the slopes that were optimised for the whole and no new multipliers, so
a node costs one walk; all neurons of a value grow together. Halving what the lines lose in the first layers pays in
every later one: complete solvers tighten these boxes by mixed integer programs for the same reason.

Source   Tjeng et al. 2019, arXiv:1711.07356 (progressive tightening); Bunel et al. 2020, arXiv:1909.06588
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchlean.frozen import frozen
from torchlean.verify.budget import Memory
from torchlean.verify.clock import Deadline
from torchlean.verify.dual import Dual
from torchlean.verify.forms import Clause, Forms
from torchlean_check.cases import Case

SHARES = 16  # of the memory, of which the splits of all leaves may take one

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]


@frozen(eq=False)
class Forks:
    """Which sides of a value's neurons are bounded, and from what: a bound that was optimised for each.

    side     the splits above           clause   what joins the bound with multipliers `weight`, or None
    Shapes   entry, sign, wide: [N]; of the walk's maps: side, alpha, beta: [N, U], weight: [N, r] or None,
             box: lo, hi, [N, U] each, or None
    """

    value: int
    entry: Ints
    sign: F64
    wide: F64
    side: Any
    alpha: Any
    beta: Any
    clause: Clause | None = None
    weight: Any | None = None
    box: tuple[Any, Any] | None = None


def fork(
    dual: Dual, forks: Forks, most: int, size: int, deadline: Deadline, share: Deadline, memory: Memory
) -> tuple[F64, list[tuple[Case, ...]]]:
    """The least bound of each over at most so many leaves, measured in its width, and the tree in preorder.

    size   problems that are walked at once
    """
    maps, count = dual.maps, len(forks.entry)
    most = min(most, max(1, maps.memory // (SHARES * 4 * count * max(1, len(dual.neurons)))))
    chosen, low = (np.full(count * (2 * most - 1), -1) for _ in range(2))  # per tree node: what is split, first child
    total = count
    of, node = np.arange(count), np.arange(count)  # of each leaf: the bound, and the tree node
    side = forks.side + 0.0
    value, best = _walk(dual, forks, of, side, size, memory)
    while not share.left < 0:
        deadline.check()
        at = _worst(of, value, best, count, most)
        if not len(at):
            break
        i, entry = maps.index(at), (maps.index(np.arange(len(at))), maps.index(best[at]))
        below, above = side[i], side[i]  # copies
        below[entry], above[entry] = -1.0, 1.0
        both, owner = maps.xp.concatenate([below, above]), np.concatenate([of[at], of[at]])
        more, next_ = _walk(dual, forks, owner, both, size, memory)
        children = total + 2 * np.arange(len(at))
        chosen[node[at]], low[node[at]] = best[at], children
        total += 2 * len(at)
        stay = np.ones(len(of), np.bool_)
        stay[at] = False
        kept = np.flatnonzero(stay)
        side = maps.xp.concatenate([side[maps.index(kept)], both])
        of, node = np.concatenate([of[kept], owner]), np.concatenate([node[kept], children, children + 1])
        value, best = np.concatenate([value[kept], more]), np.concatenate([best[kept], next_])
    least = np.full(count, np.inf)
    np.minimum.at(least, of, value)
    return least, _trees(dual, chosen, low, count)


def _worst(of: Ints, value: F64, best: Ints, count: int, most: int) -> Ints:
    """The leaves to split: the worse half of each bound's, while it may have more.

    A bound is done once it reaches 0, where its neuron is stable, and once no split helps its worst leaf.
    """
    order = np.lexsort((value, of))
    first = np.searchsorted(of[order], np.arange(count))
    leaves = np.bincount(of, minlength=count)
    rank = np.empty(len(of), np.int64)
    rank[order] = np.arange(len(of)) - first[of[order]]
    worst = order[first]
    going = (value[worst] < 0) & (best[worst] >= 0)
    return np.flatnonzero((rank < np.minimum((leaves + 1) // 2, most - leaves)[of]) & (best >= 0) & going[of])


def _walk(dual: Dual, forks: Forks, of: Ints, side: Any, size: int, memory: Memory) -> tuple[F64, Ints]:
    """The bound of each leaf, and the neuron whose lines may cost most; -1 where none costs anything."""
    maps, values, chosen = dual.maps, np.empty(len(of)), np.empty(len(of), np.int64)
    start = 0
    while start < len(of):
        rows = slice(start, min(start + memory.size(size), len(of)))
        mine, n = of[rows], rows.stop - start
        i = maps.index(mine)
        weight = None if forks.weight is None else forks.weight[i]
        box = None if forks.box is None else (forks.box[0][i], forks.box[1][i])
        factor, of_value = (forks.sign / forks.wide)[mine], dual.network.nodes[forks.value].size
        forms = Forms.entries(maps, forks.value, of_value, forks.entry[mine], factor, forks.clause)
        given = forms, side[rows], forks.alpha[i], forks.beta[i]
        best = memory.attempt(partial(dual.maximise, *given, 0, target=np.inf, weight=weight, box=box), n)
        if best is None:
            continue
        cost = best.cost.argmax(-1)
        values[rows], chosen[rows] = maps.get(best.value), maps.get(cost)
        chosen[rows][maps.get(maps.xp.amax(best.cost, -1)) <= 0] = -1
        start = rows.stop
    return values, chosen


def _trees(dual: Dual, chosen: Ints, low: Ints, count: int) -> list[tuple[Case, ...]]:
    """Of each root 0, 1, ... the splits and leaves below it, in preorder.

    chosen, low   of each node: the neuron that is split there and its first child, beside which the other stands; -1
    """
    levels = [np.arange(count)]
    while len(inner := levels[-1][low[levels[-1]] >= 0]):
        levels.append(np.concatenate([low[inner], low[inner] + 1]))
    size, place, root = np.ones(len(low), np.int64), np.zeros(len(low), np.int64), np.arange(len(low))
    for ids in reversed(levels):
        inner = ids[low[ids] >= 0]
        size[inner] += size[low[inner]] + size[low[inner] + 1]
    for ids in levels:
        inner = ids[low[ids] >= 0]
        first, second = low[inner], low[inner] + 1
        place[first], place[second] = place[inner] + 1, place[inner] + 1 + size[first]
        root[first] = root[second] = root[inner]
    ids = np.concatenate(levels)
    order = ids[np.lexsort((place[ids], root[ids]))]
    names: list[Case] = [*zip(dual.neurons.value.tolist(), dual.neurons.entry.tolist(), strict=True), None]
    every = [names[n] for n in np.where(low[order] >= 0, chosen[order], -1).tolist()]
    ends = np.concatenate([[0], np.cumsum(size[:count])]).tolist()
    return [tuple(every[a:b]) for a, b in pairwise(ends)]
