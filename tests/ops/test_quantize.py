"""Quantization ops: against ml_dtypes, PyTorch and onnxruntime bit for bit, on every value of the small formats."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnxruntime
import pytest
import torch

from torchlean import ops
from torchlean.errors import DomainError
from torchlean.io.onnx import write_onnx
from torchlean.ir import Builder, f32, i8, trace, u8
from torchlean.meaning import Float, IntervalReal, Real
from torchlean.run.execute import execute
from torchlean.run.program import Program
from torchlean.run.schedule import schedule

SMALL = {
    "f16": (np.dtype(np.float16), torch.float16),
    "bf16": (np.dtype(ml_dtypes.bfloat16), torch.bfloat16),
    "f8e4m3": (np.dtype(ml_dtypes.float8_e4m3fn), torch.float8_e4m3fn),
    "f8e5m2": (np.dtype(ml_dtypes.float8_e5m2), torch.float8_e5m2),
}
each_format = pytest.mark.parametrize("name", SMALL)


def every_value(name: str) -> np.ndarray:
    """Every finite number of the format, as float32."""
    dtype = SMALL[name][0]
    bits = np.arange(1 << (8 * dtype.itemsize), dtype=f"u{dtype.itemsize}")
    values = bits.view(dtype).astype(np.float32)
    return values[np.isfinite(values)]


def around(name: str) -> np.ndarray:
    """The values, every midpoint of neighbours, and the float32 numbers next to those; and what lies beyond."""
    values = np.unique(every_value(name))
    middle = (values[1:].astype(np.float64) + values[:-1]) / 2
    middle = middle.astype(np.float32)
    far = np.float32([460, 464, 464.00003, 480, 61439, 61440, 65519.996, 65520, 3.3961775e38, 3.4028235e38, np.inf])
    return np.concatenate([values, middle, np.nextafter(middle, np.float32(np.inf)),
                           np.nextafter(middle, np.float32(-np.inf)), far, -far, np.float32([0.0, -0.0])])  # fmt: skip


def rounded(name: str, overflow: str, x: np.ndarray, how: str) -> np.ndarray:
    graph = trace(ops.ALL, lambda g, x: g.round_to(x, dtype=name, overflow=overflow), x=f32[x.size])
    if how == "numpy":
        return np.asarray(schedule(graph).run(np, {"x": x})["y"])
    return execute(graph, {"x": x}, how)["y"]


@each_format
@pytest.mark.parametrize("how", ["reference", "numpy", "eager-cpu"])
def test_round_to_is_the_conversion_of_the_libraries(name: str, how: str) -> None:
    x = around(name)
    dtype, other = SMALL[name]
    with np.errstate(all="ignore"):
        wanted = x.astype(dtype).astype(np.float32)
    same = torch.from_numpy(x).to(other).to(torch.float32).numpy()
    known = np.isfinite(wanted) | (name != "f8e4m3")  # there, some versions of torch saturate
    np.testing.assert_array_equal(wanted[known], same[known])
    found = rounded(name, "ieee", x, how)
    np.testing.assert_array_equal(found, wanted)
    assert (np.signbit(found) == np.signbit(wanted))[~np.isnan(wanted)].all()
    largest = every_value(name).max()
    np.testing.assert_array_equal(
        rounded(name, "saturate", x, how), np.clip(x, -largest, largest).astype(dtype).astype(np.float32)
    )


@each_format
def test_values_of_the_grid_stay(name: str) -> None:
    x = every_value(name)
    for overflow in ("ieee", "saturate"):
        assert rounded(name, overflow, x, "reference").tobytes() == x.tobytes()


@each_format
def test_the_real_meaning_rounds_as_the_reference_does(name: str) -> None:
    x = around(name)
    x = x[np.isfinite(x)][:: max(1, len(x) // 3000)]
    N, attrs = Real(), {"dtype": name, "overflow": "saturate"}
    real: Any = ops.ALL["round_to"].rule("meaning")(N, N.constant(x), **attrs)
    assert bool(N.equal(real, N.constant(rounded(name, "saturate", x, "reference"))).all())


def test_what_has_no_infinity_becomes_nan() -> None:
    x = np.float32([464, 464.00003, -1e9])
    assert np.isnan(rounded("f8e4m3", "ieee", x, "reference")).tolist() == [False, True, True]
    rule = ops.ALL["round_to"].rule("meaning")
    with pytest.raises(DomainError, match="NaN"):
        rule(Real(), Real().constant(x), dtype="f8e4m3", overflow="ieee")
    N = IntervalReal()
    box = rule(N, N.enclose([0.0, 0.0, -1e9], [464.0, 465.0, 1.0]), dtype="f8e4m3", overflow="ieee")
    assert box.nan.tolist() == [False, True, True]
    assert box.lo.tolist() == [0.0, 0.0, -448.0] and box.hi.tolist() == [448.0, 448.0, 1.0]


@pytest.mark.parametrize("name", ["bf16", "f8e4m3", "f8e5m2"])
@pytest.mark.parametrize("how", ["reference", "eager-cpu"])
def test_small_floats_are_stored_and_cast_exactly(name: str, how: str) -> None:
    from torchlean.ir import DTYPES

    stored = every_value(name).astype(SMALL[name][0])
    g = Builder(ops.ALL)
    w = g.parameter("w", DTYPES[name][stored.size])
    program = Program(g.finish({"y": g.cast(w, dtype=f32), "w": w}), {"w": stored})
    found = execute(program.graph, dict(program.parameters), how)
    assert found["y"].tobytes() == stored.astype(np.float32).tobytes()
    assert found["w"].dtype == stored.dtype and found["w"].tobytes() == stored.tobytes()


# quantize and dequantize

EXTREME = np.float32([0.0, -0.0, 1e-45, -1e-45, 1e-38, 3.4e38, -3.4e38, np.inf, -np.inf])


def inputs(rng: np.random.Generator, scale: float, rows: int = 400) -> np.ndarray:
    """Random numbers, ties, neighbours of ties, and extremes."""
    ties = ((np.arange(-300, 300) + 0.5) * np.float32(scale)).astype(np.float32)
    x = np.concatenate([rng.normal(0, 60 * scale, rows).astype(np.float32), ties,
                        np.nextafter(ties, np.float32(0)), np.nextafter(ties, np.float32(9e30)), EXTREME])  # fmt: skip
    return x.astype(np.float32)


def run(graph: Any, values: dict[str, np.ndarray], how: str) -> np.ndarray:
    if how == "onnxruntime":
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        return np.asarray(onnxruntime.InferenceSession(write_onnx(Program(graph)), options).run(None, values)[0])
    if how == "numpy":
        return np.asarray(schedule(graph).run(np, values)["y"])
    return execute(graph, values, how)["y"]


HOW = pytest.mark.parametrize("how", ["numpy", "eager-cpu", "onnxruntime"])


@HOW
@pytest.mark.parametrize(("codes", "zero"), [(i8, 0), (i8, -128), (i8, 127), (i8, 5), (u8, 0), (u8, 131), (u8, 255)])
def test_one_scale(how: str, codes: Any, zero: int) -> None:
    lo, hi = (0, 255) if codes is u8 else (-128, 127)
    for seed, scale in enumerate((0.1, 0.0078125, 1.7e-5, 3e30)):
        x = inputs(np.random.default_rng(seed), scale)
        x = x if scale < 1 else x[np.isfinite(x)]
        types = {"x": f32[x.size], "s": f32[()], "z": codes[()]}
        quantize = trace(ops.ALL, lambda g, x, s, z: g.quantize(x, s, z, lo=lo, hi=hi, axis=None), **types)
        values = {"x": x, "s": np.asarray(np.float32(scale)), "z": np.asarray(zero, codes.numpy)}
        code = run(quantize, values, "reference")
        np.testing.assert_array_equal(run(quantize, values, how), code)
        dequantize = trace(
            ops.ALL, lambda g, q, s, z: g.dequantize(q, s, z, axis=None), q=codes[x.size], s=f32[()], z=codes[()]
        )
        back = {"q": code, "s": values["s"], "z": values["z"]}
        assert run(dequantize, back, how).tobytes() == run(dequantize, back, "reference").tobytes()


@HOW
@pytest.mark.parametrize("axis", [-1, -2, -3])
def test_a_channel_is_quantized_as_a_tensor_alone(how: str, axis: int) -> None:
    rng, shape = np.random.default_rng(3), (4, 5, 6)
    n = shape[axis]
    x = rng.normal(0, 3, shape).astype(np.float32)
    s, z = rng.uniform(0.01, 0.2, n).astype(np.float32), rng.integers(-20, 20, n).astype(np.int8)
    graph = trace(
        ops.ALL,
        lambda g, x, s, z: g.dequantize(g.quantize(x, s, z, lo=-128, hi=127, axis=axis), s, z, axis=axis),
        x=f32[shape], s=f32[n], z=i8[n],
    )  # fmt: skip
    found = run(graph, {"x": x, "s": s, "z": z}, how)
    N = Float()
    for i in range(n):
        part, one = np.take(x, i, axis=axis), {"axis": None}
        code = ops.ALL["quantize"].rule("meaning")(N, part, s[i], z[i], lo=-128, hi=127, **one)
        np.testing.assert_array_equal(
            np.take(found, i, axis=axis), ops.ALL["dequantize"].rule("meaning")(N, code, s[i], z[i], **one)
        )


@pytest.mark.parametrize(("zero", "lo", "hi"), [(0, -128, 127), (17, -128, 127), (0, -8, 7), (3, 0, 15)])
def test_as_fake_quantize_of_pytorch(zero: int, lo: int, hi: int) -> None:
    """On power-of-two scales: elsewhere PyTorch multiplies by the rounded reciprocal of the scale."""
    for scale in (2.0**-4, 1.0, 2.0**5):
        x = inputs(np.random.default_rng(1), scale)
        x = x[np.isfinite(x) & (np.abs(x) < 2.0**31 * scale)]  # beyond, PyTorch's integer overflows
        s, z = np.float32(scale), np.int8(zero)
        N = Float()
        code = ops.ALL["quantize"].rule("meaning")(N, x, np.asarray(s), np.asarray(z), lo=lo, hi=hi, axis=None)
        found = ops.ALL["dequantize"].rule("meaning")(N, code, np.asarray(s), np.asarray(z), axis=None)
        wanted = torch.fake_quantize_per_tensor_affine(torch.from_numpy(x), scale, zero, lo, hi).numpy()
        np.testing.assert_array_equal(found, wanted)


def test_an_interval_holds_both_sides_of_a_tie() -> None:
    """SEMANTICS 2, discontinuous ops: a float quotient next to a tie may fall on either side."""
    N = IntervalReal()
    box = N.enclose([0.5, 0.4], [0.5, 0.4])
    s, z = N.constant(np.float32(1.0)), N.constant(np.int8(0))
    codes = ops.ALL["quantize"].rule("interval")(N, box, s, z, lo=-128, hi=127, axis=None)
    assert codes.lo.tolist() == [0, 0] and codes.hi.tolist() == [1, 0]


def test_a_product_of_a_short_scale_is_exact() -> None:
    """What `rounding` calls exact is: every code with scales of 16 bits; a scale of 24 bits has an error."""
    rng, codes = np.random.default_rng(2), np.arange(-255, 256)
    rule = ops.ALL["dequantize"].rule("rounding")
    short = np.ldexp(rng.integers(1 << 15, 1 << 16, 200), rng.integers(-130, 90, 200)).astype(np.float32)
    for s in short[short >= 2.0**-126]:
        size = np.abs(codes * float(s))
        assert (rule((codes, np.float64(s), 0), size, axis=None) == 0).all()
        assert (codes * float(s) == (codes.astype(np.float32) * s).astype(np.float64)).all()
    assert (rule((codes, np.float64(np.float32(0.1)), 0), np.ones(codes.size), axis=None) > 0).all()
    assert (rule((codes, 2.0**-127, 0), np.ones(codes.size), axis=None) > 0).all()
