"""Bounds of a program's output over a region: the public entry."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchlean.bounds.interval import interval_walk
from torchlean.bounds.linear import LinearWalk, Settings
from torchlean.bounds.region import Box
from torchlean.errors import ShapeError, UsageError

F64 = NDArray[np.float64]


def program_bounds(
    program: Any, region: Box, method: str, semantics: str, device: str = "cpu", settings: Settings | None = None
) -> tuple[F64, F64]:
    """See `torchlean.bounds.bounds`."""
    if method not in ("interval", "crown"):
        raise UsageError("no such method", where="bounds", expected="'interval' or 'crown'", got=repr(method),
                         fix="bounds(program, region, method='crown')")  # fmt: skip
    program = program.inference()
    program = program.specialise(**{str(s): 1 for s in program.input_type.shape if not isinstance(s, int)})
    shape = program.input_type.sizes
    if prod(shape) != region.size:
        raise ShapeError("the region does not fit the program", where="bounds", expected=f"a region of {prod(shape)} inputs",
                         got=f"{region.size} inputs", fix="give one interval for each input")  # fmt: skip
    lo, hi = (np.asarray(v, np.float64).reshape(shape) for v in (region.outer64() if semantics == "float32" else region.real64()))
    output = program.graph.output()
    if method == "interval":
        name = next(iter(program.graph.inputs))
        found = interval_walk(program.graph, {**program.parameters, **program.states}, {name: (lo, hi)}, semantics)[output]
        return np.asarray(found.lo, np.float64), np.asarray(found.hi, np.float64)
    walk = LinearWalk(program, lo[None], hi[None], settings or Settings(semantics, device))
    last = walk.graph.output()
    size = prod(walk.graph.type(last).sizes)
    if last.node in walk.moving:
        walk.bound(last, np.arange(size))
    low, high = (np.asarray(v if isinstance(v, np.ndarray) else v.cpu().numpy(), np.float64) for v in walk.box(last))
    return low[0], high[0]
