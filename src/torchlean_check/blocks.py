"""Trusted. Matrices whose rows have entries near each other, as dense blocks: of a convolution's rows, side by side,
blocks of some tens need a few times their entries, and one product each.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from torchlean_check.arith import Arithmetic, Floats, Ints
from torchlean_check.frozen import frozen

MOST = 32  # rows of a block, unless more of them have nearly the same columns
Block = tuple[Ints, Ints, Floats]  # rows, columns, and the entries there


@frozen(eq=False)
class Blocks:
    """Each row is in one block; what is in none is 0.   Shapes  [rows, columns]"""

    shape: tuple[int, int]
    blocks: tuple[Block, ...]

    @staticmethod
    def of(shape: tuple[int, int], row: Ints, column: Ints, weight: Floats) -> Blocks:
        """The matrix of entries given row by row, columns rising, none twice; each row has one."""
        first = column[np.flatnonzero(np.diff(row, prepend=-1))]
        order = np.argsort(first, kind="stable")
        place = np.argsort(order)[row]
        by = np.argsort(place, kind="stable")
        return Blocks(shape, tuple(_cut(order, place[by], column[by], weight[by])))

    def product(self, rows: Floats, which: Ints, arith: Arithmetic) -> Floats:
        """rows @ self[which]; blocks with rows that are 0 alone cost nothing.   Shapes  [R, which] -> [R, columns]"""
        turned, out = np.zeros((self.shape[0], len(rows))), np.zeros((self.shape[1], len(rows)))
        turned[which] = rows.T
        for mine, columns, weight in self.blocks:
            part = turned.take(mine, axis=0)
            if part.any():
                out[columns] += arith.product(part.T, weight).T
        return out.T


def _cut(order: Ints, place: Ints, column: Ints, weight: Floats) -> Iterator[Block]:
    """order: rows as they stand; place (rising), column, weight: of each entry."""
    waiting = [(0, len(order))]
    while waiting:
        first, end = waiting.pop()
        mine = slice(*np.searchsorted(place, (first, end)))
        columns, at = np.unique(column[mine], return_inverse=True)
        if end - first > MOST and 2 * len(at) < (end - first) * len(columns):
            waiting += [(first, (first + end) // 2), ((first + end) // 2, end)]
            continue
        dense = np.zeros((end - first, len(columns)))
        dense[place[mine] - first, at] = weight[mine]
        yield order[first:end], columns, dense
