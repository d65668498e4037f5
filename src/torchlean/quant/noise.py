"""How far a node that only rounds may move a value: the enclosure of rounded - x for x in a range.

Over the reals and for every float32 execution: quantize's quotient is rounded before its code is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchlean import floats
from torchlean.meaning import Ranges
from torchlean.ops.common import TINY, UP, U
from torchlean.ops.elementwise import as_dtype
from torchlean.rounding.twin import ranges

F64 = NDArray[np.float64]


def quantize_noise(x: Ranges, scale: F64, zero_point: F64, lo: int, hi: int) -> Ranges:
    """Half a step within the grid's range, the distance to its end beyond.

    Shapes   scale, zero_point: exact, broadcasting to x
    """
    least, most = (lo - zero_point) * scale, (hi - zero_point) * scale  # exact: 9 bits times 24
    size = np.minimum(np.maximum(np.abs(x.lo), np.abs(x.hi)), np.maximum(np.abs(least), np.abs(most)) + scale)
    half = (scale / 2 + 4 * U * size + 4 * TINY * (1 + scale)) * UP
    return _clamped(x, half, least, most)


def round_to_noise(x: Ranges, *, dtype: Any, overflow: str) -> Ranges:
    """Half a step of the format, the distance to its largest number beyond; anything where it is not clamped."""
    fmt = floats.format_of(as_dtype(dtype).numpy)
    size = np.maximum(np.abs(x.lo), np.abs(x.hi))
    step = np.maximum(fmt.unit_roundoff * np.minimum(size, fmt.max), fmt.smallest_subnormal / 2)
    half = (step + 2 * TINY) * UP
    found = _clamped(x, half, np.asarray(-fmt.max), np.asarray(fmt.max))
    beyond = (size > fmt.max) & (overflow != "saturate")
    return ranges(np.where(beyond, -np.inf, found.lo), np.where(beyond, np.inf, found.hi))


def _clamped(x: Ranges, half: F64, least: F64, most: F64) -> Ranges:
    with np.errstate(invalid="ignore"):
        high = np.maximum(half, floats.sub_up(np.broadcast_to(least, x.shape), x.lo))
        low = np.minimum(-half, floats.sub_down(np.broadcast_to(most, x.shape), x.hi))
    return ranges(np.where(np.isnan(low), -np.inf, low), np.where(np.isnan(high), np.inf, high))
