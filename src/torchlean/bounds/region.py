"""Input regions, with exact bounds.

A region is a set of real points. Its bounds are exact rationals: a float means its exact binary value, a string such as
"0.1" or a Fraction means that decimal. Nothing is rounded until somebody asks for floats, and then outward.

Source   SEMANTICS.md, sections 2 and 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from fractions import Fraction
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchlean.bounds.exact import (
    F32,
    F64,
    Number,
    both_roundings32,
    directed64,
    exact,
    exact_values,
    exceeds,
    shape_error,
    show,
)
from torchlean.errors import DataError, ShapeError, UsageError
from torchlean.frozen import frozen


class Membership(StrEnum):
    """Where a float32 point lies, as a witness reports it.

    EXACT    inside the region
    ROUNDED  in the hull, and outside the region only in coordinates whose interval holds no float32 at all
    OUTSIDE  anywhere else
    """

    EXACT = "exact"
    ROUNDED = "rounded"
    OUTSIDE = "outside"


@frozen
class Box:
    """All real points x with lo[i] <= x[i] <= hi[i]; closed, bounded and never empty.

    Shapes   lo, hi: one Fraction per coordinate, row-major over `shape`
    Errors   ShapeError when the counts differ; DataError where lo > hi
    """

    lo: tuple[Fraction, ...]
    hi: tuple[Fraction, ...]
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        size = prod(self.shape)
        if not len(self.lo) == len(self.hi) == size:
            raise ShapeError(
                "a box needs one lower and one upper bound for each coordinate",
                where="Box(lo, hi, shape)",
                expected=f"{size} bounds each, because shape is {self.shape}",
                got=f"{len(self.lo)} lower and {len(self.hi)} upper bounds",
                fix="give lo, hi and shape of one size",
            )
        for i, (lo, hi) in enumerate(zip(self.lo, self.hi, strict=True)):
            if exceeds(lo, hi):
                raise DataError(
                    "a box must not be empty",
                    where=f"coordinate {i}",
                    expected="lo <= hi",
                    got=f"lo = {show(lo)} and hi = {show(hi)}",
                    fix="swap the bounds, or correct the one that is wrong",
                )

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return len(self.lo)

    def flatten(self) -> Box:
        """The same box with shape [size]."""
        return self.reshape((self.size,))

    def reshape(self, shape: Sequence[int]) -> Box:
        """The same bounds, row-major, under another shape of the same size.

        Errors   ShapeError when the sizes differ
        """
        if prod(shape) != self.size:
            raise ShapeError(
                "a reshape keeps the number of coordinates",
                where="Box.reshape",
                expected=f"a shape of {self.size} coordinates, because the box is {list(self.shape)}",
                got=f"{list(shape)}",
                fix="give the shape that the network's input has",
            )
        return _unchecked(self.lo, self.hi, tuple(int(n) for n in shape))

    def narrow(self, bounds: Mapping[int, tuple[Fraction | None, Fraction | None]]) -> Box | None:
        """The part of the box where each listed coordinate also lies in (lo, hi), None being no bound.

        Returns  the smaller box, `self` when nothing changed, None when nothing is left
        """
        lo, hi, changed = list(self.lo), list(self.hi), False
        for i, (low, high) in bounds.items():
            if not 0 <= i < len(lo):
                raise shape_error("a bound names an input that is not there", f"an index below {len(lo)}", i)
            if low is not None and low > lo[i]:
                lo[i], changed = low, True
            if high is not None and high < hi[i]:
                hi[i], changed = high, True
            if lo[i] > hi[i]:
                return None
        return _unchecked(tuple(lo), tuple(hi), self.shape) if changed else self

    def contains_exact(self, x: Sequence[Number] | NDArray[Any]) -> bool:
        """Whether the real point x, read exactly, is in the box. NaN and infinities never are.

        Shapes   x: `shape`, or [size]
        """
        values = np.asarray(x)
        if values.dtype.kind == "f":
            _same_size(values, self)
            if not np.isfinite(values).all():
                return False
        point, _ = exact_values(x, "x")
        _same_size(np.empty(len(point), bool), self)
        return all(lo <= v <= hi for lo, v, hi in zip(self.lo, point, self.hi, strict=True))

    def hull32(self) -> tuple[F32, F32]:
        """The float32 hull: [RD(lo), RU(hi)], so every coordinate holds at least one float32.

        Shapes   -> two read-only arrays of `shape`
        Errors   DomainError where a bound is beyond the largest float32
        """
        return self._rounded[0], self._rounded[3]

    def outer64(self) -> tuple[F64, F64]:
        """Float64 bounds that enclose both the region and its float32 hull (they are the hull's).

        Shapes   -> two read-only arrays of `shape`
        """
        return self._outer64

    def real64(self) -> tuple[F64, F64]:
        """The tightest float64 bounds that enclose the region alone: [RD64(lo), RU64(hi)].

        Shapes   -> two arrays of `shape`
        """
        lo = [directed64(v, up=False) for v in self.lo]
        hi = [directed64(v, up=True) for v in self.hi]
        return np.array(lo, np.float64).reshape(self.shape), np.array(hi, np.float64).reshape(self.shape)

    def membership(self, x: NDArray[Any]) -> Membership:
        """Where the float32 point x lies: in the region, in its hull only by rounding, or outside.

        Shapes   x: `shape` or [size], float32 (other dtypes must hold float32 values)
        Errors   DataError where x holds a value that is not a float32
        """
        point = _as_float32(x, self).reshape(self.shape)
        low, first, last, high = self._rounded  # RD(lo), RU(lo), RD(hi), RU(hi)
        inside = (first <= point) & (point <= last)
        empty = ~(first <= last)
        rounded = empty & (low <= point) & (point <= high)
        if bool(inside.all()):
            return Membership.EXACT
        return Membership.ROUNDED if bool((inside | rounded).all()) else Membership.OUTSIDE

    def floats32(self) -> tuple[F32, F32]:
        """The float32 points a witness should keep to: inside the region where it holds any, else the hull.

        Shapes   -> two read-only arrays of `shape`; every point between them is EXACT or ROUNDED
        """
        return self._floats32

    @cached_property
    def _rounded(self) -> tuple[F32, F32, F32, F32]:
        """RD(lo), RU(lo), RD(hi), RU(hi) as float32 arrays of `shape`."""
        lo_down, lo_up = both_roundings32(self.lo)
        same = self.lo is self.hi
        hi_down, hi_up = (lo_down, lo_up) if same else both_roundings32(self.hi)
        arrays = [a.reshape(self.shape) for a in (lo_down, lo_up, hi_down, hi_up)]
        for a in arrays:
            a.flags.writeable = False
        return arrays[0], arrays[1], arrays[2], arrays[3]

    @cached_property
    def _outer64(self) -> tuple[F64, F64]:
        low, high = (a.astype(np.float64) for a in self.hull32())
        low.flags.writeable = high.flags.writeable = False
        return low, high

    @cached_property
    def _floats32(self) -> tuple[F32, F32]:
        low, first, last, high = self._rounded
        some = first <= last
        lo, hi = np.where(some, first, low), np.where(some, last, high)
        lo.flags.writeable = hi.flags.writeable = False
        return lo, hi


def box(
    center: Any = None,
    eps: Any = None,
    *,
    lo: Any = None,
    hi: Any = None,
    relative: Any = None,
    only: Iterable[int] | None = None,
    clip: tuple[Number, Number] | None = None,
) -> Box:
    """A box around a point, or between two.

    box(center, eps)                            center - eps <= x <= center + eps
    box(center, relative=0.05)                  within 5 % of each coordinate's magnitude
    box(center, relative=0.05, only=[3, 4])     only these coordinates move; the others are pinned
    box(lo=[0, "-0.1"], hi=[1, "0.1"])          between two points
    clip=(0, 1)                                 cut with [0, 1] in every coordinate

    Numbers may be floats (their exact value), ints, Fractions, decimal strings, and arrays or lists of them.
    Shapes   center, lo, hi: any one shape; eps, relative: a number or that shape; only: indices, row-major
    Errors   UsageError for a mix of the forms; DataError for NaN, infinity, lo > hi; ShapeError for shapes
    """
    if (center is None) == (lo is None and hi is None) or (lo is None) != (hi is None):
        raise UsageError(
            "a box is given by a center or by two ends",
            where="box()",
            expected="box(center, eps), box(center, relative=r) or box(lo=..., hi=...)",
            got=_given(center=center, eps=eps, relative=relative, lo=lo, hi=hi),
            fix="give one of these forms",
        )
    if center is None:
        if eps is not None or relative is not None or only is not None:
            raise UsageError(
                "eps, relative and only go with a center",
                where="box()",
                expected="box(lo=..., hi=...) alone, or with clip",
                got=_given(eps=eps, relative=relative, only=only),
                fix="give a center instead of lo and hi, or drop these arguments",
            )
        low, shape = exact_values(lo, "lo")
        high, other = exact_values(hi, "hi")
        if shape != other:
            raise shape_error("lo and hi must have one shape", f"hi: {list(shape)}, as lo", list(other))
    else:
        low, high, shape = _around(center, eps, relative, only)
    if clip is not None:
        low, high = _clipped(low, high, clip)
    return Box(tuple(low), tuple(high), shape)


def _around(
    center: Any, eps: Any, relative: Any, only: Iterable[int] | None
) -> tuple[list[Fraction], list[Fraction], tuple[int, ...]]:
    middle, shape = exact_values(center, "center")
    if (eps is None) == (relative is None):
        raise UsageError(
            "a box around a center needs one radius",
            where="box()",
            expected="eps or relative, and not both",
            got=_given(eps=eps, relative=relative),
            fix="box(center, eps) or box(center, relative=0.05)",
        )
    name = "eps" if relative is None else "relative"
    radius, radius_shape = exact_values(eps if relative is None else relative, name)
    if radius_shape == ():
        radius = radius * len(middle)
    elif radius_shape != shape:
        raise shape_error(f"{name} must be a number or as large as center", f"{list(shape)}", list(radius_shape))
    for i, r in enumerate(radius):
        if r < 0:
            raise DataError(
                "a radius must not be negative",
                where=f"{name}[{i}]",
                expected="a number >= 0",
                got=show(r),
                fix="give its magnitude",
            )
    if relative is not None:
        radius = [r * abs(m) for r, m in zip(radius, middle, strict=True)]
    if only is not None:
        moving = _indices(only, len(middle))
        radius = [r if i in moving else Fraction(0) for i, r in enumerate(radius)]
    low = [m - r for m, r in zip(middle, radius, strict=True)]
    high = [m + r for m, r in zip(middle, radius, strict=True)]
    return low, high, shape


def _indices(only: Iterable[int], size: int) -> set[int]:
    chosen = [int(i) for i in only]
    for i in chosen:
        if not 0 <= i < size:
            raise UsageError(
                "only names a coordinate that is not there",
                where="box(only=...)",
                expected=f"indices from 0 to {size - 1}",
                got=str(i),
                fix="for a table, only=table.columns(name, ...)",
            )
    return set(chosen)


def _clipped(
    low: list[Fraction], high: list[Fraction], clip: tuple[Number, Number]
) -> tuple[list[Fraction], list[Fraction]]:
    floor, ceiling = exact(clip[0], "clip[0]"), exact(clip[1], "clip[1]")
    return [max(v, floor) for v in low], [min(v, ceiling) for v in high]


def _as_float32(x: NDArray[Any], region: Box) -> F32:
    values = np.asarray(x)
    _same_size(values, region)
    single = values.astype(np.float32)
    if not bool((single == values).all()):
        i = int(np.flatnonzero(~(single == values).ravel())[0])
        raise DataError(
            "a witness is a float32 point",
            where=f"x[{i}]",
            expected="a finite float32 value",
            got=str(values.ravel()[i]),
            fix="round the point to float32 first: x.astype(np.float32)",
        )
    return single


def _same_size(values: NDArray[Any], region: Box) -> None:
    if values.shape not in (region.shape, (region.size,)):
        raise shape_error(
            "a point must have the region's shape",
            f"{list(region.shape)} or [{region.size}]",
            list(values.shape),
        )


def _unchecked(lo: tuple[Fraction, ...], hi: tuple[Fraction, ...], shape: tuple[int, ...]) -> Box:
    """A Box whose bounds are known to be in order: skips the check of every coordinate."""
    made = object.__new__(Box)
    made.__dict__.update(lo=lo, hi=hi, shape=shape)
    return made


def _given(**arguments: object) -> str:
    return ", ".join(name for name, value in arguments.items() if value is not None) or "nothing"
