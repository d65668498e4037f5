"""What the interval systems do to the shape of ranges: each step acts on every array of the carrier."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from torchlean.meaning import structure
from torchlean.meaning.dtypes import literal_array
from torchlean.meaning.ranges import Fold, Ranges, hull

Operand: TypeAlias = "Ranges | NDArray[Any] | float | int"


class RangeStructure(ABC):
    """The structural operations of a number system whose carrier is Ranges."""

    @abstractmethod
    def constant(self, array: NDArray[Any]) -> Ranges:
        """Each element as a range."""

    def _lift(self, x: Operand) -> Ranges:
        return x if isinstance(x, Ranges) else self.constant(np.asarray(x))

    def reshape(self, x: Ranges, shape: Sequence[int]) -> Ranges:
        return x.move(lambda a: np.reshape(a, tuple(shape)))

    def permute(self, x: Ranges, axes: Sequence[int]) -> Ranges:
        return x.move(lambda a: structure.permute(a, axes))

    def broadcast(self, x: Ranges, shape: Sequence[int]) -> Ranges:
        return x.move(lambda a: np.broadcast_to(a, tuple(shape)))

    def slice(self, x: Ranges, starts: Sequence[int], stops: Sequence[int], steps: Sequence[int]) -> Ranges:
        return x.move(lambda a: structure.slice_axes(a, starts, stops, steps))

    def concat(self, xs: Sequence[Ranges], axis: int) -> Ranges:
        def join(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
            return np.concatenate(list(parts), axis=axis)

        folds = [x.fold for x in xs if x.fold is not None]
        fold = None
        if len(folds) == len(xs):
            fold = Fold(*(join([getattr(f, part.name) for f in folds]) for part in fields(Fold)))
        return Ranges(join([x.lo for x in xs]), join([x.hi for x in xs]), join([x.nan for x in xs]), xs[0].dtype, fold)

    def _filled(self, x: Ranges, value: float, f: Callable[[NDArray[Any], Any], NDArray[Any]]) -> Ranges:
        """A structural step that brings in a constant."""
        filling = self.constant(literal_array(value, x.dtype))
        return Ranges(f(x.lo, filling.lo), f(x.hi, filling.hi), f(x.nan, filling.nan), x.dtype)

    def pad(self, x: Ranges, low: Sequence[int], high: Sequence[int], value: float) -> Ranges:
        return self._filled(x, value, lambda a, v: structure.pad(a, low, high, v))

    def windows(
        self,
        x: Ranges,
        kernel: Sequence[int],
        stride: Sequence[int],
        dilation: Sequence[int],
        low: Sequence[int],
        high: Sequence[int],
        value: float,
    ) -> Ranges:
        return self._filled(
            x, value, lambda a, v: structure.windows(a, kernel, stride, dilation, low, high, v)
        )

    def gather(self, x: Ranges, indices: Operand, axis: int) -> Ranges:
        """By a range of indices: the hull of what it can reach. Out of range: may be NaN, and is clamped."""
        found, size = self._lift(indices), x.shape[axis]
        outside = (found.lo < -size) | (found.hi >= size)
        first, last = np.clip(found.lo, -size, size - 1), np.clip(found.hi, -size, size - 1)
        reached = []
        for offset in range(int((last - first).max(initial=0)) + 1):
            at = np.minimum(first + offset, last) % size
            reached.append(x.move(lambda a, at=at: structure.gather(a, at, axis)))  # type: ignore[misc]
        result = hull(reached)
        flags = outside.reshape(outside.shape + (1,) * (len(x.shape) - axis % len(x.shape) - 1))
        return Ranges(result.lo, result.hi, np.asarray(result.nan | flags), x.dtype)


__all__ = ["Operand", "RangeStructure"]
