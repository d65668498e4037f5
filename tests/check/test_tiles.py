"""Entries that are bounded side by side: only what they read is computed, and nothing that is proved changes."""

from unittest import mock

import numpy as np
import pytest

import torchlean_check as tc
from torchlean_check import tiles
from torchlean_check.conv import Conv
from torchlean_check.kernel import Facts
from torchlean_check.network import Dense, Rows, Scale, Select
from torchlean_check.sparse import add, full

CLAIM = ["(assert (or (<= Y_0 -90.0) (>= Y_1 90.0)))"]


def whole_numbers(rng, *shape):
    return rng.integers(-9, 10, shape).astype(np.float64)


@pytest.mark.parametrize("seed", range(12))
def test_back_is_the_transpose_for_the_columns_that_are_not_0(seed):
    rng = np.random.default_rng(seed)
    index = rng.integers(-1, 5, 8)
    maps = [
        (Dense(whole_numbers(rng, 8, 5)), 8, 5), (Scale(whole_numbers(rng, 6)), 6, 6),
        (Rows(whole_numbers(rng, 3, 4), 2), 8, 6), (Select(index, 5), 8, 5), (Select(rng.permutation(8) - 1, 9), 8, 9),
        (Select(np.full(4, -1), 3), 4, 3),
    ]  # fmt: skip
    for map_, outputs, inputs in maps:
        columns = rng.permutation(outputs)[: rng.integers(1, outputs + 1)]
        rows = whole_numbers(rng, 3, len(columns))
        want = map_.transpose(full(rows, columns, outputs), np.matmul)
        found, reached = map_.back(rows, columns, np.matmul)
        assert found.shape[1] > 0 and (full(found, reached, inputs) == want).all()
        assert (full(*map_.back(full(rows, columns, outputs), None, np.matmul), inputs) == want).all()


def test_sums_of_parts_have_the_columns_of_both():
    rng = np.random.default_rng(0)
    for _ in range(20):
        parts = []
        for _ in range(2):
            columns = rng.permutation(9)[: rng.integers(1, 9)]
            parts.append((whole_numbers(rng, 2, len(columns)), columns))
        want = sum(full(*part, 9) for part in parts)
        for a, b in (parts, parts[::-1], [parts[0], (full(*parts[1], 9), None)]):
            assert (full(*add(a, b, 9), 9) == want).all()
        assert len(add(*parts, 9)[1]) == len(set(parts[0][1]) | set(parts[1][1]))


@pytest.mark.parametrize("most", [1, 3, 50])
def test_groups_hold_each_entry_once_and_lie_side_by_side(most):
    rng = np.random.default_rng(1)
    shape = 1, 3, 16, 8
    index = rng.integers(0, 3 * 16 * 8, 40)
    found = tiles.groups(index, shape, most)
    assert sorted(np.concatenate(found).tolist()) == list(range(40))
    assert max(map(len, found)) <= most
    if most == 3:
        rows = index // 8 % 16
        assert np.mean([np.ptp(rows[group]) for group in found]) < 4


def image(tools):
    """A transposed convolution, batch norm, a residual sum and pooling by stride, on an image of 3 x 4 places."""
    rng = np.random.default_rng(5)
    nodes = [
        ("ConvTranspose", ["x", "t", "b"], "a", {"strides": [2, 2]}),
        ("BatchNormalization", ["a", "g", "b", "m", "v"], "n", {}), ("Relu", ["n"], "c", {}),
        ("Conv", ["c", "k", "b"], "d", {"pads": [1, 1, 1, 1]}), ("Relu", ["d"], "e", {}),
        ("Conv", ["e", "l"], "f", {"pads": [1, 1, 1, 1]}), ("Add", ["f", "c"], "s", {}), ("Relu", ["s"], "h", {}),
        ("Conv", ["h", "o"], "i", {"strides": [2, 2], "dilations": [1, 2]}), ("Relu", ["i"], "j", {}),
        ("Flatten", ["j"], "q", {}), ("Gemm", ["q", "w"], "y", {}),
    ]  # fmt: skip
    sizes = {"t": (1, 2, 3, 2), "k": (2, 2, 3, 3), "l": (2, 2, 3, 3), "o": (2, 2, 2, 2), "w": (18, 2)}
    weights = {name: rng.normal(size=size) for name, size in sizes.items()}
    weights |= {"b": rng.normal(size=2), "m": rng.normal(size=2), "g": np.ones(2), "v": np.full(2, 0.5)}
    return tools.model_bytes(nodes, {k: v.astype(np.float32) for k, v in weights.items()}, (1, 1, 3, 4))


