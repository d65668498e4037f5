"""Losses: scalars, the mean over all examples.

Shapes   mse, mae: x[*s], y[*s] -> []; cross_entropy: logits[*b, c], labels[*b] (ints in 0 .. c-1) -> []
Floats   composites: every rule that is EXPAND is the definition's
"""

from __future__ import annotations

from typing import Any

import numpy as np

from torchlean.ir import DERIVED, EXPAND, Missing, Op, TensorType
from torchlean.ir.dims import numel
from torchlean.ops.common import Attrs, Types, arity, is_float, one_dtype, only_attrs, refuse
from torchlean.ops.norm import log_softmax_meaning
from torchlean.ops.reduce import mean_meaning

NO_LOSS = Missing("a loss is no part of an exported network")


def pair_type(op: str) -> Any:
    """Two tensors of one type give a scalar."""

    def rule(attrs: Attrs, *types: TensorType) -> Types:
        arity(op, types, 2)
        only_attrs(op, attrs)
        is_float(op, *types)
        one_dtype(op, types)
        if types[0].shape != types[1].shape:
            raise refuse(
                op,
                "prediction and target differ in shape",
                str(types[0]),
                str(types[1]),
                "reshape the target: a silent broadcast would compare every pair",
            )
        return (types[0].with_shape(()),)

    return rule


def _mean(N: Any, x: Any) -> Any:
    return mean_meaning(N, x, axes=tuple(range(-len(N.shape(x)), 0)), keepdims=False)


def mse_meaning(N: Any, x: Any, y: Any) -> Any:
    """The mean of (x - y)^2."""
    d = N.sub(x, y)
    return _mean(N, N.mul(d, d))


def mse_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """2 (x - y) / n times the cotangent."""
    (x, y), (dz,) = inputs, cotangents
    step = g.div(g.mul(dz, 2.0), g.literal(numel(x.shape), dz))
    dx = g.mul(g.sub(x, y), step)
    return dx, g.neg(dx)


def mae_meaning(N: Any, x: Any, y: Any) -> Any:
    """The mean of |x - y|."""
    return _mean(N, N.abs(N.sub(x, y)))


def cross_entropy_type(attrs: Attrs, *types: TensorType) -> Types:
    """One label per row of logits; the number of classes is known."""
    arity("cross_entropy", types, 2)
    only_attrs("cross_entropy", attrs)
    x, labels = types
    is_float("cross_entropy", x)
    if labels.dtype.kind != "int" or x.rank < 1 or labels.shape != x.shape[:-1] or not isinstance(x.shape[-1], int):
        raise refuse(
            "cross_entropy",
            "needs one int label per row of logits",
            f"labels: i64[{', '.join(map(str, x.shape[:-1]))}]",
            str(labels),
            "argmax one-hot labels first, or reshape [n, 1] to [n]",
        )
    return (x.with_shape(()),)


def _hot(N: Any, x: Any, labels: Any) -> Any:
    """bool[*b, c]: where the class is the label."""
    *lead, classes = N.shape(x)
    places = np.arange(classes).astype(N.dtype(labels)).reshape((1,) * len(lead) + (classes,))
    return N.equal(N.reshape(labels, shape=(*lead, 1)), N.constant(places))


def cross_entropy_meaning(N: Any, x: Any, labels: Any) -> Any:
    """The mean over the rows of -log_softmax(x)[label]."""
    # A sum of one entry and zeros, not a gather: the same value, and the gradient is a where.
    score = log_softmax_meaning(N, x, axis=-1)
    zero = N.literal(0.0, score)
    return _mean(N, N.neg(N.sum(N.where(_hot(N, x, labels), score, zero), axes=(-1,), keepdims=False)))


def cross_entropy_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """(softmax(x) - one-hot) / n times the cotangent; labels have none."""
    (x, labels), (dz,) = inputs, cotangents
    p = g.softmax(x, axis=-1)
    step = g.div(dz, g.literal(numel(labels.shape), dz))
    return g.mul(g.where(_hot(g, x, labels), g.sub(p, 1.0), p), step), None


def _op(name: str, type_rule: Any, meaning: Any, vjp: Any) -> Op:
    return Op(
        name,
        type_rule,
        meaning,
        vjp,
        batch=EXPAND,
        interval=DERIVED,
        relax=EXPAND,
        rounding=EXPAND,
        lower=EXPAND,
        onnx=NO_LOSS,
        composite=True,
    )


mse = _op("mse", pair_type("mse"), mse_meaning, mse_vjp)
mae = _op("mae", pair_type("mae"), mae_meaning, EXPAND)
cross_entropy = _op("cross_entropy", cross_entropy_type, cross_entropy_meaning, cross_entropy_vjp)

OPS = (mse, mae, cross_entropy)
