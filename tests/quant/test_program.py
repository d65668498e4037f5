"""A quantized program is a program: typed, runnable on every executor, exportable, with fewer bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from networks import NETWORKS, inputs, network

from torchlean import ops
from torchlean.errors import DataError, ShapeError, TorchLeanError, Unsupported, UsageError
from torchlean.io.onnx import read_onnx, write_onnx
from torchlean.ir import Builder, f32
from torchlean.ir.lint import lint
from torchlean.quant import WEIGHTS, calibrate, quantize_program, stored
from torchlean.run.program import Program

each_network = pytest.mark.parametrize("name", NETWORKS)
FORMATS = [(w, a) for w in WEIGHTS for a in ("none", "int8", "bf16", "f8e4m3") if (w, a) != ("none", "none")]


def quantized(name: str, weights: str, activations: str, **options: Any) -> Program:
    return quantize_program(network(name), weights, activations, calibration_data=inputs(name, 50), overflow="saturate",
                            **options)  # fmt: skip


@each_network
@pytest.mark.parametrize(("weights", "activations"), FORMATS)
def test_it_is_near_the_float_program(name: str, weights: str, activations: str) -> None:
    """Not a bound (see test_difference): that no wire is crossed. The lint holds, names and symbols stay."""
    program, made = network(name), quantized(name, weights, activations)
    lint(made.graph, ops.ALL)
    assert made.graph.source_types("input") == program.graph.source_types("input")
    assert made.graph.output_types == program.graph.output_types
    x = inputs(name, 9, seed=1)
    want, got = program(x), made(x)
    assert 0 < np.abs(got - want).max() < 0.5 * np.abs(want).max()
    np.testing.assert_allclose(made(x, backend="eager-cpu"), got, rtol=0.02, atol=0.02)  # a code may be a neighbour


@each_network
def test_weights_are_the_quantizer_s(name: str) -> None:
    program, made = network(name), quantized(name, "int8", "none")
    for label, array in program.parameters.items():
        if label in made.parameters:
            assert made.parameters[label].tobytes() == array.tobytes() and array.ndim == 1
            continue
        axis = {"w0": 0, "w1": 0, "k0": 0, "k1": 0}.get(label, 0)
        if name == "product" and label == "w0":
            axis = 1  # x w: the columns are the outputs
        want = calibrate(array, 8, axis=axis)
        np.testing.assert_array_equal(made.parameters[f"{label}.codes"], want.codes(array))
        np.testing.assert_array_equal(made.parameters[f"{label}.scale"], want.scale)


def test_one_scale_where_that_is_asked() -> None:
    made = quantized("dense", "int4", "none", per_channel=False)
    assert made.parameters["w0.scale"].shape == () and np.abs(made.parameters["w0.codes"]).max() == 7


def test_bytes() -> None:
    program = network("dense")
    whole = {s.name: s for s in stored(program)}
    assert whole["w1"].bytes == whole["w1"].packed == 4 * 64
    eight = {s.name: s for s in stored(quantized("dense", "int8", "none"))}
    assert (eight["w1.codes"].bits, eight["w1.codes"].bytes, eight["w1.scale"].bytes) == (8, 64, 32)
    four = {s.name: s for s in stored(quantized("dense", "int4", "none"))}
    assert (four["w1.codes"].bits, four["w1.codes"].bytes, four["w1.codes"].packed) == (4, 64, 32)
    half = {s.name: s for s in stored(quantized("dense", "bf16", "none"))}
    assert (half["w1"].type, half["w1"].bytes) == ("bf16[8, 8]", 128)


@each_network
@pytest.mark.parametrize(("weights", "activations"), [("int8", "none"), ("int4", "none"), ("int8", "int8")])
def test_onnxruntime_runs_it(name: str, weights: str, activations: str) -> None:
    made = quantized(name, weights, activations)
    raw = write_onnx(made)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    x = inputs(name, 5, seed=2)
    (found,) = onnxruntime.InferenceSession(raw, options).run(None, {"x": x})
    np.testing.assert_allclose(found, made(x), rtol=0.02, atol=0.02)  # a code may be a neighbour
    np.testing.assert_array_equal(read_onnx(raw)(x), made(x))


@pytest.mark.parametrize("weights", ["int8", "bf16", "f8e5m2"])
def test_it_is_saved_and_loaded(weights: str, tmp_path: Path) -> None:
    made = quantized("dense", weights, "int8")
    made.save(tmp_path / "q")
    again = Program.load(tmp_path / "q")
    assert again.graph == made.graph
    assert all(a.tobytes() == again.parameters[n].tobytes() for n, a in made.parameters.items())


def test_fp8_and_int4_activations_have_no_onnx_here() -> None:
    with pytest.raises(Unsupported, match="fp8"):
        write_onnx(quantized("dense", "f8e4m3", "none"))
    with pytest.raises(Unsupported, match="part of the dtype's range"):
        write_onnx(quantized("dense", "int8", "int4"))


def test_a_weight_read_twice_and_names_that_are_taken() -> None:
    g = Builder(ops.ALL)
    w, taken = g.parameter("w", f32[4, 4]), g.parameter("w.scale", f32[4])
    y = g.linear(g.linear(g.input("x", f32["n", 4]), w, taken), w)
    rng = np.random.default_rng(0)
    arrays = {"w": rng.normal(size=(4, 4)).astype(np.float32), "w.scale": np.ones(4, np.float32)}
    program = Program(g.finish({"y": y}), arrays)
    made = quantize_program(program)
    assert sorted(made.parameters) == ["w.codes", "w.scale", "w.scale_", "w.zero_point"]
    assert sum(n.op == "dequantize" for n in made.graph.nodes) == 1
    g = Builder(ops.ALL)
    w = g.parameter("w", f32[4, 4])
    y = g.matmul(g.linear(g.input("x", f32["n", 4]), w), w)
    made = quantize_program(Program(g.finish({"y": y}), {"w": program.parameters["w"]}))
    assert made.parameters["w.scale"].shape == ()  # its rows are one reader's outputs, its columns the other's


def test_a_program_of_one_fixed_row_is_calibrated_on_many() -> None:
    fixed = network("dense").specialise(batch=1)
    x = inputs("dense", 50)
    several = [quantize_program(fixed, "int8", "int8", calibration_data=d) for d in (x, x[:, None])]
    want = quantize_program(network("dense"), "int8", "int8", calibration_data=x)
    for made in several:
        np.testing.assert_array_equal(made(x[:1]), want(x[:1]))


@pytest.mark.parametrize(
    ("title", "options", "error"),
    [
        ("an unknown format", {"weights": "int7"}, UsageError),
        ("an unknown format of activations", {"activations": "int16"}, UsageError),
        ("fp8 without a policy", {"weights": "f8e4m3"}, UsageError),
        ("bf16 without a policy", {"activations": "bf16"}, UsageError),
        ("fp8 with an unknown policy", {"weights": "f8e4m3", "overflow": "wrap"}, UsageError),
        ("no data", {"activations": "int8"}, UsageError),
        ("no rows", {"activations": "int8", "calibration_data": np.ones((0, 4), np.float32)}, DataError),
        ("NaN", {"activations": "int8", "calibration_data": np.full((2, 4), np.nan, np.float32)}, DataError),
        ("another shape", {"activations": "int8", "calibration_data": np.ones((2, 5), np.float32)}, ShapeError),
        ("float64", {"activations": "int8", "calibration_data": np.ones((2, 4))}, ShapeError),
        ("a method by another name", {"method": "max"}, UsageError),
    ],
)
def test_what_is_refused(title: str, options: dict[str, Any], error: type[TorchLeanError]) -> None:
    with pytest.raises(error) as caught:
        quantize_program(network("dense"), **options)
    assert all(getattr(caught.value, part) for part in ("what", "where", "expected", "got", "fix"))


def test_a_program_without_weights_is_refused() -> None:
    g = Builder(ops.ALL)
    with pytest.raises(DataError, match="no weights"):
        quantize_program(Program(g.finish({"y": g.relu(g.input("x", f32[3]))})))


def test_a_weight_beyond_the_format_is_refused_or_clamped() -> None:
    program = network("dense")
    program = program.with_arrays({**program.parameters, "w0": program.parameters["w0"] * np.float32(1e4)})
    with pytest.raises(DataError, match="range"):
        quantize_program(program, "f8e4m3", overflow="ieee")
    made = quantize_program(program, "f8e4m3", overflow="saturate")
    assert np.abs(made.parameters["w0"].astype(np.float32)).max() == 448
