"""Activations that let a part of their input pass: softplus, silu, gelu, elu.

Shapes   x: [*s] -> [*s]
Floats   softplus, silu, gelu: the reference is correctly rounded, an executor within the table of `tolerances.py`.
         gelu_tanh, elu, mish: the reference computes their definitions
"""

from __future__ import annotations

from math import inf, pi, sqrt
from typing import Any

import numpy as np

from torchlean import floats
from torchlean.ir import ALIGNED, DERIVED, EXPAND, Missing, Onnx, Op, TensorType
from torchlean.ops.common import TINY, UP, Attrs, Types, U, arity, elementwise, is_float, only_attrs, refuse
from torchlean.ops.curves import LIBRARY, Curve, rough
from torchlean.ops.lines import Lines
from torchlean.ops.namespace import functional, is_torch
from torchlean.ops.pieces import pieced
from torchlean.ops.smooth import erf_near, rising, sigmoid_lower, table_rounding
from torchlean.ops.tolerances import TOLERANCES

# Where second derivatives change sign, to float64: silu'' = s(x) s(-x) (2 - x tanh(x / 2)), gelu'' = phi(x) (2 - x^2).
SILU_KNOT, GELU_KNOT = 2.3993572805154677, sqrt(2.0)
TANH_KNOT = 1.4185040  # of gelu_tanh, for constants of float64 and of float32
SILU_LEAST, GELU_LEAST, TANH_LEAST = -0.2784645427610739, -0.16997120747990372, -0.18
CUBIC, ROOT = 0.044715, sqrt(2 / pi)  # of gelu_tanh
NO_SILU = Missing("no operator before opset 24: x times Sigmoid rounds twice")


def softplus_meaning(N: Any, x: Any) -> Any:
    """log(1 + e^x), without overflow."""
    return N.softplus(x)


def softplus_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """The cotangent times the sigmoid."""
    return (g.mul(cotangents[0], g.sigmoid(inputs[0])),)


def softplus_relax(xp: Any, boxes: Any, slope: Any | None = None) -> Lines:
    """Convex: a tangent below, the chord above (`curves`)."""
    ((lo, hi),) = boxes

    def value(v: Any) -> Any:
        return rough(xp, xp.clip(v, 0.0, None) + xp.log1p(xp.exp(-xp.abs(v))), least=0.0)

    return rising(xp, lo, hi, Curve(value, lambda v: rough(xp, sigmoid_lower(xp, v), least=0.0)), inf, slope)


def silu_meaning(N: Any, x: Any) -> Any:
    """x / (1 + e^-x)."""
    return N.silu(x)


def silu_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """The cotangent times s (1 + x (1 - s)), s the sigmoid."""
    (x,), (dy,) = inputs, cotangents
    s = g.sigmoid(x)
    return (g.mul(dy, g.mul(s, g.add(g.mul(x, g.sub(1.0, s)), 1.0))),)


def silu_relax(xp: Any, boxes: Any, slope: Any | None = None) -> Lines:
    """Concave, convex between the knots, concave (`pieces`)."""

    def value(v: Any) -> Any:
        return rough(xp, v * sigmoid_lower(xp, v), 2 * LIBRARY)

    def rate(v: Any) -> Any:
        """Of terms that may cancel: the margin is relative to their sizes."""
        v = xp.clip(v, -200.0, 200.0)
        s, rest = sigmoid_lower(xp, v), sigmoid_lower(xp, -v)
        return _around(xp, s * (1 + v * rest), s * (1 + xp.abs(v) * rest))

    return _gated(xp, boxes[0], Curve(value, rate), SILU_KNOT, slope, SILU_LEAST)


def _around(xp: Any, value: Any, size: Any) -> Any:
    """Bounds of a sum whose terms add up to `size` in magnitude."""
    margin = 4 * LIBRARY * float(xp.finfo(size.dtype).eps) * size + 4 * float(xp.finfo(size.dtype).smallest_normal)
    return value - margin, value + margin


def _gated(xp: Any, box: Any, curve: Curve, knot: float, slope: Any | None, least: float) -> Lines:
    """Of a function between `least` and max(x, 0) that is convex between -knot and knot."""
    lo, hi = box
    hull = xp.full_like(lo, least - 2.0**-20), xp.clip(hi, 0.0, None)
    return pieced(xp, box, curve, ((-knot, knot),), ((-inf, -knot), (knot, inf)), slope, hull)


def gelu_meaning(N: Any, x: Any) -> Any:
    """x times the normal distribution function."""
    return N.gelu(x)


