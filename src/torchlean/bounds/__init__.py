"""Regions, properties, and bounds of a program's values over a region. `tl.bounds(program, region)` is this package called."""

from __future__ import annotations

from typing import Any

from torchlean.callable_module import make_callable

METHODS = ("interval", "crown")


def bounds(program: Any, region: Any, method: str = "crown", semantics: str = "float32", device: str = "cpu") -> Any:
    """Proved bounds of the program's output for every input of `region`: (lower, upper), float64, in the output's shape.

    method      "interval": each op's interval rule; "crown": the backward linear walk, intersected with it
    semantics   "float32": of every float32 execution (and of the real function); "real": of the real function
    device      "cpu" in float64; "cuda" in float32, for a search and not a proof
    Raises      UsageError, ShapeError; MissingRule where an op has no such rule
    """
    from torchlean.bounds.walk import program_bounds

    return program_bounds(program, region, method, semantics, device)


make_callable(__name__, bounds)
