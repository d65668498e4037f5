"""Sine and cosine.

Shapes   x: [*s] -> [*s]
Floats   the reference is correctly rounded; an executor is within the table of `tolerances.py`. Of an infinity: NaN
"""

from __future__ import annotations

from math import pi
from typing import Any

from torchlean.ir import ALIGNED, DERIVED, Onnx, Op
from torchlean.ops.common import elementwise
from torchlean.ops.curves import Curve, Pair, curved, rough, turned_over
from torchlean.ops.lines import Lines
from torchlean.ops.smooth import table_rounding

WIDEST, FARTHEST = 3.0, 1024.0  # a box less wide than pi, where pi's multiples are known well, holds one bend


def sin_meaning(N: Any, x: Any) -> Any:
    """The sine of x in radians."""
    return N.sin(x)


def sin_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """The cotangent times the cosine."""
    return (g.mul(cotangents[0], g.cos(inputs[0])),)


def cos_meaning(N: Any, x: Any) -> Any:
    """The cosine of x in radians."""
    return N.cos(x)


def cos_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """The cotangent times minus the sine."""
    return (g.neg(g.mul(cotangents[0], g.sin(inputs[0]))),)


def sin_relax(xp: Any, boxes: Any, slope: Any | None = None) -> Lines:
    """Tangents or the chord (`curves`) around the bend at the multiple of pi nearest to the middle of the box."""
    return _wave(xp, boxes[0], xp.sin, xp.cos, 0.0, slope)


def cos_relax(xp: Any, boxes: Any, slope: Any | None = None) -> Lines:
    """Tangents or the chord (`curves`) around the bend at the odd multiple of pi/2 nearest to the middle."""
    return _wave(xp, boxes[0], xp.cos, lambda v: -xp.sin(v), 0.5, slope)


def _wave(xp: Any, box: Pair, f: Any, rate: Any, offset: float, slope: Any | None) -> Lines:
    """A function of period 2 pi that bends at (k + offset) pi; with offset 0 it is convex before each even k, with 1/2
    before each odd one.

    A box that is wider than 3 or far from 0 has the constants -1 and 1. Another lies within pi of its bend b. Where b
    is off by at most e, the function is not convex (concave) on a piece of length e, and there |f''| <= e; that
    changes it by at most e^2 times the width from a function that is convex (concave). The biases give way by that.
    """
    lo, hi = box
    near = (hi - lo <= WIDEST) & (xp.maximum(xp.abs(lo), xp.abs(hi)) <= FARTHEST)
    zero, one = xp.zeros_like(lo), xp.ones_like(lo)
    lo, hi = xp.where(near, lo, zero), xp.where(near, hi, zero)
    k = xp.round((lo + hi) / (2 * pi) - offset)
    bend, error = (k + offset) * pi, 4 * float(xp.finfo(lo.dtype).eps) * pi * (xp.abs(k) + offset)

    def bounded(g: Any) -> Any:
        def bounds(v: Any) -> Pair:
            low, high = rough(xp, g(v))
            return xp.clip(low, -1.0, None), xp.clip(high, None, 1.0)

        return bounds

    even = xp.round(k / 2) * 2 == k
    straight = even if offset == 0 else ~even
    up = curved(xp, (lo, hi), Curve(bounded(f), bounded(rate)), bend, slope, (-one, one))
    down = turned_over(
        curved(xp, (lo, hi), Curve(bounded(lambda v: -f(v)), bounded(lambda v: -rate(v))), bend, slope, (-one, one))
    )
    given = 4 * error * error
    lower, lower_bias, upper, upper_bias = (
        xp.where(straight, a, b)
        for a, b in (
            (up.lower[0], down.lower[0]),
            (up.lower_bias - given, down.lower_bias - given),
            (up.upper[0], down.upper[0]),
            (up.upper_bias + given, down.upper_bias + given),
        )
    )
    return Lines(
        (xp.where(near, lower, zero),),
        xp.where(near, lower_bias, -one),
        (xp.where(near, upper, zero),),
        xp.where(near, upper_bias, one),
    )


def _op(name: str, meaning: Any, vjp: Any, relax: Any, lower: Any) -> Op:
    return Op(
        name,
        elementwise(name, 1),
        meaning,
        vjp,
        batch=ALIGNED,
        interval=DERIVED,
        relax=relax,
        rounding=table_rounding(name),
        lower=lower,
        onnx=Onnx(name.capitalize(), since=7),
    )


sin = _op("sin", sin_meaning, sin_vjp, sin_relax, lambda xp, x: xp.sin(x))
cos = _op("cos", cos_meaning, cos_vjp, cos_relax, lambda xp, x: xp.cos(x))

OPS = (sin, cos)
