"""The left fold by einsum: the probe sees every other arithmetic, and the definition runs where the probe fails."""

from __future__ import annotations

import numpy as np
import pytest

from torchlean.meaning import products

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
