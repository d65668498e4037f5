"""Which entry each node splits, and where: of those whose lines lose most, the one whose halves gain most.

Each is tried at its middle and at its table's point (points.py): the table knows the lines alone, and not what the
bound makes of them, so of two that gain as much the middle is taken.

A half is bounded with the parameters of the whole, nothing optimised: only the lines of what reads the entry are drawn
again, on the half's box.

Shapes   P rows of a batch, E entries that may be split, N nodes, R halves
Source   Shi et al. 2024, arXiv:2405.21063, section 3.3 (the bounds of halves as scores); De Palma et al. 2021,
         arXiv:2104.06718 (few candidates, chosen by a cheaper score)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torchlean.frozen import frozen
from torchlean.verify.choice import worth
from torchlean.verify.places import Bent, Places, entries, wide
from torchlean.verify.points import points
from torchlean_check.network import Curve

if TYPE_CHECKING:
    from torchlean.verify.bent import Bounded

CANDIDATES = 8  # entries, each at two points
BALANCE = 0.7  # of a score: see `choice.worth`
SHARE = 1e-3  # of what its lines lose: what a half gains at least
LEAST = 1e-9  # what a half gains at least

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]


@frozen(eq=False)
class Splits:
    """An entry of a value for each of some rows, and the point where it is split.   Shapes  [N] each"""

    row: Ints
    value: Ints
    index: Ints
    at: F64

    def take(self, i: Ints) -> Splits:
        return Splits(self.row[i], self.value[i], self.index[i], self.at[i])


class Halves(Bent):
    """The rows of a Bent again, two for each split: the halves below all points, then those above.

    value, index, lo, hi   of each half: what is split, and the half's box
    """

    def __init__(self, whole: Bent, places: Places, splits: Splits) -> None:
        self.network, self.maps, self.device, self.kappa = whole.network, whole.maps, whole.device, whole.kappa
        self.whole, self.whole_places = whole, places
        self.value, self.index, row, at = (
            np.tile(column, 2) for column in (splits.value, splits.index, splits.row, splits.at)
        )
        self.rows, high = self.maps.index(row), np.arange(len(row)) >= len(splits.row)
        self.center, self.radius = self._taken(whole.center), self._taken(whole.radius)
        self.boxes = {k: (self._taken(lo), self._taken(hi)) for k, (lo, hi) in whole.boxes.items()}
        lo, hi = whole.ends(self.value, row, self.index)
        self.lo, self.hi = np.where(high, at, lo), np.where(high, hi, at)
        for k in np.unique(self.value).tolist():
            half = np.flatnonzero(self.value == k)
            spot = self.maps.index(half), self.maps.index(self.index[half])
            new = [end.expand(len(row), -1).clone() for end in self.boxes[k]]
            for end, edge in zip(new, (self.lo, self.hi), strict=True):
                end[spot] = self.maps.put(edge[half])
            self.boxes[k] = new[0], new[1]

    def _taken(self, values: Tensor) -> Tensor:
        return values if len(values) == 1 else values[self.rows]

    def _curve(self, k: int, node: Curve, places: Places) -> list[tuple[Tensor, Tensor]]:
        known = self.whole._curve(k, node, self.whole_places)
        found = [(slope[self.rows], offset[self.rows]) for slope, offset in known]
        half = np.flatnonzero(self.value == node.source)
        if len(half):
            spot = self.maps.index(half), self.maps.index(self.index[half])
            low, high = (np.asarray(self.maps.get(places[key][spot].clamp(-1, 1)), np.float64) for key in self.keys(k))
            new = entries(node, (low, high), (self.lo[half], self.hi[half]))
            for old, values in zip((*found[0], *found[1]), new, strict=True):
                old[spot] = self.maps.put(values)
        return found


def choose(found: Bounded, rows: Ints, goal: float, size: int) -> tuple[Splits, F64]:
    """A split for each of some rows, and its score: 0 where none could help.

    size   halves that are bounded at once
    """
    loss, names = _losses(found, rows)
    top = np.argsort(-loss, axis=1, kind="stable")[:, :CANDIDATES]
    loss = np.take_along_axis(loss, top, axis=1)
    top, loss = (np.concatenate([column, column], axis=1) for column in (top, loss))
    row = np.repeat(rows, top.shape[1])
    value, index = names[top.reshape(-1)].T
    lo, hi = found.bent.ends(value, row, index)
    at = np.where(np.isin(value, found.bent.network.relu_inputs), 0.0, 0.5 * lo + 0.5 * hi)
    second = np.tile(np.arange(top.shape[1]) >= top.shape[1] // 2, len(rows))
    for k in np.unique(value).tolist():
        mine = (value == k) & second
        at[mine] = points(found.bent.network, k, lo[mine], hi[mine])
    every = Splits(row, value, index, at)
    parts = [_bounds(found, every.take(part)) for part in _parts(len(row), max(1, size // 2))]
    least = np.maximum(SHARE * loss, LEAST)
    need = np.maximum(goal - found.value[rows], LEAST)[:, None]
    low, high = (
        np.minimum(np.maximum(side.reshape(loss.shape) - found.value[rows, None], least), need)
        for side in np.concatenate(parts, axis=1)
    )
    score = np.where(loss > 0, np.nan_to_num(worth(low, high, BALANCE)), 0.0)
    best = np.arange(len(rows)) * top.shape[1] + score.argmax(axis=1)
    return every.take(best), score.reshape(-1)[best]


def _parts(count: int, size: int) -> list[Ints]:
    return np.split(np.arange(count), range(size, count, size))


def _bounds(found: Bounded, splits: Splits) -> F64:
    """Of the halves below and above each split; -inf where one is no number.   Shapes  -> [2, N]"""
    halves = Halves(found.bent, found.places, splits)
    i = halves.rows
    places = {k: p[i] for k, p in found.places.items()}
    pushes = {k: (side[i], at[i], beta[i]) for k, (side, at, beta) in found.pushes.items()}
    with torch.no_grad():
        value = found.bent.maps.get(halves.bound(found.forms.take(i), places, pushes))
    return np.where(np.isnan(value), -np.inf, np.asarray(value, np.float64)).reshape(2, -1)


def _losses(found: Bounded, rows: Ints) -> tuple[F64, Ints]:
    """What the lines of all that read an entry may cost, 0 where no split helps; and the entries: value, index.

    Shapes   [N, E], [E, 2]
    """
    losses: dict[int, Tensor] = {}
    with torch.no_grad():
        found.bent.bound(found.forms, found.places, found.pushes, losses)
    costs, names = [], []
    for k, loss in losses.items():
        lo, hi = (end[rows] for end in found.state.boxes[k])
        free = (lo < 0) & (hi > 0) if k in found.bent.network.relu_inputs else wide(lo, hi)
        costs.append(np.where(free, np.nan_to_num(found.bent.maps.get(loss)[rows]), 0.0))
        names.append(np.stack([np.full(lo.shape[1], k), np.arange(lo.shape[1])], axis=1))
    return np.concatenate(costs, axis=1), np.concatenate(names)
