"""A program with quantized weights and activations: the same graph, with nodes that store and round.

Weights become `dequantize(codes, scale, zero_point)` over an int8 parameter, or `cast(w)` of a small float; a value
that a weighted op reads passes through `quantize` and `dequantize`, or through `round_to`. Names of inputs, outputs and
other parameters stay, and so do symbolic axes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from torchlean import floats, ops
from torchlean.errors import DataError, UsageError
from torchlean.ir import DTYPES, Builder, Graph, Node, Tensor, Value, f32, type_of
from torchlean.ops.quantize import OVERFLOW
from torchlean.passes import drop_unreachable, rewrite, vmap
from torchlean.passes.rewrite import copy
from torchlean.quant.calibrate import calibrate
from torchlean.quant.quantizer import Quantizer
from torchlean.run.execute import execute
from torchlean.run.program import Program, sizes_of

INTEGERS = {"int8": 8, "int4": 4}
SMALL = ("f16", "bf16", "f8e4m3", "f8e5m2")
WEIGHTS = ("none", *INTEGERS, *SMALL)
ACTIVATIONS = ("none", *INTEGERS, *SMALL)

# op -> (the input that is a weight, the axis of its output channels, counted from the end of a weight of this rank)
_WEIGHTED: Mapping[str, tuple[int, Any]] = {
    "linear": (1, lambda rank: -2),
    "matmul": (1, lambda rank: -1),
    "conv": (1, lambda rank: -rank),
    "conv_transpose": (1, lambda rank: 1 - rank),
}


def quantize_program(
    program: Program,
    weights: str = "int8",
    activations: str = "none",
    *,
    calibration_data: Any = None,
    per_channel: bool = True,
    method: str = "minmax",
    overflow: str | None = None,
) -> Program:
    """The program with weights and activations in fewer bits; states are frozen first.

    weights           of linear, matmul, conv and conv_transpose: `int8`, `int4` (symmetric; kept as int8), `f16`,
                      `bf16`, `f8e4m3`, `f8e5m2`, or `none`
    activations       what those ops read: `int8`, `int4` (asymmetric, one scale), a small float, or `none`
    calibration_data  for integer activations: an array for the only input, or arrays by name. What the float32
                      program computes from it is what `method` sees
    per_channel       one scale for each output channel of a weight, else one for the weight
    overflow          for small floats: `saturate` or `ieee`
    Raises            UsageError for an unknown format, a missing policy or missing data; DataError for data that no
                      quantizer can be calibrated from, and for a program without weights
    """
    _check(weights, activations, calibration_data, overflow)
    program = program.inference() if program.graph.states or program.graph.updates else program
    axes = weight_axes(program.graph) if weights != "none" else {}
    if weights != "none" and not axes:
        raise DataError(
            "the program has no weights to quantize",
            where="quantize_program",
            expected="float32 parameters that " + ", ".join(_WEIGHTED) + " read",
            got="ops " + ", ".join(sorted({n.op for n in program.graph.nodes if n.inputs})),
            fix='weights="none"',
        )
    change = _Change(program, weights, activations, method, overflow)
    change.axes = {name: axis if per_channel else None for name, axis in axes.items()}
    if activations in INTEGERS:
        change.points = _calibrated(program, INTEGERS[activations], calibration_data, method)
    graph = drop_unreachable(rewrite(program.graph, ops.ALL, change.step))
    return Program(graph, change.arrays)


def weight_axes(graph: Graph) -> dict[str, int | None]:
    """Parameter -> the axis of its output channels, counted from the end; None where two readers disagree."""
    found: dict[str, int | None] = {}
    for node in graph.nodes:
        if node.op not in _WEIGHTED:
            continue
        at, axis_of = _WEIGHTED[node.op]
        source, axis = graph.nodes[node.inputs[at].node], axis_of(graph.type(node.inputs[at]).rank)
        while source.op == "permute":
            axes: Any = source.attributes["axes"]
            axis, source = axes[axis], graph.nodes[source.inputs[0].node]
        if source.op == "parameter" and source.type.dtype == f32:
            axis = axis if found.get(source.name, axis) == axis else None
            found[source.name] = axis
    return found


def activations_read(graph: Graph) -> tuple[Value, ...]:
    """The values that depend on an input and that a weighted op reads, in order."""
    moving = {i for i, node in enumerate(graph.nodes) if node.op == "input"}
    read: dict[Value, None] = {}
    for number, node in enumerate(graph.nodes):
        if any(v.node in moving for v in node.inputs):
            moving.add(number)
        if node.op in _WEIGHTED:
            read.update((v, None) for v in node.inputs[:2] if v.node in moving and graph.type(v).dtype == f32)
    return tuple(read)


class _Change:
    """One rewriting: what each node becomes, and the arrays of the new program."""

    def __init__(self, program: Program, weights: str, activations: str, method: str, overflow: str | None) -> None:
        self.weights, self.activations, self.method, self.overflow = weights, activations, method, overflow
        self.axes: dict[str, int | None] = {}
        self.points: dict[Value, Quantizer] = {}
        self.arrays = dict(program.parameters)
        self.read = frozenset(activations_read(program.graph)) if activations != "none" else frozenset()
        self._rounded: dict[Value, Tensor] = {}

    def step(self, g: Builder, node: Node, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if node.op == "parameter" and node.name in self.axes:
            return (self._stored(g, node.name),)
        if node.op in _WEIGHTED and self.read.intersection(node.inputs):
            pairs = zip(node.inputs, inputs, strict=True)
            return copy(g, node, tuple(self._round(g, v, x) if v in self.read else x for v, x in pairs))
        return None

    def _stored(self, g: Builder, name: str) -> Tensor:
        array = self.arrays.pop(name)
        if self.weights in SMALL:
            kept = floats.round_nearest(
                _within(array, self.weights, self.overflow, name), floats.format_of(DTYPES[self.weights].numpy)
            )
            stored = self._parameter(g, name, kept)
            return g.cast(stored, dtype=f32)
        point = calibrate(array, INTEGERS[self.weights], axis=self.axes[name], method=self.method)
        return g.dequantize(
            self._parameter(g, f"{name}.codes", point.codes(array)),
            self._parameter(g, f"{name}.scale", point.scale),
            self._parameter(g, f"{name}.zero_point", point.zero_point),
            axis=point.axis,
        )

    def _parameter(self, g: Builder, name: str, array: np.ndarray) -> Tensor:
        while name in self.arrays:
            name += "_"
        self.arrays[name] = array
        return g.parameter(name, type_of(array))

    def _round(self, g: Builder, value: Value, x: Tensor) -> Tensor:
        if value not in self._rounded:
            self._rounded[value] = self._rounding(g, value, x)
        return self._rounded[value]

    def _rounding(self, g: Builder, value: Value, x: Tensor) -> Tensor:
        if self.activations in SMALL:
            return g.round_to(x, dtype=DTYPES[self.activations], overflow=self.overflow)
        point = self.points[value]
        scale, zero = g.constant(point.scale), g.constant(point.zero_point)
        codes = g.quantize(x, scale, zero, lo=point.lo, hi=point.hi, axis=None)
        return g.dequantize(codes, scale, zero, axis=None)


def _within(array: np.ndarray, small: str, overflow: str | None, name: str) -> np.ndarray:
    """The array, clamped where the policy says so. Raises DataError where a weight would become infinite or NaN."""
    largest = floats.format_of(DTYPES[small].numpy).max
    if overflow == "saturate":
        return np.clip(array, -largest, largest)
    if not np.isfinite(floats.round_onto(array, floats.format_of(DTYPES[small].numpy))).all():
        raise DataError(
            "a weight is beyond the format's range",
            where=f"parameter {name}",
            expected=f"magnitudes up to {largest:g}",
            got=f"{np.abs(array).max():g}",
            fix='overflow="saturate", or weights="bf16"',
        )
    return array


def _calibrated(program: Program, bits: int, data: Any, method: str) -> dict[Value, Quantizer]:
    """A quantizer for every value read, from what the float32 program computes on the data."""
    read = activations_read(program.graph)
    watched = Graph(program.graph.nodes, tuple((f"a{i}", v) for i, v in enumerate(read)))
    sized = Program(drop_unreachable(watched), program.parameters)
    if isinstance(data, Mapping):
        values = program.bind(**data)
    elif program.input_type.static and np.ndim(data) and np.shape(data) != program.input_type.sizes:
        sized, values = _many(sized, np.asarray(data))
    else:
        values = program.bind(data)
    sized = sized.specialise(**sizes_of(sized.graph, values))
    found = execute(sized.graph, {**program.parameters, **values})
    return {v: calibrate(found[f"a{i}"], bits, symmetric=False, method=method) for i, v in enumerate(read)}


def _many(program: Program, data: np.ndarray) -> tuple[Program, dict[str, np.ndarray]]:
    """A program of a fixed size on several inputs, stacked along the first axis or along one more axis."""
    (name,), shape = program.graph.inputs, program.input_type.sizes
    stacked = data.ndim == len(shape) and shape and shape[0] and data.shape[0] % shape[0] == 0
    rows = data.reshape(-1, *shape) if stacked and data.shape[1:] == shape[1:] else data
    many = Program(vmap(program.graph, ops.ALL, (name,), "samples"), program.parameters)
    return many, many.bind(rows)


def _check(weights: str, activations: str, data: Any, overflow: str | None) -> None:
    for name, given, known in (("weights", weights, WEIGHTS), ("activations", activations, ACTIVATIONS)):
        if given not in known:
            raise _usage(f"no such format for {name}", ", ".join(known), repr(given), f'{name}="int8"')
    if (weights in SMALL or activations in SMALL) and overflow not in OVERFLOW:
        raise _usage("what happens to values beyond a small float's range must be stated", " or ".join(OVERFLOW),
                     repr(overflow), 'overflow="saturate"')  # fmt: skip
    if activations in INTEGERS and data is None:
        raise _usage("integer activations need data to be calibrated from", "calibration_data", "none",
                     "calibration_data=dataset.x[:1000]")  # fmt: skip


def _usage(what: str, expected: str, got: str, fix: str) -> UsageError:
    return UsageError(what, where="quantize_program", expected=expected, got=got, fix=fix)
