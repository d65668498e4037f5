"""Float: the reference execution. numpy arrays in each value's declared dtype, one rounding per operation.

Folds go left to right with no fused operation and no BLAS, so that the bits are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from torchlean import floats
from torchlean.errors import DomainError
from torchlean.floats.entries import ROWS, entries
from torchlean.meaning import structure
from torchlean.meaning.dtypes import AnyDType, cast_array, kind_of, literal_array, round_array
from torchlean.meaning.functions import NamedFunctions
from torchlean.meaning.products import dot_into, dot_of_entries

Value: TypeAlias = NDArray[Any]
Operand: TypeAlias = "NDArray[Any] | float | int"


class Float(NamedFunctions):
    """Number system of the reference execution.

    Carrier     numpy array of the declared dtype
    Functions   correctly rounded (floats.rounded): one right answer
    NaN, inf    IEEE 754 results, silently
    """

    name = "float"
    zero: float = 0.0
    one: float = 1.0

    # sources

    def constant(self, array: Value) -> Value:
        return np.asarray(array)

    def literal(self, x: float | int | bool, like: Value) -> Value:
        return literal_array(x, like.dtype)

    def shape(self, x: Value) -> tuple[int, ...]:
        return tuple(np.shape(x))

    def dtype(self, x: Value) -> str:
        return np.asarray(x).dtype.name

    # elementwise

    def _pair(self, x: Operand, y: Operand) -> tuple[Value, Value]:
        """Untyped scalars take the other operand's dtype."""
        if isinstance(x, np.ndarray | np.generic):
            return np.asarray(x), np.asarray(y) if isinstance(y, np.ndarray | np.generic) else literal_array(y, x.dtype)
        if isinstance(y, np.ndarray | np.generic):
            return literal_array(x, y.dtype), np.asarray(y)
        return np.asarray(float(x), np.float32), np.asarray(float(y), np.float32)

    def add(self, x: Operand, y: Operand) -> Value:
        x, y = self._pair(x, y)
        with np.errstate(all="ignore"):
            return np.asarray(x + y)

    def sub(self, x: Operand, y: Operand) -> Value:
        x, y = self._pair(x, y)
        with np.errstate(all="ignore"):
            return np.asarray(x - y)

    def mul(self, x: Operand, y: Operand) -> Value:
        x, y = self._pair(x, y)
        with np.errstate(all="ignore"):
            return np.asarray(x * y)

    def div(self, x: Operand, y: Operand) -> Value:
        """IEEE division; integers divide toward zero and not by zero."""
        x, y = self._pair(x, y)
        with np.errstate(all="ignore"):
            if kind_of(x.dtype) == "float":
                return np.asarray(x / y)
            return divide_integers(x, y)

    def neg(self, x: Value) -> Value:
        with np.errstate(all="ignore"):
            return np.asarray(np.negative(x))

    def abs(self, x: Value) -> Value:
        with np.errstate(all="ignore"):
            return np.asarray(np.abs(x))

    def sqrt(self, x: Value) -> Value:
        return self._function("sqrt", x)

    def maximum(self, x: Operand, y: Operand) -> Value:
        """IEEE 754-2019 maximum: NaN propagates, -0 < +0."""
        if y is self.zero and isinstance(x, np.ndarray) and kind_of(x.dtype) == "float":
            zero = x.dtype.type(0)
            with np.errstate(all="ignore"):
                return np.asarray(np.maximum(x, zero) + zero)  # relu: adding +0 makes -0 into +0, and no other change
        x, y = self._pair(x, y)
        with np.errstate(all="ignore"):
            larger = np.maximum(x, y)
            if kind_of(x.dtype) != "float":
                return np.asarray(larger)
            # x + y is -0 only where both zeros are
            return np.asarray(np.where((x == 0) & (y == 0), x + y, larger))

    def minimum(self, x: Operand, y: Operand) -> Value:
        """IEEE 754-2019 minimum: NaN propagates, -0 < +0."""
        x, y = self._pair(x, y)
        with np.errstate(all="ignore"):
            smaller = np.minimum(x, y)
            if kind_of(x.dtype) != "float":
                return np.asarray(smaller)
            return np.asarray(np.where((x == 0) & (y == 0), -(-x - y), smaller))

    def floor(self, x: Value) -> Value:
        return np.asarray(np.floor(x)) if kind_of(x.dtype) == "float" else x

    def round(self, x: Value) -> Value:
        """To the nearest whole number, ties to even."""
        return np.asarray(np.rint(x)) if kind_of(x.dtype) == "float" else x

    def cast(self, x: Value, dtype: AnyDType) -> Value:
        return cast_array(x, dtype)

    def round_to(self, x: Value, dtype: AnyDType) -> Value:
        return round_array(x, dtype)

    def less(self, x: Operand, y: Operand) -> Value:
        x, y = self._pair(x, y)
        with np.errstate(all="ignore"):  # bfloat16 warns of NaN
            return np.asarray(x < y)

    def less_equal(self, x: Operand, y: Operand) -> Value:
        x, y = self._pair(x, y)
        with np.errstate(all="ignore"):  # bfloat16 warns of NaN
            return np.asarray(x <= y)

    def equal(self, x: Operand, y: Operand) -> Value:
        x, y = self._pair(x, y)
        with np.errstate(all="ignore"):  # bfloat16 warns of NaN
            return np.asarray(x == y)

    def isnan(self, x: Value) -> Value:
        return np.asarray(np.isnan(x)) if kind_of(x.dtype) == "float" else np.zeros(x.shape, bool)

    def logical_and(self, x: Value, y: Value) -> Value:
        return np.asarray(np.logical_and(x, y))

    def logical_or(self, x: Value, y: Value) -> Value:
        return np.asarray(np.logical_or(x, y))

    def logical_not(self, x: Value) -> Value:
        return np.asarray(np.logical_not(x))

    def where(self, condition: Value, x: Operand, y: Operand) -> Value:
        x, y = self._pair(x, y)
        return np.where(condition, x, y)

    def _function(self, name: str, x: Value) -> Value:
        return floats.rounded(name, np.asarray(x))

    # folds

    def sum(self, x: Value, axes: Sequence[int], keepdims: bool = False) -> Value:
        """Left to right over the reduced axes in row-major order, from +0, in the dtype of x."""
        terms, shape = structure.reduced_first(x, axes)
        with np.errstate(all="ignore"):
            if terms[:1].size >= 64 or len(terms) < 8:
                total = np.zeros(shape, x.dtype)
                for term in terms:
                    total = np.add(total, term)
            else:  # few long sums: a running sum is the same fold, without a Python step per term
                rows = np.empty((*shape, len(terms) + 1), x.dtype)
                rows[..., 0] = 0
                rows[..., 1:] = np.moveaxis(terms, 0, -1)
                total = np.add.accumulate(rows, axis=-1, dtype=x.dtype)[..., -1]
        return structure.restored(np.asarray(total, x.dtype), x.shape, axes, keepdims)

    def max(self, x: Value, axes: Sequence[int], keepdims: bool = False) -> Value:
        """The fold of `maximum`. Raises DomainError when there is nothing to fold."""
        terms, _ = structure.reduced_first(x, axes)
        structure.nonempty(len(terms), "max")
        with np.errstate(all="ignore"):
            largest = np.maximum.reduce(terms, axis=0)
            if kind_of(x.dtype) == "float":
                positive = ((terms == 0) & ~np.signbit(terms)).any(axis=0)
                zero = np.where(positive, x.dtype.type(0.0), x.dtype.type(-0.0)).astype(x.dtype)
                largest = np.where(largest == 0, zero, largest)
        return structure.restored(np.asarray(largest), x.shape, axes, keepdims)

    def argmax(self, x: Value, axis: int) -> Value:
        """The first position of the largest value, int64; the first NaN where there is one."""
        structure.nonempty(x.shape[axis], "argmax")
        return np.asarray(np.argmax(x, axis=axis)).astype(np.int64)

    def dot(self, x: Value, w: Value) -> Value:
        """Left to right over k: acc = acc + x[..., m, k] * w[..., n, k], from +0, two roundings a step.

        Shapes   x: [*s, m, k], w: [*s, n, k] -> [*s, m, n]; leading axes broadcast
        Method   meaning.products; of a large matrix of few entries, these alone
        """
        lead = np.broadcast_shapes(x.shape[:-2], w.shape[:-2])
        m, n, depth = x.shape[-2], w.shape[-2], x.shape[-1]
        out = np.zeros((*lead, m, n), x.dtype)
        if out.size == 0 or depth == 0:
            return out
        with np.errstate(all="ignore"):
            if w.ndim == 2:  # one matrix serves every leading axis: they are more rows
                rows = x.reshape(-1, depth)
                few = entries(w) if len(rows) <= ROWS and np.isfinite(rows).all() else None
                if few is None:
                    dot_into(rows, w, out.reshape(-1, n))
                else:
                    dot_of_entries(rows, few, out.reshape(-1, n))
            elif lead and m * n >= 256:  # one pair of matrices at a time, each block contiguous
                xs, ws = np.broadcast_to(x, (*lead, m, depth)), np.broadcast_to(w, (*lead, n, depth))
                for i in np.ndindex(*lead):
                    dot_into(xs[i], ws[i], out[i])
            else:
                dot_into(x, w, out)
        return out

    # structure

    def reshape(self, x: Value, shape: Sequence[int]) -> Value:
        return np.reshape(x, tuple(shape))

    def permute(self, x: Value, axes: Sequence[int]) -> Value:
        return structure.permute(x, axes)

    def broadcast(self, x: Value, shape: Sequence[int]) -> Value:
        return np.broadcast_to(x, tuple(shape))

    def slice(self, x: Value, starts: Sequence[int], stops: Sequence[int], steps: Sequence[int]) -> Value:
        return structure.slice_axes(x, starts, stops, steps)

    def concat(self, xs: Sequence[Value], axis: int) -> Value:
        return np.concatenate(list(xs), axis=axis)

    def pad(self, x: Value, low: Sequence[int], high: Sequence[int], value: float) -> Value:
        return structure.pad(x, low, high, literal_array(value, x.dtype))

    def gather(self, x: Value, indices: Value, axis: int) -> Value:
        return structure.gather(x, structure.indices_within(indices, x.shape[axis], "gather"), axis)

    def scatter_add(self, x: Value, indices: Value, axis: int, size: int) -> Value:
        """Zeros with `size` places along the axis; x's slices are added one after another, in index order.

        Shapes   x: [*a, *indices, *b] -> [*a, size, *b]
        """
        found = structure.indices_within(indices, size, "scatter_add").ravel()
        before, after = x.shape[:axis], x.shape[axis + np.ndim(indices) :]
        terms = np.moveaxis(x.reshape(*before, len(found), *after), axis, 0)
        out = np.zeros((size, *before, *after), x.dtype)
        with np.errstate(all="ignore"):
            for place, term in zip(found.tolist(), terms, strict=True):
                out[place] += term
        return np.moveaxis(out, 0, axis)

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
        return structure.windows(x, kernel, stride, dilation, low, high, literal_array(value, x.dtype))


def divide_integers(x: Value, y: Value) -> Value:
    """Integer division toward zero, modulo 2^bits. Raises DomainError for a zero divisor."""
    if not np.all(y):
        raise DomainError(
            "an integer was divided by zero",
            where="div",
            expected="a nonzero divisor",
            got="0",
            fix="replace the zeros with where before dividing",
        )
    quotient = x // y
    return np.asarray(np.where((x % y != 0) & ((x < 0) != (y < 0)), quotient + quotient.dtype.type(1), quotient))
