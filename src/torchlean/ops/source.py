"""Where values enter a graph: inputs, parameters, states and constants. An evaluator is given their values."""

from __future__ import annotations

from typing import Any

import numpy as np

from torchlean.ir import EXACT, LEADING, Dim, DType, Linear, Literal, Missing, Op, TensorType, type_of
from torchlean.ir.types import numpy_dtype
from torchlean.ops.common import Attrs, Types, arity, only_attrs, refuse
from torchlean.ops.namespace import cast_to, is_torch


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
    array = value.array.copy()
    if is_torch(xp) and array.dtype.kind == "V":  # bfloat16 and the like, which torch does not take from numpy
        return cast_to(xp, xp.asarray(array.astype(np.float32)), array.dtype.name)
    return xp.asarray(array)


GIVEN = Missing("its value is given from outside")

input_, parameter, state = (
    Op(
        kind,
        named_type,
        GIVEN,
        no_inputs_vjp,
        batch=LEADING,
        interval=GIVEN,
        relax=Linear(()),
        rounding=EXACT,
        lower=GIVEN,
        onnx=GIVEN,
    )
    for kind in ("input", "parameter", "state")
)
constant = Op(
    "constant",
    constant_type,
    constant_meaning,
    no_inputs_vjp,
    batch=LEADING,
    interval=constant_meaning,
    relax=Linear(()),
    rounding=EXACT,
    lower=constant_lower,
    onnx=Missing("read and written as initializer"),
)


def size_type(attrs: Attrs, *types: TensorType) -> Types:
    """A scalar of the dtype given."""
    arity("size", types, 0)
    only_attrs("size", attrs, "of", "dtype")
    if isinstance(attrs["of"], bool) or not isinstance(attrs["of"], int | Dim) or not isinstance(attrs["dtype"], DType):
        raise refuse(
            "size",
            "needs a dimension and a dtype",
            "of: a dimension, dtype: a dtype",
            str(dict(attrs)),
            "g.literal(x.shape[0], x)",
        )
    return (TensorType((), attrs["dtype"]),)


def _number(of: Any, dtype: DType) -> np.ndarray:
    if not isinstance(of, int):
        raise refuse("size", "this step needs known sizes", "an int", str(of), "specialise the program first")
    return np.asarray(of, dtype=numpy_dtype(dtype.numpy))


def size_meaning(N: Any, *, of: Any, dtype: DType) -> Any:
    """A dimension as a value, rounded once to the dtype."""
    return N.constant(_number(of, dtype))


size = Op(
    "size",
    size_type,
    size_meaning,
    no_inputs_vjp,
    batch=LEADING,
    interval=size_meaning,
    relax=Linear(()),
    rounding=EXACT,
    lower=lambda xp, *, of, dtype: xp.asarray(_number(of, dtype)),
    onnx=Missing("a specialised program has a constant in its place"),
)

OPS = (input_, parameter, state, constant, size)
