"""Smooth activations, powers, indexing, resizing and normalization: what is read is what onnxruntime computes.

The laws hold every op against PyTorch and its enclosure; here are the spellings of files.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from torchlean.errors import ShapeError, Unsupported
from torchlean.io.onnx import read_onnx
from torchlean.meaning import Float
from torchlean.meaning.evaluate import evaluate

F32, I64 = np.float32, np.int64


def model(op: str, x: np.ndarray, arrays: dict[str, Any], opset: int, inputs: str, **attributes: Any) -> bytes:
    """One node on the input x, with these initializers; `inputs` are its names in order."""
    node = helper.make_node(op, inputs.split(","), ["y"], name=op, **attributes)
    kind = helper.np_dtype_to_tensor_dtype(x.dtype)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", kind, list(x.shape))],
        [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in arrays.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9 if opset < 23 else 11)
    raw: bytes = made.SerializeToString()
    return raw


def read(raw: bytes, x: np.ndarray) -> np.ndarray:
    program, N = read_onnx(raw), Float()
    arrays = {**program.parameters, "x": x}
    (y,) = evaluate(program.graph, N, {k: N.constant(v) for k, v in arrays.items()}).values()
    return np.asarray(y)


def by_onnxruntime(raw: bytes, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    return np.asarray(onnxruntime.InferenceSession(raw, options).run(None, {"x": x})[0])


X = np.random.default_rng(3).uniform(0.25, 2, (2, 3, 4)).astype(F32)
S = X - F32(1)  # of both signs
IMAGE = np.random.default_rng(4).normal(size=(1, 2, 3, 4)).astype(F32)
LABELS = np.array([[0, 2, -1], [3, 1, 7]], I64)
ROWS = {"i": np.array([[2], [0]], I64), "u": np.arange(8, dtype=F32).reshape(2, 4)}
PLACES = {"i": np.array([[0, 1], [-1, 2]], I64), "u": np.array([7, 9], F32)}


def pow_of(exponent: float) -> dict[str, Any]:
    return {"e": np.array(exponent, F32)}


def sized(*size: int) -> dict[str, Any]:
    return {"n": np.array(size, I64)}


def scaled(*scale: float) -> dict[str, Any]:
    return {"s": np.array(scale, F32)}


def values(off: float, on: float) -> dict[str, Any]:
    return {"d": np.array([4], I64), "v": np.array([off, on], F32)}


HALF = {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"}
CASES: list[tuple[str, np.ndarray, dict[str, Any], int, str, dict[str, Any]]] = [
    *(("Pow", X, pow_of(e), 13, "x,e", {}) for e in (1.0, 2.0, 3.0, 5.0, -1.0, -2.0, 0.5, -0.5, 2.5, -1.25)),
    ("Pow", S, pow_of(3.0), 15, "x,e", {}),
    ("Reciprocal", X, {}, 13, "x", {}),
    ("Sign", S, {}, 13, "x", {}),
    ("Softplus", S, {}, 1 + 6, "x", {}),
    ("Elu", S, {}, 13, "x", {}),
    ("Elu", S, {}, 13, "x", {"alpha": 1.5}),
    ("Selu", S, {}, 13, "x", {}),
    ("HardSigmoid", S, {}, 13, "x", {}),
    ("HardSigmoid", S, {}, 13, "x", {"alpha": 0.7, "beta": 0.25}),
    ("HardSwish", S, {}, 14, "x", {}),
    ("Mish", S, {}, 18, "x", {}),
    ("Gelu", S, {}, 20, "x", {}),
    ("Gelu", S, {}, 20, "x", {"approximate": "tanh"}),
    ("ReduceMin", S, {}, 13, "x", {"axes": [1], "keepdims": 0}),
    ("ReduceMin", S, {"a": np.array([-1], I64)}, 18, "x,a", {}),
    ("OneHot", LABELS, values(0, 1), 11, "x,d,v", {}),
    ("OneHot", LABELS, values(-2, 5), 11, "x,d,v", {"axis": 0}),
    ("OneHot", LABELS, values(0, 1), 11, "x,d,v", {"axis": 1}),
    ("ScatterND", np.zeros((3, 4), F32) + S[0], ROWS, 11, "x,i,u", {}),
    ("ScatterND", np.zeros((3, 4), F32) + S[0], PLACES, 16, "x,i,u", {"reduction": "none"}),
    ("Resize", IMAGE, scaled(1, 1, 2, 2), 10, "x,s", {}),
    ("Resize", IMAGE, scaled(1, 1, 2, 2), 10, "x,s", {"mode": "linear"}),
    ("Resize", IMAGE, scaled(1, 1, 2, 3), 13, "x,,s", HALF),
    ("Resize", IMAGE, {**sized(1, 2, 5, 7), "e": np.array([], F32)}, 11, "x,e,e,n", {"mode": "linear"}),
    ("Resize", IMAGE, sized(1, 2, 5, 7), 13, "x,,,n",
     {"mode": "linear", "coordinate_transformation_mode": "align_corners"}),
    ("Resize", IMAGE, sized(6, 2), 18, "x,,,n", {"axes": [2, 3], "mode": "linear"}),
    ("Resize", IMAGE, scaled(1, 1, 4, 2), 13, "x,,s", {"nearest_mode": "round_prefer_ceil"}),
    ("Resize", IMAGE, scaled(1, 1, 2, 2), 13, "x,,s",
     {"nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}),
    ("Upsample", IMAGE, scaled(1, 1, 2, 2), 9, "x,s", {}),
    ("Upsample", IMAGE, {}, 7, "x", {"scales": [1.0, 1.0, 2.0, 2.0], "mode": "linear"}),
    ("LayerNormalization", S, {"g": np.linspace(1, 2, 4).astype(F32), "b": np.ones(4, F32)}, 17, "x,g,b", {}),
    ("LayerNormalization", S, {"g": np.linspace(1, 2, 12).astype(F32).reshape(3, 4)}, 17, "x,g",
     {"axis": 1, "epsilon": 0.125}),
    ("RMSNormalization", S, {"g": np.linspace(1, 2, 4).astype(F32)}, 23, "x,g", {}),
]  # fmt: skip
NAMES = [f"{op} {opset} {attrs or (arrays and next(iter(arrays.values())).tolist())}"[:60]
         for op, _, arrays, opset, _, attrs in CASES]  # fmt: skip


@pytest.mark.parametrize(("op", "x", "arrays", "opset", "inputs", "attributes"), CASES, ids=NAMES)
def test_it_is_read_as_onnxruntime_computes_it(
    op: str, x: np.ndarray, arrays: dict[str, Any], opset: int, inputs: str, attributes: dict[str, Any]
) -> None:
    raw = model(op, x, arrays, opset, inputs, **attributes)
    found, wanted = read(raw, x), by_onnxruntime(raw, x)
    assert found.shape == wanted.shape and found.dtype == wanted.dtype
    # Another library: a few roundings of numbers of the order of 1 (layer norm by another formula).
    np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=2e-6)


def test_attention_is_read_as_its_formula() -> None:
    q, k, v = (np.random.default_rng(i).normal(size=(1, 2, n, 4)).astype(F32) for i, n in enumerate((3, 5, 5)))
    found = read(model("Attention", q, {"k": k, "v": v}, 23, "x,k,v"), q).astype(np.float64)
    scores = np.exp(q.astype(np.float64) @ np.swapaxes(k, -1, -2) / 2)
    np.testing.assert_allclose(found, scores / scores.sum(-1, keepdims=True) @ v, rtol=1e-5)


def test_swish_is_read_as_its_formula() -> None:
    for alpha in (1.0, 1.5):
        found = read(model("Swish", S, {}, 24, "x", alpha=alpha), S)
        np.testing.assert_allclose(found, S / (1 + np.exp(-alpha * S.astype(np.float64))), rtol=1e-6)


REFUSED: list[tuple[str, str, np.ndarray, dict[str, Any], int, str, dict[str, Any]]] = [
    ("exponent", "Pow", X, pow_of(0.0), 13, "x,e", {}),
    ("exponent", "Pow", X, pow_of(99.0), 13, "x,e", {}),
    ("one number", "Pow", X, {"e": np.ones(4, F32)}, 13, "x,e", {}),
    ("approximation", "Gelu", S, {}, 20, "x", {"approximate": "cubic"}),
    ("alpha", "Elu", S, {}, 13, "x", {"alpha": -1.0}),
    ("another dtype", "OneHot", X, values(0, 1), 11, "x,d,v", {}),
    ("named twice", "ScatterND", S[0], {**ROWS, "i": np.array([[1], [1]], I64)}, 11, "x,i,u", {}),
    ("named twice", "ScatterND", S[0], {**ROWS, "i": np.array([[2], [-1]], I64)}, 11, "x,i,u", {}),
    ("only replacing", "ScatterND", S[0], ROWS, 16, "x,i,u", {"reduction": "add"}),
    ("out of range", "ScatterND", S[0], {**ROWS, "i": np.array([[1], [3]], I64)}, 11, "x,i,u", {}),
    ("whole size", "Resize", IMAGE, scaled(1, 1, 1.1, 1), 13, "x,,s", {}),
    *(("do not fit the axes", op, IMAGE, scaled(*scales), opset, inputs, {})
      for scales in ((), (1, 1, 2), (1, 1, 2, 2, 1))
      for op, opset, inputs in (("Resize", 10, "x,s"), ("Resize", 13, "x,,s"), ("Upsample", 9, "x,s"))),
    *(("do not fit the axes", "Resize", IMAGE, sized(6, 2), 18, "x,,,n", {"axes": axes})
      for axes in ([2], [2, 2], [2, -2], [2, 4], [-5, 3])),
    ("form of resizing", "Resize", IMAGE, scaled(1, 1, 2, 2), 13, "x,,s", {"exclude_outside": 1, "mode": "linear"}),
    ("form of resizing", "Resize", IMAGE, scaled(1, 1, 2, 2), 13, "x,,s", {"mode": "cubic"}),
    ("form of resizing", "Resize", IMAGE, sized(1, 2, 2, 2), 18, "x,,,n", {"antialias": 1, "mode": "linear"}),
    ("rounded", "Resize", np.ones((1, 1, 14, 2), F32), sized(1, 1, 2, 2), 13, "x,,,n",
     {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
    ("rounded", "Resize", np.ones((1, 1, 7, 2), F32), sized(1, 1, 1, 2), 13, "x,,,n", {"nearest_mode": "floor"}),
    ("statistics", "LayerNormalization", S, {"g": np.ones(4, F32)}, 17, "x,g", {"stash_type": 11}),
    ("form of attention", "Attention", IMAGE, {"k": IMAGE}, 23, "x,k,k", {"is_causal": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("said", "op", "x", "arrays", "opset", "inputs", "attributes"), REFUSED)
def test_other_forms_are_refused_with_the_reason(
    said: str, op: str, x: np.ndarray, arrays: dict[str, Any], opset: int, inputs: str, attributes: dict[str, Any]
) -> None:
    with pytest.raises((Unsupported, ShapeError), match=said) as caught:
        read_onnx(model(op, x, arrays, opset, inputs, **attributes))
    error = caught.value
    assert op in error.where and all((error.what, error.expected, error.got, error.fix))


def test_an_exponent_that_is_computed_is_refused() -> None:
    node = helper.make_node("Pow", ["x", "x"], ["y"], name="Pow")
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [])], [onnx.ValueInfoProto(name="y")]
    )
    raw = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
    with pytest.raises(Unsupported, match="known when the model is read"):
        read_onnx(raw)
