"""How a kernel meets arrays: operands checked and broadcast, then chunks that stay in the cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchlean.errors import ShapeError
from torchlean.floats.bits import patterns
from torchlean.floats.formats import Format
from torchlean.floats.soft.rules import Result

CHUNK = 8192  # int64 arrays of 64 KiB: a kernel's handful fits the second cache, and malloc keeps them warm
Kernel = Callable[..., tuple[NDArray[Any], NDArray[np.uint8]]]


def over_chunks(kernel: Kernel, operands: Sequence[NDArray[Any]], dtype: Any, where: str) -> Result:
    """The kernel's (bits, flags) over broadcast operands, which reach it as one-dimensional int64 pieces.

    Shapes   operands: broadcast -> [*s] of dtype, [*s] uint8
    """
    try:
        shape = np.broadcast_shapes(*(x.shape for x in operands))
    except ValueError:
        raise ShapeError(
            "the operands' shapes do not broadcast",
            where=where,
            expected="equal shapes, or axes of size 1",
            got=" and ".join(str(x.shape) for x in operands),
            fix="reshape one of them",
        ) from None
    flat = [np.broadcast_to(x, shape).reshape(-1) for x in operands]
    size = flat[0].size
    bits, flags = np.empty(size, dtype), np.empty(size, np.uint8)
    for start in range(0, size, CHUNK):
        piece = slice(start, start + CHUNK)
        bits[piece], flags[piece] = kernel(*(x[piece].astype(np.int64) for x in flat))
    return Result(bits.reshape(shape), flags.reshape(shape))


def on_patterns(kernel: Kernel, operands: Sequence[Any], fmt: Format, dtype: Any, where: str) -> Result:
    """`over_chunks` of operands that must be patterns of the format."""
    return over_chunks(kernel, [patterns(x, fmt, where) for x in operands], dtype, where)
