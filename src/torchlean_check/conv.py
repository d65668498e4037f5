"""Convolutions as products: what each kernel position reads is one run of memory, whatever the batch.

The padded input is cut into phases, of places that agree modulo the strides, and each phase is flattened. Rows of
outputs are made as long as a phase's rows; so a kernel position reads one run of one phase, in the order of the
outputs. The surplus ends of those rows are 0 on the way back, and left out on the way forth.
"""

from __future__ import annotations

import math
from copy import copy
from dataclasses import field, replace
from functools import lru_cache

import numpy as np

from torchlean_check.frozen import frozen
from torchlean_check.sparse import Floats, Ints, Multiply, Part, nothing

Slices = tuple[slice, ...]
ALL = slice(None), slice(None)  # of the first two axes: channels and the batch
CHUNK = 1 << 18  # entries of a product at once: few enough for the cache


@frozen
class Frame:
    """Where things lie.

    sizes    of a phase, one more than it needs along the first axis, so that surplus reads stay inside
    rows     of the outputs, surplus included
    kept     the outputs in them
    taps     per kernel position: its phase, and where its run starts
    phases   those that are read, each: the part of the input that it has, and where that lies in it
    """

    sizes: tuple[int, ...]
    rows: tuple[int, ...]
    kept: Slices
    taps: tuple[tuple[int, int], ...]
    phases: tuple[tuple[Slices, Slices], ...]

    @staticmethod
    def of(c: Conv) -> Frame:
        axes = tuple(zip(c.in_shape[1:], c.pads, c.strides, strict=False))
        ends = [n + low + high - 1 for (n, low, _), high in zip(axes, c.pads[len(axes) :], strict=True)]
        sizes = tuple(end // s + 1 + (i == 0) for i, (end, s) in enumerate(zip(ends, c.strides, strict=True)))
        taps = []
        places: dict[tuple[int, ...], int] = {}
        for position in np.ndindex(*c.weight.shape[2:]):
            moved = [k * d for k, d in zip(position, c.dilations, strict=True)]
            rest = tuple(m % s for m, s in zip(moved, c.strides, strict=True))
            places.setdefault(rest, len(places))
            start = 0
            for m, s, size in zip(moved, c.strides, sizes, strict=True):
                start = start * size + m // s
            taps.append((places[rest], start))
        phases = []
        for rest in places:
            first = [(r - low) % s for r, (_, low, s) in zip(rest, axes, strict=True)]
            there = [slice(f, None, s) for f, s in zip(first, c.strides, strict=True)]
            at = [(f + low) // s for f, (_, low, s) in zip(first, axes, strict=True)]
            ends = [a + len(range(f, n, s)) for a, f, (n, _, s) in zip(at, first, axes, strict=True)]
            phases.append(((*ALL, *there), (*ALL, *map(slice, at, ends))))
        kept = (*ALL, *(slice(n) for n in c.out_shape[1:]))
        return Frame(sizes, (c.out_shape[1], *sizes[1:]), kept, tuple(taps), tuple(phases))


@frozen(eq=False)
class Conv:
    """ONNX Conv on one image: cross-correlation with zero padding, 1 to 3 spatial axes.

    Shapes  weight: [out channels, in channels / groups, *kernel]; in_shape, out_shape: (channels, *spatial)
            pads: (low per axis, high per axis), as ONNX writes them
    """

    weight: Floats
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    groups: int
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    kernels: tuple[Floats, ...] = field(init=False)  # per group [out channels, in channels * kernel]
    forward: tuple[Floats, ...] = field(init=False)
    frame: Frame = field(init=False)

    def __post_init__(self) -> None:
        grouped = np.ascontiguousarray(self.weight).reshape(self.groups, self.out_shape[0] // self.groups, -1)
        object.__setattr__(self, "kernels", tuple(np.ascontiguousarray(k) for k in grouped))
        object.__setattr__(self, "forward", tuple(np.ascontiguousarray(k.T) for k in grouped))
        object.__setattr__(self, "frame", Frame.of(self))

    def apply(self, x: Floats, product: Multiply) -> Floats:
        y = np.empty((len(x), *self.out_shape))
        for part in self._parts(len(x)):
            self._forth(x[part].reshape(-1, *self.in_shape), y[part], product)
        return y.reshape(len(x), -1)

    def transpose(self, rows: Floats, product: Multiply) -> Floats:
        y = np.zeros((len(rows), *self.in_shape))
        for part in self._parts(len(rows)):
            self._back(rows[part].reshape(-1, *self.out_shape), y[part], product)
        return y.reshape(len(rows), -1)

    def back(self, rows: Floats, columns: Ints | None, product: Multiply) -> Part:
        if columns is None:
            return self.transpose(rows, product), None
        part = cut(self, *window(columns, self.out_shape))
        if part is None:
            return nothing(rows)
        return part.conv.transpose(place(rows, columns, part.outputs), product), part.inputs

    def _parts(self, batch: int) -> list[slice]:
        step = max(1, CHUNK // (self.in_shape[0] * len(self.frame.taps) * math.prod(self.frame.rows)))
        return [slice(at, at + step) for at in range(0, batch, step)]

    def _forth(self, x: Floats, y: Floats, product: Multiply) -> None:
        f, batch, run = self.frame, len(x), math.prod(self.frame.rows)
        image = np.zeros((len(f.phases), self.in_shape[0], batch, *f.sizes))
        for phase, (there, here) in zip(image, f.phases, strict=True):
            phase[here] = x[there].swapaxes(0, 1)
        image = image.reshape(len(f.phases), self.in_shape[0], batch, -1)
        columns = np.empty((self.in_shape[0], len(f.taps), batch, run))
        for k, (at, start) in enumerate(f.taps):
            columns[:, k] = image[at, :, :, start : start + run]
        flat = columns.reshape(self.groups, -1, batch * run)
        for i, weight in enumerate(self.forward):
            found = product(flat[i].T, weight).T.reshape(-1, batch, *f.rows)
            y[:, i * len(found) : (i + 1) * len(found)] = found[f.kept].swapaxes(0, 1)

    def _back(self, rows: Floats, y: Floats, product: Multiply) -> None:
        f, batch, run, per = self.frame, len(rows), math.prod(self.frame.rows), self.in_shape[0] // self.groups
        framed = np.zeros((self.out_shape[0], batch, *f.rows))
        framed[f.kept] = rows.swapaxes(0, 1)
        flat = framed.reshape(self.groups, -1, batch * run)
        image = np.zeros((len(f.phases), self.groups, per, batch, math.prod(f.sizes)))
        for i, weight in enumerate(self.kernels):
            found = product(flat[i].T, weight).T.reshape(per, -1, batch, run)
            for k, (at, start) in enumerate(f.taps):
                image[at, i, :, :, start : start + run] += found[:, k]
        phases = image.reshape(len(f.phases), self.in_shape[0], batch, *f.sizes)
        for phase, (there, here) in zip(phases, f.phases, strict=True):
            y[there] = phase[here].swapaxes(0, 1)

    def absolute(self) -> Conv:
        return replace(self, weight=np.abs(self.weight))

    def count(self) -> Conv:
        """With 1 for every weight that is not 0: it counts the products of a sum, without those of the padding."""
        return replace(self, weight=(self.weight != 0.0).astype(np.float64))

    def leaves(self) -> Floats:
        return self.count().apply(np.ones((1, math.prod(self.in_shape))), np.matmul)[0]

    @property
    def depth(self) -> int:
        return math.prod(self.weight.shape[1:]) + self.weight.shape[0] + math.prod(self.weight.shape[2:])


@frozen(eq=False)
class Turned:
    """The transpose of a convolution, as ONNX's ConvTranspose has it: its `out_shape` is what this map reads."""

    conv: Conv

    def apply(self, x: Floats, product: Multiply) -> Floats:
        return self.conv.transpose(x, product)

    def transpose(self, rows: Floats, product: Multiply) -> Floats:
        return self.conv.apply(rows, product)

    def back(self, rows: Floats, columns: Ints | None, product: Multiply) -> Part:
        if columns is None:
            return self.transpose(rows, product), None
        part = cut(self.conv, *readers(self.conv, *window(columns, self.conv.in_shape)))
        if part is None:
            return nothing(rows)
        return part.conv.apply(place(rows, columns, part.inputs), product), part.outputs

    def absolute(self) -> Turned:
        return Turned(self.conv.absolute())

    def leaves(self) -> Floats:
        return self.conv.count().transpose(np.ones((1, math.prod(self.conv.out_shape))), np.matmul)[0]

    @property
    def depth(self) -> int:
        return self.conv.depth


# -- windows ---------------------------------------------------------------------------------------------------------
# All channels of an image at the spots first <= spot < last. Coefficients that are 0 outside of a window are carried
# back through the part of the convolution that meets it.

Spots = tuple[int, ...]


def window(entries: Ints, shape: tuple[int, ...]) -> tuple[Spots, Spots]:
    """The least window that holds these entries of a value."""
    spots = np.unravel_index(entries, shape)[1:]
    return tuple(int(s.min()) for s in spots), tuple(int(s.max()) + 1 for s in spots)


def readers(c: Conv, first: Spots, last: Spots) -> tuple[Spots, Spots]:
    """A window of outputs that holds all which read this window of inputs: output o reads o s - p + d j, 0 <= j < k."""
    low, high = [], []
    for axis, (s, p, d) in enumerate(zip(c.strides, c.pads, c.dilations, strict=False)):
        reach = d * (c.weight.shape[2 + axis] - 1)
        low.append(max(0, -((reach - first[axis] - p) // s)))
        high.append(min(c.out_shape[1 + axis], (last[axis] - 1 + p) // s + 1))
    return tuple(low), tuple(high)


@frozen(eq=False)
class Piece:
    """A convolution of a window of the inputs to one of the outputs, and which entries these are, ascending."""

    conv: Conv
    inputs: Ints
    outputs: Ints


@lru_cache(1 << 8)
def cut(c: Conv, first: Spots, last: Spots) -> Piece | None:
    """The same sums for a window of the outputs, from all inputs that they read; None where they read none.

    Outputs first to last - 1 read from first s - p to (last - 1) s - p + d (k - 1); what of that lies outside of the
    image is 0, as the padding of the piece is.
    """
    there, low, high = [], [], []
    for axis, (s, p, d) in enumerate(zip(c.strides, c.pads, c.dilations, strict=False)):
        start, end = first[axis] * s - p, (last[axis] - 1) * s - p + d * (c.weight.shape[2 + axis] - 1) + 1
        there.append(slice(max(start, 0), min(end, c.in_shape[1 + axis])))
        low.append(there[-1].start - start)
        high.append(end - there[-1].stop)
    here = [slice(*ends) for ends in zip(first, last, strict=True)]
    if any(at.start >= at.stop for at in (*there, *here)):
        return None
    inputs, outputs = (
        np.arange(math.prod(shape)).reshape(shape)[(slice(None), *at)]
        for shape, at in ((c.in_shape, there), (c.out_shape, here))
    )
    part = copy(c)  # with the same arrays of weights
    for name, value in (("in_shape", inputs.shape), ("out_shape", outputs.shape), ("pads", (*low, *high))):
        object.__setattr__(part, name, value)
    object.__setattr__(part, "frame", Frame.of(part))
    return Piece(part, inputs.reshape(-1), outputs.reshape(-1))


def place(rows: Floats, columns: Ints, entries: Ints) -> Floats:
    """Columns as entries that ascend; those that are none of these are left out."""
    at = np.searchsorted(entries, columns)
    kept = entries.take(at, mode="clip") == columns
    y = np.zeros((len(rows), len(entries)))
    y[:, at[kept]] = rows[:, kept]
    return y
