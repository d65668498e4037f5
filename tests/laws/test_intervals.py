"""Intervals enclose: the real meaning (exactly compared), and the float32 execution of the reference. No tolerance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from law_cases import CASES, Case

from torchlean import ops
from torchlean.errors import DomainError
from torchlean.ir import DERIVED, DType, Graph, f32, f64
from torchlean.meaning import Float, IntervalFloat, IntervalReal, Ranges, Real
from torchlean.meaning.evaluate import Running, evaluate

each_case = pytest.mark.parametrize("case", CASES, ids=str)
WIDTHS = (0.0, 2.0**-20, 0.1, 1.0)


def boxes(case: Case, dtype: DType, seed: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Ends within each input's range: degenerate, narrow and wide entries mixed; some ends are 0. Ints are points."""
    rng = np.random.default_rng([5, seed])
    lo, hi = case.values(dtype, seed), case.values(dtype, seed + 100)
    for i, arg in enumerate(case.args):
        name = f"x{i}"
        if i not in case.floats:
            hi[name] = lo[name]
            continue
        a, b = np.minimum(lo[name], hi[name]), np.maximum(lo[name], hi[name])
        width = rng.choice(WIDTHS, np.shape(a))
        b = np.minimum(np.where(width < 1, a + width.astype(a.dtype), b), b).astype(a.dtype)
        if arg.lo < 0:
            a, b = (np.where(rng.random(np.shape(v)) < 0.1, np.zeros_like(v), v) for v in (a, b))
            a, b = np.minimum(a, b), np.maximum(a, b)
        lo[name], hi[name] = np.asarray(a), np.asarray(b)
    return lo, hi


def points(lo: dict[str, np.ndarray], hi: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """A float point of the box: each coordinate at an end or between."""
    rng = np.random.default_rng([6, seed])
    found = {}
    for name, a in lo.items():
        t = rng.choice([0.0, 1.0, 0.5, rng.random()], np.shape(a))
        b = hi[name]
        inside = a if a.dtype.kind != "f" else np.clip(a + t.astype(a.dtype) * (b - a), a, b)
        found[name] = np.asarray(np.where(t == 0.0, a, np.where(t == 1.0, b, inside)))
    return found


def enclosure(graph: Graph, N: Any, lo: dict[str, np.ndarray], hi: dict[str, np.ndarray]) -> dict[str, Ranges]:
    """The op's own interval rule, or its meaning where that is DERIVED."""
    node = graph.nodes[-1]
    assert node.op in ops.ALL
    rule = ops.ALL[node.op].interval
    values = {n: N.enclose(lo[n], hi[n], lo[n].dtype.name) for n in lo}
    if rule is DERIVED:
        return evaluate(graph, N, values)
    result = rule(Running(N), *values.values(), **node.attributes)  # type: ignore[operator]
    return dict(zip(graph.output_types, result if isinstance(result, tuple) else (result,), strict=True))


@each_case
def test_interval_encloses_the_real_meaning(case: Case) -> None:
    graph, N = case.graph(f64), Real()
    for seed in range(4):
        lo, hi = boxes(case, f64, seed)
        ranges = enclosure(graph, IntervalReal(), lo, hi)
        for at in range(3):
            point = points(lo, hi, at)
            try:
                exact = evaluate(graph, N, {n: N.constant(v) for n, v in point.items()})
            except DomainError:
                assert any(r.nan.any() for r in ranges.values())
                continue
            for name, r in ranges.items():
                value = exact[name]
                if isinstance(value, np.ndarray):
                    assert bool(np.all(r.contains(value)))
                    continue
                assert bool(np.all(N.less_equal(N.constant(r.lo), value)))
                assert bool(np.all(N.less_equal(value, N.constant(r.hi))))


@each_case
def test_interval_encloses_the_reference_execution(case: Case) -> None:
    graph, N = case.graph(f32), Float()
    for seed in range(4):
        lo, hi = boxes(case, f32, seed)
        ranges = enclosure(graph, IntervalFloat(), lo, hi)
        for at in range(3):
            found = evaluate(graph, N, {n: N.constant(v) for n, v in points(lo, hi, at).items()})
            for name, r in ranges.items():
                assert bool(np.all(r.contains(np.asarray(found[name])))), name


EXTREMES = np.array([0.0, -0.0, 2.0**-149, -(2.0**-149), 2.0**-126, 1.0, -1.0, 3.4028235e38, -3.4028235e38], np.float32)


@pytest.mark.parametrize("op", ["add", "sub", "mul", "maximum", "minimum", "div", "less", "less_equal", "equal"])
def test_extremes_of_two_inputs(op: str) -> None:
    from law_cases import Arg

    x, y = (v.ravel() for v in np.meshgrid(EXTREMES, EXTREMES))
    case = Case(op, (Arg(f"f[{x.size}]"), Arg(f"f[{x.size}]")))
    graph, N = case.graph(f32), Float()
    values = {"x0": x, "x1": y}
    ranges = enclosure(graph, IntervalFloat(), values, values)
    found = evaluate(graph, N, {n: N.constant(v) for n, v in values.items()})
    assert bool(np.all(ranges["y"].contains(np.asarray(found["y"]))))


ONE_INPUT = ("neg", "abs", "square", "relu", "exp", "tanh", "sigmoid", "erf", "sin", "cos", "floor", "sqrt", "log")


@pytest.mark.parametrize("op", ONE_INPUT)
def test_extremes_of_one_input(op: str) -> None:
    from law_cases import Arg

    case = Case(op, (Arg(f"f[{EXTREMES.size}]"),))
    graph, N = case.graph(f32), Float()
    ranges = enclosure(graph, IntervalFloat(), {"x0": EXTREMES}, {"x0": EXTREMES})
    found = evaluate(graph, N, {"x0": N.constant(EXTREMES)})
    assert bool(np.all(ranges["y"].contains(np.asarray(found["y"]))))
