"""Reading reductions, softmax, and elementwise ops whose ONNX form has attributes or any number of inputs."""

from __future__ import annotations

from functools import reduce
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np

from torchlean.io.onnx.attributes import Need
from torchlean.io.onnx.read_linear import aligned, elementwise
from torchlean.io.onnx.reader import Reader, Readers
from torchlean.ir import Tensor
from torchlean.ir.dims import numel
from torchlean.ops.powers import LARGEST

if TYPE_CHECKING:
    from torchlean.io.onnx.importer import Importer
    from torchlean_check.wire import Node

Attrs = dict[str, Any]


def reduction(op: str) -> Any:
    """The reader of a reduction; axes from the attribute or the second input, by default all."""

    def read(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
        x = imp.tensor(node.inputs[0])
        axes = attrs.get("axes")
        if len(node.inputs) > 1:
            axes = imp.ints(node.inputs[1])
        if not axes:
            if attrs.get("noop_with_empty_axes"):
                return x
            axes = tuple(range(x.type.rank))
        rank = x.type.rank
        if any(not -rank <= a < rank for a in axes) or len({a % rank for a in axes}) != len(axes):
            raise imp.misfit("no such axes", f"distinct axes from {-rank} to {rank - 1}", str(axes))
        negative = tuple(sorted(a % rank - rank for a in axes))
        result: Tensor = imp.builder.apply(op, x, axes=negative, keepdims=bool(attrs["keepdims"]))
        return result

    return read


def argmax(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
    """The position of the first maximum."""
    x = imp.tensor(node.inputs[0])
    rank, axis = x.type.rank, attrs["axis"]
    if not -rank <= axis < rank:
        raise imp.misfit("no such axis", f"an axis from {-rank} to {rank - 1}", str(axis))
    if attrs.get("select_last_index"):
        raise imp.unsupported("the last maximum is not read", "select_last_index 0", "select_last_index 1")
    at = axis % rank
    y: Tensor = imp.builder.apply("argmax", x, axis=at - rank)
    return y.reshape((*x.shape[:at], 1, *x.shape[at + 1 :])) if attrs["keepdims"] else y


def softmax(op: str, coerced: bool) -> Any:
    """The reader of softmax along one axis. `coerced`: before opset 13 the axis and all after it are one."""

    def read(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
        x = imp.tensor(node.inputs[0])
        rank, axis = x.type.rank, attrs["axis"]
        if not -rank <= axis < rank:
            raise imp.misfit("no such axis", f"an axis from {-rank} to {rank - 1}", str(axis))
        axis %= rank
        if coerced and axis != rank - 1:
            rows = x.reshape((*x.shape[:axis], numel(x.shape[axis:])))
            return imp.builder.apply(op, rows, axis=-1).reshape(x.shape)
        return imp.builder.apply(op, x, axis=axis - rank)

    return read


def folded(op: str) -> Any:
    """The reader of an op of two inputs here that takes any number in ONNX: from left to right."""

    def read(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
        def step(x: Tensor, y: Tensor) -> Tensor:
            result: Tensor = imp.builder.apply(op, *aligned((x, y)))
            return result

        return reduce(step, (imp.tensor(n) for n in node.inputs))

    return read


def swapped(op: str) -> Any:
    """The reader of a comparison that is ours with its sides exchanged."""

    def read(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
        x, y = aligned((imp.tensor(node.inputs[0]), imp.tensor(node.inputs[1])))
        result: Tensor = imp.builder.apply(op, y, x)
        return result

    return read


def clip(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
    """Bounds that are known now; a missing one is infinite."""
    x = imp.tensor(node.inputs[0])
    if "min" in attrs:
        lo, hi = attrs["min"], attrs["max"]
    else:
        given = [imp.number(n) if n else None for n in node.inputs[1:]] + [None, None]
        lo, hi = (-inf if given[0] is None else given[0]), (inf if given[1] is None else given[1])
    result: Tensor = imp.builder.apply("clip", x, lo=lo, hi=hi)
    return result


def leaky_relu(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
    """x where x >= 0, else alpha x; the larger of both, since alpha lies between 0 and 1."""
    if not 0.0 <= attrs["alpha"] <= 1.0:
        raise imp.unsupported("this slope is not read", "alpha from 0 to 1", str(attrs["alpha"]), "use Where")
    result: Tensor = imp.builder.apply("leaky_relu", imp.tensor(node.inputs[0]), slope=_f32(attrs["alpha"]))
    return result


def power(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
    """A constant exponent; those of simpler ops become these."""
    x, y = imp.tensor(node.inputs[0]), imp.number(node.inputs[1])
    g = imp.builder
    if y == 0 or abs(y) > LARGEST:
        raise imp.unsupported(
            "this exponent is not read", f"0 < |exponent| <= {LARGEST}", str(y), "write the power with Exp and Log"
        )
    if y in (1.0, -1.0):
        return x if y == 1.0 else g.apply("reciprocal", x)
    if y in (0.5, -0.5):
        root = g.apply("sqrt", x)
        return root if y == 0.5 else g.apply("reciprocal", root)
    return g.apply("square", x) if y == 2.0 else g.apply("power", x, exponent=y)


def gelu(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
    """By erf, or by tanh."""
    form = {"none": "gelu", "tanh": "gelu_tanh"}.get(attrs["approximate"])
    if form is None:
        raise imp.unsupported("no such approximation of gelu", "none or tanh", attrs["approximate"])
    result: Tensor = imp.builder.apply(form, imp.tensor(node.inputs[0]))
    return result


def elu(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
    """x above 0, alpha (e^x - 1) below; Selu is gamma times it."""
    if attrs["alpha"] < 0:
        raise imp.unsupported("this alpha is not read", "alpha >= 0", str(attrs["alpha"]), "use Where")
    y: Tensor = imp.builder.apply("elu", imp.tensor(node.inputs[0]), alpha=_f32(attrs["alpha"]))
    return y * _f32(attrs["gamma"]) if "gamma" in attrs else y


def hard_sigmoid(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
    """alpha x + beta, clipped to [0, 1]; HardSwish is x times that of x / 6 + 1/2."""
    x = imp.tensor(node.inputs[0])
    gate: Tensor = imp.builder.apply("clip", x * _f32(attrs["alpha"]) + _f32(attrs["beta"]), lo=0.0, hi=1.0)
    return gate


def hard_swish(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
    return imp.tensor(node.inputs[0]) * hard_sigmoid(imp, node, {"alpha": 1 / 6, "beta": 0.5})


def swish(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
    """x sigmoid(alpha x)."""
    x, alpha = imp.tensor(node.inputs[0]), _f32(attrs["alpha"])
    return imp.builder.apply("silu", x) if alpha == 1.0 else x * imp.builder.apply("sigmoid", x * alpha)


def _f32(value: float) -> float:
    return float(np.float32(value))


_MANY = (1, 1 << 16)
_OLD = {"axes": Need.INTS, "keepdims": 1}
_NEW = {"keepdims": 1, "noop_with_empty_axes": 0}
F32_MAX = float(np.finfo(np.float32).max)


def _reduce(op: str, moved: int) -> tuple[Reader, Reader]:
    """A reduction whose axes became an input at opset `moved`."""
    read = reduction(op)
    return Reader(read, 1, moved - 1, attributes=_OLD), Reader(read, moved, attributes=_NEW, arity=(1, 2))


READERS: Readers = {
    "ReduceSum": _reduce("sum", 13),
    "ReduceMean": _reduce("mean", 18),
    "ReduceMax": _reduce("max", 18),
    "ReduceMin": _reduce("min", 18),
    "ArgMax": (
        Reader(argmax, 1, 11, attributes={"axis": 0, "keepdims": 1}),
        Reader(argmax, 12, attributes={"axis": 0, "keepdims": 1, "select_last_index": 0}),
    ),
    "Softmax": (
        Reader(softmax("softmax", True), 1, 12, attributes={"axis": 1}),
        Reader(softmax("softmax", False), 13, attributes={"axis": -1}),
    ),
    "LogSoftmax": (
        Reader(softmax("log_softmax", True), 1, 12, attributes={"axis": 1}),
        Reader(softmax("log_softmax", False), 13, attributes={"axis": -1}),
    ),
    "Max": (Reader(folded("maximum"), 8, arity=_MANY),),
    "Min": (Reader(folded("minimum"), 8, arity=_MANY),),
    "Sum": (Reader(folded("add"), 8, arity=_MANY),),
    "Greater": (Reader(swapped("less"), 9, arity=(2, 2)),),
    "GreaterOrEqual": (Reader(swapped("less_equal"), 12, arity=(2, 2)),),
    "Clip": (
        Reader(clip, 6, 10, attributes={"min": -F32_MAX, "max": F32_MAX}),
        Reader(clip, 11, arity=(1, 3)),
    ),
    "LeakyRelu": (Reader(leaky_relu, 6, attributes={"alpha": 0.01}),),
    "Pow": (Reader(power, 7, arity=(2, 2)),),
    "Gelu": (Reader(gelu, 20, attributes={"approximate": "none"}),),
    "Elu": (Reader(elu, 6, attributes={"alpha": 1.0}),),
    "Selu": (Reader(elu, 6, attributes={"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875}),),
    "HardSigmoid": (Reader(hard_sigmoid, 6, attributes={"alpha": 0.2, "beta": 0.5}),),
    "HardSwish": (Reader(hard_swish, 14),),
    "Mish": (Reader(elementwise("mish"), 18),),
    "Swish": (Reader(swish, 24, attributes={"alpha": 1.0}),),
}
