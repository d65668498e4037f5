"""The carrier of the interval systems: a range per element, and the exact parts (integers, bools, structure)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from torchlean.errors import UsageError
from torchlean.floats.entries import LARGE
from torchlean.frozen import frozen
from torchlean.meaning.dtypes import AnyDType, integer_range, kind_of, name_of

Array: TypeAlias = NDArray[Any]
Bool: TypeAlias = NDArray[np.bool_]


@frozen(eq=False)
class Fold:
    """What a float sum was made of, so that a bias added next can take part in its order.

    lo, hi                             [*s] ends of the exact sum
    weighted, leaves, weights, inputs  [*s] the arguments of floats.any_order_bound
    """

    lo: Array
    hi: Array
    weighted: Array
    leaves: Array
    weights: Array
    inputs: Array

    def move(self, f: Callable[[Array], Array]) -> Fold:
        return Fold(f(self.lo), f(self.hi), f(self.weighted), f(self.leaves), f(self.weights), f(self.inputs))


@frozen(eq=False)
class Ranges:
    """What each element may be: any value of [lo, hi], both ends included, or NaN where `nan` says so.

    lo, hi   [*s]: float64 for float dtypes, int64 for integers, bool for bools (lo: certainly true, hi: may be true)
    nan      [*s] bool: may be NaN, or undefined over the reals
    dtype    numpy name of the declared dtype
    fold     in IntervalFloat, for a sum that only moved since
    """

    lo: Array
    hi: Array
    nan: Bool
    dtype: str
    fold: Fold | None = field(default=None, repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.lo.shape)

    @property
    def may_be_true(self) -> Bool:
        return self.hi.astype(bool)

    @property
    def may_be_false(self) -> Bool:
        return ~self.lo.astype(bool)

    def contains(self, values: Array) -> Bool:
        """Whether each value is one of those allowed. Exact for floats of at most 64 bits."""
        values = np.asarray(values)
        if kind_of(self.dtype) != "float":
            return np.asarray((self.lo <= values) & (values <= self.hi))
        wide = values.astype(np.float64)
        return np.asarray(np.where(np.isnan(wide), self.nan, (self.lo <= wide) & (wide <= self.hi)))

    def move(self, f: Callable[[Array], Array]) -> Ranges:
        """The same structural step on each array. Ends that are one array stay one: these are points."""
        lo = f(self.lo)
        hi = lo if self.hi is self.lo else f(self.hi)
        return Ranges(lo, hi, f(self.nan), self.dtype, self.fold and self.fold.move(f))


class Points(Ranges):
    """The elements of an array of float32 or float64, each as the range of itself. The ends are made when they are
    asked for: of a large matrix they take longer than a product that only looks where it is not 0.
    """

    source: Array

    def __init__(self, source: Array) -> None:
        for name, value in (("source", source), ("dtype", source.dtype.name)):
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        if name not in ("lo", "hi", "nan"):
            raise AttributeError(name)
        made = ends_of(self.source)
        for end in ("lo", "hi", "nan"):
            object.__setattr__(self, end, getattr(made, end))
        return getattr(made, name)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.source.shape)

    def move(self, f: Callable[[Array], Array]) -> Ranges:
        return Points(f(self.source))


_CARRIERS = {"float": np.float64, "int": np.int64, "bool": np.bool_}


def enclose(lo: Array, hi: Array, dtype: AnyDType, nan: Bool | None = None) -> Ranges:
    """Ranges from their ends. Raises UsageError for NaN ends or lo > hi."""
    carrier = _CARRIERS[kind_of(dtype)]
    low, high = np.broadcast_arrays(np.asarray(lo, carrier), np.asarray(hi, carrier))
    if not bool((low <= high).all()):
        raise UsageError(
            "an interval needs lo <= hi, and no NaN",
            where="enclose",
            expected="lo <= hi at every element",
            got=f"{int((~(low <= high)).sum())} elements where it fails",
            fix="order the ends; for a value that may be NaN pass nan=",
        )
    flags = np.zeros(low.shape, bool) if nan is None else np.broadcast_to(np.asarray(nan, bool), low.shape)
    return Ranges(low, high, flags, name_of(dtype))


def of_array(array: Array) -> Ranges:
    """Each element as the range of itself; a NaN is any value or NaN."""
    array = np.asarray(array)
    large = array.ndim == 2 and array.size >= LARGE and array.dtype in (np.float32, np.float64)
    return Points(array) if large else ends_of(array)


def ends_of(array: Array) -> Ranges:
    """The same with its ends."""
    kind = kind_of(array.dtype)
    values: Array = array.astype(_CARRIERS[kind])
    if kind != "float":
        return Ranges(values, values, np.zeros(values.shape, bool), array.dtype.name)
    nan = np.isnan(values)
    if not nan.any():
        return Ranges(values, values, nan, array.dtype.name)
    return Ranges(np.where(nan, -np.inf, values), np.where(nan, np.inf, values), nan, array.dtype.name)


def settle_integers(lo: Array, hi: Array, approximate_lo: Array, approximate_hi: Array, dtype: str) -> Ranges:
    """An integer result. Where it may leave the dtype's range it may wrap, so it may be anything.

    lo, hi                      int64 results, wrapped where they overflow
    approximate_lo, _hi         the same in float64, which tell where they did
    """
    low, high = integer_range(dtype)
    safe = (np.abs(approximate_lo) < 2.0**62) & (np.abs(approximate_hi) < 2.0**62) & (lo >= low) & (hi <= high)
    return Ranges(np.where(safe, lo, low), np.where(safe, hi, high), np.zeros(np.shape(lo), bool), dtype)


def corners(f: Callable[[Array, Array], Array], x: Ranges, y: Ranges) -> tuple[Array, Array]:
    """Smallest and largest of f at the four pairs of ends."""
    with np.errstate(all="ignore"):
        four = [f(a, b) for a in (x.lo, x.hi) for b in (y.lo, y.hi)]
    return (
        np.minimum(np.minimum(four[0], four[1]), np.minimum(four[2], four[3])),
        np.maximum(np.maximum(four[0], four[1]), np.maximum(four[2], four[3])),
    )


def integer_arithmetic(f: Callable[[Array, Array], Array], x: Ranges, y: Ranges) -> Ranges:
    """add, sub or mul of integer ranges: each is monotone in each operand for the other fixed."""
    lo, hi = corners(f, x, y)
    wide_x = Ranges(x.lo.astype(np.float64), x.hi.astype(np.float64), x.nan, x.dtype)
    wide_y = Ranges(y.lo.astype(np.float64), y.hi.astype(np.float64), y.nan, y.dtype)
    near_lo, near_hi = corners(f, wide_x, wide_y)
    return settle_integers(lo, hi, near_lo, near_hi, x.dtype)


def hull(parts: Sequence[Ranges]) -> Ranges:
    """The smallest ranges that contain each part. All of one shape."""
    lo, hi, nan = parts[0].lo, parts[0].hi, parts[0].nan
    for part in parts[1:]:
        lo, hi, nan = np.minimum(lo, part.lo), np.maximum(hi, part.hi), nan | part.nan
    return Ranges(lo, hi, nan, parts[0].dtype)


def winners(x: Ranges, axis: int) -> Ranges:
    """The range of positions that may hold the first largest value, or the first NaN."""
    best = np.max(x.lo, axis=axis, keepdims=True)
    # A value that may be NaN may win; where no value is certain not to be NaN, the others' ends decide nothing more.
    possible = (x.hi >= best) | x.nan
    count = x.shape[axis]
    first = np.argmax(possible, axis=axis)
    last = count - 1 - np.argmax(np.flip(possible, axis=axis), axis=axis)
    return Ranges(first.astype(np.int64), last.astype(np.int64), np.zeros(first.shape, bool), "int64")
