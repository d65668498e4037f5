"""Each activation and normalization from two files to a certificate that checks; a false claim is never proved."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper

import torchlean_check as tc
from torchlean.verify import verify_files
from torchlean.verify.slopes import CURVES, curve_of
from torchlean.verify.verdict import Status
from torchlean_check.rules.functions import find

INPUTS, WIDTH = 2, 4
STEPS = {"floor": np.floor, "sign": np.sign}
Nodes = list[tuple[str, str, str, dict[str, Any]]]
SILU: Nodes = [("Sigmoid", "h", "s", {}), ("Mul", "hs", "a", {})]
GELU: Nodes = [("Div", "hr", "t", {}), ("Erf", "t", "e", {}), ("Add", "eo", "w", {}), ("Mul", "hw", "m", {}),
               ("Mul", "mf", "a", {})]  # fmt: skip
CASES: dict[str, tuple[Nodes, int, set[str]]] = {
    "erf": ([("Erf", "h", "a", {})], 13, {"erf"}),
    "softplus": ([("Softplus", "h", "a", {})], 13, {"softplus"}),
    "silu": (SILU, 13, {"silu"}),
    "gelu as its parts": (GELU, 13, {"gelu"}),
    "gelu": ([("Gelu", "h", "a", {})], 20, {"gelu"}),
    "cube": ([("Pow", "hp", "a", {})], 13, {"pow 3.0"}),
    "broken power": ([("Exp", "h", "e", {}), ("Pow", "er", "a", {})], 13, {"exp", "pow 1.4142135381698608"}),
    "elu": ([("Elu", "h", "a", {})], 13, {"elu 1.0"}),
    "selu": ([("Selu", "h", "a", {})], 13, {"elu 1.6732631921768188"}),
    "hard sigmoid": ([("HardSigmoid", "h", "a", {})], 13, {"relu"}),
    "hard swish": ([("HardSwish", "h", "a", {})], 14, {"relu", "product"}),
    "mish": ([("Mish", "h", "a", {})], 18, {"product", "softplus", "tanh"}),
    "choice": ([("Less", "hg", "c", {}), ("Where", "chf", "a", {})], 13, {"product", "relu", "sign"}),
    "largest": ([("ReduceMax", "h", "m", {"axes": [1]}), ("Sub", "hm", "a", {})], 13, {"relu"}),
    "layer norm": ([("LayerNormalization", "hgB", "a", {"epsilon": 0.1})], 17, {"product", "rsqrt", "square"}),
    "rms norm": ([("RMSNormalization", "hg", "a", {"epsilon": 0.1})], 23, {"product", "rsqrt", "square"}),
}


def network(title: str) -> tuple[bytes, np.ndarray]:
    """y = v . f(A x + b) as ONNX, and what onnxruntime computes at samples of the box [-1, 1]^2."""
    nodes, opset, _ = CASES[title]
    rng = np.random.default_rng(7)
    weights = {
        "A": rng.normal(size=(INPUTS, WIDTH)), "B": rng.normal(size=WIDTH), "V": rng.normal(size=(WIDTH, 1)),
        "r": np.sqrt(2.0), "o": 1.0, "f": 0.5, "p": 3.0, "g": rng.normal(size=WIDTH),
    }  # fmt: skip
    every: Nodes = [("MatMul", "xA", "k", {}), ("Add", "kB", "h", {}), *nodes, ("MatMul", "aV", "y", {})]
    used = {name for _, inputs, _, _ in every for name in inputs}
    graph = helper.make_graph(
        [helper.make_node(op, list(i), [o], name=f"{op}_{o}", **more) for op, i, o, more in every], "g",
        [helper.make_tensor_value_info("x", 1, [1, INPUTS])], [helper.make_tensor_value_info("y", 1, [1, 1])],
        initializer=[numpy_helper.from_array(np.float32(w), n) for n, w in weights.items() if n in used],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    x = np.clip(rng.uniform(-1.5, 1.5, (2000, 1, INPUTS)), -1, 1).astype(np.float32)  # corners and edges among them
    return model, np.array([session.run(None, {"x": p})[0].item() for p in x])


def claim(text: str) -> bytes:
    lines = [f"(declare-const {n} Real)" for n in ("X_0", "X_1", "Y_0")]
    lines += [f"(assert (>= X_{i} -1.0))(assert (<= X_{i} 1.0))" for i in range(INPUTS)]
    return "\n".join([*lines, f"(assert {text})"]).encode()


@pytest.mark.parametrize("name", [*CURVES, "pow 3.0", "pow 0.75", "pow -2.0", "elu 0.5", "elu 2.0"])
@pytest.mark.parametrize("xp", [np, torch], ids=["numpy", "torch"])
def test_the_attack_has_the_checkers_values_and_slopes(name: str, xp: Any) -> None:
    low = 0.1 if name in STEPS or find(name).positive or name in ("sqrt", "reciprocal") else -3.0
    z = np.linspace(low, 3.0, 50)
    value, slope = (np.asarray(f(xp, z if xp is np else torch.from_numpy(z))) for f in curve_of(name))
    if name in STEPS:
        assert np.array_equal(value, STEPS[name](z)) and not slope.any()
    else:
        f = find(name)
        assert np.allclose(value, f.value(z), 1e-9, 1e-9) and np.allclose(slope, f.slope(z), 1e-9, 1e-9)


@pytest.mark.parametrize("title", ["erf", "softplus", "silu", "gelu", "cube", "selu"])
def test_splits_of_values_prove_it_too(title: str) -> None:
    model, y = network(title)
    holds = claim(f"(or (>= Y_0 {y.max() + 0.02 * np.ptp(y):.5f}) (<= Y_0 {y.min() - 0.02 * np.ptp(y):.5f}))")
    verdict = verify_files(model, holds, timeout=30, strategy="neurons")
    assert verdict.status is Status.UNSAT and tc.check(model, holds, verdict.certificate).status == "valid"


@pytest.mark.parametrize("title", CASES)
def test_proved_with_a_certificate_and_refuted_with_a_witness(title: str) -> None:
    model, y = network(title)
    low, high, width = y.min(), y.max(), np.ptp(y)
    holds = claim(f"(or (>= Y_0 {high + 0.02 * width:.5f}) (<= Y_0 {low - 0.02 * width:.5f}))")
    verdict = verify_files(model, holds, timeout=30)
    assert verdict.status is Status.UNSAT and verdict.semantics == "float32"
    found = tc.check(model, holds, verdict.certificate)
    assert found.status == "valid" and found.assumed == 0 and CASES[title][2] <= set(found.rules)
    for bound in (f"(>= Y_0 {high - 0.02 * width:.5f})", f"(<= Y_0 {low + 0.02 * width:.5f})"):
        fails = claim(bound)
        assert verify_files(model, fails, timeout=30).status is Status.SAT
        forged = replace(tc.decode(verdict.certificate), property=hashlib.sha256(fails).hexdigest())
        assert tc.check(model, fails, tc.encode(forged)).status == "invalid"
