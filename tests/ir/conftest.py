"""Graphs that use every part of the form, over a table with ops of several outputs and with graphs as attributes."""

from __future__ import annotations

import numpy as np
import pytest

from torchlean import ops
from torchlean.ir import Builder, Graph, Literal, Missing, Op, OpTable, TensorType, f32, f64, i64, symbol

NONE = Missing("only its form matters here")


def _op(name: str, type_rule) -> Op:
    return Op(name, type_rule, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE)


def _two(attrs, *types):
    return types[0], TensorType(types[0].shape, i64)


def _none(attrs, *types):
    return ()


def _body(attrs, *types):
    return tuple(attrs["body"].output_types.values())


def _anything(attrs, *types):
    return (f64[()],)


EXTRA = {op.name: op for op in (_op("two", _two), _op("none", _none), _op("loop", _body), _op("any", _anything))}
TABLE: OpTable = {**ops.ALL, **EXTRA}

FLOATS = (0.0, -0.0, 0.1, 1e300, 5e-324, float("inf"), -float("inf"), float("nan"), -float("nan"))
ARRAYS = (
    np.float32(0.1),
    np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1e-45, 3.4e38], np.float32),
    np.array([0x7FC00001, 0xFF800001], np.uint32).view(np.float32),  # a NaN payload, a signalling NaN
    np.arange(60, dtype=np.float64).reshape(3, 4, 5) / 7,
    np.array([True, False]),
    np.array([[-(2**63), 2**63 - 1]]),
    np.zeros((0, 3), np.float32),
    np.arange(3, dtype=">f4"),
    np.arange(12, dtype=np.float32).reshape(3, 4).T,
)


def full_graph() -> Graph:
    """Several outputs, states, updates, nested graphs, and an attribute of every kind."""
    body = Builder(TABLE, where="body.py:1")
    body_y = body.relu(body.input("x", f32["n"]))
    body.any(value=np.arange(9.0))
    inner = body.finish({"y": body_y})
    outer = Builder(TABLE, where="outer.py:2")
    outer_y = outer.loop(outer.input("z", f32["n"]), body=inner, steps=2)
    nested = outer.finish({"y": outer_y})

    g = Builder(TABLE, where="model.py:8")
    x = g.input("x", f32["n"])
    mean = g.state("running mean", f32["n"])
    g.parameter("layers.0.weight", f32[3, "2*n + 1"])
    g.line = ' odd "place" # 1 '
    values, indices = g.two(x)
    g.line = "line\nbreak"
    g.none(indices)
    g.line = ""
    y = g.loop(x + mean, body=nested)
    z = g.constant(0.0, f64)
    for i, value in enumerate(FLOATS):
        z = z + g.any(x, value=value, index=i)
    for array in ARRAYS:
        g.constant(array)
        g.any(value=Literal.of(np.asarray(array)))
    n = symbol("n")
    g.any(
        a=None, b=True, c=False, d=-3, e='text "quoted" # \n é', f=n, g=(n * n - 2 * n + 1) // 2, h=(), i=(1,),
        j=(1, (n // 3,), -1.5, "a"), k=f32, l=f32["n", 2], m=symbol("f32") + symbol("nan"), n=((n,), -n),
    )  # fmt: skip
    return g.finish({"y": y, "z": z, "indices": indices, "odd name": values}, {"running mean": y * 0.5 + mean})


@pytest.fixture(scope="session")
def table() -> OpTable:
    return TABLE


@pytest.fixture(scope="session")
def graph() -> Graph:
    return full_graph()


@pytest.fixture(scope="session")
def small() -> Graph:
    """relu(x @ w), one node of each kind."""
    g = Builder(ops.ALL, where="model.py:8")
    x, w = g.input("x", f32["batch", 4]), g.parameter("w", f32[4, 2])
    return g.finish({"y": g.relu(g.matmul(x, w)) * 0.5})
