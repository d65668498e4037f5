"""Where values enter a graph: inputs, parameters, states and constants. An evaluator is given their values."""

from __future__ import annotations

from typing import Any

from torchlean.ir import EXACT, LEADING, Linear, Literal, Missing, Op, TensorType, type_of
from torchlean.ops.common import Attrs, Types, arity, only_attrs, refuse


def named_type(attrs: Attrs, *types: TensorType) -> Types:
    """An input, parameter or state has the type it declares."""
    arity("source", types, 0)
    only_attrs("source", attrs, "name", "type")
    if not isinstance(attrs["name"], str) or not attrs["name"] or not isinstance(attrs["type"], TensorType):
        raise refuse("source", "needs a name and a type", "a name and a tensor type", str(dict(attrs)), "give both")
    return (attrs["type"],)


def constant_type(attrs: Attrs, *types: TensorType) -> Types:
    """A constant has its array's type."""
    arity("constant", types, 0)
    only_attrs("constant", attrs, "value")
    if not isinstance(attrs["value"], Literal):
        raise refuse("constant", "needs an array", "an array", type(attrs["value"]).__name__, "g.constant(array)")
    return (type_of(attrs["value"].array),)


def constant_meaning(N: Any, *, value: Literal) -> Any:
    """The array itself; a float entry is the real number that it is."""
    return N.constant(value.array)


def no_inputs_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any, **attrs: Any) -> tuple[()]:
    return ()


def constant_lower(xp: Any, *, value: Literal) -> Any:
    return xp.asarray(value.array.copy())


GIVEN = Missing("its value is given from outside")

input_, parameter, state = (
    Op(kind, named_type, GIVEN, no_inputs_vjp, batch=LEADING, interval=GIVEN, relax=Linear(()), rounding=EXACT,
       lower=GIVEN, onnx=GIVEN)
    for kind in ("input", "parameter", "state")
)  # fmt: skip
constant = Op("constant", constant_type, constant_meaning, no_inputs_vjp, batch=LEADING, interval=constant_meaning,
              relax=Linear(()), rounding=EXACT, lower=constant_lower, onnx=Missing("read and written as initializer"))  # fmt: skip

OPS = (input_, parameter, state, constant)
