"""ONNX to a program, node by node.

Every node of the file becomes the node or nodes that say the same; nothing is folded in floating point and nothing is
rewritten. Initializers become parameters of the same name, float constants become constant nodes. Only integers that
describe shapes are worked out here (`known.py`). Nodes that no output depends on are left out.
"""

from __future__ import annotations

import os
from typing import TypeAlias

import numpy as np

from torchlean import ops
from torchlean.errors import DataError, FileError, GraphError, ShapeError, TorchLeanError, Unsupported
from torchlean.files import find, read_bytes
from torchlean.io.onnx.attributes import read_attributes
from torchlean.io.onnx.known import FOLDS, Known
from torchlean.io.onnx.reader import Reader
from torchlean.io.onnx.structure import AGAIN, check_names, input_size, live_nodes, opset_of
from torchlean.ir import DTYPES, Builder, DType, Literal, Size, Tensor, TensorType, type_of
from torchlean.passes import drop_unreachable
from torchlean.run.program import Program
from torchlean_check import wire
from torchlean_check.errors import CheckError, UnsupportedError
from torchlean_check.gzipped import Bytes, unpack

Entry: TypeAlias = "Tensor | Known"
_BY_NUMPY = {d.numpy: d for d in DTYPES.values()}


def read_onnx(source: str | os.PathLike[str] | Bytes, name: str | None = None, *, copy: bool = True) -> Program:
    """The program of an ONNX file (path, plain or gzip) or of its bytes.

    name     what errors call the file; by default its file name
    copy     whether parameters are arrays of their own; else they are views of the bytes, at any address
    Returns  a Program with the file's names for inputs, outputs and parameters; unnamed unknown axes become symbols
    Raises   FileError: missing, truncated, not ONNX, inconsistent
             Unsupported: every node that cannot be read, listed at once; external data; an opset outside the range
             DataError: NaN among the weights.   ShapeError: shapes that do not fit
    """
    if isinstance(source, Bytes):
        raw, name = source, name or "ONNX model"
    else:
        path = find(source)
        raw, name = read_bytes(path), name or os.path.basename(path)
    try:
        model = wire.parse(unpack(raw))
    except CheckError as error:
        kind = Unsupported if isinstance(error, UnsupportedError) else FileError
        raise kind(
            error.what, where=f"{name}, {error.where}", expected=error.expected, got=error.got, fix=error.fix
        ) from None
    program = Importer(model, name, copy).run()
    return Program(drop_unreachable(program.graph), program.parameters)  # a number read at once left its constant


