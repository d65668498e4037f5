"""Small ONNX models, op by op: what is read is what onnxruntime computes; the rest is refused with a reason."""

from __future__ import annotations

import gzip
import random
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from torchlean import ops
from torchlean.errors import DataError, FileError, GraphError, ShapeError, TorchLeanError, Unsupported
from torchlean.io.onnx import read_onnx, write_onnx
from torchlean.ir.lint import lint
from torchlean.meaning import Float
from torchlean.meaning.evaluate import evaluate
from torchlean.passes import specialise
from torchlean.run.program import Program, sizes_of

F, I = TensorProto.FLOAT, TensorProto.INT64
RNG = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    """Small integers: every product and sum is exact, so another order gives the same bits."""
    return RNG.integers(-4, 5, shape).astype(np.float32)


def build(
    nodes: Sequence[Any], x: Sequence[Any], arrays: dict[str, Any] | None = None, opset: int = 13, **more: Any
) -> bytes:
    """A model with the input `x` and the output `y`, both float32, and these initializers."""
    initializers = [numpy_helper.from_array(np.asarray(v), k) for k, v in (arrays or {}).items()]
    inputs = [helper.make_tensor_value_info("x", F, list(x)), *more.get("inputs", [])]
    outputs = more.get("outputs", [onnx.ValueInfoProto(name="y")])
    graph = helper.make_graph(list(nodes), "g", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=more.get("ir", 8))
    raw: bytes = model.SerializeToString()
    return raw


def node(op: str, inputs: str, **attributes: Any) -> Any:
    """One node from the comma-separated inputs to `y`, or to the name after ` -> `."""
    left, _, right = inputs.partition("->")
    names = [n.strip() for n in left.split(",")] if left.strip() else []
    outputs = (right.strip() or "y").split(",")
    return helper.make_node(op, names, outputs, name=f"{op}_{outputs[0]}", **attributes)


def run(program: Program, values: dict[str, np.ndarray]) -> list[np.ndarray]:
    graph = specialise(program.graph, **sizes_of(program.graph, values)) if program.graph.symbols() else program.graph
    N = Float()
    arrays = {**program.parameters, **values}
    return [np.asarray(v) for v in evaluate(graph, N, {k: N.constant(v) for k, v in arrays.items()}).values()]


