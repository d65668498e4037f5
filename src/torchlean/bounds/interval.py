"""The interval walk: every node's box from its inputs' boxes, by each op's interval rule.

Rigorous: `IntervalReal` rounds outward. For `float32` each node's box is widened by its error box, so it holds the
value of every float32 execution and, since every error box contains 0, the real value too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchlean import floats, ops
from torchlean.bounds.boxed import Boxed
from torchlean.bounds.rounding import error_box, magnitude
from torchlean.errors import InternalError
from torchlean.ir import DERIVED, Node
from torchlean.meaning import IntervalReal, Ranges

F64 = NDArray[np.float64]
N = IntervalReal()


def node_box(boxed: Boxed, number: int, inputs: Sequence[Ranges]) -> tuple[tuple[Ranges, ...], F64 | None]:
    """The boxes of a node's results, and its error box: None where there is none, or the claim is about the reals.

    Raises   MissingRule where the op lacks the interval rule, or for `float32` the rounding rule
    """
    node = boxed.graph.nodes[number]
    if number == boxed.input:
        return (N.enclose(boxed.lo, boxed.hi, node.type.dtype.numpy),), None
    if node.op == "parameter":
        return (N.constant(boxed.arrays[node.name]),), None
    found = real_boxes(node, inputs)
    if number in boxed.first_layer:
        found = (_both(found[0], boxed.first_layer[number]), *found[1:])
    error = error_box(node, inputs, found[0]) if boxed.semantics == "float32" else None
    return (found, None) if error is None else ((widened(found[0], error), *found[1:]), error)


def real_boxes(node: Node, inputs: Sequence[Ranges]) -> tuple[Ranges, ...]:
    """The boxes of a node's results over the reals, by its interval rule."""
    op = ops.ALL[node.op]
    rule: Any = op.rule("interval")
    result = (op.rule("meaning") if rule is DERIVED else rule)(N, *inputs, **node.attributes)
    return result if isinstance(result, tuple) and len(node.types) > 1 else (result,)


def _both(a: Ranges, b: Ranges) -> Ranges:
    """What lies in both boxes, each of which holds the value."""
    lo, hi = np.maximum(a.lo, b.lo), np.minimum(a.hi, b.hi)
    if not (lo <= hi).all():
        raise InternalError("two bounds of one value contradict each other", where="bounds over a ball",
                            expected="boxes that meet", got="none of either in the other",
                            fix="report it, with the program and the region")  # fmt: skip
    return Ranges(lo, hi, a.nan, a.dtype)


def widened(box: Ranges, error: F64) -> Ranges:
    """The box of the value after an error of at most `error`; anything at all where a partial sum may overflow.

    Partial sums are bounded through the error box: E >= 2^-24 (sum |w| X + |b|) for every rounding rule.
    """
    finite = floats.stays_finite(np.maximum(magnitude(box), error * 2.0**24), error)
    lo = np.where(finite, floats.sub_down(box.lo, error), -np.inf)
    hi = np.where(finite, floats.add_up(box.hi, error), np.inf)
    return Ranges(lo, hi, box.nan | ~finite, box.dtype)


def interval_walk(boxed: Boxed) -> list[tuple[Ranges, ...]]:
    """The boxes of every node's results, in node order."""
    found: list[tuple[Ranges, ...]] = []
    for number, node in enumerate(boxed.graph.nodes):
        found.append(node_box(boxed, number, [found[v.node][v.index] for v in node.inputs])[0])
    return found
