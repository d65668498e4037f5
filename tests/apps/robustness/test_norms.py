"""Robustness over balls: the attack stays inside, no bound is broken, and larger regions are no more robust."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import torchlean as tl
from torchlean.apps import robustness as app
from torchlean.apps.robustness.projection import Inside, into_l1
from torchlean.errors import Unsupported, UsageError

EPS = (Fraction(1, 10), Fraction(1, 2))
STRENGTH = app.Strength(restarts=2, steps=12)


def measured(blobs: Any, norm: str, method: str = "crown") -> app.Measured:
    program, examples = blobs
    few = app.Examples(examples.x[:16], examples.y[:16])
    return app.measure(program, few, app.Settings(EPS, method=method, norm=norm, strength=STRENGTH))


def test_an_l1_ball_is_robust_where_an_l2_ball_is_and_that_where_a_box_is(blobs: Any) -> None:
    one, two, box = (measured(blobs, norm) for norm in ("1", "2", "inf"))
    for a, b, c in zip(one.levels, two.levels, box.levels, strict=True):
        assert (a.crown >= b.crown).all() and (b.crown >= c.crown).all() and (a.ibp >= b.ibp).all()
        assert not (a.attacked & b.crown).any() and not (b.attacked & c.crown).any()
    assert sum(level.crown.sum() for level in one.levels) > sum(level.crown.sum() for level in box.levels)
    assert sum(level.attacked.sum() for level in one.levels) < sum(level.attacked.sum() for level in box.levels)


@pytest.mark.parametrize("norm", ["1", "2"])
def test_every_point_found_is_in_the_ball_and_no_grid_point_breaks_a_bound(blobs: Any, norm: str) -> None:
    program, examples = blobs
    found = measured(blobs, norm)
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    around = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    around /= np.linalg.norm(around, int(norm), axis=1, keepdims=True)
    for level in found.levels:
        regions = [tl.ball(x, level.eps, int(norm)) for x in examples.x[:16]]
        points = app.attack(program, regions, examples.y[:16], 3, STRENGTH)
        for i, (region, label) in enumerate(zip(regions, examples.y.tolist(), strict=False)):
            if points[i] is not None:
                assert region.contains_exact(points[i]) and not level.crown[i]
            grid = (examples.x[i] + around * float(level.eps) * (1 - 1e-6)).astype(np.float32)
            grid = grid[[region.contains_exact(x) for x in grid]]
            y = program(grid)
            if (y.argmax(axis=1) != label).any():
                assert not level.crown[i] and level.attacked[i], "the attack misses what a grid finds"


def test_only_what_can_be_stated_is_proved(blobs: Any) -> None:
    with pytest.raises(Unsupported, match="an L2 ball"):
        measured(blobs, "2", "complete")
    with pytest.raises(UsageError, match="no such norm"):
        app.Settings(EPS, norm="3")


def test_the_attack_climbs_to_the_only_corner_of_an_l1_ball() -> None:
    """The one input with the largest weight takes all of the radius."""
    w = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    center = np.full((1, 60), 0.5, np.float32)
    rise = np.abs(w[:, 1] - w[:, 0]).max() * 0.25
    bias = np.array([0.98 * float(rise) - float((center @ (w[:, 0] - w[:, 1]))[0]), 0], np.float32)
    program = tl.trace(lambda x: x @ w + bias, tl.f32["n", 60])
    wide, narrow = app.attack(program, [tl.ball(center, r, 1) for r in ("0.25", "0.24")], np.array([0, 0]), seed=0)
    assert wide is not None and narrow is None


@pytest.mark.parametrize("norm", [1, 2])
def test_steps_and_starts_stay_inside(norm: int) -> None:
    rng = np.random.default_rng(norm)
    centers = rng.uniform(size=(5, 1, 8)).astype(np.float32)
    regions = [tl.ball(c, Fraction(int(k), 10), norm, clip=(0, 1)) for k, c in enumerate(centers, 1)]
    inside = Inside.of(regions, (1, 8))
    x = inside.middle()
    for k in range(20):
        assert all(r.contains_exact(p.ravel()) for r, p in zip(regions, x, strict=True))
        x = inside.step(x, rng.normal(size=x.shape).astype(np.float32), np.float32(0.3)) if k % 2 else inside.at(
            rng.integers(0, 2, x.shape).astype(np.float32))  # fmt: skip


def test_the_projection_is_the_nearest_point_of_the_l1_ball() -> None:
    """p is nearest to x where (x - p) . (z - p) <= 0 for every corner z; 1e-12 for float64's roundings."""
    rng = np.random.default_rng(2)
    x, radius = rng.normal(size=(50, 7)) * rng.uniform(0, 3, (50, 1)), rng.uniform(0.1, 3, 50)
    p = into_l1(x, radius)
    assert (np.abs(p).sum(axis=1) <= radius * (1 + 1e-12)).all()
    corners = np.concatenate([np.eye(7), -np.eye(7)])
    product = ((x - p)[:, None] * (corners * radius[:, None, None] - p[:, None])).sum(axis=2)
    assert (product <= 1e-12).all()
    near = np.abs(x).sum(axis=1) <= radius
    assert near.any() and (p[near] == x[near]).all()
