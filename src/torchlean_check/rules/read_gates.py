"""Trusted. silu and gelu, as operators and as the parts that they are exported in. Source: onnx.ai/onnx/operators.

    silu(x) = x sigmoid(x)      gelu(x) = x (1 + erf(x / sqrt 2)) / 2 = g(x / sqrt 2) / sqrt 2,  g(t) = t (1 + erf(t))

Of the parts, every execution rounds each; with u = 2^-24:
  x s~, where s~ is off by 2^-21 + 2^-20 s:  by |x| 2^-21 + (2^-20 + u) |silu(x)|, and what is of higher order.
  a w, where w = b (1 + erf(t)), t = c x and a = d x were rounded i, j and k times, is b d / c times g(t), off by
  |t| (2^-20 + 2 u) of the function and the sum, 2 (i + j + k) u |t| of the factors, and u of the product; all of them
  in units of b d / c. What is flushed is below 2^-90 for b, c and d from 2^-10 to 2^10.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from torchlean_check.network import Affine, AnyNode, Curve, Ref, Scale
from torchlean_check.rules.read_curves import curve
from torchlean_check.wire import Node

if TYPE_CHECKING:
    from torchlean_check.onnx_reader import Reader

ROOT = 0.7071067811865476  # the root of 1/2, to 2^-53
HIGHER = 1.0 + 2.0**-12  # over all products of two errors


def scaled(r: Reader, node: Node, x: Ref, factor: float, off: float = 2.0**-50) -> Ref:
    """factor x, a step of ours that no execution takes; `off`: how far the factor is from the one meant, relatively."""
    return r.affine(node, ((Scale(np.full(math.prod(x.shape), factor)), x.value),), x.shape, weight_rel=off)


def gelu(r: Reader, node: Node) -> Ref:
    if r.attr(node, "approximate", b"none") != b"none":
        raise r.beyond(node, "this approximation is not supported", "none", repr(node.attributes["approximate"]))
    x = scaled(r, node, r.value(node, r.arity(node, 1, 1)[0]), ROOT)
    return scaled(r, node, curve(r, node, x, "gelu"), ROOT)


def gated(r: Reader, node: Node, a: Ref, w: Ref) -> Ref | None:
    """a w where it is one of the two gates, else None."""
    if a.shape != w.shape:
        return None
    gate = r.nodes[w.value]
    if isinstance(gate, Curve) and gate.name == "sigmoid" and gate.source == a.value:
        steep, relative = 2.0**-21 * HIGHER, (2.0**-20 + 2.0**-24) * HIGHER
        return curve(r, node, a, "silu", absolute=2.0**-120, relative=relative, steep=steep)
    one, b, i = _multiple(r, w.value)
    inner = _shifted(r, one)
    if not (isinstance(inner, Curve) and inner.name == "erf"):
        return None
    (x, d, k), (argument, c, j) = (_multiple(r, value) for value in (a.value, inner.source))
    if argument == a.value:
        x, d, k = a.value, 1.0, 0.0
    if x != argument or not j or any(not 2.0**-10 <= v <= 2.0**10 for v in (b, c, d)):
        return None
    steep = (2.0**-20 + (2.0 * (i + j + k) + 2.0) * 2.0**-24) * HIGHER
    found = curve(r, node, Ref(inner.source, a.shape), "gelu", absolute=2.0**-90, relative=2.0**-24 * HIGHER,
                  steep=steep)  # fmt: skip
    return scaled(r, node, found, b * d / c)


def _shifted(r: Reader, value: int) -> AnyNode | None:
    """The node that 1 was added to."""
    node = r.nodes[value]
    if not isinstance(node, Affine) or len(node.terms) != 1 or (node.bias != 1.0).any() or node.leaves.any():
        return None
    linear, source = node.terms[0]
    plain = isinstance(linear, Scale) and (linear.factor == 1.0).all() and node.weight_rel == 0.0
    return r.nodes[source] if plain else None


def _multiple(r: Reader, value: int) -> tuple[int, float, float]:
    """Another value and a constant that this one is the product of, and how often that is rounded; or itself."""
    node = r.nodes[value]
    if isinstance(node, Affine) and len(node.terms) == 1 and not node.magnitude.any() and not node.adds:
        linear, source = node.terms[0]
        whole = isinstance(linear, Scale) and (linear.factor == linear.factor[0]).all() and node.scale == 1.0
        if isinstance(linear, Scale) and whole and (node.leaves > 0).all():
            return source, float(linear.factor[0]), float(node.leaves.max())
    return value, 1.0, 0.0


RULES: dict[str, Any] = {"Gelu": (gelu, "approximate")}
