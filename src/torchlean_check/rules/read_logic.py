"""Trusted. Comparisons of values, and logic. Source: onnx.ai/onnx/operators; SEMANTICS 2.

A truth is 0 or 1. With d = b - a:  a < b is relu(sign(d)),  a and b is relu(a + b - 1),  not a is 1 - a.
Nothing rounds in them; both operands of a comparison may be flushed, for which the two steps to d are charged with
2^-126 each. A box of d that meets 0 has both limits.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from torchlean_check.network import Ref, Relu, Scale
from torchlean_check.rules.read_constants import folded
from torchlean_check.rules.read_curves import curve
from torchlean_check.wire import Array, Node

if TYPE_CHECKING:
    from torchlean_check.onnx_reader import Reader


def _sum(r: Reader, node: Node, shift: float, *parts: tuple[float, Ref]) -> Ref:
    """shift + the sum of factor value: a step of ours that no execution takes."""
    one, shape = np.ones(math.prod(parts[0][1].shape)), parts[0][1].shape
    return r.affine(node, tuple((Scale(f * one), x.value) for f, x in parts), shape, bias=shift * one)


def _positive(r: Reader, node: Node, x: Ref) -> Ref:
    return r.bent(Relu(x.value, math.prod(x.shape), x.shape, node.name))


def _apart(r: Reader, node: Node, a: Any, b: Any) -> Ref:
    """sign(b - a), which broadcast."""
    x, y = r.value(node, a), r.value(node, b)
    shape = r.broadcast(node, x.shape, y.shape)
    x, y = r.expand(node, x, shape), r.expand(node, y, shape)
    return curve(r, node, _sum(r, node, 0.0, (1.0, y), (1.0, _sum(r, node, 0.0, (-1.0, x)))), "sign")


def less(r: Reader, node: Node, swapped: bool = False, strict: bool = True) -> Ref:
    """a < b; `swapped`: b < a; not `strict`: not that with both sides exchanged."""
    a, b = r.arity(node, 2, 2)[:: -1 if swapped is strict else 1]
    found = _positive(r, node, _apart(r, node, a, b))
    return replace(found if strict else _sum(r, node, 1.0, (-1.0, found)), kind="bool")


def equal(r: Reader, node: Node) -> Ref | Array:
    a, b = r.arity(node, 2, 2)
    known = folded(r, node, lambda x, y: x == y, a, b)
    if known is not None:
        return known
    s = _apart(r, node, a, b)
    sides = _positive(r, node, s), _positive(r, node, _sum(r, node, 0.0, (-1.0, s)))
    return replace(_sum(r, node, 1.0, *((-1.0, side) for side in sides)), kind="bool")


def truths(r: Reader, node: Node, count: int) -> list[Ref]:
    """The inputs, which must be computed truths of one shape."""
    found = r.arity(node, count, count)
    if not all(isinstance(x, Ref) and x.kind == "bool" for x in found) or len({x.shape for x in found}) != 1:
        raise r.beyond(node, "logic is supported on comparisons of one shape", "computed truths", str(found))
    return found


def both(r: Reader, node: Node) -> Ref:
    a, b = truths(r, node, 2)
    return replace(_positive(r, node, _sum(r, node, -1.0, (1.0, a), (1.0, b))), kind="bool")


def either(r: Reader, node: Node) -> Ref:
    a, b = truths(r, node, 2)
    neither = _positive(r, node, _sum(r, node, 1.0, (-1.0, a), (-1.0, b)))
    return replace(_sum(r, node, 1.0, (-1.0, neither)), kind="bool")


def negation(r: Reader, node: Node) -> Ref:
    return replace(_sum(r, node, 1.0, (-1.0, truths(r, node, 1)[0])), kind="bool")


READERS = {  # of values that are no float32
    "bool": ("And", "Or", "Not", "Where", "Cast"),
    "int64": ("Cast", "OneHot", "Identity", "Squeeze", "Unsqueeze", "Reshape", "Flatten"),
}
RULES: dict[str, Any] = {
    "Less": (less, ""),
    "LessOrEqual": (lambda r, node: less(r, node, strict=False), ""),
    "Greater": (lambda r, node: less(r, node, swapped=True), ""),
    "GreaterOrEqual": (lambda r, node: less(r, node, swapped=True, strict=False), ""),
    "Equal": (equal, ""),
    "And": (both, ""),
    "Or": (either, ""),
    "Not": (negation, ""),
}
