"""Building a graph: the tracer.

A `Builder` offers every op of its table as a method, `g.add(x, y)`, `g.sum(x, axes=(-1,))`: inputs by position,
attributes by name. It is handed to models, to `vjp` rules and, being a number system itself, to `meaning`: running a
composite op's meaning on it gives the op's graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from torchlean.errors import GraphError, ShapeError, TorchLeanError
from torchlean.ir.dims import Dim, Shape
from torchlean.ir.graph import Attr, Graph, Literal, Node, Value
from torchlean.ir.op import OpTable
from torchlean.ir.tensor import Tensor
from torchlean.ir.types import DType, TensorType, f32, numpy_dtype, type_of
from torchlean.ir.where import caller_line


class Builder:
    """Appends typed nodes; `finish` makes the immutable graph.

    line   a source line for every node, in place of the caller's own (importers and passes set it)
    """

    def __init__(self, table: OpTable, where: str | None = None) -> None:
        self.table = table
        self.line = where
        self._nodes: list[Node] = []
        self._named: dict[tuple[str, str], Value] = {}

    # Sources

    def input(self, name: str, type: TensorType) -> Tensor:
        return self._source("input", name, type)

    def parameter(self, name: str, type: TensorType) -> Tensor:
        """The parameter `name`; asking twice gives the same one."""
        return self._source("parameter", name, type)

    def state(self, name: str, type: TensorType) -> Tensor:
        return self._source("state", name, type)

    def constant(self, value: Any, dtype: DType | None = None) -> Tensor:
        """A constant array. Python floats become f32 unless `dtype` says otherwise: rounded once, here."""
        array = np.asarray(value)
        if dtype is not None:
            array = array.astype(_numpy(dtype))
        elif not isinstance(value, np.ndarray | np.generic) and array.dtype == np.float64:
            array = array.astype(np.float32)
        return self.add_node("constant", (), {"value": Literal.of(array)}, (type_of(array),))

    def literal(self, value: float | int | bool | Dim, like: Tensor) -> Tensor:
        """A scalar of `like`'s dtype; a symbolic dimension becomes a `size` node."""
        if isinstance(value, Dim):
            return self.apply("size", of=value, dtype=like.dtype)
        return self.constant(value, like.dtype)

    def shape(self, x: Tensor) -> Shape:
        """The shape, as a number system gives it; sizes may be symbolic here."""
        return x.shape

    def dtype(self, x: Tensor) -> str:
        """The name of the numpy dtype, as a number system gives it."""
        return x.dtype.numpy

    def run(self, graph: Graph, *values: Tensor) -> tuple[Tensor, ...]:
        """A subgraph on these inputs: its nodes, copied in. Returns its outputs in order."""
        return tuple(self.inline(graph, values).values())

    @property
    def zero(self) -> float:
        return 0.0

    @property
    def one(self) -> float:
        return 1.0

    def _source(self, kind: str, name: str, type: TensorType) -> Tensor:
        for other in ("input", "parameter", "state"):
            if other != kind and (other, name) in self._named:
                self._refuse_name(kind, name, f"an {other} of that name")
        known = self._named.get((kind, name))
        if known is None:
            tensor = self.add_node(kind, (), {"name": name, "type": type}, (type,))
            self._named[kind, name] = tensor.value
            return tensor
        if self.type(known) != type:
            self._refuse_name(kind, name, str(self.type(known)))
        return Tensor(self, known)

    def _refuse_name(self, kind: str, name: str, got: str) -> None:
        raise GraphError(
            f"the {kind} {name!r} exists already",
            where=self._line(),
            expected="one name for one source, with one type",
            got=got,
            fix="choose another name",
        )

    # Ops

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_") or name not in self.table:
            raise AttributeError(f"no op is named {name!r}")

        def call(*inputs: Any, **attrs: Any) -> Any:
            return self.apply(name, *inputs, **attrs)

        return call

    def dot(self, x: Tensor, w: Tensor) -> Tensor:
        """x[*s, m, k] . w[*s, n, k] over the last axis: the fold that number systems define products by."""
        rank = w.type.rank
        axes = (*range(-rank, -2), -1, -2)
        return self.apply("matmul", x, self.apply("permute", w, axes=axes))

    def apply(self, op: str, *inputs: Any, **attrs: Any) -> Any:
        """Add a node. Python numbers among the inputs become constants of the first numeric tensor's dtype.

        Float attributes are rounded to the node's dtype; `axis` and `axes` are stored counted from the end.
        Returns   a Tensor, or a tuple of them for an op with several outputs.
        Raises    ShapeError when the type rule refuses; the error names this source line.
        """
        if len(inputs) == 1 and isinstance(inputs[0], list | tuple):
            inputs = tuple(inputs[0])
        tensors = self._tensors(op, inputs)
        record = self.table[op]
        clean = {k: _attr(v) for k, v in attrs.items()}
        for name in ("axis", "axes"):
            if name in clean and tensors:
                clean[name] = _from_the_end(clean[name], tensors[0].type.rank)
        try:
            types = record.type_rule(clean, *(t.type for t in tensors))
        except TorchLeanError as error:
            raise _located(error, self._line()) from None
        except TypeError as error:
            raise ShapeError(
                f"{op} was called with the wrong inputs or attributes",
                where=self._line(),
                expected=f"the inputs and attributes of {op}",
                got=f"{len(tensors)} inputs, attributes {sorted(clean)} ({error})",
                fix=f"see the op table for {op}",
            ) from None
        clean = {k: _rounded(v, types) for k, v in clean.items()}
        self.add_node(op, tuple(t.value for t in tensors), clean, types)
        number = len(self._nodes) - 1
        results = tuple(Tensor(self, Value(number, i)) for i in range(len(types)))
        return results[0] if len(results) == 1 else results

    def add_node(
        self,
        op: str,
        inputs: tuple[Value, ...],
        attrs: Mapping[str, Attr],
        types: tuple[TensorType, ...],
        where: str | None = None,
    ) -> Tensor:
        """Append a node as it stands, already typed (passes use this)."""
        line = self._line() if where is None else where
        self._nodes.append(Node(op, inputs, tuple(sorted(attrs.items())), types, line))
        return Tensor(self, Value(len(self._nodes) - 1))

    def inline(self, graph: Graph, arguments: Mapping[str, Tensor] | Sequence[Tensor]) -> dict[str, Tensor]:
        """Copy `graph` in, its inputs replaced by `arguments` (by name, or in order). Returns its outputs by name.

        Parameters and states of equal name are shared. Updates come back under the key `update:NAME`.
        """
        if not isinstance(arguments, Mapping):
            arguments = dict(zip(graph.inputs, arguments, strict=True))
        copies: list[tuple[Value, ...]] = []
        for node in graph.nodes:
            if node.op == "input" and node.name in arguments:
                copies.append((arguments[node.name].value,))
            elif node.op in ("input", "parameter", "state"):
                copies.append((self._source(node.op, node.name, node.type).value,))
            else:
                inputs = tuple(copies[v.node][v.index] for v in node.inputs)
                first = self.add_node(node.op, inputs, node.attributes, node.types, node.where).value.node
                copies.append(tuple(Value(first, i) for i in range(len(node.types))))
        results = {name: Tensor(self, copies[v.node][v.index]) for name, v in graph.outputs}
        results.update((f"update:{name}", Tensor(self, copies[v.node][v.index])) for name, v in graph.updates)
        return results

    def type(self, value: Value) -> TensorType:
        return self._nodes[value.node].types[value.index]

    def node(self, value: Value) -> Node:
        return self._nodes[value.node]

    def finish(self, outputs: Mapping[str, Tensor], updates: Mapping[str, Tensor] | None = None) -> Graph:
        """The immutable graph."""
        return Graph(
            tuple(self._nodes),
            tuple((name, t.value) for name, t in outputs.items()),
            tuple((name, t.value) for name, t in (updates or {}).items()),
        )

    def _tensors(self, op: str, inputs: Sequence[Any]) -> list[Tensor]:
        dtypes = [x.dtype for x in inputs if isinstance(x, Tensor)]
        dtype = next((d for d in dtypes if d.kind != "bool"), dtypes[0] if dtypes else f32)
        result = []
        for x in inputs:
            if isinstance(x, Tensor):
                if x.builder is not self:
                    raise GraphError(
                        "a tensor of another graph",
                        where=f"{op}, {self._line()}",
                        expected="tensors of the graph under construction",
                        got=repr(x),
                        fix="pass the other graph's result in as an input, or inline that graph",
                    )
                result.append(x)
            elif isinstance(x, np.ndarray | np.generic):
                result.append(self.constant(x))
            elif isinstance(x, bool | int | float):
                result.append(self.constant(x, dtype))
            else:
                raise ShapeError(
                    f"{op}: an input is no tensor",
                    where=self._line(),
                    expected="tensors, numpy arrays or Python numbers",
                    got=type(x).__name__,
                    fix="convert it with numpy.asarray",
                )
        return result

    def _line(self) -> str:
        """file.py:line of the nearest caller outside this package."""
        if self.line is not None:
            return self.line
        return caller_line()


