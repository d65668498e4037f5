"""A graph and its arrays on disk: `NAME.json`, the graph, beside `NAME.safetensors`, every number.

The JSON states the SHA-256 of the content, so that a torn pair or a changed number is refused. Parameters and states
are stored under their names, constants under `#0`, `#1`, ... in the order of the graph; no float that matters stands in
JSON. The hash covers the graph without its source lines, and each array's name, type and bytes.

    {"format": "torchlean-program", "version": 1, "sha256": "...",
     "graph": {"nodes": [{"op": "add", "inputs": [[0, 0], [1, 0]], "attrs": {}, "types": ["f32[n]"],
                          "where": "m.py:3"}],
               "outputs": [["y", [2, 0]]], "updates": []}}

Attributes: null, true, ints, strings and lists (tuples) stand for themselves; the rest are objects of one field:
`float` (16 hex digits), `dim`, `dtype`, `type`, `array` (a name in the second file) and `graph`.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from torchlean.errors import FileError, ShapeError, TorchLeanError
from torchlean.files import atomic_write_all, decode, read_bytes
from torchlean.ir import dims
from torchlean.ir.dims import Dim
from torchlean.ir.graph import Attr, Graph, Literal, Node, Value
from torchlean.ir.lint import RESERVED, lint
from torchlean.ir.op import OpTable
from torchlean.ir.text import float_from_hex
from torchlean.ir.types import DTYPES, DType, TensorType, numpy_dtype, parse_type, type_of

FORMAT, VERSION = "torchlean-program", 1
T = TypeVar("T")

# safetensors' dtype names -> ours
_STORED = {
    "F64": "f64", "F32": "f32", "F16": "f16", "BF16": "bf16", "F8_E4M3": "f8e4m3", "F8_E5M2": "f8e5m2", "I64": "i64",
    "I32": "i32", "U32": "u32", "I8": "i8", "U8": "u8", "BOOL": "bool",
}  # fmt: skip


def save_program(path: str | os.PathLike[str], graph: Graph, arrays: Mapping[str, np.ndarray]) -> None:
    """Write `NAME.json` and `NAME.safetensors`; `path` is NAME, or NAME.json.

    arrays   one for each parameter and state, by name, of its type
    Errors   ShapeError: an array missing, surplus, or of another type. FileError: no such folder, disk full; nothing is
             left half-written
    """
    problem = _misfit(graph, arrays)
    if problem is not None:
        raise ShapeError("the arrays do not fit the program", **problem, fix="give one array per parameter and state")
    import safetensors.numpy

    names = _paths(path)
    content, tensors = _content(graph, arrays)
    content["sha256"] = _digest(content["graph"], tensors)
    text = json.dumps(content, indent=1, ensure_ascii=True, allow_nan=False) + "\n"
    atomic_write_all({names[1]: safetensors.numpy.save(tensors), names[0]: text.encode()})


def load_program(path: str | os.PathLike[str], table: OpTable) -> tuple[Graph, dict[str, np.ndarray]]:
    """The graph and arrays that `save_program` wrote; the graph is linted.

    Errors   FileError: missing, truncated, damaged, of another format or version, an unknown or missing field, an array
             missing, surplus or of another type, a graph that breaks lint
    """
    json_path, tensor_path = _paths(path)
    content = _json(decode(read_bytes(json_path), json_path), json_path)
    reader = _Reader(json_path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise reader.error("the file is no program", f'"format": "{FORMAT}"', str(content)[:60])
    if content.get("version") != VERSION or isinstance(content["version"], bool):
        raise reader.error("another version of the format", f"version {VERSION}", str(content.get("version")))
    reader.fields(content, "file", "format", "version", "sha256", "graph")
    reader.arrays = tensors = _tensors(tensor_path)
    digest = _digest(content["graph"], tensors)
    if digest != content["sha256"]:
        raise reader.error("the content hash is wrong", str(content["sha256"]), digest)
    try:
        graph = reader.graph(content["graph"], "graph")
        lint(graph, table)
    except FileError:
        raise
    except (TorchLeanError, RecursionError) as error:
        got = f"{error.what}; {error.where}" if isinstance(error, TorchLeanError) else "too many levels of graphs"
        raise reader.error("the graph in the file breaks a rule", "a graph that passes lint", got) from error
    arrays = {name: array for name, array in tensors.items() if not name.startswith("#")}
    problem = _misfit(graph, arrays)
    unread = sorted(tensors.keys() - arrays.keys() - reader.read)
    if problem is None and unread:
        problem = {"where": tensor_path, "expected": "the constants of the graph", "got": ", ".join(unread)}
    if problem is not None:
        problem["where"] = tensor_path + ", " + problem["where"]
        raise FileError("the arrays do not fit the program", **problem, fix="save the program again")
    return graph, arrays


def content_hash(graph: Graph, arrays: Mapping[str, np.ndarray] | None = None) -> str:
    """SHA-256, in hex, of a graph (without source lines) and arrays: what program files state."""
    content, tensors = _content(graph, arrays or {})
    return _digest(content["graph"], tensors)


def _paths(path: str | os.PathLike[str]) -> tuple[str, str]:
    name = os.fspath(path)
    name = name.removesuffix(".json")
    return name + ".json", name + ".safetensors"


def _misfit(graph: Graph, arrays: Mapping[str, np.ndarray]) -> dict[str, str] | None:
    """How `arrays` differ from the parameters and states of the graph, as parts of an error; None when they fit."""
    wanted = graph.source_types("parameter") | graph.source_types("state")
    for name in [*(wanted.keys() - arrays.keys()), *(arrays.keys() - wanted.keys())]:
        known = wanted.get(name)
        return {
            "where": repr(name),
            "expected": f"an array of type {known}" if known else "no array: no parameter or state has this name",
            "got": "no array" if known else f"one of type {type_of(arrays[name])}",
        }
    for name, expected in wanted.items():
        if name.startswith(RESERVED):
            return {"where": repr(name), "expected": "a name that passes lint", "got": "one kept for constants"}
        got = type_of(arrays[name])
        fits = all(isinstance(e, Dim) or e == g for e, g in zip(expected.shape, got.shape, strict=False))
        if got.dtype != expected.dtype or got.rank != expected.rank or not fits:
            return {"where": repr(name), "expected": str(expected), "got": str(got)}
    return None


# Writing


def _content(graph: Graph, arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    constants: dict[Literal, str] = {}
    written = _write_graph(graph, constants)
    tensors = {name: _native(array) for name, array in arrays.items()}
    tensors.update((name, literal.array) for literal, name in constants.items())
    return {"format": FORMAT, "version": VERSION, "sha256": "", "graph": written}, tensors


def _native(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")).reshape(array.shape)


def _write_graph(graph: Graph, constants: dict[Literal, str]) -> dict[str, Any]:
    return {
        "nodes": [
            {
                "op": node.op,
                "inputs": [[v.node, v.index] for v in node.inputs],
                "attrs": {name: _write_attribute(value, constants) for name, value in node.attrs},
                "types": [str(t) for t in node.types],
                "where": node.where,
            }
            for node in graph.nodes
        ],
        "outputs": [[name, [v.node, v.index]] for name, v in graph.outputs],
        "updates": [[name, [v.node, v.index]] for name, v in graph.updates],
    }


def _write_attribute(value: Attr, constants: dict[Literal, str]) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return {"float": struct.pack(">d", value).hex()}
        case tuple():
            return [_write_attribute(v, constants) for v in value]
        case Dim():
            return {"dim": str(value)}
        case DType():
            return {"dtype": str(value)}
        case TensorType():
            return {"type": str(value)}
        case Literal():
            return {"array": constants.setdefault(value, f"#{len(constants)}")}
        case Graph():
            return {"graph": _write_graph(value, constants)}
    raise TypeError(type(value).__name__)


def _digest(graph: Any, tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of the graph's canonical JSON and of each array's name, type and bytes, every part behind its length."""
    parts: list[bytes] = [json.dumps(_unplaced(graph), sort_keys=True, separators=(",", ":")).encode()]
    for name in sorted(tensors):
        array = tensors[name]
        parts += [name.encode("utf-8", "surrogatepass"), str(type_of(array)).encode(), array.tobytes()]
    sha = hashlib.sha256()
    for part in parts:
        sha.update(len(part).to_bytes(8, "little") + part)
    return sha.hexdigest()


