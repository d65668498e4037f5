"""What each executor promises, per op, as data. `agree` holds every node to it.

`exact`      the bits of the reference
`standard`   within the record's `rounding` of the real meaning of the same float32 inputs (SEMANTICS 2, 3): any order
             of sums, FMA or not, subnormals flushed or not, elementary functions within the tolerance table
`none`       nothing is promised: the record has no `rounding`, or the dtype is not float32
"""

from __future__ import annotations

from dataclasses import dataclass

from torchlean import ops
from torchlean.ir import COMPARED, EXACT, Missing


@dataclass(frozen=True)
class Executor:
    """Facts about an executor that hold for all its kernels."""

    name: str
    exact: bool
    deterministic: bool
    subnormals: str
    accumulation: str
    materialises_once: bool
    off: tuple[str, ...]


EXECUTORS = {
    e.name: e
    for e in (
        Executor("reference", True, True, "kept", "float32, left to right, no FMA", True, ()),
        Executor(
            "eager-cpu",
            False,
            True,
            "kept",
            "at least float32, any order",
            True,
            ("reduced-precision products", "Winograd: not promised for convolutions that NNPACK takes"),
        ),
        Executor(
            "eager-cuda",
            False,
            False,
            "kept",
            "at least float32, any order",
            True,
            ("TF32", "reduced-precision reductions", "cuDNN benchmark mode"),
        ),
    )
}


def promise(executor: str, op: str) -> str:
    """The promise of `executor` for the float32 results of `op`: `exact`, `standard`, or `none`.

    An op whose result is selected, compared or moved is exact everywhere.
    """
    if EXECUTORS[executor].exact or ops.ALL[op].rounding in (EXACT, COMPARED):
        return "exact"
    return "none" if isinstance(ops.ALL[op].rounding, Missing) else "standard"
