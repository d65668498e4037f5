"""A transformer block with layer norms: values around the norms are split, and the certificate holds."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

import torchlean_check as tc
from torchlean.verify import verify_files
from torchlean.verify.clock import Steps
from torchlean.verify.verdict import Status
from torchlean_check.network import Curve

TOKENS, WIDTH, RADIUS = 2, 5, 0.05


def block(seed: int) -> tuple[bytes, np.ndarray]:
    """LayerNorm, one attention head, residual, LayerNorm, gelu layer, residual, head; and the middle of its region."""
    rng, make = np.random.default_rng(seed), helper.make_node
    shapes = {**dict.fromkeys("qkv", (WIDTH, WIDTH)), "u": (WIDTH, 8), "d": (8, WIDTH), "o": (TOKENS * WIDTH, 2)}
    weights = {n: (rng.normal(size=s) / np.sqrt(s[0])).astype(np.float32) for n, s in shapes.items()}
    weights |= {"g": np.ones(WIDTH, np.float32), "b": np.zeros(WIDTH, np.float32), "s": np.array([1, TOKENS * WIDTH])}
    made = {
        "n": ("LayerNormalization", "x", "g", "b"), "Q": ("MatMul", "n", "q"), "K": ("MatMul", "n", "k"),
        "V": ("MatMul", "n", "v"), "T": ("Transpose", "K"), "S": ("MatMul", "Q", "T"), "P": ("Softmax", "S"),
        "A": ("MatMul", "P", "V"), "r": ("Add", "A", "x"), "m": ("LayerNormalization", "r", "g", "b"),
        "h": ("MatMul", "m", "u"), "e": ("Gelu", "h"), "f": ("MatMul", "e", "d"), "z": ("Add", "f", "r"),
        "w": ("Reshape", "z", "s"), "y": ("MatMul", "w", "o"),
    }  # fmt: skip
    nodes = [
        make(op, reads, [out], name=out, **({"perm": [0, 2, 1]} if op == "Transpose" else {}))
        for out, (op, *reads) in made.items()
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, TOKENS, WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        initializer=[numpy_helper.from_array(w, n) for n, w in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return model.SerializeToString(), rng.normal(size=TOKENS * WIDTH).astype(np.float32)


def claim(middle: np.ndarray, text: str) -> bytes:
    lines = [f"(declare-const X_{i} Real)" for i in range(len(middle))]
    lines += ["(declare-const Y_0 Real)", "(declare-const Y_1 Real)"]
    for i, v in enumerate(middle):
        lines.append(f"(assert (>= X_{i} {v - RADIUS:.6f}))(assert (<= X_{i} {v + RADIUS:.6f}))")
    return "\n".join([*lines, f"(assert {text})"]).encode()


def test_splits_around_a_layer_norm_prove_what_the_root_does_not() -> None:
    """The greatest output that is found near the region's corners is 1.865, over a range of 0.147."""
    model, middle = block(3)
    holds = claim(middle, "(>= Y_0 2.012)")
    verdict = verify_files(model, holds, deadline=Steps(40), strategy="neurons")
    assert verdict.status is Status.UNSAT and verdict.leaves > 1 and verdict.semantics == "float32"
    assert tc.check(model, holds, verdict.certificate).status == "valid"
    assert {"square", "rsqrt", "product", "exp", "gelu"} <= set(verdict.rules)
    network, _ = tc.load(model, holds)
    first, second = (k for k, n in enumerate(network.nodes) if isinstance(n, Curve) and n.name == "rsqrt")
    split = set(tc.decode(verdict.certificate).trees[0].value.tolist())
    assert split and any(first < k < second for k in split)  # above a norm, and below one
