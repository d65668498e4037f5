"""A program: a graph, and the arrays of its parameters and states. Callable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from torchlean.errors import ShapeError, UsageError
from torchlean.frozen import frozen
from torchlean.ir import Graph, TensorType, type_of
from torchlean.ir.dims import Size, substitute
from torchlean.ir.dims import parse as parse_size

Arrays = Mapping[str, np.ndarray]


def _frozen(arrays: Arrays) -> Arrays:
    kept = {}
    for name, array in arrays.items():
        view = np.ascontiguousarray(array).reshape(np.shape(array)).view()
        view.flags.writeable = False
        kept[name] = view
    return MappingProxyType(kept)


@frozen
class Program:
    """A typed graph with the values of its named parameters and states. Immutable: training makes a new one.

    Raises   ShapeError when an array is missing, is one too many, or does not have its declared type.
    """

    graph: Graph
    parameters: Arrays = field(default_factory=dict)
    states: Arrays = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", _frozen(self.parameters))
        object.__setattr__(self, "states", _frozen(self.states))
        for kind, arrays in (("parameter", self.parameters), ("state", self.states)):
            declared = self.graph.source_types(kind)
            for name in sorted(set(declared) ^ set(arrays)):
                _refuse(kind, name, declared.get(name, "no such name in the graph"), arrays.get(name))
            for name, t in declared.items():
                if type_of(arrays[name]) != t:
                    _refuse(kind, name, t, arrays[name])

    def __call__(self, *inputs: Any, backend: str = "reference", **named: Any) -> Any:
        """Run on arrays, in the inputs' order or by name.

        backend   `reference` (the same bits everywhere), `eager-cpu` or `eager-cuda` (torch)
        Returns   the output array, or a dict of them when there are several; a state's new value is `update:NAME`.
        Raises    ShapeError when an array does not fit; the sizes of symbolic axes are read from the arrays.
        """
        from torchlean.run.execute import execute

        values = self.bind(*inputs, **named)
        program = self.specialise(**sizes_of(self.graph, values))
        answer = execute(program.graph, {**self.parameters, **self.states, **values}, backend)
        return answer[program.graph.outputs[0][0]] if len(answer) == 1 else answer

    def bind(self, *inputs: Any, **named: Any) -> dict[str, np.ndarray]:
        """The inputs by name, as arrays of the declared dtypes. A float64 array is not silently rounded to f32."""
        types = self.graph.source_types("input")
        names = list(types)
        if len(inputs) > len(names) or set(named) - set(names) or set(named) & set(names[: len(inputs)]):
            raise UsageError(
                "the inputs do not match",
                where="program call",
                expected=f"values for {', '.join(names)}",
                got=f"{len(inputs)} by position, {', '.join(named) or 'none'} by name",
                fix="pass each input once",
            )
        given = dict(zip(names, inputs, strict=False)) | named
        if len(given) < len(names):
            raise UsageError(
                "an input is missing",
                where="program call",
                expected=f"values for {', '.join(names)}",
                got=", ".join(given) or "none",
                fix="pass every input",
            )
        return {name: _as_input(name, given[name], types[name]) for name in names}

    def specialise(self, **sizes: int) -> Program:
        """The same program with symbolic dimensions replaced, `specialise(batch=32)`."""
        from torchlean.passes import specialise

        if not sizes:
            return self
        return replace(self, graph=specialise(self.graph, **sizes))

    def inference(self) -> Program:
        """The program with its states frozen: they are parameters from now on, and nothing is updated."""
        from torchlean.passes import freeze

        return Program(freeze(self.graph), {**self.parameters, **self.states}, {})

    def with_graph(self, graph: Graph) -> Program:
        """Another graph over the same arrays; arrays that it does not name are left out."""
        parameters, states = graph.source_types("parameter"), graph.source_types("state")
        return Program(
            graph,
            {n: a for n, a in self.parameters.items() if n in parameters},
            {n: a for n, a in self.states.items() if n in states},
        )

    def with_arrays(self, parameters: Arrays, states: Arrays | None = None) -> Program:
        """The same graph with other values."""
        return replace(self, parameters=parameters, states=self.states if states is None else states)

    def save(self, path: Any) -> None:
        """Write the file form (`ir.file`)."""
        from torchlean.ir.file import save_program

        save_program(path, self.graph, {**self.parameters, **self.states})

    @staticmethod
    def load(path: Any) -> Program:
        """Read the file form. Raises FileError."""
        from torchlean import ops
        from torchlean.ir.file import load_program

        graph, arrays = load_program(path, ops.ALL)
        return Program(
            graph,
            {n: arrays[n] for n in graph.source_types("parameter")},
            {n: arrays[n] for n in graph.source_types("state")},
        )

    @property
    def input_type(self) -> TensorType:
        """The type of the only input. Raises UsageError when there are several."""
        types = list(self.graph.source_types("input").values())
        if len(types) != 1:
            raise UsageError(
                "the program has several inputs",
                where="program.input_type",
                expected="one input",
                got=", ".join(self.graph.inputs),
                fix="use program.graph.source_types('input')",
            )
        return types[0]

    def __str__(self) -> str:
        return str(self.graph)


def _refuse(kind: str, name: str, expected: Any, array: np.ndarray | None) -> None:
    raise ShapeError(
        f"the {kind} {name!r} does not fit the graph",
        where=f"{kind} {name}",
        expected=str(expected),
        got="nothing" if array is None else str(type_of(array)),
        fix="give exactly the arrays that the graph names",
    )


def _as_input(name: str, value: Any, type: TensorType) -> np.ndarray:
    array = np.asarray(value)
    if not isinstance(value, np.ndarray | np.generic) and array.dtype.kind in "fi":
        array = array.astype(type.dtype.numpy)
    matches = len(array.shape) == type.rank and array.dtype.name == type.dtype.numpy
    if matches:
        matches = all(not isinstance(s, int) or s == n for s, n in zip(type.shape, array.shape, strict=True))
    if not matches:
        raise ShapeError(
            f"the input {name!r} does not fit the program",
            where=f"input {name}",
            expected=str(type),
            got=f"{array.dtype.name}{list(array.shape)}",
            fix=f'convert with .astype("{type.dtype.numpy}") and reshape',
        )
    return array


def sizes_of(graph: Graph, values: Arrays) -> dict[str, int]:
    """The size of every symbol, read from the inputs' shapes.

    Raises   ShapeError when two axes disagree or a symbol stands in no axis by itself.
    """
    sizes: dict[str, int] = {}
    axes = list(_axes(graph, values))
    for size, n, _ in axes:
        if str(size).isidentifier():
            sizes.setdefault(str(size), n)
    for size, n, where in axes:
        got = substitute(size, dict(sizes))
        if got != n:
            raise ShapeError(
                "the sizes of the inputs do not agree",
                where=where,
                expected=f"{size} = {got}",
                got=str(n),
                fix="pass arrays whose symbolic axes have one size each",
            )
    return sizes


def _axes(graph: Graph, values: Arrays) -> Iterator[tuple[Size, int, str]]:
    for name, t in graph.source_types("input").items():
        for axis, (size, n) in enumerate(zip(t.shape, values[name].shape, strict=True)):
            if not isinstance(size, int):
                yield parse_size(str(size)), n, f"input {name}, axis {axis}"
