"""The tolerance table against the libraries that it speaks of: torch on CPU and CUDA, onnxruntime on CPU.

The reference is numpy's float64, correct to 2^-50 relatively, which is charged to the library.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from torchlean.ops.tolerances import TABLE_ID, TOLERANCES

FUNCTIONS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float, float, str]] = {
    "exp": (np.exp, -110.0, 88.7, "Exp"),
    "log": (np.log, 0.0, np.inf, "Log"),
    "tanh": (np.tanh, -np.inf, np.inf, "Tanh"),
    "sigmoid": (lambda x: 1 / (1 + np.exp(np.minimum(-x, 700.0))), -np.inf, np.inf, "Sigmoid"),
    "sqrt": (np.sqrt, 0.0, np.inf, "Sqrt"),
}


def points(lo: float, hi: float) -> np.ndarray:
    """Seeded float32 points of [lo, hi]: of every magnitude, dense where the functions bend, and the ends."""
    rng = np.random.default_rng(2026)
    bits = rng.integers(0, 2**32, 60_000, dtype=np.uint64).astype(np.uint32).view(np.float32)
    dense = np.concatenate([rng.uniform(-s, s, 20_000) for s in (1.0, 20.0, 110.0)]).astype(np.float32)
    near_one = (1 + rng.uniform(-1e-3, 1e-3, 20_000)).astype(np.float32)
    special = np.array([0.0, 2.0**-126, 2.0**-149, 1.0, 18.0, -18.0, 9.0, 88.7, -87.4, -103.0, 3.4e38], np.float32)
    x = np.concatenate([bits, dense, near_one, special])
    x = x[np.isfinite(x)]
    return np.asarray(x[(x > lo if lo == 0 else x >= lo) & (x <= hi)])


def kept(name: str, x: np.ndarray, found: np.ndarray) -> bool:
    exact = FUNCTIONS[name][0](x.astype(np.float64))
    entry = TOLERANCES[name]
    error = np.abs(found.astype(np.float64) - exact) + 2.0**-50 * np.abs(exact)
    allowed = entry.a + entry.r * np.abs(exact)
    return bool(np.all(error <= allowed))


each_function = pytest.mark.parametrize("name", FUNCTIONS)


def inputs(name: str) -> np.ndarray:
    _, lo, hi, _ = FUNCTIONS[name]
    x = points(lo, hi)
    # A library that flushes subnormals takes log of 0: the rule of log gives no bound there.
    return x[np.abs(x) >= 2.0**-126] if name == "log" else x


@each_function
def test_torch_on_cpu(name: str) -> None:
    x = inputs(name)
    for part in (x, x[:7]):  # vector and scalar paths
        assert kept(name, part, getattr(torch, name)(torch.from_numpy(part)).numpy())


@each_function
def test_the_reference(name: str) -> None:
    from torchlean.floats import rounded

    x = inputs(name)[::200]
    assert kept(name, x, np.asarray(rounded(name, x)))


@each_function
@pytest.mark.gpu
def test_torch_on_cuda(name: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    x = inputs(name)
    assert kept(name, x, getattr(torch, name)(torch.from_numpy(x).cuda()).cpu().numpy())


@each_function
def test_onnxruntime_on_cpu(name: str) -> None:
    runtime = pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper

    def tensor(at: str) -> object:
        return helper.make_tensor_value_info(at, TensorProto.FLOAT, ["n"])

    graph = helper.make_graph([helper.make_node(FUNCTIONS[name][3], ["x"], ["y"])], "one", [tensor("x")], [tensor("y")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    x = inputs(name)
    assert kept(name, x, session.run(None, {"x": x})[0])


def test_division_by_reciprocal() -> None:
    """3 u |x / y|: a rounded reciprocal, times x, rounded."""
    rng = np.random.default_rng(5)
    x, y = rng.uniform(0.5, 2, (2, 50_000)).astype(np.float32)
    exact = x.astype(np.float64) / y
    for found in (x / y, x * (np.float32(1) / y)):
        error = np.abs(found.astype(np.float64) - exact) + 2.0**-50 * exact
        assert bool(np.all(error <= TOLERANCES["div"].r * exact + TOLERANCES["div"].a))


def test_the_table_has_a_name() -> None:
    assert TABLE_ID == "tolerances-1"
