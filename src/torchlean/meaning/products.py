"""The left fold of a product of matrices: acc = acc + x[m, k] * w[n, k], from +0, two roundings a step.

numpy's einsum runs this very fold in its compiled loops, k outside and n inside, without a pass for the products. How
its loops were compiled (fused multiply-add or not) and how it orders its axes are not promised, so a probe holds them
against the definition, once a process and dtype; where it fails, the definition itself runs, pass by pass.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Value: TypeAlias = NDArray[Any]
Fold: TypeAlias = Callable[[Value, Value, Value], None]  # left [k, *s, m], right [k, *s, n], out [*s, m, n], written to

_COLUMNS = 2048  # of a block of running sums, and
_BLOCK = 4096  # its elements: 16 KiB of float32, which stay in the first-level cache
_PROBES = ((1, 2, 9), (1, 300, 40), (2, 3, 17), (3, 37, 65), (5, 67, 33), (16, 256, 40), (2, 2048, 20))  # m, n, k


def dot_into(x: Value, w: Value, out: Value) -> None:
    """The fold by blocks of m and n. The longer of m and n is the inner axis, along which numpy loops.

    Shapes   x: [*s, m, k], w: [*s, n, k], out: [*s, m, n], not empty; k at least 1
    """
    m, n = x.shape[-2], w.shape[-2]
    if m > n:
        x, w, out = w, x, np.swapaxes(out, -1, -2)
        m, n = n, m
    x, w = (a.reshape((1,) * (out.ndim - a.ndim) + a.shape) for a in (x, w))
    left, right = (np.require(np.moveaxis(a, -1, 0), requirements=("C", "A")) for a in (x, w))  # [k, *s, m], [k, *s, n]
    # An inner axis of length 1 would be dropped, and the loop would run, perhaps reordered, along k.
    fold = by_einsum if n > 1 and folds_left(out.dtype.char) else by_passes
    columns = min(n, _COLUMNS)
    rows = max(1, min(m, _BLOCK // columns))
    for c in range(0, n, columns):
        c = min(c, n - columns)  # the last block is as wide as the others, and repeats what it overlaps
        for r in range(0, m, rows):
            running = np.zeros((*out.shape[:-2], len(range(m)[r : r + rows]), columns), out.dtype)
            fold(left[..., r : r + rows], right[..., c : c + columns], running)
            out[..., r : r + rows, c : c + columns] = running


def dot_of_entries(x: Value, few: tuple[Any, Any, Value], out: Value) -> None:
    """The same bits, where x is finite: from +0 on, adding a product that is +0 or -0 changes no sum.

    few      `floats.entries.entries` of w
    Shapes   x: [m, k], out: [m, n], zeros, written to
    """
    row, column, value = few
    turn = np.arange(len(row)) - np.searchsorted(row, row)  # each output's terms come in their order
    for t in range(int(turn.max(initial=-1)) + 1):
        at = turn == t
        out[:, row[at]] += x[:, column[at]] * value[at]


def by_passes(left: Value, right: Value, out: Value) -> None:
    """The definition: a pass for the products of each k, and one for the sums."""
    out[...] = 0
    product = np.empty_like(out)
    for a, b in zip(left, right, strict=True):
        np.multiply(a[..., :, None], b[..., None, :], out=product)
        np.add(out, product, out=out)


def by_einsum(left: Value, right: Value, out: Value) -> None:
    """The same bits where `folds_left` holds and n is at least 2."""
    np.einsum("k...m,k...n->...mn", left, right, out=out)


@cache
def folds_left(char: str) -> bool:
    """Whether einsum gave the bits of the definition on the probes, for a dtype of this character.

    The probes cover blocks with and without remainders of a vector, rows at odd addresses, and leading axes; on each,
    a fused or reordered sum differs somewhere. Only binary32 and binary64 are tried: others go through wider sums.
    """
    if char not in "fd":
        return False
    rng = np.random.default_rng(0)
    for m, n, depth in _PROBES:
        for lead in ((), (3,)):
            # Uniform numbers: normal ones take longer than all else.
            left, right = ((rng.random((depth, *lead, k + 1), np.dtype(char)) - 0.5)[..., 1:] for k in (m, n))
            expected, found = np.empty((*lead, m, n), char), np.empty((*lead, m, n), char)
            by_passes(left, right, expected)
            by_einsum(left, right, found)
            if expected.tobytes() != found.tobytes():
                return False
    return True
