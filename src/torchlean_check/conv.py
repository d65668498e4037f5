"""Convolutions as products: what each kernel position reads is one run of memory, whatever the batch.

The padded input is cut into phases, of places that agree modulo the strides, and each phase is flattened. Rows of
outputs are made as long as a phase's rows; so a kernel position reads one run of one phase, in the order of the
outputs. The surplus ends of those rows are left out on the way forth. On the way back they are 0, and it is the phases
that read: place P of one gets the outputs P - m, m being one of few shifts, each of which is again one run. The batch
comes last in memory, so that runs are long.
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

    sizes    of a phase
    rows     of the outputs, surplus included
    kept     the outputs in them
    taps     per kernel position: its phase, and its shift
    shifts   how far into a phase its run starts
    phases   those that are read, each: the part of the input that it has, and where that lies in it
    numbers  of all places modulo the strides, in order: of the phase there, -1 where none is read
    """

    sizes: tuple[int, ...]
    rows: tuple[int, ...]
    kept: Slices
    taps: tuple[tuple[int, int], ...]
    shifts: tuple[int, ...]
    phases: tuple[tuple[Slices, Slices], ...]
    numbers: tuple[int, ...]

    @staticmethod
    def of(c: Conv) -> Frame:
        axes = tuple(zip(c.in_shape[1:], c.pads, c.strides, strict=False))
        ends = [n + low + high - 1 for (n, low, _), high in zip(axes, c.pads[len(axes) :], strict=True)]
        sizes = tuple(end // s + 1 for end, s in zip(ends, c.strides, strict=True))
        taps = []
        places: dict[tuple[int, ...], int] = {}
        shifts: dict[tuple[int, ...], int] = {}
        for position in np.ndindex(*c.weight.shape[2:]):
            moved = [k * d for k, d in zip(position, c.dilations, strict=True)]
            rest = tuple(m % s for m, s in zip(moved, c.strides, strict=True))
            shift = tuple(m // s for m, s in zip(moved, c.strides, strict=True))
            taps.append((places.setdefault(rest, len(places)), shifts.setdefault(shift, len(shifts))))
        phases = []
        for rest in places:
            first = [(r - low) % s for r, (_, low, s) in zip(rest, axes, strict=True)]
            there = [slice(f, None, s) for f, s in zip(first, c.strides, strict=True)]
            at = [(f + low) // s for f, (_, low, s) in zip(first, axes, strict=True)]
            ends = [a + len(range(f, n, s)) for a, f, (n, _, s) in zip(at, first, axes, strict=True)]
            phases.append(((*ALL, *there), (slice(None), *map(slice, at, ends))))
        kept = (slice(None), *(slice(n) for n in c.out_shape[1:]))
        starts = tuple(sum(m * math.prod(sizes[i + 1 :]) for i, m in enumerate(shift)) for shift in shifts)
        numbers = tuple(places.get(rest, -1) for rest in np.ndindex(*c.strides))
        return Frame(sizes, (c.out_shape[1], *sizes[1:]), kept, tuple(taps), starts, tuple(phases), numbers)


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
    forward: tuple[Floats, ...] = field(init=False)  # per group [in channels * kernel, out channels]
    backward: tuple[Floats, ...] = field(init=False)  # per group [out channels * shifts, phases * in channels]
    frame: Frame = field(init=False)

    def __post_init__(self) -> None:
        frame = Frame.of(self)
        grouped = np.ascontiguousarray(self.weight).reshape(self.groups, -1, self.weight.shape[1], len(frame.taps))
        forward = tuple(np.ascontiguousarray(k.reshape(len(k), -1).T) for k in grouped)
        back = np.zeros((self.groups, grouped.shape[1], len(frame.shifts), len(frame.phases), self.weight.shape[1]))
        for k, (phase, shift) in enumerate(frame.taps):
            back[:, :, shift, phase] = grouped[..., k]
        backward = tuple(k.reshape(-1, len(frame.phases) * self.weight.shape[1]) for k in back)
        for name, value in (("forward", forward), ("backward", backward), ("frame", frame)):
            object.__setattr__(self, name, value)

    def apply(self, x: Floats, product: Multiply) -> Floats:
        y = np.empty((len(x), *self.out_shape))
        for part in _parts(len(x), self.in_shape[0] * len(self.frame.taps) * math.prod(self.frame.rows)):
            self._forth(x[part].reshape(-1, *self.in_shape), y[part], product)
        return y.reshape(len(x), -1)

    def transpose(
        self, rows: Floats, product: Multiply, columns: Ints | None = None, wanted: Ints | None = None
    ) -> Floats:
        """columns: the outputs that rows have, others being 0; wanted: the inputs that are asked for (None: all)."""
        f = self.frame
        chosen = None if wanted is None else self._phased(wanted)
        y = np.zeros((len(rows), math.prod(self.in_shape) if chosen is None else len(chosen)))
        places = None if columns is None else self._framed(columns)
        for part in _parts(len(rows), self.out_shape[0] * len(f.shifts) * math.prod(f.sizes)):
            self._back(rows[part], y[part], product, places, chosen)
        return y if wanted is None or chosen is not None else y.take(wanted, axis=1)

    def back(self, rows: Floats, columns: Ints | None, product: Multiply) -> Part:
        if columns is None:
            return self.transpose(rows, product), None
        part = cut(self, *window(columns, self.out_shape))
        if part is None:
            return nothing(rows)
        return part.conv.transpose(place(rows, columns, part.outputs), product), part.inputs

    def _forth(self, x: Floats, y: Floats, product: Multiply) -> None:
        f, batch, run, size = self.frame, len(x), math.prod(self.frame.rows), math.prod(self.frame.sizes)
        image = np.zeros((len(f.phases), self.in_shape[0], max(size, max(f.shifts) + run), batch))
        for phase, (there, here) in zip(image, f.phases, strict=True):
            phase[:, :size].reshape(-1, *f.sizes, batch)[here] = _last(x[there])
        columns = np.empty((self.in_shape[0], len(f.taps), run, batch))
        for k, (at, shift) in enumerate(f.taps):
            columns[:, k] = image[at, :, f.shifts[shift] : f.shifts[shift] + run]
        flat = columns.reshape(self.groups, -1, run * batch)
        for i, weight in enumerate(self.forward):
            found = product(flat[i].T, weight).T.reshape(-1, *f.rows, batch)
            y[:, i * len(found) : (i + 1) * len(found)] = _first(found[f.kept])

    def _back(self, rows: Floats, y: Floats, product: Multiply, places: Ints | None, chosen: Ints | None) -> None:
        f, batch, run, first = self.frame, len(rows), math.prod(self.frame.sizes), max(self.frame.shifts)
        framed = np.zeros((self.out_shape[0], first + run, batch))
        if places is None:
            framed[:, first:].reshape(-1, *f.sizes, batch)[f.kept] = _last(rows.reshape(-1, *self.out_shape))
        else:
            framed.reshape(-1, batch)[places] = rows.T
        columns = np.empty((self.out_shape[0], len(f.shifts), run, batch))
        for k, shift in enumerate(f.shifts):
            columns[:, k] = framed[:, first - shift : first - shift + run]
        flat, per = columns.reshape(self.groups, -1, run * batch), self.in_shape[0] // self.groups
        image = y.reshape(-1, *self.in_shape) if chosen is None else y
        for i, weight in enumerate(self.backward):
            found = product(flat[i].T, weight).T
            if chosen is None:
                phases = found.reshape(len(f.phases), per, *f.sizes, batch)
                for phase, (there, here) in zip(phases, f.phases, strict=True):
                    image[:, i * per : (i + 1) * per][there] = _first(phase[here])
            else:
                image[:] = found.reshape(-1, batch)[chosen].T

    def _framed(self, outputs: Ints) -> Ints:
        """Where some outputs lie in the frame of `_back`."""
        f, (channel, *spots) = self.frame, np.unravel_index(outputs, self.out_shape)
        first, place = max(f.shifts), np.ravel_multi_index(tuple(spots), f.sizes)
        found: Ints = channel * (first + math.prod(f.sizes)) + first + place
        return found

    def _phased(self, inputs: Ints) -> Ints | None:
        """Where some inputs lie among the phases of `_back`; None where there are groups, or some lie in none."""
        f, (channel, *spots) = self.frame, np.unravel_index(inputs, self.in_shape)
        padded = [spot + pad for spot, pad in zip(spots, self.pads, strict=False)]
        rest, place = zip(*(np.divmod(p, s)[::-1] for p, s in zip(padded, self.strides, strict=True)), strict=True)
        phase = np.array(f.numbers)[np.ravel_multi_index(rest, self.strides)]
        if self.groups > 1 or (phase < 0).any():
            return None
        at = np.ravel_multi_index(place, f.sizes)
        found: Ints = (phase * self.in_shape[0] + channel) * math.prod(f.sizes) + at
        return found

    def absolute(self) -> Conv:
        return replace(self, weight=np.abs(self.weight))

    def count(self) -> Conv:
        """With 1 for every weight that is not 0: it counts the products of a sum, without those of the padding."""
        return replace(self, weight=(self.weight != 0.0).astype(np.float64))

    def leaves(self) -> Floats:
        return self.count().apply(np.ones((1, math.prod(self.in_shape))), np.matmul)[0]

    @property
    def depth(self) -> int:
        return max(math.prod(self.weight.shape[1:]), max(map(len, self.backward)))


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


def _last(x: Floats) -> Floats:
    """With the first axis last."""
    return x.transpose(*range(1, x.ndim), 0)


def _first(x: Floats) -> Floats:
    return x.transpose(-1, *range(x.ndim - 1))


def _parts(batch: int, each: int) -> list[slice]:
    step = max(1, CHUNK // each)
    return [slice(at, at + step) for at in range(0, batch, step)]


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
