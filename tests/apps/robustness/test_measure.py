"""Upper bounds are executions, lower bounds are never attacked, and the two never contradict each other."""

from __future__ import annotations

import sys
from fractions import Fraction
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

import torchlean as tl
from torchlean import nn
from torchlean.apps import robustness as app
from torchlean.errors import DataError, InternalError, Unsupported, UsageError
from torchlean.io.onnx import write_onnx

module = sys.modules["torchlean.apps.robustness.measure"]  # the package's `measure` is the function
EPSILONS = tuple(Fraction(e) for e in ("0.02", "0.1", "0.3"))


def grid(region, n=41):
    """Float32 points of a box in the plane, corners among them."""
    lo, hi = (e.ravel() for e in region.floats32())
    axes = [np.linspace(a, b, n, dtype=np.float32).clip(a, b) for a, b in zip(lo, hi, strict=True)]
    return np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)


def misclassified(program, points, label):
    y = program(points)
    return (np.delete(y, label, axis=1) >= y[:, label : label + 1]).any(axis=1)


@pytest.fixture(scope="module")
def measured(blobs, tmp_path_factory):
    program, examples = blobs
    folder = tmp_path_factory.mktemp("proofs")
    from torchlean.verify.program import exported

    proofs = app.Proofs(exported(program)[0], folder, timeout=30.0, jobs=2)
    few = app.Examples(examples.x[:8], examples.y[:8])
    return program, few, app.measure(program, few, app.Settings(EPSILONS), proofs), folder


def test_the_attack_finds_what_a_grid_finds(blobs) -> None:
    program, examples = blobs
    planted = 0
    for eps in EPSILONS[1:]:
        regions = [tl.box(x, eps) for x in examples.x]
        found = app.attack(program, regions, examples.y, seed=0)
        for region, label, point in zip(regions, examples.y.tolist(), found, strict=True):
            broken = misclassified(program, grid(region), label).any()
            planted += bool(broken)
            assert point is not None or not broken
            if point is not None:
                assert region.contains_exact(point) and misclassified(program, point, label).all()
    assert planted > 10


def test_a_tie_is_a_violation_and_a_point_outside_is_none() -> None:
    program = tl.trace(lambda x: x @ np.array([[1, 0], [0, 1]], np.float32), tl.f32["n", 2])
    region = tl.box(np.array([1, 0], np.float32), "0.5")
    tie, outside = np.array([[0.5, 0.5]], np.float32), np.array([[0.25, 0.5]], np.float32)
    assert app.violates(program, region, 0, tie) and not app.violates(program, region, 0, outside)
    assert not app.violates(program, region, 0, np.array([[1, 0]], np.float32))
    (found,) = app.attack(program, [region], np.array([0]), seed=0)
    assert found is not None and (found == tie).all()  # the corner is the only violating point


def test_the_attack_climbs_to_the_only_corner_of_many() -> None:
    w = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    center = np.full((1, 60), 0.5, np.float32)
    rise = np.abs(w[:, 1] - w[:, 0]).sum() * 0.25  # of the margin, at the best corner of the box
    margin = float((center @ (w[:, 0] - w[:, 1]))[0])
    bias = np.array([0.98 * float(rise) - margin, 0], np.float32)  # class 0 leads by 0.98 of what the box can take
    program = tl.trace(lambda x: x @ w + bias, tl.f32["n", 60])
    regions = [tl.box(center, "0.25"), tl.box(center, "0.24")]
    wide, narrow = app.attack(program, regions, np.array([0, 0]), seed=0)
    assert wide is not None and narrow is None


def test_no_lower_bound_is_broken_by_a_stronger_attack(measured) -> None:
    program, examples, result, _ = measured
    strong = app.Strength(restarts=5, steps=40)
    counted = 0
    for level in result.levels:
        regions = [tl.box(x, level.eps) for x in examples.x]
        found = app.attack(program, regions, examples.y, seed=9, strength=strong)
        for i, (region, label) in enumerate(zip(regions, examples.y.tolist(), strict=True)):
            if level.ibp[i] or level.crown[i] or level.proved[i]:
                counted += 1
                assert found[i] is None and not misclassified(program, grid(region), label).any()
            assert not (level.ibp[i] and not level.crown[i])  # the linear walk starts from the intervals
    assert counted > 8


def test_every_example_is_decided_and_radii_are_nested(measured) -> None:
    _, _, result, _ = measured
    for level in result.levels:
        assert (level.attacked ^ level.proved).all() and not level.reasons
        assert not level.unknown("complete").any() and level.unknown("ibp").sum() >= level.unknown("crown").sum()
    for small, large in pairwise(result.levels):
        assert (small.attacked <= large.attacked).all() and (large.proved <= small.proved).all()
    assert result.levels[0].proved.sum() > result.levels[-1].proved.sum() > 0 or result.levels[-1].attacked.all()


def test_the_proofs_stay_and_check(measured) -> None:
    _, examples, result, folder = measured
    certificates = sorted(folder.glob("*.tlcert"))
    assert certificates
    for path in certificates[:3]:
        claim = folder / (path.name.removesuffix(".tlcert").removeprefix(path.name[:5] + "model_") + ".vnnlib")
        assert tl.check(folder / "model.onnx", claim, path).status == "valid"
    shown = app.rows(result)
    assert len(shown) == 3 and all(len(row) == len(app.HEAD) for row in shown)
    found = app.as_json(result)
    assert found["examples"] == len(examples) and [v["eps"] for v in found["levels"]] == ["0.02", "0.1", "0.3"]


