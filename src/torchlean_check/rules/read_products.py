"""Trusted. Products and quotients of computed values. Source: onnx.ai/onnx/operators; SEMANTICS 3."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from torchlean_check.network import Ints, Product, Ref, Select
from torchlean_check.rules.read_curves import curve
from torchlean_check.rules.read_gates import gated
from torchlean_check.rules.read_sums import sums
from torchlean_check.wire import Node

if TYPE_CHECKING:
    from torchlean_check.onnx_reader import Reader

MOST = 1 << 24  # products of one node


def _product(r: Reader, node: Node, a: tuple[Ints, Ref], b: tuple[Ints, Ref], units: float) -> Ref:
    (i, x), (j, y) = a, b
    if i.size > MOST:
        raise r.beyond(node, "there are too many products", f"{MOST}", str(i.size))
    left, right = Select(i.reshape(-1), math.prod(x.shape)), Select(j.reshape(-1), math.prod(y.shape))
    return r.bent(Product(left, right, (x.value, y.value), i.size, i.shape, node.name, units))


def _places(x: Ref) -> Ints:
    return np.arange(math.prod(x.shape)).reshape(x.shape)


def times(r: Reader, node: Node, a: Ref, b: Ref, units: float = 1.0) -> Ref:
    if a == b:
        return curve(r, node, a, "square", absolute=2.0**-124, relative=units * 2.0**-24)
    known = (gated(r, node, a, b) or gated(r, node, b, a)) if units == 1.0 else None
    if known is not None:
        return known
    shape = r.broadcast(node, a.shape, b.shape)
    i, j = np.broadcast_to(_places(a), shape), np.broadcast_to(_places(b), shape)
    return _product(r, node, (i, a), (j, b), units)


def over(r: Reader, node: Node, a: Ref, b: Ref) -> Ref:
    """a / b as a (1 / b): within 3 roundings of an execution, by reciprocal or not (SEMANTICS 3). A divisor's box must
    exclude 0; what of it is subnormal is refused by the reciprocal's size."""
    return times(r, node, a, curve(r, node, b, "reciprocal", exact=True), units=3.0)


def matmul(r: Reader, node: Node, a: Ref, b: Ref) -> Ref:
    """Every product of two entries, then sums in any order, with or without fused additions."""
    x, y = _places(a), _places(b)
    row, column = x.ndim == 1, y.ndim == 1
    x, y = x[None] if row else x, y[:, None] if column else y
    if x.ndim < 2 or y.ndim < 2 or x.shape[-1] != y.shape[-2]:
        raise r.bad(node, "shapes do not fit", "[..., i, k] times [..., k, j]", f"{a.shape} and {b.shape}")
    outer = r.broadcast(node, x.shape[:-2], y.shape[:-2]) if x.ndim + y.ndim > 4 else ()
    i, k, j = x.shape[-2], x.shape[-1], y.shape[-1]
    full = (*outer, i, j, k)
    if math.prod(full) > MOST:
        raise r.beyond(node, "there are too many products", f"{MOST}", str(full))
    left = np.broadcast_to(x[..., :, None, :], full)
    right = np.broadcast_to(np.swapaxes(y, -1, -2)[..., None, :, :], full)
    total = sums(r, node, _product(r, node, (left, a), (right, b), 0.0), k, leaves=float(k))
    shape = (*outer, *(() if row else (i,)), *(() if column else (j,)))
    return Ref(total.value, shape)