def gelu_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """The cotangent times Phi(x) + x phi(x)."""
    (x,), (dy,) = inputs, cotangents
    below = g.mul(g.add(g.erf(g.mul(x, sqrt(0.5))), 1.0), 0.5)
    density = g.mul(g.exp(g.mul(g.square(x), -0.5)), 1 / sqrt(2 * pi))
    return (g.mul(dy, g.add(below, g.mul(x, density))),)


def gelu_relax(xp: Any, boxes: Any, slope: Any | None = None) -> Lines:
    """Concave, convex between -sqrt 2 and sqrt 2, concave (`pieces`)."""

    def value(v: Any) -> Any:
        return _around(xp, v * (0.5 + 0.5 * erf_near(xp, v * sqrt(0.5))), xp.abs(v))

    def rate(v: Any) -> Any:
        v = xp.clip(v, -40.0, 40.0)
        density = xp.exp(-0.5 * v * v) * (1 / sqrt(2 * pi))
        size = 1 + xp.abs(v) * (1 + v * v) * density
        return _around(xp, 0.5 + 0.5 * erf_near(xp, v * sqrt(0.5)) + v * density, size)

    return _gated(xp, boxes[0], Curve(value, rate), GELU_KNOT, slope, GELU_LEAST)


def gelu_lower(xp: Any, x: Any) -> Any:
    """numpy has none: the reference's."""
    return functional().gelu(x) if is_torch(xp) else floats.rounded("gelu", x)


def gelu_tanh_meaning(N: Any, x: Any) -> Any:
    """x (1 + tanh(c (x + 0.044715 x^3))) / 2 with c = sqrt(2 / pi), both constants as the nearest numbers of the dtype.

    Source   Hendrycks and Gimpel 2016, arXiv:1606.08415, section 2
    """
    cubed = N.mul(N.mul(x, x), x)
    inner = N.mul(N.add(x, N.mul(cubed, N.literal(CUBIC, x))), N.literal(ROOT, x))
    return N.mul(N.mul(x, N.literal(0.5, x)), N.add(N.tanh(inner), N.literal(1.0, x)))


def gelu_tanh_interval(N: Any, x: Any) -> Any:
    """The definition's range, and at least -0.18, since the function is above -0.1701."""
    return N.maximum(gelu_tanh_meaning(N, x), N.literal(TANH_LEAST, x))


def gelu_tanh_relax(xp: Any, boxes: Any, slope: Any | None = None) -> Lines:
    """Concave, convex between the knots, concave (`pieces`).

    The margins cover constants that are rounded to float32, relatively by 2^-25 each: |tanh' u u| < 1/2.
    """

    def inner(v: Any) -> Any:
        return ROOT * (v + CUBIC * v * v * v)

    def value(v: Any) -> Any:
        low, high = _around(xp, v * (0.5 + 0.5 * xp.tanh(inner(v))), xp.abs(v))
        return low - 2.0**-25 * xp.abs(v), high + 2.0**-25 * xp.abs(v)

    def rate(v: Any) -> Any:
        v = xp.clip(v, -12.0, 12.0)  # beyond, it is 0 or 1 to 2^-100
        t = inner(v)
        steep = 4 * sigmoid_lower(xp, 2 * t) * sigmoid_lower(xp, -2 * t)  # tanh', without cancelling
        moved = 0.5 * ROOT * steep * (1 + 3 * CUBIC * v * v)
        low, high = _around(xp, 0.5 + 0.5 * xp.tanh(t) + v * moved, 1 + xp.abs(v) * moved * (1 + xp.abs(t)))
        return low - 2.0**-21, high + 2.0**-21

    return _gated(xp, boxes[0], Curve(value, rate), TANH_KNOT, slope, TANH_LEAST)


def gelu_tanh_lower(xp: Any, x: Any) -> Any:
    if is_torch(xp):
        return functional().gelu(x, approximate="tanh")
    return 0.5 * x * (1 + np.tanh(x.dtype.type(ROOT) * (x + x.dtype.type(CUBIC) * x * x * x)))


def elu_type(attrs: Attrs, *types: TensorType) -> Types:
    """A finite alpha that is not negative."""
    arity("elu", types, 1)
    only_attrs("elu", attrs, "alpha")
    is_float("elu", *types)
    alpha = attrs["alpha"]
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 <= alpha < inf:
        raise refuse("elu", "alpha must be a number >= 0", "0 <= alpha", str(alpha), "alpha=1.0")
    return types


