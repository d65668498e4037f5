"""The score for splitting: what an input may move, and which coordinate is split."""

from __future__ import annotations

import numpy as np
import pytest

import torchlean_check as tc
from torchlean.verify.boxes import aim
from torchlean.verify.smear import smear


@pytest.mark.parametrize("seed", range(4))
def test_the_smear_of_a_point_bounds_the_gradient_there_and_grows_with_the_box(seed, mlp, files) -> None:
    weights, model = mlp((3, 8, 8, 2), seed)
    claim = files[1](["-1.0"] * 3, ["1.0"] * 3, 2, ["(assert (<= Y_0 Y_1))"])
    network, (region,) = tc.load(model, claim)
    kernel, x = tc.Kernel(network, region), np.random.default_rng(seed).uniform(-1, 1, 3)
    point = kernel.start()
    point.lo[0] = point.hi[0] = x
    kernel.bound(point, derive=True)
    gradient = weights[-1][0] @ np.linalg.multi_dot(
        [np.diag((w @ v + b > 0) * 1.0) @ w for (w, b), v in _layers(weights, x)][::-1]
    )
    moved = np.abs(region.rows_y @ gradient).max(axis=0)
    assert (smear(kernel, point)[0] >= moved - 1e-5).all()
    whole = kernel.start()
    assert smear(kernel, whole).shape == (1, 3) and (smear(kernel, whole) > 0).all()


def _layers(weights, x):
    for w, b in weights[:-1]:
        yield (w, b), x
        x = np.maximum(w @ x + b, 0)


def test_the_coordinate_that_both_scores_name_is_split_and_a_wide_one_without_influence_is_not(mlp, files) -> None:
    _, model = mlp((3, 4, 1), 0)
    network, (region,) = tc.load(model, files[1](["-1.0"] * 3, ["1.0"] * 3, 1, ["(assert (>= Y_0 9))"]))
    state = tc.Kernel(network, region).start()
    margin, form, row = np.array([[-1.0]]), np.array([[[1.0, 2.0, 0.0]]]), np.zeros(1, np.int64)
    assert aim(state, margin, form, row)[0] == 1
    assert aim(state, margin, form, row, np.array([[0.1, 0.1, 0.0]]))[0] == 1
    assert aim(state, margin, form, row, np.array([[0.9, 0.1, 0.0]]))[0] == 0
    assert aim(state, margin, 0 * form, row, np.zeros((1, 3)))[0] == 0  # no influence at all: the widest
