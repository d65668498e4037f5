"""Bounds of linear forms, methods by their names elsewhere, and the LiRPA call form."""

from __future__ import annotations

import numpy as np
import pytest

import torchlean as tl
from torchlean import nn
from torchlean.bounds.lirpa import BoundedModule, BoundedTensor, PerturbationLpNorm
from torchlean.errors import ShapeError, Unsupported, UsageError

SEED = 5


@pytest.fixture(scope="module")
def program():
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))
    return tl.trace(model, tl.f32["batch", 4], seed=SEED)


@pytest.fixture(scope="module")
def regions():
    centers = np.random.default_rng(SEED).normal(size=(4, 4)).astype(np.float32)
    return [tl.box(c, "0.25") for c in centers]


def points(region, count=500):
    lo, hi = region.floats32()
    drawn = np.random.default_rng(SEED).uniform(lo, hi, (count, lo.size)).astype(np.float32)
    return np.concatenate([drawn.clip(lo, hi), lo[None], hi[None]])


@pytest.mark.parametrize("method", ["IBP", "CROWN"])
@pytest.mark.parametrize("semantics", ["real", "float32"])
def test_bounds_of_a_form_hold_at_points_and_differ_by_region(program, regions, method, semantics) -> None:
    C = tl.bounds.margins([0, 2, 1, 2], 3)
    assert C.shape == (4, 2, 3) and C[1].tolist() == [[-1, 0, 1], [0, -1, 1]]
    low, high = tl.bounds(program, regions, method, semantics=semantics, C=C)
    assert low.shape == high.shape == (4, 2)
    for k, region in enumerate(regions):
        y = program(points(region)).astype(np.float64)
        if semantics == "float32":  # the form itself is exact: differences of two float32 values are, in float64
            assert (low[k] <= y @ C[k].T).all() and (y @ C[k].T <= high[k]).all()
        alone = tl.bounds(program, region, method, semantics=semantics, C=C[k])
        assert np.allclose(alone, (low[k], high[k]), atol=1e-5)  # a batch tightens more neurons


def test_a_form_is_tighter_than_its_parts(program, regions) -> None:
    (low, high), (form, _) = tl.bounds(program, regions, "crown"), tl.bounds(program, regions, "crown", C=[[1, -1, 0]])
    assert (form[:, 0] >= low[:, 0] - high[:, 1] - 1e-9).all() and (form[:, 0] > low[:, 0] - high[:, 1] + 1e-3).any()


@pytest.mark.parametrize(("name", "same"), [("IBP", "interval"), ("ibp", "interval"), ("Crown", "crown"),
                                            ("backward", "crown")])  # fmt: skip
def test_a_method_has_one_meaning_under_every_name(program, regions, name, same) -> None:
    assert np.array_equal(tl.bounds(program, regions, name), tl.bounds(program, regions, same))


def test_methods_that_do_not_exist_are_refused(program, regions) -> None:
    with pytest.raises(Unsupported, match="optimised slopes"):
        tl.bounds(program, regions, "alpha-CROWN")
    with pytest.raises(UsageError, match="no such method"):
        tl.bounds(program, regions, "DeepPoly")


@pytest.mark.parametrize("C", [[1, -1, 0], [[1, -1]], np.zeros((3, 1, 3)), [[np.nan, 0, 0]], [["1", "2", "3"]],
                               [[1e-60, 0, 0]], np.zeros((0, 3))])  # fmt: skip
def test_a_specification_that_does_not_fit_is_refused(program, regions, C) -> None:
    with pytest.raises(ShapeError):
        tl.bounds(program, regions, "IBP", C=C)


@pytest.mark.parametrize(("labels", "classes"), [([3], 3), ([-1], 3), ([0], 1), ([[0]], 3)])
def test_margins_need_labels_of_the_classes(labels, classes) -> None:
    with pytest.raises(ShapeError, match="margin"):
        tl.bounds.margins(labels, classes)


def test_an_example_written_for_lirpa(program) -> None:
    images = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    model, C = BoundedModule(program), tl.bounds.margins([0, 1, 2], 3)
    for method in ("IBP", "CROWN"):
        low, high = model.compute_bounds(x=(BoundedTensor(images, PerturbationLpNorm(eps=0.125)),), method=method, C=C)
        ends = PerturbationLpNorm(x_L=images - np.float32(0.125), x_U=images + np.float32(0.125))
        again = model.compute_bounds(x=(BoundedTensor(images, ends),), method=method, C=C)
        assert low.shape == (3, 2) and (low < high).all() and np.allclose((low, high), again, atol=1e-5)  # x_L rounds
        y = program(images).astype(np.float64)
        value = np.einsum("bso,bo->bs", C, y)
        assert (low <= value).all() and (value <= high).all()
    with pytest.raises(UsageError, match="go together"):
        PerturbationLpNorm(x_L=images)
    with pytest.raises(UsageError, match="one input"):
        model.compute_bounds(x=(images,))


def test_a_property_reads_as_a_sentence(program) -> None:
    y = tl.output
    x = np.zeros(4, np.float32)
    label = int(program(x[None]).argmax())
    assert tl.verify(program, tl.box(x, "0.001") >> (y[label] > y.others), timeout=20).holds
