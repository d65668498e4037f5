"""Splits of values, and what is added to bounds: multiples of what splits keep on one side, and what is bounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np

from torchlean_check.frozen import frozen
from torchlean_check.network import Floats, Ints


def runs(first: Ints, count: Ints, width: int = 1) -> tuple[Ints, Ints]:
    """Runs of `count` things from `first` on, each `width` long: which run each is in, and where it starts."""
    row = np.repeat(np.arange(len(count)), count)
    return row, first[row] + width * (np.arange(len(row)) - (np.cumsum(count) - count)[row])


def of_rows(row: Ints, box: Ints) -> tuple[Ints, Ints]:
    """Of things that belong to rows: those of the rows `box`, one after the other, as positions in `box` and in `row`.

    Shapes  row: [E], sorted
    """
    first = np.searchsorted(row, box)
    return runs(first, np.searchsorted(row, box, side="right") - first)


@frozen(eq=False)
class Splits:
    """z <= at (side -1) or z >= at (side 1), z an entry of a value, for a batch of rows.   Shapes  [E] each"""

    row: Ints
    value: Ints
    entry: Ints
    side: Ints
    at: Floats

    @staticmethod
    def of(rows: Sequence[tuple[int, int, int, int, float]]) -> Splits:
        row, value, entry, side, at = np.array(rows, np.float64).reshape(-1, 5).T  # whole numbers below 2^53
        return Splits(row.astype(np.int64), value.astype(np.int64), entry.astype(np.int64), side.astype(np.int64), at)

    def take(self, box: Ints) -> Splits:
        """Those of the rows `box`, as rows 0, 1, ...; rows are sorted."""
        row, i = of_rows(self.row, box)
        return Splits(row, self.value[i], self.entry[i], self.side[i], self.at[i])

    def __add__(self, other: Splits) -> Splits:
        return Splits(*(np.concatenate([getattr(self, f.name), getattr(other, f.name)]) for f in fields(Splits)))


NO_SPLITS = Splits.of(())


@frozen(eq=False)
class Pushes:
    """Terms factor (z - at), z an entry of a value, that are added to the bounds of a batch of rows.

    One row and entry has at most three of them. What is added must be <= 0 where the bound is to hold: see `split`.
    Shapes  [E] each; row is sorted
    """

    row: Ints
    value: Ints
    entry: Ints
    factor: Floats
    at: Floats

    @staticmethod
    def split(splits: Sequence[tuple[int, int, int, int, float, float]]) -> Pushes:
        """-m side (z - at) for each (row, value, entry, side, at, m): it is <= 0 where the split holds; m < 0 is 0."""
        columns = list(zip(*sorted(splits), strict=True)) or [()] * 6
        row, value, entry = (np.array(c, np.int64) for c in columns[:3])
        side, at, m = (np.array(c, np.float64) for c in columns[3:])
        return Pushes(row, value, entry, -np.maximum(m, 0.0) * side, at)

    def take(self, box: Ints) -> Pushes:
        """Those of the rows `box`, as rows 0, 1, ..."""
        row, i = of_rows(self.row, box)
        return Pushes(row, self.value[i], self.entry[i], self.factor[i], self.at[i])

    def __add__(self, other: Pushes) -> Pushes:
        joined = [np.concatenate([getattr(self, f.name), getattr(other, f.name)]) for f in fields(Pushes)]
        order = np.argsort(joined[0], kind="stable")
        return Pushes(*(column[order] for column in joined))


NO_PUSHES = Pushes.split(())
