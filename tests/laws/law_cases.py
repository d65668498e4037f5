"""Examples of every op: input types, attributes and ranges of values. The laws run over this table.

A type is text such as `f[b, 3]`: `f` is the float dtype that a law chooses, `b` the batch, 2 where it must be known.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from math import inf
from typing import Any

import numpy as np

from torchlean import ops
from torchlean.ir import Builder, DType, Graph, TensorType, f32, f64, parse_type, trace
from torchlean.ir.types import numpy_dtype

SIZES = {"b": 2}


@dataclass(frozen=True)
class Arg:
    """One input: floats are drawn from [lo, hi], ints from lo .. hi - 1."""

    type: str
    lo: float = -2.0
    hi: float = 2.0

    def of(self, dtype: DType) -> TensorType:
        text = f"{dtype}{self.type[1:]}" if self.type.startswith("f[") else self.type
        return parse_type(text)


@dataclass(frozen=True)
class Case:
    """One application of an op. `constant`: the inputs that hold weights."""

    op: str
    args: tuple[Arg, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    constant: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.op}({', '.join(a.type for a in self.args)}; {self.attrs})"

    def static_types(self, dtype: DType) -> tuple[TensorType, ...]:
        return tuple(a.of(dtype).substitute(SIZES) for a in self.args)

    def graph(self, dtype: DType, symbolic: bool = False) -> Graph:
        """The op on inputs x0, x1, ..., with outputs y or y0, y1, ..."""
        types = tuple(a.of(dtype) for a in self.args) if symbolic else self.static_types(dtype)
        names = [f"x{i}" for i in range(len(types))]

        def program(g: Builder, **inputs: Any) -> Any:
            return g.apply(self.op, *(inputs[n] for n in names), **self.attrs)

        return trace(ops.ALL, program, **dict(zip(names, types, strict=True)))

    def values(self, dtype: DType, seed: int = 0) -> dict[str, np.ndarray]:
        """One array per input."""
        rng = np.random.default_rng([seed, len(str(self))])
        found = {}
        for i, (arg, kind) in enumerate(zip(self.args, self.static_types(dtype), strict=True)):
            if kind.dtype.kind == "bool":
                array = rng.random(kind.sizes) < 0.5
            elif kind.dtype.kind == "int":
                array = rng.integers(int(arg.lo), int(arg.hi), kind.sizes).astype(kind.dtype.numpy)
            else:
                array = rng.uniform(arg.lo, arg.hi, kind.sizes).astype(numpy_dtype(kind.dtype.numpy))
            found[f"x{i}"] = np.asarray(array)
        return found

    @property
    def floats(self) -> list[int]:
        """The numbers of the float inputs."""
        return [i for i, a in enumerate(self.args) if a.of(f32).dtype.kind == "float"]


def F(shape: str, lo: float = -2.0, hi: float = 2.0) -> Arg:
    return Arg(f"f[{shape}]", lo, hi)


def _step(g: Builder, carry: Any, x: Any, w: Any) -> Any:
    new = g.add(g.mul(carry, w), x)
    return new, g.mul(new, 2.0)


@cache
def bodies(dtype: DType) -> dict[str, Graph]:
    """The subgraphs of the control ops' cases."""
    pair = {"a": dtype[2, 3], "b": dtype[2, 3]}
    return {
        "graph": trace(ops.ALL, lambda g, a, b: g.mul(g.add(a, b), b), **pair),
        "vjp": trace(
            ops.ALL,
            lambda g, a, b, y, dy: (g.mul(dy, b), g.mul(dy, g.add(a, g.mul(b, 2.0)))),
            **pair,
            y=dtype[2, 3],
            dy=dtype[2, 3],
        ),
        "body": trace(ops.ALL, _step, carry=dtype[2], x=dtype[2], w=dtype[2]),
    }


@dataclass(frozen=True)
class ControlCase(Case):
    """A case whose graph attributes depend on the float dtype; its batch is known."""

    names: tuple[str, ...] = ()

    def graph(self, dtype: DType, symbolic: bool = False) -> Graph:
        attrs = {**self.attrs, **{n: bodies(dtype)[n] for n in self.names}}
        return Case(self.op, self.args, attrs).graph(dtype, False)


