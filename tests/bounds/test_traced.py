"""Bounds as graphs: their real meaning encloses, and is that of the walks over arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import torchlean as tl
from torchlean import nn, ops
from torchlean.bounds import boxed, region
from torchlean.bounds.interval import interval_walk
from torchlean.bounds.linear import Walk
from torchlean.bounds.namespace import namespace
from torchlean.bounds.traced import walk
from torchlean.bounds.traced_systems import Span, Spans
from torchlean.errors import MissingRule, UsageError
from torchlean.ir import Builder, Graph, TensorType, trace
from torchlean.meaning import IntervalReal, Real
from torchlean.meaning.evaluate import evaluate
from torchlean.run.execute import execute
from torchlean.run.program import Program

BATCH = 3


def residual(g: Builder, x: Any) -> Any:
    w = g.constant(np.random.default_rng(3).normal(size=(4, 4)).astype(np.float32))
    h = g.relu(g.linear(x, w) - 0.25)
    h = g.maximum(h - x, g.neg(x)) + g.clip(x, lo=-0.5, hi=0.75)
    return g.concat(g.abs(h), g.leaky_relu(h, slope=0.25), axis=-1) * g.constant(
        np.array([1, -2, 3, -1, 0.5, -0.25, 2, 1], np.float32)
    )


def convolutional(g: Builder, x: Any) -> Any:
    rng = np.random.default_rng(4)
    w = g.constant(rng.normal(size=(3, 2, 2, 2)).astype(np.float32))
    b = g.constant(rng.normal(size=(3,)).astype(np.float32))
    h = g.relu(g.conv(g.reshape(x, shape=(-1, 2, 3, 3)), w, b, stride=(1, 1), padding=((1, 0), (0, 1)),
                      dilation=(1, 1), groups=1))  # fmt: skip
    h = g.avg_pool(h, kernel=(2, 2), stride=(1, 1), padding=((0, 0), (0, 0)), count_include_pad=False)
    return g.linear(g.flatten(h), g.constant(rng.normal(size=(4, 12)).astype(np.float32)))


def mlp(seed: int) -> Program:
    layers = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    return nn.trace(layers, tl.f32["batch", 4], seed=seed)


def of(function: Any, inputs: int) -> Program:
    return Program(trace(ops.ALL, function, x=tl.f32["batch", inputs]), {})


PROGRAMS = {"mlp0": mlp(0), "mlp1": mlp(1), "residual": of(residual, 4), "conv": of(convolutional, 18)}
each_program = pytest.mark.parametrize("name", PROGRAMS)


def ends(program: Program, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    middle = rng.normal(size=(BATCH, program.input_type.shape[1]))
    radius = rng.uniform(0, 0.6, size=middle.shape) * (rng.uniform(size=middle.shape) > 0.2)
    return (middle - radius).astype(np.float32), (middle + radius).astype(np.float32)


def bound_graph(program: Program, rows: np.ndarray | None = None) -> Graph:
    """(lo, hi) -> the interval walk's ends, or `least`: rows . y over interval boxes."""
    g = Builder(ops.ALL)
    kind = TensorType((BATCH, program.input_type.shape[1]), tl.f32["batch", 1].dtype)
    walked = walk(g, program.specialise(batch=BATCH).graph, g.input("lo", kind), g.input("hi", kind))
    if rows is None:
        return g.finish({"lo": walked.output.lo, "hi": walked.output.hi})
    seeds = np.repeat(rows[:, None], BATCH, axis=1).astype(np.float32)
    return g.finish({"least": walked.least(g.constant(seeds))})


def real(graph: Graph, **arrays: np.ndarray) -> dict[str, Any]:
    """The graph's exact values: arrays of rationals."""
    N = Real()
    found = evaluate(graph, N, {n: N.constant(a) for n, a in arrays.items()})
    return {n: v.values for n, v in found.items()}