def _numpy(dtype: DType) -> np.dtype:
    return numpy_dtype(dtype.numpy)


def _attr(value: Any) -> Attr:
    """An attribute in its hashable form: lists become tuples, arrays literals, numpy scalars Python ones."""
    if isinstance(value, list | tuple):
        return tuple(_attr(v) for v in value)
    if isinstance(value, np.ndarray):
        return Literal.of(value)
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str | Dim | DType | TensorType | Literal | Graph):
        return value
    raise ShapeError(
        "an attribute has a type that a program cannot hold",
        where="op attribute",
        expected="bool, int, float, str, dimension, dtype, type, array, graph, or a tuple of them",
        got=type(value).__name__,
        fix="convert it",
    )


def _from_the_end(axes: Attr, rank: int) -> Attr:
    """The attributes `axis` and `axes` count axes of the first input; they are stored from the end."""
    if isinstance(axes, tuple):
        return tuple(_from_the_end(a, rank) for a in axes)
    return axes - rank if isinstance(axes, int) and 0 <= axes < rank else axes


def _rounded(value: Attr, types: tuple[TensorType, ...]) -> Attr:
    """A float attribute rounded once to the node's dtype: every number system reads what is stored."""
    dtype = next((t.dtype for t in types if t.dtype.kind == "float"), None)
    if not isinstance(value, float) or dtype is None:
        return value
    with np.errstate(all="ignore"):  # beyond the largest number it becomes infinite
        return float(np.asarray(value).astype(_numpy(dtype)))


def _located(error: TorchLeanError, line: str) -> TorchLeanError:
    """The same error, with the source line added to `where`."""
    return type(error)(
        error.what, where=f"{error.where}, {line}", expected=error.expected, got=error.got, fix=error.fix
    )


def trace(table: OpTable, function: Callable[..., Any], **inputs: TensorType) -> Graph:
    """The graph of `function(g, **tensors)`: a Tensor becomes the output `y`, a dict names its outputs.

    A tuple's members are named y0, y1, ...
    """
    g = Builder(table)
    result = function(g, **{name: g.input(name, t) for name, t in inputs.items()})
    return g.finish(named_outputs(result))


def named_outputs(result: Any) -> dict[str, Tensor]:
    """The outputs of a traced function by name."""
    if isinstance(result, Tensor):
        return {"y": result}
    if isinstance(result, Mapping):
        return dict(result)
    return {f"y{i}": t for i, t in enumerate(result)}
