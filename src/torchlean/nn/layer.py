"""What a layer is: an immutable piece of plain Python that adds nodes to a graph.

A layer is a frozen dataclass whose fields are numbers, initializers and other layers. Its parameters have no home in
the layer: `self.parameter(x, "weight", ...)` declares one in the graph under construction, named by the layer's path in
the model (`0.weight`, `body.layers.2.bias`). One layer object used twice is therefore one set of parameters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import numpy as np

from torchlean.errors import GraphError, ShapeError, TorchLeanError
from torchlean.ir import Builder, DType, Shape, Tensor, TensorType
from torchlean.ir.where import caller_line
from torchlean.nn.init import Initializer


@dataclass
class Tracing:
    """What is known while one graph is built: the layers' paths, who declares what, and how it starts."""

    training: bool = False
    paths: dict[int, tuple[str, str]] = field(default_factory=dict)  # id -> (path, label)
    kept: list[Layer] = field(default_factory=list)  # alive, so that ids stay theirs
    initializers: dict[str, Initializer] = field(default_factory=dict)
    owners: dict[str, int] = field(default_factory=dict)
    updates: dict[str, Tensor] = field(default_factory=dict)

    def adopt(self, model: object) -> None:
        """Give every layer reachable from `model` its path."""
        for path, label, layer in walk(model):
            if id(layer) not in self.paths:
                self.paths[id(layer)] = (path, label)
                self.kept.append(layer)

    def path(self, layer: Layer) -> tuple[str, str]:
        """(path, label); a layer met in a plain function is numbered by its kind, in the order of first use."""
        if id(layer) not in self.paths:
            kind = type(layer).__name__.lower()
            taken = {p for p, _ in self.paths.values()}
            name = next(f"{kind}{i}" for i in range(len(taken) + 1) if f"{kind}{i}" not in taken)
            self.paths[id(layer)] = (name, f"layer {name}")
            self.kept.append(layer)
            for path, label, inner in walk(layer):
                self.paths.setdefault(id(inner), (f"{name}.{path}", label.replace("layer ", f"layer {name}.", 1)))
                self.kept.append(inner)
        return self.paths[id(layer)]


_TRACINGS: WeakKeyDictionary[Builder, Tracing] = WeakKeyDictionary()


def tracing(builder: Builder) -> Tracing:
    """The tracing that belongs to a graph under construction."""
    return _TRACINGS.setdefault(builder, Tracing())


class Layer(ABC):
    """A piece of a model, called on tensors. Subclasses are frozen dataclasses that define `forward`.

    flat   a container that adds no level of its own to the paths of its layers
    """

    flat: ClassVar[bool] = False
    _where: str

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        layer = super().__new__(cls)
        object.__setattr__(layer, "_where", caller_line())
        return layer

    @abstractmethod
    def forward(self, *x: Any) -> Any:
        """The nodes of this layer, added to the graph of its inputs."""

    def __call__(self, *x: Any) -> Any:
        """Apply the layer. Raises ShapeError that names the layer and the line that made it."""
        builder = _builder(self, x)
        context = tracing(builder)
        context.path(self)
        outside = builder.line
        if type(self).__module__.startswith("torchlean."):
            builder.line = self._where
        try:
            return self.forward(*x)
        except TorchLeanError as error:
            raise _in_layer(error, context.path(self)[1], self._where) from None
        finally:
            builder.line = outside

    def parameter(self, x: Tensor, name: str, shape: Shape, init: Initializer, dtype: DType | None = None) -> Tensor:
        """Declare the parameter PATH.name with its one initializer, in x's dtype unless another is given."""
        full = self._declare(x, name, init)
        return x.builder.parameter(full, TensorType(shape, dtype or x.dtype))

    def state(self, x: Tensor, name: str, shape: Shape, init: Initializer, dtype: DType | None = None) -> Tensor:
        """Declare the state PATH.name with its one initializer."""
        full = self._declare(x, name, init)
        return x.builder.state(full, TensorType(shape, dtype or x.dtype))

    def update(self, x: Tensor, name: str, value: Tensor) -> None:
        """The state PATH.name takes `value` after a run. Raises GraphError on a second update in one trace."""
        context = tracing(x.builder)
        full = self._full(context, name)
        if full in context.updates:
            raise GraphError(
                "a state is updated twice in one run",
                where=context.path(self)[1],
                expected="one use of this layer in a training trace",
                got=f"a second update of {full}",
                fix="give each use its own layer object",
            )
        context.updates[full] = value

    def _full(self, context: Tracing, name: str) -> str:
        path = context.path(self)[0]
        return f"{path}.{name}" if path else name

    def _declare(self, x: Tensor, name: str, init: Initializer) -> str:
        context = tracing(x.builder)
        full = self._full(context, name)
        if context.owners.setdefault(full, id(self)) != id(self):
            raise GraphError(
                "two layers declare one name",
                where=context.path(self)[1],
                expected="one layer per name",
                got=full,
                fix="give the layers different field names",
            )
        known = context.initializers.setdefault(full, init)
        if known is not init and known != init:
            raise GraphError(
                "a parameter has two initializers",
                where=f"parameter {full}",
                expected="exactly one",
                got=f"{known!r} and {init!r}",
                fix="declare it with one initializer",
            )
        return full


def _builder(layer: Layer, x: tuple[Any, ...]) -> Builder:
    for t in x:
        if isinstance(t, Tensor):
            return t.builder
    got = ", ".join(type(t).__name__ for t in x) or "nothing"
    raise ShapeError(
        "a layer is called on tensors of a graph under construction",
        where=f"{type(layer).__name__}, {layer._where}",
        expected="a Tensor",
        got=got,
        fix='trace it first: program = tl.trace(model, tl.f32["batch", 7]), then call program on arrays',
    )


def walk(model: object, path: str = "") -> Iterator[tuple[str, str, Layer]]:
    """(path, label, layer) of every layer below `model`: through fields, tuples and dicts, in order.

    The label says the position and the name: `layer 2 (fc2)`, or `layer body.2 (Linear)`.
    """
    if not is_dataclass(model) or isinstance(model, type):
        return
    for f in fields(model):
        value = getattr(model, f.name)
        flat = isinstance(model, Layer) and model.flat
        stem = path if flat else _join(path, f.name)
        if isinstance(value, Layer):
            yield from _one(stem, f"layer {stem} ({type(value).__name__})", value)
        elif isinstance(value, tuple):
            names = getattr(model, "names", ()) if flat else ()
            for i, item in enumerate(value):
                if not isinstance(item, Layer):
                    continue
                name = names[i] if names else str(i)
                shown = type(item).__name__ if name == str(i) else name
                yield from _one(_join(stem, name), f"layer {_join(stem, str(i))} ({shown})", item)


def _one(path: str, label: str, layer: Layer) -> Iterator[tuple[str, str, Layer]]:
    yield path, label, layer
    yield from walk(layer, path)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _in_layer(error: TorchLeanError, label: str, line: str) -> TorchLeanError:
    """The same error, placed in the innermost layer: `layer 2 (fc2), model.py:31`."""
    if error.where.startswith("layer ") or not label:
        return error
    found = error.where.rsplit(", ", 1)[-1] if ", " in error.where else line
    return type(error)(error.what, where=f"{label}, {found}", expected=error.expected, got=error.got, fix=error.fix)


def as_float32(values: Any) -> np.ndarray:
    """A float32 array of what is given, each entry rounded once."""
    return np.asarray(values, dtype=np.float64).astype(np.float32)
