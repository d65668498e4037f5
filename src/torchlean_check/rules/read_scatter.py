"""Trusted. Entries replaced at known places. Source: onnx.ai/onnx/operators."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from torchlean_check.network import Ref, Select
from torchlean_check.wire import Node

if TYPE_CHECKING:
    from torchlean_check.onnx_reader import Reader


def scatter(r: Reader, node: Node) -> Ref:
    """ScatterND: the slices at constant, distinct indices are replaced."""
    data, index, updates = r.arity(node, 3, 3)
    x, y = r.value(node, data), r.value(node, updates)
    known = isinstance(index, np.ndarray) and index.dtype == np.int64 and index.ndim > 0
    depth = index.shape[-1] if known else 0
    if not known or r.attr(node, "reduction", b"none") != b"none" or not 1 <= depth <= len(x.shape):
        raise r.beyond(node, "this form of ScatterND is not supported", "constant indices, no reduction", str(index))
    sizes = np.array(x.shape[:depth])
    if (index < -sizes).any() or (index >= sizes).any() or y.shape != (*index.shape[:-1], *x.shape[depth:]):
        raise r.bad(node, "indices or updates do not fit", f"of {x.shape}", f"{index.shape}, {y.shape}")
    places = np.arange(math.prod(x.shape)).reshape(x.shape)[tuple(np.moveaxis(index % sizes, -1, 0))].reshape(-1)
    if len(set(places.tolist())) != places.size:
        raise r.beyond(node, "a place is named twice", "distinct indices", "equal ones")
    kept, put = np.arange(math.prod(x.shape)), np.full(math.prod(x.shape), -1)
    kept[places], put[places] = -1, np.arange(places.size)
    terms = (Select(kept, kept.size), x.value), (Select(put, places.size), y.value)
    return r.affine(node, terms, x.shape)


RULES: dict[str, Any] = {"ScatterND": (scatter, "reduction")}
