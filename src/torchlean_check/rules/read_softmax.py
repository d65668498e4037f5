"""Trusted. Softmax, through differences. Source: onnx.ai/onnx/operators; Wei et al. 2023, arXiv:2303.01713."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from torchlean_check.network import Ref, Scale, Select
from torchlean_check.rules.read_curves import TOLERANCES, curve
from torchlean_check.rules.read_sums import sums
from torchlean_check.wire import Node

if TYPE_CHECKING:
    from torchlean_check.onnx_reader import Reader


def softmax(r: Reader, node: Node) -> Ref:
    """softmax_i = 1 / (1 + sum over j != i of e^(x_j - x_i)).

    An execution takes e^(x_j - c) with |c - max x| <= 1: an error 2^-24 |x_j - c| in the exponent, at most 2^-24
    (1 + the largest difference), and the function's own, above and below; n additions; a quotient within 3 2^-24. What
    may be lost of an e^(x_j - c) absolutely is below 2^-123 of the sum, which is at least e^-1.
    """
    x = r.value(node, r.arity(node, 1, 1)[0])
    rank = len(x.shape)
    axis = r.attr(node, "axis", -1 if r.opset >= 13 else 1)
    if not -rank <= axis < rank or (r.opset < 13 and axis % rank != rank - 1):
        raise r.beyond(node, "this axis is not supported", "any from opset 13 on, the last one before", str(axis))
    n = x.shape[axis]
    if n == 1 or math.prod(x.shape) * n > 1 << 22:
        raise r.beyond(node, "this size is not supported", "2 entries or more, 2^22 differences or fewer", str(x.shape))
    places = np.moveaxis(np.arange(math.prod(x.shape)).reshape(x.shape), axis, -1)
    flat = places.reshape(-1, n)
    others = np.array([[j for j in range(n) if j != i] for i in range(n)])
    first, second = flat[:, others].reshape(-1), np.repeat(flat.reshape(-1), n - 1)  # x_j and x_i
    size = flat.size
    minus = r.affine(node, ((Scale(-np.ones(size)), x.value),), x.shape)
    terms = (Select(first, size), x.value), (Select(second, size), minus.value)
    apart = r.affine(node, terms, (len(first),))
    total = sums(r, node, curve(r, node, apart, "exp", exact=True), n - 1, bias=np.ones(size))
    relative = 2.0 * TOLERANCES["exp"][1] + (n + 8) * 2.0**-24
    found = curve(r, node, total, "reciprocal", absolute=(n + 4) * 2.0**-120, relative=relative, spread=2.25,
                  wide=apart.value)  # fmt: skip
    where = np.empty(size, np.int64)
    where[flat.reshape(-1)] = np.arange(size)
    return r.affine(node, ((Select(where, size), found.value),), x.shape)


RULES: dict[str, Any] = {"Softmax": (softmax, "axis")}
