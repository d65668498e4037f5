"""Real networks: imported node by node, each node's float32 result in onnxruntime lies in the program's enclosure."""

import csv
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from torchlean import ops
from torchlean.io.onnx import read_onnx, write_onnx
from torchlean.io.onnx.importer import Importer
from torchlean.io.vnnlib import read_vnnlib
from torchlean.ir import Graph, Node, Tensor, Value
from torchlean.ir.lint import lint
from torchlean.meaning import IntervalFloat, IntervalReal
from torchlean.ops.tolerances import TOLERANCES
from torchlean.passes import specialise
from torchlean_check import wire

SETS = Path(__file__).resolve().parents[3] / "shared" / "vnncomp"
pytestmark = pytest.mark.skipif(not SETS.is_dir(), reason="the benchmark networks are not beside the repository")
NAMES = ("acasxu", "mnist_fc", "oval21", "sri_resnet_a", "collins_rul_cnn_2023", "cora", "tllverifybench", "malbeware",
         "safenlp", "cersyve", "vit_2023", "ml4acopf_2024", "lsnc", "cgan_2023")  # fmt: skip
INSTANCES = {
    "acasxu": 61, "mnist_fc": 60, "oval21": 1, "sri_resnet_a": 0, "collins_rul_cnn_2023": 20, "cora": 3,
    "tllverifybench": 0, "malbeware": 5, "safenlp": 3, "cersyve": 5,
    "vit_2023": 0, "ml4acopf_2024": 3, "lsnc": 0, "cgan_2023": 0,
}  # fmt: skip


def networks(name: str) -> list[Path]:
    return sorted((SETS / name / "onnx").rglob("*.onnx.gz"))


def session(raw: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(raw, options)


def with_every_value(raw: bytes) -> bytes:
    """The model with each node's results as outputs too."""
    model = onnx.load_from_string(raw)
    outputs = {o.name for o in model.graph.output}
    for node in model.graph.node:
        model.graph.output.extend(onnx.ValueInfoProto(name=n) for n in node.output if n and n not in outputs)
    return model.SerializeToString()


def instance(name: str) -> dict[str, str]:
    with (SETS / name / "instances.csv").open() as file:
        return list(csv.DictReader(file))[INSTANCES[name]]


def chosen_inputs(name: str, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Zeros, random and large numbers, and the corners of a property's region."""
    lo, hi = read_vnnlib(SETS / name / instance(name)["vnnlib"]).clauses[0].box.floats32()
    draw = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return {
        "zeros": np.zeros(shape, np.float32),
        "normal": draw,
        "subnormal": draw * np.float32(1e-40),
        "large": draw * np.float32(1e4),
        "low corner": np.broadcast_to(lo.reshape((1, *shape[1:])), shape).astype(np.float32),
        "high corner": np.broadcast_to(hi.reshape((1, *shape[1:])), shape).astype(np.float32),
    }


def enclosed(graph: Graph, values: dict[str, np.ndarray], seen: dict[Value, np.ndarray]) -> int:
    """Holds each observed value in the enclosure of its node, whose inputs are what was observed; counts them."""
    results: dict[Value, Any] = {}
    held = 0
    for number, node in enumerate(graph.nodes):
        value = Value(number)
        if node.op in ("input", "parameter"):
            results[value] = FLOAT.constant(values[node.name])
            continue
        found = promised(node, [results[v] for v in node.inputs])
        if value in seen:
            inside = (found.lo <= seen[value]) & (seen[value] <= found.hi)
            assert seen[value].shape == inside.shape and bool(np.all(inside)), graph.describe(number)
            found, held = FLOAT.constant(seen[value]), held + 1
        results[value] = found
    return held


FLOAT, REAL = IntervalFloat(), IntervalReal()


def promised(node: Node, inputs: list[Any]) -> Any:
    """What a float32 execution may give: the definition's roundings in any order; of a function from the tolerance
    table, and of normalization by any formula, the real value and what the record's `rounding` allows.
    """
    op, attrs = ops.ALL[node.op], node.attributes
    if node.op not in TOLERANCES and node.op not in ("batch_norm", "softmax"):
        return op.rule("meaning")(FLOAT, *inputs, **attrs)
    real = op.rule("meaning")(REAL, *inputs, **attrs)
    sizes = [np.maximum(np.abs(b.lo), np.abs(b.hi)) for b in [*inputs, real]]
    return FLOAT.widen(real, op.rule("rounding")(tuple(sizes[:-1]), sizes[-1], **attrs))


@pytest.mark.parametrize("name", NAMES)
def test_every_node_agrees_with_onnxruntime(name: str) -> None:
    row = instance(name)
    raw = gzip.decompress((SETS / name / f"{row['onnx']}.gz").read_bytes())
    importer = Importer(wire.parse(raw), row["onnx"], copy=True)
    program = importer.run()
    runtime = session(with_every_value(raw))
    (source,) = program.graph.inputs
    symbols = dict.fromkeys(program.graph.symbols(), 2)
    graph = specialise(program.graph, **symbols)
    shape = graph.nodes[graph.inputs[source]].type.sizes
    names = [o.name for o in runtime.get_outputs()]
    for label, x in chosen_inputs(name, shape).items():
        results = dict(zip(names, runtime.run(None, {source: x}), strict=True))
        seen = {importer.entries[n].value: y for n, y in results.items() if isinstance(importer.entries[n], Tensor)}
        held = enclosed(graph, {**program.parameters, source: x}, seen)
        assert held >= len(seen) - 1, label  # an input that a node passes on is no node
        assert all(t in results for t in program.graph.output_types), label


@pytest.mark.parametrize("name", NAMES)
def test_every_network_is_read(name: str) -> None:
    paths = networks(name)
    assert paths
    for path in paths if name != "tllverifybench" else paths[:4]:
        program = read_onnx(path)
        assert len(program.graph.inputs) == 1 and len(program.graph.outputs) == 1, path
        assert program.parameters and not program.states
        lint(program.graph, ops.ALL, allow_dead=False)


@pytest.mark.parametrize("name", NAMES)
def test_written_and_read_again_it_is_the_same_graph(name: str) -> None:
    program = read_onnx(networks(name)[0])
    raw = write_onnx(program)
    again = read_onnx(raw)
    assert again.graph == program.graph
    assert list(again.parameters) == list(program.parameters)
    assert all(again.parameters[n].tobytes() == a.tobytes() for n, a in program.parameters.items())
    assert write_onnx(again) == raw


def test_weights_keep_their_bits_and_their_names() -> None:
    path = networks("mnist_fc")[0]
    model = onnx.load_from_string(gzip.decompress(path.read_bytes()))
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    program = read_onnx(path)
    assert set(program.parameters) <= set(weights)
    assert all(a.tobytes() == weights[n].tobytes() for n, a in program.parameters.items())


def test_the_first_network_node_by_node() -> None:
    program = read_onnx(networks("acasxu")[0])
    kinds = [n.op for n in program.graph.nodes if n.op not in ("input", "parameter")]
    layer = ["matmul", "add", "relu"]
    assert kinds == ["sub", "flatten", *(layer * 6), "matmul", "add"]
    assert program.graph.nodes[-1].where.endswith("(Add)")


def test_a_symbolic_batch_is_kept() -> None:
    program = read_onnx(networks("cora")[0])
    assert str(program.input_type) == "f32[BatchSize, 784]"
    assert str(program.graph.output_types["fc_8_copy_Add"]) == "f32[BatchSize, 10]"
