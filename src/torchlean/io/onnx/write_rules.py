"""Writing ops whose ONNX form has attributes, further inputs or more than one node. The others need only their record.

A rule is (exporter, node, names of inputs, names of outputs) -> None, found by the op's exact name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from torchlean.errors import Unsupported
from torchlean.io.onnx.dtypes import CODES
from torchlean.ir import Node, Shape
from torchlean.ir.types import numpy_dtype
from torchlean.ops.quantize import CODES as CODE_RANGES

if TYPE_CHECKING:
    from torchlean.io.onnx.exporter import Exporter

Names = list[str]
Writer = Callable[["Exporter", Node, Names, Names], None]
Attrs = dict[str, Any]


def linear(ex: Exporter, node: Node, inputs: Names, outputs: Names) -> None:
    """Gemm where x is a matrix; else MatMul by the transposed weight, then Add."""
    if ex.type(node.inputs[0]).rank == 2:
        ex.emit("Gemm", inputs, outputs, transB=1)
        return
    x, weight, *bias = inputs
    turned = ex.emit("Transpose", [weight], [ex.fresh(f"{weight}_transposed")], perm=[1, 0])
    product = outputs if not bias else [ex.fresh(f"{outputs[0]}_product")]
    ex.emit("MatMul", [x, turned], product)
    if bias:
        ex.emit("Add", [product[0], bias[0]], outputs)


def reshape(ex: Exporter, node: Node, inputs: Names, outputs: Names) -> None:
    """The target as it is typed; allowzero only where an axis has size 0."""
    target = node.type.shape
    zero = {"allowzero": 1} if 0 in target else {}
    ex.emit("Reshape", [inputs[0], ex.shape(target, f"{outputs[0]}_shape", reshaping=True)], outputs, **zero)


def flatten(ex: Exporter, node: Node, inputs: Names, outputs: Names) -> None:
    ex.emit("Flatten", inputs, outputs, axis=1)


def permute(ex: Exporter, node: Node, inputs: Names, outputs: Names) -> None:
    axes = _attrs(node)["axes"]
    ex.emit("Transpose", inputs, outputs, perm=[a % len(axes) for a in axes])


def broadcast(ex: Exporter, node: Node, inputs: Names, outputs: Names) -> None:
    ex.emit("Expand", [inputs[0], ex.shape(node.type.shape, f"{outputs[0]}_shape")], outputs)


def reduction(op_type: str) -> Writer:
    """Axes as an input, counted from the end; no axes reduce nothing."""

    def write(ex: Exporter, node: Node, inputs: Names, outputs: Names) -> None:
        attrs = _attrs(node)
        axes = ex.integers(attrs["axes"], f"{outputs[0]}_axes")
        empty = {} if attrs["axes"] else {"noop_with_empty_axes": 1}
        ex.emit(op_type, [inputs[0], axes], outputs, keepdims=int(attrs["keepdims"]), **empty)

    return write


def argmax(ex: Exporter, node: Node, inputs: Names, outputs: Names) -> None:
    ex.emit("ArgMax", inputs, outputs, axis=_attrs(node)["axis"], keepdims=0)


def along(op_type: str) -> Writer:
    """An op with one attribute, the axis."""

    def write(ex: Exporter, node: Node, inputs: Names, outputs: Names) -> None:
        ex.emit(op_type, inputs, outputs, axis=_attrs(node)["axis"])

    return write


def _window(attrs: Attrs) -> Attrs:
    """The attributes that place windows, as ONNX spells them: all begins, then all ends."""
    found: Attrs = {
        "strides": attrs["stride"],
        "pads": [lo for lo, _ in attrs["padding"]] + [hi for _, hi in attrs["padding"]],
    }
    if "dilation" in attrs:
        found["dilations"] = attrs["dilation"]
    if "groups" in attrs:
        found["group"] = attrs["groups"]
    if "kernel" in attrs:
        found["kernel_shape"] = attrs["kernel"]
    return found


def conv(ex: Exporter, node: Node, inputs: Names, outputs: Names) -> None:
    kernel = ex.type(node.inputs[1]).sizes[2:]
    ex.emit("Conv", inputs, outputs, kernel_shape=kernel, **_window(_attrs(node)))


def conv_transpose(ex: Exporter, node: Node, inputs: Names, outputs: Names) -> None:
    """The size that strides leave open is said by output_padding."""
    attrs, kernel = _attrs(node), ex.type(node.inputs[1]).sizes[2:]
    extra = [
        size - ((n - 1) * s + d * (k - 1) + 1 - lo - hi)
        for size, n, s, d, k, (lo, hi) in zip(
            node.type.shape[2:], ex.type(node.inputs[0]).shape[2:], attrs["stride"], attrs["dilation"], kernel,
            attrs["padding"], strict=True,
        )
    ]  # fmt: skip
    if any(not isinstance(e, int) for e in extra):
        raise _unwritable("conv_transpose of an unknown size", node, "known spatial sizes")
    ex.emit("ConvTranspose", inputs, outputs, kernel_shape=kernel, output_padding=extra, **_window(attrs))


def _pooled(ex: Exporter, node: Node, inputs: Names, outputs: Names, op_type: str, **more: int) -> None:
    """Pooling; ONNX has exactly two axes before the pooled ones, so other ranks pass through a reshape."""
    attrs = _attrs(node)
    axes, x = len(attrs["kernel"]), ex.type(node.inputs[0])
    if x.rank == axes + 2:
        ex.emit(op_type, inputs, outputs, **_window(attrs), **more)
        return
    lead: Shape = (
        (*(1 for _ in range(axes + 2 - x.rank)), *x.shape[:-axes]) if x.rank < axes + 2 else (-1, x.shape[-axes - 1])
    )
    inside = ex.fresh(f"{outputs[0]}_in")
    ex.emit("Reshape", [inputs[0], ex.shape((*lead, *x.shape[-axes:]), f"{inside}_shape", reshaping=True)], [inside])
    pooled = ex.emit(op_type, [inside], [ex.fresh(f"{outputs[0]}_out")], **_window(attrs), **more)
    reshape(ex, node, [pooled], outputs)


def max_pool(ex: Exporter, node: Node, inputs: Names, outputs: Names) -> None:
    _pooled(ex, node, inputs, outputs, "MaxPool")


def avg_pool(ex: Exporter, node: Node, inputs: Names, outputs: Names) -> None:
    counted = int(_attrs(node)["count_include_pad"])
    _pooled(ex, node, inputs, outputs, "AveragePool", count_include_pad=counted)


def batch_norm(ex: Exporter, node: Node, inputs: Names, outputs: Names) -> None:
    ex.emit("BatchNormalization", inputs, outputs, epsilon=_float32(_attrs(node)["epsilon"], node))


def leaky_relu(ex: Exporter, node: Node, inputs: Names, outputs: Names) -> None:
    ex.emit("LeakyRelu", inputs, outputs, alpha=_float32(_attrs(node)["slope"], node))


def gelu(form: str) -> Writer:
    """Gelu by erf ("none") or by tanh."""

    def write(ex: Exporter, node: Node, inputs: Names, outputs: Names) -> None:
        ex.emit("Gelu", inputs, outputs, approximate=form)

    return write


def one_hot(ex: Exporter, node: Node, inputs: Names, outputs: Names) -> None:
    depth = ex.integers((_attrs(node)["depth"],), f"{outputs[0]}_depth")
    values = ex.array(np.array([0, 1], numpy_dtype(node.type.dtype.numpy)), node.type.dtype, f"{outputs[0]}_values")
    ex.emit("OneHot", [inputs[0], depth, values], outputs, axis=-1)


def resize(ex: Exporter, node: Node, inputs: Names, outputs: Names) -> None:
    attrs = _attrs(node)
    near = {"mode": "nearest", "nearest_mode": attrs["mode"]} if "mode" in attrs else {"mode": "linear"}
    axes, size = range(-len(attrs["size"]), 0), ex.integers(attrs["size"], f"{outputs[0]}_size")
    rank = node.type.rank
    ex.emit("Resize", [inputs[0], "", "", size], outputs, axes=[rank + a for a in axes],
            coordinate_transformation_mode=attrs["align"], **near)  # fmt: skip


def elu(ex: Exporter, node: Node, inputs: Names, outputs: Names) -> None:
    ex.emit("Elu", inputs, outputs, alpha=_float32(_attrs(node)["alpha"], node))


def power(ex: Exporter, node: Node, inputs: Names, outputs: Names) -> None:
    exponent = ex.scalar(_attrs(node)["exponent"], node.type.dtype, f"{outputs[0]}_exponent")
    ex.emit("Pow", [inputs[0], exponent], outputs)


def clip(ex: Exporter, node: Node, inputs: Names, outputs: Names) -> None:
    """Bounds as scalars; an infinite one is left out."""
    attrs, dtype = _attrs(node), node.type.dtype
    bounds = [
        ex.scalar(attrs[k], dtype, f"{outputs[0]}_{k}") if abs(attrs[k]) != float("inf") else "" for k in ("lo", "hi")
    ]
    ex.emit("Clip", [inputs[0], *bounds] if bounds[1] else [inputs[0], *filter(None, bounds)], outputs)


def cast(ex: Exporter, node: Node, inputs: Names, outputs: Names) -> None:
    ex.emit("Cast", inputs, outputs, to=CODES[node.type.dtype.name])


def quantize(ex: Exporter, node: Node, inputs: Names, outputs: Names) -> None:
    """QuantizeLinear clamps to the dtype's range; a narrower one, such as int4's, would take opset 21."""
    attrs = _attrs(node)
    if (attrs["lo"], attrs["hi"]) != CODE_RANGES[node.type.dtype.name]:
        raise _unwritable("quantize to a part of the dtype's range", node, f"the whole range of {node.type.dtype}")
    _codes("QuantizeLinear", ex, node, inputs, outputs)


def dequantize(ex: Exporter, node: Node, inputs: Names, outputs: Names) -> None:
    _codes("DequantizeLinear", ex, node, inputs, outputs)


def _codes(op_type: str, ex: Exporter, node: Node, inputs: Names, outputs: Names) -> None:
    axis, scale = _attrs(node)["axis"], ex.type(node.inputs[1])
    if scale.dtype.name != "f32":
        raise _unwritable(f"{op_type} of another float dtype", node, f"f32 scales, not {scale}")
    ex.emit(op_type, inputs, outputs, **({} if axis is None else {"axis": axis}))


def slice_(ex: Exporter, node: Node, inputs: Names, outputs: Names) -> None:
    """Only the axes that are cut; a stop at an unknown size is the largest int."""
    attrs = _attrs(node)
    count = len(attrs["starts"])
    stops = [s if isinstance(s, int) else np.iinfo(np.int64).max for s in attrs["stops"]]
    lists = (attrs["starts"], stops, tuple(range(-count, 0)), attrs["steps"])
    names = [
        ex.integers(v, f"{outputs[0]}_{n}") for v, n in zip(lists, ("starts", "ends", "axes", "steps"), strict=True)
    ]
    ex.emit("Slice", [inputs[0], *names], outputs)


def pad(ex: Exporter, node: Node, inputs: Names, outputs: Names) -> None:
    attrs, x = _attrs(node), ex.type(node.inputs[0])
    lead = (0,) * (x.rank - len(attrs["low"]))
    pads = ex.integers((*lead, *attrs["low"], *lead, *attrs["high"]), f"{outputs[0]}_pads")
    value = ex.scalar(attrs["value"], x.dtype, f"{outputs[0]}_value")
    ex.emit("Pad", [inputs[0], pads, value], outputs, mode="constant")


def size(ex: Exporter, node: Node, inputs: Names, outputs: Names) -> None:
    """A dimension as a value: the inputs' shapes, cast."""
    attrs = _attrs(node)
    vector = ex.size(attrs["of"])
    scalar = ex.emit("Reshape", [vector, ex.integers((), f"{outputs[0]}_scalar")], [ex.fresh(f"{outputs[0]}_int")])
    ex.emit("Cast", [scalar], outputs, to=CODES[node.type.dtype.name])


