"""Trusted. Parts of a value, and padding around it. Source: onnx.ai/onnx/operators."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from torchlean_check.network import Ref, Select
from torchlean_check.wire import Array, Node

if TYPE_CHECKING:
    from torchlean_check.onnx_reader import Reader


def _axis(r: Reader, node: Node, axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise r.bad(node, "an axis is out of range", f"-{rank} to {rank - 1}", str(axis))
    return axis % rank


def slice_(r: Reader, node: Node) -> Ref | Array:
    if r.opset >= 10:
        x, *rest = r.arity(node, 3, 5)
        parts = [r.integers(node, v) if v is not None else None for v in rest]
    else:
        (x,) = r.arity(node, 1, 1)
        parts = [r.attr(node, "starts", ()), r.attr(node, "ends", ())]
        parts += [r.attr(node, "axes", tuple(range(len(parts[0] or ()))))]
    starts, ends = parts[0] or (), parts[1] or ()
    axes = parts[2] if len(parts) > 2 and parts[2] is not None else tuple(range(len(starts)))
    steps = parts[3] if len(parts) > 3 and parts[3] is not None else (1,) * len(starts)
    axes = tuple(_axis(r, node, a, len(x.shape)) for a in axes)
    if not starts or not len(starts) == len(ends) == len(axes) == len(steps) or len(set(axes)) != len(axes):
        raise r.bad(node, "starts, ends, axes and steps do not fit", "equal lengths, distinct axes", f"{parts}")
    if any(s < 1 for s in steps):
        raise r.bad(node, "a step is out of range", "positive steps", str(steps))
    cut = [slice(None)] * len(x.shape)
    for a, b, e, s in zip(axes, starts, ends, steps, strict=True):
        cut[a] = slice(b, e, s)  # Python clamps as ONNX does for positive steps
    return r.select(node, x, lambda array: array[tuple(cut)])


def split(r: Reader, node: Node) -> tuple[Ref | Array, ...]:
    """Sizes as an attribute before opset 13, an input from then on; without them, equal parts, of which from opset 18
    on the last may be smaller."""
    x, *given = r.arity(node, 1, 1 if r.opset < 13 else 2)
    count, axis = len(node.outputs), _axis(r, node, r.attr(node, "axis", 0), len(x.shape))
    if ("split" in node.attributes and r.opset >= 13) or ("num_outputs" in node.attributes and r.opset < 18):
        raise r.bad(node, "an attribute is of another opset", f"those of opset {r.opset}", str(sorted(node.attributes)))
    sizes = r.integers(node, given[0]) if given else r.attr(node, "split", ())
    if not all(node.outputs):
        raise r.beyond(node, "every part must have a name", "named outputs", str(node.outputs))
    if not sizes:
        n, each = x.shape[axis], -(-x.shape[axis] // count)
        sizes = tuple(min(each, n - i * each) for i in range(count))
        if (len(set(sizes)) > 1 and r.opset < 18) or r.attr(node, "num_outputs", count) != count:
            raise r.bad(node, "the parts are not equal, or not as many as outputs", f"{count}", str(sizes))
    if len(sizes) != count or min(sizes) < 1 or sum(sizes) != x.shape[axis]:
        raise r.bad(node, "the parts do not add up", f"{count} sizes with sum {x.shape[axis]}", str(sizes))
    ends = np.cumsum(sizes)
    return tuple(r.select(node, x, lambda a, e=e, k=k: np.take(a, np.arange(e - k, e), axis)) for e, k in
                 zip(ends, sizes, strict=True))  # fmt: skip


def pad(r: Reader, node: Node) -> Ref:
    """A constant around the value: attributes before opset 11, inputs from then on; axes from 18."""
    if r.attr(node, "mode", b"constant") != b"constant":
        raise r.beyond(node, "this padding is not supported", "constant", repr(node.attributes["mode"]))
    x, *rest = r.arity(node, 1, 1 if r.opset < 11 else 3 if r.opset < 18 else 4)
    if r.opset < 11:
        pads, fill = r.attr(node, "pads", ()), [r.attr(node, "value", 0.0)]
    else:
        pads = r.integers(node, rest[0] if rest else None)
        fill = r.weights(node, rest[1]).reshape(-1).tolist() if len(rest) > 1 and rest[1] is not None else [0.0]
    x, rank = r.value(node, x), len(x.shape)
    axes = r.integers(node, rest[2]) if len(rest) > 2 else tuple(range(rank))
    axes = tuple(_axis(r, node, a, rank) for a in axes)
    if len(pads) != 2 * len(axes) or len(set(axes)) != len(axes) or min(pads, default=0) < 0 or len(fill) != 1:
        raise r.beyond(node, "pads do not fit", f"{2 * len(axes)} sizes from 0 on, distinct axes", f"{pads}, {axes}")
    widths = [(0, 0)] * rank
    for i, a in enumerate(axes):
        widths[a] = pads[i], pads[len(axes) + i]
    size = math.prod(n + sum(w) for n, w in zip(x.shape, widths, strict=True))
    r.broadcast(node, (size,), (1,))
    index = np.pad(np.arange(math.prod(x.shape)).reshape(x.shape), widths, constant_values=-1)
    select = Select(index.reshape(-1), math.prod(x.shape))
    return r.affine(node, ((select, x.value),), index.shape, bias=np.where(select.index < 0, fill[0], 0.0))


RULES: dict[str, Any] = {
    "Slice": (slice_, "starts ends axes"),
    "Split": (split, "axis split num_outputs"),
    "Pad": (pad, "mode pads value"),
}
