"""Frozen records that are cheap to define.

`dataclass(frozen=True)` compiles six functions for each class, which is half a millisecond to one: for the records of a
short command, as long as everything that it computes. Here only `__init__` is compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields
from functools import partial
from operator import attrgetter
from typing import Any, NoReturn, TypeVar, dataclass_transform, overload

Class = TypeVar("Class", bound=type[Any])


@overload
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: Class, /) -> Class: ...
@overload
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(*, eq: bool) -> Callable[[Class], Class]: ...
def frozen(cls: Any = None, /, *, eq: bool = True) -> Any:
    """`@frozen` is `@dataclass(frozen=True)`, `@frozen(eq=False)` is `@dataclass(frozen=True, eq=False)`.

    `field`, `fields`, `replace`, `__post_init__` and `match` work as they do there; a method that the class defines
    itself stands.
    """
    return partial(_made, eq=eq) if cls is None else _made(cls, eq)


def _made(cls: type[Any], eq: bool) -> type[Any]:
    own = set(vars(cls))
    cls.__doc__ = cls.__doc__ or cls.__name__  # without one, `dataclass` writes the signature, and loads a tokenizer
    dataclass(init=False, repr=False, eq=False)(cls)
    every = fields(cls)
    methods = {"__init__": _init(cls, every), "__repr__": _repr, "__setattr__": _set, "__delattr__": _delete}
    if eq:
        methods |= _comparison([f.name for f in every if f.compare])
    for name, method in methods.items():
        if name not in own:
            setattr(cls, name, method)
    return cls


def _init(cls: type[Any], every: tuple[Field[Any], ...]) -> Any:
    """`__init__` with the fields as its arguments, in their order; `__post_init__` comes last."""
    names: dict[str, Any] = {"_set": object.__setattr__}
    arguments, lines = ["self"], []
    for f in every:
        name, given, value = f.name, f"_default_{f.name}", f.name
        if f.default is not MISSING:
            names[given] = f.default
        elif f.default_factory is not MISSING:
            names[given] = f.default_factory
            value = f"{given}() if {name} is {given} else {name}"
        if f.init:
            arguments.append(f"{name}={given}" if given in names else name)
            lines.append(f"_set(self, {name!r}, {value})")
    if getattr(cls, "__post_init__", None) is not None:
        lines.append("self.__post_init__()")
    exec(f"def __init__({', '.join(arguments)}):\n " + "\n ".join(lines or ["pass"]), names)
    made = names["__init__"]
    made.__qualname__, made.__module__ = f"{cls.__qualname__}.__init__", cls.__module__
    return made


def _comparison(names: list[str]) -> dict[str, Any]:
    """`__eq__` and `__hash__` by the values of these fields."""
    values: Callable[[Any], Any] = attrgetter(*names) if names else lambda self: ()

    def __eq__(self: Any, other: Any) -> Any:
        return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

    def __hash__(self: Any) -> int:
        return hash(values(self))

    return {"__eq__": __eq__, "__hash__": __hash__}


def _repr(self: Any) -> str:
    shown = (f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if f.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _set(self: Any, name: str, value: Any) -> NoReturn:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _delete(self: Any, name: str) -> NoReturn:
    raise FrozenInstanceError(f"cannot delete field {name!r}")
