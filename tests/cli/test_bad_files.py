"""`torchlean verify` on files that it must refuse: one error, the right exit code, no verdict, nothing written."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

WEIGHTS = {"w": np.eye(2, dtype=np.float32), "b": np.zeros(2, np.float32)}
GEMM = (("Gemm", ["x", "w", "b"], "y"),)
BAD, UNSUPPORTED = 2, 3
HOLDS = "(assert (>= Y_0 100.0))"


def model(
    nodes: Any = GEMM,
    weights: dict[str, np.ndarray] = WEIGHTS,
    shape: tuple[int | str, ...] = (1, 2),
    inputs: tuple[str, ...] = ("x",),
    opset: int = 13,
) -> onnx.ModelProto:
    made = [helper.make_node(op, ins, [out], name=f"{op}_{i}") for i, (op, ins, out) in enumerate(nodes)]
    graph = helper.make_graph(
        made,
        "g",
        [helper.make_tensor_value_info(i, TensorProto.FLOAT, list(shape)) for i in inputs],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(a, n) for n, a in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


GOOD = model().SerializeToString()
NAN = {**WEIGHTS, "w": np.full((2, 2), np.nan, np.float32)}
MODELS: dict[str, tuple[bytes | None, int, str]] = {
    "missing": (None, BAD, "does not exist"),
    "empty": (b"", BAD, "empty"),
    "truncated": (GOOD[: len(GOOD) // 2], BAD, "truncated"),
    "without its last byte": (GOOD[:-1], BAD, "truncated"),
    "truncated gzip": (gzip.compress(GOOD)[:-9], BAD, "truncated"),
    "text": (b"hello, this is text\n" * 9, BAD, "not an ONNX model"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(99), BAD, "not an ONNX model"),
    "no opset": (model(opset=13).SerializeToString().replace(b"\x42\x04\x0a\x00\x10\x0d", b""), BAD, "opset"),
    "NaN weights": (model(weights=NAN).SerializeToString(), BAD, "finite"),
    "shapes that do not fit": (model(shape=(1, 3)).SerializeToString(), BAD, "shapes do not fit"),
    "a symbolic inner axis": (model([("Relu", ["x"], "y")], {}, (1, "n")).SerializeToString(), UNSUPPORTED, "dynamic"),
    "two inputs": (
        model([("Add", ["x", "z"], "y")], {}, inputs=("x", "z")).SerializeToString(), UNSUPPORTED, "2 inputs"),
    "an unsupported op": (model([("Atan", ["x"], "y")], {}).SerializeToString(), UNSUPPORTED, "Atan_0"),
    "a future opset": (model(opset=99).SerializeToString(), UNSUPPORTED, "opset 7 to"),
}  # fmt: skip


@pytest.mark.parametrize("title", MODELS)
def test_models(title: str, folder: Path, run: Callable[..., Any]) -> None:
    data, code, word = MODELS[title]
    if data is not None:
        Path("bad.onnx").write_bytes(data)
    before = sorted(folder.iterdir())
    run("verify", "bad.onnx", "holds.vnnlib", "--certificate", "proof").fails(code, word, "bad.onnx")
    assert sorted(folder.iterdir()) == before


def test_external_data(folder: Path, run: Callable[..., Any]) -> None:
    onnx.save(model(), "bad.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    run("verify", "bad.onnx", "holds.vnnlib").fails(UNSUPPORTED, "external data", "bad.onnx, tensor 'w'")


def test_a_symbolic_batch_axis_is_one(folder: Path, run: Callable[..., Any]) -> None:
    Path("batch.onnx").write_bytes(model(shape=("N", 2)).SerializeToString())
    assert run("verify", "batch.onnx", "holds.vnnlib").out.startswith("unsat")


def test_a_directory_is_no_file(folder: Path, run: Callable[..., Any]) -> None:
    run("verify", folder, "holds.vnnlib").fails(BAD, "a directory")


DECLARED = "(declare-const X_0 Real)\n(declare-const X_1 Real)\n"
PROPERTIES: dict[str, tuple[Callable[[Any], str | bytes | None], int, str]] = {
    "missing": (lambda claim: None, BAD, "does not exist"),
    "empty": (lambda claim: "", BAD, "empty"),
    "blank": (lambda claim: "\n \n", BAD, "X variables"),
    "truncated": (lambda claim: claim(2, 2, HOLDS)[:-9], BAD, "ends inside a parenthesis"),
    "binary": (lambda claim: bytes(range(256)), BAD, "not text"),
    "prose": (lambda claim: "hello there", BAD, "hello"),
    "too many inputs": (lambda claim: claim(3, 2, HOLDS), BAD, "3 X and 2 Y"),
    "too few outputs": (lambda claim: claim(2, 1, HOLDS), BAD, "2 X and 1 Y"),
    "lo > hi": (lambda claim: claim(2, 2, HOLDS, low="2.0"), BAD, "2 > 1"),
    "no inputs": (lambda claim: claim(0, 2, HOLDS), BAD, "X variables"),
    "no outputs": (lambda claim: claim(2, 0, "(assert (>= X_0 0.0))"), BAD, "Y variables"),
    "nothing about outputs": (lambda claim: claim(2, 2), BAD, "outputs"),
    "an unbounded input": (lambda claim: claim(2, 2, HOLDS).replace("(assert (<= X_1 1.0))", ""), BAD, "X_1"),
    "a number too large": (lambda claim: claim(2, 2, HOLDS, high="1" + "0" * 99), BAD, "too large"),
    "a product of outputs": (
        lambda claim: claim(2, 2, "(assert (>= (* Y_0 Y_1) 1.0))"), UNSUPPORTED, "product of two variables"),
    "nested too deeply": (
        lambda claim: claim(2, 2, f"(assert {'(not ' * 99}(>= Y_0 1.0){')' * 99})"), UNSUPPORTED, "nested"),
    "a huge exponent": (lambda claim: claim(2, 2, "(assert (>= Y_0 1e9999))"), BAD, "1e9999"),
}  # fmt: skip


@pytest.mark.parametrize("title", PROPERTIES)
def test_properties(title: str, folder: Path, run: Callable[..., Any], make: Any) -> None:
    write, code, word = PROPERTIES[title]
    content = write(make.claim)
    if content is not None:
        Path("bad.vnnlib").write_bytes(content if isinstance(content, bytes) else content.encode())
    before = sorted(folder.iterdir())
    run("verify", "net.onnx", "bad.vnnlib", "--certificate", "proof").fails(code, word)
    assert sorted(folder.iterdir()) == before


PROGRAMS: dict[str, bytes | None] = {
    "missing": None,
    "empty": b"",
    "text": b"hello\n",
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(99),
}


@pytest.mark.parametrize("command", ["inspect", "meanings", "agree", "export"])
@pytest.mark.parametrize("title", PROGRAMS)
def test_programs(command: str, title: str, folder: Path, run: Callable[..., Any]) -> None:
    data = PROGRAMS[title]
    if data is not None:
        Path("bad").write_bytes(data)
    before = sorted(folder.iterdir())
    run(command, "bad", *(["out.onnx"] if command == "export" else [])).fails(BAD, "bad")
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("part", ["program.json", "program.safetensors"])
def test_a_truncated_program(part: str, folder: Path, run: Callable[..., Any], make: Any) -> None:
    make.network().save("program")
    data = Path(part).read_bytes()
    for size in (0, 1, 7, 8, 40, len(data) // 2, len(data.rstrip()) - 1):
        Path(part).write_bytes(data[:size])
        run("inspect", "program").fails(BAD, "program")
    Path(part).unlink()
    run("inspect", "program").fails(BAD, part)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"1,2\n", "x.npy"),
        (b"\x93NUMPY\x01\x00", "x.npy"),
        ("wrong shape", "f32[batch, 2]"),
        ("objects", "x.npy"),
        ("nan", "NaN is not a real number"),
    ],
)
def test_arrays(content: bytes | str, word: str, folder: Path, run: Callable[..., Any]) -> None:
    if isinstance(content, bytes):
        Path("x.npy").write_bytes(content)
    elif content == "objects":
        np.save("x.npy", np.array([{}], object), allow_pickle=True)
    else:
        np.save("x.npy", np.zeros((1, 3), np.float32) if content == "wrong shape" else np.full((1, 2), np.nan))
    run("meanings", "net.onnx", "--input", "x.npy").fails(BAD, word)
