"""Matrix products.

Shapes   matmul: x[*b, m, k], y[*b, k, n] -> [*b, m, n]; a matrix y[k, n] serves every leading axis
         linear: x[*b, k], weight[n, k], bias[n] -> [*b, n]
Floats   the reference adds products left to right from +0, the bias last; another order is covered by `rounding`
"""

from __future__ import annotations

from typing import Any

import numpy as np

from torchlean.floats.formats import BINARY32, Format
from torchlean.floats.sums import any_order_bound
from torchlean.ir import DERIVED, Linear, Onnx, Op, TensorType
from torchlean.ops.common import UP, Attrs, Types, arity, is_float, one_dtype, only_attrs, refuse


def matmul_type(attrs: Attrs, *types: TensorType) -> Types:
    """The inner axes agree; leading axes are equal, or absent in one factor."""
    arity("matmul", types, 2)
    only_attrs("matmul", attrs)
    is_float("matmul", *types)
    x, y = types
    if x.rank < 2 or y.rank < 2:
        raise refuse(
            "matmul", "needs matrices", "x: [*b, m, k] and y: [*b, k, n]", f"{x} and {y}", "reshape a vector to [1, k]"
        )
    if x.shape[-1] != y.shape[-2]:
        raise refuse(
            "matmul",
            "the inner axes differ",
            f"y: [*b, {x.shape[-1]}, n] because x is {x}",
            f"y: {y}",
            "permute or reshape one factor",
        )
    lead = x.shape[:-2] or y.shape[:-2]
    if x.shape[:-2] and y.shape[:-2] and x.shape[:-2] != y.shape[:-2]:
        raise refuse(
            "matmul",
            "the leading axes differ",
            f"y: [{', '.join(map(str, x.shape[:-2]))}, k, n]",
            f"y: {y}",
            "broadcast one factor first",
        )
    return (TensorType((*lead, x.shape[-2], y.shape[-1]), one_dtype("matmul", types)),)


def _swap(N: Any, x: Any, rank: int) -> Any:
    return N.permute(x, axes=(*range(-rank, -2), -1, -2))


def matmul_meaning(N: Any, x: Any, y: Any) -> Any:
    """Each entry is the fold of products over k."""
    return N.dot(x, _swap(N, y, len(N.shape(y))))


def _reduce_lead(g: Any, cotangent: Any, like: Any) -> Any:
    extra = cotangent.type.rank - like.type.rank
    return g.sum(cotangent, axes=tuple(range(-cotangent.type.rank, -2)), keepdims=False) if extra else cotangent


def matmul_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """dx = dz y^T, dy = x^T dz."""
    (x, y), (dz,) = inputs, cotangents
    dx = g.matmul(dz, _swap(g, y, y.type.rank))
    dy = g.matmul(_swap(g, x, x.type.rank), dz)
    return _reduce_lead(g, dx, x), _reduce_lead(g, dy, y)


def matmul_batch(g: Any, inputs: Any, batched: Any) -> Any:
    """A factor that is not batched stays a shared matrix where it is one; else both get every leading axis."""
    x, y = inputs
    rank = max(x.type.rank - batched[0], y.type.rank - batched[1])
    lead = next(t.shape[:1] for t, b in zip(inputs, batched, strict=True) if b)
    inner = next((t.shape[b:-2] for t, b in zip(inputs, batched, strict=True) if t.type.rank - b == rank), ())

    def full(t: Any, b: bool) -> Any:
        if t.type.rank == 2 and not b:
            return t
        if t.type.rank - b < rank:
            t = g.reshape(t, shape=(*(lead if b else ()), *(1 for _ in inner), *t.shape[-2:]))
        return g.broadcast(t, shape=(*lead, *inner, *t.shape[-2:])) if t.shape != (*lead, *inner, *t.shape[-2:]) else t

    return (g.matmul(full(x, batched[0]), full(y, batched[1])),)


def matmul_rounding(magnitudes: Any, result: np.ndarray, *, fmt: Format = BINARY32) -> np.ndarray:
    """The any-order bound over the nonzero products of each entry. Source: SEMANTICS 3."""
    x, y = magnitudes
    leaves = (x > 0).astype(np.float64) @ (y > 0).astype(np.float64)
    weights, inputs = np.sum(y, axis=-2)[..., None, :], np.sum(x, axis=-1)[..., :, None]
    return any_order_bound((x @ y) * UP, leaves, weights, inputs, fmt=fmt)


