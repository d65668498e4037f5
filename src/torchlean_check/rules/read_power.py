"""Trusted. Powers with a constant exponent. Source: onnx.ai/onnx/operators.

With u = 2^-24, an execution is within the table's 2^-19; or it multiplies n times; or it has e^(p log x), whose
exponent t is off by (2^-20 + 2 u) (1 + |t|), and whose function by 2^-20.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from torchlean_check.network import Ref, Scale
from torchlean_check.rules.functions import named_power
from torchlean_check.rules.read_curves import TOLERANCES, curve
from torchlean_check.wire import Array, Node

if TYPE_CHECKING:
    from torchlean_check.onnx_reader import Reader

POW = 2.0**-19  # the table's relative part
MOST, LARGEST, LEAST = 64, 8.0, 2.0**-4  # of whole exponents, and of the magnitudes of others


def power(r: Reader, node: Node) -> Ref | Array:
    base, exponent = r.arity(node, 2, 2)
    x, p = r.value(node, base), _constant(exponent)
    if p is None or r.broadcast(node, x.shape, exponent.shape) != x.shape:
        raise r.beyond(node, "the exponent must be one constant number", "one number", str(exponent.shape))
    whole = p == int(p) and p > 0
    if not (1.0 <= p <= MOST if whole else LEAST <= abs(p) <= LARGEST):
        raise r.beyond(node, "this exponent is not supported", f"whole from 1 to {MOST}, or {LEAST} to {LARGEST} in "
                       "magnitude", str(p))  # fmt: skip
    if p == 1.0:
        return r.view(node, x, x.shape)
    if p == 2.0:
        return curve(r, node, x, "square")
    if p == 0.5:
        return curve(r, node, x, "sqrt", absolute=2.0**-62, relative=POW)
    if whole:
        return curve(r, node, x, named_power(p), absolute=2.0**-119, relative=max(POW, 1.02 * (p + 3.0) * 2.0**-24))
    logarithm = curve(r, node, x, "log", exact=True)  # how large the exponent may be
    t = r.affine(node, ((Scale(np.full(math.prod(x.shape), p)), logarithm.value),), x.shape)
    name = "rsqrt" if p == -0.5 else named_power(p)
    relative = POW + TOLERANCES["exp"][1]
    return curve(r, node, x, name, absolute=2.0**-119, relative=relative, spread=19.0, wide=t.value)


def _constant(v: Any) -> float | None:
    """The one finite number that an array of floats or integers holds."""
    right = isinstance(v, np.ndarray) and v.size == 1 and v.dtype in (np.float32, np.int64, np.int32)
    return float(v.reshape(-1)[0]) if right and abs(float(v.reshape(-1)[0])) < math.inf else None


RULES: dict[str, Any] = {"Pow": (power, "")}
