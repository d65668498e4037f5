"""Elementwise arithmetic and comparison.

Shapes   x, y: broadcast as in `common.broadcast_shapes` -> [*s]
Floats   one rounding each (IEEE 754-2019 section 5.4); neg, abs and comparisons are exact
"""

from __future__ import annotations

from typing import Any

import numpy as np

from torchlean.ir import ALIGNED, COMPARED, DERIVED, EXACT, Linear, Missing, Onnx, Op, boolean
from torchlean.ops.common import (
    TINY,
    UP,
    Attrs,
    Types,
    U,
    arity,
    broadcast_shapes,
    compare,
    elementwise,
    one_dtype,
    only_attrs,
    refuse,
    standard_rounding,
    unbroadcast,
)

PRODUCT = Missing("two perturbed factors: the bilinear rule comes with the nonlinear relaxations")
SMOOTH = Missing("lines for smooth functions come with the nonlinear relaxations")


def add_meaning(N: Any, x: Any, y: Any) -> Any:
    """x + y."""
    return N.add(x, y)


def add_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """The cotangent to both sides."""
    (x, y), (dz,) = inputs, cotangents
    return unbroadcast(g, dz, x), unbroadcast(g, dz, y)


def sub_meaning(N: Any, x: Any, y: Any) -> Any:
    """x - y."""
    return N.sub(x, y)


def sub_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """The cotangent to x, its negative to y."""
    (x, y), (dz,) = inputs, cotangents
    return unbroadcast(g, dz, x), unbroadcast(g, g.neg(dz), y)


def sum_rounding(magnitudes: Any, result: np.ndarray) -> np.ndarray:
    """u |x + y| + 2^-126. Source: SEMANTICS 3, residual add."""
    return standard_rounding(magnitudes, result)


def mul_meaning(N: Any, x: Any, y: Any) -> Any:
    """x * y."""
    return N.mul(x, y)


def mul_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """Each side takes the cotangent times the other."""
    (x, y), (dz,) = inputs, cotangents
    return unbroadcast(g, g.mul(dz, y), x), unbroadcast(g, g.mul(dz, x), y)


def mul_rounding(magnitudes: Any, result: np.ndarray) -> np.ndarray:
    """u |x y| and the tiny terms of one product whose operands may be flushed.

    Source   SEMANTICS 3 with N = 1: 2^-126 (1 + u)(3 + |x| + |y|).
    """
    x, y = magnitudes
    bound: np.ndarray = (U * x * y + TINY * (1 + U) * (3 + x + y)) * UP
    return bound


def div_meaning(N: Any, x: Any, y: Any) -> Any:
    """x / y."""
    return N.div(x, y)


def div_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """d/dx = 1 / y, d/dy = -(x / y) / y."""
    (x, y), (z,), (dz,) = inputs, outputs, cotangents
    return unbroadcast(g, g.div(dz, y), x), unbroadcast(g, g.neg(g.div(g.mul(dz, z), y)), y)


DIV_ROUNDING = Missing("needs a lower bound on the divisor, which magnitudes do not give")


def neg_meaning(N: Any, x: Any) -> Any:
    """-x: the sign bit flipped."""
    return N.neg(x)


def neg_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """The cotangent's negative."""
    return (g.neg(cotangents[0]),)


def compare_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """A comparison has no derivative."""
    return (None, None)


def less_meaning(N: Any, x: Any, y: Any) -> Any:
    """x < y; false when either is NaN."""
    return N.less(x, y)


def less_equal_meaning(N: Any, x: Any, y: Any) -> Any:
    """x <= y; false when either is NaN."""
    return N.less_equal(x, y)


def equal_meaning(N: Any, x: Any, y: Any) -> Any:
    """x == y; false when either is NaN, true for -0 and +0."""
    return N.equal(x, y)


DISCRETE = Missing("a discrete result: no line is tight; use the interval")


def where_type(attrs: Attrs, *types: Any) -> Types:
    """A bool and two tensors of one dtype."""
    arity("where", types, 3)
    only_attrs("where", attrs)
    if types[0].dtype != boolean:
        raise refuse("where", "the condition must be bool", "bool[...]", str(types[0]), "compare: less(x, y)")
    dtype = one_dtype("where", types[1:])
    shape = broadcast_shapes("where", types[1].shape, types[2].shape)
    return (types[1].with_shape(broadcast_shapes("where", types[0].shape, shape)).with_dtype(dtype),)


def where_meaning(N: Any, condition: Any, x: Any, y: Any) -> Any:
    """x where the condition is true, else y."""
    return N.where(condition, x, y)


def where_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """The cotangent to the chosen side, zero to the other."""
    (c, x, y), (dz,) = inputs, cotangents
    zero = g.literal(0.0, dz)
    return None, unbroadcast(g, g.where(c, dz, zero), x), unbroadcast(g, g.where(c, zero, dz), y)


def _op(name: str, type_rule: Any, meaning: Any, vjp: Any, relax: Any, rounding: Any, lower: Any, onnx: Any) -> Op:
    return Op(name, type_rule, meaning, vjp, batch=ALIGNED, interval=DERIVED, relax=relax, rounding=rounding,
              lower=lower, onnx=onnx)  # fmt: skip


add = _op("add", elementwise("add", 2), add_meaning, add_vjp, Linear((0, 1)), sum_rounding,
          lambda xp, x, y: x + y, Onnx("Add", since=7))  # fmt: skip
sub = _op("sub", elementwise("sub", 2), sub_meaning, sub_vjp, Linear((0, 1)), sum_rounding,
          lambda xp, x, y: x - y, Onnx("Sub", since=7))  # fmt: skip
mul = _op("mul", elementwise("mul", 2), mul_meaning, mul_vjp, Linear((0, 1), jointly=False), mul_rounding,
          lambda xp, x, y: x * y, Onnx("Mul", since=7))  # fmt: skip
div = _op("div", elementwise("div", 2), div_meaning, div_vjp, Linear((0,), jointly=False), DIV_ROUNDING,
          lambda xp, x, y: x / y, Onnx("Div", since=7))  # fmt: skip
neg = _op("neg", elementwise("neg", 1), neg_meaning, neg_vjp, Linear((0,)), EXACT,
          lambda xp, x: -x, Onnx("Neg", since=6))  # fmt: skip
less = _op("less", compare("less"), less_meaning, compare_vjp, DISCRETE, COMPARED,
           lambda xp, x, y: x < y, Onnx("Less", since=9))  # fmt: skip
less_equal = _op("less_equal", compare("less_equal"), less_equal_meaning, compare_vjp, DISCRETE, COMPARED,
                 lambda xp, x, y: x <= y, Onnx("LessOrEqual", since=12))  # fmt: skip
equal = _op("equal", compare("equal"), equal_meaning, compare_vjp, DISCRETE, COMPARED,
            lambda xp, x, y: x == y, Onnx("Equal", since=11))  # fmt: skip
where = _op("where", where_type, where_meaning, where_vjp, Linear((1, 2)), EXACT,
            lambda xp, c, x, y: xp.where(c, x, y), Onnx("Where", since=9))  # fmt: skip

OPS = (add, sub, mul, div, neg, less, less_equal, equal, where)
