"""simplify: smaller, and of the same meaning in every number system; what would change -0 or NaN stays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchlean import ops
from torchlean.ir import Builder, Graph, f32, lint, trace
from torchlean.passes import drop_unreachable, simplify

X = f32[3, 4]


def ones(g, *shape):
    return g.constant(np.ones(shape, np.float32))


def names(graph):
    return [n.op for n in graph.nodes if n.op not in ("input", "parameter", "state")]


REWRITES = {
    "reshape to the same shape": (lambda g, x: g.reshape(x, shape=(3, -1)), []),
    "reshape of reshape": (lambda g, x: g.reshape(g.reshape(x, shape=(12,)), shape=(2, 6)), ["reshape"]),
    "reshape there and back": (lambda g, x: g.reshape(g.reshape(x, shape=(12,)), shape=(3, 4)), []),
    "reshape of flatten": (lambda g, x: g.reshape(g.flatten(x), shape=(6, 2)), ["reshape"]),
    "permute of nothing": (lambda g, x: g.permute(x, axes=(-2, -1)), []),
    "permute there and back": (lambda g, x: g.permute(g.permute(x, axes=(-1, -2)), axes=(1, 0)), []),
    "broadcast to the same shape": (lambda g, x: g.broadcast(x, shape=(3, 4)), []),
    "broadcast of broadcast": (
        lambda g, x: g.broadcast(g.broadcast(x, shape=(1, 3, 4)), shape=(5, 3, 4)),
        ["broadcast"],
    ),
    "neg of neg": (lambda g, x: g.neg(g.neg(x)), []),
    "neg four times": (lambda g, x: g.neg(g.neg(g.neg(g.neg(x)))), []),
    "abs of abs": (lambda g, x: abs(abs(x)), ["abs"]),
    "abs of neg": (lambda g, x: abs(-x), ["abs"]),
    "relu of relu": (lambda g, x: g.relu(g.relu(x)), ["relu"]),
    "x * 1": (lambda g, x: x * 1.0, []),
    "1 * x": (lambda g, x: 1.0 * x, []),
    "x * ones": (lambda g, x: x * ones(g, 4), []),
    "x / 1": (lambda g, x: x / 1.0, []),
    "cast to the same dtype": (lambda g, x: g.cast(x, dtype="f32"), []),
    "slice of everything": (lambda g, x: g.slice(x, starts=(0,), stops=(4,), steps=(1,)), []),
    "pad by nothing": (lambda g, x: g.pad(x, low=(0,), high=(0,), value=0.0), []),
    "concat of one": (lambda g, x: g.concat(x, axis=-1), []),
    "equal nodes": (lambda g, x: g.relu(x) + g.relu(x), ["relu", "add"]),
    "equal after a rewrite": (lambda g, x: g.relu(x * 1.0) + g.relu(g.neg(g.neg(x))), ["relu", "add"]),
    "equal constants": (lambda g, x: (x + 0.5) * 0.5, ["constant", "add", "mul"]),
}

KEPT = {
    "x + 0": lambda g, x: x + 0.0,
    "x + -0": lambda g, x: x + (-0.0),
    "x - 0": lambda g, x: x - 0.0,
    "0 - x": lambda g, x: 0.0 - x,
    "x * 0": lambda g, x: x * 0.0,
    "x * -1": lambda g, x: x * -1.0,
    "1 / x": lambda g, x: 1.0 / x,
    "x - x": lambda g, x: x - x,
    "x / x": lambda g, x: x / x,
    "neg of abs": lambda g, x: -abs(x),
    "sum over an axis of one": lambda g, x: g.sum(g.reshape(x, shape=(3, 4, 1)), axes=(-1,), keepdims=False),
    "a broadcast one": lambda g, x: g.reshape(x, shape=(12,)) * ones(g, 2, 12),
    "permute": lambda g, x: g.permute(x, axes=(-1, -2)),
    "slice by steps": lambda g, x: g.slice(x, starts=(0,), stops=(4,), steps=(2,)),
    "0 and -0": lambda g, x: g.add(x, 0.0) + g.add(x, -0.0),
}


@pytest.mark.parametrize(("program", "left"), REWRITES.values(), ids=REWRITES)
def test_each_rewrite_happens_and_keeps_the_meaning(program, left, same_meaning):
    before = trace(ops.ALL, program, x=X)
    after = simplify(before, ops.ALL)
    assert names(after) == left
    lint(after, ops.ALL, allow_dead=False)
    same_meaning(before, after)


@pytest.mark.parametrize("program", KEPT.values(), ids=KEPT)
def test_what_would_change_the_meaning_stays(program, same_meaning):
    before = trace(ops.ALL, program, x=X)
    after = simplify(before, ops.ALL)
    assert after == before
    same_meaning(before, after)


def test_permutations_compose_in_order(same_meaning):
    turn, swap = (-1, -3, -2), (-3, -1, -2)
    graph = trace(ops.ALL, lambda g, x: g.permute(g.permute(x, axes=turn), axes=swap), x=f32[2, 3, 4])
    after = simplify(graph, ops.ALL)
    assert names(after) == ["permute"]
    same_meaning(graph, after)


def test_a_barrier_is_never_merged():
    graph = trace(ops.ALL, lambda g, x: g.barrier(x) + g.barrier(x), x=X)
    assert simplify(graph, ops.ALL) == graph


def test_attributes_that_differ_in_a_sign_are_not_merged():
    graph = trace(ops.ALL, lambda g, x: g.clip(x, lo=-0.0, hi=1.0) + g.clip(x, lo=0.0, hi=1.0), x=X)
    assert names(simplify(graph, ops.ALL)).count("clip") == 2


def test_dead_nodes_go_and_the_signature_stays():
    g = Builder(ops.ALL)
    x, unused = g.input("x", X), g.input("unused", X)
    g.parameter("w", X)
    s = g.state("s", X)
    g.relu(unused) + 3.0
    y = g.relu(x)
    graph = g.finish({"y": y, "again": y}, {"s": s + y})
    after = simplify(graph, ops.ALL)
    lint(after, ops.ALL, allow_dead=False)
    assert names(after) == ["relu", "add"]
    assert list(after.inputs) == ["x", "unused"] and list(after.parameters) == ["w"] and list(after.states) == ["s"]
    assert [n for n, _ in after.outputs] == ["y", "again"] and [n for n, _ in after.updates] == ["s"]
    assert drop_unreachable(after) is after


def test_source_lines_stay():
    g = Builder(ops.ALL, where="a.py:1")
    x = g.input("x", X)
    g.line = "a.py:2"
    y = g.neg(g.neg(x))
    g.line = "a.py:3"
    z = g.relu(g.reshape(y, shape=(12,)))
    after = simplify(g.finish({"y": z}), ops.ALL)
    assert [(n.op, n.where) for n in after.nodes] == [("input", "a.py:1"), ("reshape", "a.py:3"), ("relu", "a.py:3")]


def test_the_graphs_inside_are_simplified(same_meaning):
    body = trace(ops.ALL, lambda g, x: g.relu(g.neg(g.neg(x))) + 0.5, x=X)
    graph = trace(ops.ALL, lambda g, x: g.call(x, graph=body), x=X)
    after = simplify(graph, ops.ALL)
    ((_, _, inner),) = after.subgraphs()
    assert names(inner) == ["relu", "constant", "add"]
    same_meaning(graph, after)


UNARY = {
    "neg": lambda g, x: -x,
    "abs": lambda g, x: abs(x),
    "relu": lambda g, x: g.relu(x),
    "times one": lambda g, x: x * 1.0,
    "plus zero": lambda g, x: x + 0.0,
    "plus minus zero": lambda g, x: x + (-0.0),
    "over one": lambda g, x: x / 1.0,
    "turn": lambda g, x: g.permute(x, axes=(-1, -2)),
    "wrap": lambda g, x: g.reshape(x, shape=x.shape[::-1]),
    "flat": lambda g, x: g.reshape(g.reshape(x, shape=(-1,)), shape=x.shape),
}
BINARY = {
    "add": lambda g, x, y: x + y,
    "sub": lambda g, x, y: x - y,
    "mul": lambda g, x, y: x * y,
    "maximum": lambda g, x, y: g.maximum(x, y),
}


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.lists(st.tuples(st.sampled_from([*UNARY, *BINARY]), st.integers(0, 30), st.integers(0, 30)), max_size=10))
def test_random_programs_keep_their_bits(steps):
    from torchlean.meaning import Float
    from torchlean.meaning.evaluate import evaluate

    g = Builder(ops.ALL)
    made = [g.input("x", f32[3, 3]), g.input("y", f32[3, 3])]
    for name, i, j in steps:
        x, y = made[i % len(made)], made[j % len(made)]
        made.append(UNARY[name](g, x) if name in UNARY else BINARY[name](g, x, y))
    graph = g.finish({"a": made[-1], "b": made[len(made) // 2]})
    after = simplify(graph, ops.ALL)
    lint(after, ops.ALL, allow_dead=False)
    assert simplify(after, ops.ALL) == after
    assert len(after.nodes) <= len(graph.nodes)
    values = {
        "x": np.array([[0.0, -0.0, np.nan], [np.inf, -np.inf, 1e-45], [1.5, -2.5, 3.4e38]], np.float32),
        "y": np.array([[-0.0, -0.0, 1.0], [np.inf, np.inf, -1e-45], [0.1, np.nan, 3.4e38]], np.float32),
    }
    one, two = evaluate(graph, Float(), values), evaluate(after, Float(), values)
    for name in one:
        nan = np.isnan(one[name])
        assert (nan == np.isnan(two[name])).all()
        assert np.where(nan, 0, one[name]).tobytes() == np.where(nan, 0, two[name]).tobytes()


def test_the_empty_graph():
    assert simplify(Graph((), ()), ops.ALL) == Graph((), ())
