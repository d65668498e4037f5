"""Claims about two runs: two programs on one input, or one program on two inputs.

Both runs stand side by side in one program whose output holds theirs one after another. Only elements are moved around
them, so each execution of the pair is an execution of both, and the claim compares their outputs exactly.
"""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from math import prod
from typing import Any

from torchlean import ops
from torchlean.bounds.claim import Formula, Vector, forall
from torchlean.bounds.derivatives import derivatives
from torchlean.bounds.exact import Number, exact
from torchlean.bounds.region import Box
from torchlean.errors import MissingRule, ShapeError, Unsupported, UsageError
from torchlean.ir import Builder, Graph, Tensor, f32
from torchlean.run.program import Program
from torchlean.verify.program import verify_program
from torchlean.verify.verdict import Verdict

SLOPE_UNITS = 1024  # of the slope that a claim of monotony leans on: its decimal stays short


def equivalent(
    first: Any,
    second: Any,
    region: Box,
    tolerance: Number,
    timeout: float = 60.0,
    semantics: str = "float32",
    seed: int = 0,
) -> Verdict:
    """Whether |first(x) - second(x)| <= tolerance in every output, for every x of the region: a Verdict.

    unsat   it holds, with a certificate about one ONNX file that holds both programs; for `float32`, of every pair of
            executions, so the tolerance must leave room for the rounding of both
    sat     verdict.witness.x is an input where they differ by more, and its y the outputs of both
    Raises  ShapeError where the sizes differ; UsageError; DataError for a tolerance that is no number; Unsupported
    """
    within = _tolerance(tolerance, "equivalent")
    one, two = _single(first, "equivalent"), _single(second, "equivalent")
    sizes = [(prod(p.input_type.sizes), _outputs(p)) for p in (one, two)]
    if sizes[0] != sizes[1] or one.input_type.dtype != two.input_type.dtype:
        raise ShapeError("the programs must take and give the same", where="equivalent",
                         expected=f"{sizes[0][0]} inputs and {sizes[0][1]} outputs, as the first has",
                         got=f"{sizes[1][0]} inputs and {sizes[1][1]} outputs",
                         fix="compare programs of one signature")  # fmt: skip
    inputs, n = sizes[0]
    g = Builder(ops.ALL, where="equivalent")
    x = g.input("x", f32[1, inputs])
    y = Vector("y")
    claim = _all([(y[j] - y[n + j] <= within) & (y[n + j] - y[j] <= within) for j in range(n)])
    pair = _pair(g, ((one, x, "first"), (two, x, "second")))
    return verify_program(pair, forall(region.flatten(), claim), timeout, semantics, seed)


def monotone(
    program: Any,
    region: Box,
    input: int,
    *,
    tolerance: Number,
    increasing: bool = True,
    output: int = 0,
    timeout: float = 60.0,
    semantics: str = "float32",
    seed: int = 0,
) -> Verdict:
    """Whether flat output `output` never falls by more than `tolerance` where flat input `input` alone rises.

    For all x, x' of the region that differ in that input alone, x'[input] >= x[input]: f(x') >= f(x) - tolerance; with
    increasing=False, f(x') <= f(x) + tolerance. The tolerance must be above 0: two executions of one program may round
    differently, and equal inputs leave no margin.
    unsat   it holds, with a certificate; the ONNX file has one input more, x'[input], at its end
    sat     verdict.witness.x holds x and then x'[input], its y holds f(x) and f(x')
    Raises  as `equivalent`; ShapeError for an index that is not there
    """
    slack = _tolerance(tolerance, "monotone")
    if slack == 0:
        raise UsageError("monotony is proved up to a tolerance", where="monotone", expected="a tolerance above 0",
                         got="0", fix='tolerance="0.001", in the unit of the output')  # fmt: skip
    one = _single(program, "monotone")
    n, m = prod(one.input_type.sizes), _outputs(one)
    if not (0 <= input < n and 0 <= output < m) or region.size != n:
        raise ShapeError("no such input or output", where="monotone",
                         expected=f"an input below {n}, an output below {m}, a region of {n} inputs",
                         got=f"input {input}, output {output}, {region.size} inputs",
                         fix="count row-major over the tensor's axes")  # fmt: skip
    g = Builder(ops.ALL, where="monotone")
    x = g.input("x", f32[1, n + 1])
    places = [(0, input), (n, n + 1), (input + 1, n)]
    moved = g.concat([_part(g, x, a, b) for a, b in places if a < b], axis=-1)
    flat = region.flatten()
    wide = Box((*flat.lo, flat.lo[input]), (*flat.hi, flat.hi[input]), (n + 1,))
    at, y = Vector("x"), Vector("y")
    rise = y[m + output] - y[output]
    # Given the order of x and x', the third part is implied by the second: it states nothing more, and bounds better.
    leaning = rise - _slope(one, region, input, output, increasing) * (at[n] - at[input])
    kept = (rise >= -slack) | (leaning >= -slack) if increasing else (rise <= slack) | (leaning <= slack)
    claim = ~(at[input] <= at[n]) | kept
    pair = _pair(g, ((one, _part(g, x, 0, n), ""), (one, moved, "")))
    return verify_program(pair, forall(wide, claim), timeout, semantics, seed)