def _conv(groups: int, stride: Any, padding: Any, dilation: Any) -> dict[str, Any]:
    return {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


ONE = _conv(1, (1,), ((0, 0),), (1,))
TWO = _conv(2, (2, 1), ((1, 0), (1, 2)), (1, 2))
THREE = _conv(1, (1, 2, 1), ((0, 0), (1, 1), (1, 0)), (1, 1, 1))
INT8 = {"lo": -128, "hi": 127}
POOL1 = {"kernel": (3,), "stride": (2,), "padding": ((1, 1),)}
POOL2 = {"kernel": (2, 3), "stride": (2, 1), "padding": ((0, 1), (1, 2))}

UNARY = (
    "neg", "square", "abs", "exp", "expm1", "tanh", "sigmoid", "erf", "sin", "cos", "relu", "softplus", "silu", "gelu",
    "gelu_tanh", "mish", "sign", "detach", "barrier",
)  # fmt: skip
BINARY = ("add", "sub", "mul", "maximum", "minimum", "less", "less_equal", "equal")
SHAPES = (("b, 3", "b, 3"), ("b, 3", ""), ("b, 3", "3"), ("b, 1, 3", "1, 4, 1"))

CASES: tuple[Case, ...] = (
    *(Case(op, (F(shape),)) for op in UNARY for shape in ("b, 3", "")),
    *(Case(op, (F(x), F(y))) for op in BINARY for x, y in SHAPES),
    Case("add", (Arg("i64[b, 3]", -9, 9), Arg("i64[3]", -9, 9))),
    *(Case("div", (F(x), F(y, 0.5, 3.0)), constant=(1,)) for x, y in SHAPES),
    Case("log", (F("b, 3", 0.1, 4.0),)),
    Case("log1p", (F("b, 3", 0.0, 4.0),)),
    Case("sqrt", (F("b, 3", 0.1, 4.0),)),
    Case("reciprocal", (F("b, 3", 0.5, 4.0),)),
    *(Case("power", (F("b, 3"),), {"exponent": n}) for n in (3.0, 6.0)),
    *(Case("power", (F("b, 3", 0.5, 2.0),), {"exponent": n}) for n in (2.5, 0.75, -1.5, -2.0, -3.0)),
    *(Case(op, (Arg("bool[b, 3]"), Arg("bool[3]"))) for op in ("logical_and", "logical_or")),
    Case("logical_not", (Arg("bool[b, 3]"),)),
    Case("where", (Arg("bool[b, 3]"), F("b, 3"), F("3"))),
    Case("where", (Arg("bool[3]"), F("b, 3"), F(""))),
    Case("cast", (F("b, 3"),), {"dtype": f32}),
    Case("cast", (F("b, 3"),), {"dtype": f64}),
    Case("cast", (F("b, 3"),), {"dtype": "i32"}),
    Case("cast", (Arg("i64[b, 3]", -9, 9),), {"dtype": "f32"}),
    Case("clip", (F("b, 3"),), {"lo": -0.5, "hi": 0.75}),
    Case("clip", (F("b, 3"),), {"lo": -inf, "hi": 0.75}),
    Case("clip", (F("b, 3"),), {"lo": 0.1, "hi": inf}),
    *(Case("floor", (F(shape, -4.0, 4.0),)) for shape in ("b, 3", "")),
    *(Case("round", (F(shape, -4.0, 4.0),)) for shape in ("b, 3", "")),
    Case("round_to", (F("b, 3"),), {"dtype": "bf16", "overflow": "ieee"}),
    Case("round_to", (F("b, 3"),), {"dtype": "f16", "overflow": "saturate"}),
    Case("round_to", (F("b, 3"),), {"dtype": "f8e4m3", "overflow": "saturate"}),
    Case("round_to", (F("b, 3"),), {"dtype": "f8e5m2", "overflow": "saturate"}),
    Case("quantize", (F("b, 3"), F("", 0.01, 0.2), Arg("i8[]", -9, 9)), {**INT8, "axis": None}, constant=(1, 2)),
    Case(
        "quantize",
        (F("b, 3", -9, 9), F("3", 0.01, 0.2), Arg("u8[3]", 99, 140)),
        {"lo": 0, "hi": 255, "axis": -1},
        constant=(1, 2),
    ),
    Case("quantize", (F("b, 3, 4"), F("3", 0.1, 0.2), Arg("i8[3]", -3, 3)), {**INT8, "axis": -2}, constant=(1, 2)),
    Case("quantize", (F(""), F("", 0.01, 0.2), Arg("i8[]", -9, 9)), {**INT8, "axis": None}, constant=(1, 2)),
    Case(
        "dequantize",
        (Arg("i8[b, 3]", -128, 128), F("", 0.01, 0.2), Arg("i8[]", -9, 9)),
        {"axis": None},
        constant=(1, 2),
    ),
    Case(
        "dequantize",
        (Arg("u8[b, 3, 4]", 0, 256), F("3", 0.01, 0.2), Arg("u8[3]", 99, 140)),
        {"axis": -2},
        constant=(1, 2),
    ),
    Case("leaky_relu", (F("b, 3"),), {"slope": 0.1}),
    Case("leaky_relu", (F("b, 3"),), {"slope": 0.0}),
    *(Case("elu", (F("b, 3"),), {"alpha": a}) for a in (0.5, 1.0, 1.75)),
    Case("matmul", (F("b, 4"), F("4, 3")), constant=(1,)),
    Case("matmul", (F("b, 2, 4"), F("b, 4, 3")), constant=(1,)),
    Case("matmul", (F("3, 4"), F("b, 4, 2")), constant=(1,)),
    Case("linear", (F("b, 4"), F("3, 4"), F("3")), constant=(1,)),
    Case("linear", (F("b, 2, 4"), F("3, 4")), constant=(1,)),
    Case("linear", (F("4"), F("3, 4"), F("3")), constant=(1,)),
    Case("conv", (F("b, 2, 5"), F("3, 2, 3"), F("3")), ONE, constant=(1,)),
    Case("conv", (F("b, 4, 6, 5"), F("2, 2, 3, 2"), F("2")), TWO, constant=(1,)),
    Case("conv", (F("b, 4, 6, 5"), F("2, 2, 3, 2")), TWO, constant=(1,)),
    Case("conv", (F("b, 2, 3, 4, 3"), F("2, 2, 2, 3, 2")), THREE, constant=(1,)),
    Case("conv_transpose", (F("b, 3, 3"), F("3, 2, 3")), {**ONE, "size": (5,)}, constant=(1,)),
    Case("conv_transpose", (F("b, 2, 3, 6"), F("2, 2, 3, 2")), {**TWO, "size": (6, 5)}, constant=(1,)),
    Case("conv_transpose", (F("b, 2, 2, 2, 3"), F("2, 2, 2, 3, 2")), {**THREE, "size": (3, 4, 3)}, constant=(1,)),
    Case("conv_weight_grad", (F("b, 2, 5"), F("b, 3, 3")), {**ONE, "kernel": (3,)}, constant=(1,)),
    Case("conv_weight_grad", (F("b, 4, 6, 5"), F("b, 2, 3, 6")), {**TWO, "kernel": (3, 2)}, constant=(1,)),
    Case("conv_weight_grad", (F("b, 2, 3, 4, 3"), F("b, 2, 2, 2, 3")), {**THREE, "kernel": (2, 3, 2)}, constant=(1,)),
    *(Case("avg_pool", (F("b, 2, 6"),), {**POOL1, "count_include_pad": flag}) for flag in (True, False)),
    *(Case("avg_pool", (F("b, 1, 4, 4"),), {**POOL2, "count_include_pad": flag}) for flag in (True, False)),
    *(
        Case("avg_pool_transpose", (F("b, 2, 3"),), {**POOL1, "count_include_pad": flag, "size": (6,)})
        for flag in (True, False)
    ),
    Case("avg_pool_transpose", (F("b, 1, 2, 5"),), {**POOL2, "count_include_pad": False, "size": (4, 4)}),
    Case("max_pool", (F("b, 2, 6"),), POOL1),
    Case("max_pool", (F("b, 1, 4, 4"),), POOL2),
    Case("sum", (F("b, 3, 4"),), {"axes": (-1,), "keepdims": False}),
    Case("sum", (F("b, 3, 4"),), {"axes": (0, 2), "keepdims": True}),
    Case("mean", (F("b, 3, 4"),), {"axes": (-2,), "keepdims": True}),
    Case("mean", (F("b, 3, 4"),), {"axes": (-3, -2, -1), "keepdims": False}),
    Case("max", (F("b, 3, 4"),), {"axes": (-2,), "keepdims": False}),
    Case("max", (F("b, 3, 4"),), {"axes": (-1, -2), "keepdims": True}),
    Case("min", (F("b, 3, 4"),), {"axes": (-2,), "keepdims": False}),
    Case("min", (F("b, 3, 4"),), {"axes": (-1, -2), "keepdims": True}),
    Case("argmax", (F("b, 3, 4"),), {"axis": -2}),
    Case("reshape", (F("b, 3, 4"),), {"shape": (-1, 12)}),
    Case("flatten", (F("b, 3, 4"),)),
    Case("permute", (F("b, 3, 4"),), {"axes": (-1, 0, 1)}),
    Case("broadcast", (F("3, 1"),), {"shape": (2, 3, 4)}),
    Case("slice", (F("b, 5, 6"),), {"starts": (1, 0), "stops": (4, 6), "steps": (1, 4)}),
    Case("slice", (F("b, 5"),), {"starts": (2,), "stops": (2,), "steps": (1,)}),
    Case("pad", (F("b, 2, 3"),), {"low": (1, 0), "high": (0, 2), "value": 0.0}),
    Case("concat", (F("b, 3"), F("b, 2"), F("b, 3")), {"axis": -1}),
    Case("concat", (F("2, 3"), F("1, 3")), {"axis": -2}),
    Case("gather", (F("b, 5"), Arg("i64[4]", 0, 5)), {"axis": -1}),
    Case("gather", (F("5, 3"), Arg("i32[b, 3]", 0, 5)), {"axis": -2}),
    Case("gather", (F("b, 5"), Arg("i64[]", 0, 5)), {"axis": -1}),
    Case("scatter_add", (F("b, 4, 3"), Arg("i64[4]", 0, 6)), {"axis": -2, "size": 6}),
    Case("one_hot", (Arg("i64[b, 3]", -4, 4),), {"depth": 4, "dtype": "f32"}),
    Case("one_hot", (Arg("i64[b]", 0, 9),), {"depth": 5, "dtype": "f32"}),
    Case("scatter_nd", (F("4, 3"), Arg("i64[1, 1]", 0, 4), F("1, 3"))),
    Case("scatter_nd", (F("1, 3, b"), Arg("i64[1, 2]", -1, 0), F("1, b"))),
    *(
        Case("resize_nearest", (F("b, 1, 3, 4"),), {"size": (6, 8), "mode": mode, "align": align})
        for mode, align in (
            ("floor", "asymmetric"),
            ("round_prefer_floor", "half_pixel"),
            ("round_prefer_ceil", "align_corners"),
        )
    ),
    *(
        Case("resize_linear", (F("b, 1, 3, 4"),), {"size": (6, 6), "align": align})
        for align in ("half_pixel", "align_corners")
    ),
    Case("resize_linear", (F("b, 1, 4"),), {"size": (2,), "align": "asymmetric"}),
    Case("layer_norm", (F("b, 4"), F("4"), F("4")), {"axis": -1, "epsilon": 1e-3}),
    Case("layer_norm", (F("b, 2, 3"), F("2, 3")), {"axis": -2, "epsilon": 1e-3}),
    Case("rms_norm", (F("b, 4"), F("4")), {"axis": -1, "epsilon": 1e-3}),
    Case("attention", (F("b, 2, 3"), F("b, 4, 3"), F("b, 4, 2")), {"scale": 0.5}),
    Case("attention", (F("b, 2, 2, 3"), F("b, 2, 4, 3"), F("b, 2, 4, 2"), F("2, 4")), {"scale": 0.5}),
    Case("softmax", (F("b, 3"),), {"axis": -1}),
    Case("softmax", (F("b, 3, 2"),), {"axis": -2}),
    Case("log_softmax", (F("b, 3"),), {"axis": -1}),
    Case(
        "batch_norm",
        (F("b, 3, 2"), F("3"), F("3"), F("3"), F("3", 0.5, 2.0)),
        {"epsilon": 1e-3},
        constant=(1, 4),
    ),
    Case("mse", (F("b, 3"), F("b, 3"))),
    Case("mae", (F("b, 3"), F("b, 3"))),
    Case("cross_entropy", (F("b, 4"), Arg("i64[b]", 0, 4))),
    ControlCase("call", (F("2, 3"), F("2, 3")), names=("graph",)),
    ControlCase("custom_vjp", (F("2, 3"), F("2, 3")), names=("graph", "vjp")),
    ControlCase("scan", (F("2"), F("3, 2"), F("2")), {"carries": 1, "sequences": 1, "length": 3}, names=("body",)),
)

# Sources take their values from outside: tests/ir and tests/run hold them.
WITHOUT_CASES = ("input", "parameter", "state", "constant", "size")
