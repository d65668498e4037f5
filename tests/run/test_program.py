"""Programs as callables: binding, sizes, immutability, and the executors side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import torchlean as tl
from torchlean import ops
from torchlean.errors import ShapeError, Unsupported, UsageError
from torchlean.ir import Builder, f32, trace
from torchlean.run.program import Program, sizes_of


def model(g: Builder, x: Any) -> Any:
    w, b = g.parameter("w", f32[5, 3]), g.parameter("b", f32[5])
    return g.relu(g.linear(x, w, b))


def program(seed: int = 0) -> Program:
    rng = np.random.default_rng(seed)
    arrays = {"w": rng.standard_normal((5, 3)).astype(np.float32), "b": rng.standard_normal(5).astype(np.float32)}
    return tl.Program(trace(ops.ALL, model, x=f32["batch", 3]), arrays)


X = np.random.default_rng(1).standard_normal((7, 3)).astype(np.float32)


def test_the_reference_is_the_left_fold() -> None:
    p = program()
    w, b = p.parameters["w"], p.parameters["b"]
    total = np.zeros((7, 5), np.float32)
    for k in range(3):
        total = total + X[:, k, None] * w[None, :, k]
    np.testing.assert_array_equal(p(X), np.maximum(total + b, np.float32(0)))


def test_by_name_and_by_position_are_one() -> None:
    np.testing.assert_array_equal(program()(X), program()(x=X))


def test_lists_become_the_declared_dtype() -> None:
    assert program()([[1.0, 2.0, 3.0]]).dtype == np.float32


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (X.astype(np.float64), "float64"),
        (X[0], r"float32\[3\]"),
        (np.zeros((2, 4), np.float32), r"float32\[2, 4\]"),
    ],
)
def test_an_array_that_does_not_fit_is_refused(given: np.ndarray, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        program()(given)


def test_too_many_inputs_are_refused() -> None:
    with pytest.raises(UsageError, match="2 by position"):
        program()(X, X)
    with pytest.raises(UsageError, match="an input is missing"):
        program()()


@pytest.mark.parametrize("arrays", [{}, {"w": np.zeros((5, 3), np.float32)}, {"w": np.zeros((3, 5), np.float32)}])
def test_a_program_needs_exactly_its_arrays(arrays: dict[str, np.ndarray]) -> None:
    with pytest.raises(ShapeError, match="does not fit the graph"):
        tl.Program(program().graph, arrays)


def test_a_surplus_array_is_named() -> None:
    with pytest.raises(ShapeError, match="'extra'"):
        tl.Program(program().graph, {**program().parameters, "extra": X})


def test_arrays_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="read-only"):
        program().parameters["w"][0, 0] = 1


def test_symbols_take_one_size() -> None:
    def add(g: Builder, x: Any, y: Any) -> Any:
        return g.add(x, y)

    graph = trace(ops.ALL, add, x=f32["n", 2], y=f32["n", 2])
    assert sizes_of(graph, {"x": np.zeros((4, 2)), "y": np.zeros((4, 2))}) == {"n": 4}
    with pytest.raises(ShapeError, match="do not agree"):
        tl.Program(graph)(np.zeros((4, 2), np.float32), np.zeros((3, 2), np.float32))


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(UsageError, match="eager-cpu"):
        program()(X, backend="fast")


def test_cuda_is_refused_where_there_is_none() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(Unsupported, match="no CUDA device"):
        program()(X, backend="eager-cuda")


def test_saved_and_loaded_it_is_the_same_program(tmp_path: Path) -> None:
    p = program()
    p.save(tmp_path / "net.json")
    q = Program.load(tmp_path / "net.json")
    assert q.graph == p.graph
    np.testing.assert_array_equal(q(X), p(X))


def test_inference_freezes_states() -> None:
    def counted(g: Builder, x: Any) -> Any:
        n = g.state("n", f32[()])
        return g.add(x, n), g.add(n, 1.0)

    g = Builder(ops.ALL)
    y, n = counted(g, g.input("x", f32[2]))
    p = Program(g.finish({"y": y}, {"n": n}), {}, {"n": np.float32(3)})
    assert p(np.zeros(2, np.float32))["update:n"] == 4
    frozen = p.inference()
    assert not frozen.states and not frozen.graph.updates
    np.testing.assert_array_equal(frozen(np.zeros(2, np.float32)), [3, 3])
