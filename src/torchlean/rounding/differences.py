"""Differences: the number system that runs a program twice, on values that already differ, and bounds the difference.

Each operation is exact here; what it rounds is added by `any_order` or by `LeftToRight`. For one operation f and
operands x (real) and x~ (computed), f(x~) - f(x) is bounded by a form in which x~ - x stands once:

    x~ y~ - x y = dx y~ + x dy            x~ / y~ - x / y = (dx - (x / y) dy) / y~
    e^x~ - e^x = e^x (e^dx - 1)           sqrt(x~) - sqrt(x) = dx / (sqrt(x~) + sqrt(x)), at most sqrt |dx|
    max(x~, y~) - max(x, y) in [min(dx, dy), max(dx, dy)]       smooth f: f'(t) dx, t between x and x~

Source   Higham 2002, Accuracy and Stability of Numerical Algorithms, section 3.1 (running error analysis); the forms
         are those of interval analysis with a mean value (Neumaier 1990, Interval Methods, section 2.3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from torchlean.meaning import IntervalReal, Ranges
from torchlean.meaning.dtypes import AnyDType, kind_of, literal_array
from torchlean.meaning.ranges import hull
from torchlean.rounding.twin import Twin, apart, exactly, meet, ranges

Operand: TypeAlias = "Twin | NDArray[Any] | float | int"
IR = IntervalReal()


class Differences:
    """Number system over twins, without rounding of its own.

    Carrier   Twin; numpy arrays are taken as constants
    Sound     for every real operand in `real` and float operand in `computed` whose difference lies in `gap`, the
              exact results lie in the result's `real` and `computed`, their difference in `gap`
    """

    name = "differences"
    zero: float = 0.0
    one: float = 1.0

    # sources

    def constant(self, array: NDArray[Any]) -> Twin:
        return exactly(IR.constant(np.asarray(array)))

    def literal(self, x: float | int | bool, like: Twin) -> Twin:
        return self.constant(literal_array(x, like.dtype))

    def shape(self, x: Twin) -> tuple[int, ...]:
        return x.shape

    def dtype(self, x: Twin) -> str:
        return x.dtype

    # what LeftToRight does differently

    def _result(self, name: str, real: Ranges, computed: Ranges, gap: Ranges) -> Twin:
        """The result of one float operation whose exact value on the computed operands lies in `computed`."""
        return meet(real, computed, gap)

    # help

    def _lift(self, x: Operand) -> Twin:
        return x if isinstance(x, Twin) else self.constant(np.asarray(x))

    def _pair(self, x: Operand, y: Operand) -> tuple[Twin, Twin]:
        if isinstance(x, Twin):
            return x, self._lift(y if isinstance(y, Twin | np.ndarray) else literal_array(y, x.dtype))
        if isinstance(y, Twin):
            return self._lift(x if isinstance(x, np.ndarray) else literal_array(x, y.dtype)), y
        return self.constant(np.asarray(x, np.float32)), self.constant(np.asarray(y, np.float32))

    def _discrete(self, f: Callable[..., Ranges], *xs: Twin, same: Any = None) -> Twin:
        """A result that may jump: the difference is what the two ends say, and 0 where all operands surely agree."""
        real, computed = f(*(x.real for x in xs)), f(*(x.computed for x in xs))
        if same is None:
            same = True
            for x in xs:
                same = same & x.same
        return meet(real, computed, _unless(np.broadcast_to(same, real.shape)))

    def _smooth(self, name: str, x: Twin, slope: Callable[[Ranges], Ranges]) -> Twin:
        """By the mean value theorem; `slope` encloses the derivative on a range."""
        f = getattr(IR, name)
        gap = IR.mul(slope(hull([x.real, x.computed])), x.gap)
        return self._result(name, f(x.real), f(x.computed), _zero_where(x.same, gap))

    # elementwise

    def add(self, x: Operand, y: Operand) -> Twin:
        a, b = self._pair(x, y)
        if not a.is_float:
            return self._discrete(IR.add, a, b)
        gap = IR.add(a.gap, b.gap)
        return self._result("add", IR.add(a.real, b.real), IR.add(a.computed, b.computed), gap)

    def sub(self, x: Operand, y: Operand) -> Twin:
        a, b = self._pair(x, y)
        if not a.is_float:
            return self._discrete(IR.sub, a, b)
        gap = IR.sub(a.gap, b.gap)
        return self._result("sub", IR.sub(a.real, b.real), IR.sub(a.computed, b.computed), gap)

    def mul(self, x: Operand, y: Operand) -> Twin:
        a, b = self._pair(x, y)
        if not a.is_float:
            return self._discrete(IR.mul, a, b)
        real, computed = IR.mul(a.real, b.real), IR.mul(a.computed, b.computed)
        if a is b:
            gap = IR.mul(a.gap, IR.add(a.computed, a.real))
        else:
            gap = _both(
                IR.add(IR.mul(a.gap, b.computed), IR.mul(a.real, b.gap)),
                IR.add(IR.mul(a.gap, b.real), IR.mul(a.computed, b.gap)),
            )
        return self._result("mul", real, computed, gap)

    def div(self, x: Operand, y: Operand) -> Twin:
        a, b = self._pair(x, y)
        if not a.is_float:
            return self._discrete(IR.div, a, b)
        real, computed = IR.div(a.real, b.real), IR.div(a.computed, b.computed)
        gap = _both(
            IR.div(IR.sub(a.gap, IR.mul(real, b.gap)), b.computed),
            IR.div(IR.sub(a.gap, IR.mul(computed, b.gap)), b.real),
        )
        return self._result("div", real, computed, _zero_where(a.same & b.same, gap))

    def neg(self, x: Twin) -> Twin:
        return x.move(IR.neg) if x.is_float else self._discrete(IR.neg, x)

    def abs(self, x: Twin) -> Twin:
        return self.maximum(x, self.neg(x)) if x.is_float else self._discrete(IR.abs, x)

    def sqrt(self, x: Twin) -> Twin:
        real, computed = IR.sqrt(x.real), IR.sqrt(x.computed)
        most = np.maximum(np.abs(x.gap.lo), np.abs(x.gap.hi))
        root = IR.sqrt(ranges(most, most))
        gap = _both(IR.div(x.gap, IR.add(real, computed)), ranges(-root.hi, root.hi))
        return self._result("sqrt", real, computed, _zero_where(x.same, gap))

    def maximum(self, x: Operand, y: Operand) -> Twin:
        a, b = self._pair(x, y)
        return self._choice(IR.maximum, a, b, _below(b, a), _below(a, b))

    def minimum(self, x: Operand, y: Operand) -> Twin:
        a, b = self._pair(x, y)
        return self._choice(IR.minimum, a, b, _below(a, b), _below(b, a))

    def _choice(self, f: Callable[..., Ranges], a: Twin, b: Twin, first: Any, second: Any) -> Twin:
        """The larger or the smaller; `first`, `second`: where it surely is that one in both computations."""
        if not a.is_float:
            return self._discrete(f, a, b)
        lo, hi = np.minimum(a.gap.lo, b.gap.lo), np.maximum(a.gap.hi, b.gap.hi)
        lo = np.where(first, a.gap.lo, np.where(second, b.gap.lo, lo))
        hi = np.where(first, a.gap.hi, np.where(second, b.gap.hi, hi))
        return meet(f(a.real, b.real), f(a.computed, b.computed), ranges(lo, hi))

    def floor(self, x: Twin) -> Twin:
        return self._discrete(IR.floor, x)

    def round(self, x: Twin) -> Twin:
        return self._discrete(IR.round, x)

    def cast(self, x: Twin, dtype: AnyDType) -> Twin:
        """Between float dtypes the identity over the reals."""

        def f(r: Ranges) -> Ranges:
            return IR.cast(r, dtype)

        if kind_of(dtype) != "float":
            return self._discrete(f, x)
        gap = x.gap if x.is_float else self._discrete(f, x).gap
        return self._result("cast", f(x.real), f(x.computed), gap)

    def round_to(self, x: Twin, dtype: AnyDType) -> Twin:
        return self._discrete(lambda r: IR.round_to(r, dtype), x)

    def less(self, x: Operand, y: Operand) -> Twin:
        return self._discrete(IR.less, *self._pair(x, y))

    def less_equal(self, x: Operand, y: Operand) -> Twin:
        return self._discrete(IR.less_equal, *self._pair(x, y))

    def equal(self, x: Operand, y: Operand) -> Twin:
        return self._discrete(IR.equal, *self._pair(x, y))

    def isnan(self, x: Twin) -> Twin:
        return self._discrete(IR.isnan, x)

    def logical_and(self, x: Operand, y: Operand) -> Twin:
        return self._discrete(IR.logical_and, self._lift(x), self._lift(y))

    def logical_or(self, x: Operand, y: Operand) -> Twin:
        return self._discrete(IR.logical_or, self._lift(x), self._lift(y))

    def logical_not(self, x: Operand) -> Twin:
        return self._discrete(IR.logical_not, self._lift(x))

    def where(self, condition: Operand, x: Operand, y: Operand) -> Twin:
        """Every pair of sides that the two computations may choose; a condition that surely agrees chooses one side."""
        c, (a, b) = self._lift(condition), self._pair(x, y)
        real, computed = IR.where(c.real, a.real, b.real), IR.where(c.computed, a.computed, b.computed)
        if not a.is_float:
            return self._discrete(IR.where, c, a, b)
        may_differ = ~c.same
        cases = (
            (c.real.may_be_true & c.computed.may_be_true, a.gap),
            (c.real.may_be_false & c.computed.may_be_false, b.gap),
            (c.real.may_be_false & c.computed.may_be_true & may_differ, apart(a.computed, b.real)),
            (c.real.may_be_true & c.computed.may_be_false & may_differ, apart(b.computed, a.real)),
        )
        lo, hi = np.full(real.shape, np.inf), np.full(real.shape, -np.inf)
        for possible, gap in cases:
            lo = np.where(possible, np.minimum(lo, gap.lo), lo)
            hi = np.where(possible, np.maximum(hi, gap.hi), hi)
        return meet(real, computed, ranges(lo, hi))

    def exp(self, x: Twin) -> Twin:
        real, computed = IR.exp(x.real), IR.exp(x.computed)
        return self._result("exp", real, computed, _zero_where(x.same, IR.mul(real, IR.expm1(x.gap))))

    def expm1(self, x: Twin) -> Twin:
        gap = IR.mul(IR.exp(x.real), IR.expm1(x.gap))
        return self._result("expm1", IR.expm1(x.real), IR.expm1(x.computed), _zero_where(x.same, gap))

    def log(self, x: Twin) -> Twin:
        return self._smooth("log", x, lambda r: IR.div(_ONE, r))

    def log1p(self, x: Twin) -> Twin:
        return self._smooth("log1p", x, lambda r: IR.div(_ONE, IR.add(r, _ONE)))

    def tanh(self, x: Twin) -> Twin:
        def slope(r: Ranges) -> Ranges:
            t = IR.tanh(r)
            return IR.sub(_ONE, IR.mul(t, t))

        return self._smooth("tanh", x, slope)

    def sigmoid(self, x: Twin) -> Twin:
        def slope(r: Ranges) -> Ranges:
            s = IR.sigmoid(r)
            return IR.minimum(IR.mul(s, IR.sub(_ONE, s)), ranges(0.25, 0.25))

        return self._smooth("sigmoid", x, slope)

    def sin(self, x: Twin) -> Twin:
        return self._smooth("sin", x, IR.cos)

    def cos(self, x: Twin) -> Twin:
        return self._smooth("cos", x, lambda r: IR.neg(IR.sin(r)))

    def erf(self, x: Twin) -> Twin:
        def slope(r: Ranges) -> Ranges:
            two_over_root_pi = ranges(1.1283791670955125, 1.1283791670955128)
            return IR.mul(two_over_root_pi, IR.exp(IR.neg(IR.mul(r, r))))

        return self._smooth("erf", x, slope)

    def softplus(self, x: Twin) -> Twin:
        return self._smooth("softplus", x, IR.sigmoid)

    def silu(self, x: Twin) -> Twin:
        def slope(r: Ranges) -> Ranges:
            s = IR.sigmoid(r)
            return IR.mul(s, IR.add(_ONE, IR.mul(r, IR.sub(_ONE, s))))

        return self._smooth("silu", x, slope)

    def gelu(self, x: Twin) -> Twin:
        def slope(r: Ranges) -> Ranges:
            root_half, over_root_two_pi = ranges(0.7071067811865475, 0.7071067811865477), ranges(0.3989422, 0.3989423)
            below = IR.mul(ranges(0.5, 0.5), IR.add(_ONE, IR.erf(IR.mul(r, root_half))))
            density = IR.mul(over_root_two_pi, IR.exp(IR.mul(ranges(-0.5, -0.5), IR.mul(r, r))))
            return IR.add(below, IR.mul(r, density))

        return self._smooth("gelu", x, slope)

    # folds

    def sum(self, x: Twin, axes: Sequence[int], keepdims: bool = False) -> Twin:
        if not x.is_float:
            return self._discrete(lambda r: IR.sum(r, axes, keepdims), x, same=bool(x.same.all()))
        parts = (IR.sum(r, axes, keepdims) for r in (x.real, x.computed, x.gap))
        return meet(*parts)

    def max(self, x: Twin, axes: Sequence[int], keepdims: bool = False) -> Twin:
        """max x~ - max x is at most the difference at x~'s winner, at least that at x's."""

        def largest(r: Ranges) -> Ranges:
            return IR.max(r, axes, keepdims)

        if not x.is_float:
            return self._discrete(largest, x, same=bool(x.same.all()))
        where = tuple(axes)

        def candidates(r: Ranges) -> NDArray[np.bool_]:
            return np.asarray((r.hi >= np.max(r.lo, axis=where, keepdims=True)) | r.nan)

        hi = np.max(np.where(candidates(x.computed), x.gap.hi, -np.inf), axis=where, keepdims=keepdims)
        lo = np.min(np.where(candidates(x.real), x.gap.lo, np.inf), axis=where, keepdims=keepdims)
        return meet(largest(x.real), largest(x.computed), ranges(lo, hi))

    def argmax(self, x: Twin, axis: int) -> Twin:
        return self._discrete(lambda r: IR.argmax(r, axis), x, same=x.same.all(axis=axis))

    def dot(self, x: Operand, w: Operand) -> Twin:
        """sum x~ w~ - sum x w = sum dx w~ + sum x dw.   Shapes   x: [*s, m, k], w: [*s, n, k] -> [*s, m, n]"""
        a, b = self._pair(x, w)
        if not a.is_float:
            return self._discrete(IR.dot, a, b, same=bool(a.same.all() and b.same.all()))
        real = IR.dot(a.real, b.real)
        computed = real if a.real is a.computed and b.real is b.computed else IR.dot(a.computed, b.computed)
        gaps = []
        if not a.same.all():
            gaps.append(IR.dot(a.gap, b.computed))
        if not b.same.all():
            gaps.append(IR.dot(a.real, b.gap))
        gap = ranges(np.zeros(real.shape), 0.0) if not gaps else gaps[0] if len(gaps) == 1 else IR.add(*gaps)
        return meet(real, computed, gap)

    # structure

    def reshape(self, x: Twin, shape: Sequence[int]) -> Twin:
        return x.move(lambda r: IR.reshape(r, shape))

    def permute(self, x: Twin, axes: Sequence[int]) -> Twin:
        return x.move(lambda r: IR.permute(r, axes))

    def broadcast(self, x: Twin, shape: Sequence[int]) -> Twin:
        return x.move(lambda r: IR.broadcast(r, shape))

    def slice(self, x: Twin, starts: Sequence[int], stops: Sequence[int], steps: Sequence[int]) -> Twin:
        return x.move(lambda r: IR.slice(r, starts, stops, steps))

    def concat(self, xs: Sequence[Twin], axis: int) -> Twin:
        return Twin(
            IR.concat([x.real for x in xs], axis),
            IR.concat([x.computed for x in xs], axis),
            IR.concat([x.gap for x in xs], axis),
        )

    def pad(self, x: Twin, low: Sequence[int], high: Sequence[int], value: float) -> Twin:
        def f(r: Ranges, filling: float) -> Ranges:
            return IR.pad(r, low, high, filling)

        return Twin(f(x.real, value), f(x.computed, value), f(x.gap, 0.0))

    def windows(
        self,
        x: Twin,
        kernel: Sequence[int],
        stride: Sequence[int],
        dilation: Sequence[int],
        low: Sequence[int],
        high: Sequence[int],
        value: float,
    ) -> Twin:
        def f(r: Ranges, filling: float) -> Ranges:
            return IR.windows(r, kernel, stride, dilation, low, high, filling)

        return Twin(f(x.real, value), f(x.computed, value), f(x.gap, 0.0))

    def gather(self, x: Twin, indices: Operand, axis: int) -> Twin:
        return self._indexed(lambda r, at: IR.gather(r, at, axis), x, self._lift(indices))

    def scatter_add(self, x: Twin, indices: Operand, axis: int, size: int) -> Twin:
        return self._indexed(lambda r, at: IR.scatter_add(r, at, axis, size), x, self._lift(indices))

    def _indexed(self, f: Callable[[Ranges, Ranges], Ranges], x: Twin, at: Twin) -> Twin:
        """By indices that surely agree, the difference is indexed as the values are; else only the ends tell."""
        real, computed = f(x.real, at.real), f(x.computed, at.computed)
        gap = f(x.gap, at.real) if at.same.all() else _unless(np.zeros(real.shape, bool))
        return meet(real, computed, gap)


_ONE = ranges(1.0, 1.0)


def _both(x: Ranges, y: Ranges) -> Ranges:
    """What lies in both; a range with a NaN bit says nothing."""
    lo, hi = (np.where(x.nan, bad, a) for bad, a in ((-np.inf, x.lo), (np.inf, x.hi)))
    return ranges(np.where(y.nan, lo, np.maximum(lo, y.lo)), np.where(y.nan, hi, np.minimum(hi, y.hi)))


def _unless(same: NDArray[np.bool_]) -> Ranges:
    """0 where `same`, else anything."""
    return ranges(np.where(same, 0.0, -np.inf), np.where(same, 0.0, np.inf))


def _zero_where(same: NDArray[np.bool_], gap: Ranges) -> Ranges:
    """Equal operands give equal results, whatever the form of the bound says."""
    same = np.broadcast_to(same, gap.shape)
    return Ranges(np.where(same, 0.0, gap.lo), np.where(same, 0.0, gap.hi), gap.nan & ~same, gap.dtype)


def _below(x: Twin, y: Twin) -> NDArray[np.bool_]:
    """Where x <= y surely, in both computations."""
    return np.asarray((x.real.hi <= y.real.lo) & (x.computed.hi <= y.computed.lo))
