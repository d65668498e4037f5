"""Trusted. Choices as relus: nothing rounds in them but a leaky relu's product. Source: onnx.ai/onnx/operators.

max(a, b) = b + relu(a - b), min(a, b) = a - relu(a - b), clip as two of them, |x| = 2 relu(x) - x,
leaky relu(x) = s x + (1 - s) relu(x).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from torchlean_check.network import Ref, Relu, Scale
from torchlean_check.wire import Node

if TYPE_CHECKING:
    from torchlean_check.onnx_reader import Reader


def _mix(r: Reader, node: Node, a: Ref, x: float, b: Ref, y: float, **more: Any) -> Ref:
    """x a + y b, a step of ours that no execution takes unless `leaves` says so."""
    one = np.ones(math.prod(a.shape))
    return r.affine(node, ((Scale(x * one), a.value), (Scale(y * one), b.value)), a.shape, **more)


def _relu(r: Reader, node: Node, x: Ref) -> Ref:
    return r.bent(Relu(x.value, math.prod(x.shape), x.shape, node.name))


def larger(r: Reader, node: Node, a: Ref, b: Ref) -> Ref:
    return _mix(r, node, b, 1.0, _relu(r, node, _mix(r, node, a, 1.0, b, -1.0)), 1.0)


def smaller(r: Reader, node: Node, a: Ref, b: Ref) -> Ref:
    return _mix(r, node, a, 1.0, _relu(r, node, _mix(r, node, a, 1.0, b, -1.0)), -1.0)


def extreme(r: Reader, node: Node, most: bool) -> Ref:
    """Max and Min of one value or more, which broadcast."""
    found = [r.value(node, v) for v in r.arity(node, max(len(node.inputs), 1), 1024)]
    shape: tuple[int, ...] = ()
    for x in found:
        shape = r.broadcast(node, shape, x.shape)
    best, *rest = (r.expand(node, x, shape) for x in found)
    for x in rest:
        best = (larger if most else smaller)(r, node, best, x)
    return best


def clip(r: Reader, node: Node) -> Ref:
    """The ends are inputs from opset 11 on, attributes before; min is applied first."""
    x, *ends = r.arity(node, 1, 3)
    if r.opset < 11:
        ends = [np.float32(node.attributes[k]) if k in node.attributes else None for k in ("min", "max")]
    elif node.attributes:
        raise r.bad(node, "the ends are inputs since opset 11", "no attributes", str(sorted(node.attributes)))
    y = r.value(node, x)
    for end, rule in zip(ends, (larger, smaller), strict=False):
        if end is not None:
            bound = r.value(node, end)
            if math.prod(bound.shape) != 1:
                raise r.bad(node, "an end must be one number", "a scalar", str(bound.shape))
            y = rule(r, node, y, r.expand(node, bound, y.shape))
    return y


def leaky(r: Reader, node: Node) -> Ref:
    x = r.value(node, r.arity(node, 1, 1)[0])
    slope = r.attr(node, "alpha", float(np.float32(0.01)))
    if not 2.0**-20 <= slope <= 1.0:
        raise r.beyond(node, "this slope is not supported", "2^-20 to 1", str(slope))
    return _mix(r, node, x, slope, _relu(r, node, x), 1.0 - slope, leaves=1.0, weight_rel=2.0**-52)


def absolute(r: Reader, node: Node) -> Ref:
    x = r.value(node, r.arity(node, 1, 1)[0])
    return _mix(r, node, x, -1.0, _relu(r, node, x), 2.0)


RULES: dict[str, Any] = {
    "Max": (lambda r, node: extreme(r, node, True), ""),
    "Min": (lambda r, node: extreme(r, node, False), ""),
    "Clip": (clip, "min max"),
    "LeakyRelu": (leaky, "alpha"),
    "Abs": (absolute, ""),
}
