"""Which neuron each node splits: the one whose two sides gain most (`worth`).

What they may gain at most is read off the bound's minimiser for all neurons by one walk (walk.py); the few that look
best are bounded on both sides.

Source   De Palma et al. 2021, arXiv:2104.06718 (the best few are tried on both sides before one is taken)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from torchlean.frozen import frozen
from torchlean.verify.ascent import NARROW, Best, Given
from torchlean.verify.bounded import Bounded

if TYPE_CHECKING:
    from torchlean.verify.dual import Dual
    from torchlean.verify.relus import Relus

CANDIDATES = 4  # neurons that are tried on both sides
BALANCE = 0.3  # 0: of two splits, the one with the greater product of gains is better; 1: with the greater sum
SHARE = 1e-3  # of what its lines may cost: what a side of a neuron may gain at least, where none looks better
LEAST = 1e-9  # what a side gains at least

Ints = NDArray[np.int64]


def costs(relus: Relus, found: Bounded, items: Ints) -> tuple[Any, NDArray[np.bool_]]:
    """What the lines of each neuron may cost, 0 where it is not to be split; and of which items none may cost anything.

    Shapes  -> [N, U], [N]
    """
    maps, xp, nodes, at = relus.maps, relus.maps.xp, found.nodes, relus.maps.index(items)
    lo, hi = relus.box(maps.index(nodes.home[items]))
    free = (nodes.side[at] == 0) & (lo < 0) & (hi > 0)
    own = xp.where(free, xp.nan_to_num(found.best.cost[at]), relus.dual.zero)
    zero = ~(own > 0).any(-1)
    none = np.asarray(maps.get(zero))
    if not none.any():
        return own, none
    # where no line costs anything, it closes only if the splits above contradict each other
    other = xp.nan_to_num(_costs_of_contradiction(relus, found, items))
    own = xp.where(zero[:, None] & free, other, own)
    return own, np.asarray(maps.get(~(own > 0).any(-1)))


def choose(relus: Relus, found: Bounded, items: Ints, cost: Any) -> Ints:
    """The neuron to split for each item: of those whose sides may gain most, the one whose sides gain most."""
    maps, nodes, best = relus.maps, found.nodes, found.best
    at, home, row = (maps.index(column) for column in (items, nodes.home[items], found.row[items]))
    size = relus.problem.deadline.memory.size(relus.engine.batch(len(relus.neurons)))
    given = Given(relus.forms(row), nodes.side[at], best.alpha[at], best.beta[at], None, relus.box(home), hold=True)
    (chosen,) = relus.dual.answer(Choice(relus.target, relus.balance, size), given, cost)
    return np.asarray(maps.get(chosen))


@frozen
class Choice:
    """The neuron to split for each problem.

    target    what its bound is to reach      balance   see `worth`      size   problems that are walked at once
    """

    target: float
    balance: float
    size: int

    def __call__(self, dual: Dual, given: Given, /, *more: Any) -> tuple[Any, ...]:
        """more: the `costs`.   Shapes  [P, U] -> [P]"""
        (cost,) = more
        maps, xp, run = dual.maps, dual.xp, dual.ascent(given, lazy=False)
        sides = run.gains()
        best, count = run.best, min(CANDIDATES, cost.shape[1])
        most = maps.largest(self._hopes(dual, best, sides, cost), count)
        low, high = self._gains(dual, given, best, most)
        score = xp.nan_to_num(worth(low, high, self.balance))  # what is no number is no gain
        rows = maps.count(len(cost))[:, None]
        score = xp.where(best.upper[rows, most] < 0, score, dual.zero)  # where no chord is in use, nothing was gained
        score = xp.where(cost[rows, most] > 0, score, -dual.one)
        return (most[rows[:, 0], score.argmax(-1)],)

    def _hopes(self, dual: Dual, best: Best, sides: tuple[Any, Any], cost: Any) -> Any:
        """A score of each neuron, by what its sides may gain; where no chord is in use, by what its lines cost.

        Shapes  [P, U] each
        """
        xp = dual.xp
        need = xp.clip(self.target - xp.nan_to_num(best.value), LEAST, None)[:, None]
        low, high = (xp.minimum(xp.maximum(xp.nan_to_num(gain), SHARE * cost), need) for gain in sides)
        score = worth(low, high, self.balance)
        return xp.where(cost > 0, xp.where(best.upper < 0, score, LEAST * score), dual.zero)

    def _gains(self, dual: Dual, given: Given, best: Best, most: Any) -> tuple[Any, Any]:
        """What bounds gain on both sides of a split of each candidate whose chord is in use; it needs no multiplier.

        Shapes  most: [P, C] -> [P, C] each
        """
        maps, xp = dual.maps, dual.xp
        (count, tried), values = most.shape, []
        at_once = max(1, self.size // count)
        for start in range(0, 2 * tried, at_once):
            trial = maps.count(min(at_once, 2 * tried - start) * count) + start * count  # candidate, side, problem
            i, neuron = trial % count, most[trial % count, trial // count // 2]
            split = given.take(i)
            split.side[maps.count(len(i)), neuron] = (2 * (trial // count % 2) - 1) * dual.one
            run = dual.ascent(split, lazy=False)
            run.look()
            values.append(run.value)
        value = xp.minimum(xp.concatenate(values).reshape(tried, 2, count), self.target * dual.one)
        gain = xp.clip(value - best.value, LEAST, None)
        return gain[:, 0].T, gain[:, 1].T


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
