"""Optimizers as graphs: exact against rationals, close to PyTorch, refused when meaningless."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import torchlean as tl
from torchlean import ops, optim
from torchlean.errors import UsageError
from torchlean.ir import Builder, Graph
from torchlean.run.execute import execute

SHAPES = {"weight": (3, 4), "bias": (3,)}
Arrays = dict[str, np.ndarray]


def step_graph(optimizer: optim.Optimizer, shapes: Mapping[str, tuple[int, ...]] = SHAPES) -> tuple[Graph, Arrays]:
    """One update as a graph: states are the parameters and the optimizer's own; gradients and the rate are inputs."""
    g = Builder(ops.ALL)
    types = {n: tl.f32[s] for n, s in shapes.items()}
    parameters = {n: g.state(n, t) for n, t in types.items()}
    gradients = {n: g.input(f"grad:{n}", t) for n, t in types.items()}
    first = optimizer.states(types)
    states = {
        n: g.state(n, tl.TensorType(a.shape, tl.f64 if a.dtype == np.float64 else tl.f32)) for n, a in first.items()
    }
    new, kept = optimizer.step(g, parameters, gradients, states, g.input("rate", tl.f32[()]))
    assert new.keys() == parameters.keys() and kept.keys() == first.keys()
    return g.finish({}, {**new, **kept}), first


def run(optimizer: optim.Optimizer, start: Arrays, gradients: list[Arrays], backend: str = "reference") -> Arrays:
    graph, values = step_graph(optimizer, {n: a.shape for n, a in start.items()})
    values = {**values, **start}
    for step, found in enumerate(gradients):
        inputs = {f"grad:{n}": a for n, a in found.items()}
        inputs["rate"] = np.asarray(optimizer.schedule.rate(step), dtype=np.float32)
        answer = execute(graph, {**values, **inputs}, backend)
        values = {n.removeprefix("update:"): a for n, a in answer.items()}
    return values


def problem(steps: int, seed: int = 0) -> tuple[Arrays, list[Arrays]]:
    rng = np.random.default_rng(seed)

    def draw() -> Arrays:
        return {n: rng.normal(size=s).astype(np.float32) for n, s in SHAPES.items()}

    return draw(), [draw() for _ in range(steps)]


def nearest32(x: Fraction) -> np.float32:
    """The float32 nearest to x, ties to even."""
    middle = np.float32(float(x))
    around = [np.nextafter(middle, np.float32(-np.inf)), middle, np.nextafter(middle, np.float32(np.inf))]
    return min(around, key=lambda f: (abs(Fraction(float(f)) - x), int(np.float32(f).view(np.uint32)) & 1))


floats = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(p=floats, d=floats, rate=st.floats(2.0**-20, 10.0, width=32))
def test_sgd_is_two_roundings_of_the_exact_update(p: float, d: float, rate: float) -> None:
    start = {"w": np.array([p], dtype=np.float32)}
    got = run(optim.SGD(rate), start, [{"w": np.array([d], dtype=np.float32)}])["w"][0]
    product = Fraction(float(nearest32(Fraction(rate) * Fraction(d))))
    want = nearest32(Fraction(p) - product)
    assert got == want


TORCH: dict[str, tuple[optim.Optimizer, Callable[[Any], Any]]] = {
    "sgd": (optim.SGD(0.1), lambda t: lambda p: t.SGD(p, lr=0.1)),
    "decay": (optim.SGD(0.1, weight_decay=0.01), lambda t: lambda p: t.SGD(p, lr=0.1, weight_decay=0.01)),
    "momentum": (optim.SGD(0.1, momentum=0.9), lambda t: lambda p: t.SGD(p, lr=0.1, momentum=0.9)),
    "nesterov": (
        optim.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
        lambda t: lambda p: t.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    ),
    "adam": (optim.Adam(0.01), lambda t: lambda p: t.Adam(p, lr=0.01)),
    "adam decay": (
        optim.Adam(0.01, beta1=0.8, beta2=0.9, epsilon=1e-3, weight_decay=0.1),
        lambda t: lambda p: t.Adam(p, lr=0.01, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.1),
    ),
    "adamw": (optim.AdamW(0.01), lambda t: lambda p: t.AdamW(p, lr=0.01)),
}


