"""SoftFloat: the executable model of IEEE 754, by integers, in a chosen format and rounding direction.

In binary32 to nearest-even it is the reference execution once more, sharing no arithmetic with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from torchlean import floats
from torchlean.errors import UsageError
from torchlean.floats import BINARY32, BINARY64, Format, Rounding, soft
from torchlean.floats.soft import DEFAULT, Predicate, Rules
from torchlean.frozen import frozen
from torchlean.meaning import structure
from torchlean.meaning.dtypes import AnyDType, cast_array, kind_of, literal_array, name_of, numpy_dtype
from torchlean.meaning.float_system import Float
from torchlean.meaning.functions import NamedFunctions
from torchlean.meaning.system import fold_dot

_INTEGERS = Float()  # integers and bools are exact in every number system: one implementation


@frozen(eq=False)
class SoftArray:
    """Patterns of one format, and the dtype that the program declares for them."""

    bits: NDArray[Any]
    fmt: Format
    dtype: str

    @property
    def shape(self) -> tuple[int, ...]:
        return self.bits.shape

    @property
    def ndim(self) -> int:
        return self.bits.ndim

    def with_bits(self, bits: NDArray[Any]) -> SoftArray:
        return SoftArray(np.asarray(bits), self.fmt, self.dtype)

    def numpy(self) -> NDArray[Any]:
        """The numbers: in the format's own dtype where programs compute in it, else in float64."""
        if self.fmt in floats.FORMATS.values():
            return np.ascontiguousarray(self.bits).view(self.fmt.dtype).reshape(self.shape)
        return soft.decode(self.bits, self.fmt)


Value: TypeAlias = "SoftArray | NDArray[Any]"
Operand: TypeAlias = "SoftArray | NDArray[Any] | float | int"