def same_as_runtime(raw: bytes, shape: tuple[int, ...]) -> Program:
    """Reads `raw`; the reference, onnxruntime and the model written again agree bit for bit on small integers."""
    program, x = read_onnx(raw), floats(*shape)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    wanted = onnxruntime.InferenceSession(raw, options).run(None, {"x": x})
    lint(program.graph, ops.ALL)
    found = run(program, {"x": x})
    again = run(read_onnx(write_onnx(program)), {"x": x})
    for a, b, c in zip(found, wanted, again, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
    return program


W, B, C = floats(3, 4), floats(3), floats(2, 3)
IMAGE = (2, 2, 6, 5)
K = floats(4, 2, 3, 2)

MODELS: dict[str, tuple[bytes, tuple[int, ...]]] = {
    "Gemm": (build([node("Gemm", "x,w,b", transB=1)], (2, 4), {"w": W, "b": B}), (2, 4)),
    "Gemm without bias, weight [k, n]": (build([node("Gemm", "x,w")], (2, 4), {"w": W.T.copy()}), (2, 4)),
    "Gemm with transA, alpha, beta": (
        build([node("Gemm", "x,w,b", transA=1, transB=1, alpha=0.5, beta=2.0)], (4, 2), {"w": W, "b": B}),
        (4, 2),
    ),
    "Gemm with beta 0": (build([node("Gemm", "x,w,b", transB=1, beta=0.0)], (2, 4), {"w": W, "b": B}), (2, 4)),
    "Gemm with a bias [1, n]": (build([node("Gemm", "x,w,b", transB=1)], (2, 4), {"w": W, "b": B[None]}), (2, 4)),
    "Gemm with a bias [m, n]": (build([node("Gemm", "x,w,b", transB=1)], (2, 4), {"w": W, "b": C}), (2, 4)),
    "Gemm with a bias [m, 1]": (build([node("Gemm", "x,w,b", transB=1)], (2, 4), {"w": W, "b": C[:, :1]}), (2, 4)),
    "Gemm with a scalar bias": (build([node("Gemm", "x,w,b", transB=1)], (2, 4), {"w": W, "b": B[0]}), (2, 4)),
    "Gemm of constants first": (build([node("Gemm", "w,x,b")], (4, 2), {"w": W, "b": floats(2)}), (4, 2)),
    "MatMul from the left": (build([node("MatMul", "w,x")], (4, 2), {"w": W}), (4, 2)),
    "MatMul of a vector": (build([node("MatMul", "x,w")], (4,), {"w": W.T.copy()}), (4,)),
    "MatMul by a vector": (build([node("MatMul", "x,w")], (2, 3, 4), {"w": W[0]}), (2, 3, 4)),
    "MatMul of vectors": (build([node("MatMul", "x,w")], (4,), {"w": W[0]}), (4,)),
    "MatMul, broadcast leading axes": (
        build([node("MatMul", "x,w")], (5, 1, 2, 4), {"w": floats(3, 4, 2)}),
        (5, 1, 2, 4),
    ),
    "Add, ranks differ and 1-axes": (build([node("Add", "x,w")], (2, 1, 3), {"w": floats(4, 1)}), (2, 1, 3)),
    "Mul with a scalar of shape [1]": (build([node("Mul", "x,w")], (2, 3), {"w": floats(1)}), (2, 3)),
    "Max of three": (build([node("Max", "x,a,b")], (2, 3), {"a": floats(3), "b": floats(2, 1)}), (2, 3)),
    "Sum of three": (build([node("Sum", "x,a,x")], (2, 3), {"a": floats(3)}), (2, 3)),
    "Min of one": (build([node("Min", "x")], (2, 3)), (2, 3)),
    "Where on Greater": (
        build([node("Greater", "x,z -> c"), node("Where", "c,x,w")], (2, 3), {"z": np.float32(0), "w": floats(3)}),
        (2, 3),
    ),
    "Where on GreaterOrEqual": (
        build(
            [node("GreaterOrEqual", "x,z -> c"), node("Where", "c,w,x")],
            (2, 3),
            {"z": np.float32(1), "w": floats(2, 1)},
        ),
        (2, 3),
    ),
    "Pow 2": (build([node("Pow", "x,e")], (2, 3), {"e": np.float32(2)}), (2, 3)),
    "Clip": (build([node("Clip", "x,a,b")], (2, 3), {"a": np.float32(-1), "b": np.float32(2)}), (2, 3)),
    "Clip above": (build([node("Clip", "x,,b")], (2, 3), {"b": np.float32(2)}), (2, 3)),
    "Clip by attributes": (build([node("Clip", "x", min=-1.0, max=2.0)], (2, 3), opset=10), (2, 3)),
    "LeakyRelu": (build([node("LeakyRelu", "x", alpha=0.25)], (2, 3)), (2, 3)),
    "Conv with uneven padding": (
        build(
            [node("Conv", "x,k,b", pads=[1, 0, 2, 1], strides=[2, 1], dilations=[1, 2])],
            IMAGE,
            {"k": K, "b": floats(4)},
        ),
        IMAGE,
    ),
    "Conv in groups": (build([node("Conv", "x,k", group=2)], IMAGE, {"k": floats(4, 1, 2, 2)}), IMAGE),
    "Conv SAME_UPPER": (build([node("Conv", "x,k", auto_pad="SAME_UPPER", strides=[2, 2])], IMAGE, {"k": K}), IMAGE),
    "Conv SAME_LOWER": (build([node("Conv", "x,k", auto_pad="SAME_LOWER")], IMAGE, {"k": K}), IMAGE),
    "Conv VALID": (build([node("Conv", "x,k", auto_pad="VALID")], IMAGE, {"k": K}), IMAGE),
    "Conv with one axis": (build([node("Conv", "x,k", pads=[1, 1])], (2, 2, 5), {"k": floats(3, 2, 3)}), (2, 2, 5)),
    "ConvTranspose": (
        build(
            [node("ConvTranspose", "x,k,b", strides=[2, 2], pads=[1, 0, 0, 1], output_padding=[1, 0])],
            IMAGE,
            {"k": floats(2, 3, 3, 2), "b": floats(3)},
        ),
        IMAGE,
    ),
    "MaxPool with padding": (
        build([node("MaxPool", "x", kernel_shape=[3, 2], pads=[1, 0, 0, 1], strides=[2, 2])], IMAGE),
        IMAGE,
    ),
    "MaxPool, ceil_mode without effect": (
        build([node("MaxPool", "x", kernel_shape=[2, 1], strides=[2, 1], ceil_mode=1)], IMAGE),
        IMAGE,
    ),
    "AveragePool": (build([node("AveragePool", "x", kernel_shape=[2, 2])], IMAGE), IMAGE),
    "AveragePool, padding counted": (
        build([node("AveragePool", "x", kernel_shape=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1)], IMAGE),
        IMAGE,
    ),
    "Reshape with 0 and -1": (
        build([node("Reshape", "x,s")], ("n", 3, 4), {"s": np.array([0, -1, 2], np.int64)}),
        (2, 3, 4),
    ),
    "Reshape by computed shape": (
        build(
            [
                node("Shape", "x -> s"),
                node("Gather", "s,zero -> n"),
                node("Unsqueeze", "n,axes -> n1"),
                node("Concat", "n1,minus -> t", axis=0),
                node("Reshape", "x,t"),
            ],
            ("n", 3, 4),
            {"zero": np.array(0, np.int64), "axes": np.array([0], np.int64), "minus": np.array([-1], np.int64)},
        ),
        (2, 3, 4),
    ),
    "Flatten axis 0": (build([node("Flatten", "x", axis=0)], (2, 3, 4)), (2, 3, 4)),
    "Flatten axis 2": (build([node("Flatten", "x", axis=2)], ("n", 3, 4)), (2, 3, 4)),
    "Flatten axis -1": (build([node("Flatten", "x", axis=-1)], (2, 3, 4)), (2, 3, 4)),
    "Transpose": (build([node("Transpose", "x", perm=[0, 2, 1])], (2, 3, 4)), (2, 3, 4)),
    "Transpose by default": (build([node("Transpose", "x")], (2, 3, 4)), (2, 3, 4)),
    "Squeeze": (build([node("Squeeze", "x,a")], (2, 1, 4), {"a": np.array([1], np.int64)}), (2, 1, 4)),
    "Squeeze by attribute": (build([node("Squeeze", "x", axes=[-2])], (2, 1, 4), opset=11), (2, 1, 4)),
    "Squeeze all": (build([node("Squeeze", "x")], (1, 3, 1)), (1, 3, 1)),
    "Unsqueeze": (build([node("Unsqueeze", "x,a")], (2, 3), {"a": np.array([0, -1], np.int64)}), (2, 3)),
    "Expand": (build([node("Expand", "x,s")], (2, 1), {"s": np.array([3, 1, 4], np.int64)}), (2, 1)),
    "ConstantOfShape": (
        build(
            [
                node("Shape", "x -> s"),
                node("ConstantOfShape", "s -> o", value=helper.make_tensor("v", F, [1], [2.0])),
                node("Mul", "x,o"),
            ],
            ("n", 3),
        ),
        (2, 3),
    ),
    "Slice": (
        build(
            [node("Slice", "x,s,e,a,t")],
            (2, 7),
            {
                "s": np.array([-6], np.int64),
                "e": np.array([2**40], np.int64),
                "a": np.array([1], np.int64),
                "t": np.array([2], np.int64),
            },
        ),
        (2, 7),
    ),
    "Slice by attributes": (build([node("Slice", "x", starts=[1], ends=[-1], axes=[1])], ("n", 5), opset=9), (2, 5)),
    "Slice to nothing": (build([node("Slice", "x", starts=[3], ends=[1], axes=[1])], (2, 5), opset=9), (2, 5)),
    "Split": (
        build(
            [node("Split", "x,s -> p,q", axis=1), node("Concat", "q,p", axis=1)],
            (2, 5),
            {"s": np.array([2, 3], np.int64)},
        ),
        (2, 5),
    ),
    "Gather with negative indices": (
        build([node("Gather", "x,i", axis=1)], (2, 5), {"i": np.array([[0, -1]], np.int64)}),
        (2, 5),
    ),
    "Gather by a scalar": (build([node("Gather", "x,i", axis=1)], (2, 5), {"i": np.array(3, np.int64)}), (2, 5)),
    "Pad": (build([node("Pad", "x,p")], (2, 3), {"p": np.array([0, 1, 2, 0], np.int64)}), (2, 3)),
    "Pad with a value": (
        build([node("Pad", "x,p,v")], (2, 3), {"p": np.array([0, 1, 2, 0], np.int64), "v": np.float32(7)}),
        (2, 3),
    ),
    "Pad by attributes": (build([node("Pad", "x", pads=[0, 1, 2, 0], value=3.0)], (2, 3), opset=10), (2, 3)),
    "ReduceSum over all": (build([node("ReduceSum", "x")], (2, 3)), (2, 3)),
    "ReduceSum by attribute": (build([node("ReduceSum", "x", axes=[1], keepdims=0)], (2, 3), opset=11), (2, 3)),
    "ReduceMax": (build([node("ReduceMax", "x", axes=[-1])], (2, 3)), (2, 3)),
    "ReduceMean": (build([node("ReduceMean", "x", axes=[1], keepdims=0)], (2, 4)), (2, 4)),
    "GlobalAveragePool": (build([node("GlobalAveragePool", "x")], (1, 2, 2, 4)), (1, 2, 2, 4)),
    "GlobalMaxPool": (build([node("GlobalMaxPool", "x")], IMAGE), IMAGE),
    "ArgMax": (build([node("ArgMax", "x", axis=1)], (2, 5)), (2, 5)),
    "Dropout before opset 12": (build([node("Dropout", "x", ratio=0.5)], (2, 3), opset=10), (2, 3)),
    "Dropout at inference": (
        build([node("Dropout", "x,r,t")], (2, 3), {"r": np.float32(0.5), "t": np.array(False)}),
        (2, 3),
    ),
    "Identity to the output": (build([node("Identity", "x")], (2, 3)), (2, 3)),
    "Cast and back": (build([node("Cast", "x -> d", to=TensorProto.DOUBLE), node("Cast", "d", to=F)], (2, 3)), (2, 3)),
    "Constant": (
        build([node("Constant", "-> c", value=numpy_helper.from_array(floats(3))), node("Add", "x,c")], (2, 3)),
        (2, 3),
    ),
    "Constant by value_float": (build([node("Constant", "-> c", value_float=1.5), node("Mul", "x,c")], (2, 3)), (2, 3)),
    "Softmax before opset 13": (
        build([node("Sub", "x,x -> z"), node("Softmax", "z", axis=1)], (2, 2, 4), opset=11),
        (2, 2, 4),
    ),
    "Softmax": (build([node("Sub", "x,x -> z"), node("Softmax", "z", axis=1)], (2, 2, 4)), (2, 2, 4)),
    "an output that is an initializer": (
        build(
            [node("Relu", "x -> z")],
            (2, 3),
            {"y": floats(2)},
            outputs=[onnx.ValueInfoProto(name="z"), onnx.ValueInfoProto(name="y")],
        ),
        (2, 3),
    ),
    "a dead node of an unknown op": (
        build([node("Relu", "x"), node("Foo", "x -> unused", domain="my")], (2, 3)),
        (2, 3),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_it_means_what_onnxruntime_computes(name: str) -> None:
    raw, shape = MODELS[name]
    if "dead" in name:  # onnxruntime refuses what it does not know, even where nobody reads it
        assert [n.op for n in read_onnx(raw).graph.nodes] == ["input", "relu"]
        return
    same_as_runtime(raw, shape)


RELU = node("Relu", "x")
NAN = np.array([1.0, np.nan], np.float32)
EXTERNAL = onnx.TensorProto(name="w", data_type=F, dims=[2], data_location=TensorProto.EXTERNAL)
EXTERNAL.external_data.add(key="location", value="weights.bin")


def external() -> bytes:
    model = onnx.load_from_string(build([node("Add", "x,w")], (2,)))
    model.graph.initializer.append(EXTERNAL)
    raw: bytes = model.SerializeToString()
    return raw


def typed(name: str, kind: int, shape: Any) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


REFUSED: dict[str, tuple[bytes, type[TorchLeanError], str]] = {
    "no ONNX file": (b"this is some text, not a model", FileError, "model"),
    "a truncated file": (build([RELU], (2, 3))[:-7], FileError, "truncated"),
    "an unknown op": (build([node("Foo", "x", domain="my")], (2, 3)), Unsupported, "node Foo_y .Foo."),
    "an opset that is too old": (build([RELU], (2, 3), opset=6), Unsupported, "opset 7 to"),
    "an opset that is too new": (build([RELU], (2, 3), opset=99), Unsupported, "opset 7 to"),
    "an unknown attribute": (build([node("Relu", "x", slope=1.0)], (2, 3)), Unsupported, "slope"),
    "an attribute of another kind": (build([node("Flatten", "x", axis=1.0)], (2, 3)), FileError, "attribute axis"),
    "a missing attribute": (build([node("Concat", "x,x")], (2, 3)), FileError, "axis"),
    "external data": (external(), Unsupported, "another file"),
    "NaN among the weights": (build([node("Add", "x,w")], (2,), {"w": NAN}), DataError, "1 NaN"),
    "NaN in a constant": (
        build([node("Constant", "-> c", value=numpy_helper.from_array(NAN)), node("Add", "x,c")], (2,)),
        DataError,
        "NaN",
    ),
    "a value that is named twice": (
        build([node("Relu", "x -> z"), node("Neg", "x -> z"), node("Add", "z,z")], (2,)),
        GraphError,
        "'z'",
    ),
    "a value that no node makes": (build([node("Add", "x,z")], (2,)), GraphError, "z"),
    "nodes out of order": (build([node("Relu", "z"), node("Neg", "x -> z")], (2,)), GraphError, "topological"),
    "an output that no node makes": (build([node("Relu", "x -> z")], (2,)), GraphError, "output y"),
    "no output": (build([RELU], (2,), outputs=[]), FileError, "no output"),
    "an output of another shape": (build([RELU], (2, 3), outputs=[typed("y", F, [2, 4])]), FileError, "2, 3"),
    "an output of another dtype": (
        build([RELU], (2,), outputs=[typed("y", TensorProto.DOUBLE, [2])]),
        FileError,
        "f32",
    ),
    "shapes that do not fit": (build([node("MatMul", "x,w")], (2, 5), {"w": W}), ShapeError, "inner axes"),
    "a shape that depends on data": (
        build([node("Cast", "x -> s", to=I), node("Reshape", "x,s")], (2,)),
        Unsupported,
        "must be known",
    ),
    "a slice of an unknown axis": (
        build([node("Slice", "x", starts=[1], ends=[3], axes=[0])], ("n", 3), opset=9),
        Unsupported,
        "unknown size",
    ),
    "a negative step": (
        build(
            [node("Slice", "x,s,e,a,t")],
            (5,),
            {"s": np.array([4]), "e": np.array([-9]), "a": np.array([0]), "t": np.array([-1])},
        ),
        Unsupported,
        "negative step",
    ),
    "an index out of range": (build([node("Gather", "x,i")], (2, 3), {"i": np.array([2])}), ShapeError, "out of range"),
    "ceil_mode that matters": (
        build([node("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)], IMAGE),
        Unsupported,
        "ceil_mode",
    ),
    "dilated pooling": (
        build([node("MaxPool", "x", kernel_shape=[2, 2], dilations=[2, 2])], IMAGE),
        Unsupported,
        "dilations",
    ),
    "negative padding": (build([node("Conv", "x,k", pads=[-1, 0, 0, 0])], IMAGE, {"k": K}), Unsupported, "negative"),
    "another kernel_shape": (
        build([node("Conv", "x,k", kernel_shape=[3, 3])], IMAGE, {"k": K}),
        ShapeError,
        "kernel_shape",
    ),
    "batch normalization in training": (
        build([node("BatchNormalization", "x,s,s,s,s", training_mode=1)], (2, 3, 4), {"s": np.ones(3, np.float32)}, 14),
        Unsupported,
        "training_mode",
    ),
    "dropout in training": (
        build([node("Dropout", "x,r,t")], (2,), {"r": np.float32(0.5), "t": np.array(True)}),
        Unsupported,
        "training",
    ),
    "a slope above 1": (build([node("LeakyRelu", "x", alpha=2.0)], (2,)), Unsupported, "alpha from 0 to 1"),
    "reflected padding": (
        build([node("Pad", "x,p", mode="reflect")], (3,), {"p": np.array([1, 1])}),
        Unsupported,
        "mode constant",
    ),
    "an input without a shape": (
        build([node("Add", "x,u")], (2,), inputs=[onnx.ValueInfoProto(name="u")]),
        Unsupported,
        "input u",
    ),
    "an input of size 0": (build([RELU], (2, 0)), Unsupported, "size 0"),
    "a dtype that programs lack": (
        build([node("Add", "x,u")], (2,), inputs=[typed("u", TensorProto.UINT16, [2])]),
        Unsupported,
        "uint16",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused(name: str) -> None:
    raw, kind, says = REFUSED[name]
    with pytest.raises(kind, match=says) as caught:
        read_onnx(raw, name="net.onnx")
    assert "net.onnx" in caught.value.where
    assert all((caught.value.expected, caught.value.got, caught.value.fix))


def test_every_unsupported_node_is_listed_at_once() -> None:
    nodes = [node("Tan", "x -> a"), node("Relu", "a -> b"), node("Foo", "b -> c", domain="my"),
             node("Pow", "x,e -> d"), node("Add", "c,d")]  # fmt: skip
    with pytest.raises(Unsupported) as caught:
        read_onnx(build(nodes, (2,), {"e": np.float32(99)}))
    assert caught.value.what.startswith("3 nodes") and caught.value.exit_code == 3
    for part in ("node Tan_a (Tan)", "node Foo_c (Foo)", "my.Foo", "node Pow_d (Pow)"):
        assert part in caught.value.got


def test_missing_empty_and_damaged_files(tmp_path: Path) -> None:
    (tmp_path / "empty.onnx").write_bytes(b"")
    packed = gzip.compress(build([RELU], (2, 3)))
    (tmp_path / "half.onnx.gz").write_bytes(packed[: len(packed) // 2])
    for name in ("absent.onnx", "empty.onnx", "half.onnx.gz", "."):
        with pytest.raises(FileError):
            read_onnx(tmp_path / name)
    (tmp_path / "whole.onnx.gz").write_bytes(packed)
    assert [n.op for n in read_onnx(tmp_path / "whole.onnx").graph.nodes] == ["input", "relu"]


def test_symbols_and_names_are_kept() -> None:
    raw = build([node("Add", "x,w")], ("batch size", None, 3), {"w": floats(3)})
    program = read_onnx(raw)
    assert str(program.input_type) == "f32[batch_size, axis1, 3]"
    assert list(program.graph.output_types) == ["y"] and list(program.parameters) == ["w"]
    assert str(read_onnx(build([RELU], (None, 3))).input_type) == "f32[batch, 3]"
    assert str(read_onnx(build([RELU], ("lambda", 3))).input_type) == "f32[lambda_, 3]"


def test_different_names_stay_different_symbols() -> None:
    inputs = [typed("u", F, ["n 1"]), typed("v", F, ["n-1"]), typed("w", F, ["n 1"])]
    program = read_onnx(build([node("Add", "u,w")], ("n_1",), inputs=inputs))
    assert [str(t) for t in program.graph.source_types("input").values()] == [
        "f32[n_1]",
        "f32[n_1_]",
        "f32[n_1__]",
        "f32[n_1_]",
    ]


def test_an_initializer_that_is_also_an_input_is_a_parameter() -> None:
    program = read_onnx(build([node("Add", "x,w")], (2,), {"w": floats(2)}, ir=3, inputs=[typed("w", F, [2])]))
    assert list(program.graph.inputs) == ["x"] and list(program.parameters) == ["w"]


def test_several_inputs_and_outputs() -> None:
    program = read_onnx(build([node("Sub", "x,u"), node("Add", "x,u -> z")], (2,), inputs=[typed("u", F, [2])],
                              outputs=[onnx.ValueInfoProto(name="y"), onnx.ValueInfoProto(name="z")]))  # fmt: skip
    assert list(program.graph.inputs) == ["x", "u"] and list(program.graph.output_types) == ["y", "z"]


def test_float_constants_are_never_folded() -> None:
    nodes = [
        node("Constant", "-> c", value=numpy_helper.from_array(floats(3))),
        node("Mul", "c,c -> d"),
        node("Add", "x,d"),
    ]
    assert [n.op for n in read_onnx(build(nodes, (2, 3))).graph.nodes] == ["input", "constant", "mul", "add"]


def test_every_node_says_where_it_came_from() -> None:
    graph = read_onnx(build([node("Gemm", "x,w")], (2, 4), {"w": W.T.copy()}), name="net.onnx").graph
    assert [n.where for n in graph.nodes] == [
        "net.onnx: input x", "net.onnx: initializer w", "net.onnx: node Gemm_y (Gemm)", "net.onnx: node Gemm_y (Gemm)",
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(10))
def test_a_damaged_file_is_read_or_refused_but_never_crashes(seed: int) -> None:
    rng = random.Random(seed)
    for raw, _ in MODELS.values():
        for _ in range(2):
            damaged = bytearray(raw)
            if rng.random() < 0.8:
                for _ in range(rng.choice((1, 2, 4))):
                    damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
            else:
                del damaged[rng.randrange(len(damaged)) :]
            with suppress(TorchLeanError):
                read_onnx(bytes(damaged))


def test_impossible_shapes_of_tensors_are_refused() -> None:
    for dims in ([0, *(1 << 30 for _ in range(3))], [1] * 80):
        model = onnx.load_from_string(build([node("Add", "x,w")], (2,)))
        model.graph.initializer.append(
            onnx.TensorProto(name="w", data_type=F, dims=dims, raw_data=b"\0" * 4 * min(dims))
        )
        with pytest.raises(FileError, match="impossible shape"):
            read_onnx(model.SerializeToString())
