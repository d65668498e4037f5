"""The bytes of an ONNX ModelProto as plain records: protobuf's wire format, strict and bounded.

Everything that two protobuf readers could see differently is refused: unknown fields, a repeated singular field, a
wrong wire type, a length past the end. Meaning (ops, shapes) is the caller's. Source  protobuf.dev/programming-
guides/encoding; onnx.proto3 (field numbers).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from torchlean_check.errors import CheckError, UnsupportedError
from torchlean_check.frozen import frozen
from torchlean_check.gzipped import MAX_BYTES, Bytes

Array = npt.NDArray[Any]
DTYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
}


@frozen
class Node:
    """Attribute values: int, float, bytes, Array, Graph, or a tuple of ints, floats or bytes."""

    op_type: str
    name: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]


@frozen
class Value:
    """A graph input or output. A dimension is an int, a symbol's name, or None where the file says nothing."""

    name: str
    dtype: str | None
    shape: tuple[int | str | None, ...] | None


@frozen
class Graph:
    name: str
    nodes: tuple[Node, ...]
    initializers: dict[str, Array]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]


@frozen
class Model:
    ir_version: int
    producer: str
    opsets: dict[str, int]
    graph: Graph


def refuse(what: str, *, at: str, expected: str, got: str, fix: str = "export the model again") -> CheckError:
    return CheckError(what, where=f"ONNX model, {at}", expected=expected, got=got, fix=fix)


def unsupported(what: str, *, at: str, expected: str, got: str, fix: str = "export the model without it") -> CheckError:
    return UnsupportedError(what, where=f"ONNX model, {at}", expected=expected, got=got, fix=fix)


Field = tuple[int, int, Any, int]  # number, wire type, value (int, or a memoryview), offset


