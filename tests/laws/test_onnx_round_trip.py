"""Every op through ONNX: onnxruntime's result lies in the op's enclosure, and what is read back means the same."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from law_cases import CASES, SIZES, Case

from torchlean import ops
from torchlean.errors import Unsupported
from torchlean.io.onnx import read_onnx, write_onnx
from torchlean.io.onnx.exporter import OPSET
from torchlean.io.onnx.reader import LATEST
from torchlean.io.onnx.table import find_reader, readers
from torchlean.io.onnx.write_rules import WRITERS
from torchlean.ir import EXPAND, Graph, Onnx, f32, f64
from torchlean.meaning import Float, IntervalFloat, IntervalReal, Ranges
from torchlean.meaning.evaluate import evaluate
from torchlean.ops.tolerances import TOLERANCES
from torchlean.passes import specialise
from torchlean.run.program import Program

# No operator, and no definition by ops that have one.
NO_FORM = {"conv_weight_grad", "avg_pool_transpose", "scatter_add", "round_to", "log1p", "expm1", "silu"}
# Read back as the ops that ONNX spells them with, or with an attribute rounded as the node rounds it.
RESPELLED = {
    "square", "detach", "barrier", "mse", "mae", "cross_entropy", "call", "custom_vjp", "scan", "linear", "mish",
    "layer_norm", "rms_norm", "attention",
}  # fmt: skip

TABLE = {name: (entry.a, entry.r) for name, entry in TOLERANCES.items()}
each_case = pytest.mark.parametrize("case", [c for c in CASES if c.op not in NO_FORM], ids=str)


def run_float(graph: Graph, values: dict[str, np.ndarray]) -> list[np.ndarray]:
    N = Float()
    return [np.asarray(v) for v in evaluate(graph, N, {k: N.constant(v) for k, v in values.items()}).values()]


def run_onnx(raw: bytes, values: dict[str, np.ndarray]) -> list[Any]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return list(onnxruntime.InferenceSession(raw, options).run(None, values))


def static(graph: Graph) -> Graph:
    return specialise(graph, **SIZES) if graph.symbols() else graph


def enclosure(case: Case, graph: Graph, values: dict[str, np.ndarray]) -> list[Any]:
    """Ranges, or exact arrays, of every execution that `rounding` allows."""
    rounding = ops.ALL[case.op].rounding
    N: Any = IntervalFloat(TABLE) if rounding is EXPAND else IntervalReal()
    found = evaluate(graph, N, {k: N.constant(v) for k, v in values.items()})
    if not callable(rounding):
        return list(found.values())
    magnitudes = [np.abs(v.astype(np.float64)) if v.dtype.kind == "f" else v for v in values.values()]
    (ranges,) = found.values()
    size = np.maximum(np.abs(ranges.lo), np.abs(ranges.hi))
    error = rounding(tuple(magnitudes), size, **graph.nodes[graph.outputs[0][1].node].attributes)
    return [Ranges(ranges.lo - error, ranges.hi + error, ranges.nan, ranges.dtype)]


@each_case
def test_onnxruntime_lies_in_the_enclosure(case: Case) -> None:
    graph, values = case.graph(f32, symbolic=True), case.values(f32)
    answers = run_onnx(write_onnx(Program(graph)), values)
    found = enclosure(case, static(graph), values)
    assert len(answers) == len(found)
    for ranges, answer in zip(found, answers, strict=True):
        if isinstance(ranges, np.ndarray):
            assert np.array_equal(ranges, answer) and ranges.dtype == answer.dtype
        else:
            assert ranges.shape == answer.shape and ranges.dtype == answer.dtype.name
            assert bool(np.all((ranges.lo <= answer) & (answer <= ranges.hi)))


@each_case
def test_read_back_it_means_the_same(case: Case) -> None:
    graph, values = case.graph(f32, symbolic=True), case.values(f32)
    raw = write_onnx(Program(graph))
    again = read_onnx(raw)
    assert again.graph.source_types("input") == graph.source_types("input")
    assert again.graph.output_types == graph.output_types
    back = run_float(static(again.graph), {**again.parameters, **values})
    for x, y in zip(run_float(static(graph), values), back, strict=True):
        assert x.dtype == y.dtype and x.tobytes() == y.tobytes()
    written = write_onnx(again)
    assert write_onnx(read_onnx(written)) == written
    if case.op not in RESPELLED:
        assert [n.op for n in again.graph.nodes if n.inputs][-1:] == [case.op]


@pytest.mark.parametrize("case", [c for c in CASES if c.op in NO_FORM], ids=str)
def test_an_op_without_a_form_is_refused_by_name(case: Case) -> None:
    with pytest.raises(Unsupported, match=case.op):
        write_onnx(Program(case.graph(f32)))


@pytest.mark.parametrize("case", [c for c in CASES if c.op in ("conv", "softmax", "linear", "sum")], ids=str)
def test_float64_programs(case: Case) -> None:
    graph, values = case.graph(f64), case.values(f64)
    again = read_onnx(write_onnx(Program(graph)))
    for x, y in zip(run_float(graph, values), run_float(again.graph, values), strict=True):
        assert x.dtype == y.dtype == np.float64 and x.tobytes() == y.tobytes()


def test_every_record_with_an_operator_can_be_read_and_written() -> None:
    for op in ops.ALL.values():
        if isinstance(op.onnx, Onnx):
            reader = find_reader(op.onnx.name, max(OPSET, op.onnx.since))
            assert reader is not None, op.name
            assert op.onnx.since <= 20, op.name
            if op.name not in WRITERS:
                assert all(not c.attrs for c in CASES if c.op == op.name), op.name


def test_readers_cover_each_opset_once() -> None:
    for name, rules in readers().items():
        opsets = [v for r in rules for v in range(r.since, r.until + 1)]
        last = {"Upsample": 9}.get(name, LATEST)  # what later opsets dropped
        assert opsets == list(range(rules[0].since, last + 1)), name


def test_attributes_are_those_of_the_specification() -> None:
    """Each reader knows exactly the attributes that the schema of its opset has, except those named here."""
    unread = {"Constant": {"sparse_value", "value_string", "value_strings"}}
    for name, rules in readers().items():
        for rule in rules:
            for opset in {max(rule.since, 7 if name != "Range" else 11), rule.until}:
                schema = onnx.defs.get_schema(name, opset)
                assert set(rule.attributes) == set(schema.attributes) - unread.get(name, set()), (name, opset)
                assert rule.arity[1] <= max(schema.max_input, 3), (name, opset)


def test_the_same_program_gives_the_same_bytes() -> None:
    graph = CASES[-4].graph(f32, symbolic=True)
    assert write_onnx(Program(graph)) == write_onnx(Program(graph))
    assert onnx.load(io.BytesIO(write_onnx(Program(graph)))).producer_name == "torchlean"
