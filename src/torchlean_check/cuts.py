"""Trusted. Rows below the states of a batch, which differ from them by value splits alone.

The box of such a row is its state's, met with z <= at or z >= at for each split. So only entries that are split are
kept, and boxes are written out where they are read. What a split leaves empty holds no execution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from torchlean_check.frozen import frozen
from torchlean_check.network import Floats, Ints
from torchlean_check.pushes import Splits

if TYPE_CHECKING:
    from torchlean_check.kernel import State


@frozen(eq=False)
class Cuts:
    """Rows below states: the state of each, and the boxes of the entries that are split.

    home   [R] the state's row
    empty  [R] True where a split contradicts the state's box
    row    [E] sorted; no row has an entry of a value twice
    value, entry, lo, hi   [E] each
    """

    home: Ints
    empty: npt.NDArray[np.bool_]
    row: Ints
    value: Ints
    entry: Ints
    lo: Floats
    hi: Floats

    @staticmethod
    def of(state: State, home: Ints, splits: Splits) -> Cuts:
        empty, parts = state.empty[home], []
        for value in np.unique(splits.value).tolist():
            mine = splits.value == value
            row, side, at = splits.row[mine], splits.side[mine], splits.at[mine]
            lo, hi = state.boxes[value]
            place, which = np.unique(row * lo.shape[1] + splits.entry[mine], return_inverse=True)
            row, entry = np.divmod(place, lo.shape[1])
            low, high = lo[home[row], entry], hi[home[row], entry]
            np.maximum.at(low, which[side > 0], at[side > 0])
            np.minimum.at(high, which[side < 0], at[side < 0])
            empty[row[low > high]] = True
            parts.append((row, np.full(len(row), value), entry, low, np.maximum(low, high)))
        if not parts:
            return Cuts(home, empty, *(np.zeros(0, np.int64),) * 3, np.zeros(0), np.zeros(0))
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        order = np.argsort(columns[0], kind="stable")
        return Cuts(home, empty, *(column[order] for column in columns))

    def boxes(self, value: int, box: tuple[Floats, Floats], columns: Ints | None) -> tuple[Floats, Floats]:
        """The boxes of a value, or of some of its entries, in each row.   box: those of the states, whole"""
        columns = np.arange(box[0].shape[1]) if columns is None else columns
        lo, hi = (end.take(columns, axis=1).take(self.home, axis=0) for end in box)
        row, column, *cut = self.entries(value, columns)
        lo[row, column], hi[row, column] = cut
        return lo, hi

    def entries(self, value: int, columns: Ints) -> tuple[Ints, Ints, Floats, Floats]:
        """What is split among some entries of a value: row (sorted), position in `columns`, lo, hi."""
        mine = np.flatnonzero(self.value == value)
        order = np.argsort(columns)
        place = np.searchsorted(columns[order], self.entry[mine]).clip(max=len(columns) - 1)
        there = columns[order[place]] == self.entry[mine] if len(columns) else np.zeros(len(mine), np.bool_)
        mine = mine[there]
        return self.row[mine], order[place[there]], self.lo[mine], self.hi[mine]
