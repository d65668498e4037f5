"""A value of a graph under construction, with Python's operators.

A `Tensor` holds no numbers: every operator adds a node to its builder's graph. An op is looked up by its exact name in
the builder's table, so this file knows no op.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from torchlean.errors import UsageError
from torchlean.ir.dims import Shape
from torchlean.ir.graph import Value
from torchlean.ir.types import DType, TensorType

if TYPE_CHECKING:
    from torchlean.ir.builder import Builder


class Tensor:
    """The value `value` of the graph that `builder` builds."""

    __slots__ = ("builder", "value")
    __array_ufunc__ = None  # numpy must not take over `array + tensor`

    def __init__(self, builder: Builder, value: Value) -> None:
        self.builder, self.value = builder, value

    @property
    def type(self) -> TensorType:
        return self.builder.type(self.value)

    @property
    def shape(self) -> Shape:
        return self.type.shape

    @property
    def dtype(self) -> DType:
        return self.type.dtype

    def _call(self, op: str, *inputs: Any, **attrs: Any) -> Tensor:
        result = self.builder.apply(op, *inputs, **attrs)
        assert isinstance(result, Tensor)
        return result

    def __add__(self, other: Any) -> Tensor:
        return self._call("add", self, other)

    def __radd__(self, other: Any) -> Tensor:
        return self._call("add", other, self)

    def __sub__(self, other: Any) -> Tensor:
        return self._call("sub", self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return self._call("sub", other, self)

    def __mul__(self, other: Any) -> Tensor:
        return self._call("mul", self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return self._call("mul", other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return self._call("div", self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return self._call("div", other, self)

    def __neg__(self) -> Tensor:
        return self._call("neg", self)

    def __abs__(self) -> Tensor:
        return self._call("abs", self)

    def __matmul__(self, other: Any) -> Tensor:
        return self._call("matmul", self, other)

    def __pow__(self, exponent: Any) -> Tensor:
        if exponent == 2:
            return self._call("square", self)
        raise UsageError(
            "only the square of a tensor is an op here",
            where="tensor ** exponent",
            expected="x ** 2",
            got=f"x ** {exponent!r}",
            fix="multiply explicitly, or use exp(exponent * log(x)) for positive x",
        )

    def __lt__(self, other: Any) -> Tensor:
        return self._call("less", self, other)

    def __gt__(self, other: Any) -> Tensor:
        return self._call("less", other, self)

    def __le__(self, other: Any) -> Tensor:
        return self._call("less_equal", self, other)

    def __ge__(self, other: Any) -> Tensor:
        return self._call("less_equal", other, self)

    def __and__(self, other: Any) -> Tensor:
        return self._call("logical_and", self, other)

    def __or__(self, other: Any) -> Tensor:
        return self._call("logical_or", self, other)

    def __invert__(self) -> Tensor:
        return self._call("logical_not", self)

    def reshape(self, *shape: Any) -> Tensor:
        sizes = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
        return self._call("reshape", self, shape=tuple(sizes))

    def permute(self, *axes: int) -> Tensor:
        return self._call("permute", self, axes=axes)

    def sum(self, axes: Any = None, keepdims: bool = False) -> Tensor:
        return self._call("sum", self, axes=self._axes(axes), keepdims=keepdims)

    def mean(self, axes: Any = None, keepdims: bool = False) -> Tensor:
        return self._call("mean", self, axes=self._axes(axes), keepdims=keepdims)

    def max(self, axes: Any = None, keepdims: bool = False) -> Tensor:
        return self._call("max", self, axes=self._axes(axes), keepdims=keepdims)

    def _axes(self, axes: Any) -> tuple[int, ...]:
        if axes is None:
            return tuple(range(-self.type.rank, 0))
        return (axes,) if isinstance(axes, int) else tuple(axes)

    def __bool__(self) -> NoReturn:
        raise UsageError(
            "the value of a tensor is not known while a program is traced",
            where=f"if/while/and/or on {self!r}",
            expected="a choice that is part of the program",
            got="a Python branch on a tensor",
            fix="write where(condition, a, b), maximum(a, b) or clip(x, lo, hi)",
        )

    def __iter__(self) -> NoReturn:
        raise UsageError(
            "a tensor cannot be looped over while a program is traced",
            where=f"for ... in {self!r}",
            expected="an op over the axis",
            got="a Python loop",
            fix="use sum, max or scan over the axis, or slice it",
        )

    def __repr__(self) -> str:
        return f"{self.value}: {self.type}"