def samples(program: Program, lo: np.ndarray, hi: np.ndarray, seed: int) -> list[Any]:
    """Exact outputs at float32 points of the boxes, corners among them."""
    rng, found = np.random.default_rng(seed), []
    for k in range(6):
        t = rng.uniform(size=lo.shape)
        x = np.clip(lo + (hi - lo) * (np.rint(t) if k % 2 else t), lo, hi).astype(np.float32)
        graph = program.specialise(batch=BATCH).graph
        (y,) = real(graph, **{next(iter(graph.inputs)): x}, **program.parameters).values()
        found.append(y)
    return found


def exact(array: np.ndarray) -> Any:
    return Real().constant(array).values


@each_program
@pytest.mark.parametrize("seed", [0, 1])
def test_the_interval_graph_s_real_meaning_encloses_and_is_the_interval_walk(name: str, seed: int) -> None:
    program = PROGRAMS[name]
    lo, hi = ends(program, seed)
    found = real(bound_graph(program), lo=lo, hi=hi, **program.parameters)
    for y in samples(program, lo, hi, seed):
        assert (found["lo"] <= y).all() and (y <= found["hi"]).all()
    regions = [region.box(lo=a, hi=b) for a, b in zip(lo, hi, strict=True)]
    what = boxed.boxed(program, regions)
    box = interval_walk(what)[what.graph.output().node][0]
    assert (exact(box.lo) <= found["lo"]).all() and (found["hi"] <= exact(box.hi)).all()
    # the walk's outward roundings, and nothing else, lie between: 2^-40 of the largest end
    slack = exact(np.full(box.lo.shape, 2.0**-40 * np.abs([box.lo, box.hi]).max()))
    assert (found["lo"] <= exact(box.lo) + slack).all() and (found["hi"] >= exact(box.hi) - slack).all()


@each_program
def test_the_linear_graph_s_real_meaning_is_a_lower_bound(name: str) -> None:
    program = PROGRAMS[name]
    lo, hi = ends(program, 5)
    outputs = program.specialise(batch=1).graph.type(program.specialise(batch=1).graph.output()).sizes[1]
    mixed = np.random.default_rng(6).integers(-3, 4, (2, outputs))
    rows = np.concatenate([np.eye(outputs), -np.eye(outputs)[:2], mixed])
    found = real(bound_graph(program, rows), lo=lo, hi=hi, **program.parameters)["least"]
    for y in samples(program, lo, hi, 7):
        assert (found <= exact(rows.astype(np.float32)).dot(y.T)).all()
    regions = [region.box(lo=a, hi=b) for a, b in zip(lo, hi, strict=True)]
    what = boxed.boxed(program, regions)
    xp, put = namespace(None)
    numeric = Walk(what, xp, put, 1 << 28, {})
    numeric.refine(tighten=False)
    low, _ = numeric.bound(what.graph.output().node, np.arange(outputs))
    got = np.array(found[:outputs].tolist(), dtype=object).astype(float)
    # the array walk's lines are shifted by roundings of float64, the graph's by those of float32: a few 1e-6 each
    np.testing.assert_allclose(got, low.T, rtol=1e-4, atol=1e-4)


CURVES = {
    **{name: (lambda g, x, name=name: getattr(g, name)(x)) for name in ("tanh", "sigmoid", "exp", "erf", "square")},
    "own": lambda g, x: g.mul(x, x),
    "silu": lambda g, x: g.mul(x, g.sigmoid(x)),
    "squares": lambda g, x: g.square(g.square(x)) - g.square(-x),
    "max": lambda g, x: g.max(g.tanh(x), axes=(-1,), keepdims=True),
}


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("seed", range(3))
def test_curves_are_bounded_by_their_interval_rules(name: str, seed: int) -> None:
    program = of(lambda g, x: CURVES[name](g, x * g.constant(np.array([1, -1.5], np.float32))), 2)
    lo, hi = ends(program, seed)
    N = IntervalReal()
    found = evaluate(bound_graph(program), N, {"lo": N.constant(lo), "hi": N.constant(hi)})
    for k in range(5):
        x = np.clip(lo + (hi - lo) * (k / 4), lo, hi).astype(np.float32)
        (y,) = evaluate(program.specialise(batch=BATCH).graph, N, {"x": N.constant(x)}).values()
        assert (found["lo"].lo <= y.hi).all() and (y.lo <= found["hi"].hi).all()


