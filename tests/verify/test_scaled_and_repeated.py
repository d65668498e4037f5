"""Gemm with alpha and beta, and values that repeat: verdicts whose witness onnxruntime repeats, and their threshold."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import torchlean_check as tc
from torchlean.verify.files import verify_files
from torchlean.verify.verdict import Status

W = np.array([[0.5, -1.25, 2.0], [1.5, 0.75, -0.5]], np.float32)  # [2, 3]
HEADS = {  # from x to t; relu, one row of all entries and a product with `out` follow
    "alpha and beta": [("Gemm", "xwc", "t", {"alpha": -0.375, "beta": 2.5})],
    "alpha, then a sum": [("Gemm", "xw", "a", {"alpha": 3.5}), ("Add", "ac", "t", {})],
    "a column": [("Transpose", "x", "a", {}), ("Gemm", "aw", "t", {"transA": 1})],
    "a constant that repeats": [("Mul", "xr", "t", {})],
    "a value that repeats": [("MatMul", "xd", "a", {}), ("Sub", "xa", "t", {})],
}
WEIGHTS = {
    "w": W,
    "c": np.array([0.25, -0.5, 1.0], np.float32),
    "r": np.array([[1.0], [-2.0]], np.float32),
    "d": np.array([[0.5], [0.25]], np.float32),
}


def model(title: str) -> bytes:
    head = HEADS[title]
    size = 4 if "r" in head[0][1] else 2 if "d" in head[0][1] else 3
    out = np.array([[1.0], [-0.5], [0.75], [1.5]], np.float32)[:size]
    tail = [("Relu", "t", "u", {}), ("Flatten", "u", "v", {"axis": 0}), ("MatMul", "vo", "y", {})]
    used = {name for _, ins, _, _ in head for name in ins}
    tensors = [numpy_helper.from_array(v, k) for k, v in {**WEIGHTS, "o": out}.items() if k in used | {"o"}]
    steps = enumerate(head + tail)
    nodes = [helper.make_node(op, list(ins), [to], name=f"n{n}", **more) for n, (op, ins, to, more) in steps]
    ends = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, s)] for name, s in (("x", [1, 2]), ("y", None))]
    graph = helper.make_graph(nodes, "g", *ends, initializer=tensors)
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8).SerializeToString()
    )


@pytest.mark.parametrize("title", HEADS)
def test_the_threshold_between_sat_and_unsat_is_the_maximum(title: str, files) -> None:
    """The largest output on a grid is reached; a little more than the largest is not."""
    data = model(title)
    run = ReferenceEvaluator(onnx.load_model_from_string(data))
    grid = itertools.product(np.linspace(-1, 1, 41, dtype=np.float32), repeat=2)
    top = max(float(run.run(None, {"x": np.array([point], np.float32)})[0].item()) for point in grid)
    below, above = (files[1](["-1.0"] * 2, ["1.0"] * 2, 1, [f"(assert (>= Y_0 {top * k:.6f}))"]) for k in (0.9, 1.1))
    verdict = verify_files(data, below, timeout=20)
    assert verdict.status is Status.SAT and verdict.witness.reference and verdict.witness.real
    assert verdict.witness.onnxruntime in (True, None)
    (y,) = run.run(None, {"x": verdict.witness.x[None]})
    assert np.allclose(y.ravel(), verdict.witness.y, rtol=1e-6)  # another library's order of sums
    verdict = verify_files(data, above, timeout=20)
    assert verdict.status is Status.UNSAT and verdict.semantics == "float32"
    for arithmetic in ("rounded", "exact"):
        assert tc.check(data, above, verdict.certificate, arithmetic=arithmetic).status == "valid"
