"""Small programs that quantization meets: dense, convolutional, residual, smooth, normalised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from torchlean import ops
from torchlean.ir import Builder, TensorType, f32
from torchlean.run.program import Program

CONV = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 1}


def _make(name: str, type: TensorType, body: Callable[..., Any], seed: int = 0) -> Program:
    g, rng = Builder(ops.ALL), np.random.default_rng(seed)
    arrays: dict[str, np.ndarray] = {}

    def weight(label: str, *shape: int) -> Any:
        arrays[label] = (rng.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32)
        return g.parameter(label, f32[shape])

    return Program(g.finish({"y": body(g, g.input("x", type), weight)}), arrays)


def _dense(g: Any, x: Any, w: Any) -> Any:
    x = g.relu(g.linear(x, w("w0", 8, 4), w("b0", 8)))
    return g.linear(g.relu(g.linear(x, w("w1", 8, 8), w("b1", 8))), w("w2", 3, 8), w("b2", 3))


def _product(g: Any, x: Any, w: Any) -> Any:
    x = g.leaky_relu(g.add(g.matmul(x, w("w0", 4, 6)), w("b0", 6)), slope=0.1)
    turned = g.permute(w("w1", 3, 6), axes=(-1, -2))
    return g.matmul(x, turned)


def _image(g: Any, x: Any, w: Any) -> Any:
    x = g.relu(g.conv(x, w("k0", 3, 1, 3, 3), w("c0", 3), **CONV))
    x = g.max_pool(x, kernel=(2, 2), stride=(2, 2), padding=((0, 0), (0, 0)))
    x = g.add(x, g.relu(g.conv(x, w("k1", 3, 3, 3, 3), **CONV)))
    x = g.avg_pool(x, kernel=(2, 2), stride=(2, 2), padding=((0, 0), (0, 0)), count_include_pad=False)
    return g.linear(g.flatten(x), w("w", 2, 3), w("b", 2))


def _smooth(g: Any, x: Any, w: Any) -> Any:
    x = g.tanh(g.linear(x, w("w0", 6, 4), w("b0", 6)))
    x = g.sigmoid(g.linear(x, w("w1", 6, 6)))
    return g.softmax(g.linear(x, w("w2", 3, 6), w("b2", 3)), axis=-1)


NETWORKS = {
    "dense": (f32["batch", 4], _dense),
    "product": (f32["batch", 4], _product),
    "image": (f32["batch", 1, 4, 4], _image),
    "smooth": (f32["batch", 4], _smooth),
}


def network(name: str, seed: int = 0) -> Program:
    return _make(name, *NETWORKS[name], seed)


def inputs(name: str, rows: int, seed: int = 0) -> np.ndarray:
    shape = tuple(s for s in NETWORKS[name][0].shape if isinstance(s, int))
    return np.random.default_rng([7, seed]).uniform(-1, 1, (rows, *shape)).astype(np.float32)
