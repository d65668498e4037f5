"""Trusted. The largest and the least of several entries, as relus. Source: onnx.ai/onnx/operators."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from torchlean_check.network import Ints, Ref, Select
from torchlean_check.rules.read_choice import larger, smaller
from torchlean_check.rules.read_sums import AXES, gathered
from torchlean_check.wire import Node

if TYPE_CHECKING:
    from torchlean_check.onnx_reader import Reader


def extreme(r: Reader, node: Node, x: Ref, count: int, most: bool) -> Ref:
    """Of each `count` neighbours, by halves: each is met with one of the other half."""
    while count > 1:
        half, places = count // 2, np.arange(math.prod(x.shape)).reshape(-1, count)
        pairs = [_taken(r, node, x, places[:, part]) for part in (slice(half), slice(half, 2 * half))]
        best = (larger if most else smaller)(r, node, *pairs)
        x = best if count % 2 == 0 else _joined(r, node, best, half, _taken(r, node, x, places[:, -1:]))
        count = half + count % 2
    return x


def _taken(r: Reader, node: Node, x: Ref, index: Ints) -> Ref:
    return r.affine(node, ((Select(index.reshape(-1), math.prod(x.shape)), x.value),), (index.size,))


def _joined(r: Reader, node: Node, x: Ref, width: int, y: Ref) -> Ref:
    """Rows of x, each with one entry of y behind it."""
    rows = math.prod(y.shape)
    left = np.concatenate([np.arange(rows * width).reshape(rows, width), np.full((rows, 1), -1)], axis=1)
    right = np.concatenate([np.full((rows, width), -1), np.arange(rows)[:, None]], axis=1)
    terms = (Select(left.reshape(-1), rows * width), x.value), (Select(right.reshape(-1), rows), y.value)
    return r.affine(node, terms, (left.size,))


def reduce(r: Reader, node: Node, most: bool) -> Ref:
    x, count, shape = gathered(r, node, 18)
    return Ref(extreme(r, node, x, count, most).value, shape)


def global_max(r: Reader, node: Node) -> Ref:
    x = r.value(node, r.arity(node, 1, 1)[0])
    if len(x.shape) < 3:
        raise r.bad(node, "there is no axis to pool over", "[1, channels, axes]", str(x.shape))
    found = extreme(r, node, x, math.prod(x.shape[2:]), True)
    return Ref(found.value, (*x.shape[:2], *(1 for _ in x.shape[2:])))


RULES: dict[str, Any] = {
    "ReduceMax": (lambda r, node: reduce(r, node, True), AXES),
    "ReduceMin": (lambda r, node: reduce(r, node, False), AXES),
    "GlobalMaxPool": (global_max, ""),
}
