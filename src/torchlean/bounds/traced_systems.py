"""What interval rules and lines compute with when the numbers are graph values.

`Spans` is the number system whose carrier is a pair of tensors; `Namespace` is the array namespace of the lines.
A method that neither has is a MissingRule, never a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from torchlean.errors import MissingRule
from torchlean.frozen import frozen
from torchlean.grad.reverse import zeros
from torchlean.ir import Builder, Tensor
from torchlean.ir.types import numpy_dtype

INCREASING = frozenset({"exp", "log", "sqrt", "tanh", "sigmoid", "expm1", "log1p", "erf", "floor", "round"})
FOLDS = frozenset({"sum", "max"})  # and these rise in every entry, as what moves entries does
STRUCTURAL = frozenset({"reshape", "permute", "broadcast", "slice", "pad", "gather"})


@frozen
class Span:
    """lo <= value <= hi, and the same as a middle and a radius. What nobody reads is dropped with the graph's dead
    nodes.
    """

    lo: Tensor
    hi: Tensor
    middle: Tensor
    radius: Tensor

    @staticmethod
    def between(lo: Tensor, hi: Tensor) -> Span:
        return Span(lo, hi, (lo + hi) * 0.5, (hi - lo) * 0.5)

    @staticmethod
    def around(middle: Tensor, radius: Tensor) -> Span:
        return Span(middle - radius, middle + radius, middle, radius)

    @staticmethod
    def point(x: Tensor) -> Span:
        return Span(x, x, x, zeros(x.builder, x))


class Spans:
    """The number system of spans. A Tensor or a Python number is a span of one value.

    Sound over the reals: the result holds every value that the operands can give.
    """

    zero, one = 0.0, 1.0

    def __init__(self, g: Builder) -> None:
        self.g = g

    def literal(self, x: Any, like: Any) -> Tensor:
        return self.g.literal(x, like.lo if isinstance(like, Span) else like)

    def constant(self, array: Any) -> Tensor:
        return self.g.constant(array)

    def shape(self, x: Any) -> Any:
        return (x.lo if isinstance(x, Span) else x).shape

    def dtype(self, x: Any) -> str:
        return self.g.dtype(x.lo if isinstance(x, Span) else x)

    def add(self, x: Any, y: Any) -> Any:
        return Span.between(_lo(x) + _lo(y), _hi(x) + _hi(y)) if _moves(x, y) else self.g.add(x, y)

    def sub(self, x: Any, y: Any) -> Any:
        return Span.between(_lo(x) - _hi(y), _hi(x) - _lo(y)) if _moves(x, y) else self.g.sub(x, y)

    def neg(self, x: Any) -> Any:
        return Span.between(-x.hi, -x.lo) if isinstance(x, Span) else self.g.neg(x)

    def mul(self, x: Any, y: Any) -> Any:
        """The least and the largest of the four products of ends; a square where both are one value."""
        if not _moves(x, y):
            return self.g.mul(x, y)
        if x is y:
            low, high = self.g.square(x.lo), self.g.square(x.hi)
            near = self.g.where(self.g.less(x.lo * x.hi, 0.0), 0.0, self.g.minimum(low, high))
            return Span.between(near, self.g.maximum(low, high))
        if not (isinstance(x, Span) and isinstance(y, Span)):
            a, b = _lo(x) * _lo(y), _hi(x) * _hi(y)
            return Span.between(self.g.minimum(a, b), self.g.maximum(a, b))
        corners = [a * b for a in (x.lo, x.hi) for b in (y.lo, y.hi)]
        low, high = corners[0], corners[0]
        for corner in corners[1:]:
            low, high = self.g.minimum(low, corner), self.g.maximum(high, corner)
        return Span.between(low, high)

    def abs(self, x: Any) -> Any:
        if not isinstance(x, Span):
            return self.g.abs(x)
        g = self.g
        return Span.between(g.maximum(g.maximum(x.lo, -x.hi), 0.0), g.maximum(-x.lo, x.hi))

    def maximum(self, x: Any, y: Any) -> Any:
        return self._ends("maximum", x, y) if _moves(x, y) else self.g.maximum(x, y)

    def minimum(self, x: Any, y: Any) -> Any:
        return self._ends("minimum", x, y) if _moves(x, y) else self.g.minimum(x, y)

    def concat(self, xs: Sequence[Any], axis: int) -> Any:
        if not _moves(*xs):
            return self.g.concat(*xs, axis=axis)
        return Span.between(*(self.g.concat(*(end(x) for x in xs), axis=axis) for end in (_lo, _hi)))

    def _ends(self, op: str, *xs: Any, **attrs: Any) -> Span:
        """An op that rises in each operand."""
        call = getattr(self.g, op)
        return Span.between(call(*map(_lo, xs), **attrs), call(*map(_hi, xs), **attrs))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)

        def call(x: Any, *others: Any, **attrs: Any) -> Any:
            if name in FOLDS:
                axes, *rest = others or (attrs.pop("axes"),)
                others, attrs = (), {"axes": axes, "keepdims": rest[0] if rest else attrs.get("keepdims", False)}
            if not _moves(x, *others):
                return getattr(self.g, name)(x, *others, **attrs)
            if name in INCREASING | STRUCTURAL | FOLDS and isinstance(x, Span) and not _moves(*others):
                return self._ends(name, x, *others, **attrs)
            raise MissingRule(f"bounds as a graph have no rule for {name}", where="bounds",
                              expected="an op that is linear, or made of " + ", ".join(sorted(INCREASING)),
                              got=name, fix="train on a network of linear layers and piecewise-linear or rising "
                              "activations")  # fmt: skip

        return call


class Namespace:
    """The array namespace in which a `relax` rule builds its lines as graph values."""

    def __init__(self, g: Builder) -> None:
        self.g = g

    def zeros_like(self, x: Tensor) -> Tensor:
        return zeros(self.g, x)

    def ones_like(self, x: Tensor) -> Tensor:
        return self.full_like(x, 1.0)

    def full_like(self, x: Tensor, value: Any) -> Tensor:
        one = value if isinstance(value, Tensor) else self.g.literal(float(value), x)
        return one if one.shape == x.shape else self.g.broadcast(one, shape=x.shape)

    def clip(self, x: Tensor, lo: Any = None, hi: Any = None) -> Tensor:
        x = x if lo is None else self.g.maximum(x, lo)
        return x if hi is None else self.g.minimum(x, hi)

    def finfo(self, dtype: Any) -> Any:
        return np.finfo(numpy_dtype(dtype.numpy))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name in ("where", "maximum", "minimum", "abs", "exp", "log", "tanh", "sqrt", "sin", "cos"):
            return getattr(self.g, name)
        if name.startswith("_") and name != "__name__":  # by which a rule asks for numpy's form or torch's
            raise AttributeError(name)
        raise MissingRule("these lines cannot be built as a graph", where="bounds", expected="where, clip, maximum, "
                          "minimum and elementary functions", got=f"xp.{name}",
                          fix="train on interval bounds: losses.IBP")  # fmt: skip


def _moves(*xs: Any) -> bool:
    return any(isinstance(x, Span) for x in xs)


def _lo(x: Any) -> Any:
    return x.lo if isinstance(x, Span) else x


def _hi(x: Any) -> Any:
    return x.hi if isinstance(x, Span) else x
