"""A program to ONNX, node by node.

Names of inputs, outputs and parameters are kept, floats keep their bits, and the same program gives the same bytes. A
composite op without an ONNX operator is written as its definition. Symbolic axes stay symbolic.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from torchlean import __version__, ops
from torchlean.errors import Exhausted, GraphError, InternalError, Unsupported
from torchlean.files import atomic_write
from torchlean.io.onnx.dtypes import CODES
from torchlean.ir import (
    SOURCES,
    Dim,
    DType,
    Graph,
    Literal,
    Node,
    Onnx,
    Op,
    Shape,
    Size,
    TensorType,
    Value,
    i64,
    symbol,
)
from torchlean.ir.dims import Floor
from torchlean.ir.types import numpy_dtype
from torchlean.run.program import Program

OPSET, IR_VERSION = 18, 8  # of a file whose ops all exist there; newer ones raise both
NEWER_IR = 9  # of opsets 19 and 20
LIMIT = (1 << 31) - 1


def write_onnx(program: Program, path: str | os.PathLike[str] | None = None) -> bytes:
    """The ONNX file of a program without states: returned, and written where `path` names a file.

    Raises   Unsupported: states, or ops without an ONNX form, all listed; Exhausted: over 2 GB; FileError: not writable
    """
    import onnx

    if program.graph.states or program.graph.updates:
        raise Unsupported(
            "a program with states has no ONNX form",
            where="states " + ", ".join(program.graph.states),
            expected="a program that only reads parameters",
            got=f"{len(program.graph.states)} states",
            fix="write_onnx(program.inference(), path)",
        )
    _check_outputs(program.graph)
    model = Exporter(_expanded(program.graph), program).model()
    if model.ByteSize() > LIMIT:
        raise Exhausted(
            "the model is too large for one ONNX file",
            where="write_onnx",
            expected=f"at most {LIMIT} bytes",
            got=f"{model.ByteSize()} bytes",
            fix="save the program in its own form: program.save(path)",
        )
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as problem:
        raise InternalError(
            "the written model is not valid ONNX",
            where="write_onnx",
            expected="a model that onnx.checker accepts",
            got=str(problem),
            fix="report it with the program",
        ) from problem
    raw: bytes = model.SerializeToString(deterministic=True)
    if path is not None:
        atomic_write(path, raw)
    return raw


def _check_outputs(graph: Graph) -> None:
    """ONNX has one space of names: an output may have a source's name only where it is that source."""
    for name, value in graph.outputs:
        for kind in ("input", "parameter"):
            if graph.sources(kind).get(name, value.node) != value.node:
                raise GraphError(
                    "an output and another value have one name, which ONNX does not allow",
                    where=f"output {name}",
                    expected="a name that no input or parameter has",
                    got=f"the {kind} {name}",
                    fix="name the output differently",
                )


def opset_for(graph: Graph) -> int:
    """The least opset from `OPSET` on that has every op of the graph."""
    records = (ops.ALL[n.op].onnx for n in graph.nodes)
    return max([OPSET, *(r.since for r in records if isinstance(r, Onnx))])


def _writable(op: Op) -> bool:
    from torchlean.io.onnx.write_rules import WRITERS

    return op.name in (*SOURCES, *WRITERS) or isinstance(op.onnx, Onnx)


def _needs_expansion(op: Op) -> bool:
    return op.composite and not _writable(op)


def _expanded(graph: Graph) -> Graph:
    """Composite ops that ONNX lacks, by their definitions. Raises Unsupported with every node that has no form."""
    if any(_needs_expansion(ops.ALL[n.op]) for n in graph.nodes):
        from torchlean.passes.expand import expand

        graph = expand(graph, _needs_expansion)
    left = [i for i, n in enumerate(graph.nodes) if not _writable(ops.ALL[n.op])]
    if left:
        raise Unsupported(
            "the program has ops without an ONNX form",
            where="; ".join(graph.describe(i) for i in left),
            expected="ops whose record names an ONNX operator",
            got=", ".join(sorted({graph.nodes[i].op for i in left})),
            fix="specialise the program, or rewrite it without them",
        )
    return graph