def bounded(tools, semantics, tiled, threads=1, arithmetic="rounded"):
    network, (region,) = tc.load(image(tools), tools.property_text(12, 2, CLAIM, "-0.4", "0.3"))
    with mock.patch.multiple(tiles, WORK=1, FEWEST=2):
        kernel = tc.Kernel(network, region, semantics, arithmetic, root="interval")
    assert any(isinstance(map_, Conv) for node in network.nodes[1:] for map_, _ in getattr(node, "terms", ()))
    assert bool(set(kernel.tiled) & set(network.relu_inputs)) == (arithmetic == "rounded")
    if not tiled:
        kernel.tiled = {}
    kernel.threads = threads
    state = tc.State.join([kernel.start(), *kernel.split(kernel.start(), np.array([1]))])
    bounds = kernel.bound(state, derive=True)
    return kernel, state, bounds


@pytest.mark.parametrize("semantics", ["float32", "real"])
def test_every_execution_lies_in_the_boxes(tools, semantics):
    kernel, state, _ = bounded(tools, semantics, tiled=True)
    rng = np.random.default_rng(0)
    for n in range(4):
        lo, hi = state.lo[2].astype(np.float32), state.hi[2].astype(np.float32)
        mix = rng.random(len(lo)) if n % 2 else rng.integers(0, 2, len(lo))
        x = np.clip((lo + mix * (hi - lo)).astype(np.float32), state.lo[2], state.hi[2]).astype(np.float32)
        if semantics == "real":
            values = tools.exact_run(kernel.network, x.tolist())
        else:
            values = tools.float32_run(kernel.network, x, rng)
        for k, (low, high) in state.boxes.items():
            for box in (0, 2):
                assert all(a <= z <= b for a, z, b in zip(low[box], values[k], high[box], strict=True)), (k, box)


def test_bounds_are_those_of_whole_rows(tools):
    found = []
    for tiled, threads in ((False, 1), (True, 1), (True, 3)):
        _, state, bounds = bounded(tools, "float32", tiled, threads)
        found.append([bounds.margin, bounds.form, *(side for box in state.boxes.values() for side in box)])
    for whole, one, several in zip(*found, strict=True):
        assert np.allclose(whole, one, rtol=1e-9, atol=1e-9)  # two orders of the same sums
        assert np.array_equal(one, several)


def test_exact_bounds_do_not_depend_on_the_batch(tools):
    kernel, state, bounds = bounded(tools, "float32", tiled=True, arithmetic="exact")
    for box in range(3):
        alone = [kernel.start(), *kernel.split(kernel.start(), np.array([1]))][box]
        assert np.array_equal(kernel.bound(alone, derive=True).margin[0], bounds.margin[box])
        for k, sides in alone.boxes.items():
            assert all(np.array_equal(a[0], b[box]) for a, b in zip(sides, state.boxes[k], strict=True))


def test_where_paths_join_the_columns_are_charged_for_their_own_magnitudes(tools):
    kernel, state, _ = bounded(tools, "real", tiled=True)
    k = kernel.network.relu_inputs[-1]
    rng = np.random.default_rng(3)
    size = kernel.network.nodes[k].size
    kernel.mags[k] = 2.0 ** rng.integers(-20, 20, size)
    parts = [(whole_numbers(rng, 2, 4), rng.permutation(size)[:4]) for _ in range(2)]
    acc = {k: parts[0]}
    const, mass, terms = kernel._add(Facts(state), acc, k, parts[1], np.zeros(2), np.zeros(2), 8)
    total = full(*acc[k], size)
    assert (total == full(*parts[0], size) + full(*parts[1], size)).all()
    charge = np.abs(total) @ kernel.mags[k] * 2.0**-51  # powers of two times small integers: no sum rounds
    assert (mass == charge).all() and (const == -charge).all() and terms == 9