class Importer:
    """One reading of one model. Readers use `tensor`, `known`, `sizes` and `builder`.

    entries   what each value name stands for so far; a name that is absent although it was produced is unsupported
    """

    def __init__(self, model: wire.Model, name: str, copy: bool) -> None:
        self.name, self.graph, self._copy = name, model.graph, copy
        self.opset = opset_of(model, name)
        self.builder = Builder(ops.ALL, where=name)
        self.entries: dict[str, Entry] = {}
        self.parameters: dict[str, np.ndarray] = {}
        self._poisoned: set[str] = set()

    def run(self) -> Program:
        """The whole graph."""
        check_names(self.graph, self.name)
        live = live_nodes(self.graph)
        self._inputs()
        failures: list[tuple[str, TorchLeanError]] = []
        for node in live:
            where = f"node {node.name} ({node.op_type})"
            self.builder.line = f"{self.name}: {where}"
            try:
                reader = self._reader(node)
                if self._poisoned.intersection(node.inputs):
                    self._poisoned.update(node.outputs)
                    continue
                self._bind(node, self._read(node, reader))
            except Unsupported as error:
                self._poisoned.update(node.outputs)
                failures.append((where, error))
        if failures:
            raise self._unsupported(failures)
        self.builder.line = self.name
        outputs = {o.name: self._output(o) for o in self.graph.outputs}
        return Program(self.builder.finish(outputs), self.parameters)

    # What readers use

    def entry(self, name: str) -> Entry:
        """A tensor, or integers known now: an integer initializer counts as known."""
        if name not in self.entries and name in self.graph.initializers:
            array = self.graph.initializers[name]
            if array.dtype.kind in "iub":
                return Known.of(array)
        return self.entries[name] if name in self.entries else self.parameter(name)

    def tensor(self, name: str) -> Tensor:
        """A value of the program. Known integers become a constant, an initializer its parameter."""
        if name not in self.entries:
            return self.parameter(name)
        entry = self.entries[name]
        if isinstance(entry, Known):
            return self.sized(entry, _BY_NUMPY[entry.dtype])
        return entry

    def sized(self, entry: Known, dtype: DType) -> Tensor:
        """Known integers as a value of the program: a constant, or `size` nodes where a dimension is symbolic."""
        if entry.static:
            return self.builder.constant(entry.values.astype(entry.dtype), dtype)
        scalars = [self.builder.apply("size", of=s, dtype=dtype) for s in entry.sizes]
        if entry.values.ndim == 0:
            scalar: Tensor = scalars[0]
            return scalar
        parts = [s.reshape(1) for s in scalars]
        joined = parts[0] if len(parts) == 1 else self.builder.apply("concat", *parts, axis=-1)
        result: Tensor = joined.reshape(entry.values.shape)
        return result

    def parameter(self, name: str) -> Tensor:
        """The parameter that an initializer becomes, once."""
        array = self.graph.initializers[name]
        self._refuse_nan(array, f"initializer {name}")
        here, self.builder.line = self.builder.line, f"{self.name}: initializer {name}"
        tensor = self.builder.parameter(
            name, TensorType(array.shape, self._dtype(array.dtype.name, f"initializer {name}"))
        )
        self.builder.line = here
        self.parameters[name] = array.copy() if self._copy else array
        self.entries[name] = tensor
        return tensor

    def constant(self, array: np.ndarray) -> Entry:
        """A constant of the file: integers are known, floats become a node."""
        if array.dtype.kind in "iub":
            return Known.of(array)
        self._refuse_nan(array, "constant")
        return self.builder.constant(array)

    def known(self, name: str) -> Known:
        """Integers that must be known now. Raises Unsupported when they depend on an input."""
        entry = self.entry(name)
        if isinstance(entry, Known):
            return entry
        raise self.unsupported(
            "a shape, axis or index must be known when the model is read",
            "constant integers",
            f"{name}: {entry.type}",
            "export the model with a static shape",
        )

    def sizes(self, name: str) -> tuple[Size, ...]:
        """The entries of `known`, which may be symbolic."""
        return self.known(name).sizes

    def ints(self, name: str) -> tuple[int, ...]:
        """The entries of `known`, none symbolic."""
        entry = self.known(name)
        self._refuse_symbols(entry, name)
        return tuple(int(v) for v in entry.sizes)  # type: ignore[arg-type]

    def number(self, name: str) -> float:
        """A scalar that must be known now: an initializer or a constant."""
        array = self.numbers(name)
        if array.size != 1:
            raise self.unsupported(
                "one number is needed here", "a constant scalar", f"{array.size} numbers", "use a scalar constant"
            )
        return float(array.reshape(-1)[0])

    def numbers(self, name: str) -> np.ndarray:
        """Numbers that must be known now: an initializer or a constant."""
        entry = self.entries.get(name)
        array = self.graph.initializers.get(name) if entry is None else None
        if isinstance(entry, Known) and entry.static:
            array = entry.values
        elif isinstance(entry, Tensor):
            node = self.builder.node(entry.value)
            literal = node.attributes["value"] if node.op == "constant" else None
            array = literal.array if isinstance(literal, Literal) else self.parameters.get(name)
        if array is None:
            raise self.unsupported(
                "a number must be known when the model is read",
                "a constant",
                name,
                "export the model with a constant here",
            )
        return array

    @property
    def here(self) -> str:
        """The node that is being read, as errors name it."""
        return str(self.builder.line)

    def unsupported(self, what: str, expected: str, got: str, fix: str = AGAIN) -> Unsupported:
        """What a reader raises for a form of its op that is not read."""
        return Unsupported(what, where=self.here, expected=expected, got=got, fix=fix)

    def misfit(self, what: str, expected: str, got: str, fix: str = AGAIN) -> ShapeError:
        """What a reader raises when shapes or lists do not fit."""
        return ShapeError(what, where=self.here, expected=expected, got=got, fix=fix)

    def damaged(self, what: str, expected: str, got: str, fix: str = AGAIN) -> FileError:
        """What a reader raises when the file breaks a rule of ONNX."""
        return FileError(what, where=self.here, expected=expected, got=got, fix=fix)

    # The pass

    def _reader(self, node: wire.Node) -> Reader:
        from torchlean.io.onnx.table import find_reader, readers

        domain = "" if node.domain == "ai.onnx" else node.domain
        found = find_reader(node.op_type, self.opset) if domain == "" else None
        if found is None:
            raise self.unsupported(
                "no such op here",
                ", ".join(sorted(readers())),
                f"{domain + '.' if domain else ''}{node.op_type} at opset {self.opset}",
                "rewrite the model without this op",
            )
        return found

    def _read(self, node: wire.Node, reader: Reader) -> Entry | tuple[Entry, ...]:
        attrs = read_attributes(node.attributes, reader.attributes, self.here)
        while node.inputs and not node.inputs[-1]:  # trailing optional inputs may be left out
            node = wire.Node(node.op_type, node.name, node.domain, node.inputs[:-1], node.outputs, node.attributes)
        if not reader.arity[0] <= len(node.inputs) <= reader.arity[1] or not all(node.inputs[: reader.arity[0]]):
            raise self.damaged(
                "the number of inputs is wrong", f"{reader.arity[0]} to {reader.arity[1]}", str(len(node.inputs))
            )
        for name in node.inputs:
            if name and name not in self.entries and name not in self.graph.initializers:
                raise GraphError(
                    "a node reads a value that does not exist yet",
                    where=self.here,
                    expected="values of inputs, initializers and earlier nodes",
                    got=name,
                    fix="sort the nodes topologically, or export the model again",
                )
        if node.op_type in FOLDS:
            entries = [self.entry(n) for n in node.inputs]
            if all(isinstance(e, Known) for e in entries):
                return self._fold(node, attrs, entries)
        result: Entry | tuple[Entry, ...] = reader.read(self, node, attrs)
        return result

    def _fold(self, node: wire.Node, attrs: dict[str, object], entries: list[Entry]) -> Known:
        try:
            folded: Known = FOLDS[node.op_type](self.here, attrs, *entries)
            return folded
        except (ValueError, IndexError, TypeError) as problem:
            raise self.damaged(
                "integer arithmetic on shapes does not fit", "shapes that fit the op", str(problem)
            ) from None

    def _bind(self, node: wire.Node, result: Entry | tuple[Entry, ...]) -> None:
        results = result if isinstance(result, tuple) else (result,)
        used = [i for i, n in enumerate(node.outputs) if n]
        if used and used[-1] >= len(results):
            raise self.unsupported(
                "an optional output is used",
                f"the first {len(results)} outputs",
                node.outputs[used[-1]],
                "export the model for inference",
            )
        self.entries.update((n, r) for n, r in zip(node.outputs, results, strict=False) if n)

    def _inputs(self) -> None:
        symbols: dict[str, str] = {}
        for value in self.graph.inputs:
            if value.name in self.graph.initializers:
                continue  # before IR 4 every initializer is an input too; it is no free input
            where = f"input {value.name}"
            if value.dtype is None or value.shape is None:
                raise Unsupported(
                    "an input has no tensor type with a rank",
                    where=f"{self.name}, {where}",
                    expected="a dtype and a shape",
                    got=f"{value.dtype}, {value.shape}",
                    fix="export the model with its input shape",
                )
            shape = tuple(
                input_size(d, axis, symbols, f"{self.name}, {where}, axis {axis}") for axis, d in enumerate(value.shape)
            )
            self.builder.line = f"{self.name}: {where}"
            self.entries[value.name] = self.builder.input(
                value.name, TensorType(shape, self._dtype(value.dtype, where))
            )

    def _output(self, declared: wire.Value) -> Tensor:
        if declared.name not in self.entries and declared.name not in self.graph.initializers:
            raise GraphError(
                "an output is made by no node",
                where=f"{self.name}, output {declared.name}",
                expected="an existing value",
                got=declared.name,
                fix=AGAIN,
            )
        tensor = self.tensor(declared.name)
        if declared.shape is not None:
            clash = len(declared.shape) != tensor.type.rank or any(
                isinstance(a, int) and a > 0 and isinstance(b, int) and a != b
                for a, b in zip(declared.shape, tensor.shape, strict=False)
            )
            if clash or (declared.dtype is not None and declared.dtype != tensor.dtype.numpy):
                raise FileError(
                    "an output is declared with another type than its node gives",
                    where=f"{self.name}, output {declared.name}",
                    expected=str(tensor.type),
                    got=f"{declared.dtype}{list(declared.shape)}",
                    fix=AGAIN,
                )
        return tensor

    # Errors

    def _unsupported(self, failures: list[tuple[str, TorchLeanError]]) -> TorchLeanError:
        if len(failures) == 1:
            return failures[0][1]
        listed = "; ".join(f"{where}: {error.what}, {error.got}" for where, error in failures)
        expected = "; ".join(dict.fromkeys(e.expected for _, e in failures))
        return Unsupported(
            f"{len(failures)} nodes of this model cannot be read",
            where=self.name,
            expected=expected,
            got=listed,
            fix="rewrite the model without them: " + "; ".join(dict.fromkeys(e.fix for _, e in failures)),
        )

    def _dtype(self, numpy: str, where: str) -> DType:
        if numpy not in _BY_NUMPY:
            raise Unsupported(
                "a tensor has a dtype that programs lack",
                where=f"{self.name}, {where}",
                expected=", ".join(_BY_NUMPY),
                got=numpy,
                fix="export the model in float32",
            )
        return _BY_NUMPY[numpy]

    def _refuse_symbols(self, entry: Known, name: str) -> None:
        if not entry.static:
            raise self.unsupported(
                "a size must be known when the model is read",
                "ints",
                f"{name}: [{', '.join(map(str, entry.sizes))}]",
                "export the model with a static shape",
            )

    def _refuse_nan(self, array: np.ndarray, what: str) -> None:
        if array.dtype.kind == "f" and array.size and bool(np.isnan(array.min())):
            raise DataError(
                "the weights contain NaN",
                where=f"{self.name}, {what}",
                expected="numbers",
                got=f"{int(np.isnan(array).sum())} NaN in {type_of(array)}",
                fix="train the model again",
            )
