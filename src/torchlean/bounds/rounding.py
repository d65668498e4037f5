"""Error boxes: how far the float32 value of each node may be from its meaning on the same float inputs (SEMANTICS 3).

E comes from each op's `rounding` rule on the magnitudes that boxes prove. The linear walk adds an extra input e_k in
[-E_k, E_k] to every node's value before anything reads it, and so subtracts |L_k| E_k, where L_k is the full coefficient.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from torchlean import ops
from torchlean.ir import COMPARED, EXACT, Graph, Value
from torchlean.meaning.ranges import Ranges

F64 = NDArray[np.float64]

WALK = 2.0**-12  # of E: what the walk itself may lose in float64. A sum of N terms has E >= N 2^-24 v, and float64 loses at
#                  most (n + 8) 2^-53 v on the n terms of its transpose: enough for n < 2^16 N.


def error_boxes(graph: Graph, ranges: Mapping[Value, Ranges]) -> dict[Value, F64]:
    """E of every node that rounds, one output each. Raises MissingRule for an op without a rounding rule.

    Shapes   as the node's value
    """
    found: dict[Value, F64] = {}
    for number, node in enumerate(graph.nodes):
        op = ops.ALL[node.op]
        if node.op in ("input", "parameter", "state") or not node.inputs or node.types[0].dtype.kind != "float":
            continue
        rule = op.rule("rounding")
        if rule is EXACT or rule is COMPARED:
            continue
        magnitudes = tuple(magnitude(ranges[v]) for v in node.inputs)
        value = Value(number)
        found[value] = np.asarray(rule(magnitudes, magnitude(ranges[value]), **node.attributes), np.float64)
    return found


def magnitude(r: Ranges) -> F64:
    """The largest |x| that the range allows."""
    return np.asarray(np.maximum(np.abs(r.lo.astype(np.float64)), np.abs(r.hi.astype(np.float64))))
