"""IntervalReal and IntervalFloat: enclosures of the real meaning, and of every float execution.

Ends are float64, moved outward by `floats`' directed operations; no processor rounding mode is used. An infinite end
may be attained; the may-be-NaN bit also stands for "undefined over the reals".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from torchlean import floats
from torchlean.floats.sums import upper_matmul
from torchlean.meaning import structure
from torchlean.meaning.dtypes import AnyDType, cast_array, integer_range, kind_of, literal_array, name_of, round_array
from torchlean.meaning.float_system import divide_integers
from torchlean.meaning.ranges import Fold, Ranges, corners, enclose, hull, integer_arithmetic, of_array, winners

F64: TypeAlias = NDArray[np.float64]
Operand: TypeAlias = "Ranges | NDArray[Any] | float | int"


class IntervalReal:
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

    def _lift(self, x: Operand) -> Ranges:
        return x if isinstance(x, Ranges) else self.constant(np.asarray(x))

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
        lo, hi = _defined(floats.add_down(a.lo, b.lo), floats.add_up(a.hi, b.hi))
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
            least, most = self._magnitudes(a)
            return self._rounded("mul", floats.mul_down(least, least), floats.mul_up(most, most), a.nan, a.dtype)
        nan = a.nan | b.nan | (_holds_zero(a) & _holds_infinity(b)) | (_holds_infinity(a) & _holds_zero(b))
        lo = corners(lambda p, q: _zero_if_nan(floats.mul_down(p, q)), a, b)[0]
        hi = corners(lambda p, q: _zero_if_nan(floats.mul_up(p, q)), a, b)[1]
        return self._rounded("mul", lo, hi, nan, a.dtype)

    def _magnitudes(self, x: Ranges) -> tuple[F64, F64]:
        """The smallest and largest |value|."""
        most = np.maximum(np.abs(x.lo), np.abs(x.hi))
        return np.where(_holds_zero(x), 0.0, np.minimum(np.abs(x.lo), np.abs(x.hi))), most

    def div(self, x: Operand, y: Operand) -> Ranges:
        """Through zero: anything. Undefined there over the reals; over floats only where 0/0 or inf/inf may be."""
        a, b = self._pair(x, y)
        if not self._is_float(a):
            return _divide_integer_ranges(a, b)
        through = _holds_zero(b)
        nan = a.nan | b.nan | (_holds_infinity(a) & _holds_infinity(b)) | (through & self._divided_by_zero(a))
        divisor = Ranges(np.where(through, 1.0, b.lo), np.where(through, 1.0, b.hi), b.nan, b.dtype)
        lo = corners(lambda p, q: _zero_if_nan(floats.div_down(p, q)), a, divisor)[0]
        hi = corners(lambda p, q: _zero_if_nan(floats.div_up(p, q)), a, divisor)[1]
        return self._rounded("div", np.where(through, -np.inf, lo), np.where(through, np.inf, hi), nan, a.dtype)

    def neg(self, x: Ranges) -> Ranges:
        if not self._is_float(x):
            return integer_arithmetic(np.subtract, of_array(np.zeros(x.shape, x.dtype)), x)
        return Ranges(-x.hi, -x.lo, x.nan, x.dtype)

    def abs(self, x: Ranges) -> Ranges:
        if self._is_float(x):
            lo, hi = self._magnitudes(x)
            return Ranges(np.asarray(lo), hi, x.nan, x.dtype)
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
        largest = floats.grid_of(name_of(dtype)).largest
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

    # folds

    def sum(self, x: Ranges, axes: Sequence[int], keepdims: bool = False) -> Ranges:
        los, _ = structure.reduced_first(x.lo, axes)
        his, _ = structure.reduced_first(x.hi, axes)
        nans, shape = structure.reduced_first(x.nan, axes)

        def back(a: Any) -> NDArray[Any]:
            return structure.restored(np.asarray(a), x.shape, axes, keepdims)

        if not self._is_float(x):
            with np.errstate(all="ignore"):
                total = of_array(np.zeros(shape, x.dtype))
                for lo, hi, flag in zip(los, his, nans, strict=True):
                    total = integer_arithmetic(np.add, total, Ranges(lo, hi, flag, x.dtype))
            return total.move(back)
        low, high = np.zeros(shape), np.zeros(shape)
        for lo, hi in zip(los, his, strict=True):
            low, high = floats.add_down(low, lo), floats.add_up(high, hi)
        clash = (los == -np.inf).any(axis=0) & (his == np.inf).any(axis=0)
        low, high = _defined(low, high)
        exact = Ranges(back(low), back(high), back(nans.any(axis=0) | clash), x.dtype)
        size = np.maximum(np.abs(los), np.abs(his))
        total_size = np.zeros(shape)
        for term in size:
            total_size = floats.add_up(total_size, term)
        leaves = np.count_nonzero(size, axis=0)
        return self._folded(exact, back(total_size), back(leaves), back(leaves), back(total_size))

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
        """By midpoints and radii: float64 matrix products in any order, and a rigorous term for their rounding.

        Shapes   x: [*s, m, k], w: [*s, n, k] -> [*s, m, n]
        Source   Rump 1999, doi:10.1023/A:1022374804152. At most 1.5 times as wide as the exact hull where both factors
                 have width, exact up to rounding where one is a point.
        """
        a, b = self._pair(x, w)
        if not self._is_float(a):
            products = integer_arithmetic(
                np.multiply, a.move(lambda v: v[..., :, None, :]), b.move(lambda v: v[..., None, :, :])
            )
            return self.sum(products, (-1,))
        depth = a.shape[-1]
        (ma, ra, broken_a), (mb, rb, broken_b) = _midpoints(a), _midpoints(b)
        mbt, size_a, size_b = np.swapaxes(mb, -1, -2), np.abs(ma), np.swapaxes(np.abs(mb), -1, -2)
        with np.errstate(all="ignore"):
            middle = np.matmul(ma, mbt)
        magnitude = upper_matmul(size_a, size_b)
        most_a, most_b = floats.add_up(size_a, ra), floats.add_up(size_b, np.swapaxes(rb, -1, -2))
        radius = (depth + 1) * 2.0**-53 * magnitude * (1 + 2.0**-40) + depth * 2.0**-1021
        if rb.any():
            radius = floats.add_up(radius, upper_matmul(most_a, np.swapaxes(rb, -1, -2)))
        if ra.any():
            radius = floats.add_up(radius, upper_matmul(ra, size_b))
        broken = _any(broken_a)[..., :, None] | _any(broken_b)[..., None, :]
        nan = _any(a.nan)[..., :, None] | _any(b.nan)[..., None, :] | broken
        none = np.matmul((most_a > 0).astype(np.float64), (most_b > 0).astype(np.float64)) == 0  # no nonzero product
        lost = broken | ~np.isfinite(middle) | ~np.isfinite(radius)
        lo = np.where(lost, -np.inf, np.where(none & ~lost, 0.0, floats.sub_down(middle, radius)))
        hi = np.where(lost, np.inf, np.where(none & ~lost, 0.0, floats.add_up(middle, radius)))
        exact = Ranges(lo, hi, np.asarray(nan), a.dtype)
        return self._folded_products(exact, most_a, most_b)

    def _folded_products(self, exact: Ranges, most_a: F64, most_b: F64) -> Ranges:
        """Shapes   most_a: [*s, m, k], most_b: [*s, k, n], the largest magnitudes of the factors"""
        return exact

    # structure

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
                total = IntervalReal.add(_PLAIN, here, term)
                lo[place], hi[place], nan[place] = total.lo, total.hi, total.nan
                if self._is_float(x):
                    weighted[place] = floats.add_up(weighted[place], np.maximum(np.abs(low), np.abs(high)))
                    leaves[place] += 1
        exact = Ranges(lo, hi, nan, x.dtype)
        if self._is_float(x):
            exact = self._folded(exact, weighted, leaves, leaves, weighted)
        return exact.move(lambda a: np.moveaxis(a, 0, axis))


_PLAIN = IntervalReal()

CORRECTLY_ROUNDED: Mapping[str, tuple[float, float]] = MappingProxyType({})


class IntervalFloat(IntervalReal):
    """Number system that encloses every float execution in the declared dtypes.

    Elementwise   the ends are rounded to the dtype, since rounding is monotone; a range that meets the subnormals also
                  holds 0, since they may be flushed
    Folds         widened by floats.any_order_bound: every order, fused or not; NaN and infinities where a partial sum
                  may overflow. A term added to a fold's result (a bias) counts as one more leaf of it.
    Not covered   an op computed by another formula than its definition: `widen` the real enclosure by its rounding rule
    tolerances    operation -> (a, r): an implementation may differ from the exact value f by a + r |f|, clamped to
                  nothing; operations not named are rounded once (the reference executor)
    """

    name = "interval(float)"

    def __init__(self, tolerances: Mapping[str, tuple[float, float]] = CORRECTLY_ROUNDED) -> None:
        self.tolerances = tolerances

    def _source(self, x: Ranges) -> Ranges:
        return _with_zero(x) if self._is_float(x) else x

    def _divided_by_zero(self, x: Ranges) -> Any:
        return _holds_zero(x)

    def _rounded(self, name: str, lo: F64, hi: F64, nan: Any, dtype: str) -> Ranges:
        fmt = floats.format_of(dtype)
        lo, hi = np.asarray(lo, np.float64), np.asarray(hi, np.float64)
        if name in self.tolerances:
            absolute, relative = (np.asarray(t, np.float64) for t in self.tolerances[name])
            lo = floats.sub_down(lo, floats.add_up(absolute, floats.mul_up(relative, np.abs(lo))))
            hi = floats.add_up(hi, floats.add_up(absolute, floats.mul_up(relative, np.abs(hi))))
            lo, hi = np.where(np.isnan(lo), -np.inf, lo), np.where(np.isnan(hi), np.inf, hi)
        near_lo, near_hi = (floats.round_nearest(end, fmt).astype(np.float64) for end in (lo, hi))
        return _with_zero(Ranges(near_lo, near_hi, np.broadcast_to(nan, lo.shape), dtype))

    def widen(self, x: Ranges, error: F64) -> Ranges:
        """x, whose values are exact, as a float result that may be off by `error`: an op's `rounding` rule.

        Where exact value plus error reaches 2^emax, the result may be infinite or NaN.

        Shapes   error: broadcasts to x
        """
        fmt = floats.format_of(x.dtype)
        size = np.maximum(np.abs(x.lo), np.abs(x.hi))
        return self._widened(x, error, ~floats.stays_finite(size, error, fmt))

    def _widened(self, x: Ranges, error: Any, overflows: Any) -> Ranges:
        fmt = floats.format_of(x.dtype)
        # The result is a number of the format, so the ends may be rounded inward onto it.
        lo = floats.round_up(floats.sub_down(x.lo, error), fmt).astype(np.float64)
        hi = floats.round_down(floats.add_up(x.hi, error), fmt).astype(np.float64)
        lo, hi = np.where(overflows, -np.inf, lo), np.where(overflows, np.inf, hi)
        return _with_zero(Ranges(lo, hi, np.asarray(x.nan | overflows), x.dtype))

    def _folded(self, x: Ranges, weighted: Any, leaves: Any, weights: Any, inputs: Any) -> Ranges:
        fmt = floats.format_of(x.dtype)
        error = floats.any_order_bound(weighted, leaves, weights, inputs, fmt=fmt)
        result = self._widened(x, error, ~floats.stays_finite(weighted, error, fmt))
        parts = (np.broadcast_to(np.asarray(p, np.float64), x.shape) for p in (weighted, leaves, weights, inputs))
        return replace(result, fold=Fold(x.lo, x.hi, *parts))

    def add(self, x: Operand, y: Operand) -> Ranges:
        """Where one operand is a fold, the other is one more leaf: it may be added anywhere in its order."""
        a, b = self._pair(x, y)
        if (a.fold is None) == (b.fold is None):
            return super().add(a, b)
        summed, other = (a, b) if a.fold is not None else (b, a)
        fold = summed.fold
        assert fold is not None
        exact = _PLAIN.add(Ranges(fold.lo, fold.hi, summed.nan, summed.dtype), replace(other, fold=None))
        size = np.maximum(np.abs(other.lo), np.abs(other.hi))
        weighted = floats.add_up(fold.weighted, size)
        result = self._folded(exact, weighted, fold.leaves + (size > 0), fold.weights, fold.inputs)
        return replace(result, fold=None)

    def _folded_products(self, exact: Ranges, most_a: F64, most_b: F64) -> Ranges:
        used_a, used_b = (most_a > 0).astype(np.float64), (most_b > 0).astype(np.float64)
        with np.errstate(all="ignore"):
            leaves = np.matmul(used_a, used_b)  # counts: exact
        return self._folded(
            exact, upper_matmul(most_a, most_b), leaves, upper_matmul(used_a, most_b), upper_matmul(most_a, used_b)
        )


def _any(flags: NDArray[Any]) -> NDArray[np.bool_]:
    """Along the last axis."""
    return np.asarray(np.any(flags, axis=-1))


def _with_zero(x: Ranges) -> Ranges:
    """A range that meets the subnormals (or the smallest normal, which may have been flushed) also holds 0."""
    smallest = floats.grid_of(x.dtype).form.smallest_normal
    lo = np.where((x.lo > 0) & (x.lo <= smallest), 0.0, x.lo)
    hi = np.where((x.hi < 0) & (x.hi >= -smallest), -0.0, x.hi)
    return Ranges(lo, hi, x.nan, x.dtype)


def _defined(lo: F64, hi: F64) -> tuple[F64, F64]:
    """An end inf - inf is open to everything."""
    return np.where(np.isnan(lo), -np.inf, lo), np.where(np.isnan(hi), np.inf, hi)


def _zero_if_nan(x: F64) -> F64:
    """0 * inf or inf / inf at a corner: what lies near it is 0 or reaches another corner; NaN itself is in the bit."""
    return np.where(np.isnan(x), 0.0, x)


def _holds_zero(x: Ranges) -> NDArray[np.bool_]:
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


def _midpoints(x: Ranges) -> tuple[F64, F64, NDArray[np.bool_]]:
    """Midpoint and radius with [lo, hi] inside middle +- radius; infinite elements as 0 and a flag."""
    broken = np.isinf(x.lo) | np.isinf(x.hi)
    lo, hi = np.where(broken, 0.0, x.lo), np.where(broken, 0.0, x.hi)
    if np.array_equal(lo, hi):
        return lo, np.zeros(lo.shape), broken
    middle = lo / 2 + hi / 2
    radius = np.maximum(floats.sub_up(middle, lo), floats.sub_up(hi, middle))
    return np.where(lo == hi, lo, middle), np.where(lo == hi, 0.0, radius), broken


def _divide_integer_ranges(a: Ranges, b: Ranges) -> Ranges:
    """Toward zero. A divisor that may be 0 gives anything, and may be undefined."""
    through = _holds_zero(b)
    divisor = Ranges(np.where(through, 1, b.lo), np.where(through, 1, b.hi), b.nan, b.dtype)
    lo, hi = corners(divide_integers, a, divisor)
    low, high = integer_range(a.dtype)
    wraps = (a.lo == low) & (divisor.lo <= -1) & (divisor.hi >= -1) & (low < 0)
    loose = through | wraps
    return Ranges(np.where(loose, low, lo), np.where(loose, high, hi), np.asarray(through), a.dtype)
