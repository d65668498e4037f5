"""The carrier: arrays of closed intervals of real numbers, with ends in binary32 or binary64."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from torchlean.errors import DomainError, ShapeError, UsageError
from torchlean.floats.directed import sub_up
from torchlean.floats.formats import BINARY32, BINARY64, Format, format_of
from torchlean.floats.interval import ends
from torchlean.floats.interval.matrix import matmul_ends
from torchlean.floats.rounding import Rounding, narrow, round_down, round_rational, round_up
from torchlean.floats.steps import in_blocks
from torchlean.floats.sums.exact import rounded_sum
from torchlean.frozen import frozen

Operand: TypeAlias = "Interval | NDArray[Any] | float | int"


@frozen(eq=False)
class Interval:
    """An array of intervals {x real: lo <= x <= hi}; an infinite end stands for no bound on that side.

    lo, hi   [*s], both float32 or both float64; kept as read-only views

    Arithmetic  `+ - * / ** @`, `abs`: each result contains every value of the operation at points of the operands, and
                for + - * / abs, square and sqrt it is the smallest such interval of the format (** and @ say theirs).
                Two occurrences of one interval count as two: x * x may hold negative numbers, x.square() never does
    Operands    another interval of the same format, an array of its dtype, or a Python number that is one of its values
    Errors      UsageError for NaN, lo > hi, lo = inf, hi = -inf, other dtypes, mixed formats; ShapeError for two shapes
    Overflow    outward: the upper end inf above MAX, while the lower end stays MAX
    Source      IEEE 1788-2015, set-based intervals, without the empty one: what would be empty is an error
    """

    lo: NDArray[Any]
    hi: NDArray[Any]

    __array_ufunc__ = None  # so that array + interval comes here

    def __post_init__(self) -> None:
        lo, hi = np.asarray(self.lo), np.asarray(self.hi)
        if lo.dtype != hi.dtype or lo.dtype not in (np.float32, np.float64):
            raise UsageError(
                "the ends of an interval are numbers of one format",
                where="floats.Interval",
                expected="two float32 or two float64 arrays",
                got=f"{lo.dtype} and {hi.dtype}",
                fix="round them outward with floats.interval.enclose",
            )
        if lo.shape != hi.shape:
            raise ShapeError(
                "the ends of an interval have one shape",
                where="floats.Interval",
                expected=f"hi: {list(lo.shape)}, as lo",
                got=f"hi: {list(hi.shape)}",
                fix="broadcast them first",
            )
        good = (lo <= hi) & (lo < np.inf) & (hi > -np.inf)
        if not good.all():
            index = tuple(int(i) for i in np.argwhere(~good)[0])
            raise UsageError(
                "an interval needs lo <= hi, no NaN, and a real number inside",
                where="floats.Interval" + (f", element {index}" if index else ""),
                expected="lo <= hi, lo < inf, hi > -inf",
                got=f"lo {lo[index]!r}, hi {hi[index]!r}; {int((~good).sum())} of {good.size} elements fail",
                fix="order the ends; for values that may be NaN an interval says too little",
            )
        for name, end in (("lo", lo), ("hi", hi)):
            view = end.view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)

    # what it is

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.lo.shape)

    @property
    def fmt(self) -> Format:
        return format_of(self.lo.dtype)

    @property
    def width(self) -> NDArray[Any]:
        """The smallest number of the format >= hi - lo."""
        return sub_up(self.hi, self.lo, self.fmt)

    @property
    def midpoint(self) -> NDArray[Any]:
        """(lo + hi) / 2 to nearest, inside. 0 for the whole line; the largest number of that side for a half-line."""
        most = self.lo.dtype.type(self.fmt.max)
        lo, hi = np.maximum(self.lo, -most), np.minimum(self.hi, most)
        half = lo.dtype.type(0.5)
        middle = np.clip(np.where(lo == hi, lo, lo * half + hi * half), lo, hi)
        one_side = np.isinf(self.lo) ^ np.isinf(self.hi)
        return np.where(one_side, np.where(np.isinf(self.lo), -most, most), middle)

    @property
    def radius(self) -> NDArray[Any]:
        """The smallest number r of the format with the interval inside midpoint +- r; inf where unbounded."""
        middle = self.midpoint
        return np.maximum(sub_up(middle, self.lo, self.fmt), sub_up(self.hi, middle, self.fmt))

    @property
    def magnitude(self) -> NDArray[Any]:
        """The largest absolute value."""
        return ends.magnitudes(self.lo, self.hi)[1]

    @property
    def mignitude(self) -> NDArray[Any]:
        """The smallest absolute value."""
        return ends.magnitudes(self.lo, self.hi)[0]

    def __repr__(self) -> str:
        if self.lo.ndim == 0:
            return f"Interval[{float(self.lo)!r}, {float(self.hi)!r}]"
        return f"Interval({self.fmt}, shape {self.shape})\n lo {self.lo}\n hi {self.hi}"

    def __bool__(self) -> bool:
        raise UsageError(
            "an interval is neither true nor false",
            where="floats.Interval",
            expected="a question about it",
            got="its truth value",
            fix="ask contains, subset, disjoint, or compare lo and hi",
        )

    # structure

    def move(self, f: Callable[[NDArray[Any]], NDArray[Any]]) -> Interval:
        """The same structural step (reshape, transpose, index) on both ends."""
        return Interval(np.asarray(f(self.lo)), np.asarray(f(self.hi)))

    def __getitem__(self, index: Any) -> Interval:
        return self.move(lambda end: end[index])

    def to(self, fmt: Format) -> Interval:
        """Outward into binary32 or binary64; to binary64 it is exact."""
        return enclose(self.lo, self.hi, fmt)

    # sets

    def contains(self, x: NDArray[Any] | float | int | Fraction) -> NDArray[np.bool_]:
        """Whether each number lies inside, exactly. NaN and infinities do not.

        Shapes   x: broadcasts
        """
        if isinstance(x, Fraction | int) and not isinstance(x, bool):
            low, high = (round_rational(Fraction(x), BINARY64, mode) for mode in (Rounding.DOWN, Rounding.UP))
            return np.asarray((self.lo <= low) & (high <= self.hi))
        wide = np.asarray(x).astype(np.float64)
        return np.asarray((self.lo <= wide) & (wide <= self.hi) & np.isfinite(wide))

    def subset(self, other: Interval) -> NDArray[np.bool_]:
        """Whether each interval lies in the other's."""
        self._same(other)
        return np.asarray((other.lo <= self.lo) & (self.hi <= other.hi))

    def disjoint(self, other: Interval) -> NDArray[np.bool_]:
        self._same(other)
        return np.asarray((self.hi < other.lo) | (other.hi < self.lo))

    def intersection(self, other: Interval) -> Interval:
        """The numbers in both. Raises UsageError where there are none: ask `disjoint` first."""
        if self.disjoint(other).any():
            raise UsageError(
                "disjoint intervals have no common interval",
                where="floats.Interval.intersection",
                expected="intervals that meet at every element",
                got=f"{int(self.disjoint(other).sum())} elements where they do not",
                fix="ask disjoint first; an empty intersection often shows an unsound enclosure",
            )
        return Interval(np.maximum(self.lo, other.lo), np.minimum(self.hi, other.hi))

    def hull(self, other: Interval) -> Interval:
        """The smallest interval that contains both."""
        self._same(other)
        return Interval(np.minimum(self.lo, other.lo), np.maximum(self.hi, other.hi))

    def split(self, at: NDArray[Any] | None = None) -> tuple[Interval, Interval]:
        """[lo, at] and [at, hi]; at the midpoint unless told. Raises UsageError for a cut outside."""
        cut = self.midpoint if at is None else np.broadcast_to(np.asarray(at, self.lo.dtype), self.shape)
        if not self.contains(cut).all():
            raise UsageError(
                "an interval is cut inside",
                where="floats.Interval.split",
                expected="lo <= at <= hi, finite",
                got=f"{int((~self.contains(cut)).sum())} elements outside",
                fix="clip the cuts, or leave them out for the midpoints",
            )
        return Interval(self.lo, cut), Interval(cut, self.hi)

    # arithmetic

    def _same(self, other: Interval) -> None:
        if self.lo.dtype != other.lo.dtype:
            raise UsageError(
                "intervals of two formats are not mixed",
                where="floats.Interval",
                expected=f"an interval of {self.fmt}",
                got=f"an interval of {other.fmt}",
                fix="convert one outward with .to(fmt)",
            )

    def _operand(self, x: Operand) -> Interval:
        if isinstance(x, Interval):
            self._same(x)
            return x
        if isinstance(x, np.ndarray | np.generic):
            return self._checked(np.asarray(x))
        with np.errstate(over="ignore"):
            value = self.lo.dtype.type(x)
        if not np.isfinite(value) or Fraction(float(value)) != Fraction(x):
            raise UsageError(
                "this number is not one of the interval's format",
                where="floats.Interval",
                expected=f"a number of {self.fmt}",
                got=repr(x),
                fix="enclose it: floats.interval.around(Fraction(...), fmt)",
            )
        return point(np.asarray(value))

    def _checked(self, x: NDArray[Any]) -> Interval:
        result = point(x)
        self._same(result)
        return result

    def _with(self, f: Callable[..., ends.Ends], x: Operand) -> Interval:
        other = self._operand(x)
        return Interval(*f(self.lo, self.hi, other.lo, other.hi))

    def __add__(self, x: Operand) -> Interval:
        return self._with(ends.add, x)

    __radd__ = __add__

    def __sub__(self, x: Operand) -> Interval:
        return self._with(ends.sub, x)

    def __rsub__(self, x: Operand) -> Interval:
        return self._operand(x) - self

    def __mul__(self, x: Operand) -> Interval:
        return self._with(ends.mul, x)

    __rmul__ = __mul__

    def __truediv__(self, x: Operand) -> Interval:
        """The hull of {a / b: b != 0}: unbounded where the divisor meets zero; `interval.quotients` gives both pieces.

        Raises DomainError where the divisor is [0, 0].
        """
        divisor = self._operand(x)
        _nonzero(divisor)
        return self._with(ends.div, divisor)

    def __rtruediv__(self, x: Operand) -> Interval:
        return self._operand(x) / self

    def __neg__(self) -> Interval:
        return Interval(-self.hi, -self.lo)

    def __abs__(self) -> Interval:
        return Interval(*ends.magnitudes(self.lo, self.hi))

    def square(self) -> Interval:
        return Interval(*ends.square(self.lo, self.hi))

    def sqrt(self) -> Interval:
        """Raises DomainError where a negative number lies inside."""
        if (self.lo < 0).any():
            raise DomainError(
                "a square root of negative numbers",
                where="floats.Interval.sqrt",
                expected="lo >= 0",
                got=f"{int((self.lo < 0).sum())} elements with lo < 0, the least {float(self.lo.min())!r}",
                fix="intersect with [0, inf] where the values are known to be nonnegative",
            )
        return Interval(*ends.sqrt(self.lo, self.hi))

    def __pow__(self, n: int) -> Interval:
        """x^n for an integer n; x^0 = 1. For n < 0 the hull of 1 / x^-n over the nonzero x.

        Error   a relative (|n| - 1) 2^-52 in each end of a binary64 interval, one step of a binary32 one, while |n| is
                below 2^20; all outward
        """
        if not isinstance(n, int | np.integer) or isinstance(n, bool):
            raise UsageError(
                "an interval's power is an integer",
                where="floats.Interval.__pow__",
                expected="an int",
                got=repr(n),
                fix="for other exponents: exp(y log x)",
            )
        if n < 0:
            return self._operand(1) / self ** -int(n)
        if n == 0:
            return point(np.ones(self.shape, self.lo.dtype))
        return Interval(*ends.pown(self.lo, self.hi, int(n)))

    def minimum(self, x: Operand) -> Interval:
        other = self._operand(x)
        return Interval(np.minimum(self.lo, other.lo), np.minimum(self.hi, other.hi))

    def maximum(self, x: Operand) -> Interval:
        other = self._operand(x)
        return Interval(np.maximum(self.lo, other.lo), np.maximum(self.hi, other.hi))

    def sum(self, axis: int = -1) -> Interval:
        """The sum along one axis: each end is the exact sum, rounded outward once."""
        return Interval(
            rounded_sum(self.lo, axis, mode=Rounding.DOWN), rounded_sum(self.hi, axis, mode=Rounding.UP)
        )

    def __matmul__(self, x: Operand) -> Interval:
        """The matrix product by midpoints and radii, in binary64 for both formats.

        Shapes   [*s, m, k] @ [*s, k, n] -> [*s, m, n]
        Error    at most 1.5 times as wide as the exact hull, and a rounding term of about k 2^-53 |self| |x|
        Source   Rump 1999, doi:10.1023/A:1022374804152; see interval/matrix.py
        """
        other = self._operand(x)
        if self.lo.ndim < 2 or other.lo.ndim < 2 or self.shape[-1] != other.shape[-2]:
            raise ShapeError(
                "a matrix product of intervals joins the last axis with the last but one",
                where="floats.Interval.__matmul__",
                expected="[*s, m, k] @ [*s, k, n]",
                got=f"{list(self.shape)} @ {list(other.shape)}",
                fix="add the missing axis with move(lambda end: end[..., None])",
            )
        wide = (end.astype(np.float64) for end in (self.lo, self.hi, other.lo, other.hi))
        return enclose(*matmul_ends(*wide), self.fmt)

    def __rmatmul__(self, x: Operand) -> Interval:
        return self._operand(x) @ self


