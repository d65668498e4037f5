"""Elementwise arithmetic and comparison.

Shapes   x, y: broadcast as in `common.broadcast_shapes` -> [*s]
Floats   one rounding each (IEEE 754-2019 section 5.4); neg, abs and comparisons are exact
"""

from __future__ import annotations

from typing import Any

import numpy as np

from torchlean.errors import MissingRule
from torchlean.floats.formats import BINARY32, Format
from torchlean.ir import (
    ALIGNED,
    COMPARED,
    DERIVED,
    DTYPES,
    EXACT,
    EXPAND,
    DType,
    Linear,
    Onnx,
    Op,
    TensorType,
    boolean,
)
from torchlean.ops.common import (
    UP,
    Attrs,
    Types,
    arity,
    broadcast_shapes,
    compare,
    elementwise,
    is_number,
    one_dtype,
    only_attrs,
    refuse,
    standard_rounding,
    unbroadcast,
)
from torchlean.ops.curves import Curve, curved, rough
from torchlean.ops.lines import Lines
from torchlean.ops.namespace import cast_to
from torchlean.ops.products import div_relax, mul_relax
from torchlean.ops.select import maximum_relax, minimum_relax
from torchlean.ops.truth_lines import (
    equal_relax,
    less_equal_relax,
    less_relax,
    logical_and_relax,
    logical_not_relax,
    logical_or_relax,
)


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


def sum_rounding(magnitudes: Any, result: np.ndarray, *, fmt: Format = BINARY32) -> np.ndarray:
    """u |x + y| + 2^emin, and 2^emin again: both operands may be flushed. Source: SEMANTICS 3, residual add."""
    return standard_rounding(magnitudes, result, fmt=fmt) + fmt.smallest_normal


def mul_meaning(N: Any, x: Any, y: Any) -> Any:
    """x * y."""
    return N.mul(x, y)


def mul_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """Each side takes the cotangent times the other."""
    (x, y), (dz,) = inputs, cotangents
    return unbroadcast(g, g.mul(dz, y), x), unbroadcast(g, g.mul(dz, x), y)


def mul_rounding(magnitudes: Any, result: np.ndarray, *, fmt: Format = BINARY32) -> np.ndarray:
    """u |x y| and the tiny terms of one product whose operands may be flushed.

    Source   SEMANTICS 3 with N = 1: 2^emin (1 + u)(3 + |x| + |y|).
    """
    x, y = magnitudes
    u, tiny = fmt.unit_roundoff, fmt.smallest_normal
    bound: np.ndarray = (u * x * y + tiny * (1 + u) * (3 + x + y)) * UP
    return bound


def div_meaning(N: Any, x: Any, y: Any) -> Any:
    """x / y."""
    return N.div(x, y)


def div_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """d/dx = 1 / y, d/dy = -(x / y) / y."""
    (x, y), (z,), (dz,) = inputs, outputs, cotangents
    return unbroadcast(g, g.div(dz, y), x), unbroadcast(g, g.neg(g.div(g.mul(dz, z), y)), y)


def div_rounding(magnitudes: Any, result: np.ndarray, *, fmt: Format = BINARY32) -> np.ndarray:
    """3 u |x / y| + 2^emin (1 + 1 / |y|): by reciprocal or not; the dividend may be flushed.

    The divisor is constant (it is outside `relax`'s linear inputs), so its magnitude is its value. Infinite where it or
    its reciprocal is subnormal: flushed, it would be 0.
    Source   SEMANTICS 3, division.
    """
    _, y = magnitudes
    u, tiny = fmt.unit_roundoff, fmt.smallest_normal
    with np.errstate(divide="ignore", over="ignore"):
        bound = (3 * u * result + tiny * (1 + 1 / y)) * UP
    return np.where((y >= tiny) & (y <= 1 / tiny), bound, np.inf)


def square_meaning(N: Any, x: Any) -> Any:
    """x * x."""
    return N.mul(x, x)


def square_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """2 x times the cotangent."""
    (x,), (dy,) = inputs, cotangents
    return (g.mul(g.mul(dy, 2.0), x),)


def square_interval(N: Any, x: Any) -> Any:
    """|x| |x|: two intervals without a negative number multiply end by end, so that x occurring twice costs nothing."""
    size = N.abs(x)
    return N.mul(size, size)


def square_relax(xp: Any, boxes: Any, slope: Any | None = None) -> Lines:
    """Convex: a tangent below, whose slope 2 p is exact, and the chord above (`curves`)."""
    ((lo, hi),) = boxes
    curve = Curve(lambda v: rough(xp, v * v, 1, least=0.0), lambda v: (2 * v, 2 * v))
    with np.errstate(all="ignore"):
        most = xp.maximum(curve.value(lo)[1], curve.value(hi)[1])
    return curved(xp, (lo, hi), curve, np.inf, slope, (xp.zeros_like(lo), most))


