"""Derivatives are enclosed, and no two points are further apart than the Lipschitz bound says."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

import torchlean as tl
from torchlean import nn
from torchlean.bounds import derivatives as module
from torchlean.bounds.derivatives import CONTINUOUS, derivatives
from torchlean.errors import Unsupported, UsageError
from torchlean.meaning import Real
from torchlean.meaning.evaluate import evaluate

REGION = tl.box([0, "0.25", 0, "-0.125"], "0.25")
NETWORKS = {
    "relu": (nn.ReLU, nn.ReLU),
    "leaky": (nn.LeakyReLU, nn.ReLU),
    "smooth": (nn.Sigmoid, nn.Tanh),
}


def network(name):
    first, second = NETWORKS[name]
    model = nn.Sequential(nn.Linear(4, 8), first(), nn.Linear(8, 8), second(), nn.Linear(8, 2))
    return tl.trace(model, tl.f32["n", 4], seed=2)


def exactly(program, x):
    """The real function's outputs at a rational point, as fractions."""
    one, N = program.specialise(**dict.fromkeys(program.graph.symbols(), 1)), Real()
    values = {k: N.constant(v) for k, v in one.parameters.items()}
    values[next(iter(one.graph.inputs))] = N.constant(np.asarray(x).reshape(one.input_type.sizes))
    (y,) = evaluate(one.graph, N, values).values()
    return [Fraction(int(v.p), int(v.q)) for v in np.ravel(y.values if hasattr(y, "values") else y)]


@pytest.mark.parametrize("norm", ["inf", "1", "2"])
@pytest.mark.parametrize("name", ["relu", "leaky"])
def test_no_two_points_are_further_apart(name, norm) -> None:
    program, rng = network(name), np.random.default_rng(1)
    bound = {pieces: Fraction(tl.lipschitz(program, REGION, norm, pieces=pieces)) for pieces in (1, 8, 60)}
    assert bound[60] < bound[8] <= bound[1]
    lo, hi = REGION.floats32()
    largest = Fraction(0)
    for step in (1e-3, 0.1, 1.0):
        for _ in range(12):
            a = rng.uniform(lo, hi).astype(np.float32).clip(lo, hi)
            b = (a + step * rng.standard_normal(4)).astype(np.float32).clip(lo, hi)
            df = [p - q for p, q in zip(exactly(program, b), exactly(program, a), strict=True)]
            dx = [Fraction(float(p)) - Fraction(float(q)) for p, q in zip(b, a, strict=True)]
            if norm == "2":
                assert sum(v * v for v in df) <= bound[60] ** 2 * sum(v * v for v in dx)
                continue
            size = max if norm == "inf" else sum
            ratio = size(map(abs, df)) / size(map(abs, dx))
            largest = max(largest, ratio)
            assert ratio <= bound[60]
    assert norm == "2" or largest > bound[60] / 8  # the bound says something


@pytest.mark.parametrize("name", NETWORKS)
def test_the_gradient_s_program_lies_in_the_enclosure(name) -> None:
    program = network(name)
    low, high = derivatives(program, REGION)
    assert low.shape == high.shape == (2, 4) and (low <= high).all()
    one = program.specialise(n=1)
    rows = tl.jacobian(one, ["x"])
    lo, hi = REGION.floats32()
    for x in np.random.default_rng(0).uniform(lo, hi, (50, 4)).astype(np.float32).clip(lo, hi):
        found = rows(x[None])["jacobian:x"].reshape(2, 4).astype(np.float64)
        assert (low - 1e-5 <= found).all() and (found <= high + 1e-5).all()  # the float32 run rounds
    several = derivatives(program, [REGION, tl.box([0, 0, 0, 0], 0)])
    assert several[0].shape == (2, 2, 4) and np.array_equal(several[0][0], low)


def test_a_kink_counts_from_both_sides() -> None:
    program = tl.trace(nn.ReLU(), tl.f32[1])
    assert derivatives(program, tl.box([0], 1))[1] == 1 and derivatives(program, tl.box([0], 1))[0] == 0
    assert derivatives(program, tl.box(lo=[0], hi=[1]))[1] == 1
    assert tl.lipschitz(program, tl.box(lo=[-2], hi=["-0.5"])) == 0
    falling = tl.trace(lambda x: x - 4.0 * nn.ReLU()(x), tl.f32[1])  # slopes 1 and -3
    assert 3 <= tl.lipschitz(falling, tl.box([0], 1)) < 3 + 1e-12
    both = tl.trace(lambda x: abs(x), tl.f32[1])
    assert 1 <= tl.lipschitz(both, tl.box([0], 1)) < 1 + 1e-12


def test_a_linear_map_has_its_norm() -> None:
    w = np.array([[3, 0], [4, 5]], np.float32)
    program = tl.trace(lambda x: x @ w, tl.f32[1, 2])
    region = tl.box([0, 0], 1)
    jacobian = derivatives(program, region)
    assert (jacobian[0] <= w.T).all() and (jacobian[1] >= w.T).all() and np.allclose(jacobian, w.T, atol=1e-12)
    found = [tl.lipschitz(program, region, norm) for norm in ("inf", "1", "2")]
    assert 7 <= found[0] < 7 + 1e-9 and 9 <= found[1] < 9 + 1e-9
    assert np.linalg.norm(w, 2) <= found[2] <= math.sqrt(50) + 1e-9


def test_what_grows_without_bound_is_infinite() -> None:
    program = tl.trace(lambda x: 1.0 / x, tl.f32[1])
    assert tl.lipschitz(program, tl.box([0], 1)) == math.inf
    assert math.isfinite(tl.lipschitz(program, tl.box([2], 1)))


def test_ops_that_jump_are_refused() -> None:
    step = tl.trace(lambda x: x.builder.where(x > 0.0, 1.0, x), tl.f32[1])
    detached = tl.trace(lambda x: x.builder.detach(x), tl.f32[1])
    for program in (step, detached):
        with pytest.raises(Unsupported, match="may jump"):
            tl.lipschitz(program, tl.box([0], 1))
    assert not CONTINUOUS & {"less", "where", "detach", "round", "argmax", "custom_vjp", "cast", "scan", "call"}


def test_nan_is_infinite_and_bad_arguments_are_refused(monkeypatch) -> None:
    program = network("relu")
    for words in ({"norm": "3"}, {"pieces": 0}):
        with pytest.raises(UsageError, match="no such norm"):
            tl.lipschitz(program, REGION, **words)
    monkeypatch.setattr(module, "derivatives", lambda *_: (np.full((1, 2, 4), np.nan),) * 2)
    assert tl.lipschitz(program, REGION) == math.inf
