"""Learning rates over time."""

from __future__ import annotations

from itertools import pairwise

import pytest

from torchlean import optim


def test_step_divides_every_so_often() -> None:
    rule = optim.Step(1.0, every=3, factor=0.5)
    assert [rule.rate(k) for k in range(7)] == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25]


def test_cosine_falls_from_base_to_floor_and_stays() -> None:
    rule = optim.Cosine(1.0, steps=100, floor=0.1)
    rates = [rule.rate(k) for k in range(150)]
    assert rates[0] == 1.0 and rates[50] == pytest.approx(0.55) and rates[100] == pytest.approx(0.1)
    assert all(a >= b for a, b in pairwise(rates)) and rates[149] == rates[100]


def test_warmup_grows_linearly_into_the_schedule_that_follows() -> None:
    rule = optim.Warmup(optim.Step(1.0, every=2, factor=0.1), steps=4)
    assert [rule.rate(k) for k in range(4)] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert [rule.rate(k) for k in range(4, 8)] == pytest.approx([1.0, 1.0, 0.1, 0.1])


def test_cosine_agrees_with_pytorch() -> None:
    torch = pytest.importorskip("torch")
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.3)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20, eta_min=0.01)
    ours = optim.Cosine(0.3, steps=20, floor=0.01)
    for step in range(20):
        assert ours.rate(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        optimizer.step()
        theirs.step()
