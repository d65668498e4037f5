"""Reading ops that make or pass on values: constants, shapes, casts, and what inference leaves as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from torchlean.io.onnx.attributes import Need
from torchlean.io.onnx.dtypes import CODES, NAMES
from torchlean.io.onnx.known import Known
from torchlean.io.onnx.read_layout import shape_of
from torchlean.io.onnx.reader import Reader, Readers
from torchlean.ir import DTYPES, Tensor
from torchlean.ir.dims import numel

if TYPE_CHECKING:
    from torchlean.io.onnx.importer import Entry, Importer
    from torchlean_check.wire import Node

Attrs = dict[str, Any]


def same(imp: Importer, node: Node, attrs: Attrs) -> Entry:
    """The input itself."""
    return imp.entry(node.inputs[0])


def dropout(imp: Importer, node: Node, attrs: Attrs) -> Entry:
    """Inference: the input itself. A training flag that is not constant false is refused."""
    if len(node.inputs) == 3 and node.inputs[2] and any(imp.sizes(node.inputs[2])):
        raise imp.unsupported(
            "dropout in training mode is not read",
            "training_mode false",
            "true",
            "export the model for inference: model.eval()",
        )
    return imp.entry(node.inputs[0])


def constant(imp: Importer, node: Node, attrs: Attrs) -> Entry:
    """The tensor of the attribute."""
    given = {k: v for k, v in attrs.items() if v is not None}
    if len(given) != 1:
        raise imp.damaged(
            "a Constant needs one value", "value, value_int(s) or value_float(s)", ", ".join(given) or "none"
        )
    ((name, value),) = given.items()
    return imp.constant(value if name == "value" else np.array(value, np.float32 if "float" in name else np.int64))


def shape(imp: Importer, node: Node, attrs: Attrs) -> Known:
    """The sizes of the input, which may be symbolic."""
    sizes = shape_of(imp.entry(node.inputs[0]))
    return Known.of(sizes[attrs.get("start") or 0 : attrs.get("end")])


def size(imp: Importer, node: Node, attrs: Attrs) -> Known:
    """The number of entries."""
    return Known.of([numel(shape_of(imp.entry(node.inputs[0])))], ())


def constant_of_shape(imp: Importer, node: Node, attrs: Attrs) -> Entry:
    """One value, repeated."""
    sizes = imp.sizes(node.inputs[0])
    value = np.zeros(1, np.float32) if attrs["value"] is None else attrs["value"]
    if value.dtype.kind in "iub" and all(isinstance(s, int) for s in sizes):
        return Known.of(np.full(imp.ints(node.inputs[0]), value.reshape(-1)[0]))
    scalar = imp.builder.constant(value.reshape(()))
    return scalar if not sizes else imp.builder.apply("broadcast", scalar, shape=sizes)


def cast(imp: Importer, node: Node, attrs: Attrs) -> Entry:
    """Another dtype. Known integers stay known among integer dtypes."""
    to = NAMES.get(attrs["to"])
    if to is None:
        raise imp.unsupported(
            "a cast to a dtype that programs lack",
            ", ".join(CODES),
            f"data type {attrs['to']}",
            "cast to one of these",
        )
    entry = imp.entry(node.inputs[0])
    if isinstance(entry, Known) and to in ("i32", "i64"):
        return Known(entry.values, DTYPES[to].numpy)
    if isinstance(entry, Known) and not entry.static:
        return imp.sized(entry, DTYPES[to])
    result: Tensor = imp.builder.apply("cast", imp.tensor(node.inputs[0]), dtype=DTYPES[to])
    return result


_SHAPE_ONLY = "this op is read only where shapes are computed with it"


def shape_only(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
    """Refused: the op has a meaning here only over known integers."""
    raise imp.unsupported(
        _SHAPE_ONLY,
        "integers known when the model is read",
        "a tensor of the program",
        "rewrite the model without this op",
    )


_ONE_TWO = (1, 2)

READERS: Readers = {
    "Identity": (Reader(same),),
    "Dropout": (
        Reader(dropout, 7, 11, attributes={"ratio": 0.5}),
        Reader(dropout, 12, attributes={"seed": 0}, arity=(1, 3)),
    ),
    "Constant": (
        Reader(constant, 1, 11, attributes={"value": Need.TENSOR}, arity=(0, 0)),
        Reader(
            constant,
            12,
            attributes={
                "value": Need.TENSOR,
                "value_int": Need.OPTIONAL_INT,
                "value_ints": Need.INTS,
                "value_float": Need.FLOAT,
                "value_floats": Need.FLOATS,
            },
            arity=(0, 0),
        ),
    ),
    "Shape": (
        Reader(shape, 1, 14),
        Reader(shape, 15, attributes={"start": 0, "end": Need.OPTIONAL_INT}),
    ),
    "Size": (Reader(size),),
    "ConstantOfShape": (Reader(constant_of_shape, 9, attributes={"value": Need.TENSOR}),),
    "Cast": (
        Reader(cast, 6, 18, attributes={"to": Need.INT}),
        Reader(cast, 19, 23, attributes={"to": Need.INT, "saturate": 1}),
        Reader(cast, 24, attributes={"to": Need.INT, "saturate": 1, "round_mode": "up"}),
    ),
    "ReduceProd": (
        Reader(shape_only, 1, 17, attributes={"axes": Need.INTS, "keepdims": 1}),
        Reader(shape_only, 18, attributes={"keepdims": 1, "noop_with_empty_axes": 0}, arity=_ONE_TWO),
    ),
    "Range": (Reader(shape_only, 11, arity=(3, 3)),),
}
