"""The dual bound: below every execution that its splits allow, whatever slopes and multipliers."""

from __future__ import annotations

import numpy as np
import pytest

from torchlean.bounds.dense import Layer, Rows, Stack
from torchlean.verify.dual import Dual, Problems

RATE = 1e-3  # far larger than float32's, so that charging it wrongly shows


def stack_of(weights, rate=RATE):
    layers = tuple(
        Layer(w, np.abs(w), b, np.full(len(b), rate, np.float32), np.ones(len(b), bool)) for w, b in weights[:-1]
    )
    w, b = weights[-1]
    rows = Rows(
        w, np.abs(w), np.zeros((len(b), weights[0][0].shape[1]), np.float32), b, np.full(len(b), rate, np.float32)
    )
    return Stack(layers, rows, weights[0][0].shape[1])


def interval(stack, lo, hi):
    """Boxes of every z with its error box, and the largest |a|."""
    boxes, largest = [], []
    for layer in stack.layers:
        w = layer.weight.astype(np.float64)
        error = (layer.size @ np.maximum(np.abs(lo), np.abs(hi)) + np.abs(layer.bias)) * layer.rate
        low = np.maximum(w, 0) @ lo + np.minimum(w, 0) @ hi + layer.bias - error
        high = np.maximum(w, 0) @ hi + np.minimum(w, 0) @ lo + layer.bias + error
        boxes.append((low, high))
        lo, hi = np.maximum(low, 0), np.maximum(high, 0)
        largest.append(hi)
    return boxes, largest


def executions(dual, x, rng, count):
    """z of every layer and the rows' values, with any errors inside the boxes."""
    a, zs = np.repeat(x, count, axis=0), []
    for w, b, e in zip(dual.weights, dual.biases, dual.errors, strict=True):
        z = a @ w.T + b + e * rng.choice([-1.0, 1.0, 0.3], size=(len(a), len(b)))
        zs.append(z)
        a = np.maximum(z, 0)
    return zs, a @ dual.rows.T


@pytest.mark.parametrize("seed", range(6))
def test_no_execution_that_meets_the_splits_is_below_the_bound(seed, mlp) -> None:
    rng = np.random.default_rng(seed)
    weights, _ = mlp((3, 8, 8, 2), seed)
    stack = stack_of(weights)
    lo, hi = np.full(3, -0.6), np.full(3, 0.6)
    boxes, largest = interval(stack, lo, hi)
    dual = Dual(stack, lo, hi, largest, np.maximum(np.abs(lo), np.abs(hi)))
    row_error = dual.row_bias
    side = [rng.choice([-1.0, 0.0, 0.0, 1.0], size=(2, 8)) for _ in range(2)]
    low = [np.where(s > 0, np.maximum(b[0], 0), b[0]) for s, b in zip(side, boxes, strict=True)]
    high = [np.where(s < 0, np.minimum(b[1], 0), b[1]) for s, b in zip(side, boxes, strict=True)]
    alpha = [rng.random((2, 8)) for _ in range(2)]
    beta = [rng.random((2, 8)) * 2 for _ in range(2)]
    x = rng.uniform(lo, hi, (400, 3))
    zs, g = executions(dual, x, rng, 8)
    for steps in (0, 12):
        best = dual.maximise(Problems(low, high, side, np.arange(2), alpha, beta), steps, target=np.inf)
        for p in range(2):
            meets = np.all([((s[p] * z >= 0) | (s[p] == 0)).all(axis=1) for s, z in zip(side, zs, strict=True)], axis=0)
            reached = g[meets, p] + row_error[p]
            assert not (reached < best.value[p] - 1e-12).any()  # 1e-12: this walk is a search; the kernel is the proof


def test_optimising_never_loses(mlp) -> None:
    weights, _ = mlp((3, 8, 8, 2), 1)
    stack = stack_of(weights, 0.0)
    lo, hi = np.full(3, -0.6), np.full(3, 0.6)
    boxes, largest = interval(stack, lo, hi)
    dual = Dual(stack, lo, hi, largest, np.full(3, 0.6))
    sides = [[np.repeat(b[i][None], 2, axis=0) for b in boxes] for i in range(2)]
    zero = [np.zeros((2, 8)) for _ in range(2)]
    start = [np.where(h > -low, 1.0, 0.0) for low, h in zip(*sides, strict=True)]
    before = dual.maximise(Problems(*sides, zero, np.arange(2), start, zero), 0).value
    after = dual.maximise(Problems(*sides, zero, np.arange(2), start, zero), 40, target=np.inf).value
    assert (after >= before).all() and (after > before + 1e-3).any()


@pytest.mark.parametrize("beta", [0.5, 1.0, 100.0])
def test_the_error_box_is_charged_with_the_multiplier_included(beta) -> None:
    """z = x with x = -E/2: an execution may have z = E/2, so the case z >= 0 is not empty and the bound of 0 is at most
    0.

    Charging |A| E before beta is added to A would give beta E/2 > 0.
    """
    one = np.ones((1, 1), np.float32)
    stack = Stack(
        (Layer(one, one, np.zeros(1, np.float32), np.full(1, RATE, np.float32), np.ones(1, bool)),),
        Rows(0 * one, 0 * one, 0 * one, np.zeros(1, np.float32), np.zeros(1, np.float32)),
        1,
    )
    size = np.ones(1)
    dual = Dual(stack, size, size, [size], size)
    error = float(dual.errors[0][0])
    dual = Dual(stack, np.array([-error / 2]), np.array([-error / 2]), [size], size)
    box = [np.array([[0.0]])], [np.array([[error]])]
    found = dual.maximise(
        Problems(*box, [np.ones((1, 1))], np.zeros(1, np.int64), [np.ones((1, 1))], [np.full((1, 1), beta)]), 0
    )
    assert found.value[0] <= 0
