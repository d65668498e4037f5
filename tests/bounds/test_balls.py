"""L2 and L1 balls: exact membership, bounds that no sample escapes, claims where linear inequalities state the ball."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import torchlean as tl
from torchlean import bounds, nn, ops
from torchlean.bounds import Ball
from torchlean.bounds.dual_norm import Balls
from torchlean.bounds.lirpa import BoundedModule, BoundedTensor, PerturbationLpNorm
from torchlean.bounds.region import Box, Membership
from torchlean.errors import DataError, Unsupported, UsageError
from torchlean.ir import Builder, trace
from torchlean.meaning import Real
from torchlean.meaning.evaluate import evaluate
from torchlean.run.program import Program

law = settings(max_examples=60, deadline=None, derandomize=True)
norms = pytest.mark.parametrize("norm", [1, 2])


def mlp(seed: int) -> Program:
    layers = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 2))
    return nn.trace(layers, tl.f32["batch", 6], seed=seed)


def convolutional(g: Builder, x: Any) -> Any:
    rng = np.random.default_rng(4)
    h = g.permute(g.reshape(x, shape=(-1, 3, 2, 1)), axes=(0, 3, 1, 2))
    w = g.constant(rng.normal(size=(3, 1, 2, 2)).astype(np.float32))
    h = g.relu(g.conv(h, w, stride=(1, 1), padding=((1, 0), (0, 1)), dilation=(1, 1), groups=1))
    return g.linear(g.flatten(h), g.constant(rng.normal(size=(2, 18)).astype(np.float32)))


def scaled(g: Builder, x: Any) -> Any:
    """Normalised first: the first linear layer is not the first affine op."""
    w = g.constant(np.random.default_rng(5).normal(size=(6, 6)).astype(np.float32))
    return g.relu(g.linear((x - 0.25) / 0.3, w)) + x


def of(function: Any) -> Program:
    return Program(trace(ops.ALL, function, x=tl.f32["batch", 6]), {})


PROGRAMS = {"mlp": mlp(0), "conv": of(convolutional), "scaled": of(scaled)}


def members(region: Ball, rng: np.random.Generator, count: int) -> list[np.ndarray]:
    """float32 points of the ball, most of them at its border."""
    c = np.array([float(v) for v in region.center])
    r, found = float(region.radius), []
    for k in range(count):
        d = rng.normal(size=len(c))
        if k % 3 == 0:  # few coordinates: the corners of the L1 ball
            d = np.where(np.arange(len(c)) == rng.integers(len(c)), d, 0.0)
        if k % 3 == 1:
            d = np.sign(d)
        d *= r / np.linalg.norm(d, region.norm)
        for shrink in (1.0, 1 - 2.0**-22, 1 - 2.0**-18, 0.99):
            x = (c + shrink * d).astype(np.float32)
            if region.membership(x) is Membership.EXACT:
                found.append(x)
                break
    return found


@norms
@pytest.mark.parametrize("method", ["interval", "crown"])
@pytest.mark.parametrize("semantics", ["real", "float32"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_no_point_of_the_ball_escapes(name: str, semantics: str, method: str, norm: int) -> None:
    program, rng, N = PROGRAMS[name], np.random.default_rng(norm), Real()
    single = program.specialise(batch=1).graph
    for k in range(3):
        region = bounds.ball(rng.normal(size=6).astype(np.float32), str([0.5, 0.01, 2.0][k]), norm)
        assert isinstance(region, Ball)
        low, high = bounds.bounds(program, [region], method, semantics=semantics)
        outer = bounds.bounds(program, [region.box], method, semantics=semantics)
        assert (low >= outer[0]).all() and (high <= outer[1]).all()
        points = members(region, rng, 24)
        assert len(points) > 12
        for x in points:
            values = {next(iter(single.inputs)): x[None], **program.parameters}
            (y,) = evaluate(single, N, {n: N.constant(a) for n, a in values.items()}).values()
            lo, hi = (N.constant(end).values for end in (low, high))
            assert (lo <= y.values).all() and (y.values <= hi).all()
            if semantics == "float32":
                ran = program(x[None])
                assert (low <= ran).all() and (ran <= high).all()


@norms
def test_bounds_of_a_linear_map_are_the_dual_norm_s(norm: int) -> None:
    w = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    program = of(lambda g, x: g.linear(x, g.constant(w)))
    region = bounds.ball(np.zeros(6), 1, norm)
    dual = np.linalg.norm(w.astype(np.float64), {1: np.inf, 2: 2}[norm], axis=1)
    for method in ("interval", "crown"):
        low, high = bounds.bounds(program, [region], method)
        # the float hull adds one ulp of each input, 1.2e-7 of these
        np.testing.assert_allclose(high[0], dual, rtol=1e-6)
        np.testing.assert_allclose(low[0], -dual, rtol=1e-6)
        assert (high[0] >= dual).all()


@norms
@law
@given(data=st.data())
def test_a_form_s_least_value_is_below_every_member_s(norm: int, data: st.DataObject) -> None:
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    scale = 10.0 ** data.draw(st.integers(-30, 30))
    center = [Fraction(int(v), 10**6) for v in rng.integers(-(10**9), 10**9, 5)]
    region = bounds.ball(center, Fraction(int(rng.integers(0, 1000)), 1000), norm)
    row = rng.normal(size=5) * (rng.uniform(size=5) > 0.3) * scale
    balls = Balls.of([region])
    assert balls is not None and isinstance(region, Ball)
    least = Fraction(float(balls.least(row[None, None])[0, 0]))
    for x in [center, *(point.tolist() for point in members(region, rng, 6))]:
        assert least <= sum(Fraction(float(a)) * Fraction(v) for a, v in zip(row.tolist(), x, strict=True))
    # the contract, exactly: least <= a . c - r |a|_q - sum |a_i| ulp_i, and reach >= r |a|_q, squared for the norm 2
    a = [Fraction(float(v)) for v in row]
    ends = np.abs(np.stack(region.box.outer64())).max(axis=0).astype(np.float32)
    ulps = [Fraction(float(v)) for v in np.spacing(ends)]
    middle = sum((v * c for v, c in zip(a, region.center, strict=True)), Fraction(0))
    room = middle - least - sum((abs(v) * u for v, u in zip(a, ulps, strict=True)), Fraction(0))
    for gap in (room, Fraction(float(balls.reach(row[None, None])[0, 0]))):
        assert gap >= 0
        if norm == 1:
            assert gap >= region.radius * max(abs(v) for v in a)
        else:
            assert gap**2 >= region.radius**2 * sum(v * v for v in a)


def test_boxes_and_balls_in_one_batch() -> None:
    program, x = PROGRAMS["mlp"], np.linspace(-1, 1, 6).astype(np.float32)
    regions = [bounds.ball(x, 0.5, 1), bounds.box(x, 0.1), bounds.ball(x, 0.5, 2)]
    for method in ("interval", "crown"):
        together = bounds.bounds(program, regions, method)
        for k, region in enumerate(regions):
            alone = bounds.bounds(program, [region], method)
            for a, b in zip(together, alone, strict=True):
                np.testing.assert_allclose(a[k], b[0], rtol=1e-12)


@norms
def test_the_region_is_exact(norm: int) -> None:
    region = bounds.ball(["0.1", "0.2"], "0.3", norm)
    third = Fraction(3, 10)
    assert isinstance(region, Ball) and region.radius == third and region.box.lo == (Fraction(-1, 5), Fraction(-1, 10))
    assert region.contains_exact([Fraction(1, 10) + third, Fraction(1, 5)])
    assert not region.contains_exact([Fraction(1, 10) + third + Fraction(1, 10**30), Fraction(1, 5)])
    leg = {1: Fraction(3, 20), 2: Fraction(212132034355, 10**12)}[norm]  # r / 2, and just below r / sqrt(2)
    assert region.contains_exact([Fraction(1, 10) - leg, Fraction(1, 5) + leg])
    more = leg + Fraction(1, 10**11)
    assert not region.contains_exact([Fraction(1, 10) - more, Fraction(1, 5) + more])
    assert not region.contains_exact(np.array([np.nan, 0.0]))
    point = np.array([0.1, 0.2], np.float32)
    assert region.membership(point) is Membership.EXACT
    assert region.membership(point + np.float32(0.3)) is Membership.OUTSIDE


def test_a_ball_is_cut_with_a_domain() -> None:
    region = bounds.ball([0.1, 0.9], 0.5, 2, clip=(0, 1))
    assert isinstance(region, Ball) and region.box.lo[0] == 0 and region.box.hi[1] == 1
    assert not region.contains_exact([-0.1, 0.9])
    assert bounds.ball([0.1, 0.9], "0.5", "inf", clip=(0, 1)) == bounds.box([0.1, 0.9], "0.5", clip=(0, 1))
    assert isinstance(bounds.ball([0.0], 1, np.inf), Box)
    with pytest.raises(DataError, match="center of a ball"):
        bounds.ball([0.1, 1.5], 0.5, 2, clip=(0, 1))
    with pytest.raises(UsageError, match="no such norm"):
        bounds.ball([0.1], 0.5, 3)
    with pytest.raises(DataError, match="negative"):
        bounds.ball([0.1], -1, 2)
    with pytest.raises(DataError):
        bounds.ball([np.nan], 1, 2)


def test_an_l1_ball_of_few_inputs_is_proved_and_refuted() -> None:
    """y = x0 + x1 + x2 is at most r on the L1 ball, 3 r on the box around it."""
    program = of_sum()
    region = tl.ball([0.0, 0.0, 0.0], 1, norm=1)
    held = tl.verify(program, tl.forall(region, lambda y: y[0] <= 1.5), timeout=60)
    assert held.status == "unsat" and held.semantics == "float32"
    assert tl.verify(program, tl.forall(region.box, lambda y: y[0] <= 1.5), timeout=60).status == "sat"
    broken = tl.verify(program, region >> (tl.output[0] <= 0.75), timeout=60)
    assert broken.status == "sat" and broken.witness is not None
    assert region.contains_exact(broken.witness.x.ravel())


def of_sum() -> Program:
    w = np.array([[1, 1, 1], [-1, -1, -1]], np.float32)

    def sums(g: Builder, x: Any) -> Any:
        h = g.relu(g.linear(x, g.constant(w)))
        return g.linear(h, g.constant(np.array([[1, -1]], np.float32)))

    return Program(trace(ops.ALL, sums, x=tl.f32["batch", 3]), {})


def test_a_ball_that_no_inequalities_state_has_no_claim() -> None:
    for region, got in ((tl.ball(np.zeros(3), 1), "an L2 ball"), (tl.ball(np.zeros(7), 1, norm=1), "of 7 inputs")):
        with pytest.raises(Unsupported, match=got):
            tl.forall(region, lambda y: y[0] <= 1)
    pinned = tl.ball(np.zeros(7), 0, norm=1)  # a point: nothing moves
    assert len(pinned.facets()) == 1


def test_the_lirpa_form_takes_norms() -> None:
    program, x = PROGRAMS["mlp"], np.zeros((2, 6), np.float32)
    for norm in (1, 2, np.inf):
        found = BoundedModule(program).compute_bounds((BoundedTensor(x, PerturbationLpNorm(eps=0.5, norm=norm)),))
        wanted = bounds.bounds(program, [bounds.ball(row, 0.5, norm) for row in x])
        assert all((a == b).all() for a, b in zip(found, wanted, strict=True))
    with pytest.raises(Unsupported, match="no such region"):
        PerturbationLpNorm(eps=0.5, norm=3)
