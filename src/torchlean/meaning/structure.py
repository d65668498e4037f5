"""Structural operations on plain arrays: what every number system does to each array of its carrier.

Values move, none changes, so one implementation serves floats, objects, bounds and flags.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from torchlean.errors import DomainError

Array: TypeAlias = NDArray[Any]


def permute(x: Array, axes: Sequence[int]) -> Array:
    """Axis i of the result is axis axes[i] of x."""
    return np.transpose(x, tuple(axes))


def slice_axes(x: Array, starts: Sequence[int], stops: Sequence[int], steps: Sequence[int]) -> Array:
    """x[start:stop:step] on every axis. Positions count from the front; with a negative step, stop -1 is before 0."""
    cuts = tuple(
        slice(start, None if step < 0 and stop < 0 else stop, step)
        for start, stop, step in zip(starts, stops, steps, strict=True)
    )
    return x[cuts]


def pad(x: Array, low: Sequence[int], high: Sequence[int], value: Any) -> Array:
    """`low` and `high` entries of `value` around each axis; negative counts cut off."""
    inner = x[tuple(slice(max(-a, 0), n - max(-b, 0)) for n, a, b in zip(x.shape, low, high, strict=True))]
    shape = tuple(n + max(a, 0) + max(b, 0) for n, a, b in zip(inner.shape, low, high, strict=True))
    out = np.empty(shape, x.dtype)
    out[...] = value
    out[tuple(slice(max(a, 0), max(a, 0) + n) for n, a in zip(inner.shape, low, strict=True))] = inner
    return out


def indices_within(indices: Array, size: int, where: str) -> Array:
    """The indices, nonnegative. Raises DomainError unless -size <= index < size."""
    found = np.asarray(indices).astype(np.int64)
    outside = (found < -size) | (found >= size)
    if outside.any():
        raise DomainError(
            "an index is out of range",
            where=where,
            expected=f"-{size} <= index < {size}",
            got=str(int(found[outside].ravel()[0])),
            fix="check the indices where the data is loaded",
        )
    return np.where(found < 0, found + size, found)


def gather(x: Array, indices: Array, axis: int) -> Array:
    """np.take along the axis; the indices are in range."""
    return np.take(x, indices, axis=axis)


def windows(
    x: Array,
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    low: Sequence[int],
    high: Sequence[int],
    value: Any,
) -> Array:
    """Every place of a sliding kernel over the last axes; padded positions hold `value`.

    Shapes   x: [*b, *sp] -> [*b, *out, *kernel], out = (sp + low + high - dilation (kernel - 1) - 1) // stride + 1
    """
    rank = len(kernel)
    lead = x.ndim - rank
    padded = pad(x, (0,) * lead + tuple(low), (0,) * lead + tuple(high), value)
    spans = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(padded, spans, axis=tuple(range(lead, x.ndim)))
    steps = (1,) * lead + tuple(stride) + tuple(dilation)
    return view[tuple(slice(None, None, s) for s in steps)]


def reduced_first(x: Array, axes: Sequence[int]) -> tuple[Array, tuple[int, ...]]:
    """The reduced axes joined in row-major order and put first, and the shape that is kept.

    Shapes   x: [*s] -> ([k, *kept], kept)
    """
    rank = x.ndim
    away = sorted(a % rank for a in axes)
    kept = [a for a in range(rank) if a not in away]
    shape = tuple(x.shape[a] for a in kept)
    count = int(np.prod([x.shape[a] for a in away], dtype=np.int64)) if away else 1
    return np.transpose(x, away + kept).reshape((count, *shape)), shape


def restored(x: Array, shape: tuple[int, ...], axes: Sequence[int], keepdims: bool) -> Array:
    """A reduction's result with its axes of size 1 put back where they are kept."""
    if not keepdims:
        return x
    away = {a % len(shape) for a in axes}
    return x.reshape(tuple(1 if i in away else n for i, n in enumerate(shape)))


def nonempty(count: int, where: str) -> None:
    """Raises DomainError for a fold that has no first element."""
    if count == 0:
        raise DomainError(
            "the largest of no values does not exist",
            where=where,
            expected="at least one element along the reduced axes",
            got="none",
            fix="reduce over an axis that is not empty",
        )
