"""The interval walk: every op's interval rule, from the inputs on.

Sound   a value of the real meaning (system IntervalReal) or of any float32 execution (IntervalFloat) at a point of the
        boxes lies in the box of its node; float64 ends, rounded outward
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchlean import ops
from torchlean.errors import UsageError
from torchlean.ir import DERIVED, Graph, Value
from torchlean.meaning.ranges import Ranges

F64 = NDArray[np.float64]
SEMANTICS = ("float32", "real")


def system(semantics: str) -> Any:
    """The interval system of a semantics. Raises UsageError."""
    from torchlean.meaning import IntervalFloat, IntervalReal

    if semantics not in SEMANTICS:
        raise UsageError("no such semantics", where="bounds", expected=" or ".join(SEMANTICS), got=repr(semantics),
                         fix='semantics="float32"')  # fmt: skip
    return IntervalFloat() if semantics == "float32" else IntervalReal()


def interval_walk(
    graph: Graph, arrays: Mapping[str, np.ndarray], boxes: Mapping[str, tuple[F64, F64]], semantics: str
) -> dict[Value, Ranges]:
    """What every value of a specialised graph may be.

    arrays   of parameters and states      boxes   lo and hi of each input, in the input's shape
    """
    N = system(semantics)
    found: dict[Value, Ranges] = {}
    for number, node in enumerate(graph.nodes):
        if node.op == "input":
            lo, hi = boxes[node.name]
            result: Any = N.enclose(lo, hi, node.type.dtype.numpy)
        elif node.op in ("parameter", "state"):
            result = N.constant(np.asarray(arrays[node.name]))
        else:
            op = ops.ALL[node.op]
            rule = op.rule("interval")
            rule = op.rule("meaning") if rule is DERIVED else rule
            result = rule(N, *(found[v] for v in node.inputs), **node.attributes)
        outputs = result if isinstance(result, tuple) and len(node.types) > 1 else (result,)
        found.update((Value(number, i), _ranges(N, r)) for i, r in enumerate(outputs))
    return found


def _ranges(N: Any, value: Any) -> Ranges:
    return value if isinstance(value, Ranges) else N.constant(np.asarray(value))
