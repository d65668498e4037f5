"""The left fold by einsum: the probe sees every other arithmetic, and the definition runs where the probe fails."""

from __future__ import annotations

import numpy as np
import pytest

from torchlean.floats.entries import entries
from torchlean.meaning import Float, products

rng = np.random.default_rng(0)


def fused(left, right, out):
    out[...] = 0
    for a, b in zip(left, right, strict=True):
        exact = a[..., :, None].astype(np.longdouble) * b[..., None, :].astype(np.longdouble)
        out[...] = (out.astype(np.longdouble) + exact).astype(out.dtype)


def two_lanes(left, right, out):
    odd = np.zeros_like(out)
    products.by_passes(left[::2], right[::2], out)
    if len(left) > 1:
        products.by_passes(left[1::2], right[1::2], odd)
    out += odd


def backwards(left, right, out):
    products.by_passes(left[::-1], right[::-1], out)


def remainder_of_a_vector_fused(left, right, out):
    products.by_passes(left, right, out)
    if tail := out.shape[-1] % 4:
        fused(left, right[..., -tail:], out[..., -tail:])


@pytest.mark.parametrize("char", "fd")
@pytest.mark.parametrize("other", [fused, two_lanes, backwards, remainder_of_a_vector_fused])
def test_the_probe_sees_another_arithmetic(monkeypatch, other, char):
    monkeypatch.setattr(products, "by_einsum", other)
    assert not products.folds_left.__wrapped__(char)


def test_the_probe_accepts_the_definition_and_tries_no_other_dtype(monkeypatch):
    monkeypatch.setattr(products, "by_einsum", products.by_passes)
    assert products.folds_left.__wrapped__("f")
    assert products.folds_left.__wrapped__("d")
    assert not products.folds_left.__wrapped__("e")


@pytest.mark.parametrize("shape", [(1, 1, 30), (3, 5000, 7), (5000, 3, 7), (70, 90, 200), (1, 2049, 5), (1, 2, 300)])
def test_blocks_have_the_bits_of_the_definition(monkeypatch, shape):
    m, n, depth = shape
    x, w = rng.normal(size=(m, depth)).astype(np.float32), rng.normal(size=(n, depth)).astype(np.float32)
    found, expected = np.empty((m, n), np.float32), np.empty((m, n), np.float32)
    products.by_passes(x.T, w.T, expected)
    products.dot_into(x, w, found)
    assert found.tobytes() == expected.tobytes()
    monkeypatch.setattr(products, "folds_left", lambda char: False)
    products.dot_into(x, w, found)
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("turned", [False, True])
def test_few_entries_have_the_bits_of_the_definition(dtype, turned):
    """Signed zeros, subnormals, overflow and NaN among them, at an address of any parity."""
    n, depth = 400, 300
    values = np.array([1.5, -2.25, 1e-7, -0.0, 6e4, -6e4, np.inf, np.nan]).astype(dtype)
    rows = np.zeros(n * depth * dtype().itemsize + 1, np.uint8)
    w = np.frombuffer(rows.data, dtype, n * depth, offset=1).reshape((depth, n) if turned else (n, depth))
    w[rng.random(w.shape) < 0.01] = 0.75
    w[rng.integers(0, w.shape[0], 40), rng.integers(0, w.shape[1], 40)] = rng.choice(values, 40)
    w = w.T if turned else w
    x = rng.choice(np.array([0.0, -0.0, 1.0, -3.5, 1e-7, 6e4]), (3, depth)).astype(dtype)
    few = entries(w)
    assert few is not None and not w.flags.aligned
    expected, found = np.empty((3, n), dtype), np.zeros((3, n), dtype)
    with np.errstate(all="ignore"):
        products.by_passes(x.T, w.T, expected)
        products.dot_of_entries(x, few, found)
    assert np.array_equal(np.isnan(found), np.isnan(expected))
    assert np.where(np.isnan(found), 0, found).tobytes() == np.where(np.isnan(expected), 0, expected).tobytes()
    assert Float().dot(x, w).tobytes() == found.tobytes()
    odd = x.copy()
    odd[0, 0] = np.inf  # 0 times infinity is not 0: all of w counts
    assert np.isnan(Float().dot(odd, w)[0]).sum() > n // 2


def test_entries_are_those_of_large_matrices_with_few():
    w = np.zeros((400, 300), np.float32)
    w[3, 5], w[3, 2], w[399, 0], w[0, 299] = 2.0, np.nan, -1.0, 4.0
    for given in (w, np.asfortranarray(w), w[:, ::-1][:, ::-1]):
        row, column, value = entries(given)
        assert list(zip(row.tolist(), column.tolist(), strict=True)) == [(0, 299), (3, 2), (3, 5), (399, 0)]
        assert np.array_equal(value, [4.0, np.nan, 2.0, -1.0], equal_nan=True)
    assert entries(w[:100]) is None and entries(np.ones_like(w)) is None and entries(w.reshape(2, 200, 300)) is None