def torch_run(make: Callable[[Any], Any], start: Arrays, gradients: list[Arrays]) -> Arrays:
    torch = pytest.importorskip("torch")
    parameters = {n: torch.nn.Parameter(torch.from_numpy(a.copy())) for n, a in start.items()}
    optimizer = make(torch.optim)(list(parameters.values()))
    for found in gradients:
        for name, p in parameters.items():
            p.grad = torch.from_numpy(found[name].copy())
        optimizer.step()
    return {n: p.detach().numpy() for n, p in parameters.items()}


def ulps(a: np.ndarray, b: np.ndarray, scale: np.ndarray) -> float:
    """The largest distance in units in the last place of `scale`."""
    distance = np.abs(a.astype(np.float64) - b.astype(np.float64))
    return float(np.max(distance / np.spacing(np.abs(scale).astype(np.float32))))


@pytest.mark.parametrize("backend", ["reference", "eager"])
@pytest.mark.parametrize(("ours", "theirs"), TORCH.values(), ids=TORCH)
def test_one_update_agrees_with_pytorch_within_an_ulp(ours: optim.Optimizer, theirs: Any, backend: str) -> None:
    """PyTorch fuses rate * direction into the subtraction with FMA, and multiplies moments in another order."""
    start, gradients = problem(1)
    got, want = run(ours, start, gradients, backend), torch_run(theirs, start, gradients)
    # One rounding of the fused product, at most the size of the larger operand of the last subtraction.
    for name, a in start.items():
        assert ulps(got[name], want[name], np.maximum(np.abs(a), np.abs(want[name]))) <= 1.0


@pytest.mark.parametrize(("ours", "theirs"), TORCH.values(), ids=TORCH)
def test_fifty_updates_agree_with_pytorch(ours: optim.Optimizer, theirs: Any) -> None:
    start, gradients = problem(50, seed=1)
    got, want = run(ours, start, gradients, "eager"), torch_run(theirs, start, gradients)
    for name in start:  # the roundings of one update, fifty times, on numbers of size one to ten
        np.testing.assert_allclose(got[name], want[name], rtol=1e-5, atol=1e-5)


def test_adam_keeps_its_powers_in_float64() -> None:
    start, gradients = problem(40)
    states = run(optim.Adam(1e-3), start, gradients, "eager")
    assert states["beta1_power"].dtype == np.float64
    np.testing.assert_allclose(states["beta1_power"], 0.9**40, rtol=1e-14)
    np.testing.assert_allclose(states["beta2_power"], 0.999**40, rtol=1e-14)


def test_the_rate_is_an_input_so_a_schedule_changes_no_graph() -> None:
    a, _ = step_graph(optim.SGD(0.1))
    b, _ = step_graph(optim.SGD(optim.Cosine(0.5, steps=10)))
    assert a == b
    start, gradients = problem(3)
    got = run(optim.SGD(optim.Step(0.5, every=1, factor=0.5)), start, gradients)
    want = {n: a.astype(np.float64) for n, a in start.items()}
    for rate, found in zip((0.5, 0.25, 0.125), gradients, strict=True):
        want = {n: a - rate * found[n] for n, a in want.items()}
    for name in start:
        np.testing.assert_allclose(got[name], want[name], rtol=1e-6)


BAD: dict[str, Callable[[], object]] = {
    "zero rate": lambda: optim.SGD(0.0),
    "negative rate": lambda: optim.Adam(-1.0),
    "nan rate": lambda: optim.Adam(float("nan")),
    "momentum": lambda: optim.SGD(0.1, momentum=1.0),
    "nesterov alone": lambda: optim.SGD(0.1, nesterov=True),
    "beta": lambda: optim.Adam(beta2=1.5),
    "epsilon": lambda: optim.Adam(epsilon=-1e-8),
    "decay": lambda: optim.AdamW(weight_decay=float("inf")),
    "no steps": lambda: optim.Cosine(0.1, steps=0),
    "warm-up": lambda: optim.Warmup(optim.Constant(0.1), steps=0),
}


@pytest.mark.parametrize("make", BAD.values(), ids=BAD)
def test_meaningless_settings_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(UsageError) as caught:
        make()
    assert "optim." in caught.value.where
