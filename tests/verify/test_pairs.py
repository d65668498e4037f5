"""Claims about two runs come with certificates, and their refutations with points that refute them."""

from __future__ import annotations

import numpy as np
import pytest

import torchlean as tl
from torchlean import nn
from torchlean.errors import DataError, ShapeError, UsageError
from torchlean.verify.verdict import Status

REGION = tl.box(np.zeros(4, np.float32), "0.25")


@pytest.fixture(scope="module")
def program():
    model = nn.Sequential(nn.Linear(4, 10), nn.ReLU(), nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 2))
    return tl.trace(model, tl.f32["batch", 4], seed=3)


@pytest.fixture(scope="module")
def coarse(program):
    return program.with_arrays({k: (np.round(v * 64) / 64).astype(np.float32) for k, v in program.parameters.items()})


def points(count=4000):
    lo, hi = REGION.floats32()
    return np.random.default_rng(0).uniform(lo, hi, (count, 4)).astype(np.float32).clip(lo, hi)


def test_two_programs_are_equivalent_within_a_tolerance(program, coarse, tmp_path) -> None:
    apart = float(np.abs(program(points()) - coarse(points())).max())
    verdict = tl.equivalent(program, coarse, REGION, 2 * apart, timeout=30)
    assert verdict.holds and verdict.semantics == "float32"
    assert tl.check(*verdict.save(tmp_path)).status == "valid"
    both = tl.read_onnx(tmp_path / "model.onnx")(points(1).reshape(1, 4))
    assert np.array_equal(both[0, :2], program(points(1))[0]) and np.array_equal(both[0, 2:], coarse(points(1))[0])


def test_a_difference_is_shown(program, coarse) -> None:
    apart = float(np.abs(program(points()) - coarse(points())).max())
    verdict = tl.equivalent(program, coarse, REGION, apart / 2, timeout=30)
    assert verdict.status is Status.SAT
    x = verdict.witness.x[None]
    assert np.abs(program(x).astype(np.float64) - coarse(x)).max() > apart / 2
    assert not tl.equivalent(program, coarse, REGION, 0, timeout=10).holds


def test_a_program_is_equivalent_to_its_export_of_another_shape(program) -> None:
    other = tl.trace(lambda x: x.reshape(1, 2, 2), tl.f32[1, 4])
    same = tl.trace(lambda x: x.reshape(4), tl.f32[2, 2])
    assert tl.equivalent(other, same, REGION, "0.000001", timeout=10).holds


@pytest.mark.parametrize("shift", [0.125, -0.125])
def test_a_shift_in_either_direction_counts(shift) -> None:
    line = tl.trace(lambda x: x @ np.ones((4, 2), np.float32), tl.f32["n", 4])
    moved = tl.trace(lambda x: x @ np.ones((4, 2), np.float32) + np.array([0, shift], np.float32), tl.f32["n", 4])
    assert tl.equivalent(line, moved, REGION, "0.126", timeout=10).holds
    assert tl.equivalent(line, moved, REGION, "0.124", timeout=10).status == "sat"


def test_a_dip_counts_although_the_slope_is_mostly_right() -> None:
    w, b = np.array([[1, 1, 1]], np.float32), np.array([1, 0, -0.1], np.float32)
    model = nn.Sequential(nn.Linear(1, 3), nn.ReLU(), nn.Linear(3, 1))
    plan = {"0.weight": w.T, "0.bias": b, "2.weight": np.array([[1, -1.5, 1.5]], np.float32), "2.bias": -b[:1]}
    program, region = tl.trace(model, tl.f32["n", 1], plan=plan), tl.box([0], "0.5")  # it falls by 0.05 from 0 to 0.1
    assert tl.monotone(program, region, 0, tolerance="0.06", timeout=20).holds
    assert tl.monotone(program, region, 0, tolerance="0.04", timeout=20).status == "sat"


def test_monotone_up_to_a_tolerance(program, tmp_path) -> None:
    rising = program.with_arrays({k: np.abs(v) if k.endswith("weight") else v for k, v in program.parameters.items()})
    verdict = tl.monotone(rising, REGION, 1, tolerance="0.05", output=1, timeout=30)
    assert verdict.holds and tl.check(*verdict.save(tmp_path)).status == "valid"
    falling = tl.monotone(rising, REGION, 1, tolerance="0.001", increasing=False, timeout=30)
    assert falling.status is Status.SAT
    *x, moved = falling.witness.x.tolist()
    other = [*x[:1], moved, *x[2:]]
    ends = rising(np.array([x, other], np.float32))[:, 0].astype(np.float64)
    assert moved >= x[1] and ends[1] > ends[0] + 0.001 and REGION.contains_exact(np.array(other, np.float32))


@pytest.mark.parametrize("input", [0, 3])
def test_the_first_and_the_last_input_move(program, input) -> None:
    line = tl.trace(lambda x: x @ np.array([[1], [2], [3], [-4]], np.float32), tl.f32["n", 4])
    increasing = input == 0
    assert tl.monotone(line, REGION, input, tolerance="0.001", increasing=increasing, timeout=10).holds
    assert tl.monotone(line, REGION, input, tolerance="0.001", increasing=not increasing, timeout=10).status == "sat"


def test_what_cannot_be_compared_is_refused(program) -> None:
    narrow = tl.trace(nn.Linear(4, 1), tl.f32["n", 4])
    two = tl.trace(lambda x: (x, x), tl.f32["n", 4])
    with pytest.raises(ShapeError, match="take and give"):
        tl.equivalent(program, narrow, REGION, "0.1")
    with pytest.raises(ShapeError, match="region"):
        tl.equivalent(program, program, tl.box([0, 0], 1), "0.1")
    with pytest.raises(UsageError, match="one output"):
        tl.equivalent(two, program, REGION, "0.1")
    with pytest.raises(UsageError, match="negative"):
        tl.equivalent(program, program, REGION, -1)
    with pytest.raises(DataError):
        tl.equivalent(program, program, REGION, float("nan"))
    with pytest.raises(UsageError, match="up to a tolerance"):
        tl.monotone(program, REGION, 0, tolerance=0)
    for words in ({"input": 4}, {"input": -1}, {"input": 0, "output": 2}):
        with pytest.raises(ShapeError, match="no such input or output"):
            tl.monotone(program, REGION, tolerance=1, **words)