def _unplaced(content: Any) -> Any:
    """JSON content with the source line of every node blank."""
    if isinstance(content, list):
        return [_unplaced(c) for c in content]
    if isinstance(content, dict):
        is_node = content.keys() == {"op", "inputs", "attrs", "types", "where"}
        return {k: "" if is_node and k == "where" else _unplaced(v) for k, v in content.items()}
    return content


# Reading


def _json(text: str, where: str) -> Any:
    """JSON without floats, NaN or doubled keys. Raises FileError."""

    def refuse(got: str) -> Any:
        raise ValueError(f"the number {got}")

    def distinct(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError(f"a key twice among {[k for k, _ in pairs]}")
        return found

    try:
        return json.loads(text, object_pairs_hook=distinct, parse_float=refuse, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise _Reader(where).error("the file is damaged or no JSON", "JSON with ints only", str(error)) from error


def _tensors(path: str) -> dict[str, np.ndarray]:
    import safetensors

    raw = read_bytes(path)
    try:
        entries: list[tuple[str, dict[str, Any]]] = safetensors.deserialize(raw)  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        problem = "the file is truncated or no safetensors"
        raise _Reader(path).error(problem, "a whole safetensors file", str(error)) from error
    found: dict[str, np.ndarray] = {}
    for name, entry in entries:
        if entry["dtype"] not in _STORED:
            raise _Reader(path).error("an array has an unknown dtype", ", ".join(_STORED), f"{name}: {entry['dtype']}")
        dtype = numpy_dtype(DTYPES[_STORED[entry["dtype"]]].numpy)
        found[name] = np.frombuffer(bytearray(entry["data"]), dtype=dtype).reshape(entry["shape"])
    return found


class _Reader:
    """Turns JSON content into a graph, field by field; every surprise is a FileError that names its place."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.arrays: dict[str, np.ndarray] = {}
        self.read: set[str] = set()

    def error(self, what: str, expected: str, got: str, place: str = "") -> FileError:
        where = f"{self.path}, {place}" if place else self.path
        fix = "save the program again, or name another file"
        return FileError(what, where=where, expected=expected, got=got, fix=fix)

    def fields(self, content: Any, place: str, *names: str) -> list[Any]:
        """The values of an object with exactly these fields."""
        if not isinstance(content, dict):
            raise self.error("not an object", "fields " + ", ".join(names), repr(content)[:60], place)
        if missing := [n for n in names if n not in content]:
            raise self.error("a field is missing", "fields " + ", ".join(names), "no " + ", ".join(missing), place)
        if unknown := [n for n in content if n not in names]:
            raise self.error("an unknown field", "fields " + ", ".join(names), ", ".join(unknown), place)
        return [content[n] for n in names]

    def items(self, content: Any, place: str) -> list[Any]:
        return self.a(list, content, place)

    def a(self, kind: type[T], content: Any, place: str) -> T:
        if type(content) is not kind:
            raise self.error("a field of another kind", kind.__name__, repr(content)[:60], place)
        return content

    def made(self, make: Callable[[], T], content: Any, expected: str, place: str) -> T:
        try:
            return make()
        except (TorchLeanError, ValueError, KeyError, struct.error) as error:
            raise self.error("a field does not read", expected, repr(content)[:60], place) from error

    def graph(self, content: Any, place: str) -> Graph:
        nodes, outputs, updates = self.fields(content, place, "nodes", "outputs", "updates")
        return Graph(
            tuple(self.node(n, f"{place}.nodes[{i}]") for i, n in enumerate(self.items(nodes, place + ".nodes"))),
            self.roots(outputs, place + ".outputs"),
            self.roots(updates, place + ".updates"),
        )

    def roots(self, content: Any, place: str) -> tuple[tuple[str, Value], ...]:
        found = []
        for root in self.items(content, place):
            if len(self.items(root, place)) != 2:
                raise self.error("not a named value", "[name, [node, output]]", repr(root)[:60], place)
            found.append((self.a(str, root[0], place), self.value(root[1], place)))
        return tuple(found)

    def value(self, content: Any, place: str) -> Value:
        pair = self.items(content, place)
        if len(pair) != 2 or any(self.a(int, x, place) < 0 for x in pair):
            raise self.error("not a value", "[node, output]", repr(content)[:60], place)
        return Value(pair[0], pair[1])

    def node(self, content: Any, place: str) -> Node:
        op, inputs, attrs, types, where = self.fields(content, place, "op", "inputs", "attrs", "types", "where")
        self.a(dict, attrs, place + ".attrs")
        return Node(
            self.a(str, op, place + ".op"),
            tuple(self.value(v, place + ".inputs") for v in self.items(inputs, place + ".inputs")),
            tuple(sorted((name, self.attribute(v, f"{place}.attrs.{name}")) for name, v in attrs.items())),
            tuple(self.type(t, place + ".types") for t in self.items(types, place + ".types")),
            self.a(str, where, place + ".where"),
        )

    def type(self, content: Any, place: str) -> TensorType:
        text = self.a(str, content, place)
        return self.made(lambda: parse_type(text), content, "a type such as f32[n, 3]", place)

    def attribute(self, content: Any, place: str) -> Attr:
        if content is None or isinstance(content, bool | int | str):
            return content
        if isinstance(content, list):
            return tuple(self.attribute(c, place) for c in content)
        kinds = ("float", "dim", "dtype", "type", "array", "graph")
        if not isinstance(content, dict) or len(content) != 1 or next(iter(content)) not in kinds:
            expected = "an object of one field: " + ", ".join(kinds)
            raise self.error("not an attribute", expected, repr(content)[:60], place)
        ((kind, inner),) = content.items()
        if kind == "graph":
            return self.graph(inner, place)
        text = self.a(str, inner, place)
        match kind:
            case "float":
                return self.made(lambda: float_from_hex(text), text, "16 hex digits", place)
            case "dim":
                return self.made(lambda: dims.parse(text), text, "a dimension", place)
            case "dtype":
                return self.made(lambda: DTYPES[text], text, "a dtype", place)
            case "type":
                return self.type(text, place)
        if text not in self.arrays or not text.startswith("#"):
            raise self.error("a constant is missing", "an array #N of the second file", text, place)
        self.read.add(text)
        return Literal.of(self.arrays[text])


