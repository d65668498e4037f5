"""Several networks as one: the same floats come out, at every output and hidden value, in onnxruntime and here."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from torchlean.errors import FileError, Unsupported
from torchlean.io.onnx import read_onnx
from torchlean.io.query import Part, compose
from torchlean_check.onnx_reader import read_network


def two_inputs(opset: int, seed: int = 0, batch: object = 1) -> bytes:
    """h = relu(W a + V b), y = U h, z = -h; a: [batch, 3], b: [batch, 2, 2]. Its names are such as compose makes."""
    rng = np.random.default_rng(seed)
    weights = {n: rng.standard_normal(s).astype(np.float32) for n, s in (("x", (3, 5)), ("v", (4, 5)), ("y:", (5, 2)))}
    nodes = [
        helper.make_node("MatMul", ["a", "x"], ["@f/in0"]),
        helper.make_node("Flatten", ["b"], ["b1"], axis=1),
        helper.make_node("MatMul", ["b1", "v"], ["p"]),
        helper.make_node("Add", ["@f/in0", "p"], ["a:shape"]),
        helper.make_node("Relu", ["a:shape"], ["h"], name="relu"),
        helper.make_node("MatMul", ["h", "y:"], ["y"]),
        helper.make_node("Neg", ["h"], ["z"]),
    ]
    value = helper.make_tensor_value_info
    ins = [value("a", TensorProto.FLOAT, [batch, 3]), value("b", TensorProto.FLOAT, [batch, 2, 2])]
    outs = [value("y", TensorProto.FLOAT, [batch, 2]), value("z", TensorProto.FLOAT, [batch, 5])]
    graph = helper.make_graph(nodes, "g", ins, outs, [numpy_helper.from_array(w, n) for n, w in weights.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def run(model: bytes, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(None, feed)


def part(name: str, model: bytes, places: tuple[tuple[int, ...], tuple[int, ...]], hidden: str = "h") -> Part:
    inputs = (("a", (1, 3), places[0]), ("b", (1, 2, 2), places[1]))
    return Part(name, model, inputs, ((hidden, 5), ("y", 2), ("z", 5)))


@pytest.mark.parametrize("opset", [9, 13, 18])
@pytest.mark.parametrize("batch", [1, "n"])
def test_the_composition_computes_what_its_parts_do(opset: int, batch: object) -> None:
    models = [two_inputs(opset, seed, batch) for seed in (0, 1)]
    first = ((0, 1, 2), (3, 4, 5, 6))
    second = ((2, 0, 7), (3, 4, 5, 8))  # some inputs shared, some permuted
    made = compose([part("f", models[0], first), part("g", models[1], second, "relu")], 9)
    onnx.checker.check_model(onnx.load_model_from_string(made), full_check=True)
    x = np.random.default_rng(2).standard_normal((1, 9)).astype(np.float32)
    expected = []
    for model, (a, b) in zip(models, (first, second), strict=True):
        shown = onnx.load_model_from_string(model)
        shown.graph.output.append(helper.make_tensor_value_info("h", TensorProto.FLOAT, [1, 5]))
        feed = {"a": x[:, list(a)], "b": x[:, list(b)].reshape(1, 2, 2)}
        y, z, h = run(shown.SerializeToString(), feed)
        expected += [h, y, z]
    (got,) = run(made, {"x": x})
    whole = np.concatenate(expected, axis=1)
    assert np.array_equal(got, whole)
    assert np.array_equal(np.asarray(read_onnx(made)(x)).shape, whole.shape)
    assert np.allclose(np.asarray(read_onnx(made)(x)), whole, rtol=1e-5, atol=1e-6)  # other orders of sums
    network = read_network(made)
    assert network.nodes[0].size == 9 and network.nodes[network.output].size == 24


def test_the_same_parts_give_the_same_bytes() -> None:
    parts = [part("f", two_inputs(13), ((0, 1, 2), (3, 4, 5, 6)))]
    assert compose(parts, 7) == compose(parts, 7)


def test_an_input_that_is_the_whole_is_not_sliced() -> None:
    model = two_inputs(13)
    made = onnx.load_model_from_string(compose([Part("f", model, (("a", (1, 3), (0, 1, 2)),), (("y", 2),))], 3))
    assert not any(node.op_type == "Slice" for node in made.graph.node)


def test_what_cannot_be_composed_is_refused() -> None:
    places = ((0, 1, 2), (3, 4, 5, 6))
    with pytest.raises(FileError, match="no such value"):
        compose([part("f", two_inputs(13), places, "nowhere")], 7)
    with pytest.raises(Unsupported, match="opsets"):
        compose([part("f", two_inputs(13), places), part("g", two_inputs(18), places)], 7)
    wide = tuple(range(0, 4096, 2))
    with pytest.raises(Unsupported, match="too many places"):
        compose([Part("f", two_inputs(13), (("a", (1, 2048), wide),), (("y", 2),))], 4096)
    graph = helper.make_graph([], "then", [], [])
    branch = helper.make_graph(
        [helper.make_node("If", ["a"], ["y"], then_branch=graph, else_branch=graph)], "g",
        [helper.make_tensor_value_info("a", TensorProto.BOOL, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )  # fmt: skip
    model = helper.make_model(branch, opset_imports=[helper.make_opsetid("", 13)]).SerializeToString()
    with pytest.raises(Unsupported, match="control flow"):
        compose([Part("f", model, (("a", (1,), (0,)),), (("y", 1),))], 1)
