"""Trusted. Arithmetic on shapes and indices, which graphs do on integers: exact. Source: onnx.ai/onnx/operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from torchlean_check.network import Ref
from torchlean_check.wire import Array, Node

if TYPE_CHECKING:
    from torchlean_check.onnx_reader import Reader

MOST = 1 << 40  # an integer beyond it is refused, so that none wraps around


def folded(r: Reader, node: Node, do: Callable[..., Any], *args: Ref | Array | None) -> Array | None:
    """What integers and truth values give; None where an argument is none of these."""
    if not all(isinstance(a, np.ndarray) and a.dtype in (np.int64, np.int32, np.bool_) for a in args):
        return None
    found = np.asarray(do(*args))
    if found.size > 1 << 20 or (found.dtype != np.bool_ and np.abs(found).max(initial=0) > MOST):
        raise r.beyond(node, "an integer is too large", f"up to {MOST}", str(found.shape))
    return found.astype(np.bool_ if found.dtype == np.bool_ else np.int64)


def must(r: Reader, node: Node, found: Array | None) -> Array:
    if found is None:
        raise r.beyond(node, "this op is supported on integer constants only", "int64 constants", "a computed value")
    return found


def shape(r: Reader, node: Node) -> Array:
    (x,) = r.arity(node, 1, 1)
    return np.array(x.shape, np.int64)


def constant_of_shape(r: Reader, node: Node) -> Array:
    sizes = r.integers(node, r.arity(node, 1, 1)[0])
    value = r.attr(node, "value", np.zeros(1, np.float32))
    if value.size != 1 or any(n < 1 for n in sizes) or np.prod(sizes, dtype=np.float64) > 1 << 26:
        raise r.bad(node, "shapes do not fit", "one value, positive sizes", f"{value.shape}, {sizes}")
    return np.full(sizes, value.reshape(-1)[0], value.dtype)


def gather(r: Reader, node: Node) -> Ref | Array:
    x, index = r.arity(node, 2, 2)
    axis = r.attr(node, "axis", 0)
    if not isinstance(index, np.ndarray) or index.dtype not in (np.int64, np.int32):
        raise r.beyond(node, "indices must be constants", "int64 constant", "a computed value")
    rank = len(x.shape)
    if not -rank <= axis < rank or (index < -x.shape[axis]).any() or (index >= x.shape[axis]).any():
        raise r.bad(node, "an axis or an index is out of range", f"of {x.shape}", f"axis {axis}")
    return r.select(node, x, lambda a: np.take(a, index, axis))


def expand(r: Reader, node: Node) -> Ref | Array:
    x, sizes = r.arity(node, 2, 2)
    size = r.broadcast(node, x.shape, r.integers(node, sizes))
    return r.expand(node, x, size) if isinstance(x, Ref) else np.array(np.broadcast_to(x, size))


RULES: dict[str, Any] = {
    "Shape": (shape, ""),
    "ConstantOfShape": (constant_of_shape, "value"),
    "Gather": (gather, "axis"),
    "Expand": (expand, ""),
}