def linear_type(attrs: Attrs, *types: TensorType) -> Types:
    """The last axis of x is the input axis of the weight [n, k]; the bias [n] may be absent."""
    if len(types) not in (2, 3):
        raise refuse(
            "linear",
            "wrong number of inputs",
            "x, weight and perhaps bias",
            f"{len(types)} inputs",
            "linear(x, weight, bias)",
        )
    only_attrs("linear", attrs)
    is_float("linear", *types)
    x, w = types[:2]
    if w.rank != 2:
        raise refuse("linear", "the weight must be a matrix", "weight: [n, k]", str(w), "reshape the weight")
    if x.rank < 1 or x.shape[-1] != w.shape[1]:
        raise refuse(
            "linear",
            "the last axis of x must be the input axis of weight",
            f"x: [*batch, {w.shape[1]}] because weight is {w}",
            f"x: {x}",
            f"nn.Flatten() before this layer, or a weight of [{w.shape[0]}, {x.shape[-1] if x.rank else 1}]",
        )
    if len(types) == 3 and types[2].shape != w.shape[:1]:
        raise refuse(
            "linear",
            "the bias must have one entry per output",
            f"bias: [{w.shape[0]}]",
            str(types[2]),
            "reshape the bias",
        )
    return (TensorType((*x.shape[:-1], w.shape[0]), one_dtype("linear", types)),)


def linear_meaning(N: Any, x: Any, weight: Any, bias: Any = None) -> Any:
    """x weight^T, then the bias added last."""
    vector = len(N.shape(x)) == 1
    rows = N.reshape(x, shape=(1, *N.shape(x))) if vector else x
    y = N.dot(rows, weight)
    if vector:
        y = N.reshape(y, shape=N.shape(y)[1:])
    return y if bias is None else N.add(y, bias)


def linear_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """dx = dy weight, dweight = dy^T x over all leading axes, dbias = the sum of dy."""
    (x, w, *bias), (dy,) = inputs, cotangents
    n, k = w.shape
    rows = g.reshape(dy, shape=(-1, n)) if dy.type.rank != 2 else dy
    xs = g.reshape(x, shape=(-1, k)) if x.type.rank != 2 else x
    dx = g.linear(dy, _swap(g, w, 2))
    dw = g.matmul(_swap(g, rows, 2), xs)
    return (dx, dw, *(g.sum(rows, axes=(-2,), keepdims=False) for _ in bias))


def linear_batch(g: Any, inputs: Any, batched: Any) -> Any:
    """A shared weight takes one more leading axis of x; a batched weight becomes a batched matmul."""
    x, w, *bias = inputs
    if not any(batched[1:]):
        return (g.linear(*inputs),)
    size = next(t.shape[0] for t, b in zip(inputs, batched, strict=True) if b)
    if not batched[0]:
        x = g.broadcast(x, shape=(size, *x.shape))
    lead, k = x.shape[1:-1], x.shape[-1]
    rows = g.reshape(x, shape=(size, -1, k))
    if not batched[1]:
        w = g.broadcast(w, shape=(size, *w.shape))
    y = g.matmul(rows, _swap(g, w, 3))
    if bias:
        b = bias[0]
        y = g.add(y, g.reshape(b, shape=(size, 1, b.shape[-1])) if batched[2] else b)
    return (g.reshape(y, shape=(size, *lead, y.shape[-1])),)


def linear_rounding(magnitudes: Any, result: np.ndarray, *, fmt: Format = BINARY32) -> np.ndarray:
    """The any-order bound over the nonzero products and the bias. Source: SEMANTICS 3."""
    x, w, *bias = magnitudes
    leaves = (x > 0).astype(np.float64) @ (w > 0).astype(np.float64).T
    products = x @ w.T
    for b in bias:
        leaves, products = leaves + (b > 0), products + b
    return any_order_bound(products * UP, leaves, np.sum(w, axis=-1), np.sum(x, axis=-1)[..., None], fmt=fmt)


def linear_lower(xp: Any, x: Any, weight: Any, bias: Any = None) -> Any:
    y = x @ weight.T
    return y if bias is None else y + bias


matmul = Op(
    "matmul",
    matmul_type,
    matmul_meaning,
    matmul_vjp,
    batch=matmul_batch,
    interval=DERIVED,
    relax=Linear((0, 1), jointly=False),
    rounding=matmul_rounding,
    lower=lambda xp, x, y: x @ y,
    onnx=Onnx("MatMul", since=1),
)
linear = Op(
    "linear",
    linear_type,
    linear_meaning,
    linear_vjp,
    batch=linear_batch,
    interval=DERIVED,
    relax=Linear((0, 2)),
    rounding=linear_rounding,
    lower=linear_lower,
    onnx=Onnx("Gemm", since=7),
)

OPS = (matmul, linear)
