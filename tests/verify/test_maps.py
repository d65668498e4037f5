"""Convolutions in torch against the checker's. Small integers, so that every sum is exact and equality is asked for."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from torchlean.verify.maps import SHARES, Engine, TorchMaps
from torchlean_check.arith import multiply
from torchlean_check.conv import Conv


@pytest.mark.parametrize(
    ("stride", "rows", "width", "out"),
    [
        ((2, 3), (0, 0), 9, (2, 3)),
        ((2, 3), (0, 1), 9, (2, 3)),
        ((1, 3), (0, 0), 9, (3, 3)),
        ((1, 2), (1, 0), 8, (3, 3)),
        ((2, 3), (0, 0), 8, (2, 2)),
    ],
    ids=["tiles", "padded", "overlapping", "phases, and one column unread", "columns unread"],
)
def test_a_convolution_is_the_same_map(stride, rows, width, out) -> None:
    """rows: of padding, above and below."""
    rng = np.random.default_rng(0)
    height = (out[0] - 1) * stride[0] + 2 - sum(rows)
    weight = rng.integers(-9, 10, (4, 2, 2, 3)).astype(np.float64)
    conv = Conv(weight, stride, (rows[0], 0, rows[1], 0), (1, 1), 1, (2, height, width), (4, *out))
    maps = TorchMaps(SimpleNamespace(nodes=()), "cpu")  # type: ignore[arg-type]
    made = maps._made(conv)
    x = rng.integers(-9, 10, (3, 2 * height * width)).astype(np.float64)
    y = rng.integers(-9, 10, (3, 4 * out[0] * out[1])).astype(np.float64)
    assert np.array_equal(maps.get(made.apply(maps.put(x))), conv.apply(x, multiply))
    assert np.array_equal(maps.get(made.transpose(maps.put(y))), conv.transpose(y, multiply))


@pytest.mark.parametrize("size", [57, 15_000, 1 << 20])
def test_batches_of_a_device_fill_the_recordings_that_they_take(size) -> None:
    """A recording is made for a power of two of problems: a batch of less would pay for what it does not bound."""
    engine = Engine.__new__(Engine)
    engine._size, engine.maps = size, TorchMaps.__new__(TorchMaps)
    for device, memory in (("cuda", 80 << 30), ("cpu", 8 << 30)):
        engine.maps.device, engine.maps.memory = device, memory
        for neurons in (1, 300, 2500, 50_000):
            found = engine.batch(neurons)
            if device == "cpu":
                assert 8 <= found <= 256
            else:
                each = 4 * (8 * size + 16 * neurons) * SHARES / memory  # of what a batch may take
                assert found & (found - 1) == 0 and 8 <= found <= 1 << 14 and (found == 8 or found * each <= 2)
