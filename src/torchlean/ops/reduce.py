"""Reductions over axes.

Shapes   x: [*s], axes counted from the end -> [*s] without them, or with 1 in their place (keepdims)
Floats   the reference folds left to right in row-major order from +0; another order is covered by `rounding`
"""

from __future__ import annotations

from math import inf, prod
from typing import Any

import numpy as np

from torchlean.floats.formats import BINARY32, Format
from torchlean.floats.sums import any_order_bound, growth, stays_finite
from torchlean.ir import COMPARED, DERIVED, EXACT, EXPAND, LEADING, Linear, Onnx, Op, TensorType, i64
from torchlean.ir.dims import numel
from torchlean.ops.common import UP, Attrs, Types, arity, is_float, normal_axes, only_attrs, refuse
from torchlean.ops.elementwise import no_vjp
from torchlean.ops.lines import Lines


def reduce_type(op: str) -> Any:
    """The type rule of a reduction."""

    def rule(attrs: Attrs, *types: TensorType) -> Types:
        arity(op, types, 1)
        only_attrs(op, attrs, "axes", "keepdims")
        (x,) = types
        is_float(op, x)
        axes = normal_axes(op, attrs["axes"], x.rank)
        keep = [(1 if i - x.rank in axes else s) for i, s in enumerate(x.shape)]
        drop = [s for i, s in enumerate(x.shape) if i - x.rank not in axes]
        return (x.with_shape(tuple(keep if attrs["keepdims"] else drop)),)

    return rule


def restore(g: Any, y: Any, x: Any, axes: Any, keepdims: bool) -> Any:
    """A reduced tensor spread over x's shape again."""
    if not keepdims:
        ones = normal_axes("reduce", axes, x.type.rank)
        y = g.reshape(y, shape=tuple(1 if i - x.type.rank in ones else s for i, s in enumerate(x.shape)))
    return g.broadcast(y, shape=x.shape) if y.shape != x.shape else y


def sum_meaning(N: Any, x: Any, *, axes: Any, keepdims: bool) -> Any:
    """The fold of additions."""
    return N.sum(x, axes=axes, keepdims=keepdims)


def sum_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any, *, axes: Any, keepdims: bool) -> Any:
    """The cotangent to every addend."""
    return (restore(g, cotangents[0], inputs[0], axes, keepdims),)


def sum_rounding(
    magnitudes: Any, result: np.ndarray, *, axes: Any, keepdims: bool, fmt: Format = BINARY32
) -> np.ndarray:
    """The any-order bound with unit weights. Source: SEMANTICS 3."""
    (x,) = magnitudes
    axes = tuple(axes)
    leaves = np.sum((x > 0).astype(np.float64), axis=axes, keepdims=keepdims)
    total = np.sum(x, axis=axes, keepdims=keepdims)
    return any_order_bound(total * UP, leaves, leaves, total * UP, fmt=fmt)


sum_ = Op(
    "sum",
    reduce_type("sum"),
    sum_meaning,
    sum_vjp,
    batch=LEADING,
    interval=DERIVED,
    relax=Linear((0,)),
    rounding=sum_rounding,
    lower=lambda xp, x, *, axes, keepdims: xp.sum(x, axis=tuple(axes), keepdims=keepdims),
    onnx=Onnx("ReduceSum", since=13),
)


def _count(x_shape: Any, axes: Any) -> Any:
    """The number of entries that are reduced to one."""
    return numel(tuple(x_shape[a] for a in axes))


def mean_meaning(N: Any, x: Any, *, axes: Any, keepdims: bool) -> Any:
    """The fold of additions over the number of entries."""
    return N.div(N.sum(x, axes=tuple(axes), keepdims=keepdims), N.literal(_count(N.shape(x), axes), x))


def mean_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any, *, axes: Any, keepdims: bool) -> Any:
    """The cotangent over the number of entries, to each of them."""
    (x,), (dy,) = inputs, cotangents
    return (restore(g, g.div(dy, g.literal(_count(x.shape, axes), dy)), x, axes, keepdims),)