def elu_meaning(N: Any, x: Any, *, alpha: float) -> Any:
    """max(x, 0) + alpha (e^min(x, 0) - 1): one of the two is 0."""
    below = N.mul(N.expm1(N.minimum(x, N.zero)), N.literal(alpha, x))
    return N.add(N.maximum(x, N.zero), below)


def elu_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any, *, alpha: float) -> Any:
    """The cotangent where x > 0, else alpha e^x times it, as PyTorch does."""
    (x,), (dy,) = inputs, cotangents
    zero = g.literal(0.0, x)
    below = g.mul(g.mul(dy, g.exp(g.minimum(x, zero))), g.literal(alpha, dy))
    return (g.where(g.less(zero, x), dy, below),)


def elu_relax(xp: Any, boxes: Any, slope: Any | None = None, *, alpha: float) -> Lines:
    """Convex on both sides of 0, on the whole for alpha <= 1; concave right of 0, or nowhere (`pieces`)."""
    ((lo, hi),) = boxes

    def value(v: Any) -> Any:
        return rough(xp, xp.clip(v, 0.0, None) + alpha * xp.expm1(xp.clip(v, None, 0.0)), least=-alpha)

    def rate(v: Any) -> Any:
        """At 0 that of the right side."""
        low, high = rough(xp, alpha * xp.exp(xp.clip(v, None, 0.0)), least=0.0)
        one = xp.ones_like(v)
        return xp.where(v >= 0, one, low), xp.where(v >= 0, one, high)

    convex = ((-inf, -(2.0**-100)), (0.0, inf))  # what is between counts as concave: known to much more than 2^-50
    concave = () if alpha <= 1 else ((0.0, inf),)
    hull = value(lo)[0], value(hi)[1]
    return pieced(xp, (lo, hi), Curve(value, rate), convex, concave, slope, hull)


def elu_rounding(magnitudes: Any, result: np.ndarray, *, alpha: float) -> np.ndarray:
    """Exact above 0. Below, alpha times expm1, or times e^x - 1: errors relative to alpha, since |e^x - 1| <= 1."""
    relative = TOLERANCES["exp"].r + TOLERANCES["expm1"].r + 4 * U
    bound: np.ndarray = np.full_like(result, (alpha * relative + (4 + 2 * alpha) * TINY) * UP)
    return bound


def elu_lower(xp: Any, x: Any, *, alpha: float) -> Any:
    if is_torch(xp):
        return functional().elu(x, alpha=alpha)
    return np.maximum(x, 0) + x.dtype.type(alpha) * np.expm1(np.minimum(x, 0))


def mish_meaning(N: Any, x: Any) -> Any:
    """x tanh(softplus(x)). Source: Misra 2019, arXiv:1908.08681."""
    return N.mul(x, N.tanh(N.softplus(x)))


def _op(name: str, meaning: Any, vjp: Any, relax: Any, lower: Any, onnx: Any, **more: Any) -> Op:
    return Op(
        name,
        more.get("type_rule", elementwise(name, 1)),
        meaning,
        vjp,
        batch=ALIGNED,
        interval=more.get("interval", DERIVED),
        relax=relax,
        rounding=more.get("rounding") or table_rounding(name),
        lower=lower,
        onnx=onnx,
        composite=more.get("composite", False),
    )


softplus = _op(
    "softplus",
    softplus_meaning,
    softplus_vjp,
    softplus_relax,
    lambda xp, x: functional().softplus(x) if is_torch(xp) else floats.rounded("softplus", x),
    Onnx("Softplus", since=1),
)
silu = _op("silu", silu_meaning, silu_vjp, silu_relax, lambda xp, x: x * sigmoid_lower(xp, x), NO_SILU)
gelu = _op("gelu", gelu_meaning, gelu_vjp, gelu_relax, gelu_lower, Onnx("Gelu", since=20))
gelu_tanh = _op(
    "gelu_tanh",
    gelu_tanh_meaning,
    EXPAND,
    gelu_tanh_relax,
    gelu_tanh_lower,
    Onnx("Gelu", since=20),
    interval=gelu_tanh_interval,
    composite=True,
)
elu = _op(
    "elu",
    elu_meaning,
    elu_vjp,
    elu_relax,
    elu_lower,
    Onnx("Elu", since=6),
    type_rule=elu_type,
    rounding=elu_rounding,
    composite=True,
)
mish = _op(
    "mish", mish_meaning, EXPAND, EXPAND, EXPAND, EXPAND, rounding=EXPAND, composite=True
)

OPS = (softplus, silu, gelu, gelu_tanh, elu, mish)
