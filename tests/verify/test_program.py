"""Programs are verified by the files that they are exported to."""

from __future__ import annotations

import numpy as np
import pytest

import torchlean as tl
from torchlean import nn
from torchlean.errors import ShapeError, UsageError
from torchlean.verify.verdict import Status


@pytest.fixture(scope="module")
def program():
    model = nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 2))
    return tl.trace(model, tl.f32["batch", 4], seed=3)


def sampled(program, region, count=4000):
    lo, hi = region.hull32()
    points = np.random.default_rng(0).uniform(lo, hi, (count, 4)).astype(np.float32)
    return program(points.clip(lo, hi))


def test_a_claim_in_python_becomes_three_files_that_check(program, tmp_path) -> None:
    region = tl.box(np.zeros(4, np.float32), "0.25")
    y = sampled(program, region)
    low, high = float(y[:, 1].min()) - 0.1, float(y[:, 1].max()) + 0.1
    verdict = tl.verify(program, tl.forall(region, lambda y: (y[1] >= low) & (y[1] <= high)), timeout=20)
    assert verdict.status is Status.UNSAT and verdict.holds and "every float32 execution" in str(verdict)
    files = verdict.save(tmp_path / "proof")
    assert [f.name for f in files] == ["model.onnx", "claim.vnnlib", "proof.tlcert"]
    assert tl.check(*files).status == "valid"
    other = tl.verify(program, tl.forall(region, lambda y: y[1] >= low), timeout=20).save(tmp_path / "other")
    assert tl.check(files[0], other[1], other[2]).status == "valid"
    with pytest.raises(Exception, match="another VNN-LIB property"):
        tl.check(files[0], files[1], other[2])


def test_a_false_claim_has_a_witness_and_no_files(program, tmp_path) -> None:
    region = tl.box(np.zeros(4, np.float32), "0.25")
    middle = float(np.median(sampled(program, region)[:, 0]))
    verdict = tl.verify(program, tl.forall(region, lambda y: y[0] <= middle), timeout=20)
    assert verdict.status is Status.SAT and not verdict.holds
    x = verdict.witness.x
    assert region.contains_exact(x) and float(program(x[None])[0, 0]) > middle
    with pytest.raises(UsageError, match="no proof"):
        verdict.save(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_the_tightest_interval_holds_and_is_nearly_reached(program) -> None:
    region = tl.box(np.zeros(4, np.float32), "0.2")
    said: list[str] = []
    found = tl.verify.tightest(program, region, output=1, timeout=20, say=said.append)
    assert found.verdict.semantics == "float32"  # an interval that only the reals keep to does not count
    y = sampled(program, region)[:, 1].astype(np.float64)
    assert (found.lower <= y).all() and (y <= found.upper).all()
    assert found.lower <= found.attacked[0] <= y.min() and y.max() <= found.attacked[1] <= found.upper
    assert 0 <= found.gap < 0.05 * (found.attacked[1] - found.attacked[0])
    assert found.verdict.status is Status.UNSAT and found.verdict.semantics == "float32" and said


def test_what_does_not_fit_is_refused(program) -> None:
    with pytest.raises(UsageError):
        tl.verify(program, lambda y: y[0] <= 1)
    with pytest.raises(ShapeError):
        tl.verify(program, tl.forall(tl.box(np.zeros(3, np.float32), "0.1"), lambda y: y[0] <= 1))
