"""The linear walk on a stack of dense layers: the fast path of the search.

A stack is z_0 = W_0 x + b_0, z_k = W_k a_{k-1} + b_k, with a_k = relu(z_k) where `gate[k]` says so and a_k = z_k
elsewhere (a value that a later layer reads passes through such a linear entry). The walk is the one of `linear.py`; it
differs in what it does not compute. Rows are made only for neurons that some box of the chunk leaves unstable, columns
only for neurons that some box leaves alive, and buffers are reused. Its results guide a search: nothing here is a
proof.

Shapes   B boxes, R rows, n_k entries of layer k
Floats   float32; what an execution and this walk may add to z_k is rate_k (|W_k| max|a| + |b_k|), with the magnitudes
         of each
         box itself; it is charged as SEMANTICS 3 says
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Bools = NDArray[np.bool_]

_ZERO = np.float32(0)


@dataclass(frozen=True)
class Layer:
    """z = weight a + bias, of which `gate` marks the entries that pass a relu. Its error box is rate (size max|a| +
    |bias|).

    Shapes   weight, size: [n, m], size >= |weight|   bias, rate: [n]   gate: [n] bool
    """

    weight: F32
    size: F32
    bias: F32
    rate: F32
    gate: Bools


@dataclass(frozen=True)
class Rows:
    """The linear forms g = weight a_last + direct x + bias whose lower bounds are wanted.

    Shapes   weight, size: [R, n_last]   direct: [R, inputs]   bias, rate: [R]
    """

    weight: F32
    size: F32
    direct: F32
    bias: F32
    rate: F32


@dataclass(frozen=True)
class Stack:
    """Layers from the input on, and the forms that a property asks about."""

    layers: tuple[Layer, ...]
    rows: Rows
    inputs: int

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(len(layer.bias) for layer in self.layers)


@dataclass
class Lines:
    """One layer's relaxation on a chunk, restricted to the columns that are alive in some box.

    Crossing it turns coefficients A on a into A * below + min(A, 0) * gap on z, and adds
    A . base + min(A, 0) . slack to the offset (bias, error and the chord's bias together).
    Shapes   columns: [c]   below, gap: [B, 1, c]   base, slack: [B, c, 1]   weight: [c, columns of the layer before]
    """

    columns: NDArray[np.intp]
    below: F32
    gap: F32
    base: F32
    slack: F32
    weight: F32


class Walk:
    """Bounds of one chunk of boxes at a time; owns its buffers."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self._widest = max((*stack.sizes, stack.inputs))
        self._buffers = [np.empty(0, np.float32) for _ in range(3)]
        self._across = [np.ascontiguousarray(layer.weight.T) for layer in stack.layers]
        self._sizes = [np.ascontiguousarray(layer.size.T) for layer in stack.layers]

    def tighten(self, center: F32, radius: F32, lo: list[F32], hi: list[F32]) -> tuple[list[Lines], F32]:
        """Tighten in place the boxes of every layer's z on the chunk; its lines, and the last layer's largest |a|.

        Shapes   center, radius: [B, inputs]   lo[k], hi[k]: [B, n_k]   -> [B, n_last]
        """
        lines: list[Lines] = []
        columns: NDArray[np.intp] = np.arange(self.stack.inputs)
        middle, half = center, radius
        largest = np.abs(center) + radius
        for k, layer in enumerate(self.stack.layers):
            error = (largest @ self._sizes[k] + np.abs(layer.bias)) * layer.rate
            value = middle @ self._across[k] + layer.bias
            reach = half @ self._sizes[k] + error
            np.maximum(lo[k], value - reach, out=lo[k])
            np.minimum(hi[k], value + reach, out=hi[k])
            if k:
                self._tighten_rows(k, center, radius, lines, error, lo[k], hi[k])
            lines.append(relax(layer, columns, error, lo[k], hi[k]))
            columns = lines[-1].columns
            below = np.where(layer.gate, np.maximum(lo[k], _ZERO), lo[k])
            above = np.where(layer.gate, np.maximum(hi[k], _ZERO), hi[k])
            largest = np.maximum(above, -below)
            middle, half = (below + above) * np.float32(0.5), (above - below) * np.float32(0.5)
        return lines, largest

    def objective(
        self, center: F32, radius: F32, lines: list[Lines], largest: F32, rows: NDArray[np.intp]
    ) -> tuple[F32, F32]:
        """Lower bounds of the asked forms, and their coefficients on x.

        Shapes   rows: [r] -> margin [B, r], form [B, r, inputs]
        """
        asked = self.stack.rows
        weight = np.ascontiguousarray(asked.weight[rows][:, lines[-1].columns])
        bias = asked.bias[rows]
        error = (largest @ asked.size[rows].T + np.abs(bias)) * asked.rate[rows]
        form, offset = self._back(weight, bias - error, lines)
        form = form + asked.direct[rows]
        return _least(form, offset, center, radius), form

    def _tighten_rows(self, k: int, center: F32, radius: F32, lines: list[Lines], error: F32, lo: F32, hi: F32) -> None:
        layer = self.stack.layers[k]
        unstable = np.flatnonzero(((lo < 0) & (hi > 0)).any(axis=0) & layer.gate)
        if not unstable.size:
            return
        part, bias, error = layer.weight[unstable][:, lines[-1].columns], layer.bias[unstable], error[:, unstable]
        offset = np.concatenate([bias - error, -bias - error], axis=1)
        form, offset = self._back(np.concatenate([part, -part]), offset, lines)
        least = _least(form, offset, center, radius)
        r = len(unstable)
        lo[:, unstable] = np.maximum(lo[:, unstable], least[:, :r])
        hi[:, unstable] = np.minimum(hi[:, unstable], -least[:, r:])

    def _back(self, weight: F32, offset: F32, lines: list[Lines]) -> tuple[F32, F32]:
        """Cross every layer of `lines` from the last: rows on a_last become rows on x. `offset` is used up.

        Shapes   weight: [R, columns of the last line]   offset: [B, R] -> form [B, R, inputs], offset [B, R]
        """
        boxes, rows = offset.shape
        space = boxes * rows * self._widest
        if len(self._buffers[0]) < space:
            self._buffers = [np.empty(space, np.float32) for _ in range(3)]
        here, there, low = self._buffers
        a = here[: boxes * weight.size].reshape(boxes, *weight.shape)
        a[...] = weight
        for line in reversed(lines):
            least = low[: a.size].reshape(a.shape)
            np.minimum(a, _ZERO, out=least)
            offset += (a @ line.base)[:, :, 0]
            offset += (least @ line.slack)[:, :, 0]
            a *= line.below
            least *= line.gap
            a += least
            width = line.weight.shape[1]
            out = there[: boxes * rows * width].reshape(boxes * rows, width)
            np.matmul(a.reshape(boxes * rows, -1), line.weight, out=out)
            a = out.reshape(boxes, rows, width)
            here, there = there, here
        return a, offset


def relax(layer: Layer, before: NDArray[np.intp], error: F32, lo: F32, hi: F32) -> Lines:
    """The layer's lines on each box: relu's chord above, slope 0 or 1 below (Zhang et al. 2018, arXiv:1811.00866).

    Shapes   before: columns of the layer below   error, lo, hi: [B, n]
    """
    alive = (hi > 0).any(axis=0) | ~layer.gate
    columns = np.flatnonzero(alive)
    lo, hi, gate = lo[:, columns], hi[:, columns], layer.gate[columns]
    linear = (lo >= 0) | ~gate
    unstable = (lo < 0) & (hi > 0) & gate
    chord = np.where(unstable, hi / np.where(unstable, hi - lo, np.float32(1)), linear).astype(np.float32)
    below = np.where(unstable, hi > -lo, linear).astype(np.float32)
    gap = chord - below
    bias, error = layer.bias[columns], error[:, columns]
    base = below * (bias - error)
    slack = np.where(unstable, -chord * lo, _ZERO) + (below + chord) * error + gap * bias
    return Lines(
        columns, below[:, None, :], gap[:, None, :], base[:, :, None], slack[:, :, None],
        np.ascontiguousarray(layer.weight[columns][:, before]),
    )  # fmt: skip


def _least(form: F32, offset: F32, center: F32, radius: F32) -> F32:
    """The least value of form x + offset on each box. Shapes: [B, R, n], [B, R], [B, n] -> [B, R]"""
    return np.asarray(
        offset + (form @ center[:, :, None])[:, :, 0] - (np.abs(form) @ radius[:, :, None])[:, :, 0], np.float32
    )
