"""Smooth elementwise functions.

Shapes   x: [*s] -> [*s]
Floats   the reference is correctly rounded; an executor is within the table of `tolerances.py`
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from torchlean.ir import ALIGNED, DERIVED, Missing, Onnx, Op
from torchlean.ops.common import UP, elementwise
from torchlean.ops.namespace import functional, is_torch
from torchlean.ops.tolerances import TOLERANCES

SMOOTH = Missing("lines for smooth functions come with the nonlinear relaxations")


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


def log_meaning(N: Any, x: Any) -> Any:
    """The natural logarithm; outside its domain at x <= 0."""
    return N.log(x)


def log_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """The cotangent over x."""
    return (g.div(cotangents[0], inputs[0]),)


def log_rounding(magnitudes: Any, result: np.ndarray) -> np.ndarray:
    """a + r |log x|, and infinite where x may be subnormal: a flushed operand gives -inf.

    |log x| < 87 says that x > e^-87 > 2^-126.
    """
    return np.where(result < 87.0, table_rounding("log")(magnitudes, result), np.inf)


def sqrt_meaning(N: Any, x: Any) -> Any:
    """The square root; outside its domain at x < 0."""
    return N.sqrt(x)


def sqrt_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """Half the cotangent over the root."""
    return (g.div(g.mul(cotangents[0], 0.5), outputs[0]),)


def tanh_meaning(N: Any, x: Any) -> Any:
    """The hyperbolic tangent."""
    return N.tanh(x)


def tanh_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """The cotangent times 1 - tanh^2."""
    (t,), (dy,) = outputs, cotangents
    return (g.mul(dy, g.sub(1.0, g.mul(t, t))),)


def sigmoid_meaning(N: Any, x: Any) -> Any:
    """1 / (1 + e^-x)."""
    return N.sigmoid(x)


def sigmoid_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """The cotangent times s (1 - s)."""
    (s,), (dy,) = outputs, cotangents
    return (g.mul(dy, g.mul(s, g.sub(1.0, s))),)


def sigmoid_lower(xp: Any, x: Any) -> Any:
    """On numpy 1 / (1 + e^-x), whose e^-x overflows to infinity where the result is 0."""
    if is_torch(xp):
        return functional().sigmoid(x)
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


def _op(name: str, meaning: Any, vjp: Any, rounding: Any, lower: Any, onnx: Onnx) -> Op:
    return Op(
        name,
        elementwise(name, 1),
        meaning,
        vjp,
        batch=ALIGNED,
        interval=DERIVED,
        relax=SMOOTH,
        rounding=rounding,
        lower=lower,
        onnx=onnx,
    )


exp = _op("exp", exp_meaning, exp_vjp, table_rounding("exp"), lambda xp, x: xp.exp(x), Onnx("Exp", since=6))
log = _op("log", log_meaning, log_vjp, log_rounding, lambda xp, x: xp.log(x), Onnx("Log", since=6))
sqrt = _op("sqrt", sqrt_meaning, sqrt_vjp, table_rounding("sqrt"), lambda xp, x: xp.sqrt(x), Onnx("Sqrt", since=6))
tanh = _op("tanh", tanh_meaning, tanh_vjp, table_rounding("tanh"), lambda xp, x: xp.tanh(x), Onnx("Tanh", since=6))
sigmoid = _op(
    "sigmoid", sigmoid_meaning, sigmoid_vjp, table_rounding("sigmoid"), sigmoid_lower, Onnx("Sigmoid", since=6)
)

OPS = (exp, log, sqrt, tanh, sigmoid)
