"""Trusted. Minima and maxima of two entries: y is one of a and b, up to y's error, so their boxes hold y's.

A lattice network is nothing else above its affine pieces, and where one piece decides over a box, or all are on one
side of a bound, the intervals of the pieces say so: no walk is needed, for the differences or for the output.
Source  Ferlez and Shoukry 2020, arXiv:2003.09955 (two-level lattices)
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from torchlean_check.network import Floats, Pair

Box = tuple[Floats, Floats]


def meet(pair: Pair | None, box: Box, values: Mapping[int, Box], widen: Floats) -> Box:
    """A box of y, met with what the boxes of a and b say; as it is, where y is no such value.

    widen   holds y's error, and 2^-46 of the magnitudes of a and b for the rounding of the results, which are ends of
            their boxes
    Shapes  box: [B, size]; values: of `pair.source`, [B, its size]; widen: [size] or [B, size]
    """
    if pair is None:
        return box
    ends = ((v[:, pair.left], v[:, pair.right]) for v in values[pair.source])
    low, high = (np.where(pair.larger, np.maximum(a, b), np.minimum(a, b)) for a, b in ends)
    return np.maximum(box[0], low - widen), np.minimum(box[1], high + widen)