def mean_rounding(
    magnitudes: Any, result: np.ndarray, *, axes: Any, keepdims: bool, fmt: Format = BINARY32
) -> np.ndarray:
    """N = k + 2 for k nonzero entries: additions, and a division by reciprocal or not; infinite where the additions may
    overflow though the quotient does not. Source: SEMANTICS 3, average pool.
    """
    (x,) = magnitudes
    axes = tuple(axes)
    leaves = np.sum((x > 0).astype(np.float64), axis=axes, keepdims=keepdims)
    total = np.sum(x, axis=axes, keepdims=keepdims)
    bound = any_order_bound(total / _count(x.shape, axes) * UP, leaves + 2, leaves + 1, total * UP, fmt=fmt)
    grown = growth(leaves, fmt.unit_roundoff) * total
    return np.where(stays_finite(total, grown, fmt), bound, np.inf)


def extreme_type(op: str) -> Any:
    """The type rule of max and min: as other reductions, but an axis without entries has neither."""

    def rule(attrs: Attrs, *types: TensorType) -> Types:
        found: Types = reduce_type(op)(attrs, *types)
        (x,) = types
        if any(is_empty(x.shape[a]) for a in normal_axes(op, attrs["axes"], x.rank)):
            raise refuse(
                op, f"an empty axis has no {op}imum", "axes with at least one entry", str(x), "leave the axis out"
            )
        return found

    return rule


def max_meaning(N: Any, x: Any, *, axes: Any, keepdims: bool) -> Any:
    """The fold of maximum."""
    return N.max(x, axes=tuple(axes), keepdims=keepdims)


def _first(rank: int, axes: tuple[int, ...]) -> tuple[int, ...]:
    """The permutation that moves `axes` to the end."""
    return (*(a for a in range(-rank, 0) if a not in axes), *axes)


def max_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any, *, axes: Any, keepdims: bool) -> Any:
    """The cotangent to the first maximum in row-major order, as PyTorch's max_pool does."""
    (x,), (dy,) = inputs, cotangents
    axes = normal_axes("max", axes, x.type.rank)
    order = _first(x.type.rank, axes)
    moved = g.permute(x, axes=order)
    kept, reduced = moved.shape[: -len(axes)], TensorType(moved.shape[-len(axes) :], x.dtype).sizes
    flat = g.reshape(moved, shape=(*kept, prod(reduced)))
    winner = g.reshape(g.argmax(flat, axis=-1), shape=(*kept, 1))
    places = g.constant(np.arange(prod(reduced), dtype=np.int64).reshape((1,) * len(kept) + (-1,)))
    spread = g.reshape(dy, shape=(*kept, 1))
    hit = g.where(g.equal(winner, places), spread, g.literal(0.0, dy))
    back = sorted(range(x.type.rank), key=lambda i: order[i])
    return (g.permute(g.reshape(hit, shape=moved.shape), axes=tuple(i - x.type.rank for i in back)),)


def max_relax(xp: Any, boxes: Any, slope: Any | None = None, *, axes: Any, keepdims: bool) -> Lines:
    """Below: the entry with the largest lower end. Above: the same entry where it always wins, else the largest
    upper end.

    A slope has x's shape; its terms are summed over `axes`. `slope` is unused: the choice is an entry, not a number.
    """
    ((lo, hi),) = boxes
    axes = tuple(axes)
    top = xp.max(lo, axis=axes, keepdims=True)
    order = _first(lo.ndim, tuple(sorted(a if a < 0 else a - lo.ndim for a in axes)))
    moved = xp.permute_dims(lo == top, tuple(a % lo.ndim for a in order))
    flat = xp.reshape(moved, (*moved.shape[: lo.ndim - len(axes)], -1))
    first = flat & (xp.cumulative_sum(xp.astype(flat, lo.dtype), axis=-1) == 1)
    back = tuple(sorted(range(lo.ndim), key=lambda i: order[i]))
    chosen = xp.permute_dims(xp.reshape(first, moved.shape), back)
    others = xp.max(xp.where(chosen, xp.full_like(hi, -inf), hi), axis=axes, keepdims=True)
    wins = xp.all(xp.where(chosen, lo >= others, True), axis=axes, keepdims=keepdims)
    one, zero = xp.ones_like(lo), xp.zeros_like(lo)
    lower = xp.where(chosen, one, zero)
    kept = wins if keepdims else xp.reshape(wins, top.shape)
    upper = xp.where(kept, lower, zero)
    most = xp.max(hi, axis=axes, keepdims=keepdims)
    return Lines((lower,), xp.zeros_like(most), (upper,), xp.where(wins, xp.zeros_like(most), most))


