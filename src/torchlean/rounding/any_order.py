"""What a node rounds in any order: the E of SEMANTICS 3, from the op's record, charged to the whole node.

A binary32 node takes its record's `rounding`. In another format the record's rule does not speak: one rounded operation
takes the standard model of that format, and a wider format anything that binary32's rule allows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from torchlean import floats, ops
from torchlean.bounds.rounding import error_box, magnitude, smallest
from torchlean.errors import MissingRule
from torchlean.floats import BINARY32, Format
from torchlean.ir import COMPARED, EXACT, Node
from torchlean.meaning import Ranges
from torchlean.ops.tolerances import TOLERANCES
from torchlean.rounding.twin import F64, Twin, exactly, meet, ranges, rounded

UP = 1.0 + 2.0**-30

# One rounded operation: sign kept, an overflow is an infinity. For the rest, a partial result may overflow to NaN.
SINGLE = frozenset(("add", "sub", "mul", "div", "square", "cast", "exp", "sqrt", "log", "tanh", "sigmoid"))
# implementations are clamped to the function's range
RANGE = {"sigmoid": (0.0, 1.0), **dict.fromkeys(("tanh", "erf", "sin", "cos"), (-1.0, 1.0))}
ADDED = frozenset(("sum", "mean", "avg_pool", "avg_pool_transpose", "scatter_add"))  # terms of one sign keep it
PRODUCTS = frozenset(("matmul", "linear", "conv", "conv_transpose", "conv_weight_grad"))
POSITIVE = frozenset(("softmax",))  # a quotient of sums of exponentials, none negative


def source(values: Ranges) -> Twin:
    """An input or constant. A subnormal number may be read as zero."""
    if values.lo.dtype != np.float64:
        return exactly(values)
    tiny = floats.format_of(values.dtype).smallest_normal
    nonzero = (values.lo != 0) | (values.hi != 0)
    above, below = nonzero & (values.lo < tiny) & (values.hi > 0), nonzero & (values.hi > -tiny) & (values.lo < 0)
    if not (above | below).any():
        return exactly(values)
    lo = np.where(above & (values.lo > 0), 0.0, values.lo)
    hi = np.where(below & (values.hi < 0), 0.0, values.hi)
    gap = ranges(np.where(above, -tiny, 0.0), np.where(below, tiny, 0.0))
    return meet(values, Ranges(lo, hi, values.nan, values.dtype), gap)


def settled(node: Node, inputs: Sequence[Twin], found: Twin) -> Twin:
    """The node's value after its rounding; `found` is exact on the computed inputs.

    Raises   MissingRule where the record has no rounding rule, or none for this format or these varying inputs
    """
    op = ops.ALL[node.op]
    if op.rounding in (EXACT, COMPARED) or not found.is_float:
        return found
    computed = [x.computed for x in inputs]
    fmt = floats.format_of(found.dtype)
    error = _error(node, computed, found.computed, fmt)
    single = node.op in SINGLE
    # One operation errs relatively to its result: at each end by what a result there may be off.
    low, high = (ranges(v, v) for v in (found.computed.lo, found.computed.hi))
    ends = (_error(node, computed, low, fmt), _error(node, computed, high, fmt)) if single else None
    with np.errstate(over="ignore", invalid="ignore"):
        # Partial sums are bounded through E, which is at least u times the sum of all magnitudes.
        size = np.maximum(magnitude(found.computed), 0.0 if single else error / fmt.unit_roundoff)
    broken = ~floats.stays_finite(size, error, fmt)
    after = rounded(found, error, broken, ends=ends, keeps_sign=_keeps_sign(node, computed), may_be_nan=not single)
    if node.op in RANGE:
        bottom, top = RANGE[node.op]
        box = after.computed
        clamped = Ranges(np.maximum(box.lo, bottom), np.minimum(box.hi, top), box.nan, box.dtype)
        after = meet(after.real, clamped, after.gap)
    return after


def _error(node: Node, inputs: Sequence[Ranges], result: Ranges, fmt: Format) -> F64:
    error = _in_format(node, inputs, result, fmt)
    if error is None:
        error = error_box(node, inputs, result)
    assert error is not None
    return error


def _keeps_sign(node: Node, computed: Sequence[Ranges]) -> bool:
    if node.op in SINGLE or node.op in POSITIVE:
        return True
    if node.op in ADDED:
        return bool((computed[0].lo >= 0).all())
    return node.op in PRODUCTS and all(bool((x.lo >= 0).all()) for x in computed)


# What operands and result may lose when flushed, in units of the smallest normal number: SEMANTICS 3, term by term.
_LOST: dict[str, Callable[..., Any]] = {
    "add": lambda x, y: 2.0,
    "sub": lambda x, y: 2.0,
    "mul": lambda x, y: 3 + x + y,
    "div": lambda x, y: 1 + 1 / y,
}


def _in_format(node: Node, inputs: Sequence[Ranges], result: Ranges, fmt: Format) -> F64 | None:
    """E in a format that is not binary32; None where the record's rule for binary32 holds."""
    if fmt == BINARY32 or (node.op == "cast" and fmt.precision < BINARY32.precision):
        return None
    wider = fmt.precision >= BINARY32.precision and fmt.emin <= BINARY32.emin
    if node.op == "cast":
        held = inputs[0].lo.dtype == np.float64 and floats.format_of(inputs[0].dtype).precision <= fmt.precision
        return np.zeros(result.shape) if held else None
    if node.op in _LOST:
        sizes = [magnitude(x) for x in inputs]
        if node.op == "div":
            sizes[1] = smallest(inputs[1])
        relative = 3.0 if node.op == "div" else 1.0
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            lost = fmt.smallest_normal * _LOST[node.op](*sizes)
            bound = (relative * fmt.unit_roundoff * magnitude(result) + lost) * UP
        divided = node.op == "div" and sizes[1] < fmt.smallest_normal
        return np.asarray(np.where(np.isnan(bound) | divided, np.inf, bound))
    if node.op == "sqrt" and wider:
        return np.asarray((TOLERANCES["sqrt"].r * magnitude(result) + fmt.smallest_normal**0.5) * UP)
    if wider:
        return None
    raise MissingRule(
        f"{node.op} has no rounding rule in {fmt.name}",
        where=f"op {node.op}, {node.where}",
        expected="float32 or float64, or one rounded operation",
        got=fmt.name,
        fix='cast to f32 before it, or ask for order="reference"',
    )

