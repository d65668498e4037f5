"""Many numbers moved to a neighbour at once, and long arrays cut into blocks that stay in the cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 13
"""Elements a block: a dozen float64 temporaries of this length fit a second-level cache."""

_INTEGER: dict[str, tuple[Any, int]] = {"float32": (np.int32, 31), "float64": (np.int64, 63)}


def stepped(x: NDArray[Any], where: NDArray[np.bool_], up: bool) -> NDArray[Any]:
    """x with its neighbour above (or below) where told. A zero must carry the sign of the side it is moved to.

    Numbers of one sign are ordered like their bit patterns, so a step is one integer addition: several times faster
    than np.nextafter.

    Shapes   x, where: [*s]; x float32 or float64
    """
    integer, last = _INTEGER[x.dtype.name]
    bits = np.ascontiguousarray(x).view(integer)
    away = (bits >> last) | 1  # +1 for positive, -1 for negative: what moves the number up
    step = away * where
    return (bits + step if up else bits - step).view(x.dtype).reshape(x.shape)


def in_blocks(
    kernel: Callable[..., tuple[NDArray[Any], ...]], results: int, dtype: Any, *operands: NDArray[Any]
) -> tuple[NDArray[Any], ...]:
    """kernel(*operands) block by block. The kernel is elementwise: one-dimensional arrays to `results` of them.

    Shapes   operands: broadcast -> `results` arrays of that shape and `dtype`
    """
    shape = np.broadcast_shapes(*(a.shape for a in operands))
    outs = tuple(np.empty(shape, dtype) for _ in range(results))
    with np.errstate(all="ignore"):
        if outs[0].size <= BLOCK:
            flat = (np.broadcast_to(a, shape).reshape(-1) for a in operands)
            for out, part in zip(outs, kernel(*flat), strict=True):
                out.reshape(-1)[...] = part
            return outs
        count = len(operands)
        access: list[list[Any]] = [["readonly"]] * count + [["writeonly"]] * results
        blocks = np.nditer(
            [*operands, *outs],
            flags=["external_loop", "buffered", "zerosize_ok"],
            op_flags=access,
            order="C",
            buffersize=BLOCK,
        )
        with blocks:
            for block in blocks:
                for out, part in zip(block[count:], kernel(*block[:count]), strict=True):
                    out[...] = part
    return outs


__all__ = ["BLOCK", "in_blocks", "stepped"]
