"""Walks within windows: the bounds of the walk that keeps whole images, on every kind of node that a window crosses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import torchlean as tl
from torchlean import ops
from torchlean.bounds import linear, windows
from torchlean.ir import Builder, f32, trace
from torchlean.run.program import Program

SIZE = 16


def conv(g: Builder, x: Any, name: str, out: int, kernel: int, stride: int = 1, low: int = 1, dilation: int = 1) -> Any:
    k = g.parameter(name, f32[out, x.shape[1], kernel, kernel])
    return g.conv(x, k, g.parameter(f"{name}_bias", f32[out]), stride=(stride, 1), padding=((low, 0), (0, low)),
                  dilation=(dilation, dilation), groups=1)  # fmt: skip


def plain(g: Builder, x: Any) -> Any:
    h = g.relu(conv(g, x, "k0", 3, 3))
    h = g.relu(conv(g, h, "k1", 2, 3, stride=2, dilation=2))
    return conv(g, h, "k2", 2, 2, low=0)


def residual(g: Builder, x: Any) -> Any:
    h = g.tanh(conv(g, x, "k0", 2, 3, low=2))
    side = conv(g, h, "k1", 2, 5, low=4)
    h = g.leaky_relu(g.sub(side, g.neg(h)), slope=0.1)
    return g.add(h, conv(g, x, "k2", 2, 3, low=2))


def normalized(g: Builder, x: Any) -> Any:
    h = conv(g, x, "k0", 3, 3)
    vectors = [g.parameter(n, f32[3]) for n in ("scale", "bias", "mean", "var")]
    h = g.relu(g.batch_norm(h, *vectors, epsilon=1e-3))
    h = g.mul(h, g.parameter("gain", f32[1, 3, 1, 1]))
    return g.maximum(conv(g, h, "k1", 2, 3, low=2), conv(g, h, "k2", 2, 3, low=2))


def generator(g: Builder, x: Any) -> Any:
    def up(h: Any, name: str, out: int, size: int, kernel: int, stride: int, low: int) -> Any:
        k = g.parameter(name, f32[h.shape[1], out, kernel, kernel])
        return g.conv_transpose(h, k, stride=(stride,) * 2, padding=((low, 0), (0, low)), dilation=(1, 1), groups=1,
                                size=(size, size))  # fmt: skip

    h = g.relu(up(x, "k0", 3, 2 * SIZE, 3, 2, 1))
    h = g.relu(up(h, "k1", 2, 2 * SIZE + 1, 3, 1, 1))
    return conv(g, h, "k2", 1, 3, stride=2)


def mixed(g: Builder, x: Any) -> Any:
    """A pooling, which no window crosses, comes between."""
    h = g.relu(conv(g, x, "k0", 3, 3, low=2))
    h = g.avg_pool(h, kernel=(2, 2), stride=(2, 2), padding=((0, 0), (0, 0)), count_include_pad=True)
    return conv(g, g.relu(conv(g, h, "k1", 2, 3, low=2)), "k2", 2, 3, low=2)


BODIES = (plain, residual, normalized, generator, mixed)


def made(body: Callable[..., Any]) -> Program:
    graph = trace(ops.ALL, body, x=f32[1, 2, SIZE, SIZE])
    rng = np.random.default_rng(1)
    arrays = {n: (rng.standard_normal(t.sizes) / 2).astype(np.float32)
              for n, t in graph.source_types("parameter").items()}  # fmt: skip
    return Program(graph, {n: np.abs(a) + np.float32(0.5) if n == "var" else a for n, a in arrays.items()})


def region(count: int = 1) -> list[Any]:
    rng = np.random.default_rng(2)
    return [tl.box(rng.standard_normal((1, 2, SIZE, SIZE)).astype(np.float32), 0.05) for _ in range(count)]


@pytest.mark.parametrize("device", [None, "cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("body", BODIES)
def test_windows_change_no_bound(body: Callable[..., Any], device: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    program, boxes = made(body), region(2)
    crossed: list[str] = []
    inner = linear.Walk._back

    def counted(self: Any, at: int, node: Any, rows: Any, window: Any) -> Any:
        crossed.extend([node.op] if window is not None else [])
        return inner(self, at, node, rows, window)

    if device == "cuda":
        torch = pytest.importorskip("torch")
        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")
    monkeypatch.setattr(linear.Walk, "_back", counted)
    found = tl.bounds(program, boxes, semantics="float32", device=device)
    assert "conv" in crossed and len(crossed) >= 10
    monkeypatch.setattr(linear, "around", lambda shape, targets: None)
    crossed.clear()
    wanted = tl.bounds(program, boxes, semantics="float32", device=device)
    assert not crossed
    close = 1e-4 if device == "cuda" else 1e-9  # the same sums in another order, in float32 and in float64
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=close, atol=close)


def test_tiles_hold_every_target_once() -> None:
    rng = np.random.default_rng(3)
    for shape in ((2, 3, 16, 12), (1, 5, 9, 9), (1, 40), (2, 1, 3, 3)):
        count = int(np.prod(shape[1:]))
        for share in (0.05, 0.5, 1.0):
            targets = np.flatnonzero(rng.random(count) < share)
            for most in (1, 7, 100_000):
                groups = windows.tiles(shape, targets, most)
                assert all(0 < len(group) <= most for group in groups)
                assert np.array_equal(np.sort(np.concatenate([*groups, targets[:0]])), targets)


def test_a_window_is_the_part_that_the_targets_lie_in() -> None:
    shape = (1, 2, 8, 8)
    targets = np.array([3 * 8 + 2, 64 + 5 * 8 + 4])
    assert windows.around(shape, targets) == ((3, 6), (2, 5))
    assert windows.around(shape, np.array([0, 63])) is None  # all of it
    signs = np.array([1.0, -1.0])
    seed = windows.one_hot(shape, targets, signs, ((3, 6), (2, 5)))
    dense = windows.one_hot(shape, targets, signs, None)
    assert np.array_equal(windows.whole(np, seed, ((3, 6), (2, 5)), shape), dense)
    rows = np.arange(2 * 9.0).reshape(2, 1, 1, 3, 3)
    full = windows.whole(np, rows, ((3, 6), (2, 5)), shape)
    assert full.shape == (2, 1, 1, 8, 8) and full.sum() == rows.sum()
    assert np.array_equal(windows.cut(full, ((3, 6), (2, 5)), shape), rows)
    wider = windows.moved(rows, ((3, 6), (2, 5)), ((2, 7), (2, 6)), np)
    assert np.array_equal(wider, full[..., 2:7, 2:6])
    assert np.array_equal(windows.padded(np, wider, ((-1, -1), (0, -1))), rows)
