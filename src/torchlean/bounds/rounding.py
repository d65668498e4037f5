"""Error boxes: how far each node's float32 value may be from its real meaning on the same inputs (SEMANTICS 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchlean import floats, ops
from torchlean.errors import MissingRule
from torchlean.ir import COMPARED, EXACT, Linear, Missing, Node
from torchlean.meaning import Ranges

F64 = NDArray[np.float64]

# Rules that grow with the magnitude of every input, so that the largest ones speak for a box.
_GROWING = frozenset(("linear", "conv", "conv_transpose", "conv_weight_grad"))


def magnitude(box: Ranges) -> F64:
    """X >= |x| on a box."""
    largest: F64 = np.maximum(np.abs(box.lo), np.abs(box.hi))
    return largest


def smallest(box: Ranges) -> F64:
    """The least |x| on a box."""
    return np.where((box.lo <= 0) & (box.hi >= 0), 0.0, np.minimum(np.abs(box.lo), np.abs(box.hi)))


def error_box(node: Node, inputs: Sequence[Ranges], result: Ranges) -> F64 | None:
    """E of a node from the boxes of its inputs and its value; None where the float32 result is the real one.

    Shapes   float64, broadcasting to the node's value
    Raises   MissingRule where the record has no rounding rule, or reads a scale or an index as a constant that is none:
             the claim can only be about the reals
    """
    op = ops.ALL[node.op]
    if op.rounding in (EXACT, COMPARED):
        return None
    if node.op == "cast" and _widens(inputs[0].dtype, node.type.dtype.numpy):
        (box,), tiny = inputs, floats.format_of(node.type.dtype.numpy).smallest_normal
        flushed = (box.lo < tiny) & (box.hi > -tiny) & ((box.lo != 0) | (box.hi != 0))
        return np.where(flushed, tiny, 0.0) if flushed.any() else None
    if isinstance(op.rounding, Missing):
        op.rule("rounding")
    _check_factors(node, inputs)
    sizes = [magnitude(b) if b.lo.dtype == np.float64 else np.asarray(b.lo) for b in inputs]
    if node.op == "div":
        sizes[1] = smallest(inputs[1])  # the rule falls with the divisor
    with np.errstate(all="ignore"):
        found: Any = op.rule("rounding")(tuple(sizes), magnitude(result), **node.attributes)
    error = np.asarray(found, np.float64)
    return np.where(np.isnan(error), np.inf, error)


def _widens(source: str, target: str) -> bool:
    """Whether every number of the first format is one of the second: a cast rounds nothing, but may flush."""
    if source not in floats.CATALOG or target not in floats.CATALOG:
        return False
    narrow, wide = floats.format_of(source), floats.format_of(target)
    inside = narrow.emax <= wide.emax and narrow.smallest_subnormal >= wide.smallest_subnormal
    return narrow.precision <= wide.precision and inside


def _check_factors(node: Node, inputs: Sequence[Ranges]) -> None:
    """Rules of linear ops read the inputs in which they are not linear as exact values, but for those named above."""
    relax = ops.ALL[node.op].relax
    if not isinstance(relax, Linear) or node.op in _GROWING or node.op == "div":
        return
    for i, box in enumerate(inputs):
        if i not in relax.args and (box.lo != box.hi).any():
            raise MissingRule(
                f"{node.op} has no rounding rule where its input {i} varies",
                where=f"op {node.op}, {node.where}",
                expected="a constant",
                got="a range of values",
                fix="ask for semantics='real', or compute that input from parameters exactly",
            )