def square_rounding(magnitudes: Any, result: np.ndarray, *, fmt: Format = BINARY32) -> np.ndarray:
    """That of one product."""
    (x,) = magnitudes
    return mul_rounding((x, x), result, fmt=fmt)


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


def logical_type(op: str, count: int) -> Any:
    """The type rule of an op on bools."""
    rule = elementwise(op, count, check=None)

    def on_bools(attrs: Attrs, *types: TensorType) -> Types:
        if any(t.dtype != boolean for t in types):
            raise refuse(op, "needs bool inputs", "bool[...]", " and ".join(map(str, types)), "compare: less(x, y)")
        return rule(attrs, *types)

    return on_bools


def logical_and_meaning(N: Any, x: Any, y: Any) -> Any:
    """Both."""
    return N.logical_and(x, y)


def logical_or_meaning(N: Any, x: Any, y: Any) -> Any:
    """At least one."""
    return N.logical_or(x, y)


def logical_not_meaning(N: Any, x: Any) -> Any:
    """The other truth value."""
    return N.logical_not(x)


def no_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any, **attrs: Any) -> Any:
    """A discrete result has no derivative."""
    return tuple(None for _ in inputs)


def as_dtype(given: Any) -> DType:
    """A dtype, its name ("f32"), or numpy's name for it. Raises ShapeError."""
    if isinstance(given, DType):
        return given
    found = next((d for d in DTYPES.values() if given in (d.name, d.numpy)), None)
    if found is None:
        raise refuse("cast", "no such dtype", ", ".join(DTYPES), str(given), 'cast(x, dtype="f32")')
    return found


def cast_type(attrs: Attrs, *types: TensorType) -> Types:
    """The same shape in another dtype."""
    arity("cast", types, 1)
    only_attrs("cast", attrs, "dtype")
    return (types[0].with_dtype(as_dtype(attrs["dtype"])),)


def cast_meaning(N: Any, x: Any, *, dtype: Any) -> Any:
    """The same number in another format: rounded to nearest for a float, toward zero for an int; true unless 0 for
    a bool.
    """
    return N.cast(x, dtype=as_dtype(dtype).numpy)


def cast_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any, *, dtype: Any) -> Any:
    """The cotangent in x's dtype; none between float and discrete."""
    (x,), (dy,) = inputs, cotangents
    floats = x.dtype.kind == "float" and dy.dtype.kind == "float"
    return (g.cast(dy, dtype=x.dtype) if floats else None,)


def cast_relax(xp: Any, boxes: Any, slope: Any | None = None, *, dtype: Any) -> Lines:
    """To a float: the identity. To a discrete dtype there are no lines: MissingRule."""
    ((lo, _),) = boxes
    if as_dtype(dtype).kind != "float":
        raise MissingRule(
            "cast to a discrete dtype has no lines",
            where="op cast",
            expected="a cast to a float dtype",
            got=f"a cast to {dtype}",
            fix="use the interval walk",
        )
    one, zero = xp.ones_like(lo), xp.zeros_like(lo)
    return Lines((one,), zero, (one,), zero)


def cast_rounding(magnitudes: Any, result: np.ndarray, *, dtype: Any, fmt: Format = BINARY32) -> np.ndarray:
    """Half an ulp of the target's format (`dtype`, whatever `fmt` is), and its smallest normal number; 0 for a discrete
    target, a function of the operand.
    """
    target = as_dtype(dtype)
    if target.kind != "float":
        return np.zeros_like(result)
    precision, emin = _FORMATS[target.name]
    bound: np.ndarray = (2.0**-precision * result + 2.0**emin) * UP
    return bound


_FORMATS = {  # precision in bits, exponent of the smallest normal number
    "f64": (53, -126),
    "f32": (24, -126),
    "f16": (11, -14),
    "bf16": (8, -126),
    "f8e4m3": (4, -6),
    "f8e5m2": (3, -14),
}  # f64: what comes in may be a float32, and a subnormal of that may be flushed


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


def where_relax(xp: Any, boxes: Any, slope: Any | None = None) -> Lines:
    """The side that is chosen; where the condition is undecided, below the smaller one and above the larger one.

    The condition has no slope. `slope` is unused.
    """
    (no, yes), x, y = boxes
    always, never = no > 0, yes <= 0
    least, most = minimum_relax(xp, (x, y), None), maximum_relax(xp, (x, y), None)
    one, zero = xp.ones_like(least.lower_bias), xp.zeros_like(least.lower_bias)

    def chosen(undecided: Any, first: Any, second: Any) -> Any:
        return xp.where(always, first, xp.where(never, second, undecided))

    return Lines(
        (None, chosen(least.lower[0], one, zero), chosen(least.lower[1], zero, one)),
        chosen(least.lower_bias, zero, zero),
        (None, chosen(most.upper[0], one, zero), chosen(most.upper[1], zero, one)),
        chosen(most.upper_bias, zero, zero),
    )


