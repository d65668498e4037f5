"""Windows: where the coefficients of a backward walk can be other than 0.

A value of an image reads a small part of the image before it. Rows that ask about a tile of values therefore have
coefficients in a window of each earlier image, which a convolution backward makes larger by its kernel. Only the window
is kept. A window is a range along each of the last two axes; None stands for the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from torchlean.ir import Node, TensorType

Window: TypeAlias = tuple[tuple[int, int], tuple[int, int]]

TILE = 4  # values along each axis of a tile
FEW = 64  # rows that are worth a walk of their own


def tiles(shape: tuple[int, ...], targets: NDArray[np.intp], most: int) -> list[NDArray[np.intp]]:
    """The targets, flat places in one box's value, in groups that lie together, of at most `most` each.

    shape   of the value, its boxes included; without two spatial axes the order is kept
    """
    if len(shape) < 4 or len(targets) <= FEW or min(shape[-2:]) <= TILE:
        return [targets[i : i + most] for i in range(0, len(targets), most)]
    y, x = targets // shape[-1] % shape[-2], targets % shape[-1]
    rows, columns = y // TILE, x // TILE
    columns = np.where(rows % 2 == 0, columns, columns.max() - columns)  # back and forth: neighbours follow each other
    tile = rows * (columns.max() + 1) + columns
    order = np.argsort(tile, kind="stable")
    groups: list[NDArray[np.intp]] = []
    start = 0
    for cut in [*(np.flatnonzero(np.diff(tile[order])) + 1).tolist(), len(targets)]:
        while cut - start >= min(FEW, most) or (cut == len(targets) and cut > start):
            stop = min(cut, start + most)
            groups.append(targets[order[start:stop]])
            start = stop
    return groups


def around(shape: tuple[int, ...], targets: NDArray[np.intp]) -> Window | None:
    """The window that the targets lie in; None where it would be most of the value."""
    if len(shape) < 4:
        return None
    y, x = targets // shape[-1] % shape[-2], targets % shape[-1]
    found = (int(y.min()), int(y.max()) + 1), (int(x.min()), int(x.max()) + 1)
    return found if 2 * prod(b - a for a, b in found) <= shape[-2] * shape[-1] else None


def one_hot(
    shape: tuple[int, ...], targets: NDArray[np.intp], signs: NDArray[np.float64], window: Window | None
) -> NDArray[np.float64]:
    """[R, *shape], cut to the window: a sign at each row's target, in every box, and zeros beside it."""
    sizes: tuple[int, ...] = shape
    if window is not None:
        (a, b), (c, d) = window
        image, (y, x) = targets // (shape[-1] * shape[-2]), np.divmod(targets % (shape[-1] * shape[-2]), shape[-1])
        targets = (image * (b - a) + y - a) * (d - c) + x - c
        sizes = (*shape[:-2], b - a, d - c)
    seed = np.zeros((len(targets), shape[0], prod(sizes[1:])))
    seed[np.arange(len(targets)), :, targets] = signs[:, None]
    return seed.reshape(len(targets), *sizes)


def cut(array: Any, window: Window | None, shape: tuple[int, ...]) -> Any:
    """The part of an array of this shape, with axes before it, that lies in the window."""
    if window is None:
        return array
    assert tuple(array.shape[-2:]) == shape[-2:]
    (a, b), (c, d) = window
    return array[..., a:b, c:d]


def whole(xp: Any, rows: Any, window: Window | None, shape: tuple[int, ...]) -> Any:
    """The rows with zeros around their window."""
    if window is None:
        return rows
    full = xp.zeros((*rows.shape[:-2], *shape[-2:]), dtype=rows.dtype, **_on(rows))
    (a, b), (c, d) = window
    full[..., a:b, c:d] = rows
    return full


def _on(rows: Any) -> dict[str, Any]:
    return {} if isinstance(rows, np.ndarray) else {"device": rows.device}


def union(first: Window, second: Window) -> Window:
    """The smallest window around both."""
    (a, b), (c, d) = ((min(p[0], q[0]), max(p[1], q[1])) for p, q in zip(first, second, strict=True))
    return (a, b), (c, d)


def moved(rows: Any, old: Window, new: Window, xp: Any) -> Any:
    """Rows of the window `old` as those of `new`, which holds it."""
    size = tuple(b - a for a, b in new)
    inner: Any = tuple((a - n, b - n) for (a, b), (n, _) in zip(old, new, strict=True))
    return rows if old == new else whole(xp, rows, inner, size)


def _typed(t: TensorType, window_size: Sequence[int]) -> TensorType:
    return t.with_shape((*t.shape[:-2], *window_size))


def convolved(
    node: Node, types: Sequence[TensorType], window: Window
) -> tuple[Node, tuple[TensorType, ...], Window, tuple[tuple[int, int], ...], Window]:
    """A convolution, or its transpose, as the same op without padding between windows.

    Returns   the node and types of the window; the window of the input it reads; how many zeros (negative: how many
              entries less) the rows get before and after along each axis; what of the result lies in the image
    """
    attrs: dict[str, Any] = dict(node.attributes)
    kernel = types[1].sizes[2:]
    old = types[0].sizes[-2:]
    spatial = zip(window, kernel, attrs["stride"], attrs["dilation"], attrs["padding"], old, strict=True)
    reads, adds, keeps, sizes, outs = [], [], [], [], []
    for (a, b), k, s, d, (low, _), n in spatial:
        reach = d * (k - 1)
        if node.op == "conv":
            first, last = a * s - low, (b - 1) * s - low + reach
            start, stop = max(first, 0), min(last + 1, n)
            keeps.append((start - first, stop - first))
            sizes.append(last + 1 - first)
            outs.append(b - a)
            adds.append((0, 0))
        else:
            start, stop = max(-(-(a + low - reach) // s), 0), min((b - 1 + low) // s + 1, n)
            first, last = start * s - low, (stop - 1) * s - low + reach
            keeps.append((0, stop - start))
            sizes.append(stop - start)
            outs.append(last + 1 - first)
            adds.append((a - first, last + 1 - b))
        reads.append((start, stop))
    attrs["padding"] = ((0, 0), (0, 0))
    if node.op == "conv_transpose":
        attrs["size"] = tuple(outs)
    result = replace(node, attrs=tuple(sorted(attrs.items())), types=(_typed(node.type, outs),))
    inner = (_typed(types[0], sizes), *types[1:])
    return result, inner, (reads[0], reads[1]), tuple(adds), (keeps[0], keeps[1])


def padded(xp: Any, rows: Any, adds: Sequence[tuple[int, int]]) -> Any:
    """The rows with zeros before and after along the last two axes; a negative number takes entries away."""
    (a, b), (c, d) = adds
    h, w = rows.shape[-2:]
    rows = rows[..., max(-a, 0) : h - max(-b, 0), max(-c, 0) : w - max(-d, 0)]
    if max(a, b, c, d) <= 0:
        return rows
    h, w = rows.shape[-2:]
    a, c = max(a, 0), max(c, 0)
    size = (a + h + max(b, 0), c + w + max(d, 0))
    return whole(xp, rows, ((a, a + h), (c, c + w)), size)


__all__ = ["Window", "around", "convolved", "cut", "moved", "one_hot", "padded", "tiles", "union", "whole"]
