"""Matrices of few entries do what whole ones do."""

from unittest import mock

import numpy as np
import pytest

import torchlean_check as tc
from torchlean_check import sparse
from torchlean_check.network import Dense, matrix
from torchlean_check.sparse import Sparse


def whole_numbers(rng, *shape, share=0.2):
    return np.rint(8 * rng.normal(size=shape)) * (rng.random(shape) < share)


@pytest.fixture
def always():
    with mock.patch.multiple(sparse, LEAST=0, SHARE=0):
        yield


@pytest.mark.parametrize("seed", range(20))
def test_products_are_those_of_the_matrix(always, seed):
    rng = np.random.default_rng(seed)
    out, size = rng.integers(1, 12, 2)
    weight = whole_numbers(rng, out, size, share=rng.choice([0.0, 0.2, 1.0]))
    map_ = Sparse.of(weight)
    x, rows = whole_numbers(rng, 3, size, share=0.5), whole_numbers(rng, 3, out, share=0.5)
    assert np.array_equal(map_.apply(x, np.matmul), x @ weight.T)  # small integers: no sum rounds
    assert np.array_equal(map_.transpose(rows, np.matmul), rows @ weight)
    assert np.array_equal(map_.absolute().apply(x, np.matmul), x @ abs(weight).T)
    assert np.array_equal(map_.leaves(), np.count_nonzero(weight, axis=1))
    assert map_.depth >= max(np.count_nonzero(weight, axis=0).max(), np.count_nonzero(weight, axis=1).max())
    columns = np.flatnonzero(rng.random(out) < 0.5)
    some, reached = map_.back(rows[:, columns], columns, np.matmul)
    assert np.array_equal(some, (rows[:, columns] @ weight[columns])[:, reached])
    assert not np.delete(rows[:, columns] @ weight[columns], reached, axis=1).any()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_rows_of_one_or_two_entries_are_gathered_one_after_the_other(always, count):
    rng = np.random.default_rng(count)
    weight = np.zeros((40, 7))
    for row in weight:
        row[rng.choice(7, count, replace=False)] = rng.integers(1, 9, count)
    map_ = Sparse.of(weight)
    assert map_.each == (count if count < 3 else 0)
    x = whole_numbers(rng, 3, 7, share=0.5)
    assert np.array_equal(map_.apply(x, np.matmul), x @ weight.T)
    assert np.array_equal(map_.absolute().apply(x, np.matmul), x @ abs(weight).T)
    weight[3] = 0.0
    assert Sparse.of(weight).each == 0 and np.array_equal(Sparse.of(weight).apply(x, np.matmul), x @ weight.T)


def test_a_coefficient_that_is_not_a_number_stays_in_sight(always):
    map_ = Sparse.of(np.eye(3))
    assert np.isnan(map_.transpose(np.array([[0.0, np.nan, 0.0]]), np.matmul)[0, 1])


def test_only_large_matrices_of_few_entries_are_taken_apart():
    rng = np.random.default_rng(0)
    for shape, share, kind in (((128, 64), 0.02, Sparse), ((128, 64), 0.2, Dense), ((16, 16), 0.02, Dense)):
        assert type(matrix(whole_numbers(rng, *shape, share=share))) is kind


def lattice(tools, rng):
    """A network whose layers are pairs of few entries, as max and min make them, on two inputs."""
    w = {"w0": rng.normal(size=(2, 8)), "w1": whole_numbers(rng, 8, 40, share=0.1), "w2": rng.normal(size=(40, 20))}
    w["w2"] *= rng.random((40, 20)) < 0.1
    w["w3"] = rng.normal(size=(20, 1))
    nodes = [("MatMul", ["x", "w0"], "a", {}), ("MatMul", ["a", "w1"], "b", {}), ("Relu", ["b"], "c", {}),
             ("MatMul", ["c", "w2"], "d", {}), ("Relu", ["d"], "e", {}), ("MatMul", ["e", "w3"], "y", {})]  # fmt: skip
    return tools.model_bytes(nodes, {k: v.astype(np.float32) for k, v in w.items()})


@pytest.mark.parametrize("arithmetic", ["rounded", "exact"])
@pytest.mark.parametrize("root", ["derive", "interval"])
def test_the_kernel_bounds_the_same_network_alike(tools, arithmetic, root):
    for seed in range(6):
        rng = np.random.default_rng(seed)
        model = lattice(tools, rng)
        claim = tools.property_text(2, 1, ["(assert (or (<= Y_0 -1.0) (>= Y_0 1.0)))"])
        found = []
        for least in (1 << 30, 0):
            with mock.patch.multiple(sparse, LEAST=least, SHARE=4):
                network, (region,) = tc.load(model, claim)
            assert (Sparse in network.maps) == (least == 0)
            kernel = tc.Kernel(network, region, arithmetic=arithmetic, root=root)
            kernel.row_chunk = 4  # so that chunks reach different entries
            state = tc.State.join([kernel.start()] * 3)
            state.lo[:], state.hi[:] = (
                np.array([[-1, -1], [-0.5, 0], [0.1, 0.1]]),
                np.array([[1, 1], [0.5, 1], [0.2, 0.4]]),
            )
            bounds = kernel.bound(state, derive=True)
            found.append((bounds.margin, bounds.form, *(side for box in state.boxes.values() for side in box)))
        for a, b in zip(*found, strict=True):
            assert np.allclose(a, b, rtol=1e-9, atol=1e-9)  # two orders of the same sums; soundness is tested elsewhere