def where_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """The cotangent to the chosen side, zero to the other."""
    (c, x, y), (dz,) = inputs, cotangents
    zero = g.literal(0.0, dz)
    return None, unbroadcast(g, g.where(c, dz, zero), x), unbroadcast(g, g.where(c, zero, dz), y)


def _op(name: str, type_rule: Any, meaning: Any, vjp: Any, relax: Any, rounding: Any, lower: Any, onnx: Any) -> Op:
    return Op(
        name,
        type_rule,
        meaning,
        vjp,
        batch=ALIGNED,
        interval=DERIVED,
        relax=relax,
        rounding=rounding,
        lower=lower,
        onnx=onnx,
    )


add = _op(
    "add",
    elementwise("add", 2, check=is_number),
    add_meaning,
    add_vjp,
    Linear((0, 1)),
    sum_rounding,
    lambda xp, x, y: x + y,
    Onnx("Add", since=7),
)
sub = _op(
    "sub",
    elementwise("sub", 2, check=is_number),
    sub_meaning,
    sub_vjp,
    Linear((0, 1)),
    sum_rounding,
    lambda xp, x, y: x - y,
    Onnx("Sub", since=7),
)
mul = _op(
    "mul",
    elementwise("mul", 2, check=is_number),
    mul_meaning,
    mul_vjp,
    Linear((0, 1), jointly=False, lines=mul_relax),
    mul_rounding,
    lambda xp, x, y: x * y,
    Onnx("Mul", since=7),
)
div = _op(
    "div",
    elementwise("div", 2),
    div_meaning,
    div_vjp,
    Linear((0,), jointly=False, lines=div_relax),
    div_rounding,
    lambda xp, x, y: x / y,
    Onnx("Div", since=7),
)
neg = _op(
    "neg",
    elementwise("neg", 1, check=is_number),
    neg_meaning,
    neg_vjp,
    Linear((0,)),
    EXACT,
    lambda xp, x: -x,
    Onnx("Neg", since=6),
)
less = _op(
    "less",
    compare("less"),
    less_meaning,
    compare_vjp,
    less_relax,
    COMPARED,
    lambda xp, x, y: x < y,
    Onnx("Less", since=9),
)
less_equal = _op(
    "less_equal",
    compare("less_equal"),
    less_equal_meaning,
    compare_vjp,
    less_equal_relax,
    COMPARED,
    lambda xp, x, y: x <= y,
    Onnx("LessOrEqual", since=12),
)
equal = _op(
    "equal",
    compare("equal"),
    equal_meaning,
    compare_vjp,
    equal_relax,
    COMPARED,
    lambda xp, x, y: x == y,
    Onnx("Equal", since=11),
)
where = _op(
    "where",
    where_type,
    where_meaning,
    where_vjp,
    Linear((1, 2), lines=where_relax),
    EXACT,
    lambda xp, c, x, y: xp.where(c, x, y),
    Onnx("Where", since=9),
)

square = Op(
    "square",
    elementwise("square", 1),
    square_meaning,
    square_vjp,
    batch=ALIGNED,
    interval=square_interval,
    relax=square_relax,
    rounding=square_rounding,
    lower=lambda xp, x: x * x,
    onnx=EXPAND,
    composite=True,
)
logical_and = _op(
    "logical_and",
    logical_type("logical_and", 2),
    logical_and_meaning,
    no_vjp,
    logical_and_relax,
    COMPARED,
    lambda xp, x, y: xp.logical_and(x, y),
    Onnx("And", since=7),
)
logical_or = _op(
    "logical_or",
    logical_type("logical_or", 2),
    logical_or_meaning,
    no_vjp,
    logical_or_relax,
    COMPARED,
    lambda xp, x, y: xp.logical_or(x, y),
    Onnx("Or", since=7),
)
logical_not = _op(
    "logical_not",
    logical_type("logical_not", 1),
    logical_not_meaning,
    no_vjp,
    logical_not_relax,
    COMPARED,
    lambda xp, x: xp.logical_not(x),
    Onnx("Not", since=1),
)
cast = _op(
    "cast",
    cast_type,
    cast_meaning,
    cast_vjp,
    cast_relax,
    cast_rounding,
    lambda xp, x, *, dtype: cast_to(xp, x, as_dtype(dtype).numpy),
    Onnx("Cast", since=9),
)

OPS = (add, sub, mul, div, neg, square, less, less_equal, equal, logical_and, logical_or, logical_not, where, cast)
