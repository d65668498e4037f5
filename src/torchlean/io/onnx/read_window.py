"""Reading convolution, pooling and batch normalization."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from torchlean.io.onnx.attributes import Need
from torchlean.io.onnx.reader import Reader, Readers
from torchlean.ir import Shape, Tensor

if TYPE_CHECKING:
    from torchlean.io.onnx.importer import Importer
    from torchlean_check.wire import Node

Attrs = dict[str, Any]
Ints = tuple[int, ...]


def window(imp: Importer, attrs: Attrs, kernel: Ints, sizes: Shape) -> dict[str, Any]:
    """stride, dilation and padding, (low, high) per spatial axis, of an op whose windows slide over `sizes`.

    Raises   Unsupported for negative padding or automatic padding of an axis of unknown size; ShapeError when lists do
             not fit.
    """
    rank = len(sizes)
    strides = attrs["strides"] or (1,) * rank
    dilations = attrs.get("dilations") or (1,) * rank
    pads = attrs["pads"] or (0,) * (2 * rank)
    fits = (len(strides), len(dilations), len(pads), len(kernel)) == (rank, rank, 2 * rank, rank)
    if not fits or min(*strides, *dilations, *kernel) < 1:
        raise imp.misfit(
            "the window's attributes do not fit the input",
            f"{rank} spatial axes, positive steps",
            f"kernel {kernel}, strides {strides}, dilations {dilations}, pads {pads}",
        )
    if min(pads) < 0:
        raise imp.unsupported("negative padding is not read", "pads >= 0", str(pads), "slice before this node")
    padding = tuple(zip(pads[:rank], pads[rank:], strict=True))
    if attrs["auto_pad"] == "VALID":
        padding = ((0, 0),) * rank
    elif attrs["auto_pad"] in ("SAME_UPPER", "SAME_LOWER"):
        reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True))
        padding = _same(imp, attrs["auto_pad"], sizes, reach, strides)
    elif attrs["auto_pad"] != "NOTSET":
        raise imp.damaged("no such padding", "NOTSET, VALID, SAME_UPPER, SAME_LOWER", attrs["auto_pad"])
    return {"stride": strides, "dilation": dilations, "padding": padding}


def _same(imp: Importer, kind: str, sizes: Shape, reach: Ints, strides: Ints) -> tuple[tuple[int, int], ...]:
    """The padding that gives ceil(size / stride) windows; an odd entry goes to the named side."""
    padding = []
    for n, k, s in zip(sizes, reach, strides, strict=True):
        if not isinstance(n, int):
            raise imp.unsupported(
                "automatic padding needs known sizes", "spatial axes of known size", str(n), "export with explicit pads"
            )
        total = max((-(-n // s) - 1) * s + k - n, 0)
        small, large = total // 2, total - total // 2
        padding.append((small, large) if kind == "SAME_UPPER" else (large, small))
    return tuple(padding)


def conv(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
    """Convolution."""
    x, w, *bias = (imp.tensor(n) for n in node.inputs)
    place = window(imp, attrs, _kernel(imp, attrs, w), x.shape[2:])
    result: Tensor = imp.builder.apply("conv", x, w, *bias, **place, groups=attrs["group"])
    return result


def conv_transpose(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
    """The transpose of convolution, the bias added last."""
    x, w = (imp.tensor(n) for n in node.inputs[:2])
    if attrs["output_shape"] is not None or attrs["auto_pad"] not in ("NOTSET", "VALID"):
        raise imp.unsupported("automatic padding is not read here", "pads", "output_shape or auto_pad")
    kernel = _kernel(imp, attrs, w)
    place = window(imp, attrs, kernel, x.shape[2:])
    extra = attrs["output_padding"] or (0,) * len(kernel)
    size = tuple(
        (n - 1) * s + d * (k - 1) + 1 - lo - hi + e
        for n, s, d, k, (lo, hi), e in zip(
            x.shape[2:], place["stride"], place["dilation"], kernel, place["padding"], extra, strict=True
        )
    )
    y: Tensor = imp.builder.apply("conv_transpose", x, w, **place, groups=attrs["group"], size=size)
    if len(node.inputs) == 2 or not node.inputs[2]:
        return y
    bias = imp.tensor(node.inputs[2])
    return y + bias.reshape((1, *bias.shape, *(1 for _ in kernel)))


def _kernel(imp: Importer, attrs: Attrs, weight: Tensor) -> Ints:
    """The weight's spatial sizes, which kernel_shape repeats."""
    kernel = weight.type.sizes[2:]
    if attrs["kernel_shape"] not in (None, kernel):
        raise imp.misfit("kernel_shape is not the weight's", str(kernel), str(attrs["kernel_shape"]))
    return kernel


def _pool(imp: Importer, attrs: Attrs, x: Tensor) -> dict[str, Any]:
    """kernel, stride and padding of a pooling op; ceil_mode is accepted where it changes nothing."""
    kernel = attrs["kernel_shape"]
    if kernel is None:
        raise imp.damaged("kernel_shape is missing", "a list of ints", "nothing")
    place = window(imp, attrs, kernel, x.shape[2:])
    if any(d != 1 for d in place.pop("dilation")):
        raise imp.unsupported("pooling with dilations is not read", "dilations 1", str(attrs["dilations"]))
    if attrs.get("ceil_mode"):
        rests = [
            (n + lo + hi - k) % s if isinstance(n, int) else 1
            for n, k, s, (lo, hi) in zip(x.shape[2:], kernel, place["stride"], place["padding"], strict=True)
        ]
        if any(rests):
            raise imp.unsupported(
                "pooling with windows beyond the padding is not read", "ceil_mode 0", "ceil_mode 1", "pad explicitly"
            )
    return {"kernel": kernel, **place}


def max_pool(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
    """The largest entry of each window; padding never wins."""
    x = imp.tensor(node.inputs[0])
    if attrs["storage_order"]:
        raise imp.unsupported("column-major pooling is not read", "storage_order 0", "storage_order 1")
    result: Tensor = imp.builder.apply("max_pool", x, **_pool(imp, attrs, x))
    return result


def avg_pool(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
    """The mean of each window."""
    x, counted = imp.tensor(node.inputs[0]), bool(attrs["count_include_pad"])
    result: Tensor = imp.builder.apply("avg_pool", x, **_pool(imp, attrs, x), count_include_pad=counted)
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
    "ConvTranspose": (
        Reader(
            conv_transpose, attributes={**_CONV, "output_padding": Need.INTS, "output_shape": Need.INTS}, arity=(2, 3)
        ),
    ),
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
