"""Every op's vjp: against PyTorch's autograd in float64, and against differences of the exact meaning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from law_cases import CASES, Case
from torch_reference import REFERENCE

from torchlean.grad import vjp
from torchlean.ir import Graph, f64
from torchlean.meaning import Real
from torchlean.meaning.evaluate import evaluate
from torchlean.run.execute import execute

DIFFERENTIABLE = tuple(
    c for c in CASES if c.floats and any(t.dtype.kind == "float" for t in c.graph(f64).output_types.values())
)
each_case = pytest.mark.parametrize("case", DIFFERENTIABLE, ids=str)


def setting(case: Case) -> tuple[Graph, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The vjp's graph by the float inputs, the inputs, and cotangents."""
    graph, values = case.graph(f64), case.values(f64)
    rng = np.random.default_rng(7)
    cotangents = {
        f"cotangent:{n}": np.asarray(rng.uniform(-1, 1, t.sizes).astype(t.dtype.numpy))
        for n, t in graph.output_types.items()
        if t.dtype.kind == "float"
    }
    return vjp(graph, [f"x{i}" for i in case.floats]), values, cotangents


@each_case
def test_vjp_against_autograd(case: Case) -> None:
    graph, values, cotangents = setting(case)
    tensors = [torch.from_numpy(v) for v in values.values()]
    leaves = [tensors[i].requires_grad_() for i in case.floats]
    found: Any = REFERENCE[case.op](*tensors, **case.attrs)
    outputs = [t for t in (found if isinstance(found, tuple) else (found,)) if t.dtype.is_floating_point]
    seeds = [torch.from_numpy(c) for c in cotangents.values()]
    pairs = [(t, c) for t, c in zip(outputs, seeds, strict=True) if t.requires_grad]
    wanted: Any = [None] * len(leaves)
    if pairs:
        wanted = torch.autograd.grad([t for t, _ in pairs], leaves, [c for _, c in pairs], allow_unused=True)
    answer = execute(graph, {**values, **cotangents}, "eager-cpu")
    for i, leaf, want in zip(case.floats, leaves, wanted, strict=True):
        got = answer[f"grad:x{i}"]
        expected = np.zeros(tuple(leaf.shape)) if want is None else want.numpy()
        assert got.shape == expected.shape
        # Another library, whose sums have another order; every case's numbers are of the order of 1.
        np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-11)


STEP = 2.0**-60


# What a vjp states by convention: detach stops it, a cast and a rounding onto a grid pass it on.
CONVENTION = ("detach", "cast", "round_to")
CONSTANT = ("erf", "gelu")  # their vjps hold a root of pi as the nearest float64


@pytest.mark.parametrize("case", [c for c in DIFFERENTIABLE if c.op not in CONVENTION], ids=str)
def test_vjp_against_exact_differences(case: Case) -> None:
    """cotangent . (f(x + h d) - f(x - h d)) / 2h, exactly, is cotangent . f'(x) d up to h^2/6 times a third derivative.

    That is exact for what is linear or quadratic along d (no case lies within h of a kink). For the smooth cases the
    third derivatives, of numbers of the order of 1, are below 2^25, so 2^-90 leaves room.
    """
    graph, values, cotangents = setting(case)
    N = Real(precision=512)
    rng = np.random.default_rng(11)
    x = {n: N.constant(v) for n, v in values.items()}
    d = {f"x{i}": N.constant(rng.uniform(-1, 1, values[f"x{i}"].shape)) for i in case.floats}
    h = N.constant(np.asarray(STEP))

    def moved(sign: float) -> dict[str, Any]:
        step = N.mul(h, N.constant(np.asarray(sign)))
        at = {n: N.add(v, N.mul(step, d[n])) if n in d else v for n, v in x.items()}
        return evaluate(case.graph(f64), N, at)

    after, before = moved(1.0), moved(-1.0)
    total = N.constant(np.asarray(0.0))

    def dot(a: Any, b: Any) -> Any:
        product = N.mul(a, b)
        return N.sum(product, tuple(range(-len(N.shape(product)), 0))) if N.shape(product) else product

    for name, c in cotangents.items():
        output = name.removeprefix("cotangent:")
        total = N.add(total, dot(N.constant(c), N.sub(after[output], before[output])))
    slope = N.div(total, N.mul(h, N.constant(np.asarray(2.0))))
    answer = evaluate(graph, N, {**x, **{n: N.constant(c) for n, c in cotangents.items()}})
    for name, direction in d.items():
        slope = N.sub(slope, dot(answer[f"grad:{name}"], direction))
    limit = 2.0**-50 if case.op in CONSTANT else 2.0**-90
    assert bool(np.all(N.less(N.abs(slope), N.constant(np.asarray(limit)))))


@pytest.mark.parametrize(
    ("op", "x", "wanted"),
    [
        ("abs", [0.0, -0.0], [0.0, 0.0]),
        ("relu", [0.0, -0.0], [0.0, 0.0]),
        ("clip", [-0.5, 0.75], [1.0, 1.0]),
        ("max", [1.0, 2.0, 2.0], [0.0, 1.0, 0.0]),
        ("leaky_relu", [0.0, -1.0], [0.25, 0.25]),
    ],
)
def test_kinks_take_the_slope_that_pytorch_takes(op: str, x: list[float], wanted: list[float]) -> None:
    from law_cases import Arg

    attrs: dict[str, Any] = {
        "clip": {"lo": -0.5, "hi": 0.75},
        "max": {"axes": (-1,), "keepdims": False},
        "leaky_relu": {"slope": 0.25},
    }.get(op, {})
    case = Case(op, (Arg(f"f[{len(x)}]"),), attrs)
    graph = vjp(case.graph(f64), ["x0"])
    ones = {"cotangent:y": np.ones(case.graph(f64).output_types["y"].sizes)}
    np.testing.assert_array_equal(execute(graph, {"x0": np.array(x), **ones})["grad:x0"], wanted)
    leaf = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    REFERENCE[op](leaf, **attrs).sum().backward()
    assert leaf.grad is not None
    np.testing.assert_array_equal(leaf.grad.numpy(), wanted)


@pytest.mark.parametrize("op", ["maximum", "minimum"])
def test_a_tie_is_shared(op: str) -> None:
    case = next(c for c in CASES if c.op == op)
    graph = vjp(case.graph(f64), ["x0", "x1"])
    x = np.zeros((2, 3))
    answer = execute(graph, {"x0": x, "x1": x, "cotangent:y": np.ones((2, 3))})
    np.testing.assert_array_equal(answer["grad:x0"], np.full((2, 3), 0.5))
    np.testing.assert_array_equal(answer["grad:x1"], np.full((2, 3), 0.5))
