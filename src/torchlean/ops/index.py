"""Reading and adding by index.

Shapes   gather: x[*a, n, *t], indices[*i] -> [*a, *i, *t]; `axis` is the place of n, counted from the end
         scatter_add: x[*a, m, *t], indices[m] -> [*a, size, *t]: gather's transpose
Floats   gather moves values: exact. scatter_add folds in index order from +0; another order is covered by `rounding`
Indices  0 .. n-1, or -n .. -1 counted from the end; outside, a DomainError in Real; checked where data enters
"""

from __future__ import annotations

from typing import Any

import numpy as np

from torchlean.errors import MissingRule
from torchlean.floats.formats import BINARY32, Format
from torchlean.floats.sums import any_order_bound
from torchlean.ir import DERIVED, EXACT, Linear, Missing, Onnx, Op, TensorType
from torchlean.ir.dims import as_size
from torchlean.ops.common import UP, Attrs, Types, arity, normal_axes, only_attrs, refuse
from torchlean.ops.namespace import add_at, take


def _axis(op: str, attrs: Attrs, x: TensorType, indices: TensorType) -> int:
    """The axis as a position from the front. Raises ShapeError."""
    (axis,) = normal_axes(op, attrs["axis"], x.rank)
    if attrs["axis"] != axis:
        raise refuse(op, "the axis is counted from the end", str(axis), str(attrs["axis"]), f"axis={axis}")
    if indices.dtype.kind != "int":
        raise refuse(op, "indices must be ints", "an int dtype", str(indices), 'cast(indices, dtype="i64")')
    return axis + x.rank


def gather_type(attrs: Attrs, *types: TensorType) -> Types:
    """The axis is replaced by the axes of the indices."""
    arity("gather", types, 2)
    only_attrs("gather", attrs, "axis")
    x, indices = types
    at = _axis("gather", attrs, x, indices)
    return (x.with_shape((*x.shape[:at], *indices.shape, *x.shape[at + 1 :])),)


def gather_meaning(N: Any, x: Any, indices: Any, *, axis: int) -> Any:
    """Entry i along the axis is entry indices[i] of x."""
    return N.gather(x, indices, axis=axis)


def gather_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any, *, axis: int) -> Any:
    """scatter_add, over the indices in row-major order."""
    (x, indices), (dy,) = inputs, cotangents
    at = axis + x.type.rank
    after = at + indices.type.rank
    count = -1 if indices.type.rank else 1
    flat = g.reshape(dy, shape=(*dy.shape[:at], _merged(dy.shape[at:after]), *dy.shape[after:]))
    return g.scatter_add(flat, g.reshape(indices, shape=(count,)), axis=axis, size=x.shape[axis]), None


def _merged(shape: Any) -> Any:
    total: Any = 1
    for n in shape:
        total = total * n
    return total


def gather_batch(g: Any, inputs: Any, batched: Any, *, axis: int) -> Any:
    """Batched indices into a shared x: their batch axis is moved to the front. Both batched: offsets into the
    merged axes.
    """
    x, indices = inputs
    if not batched[1]:
        return (g.gather(x, indices, axis=axis),)
    if not batched[0]:
        y = g.gather(x, indices, axis=axis)
        at = axis + x.type.rank
        return (g.permute(y, axes=(at, *(i for i in range(y.type.rank) if i != at))),)
    v, n = _known(x.shape[0], "gather"), x.shape[axis]
    at = axis + x.type.rank  # at least 1: the batch axis is in front
    merged = g.permute(x, axes=(*range(1, at), 0, *range(at, x.type.rank)))
    merged = g.reshape(merged, shape=(*x.shape[1:at], v * n, *x.shape[at + 1 :]))
    y = g.gather(merged, _offset(g, indices, v, n), axis=axis)
    front = at - 1
    return (g.permute(y, axes=(front, *(i for i in range(y.type.rank) if i != front))),)


def _known(size: Any, op: str) -> int:
    if isinstance(size, int):
        return size
    raise MissingRule(
        f"{op} is batched over indices of an unknown number of examples",
        where=f"op {op}",
        expected="a known batch size",
        got=str(size),
        fix="specialise the program first",
    )


