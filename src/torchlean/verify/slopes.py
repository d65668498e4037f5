"""Values and slopes of the checker's curves on numpy's or torch's arrays, for a search: near, not proved.

Shapes   z: [*s] -> [*s]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from torchlean_check.rules.gauss import RATE, erf

Pair = tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]  # of a namespace and an array


def _erf(xp: Any, z: Any) -> Any:
    """numpy has none: the checker's."""
    return erf(z) if xp is np else xp.erf(z)


CURVES: dict[str, Pair] = {
    "exp": (lambda xp, z: xp.exp(z), lambda xp, z: xp.exp(z)),
    "log": (lambda xp, z: xp.log(z), lambda xp, z: 1 / z),
    "sqrt": (lambda xp, z: xp.sqrt(z), lambda xp, z: 0.5 / xp.sqrt(z)),
    "rsqrt": (lambda xp, z: 1 / xp.sqrt(z), lambda xp, z: -0.5 / (z * xp.sqrt(z))),
    "reciprocal": (lambda xp, z: 1 / z, lambda xp, z: -1 / (z * z)),
    "square": (lambda xp, z: z * z, lambda xp, z: 2 * z),
    "sigmoid": (lambda xp, z: 0.5 + 0.5 * xp.tanh(0.5 * z), lambda xp, z: 0.25 * (1 - xp.tanh(0.5 * z) ** 2)),
    "tanh": (lambda xp, z: xp.tanh(z), lambda xp, z: 1 - xp.tanh(z) ** 2),
    "erf": (lambda xp, z: _erf(xp, z), lambda xp, z: RATE * xp.exp(-z * z)),
    "softplus": (
        lambda xp, z: xp.clip(z, 0, None) + xp.log1p(xp.exp(-xp.abs(z))),
        lambda xp, z: 0.5 + 0.5 * xp.tanh(0.5 * z),
    ),
    "silu": (
        lambda xp, z: z * (0.5 + 0.5 * xp.tanh(0.5 * z)),
        lambda xp, z: 0.5 + 0.5 * xp.tanh(0.5 * z) + 0.25 * z * (1 - xp.tanh(0.5 * z) ** 2),
    ),
    "gelu": (lambda xp, z: z * (1 + _erf(xp, z)), lambda xp, z: 1 + _erf(xp, z) + RATE * z * xp.exp(-z * z)),
    "sin": (lambda xp, z: xp.sin(z), lambda xp, z: xp.cos(z)),
    "cos": (lambda xp, z: xp.cos(z), lambda xp, z: -xp.sin(z)),
    "floor": (lambda xp, z: xp.floor(z), lambda xp, z: 0 * z),
    "sign": (lambda xp, z: xp.sign(z), lambda xp, z: 0 * z),
}


def curve_of(name: str) -> Pair:
    """The value and the slope of the curve that the checker calls so (`rules.functions.find`)."""
    kind, _, number = name.partition(" ")
    if not number:
        return CURVES[name]
    p = float(number)
    if kind == "pow":
        return lambda xp, z: z**p, lambda xp, z: p * z ** (p - 1)
    return (
        lambda xp, z: xp.clip(z, 0, None) + p * xp.expm1(xp.clip(z, None, 0)),
        lambda xp, z: xp.where(z > 0, 1.0, p * xp.exp(xp.clip(z, None, 0))),
    )