class SoftFloat(NamedFunctions):
    """Number system of IEEE 754 arithmetic in a format and direction.

    Carrier     SoftArray for floats, numpy arrays for integers and bools
    Formats     what the program declares float32 is a number of `fmt`; other float dtypes keep their own format
    Rounding    every operation, constant and cast rounds once, in `rounding`; literals are rounded to their declared
                dtype before, as in every system; round_to is to nearest-even, as in every system
    Functions   correctly rounded: floats.rounded, to odd in binary64 first where numpy has no dtype for the format
    Folds       left to right from +0, no fused operation
    NaN, inf    IEEE 754 results by `rules`, silently

    Raises      UsageError for values of another format, and for a format without infinity whose overflow is not stated
    """

    zero: float = 0.0
    one: float = 1.0

    def __init__(self, fmt: Format = BINARY32, rounding: Rounding = Rounding.NEAREST, rules: Rules = DEFAULT) -> None:
        self.fmt, self.rounding, self.rules = fmt, rounding, rules
        soft.encode(0, fmt, rounding, rules)  # refuses what no operation would accept

    @property
    def name(self) -> str:
        return f"softfloat({self.fmt}, {self.rounding.value})"

    # sources

    def format_of(self, dtype: str) -> Format:
        """The format of values that the program declares to be of this dtype."""
        return self.fmt if dtype == "float32" else floats.format_of(numpy_dtype(dtype))

    def constant(self, array: NDArray[Any]) -> Value:
        array = np.asarray(array)
        if kind_of(array.dtype) != "float":
            return array
        fmt = self.format_of(array.dtype.name)
        return SoftArray(soft.encode(array, fmt, self.rounding, self.rules).bits, fmt, array.dtype.name)

    def literal(self, x: float | int | bool, like: Value) -> Value:
        return self.constant(literal_array(x, _dtype(like)))

    def shape(self, x: Value) -> tuple[int, ...]:
        return tuple(x.shape)

    def dtype(self, x: Value) -> str:
        return _dtype(x)

    # elementwise

    def _pair(self, x: Operand, y: Operand) -> tuple[Value, Value]:
        """Untyped scalars take the other operand's dtype."""
        given = [v for v in (x, y) if isinstance(v, SoftArray | np.ndarray | np.generic)]
        like = given[0] if given else np.zeros((), np.float32)
        first, second = (
            v if isinstance(v, SoftArray) else np.asarray(v) if isinstance(v, np.ndarray | np.generic)
            else self.literal(v, like)
            for v in (x, y)
        )  # fmt: skip
        for v in (first, second):
            self._own(v)
        return first, second

    def _own(self, x: Value) -> None:
        if isinstance(x, SoftArray) and x.fmt != self.format_of(x.dtype):
            raise UsageError(
                "a value of another format",
                where=self.name,
                expected=f"{x.dtype} values in {self.format_of(x.dtype)}",
                got=f"{x.dtype} values in {x.fmt}",
                fix="make constants with this system's `constant`",
            )

    def _arithmetic(self, name: str, x: Operand, y: Operand) -> Value:
        x, y = self._pair(x, y)
        if not isinstance(x, SoftArray) or not isinstance(y, SoftArray):
            result: Value = getattr(_INTEGERS, name)(x, y)
            return result
        operation = {"add": soft.add, "sub": soft.sub, "mul": soft.mul, "div": soft.div}[name]
        return x.with_bits(operation(x.bits, y.bits, x.fmt, self.rounding, self.rules).bits)

    def add(self, x: Operand, y: Operand) -> Value:
        return self._arithmetic("add", x, y)

    def sub(self, x: Operand, y: Operand) -> Value:
        return self._arithmetic("sub", x, y)

    def mul(self, x: Operand, y: Operand) -> Value:
        return self._arithmetic("mul", x, y)

    def div(self, x: Operand, y: Operand) -> Value:
        """IEEE division; integers divide toward zero and not by zero."""
        return self._arithmetic("div", x, y)

    def neg(self, x: Value) -> Value:
        if not isinstance(x, SoftArray):
            return _INTEGERS.neg(x)
        return x.with_bits(x.bits ^ x.fmt.storage.type(x.fmt.magnitude_mask + 1))

    def abs(self, x: Value) -> Value:
        if not isinstance(x, SoftArray):
            return _INTEGERS.abs(x)
        return x.with_bits(x.bits & x.fmt.storage.type(x.fmt.magnitude_mask))

    def sqrt(self, x: Value) -> Value:
        if not isinstance(x, SoftArray):
            return _INTEGERS.sqrt(x)
        self._own(x)
        return x.with_bits(soft.sqrt(x.bits, x.fmt, self.rounding, self.rules).bits)

    def _extremum(self, name: str, x: Operand, y: Operand) -> Value:
        x, y = self._pair(x, y)
        if not isinstance(x, SoftArray) or not isinstance(y, SoftArray):
            result: Value = getattr(_INTEGERS, name)(x, y)
            return result
        operation = soft.maximum if name == "maximum" else soft.minimum
        return x.with_bits(operation(x.bits, y.bits, x.fmt, self.rules).bits)

    def maximum(self, x: Operand, y: Operand) -> Value:
        """IEEE 754-2019 maximum: NaN propagates, -0 < +0."""
        return self._extremum("maximum", x, y)

    def minimum(self, x: Operand, y: Operand) -> Value:
        """IEEE 754-2019 minimum: NaN propagates, -0 < +0."""
        return self._extremum("minimum", x, y)

    def floor(self, x: Value) -> Value:
        return self._whole(x, Rounding.DOWN)

    def round(self, x: Value) -> Value:
        """To the nearest whole number, ties to even."""
        return self._whole(x, Rounding.NEAREST)

    def _whole(self, x: Value, mode: Rounding) -> Value:
        if not isinstance(x, SoftArray):
            return x
        return x.with_bits(soft.round_to_integral(x.bits, x.fmt, mode, self.rules).bits)

    def cast(self, x: Value, dtype: AnyDType) -> Value:
        """Between float dtypes one rounding. To an integer: toward zero, then clamped to the range; NaN becomes 0."""
        return self._cast(x, dtype, self.rounding, Rounding.TOWARD_ZERO)

    def _cast(self, x: Value, dtype: AnyDType, mode: Rounding, to_integer: Rounding) -> Value:
        name, kind = name_of(dtype), kind_of(dtype)
        if not isinstance(x, SoftArray):
            if kind != "float":
                return cast_array(x, dtype)
            whole, fmt = x.view(np.uint8) if x.dtype == bool else x, self.format_of(name)
            return SoftArray(soft.from_integer(whole, fmt, mode, self.rules).bits, fmt, name)
        if kind == "float":
            fmt = self.format_of(name)
            return SoftArray(soft.convert(x.bits, x.fmt, fmt, mode, self.rules).bits, fmt, name)
        if kind == "bool":
            return np.asarray((x.bits & x.fmt.storage.type(x.fmt.magnitude_mask)) != 0)
        return soft.to_integer(x.bits, x.fmt, numpy_dtype(dtype), to_integer).bits

    def round_to(self, x: Value, dtype: AnyDType) -> Value:
        """x on the grid of another dtype, to nearest-even; integers also clamp, and NaN becomes 0 there."""
        if not isinstance(x, SoftArray):
            return _INTEGERS.round_to(x, dtype)
        name = name_of(dtype)
        if kind_of(dtype) == "float":
            grid = self.fmt if name == "float32" else floats.format_of(name)
            beyond = replace(self.rules, overflow=soft.Overflow.SPECIAL)  # a program that saturates clamps before
            small = soft.convert(x.bits, x.fmt, grid, Rounding.NEAREST, beyond).bits
            return SoftArray(soft.convert(small, grid, x.fmt, Rounding.NEAREST, self.rules).bits, x.fmt, x.dtype)
        moved = self._cast(x, dtype, Rounding.NEAREST, Rounding.NEAREST)
        return self._cast(moved, x.dtype, Rounding.NEAREST, Rounding.NEAREST)

    def _compare(self, name: str, x: Operand, y: Operand) -> NDArray[Any]:
        x, y = self._pair(x, y)
        if not isinstance(x, SoftArray) or not isinstance(y, SoftArray):
            result: NDArray[Any] = getattr(_INTEGERS, name)(x, y)
            return result
        return soft.compare(x.bits, y.bits, x.fmt, Predicate[f"QUIET_{name.upper()}"]).bits

    def less(self, x: Operand, y: Operand) -> Value:
        return self._compare("less", x, y)

    def less_equal(self, x: Operand, y: Operand) -> Value:
        return self._compare("less_equal", x, y)

    def equal(self, x: Operand, y: Operand) -> Value:
        return self._compare("equal", x, y)

    def isnan(self, x: Value) -> Value:
        return floats.bits.is_nan(x.bits, x.fmt) if isinstance(x, SoftArray) else _INTEGERS.isnan(x)

    def logical_and(self, x: NDArray[Any], y: NDArray[Any]) -> Value:
        return _INTEGERS.logical_and(x, y)

    def logical_or(self, x: NDArray[Any], y: NDArray[Any]) -> Value:
        return _INTEGERS.logical_or(x, y)

    def logical_not(self, x: NDArray[Any]) -> Value:
        return _INTEGERS.logical_not(x)

    def where(self, condition: NDArray[Any], x: Operand, y: Operand) -> Value:
        x, y = self._pair(x, y)
        if not isinstance(x, SoftArray) or not isinstance(y, SoftArray):
            return _INTEGERS.where(condition, x, y)  # type: ignore[arg-type]
        return x.with_bits(np.where(condition, x.bits, y.bits))

    def _function(self, name: str, x: Value) -> Value:
        if not isinstance(x, SoftArray):
            raise UsageError(
                f"{name} of integers",
                where=self.name,
                expected="a float value",
                got=_dtype(x),
                fix='cast(x, dtype="f32") first',
            )
        self._own(x)
        if x.fmt in floats.FORMATS.values():
            result = floats.rounded(name, x.numpy(), self.rounding, x.fmt)
            return x.with_bits(np.ascontiguousarray(result).view(x.fmt.storage).reshape(x.shape))
        # To odd in binary64, then rounded: once in effect, since binary64 has two bits more (Boldo and Melquiond 2008).
        odd = floats.rounded(name, x.numpy(), Rounding.TO_ODD, BINARY64)
        return x.with_bits(soft.encode(odd, x.fmt, self.rounding, self.rules).bits)

    # folds

    def sum(self, x: Value, axes: Sequence[int], keepdims: bool = False) -> Value:
        """Left to right over the reduced axes in row-major order, from +0."""
        if not isinstance(x, SoftArray):
            return _INTEGERS.sum(x, axes, keepdims)
        self._own(x)
        terms, shape = structure.reduced_first(x.bits, axes)
        total = np.zeros(shape, x.fmt.storage)
        for term in terms:
            total = soft.add(total, term, x.fmt, self.rounding, self.rules).bits
        return x.with_bits(structure.restored(total, x.shape, axes, keepdims))

    def max(self, x: Value, axes: Sequence[int], keepdims: bool = False) -> Value:
        """The fold of `maximum`. Raises DomainError when there is nothing to fold."""
        if not isinstance(x, SoftArray):
            return _INTEGERS.max(x, axes, keepdims)
        terms, _ = structure.reduced_first(x.bits, axes)
        structure.nonempty(len(terms), "max")
        largest = terms[0]
        for term in terms[1:]:
            largest = soft.maximum(largest, term, x.fmt, self.rules).bits
        return x.with_bits(structure.restored(largest, x.shape, axes, keepdims))

    def argmax(self, x: Value, axis: int) -> NDArray[Any]:
        """The first position of the largest value, int64; the first NaN where there is one."""
        return _INTEGERS.argmax(soft.decode(x.bits, x.fmt) if isinstance(x, SoftArray) else x, axis)

    def dot(self, x: Value, w: Value) -> Value:
        """The definition itself: a product and a sum rounded at each step.

        Shapes   x: [*s, m, k], w: [*s, n, k] -> [*s, m, n]
        """
        if not isinstance(x, SoftArray) or not isinstance(w, SoftArray):
            return _INTEGERS.dot(x, w)  # type: ignore[arg-type]
        result: Value = fold_dot(self, x, w)
        return result

    # structure

    def _move(self, x: Value, move: Callable[[NDArray[Any]], NDArray[Any]]) -> Value:
        return x.with_bits(move(x.bits)) if isinstance(x, SoftArray) else move(x)

    def reshape(self, x: Value, shape: Sequence[int]) -> Value:
        return self._move(x, lambda a: np.reshape(a, tuple(shape)))

    def permute(self, x: Value, axes: Sequence[int]) -> Value:
        return self._move(x, partial(structure.permute, axes=axes))

    def broadcast(self, x: Value, shape: Sequence[int]) -> Value:
        return self._move(x, lambda a: np.broadcast_to(a, tuple(shape)))

    def slice(self, x: Value, starts: Sequence[int], stops: Sequence[int], steps: Sequence[int]) -> Value:
        return self._move(x, lambda a: structure.slice_axes(a, starts, stops, steps))

    def concat(self, xs: Sequence[Value], axis: int) -> Value:
        for x in xs:
            self._own(x)
        return self._move(xs[0], lambda _: np.concatenate([_array(x) for x in xs], axis=axis))

    def pad(self, x: Value, low: Sequence[int], high: Sequence[int], value: float) -> Value:
        filling = _array(self.literal(value, x))
        return self._move(x, lambda a: structure.pad(a, low, high, filling))

    def gather(self, x: Value, indices: NDArray[Any], axis: int) -> Value:
        found = structure.indices_within(indices, x.shape[axis], "gather")
        return self._move(x, lambda a: structure.gather(a, found, axis))

    def scatter_add(self, x: Value, indices: NDArray[Any], axis: int, size: int) -> Value:
        """Zeros with `size` places along the axis; x's slices are added one after another, in index order.

        Shapes   x: [*a, *indices, *b] -> [*a, size, *b]
        """
        if not isinstance(x, SoftArray):
            return _INTEGERS.scatter_add(x, indices, axis, size)
        self._own(x)
        found = structure.indices_within(indices, size, "scatter_add").ravel()
        before, after = x.shape[:axis], x.shape[axis + np.ndim(indices) :]
        terms = np.moveaxis(x.bits.reshape(*before, len(found), *after), axis, 0)
        out = np.zeros((size, *before, *after), x.fmt.storage)
        for place, term in zip(found.tolist(), terms, strict=True):
            out[place] = soft.add(out[place], term, x.fmt, self.rounding, self.rules).bits
        return x.with_bits(np.moveaxis(out, 0, axis))

    def windows(
        self,
        x: Value,
        kernel: Sequence[int],
        stride: Sequence[int],
        dilation: Sequence[int],
        low: Sequence[int],
        high: Sequence[int],
        value: float,
    ) -> Value:
        """Shapes   x: [*b, c, *sp] -> [*b, c, *out, *kernel]"""
        filling = _array(self.literal(value, x))
        return self._move(x, lambda a: structure.windows(a, kernel, stride, dilation, low, high, filling))


def _array(x: Value) -> NDArray[Any]:
    return x.bits if isinstance(x, SoftArray) else x


def _dtype(x: Value) -> str:
    return x.dtype if isinstance(x, SoftArray) else np.asarray(x).dtype.name
