"""What is added to bounds: multiples of values that a split keeps on one side, and the values that are bounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np

from torchlean_check.frozen import frozen
from torchlean_check.network import Floats, Ints


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
        first = np.searchsorted(self.row, box)
        count = np.searchsorted(self.row, box, side="right") - first
        row = np.repeat(np.arange(len(box)), count)
        i = first[row] + np.arange(len(row)) - (np.cumsum(count) - count)[row]
        return Pushes(row, self.value[i], self.entry[i], self.factor[i], self.at[i])

    def __add__(self, other: Pushes) -> Pushes:
        joined = [np.concatenate([getattr(self, f.name), getattr(other, f.name)]) for f in fields(Pushes)]
        order = np.argsort(joined[0], kind="stable")
        return Pushes(*(column[order] for column in joined))


NO_PUSHES = Pushes.split(())
