"""IntervalReal: enclosures of the real meaning, and what IntervalFloat shares with it.

Ends are float64, rounded outward by `floats.interval`; no processor rounding mode is used. An infinite end may be
attained; the may-be-NaN bit also stands for "undefined over the reals".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from torchlean import floats
from torchlean.floats import Rounding
from torchlean.floats.interval import ends
from torchlean.floats.interval.matrix import matmul_ends, sparse_ends
from torchlean.meaning import structure
from torchlean.meaning.dtypes import AnyDType, cast_array, integer_range, kind_of, literal_array, name_of, round_array
from torchlean.meaning.float_system import divide_integers
from torchlean.meaning.interval_structure import Operand, RangeStructure
from torchlean.meaning.ranges import Points, Ranges, corners, enclose, integer_arithmetic, of_array, winners

F64: TypeAlias = NDArray[np.float64]


class IntervalReal(RangeStructure):
    """Number system that encloses the real meaning.

    Carrier   Ranges; numpy integer and bool arrays are taken as ranges of one value
    Sound     every value that Real gives at points of the operands lies in the result; where Real raises DomainError,
              the may-be-NaN bit is set
    """

    name = "interval(real)"
    zero: float = 0.0
    one: float = 1.0

    # sources

    def constant(self, array: NDArray[Any]) -> Ranges:
        return self._source(of_array(array))

    def literal(self, x: float | int | bool, like: Ranges) -> Ranges:
        return self.constant(literal_array(x, like.dtype))

    def enclose(self, lo: Any, hi: Any, dtype: AnyDType = "float32", nan: Any = None) -> Ranges:
        """The ranges [lo, hi]. Raises UsageError for NaN or lo > hi."""
        return self._source(enclose(lo, hi, dtype, nan))

    def shape(self, x: Ranges) -> tuple[int, ...]:
        return x.shape

    def dtype(self, x: Ranges) -> str:
        return x.dtype

    # what IntervalFloat does differently

    def _source(self, x: Ranges) -> Ranges:
        return x

    def _rounded(self, name: str, lo: F64, hi: F64, nan: Any, dtype: str) -> Ranges:
        """The result of one operation whose exact value lies in [lo, hi]."""
        return Ranges(np.asarray(lo), np.asarray(hi), np.broadcast_to(nan, np.shape(lo)), dtype)

    def _folded(self, x: Ranges, weighted: Any, leaves: Any, weights: Any, inputs: Any) -> Ranges:
        """The result of a fold whose exact value lies in x; the rest are the arguments of `any_order_bound`."""
        return x

    def _divided_by_zero(self, x: Ranges) -> Any:
        """Where a division by a range that holds 0 may be undefined."""
        return np.True_

    # elementwise

    def _pair(self, x: Operand, y: Operand) -> tuple[Ranges, Ranges]:
        if isinstance(x, Ranges):
            typed = isinstance(y, Ranges | np.ndarray)
            return x, self._lift(y) if typed else self.constant(literal_array(y, x.dtype))  # type: ignore[arg-type]
        if isinstance(y, Ranges):
            typed = isinstance(x, np.ndarray)
            return self._lift(x) if typed else self.constant(literal_array(x, y.dtype)), y  # type: ignore[arg-type]
        return self.constant(np.asarray(x, np.float32)), self.constant(np.asarray(y, np.float32))

    def _is_float(self, x: Ranges) -> bool:
        return kind_of(x.dtype) == "float"

    def add(self, x: Operand, y: Operand) -> Ranges:
        a, b = self._pair(x, y)
        if not self._is_float(a):
            return integer_arithmetic(np.add, a, b)
        clash = ((a.hi == np.inf) & (b.lo == -np.inf)) | ((a.lo == -np.inf) & (b.hi == np.inf))
        lo, hi = _defined(*ends.add(a.lo, a.hi, b.lo, b.hi))
        return self._rounded("add", lo, hi, a.nan | b.nan | clash, a.dtype)

    def sub(self, x: Operand, y: Operand) -> Ranges:
        a, b = self._pair(x, y)
        if not self._is_float(a):
            return integer_arithmetic(np.subtract, a, b)
        if a is b:
            zero = np.zeros(a.shape)
            return Ranges(zero, zero, a.nan | np.isinf(a.lo) | np.isinf(a.hi), a.dtype)
        return self.add(a, self.neg(b))

    def mul(self, x: Operand, y: Operand) -> Ranges:
        """x * x is never negative: the two operands being one value, not two equal ones, is what tells."""
        a, b = self._pair(x, y)
        if not self._is_float(a):
            return integer_arithmetic(np.multiply, a, b)
        if a is b:
            return self._rounded("mul", *ends.square(a.lo, a.hi), a.nan, a.dtype)
        nan = a.nan | b.nan | (holds_zero(a) & _holds_infinity(b)) | (_holds_infinity(a) & holds_zero(b))
        return self._rounded("mul", *ends.mul(a.lo, a.hi, b.lo, b.hi), nan, a.dtype)

    def div(self, x: Operand, y: Operand) -> Ranges:
        """Through zero: anything. Undefined there over the reals; over floats only where 0/0 or inf/inf may be."""
        a, b = self._pair(x, y)
        if not self._is_float(a):
            return _divide_integer_ranges(a, b)
        through = holds_zero(b)
        nan = a.nan | b.nan | (_holds_infinity(a) & _holds_infinity(b)) | (through & self._divided_by_zero(a))
        lo, hi = ends.div(a.lo, a.hi, np.where(through, 1.0, b.lo), np.where(through, 1.0, b.hi))
        return self._rounded("div", np.where(through, -np.inf, lo), np.where(through, np.inf, hi), nan, a.dtype)

    def neg(self, x: Ranges) -> Ranges:
        if not self._is_float(x):
            return integer_arithmetic(np.subtract, of_array(np.zeros(x.shape, x.dtype)), x)
        return Ranges(-x.hi, -x.lo, x.nan, x.dtype)

    def abs(self, x: Ranges) -> Ranges:
        if self._is_float(x):
            return Ranges(*ends.magnitudes(x.lo, x.hi), x.nan, x.dtype)
        return self.maximum(x, self.neg(x))

    def sqrt(self, x: Ranges) -> Ranges:
        return self._function("sqrt", x, floor=0.0)

    def maximum(self, x: Operand, y: Operand) -> Ranges:
        a, b = self._pair(x, y)
        return Ranges(np.maximum(a.lo, b.lo), np.maximum(a.hi, b.hi), np.asarray(a.nan | b.nan), a.dtype)

    def minimum(self, x: Operand, y: Operand) -> Ranges:
        a, b = self._pair(x, y)
        return Ranges(np.minimum(a.lo, b.lo), np.minimum(a.hi, b.hi), np.asarray(a.nan | b.nan), a.dtype)

    def floor(self, x: Ranges) -> Ranges:
        return Ranges(np.floor(x.lo), np.floor(x.hi), x.nan, x.dtype) if self._is_float(x) else x

    def round(self, x: Ranges) -> Ranges:
        return Ranges(np.rint(x.lo), np.rint(x.hi), x.nan, x.dtype) if self._is_float(x) else x

    def cast(self, x: Ranges, dtype: AnyDType) -> Ranges:
        """Between float dtypes the identity here, one rounding in IntervalFloat. To integers: toward zero, clamped."""
        name, kind = name_of(dtype), kind_of(dtype)
        if kind == "bool":
            zero, may_be_zero = (x.lo == 0) & (x.hi == 0) & ~x.nan, (x.lo <= 0) & (x.hi >= 0)
            return Ranges(~may_be_zero, np.asarray(~zero), np.zeros(x.shape, bool), name)
        if kind == "float":
            if self._is_float(x):
                return self._rounded("cast", x.lo, x.hi, x.nan, name)
            return self._rounded("cast", *_integer_ends(x), False, name)
        low, high = integer_range(dtype)
        if self._is_float(x):
            first, last = (cast_array(end, dtype).astype(np.int64) for end in (x.lo, x.hi))
            first, last = np.where(x.nan, np.minimum(first, 0), first), np.where(x.nan, np.maximum(last, 0), last)
            return Ranges(first, last, np.zeros(x.shape, bool), name)
        fits = (x.lo.astype(np.int64) >= low) & (x.hi.astype(np.int64) <= high)
        first, last = np.where(fits, x.lo, low), np.where(fits, x.hi, high)
        return Ranges(first.astype(np.int64), last.astype(np.int64), np.zeros(x.shape, bool), name)

    def round_to(self, x: Ranges, dtype: AnyDType) -> Ranges:
        """Rounding to nearest is monotone: the ends are rounded."""
        if not self._is_float(x):
            return x
        if kind_of(dtype) == "int":
            lo, hi = round_array(x.lo, dtype), round_array(x.hi, dtype)
            lo, hi = np.where(x.nan, np.minimum(lo, 0), lo), np.where(x.nan, np.maximum(hi, 0), hi)
            return self._rounded("cast", lo, hi, False, x.dtype)
        lo, hi = round_array(x.lo, dtype), round_array(x.hi, dtype)
        beyond = np.isnan(lo) | np.isnan(hi)  # a grid without infinities
        largest = floats.format_of(name_of(dtype)).max
        lo = np.where(np.isnan(lo), np.copysign(largest, x.lo), lo)
        hi = np.where(np.isnan(hi), np.copysign(largest, x.hi), hi)
        return self._rounded("cast", lo, hi, x.nan | beyond, x.dtype)

    def _truth(self, surely: Any, maybe: Any) -> Ranges:
        surely, maybe = np.asarray(surely), np.asarray(maybe)
        return Ranges(surely, maybe, np.zeros(surely.shape, bool), "bool")

    def less(self, x: Operand, y: Operand) -> Ranges:
        a, b = self._pair(x, y)
        if a is b:
            return self._truth(np.zeros(a.shape, bool), np.zeros(a.shape, bool))
        return self._truth((a.hi < b.lo) & ~a.nan & ~b.nan, a.lo < b.hi)

    def less_equal(self, x: Operand, y: Operand) -> Ranges:
        a, b = self._pair(x, y)
        if a is b:
            return self._truth(~a.nan, np.ones(a.shape, bool))
        return self._truth((a.hi <= b.lo) & ~a.nan & ~b.nan, a.lo <= b.hi)

    def equal(self, x: Operand, y: Operand) -> Ranges:
        a, b = self._pair(x, y)
        if a is b:
            return self._truth(~a.nan, np.ones(a.shape, bool))
        points = (a.lo == a.hi) & (b.lo == b.hi) & (a.lo == b.lo)
        return self._truth(points & ~a.nan & ~b.nan, (a.lo <= b.hi) & (b.lo <= a.hi))

    def isnan(self, x: Ranges) -> Ranges:
        return self._truth(np.zeros(x.shape, bool), x.nan)

    def logical_and(self, x: Operand, y: Operand) -> Ranges:
        a, b = self._lift(x), self._lift(y)
        return self._truth(a.lo & b.lo, a.hi & b.hi)

    def logical_or(self, x: Operand, y: Operand) -> Ranges:
        a, b = self._lift(x), self._lift(y)
        return self._truth(a.lo | b.lo, a.hi | b.hi)

    def logical_not(self, x: Operand) -> Ranges:
        a = self._lift(x)
        return self._truth(~a.hi, ~a.lo)

    def where(self, condition: Operand, x: Operand, y: Operand) -> Ranges:
        """The hull of both sides where the condition is undecided."""
        c, (a, b) = self._lift(condition), self._pair(x, y)
        both = Ranges(np.minimum(a.lo, b.lo), np.maximum(a.hi, b.hi), np.asarray(a.nan | b.nan), a.dtype)
        yes, no = c.lo, ~c.hi

        def pick(first: NDArray[Any], second: NDArray[Any], undecided: NDArray[Any]) -> NDArray[Any]:
            return np.where(yes, first, np.where(no, second, undecided))

        return Ranges(pick(a.lo, b.lo, both.lo), pick(a.hi, b.hi, both.hi), pick(a.nan, b.nan, both.nan), a.dtype)

    def _function(self, name: str, x: Ranges, floor: float = -np.inf, open_end: bool = False) -> Ranges:
        """An elementary function; below `floor` (at it too, where the end is open) it is undefined."""
        lo, hi = floats.enclosure(name, x.lo, x.hi)
        undefined = (x.lo <= floor) if open_end else (x.lo < floor)
        if floor == -np.inf:
            undefined = np.zeros(x.shape, bool)
        if name in ("sin", "cos"):
            undefined = np.isinf(x.lo) | np.isinf(x.hi)
        return self._rounded(name, lo, hi, x.nan | undefined, x.dtype)

    def exp(self, x: Ranges) -> Ranges:
        return self._function("exp", x)

    def log(self, x: Ranges) -> Ranges:
        return self._function("log", x, 0.0, open_end=True)

    def tanh(self, x: Ranges) -> Ranges:
        return self._function("tanh", x)

    def sigmoid(self, x: Ranges) -> Ranges:
        return self._function("sigmoid", x)

    def expm1(self, x: Ranges) -> Ranges:
        return self._function("expm1", x)

    def log1p(self, x: Ranges) -> Ranges:
        return self._function("log1p", x, -1.0, open_end=True)

    def sin(self, x: Ranges) -> Ranges:
        return self._function("sin", x)

    def cos(self, x: Ranges) -> Ranges:
        return self._function("cos", x)

    def erf(self, x: Ranges) -> Ranges:
        return self._function("erf", x)

    def softplus(self, x: Ranges) -> Ranges:
        return self._function("softplus", x)

    def silu(self, x: Ranges) -> Ranges:
        return self._function("silu", x)

    def gelu(self, x: Ranges) -> Ranges:
        return self._function("gelu", x)

    # folds

    def sum(self, x: Ranges, axes: Sequence[int], keepdims: bool = False) -> Ranges:
        los, _ = structure.reduced_first(x.lo, axes)
        his, _ = structure.reduced_first(x.hi, axes)
        nans, shape = structure.reduced_first(x.nan, axes)

        def back(a: Any) -> NDArray[Any]:
            return structure.restored(np.asarray(a), x.shape, axes, keepdims)

        if not self._is_float(x):
            with np.errstate(all="ignore"):
                count = of_array(np.zeros(shape, x.dtype))
                for lo, hi, flag in zip(los, his, nans, strict=True):
                    count = integer_arithmetic(np.add, count, Ranges(lo, hi, flag, x.dtype))
            return count.move(back)
        low, high = _defined(*(
            floats.rounded_sum(end, axis=0, mode=mode) for end, mode in ((los, Rounding.DOWN), (his, Rounding.UP))
        ))  # fmt: skip
        clash = (los == -np.inf).any(axis=0) & (his == np.inf).any(axis=0)
        exact = Ranges(back(low), back(high), back(nans.any(axis=0) | clash), x.dtype)
        size = np.maximum(np.abs(los), np.abs(his))
        total = back(floats.rounded_sum(size, axis=0, mode=Rounding.UP))
        leaves = back(np.count_nonzero(size, axis=0))
        return self._folded(exact, total, leaves, leaves, total)

    def max(self, x: Ranges, axes: Sequence[int], keepdims: bool = False) -> Ranges:
        terms, _ = structure.reduced_first(x.lo, axes)
        structure.nonempty(len(terms), "max")
        his, nans = structure.reduced_first(x.hi, axes)[0], structure.reduced_first(x.nan, axes)[0]

        def back(a: Any) -> NDArray[Any]:
            return structure.restored(np.asarray(a), x.shape, axes, keepdims)

        return Ranges(back(terms.max(axis=0)), back(his.max(axis=0)), back(nans.any(axis=0)), x.dtype)

    def argmax(self, x: Ranges, axis: int) -> Ranges:
        structure.nonempty(x.shape[axis], "argmax")
        return winners(x, axis)

    def dot(self, x: Operand, w: Operand) -> Ranges:
        """By midpoints and radii: `floats.interval.matmul_ends` says how close.

        Shapes   x: [*s, m, k], w: [*s, n, k] -> [*s, m, n]
        """
        a, b = self._pair(x, w)
        if not self._is_float(a):
            products = integer_arithmetic(
                np.multiply, a.move(lambda v: v[..., :, None, :]), b.move(lambda v: v[..., None, :, :])
            )
            return self.sum(products, (-1,))
        found = sparse_ends(a.lo, a.hi, b.source) if isinstance(b, Points) else None
        if found is not None:  # all of b is finite
            nan = np.broadcast_to(_may_be_nan(a), found[0].shape)
            return self._folded_products(Ranges(*found, nan, a.dtype), a, b)
        lo, hi = matmul_ends(a.lo, a.hi, np.swapaxes(b.lo, -1, -2), np.swapaxes(b.hi, -1, -2))
        nan = _may_be_nan(a) | np.swapaxes(_may_be_nan(b), -1, -2)
        return self._folded_products(Ranges(lo, hi, nan, a.dtype), a, b)

    def _folded_products(self, exact: Ranges, a: Ranges, b: Ranges) -> Ranges:
        """Shapes   a: [*s, m, k], b: [*s, n, k], the factors"""
        return exact

    def scatter_add(self, x: Ranges, indices: Operand, axis: int, size: int) -> Ranges:
        """By a range of indices: each place that it can reach may or may not receive the term."""
        found = self._lift(indices)
        around = ((found.lo < 0) & (found.hi >= 0)).ravel()  # from the last places on to the first: all of them
        first = np.where(around, 0, structure.indices_within(found.lo, size, "scatter_add").ravel())
        last = np.where(around, size - 1, structure.indices_within(found.hi, size, "scatter_add").ravel())
        before, after = x.shape[:axis], x.shape[axis + len(found.shape) :]
        terms = x.move(lambda a: np.moveaxis(a.reshape(*before, len(first), *after), axis, 0))
        shape = (size, *before, *after)
        if not self._is_float(x):
            zero: Ranges = of_array(np.zeros(shape, x.dtype))
            lo, hi, nan = zero.lo.copy(), zero.hi.copy(), zero.nan.copy()
        else:
            lo, hi, nan = np.zeros(shape), np.zeros(shape), np.zeros(shape, bool)
        weighted, leaves = np.zeros(shape), np.zeros(shape)
        for j, (a, b) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
            low, high = terms.lo[j], terms.hi[j]
            if a != b:
                low, high = np.minimum(low, 0), np.maximum(high, 0)
            for place in range(a, b + 1):
                here = Ranges(lo[place], hi[place], nan[place], x.dtype)
                term = Ranges(low, high, terms.nan[j], x.dtype)
                total = IntervalReal.add(EXACT, here, term)
                lo[place], hi[place], nan[place] = total.lo, total.hi, total.nan
                if self._is_float(x):
                    weighted[place] = floats.add_up(weighted[place], np.maximum(np.abs(low), np.abs(high)))
                    leaves[place] += 1
        exact = Ranges(lo, hi, nan, x.dtype)
        if self._is_float(x):
            exact = self._folded(exact, weighted, leaves, leaves, weighted)
        return exact.move(lambda a: np.moveaxis(a, 0, axis))


def _defined(lo: F64, hi: F64) -> tuple[F64, F64]:
    """An end inf - inf is open to everything."""
    return np.where(np.isnan(lo), -np.inf, lo), np.where(np.isnan(hi), np.inf, hi)


def _may_be_nan(x: Ranges) -> NDArray[np.bool_]:
    """Rows whose products may be NaN.   Shapes  [*s, m, k] -> [*s, m, 1]"""
    return np.asarray(np.any(x.nan | np.isinf(x.lo) | np.isinf(x.hi), axis=-1, keepdims=True))


def holds_zero(x: Ranges) -> NDArray[np.bool_]:
    return np.asarray((x.lo <= 0) & (x.hi >= 0))


def _holds_infinity(x: Ranges) -> NDArray[np.bool_]:
    return np.isinf(x.lo) | np.isinf(x.hi)


def _integer_ends(x: Ranges) -> tuple[F64, F64]:
    """int64 or bool ends as float64, outward."""
    ends = []
    for end, towards in ((x.lo, -np.inf), (x.hi, np.inf)):
        near = end.astype(np.float64)
        inexact = np.abs(near) > 2.0**53
        ends.append(np.where(inexact, np.nextafter(near, towards), near))
    return ends[0], ends[1]


def _divide_integer_ranges(a: Ranges, b: Ranges) -> Ranges:
    """Toward zero. A divisor that may be 0 gives anything, and may be undefined."""
    through = holds_zero(b)
    divisor = Ranges(np.where(through, 1, b.lo), np.where(through, 1, b.hi), b.nan, b.dtype)
    lo, hi = corners(divide_integers, a, divisor)
    low, high = integer_range(a.dtype)
    wraps = (a.lo == low) & (divisor.lo <= -1) & (divisor.hi >= -1) & (low < 0)
    loose = through | wraps
    return Ranges(np.where(loose, low, lo), np.where(loose, high, hi), np.asarray(through), a.dtype)


EXACT = IntervalReal()

__all__ = ["EXACT", "F64", "IntervalReal", "holds_zero"]
