"""Matrices of few entries: which these are. A mask of the whole would cost more, in fresh pages, than the pass."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

PIECE = 1 << 18  # entries of a pass
LARGE, SHARE, ROWS = 1 << 16, 16, 16  # entries; one of so many is not 0; rows of the other factor: where that pays
Ints = NDArray[np.int64]


def entries(w: NDArray[Any]) -> tuple[Ints, Ints, NDArray[Any]] | None:
    """Rows, columns and values of what is not 0, row by row in the order of columns; NaN is not 0.

    None for a small matrix, and where more than one entry in 16 is not 0.
    Shapes   w: [n, k] -> three of [e]
    """
    if w.ndim != 2 or w.size < LARGE:
        return None
    turned = w.T.flags.c_contiguous
    flat, found, left = (w.T if turned else w).reshape(-1), list[Ints](), w.size // SHARE
    for at in range(0, len(flat), PIECE):
        found.append(at + np.flatnonzero(flat[at : at + PIECE] != 0))
        left -= len(found[-1])
        if left < 0:
            return None
    row, column = np.divmod(np.concatenate(found), w.shape[0 if turned else 1])
    if turned:
        order = np.argsort(column, kind="stable")
        row, column = column[order], row[order]
    return row, column, w[row, column]
