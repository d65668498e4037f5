"""Boxes of inputs: a search that rounding alone would keep from its end is never begun, and the root costs no more than
it brings."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest

import torchlean_check as tc
from torchlean.verify import inputs
from torchlean.verify.attack import attack
from torchlean.verify.boxes import Search, ask_rounding
from torchlean.verify.clock import Deadline
from torchlean.verify.files import read, verify_files
from torchlean.verify.glance import root_rule
from torchlean.verify.outcome import Budget
from torchlean.verify.problem import Files, Problem
from torchlean.verify.strategy import Strategy
from torchlean.verify.verdict import Status
from torchlean_check import forms

# relu(x) / 2 - relu(x - 1/2) / 2 is 1/4 from 1/2 on, and no float32 execution of it rounds
PLATEAU = [(np.array([[1.0], [1.0]]), np.array([0.0, -0.5])), (np.array([[0.5, -0.5]]), np.array([0.0]))]


@pytest.fixture
def plateau(files):
    def make(top: str) -> tuple[bytes, bytes]:
        return files[0](PLATEAU), files[1](["-1.0"], ["1.0"], 1, [f"(assert (>= Y_0 {top}))"])

    return make


@pytest.mark.parametrize(("top", "said"), [("0.250000001", "real"), ("0.26", "float32")])
def test_a_search_is_for_the_semantics_that_it_can_end_in(top, said, plateau, monkeypatch) -> None:
    searched = set()
    step = Search.step

    def noted(self: Search) -> None:
        searched.add(self.problem.semantics)
        step(self)

    monkeypatch.setattr(Search, "step", noted)
    model, claim = plateau(top)
    verdict = verify_files(model, claim, timeout=30)
    assert (verdict.status, verdict.semantics) == (Status.UNSAT, said)
    assert searched == {said}
    assert tc.check(model, claim, verdict.certificate).status == "valid"


def problem_of(model: bytes, claim: bytes) -> Problem:
    network, (region,) = read(model, claim)
    return Problem(Files(model, claim), network, region, "float32", Deadline(30), np.random.default_rng(0))


def test_rounding_is_asked_about_again_only_where_a_point_is_half_as_near(plateau) -> None:
    problem = problem_of(*plateau("0.250000001"))
    far, near = np.array([0.0]), np.array([0.75])
    ask_rounding(problem, far, 0.25)  # closes: 0 is far from 1/4
    ask_rounding(problem, near, 0.2)
    ask_rounding(problem, near, 0.0)
    assert problem.asked == 0.25
    with pytest.raises(Budget):
        ask_rounding(problem, near, 1e-9)
    real = problem.over_the_reals(problem.deadline)
    ask_rounding(real, near, 1e-9)
    assert real.kernel is problem.real_kernel and real.kernel.semantics == "real"


def test_the_attack_tells_how_near_it_came(plateau) -> None:
    problem = problem_of(*plateau("0.3"))
    points, g = attack(problem.target, np.random.default_rng(0), 32, 8, 10, Deadline(30))
    assert (np.diff(g) >= 0).all() and np.array_equal(g, problem.target.rows(points)[:, 0])
    assert abs(g[0] - 0.05) < 1e-12
    problem.attack(32, 8, 10)
    assert problem.target.rows(problem.nearest).shape == (1, 1) and problem.target.rows(problem.nearest)[0, 0] == g[0]


def test_the_root_is_not_bounded_in_full_where_forms_of_few_inputs_are_carried_along(plateau) -> None:
    model, claim = plateau("0.26")
    network, regions = read(model, claim)
    by = {name: [Strategy(name, "")] for name in ("inputs", "neurons")}
    assert root_rule(network, regions, by["inputs"]) == "derive"  # it is narrow
    with mock.patch.object(forms, "LEAST", 0):
        assert root_rule(network, regions, by["neurons"]) == "derive"
        assert root_rule(network, regions, [Strategy("inputs", "", 0.4)]) == "derive"
        assert root_rule(network, regions, by["inputs"]) == "interval"
        verdict = verify_files(model, claim, timeout=30, strategy="inputs")
        assert verdict.status is Status.UNSAT and tc.decode(verdict.certificate).root == "interval"
        assert tc.check(model, claim, verdict.certificate).status == "valid"


def test_the_long_attack_waits_for_some_batches(plateau, monkeypatch) -> None:
    called = []

    def noted(*_: object) -> np.ndarray:
        called.append(True)
        return np.zeros((0, 1))

    monkeypatch.setattr(inputs, "evolve", noted)
    monkeypatch.setattr(inputs, "FIRST_ATTACK", -1.0)
    for batches, times in ((inputs.BATCHES, 0), (1, 1)):
        monkeypatch.setattr(inputs, "BATCHES", batches)
        assert verify_files(*plateau("0.26"), timeout=30).status is Status.UNSAT
        assert bool(called) == bool(times)