class Exporter:
    """One writing of one graph. Writers use `emit`, `integers`, `scalar`, `shape` and `fresh`."""

    def __init__(self, graph: Graph, program: Program) -> None:
        self.graph, self.program = graph, program
        self.nodes: list[Any] = []
        self.initializers: dict[str, Any] = {}
        self._taken = {n.name for n in graph.nodes if n.op in ("input", "parameter")} | {n for n, _ in graph.outputs}
        self._dims: dict[str, str] = {}
        self.names: dict[Value, str] = {}

    def model(self) -> Any:
        """The ModelProto."""
        from onnx import helper

        self._name_values()
        for number, node in enumerate(self.graph.nodes):
            self._write(number, node)
        for name, value in self.graph.outputs:
            if self.names[value] != name:
                self.emit("Identity", [self.names[value]], [name])
        opset = opset_for(self.graph)
        graph = helper.make_graph(
            self.nodes,
            "torchlean",
            [self._info(n, t) for n, t in self.graph.source_types("input").items()],
            [self._info(n, t) for n, t in self.graph.output_types.items()],
            [self.initializers[n] for n in self.initializers],
        )
        return helper.make_model(
            graph,
            producer_name="torchlean",
            producer_version=__version__,
            ir_version=IR_VERSION if opset == OPSET else NEWER_IR,
            opset_imports=[helper.make_opsetid("", opset)],
        )

    # What writers use

    def emit(self, op_type: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> str:
        """Add one ONNX node, named after its first output; returns that output."""
        from onnx import helper

        self.nodes.append(helper.make_node(op_type, inputs, outputs, name=f"{op_type}_{outputs[0]}", **attributes))
        return outputs[0]

    def fresh(self, hint: str) -> str:
        """A name that nothing has yet."""
        name, count = hint, 1
        while name in self._taken:
            name, count = f"{hint}_{count}", count + 1
        self._taken.add(name)
        return name

    def array(self, array: np.ndarray, dtype: DType, hint: str) -> str:
        """An initializer with exactly these bits."""
        name = self.fresh(hint)
        self._initializer(name, array, dtype)
        return name

    def integers(self, values: Sequence[int], hint: str) -> str:
        """An int64 vector."""
        return self.array(np.array(values, np.int64), i64, hint)

    def scalar(self, value: float, dtype: DType, hint: str) -> str:
        """A scalar of this dtype."""
        return self.array(np.array(value, numpy_dtype(dtype.numpy)), dtype, hint)

    def shape(self, shape: Shape, hint: str, *, reshaping: bool = False) -> str:
        """An int64 vector with these sizes. For a Reshape, a single symbolic axis is written -1."""
        if all(isinstance(s, int) for s in shape):
            return self.integers([s for s in shape if isinstance(s, int)], hint)
        symbolic = [i for i, s in enumerate(shape) if not isinstance(s, int)]
        if reshaping and len(symbolic) == 1 and 0 not in shape and -1 not in shape:
            return self.integers([s if isinstance(s, int) else -1 for s in shape], hint)
        parts = [self.integers([s], hint) if isinstance(s, int) else self.size(s) for s in shape]
        return self.emit("Concat", parts, [self.fresh(hint)], axis=0)

    def type(self, value: Value) -> TensorType:
        return self.graph.type(value)

    # Sizes as values

    def size(self, size: Size) -> str:
        """The int64 vector of one entry that a dimension is in a run, computed from the inputs' shapes."""
        if isinstance(size, int):
            return self.integers([size], "size")
        text = str(size)
        if text not in self._dims:
            self._dims[text] = self._source_axis(size) or self._polynomial(size)
        return self._dims[text]

    def _source_axis(self, size: Dim) -> str | None:
        for name, t in self.graph.source_types("input").items():
            if size in t.shape:
                shape = self.emit("Shape", [name], [self.fresh(f"{name}_shape")])
                axis = self.integers([t.shape.index(size)], "axis")
                return self.emit("Gather", [shape, axis], [self.fresh("size")], axis=0)
        return None

    def _polynomial(self, size: Dim) -> str:
        total = ""
        for monomial, factor in size.terms:
            term = self.integers([factor], "factor")
            for atom in monomial:
                term = self.emit("Mul", [term, self._atom(atom, size)], [self.fresh("product")])
            total = self.emit("Add", [total, term], [self.fresh("total")]) if total else term
        return total

    def _atom(self, atom: str | Floor, size: Dim) -> str:
        if isinstance(atom, Floor):
            return self.emit(
                "Div", [self.size(atom.dim), self.integers([atom.divisor], "divisor")], [self.fresh("quotient")]
            )
        if symbol(atom) == size:
            raise Unsupported(
                "a symbolic size is not an axis of any input",
                where=f"dimension {size}",
                expected="symbols that are axes of inputs",
                got=atom,
                fix=f"program.specialise({atom}=...)",
            )
        return self.size(symbol(atom))

    # The pass

    def _name_values(self) -> None:
        outputs: dict[Value, str] = {}
        for name, value in self.graph.outputs:
            if self.graph.nodes[value.node].op not in ("input", "parameter"):
                outputs.setdefault(value, name)
        for i, node in enumerate(self.graph.nodes):
            for j in range(len(node.types)):
                value = Value(i, j)
                if node.op in ("input", "parameter"):
                    self.names[value] = node.name
                else:
                    self.names[value] = outputs.get(value) or self.fresh(node.op)

    def _write(self, number: int, node: Node) -> None:
        from torchlean.io.onnx.write_rules import WRITERS

        outputs = [self.names[Value(number, j)] for j in range(len(node.types))]
        if node.op == "parameter":
            self._initializer(node.name, self.program.parameters[node.name], node.type.dtype)
        elif node.op == "constant":
            literal = node.attributes["value"]
            assert isinstance(literal, Literal)
            self.emit("Constant", [], outputs, value=_tensor(outputs[0], literal.array, node.type.dtype))
        elif node.op != "input":
            inputs = [self.names[v] for v in node.inputs]
            if node.op in WRITERS:
                WRITERS[node.op](self, node, inputs, outputs)
            else:
                record = ops.ALL[node.op].onnx
                assert isinstance(record, Onnx) and not node.attributes, node.op
                self.emit(record.name, inputs, outputs)

    def _initializer(self, name: str, array: np.ndarray, dtype: DType) -> None:
        self.initializers[name] = _tensor(name, array, dtype)

    def _info(self, name: str, type: TensorType) -> Any:
        from onnx import helper

        shape = [s if isinstance(s, int) else str(s) for s in type.shape]
        return helper.make_tensor_value_info(name, CODES[type.dtype.name], shape)


def _tensor(name: str, array: np.ndarray, dtype: DType) -> Any:
    """A TensorProto with exactly these bits. Raises Unsupported for fp8, which needs opset 19."""
    if dtype.name.startswith("f8"):
        raise Unsupported(
            "fp8 values are not written to ONNX",
            where=f"array {name}",
            expected=f"a dtype of opset {OPSET}",
            got=str(dtype),
            fix="save the program in its own form: program.save(path); or store bf16 or int8 codes",
        )
    from onnx import helper

    little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    return helper.make_tensor(name, CODES[dtype.name], array.shape, little.tobytes(), raw=True)
