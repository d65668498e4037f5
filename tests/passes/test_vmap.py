"""vmap: the batched program gives, bit by bit, what the program gives on each example."""

from itertools import chain, combinations

import numpy as np
import pytest

from torchlean import ops
from torchlean.errors import GraphError, InternalError, MissingRule, ShapeError, UsageError
from torchlean.ir import EXPAND, Builder, Missing, Op, f32, i64, lint, trace
from torchlean.ir.types import boolean
from torchlean.meaning import Float
from torchlean.meaning.evaluate import evaluate
from torchlean.passes import simplify, specialise, vmap

B = 3
S = {"stride": (1, 1), "padding": ((1, 1), (0, 1)), "dilation": (1, 1), "groups": 1}

# program, and the types of one example
CASES = {
    "add, equal shapes": (lambda g, x, y: x + y, {"x": f32[2, 3], "y": f32[2, 3]}),
    "add, trailing axes": (lambda g, x, y: x - y, {"x": f32[2, 3], "y": f32[3]}),
    "add, shorter first": (lambda g, x, y: x / y, {"x": f32[3], "y": f32[2, 3]}),
    "add, ones": (lambda g, x, y: x * y, {"x": f32[2, 1], "y": f32[1, 3]}),
    "add, a scalar": (lambda g, x, y: x + y, {"x": f32[()], "y": f32[2, 3]}),
    "add, two scalars": (lambda g, x, y: x + y, {"x": f32[()], "y": f32[()]}),
    "add, the size of the batch": (lambda g, x, y: x + y, {"x": f32[B], "y": f32[B, B]}),
    "a number": (lambda g, x: 2.0 * x + 1.0, {"x": f32[2]}),
    "where": (lambda g, c, x, y: g.where(c, x, y), {"c": boolean[3], "x": f32[2, 3], "y": f32[()]}),
    "compare": (lambda g, x, y: x < y, {"x": f32[2, 3], "y": f32[3]}),
    "relu": (lambda g, x: g.relu(x), {"x": f32[2, 3]}),
    "clip": (lambda g, x: g.clip(x, lo=-0.5, hi=0.5), {"x": f32[4]}),
    "cast": (lambda g, x: g.cast(x, dtype="f64"), {"x": f32[2, 3]}),
    "matmul": (lambda g, x, y: g.matmul(x, y), {"x": f32[2, 3], "y": f32[3, 4]}),
    "matmul, leading axes": (lambda g, x, y: g.matmul(x, y), {"x": f32[2, 2, 3], "y": f32[2, 3, 4]}),
    "matmul, a shared matrix": (lambda g, x, y: g.matmul(x, y), {"x": f32[2, 2, 3], "y": f32[3, 4]}),
    "linear": (lambda g, x, w, b: g.linear(x, w, b), {"x": f32[2, 3], "w": f32[4, 3], "b": f32[4]}),
    "linear, a vector": (lambda g, x, w: g.linear(x, w), {"x": f32[3], "w": f32[4, 3]}),
    "conv": (lambda g, x, w, b: g.conv(x, w, b, **S), {"x": f32[1, 2, 4, 3], "w": f32[2, 2, 3, 2], "b": f32[2]}),
    "sum": (lambda g, x: g.sum(x, axes=(-2,), keepdims=True), {"x": f32[2, 3]}),
    "sum of everything": (lambda g, x: x.sum(), {"x": f32[2, 3]}),
    "mean": (lambda g, x: x.mean(axes=0), {"x": f32[2, 3]}),
    "max": (lambda g, x: g.max(x, axes=(-1,), keepdims=False), {"x": f32[2, 3]}),
    "reshape": (lambda g, x: g.reshape(x, shape=(3, -1)), {"x": f32[2, 3]}),
    "flatten": (lambda g, x: g.flatten(x), {"x": f32[2, 3, 2]}),
    "permute": (lambda g, x: g.permute(x, axes=(-1, 0, 1)), {"x": f32[2, 3, 4]}),
    "broadcast": (lambda g, x: g.broadcast(x, shape=(4, 2, 3)), {"x": f32[2, 1]}),
    "slice": (lambda g, x: g.slice(x, starts=(1,), stops=(4,), steps=(2,)), {"x": f32[2, 5]}),
    "pad": (lambda g, x: g.pad(x, low=(1,), high=(2,), value=0.0), {"x": f32[2, 3]}),
    "concat": (lambda g, x, y: g.concat(x, y, axis=-2), {"x": f32[2, 3], "y": f32[1, 3]}),
    "gather": (lambda g, x, i: g.gather(x, i, axis=-2), {"x": f32[2, 3], "i": i64[2, 2]}),
    "softmax": (lambda g, x: g.softmax(x, axis=-1), {"x": f32[2, 3]}),
    "mse": (lambda g, x, y: g.mse(x, y), {"x": f32[4], "y": f32[4]}),
    "call": (
        lambda g, x, y: g.call(x, y, graph=trace(ops.ALL, lambda g, a, b: g.relu(a - b), a=f32[2], b=f32[2])),
        {"x": f32[2], "y": f32[2]},
    ),
    "a program": (
        lambda g, x, w, b: {"y": g.relu(g.linear(x, w, b)).sum(axes=-1), "z": g.relu(b) * 2.0},
        {"x": f32[2, 3], "w": f32[4, 3], "b": f32[4]},
    ),
}


def some(rng, type, lead=()):
    shape = (*lead, *type.sizes)
    match type.dtype.kind:
        case "bool":
            return rng.integers(0, 2, shape).astype(bool)
        case "int":
            return rng.integers(0, 2, shape).astype(type.dtype.numpy)
    values = rng.normal(size=shape).astype(type.dtype.numpy)
    values[rng.random(shape) < 0.1] = -0.0
    return values


