"""Trusted. Batch normalization in inference. Source: onnx.ai/onnx/operators; SEMANTICS 3."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from torchlean_check.hull import nearest
from torchlean_check.network import Ref, Scale
from torchlean_check.wire import Node

if TYPE_CHECKING:
    from torchlean_check.onnx_reader import Reader

WINDOW = "auto_pad kernel_shape strides pads dilations"


def batch_norm(r: Reader, node: Node) -> Ref:
    found = r.arity(node, 5, 5)
    x = r.value(node, found[0])
    gamma, beta, mean, var = (r.weights(node, v) for v in found[1:])
    eps = r.attr(node, "epsilon", float(np.float32(1e-05)))
    if r.attr(node, "training_mode", 0) or r.attr(node, "spatial", 1) != 1:
        raise r.beyond(node, "training mode is not supported", "training_mode 0, spatial 1", "another value")
    if (
        len(x.shape) < 2
        or x.shape[0] != 1
        or any(v.shape != (x.shape[1],) for v in (gamma, beta, mean, var))
        or not 0 < eps < 1
        or (var < 0).any()
        or (var + eps < 2.0**-100).any()
        or (np.abs(gamma) > 2.0**60).any()
    ):
        raise r.bad(
            node,
            "shapes or values do not fit",
            f"four arrays [{x.shape[1:2]}], variance >= 0, 0 < epsilon < 1, none of them extreme",
            f"{x.shape}",
        )
    # s = gamma / sqrt(var + eps): sum, root and quotient in binary64, each within 2^-53, so s within 2^-51 of the
    # exact one.
    s = gamma / np.sqrt(var + eps)
    shift = np.array([nearest(Fraction(b) - Fraction(a) * Fraction(m)) for b, a, m in zip(beta, s, mean, strict=True)])
    inverse = 1.0 / np.sqrt(var + eps)
    err = (np.abs(s * mean) + np.abs(shift)) * 2.0**-50
    size = np.abs(s * mean) * (1 + 2.0**-40) + np.abs(beta)
    repeat = math.prod(x.shape[2:])
    return r.affine(
        node,
        ((Scale(np.repeat(s, repeat)), x.value),),
        x.shape,
        bias=np.repeat(shift, repeat),
        leaves=10.0,
        weight_rel=2.0**-51,
        bias_err=np.repeat(err, repeat),
        magnitude=np.repeat(size, repeat) + np.abs(np.repeat(shift, repeat)),
        most=float(2.0**126 / np.max([np.abs(gamma), inverse, np.abs(s), np.ones_like(s)]) - np.abs(mean).max()),
        # Sum, product and quotient may come in any order, and each may underflow before the next makes it larger.
        scale=float(max(2.0, np.abs(gamma).max(), (inverse + (1.0 + inverse) * np.abs(mean)).max())),
    )


RULES: dict[str, Any] = {"BatchNormalization": (batch_norm, "epsilon momentum spatial training_mode")}
