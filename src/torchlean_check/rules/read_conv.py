"""Trusted. Convolutions. Source: onnx.ai/onnx/operators; SEMANTICS 3."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from torchlean_check.conv import Conv
from torchlean_check.network import Floats, Ref, sliding
from torchlean_check.wire import Node

if TYPE_CHECKING:
    from torchlean_check.onnx_reader import Reader

WINDOW = "auto_pad kernel_shape strides pads dilations"


def window(
    r: Reader, node: Node, kernel: tuple[int, ...], x: Ref
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Strides, pads, dilations and output sizes of a sliding window."""
    axes = len(kernel)
    if node.attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise r.beyond(node, "auto_pad is not supported", "NOTSET", repr(node.attributes["auto_pad"]))
    strides, dilations = r.attr(node, "strides", (1,) * axes), r.attr(node, "dilations", (1,) * axes)
    pads = r.attr(node, "pads", (0,) * 2 * axes)
    if not (
        len(x.shape) == axes + 2
        and x.shape[0] == 1
        and 1 <= axes <= 3
        and len(strides) == len(dilations) == axes
        and len(pads) == 2 * axes
    ):
        raise r.bad(
            node,
            "shapes do not fit",
            "[1, channels, 1 to 3 spatial axes]",
            f"{x.shape}, strides {strides}, pads {pads}",
        )
    if min(strides) < 1 or min(dilations) < 1 or min(pads) < 0 or max(*pads, *strides, *dilations) > 1 << 16:
        raise r.bad(
            node,
            "strides, dilations or pads are out of range",
            "positive; pads at least 0",
            f"{strides}, {dilations}, {pads}",
        )
    out = tuple(
        (n + pads[i] + pads[axes + i] - d * (k - 1) - 1) // s + 1
        for i, (n, k, s, d) in enumerate(zip(x.shape[2:], kernel, strides, dilations, strict=True))
    )
    if min(out) < 1:
        raise r.bad(node, "the kernel is larger than its input", f"at most {x.shape[2:]}", str(kernel))
    return strides, pads, dilations, out


def per_channel(r: Reader, node: Node, found: list[Any], channels: int, spots: int) -> Floats | None:
    """The bias, if there is one, for every spot of every channel."""
    if len(found) < 3:
        return None
    c = r.weights(node, found[2])
    if c.shape != (channels,):
        raise r.bad(node, "shapes do not fit", str((channels,)), str(c.shape))
    return np.repeat(c, spots)


def conv(r: Reader, node: Node) -> Ref:
    found = r.arity(node, 2, 3)
    x, w = r.value(node, found[0]), r.weights(node, found[1])
    kernel = tuple(w.shape[2:])
    if r.attr(node, "kernel_shape", kernel) != kernel or not kernel:
        raise r.bad(node, "kernel_shape does not fit the weight", str(kernel), str(node.attributes.get("kernel_shape")))
    strides, pads, dilations, out = window(r, node, kernel, x)
    groups = r.attr(node, "group", 1)
    if groups < 1 or x.shape[1] != groups * w.shape[1] or w.shape[0] % groups:
        raise r.bad(node, "channels do not fit", f"group * {w.shape[1]}", f"{x.shape[1]} channels, group {groups}")
    bias = per_channel(r, node, found, w.shape[0], math.prod(out))
    linear = sliding(Conv(w, strides, pads, dilations, groups, tuple(x.shape[1:]), (w.shape[0], *out)))
    return r.product(node, linear, x, (1, w.shape[0], *out), bias)


RULES: dict[str, Any] = {"Conv": (conv, WINDOW + " group")}