def results(graph, values):
    return {name: np.asarray(a) for name, a in evaluate(graph, Float(), values).items()}


def check(single, batched, names, seed=0):
    """The batched graph against the single one on each example."""
    rng = np.random.default_rng(seed)
    types = {n: t for kind in ("input", "parameter", "state") for n, t in single.source_types(kind).items()}
    values = {n: some(rng, t, (B,) if n in names else ()) for n, t in types.items()}
    together = results(batched, values)
    for i in range(B):
        alone = results(single, {n: v[i] if n in names else v for n, v in values.items()})
        for name, expected in alone.items():
            got = together[name]
            if name.startswith("update:") and name.removeprefix("update:") not in names:
                assert got.tobytes() == expected.tobytes()
                continue
            assert got.shape == (B, *expected.shape) and got.dtype == expected.dtype
            assert got[i].tobytes() == expected.tobytes(), (name, got[i], expected)


def subsets(names):
    return chain.from_iterable(combinations(names, k) for k in range(len(names) + 1))


# where these are batched, the op's rule needs the number of examples: kernels become groups, indices get offsets
NEEDS_SIZE = {"conv": {"w"}, "gather": {"x", "i"}}


@pytest.mark.parametrize("case", CASES)
def test_each_example_gets_its_own_result(case):
    program, types = CASES[case]
    single = trace(ops.ALL, program, **types)
    for names in subsets(types):
        batched = vmap(single, ops.ALL, names, B)
        lint(batched, ops.ALL)
        check(single, batched, names)
        check(single, simplify(batched, ops.ALL), names)
        if case in NEEDS_SIZE and set(names) >= NEEDS_SIZE[case]:
            with pytest.raises((MissingRule, ShapeError)):
                vmap(single, ops.ALL, names)
            continue
        symbolic = vmap(single, ops.ALL, names)
        lint(symbolic, ops.ALL)
        if symbolic.symbols():
            lint(specialise(symbolic, batch=B), ops.ALL)
            check(single, specialise(symbolic, batch=B), names)


def test_twice():
    single = trace(ops.ALL, lambda g, x, y: g.relu(x - y).sum(), x=f32[2], y=f32[2])
    twice = vmap(vmap(single, ops.ALL, ("x",), "a"), ops.ALL, ("y",), "b")
    lint(twice, ops.ALL)
    assert str(twice.output_types["y"]) == "f32[b, a]"
    rng = np.random.default_rng(1)
    x, y = some(rng, f32[4, 2]), some(rng, f32[B, 2])
    got = results(specialise(twice, a=4, b=B), {"x": x, "y": y})["y"]
    for i in range(B):
        for j in range(4):
            assert got[i, j] == results(single, {"x": x[j], "y": y[i]})["y"]


def counting():
    g = Builder(ops.ALL)
    x, s, n = g.input("x", f32[2]), g.state("s", f32[2]), g.state("n", f32[()])
    return g.finish({"y": x + s}, {"s": s + x, "n": n + 1.0})


def test_a_batched_state_is_updated_by_example_and_a_shared_one_once():
    batched = vmap(counting(), ops.ALL, ("x", "s"), B)
    lint(batched, ops.ALL)
    check(counting(), batched, ("x", "s"))
    every = vmap(counting(), ops.ALL, ("x", "s", "n"), B)
    lint(every, ops.ALL)
    check(counting(), every, ("x", "s", "n"))


def test_a_shared_state_cannot_follow_one_example():
    with pytest.raises(GraphError, match=r"(?s)shared state.*update of 's' by node %\d \(add\), test_vmap.py:\d+"):
        vmap(counting(), ops.ALL, ("x",), B)


def test_names_and_symbols_are_checked():
    graph = trace(ops.ALL, lambda g, x: g.relu(x), x=f32["batch", 2])
    with pytest.raises(UsageError, match=r"(?s)no such source.*one of x"):
        vmap(graph, ops.ALL, ("z",), B)
    with pytest.raises(UsageError, match="name of another"):
        vmap(graph, ops.ALL, ("x",))
    assert str(vmap(graph, ops.ALL, ("x",), "n").output_types["y"]) == "f32[n, batch, 2]"


def _op(batch):
    def meaning(N, x):
        return N.add(N.relu(x), x)

    rest = [Missing("not needed")] * 6
    return Op("odd", ops.ALL["relu"].type_rule, meaning, rest[0], batch, *rest[1:])


def test_expand_batches_the_definition():
    table = {**ops.ALL, "odd": _op(EXPAND)}
    single = trace(table, lambda g, x, y: g.odd(x) + y, x=f32[2], y=f32[2])
    batched = vmap(single, table, ("x",), B)
    assert [n.op for n in batched.nodes][2:5] == ["relu", "add", "reshape"]
    lint(batched, table)


def test_a_missing_rule_is_loud():
    table = {**ops.ALL, "odd": _op(Missing("nobody wrote it"))}
    graph = trace(table, lambda g, x: g.odd(x), x=f32[2])
    with pytest.raises(MissingRule, match="odd has no batch rule"):
        vmap(graph, table, ("x",), B)
    lint(vmap(graph, table, (), B), table)  # nothing is batched: no rule is asked


def test_a_rule_of_another_shape_is_caught():
    table = {**ops.ALL, "odd": _op(lambda g, inputs, batched: g.sum(inputs[0], axes=(-1,), keepdims=False))}
    with pytest.raises(InternalError, match="batch rule of odd"):
        vmap(trace(table, lambda g, x: g.odd(x), x=f32[2]), table, ("x",), B)