def _slope(program: Program, region: Box, input: int, output: int, increasing: bool) -> Fraction:
    """The middle of what the derivative may be, where it has the claimed sign; else 0."""
    try:
        low, high = derivatives(program, region)
    except (MissingRule, Unsupported):
        return Fraction(0)
    middle = float(low[output, input] + high[output, input]) / 2
    if not math.isfinite(middle) or (middle > 0) is not increasing:
        return Fraction(0)
    return Fraction(round(middle * SLOPE_UNITS), SLOPE_UNITS)


def _pair(g: Builder, runs: tuple[tuple[Program, Tensor, str], ...]) -> Program:
    """One program of both runs: (program, its flat input, a prefix for its parameters)."""
    outputs, arrays = [], {}
    for program, x, prefix in runs:
        (name,) = program.graph.inputs
        (y,) = g.inline(_renamed(program.graph, prefix), {name: g.reshape(x, shape=program.input_type.sizes)}).values()
        outputs.append(g.reshape(y, shape=(1, _outputs(program))))
        arrays.update({_prefixed(k, prefix): v for k, v in program.parameters.items()})
    return Program(g.finish({"y": g.concat(outputs, axis=-1)}), arrays)


def _renamed(graph: Graph, prefix: str) -> Graph:
    nodes = tuple(
        replace(node, attrs=tuple(sorted({**node.attributes, "name": _prefixed(node.name, prefix)}.items())))
        if node.op == "parameter"
        else node
        for node in graph.nodes
    )
    return replace(graph, nodes=nodes)


def _prefixed(name: str, prefix: str) -> str:
    return f"{prefix}/{name}" if prefix else name


def _part(g: Builder, x: Tensor, start: int, end: int) -> Tensor:
    """x[:, start:end]"""
    found: Tensor = g.slice(x, starts=(start,), stops=(end,), steps=(1,))
    return found


def _single(program: Any, where: str) -> Program:
    """The inference program of one example. Raises UsageError where it has several inputs or outputs, or no floats."""
    found: Program = program.inference()
    found = found.specialise(**dict.fromkeys(found.graph.symbols(), 1))
    if found.input_type.dtype.numpy != "float32" or len(found.graph.outputs) != 1:
        raise UsageError("two runs are compared where each has one input and one output", where=where,
                         expected="one float32 input, one output",
                         got=f"{found.input_type}, outputs {', '.join(n for n, _ in found.graph.outputs)}",
                         fix="trace a function of one tensor that returns one tensor")  # fmt: skip
    return found


def _outputs(program: Program) -> int:
    return prod(program.graph.type(program.graph.outputs[0][1]).sizes)


def _tolerance(value: Number, where: str) -> Fraction:
    found = exact(value, f"{where}(tolerance)")
    if found < 0:
        raise UsageError("a tolerance must not be negative", where=where, expected="a number from 0", got=str(value),
                         fix="give its magnitude")  # fmt: skip
    return found


def _all(parts: list[Formula]) -> Formula:
    result = parts[0]
    for part in parts[1:]:
        result = result & part
    return result
