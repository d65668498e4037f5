"""Trusted. Pooling: averages, and maxima as relus. Source: onnx.ai/onnx/operators; SEMANTICS 3."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from torchlean_check.conv import Conv
from torchlean_check.network import Ints, Ref, Select
from torchlean_check.rules.read_choice import larger
from torchlean_check.rules.read_conv import WINDOW, window
from torchlean_check.wire import Node

if TYPE_CHECKING:
    from torchlean_check.onnx_reader import Reader


def average(r: Reader, node: Node, kernel: tuple[int, ...], x: Ref) -> Ref:
    strides, pads, dilations, out = window(r, node, kernel, x)
    if (any(pads) and not r.attr(node, "count_include_pad", 0)) or set(dilations) != {1}:
        raise r.beyond(
            node, "this average is not supported", "pads 0 or counted, dilations 1", f"{node.attributes}"
        )
    count = math.prod(kernel)
    linear = Conv(
        np.full((x.shape[1], 1, *kernel), 1.0 / count),
        strides,
        pads,
        dilations,
        x.shape[1],
        tuple(x.shape[1:]),
        (x.shape[1], *out),
    )
    return r.affine(
        node,
        ((linear, x.value),),
        (1, x.shape[1], *out),
        leaves=count + 2.0,
        weight_rel=2.0**-53,
        most=2.0**126 / count,
    )


def average_pool(r: Reader, node: Node) -> Ref:
    x = r.value(node, r.arity(node, 1, 1)[0])
    if r.attr(node, "ceil_mode", 0):
        raise r.beyond(node, "ceil_mode is not supported", "0", "1")
    kernel = r.attr(node, "kernel_shape", ())
    if not kernel or min(kernel) < 1:
        raise r.bad(node, "kernel_shape is missing or not positive", "positive sizes", str(kernel))
    return average(r, node, kernel, x)


def global_average(r: Reader, node: Node) -> Ref:
    x = r.value(node, r.arity(node, 1, 1)[0])
    return average(r, node, tuple(x.shape[2:]), x)


def max_pool(r: Reader, node: Node) -> Ref:
    """The largest of each window. A padded entry never wins, so the nearest entry, of the window too, stands for it."""
    x = r.value(node, r.arity(node, 1, 1)[0])
    kernel = r.attr(node, "kernel_shape", ())
    strides, pads, dilations, out = window(r, node, kernel, x)
    if r.attr(node, "ceil_mode", 0) or r.attr(node, "storage_order", 0) or set(dilations) != {1}:
        raise r.beyond(node, "this form of MaxPool is not supported", "ceil_mode 0, dilations 1", str(node.attributes))
    if any(p >= k for p, k in zip(pads, kernel * 2, strict=True)):
        raise r.bad(node, "pads must be smaller than the kernel", str(kernel), str(pads))
    places = np.arange(math.prod(x.shape)).reshape(x.shape)
    parts: list[Ints] = []
    for k in itertools.product(*map(range, kernel)):
        at = [
            np.clip(np.arange(n) * s + a - p, 0, m - 1)
            for n, s, a, p, m in zip(out, strides, k, pads, x.shape[2:], strict=False)
        ]
        parts.append(places[np.ix_(np.zeros(1, np.int64), np.arange(x.shape[1]), *at)])
    shape = (1, x.shape[1], *out)
    found = [r.affine(node, ((Select(p.reshape(-1), places.size), x.value),), shape) for p in parts]
    while len(found) > 1:
        pairs = zip(found[::2], found[1::2], strict=False)
        found = [larger(r, node, a, b) for a, b in pairs] + (found[-1:] if len(found) % 2 else [])
    return found[0]


RULES: dict[str, Any] = {
    "GlobalAveragePool": (global_average, ""),
    "AveragePool": (average_pool, WINDOW + " ceil_mode count_include_pad"),
    "MaxPool": (max_pool, WINDOW + " ceil_mode storage_order"),
}
