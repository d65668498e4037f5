"""Derivatives over a region, and the Lipschitz constant that they give.

The gradient program, as `tl.jacobian` makes it, is walked with intervals. At a kink it picks one slope of many; that is
enough: for programs of continuous, piecewise smooth ops what reverse differentiation gives is a conservative field, and
f(x') - f(x) is the integral of J (x' - x) over the segment for any choice from it.

Source   Bolte and Pauwels 2020, arXiv:1909.10300, lemma 2 and theorem 8
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from math import prod

import numpy as np
from numpy.typing import NDArray

from torchlean import grad
from torchlean.bounds import bounds
from torchlean.bounds.region import Box
from torchlean.errors import Unsupported, UsageError
from torchlean.ir import Graph
from torchlean.run.program import Program

F64 = NDArray[np.float64]

CONTINUOUS = frozenset({
    "add", "sub", "mul", "div", "neg", "square", "abs", "maximum", "minimum", "clip", "exp", "log", "sqrt", "tanh",
    "sigmoid", "relu", "leaky_relu", "matmul", "linear", "conv", "conv_transpose", "avg_pool", "max_pool", "sum",
    "mean", "max", "min", "reshape", "flatten", "permute", "broadcast", "slice", "pad", "concat", "softmax",
    "log_softmax", "expm1", "log1p", "erf", "sin", "cos", "softplus", "silu", "gelu", "gelu_tanh", "elu", "mish",
    "reciprocal", "power", "layer_norm", "rms_norm", "attention", "resize_nearest", "resize_linear",
})  # fmt: skip
AT_ONCE = 32  # pieces cut in a round


def derivatives(program: Program, region: Box | Sequence[Box], output: str | None = None) -> tuple[F64, F64]:
    """Enclosures of every first derivative of the real function over each region, rigorous.

    Shapes   -> [outputs, inputs] each, flat and row-major; with a leading axis of regions where several were given
    Infinite where no finite bound was found: a divisor or logarithm that may be 0
    Raises   Unsupported where an op between input and output is not continuous; MissingRule; as `tl.bounds`
    """
    one = program.inference()
    one = one.specialise(**dict.fromkeys(one.graph.symbols(), 1))
    name = next(iter(one.graph.inputs))
    value = one.graph.output(output)
    _refuse_jumps(one.graph)
    n, m = prod(one.input_type.sizes), prod(one.graph.type(value).sizes)
    regions = [region] if isinstance(region, Box) else list(region)
    steep = one.with_graph(grad.jacobian(one.graph, [name], output))
    low, high = bounds(steep, regions, "interval", output=f"jacobian:{name}")
    low, high = low.reshape(len(regions), m, n), high.reshape(len(regions), m, n)
    return (low[0], high[0]) if isinstance(region, Box) else (low, high)


def lipschitz(program: Program, region: Box, norm: str = "inf", *, output: str | None = None, pieces: int = 1) -> float:
    """L with |f(x') - f(x)| <= L |x' - x| for the real function at all x, x' of the region.

    norm     of both sides: "inf", "1" or "2" (for "2" the lesser of the Frobenius norm and sqrt(|.|_1 |.|_inf))
    pieces   the region is cut into so many boxes, the steepest first: L is the largest over them, and falls
    Returns  a float64 that is not less than L; inf where no finite bound was found. Rounding errors of executions are
             no part of it
    Raises   as `derivatives`; UsageError
    """
    if norm not in ("inf", "1", "2") or pieces < 1:
        raise UsageError("no such norm, or no piece", where="lipschitz",
                         expected='norm "inf", "1" or "2"; pieces from 1', got=f"norm {norm!r}, pieces {pieces}",
                         fix='tl.lipschitz(program, region, norm="inf")')  # fmt: skip

    def steepness(boxes: list[Box]) -> list[float]:
        low, high = derivatives(program, boxes, output)
        return [_norm(np.maximum(np.abs(a), np.abs(b)), norm) for a, b in zip(low, high, strict=True)]

    known = list(zip(steepness([region]), [region], strict=True))
    while len(known) < pieces:
        known.sort(key=lambda pair: -pair[0])
        cut = min(AT_ONCE, pieces - len(known), len(known))
        halves = [half for _, piece in known[:cut] for half in _halved(piece)]
        if len(halves) == cut:  # points
            break
        known = [*zip(steepness(halves), halves, strict=True), *known[cut:]]
    return max(value for value, _ in known)


def _halved(piece: Box) -> list[Box]:
    """The box cut in the middle of its widest side; the box itself where it is a point."""
    widths = [hi - lo for lo, hi in zip(piece.lo, piece.hi, strict=True)]
    i = max(range(len(widths)), key=widths.__getitem__)
    if widths[i] == 0:
        return [piece]
    middle: Fraction = (piece.lo[i] + piece.hi[i]) / 2
    found = (piece.narrow({i: (None, middle)}), piece.narrow({i: (middle, None)}))
    return [half for half in found if half is not None]


def _norm(size: F64, norm: str) -> float:
    """An upper bound of the operator norm of every matrix of these magnitudes, rounded up; NaN counts as infinite."""
    if not bool(np.isfinite(size).all()):
        return math.inf
    row, column = (max(map(_sum_up, part.tolist()), default=0.0) for part in (size, size.T))
    if norm != "2":
        return row if norm == "inf" else column
    squares = np.nextafter(size * size, np.inf).ravel().tolist()
    return min(_sqrt_up(_sum_up(squares)), _sqrt_up(math.nextafter(row * column, math.inf)))


def _sum_up(values: list[float]) -> float:
    total = math.fsum(values)  # rounded once, to nearest
    return math.nextafter(total, math.inf) if total else 0.0


def _sqrt_up(value: float) -> float:
    return math.nextafter(math.sqrt(value), math.inf)


def _refuse_jumps(graph: Graph) -> None:
    moving = set(graph.inputs.values())
    for number, node in enumerate(graph.nodes):
        if any(v.node in moving for v in node.inputs):
            moving.add(number)
            if node.op not in CONTINUOUS:
                raise Unsupported("a derivative does not bound an op that may jump, or whose gradient is another's",
                                  where=graph.describe(number), expected="continuous ops between input and output",
                                  got=node.op, fix="bound the outputs instead: tl.bounds(program, region)")  # fmt: skip