def _nonzero(divisor: Interval) -> None:
    zero = (divisor.lo == 0) & (divisor.hi == 0)
    if zero.any():
        raise DomainError(
            "division by the interval [0, 0]",
            where="floats.Interval",
            expected="a divisor that holds a nonzero number",
            got=f"{int(zero.sum())} elements that are exactly zero",
            fix="treat them apart",
        )


def point(x: NDArray[Any]) -> Interval:
    """Each number as the interval of itself. Raises UsageError for NaN and infinities."""
    return Interval(x, x)


def enclose(lo: NDArray[Any], hi: NDArray[Any], fmt: Format = BINARY32) -> Interval:
    """[lo, hi] rounded outward into binary32 or binary64.

    Shapes   lo, hi: [*s] of float dtypes of at most 64 bits
    """
    low, high = np.asarray(lo), np.asarray(hi)
    for end in (low, high):
        format_of(end.dtype)  # no silent cast from integers
    low, high = low.astype(np.float64), high.astype(np.float64)
    if fmt is BINARY64:
        return Interval(low, high)
    if fmt is BINARY32 and low.shape == high.shape:
        return Interval(*in_blocks(lambda a, b: (narrow(a, False), narrow(b, True)), 2, np.float32, low, high))
    return Interval(round_down(low, fmt), round_up(high, fmt))


def around(value: Fraction | str | int, fmt: Format = BINARY32) -> Interval:
    """The smallest interval around one exact number: a fraction, an integer, or a decimal such as "0.1"."""
    exact = Fraction(value)
    ends_of = (round_rational(exact, fmt, mode) for mode in (Rounding.DOWN, Rounding.UP))
    return Interval(*(np.asarray(end, fmt.dtype) for end in ends_of))


__all__ = ["Interval", "around", "enclose", "point"]
