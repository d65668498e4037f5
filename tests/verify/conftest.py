"""Small relu networks and boxes as the two files that verify reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper


def network_bytes(weights: Sequence[tuple[np.ndarray, np.ndarray]]) -> bytes:
    """Gemm layers with relus between; weight [out, in], bias [out]."""
    nodes, tensors, last = [], [], "x"
    for k, (w, b) in enumerate(weights):
        tensors += [
            numpy_helper.from_array(np.asarray(w, np.float32), f"w{k}"),
            numpy_helper.from_array(np.asarray(b, np.float32), f"b{k}"),
        ]
        out = "y" if k + 1 == len(weights) else f"z{k}"
        nodes.append(helper.make_node("Gemm", [last, f"w{k}", f"b{k}"], [out], name=f"gemm{k}", transB=1))
        last = out
        if k + 1 < len(weights):
            nodes.append(helper.make_node("Relu", [out], [f"a{k}"], name=f"relu{k}"))
            last = f"a{k}"
    ins = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, weights[0][0].shape[1]])]
    outs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, len(weights[-1][1])])]
    graph = helper.make_graph(nodes, "g", ins, outs, initializer=tensors)
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
    )


def property_bytes(lo: Sequence[str], hi: Sequence[str], outputs: int, asserts: Sequence[str]) -> bytes:
    lines = [f"(declare-const X_{i} Real)" for i in range(len(lo))] + [
        f"(declare-const Y_{j} Real)" for j in range(outputs)
    ]
    lines += [f"(assert (>= X_{i} {v}))" for i, v in enumerate(lo)] + [
        f"(assert (<= X_{i} {v}))" for i, v in enumerate(hi)
    ]
    return "\n".join([*lines, *asserts]).encode()


Weights = list[tuple[np.ndarray, np.ndarray]]


@pytest.fixture
def mlp() -> Callable[..., tuple[Weights, bytes]]:
    def make(sizes: Sequence[int], seed: int) -> tuple[Weights, bytes]:
        rng = np.random.default_rng(seed)
        weights = [
            (
                (rng.standard_normal((n, m)) * 1.5 / np.sqrt(m)).astype(np.float32),
                (rng.standard_normal(n) * 0.3).astype(np.float32),
            )
            for m, n in pairwise(sizes)
        ]
        return weights, network_bytes(weights)

    return make


@pytest.fixture
def files() -> tuple[Callable[..., bytes], Callable[..., bytes]]:
    return network_bytes, property_bytes


CURVED = 6  # inputs of `curved_network`


def curved_network(seed: int, layers: int = 1) -> tuple[bytes, np.ndarray]:
    """v . h after layers h <- tanh(A h) * relu(B h) + sigmoid(A h) as ONNX, and its outputs at samples of the box."""
    rng = np.random.default_rng(seed)
    h, last = rng.uniform(-0.2, 0.2, (20_000, CURVED)), "x"
    nodes, weights = [], {}
    for n in map(str, range(layers)):
        a, b = (rng.normal(size=(h.shape[1], 8)).astype(np.float32) for _ in range(2))
        weights |= {"a" + n: a, "b" + n: b}
        made = {"p": ("MatMul", last, "a" + n), "q": ("MatMul", last, "b" + n), "t": ("Tanh", "p" + n),
                "r": ("Relu", "q" + n), "m": ("Mul", "t" + n, "r" + n), "s": ("Sigmoid", "p" + n),
                "w": ("Add", "m" + n, "s" + n)}  # fmt: skip
        nodes += [helper.make_node(op, reads, [out + n], name=out + n) for out, (op, *reads) in made.items()]
        p, last = h @ a, "w" + n
        h = np.tanh(p) * np.maximum(h @ b, 0) + 1 / (1 + np.exp(-p))
    weights["v"] = rng.normal(size=(8, 2)).astype(np.float32)
    graph = helper.make_graph(
        [*nodes, helper.make_node("MatMul", [last, "v"], ["y"], name="y")], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, CURVED])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        initializer=[numpy_helper.from_array(w, n) for n, w in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return model.SerializeToString(), h @ weights["v"]


def curved_claim(text: str) -> bytes:
    lines = [f"(declare-const {n}_{i} Real)" for n, k in (("X", CURVED), ("Y", 2)) for i in range(k)]
    lines += [f"(assert (>= X_{i} -0.2))(assert (<= X_{i} 0.2))" for i in range(CURVED)]
    return "\n".join([*lines, f"(assert {text})"]).encode()


@pytest.fixture
def curved() -> tuple[Callable[..., tuple[bytes, np.ndarray]], Callable[[str], bytes]]:
    return curved_network, curved_claim
