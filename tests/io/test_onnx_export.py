"""Programs as ONNX: names, bits and symbols kept, readable by the checker, deterministic, refused as one error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from torchlean import ops
from torchlean.errors import FileError, GraphError, Unsupported
from torchlean.io.onnx import read_onnx, write_onnx
from torchlean.ir import Builder, f32, f64, i64, symbol
from torchlean.run.program import Program
from torchlean_check.onnx_reader import read_network

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def perceptron() -> Program:
    """A normalization and two layers, on a symbolic batch."""
    g = Builder(ops.ALL)
    x = g.input("cars", f32["batch", 3])
    mean, spread = g.parameter("mean", f32[3]), g.constant(np.array([0.5, 2.0, 4.0], np.float32))
    hidden = g.relu(g.linear((x - mean) / spread, g.parameter("0.weight", f32[4, 3]), g.parameter("0.bias", f32[4])))
    y = g.linear(hidden, g.parameter("1.weight", f32[2, 4]), g.parameter("1.bias", f32[2]))
    arrays = {
        "mean": normal(3),
        "0.weight": normal(4, 3),
        "0.bias": normal(4),
        "1.weight": normal(2, 4),
        "1.bias": normal(2),
    }
    return Program(g.finish({"mpg": y * 2.0}), arrays)


def runtime(raw: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return onnxruntime.InferenceSession(raw, options)


def test_a_network_is_written_node_by_node() -> None:
    program = perceptron()
    model = onnx.load_from_string(write_onnx(program))
    assert [n.op_type for n in model.graph.node if n.op_type != "Constant"] == [
        "Sub",
        "Div",
        "Gemm",
        "Relu",
        "Gemm",
        "Mul",
    ]
    assert [
        (i.name, [d.dim_param or d.dim_value for d in i.type.tensor_type.shape.dim]) for i in model.graph.input
    ] == [("cars", ["batch", 3])]
    assert [o.name for o in model.graph.output] == ["mpg"]
    assert len({n.name for n in model.graph.node}) == len(model.graph.node)
    weights = {t.name: t.raw_data for t in model.graph.initializer}
    assert weights == {n: a.tobytes() for n, a in program.parameters.items()}


def test_read_again_it_is_the_same_graph_and_the_same_bytes() -> None:
    program = perceptron()
    raw = write_onnx(program)
    again = read_onnx(raw)
    assert write_onnx(again) == raw == write_onnx(program)
    assert read_onnx(write_onnx(again)).graph == again.graph
    assert sorted(n.op for n in again.graph.nodes) == sorted(n.op for n in program.graph.nodes)


def test_every_bit_pattern_of_a_weight_survives() -> None:
    g = Builder(ops.ALL)
    odd = np.array([-0.0, 1e-45, -1e-38, 3.4028235e38, np.inf, -np.inf], np.float32)
    y = g.input("x", f32[6]) + g.parameter("w", f32[6]) * g.constant(odd)
    again = read_onnx(write_onnx(Program(g.finish({"y": y}), {"w": odd})))
    assert again.parameters["w"].tobytes() == odd.tobytes()
    (constant,) = (n for n in again.graph.nodes if n.op == "constant")
    assert constant.attributes["value"].array.tobytes() == odd.tobytes()  # type: ignore[union-attr]


def test_the_checker_reads_it() -> None:
    program = perceptron()
    # The checker has its own reader, written from the specification.
    network = read_network(write_onnx(program))
    assert (network.inputs, network.outputs) == (3, 2)


def test_symbolic_sizes_are_computed_in_the_model() -> None:
    g = Builder(ops.ALL)
    x = g.input("x", f32["n", 4, "m"])
    n, m = symbol("n"), symbol("m")
    flat = g.reshape(x, shape=(n * m, 4))
    wide = g.broadcast(g.reshape(x, shape=(n, 1, 4, m)), shape=(n, 3, 4, m))
    count = g.size(of=n * m // 2 + 1, dtype=f32)
    program = Program(g.finish({"flat": flat, "wide": wide, "count": count, "same": x}))
    raw = write_onnx(program)
    values = normal(2, 4, 5)
    found = runtime(raw).run(None, {"x": values})
    np.testing.assert_array_equal(found[0], values.reshape(10, 4))
    np.testing.assert_array_equal(found[1], np.broadcast_to(values.reshape(2, 1, 4, 5), (2, 3, 4, 5)))
    assert found[2] == np.float32(6)
    np.testing.assert_array_equal(found[3], values)
    again = read_onnx(raw)
    assert again.graph.output_types == program.graph.output_types


def test_outputs_that_are_inputs_parameters_or_each_other() -> None:
    g = Builder(ops.ALL)
    x, w = g.input("x", f32[2]), g.parameter("w", f32[2])
    y = x + w
    program = Program(g.finish({"a": y, "b": y, "c": x, "d": w}), {"w": np.ones(2, np.float32)})
    found = runtime(write_onnx(program)).run(None, {"x": np.zeros(2, np.float32)})
    assert [f.tolist() for f in found] == [[1, 1], [1, 1], [0, 0], [1, 1]]


def test_an_output_with_the_name_of_another_value_is_refused() -> None:
    g = Builder(ops.ALL)
    with pytest.raises(GraphError, match="output x"):
        write_onnx(Program(g.finish({"x": g.relu(g.input("x", f32[2]))})))


def test_names_of_inner_values_give_way_to_the_users() -> None:
    g = Builder(ops.ALL)
    x = g.input("relu_1", f32[2])
    y = g.relu(g.relu(x))
    raw = write_onnx(Program(g.finish({"relu_1_1": y})))
    assert read_onnx(raw).graph.nodes == g.finish({"relu_1_1": y}).nodes


def test_states_are_refused_and_frozen_states_written() -> None:
    g = Builder(ops.ALL)
    x, s = g.input("x", f32[2]), g.state("seen", f32[2])
    program = Program(g.finish({"y": x + s}, {"seen": s + x}), {}, {"seen": np.ones(2, np.float32)})
    with pytest.raises(Unsupported, match=r"inference\(\)"):
        write_onnx(program)
    assert list(read_onnx(write_onnx(program.inference())).parameters) == ["seen"]


def test_a_size_that_no_input_has_is_refused() -> None:
    g = Builder(ops.ALL)
    program = Program(g.finish({"y": g.broadcast(g.input("x", f32[1]), shape=("n",))}))
    with pytest.raises(Unsupported, match="axis of any input"):
        write_onnx(program)


def test_a_float64_attribute_that_onnx_would_round_is_refused() -> None:
    g = Builder(ops.ALL)
    with pytest.raises(Unsupported, match="float32"):
        write_onnx(Program(g.finish({"y": g.leaky_relu(g.input("x", f64[2]), slope=0.1)})))
    g = Builder(ops.ALL)
    write_onnx(Program(g.finish({"y": g.leaky_relu(g.input("x", f64[2]), slope=0.25)})))


def test_integers_stay_what_they_are() -> None:
    g = Builder(ops.ALL)
    x = g.input("x", i64[3])
    program = Program(g.finish({"y": x + g.parameter("w", i64[3])}), {"w": np.array([1, -2, 2**62])})
    raw = write_onnx(program)
    assert runtime(raw).run(None, {"x": np.ones(3, np.int64)})[0].tolist() == [2, -1, 2**62 + 1]
    assert read_onnx(raw).graph == program.graph


def test_the_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    program = perceptron()
    raw = write_onnx(program, tmp_path / "net.onnx")
    assert (tmp_path / "net.onnx").read_bytes() == raw
    with pytest.raises(FileError):
        write_onnx(program, tmp_path / "absent" / "net.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