def test_a_contradiction_is_an_error(blobs, monkeypatch) -> None:
    program, examples = blobs

    def wrong(program, regions, method, semantics, C):
        ones = np.ones((len(regions), C.shape[1]))
        return ones, ones

    monkeypatch.setattr(module, "bounds", wrong)
    with pytest.raises(InternalError, match="contradicts"):
        app.measure(program, examples, app.Settings((Fraction(1),), method="ibp"))


def test_nan_bounds_nothing(blobs, monkeypatch) -> None:
    program, examples = blobs
    monkeypatch.setattr(module, "bounds", lambda program, regions, *_, C, **__: (np.full(C.shape[:2], np.nan),) * 2)
    result = app.measure(program, examples, app.Settings((Fraction(0),), method="ibp"))
    assert not result.levels[0].ibp.any() and result.nominal.any()


def test_the_domain_cuts_and_refuses(blobs) -> None:
    program, examples = blobs
    with pytest.raises(DataError, match="outside the input domain"):
        app.measure(program, examples, app.Settings(EPSILONS, (Fraction(0), Fraction(1)), "ibp"))
    wide = app.measure(program, examples, app.Settings((Fraction(50),), (Fraction(-2), Fraction(3)), "crown"))
    assert wide.levels[0].attacked.all()  # the boxes are the whole domain


def test_a_box_ends_at_the_domain() -> None:
    shifted = tl.trace(program_of, tl.f32["n", 2])
    examples = app.Examples(np.array([[[0.9, 0.5]]], np.float32), np.array([0]))
    free, cut = (
        app.measure(shifted, examples, app.Settings((Fraction("0.2"),), domain, "ibp")).levels[0]
        for domain in (None, (Fraction(0), Fraction(1)))
    )
    assert free.attacked.all() and not free.ibp.any()
    assert cut.ibp.all() and not cut.attacked.any()


def program_of(x):
    """Class 0 where 1.05 > x[0]."""
    return x @ np.array([[-1, 0], [0, 0]], np.float32) + np.array([1.05, 0], np.float32)


class Answers:
    """Verdicts made up: (example, radius) -> status, semantics, the checker's word."""

    def __init__(self, found):
        self.found = found

    def decide(self, regions, labels, classes, eps):
        def row(i):
            status, semantics, checked = self.found.get((i, str(float(eps))), ("timeout", "", ""))
            return SimpleNamespace(status=status, semantics=semantics, checked=checked, reason="")

        return {i: row(i) for i in regions}


@pytest.mark.parametrize("semantics", ["float32", "real"])
def test_what_a_verdict_says_about_other_radii(semantics) -> None:
    examples = app.Examples(np.zeros((6, 1, 2), np.float32), np.zeros(6, np.int64))
    answers = {
        (0, "0.2"): ("unsat", "float32", "valid"),
        (1, "0.2"): ("unsat", "real", "valid"),
        (2, "0.2"): ("unsat", "float32", "invalid"),
        (3, "0.2"): ("sat", "float32", ""),
        (4, "0.2"): ("sat", "real", ""),
    }
    settings = app.Settings(tuple(Fraction(e) for e in ("0.1", "0.2", "0.3")), method="complete", semantics=semantics)
    levels = [module.Level(eps, *np.zeros((5, 6), bool)) for eps in settings.epsilons]
    module._complete(examples, 2, levels, settings, Answers(answers), lambda line: None)
    real = semantics == "real"
    proved = [[i for i in range(6) if level.proved[i]] for level in levels]
    attacked = [[i for i in range(6) if level.attacked[i]] for level in levels]
    whole = [0, 1] if real else [0]
    assert proved == [whole, whole, []]
    broken = [3, 4] if real else [3]
    assert attacked == [[], broken, broken]
    assert (1 in levels[1].reasons) is not real and 2 in levels[1].reasons and 3 not in levels[2].reasons


def test_a_planted_violation_is_no_proof(tmp_path) -> None:
    from torchlean.verify.program import exported

    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    plan = {"0.weight": np.eye(2), "0.bias": np.ones(2), "2.weight": np.eye(2), "2.bias": np.zeros(2)}
    program = tl.trace(model, tl.f32["n", 2], plan={k: v.astype(np.float32) for k, v in plan.items()})
    regions = {5: tl.box(np.array([0.5, 0], np.float32), "0.125"), 7: tl.box(np.array([0, 0.05], np.float32), "0.125")}
    labels = np.array([0] * 7 + [1])
    found = app.Proofs(exported(program)[0], tmp_path, 20.0).decide(regions, labels, 2, Fraction(1, 8))
    assert (found[5].status, found[5].checked, found[7].status) == ("unsat", "valid", "sat")


@pytest.mark.parametrize("epsilons", [(), (Fraction(-1),), (Fraction(2), Fraction(1)), (Fraction(1, 3),)])
def test_radii_must_be_decimals_that_rise(epsilons) -> None:
    with pytest.raises(UsageError, match="radii"):
        app.Settings(epsilons)


def test_what_the_checker_cannot_read_is_refused_for_proofs_alone(tmp_path, monkeypatch) -> None:
    program = tl.trace(nn.Sequential(nn.Linear(2, 8), nn.GELU(tanh=True), nn.Linear(8, 2)), tl.f32[1, 2])
    x = np.array([[[2, 0]]], np.float32)
    examples = app.Examples(x, program(x[0]).argmax(axis=1))
    settings = app.Settings((Fraction("0.001"),), method="ibp")
    assert app.measure(program, examples, settings).levels[0].ibp.all()
    proofs = app.Proofs(write_onnx(program), tmp_path, 5.0)
    monkeypatch.setattr(module, "_bound", lambda *_: None)  # the linear walk may lack a rule: another error
    with pytest.raises(Unsupported):
        app.measure(program, examples, app.Settings((Fraction("0.001"),)), proofs)
