"""Smooth elementwise functions.

Shapes   x: [*s] -> [*s]
Floats   the reference is correctly rounded; an executor is within the table of `tolerances.py`
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, pi
from math import sqrt as sqrt_
from typing import Any

import numpy as np

from torchlean import floats
from torchlean.ir import ALIGNED, DERIVED, Missing, Onnx, Op
from torchlean.ops.common import UP, elementwise
from torchlean.ops.curves import LIBRARY, Curve, curved, rough
from torchlean.ops.lines import Lines
from torchlean.ops.namespace import functional, is_torch
from torchlean.ops.tolerances import TOLERANCES

NO_OPERATOR = Missing("no operator: Exp and Log beside an addition round where this does not")


def table_rounding(name: str) -> Callable[..., np.ndarray]:
    """a + r |f| of the tolerance table. Source: SEMANTICS 2, elementary functions."""
    entry = TOLERANCES[name]

    def rule(magnitudes: Any, result: np.ndarray) -> np.ndarray:
        bound: np.ndarray = (entry.a + entry.r * result) * UP
        return bound

    return rule


def exp_meaning(N: Any, x: Any) -> Any:
    """e^x."""
    return N.exp(x)


def exp_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """The cotangent times e^x itself."""
    return (g.mul(cotangents[0], outputs[0]),)


def exp_relax(xp: Any, boxes: Any, slope: Any | None = None) -> Lines:
    """Convex: a tangent below, the chord above (`curves`)."""
    ((lo, hi),) = boxes

    def value(v: Any) -> Any:
        return rough(xp, xp.exp(v), least=0.0)

    return rising(xp, lo, hi, Curve(value, value), inf, slope)


def rising(xp: Any, lo: Any, hi: Any, curve: Curve, bend: float, slope: Any | None) -> Lines:
    """The lines of an increasing curve, whose values at the box's ends are its extremes."""
    with np.errstate(all="ignore"):
        hull = curve.value(lo)[0], curve.value(hi)[1]
    return curved(xp, (lo, hi), curve, bend, slope, hull)


def log_meaning(N: Any, x: Any) -> Any:
    """The natural logarithm; outside its domain at x <= 0."""
    return N.log(x)


def log_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """The cotangent over x."""
    return (g.div(cotangents[0], inputs[0]),)


def log_relax(xp: Any, boxes: Any, slope: Any | None = None) -> Lines:
    """Concave: the chord below, a tangent above (`curves`), over the part of the box that lies in the domain."""
    ((lo, hi),) = boxes
    lo, hi = xp.clip(lo, 0.0, None), xp.clip(hi, 0.0, None)
    curve = Curve(lambda v: rough(xp, xp.log(v)), lambda v: rough(xp, 1 / v, 4, least=0.0))
    return rising(xp, lo, hi, curve, -inf, slope)


def log_rounding(magnitudes: Any, result: np.ndarray) -> np.ndarray:
    """a + r |log x|, and infinite where x may be subnormal: a flushed operand gives -inf.

    |log x| < 87 says that x > e^-87 > 2^-126.
    """
    return np.where(result < 87.0, table_rounding("log")(magnitudes, result), np.inf)


def log1p_meaning(N: Any, x: Any) -> Any:
    """log(1 + x) without the rounding of 1 + x; outside its domain at x <= -1."""
    return N.log1p(x)


def log1p_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """The cotangent over 1 + x."""
    return (g.div(cotangents[0], g.add(inputs[0], 1.0)),)


def log1p_relax(xp: Any, boxes: Any, slope: Any | None = None) -> Lines:
    """Concave: the chord below, a tangent above (`curves`), over the part of the box that lies in the domain."""
    ((lo, hi),) = boxes
    lo, hi = xp.clip(lo, -1.0, None), xp.clip(hi, -1.0, None)
    curve = Curve(lambda v: rough(xp, xp.log1p(v)), lambda v: rough(xp, 1 / (1 + v), 8, least=0.0))
    return rising(xp, lo, hi, curve, -inf, slope)


def expm1_meaning(N: Any, x: Any) -> Any:
    """e^x - 1 without the rounding of e^x."""
    return N.expm1(x)


def expm1_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """The cotangent times e^x."""
    return (g.mul(cotangents[0], g.exp(inputs[0])),)


def expm1_relax(xp: Any, boxes: Any, slope: Any | None = None) -> Lines:
    """Convex: a tangent below, the chord above (`curves`)."""
    ((lo, hi),) = boxes
    curve = Curve(lambda v: rough(xp, xp.expm1(v), least=-1.0), lambda v: rough(xp, xp.exp(v), least=0.0))
    return rising(xp, lo, hi, curve, inf, slope)


def sqrt_meaning(N: Any, x: Any) -> Any:
    """The square root; outside its domain at x < 0."""
    return N.sqrt(x)


def sqrt_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """Half the cotangent over the root."""
    return (g.div(g.mul(cotangents[0], 0.5), outputs[0]),)


def sqrt_relax(xp: Any, boxes: Any, slope: Any | None = None) -> Lines:
    """Concave: the chord below, a tangent above (`curves`), over the part of the box that lies in the domain."""
    ((lo, hi),) = boxes
    lo, hi = xp.clip(lo, 0.0, None), xp.clip(hi, 0.0, None)
    curve = Curve(
        lambda v: rough(xp, xp.sqrt(v), 4, least=0.0), lambda v: rough(xp, 0.5 / xp.sqrt(v), 8, least=0.0)
    )
    return rising(xp, lo, hi, curve, -inf, slope)


def tanh_meaning(N: Any, x: Any) -> Any:
    """The hyperbolic tangent."""
    return N.tanh(x)


