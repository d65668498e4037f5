"""Which neuron each node splits: the one whose two sides gain most (`worth`).

What they may gain at most is read off the bound's minimiser for all neurons by one walk (walk.py); the few that look
best are bounded on both sides.

Source   De Palma et al. 2021, arXiv:2104.06718 (the best few are tried on both sides before one is taken)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from torchlean.verify.ascent import NARROW
from torchlean.verify.bounded import Bounded
from torchlean.verify.maps import Maps

if TYPE_CHECKING:
    from torchlean.verify.relus import Relus

CANDIDATES = 4  # neurons that are tried on both sides
BALANCE = 0.3  # 0: of two splits, the one with the greater product of gains is better; 1: with the greater sum
SHARE = 1e-3  # of what its lines may cost: what a side of a neuron may gain at least, where none looks better
LEAST = 1e-9  # what a side gains at least

Ints = NDArray[np.int64]


def costs(relus: Relus, found: Bounded, items: Ints) -> Any:
    """What the lines of each neuron may cost, 0 where it is not to be split.   Shapes  -> [N, U]"""
    xp, nodes, at = relus.maps.xp, found.nodes, relus.maps.index(items)
    lo, hi = relus.box(relus.maps.index(nodes.home[items]))
    free = (nodes.side[at] == 0) & (lo < 0) & (hi > 0)
    own = xp.where(free, xp.nan_to_num(found.best.cost[at]), relus.dual.zero)
    none = xp.amax(own, -1) <= 0
    if not bool(none.any()):
        return own
    # where no line costs anything, it closes only if the splits above contradict each other
    other = xp.nan_to_num(_costs_of_contradiction(relus, found, items))
    return xp.where(none[:, None] & free, other, own)


def decided(maps: Maps, costs: Any) -> NDArray[np.bool_]:
    """Whether no neuron is left that matters."""
    return np.asarray(maps.get(maps.xp.amax(costs, -1) <= 0))


def choose(relus: Relus, found: Bounded, items: Ints, cost: Any) -> Ints:
    """The neuron to split for each item: of those whose sides may gain most, the one whose sides gain most."""
    maps, xp, nodes, best = relus.maps, relus.maps.xp, found.nodes, found.best
    at, home, row = (maps.index(column) for column in (items, nodes.home, found.row))
    lo, hi = relus.box(home[at])
    count = min(CANDIDATES, cost.shape[1])
    most = maps.largest(_hopes(relus, found, at, row[at], (lo, hi), cost), count)
    every = maps.count(2 * len(items) * count)  # both sides of each candidate of each item
    each, neuron, values = at[every // (2 * count)], most.reshape(-1)[every // 2], []
    sign = (2 * (every % 2) - 1) * relus.dual.one
    size = relus.problem.deadline.memory.size(relus.engine.batch(len(relus.neurons)))
    for start in range(0, len(every), size):
        part = slice(start, start + size)
        i, signs, entry = each[part], sign[part], (maps.count(len(each[part])), neuron[part])
        side, alpha, beta, upper = nodes.side[i], best.alpha[i], best.beta[i], best.upper[i]  # copies
        low, high = (first_multiplier(xp, alpha[entry], upper[entry], s) for s in (-1, 1))
        side[entry], beta[entry] = signs, xp.where(signs < 0, low, high)
        forms, box = relus.forms(row[i]), relus.box(home[i])
        values.append(relus.dual.maximise(forms, side, alpha, beta, 0, box=box).value)
    value = np.asarray(maps.get(xp.concatenate(values)), np.float64)
    both = np.minimum(value.reshape(len(items), count, 2), relus.target)
    low, high = np.moveaxis(np.maximum(both - found.value[items, None, None], LEAST), 2, 0)
    score = np.nan_to_num(worth(low, high, relus.balance))  # what is no number is no gain
    rows = maps.count(len(items))
    score[maps.get(best.upper[at[:, None], most]) >= 0] = 0.0  # no chord is in use: nothing was gained
    score[maps.get(cost[rows[:, None], most]) <= 0] = -np.inf
    return np.asarray(maps.get(most[rows, maps.index(score.argmax(axis=1))]))


def _hopes(relus: Relus, found: Bounded, at: Any, row: Any, box: tuple[Any, Any], cost: Any) -> Any:
    """A score of each neuron, by what its sides may gain; where no chord is in use, by what its lines cost.

    Shapes  at, row: [N], indices of the maps; box: [N, U] or [U] each; cost: [N, U] -> [N, U]
    """
    xp, nodes, best = relus.maps.xp, found.nodes, found.best
    _, *sides = relus.dual.gains(relus.forms(row), nodes.side[at], best.alpha[at], best.beta[at], box=box)
    need = xp.clip(relus.target - xp.nan_to_num(best.value[at]), LEAST, None)[:, None]
    low, high = (xp.minimum(xp.maximum(xp.nan_to_num(gain), SHARE * cost), need) for gain in sides)
    score = worth(low, high, relus.balance)
    return xp.where(cost > 0, xp.where(best.upper[at] < 0, score, LEAST * score), relus.dual.zero)


def _costs_of_contradiction(relus: Relus, found: Bounded, items: Ints) -> Any:
    """What the lines of each neuron cost the bound of all splits together, each in the measure of its width."""
    maps, at = relus.maps, relus.maps.index(items)
    forms, (lo, hi) = relus.forms(maps.index(found.row[items])), relus.box(maps.index(found.nodes.home[items]))
    side = found.nodes.side[at]
    beta = abs(side) / maps.xp.clip(hi - lo, NARROW, None)
    return relus.dual.maximise(forms, side, found.best.alpha[at], beta, 0, box=(lo, hi)).cost


def worth(low: Any, high: Any, balance: float = BALANCE) -> Any:
    """A score of splits by what both sides gain: the greater, the smaller the tree.

    If all splits below gained as much, a bound that lacks d would take about exp(y d) leaves, where exp(-y low) +
    exp(-y high) = 1. Their power mean of exponent BALANCE is log 2 / y within 3 % where one gains up to 100 times the
    other: a side that closes is worth more than a product says.

    Shapes   any, the same of both; balance: the exponent
    Source   Le Bodic and Nemhauser 2015, arXiv:1511.01818 (trees whose splits all gain as much)
    """
    return low**balance + high**balance


def first_multiplier(xp: Any, alpha: Any, upper: Any, side: int) -> Any:
    """A new split's multiplier with which the lower line of slope alpha is what it was before the split."""
    return xp.clip(upper, 0, None) * (alpha if side < 0 else 1 - alpha)