def _offset(g: Any, indices: Any, v: int, n: Any) -> Any:
    """indices[v, *i] plus n times their example's number."""
    steps = np.arange(v).reshape((v,) + (1,) * (indices.type.rank - 1)) * _known(n, "gather")
    return g.add(indices, g.constant(steps, indices.dtype))


def scatter_add_type(attrs: Attrs, *types: TensorType) -> Types:
    """One index per entry of the axis, which gets `size` entries."""
    arity("scatter_add", types, 2)
    only_attrs("scatter_add", attrs, "axis", "size")
    x, indices = types
    at = _axis("scatter_add", attrs, x, indices)
    if indices.shape != (x.shape[at],):
        raise refuse(
            "scatter_add",
            "needs one index per entry of the axis",
            f"indices: [{x.shape[at]}]",
            str(indices),
            "reshape the indices to one axis",
        )
    return (x.with_shape((*x.shape[:at], as_size(attrs["size"]), *x.shape[at + 1 :])),)


def scatter_add_meaning(N: Any, x: Any, indices: Any, *, axis: int, size: int) -> Any:
    """Zeros, to whose entry indices[j] entry j of x is added, in the order of j."""
    return N.scatter_add(x, indices, axis=axis % len(N.shape(x)), size=size)


def scatter_add_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any, *, axis: int, size: Any) -> Any:
    """gather."""
    return g.gather(cotangents[0], inputs[1], axis=axis), None


def scatter_add_batch(g: Any, inputs: Any, batched: Any, *, axis: int, size: Any) -> Any:
    """Batched indices: every example adds into its own part of the merged axes."""
    x, indices = inputs
    if not batched[1]:
        return (g.scatter_add(x, indices, axis=axis, size=size),)
    v = _known(indices.shape[0], "scatter_add")
    if not batched[0]:
        x = g.broadcast(x, shape=(v, *x.shape))
    at = axis + x.type.rank
    merged = g.permute(x, axes=(*range(1, at), 0, *range(at, x.type.rank)))
    merged = g.reshape(merged, shape=(*x.shape[1:at], v * x.shape[at], *x.shape[at + 1 :]))
    flat = g.reshape(_offset(g, indices, v, size), shape=(v * x.shape[at],))
    y = g.scatter_add(merged, flat, axis=axis, size=v * size)
    y = g.reshape(y, shape=(*x.shape[1:at], v, size, *x.shape[at + 1 :]))
    return (g.permute(y, axes=(at - 1, *(i for i in range(y.type.rank) if i != at - 1))),)


def scatter_add_rounding(
    magnitudes: Any, result: np.ndarray, *, axis: int, size: int, fmt: Format = BINARY32
) -> np.ndarray:
    """The any-order bound with unit weights. Source: SEMANTICS 3."""
    x, indices = magnitudes
    at = np.asarray(indices, np.int64)
    total = add_at(np, x, at, axis, size)
    leaves = add_at(np, (x > 0).astype(np.float64), at, axis, size)
    return any_order_bound(total * UP, leaves, leaves, total * UP, fmt=fmt)


gather = Op(
    "gather",
    gather_type,
    gather_meaning,
    gather_vjp,
    batch=gather_batch,
    interval=DERIVED,
    relax=Linear((0,)),
    rounding=EXACT,
    lower=lambda xp, x, indices, *, axis: take(xp, x, indices, axis),
    onnx=Onnx("Gather", since=1),
)
scatter_add = Op(
    "scatter_add",
    scatter_add_type,
    scatter_add_meaning,
    scatter_add_vjp,
    batch=scatter_add_batch,
    interval=DERIVED,
    relax=Linear((0,)),
    rounding=scatter_add_rounding,
    lower=lambda xp, x, indices, *, axis, size: add_at(xp, x, indices, axis, size),
    onnx=Missing("ScatterElements numbers its indices in another way"),
)

OPS = (gather, scatter_add)
