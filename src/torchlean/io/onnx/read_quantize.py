"""Reading QuantizeLinear and DequantizeLinear: 8-bit codes, one scale or one per index of an axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from torchlean.io.onnx.reader import Reader, Readers
from torchlean.ir import Tensor
from torchlean.ops.quantize import CODES

if TYPE_CHECKING:
    from torchlean.io.onnx.importer import Importer
    from torchlean_check.wire import Node

Attrs = dict[str, Any]


def _operands(
    imp: Importer, node: Node, attrs: Attrs, zero: np.dtype[Any]
) -> tuple[Tensor, Tensor, Tensor, int | None]:
    """x, scale, zero point (zeros of the dtype `zero` where absent), and the axis: None for one scale."""
    for name in ("block_size", "output_dtype", "precision"):
        if attrs.get(name):
            raise imp.unsupported(f"{name} is not read", f"no {name}", f"{name}={attrs[name]}", "export at opset 19")
    x, scale = imp.tensor(node.inputs[0]), imp.tensor(node.inputs[1])
    if len(node.inputs) == 3:
        zero_point = imp.tensor(node.inputs[2])
    else:
        zero_point = imp.builder.constant(np.zeros(scale.type.sizes, zero))
    if zero_point.dtype.name not in CODES or (x.dtype.kind == "int" and x.dtype.name not in CODES):
        raise imp.unsupported("codes of this dtype are not read", " or ".join(CODES), f"{x.type}, {zero_point.type}")
    if scale.type.rank == 1 and scale.shape == (1,):
        return x, scale.reshape(()), zero_point.reshape(()), None
    if scale.type.rank == 0:
        return x, scale, zero_point, None
    axis, rank = attrs.get("axis", 1), x.type.rank
    if scale.type.rank != 1 or not -rank <= axis < rank:
        raise imp.misfit("the scales do not fit", f"one scale, or one for each index of an axis of {x.type}",
                         f"{scale.type}, axis {axis}")  # fmt: skip
    return x, scale, zero_point, axis if axis < 0 else axis - rank


def quantize(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
    """The whole range of the zero point's dtype; uint8 where there is no zero point."""
    x, scale, zero_point, axis = _operands(imp, node, attrs, np.dtype(np.uint8))
    lo, hi = CODES[zero_point.dtype.name]
    result: Tensor = imp.builder.apply("quantize", x, scale, zero_point, lo=lo, hi=hi, axis=axis)
    return result


def dequantize(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
    codes = imp.tensor(node.inputs[0])
    x, scale, zero_point, axis = _operands(imp, node, attrs, np.dtype(codes.dtype.numpy))
    result: Tensor = imp.builder.apply("dequantize", x, scale, zero_point, axis=axis)
    return result


_AXIS, _BLOCK = {"axis": 1}, {"axis": 1, "block_size": 0}
_TWO_THREE = (2, 3)

READERS: Readers = {
    "QuantizeLinear": (
        Reader(quantize, 10, 12, arity=_TWO_THREE),
        Reader(quantize, 13, 18, attributes=_AXIS, arity=_TWO_THREE),
        Reader(quantize, 19, 20, attributes={**_AXIS, "saturate": 1}, arity=_TWO_THREE),
        Reader(quantize, 21, 22, attributes={**_BLOCK, "saturate": 1, "output_dtype": 0}, arity=_TWO_THREE),
        Reader(quantize, 23, attributes={**_BLOCK, "saturate": 1, "output_dtype": 0, "precision": 0},
               arity=_TWO_THREE),
    ),
    "DequantizeLinear": (
        Reader(dequantize, 10, 12, arity=_TWO_THREE),
        Reader(dequantize, 13, 20, attributes=_AXIS, arity=_TWO_THREE),
        Reader(dequantize, 21, 22, attributes=_BLOCK, arity=_TWO_THREE),
        Reader(dequantize, 23, attributes={**_BLOCK, "output_dtype": 0}, arity=_TWO_THREE),
    ),
}  # fmt: skip
