"""A graph as text: one line a node, `%3: f32[batch, 64] = relu(%2)    # model.py:8`.

Two forms. The short one is for reading: an array of more than eight elements is abbreviated to `<float32[64, 784]>`.
The full one (`full=True`) is exact, and `torchlean.ir.parse` reads it back to the same graph, source lines included.

    %0: f32[n, 2] = input x    # model.py:3
    %1: f32[3, 2] = parameter fc.weight
    %2: f32[] = constant {0.5}
    %3: (f32[n], i64[n]) = top(%0, axis=-1)
    %4: f32[n] = add(%3, %3.1)
    update steps=%4
    return y=%4

Attribute values: `None`, `True`, ints, floats (`0.1`, `inf`, `nan`, or `bits("7ff8000000000001")` for another NaN),
JSON strings, dimensions (`2*n + 1`; `dim("f32")` where a symbol is spelt like a keyword), dtypes, types, tuples, arrays
(a type and its elements in row-major order, `f32[2]{0.5, -0.0}`; `base64("...")` in place of the braces holds
little-endian bytes), and graphs (`{`, lines, `}`). A name that is not of the form `fc.weight` stands as a JSON string.
"""

from __future__ import annotations

import ast
import base64
import json
import re
import struct
from collections.abc import Iterator, Sequence
from math import prod

import numpy as np

from torchlean.ir.dims import Dim, symbols
from torchlean.ir.graph import Attr, Graph, Literal, Node, Value
from torchlean.ir.types import DTYPES, DType, TensorType, numpy_dtype

SMALL = 8  # arrays of at most this many elements are written out
WORDS = frozenset({"None", "True", "False", "inf", "nan", "bits", "dim", "base64", *DTYPES})
PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*\Z")
_NAN = struct.pack(">d", float("nan"))


def format_graph(graph: Graph, full: bool = False) -> str:
    """The text of a graph; `full` writes every array exactly."""
    return "\n".join(_lines(graph, full))


def _lines(graph: Graph, full: bool) -> Iterator[str]:
    for index, node in enumerate(graph.nodes):
        line = f"%{index}: {_types(node)} = {_application(node, full)}"
        yield line + (f"    # {_where(node.where)}" if node.where else "")
    if graph.updates:
        yield _roots("update", graph.updates)
    yield _roots("return", graph.outputs)


def _roots(word: str, roots: tuple[tuple[str, Value], ...]) -> str:
    return f"{word} {', '.join(f'{_name(n)}={v}' for n, v in roots)}".rstrip()


def _types(node: Node) -> str:
    if len(node.types) == 1:
        return str(node.types[0])
    return "(" + ", ".join(map(str, node.types)) + ")"


def _application(node: Node, full: bool) -> str:
    """`relu(%2)`, `input x`, `constant {0.5}`: a source's type stands already on the left."""
    value = node.attributes.get("value")
    if not node.inputs and len(node.types) == 1:
        if node.op in ("input", "parameter", "state") and node.attributes.keys() == {"name", "type"}:
            name, type_ = node.attributes["name"], node.attributes["type"]
            if type_ == node.types[0] and isinstance(name, str):
                return f"{node.op} {_name(name)}"
        alone = node.op == "constant" and len(node.attrs) == 1
        if alone and isinstance(value, Literal) and literal_type(value) == node.types[0]:
            return f"constant {_elements(value, full)}"
    attributes = (f"{name}={format_attribute(v, full)}" for name, v in node.attrs)
    return f"{node.op}({', '.join([*map(str, node.inputs), *attributes])})"


def _name(name: str) -> str:
    return name if PLAIN_NAME.match(name) else json.dumps(name)


def _where(where: str) -> str:
    plain = where.isprintable() and where == where.strip() and not where.startswith('"')
    return where if plain else json.dumps(where)


def format_attribute(value: Attr, full: bool = False) -> str:
    match value:
        case None | bool() | int():
            return str(value)
        case float():
            return format_float(value)
        case str():
            return json.dumps(value)
        case Dim():
            return f"dim({json.dumps(str(value))})" if symbols(value) & WORDS else str(value)
        case DType() | TensorType():
            return str(value)
        case Literal():
            elements = _elements(value, full)
            return elements if elements.startswith("<") else f"{literal_type(value)}{elements}"
        case Graph():
            return "{\n" + "\n".join("  " + line for line in format_graph(value, full).split("\n")) + "\n}"
        case tuple():
            inner = ", ".join(format_attribute(v, full) for v in value)
            return f"({inner},)" if len(value) == 1 else f"({inner})"
    raise TypeError(type(value).__name__)


def format_float(value: float) -> str:
    """Shortest decimal that reads back to the same bits; a NaN that is not Python's own is written as bits."""
    bits = struct.pack(">d", value)
    return f'bits("{bits.hex()}")' if value != value and bits != _NAN else repr(value)


def float_from_hex(digits: str) -> float:
    """The binary64 with these 16 hex digits. ValueError or struct.error when they are none."""
    return float(struct.unpack(">d", bytes.fromhex(digits))[0])


def literal_type(literal: Literal) -> TensorType:
    """The type of an array attribute."""
    return TensorType(literal.shape, next(d for d in DTYPES.values() if d.numpy == literal.dtype))


def literal_from(type: TensorType, elements: Sequence[float | int | bool]) -> Literal:
    """The array with these elements in row-major order, each rounded once.

    Errors   ValueError, OverflowError
    """
    with np.errstate(all="ignore"):
        array = np.array(elements, dtype=np.float64 if type.dtype.kind == "float" else object)
        return Literal.of(array.astype(numpy_dtype(type.dtype.numpy)).reshape(type.sizes))


def _elements(literal: Literal, full: bool) -> str:
    """The elements in braces; abbreviated where they are many; as base64 where no decimals give their bits."""
    if prod(literal.shape) > SMALL and not full:
        return str(literal)
    if prod(literal.shape) <= SMALL:
        texts = [str(x) for x in literal.array.ravel()]
        read = float if literal_type(literal).dtype.kind == "float" else ast.literal_eval
        if literal_from(literal_type(literal), [read(t) for t in texts]) == literal:
            return "{" + ", ".join(texts) + "}"
    return f'base64("{base64.b64encode(literal.data).decode()}")'
