"""Reading convolution, pooling and batch normalization."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from torchlean.io.onnx.attributes import Need
from torchlean.io.onnx.reader import Reader, Readers
from torchlean.ir import Tensor

if TYPE_CHECKING:
    from torchlean.io.onnx.importer import Importer
    from torchlean_check.wire import Node

Attrs = dict[str, Any]
Ints = tuple[int, ...]


def spatial(
    imp: Importer, attrs: Attrs, kernel: tuple[int, ...], rank: int
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """(strides, dilations, pads) of a window op; pads are all begins, then all ends.

    Raises   Unsupported for auto_pad that is not explicit; ShapeError when lengths do not fit.
    """
    if attrs["auto_pad"] == "VALID" and attrs["pads"] is None:
        attrs = {**attrs, "auto_pad": "NOTSET"}
    if attrs["auto_pad"] != "NOTSET":
        raise imp.unsupported(
            "automatic padding is not read",
            "auto_pad NOTSET or VALID, and explicit pads",
            f"auto_pad {attrs['auto_pad']}",
            "export the model with explicit padding",
        )
    strides = attrs["strides"] or (1,) * rank
    dilations = attrs["dilations"] or (1,) * rank
    pads = attrs["pads"] or (0,) * (2 * rank)
    if (len(strides), len(dilations), len(pads), len(kernel)) != (rank, rank, 2 * rank, rank) or min(
        *strides, *dilations
    ) < 1:
        raise imp.misfit(
            "the window's attributes do not fit the input",
            f"{rank} spatial axes, positive steps",
            f"kernel {kernel}, strides {strides}, dilations {dilations}, pads {pads}",
        )
    if min(pads) < 0:
        raise imp.unsupported(
            "negative padding is not read", "pads >= 0", str(pads), "slice the input before this node"
        )
    return strides, dilations, pads


def explicit_pads(imp: Importer, x: Tensor, pads: Ints, value: float = 0.0) -> tuple[Tensor, tuple[int, ...]]:
    """(x, one padding per spatial axis). Where begin and end differ, `value` is added by a `pad` node."""
    rank = len(pads) // 2
    begins, ends = pads[:rank], pads[rank:]
    if begins == ends:
        return x, begins
    return pad_zero(imp, x, ((0, 0), (0, 0), *zip(begins, ends, strict=True)), value), (0,) * rank


def pad_zero(imp: Importer, x: Tensor, pads: tuple[tuple[int, int], ...], value: float = 0.0) -> Tensor:
    """x with `value` around it; pads are (before, after) for each axis."""
    result: Tensor = imp.builder.apply("pad", x, pads=pads, value=value)
    return result


def conv(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
    """Convolution with explicit padding."""
    x, *rest = (imp.tensor(n) for n in node.inputs)
    kernel = rest[0].type.sizes[2:]
    if attrs["kernel_shape"] is not None and attrs["kernel_shape"] != kernel:
        raise imp.misfit("Conv: kernel_shape is not the weight's", str(kernel), str(attrs["kernel_shape"]))
    strides, dilations, pads = spatial(imp, attrs, kernel, x.type.rank - 2)
    x, padding = explicit_pads(imp, x, pads)
    result: Tensor = imp.builder.apply(
        "conv", x, *rest, stride=strides, padding=padding, dilation=dilations, groups=attrs["group"]
    )
    return result


def _pool_pads(imp: Importer, attrs: Attrs, rank: int) -> tuple[Ints, Ints, Ints]:
    """(kernel, strides, pads, the same on both sides) of a pooling op."""
    kernel = attrs["kernel_shape"]
    if kernel is None:
        raise imp.damaged("kernel_shape is missing", "a list of ints", "nothing")
    strides, dilations, pads = spatial(imp, {"dilations": None, **attrs}, kernel, rank)
    if attrs.get("ceil_mode") or any(d != 1 for d in dilations):
        raise imp.unsupported(
            "pooling with ceil_mode or dilations is not read",
            "ceil_mode 0, dilations 1",
            f"ceil_mode {attrs.get('ceil_mode', 0)}, dilations {dilations}",
            "pad the input explicitly, and pool without them",
        )
    return kernel, strides, pads


def max_pool(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
    """The largest entry of each window; padding never wins."""
    x = imp.tensor(node.inputs[0])
    kernel, strides, pads = _pool_pads(imp, attrs, x.type.rank - 2)
    if attrs.get("storage_order"):
        raise imp.unsupported("pooling in column-major order is not read", "storage_order 0", "1")
    x, padding = explicit_pads(imp, x, pads, -np.inf)
    result: Tensor = imp.builder.apply("max_pool", x, kernel=kernel, stride=strides, padding=padding)
    return result


def avg_pool(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
    """The mean of each window. With padding, only the form that counts the padded zeros is read."""
    x = imp.tensor(node.inputs[0])
    kernel, strides, pads = _pool_pads(imp, attrs, x.type.rank - 2)
    if any(pads) and not attrs["count_include_pad"]:
        raise imp.unsupported(
            "average pooling that leaves padding out of the count is not read",
            "no padding, or count_include_pad 1",
            f"pads {pads}, count_include_pad 0",
            "pad the input explicitly, or export with count_include_pad",
        )
    x, padding = explicit_pads(imp, x, pads)
    result: Tensor = imp.builder.apply("avg_pool", x, kernel=kernel, stride=strides, padding=padding)
    return result


def global_pool(kind: str) -> Any:
    """The reader of a reduction over all spatial axes, kept as 1."""

    def read(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
        x = imp.tensor(node.inputs[0])
        result: Tensor = imp.builder.apply(kind, x, axes=tuple(range(2 - x.type.rank, 0)), keepdims=True)
        return result

    return read


def batch_norm(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
    """Inference: scale (x - mean) / sqrt(variance + epsilon) + bias, with the stored statistics."""
    if attrs.get("training_mode"):
        raise imp.unsupported(
            "batch normalization in training mode is not read",
            "training_mode 0",
            "1",
            "export the model for inference: model.eval()",
        )
    if attrs.get("spatial", 1) != 1:
        raise imp.unsupported(
            "batch normalization per entry is not read",
            "spatial 1",
            "spatial 0",
            "export the model again with opset 9 or newer",
        )
    epsilon = float(np.float32(attrs["epsilon"]))
    result: Tensor = imp.builder.apply("batch_norm", *(imp.tensor(n) for n in node.inputs), epsilon=epsilon)
    return result


_PLACE = {"auto_pad": "NOTSET", "pads": Need.INTS, "strides": Need.INTS}
_CONV = {**_PLACE, "dilations": Need.INTS, "kernel_shape": Need.INTS, "group": 1}
_POOL = {**_PLACE, "kernel_shape": Need.INTS, "ceil_mode": 0}
_NORM = {"epsilon": 1e-5, "momentum": 0.9}

READERS: Readers = {
    "Conv": (Reader(conv, attributes=_CONV, arity=(2, 3)),),
    "MaxPool": (
        Reader(max_pool, 8, 9, attributes={**_PLACE, "kernel_shape": Need.INTS, "storage_order": 0}),
        Reader(max_pool, 10, attributes={**_POOL, "storage_order": 0, "dilations": Need.INTS}),
    ),
    "AveragePool": (
        Reader(avg_pool, 7, 9, attributes={**_PLACE, "kernel_shape": Need.INTS, "count_include_pad": 0}),
        Reader(avg_pool, 10, 18, attributes={**_POOL, "count_include_pad": 0}),
        Reader(avg_pool, 19, attributes={**_POOL, "count_include_pad": 0, "dilations": Need.INTS}),
    ),
    "GlobalAveragePool": (Reader(global_pool("mean")),),
    "GlobalMaxPool": (Reader(global_pool("max")),),
    "BatchNormalization": (
        Reader(batch_norm, 7, 8, attributes={**_NORM, "spatial": 1}, arity=(5, 5)),
        Reader(batch_norm, 9, 13, attributes=_NORM, arity=(5, 5)),
        Reader(batch_norm, 14, attributes={**_NORM, "training_mode": 0}, arity=(5, 5)),
    ),
}