PAIRS = {
    "add": lambda N, x, y: N.add(x, y), "sub": lambda N, x, y: N.sub(x, y), "mul": lambda N, x, y: N.mul(x, y),
    "constant": lambda N, x, y: N.sub(N.mul(x, -1.5), 2.0), "neg": lambda N, x, y: N.neg(x),
    "abs": lambda N, x, y: N.abs(y), "maximum": lambda N, x, y: N.maximum(x, y),
    "minimum": lambda N, x, y: N.minimum(N.neg(x), y), "concat": lambda N, x, y: N.concat([x, N.neg(y)], axis=-1),
    "max": lambda N, x, y: N.max(x, axes=(-1,)), "sum": lambda N, x, y: N.sum(N.neg(y), axes=(-1,), keepdims=True),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_spans_hold_what_their_members_give(name: str) -> None:
    rng = np.random.default_rng(11)
    lo, width = rng.normal(size=(2, 40, 3)), rng.uniform(0, 2, (2, 40, 3))
    ends = {f"{n}{side}": (lo[i] + side * width[i]).astype(np.float32) for i, n in enumerate("xy") for side in (0, 1)}
    g = Builder(ops.ALL)
    given = {n: g.input(n, tl.f32[40, 3]) for n in ends}
    found = PAIRS[name](Spans(g), Span.between(given["x0"], given["x1"]), Span.between(given["y0"], given["y1"]))
    bound, reached = real(g.finish({"lo": found.lo, "hi": found.hi}), **ends), []
    for k in range(8):
        t = [rng.uniform(size=(40, 3)) if k > 3 else (k >> i) % 2 for i in (0, 1)]
        at = [np.clip(ends[f"{n}0"] * (1 - t[i]) + ends[f"{n}1"] * t[i], ends[f"{n}0"], ends[f"{n}1"])
              for i, n in enumerate("xy")]  # fmt: skip
        value = PAIRS[name](Real(), *(Real().constant(a.astype(np.float32)) for a in at)).values
        assert (bound["lo"] <= value).all() and (value <= bound["hi"]).all()
        reached.append(value)
    if name not in ("maximum", "minimum", "abs", "max"):  # the corners reach both ends
        assert (np.min(reached, axis=0) == bound["lo"]).all() and (np.max(reached, axis=0) == bound["hi"]).all()


def test_the_bound_of_a_bound_is_bounded() -> None:
    """A bound is a program: its own float32 executions are those of any program."""
    program = PROGRAMS["mlp0"]
    lo, hi = ends(program, 9)
    values = {"lo": lo, "hi": hi, **program.parameters}
    graph = bound_graph(program)
    near, true = execute(graph, values), real(graph, **values)
    assert near["lo"].dtype == np.float32
    np.testing.assert_allclose(near["lo"], np.array(true["lo"].tolist(), object).astype(float), rtol=1e-5, atol=1e-5)


def test_what_cannot_be_bounded_is_refused() -> None:
    with pytest.raises(MissingRule, match="no rule for div"):
        bound_graph(of(lambda g, x: g.div(1.0, x), 2))
    with pytest.raises(MissingRule, match="cannot be built as a graph"):
        bound_graph(of(lambda g, x: g.mul(x, g.relu(x)), 2), np.eye(2))
    two = Program(trace(ops.ALL, lambda g, x: (x, g.neg(x)), x=tl.f32["batch", 2]), {})
    with pytest.raises(UsageError, match="one input and one output"):
        bound_graph(two)
