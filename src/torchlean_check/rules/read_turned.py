"""Trusted. Transposed convolutions. Source: onnx.ai/onnx/operators; SEMANTICS 3."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torchlean_check.conv import Conv, Turned
from torchlean_check.network import Ref
from torchlean_check.rules.read_conv import WINDOW, per_channel, window
from torchlean_check.wire import Node

if TYPE_CHECKING:
    from torchlean_check.onnx_reader import Reader


def turned(r: Reader, node: Node) -> Ref:
    """ConvTranspose: the transpose of a convolution whose output this node's input is."""
    found = r.arity(node, 2, 3)
    x, w = r.value(node, found[0]), r.weights(node, found[1])
    axes = w.ndim - 2
    kernel, groups = tuple(w.shape[2:]), r.attr(node, "group", 1)
    extra, strides = r.attr(node, "output_padding", (0,) * axes), r.attr(node, "strides", (1,) * axes)
    pads, dilations = r.attr(node, "pads", (0,) * 2 * axes), r.attr(node, "dilations", (1,) * axes)
    if (
        not 1 <= axes <= 3
        or len(x.shape) != axes + 2
        or not len(extra) == len(strides) == len(dilations) == axes
        or len(pads) != 2 * axes
        or groups < 1
        or x.shape[:2] != (1, w.shape[0])
        or w.shape[0] % groups
        or r.attr(node, "kernel_shape", kernel) != kernel
        or any(not 0 <= e < s for e, s in zip(extra, strides, strict=True))
    ):
        raise r.bad(node, "shapes do not fit", "[1, channels, axes], a kernel for them", f"{x.shape}, {w.shape}")
    out = tuple(
        (n - 1) * s + d * (k - 1) + 1 + e - pads[i] - pads[axes + i]
        for i, (n, s, d, k, e) in enumerate(zip(x.shape[2:], strides, dilations, kernel, extra, strict=True))
    )
    shape = (1, w.shape[1] * groups, *out)
    back = replace(node, attributes={k: v for k, v in node.attributes.items() if k != "output_padding"})
    if min(out) < 1 or window(r, back, kernel, Ref(x.value, shape))[3] != x.shape[2:]:
        raise r.bad(node, "pads or output_padding do not fit", "a convolution's transpose", f"{pads}, {extra}")
    bias = per_channel(r, node, found, shape[1], math.prod(out))
    conv = Conv(w, strides, pads, dilations, groups, shape[1:], tuple(x.shape[1:]))
    return r.product(node, Turned(conv), x, shape, bias)


RULES: dict[str, Any] = {"ConvTranspose": (turned, WINDOW + " group output_padding")}
