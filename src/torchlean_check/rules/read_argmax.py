"""Trusted. The place of the largest entry, and truths about places. Source: onnx.ai/onnx/operators; SEMANTICS 2.

Of K entries, each pair is compared once: t = relu(sign(x_j - x_i)), i < j, is 1 where j beats i, and 0 where i does or
both are equal; where the last of equal entries is asked for, with the roles of i and j exchanged. One entry beats all
others: it wins K - 1 pairs, and the others fewer. So h_j = relu(wins_j - (K - 2)) is 1 for it and 0 else, and the place
is sum j h_j. Entries may be flushed before they are compared, which is charged in two steps as for comparisons. A whole
number v is c where relu(v - c + 1) - 2 relu(v - c) + relu(v - c - 1) is 1; for others this is 0. Nothing rounds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from torchlean_check.network import Map, Ref, Relu, Rows, Scale, Select
from torchlean_check.rules.read_curves import curve
from torchlean_check.wire import Array, Node

if TYPE_CHECKING:
    from torchlean_check.onnx_reader import Reader

PAIRS, CLASSES = 1 << 18, 1 << 16


def _step(r: Reader, node: Node, terms: list[tuple[Map, Ref]], size: int, bias: Any = 0.0) -> Ref:
    """A sum of ours that no execution takes."""
    bias = np.broadcast_to(bias, size).astype(np.float64)
    return r.affine(node, tuple((m, x.value) for m, x in terms), (size,), bias=bias)


def _relu(r: Reader, node: Node, x: Ref) -> Ref:
    return r.bent(Relu(x.value, math.prod(x.shape), x.shape, node.name))


def argmax(r: Reader, node: Node) -> Ref:
    x = r.value(node, r.arity(node, 1, 1)[0])
    rank, axis, last = len(x.shape), r.attr(node, "axis", 0), r.attr(node, "select_last_index", 0)
    if not (-rank if r.opset >= 11 else 0) <= axis < rank or ("select_last_index" in node.attributes and r.opset < 12):
        raise r.bad(node, "an axis is out of range, or an attribute of another opset", f"below {rank}", str(axis))
    count, shape = x.shape[axis], list(x.shape)
    rows, shape[axis] = math.prod(x.shape) // count, 1
    size = rows * count * (count - 1) // 2
    if size > PAIRS or count > CLASSES:
        raise r.beyond(node, "there are too many entries to compare", f"up to {PAIRS} pairs", str(size))
    kept = tuple(shape if r.attr(node, "keepdims", 1) else shape[: axis % rank] + shape[axis % rank + 1 :])
    if count == 1:
        return Ref(_step(r, node, [(Select(np.full(rows, -1), rows), x)], rows).value, kept, "int64")
    places = np.moveaxis(np.arange(math.prod(x.shape)).reshape(x.shape), axis, -1).reshape(rows, count)
    pair, one = np.stack(np.triu_indices(count, 1))[:: -1 if last else 1], np.ones(size)
    first, then = (_step(r, node, [(Select(places[:, p].reshape(-1), places.size), x)], size) for p in pair)
    apart = _step(r, node, [(Scale(one), then), (Scale(one), _step(r, node, [(Scale(-one), first)], size))], size)
    beaten = _relu(r, node, curve(r, node, apart, "sign"))
    wins = (np.arange(count) == pair[1][:, None]) * 1.0 - (np.arange(count) == pair[0][:, None])
    spare = np.tile(np.bincount(pair[0], minlength=count) - (count - 2.0), rows)
    best = _relu(r, node, _step(r, node, [(Rows(wins, rows), beaten)], rows * count, spare))
    found = _step(r, node, [(Rows(np.arange(count)[:, None] * 1.0, rows), best)], rows)
    return Ref(found.value, kept, "int64")


def one_hot(r: Reader, node: Node) -> Ref | Array:
    """Of computed places, which are from 0 on, or of constant ones, which count from the end where negative."""
    x, depth, values = r.arity(node, 3, 3)
    ends, axis = r.weights(node, values).reshape(-1), r.attr(node, "axis", -1)
    known = isinstance(depth, np.ndarray) and depth.size == 1 and 1 <= depth.reshape(-1)[0] <= CLASSES
    if not known or depth.reshape(-1)[0] % 1 or len(ends) != 2 or not -len(x.shape) - 1 <= axis <= len(x.shape):
        raise r.beyond(node, "this form is not supported", f"a constant depth to {CLASSES}, two values, an axis",
                       f"{depth}, {ends}, {axis}")  # fmt: skip
    count, (off, on) = int(depth.reshape(-1)[0]), ends.tolist()
    whole = isinstance(x, np.ndarray) and x.dtype in (np.int64, np.int32)
    if whole and (r.opset >= 11 or (x >= 0).all()):
        places = np.where(x < 0, x + count, x)
        return np.moveaxis(np.where(places[..., None] == np.arange(count), on, off).astype(np.float32), -1, axis)
    if not isinstance(x, Ref) or x.kind != "int64":
        expected = "constants, from 0 on before opset 11, or what ArgMax gives"
        raise r.beyond(node, "indices must be whole numbers", expected, "others")
    shape = (*x.shape, count)
    v = r.select(node, x, lambda a: np.moveaxis(np.broadcast_to(a[..., None], shape), -1, axis))
    assert isinstance(v, Ref)
    number = np.moveaxis(np.broadcast_to(np.arange(count), shape), -1, axis).reshape(-1)
    size, one = number.size, np.ones(number.size)
    sides = [_relu(r, node, _step(r, node, [(Scale(one), v)], size, shift - number)) for shift in (1, 0, -1)]
    truth = _step(r, node, [(Scale(f * one), side) for f, side in zip((1.0, -2.0, 1.0), sides, strict=True)], size)
    return Ref(_step(r, node, [(Scale(on * one), truth), (Scale(-off * one), truth)], size, off).value, v.shape)


RULES: dict[str, Any] = {"ArgMax": (argmax, "axis keepdims select_last_index"), "OneHot": (one_hot, "axis")}
