"""Branch and bound over inputs: batched boxes, last in first out, bounds inherited from the parent.

Everything here is a guess in float32 that the checker's kernel repeats in float64 before it counts.

Shapes   N open boxes, B boxes of a chunk, n inputs, C clauses, H entries of all layers together
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from torchlean.bounds.dense import Stack, Walk

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

SHRUNK = 0.9999  # of the volume; a box that keeps more has not been shrunk
SHARE = 0.3  # of a chunk; where fewer boxes shrink, the proof repeats only those
FLOOR = 0.05  # a coordinate without influence still counts this share of the largest, so that it is split at last


class Recorder(Protocol):
    """Where splits are written down: the certificate's tree builder."""

    def split(self, nodes: Ints, axis: Ints, at: F64 | None = None, flags: int = 0) -> tuple[Ints, Ints]: ...

    def flag(self, nodes: Ints, flags: int) -> None: ...


@dataclass
class Front:
    """Open boxes: nodes of the tree, their boxes, what is known of every layer in them, and the clauses left.

    Shapes   nodes: [N]   lo, hi: [N, n]   below, above: [N, H]   open: [N, C]
    """

    nodes: Ints
    lo: F64
    hi: F64
    below: F32
    above: F32
    open: Bools

    def __len__(self) -> int:
        return len(self.nodes)

    def take(self, index: Ints | slice) -> Front:
        return Front(*(getattr(self, name)[index] for name in _FIELDS))


_FIELDS = ("nodes", "lo", "hi", "below", "above", "open")


class Pile:
    """A stack of open boxes in arrays that grow by doubling."""

    def __init__(self, front: Front) -> None:
        self._arrays = {name: getattr(front, name).copy() for name in _FIELDS}
        self.size = len(front)

    def push(self, front: Front) -> None:
        end = self.size + len(front)
        for name, array in self._arrays.items():
            if len(array) < end:
                larger = np.empty((max(2 * len(array), end, 256), *array.shape[1:]), array.dtype)
                larger[: self.size] = array[: self.size]
                self._arrays[name] = array = larger
            array[self.size : end] = getattr(front, name)
        self.size = end

    def pop(self, count: int) -> Front:
        start = max(0, self.size - count)
        front = Front(*(self._arrays[name][start : self.size].copy() for name in _FIELDS))
        self.size = start
        return front

    def take_half(self) -> Front:
        """Every second box leaves the pile: those that stay and those that go are alike."""
        whole = self.pop(self.size)
        self.push(whole.take(slice(0, None, 2)))
        return whole.take(slice(1, None, 2))


@dataclass
class Counts:
    """What a search did: boxes bounded, leaves closed, and the deepest margin seen."""

    boxes: int = 0
    leaves: int = 0


