"""Trusted. Elu, Selu, HardSigmoid, HardSwish and Mish. Source: onnx.ai/onnx/operators.

With u = 2^-24. Elu: exact above 0; below, alpha times e^x - 1, by a function or a subtraction, each within 2^-20 of
1, and 4 u. Selu: that times gamma, or gamma alpha first. HardSigmoid: one rounding of the product, one of the sum.
HardSwish: its 1/6 may be the nearest number, and a clip of x + 3 to [0, 6] may come first. Mish: its definition.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from torchlean_check.network import Ref, Relu, Scale
from torchlean_check.rules.functions import named_elu
from torchlean_check.rules.read_curves import curve
from torchlean_check.rules.read_products import times
from torchlean_check.wire import Node

if TYPE_CHECKING:
    from torchlean_check.onnx_reader import Reader

SELU = 1.67326319217681884765625, 1.05070102214813232421875  # alpha and gamma by default


def _line(r: Reader, node: Node, x: Ref, factor: float, shift: float = 0.0, **more: Any) -> Ref:
    """factor x + shift; without `leaves`, a step of ours that no execution takes."""
    size = math.prod(x.shape)
    bias = np.full(size, shift) if shift else None
    return r.affine(node, ((Scale(np.full(size, factor)), x.value),), x.shape, bias=bias, **more)


def _relu(r: Reader, node: Node, x: Ref) -> Ref:
    return r.bent(Relu(x.value, math.prod(x.shape), x.shape, node.name))


def elu(r: Reader, node: Node, alpha: float = 1.0) -> Ref:
    x, alpha = r.value(node, r.arity(node, 1, 1)[0]), r.attr(node, "alpha", alpha)
    if not 0.0 < alpha <= 8.0:
        raise r.beyond(node, "this alpha is not supported", "0 < alpha <= 8", str(alpha))
    return curve(r, node, x, named_elu(alpha), absolute=alpha * 1.5 * 2.0**-20 + 2.0**-124, relative=0.0)


def selu(r: Reader, node: Node) -> Ref:
    gamma = r.attr(node, "gamma", SELU[1])
    if not 2.0**-10 <= gamma <= 2.0**10:
        raise r.beyond(node, "this gamma is not supported", "2^-10 to 2^10", str(gamma))
    return _line(r, node, elu(r, node, SELU[0]), gamma, leaves=3.0)


def hard_sigmoid(r: Reader, node: Node) -> Ref:
    x = r.value(node, r.arity(node, 1, 1)[0])
    alpha, beta = r.attr(node, "alpha", float(np.float32(0.2))), r.attr(node, "beta", 0.5)
    if not 2.0**-20 <= alpha <= 2.0**20 or not abs(beta) <= 2.0**20:
        raise r.beyond(node, "this line is not supported", "2^-20 <= alpha <= 2^20, |beta| <= 2^20", f"{alpha}, {beta}")
    return _clipped(r, node, _line(r, node, x, alpha, beta, leaves=2.0))


def _clipped(r: Reader, node: Node, x: Ref) -> Ref:
    """min(max(x, 0), 1) = 1 - relu(1 - relu(x))."""
    rest = _relu(r, node, _line(r, node, _relu(r, node, x), -1.0, 1.0))
    return _line(r, node, rest, -1.0, 1.0)


def hard_swish(r: Reader, node: Node) -> Ref:
    x = r.value(node, r.arity(node, 1, 1)[0])
    line = _line(r, node, x, 1.0 / 6.0, 0.5, leaves=4.0, weight_rel=2.0**-24)
    return times(r, node, x, _clipped(r, node, line), units=4.0)


def mish(r: Reader, node: Node) -> Ref:
    x = r.value(node, r.arity(node, 1, 1)[0])
    return times(r, node, x, curve(r, node, curve(r, node, x, "softplus"), "tanh"))


RULES: dict[str, Any] = {
    "Elu": (elu, "alpha"),
    "Selu": (selu, "alpha gamma"),
    "HardSigmoid": (hard_sigmoid, "alpha beta"),
    "HardSwish": (hard_swish, ""),
    "Mish": (mish, ""),
}
