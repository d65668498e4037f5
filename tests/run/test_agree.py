"""Agreement: executors that keep their promises, and planted faults that must be found and named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import torchlean as tl
from torchlean import ops
from torchlean.errors import Unsupported, UsageError
from torchlean.io.onnx.executor import ONNXRUNTIME
from torchlean.ir import DTYPES, Builder, Graph, bf16, f32, f64, trace
from torchlean.ir.types import numpy_dtype
from torchlean.run.agree import BROKEN, KEPT, NOT_RUN, UNPROMISED, agree
from torchlean.run.compare import compare, ulps_between
from torchlean.run.execute import EAGER_CPU, EXECUTORS, REFERENCE
from torchlean.run.program import Program
from torchlean.run.promises import Arrays, Executor, promise

MAX = np.finfo(np.float32).max


def model(g: Builder, x: Any) -> Any:
    w, b = g.parameter("w", f32[5, 3]), g.parameter("b", f32[5])
    return g.relu(g.linear(x, w, b))


def program() -> Program:
    rng = np.random.default_rng(0)
    arrays = {"w": rng.standard_normal((5, 3)).astype(np.float32), "b": rng.standard_normal(5).astype(np.float32)}
    return tl.Program(trace(ops.ALL, model, x=f32["batch", 3]), arrays)


X = np.random.default_rng(1).standard_normal((7, 3)).astype(np.float32)


def faulty(change: Callable[[str, dict[str, np.ndarray], Arrays], None], **facts: Any) -> Executor:
    """The reference's answer, changed by `change(op, answer, values)`, under eager-cpu's promises."""

    def run(graph: Graph, values: Arrays, observe: Any) -> dict[str, np.ndarray]:
        answer = {n: v.copy() for n, v in REFERENCE.run(graph, values, None).items()}
        change(graph.nodes[-1].op, answer, values)
        return answer

    return replace(EAGER_CPU, name="faulty", run=run, **facts)


def shortened(x: np.ndarray, bits: int) -> np.ndarray:
    """The float32 significand cut to `bits` after the leading one: 7 for bfloat16, 10 for TF32."""
    mask = np.uint32(0xFFFFFFFF << (23 - bits) & 0xFFFFFFFF)
    return (x.view(np.uint32) & mask).view(np.float32)


@pytest.mark.parametrize("bits", [7, 10])
def test_products_in_a_shorter_format_are_found(bits: int) -> None:
    def change(op: str, answer: dict[str, np.ndarray], values: Arrays) -> None:
        if op == "linear":
            x, w, b = (values[f"x{i}"] for i in range(3))
            answer["y0"][...] = shortened(x, bits) @ shortened(w, bits).T + b

    broken = agree(program(), {"x": X}, [faulty(change)]).broken
    assert broken is not None and (broken.op, broken.executor, broken.number) == ("linear", "faulty", 3)
    assert "test_agree.py" in broken.where and broken.use is not None and broken.use > 1
    assert "in place of" in broken.why and broken.ulps is not None and broken.ulps > 1000


def flush(op: str, answer: dict[str, np.ndarray], values: Arrays) -> None:
    tiny = np.abs(answer["y0"]) < 2.0**-126
    answer["y0"][tiny] = 0


def test_a_flush_is_kept_where_sums_are_promised_and_broken_where_bits_are() -> None:
    x = np.full((2, 3), 2.0**-140, np.float32)
    p = program()
    report = agree(p.with_arrays({**p.parameters, "b": np.zeros(5, np.float32)}), {"x": x}, [faulty(flush)])
    assert [(n.op, n.status) for n in report.nodes] == [("linear", KEPT), ("relu", BROKEN)]
    assert report.nodes[0].ulps is not None and report.nodes[0].ulps > 0


def one_entry(value: float) -> Callable[[str, dict[str, np.ndarray], Arrays], None]:
    def change(op: str, answer: dict[str, np.ndarray], values: Arrays) -> None:
        if op == "linear":
            answer["y0"][2, 1] = value

    return change


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_nan_or_an_infinity_on_one_side_is_found(value: float) -> None:
    broken = agree(program(), {"x": X}, [faulty(one_entry(value))]).broken
    assert broken is not None and broken.op == "linear"
    assert broken.why.startswith(f"[2, 1]: {value} in place of") and broken.error == np.inf
    assert (broken.ulps is None) == np.isnan(value)


def test_a_number_in_place_of_a_nan_is_found() -> None:
    x = X.copy()
    x[2, 0] = np.nan
    broken = agree(program(), {"x": x}, [faulty(one_entry(1.0))]).broken
    assert broken is not None and "in place of nan" in broken.why


@pytest.mark.parametrize(
    ("turn", "words"),
    [
        (lambda y: y.astype(np.float64), "float64[7, 5] in place of float32[7, 5]"),
        (lambda y: y[:1], "float32[1, 5] in place of float32[7, 5]"),
    ],
)
def test_another_dtype_or_shape_is_found(turn: Callable[[np.ndarray], np.ndarray], words: str) -> None:
    def change(op: str, answer: dict[str, np.ndarray], values: Arrays) -> None:
        answer["y0"] = turn(answer["y0"])

    report = agree(program(), {"x": X}, [faulty(change)])
    assert report.broken is not None and report.broken.why == words
    assert report.summary.endswith(words) and "faulty" in report.summary


def test_one_ulp_of_an_exact_op_is_found() -> None:
    def change(op: str, answer: dict[str, np.ndarray], values: Arrays) -> None:
        if op == "relu":
            answer["y0"][...] = np.nextafter(answer["y0"], np.float32(9), dtype=np.float32)

    broken = agree(program(), {"x": X}, [faulty(change)]).broken
    assert broken is not None and (broken.op, broken.ulps) == ("relu", 1)


def test_the_first_wrong_entry_is_named() -> None:
    right, wrong = np.zeros((2, 2), np.float32), np.array([[0, 1], [2, 0]], np.float32)
    assert compare("exact", right, right, np.zeros(())).kept
    assert compare("exact", right, wrong, np.zeros(())).broken == "[0, 1]: 1.0 in place of 0.0"
    assert compare("standard", right, wrong, np.array([[0, 1], [1, 0]])).broken == "[1, 0]: 2.0 in place of 0.0"
    assert compare("standard", right, wrong, np.array([[0, np.inf], [np.inf, 0]])).outside == 2


def test_two_executors_are_held_against_each_other() -> None:
    """Each within 2 E of the reference, on opposite sides: within 4 E of each other, which is too far."""

    def aside(sign: float) -> Callable[[str, dict[str, np.ndarray], Arrays], None]:
        def change(op: str, answer: dict[str, np.ndarray], values: Arrays) -> None:
            if op == "linear":
                magnitudes = tuple(np.abs(v.astype(np.float64)) for v in values.values())
                bound = ops.ALL["linear"].rule("rounding")(magnitudes, np.abs(answer["y0"]))
                answer["y0"][...] = answer["y0"] + sign * 1.5 * bound

        return change

    one, two = replace(faulty(aside(1.0)), name="one"), replace(faulty(aside(-1.0)), name="two")
    report = agree(program(), {"x": X}, [one, two])
    found = {(n.executor, n.against): n.status for n in report.nodes if n.op == "linear"}
    assert found == {("one", "reference"): KEPT, ("two", "reference"): KEPT, ("two", "one"): BROKEN}


def test_what_is_not_promised_is_said() -> None:
    report = agree(program(), {"x": X}, [faulty(one_entry(np.nan), exceptions={"linear": "a test"})])
    assert [(n.status, n.promise) for n in report.nodes] == [(UNPROMISED, "none"), (KEPT, "exact")]
    assert report.broken is None and "1 without a promise (linear on faulty)" in report.summary


def test_entries_whose_partial_sums_may_overflow_are_outside() -> None:
    """MAX + MAX - MAX - MAX: left to right it is NaN or infinite, in another order 0."""
    graph = trace(ops.ALL, lambda g, x: g.sum(x, axes=(-1,), keepdims=False), x=f32[2, 4])
    x = np.array([[MAX, MAX, -MAX, -MAX], [1, 2, 3, 4]], np.float32)

    def change(op: str, answer: dict[str, np.ndarray], values: Arrays) -> None:
        answer["y0"][0] = 0

    (node,) = agree(Program(graph), {"x": x}, [faulty(change)]).nodes
    assert (node.status, node.outside, node.entries) == (KEPT, 1, 2)


def test_a_mean_whose_sum_may_overflow_is_outside() -> None:
    """Divided first it is finite, added first it is not."""
    graph = trace(ops.ALL, lambda g, x: g.mean(x, axes=(-1,), keepdims=False), x=f32[1, 100])
    x = np.zeros((1, 100), np.float32)
    x[0, :2] = MAX

    def change(op: str, answer: dict[str, np.ndarray], values: Arrays) -> None:
        assert np.isinf(answer["y0"]).all()
        answer["y0"][0] = MAX / 50

    (node,) = agree(Program(graph), {"x": x}, [faulty(change)]).nodes
    assert (node.status, node.outside) == (KEPT, 1)


def test_a_cast_that_the_target_cannot_hold_is_outside() -> None:
    graph = trace(ops.ALL, lambda g, x: g.cast(x, dtype="i32"), x=f32[4])
    x = np.array([1.9, np.nan, 3e9, -np.inf], np.float32)

    def change(op: str, answer: dict[str, np.ndarray], values: Arrays) -> None:
        answer["y0"][1:] = 17

    with np.errstate(invalid="ignore"):
        (node,) = agree(Program(graph), {"x": x}, [faulty(change)]).nodes
        assert (node.status, node.outside) == (KEPT, 3)
        (node,) = agree(Program(graph), {"x": x}, [faulty(lambda op, a, v: a["y0"].fill(2))]).nodes
    assert node.status == BROKEN


def test_an_op_that_an_executor_lacks_is_not_kept() -> None:
    def model(g: Builder, x: Any, i: Any) -> Any:
        return g.scatter_add(x, i, axis=-1, size=6)

    graph = trace(ops.ALL, model, x=f32[2, 3], i=tl.i64[3])
    values = {"x": X[:2], "i": np.arange(3)}
    report = agree(Program(graph), values, ["eager-cpu", ONNXRUNTIME])
    assert [(n.executor, n.status) for n in report.nodes] == [("onnxruntime", NOT_RUN), ("eager-cpu", KEPT)]
    assert [n.op for n in report.missed] == ["scatter_add"]
    assert "1 could not be run (scatter_add on onnxruntime)" in report.summary


@pytest.mark.parametrize("on", [[], ["reference"], ["eager-cpu", "eager-cpu"]])
def test_nothing_to_compare_is_refused(on: list[str]) -> None:
    with pytest.raises(UsageError, match="at least one executor besides the reference, each named once"):
        agree(program(), {"x": X}, on)


def test_an_absent_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(Unsupported, match="onnxruntime is not installed"):
        agree(program(), {"x": X}, [ONNXRUNTIME])


@pytest.mark.parametrize("scale", [1.0, 1e20, 1e-42, 0.0])
def test_libraries_keep_their_promises(scale: float) -> None:
    report = agree(program(), {"x": (X * np.float32(scale)).astype(np.float32)}, ["eager-cpu", ONNXRUNTIME])
    assert report.broken is None and not report.missed, str(report)
    assert {n.op for n in report.nodes} == {"linear", "relu"}


@pytest.mark.gpu
@pytest.mark.parametrize("scale", [1.0, 1e20, 1e-42])
def test_cuda_keeps_its_promise(scale: float) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    assert agree(program(), {"x": (X * np.float32(scale)).astype(np.float32)}, ["eager-cuda"]).broken is None


def test_promises_are_data() -> None:
    f = DTYPES["f32"]
    assert promise(REFERENCE, "linear", f).kind == "exact"
    assert promise(EAGER_CPU, "linear", f).kind == "standard"
    assert promise(EAGER_CPU, "relu", f).kind == "exact"
    assert promise(EAGER_CPU, "add", DTYPES["i64"]).kind == "exact"
    assert promise(ONNXRUNTIME, "scatter_add", f).kind == "none"
    for e in (*EXECUTORS.values(), ONNXRUNTIME):
        assert {*e.special, *e.exceptions} <= set(ops.ALL) and e.measured


@pytest.mark.parametrize(
    ("x", "y", "steps"),
    [
        (0.0, -0.0, 0),
        (-(2.0**-149), 2.0**-149, 2),
        (MAX, np.inf, 1),
        (1.0, 1.0 + 2.0**-23, 1),
        (1.0, 1.0 - 2.0**-24, 1),
        (2.0**-126, 2.0**-126 - 2.0**-149, 1),
        (-np.inf, np.inf, 2 * 0x7F800000),
    ],
)
def test_ulps_count_floats_along_the_line(x: float, y: float, steps: int) -> None:
    a, b = (np.array([v], np.float32) for v in (x, y))
    assert ulps_between(a, b)[0] == ulps_between(b, a)[0] == steps


def test_ulps_of_other_formats() -> None:
    assert ulps_between(np.array([-np.inf]), np.array([np.inf]))[0] == 2 * 0x7FF0000000000000
    assert ulps_between(np.float16([1.0]), np.float16([1.0 + 2.0**-10]))[0] == 1
    assert ulps_between(np.array([3, 5]), np.array([4, 2])).tolist() == [1, 3]
    assert ulps_between(np.array([True]), np.array([False]))[0] == 1


def test_float64_sums_are_held_to_float64() -> None:
    """Right to binary32 is not enough; functions of the binary32 table have no promise."""
    graph = trace(ops.ALL, lambda g, x: g.exp(g.sum(x, axes=(-1,), keepdims=False)), x=f64[3, 5])
    values = {"x": np.random.default_rng(4).standard_normal((3, 5))}
    assert [n.status for n in agree(Program(graph), values, ["eager-cpu"]).nodes] == [KEPT, UNPROMISED]

    def change(op: str, answer: dict[str, np.ndarray], values: Arrays) -> None:
        if op == "sum":
            answer["y0"] = answer["y0"].astype(np.float32).astype(np.float64)

    broken = agree(Program(graph), values, [faulty(change)]).broken
    assert broken is not None and broken.op == "sum"


def test_bfloat16_sums_are_held_to_bfloat16() -> None:
    graph = trace(ops.ALL, lambda g, x: g.sum(x, axes=(-1,), keepdims=False), x=bf16[3, 5])
    x = np.random.default_rng(4).standard_normal((3, 5)).astype(numpy_dtype("bfloat16"))
    report = agree(Program(graph), {"x": x}, ["eager-cpu", ONNXRUNTIME])
    assert [(n.executor, n.status) for n in report.nodes] == [("onnxruntime", NOT_RUN), ("eager-cpu", KEPT)]

    def change(op: str, answer: dict[str, np.ndarray], values: Arrays) -> None:
        answer["y0"] = (answer["y0"].astype(np.float64) * 1.2).astype(answer["y0"].dtype)

    assert agree(Program(graph), {"x": x}, [faulty(change)]).broken is not None
