"""specialise: sizes for symbols, everywhere, and still a well-formed graph."""

import numpy as np
import pytest

from torchlean import ops
from torchlean.errors import ShapeError, UsageError
from torchlean.ir import Builder, f32, lint, symbol, trace
from torchlean.passes import specialise
from torchlean.passes.specialise import symbols


def program():
    g = Builder(ops.ALL, where="model.py:8")
    x, w = g.input("x", f32["batch", "2*n"]), g.parameter("w", f32[3, "2*n"])
    h = g.reshape(g.linear(x, w), shape=(symbol("batch") * 3,))
    h = g.broadcast(h, shape=(symbol("k"), symbol("batch") * 3))
    body = trace(ops.ALL, lambda g, x: g.relu(x) + 0.5, x=f32["k", "3*batch"])
    return g.finish({"y": g.call(h, graph=body)})


def test_every_symbol_is_replaced_in_types_attributes_and_graphs_inside():
    graph = program()
    lint(graph, ops.ALL)
    assert symbols(graph) == {"batch", "n", "k"}
    sized = specialise(graph, batch=4, n=5, k=2)
    lint(sized, ops.ALL)
    assert symbols(sized) == frozenset()
    assert str(sized.source_types("input")["x"]) == "f32[4, 10]"
    assert str(sized.output_types["y"]) == "f32[2, 12]"
    ((_, _, body),) = sized.subgraphs()
    assert str(body.source_types("input")["x"]) == "f32[2, 12]"
    assert [n.where for n in sized.nodes] == [n.where for n in graph.nodes]


def test_some_symbols_may_stay_or_become_others():
    graph = program()
    part = specialise(graph, batch=symbol("k"), k=symbol("batch"))
    lint(part, ops.ALL)
    assert str(part.output_types["y"]) == "f32[batch, 3*k]"
    assert specialise(part, batch=symbol("k"), k=symbol("batch")) == graph
    assert specialise(specialise(graph, n=1), batch=2, k=3) == specialise(graph, n=1, batch=2, k=3)
    assert specialise(graph) is graph


def test_it_commutes_with_tracing():
    def f(g, x):
        y = g.reshape(g.sum(x * x, axes=(-1,), keepdims=True), shape=(-1,))
        return g.concat(y, y, axis=-1)

    symbolic = trace(ops.ALL, f, x=f32["n", "m", 3])
    assert specialise(symbolic, n=2, m=5) == trace(ops.ALL, f, x=f32[2, 5, 3])


@pytest.mark.parametrize("size", [-1, 2.0, True, "4", None, np.float32(2)])
def test_what_is_no_size_is_refused(size):
    with pytest.raises(UsageError, match="a size must be an int"):
        specialise(program(), batch=size)


def test_an_unknown_symbol_is_refused():
    with pytest.raises(UsageError, match=r"(?s)no symbolic dimension 'b'.*batch, k, n"):
        specialise(program(), b=3)
    with pytest.raises(UsageError, match="every axis is known"):
        specialise(trace(ops.ALL, lambda g, x: g.relu(x), x=f32[2]), n=3)


def test_a_size_that_makes_an_axis_negative_names_the_node():
    g = Builder(ops.ALL, where="model.py:9")
    graph = g.finish({"y": g.input("x", f32["n - 3"])})
    assert str(specialise(graph, n=3).output_types["y"]) == "f32[0]"
    with pytest.raises(ShapeError, match=r"(?s)node %0 \(input\), model.py:9.*n=2"):
        specialise(graph, n=2)
