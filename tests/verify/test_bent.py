"""Networks with curves and products, decided by splitting what relus, curves and products read."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import torchlean_check as tc
from torchlean.verify import verify_files
from torchlean.verify.verdict import Status

INPUTS = 6


def network(seed: int) -> tuple[bytes, np.ndarray]:
    """y = v . (tanh(A x) * relu(B x) + sigmoid(A x)) as ONNX, and its outputs at samples of the unit box."""
    rng = np.random.default_rng(seed)
    a, b = (rng.normal(size=(INPUTS, 8)).astype(np.float32) for _ in range(2))
    v = rng.normal(size=(8, 2)).astype(np.float32)
    nodes = [("MatMul", "xa", "p"), ("MatMul", "xb", "q"), ("Tanh", "p", "t"), ("Relu", "q", "r"), ("Mul", "tr", "m"),
             ("Sigmoid", "p", "s"), ("Add", "ms", "w"), ("MatMul", "wv", "y")]  # fmt: skip
    graph = helper.make_graph(
        [helper.make_node(op, list(i), [o], name=f"{op}_{o}") for op, i, o in nodes], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, INPUTS])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        initializer=[numpy_helper.from_array(w, n) for w, n in ((a, "a"), (b, "b"), (v, "v"))],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    x = rng.uniform(-0.2, 0.2, (20_000, INPUTS))
    p = x @ a
    y = (np.tanh(p) * np.maximum(x @ b, 0) + 1 / (1 + np.exp(-p))) @ v
    return model.SerializeToString(), y


def claim(text: str) -> bytes:
    lines = [f"(declare-const {n}_{i} Real)" for n, k in (("X", INPUTS), ("Y", 2)) for i in range(k)]
    lines += [f"(assert (>= X_{i} -0.2))(assert (<= X_{i} 0.2))" for i in range(INPUTS)]
    return "\n".join([*lines, f"(assert {text})"]).encode()


@pytest.mark.parametrize("seed", [0, 2])
def test_splits_of_values_prove_what_the_root_does_not(seed: int) -> None:
    """Three clauses, of which the last is refuted at the root: it is closed there, the others below."""
    model, y = network(seed)
    top, low, wide = y.max(axis=0), y.min(axis=0), np.ptp(y, axis=0)
    holds = claim(f"(or (>= Y_0 {top[0] + 0.5 * wide[0]:.4f}) (<= Y_1 {low[1] - 0.75 * wide[1]:.4f}) (>= Y_0 1000.0))")
    verdict = verify_files(model, holds, timeout=20, strategy="neurons")
    assert verdict.status is Status.UNSAT and verdict.leaves > 1 and verdict.semantics == "float32"
    found = tc.check(model, holds, verdict.certificate)
    assert found.status == "valid" and {"relu", "product", "tanh", "sigmoid"} <= set(found.rules)
    fails = claim(f"(>= Y_0 {top[0] - 0.05 * wide[0]:.4f})")
    assert verify_files(model, fails, timeout=20, strategy="neurons").status is Status.SAT
