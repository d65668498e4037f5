"""Reductions over axes.

Shapes   x: [*s], axes counted from the end -> [*s] without them, or with 1 in their place (keepdims)
Floats   the reference folds left to right in row-major order from +0; another order is covered by `rounding`
"""

from __future__ import annotations

from typing import Any

import numpy as np

from torchlean.floats.sums import any_order_bound
from torchlean.ir import DERIVED, LEADING, Linear, Onnx, Op, TensorType
from torchlean.ops.common import UP, Attrs, Types, arity, is_float, normal_axes, only_attrs


def reduce_type(op: str) -> Any:
    """The type rule of a reduction."""

    def rule(attrs: Attrs, *types: TensorType) -> Types:
        arity(op, types, 1)
        only_attrs(op, attrs, "axes", "keepdims")
        (x,) = types
        is_float(op, x)
        axes = normal_axes(op, attrs["axes"], x.rank)
        keep = [(1 if i - x.rank in axes else s) for i, s in enumerate(x.shape)]
        drop = [s for i, s in enumerate(x.shape) if i - x.rank not in axes]
        return (x.with_shape(tuple(keep if attrs["keepdims"] else drop)),)

    return rule


def restore(g: Any, y: Any, x: Any, axes: Any, keepdims: bool) -> Any:
    """A reduced tensor spread over x's shape again."""
    if not keepdims:
        ones = normal_axes("reduce", axes, x.type.rank)
        y = g.reshape(y, shape=tuple(1 if i - x.type.rank in ones else s for i, s in enumerate(x.shape)))
    return g.broadcast(y, shape=x.shape) if y.shape != x.shape else y


def sum_meaning(N: Any, x: Any, *, axes: Any, keepdims: bool) -> Any:
    """The fold of additions."""
    return N.sum(x, axes=axes, keepdims=keepdims)


def sum_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any, *, axes: Any, keepdims: bool) -> Any:
    """The cotangent to every addend."""
    return (restore(g, cotangents[0], inputs[0], axes, keepdims),)


def sum_rounding(magnitudes: Any, result: np.ndarray, *, axes: Any, keepdims: bool) -> np.ndarray:
    """The any-order bound with unit weights. Source: SEMANTICS 3."""
    (x,) = magnitudes
    axes = tuple(axes)
    leaves = np.sum((x > 0).astype(np.float64), axis=axes, keepdims=keepdims)
    total = np.sum(x, axis=axes, keepdims=keepdims)
    return any_order_bound(total * UP, leaves, leaves, total * UP)


sum_ = Op("sum", reduce_type("sum"), sum_meaning, sum_vjp, batch=LEADING, interval=DERIVED, relax=Linear((0,)),
          rounding=sum_rounding, lower=lambda xp, x, *, axes, keepdims: xp.sum(x, axis=tuple(axes), keepdims=keepdims),
          onnx=Onnx("ReduceSum", since=13))  # fmt: skip

OPS = (sum_,)
