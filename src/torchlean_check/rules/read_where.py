"""Trusted. Choices by constants and by comparisons, and casts. Source: onnx.ai/onnx/operators."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from torchlean_check.network import Product, Ref, Scale, Select
from torchlean_check.rules.read_constants import folded
from torchlean_check.wire import Array, Node

if TYPE_CHECKING:
    from torchlean_check.onnx_reader import Reader

FLOAT, INTEGERS = 1, (6, 7)  # float32 among the data types; int32 and int64


def where(r: Reader, node: Node) -> Ref | Array:
    """y + c (x - y) where c is a computed truth: a choice, in which nothing rounds."""
    c, a, b = r.arity(node, 3, 3)
    found = folded(r, node, np.where, c, a, b)
    if found is not None:
        return found
    if not _truth(c) or _truth(a) or _truth(b):
        raise r.beyond(node, "a condition must be a constant or a comparison, of numbers", "truths", "numbers")
    x, y = r.value(node, a), r.value(node, b)
    size = r.broadcast(node, c.shape, r.broadcast(node, x.shape, y.shape))
    x, y, every = r.expand(node, x, size), r.expand(node, y, size), np.arange(math.prod(size))
    if isinstance(c, Ref):
        one, all_ = np.ones(every.size), Select(every, every.size)
        apart = r.affine(node, ((Scale(one), x.value), (Scale(-one), y.value)), size)
        c = r.expand(node, c, size)
        part = r.bent(Product(all_, all_, (c.value, apart.value), every.size, size, node.name, 0.0))
        return r.affine(node, ((Scale(one), part.value), (Scale(one), y.value)), size)
    yes = np.broadcast_to(c, size).reshape(-1)
    first, second = Select(np.where(yes, every, -1), len(yes)), Select(np.where(yes, -1, every), len(yes))
    return r.affine(node, ((first, x.value), (second, y.value)), size)


def _truth(v: Ref | Array) -> bool:
    return v.kind == "bool" if isinstance(v, Ref) else v.dtype == np.bool_


def cast(r: Reader, node: Node) -> Ref | Array:
    """To float32, of what is float32, a truth, or a whole number that float32 holds; of whole numbers to themselves."""
    (x,) = r.arity(node, 1, 1)
    if isinstance(x, Ref) and x.kind == "int64" and r.attr(node, "to", 0) in INTEGERS:
        return x
    if r.attr(node, "to", 0) != FLOAT:
        raise r.beyond(node, "this cast is not supported", "to float32", str(node.attributes.get("to")))
    if isinstance(x, Ref):
        return replace(x, kind="")
    whole = x.dtype in (np.bool_, np.int64, np.int32) and np.abs(x).max(initial=0) <= 1 << 24
    if not whole and x.dtype != np.float32:
        raise r.beyond(node, "this constant is not cast", "up to 2^24", str(x.dtype))
    return x.astype(np.float32)


RULES: dict[str, Any] = {"Where": (where, ""), "Cast": (cast, "to")}
