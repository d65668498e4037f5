"""Error boxes: how far each node's float32 value may be from its real meaning on the same inputs (SEMANTICS 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchlean import ops
from torchlean.ir import COMPARED, EXACT, Missing, Node
from torchlean.meaning import Ranges

F64 = NDArray[np.float64]


def magnitude(box: Ranges) -> F64:
    """X >= |x| on a box."""
    largest: F64 = np.maximum(np.abs(box.lo), np.abs(box.hi))
    return largest


def error_box(node: Node, inputs: Sequence[Ranges], result: Ranges) -> F64 | None:
    """E of a node from the boxes of its inputs and its value; None where the float32 result is the real one.

    Shapes   float64, broadcasting to the node's value
    Raises   MissingRule where the record has no rounding rule: the claim can only be about the reals
    """
    op = ops.ALL[node.op]
    if op.rounding in (EXACT, COMPARED):
        return None
    if isinstance(op.rounding, Missing):
        op.rule("rounding")
    sizes = tuple(magnitude(b) if b.lo.dtype == np.float64 else np.asarray(b.lo) for b in inputs)
    with np.errstate(all="ignore"):
        found: Any = op.rule("rounding")(sizes, magnitude(result), **node.attributes)
    return np.asarray(found, np.float64)
