"""What each executor promises, per op and dtype, as data. `agree` holds every node to it.

`exact`      the number that the reference has: its bits, but for a NaN's payload and the sign of a zero
`standard`   within the record's `rounding` of the real meaning of the same inputs (SEMANTICS 2, 3): any order of sums,
             FMA or not, subnormals flushed or not, elementary functions within the tolerance table
`none`       nothing is promised, and why

An entry that is not finite: NaN where the reference is NaN, the same infinity where it is infinite, finite where it is
finite. Outside the promise are entries where `rounding` gives no bound, or one so large that a partial sum may overflow
in some order; and, of the ops named in `OPEN` and in an executor's `special`, entries that a NaN or an infinity among
the inputs reaches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from inspect import signature

import numpy as np

from torchlean import ops
from torchlean.floats import FORMATS
from torchlean.frozen import frozen
from torchlean.ir import COMPARED, EXACT, EXPAND, DType, Graph, Missing

EXACTLY, STANDARD, NONE = "exact", "standard", "none"

Arrays = Mapping[str, np.ndarray]
Observe = Callable[[int, tuple[np.ndarray, ...]], None]
Run = Callable[[Graph, Arrays, Observe | None], dict[str, np.ndarray]]


# What no executor is held to where a NaN or an infinity comes in.
OPEN = {
    "power": "pow(-inf, y) is an infinity or 0 where e^(y log x) is NaN",
    "silu": "-inf times 0 is NaN where the limit is 0",
    "gelu": "-inf times 0 is NaN where the limit is 0",
    "batch_norm": "either formula: inf - inf arises in one of them",
    **dict.fromkeys(
        ("conv", "conv_transpose", "conv_weight_grad"),
        "a padded or inserted zero times an infinity, which the reference forms, may be left out",
    ),
}


@frozen
class Promise:
    """kind   `exact`, `standard` or `none`        why   what stands behind it; for `none`, why there is none"""

    kind: str
    why: str = ""


@frozen
class Executor:
    """Something that runs a graph, and facts that hold for all its kernels.

    run                  (specialised graph, arrays, observe or None) -> outputs by name; Unsupported where it cannot
    present              raises Unsupported where the device or package is absent
    exact                every result has the reference's bits
    deterministic        the same inputs on the same machine give the same bits
    subnormals           `kept`, or `may be flushed`
    accumulation         the format and order of sums
    materialises_once    a node with several consumers is computed once
    off                  what is switched off while it runs, and put back afterwards
    measured             the versions that its promises were measured with
    special              op -> what its kernel does with a NaN or an infinity that the reference does not
    exceptions           op -> why nothing is promised for it
    """

    name: str
    run: Run
    present: Callable[[], object]
    exact: bool
    deterministic: bool
    subnormals: str
    accumulation: str
    materialises_once: bool
    off: tuple[str, ...]
    measured: str
    special: Mapping[str, str] = field(default_factory=dict)
    exceptions: Mapping[str, str] = field(default_factory=dict)


    def open_at(self, op: str) -> str:
        """Why a NaN or an infinity that comes in is outside the promise; empty where it is not."""
        return "" if self.exact else self.special.get(op, OPEN.get(op, ""))


def promise(executor: Executor, op: str, dtype: DType) -> Promise:
    """The promise of `executor` for the results of `op` in `dtype`."""
    if executor.exact:
        return Promise(EXACTLY, "it is the reference")
    if op in executor.exceptions:
        return Promise(NONE, executor.exceptions[op])
    rounding = ops.ALL[op].rounding
    if rounding in (EXACT, COMPARED):
        return Promise(EXACTLY, "it selects, compares or moves")
    if dtype.kind != "float":
        return Promise(EXACTLY, "the result is discrete")
    if isinstance(rounding, Missing):
        return Promise(NONE, rounding.why)
    if rounding is EXPAND:
        return Promise(STANDARD, "the promises of its definition's nodes")
    if dtype.name == "f32" or op == "cast" or (dtype.numpy in FORMATS and takes_format(op)):
        return Promise(STANDARD, "its rounding")
    return Promise(NONE, f"its rounding is stated for f32, not for {dtype}")


def takes_format(op: str) -> bool:
    """Whether the op's `rounding` speaks of every format, not of binary32 only."""
    rounding = ops.ALL[op].rounding
    return callable(rounding) and "fmt" in signature(rounding).parameters
