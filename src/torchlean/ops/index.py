"""Reading, adding and replacing by index.

Shapes   gather: x[*a, n, *t], indices[*i] -> [*a, *i, *t]; `axis` is the place of n, counted from the end
         scatter_add: x[*a, m, *t], indices[m] -> [*a, size, *t]: gather's transpose
         one_hot: indices[*i] -> [*i, depth]: 1 at the index, 0 beside it, and nowhere 1 for an index out of range
         scatter_nd: x[*s], indices[*q, k], updates[*q, *s[k:]] -> [*s]: x with the slices at `indices` replaced
Floats   gather and one_hot move values: exact. scatter_add folds in index order from +0; another order is covered by
         `rounding`
Indices  0 .. n-1, or -n .. -1 counted from the end; outside, a DomainError in Real; checked where data enters
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from torchlean.errors import MissingRule
from torchlean.floats.formats import BINARY32, Format
from torchlean.floats.sums import any_order_bound
from torchlean.ir import COMPARED, DERIVED, EXACT, EXPAND, LEADING, Linear, Missing, Onnx, Op, TensorType
from torchlean.ir.dims import as_size
from torchlean.ops.common import UP, Attrs, Types, arity, is_float, normal_axes, one_dtype, only_attrs, refuse
from torchlean.ops.elementwise import as_dtype, no_vjp
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


def one_hot_type(attrs: Attrs, *types: TensorType) -> Types:
    """Ints of any shape; `depth` classes along a new last axis, in `dtype`."""
    arity("one_hot", types, 1)
    only_attrs("one_hot", attrs, "depth", "dtype")
    (indices,) = types
    depth = attrs["depth"]
    if indices.dtype.kind != "int" or isinstance(depth, bool) or not isinstance(depth, int) or depth < 1:
        raise refuse(
            "one_hot", "needs int indices and a number of classes", "depth >= 1", f"{indices}, {depth}", "depth=10"
        )
    return (TensorType((*indices.shape, depth), as_dtype(attrs["dtype"])),)


def one_hot_meaning(N: Any, indices: Any, *, depth: int, dtype: Any) -> Any:
    """1 where the place is the index, or the index counted from the end."""
    shape = N.shape(indices)
    places = np.arange(depth).astype(N.dtype(indices)).reshape((1,) * len(shape) + (depth,))
    column = N.reshape(indices, shape=(*shape, 1))
    hit = N.logical_or(N.equal(column, N.constant(places)), N.equal(column, N.constant(places - depth)))
    return N.cast(hit, dtype=as_dtype(dtype).numpy)


def scatter_nd_type(attrs: Attrs, *types: TensorType) -> Types:
    """Known sizes along the axes that are indexed."""
    arity("scatter_nd", types, 3)
    only_attrs("scatter_nd", attrs)
    x, indices, updates = types
    one_dtype("scatter_nd", (x, updates))
    is_float("scatter_nd", x)
    last = indices.shape[-1] if indices.rank else 0
    k = last if isinstance(last, int) else 0
    fits = 1 <= k <= x.rank and updates.shape == (*indices.shape[:-1], *x.shape[k:])
    known = fits and all(isinstance(n, int) for n in (*x.shape[:k], *indices.shape))
    if indices.dtype.kind != "int" or not known:
        raise refuse(
            "scatter_nd",
            "the shapes do not fit",
            "x: [*s], int indices: [*q, k], updates: [*q, *s[k:]], with known q and s[:k]",
            f"{x}, {indices} and {updates}",
            "specialise the program, or reshape the updates",
        )
    return (x,)


def _rows(N: Any, x: Any, indices: Any) -> tuple[Any, int, int]:
    """The indices as positions along the merged axes, in one axis; the size of these axes; the axes left."""
    shape, k = N.shape(x), N.shape(indices)[-1]
    columns = N.reshape(indices, shape=(-1 if len(N.shape(indices)) > 1 else 1, k))
    count = N.shape(columns)[0]
    total: Any = None
    for axis in range(k):
        column = N.slice(columns, starts=(0, axis), stops=(count, axis + 1), steps=(1, 1))
        size = N.literal(shape[axis], column)
        column = N.where(N.less(column, N.literal(0, column)), N.add(column, size), column)
        total = column if total is None else N.add(N.mul(total, size), column)
    return N.reshape(total, shape=(count,)), prod(shape[:k]), k


def _hit(N: Any, x: Any, rows: Any, size: int) -> Any:
    """bool[size, 1]: which of the merged positions are replaced."""
    ones = N.broadcast(N.literal(1.0, x), shape=N.shape(rows))
    counts = N.scatter_add(ones, rows, axis=0, size=size)
    return N.reshape(N.less(N.literal(0.0, x), counts), shape=(size, 1))


def scatter_nd_meaning(N: Any, x: Any, indices: Any, updates: Any) -> Any:
    """x with 0 at the indexed slices, and the updates added there. Indices should be distinct: equal ones add up."""
    shape = N.shape(x)
    rows, size, _ = _rows(N, x, indices)
    kept = N.where(_hit(N, x, rows, size), N.literal(0.0, x), N.reshape(x, shape=(size, -1)))
    added = N.scatter_add(N.reshape(updates, shape=(N.shape(rows)[0], -1)), rows, axis=0, size=size)
    return N.reshape(N.add(kept, added), shape=shape)


def scatter_nd_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """To x where it was kept; to the updates where they went."""
    (x, indices, updates), (dy,) = inputs, cotangents
    rows, size, _ = _rows(g, x, indices)
    flat = g.reshape(dy, shape=(size, -1))
    kept = g.where(_hit(g, x, rows, size), g.literal(0.0, dy), flat)
    return g.reshape(kept, shape=x.shape), None, g.reshape(g.gather(flat, rows, axis=0), shape=updates.shape)


def scatter_nd_rounding(magnitudes: Any, result: np.ndarray, *, fmt: Format = BINARY32) -> np.ndarray:
    """0 where each place is named once: the other addends are 0; else that of scatter_add."""
    x, indices, updates = magnitudes
    k = np.shape(indices)[-1]
    places = np.asarray(indices, np.int64).reshape(-1, k) % np.array(np.shape(x)[:k])
    rows, size = np.ravel_multi_index(tuple(places.T), np.shape(x)[:k]), prod(np.shape(x)[:k])
    if len(np.unique(rows)) == len(rows):
        return np.zeros(np.shape(result))
    flat = (updates.reshape(len(rows), -1), rows)
    bound = scatter_add_rounding(flat, result.reshape(size, -1), axis=0, size=size, fmt=fmt)
    return np.asarray(bound).reshape(np.shape(result))


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

one_hot = Op(
    "one_hot",
    one_hot_type,
    one_hot_meaning,
    no_vjp,
    batch=LEADING,
    interval=DERIVED,
    relax=EXPAND,
    rounding=COMPARED,
    lower=EXPAND,
    onnx=Onnx("OneHot", since=11),
    composite=True,
)
scatter_nd = Op(
    "scatter_nd",
    scatter_nd_type,
    scatter_nd_meaning,
    scatter_nd_vjp,
    batch=EXPAND,
    interval=DERIVED,
    relax=Linear((0, 2)),
    rounding=scatter_nd_rounding,
    lower=EXPAND,
    onnx=Onnx("ScatterND", since=11),
    composite=True,
)

OPS = (gather, scatter_add, one_hot, scatter_nd)