class Search:
    """One region's search. `step` bounds a chunk and splits what stays open.

    chunk    boxes at a time      stack, row_clause    the layers and forms; row_clause: [R] the clause of each form
    """

    def __init__(
        self, stack: Stack, row_clause: Ints, clauses: int, recorder: Recorder, flags: int, chunk: int = 128
    ) -> None:
        self.stack, self.recorder, self.flags = stack, recorder, flags
        self.row_clause = row_clause
        self.clause_rows = [np.flatnonzero(row_clause == c) for c in range(clauses)]
        self.walk = Walk(stack)
        self.chunk = chunk
        ends = np.cumsum((0, *stack.sizes))
        self._slices = [slice(int(a), int(b)) for a, b in pairwise(ends)]
        self.hidden = int(ends[-1])
        self.counts = Counts()
        self.candidates: F64 | None = None  # points of the last chunk that look violating
        self.smallest: tuple[F64, F64] | None = None  # the narrowest box of the last chunk that stayed open

    @np.errstate(all="ignore")  # an overflow closes no box, and what closed is derived again in float64
    def step(self, pile: Pile) -> None:
        """Bound the topmost boxes; close, shrink or split them."""
        front = pile.pop(self.chunk)
        self.counts.boxes += len(front)
        center, radius = _center(front.lo, front.hi)
        below = [np.ascontiguousarray(front.below[:, s]) for s in self._slices]
        above = [np.ascontiguousarray(front.above[:, s]) for s in self._slices]
        lines, largest = self.walk.tighten(center, radius, below, above)
        rows = np.flatnonzero(np.logical_or.reduce(front.open, axis=0)[self.row_clause])
        margin, form = self.walk.objective(center, radius, lines, largest, rows)
        for c in range(len(self.clause_rows)):
            at = np.flatnonzero(self.row_clause[rows] == c)
            if at.size:
                front.open[:, c] &= ~(margin[:, at] > 0).any(axis=1)
        left = np.flatnonzero(front.open.any(axis=1))
        self.counts.leaves += len(front) - len(left)
        self.candidates = self.smallest = None
        if not left.size:
            return
        narrow = left[(front.hi[left] - front.lo[left]).sum(axis=1).argmin()]
        self.smallest = front.lo[narrow].copy(), front.hi[narrow].copy()
        front, margin, form = front.take(left), margin[left], form[left]
        lo, hi, score, point = self._aim(front, margin, form, self.row_clause[rows])
        self.candidates = point
        kept = self._worth(front, lo, hi)
        at = np.flatnonzero(kept)
        self.recorder.flag(front.nodes[at], self.flags)
        for k, s in enumerate(self._slices):
            front.below[at, s], front.above[at, s] = below[k][left[at]], above[k][left[at]]
        lo, hi = np.where(kept[:, None], lo, front.lo), np.where(kept[:, None], hi, front.hi)
        self._split(pile, front, lo, hi, score, margin.max(axis=1))

    def _worth(self, front: Front, lo: F64, hi: F64) -> Bools:
        """Which boxes the proof should derive and shrink before it splits them; the children of the others start from
        what
        these started from. Where nothing shrinks, bounding inner boxes costs more than it saves. Shapes: -> [B]
        """
        width = front.hi - front.lo
        ratio = np.where(width > 0, (hi - lo) / np.where(width > 0, width, 1), 1).prod(axis=1)
        shrunk = ratio < SHRUNK
        return np.ones_like(shrunk) if shrunk.mean() > SHARE else np.asarray(shrunk)

    def _aim(self, front: Front, margin: F32, form: F32, clause: Ints) -> tuple[F64, F64, F32, F64]:
        """Shrunk boxes, split scores, and the corner where the best form of the worst clause is least."""
        width = (front.hi - front.lo).astype(np.float32)
        low = np.full(front.lo.shape, np.inf)
        high = np.full(front.lo.shape, -np.inf)
        weight = np.zeros(width.shape, np.float32)
        size = np.abs(form)
        steep = np.where(size > 0, size, np.float32(1))
        # {form x + offset <= 0} cuts coordinate j at -least / |form_j| from the end where the form is least.
        reach = np.where(
            size > 0,
            np.minimum(-margin[:, :, None] / steep * np.float32(1 + 2.0**-18), width[:, None, :]),
            width[:, None, :],
        )
        reach = np.maximum(reach, 0)
        every = np.arange(len(front))
        worst = np.zeros(len(front), np.intp)
        worst_margin = np.full(len(front), np.inf, np.float32)
        for c in range(front.open.shape[1]):
            at = np.flatnonzero(clause == c)
            if not at.size:
                continue
            is_open = front.open[:, c]
            rising = form[:, at] > 0
            up = np.where(rising, reach[:, at], width[:, None, :]).min(axis=1)
            down = np.where(rising, width[:, None, :], reach[:, at]).min(axis=1)
            new_hi = np.where(up < width, front.lo + up, front.hi)
            new_lo = np.where(down < width, front.hi - down, front.lo)
            empty = np.logical_or.reduce(new_lo > new_hi, axis=1)
            new_lo, new_hi = np.where(empty[:, None], front.lo, new_lo), np.where(empty[:, None], front.hi, new_hi)
            low = np.where(is_open[:, None], np.minimum(low, new_lo), low)
            high = np.where(is_open[:, None], np.maximum(high, new_hi), high)
            best = at[margin[:, at].argmax(axis=1)]
            weight = np.where(is_open[:, None], np.maximum(weight, size[every, best]), weight)
            closer = is_open & (margin[every, best] < worst_margin)
            worst = np.where(closer, best, worst)
            worst_margin = np.where(closer, margin[every, best], worst_margin)
        low, high = np.maximum(low, front.lo), np.minimum(high, front.hi)
        share = np.maximum(weight, FLOOR * weight.max(axis=1, keepdims=True))
        score = share * (high - low).astype(np.float32)
        point = np.where(form[every, worst] > 0, low, high)
        return low, high, score, point

    def _split(self, pile: Pile, front: Front, lo: F64, hi: F64, score: F32, margin: F32) -> None:
        axis = score.argmax(axis=1)
        at = np.flatnonzero(score[np.arange(len(front)), axis] > 0)
        if at.size < len(front):  # a point: left to the kernel
            front, lo, hi, axis, margin = front.take(at), lo[at], hi[at], axis[at], margin[at]
        every = np.arange(len(front))
        middle = 0.5 * (lo[every, axis] + hi[every, axis])
        left, right = self.recorder.split(front.nodes, axis, None)
        high, low = hi.copy(), lo.copy()
        high[every, axis] = middle
        low[every, axis] = middle
        order = np.argsort(-margin, kind="stable")  # the least margin on top
        a = Front(left, lo, high, front.below, front.above, front.open)
        b = Front(right, low, hi, front.below, front.above, front.open)
        both = np.stack([order, order + len(front)], axis=1).ravel()
        pile.push(_join(a, b).take(both))


def _join(a: Front, b: Front) -> Front:
    return Front(*(np.concatenate([getattr(a, name), getattr(b, name)]) for name in _FIELDS))


def _center(lo: F64, hi: F64) -> tuple[F32, F32]:
    """Float32 middle and half width of each box; the half width covers the middle's rounding."""
    center = (0.5 * (lo + hi)).astype(np.float32)
    radius = np.maximum(hi - center, center - lo) * (1 + 2.0**-22)
    return center, radius.astype(np.float32)
