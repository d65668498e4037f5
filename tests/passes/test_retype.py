"""retype: the same program in another float format."""

import numpy as np

from torchlean import ops
from torchlean.ir import Builder, f16, f32, f64, i64, lint, trace
from torchlean.meaning import Float
from torchlean.meaning.evaluate import evaluate
from torchlean.passes import retype


def program(dtype):
    g = Builder(ops.ALL, where="m.py:1")
    x, w, i = g.input("x", dtype[2, 3]), g.parameter("w", dtype[4, 3]), g.input("i", i64[2])
    s = g.state("s", dtype[()])
    h = g.relu(g.linear(x, w)) + g.constant(np.float32(0.1), f32 if dtype is f32 else dtype)
    body = trace(ops.ALL, lambda g, a: g.relu(a), a=dtype[2, 4])
    count = g.cast(i, dtype=dtype.name)
    return g.finish({"y": g.call(h, graph=body), "n": count, "i": i + i}, {"s": s + count.sum()})


def test_every_f32_becomes_the_other_dtype():
    wide = retype(program(f32), ops.ALL, f64)
    lint(wide, ops.ALL)
    assert wide == program(f64)
    assert [n.where for n in wide.nodes] == [n.where for n in program(f32).nodes]


def test_it_goes_back_where_nothing_was_lost():
    graph = program(f32)
    assert retype(retype(graph, ops.ALL, f64), ops.ALL, f32, source=f64) == graph
    assert retype(graph, ops.ALL, f32) == graph


def test_constants_are_rounded_once_to_nearest():
    graph = trace(ops.ALL, lambda g, x: x + 0.1, x=f32[()])
    half = retype(graph, ops.ALL, f16)
    lint(half, ops.ALL)
    (value,) = evaluate(half, Float(), {"x": np.float16(0.0)}).values()
    assert value == np.float16(np.float32(0.1)) and value.dtype == np.float16
