"""Normalization of each example over its trailing axes.

Shapes   x: [*b, *s], scale, bias: [*s], s being the axes from `axis` on -> [*b, *s]
Floats   composites: every rule that is EXPAND is the definition's, which takes the mean first and then the mean square
         of what is left. A kernel with another formula (E[x^2] - mean^2) is outside of float32 claims
Source   Ba et al. 2016, arXiv:1607.06450; Zhang and Sennrich 2019, arXiv:1910.07467
"""

from __future__ import annotations

from typing import Any

from torchlean.ir import DERIVED, EXPAND, Op, TensorType
from torchlean.ops.common import Attrs, Types, is_float, normal_axes, one_dtype, only_attrs, refuse
from torchlean.ops.reduce import mean_meaning


def trailing_type(op: str, most: int) -> Any:
    """x, then vectors of its axes from `axis` on; epsilon > 0."""

    def rule(attrs: Attrs, *types: TensorType) -> Types:
        only_attrs(op, attrs, "axis", "epsilon")
        if not 2 <= len(types) <= most:
            given = f"{len(types)} inputs"
            raise refuse(op, "wrong number of inputs", f"2 to {most} inputs", given, f"see the op table for {op}")
        is_float(op, *types)
        one_dtype(op, types)
        x, *vectors = types
        (axis,) = normal_axes(op, attrs["axis"], x.rank)
        epsilon = attrs["epsilon"]
        small = isinstance(epsilon, bool) or not isinstance(epsilon, int | float) or not 0 < epsilon < float("inf")
        if attrs["axis"] != axis or small or any(t.shape != x.shape[axis:] for t in vectors):
            raise refuse(
                op,
                "needs an axis counted from the end, parameters of the axes from there on, and epsilon > 0",
                f"parameters of [{', '.join(map(str, x.shape[axis:]))}]",
                f"{', '.join(map(str, types))}, axis={attrs['axis']}, epsilon={epsilon}",
                f"axis={axis}, epsilon=1e-5",
            )
        return (x,)

    return rule


def layer_norm_meaning(N: Any, x: Any, scale: Any, bias: Any = None, *, axis: int, epsilon: float) -> Any:
    """(x - mean) / sqrt(mean of (x - mean)^2 + epsilon) times scale, plus bias."""
    d = N.sub(x, _mean(N, x, axis))
    y = N.mul(_scaled(N, d, axis, epsilon), scale)
    return y if bias is None else N.add(y, bias)


def rms_norm_meaning(N: Any, x: Any, scale: Any, *, axis: int, epsilon: float) -> Any:
    """x / sqrt(mean of x^2 + epsilon) times scale."""
    return N.mul(_scaled(N, x, axis, epsilon), scale)


def _mean(N: Any, x: Any, axis: int) -> Any:
    return mean_meaning(N, x, axes=tuple(range(axis, 0)), keepdims=True)


def _scaled(N: Any, d: Any, axis: int, epsilon: float) -> Any:
    square = _mean(N, N.mul(d, d), axis)
    return N.div(d, N.sqrt(N.add(square, N.literal(epsilon, d))))


def _op(name: str, meaning: Any, most: int) -> Op:
    return Op(
        name,
        trailing_type(name, most),
        meaning,
        EXPAND,
        batch=EXPAND,
        interval=DERIVED,
        relax=EXPAND,
        rounding=EXPAND,
        lower=EXPAND,
        onnx=EXPAND,
        composite=True,
    )


layer_norm = _op("layer_norm", layer_norm_meaning, 3)
rms_norm = _op("rms_norm", rms_norm_meaning, 2)

OPS = (layer_norm, rms_norm)