def min_meaning(N: Any, x: Any, *, axes: Any, keepdims: bool) -> Any:
    """The smallest entry: -max(-x)."""
    return N.neg(N.max(N.neg(x), axes=tuple(axes), keepdims=keepdims))


def min_relax(xp: Any, boxes: Any, slope: Any | None = None, *, axes: Any, keepdims: bool) -> Lines:
    """min(x) = -max(-x): the lines of `max_relax`, turned over."""
    ((lo, hi),) = boxes
    made = max_relax(xp, ((-hi, -lo),), slope, axes=axes, keepdims=keepdims)
    return Lines(made.upper, -made.upper_bias, made.lower, -made.lower_bias)


def argmax_type(attrs: Attrs, *types: TensorType) -> Types:
    """One axis, counted from the end, is dropped; the result is i64."""
    arity("argmax", types, 1)
    only_attrs("argmax", attrs, "axis")
    (x,) = types
    is_float("argmax", x)
    (axis,) = normal_axes("argmax", attrs["axis"], x.rank)
    if attrs["axis"] != axis or is_empty(x.shape[axis]):
        raise refuse(
            "argmax",
            "needs an axis counted from the end, with an entry",
            str(axis),
            f"axis={attrs['axis']} of {x}",
            f"axis={axis}",
        )
    return (TensorType(tuple(s for i, s in enumerate(x.shape) if i - x.rank != axis), i64),)


def is_empty(size: Any) -> bool:
    """Whether a size is the literal 0."""
    return isinstance(size, int) and size == 0


def argmax_meaning(N: Any, x: Any, *, axis: int) -> Any:
    """The position of the first maximum."""
    return N.argmax(x, axis=axis)


def argmax_relax(xp: Any, boxes: Any, slope: Any | None = None, *, axis: int) -> Lines:
    """Constants: the first and the last entry that may be the largest. x has no slope; `slope` is unused."""
    ((lo, hi),) = boxes
    possible = xp.astype(hi >= xp.max(lo, axis=axis, keepdims=True), lo.dtype)
    place = xp.cumulative_sum(xp.ones_like(lo), axis=axis) - 1
    count = lo.shape[axis]
    first = xp.min(xp.where(possible > 0, place, xp.full_like(lo, count)), axis=axis)
    last = xp.max(xp.where(possible > 0, place, xp.full_like(lo, -1.0)), axis=axis)
    return Lines((None,), first, (None,), last)


mean = Op(
    "mean",
    reduce_type("mean"),
    mean_meaning,
    mean_vjp,
    batch=LEADING,
    interval=DERIVED,
    relax=Linear((0,)),
    rounding=mean_rounding,
    lower=lambda xp, x, *, axes, keepdims: xp.mean(x, axis=tuple(axes), keepdims=keepdims),
    onnx=Onnx("ReduceMean", since=18),
    composite=True,
)
max_ = Op(
    "max",
    extreme_type("max"),
    max_meaning,
    max_vjp,
    batch=LEADING,
    interval=DERIVED,
    relax=max_relax,
    rounding=EXACT,
    lower=lambda xp, x, *, axes, keepdims: xp.max(x, axis=tuple(axes), keepdims=keepdims),
    onnx=Onnx("ReduceMax", since=18),
)
min_ = Op(
    "min",
    extreme_type("min"),
    min_meaning,
    EXPAND,
    batch=LEADING,
    interval=DERIVED,
    relax=min_relax,
    rounding=EXACT,
    lower=lambda xp, x, *, axes, keepdims: xp.min(x, axis=tuple(axes), keepdims=keepdims),
    onnx=Onnx("ReduceMin", since=18),
    composite=True,
)
argmax = Op(
    "argmax",
    argmax_type,
    argmax_meaning,
    no_vjp,
    batch=LEADING,
    interval=DERIVED,
    relax=argmax_relax,
    rounding=COMPARED,
    lower=lambda xp, x, *, axis: xp.argmax(x, axis=axis),
    onnx=Onnx("ArgMax", since=13),
)

OPS = (sum_, mean, max_, min_, argmax)
