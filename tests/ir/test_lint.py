"""Each rule of the form, broken on purpose: the error names the node and its line."""

from dataclasses import replace

import numpy as np
import pytest

from torchlean import ops
from torchlean.errors import GraphError, ShapeError
from torchlean.ir import Builder, Graph, Literal, Node, TensorType, Value, f32, i64, lint


def with_node(graph, index, **changes):
    nodes = list(graph.nodes)
    nodes[index] = replace(nodes[index], **changes)
    return replace(graph, nodes=tuple(nodes))


def test_good_graphs_pass(graph, small, table):
    lint(graph, table)
    lint(small, table, allow_dead=False)


# index 2 is matmul(x, w), 3 relu, 4 the constant 0.5, 5 mul
BROKEN = {
    "unknown op": (3, {"op": "relux"}, "no op is named"),
    "an op's prefix": (3, {"op": "rel"}, "no op is named"),
    "reads itself": (3, {"inputs": (Value(3),)}, "no earlier node"),
    "reads a later node": (3, {"inputs": (Value(5),)}, "no earlier node"),
    "reads a negative node": (3, {"inputs": (Value(-1),)}, "no earlier node"),
    "reads an output that is not there": (3, {"inputs": (Value(2, 1),)}, "no output of this number"),
    "too few inputs": (2, {"inputs": (Value(0),)}, "inputs"),
    "too many inputs": (3, {"inputs": (Value(2), Value(2))}, "inputs"),
    "an unknown attribute": (3, {"attrs": (("slope", 0.1),)}, "attributes"),
    "wrong type": (3, {"types": (f32["batch", 3],)}, "other types"),
    "wrong dtype": (3, {"types": (i64["batch", 2],)}, "other types"),
    "an output too many": (3, {"types": (f32["batch", 2], f32["batch", 2])}, "other types"),
    "inputs that do not fit": (2, {"inputs": (Value(1), Value(0))}, "matmul"),
    "attributes out of order": (0, {"attrs": (("type", f32["batch", 4]), ("name", "x"))}, "not in order"),
    "an attribute twice": (0, {"attrs": (("name", "x"), ("name", "x"), ("type", f32["batch", 4]))}, "not in order"),
    "a list as attribute": (3, {"attrs": (("a", [1]),)}, "cannot hold"),
    "a numpy scalar as attribute": (3, {"attrs": (("a", (np.float64(1.0),)),)}, "cannot hold"),
    "two sources of one name": (1, {"attrs": (("name", "x"), ("type", f32[4, 2]))}, "two sources"),
    "an empty name": (0, {"attrs": (("name", ""), ("type", f32["batch", 4]))}, "name"),
    "a name that files reserve": (0, {"attrs": (("name", "#0"), ("type", f32["batch", 4]))}, "not a name"),
    "a name with a line break": (0, {"attrs": (("name", "a\nb"), ("type", f32["batch", 4]))}, "not a name"),
    "a source whose type is another": (0, {"attrs": (("name", "x"), ("type", f32["n", 4]))}, "other types"),
    "a constant whose type is another": (4, {"types": (f32[1],)}, "other types"),
}


@pytest.mark.parametrize(("index", "changes", "what"), BROKEN.values(), ids=BROKEN)
def test_a_broken_node_is_named_with_its_line(small, index, changes, what):
    with pytest.raises((GraphError, ShapeError)) as caught:
        lint(with_node(small, index, **changes), ops.ALL)
    error = caught.value
    assert what in error.what
    assert f"node %{index} (" in error.where and "model.py:8" in error.where
    assert error.expected and error.got and error.fix


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"outputs": (("y", Value(9)),)}, "no earlier node"),
        ({"outputs": (("y", Value(5, 1)),)}, "no output of this number"),
        ({"outputs": (("y", Value(5)), ("y", Value(3)))}, "stands twice"),
        ({"outputs": (("", Value(5)),)}, "not a name"),
        ({"updates": (("w", Value(5)),)}, "names no state"),
        ({"updates": (("w", Value(9)),)}, "no earlier node"),
    ],
)
def test_broken_outputs_and_updates(small, changes, what):
    with pytest.raises(GraphError, match=what):
        lint(replace(small, **changes), ops.ALL)


def test_an_update_has_the_type_of_its_state():
    g = Builder(ops.ALL)
    s = g.state("s", f32[2])
    good = g.finish({}, {"s": s + s})
    lint(good, ops.ALL)
    wide = g.broadcast(s, shape=(3, 2))
    with pytest.raises(GraphError, match=r"(?s)another type than its state.*f32\[3, 2\]"):
        lint(g.finish({}, {"s": wide}), ops.ALL)
    with pytest.raises(GraphError, match="stands twice"):
        lint(replace(good, updates=good.updates * 2), ops.ALL)


def test_a_dead_node_is_reported_when_asked(small):
    dead = replace(small, outputs=(("y", Value(3)),))
    lint(dead, ops.ALL)
    with pytest.raises(GraphError, match=r"(?s)reaches no output.*node %4 \(constant\)"):
        lint(dead, ops.ALL, allow_dead=False)
    signature = replace(small, outputs=(("y", Value(0)),), nodes=small.nodes[:2])
    lint(signature, ops.ALL, allow_dead=False)  # an unused parameter belongs to the signature


def test_the_graphs_inside_are_linted_too(graph, table):
    index, name, outer = next(iter(graph.subgraphs()))
    inner_index, _, inner = next(iter(outer.subgraphs()))
    broken_inner = with_node(inner, 1, types=(f32[7],))
    broken_outer = with_node(outer, inner_index, attrs=(("body", broken_inner), ("steps", 2)))
    broken = with_node(graph, index, attrs=((name, broken_outer),))
    with pytest.raises(GraphError) as caught:
        lint(broken, table)
    assert f"node %{index} (loop)" in caught.value.where
    assert "in body: " in caught.value.where and caught.value.where.endswith("node %1 (relu), body.py:1")


def test_equality_of_nodes_is_that_of_bits():
    def node(value):
        return Node("pad", (), (("value", value),), (f32[2],))

    assert node(float("nan")) == node(float("nan")) and hash(node(float("nan"))) == hash(node(float("nan")))
    distinct = [0.0, -0.0, 0, False, 1, True, 1.0, (0.0,), (-0.0,), None, "0"]
    assert len({node(v) for v in distinct}) == len(distinct)
    assert Node("a", (), (), (), where="x.py:1") == Node("a", (), (), (), where="y.py:2")


def test_a_literal_holds_native_bytes():
    assert Literal.of(np.arange(3, dtype=">f4")) == Literal.of(np.arange(3, dtype="<f4"))
    assert Literal.of(np.float32(0.0)) != Literal.of(np.float32(-0.0))
    assert Literal.of(np.zeros((2, 0))).array.shape == (2, 0)


def test_an_empty_graph_passes():
    lint(Graph((), ()), ops.ALL)
    assert TensorType((), f32[()].dtype).rank == 0
