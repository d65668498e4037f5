"""Regions, properties, and bounds on what a program computes over a region.

`tl.bounds(program, region)` is this package called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from torchlean.bounds.balls import Ball, ball
from torchlean.bounds.region import Box, box
from torchlean.bounds.specification import margins, matrices, specified
from torchlean.callable_module import make_callable
from torchlean.errors import Unsupported, UsageError

METHODS = {"interval": "interval", "ibp": "interval", "crown": "crown", "backward": "crown"}  # in lower case
OPTIMISED = ("alpha-crown", "crown-optimized")
BUDGET = 1 << 30  # bytes of coefficients walked at once


def bounds(
    program: Any,
    region: Box | Ball | Sequence[Box | Ball],
    method: str = "crown",
    *,
    semantics: str = "real",
    output: str | None = None,
    device: str | None = None,
    slopes: Mapping[int, Any] | None = None,
    budget: int = BUDGET,
    C: Any = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bounds of an output over each region.

    region      boxes, or balls: over a ball both methods bound the first linear layer by dual norms, and CROWN every
                linear form of the input (rounded outward)
    method      `interval` or `IBP` (rigorous), or `CROWN`: the backward linear walk, tighter; its own rounding is not
                charged. In any case of letters
    semantics   `real`, or `float32`: of every float32 execution, in any order of sums, and of the reals
    output      its name, where there are several
    device      None: numpy in float64; `cpu` or `cuda`: torch, float64 on the CPU and float32 on CUDA
    slopes      node number -> lower slopes in [0, 1], [B, *shape], of nonlinear nodes (see `linear.Walk`)
    budget      bytes that one chunk of rows may take
    C           [specs, outputs], or one such for each region: bounds of C . y instead of y (see `margins`)
    Returns     float64 arrays of the output's shape ([specs] with C); with a leading axis of regions where several
                were given
    Raises      MissingRule for an op without the rule that the method needs; Unsupported for a method that optimises
                slopes; UsageError; ShapeError
    """
    from torchlean.bounds.boxed import boxed
    from torchlean.bounds.interval import interval_walk

    method = _method(method)
    if semantics not in ("real", "float32"):
        raise UsageError(
            "no such semantics",
            where="bounds",
            expected="'real' or 'float32'",
            got=repr(semantics),
            fix="tl.bounds(program, region, 'CROWN', semantics='float32')",
        )
    several = not isinstance(region, Box | Ball)
    regions: list[Box | Ball] = list(region) if several else [region]  # type: ignore[arg-type, list-item]
    if C is not None:
        parts = [
            (rows, bounds(specified(program, c, output), [regions[i] for i in rows], method, semantics=semantics,
                          device=device, budget=budget))
            for c, rows in matrices(C, len(regions))
        ]  # fmt: skip
        found_c = np.empty((2, len(regions), parts[0][1][0].shape[1]))
        for rows, ends in parts:
            found_c[:, rows] = ends
        return (found_c[0], found_c[1]) if several else (found_c[0, 0], found_c[1, 0])
    what = boxed(program, regions, semantics)
    value = what.graph.output(output)
    if method == "interval" or value.node not in what.dependent:
        found = interval_walk(what)[value.node][value.index]
        low, high = np.where(found.nan, -np.inf, found.lo), np.where(found.nan, np.inf, found.hi)
    else:
        low, high = _crown(what, value.node, device, slopes or {}, budget)
    shape = what.graph.type(value).sizes
    low, high = (np.broadcast_to(a, shape).reshape(shape) for a in (low, high))
    keep = several or _leading(program)
    return (low, high) if keep else (low[0], high[0])


def _method(name: str) -> str:
    """The method that a name means."""
    key = name.lower() if isinstance(name, str) else ""
    if key in OPTIMISED:
        raise Unsupported(
            "bounds with optimised slopes are not made here",
            where="bounds",
            expected="'IBP' or 'CROWN'",
            got=name,
            fix="use 'CROWN', or tl.verify, which searches and gives a certificate",
        )
    if key not in METHODS:
        raise UsageError(
            "no such method",
            where="bounds",
            expected="'IBP' (also 'interval') or 'CROWN' (also 'backward')",
            got=repr(name),
            fix="tl.bounds(program, region, 'CROWN')",
        )
    return METHODS[key]


def _leading(program: Any) -> bool:
    """Whether the program itself has the leading axis, being symbolic, that the regions took."""
    first = program.input_type.shape[:1]
    return bool(first) and not isinstance(first[0], int)


def _crown(
    what: Any, number: int, device: str | None, slopes: Mapping[int, Any], budget: int
) -> tuple[np.ndarray, np.ndarray]:
    from torchlean.bounds.linear import Walk
    from torchlean.bounds.namespace import namespace

    xp, put = namespace(device)
    walk = Walk(what, xp, put, budget, {n: put(np.asarray(s)) for n, s in slopes.items()})
    walk.refine(tighten=True)
    shape = what.graph.nodes[number].types[0].sizes
    low, high = walk.bound(number, np.arange(int(np.prod(shape[1:]))))
    box = walk.boxes[number][0]
    return np.maximum(low.reshape(shape), box.lo), np.minimum(high.reshape(shape), box.hi)


__all__ = ["Ball", "Box", "ball", "bounds", "box", "margins"]
make_callable(__name__, bounds)
