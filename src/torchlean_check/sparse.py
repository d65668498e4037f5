"""Matrices of few entries, as lattice networks have: products by gathering what is there."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from torchlean_check.frozen import frozen

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Multiply = Callable[[Floats, Floats], Floats]  # an arithmetic's product, as other maps need it
Some = tuple[Floats, Ints]  # rows, and which entries their columns are, none twice; the others are 0
Part = tuple[Floats, Ints | None]  # the same; None: all, in order
PIECE, PAIR = 1 << 18, 2  # entries of a pass; of a row, so that gathering one after the other pays
LEAST, SHARE = 1 << 12, 16  # a matrix of fewer places, or with more than one entry in 16, is multiplied as a whole


@frozen(eq=False)
class Sparse:
    """y = W x, W being 0 but for some entries.   Shapes  W: [out, in]

    row, column, weight   the entries, row by row
    down                  their order column by column
    depth                 terms in the longest sum that `apply` or `transpose` forms
    each                  how many entries every row has, where all have the same few; else 0

    Sums are elementwise, so both arithmetics take them as they are, and what is 0 in every row costs nothing.
    """

    shape: tuple[int, int]
    row: Ints
    column: Ints
    weight: Floats
    down: Ints
    depth: int
    each: int

    @staticmethod
    def of(weight: npt.NDArray[Any]) -> Sparse | None:
        """The matrix of floats of any format, where it has few entries."""
        turned = weight.flags.f_contiguous
        at = _places((weight.T if turned else weight).reshape(-1))
        if at is None:
            return None
        row, column = np.divmod(at, len(weight))[::-1] if turned else np.divmod(at, weight.shape[1])
        order = np.argsort(row, kind="stable")
        return Sparse.made((weight.shape[0], weight.shape[1]), row[order], column[order], weight[row, column][order])

    @staticmethod
    def made(shape: tuple[int, int], row: Ints, column: Ints, weight: npt.NDArray[Any]) -> Sparse:
        """The matrix of entries given row by row, none twice."""
        rows, columns = np.bincount(row, minlength=shape[0]), np.bincount(column, minlength=1)
        most, down = max(int(rows.max()), int(columns.max())), np.argsort(column, kind="stable")
        each = int(rows[0]) if rows[0] <= PAIR and (rows == rows[0]).all() else 0
        return Sparse(shape, row, column, weight.astype(np.float64), down, most, each)

    def apply(self, x: Floats, product: Multiply) -> Floats:
        if self.each:
            turns = (slice(i, None, self.each) for i in range(self.each))
            return reduce(np.add, (x.take(self.column[i], axis=1) * self.weight[i] for i in turns))
        return full(*_gather(x, None, self.column, self.row, self.weight, self.shape[1]), self.shape[0])

    def transpose(self, rows: Floats, product: Multiply) -> Floats:
        return full(*self.back(rows, None, product), self.shape[1])

    def back(self, rows: Floats, columns: Ints | None, product: Multiply) -> Some:
        i = self.down
        return _gather(rows, columns, self.row[i], self.column[i], self.weight[i], self.shape[0])

    def absolute(self) -> Sparse:
        return Sparse(self.shape, self.row, self.column, np.abs(self.weight), self.down, self.depth, self.each)

    def leaves(self) -> Floats:
        return np.bincount(self.row, minlength=self.shape[0]).astype(np.float64)


def few(entries: int, places: int) -> bool:
    return places >= LEAST and entries * SHARE <= places


def _places(flat: npt.NDArray[Any]) -> Ints | None:
    """Where entries are not 0, if they are few. Piece by piece: the pages of a mask of all would take longer."""
    found, count, pieces = list[Ints](), 0, range(0, len(flat), PIECE)
    while few(count, len(flat)) and len(found) < len(pieces):
        at = pieces[len(found)]
        found.append(at + np.flatnonzero(flat[at : at + PIECE] != 0.0))
        count += len(found[-1])
    return np.concatenate(found) if few(count, len(flat)) else None


def _gather(x: Floats, columns: Ints | None, source: Ints, target: Ints, weight: Floats, size: int) -> Some:
    """y[target] += weight x[source], entries with one target side by side; a source that is 0 in every row is left out.

    columns   the sources, of `size`, that x has (None: all)
    """
    used = np.nonzero(x.any(axis=0))[0]
    place = np.full(size, -1)
    place[used if columns is None else columns[used]] = used
    at = place[source]
    kept = np.nonzero(at >= 0)[0]
    if not len(kept):
        return nothing(x)
    to = target[kept]
    first = np.nonzero(np.diff(to, prepend=-1))[0]
    terms = x.take(at[kept], axis=1) * weight[kept]
    return (terms if len(first) == len(to) else np.add.reduceat(terms, first, axis=1)), to[first]


def nothing(rows: Floats) -> Some:
    """As many rows of coefficients that are 0."""
    return np.zeros((len(rows), 1)), np.zeros(1, np.int64)


def full(rows: Floats, columns: Ints | None, size: int) -> Floats:
    """The same with all columns."""
    if columns is None:
        return rows
    place = np.full(size, rows.shape[1])
    place[columns] = np.arange(rows.shape[1])
    return np.concatenate([rows, np.zeros((len(rows), 1))], axis=1).take(place, axis=1)


def add(a: Part, b: Part, size: int) -> Part:
    """The sum, of the columns that either has."""
    (rows, columns), (more, others) = a, b
    if columns is None or others is None:
        return full(*a, size) + full(*b, size), None
    some = np.zeros(size, np.bool_)  # np.union1d would load numpy.ma
    some[columns] = some[others] = True
    both = np.flatnonzero(some)
    total = np.zeros((len(rows), len(both)))
    total[:, np.searchsorted(both, columns)] = rows
    total[:, np.searchsorted(both, others)] += more
    return total, both
