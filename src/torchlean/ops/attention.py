"""Scaled dot-product attention.

Shapes   q: [*b, n, d], k: [*b, m, d], v: [*b, m, e], mask?: broadcasts to [*b, n, m] -> [*b, n, e]
Floats   a composite: every rule that is EXPAND is the definition's. A kernel that splits the softmax into blocks has
         another formula and is outside of float32 claims
Source   Vaswani et al. 2017, arXiv:1706.03762, section 3.2.1
"""

from __future__ import annotations

from math import isfinite
from typing import Any

from torchlean.ir import DERIVED, EXPAND, Builder, Op, TensorType
from torchlean.ops.common import Attrs, Types, broadcast_shapes, is_float, one_dtype, only_attrs, refuse
from torchlean.ops.norm import softmax_meaning


def attention_type(attrs: Attrs, *types: TensorType) -> Types:
    """Equal leading axes, one width of q and k, one length of k and v."""
    only_attrs("attention", attrs, "scale")
    scale = attrs["scale"]
    if len(types) not in (3, 4):
        raise refuse("attention", "wrong number of inputs", "q, k, v and perhaps a mask", f"{len(types)} inputs",
                     "attention(q, k, v, scale=...)")  # fmt: skip
    is_float("attention", *types)
    one_dtype("attention", types)
    q, k, v = types[:3]
    fits = min(q.rank, k.rank, v.rank) >= 2 and q.shape[:-2] == k.shape[:-2] == v.shape[:-2]
    known = not isinstance(scale, bool) and isinstance(scale, int | float) and isfinite(scale)
    if not fits or not known or q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        raise refuse(
            "attention",
            "the shapes or the scale do not fit",
            "q: [*b, n, d], k: [*b, m, d], v: [*b, m, e], a finite scale",
            f"{q}, {k} and {v}, scale={scale}",
            "scale=d ** -0.5; repeat k and v for grouped heads",
        )
    scores = (*q.shape[:-1], k.shape[-2])
    if len(types) == 4 and broadcast_shapes("attention", scores, types[3].shape) != scores:
        raise refuse("attention", "the mask does not fit", f"a mask of {list(scores)}", str(types[3]), "broadcast it")
    return (q.with_shape((*q.shape[:-1], v.shape[-1])),)


def attention_meaning(N: Any, q: Any, k: Any, v: Any, mask: Any = None, *, scale: float) -> Any:
    """softmax(scale q k^T + mask) v, the softmax over the last axis."""
    scores = N.mul(N.dot(q, k), N.literal(scale, q))
    scores = scores if mask is None else N.add(scores, mask)
    # The tracer keeps softmax whole, so that a walk has its lines.
    weights = N.softmax(scores, axis=-1) if isinstance(N, Builder) else softmax_meaning(N, scores, axis=-1)
    rank = len(N.shape(v))
    return N.dot(weights, N.permute(v, axes=(*range(rank - 2), rank - 1, rank - 2)))


attention = Op(
    "attention",
    attention_type,
    attention_meaning,
    EXPAND,
    batch=EXPAND,
    interval=DERIVED,
    relax=EXPAND,
    rounding=EXPAND,
    lower=EXPAND,
    onnx=EXPAND,
    composite=True,
)

OPS = (attention,)
