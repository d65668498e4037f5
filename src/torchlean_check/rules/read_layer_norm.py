"""Trusted. Normalization of rows over trailing axes, as its definition's steps. Source: onnx.ai/onnx/operators.

    d = x - mean(x)      v = mean(d^2) + epsilon      y = d / sqrt(v) scale + bias      without the means for RMS

Sums go in any order. With u = 2^-24: 1 / sqrt(v) is within 2^-20, by root and quotient (2^-22 + 3 u) or in one step.
d (1 / sqrt(v)) may be x / sqrt(v) - mean / sqrt(v), and the scale may come first: 6 u (|x| + |mean|) for the d that is
multiplied, apart from the d that is squared, 3 u for the product and 3 u for the scaled sum cover them all. What
underflows is multiplied by at most sqrt(v) or x, both below 2^64.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from torchlean_check.network import Floats, Product, Ref, Scale, Select
from torchlean_check.rules.read_curves import curve
from torchlean_check.rules.read_sums import sums
from torchlean_check.wire import Node

if TYPE_CHECKING:
    from torchlean_check.onnx_reader import Reader

MOST = 2.0**60  # of inputs: nothing overflows
FEW = 1 << 20  # entries of a row


def norm(r: Reader, node: Node, centred: bool) -> Ref:
    found = r.arity(node, 2, 3 if centred else 2)
    x, rank = r.value(node, found[0]), len(found[0].shape)
    axis, eps = r.attr(node, "axis", -1), r.attr(node, "epsilon", float(np.float32(1e-05)))
    if not -rank <= axis < rank or not 2.0**-60 <= eps <= 1.0 or r.attr(node, "stash_type", 1) != 1:
        raise r.beyond(node, "this normalization is not supported", "an axis of x, 2^-60 <= epsilon <= 1, stash_type 1",
                       f"axis {axis}, epsilon {eps}")  # fmt: skip
    row = x.shape[axis % rank :]
    count = math.prod(row)
    if count > FEW:
        raise r.beyond(node, "a row is too long", f"at most {FEW} entries", str(count))
    scale, bias = _row(r, node, found[1], x, row), _row(r, node, found[2], x, row) if len(found) > 2 else None
    index = np.repeat(np.arange(math.prod(x.shape) // count), count)
    mean: dict[str, Any] = {"weight": 1.0 / count, "weight_rel": 2.0**-53, "most": MOST}
    squared = apart = x
    if centred:
        middle = sums(r, node, x, count, leaves=count + 2.0, **mean)
        minus = r.affine(node, ((Scale(-np.ones(middle.shape)), middle.value),), middle.shape)
        terms = (Scale(np.ones(index.size)), x.value), (Select(index, math.prod(minus.shape)), minus.value)
        squared = r.affine(node, terms, x.shape, adds=True, most=MOST)
        apart = r.affine(node, terms, x.shape, leaves=6.0, most=MOST, scale=2.0**64)
    # a square's own rounding is one more of each leaf's; epsilon is added last
    v = sums(r, node, curve(r, node, squared, "square", absolute=2.0**-124, relative=0.0), count, leaves=count + 3.0,
             bias=np.full(index.size // count, eps), adds=True, **mean)  # fmt: skip
    root = curve(r, node, v, "rsqrt")
    every = np.arange(index.size)
    left, right = Select(every, index.size), Select(index, math.prod(root.shape))
    y = r.bent(Product(left, right, (apart.value, root.value), index.size, x.shape, node.name, 3.0))
    return r.affine(node, ((Scale(scale), y.value),), x.shape, bias=bias, leaves=3.0, most=MOST, scale=2.0**64)


def _row(r: Reader, node: Node, given: Any, x: Ref, row: tuple[int, ...]) -> Floats:
    """A parameter for every entry of x."""
    w = r.weights(node, given)
    if r.broadcast(node, row, w.shape) != row or np.abs(w).max() > 2.0**60:
        raise r.bad(node, "a parameter does not fit", f"{row}, at most 2^60", str(w.shape))
    return np.broadcast_to(w, x.shape).reshape(-1).copy()


RULES: dict[str, Any] = {
    "LayerNormalization": (lambda r, node: norm(r, node, True), "axis epsilon stash_type"),
    "RMSNormalization": (lambda r, node: norm(r, node, False), "axis epsilon stash_type"),
}