def tanh_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """The cotangent times 1 - tanh^2."""
    (t,), (dy,) = outputs, cotangents
    return (g.mul(dy, g.sub(1.0, g.mul(t, t))),)


def tanh_relax(xp: Any, boxes: Any, slope: Any | None = None) -> Lines:
    """Convex below 0, concave above: tangents or the chord (`curves`).

    The derivative is 4 s(2x) s(-2x), s the sigmoid: 1 - tanh^2 would cancel.
    """
    ((lo, hi),) = boxes

    def rate(v: Any) -> Any:
        return rough(xp, 4 * sigmoid_lower(xp, 2 * v) * sigmoid_lower(xp, -2 * v), 4 * LIBRARY, least=0.0)

    return rising(xp, lo, hi, Curve(lambda v: rough(xp, xp.tanh(v)), rate), 0.0, slope)


def sigmoid_meaning(N: Any, x: Any) -> Any:
    """1 / (1 + e^-x)."""
    return N.sigmoid(x)


def sigmoid_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """The cotangent times s (1 - s)."""
    (s,), (dy,) = outputs, cotangents
    return (g.mul(dy, g.mul(s, g.sub(1.0, s))),)


def sigmoid_relax(xp: Any, boxes: Any, slope: Any | None = None) -> Lines:
    """Convex below 0, concave above: tangents or the chord (`curves`). The derivative is s(x) s(-x)."""
    ((lo, hi),) = boxes

    def rate(v: Any) -> Any:
        return rough(xp, sigmoid_lower(xp, v) * sigmoid_lower(xp, -v), 4 * LIBRARY, least=0.0)

    return rising(xp, lo, hi, Curve(lambda v: rough(xp, sigmoid_lower(xp, v), least=0.0), rate), 0.0, slope)


def erf_meaning(N: Any, x: Any) -> Any:
    """The error function: 2 / sqrt(pi) times the integral of e^-t^2 from 0 to x."""
    return N.erf(x)


def erf_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """The cotangent times 2 / sqrt(pi) e^-x^2."""
    return (g.mul(g.mul(cotangents[0], 2 / sqrt_(pi)), g.exp(g.neg(g.square(inputs[0])))),)


def erf_relax(xp: Any, boxes: Any, slope: Any | None = None) -> Lines:
    """Convex below 0, concave above: tangents or the chord (`curves`).

    The square's rounding makes e^-x^2 uncertain by x^2 ulps more than an exponential is.
    """
    ((lo, hi),) = boxes

    def rate(v: Any) -> Any:
        v = xp.clip(v, -64.0, 64.0)  # beyond, the derivative and what it is uncertain by are 0
        return rough(xp, (2 / sqrt_(pi)) * xp.exp(-v * v), 2 * LIBRARY + v * v, least=0.0)

    return rising(xp, lo, hi, Curve(lambda v: rough(xp, erf_near(xp, v)), rate), 0.0, slope)


def erf_near(xp: Any, x: Any) -> Any:
    """erf within a few ulps: what lines are made of, where the reference's would take a hundred times as long."""
    if is_torch(xp):
        return xp.erf(x)
    flat = np.clip(np.asarray(x, np.float64).reshape(-1), -6.0, 6.0)  # 1 - erf(6) < 2^-55
    small = np.abs(flat) < 2.0**-500
    kernel = floats.elementary.FUNCTIONS["erf"].kernel
    found = np.where(small, flat * (2 / sqrt_(pi)), kernel.evaluate(np.where(small, 1.0, flat)))
    return found.reshape(np.shape(x)).astype(x.dtype)


def erf_lower(xp: Any, x: Any) -> Any:
    """numpy has none: the reference's."""
    return xp.erf(x) if is_torch(xp) else floats.rounded("erf", x)


def sigmoid_lower(xp: Any, x: Any) -> Any:
    """On numpy 1 / (1 + e^-x), whose e^-x overflows to infinity where the result is 0."""
    if is_torch(xp):
        return functional().sigmoid(x)
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


def _op(
    name: str, meaning: Any, vjp: Any, relax: Any, rounding: Any, lower: Any, onnx: Onnx | Missing | None = None
) -> Op:
    return Op(
        name,
        elementwise(name, 1),
        meaning,
        vjp,
        batch=ALIGNED,
        interval=DERIVED,
        relax=relax,
        rounding=rounding,
        lower=lower,
        onnx=onnx or Onnx(name.capitalize(), since=6),
    )


exp = _op("exp", exp_meaning, exp_vjp, exp_relax, table_rounding("exp"), lambda xp, x: xp.exp(x))
log = _op("log", log_meaning, log_vjp, log_relax, log_rounding, lambda xp, x: xp.log(x))
log1p = _op(
    "log1p", log1p_meaning, log1p_vjp, log1p_relax, table_rounding("log1p"), lambda xp, x: xp.log1p(x), NO_OPERATOR
)
expm1 = _op(
    "expm1", expm1_meaning, expm1_vjp, expm1_relax, table_rounding("expm1"), lambda xp, x: xp.expm1(x), NO_OPERATOR
)
sqrt = _op("sqrt", sqrt_meaning, sqrt_vjp, sqrt_relax, table_rounding("sqrt"), lambda xp, x: xp.sqrt(x))
tanh = _op("tanh", tanh_meaning, tanh_vjp, tanh_relax, table_rounding("tanh"), lambda xp, x: xp.tanh(x))
sigmoid = _op("sigmoid", sigmoid_meaning, sigmoid_vjp, sigmoid_relax, table_rounding("sigmoid"), sigmoid_lower)
erf = _op("erf", erf_meaning, erf_vjp, erf_relax, table_rounding("erf"), erf_lower, Onnx("Erf", since=9))

OPS = (exp, log, log1p, expm1, sqrt, tanh, sigmoid, erf)
