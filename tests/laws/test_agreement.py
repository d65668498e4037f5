"""Every executor keeps its promise on every op, on ordinary inputs and on the ends of the number line."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from law_cases import CASES, Case

from torchlean.io.onnx.executor import ONNXRUNTIME
from torchlean.ir import DType, bf16, f16, f32, f64
from torchlean.run.agree import UNPROMISED, agree
from torchlean.run.execute import EXECUTORS
from torchlean.run.extremes import extreme_inputs
from torchlean.run.program import Program

each_case = pytest.mark.parametrize("case", CASES, ids=str)
LABELS = ("in the domain", "signed zeros and subnormals", "largest numbers", "infinities", "NaN")


def drawn(case: Case, label: str, seed: int) -> dict[str, np.ndarray]:
    """The case's own values, some of whose floats are replaced by extremes; weights of a domain keep their sign."""
    values = case.values(f32, seed)
    types = case.graph(f32).source_types("input")
    for i in case.floats:
        extreme = dict(extreme_inputs(types, seed)).get(label)
        if extreme is not None:
            name = f"x{i}"
            special = np.abs(extreme[name])
            kept = (special > 2.0**-100) & (special < 2.0**100)
            values[name] = np.where(kept, values[name], extreme[name])
    return values


def hold(case: Case, executors: list[object], label: str) -> None:
    for seed in range(2):
        report = agree(Program(case.graph(f32)), drawn(case, label, seed), executors)  # type: ignore[arg-type]
        assert report.broken is None, str(report)
        for node in report.missed:
            assert node.executor == ONNXRUNTIME.name and node.op in ONNXRUNTIME.exceptions, str(report)
        assert label != LABELS[0] or not any(n.outside for n in report.nodes), str(report)


@each_case
@pytest.mark.parametrize("label", LABELS)
def test_torch_and_onnxruntime_keep_their_promises(case: Case, label: str) -> None:
    hold(case, ["eager-cpu", ONNXRUNTIME], label)


@each_case
@pytest.mark.parametrize("dtype", [f64, f16, bf16], ids=str)
def test_other_formats_keep_their_promises(case: Case, dtype: DType) -> None:
    report = agree(Program(case.graph(dtype)), case.values(dtype), ["eager-cpu", ONNXRUNTIME])
    assert report.broken is None, str(report)
    assert all(n.executor == ONNXRUNTIME.name for n in report.missed)
    tabled = {
        "exp", "log", "log1p", "expm1", "sqrt", "tanh", "sigmoid", "erf", "sin", "cos", "softmax", "log_softmax",
        "power", "softplus", "silu", "gelu", "gelu_tanh", "elu",
    }  # fmt: skip
    assert {n.op for n in report.nodes if n.status == UNPROMISED} <= tabled | set(ONNXRUNTIME.exceptions)


@each_case
@pytest.mark.parametrize("label", LABELS)
@pytest.mark.gpu
def test_cuda_keeps_its_promise(case: Case, label: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    hold(case, ["eager-cuda"], label)


@pytest.mark.parametrize("op", ONNXRUNTIME.exceptions)
def test_what_onnxruntime_s_promise_leaves_out_it_cannot_run(op: str) -> None:
    case = next(c for c in CASES if c.op == op)
    report = agree(Program(case.graph(f32)), case.values(f32), [ONNXRUNTIME])
    assert [n.op for n in report.missed] == [op]


def test_the_reference_names_no_exception() -> None:
    assert not EXECUTORS["reference"].exceptions and EXECUTORS["reference"].exact