def _attrs(node: Node) -> Attrs:
    return dict(node.attributes)


def _float32(value: float, node: Node) -> float:
    """An attribute that ONNX stores in float32. Raises Unsupported where that changes the node's number."""
    dtype, stored = numpy_dtype(node.type.dtype.numpy), float(np.float32(value))
    if np.array(value).astype(dtype) != np.array(stored).astype(dtype):
        raise _unwritable("an attribute that ONNX keeps in float32 only", node, "a float32 number")
    return stored


def _unwritable(what: str, node: Node, expected: str) -> Unsupported:
    return Unsupported(what, where=f"{node.op}, {node.where}", expected=expected, got=str(node.attributes),
                       fix="specialise the program, or write it with other ops")  # fmt: skip


WRITERS: dict[str, Writer] = {
    "linear": linear,
    "reshape": reshape,
    "flatten": flatten,
    "permute": permute,
    "broadcast": broadcast,
    "sum": reduction("ReduceSum"),
    "mean": reduction("ReduceMean"),
    "max": reduction("ReduceMax"),
    "min": reduction("ReduceMin"),
    "argmax": argmax,
    "softmax": along("Softmax"),
    "log_softmax": along("LogSoftmax"),
    "concat": along("Concat"),
    "gather": along("Gather"),
    "conv": conv,
    "conv_transpose": conv_transpose,
    "max_pool": max_pool,
    "avg_pool": avg_pool,
    "batch_norm": batch_norm,
    "leaky_relu": leaky_relu,
    "one_hot": one_hot,
    "resize_nearest": resize,
    "resize_linear": resize,
    "elu": elu,
    "gelu": gelu("none"),
    "gelu_tanh": gelu("tanh"),
    "power": power,
    "clip": clip,
    "cast": cast,
    "quantize": quantize,
    "dequantize": dequantize,
    "slice": slice_,
    "pad": pad,
    "size": size,
}
