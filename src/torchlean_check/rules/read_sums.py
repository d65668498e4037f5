"""Trusted. Sums and means over axes. Source: onnx.ai/onnx/operators; SEMANTICS 3."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from torchlean_check.conv import Conv
from torchlean_check.network import Ref
from torchlean_check.wire import Node

if TYPE_CHECKING:
    from torchlean_check.onnx_reader import Reader


def sums(r: Reader, node: Node, x: Ref, count: int, weight: float = 1.0, **more: Any) -> Ref:
    """Weighted sums of `count` neighbours; without `leaves`, a step of ours that no execution takes."""
    size = math.prod(x.shape) // count
    add = Conv(np.full((1, 1, count), weight), (count,), (0, 0), (1,), 1, (1, size * count), (1, size))
    return r.affine(node, ((add, x.value),), (size,), **more)


def gathered(r: Reader, node: Node, since: int) -> tuple[Ref, int, tuple[int, ...]]:
    """A value whose neighbours are to be reduced, how many at a time, and the shape of the result. Axes are an
    attribute, or an input from opset `since` on."""
    found = r.arity(node, 1, 2)
    x = r.value(node, found[0])
    if (len(found) > 1 and r.opset < since) or ("axes" in node.attributes and r.opset >= since):
        raise r.bad(node, f"axes are an input from opset {since}, an attribute before", "the right one", "the other")
    given = r.integers(node, found[1]) if len(found) > 1 else r.attr(node, "axes", ())
    rank = len(x.shape)
    axes = sorted({a + rank if a < 0 else a for a in given}) or list(range(rank))
    if r.attr(node, "noop_with_empty_axes", 0) or axes[0] < 0 or axes[-1] >= rank:
        raise r.bad(node, "axes are out of range", f"below {rank}", str(given))
    kept = [i for i in range(rank) if i not in axes]
    count = math.prod(x.shape[i] for i in axes)
    moved = r.select(node, x, lambda a: a.transpose([*kept, *axes]))
    assert isinstance(moved, Ref)
    shape = [1 if i in axes else n for i, n in enumerate(x.shape)]
    return moved, count, tuple(shape if r.attr(node, "keepdims", 1) else [x.shape[i] for i in kept])


def reduce(r: Reader, node: Node, mean: bool) -> Ref:
    moved, count, shape = gathered(r, node, 18 if mean else 13)
    if mean:
        more = {"weight": 1.0 / count, "leaves": count + 2.0, "weight_rel": 2.0**-53, "most": 2.0**126 / count}
    else:
        more = {"leaves": float(count)}
    return Ref(sums(r, node, moved, count, **more).value, shape)


AXES = "axes keepdims noop_with_empty_axes"
RULES: dict[str, Any] = {
    "ReduceSum": (lambda r, node: reduce(r, node, False), AXES),
    "ReduceMean": (lambda r, node: reduce(r, node, True), AXES),
}