def _varint(data: memoryview, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= end or shift > 63:
            raise refuse(
                "a number is cut off or too long", at=f"byte {at}", expected="a varint of at most 10 bytes", got="none"
            )
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & (1 << 64) - 1, at
        shift += 7


def _fields(data: memoryview, what: str) -> Iterator[Field]:
    at, end = 0, len(data)
    while at < end:
        start = at
        key, at = _varint(data, at, end)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(data, at, end)
            yield number, kind, value, start
            continue
        if kind == 2:
            size, at = _varint(data, at, end)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise refuse(
                f"{what}: unknown wire type", at=f"{what}, byte {start}", expected="0, 1, 2 or 5", got=str(kind)
            )
        if size > end - at:
            raise refuse(
                f"{what} is truncated", at=f"{what}, byte {start}", expected=f"{size} more bytes", got=f"{end - at}"
            )
        yield number, kind, data[at : at + size], start
        at += size


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _text(data: memoryview, what: str) -> str:
    try:
        return bytes(data).decode()
    except UnicodeDecodeError:
        raise refuse(f"{what} is not UTF-8", at=what, expected="text", got="other bytes") from None


class _Message:
    """The fields of one message, after the rules: known numbers only, right wire types, singular fields once.

    schema: number -> (name, kind); kinds: i int, f float, s bytes, t text, m message, d ignored; * marks a repeated
    field.
    """

    def __init__(self, data: memoryview, what: str, schema: dict[int, tuple[str, str]]) -> None:
        self.values: dict[str, Any] = {name: [] for name, kind in schema.values() if kind[-1] == "*"}
        for number, wire, raw, offset in _fields(data, what):
            if number not in schema:
                raise refuse(
                    f"{what}: unknown field {number}",
                    at=f"{what}, byte {offset}",
                    expected="fields of the ONNX specification",
                    got=f"field {number}",
                )
            name, kind = schema[number]
            for value in self._decode(kind[0], wire, raw, f"{what}.{name}"):
                if kind[-1] == "*":
                    self.values[name].append(value)
                elif name in self.values:
                    raise refuse(
                        f"{what}.{name} is given twice", at=f"{what}, byte {offset}", expected="one value", got="two"
                    )
                else:
                    self.values[name] = value

    @staticmethod
    def _decode(kind: str, wire: int, raw: Any, what: str) -> list[Any]:
        if kind == "d":
            return []
        if kind == "i" and wire == 0:
            return [_signed(raw)]
        if kind == "i" and wire == 2:
            out, at = [], 0
            while at < len(raw):
                value, at = _varint(raw, at, len(raw))
                out.append(_signed(value))
            return out
        if kind == "f" and wire == 5:
            return [struct.unpack("<f", raw)[0]]
        if kind == "f" and wire == 2 and len(raw) % 4 == 0:
            return list(struct.unpack(f"<{len(raw) // 4}f", raw))
        if kind in "smt" and wire == 2:
            return [_text(raw, what) if kind == "t" else raw]
        raise refuse(f"{what} has the wrong wire type", at=what, expected=f"kind {kind}", got=f"wire type {wire}")

    def get(self, name: str, default: Any = None) -> Any:
        return self.values.get(name, default)


_MODEL = {
    1: ("ir_version", "i"),
    2: ("producer", "t"),
    3: ("producer_version", "d"),
    4: ("domain", "d"),
    5: ("version", "d"),
    6: ("doc", "d"),
    7: ("graph", "m"),
    8: ("opset", "m*"),
    14: ("metadata", "d"),
    20: ("training", "m*"),
    25: ("functions", "m*"),
}
_OPSET = {1: ("domain", "t"), 2: ("version", "i")}
_GRAPH = {
    1: ("node", "m*"),
    2: ("name", "t"),
    5: ("initializer", "m*"),
    10: ("doc", "d"),
    11: ("input", "m*"),
    12: ("output", "m*"),
    13: ("value_info", "d"),
    14: ("quantization", "m*"),
    15: ("sparse", "m*"),
    16: ("metadata", "d"),
}
_NODE = {
    1: ("input", "t*"),
    2: ("output", "t*"),
    3: ("name", "t"),
    4: ("op_type", "t"),
    5: ("attribute", "m*"),
    6: ("doc", "d"),
    7: ("domain", "t"),
    8: ("overload", "t"),
    9: ("metadata", "d"),
}
_ATTRIBUTE = {
    1: ("name", "t"),
    2: ("f", "f"),
    3: ("i", "i"),
    4: ("s", "s"),
    5: ("t", "m"),
    6: ("g", "m"),
    7: ("floats", "f*"),
    8: ("ints", "i*"),
    9: ("strings", "s*"),
    10: ("tensors", "m*"),
    11: ("graphs", "m*"),
    13: ("doc", "d"),
    20: ("type", "i"),
    21: ("reference", "t"),
    22: ("sparse", "m"),
}
_TENSOR = {
    1: ("dims", "i*"),
    2: ("data_type", "i"),
    3: ("segment", "m"),
    4: ("float_data", "s*"),
    5: ("int32_data", "i*"),
    6: ("string_data", "s*"),
    7: ("int64_data", "i*"),
    8: ("name", "t"),
    9: ("raw_data", "s"),
    10: ("double_data", "s*"),
    11: ("uint64_data", "i*"),
    12: ("doc", "d"),
    13: ("external", "m*"),
    14: ("location", "i"),
    16: ("metadata", "d"),
}
_VALUE = {1: ("name", "t"), 2: ("type", "m"), 3: ("doc", "d"), 4: ("metadata", "d")}
_TYPE = {
    1: ("tensor", "m"),
    4: ("sequence", "m"),
    5: ("map", "m"),
    6: ("denotation", "d"),
    8: ("sparse", "m"),
    9: ("optional", "m"),
}
_TENSOR_TYPE = {1: ("elem", "i"), 2: ("shape", "m")}
_SHAPE = {1: ("dim", "m*")}
_DIM = {1: ("value", "i"), 2: ("param", "t"), 3: ("denotation", "d")}
_KINDS = {1: "f", 2: "i", 3: "s", 4: "t", 5: "g", 6: "floats", 7: "ints", 8: "strings"}


def _tensor(data: memoryview, what: str) -> tuple[str, Array]:
    m = _Message(data, what, _TENSOR)
    name = m.get("name", "")
    what = f"tensor '{name}'"
    if m.get("external") or m.get("location", 0):
        raise unsupported(
            f"{what} keeps its data in another file",
            at=what,
            expected="data inside the model",
            got="external data",
            fix="save the model with its data inside (onnx.save with save_as_external_data=False)",
        )
    dtype = DTYPES.get(m.get("data_type", 0))
    if dtype is None or m.get("segment") is not None or m.get("string_data"):
        raise unsupported(
            f"{what} has an unsupported type",
            at=what,
            expected=", ".join(DTYPES.values()),
            got=f"data_type {m.get('data_type', 0)}",
        )
    dims = tuple(m.get("dims"))
    count = 1
    for d in dims:
        if not 0 <= d <= MAX_BYTES:
            raise refuse(
                f"{what} has an impossible size", at=what, expected=f"dimensions from 0 to {MAX_BYTES}", got=str(dims)
            )
        count *= d  # at most 2^30 a step: an int that Python holds exactly
    given = [
        key
        for key in ("raw_data", "float_data", "double_data", "int32_data", "int64_data", "uint64_data")
        if m.get(key)
    ]
    if len(given) > 1:
        raise refuse(f"{what} has its data twice", at=what, expected="one data field", got=", ".join(given))
    native = np.dtype(dtype).newbyteorder("<")
    try:
        if not given:
            array: Array = np.zeros(0, native)
        elif given[0] == "raw_data":
            array = np.frombuffer(m.get("raw_data"), native)
        elif (given[0], dtype) in (("float_data", "float32"), ("double_data", "float64")):
            array = np.concatenate([np.frombuffer(part, native) for part in m.get(given[0])])
        elif given[0] == (
            "int64_data" if dtype == "int64" else "uint64_data" if dtype in ("uint32", "uint64") else "int32_data"
        ):
            values = np.array(m.get(given[0]), np.int64)
            array = values.astype(np.uint16).view(np.float16) if dtype == "float16" else values.astype(native)
            if dtype not in ("float16", "uint64") and not np.array_equal(array.astype(np.int64), values):
                raise ValueError("a value outside its type")
        else:
            raise ValueError(f"{given[0]} does not hold {dtype}")
    except ValueError as error:
        raise refuse(
            f"{what}: its data do not fit its type", at=what, expected=f"{dtype} values", got=str(error)
        ) from None
    if array.size != count:
        raise refuse(
            f"{what}: its data do not fit its shape",
            at=what,
            expected=f"{count} values for {dims}",
            got=str(array.size),
        )
    try:
        return name, array.astype(dtype, copy=False).reshape(dims)  # a view of the file where it can be
    except ValueError as error:  # over 64 dimensions, or a size that overflows beside a dimension of 0
        raise refuse(
            f"{what} has an impossible shape", at=what, expected="a shape that numpy holds", got=str(error)
        ) from None


def _attribute(data: memoryview, what: str, depth: int) -> tuple[str, Any]:
    m = _Message(data, what, _ATTRIBUTE)
    name = m.get("name", "")
    what = f"{what} '{name}'"
    present = [key for key in ("f", "i", "s", "t", "g", "sparse", "reference") if m.get(key) is not None]
    present += [key for key in ("floats", "ints", "strings", "tensors", "graphs") if m.get(key)]
    kind = _KINDS.get(m.get("type", 0))
    if kind is None or any(key != kind for key in present):
        raise unsupported(
            f"{what} is of an unsupported kind",
            at=what,
            expected="one value of " + ", ".join(_KINDS.values()),
            got=f"type {m.get('type', 0)} with {present}",
        )
    value = m.get(kind)
    if value is None:  # proto3 leaves out a zero
        value = {"f": 0.0, "i": 0, "s": memoryview(b"")}.get(kind)
    if kind == "t" and value is not None:
        return name, _tensor(value, what)[1]
    if kind == "g" and value is not None:
        return name, _graph(value, depth + 1)
    if value is None:
        raise refuse(f"{what} has no value", at=what, expected=f"a value of kind {kind}", got="nothing")
    if kind == "s":
        return name, bytes(value)
    return name, tuple(bytes(v) for v in value) if kind == "strings" else tuple(value) if isinstance(
        value, list
    ) else value


def _node(data: memoryview, depth: int) -> Node:
    m = _Message(data, "node", _NODE)
    name = m.get("name", "") or (m.get("output") or ["?"])[0]
    attributes: dict[str, Any] = {}
    for raw in m.get("attribute"):
        key, value = _attribute(raw, f"node '{name}', attribute", depth)
        if key in attributes:
            raise refuse(f"attribute '{key}' is given twice", at=f"node '{name}'", expected="one value", got="two")
        attributes[key] = value
    if m.get("overload"):
        raise unsupported(
            "a node calls an overloaded function", at=f"node '{name}'", expected="standard ops", got=m.get("overload")
        )
    return Node(
        m.get("op_type", ""), name, m.get("domain", ""), tuple(m.get("input")), tuple(m.get("output")), attributes
    )


def _value(data: memoryview, what: str) -> Value:
    m = _Message(data, what, _VALUE)
    name = m.get("name", "")
    tensor = _Message(m.get("type", memoryview(b"")), f"type of '{name}'", _TYPE).get("tensor")
    if tensor is None:
        return Value(name, None, None)
    t = _Message(tensor, f"type of '{name}'", _TENSOR_TYPE)
    if t.get("shape") is None:
        return Value(name, DTYPES.get(t.get("elem", 0)), None)
    dims = []
    for raw in _Message(t.get("shape"), f"shape of '{name}'", _SHAPE).get("dim"):
        d = _Message(raw, f"shape of '{name}'", _DIM)
        if "value" in d.values and "param" in d.values:
            raise refuse("a dimension is given twice", at=f"shape of '{name}'", expected="a size or a name", got="both")
        dims.append(d.get("value", d.get("param") or None))
    return Value(name, DTYPES.get(t.get("elem", 0)), tuple(dims))


def _graph(data: memoryview, depth: int) -> Graph:
    if depth > 8:
        raise unsupported("graphs are nested too deeply", at="graph attribute", expected="at most 8 levels", got="more")
    m = _Message(data, "graph", _GRAPH)
    if m.get("sparse") or m.get("quantization"):
        raise unsupported(
            "sparse or quantized tensors are not supported",
            at="graph",
            expected="dense initializers",
            got="sparse or quantized",
        )
    initializers: dict[str, Array] = {}
    for raw in m.get("initializer"):
        name, array = _tensor(raw, "initializer")
        if name in initializers:
            raise refuse(f"initializer '{name}' is given twice", at="graph", expected="one", got="two")
        initializers[name] = array
    inputs = tuple(_value(raw, "input") for raw in m.get("input"))
    outputs = tuple(_value(raw, "output") for raw in m.get("output"))
    return Graph(m.get("name", ""), tuple(_node(raw, depth) for raw in m.get("node")), initializers, inputs, outputs)


def parse(data: Bytes) -> Model:
    """The model in uncompressed bytes (`unpack` first). CheckError names what is wrong and where."""
    try:
        m = _Message(memoryview(data), "model", _MODEL)
    except CheckError as error:
        raise CheckError(
            f"this is not an ONNX model, or a damaged one: {error.what}",
            where=error.where,
            expected=error.expected,
            got=error.got,
            fix="name the ONNX file, or export the model again",
        ) from None
    if m.get("graph") is None or m.get("ir_version") is None:
        raise refuse(
            "this is not an ONNX model",
            at="byte 0",
            expected="a ModelProto with ir_version and graph",
            got=repr(bytes(data[:8])),
        )
    if m.get("training") or m.get("functions"):
        raise unsupported(
            "training info or local functions are not supported", at="model", expected="one plain graph", got="more"
        )
    opsets: dict[str, int] = {}
    for raw in m.get("opset"):
        o = _Message(raw, "opset", _OPSET)
        domain = o.get("domain", "") if o.get("domain", "") != "ai.onnx" else ""
        if domain in opsets:
            raise refuse(f"opset of domain '{domain}' is given twice", at="model", expected="one", got="two")
        opsets[domain] = o.get("version", 0)
    return Model(m.get("ir_version"), m.get("producer", ""), opsets, _graph(m.get("graph"), 0))
