"""Trusted. Elementary functions of an ONNX file as curves.

Tolerance table "tolerances-1": an implementation is within a + r |f| of f, clamped to f's range (SEMANTICS 2).
Source  onnx.ai/onnx/operators.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

from torchlean_check.network import Curve, Ref
from torchlean_check.wire import Node

if TYPE_CHECKING:
    from torchlean_check.onnx_reader import Reader

TABLE = "tolerances-1"
TOLERANCES = {  # absolute, relative
    "exp": (2.0**-124, 2.0**-20),
    "log": (2.0**-126, 2.0**-20),
    "sin": (2.0**-125, 2.0**-20),
    "cos": (2.0**-125, 2.0**-20),
    "tanh": (2.0**-125, 2.0**-20),
    "erf": (2.0**-124, 2.0**-20),
    "softplus": (2.0**-124, 2.0**-20),
    "silu": (2.0**-119, 2.0**-20),
    "gelu": (1.5 * 2.0**-20, 2.0**-20),  # of x (1 + erf(x)): the root of 2 times the table's
    "sigmoid": (2.0**-21, 2.0**-20),
    "sqrt": (2.0**-62, 2.0**-22),
    "rsqrt": (2.0**-126, 2.0**-20),
    "reciprocal": (2.0**-126, 2.0**-22),
    "square": (2.0**-124, 2.0**-19),  # the table's pow; a product is nearer
    "floor": (0.0, 0.0),
    "sign": (0.0, 0.0),
}


def curve(r: Reader, node: Node, x: Ref, name: str, exact: bool = False, **more: Any) -> Ref:
    """f(x); `exact`: a step of ours that no execution takes. `more` may say how far an execution may be."""
    absolute, relative = (0.0, 0.0) if exact or "relative" in more else TOLERANCES[name]
    size = math.prod(x.shape)
    made = Curve(name, x.value, size, x.shape, node.name, **{"absolute": absolute, "relative": relative, **more})
    return r.bent(made)


def read(name: str, r: Reader, node: Node) -> Ref:
    return curve(r, node, r.value(node, r.arity(node, 1, 1)[0]), name)


NAMES = ("Exp", "Log", "Sin", "Cos", "Tanh", "Sigmoid", "Erf", "Softplus", "Sqrt", "Reciprocal", "Floor", "Sign")
RULES: dict[str, Any] = {
    **{op: (partial(read, op.lower()), "") for op in NAMES},
}
