"""`torchlean agree`: what it prints, its exit codes, and bad input."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from torchlean import ops
from torchlean.cli import executors
from torchlean.ir import f32, i64, trace
from torchlean.run.execute import EAGER_CPU
from torchlean.run.program import Program

LABELS = [
    "zeros", "standard normal", "normal x 1e3", "normal x 1e-40",
    "signed zeros and subnormals", "largest numbers", "infinities", "NaN",
]  # fmt: skip
Run = Callable[..., Any]


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """eager-cpu's relu is off by one ulp."""

    def run(graph: Any, values: Any, observe: Any) -> dict[str, np.ndarray]:
        answer = EAGER_CPU.run(graph, values, observe)
        if graph.nodes[-1].op == "relu":
            answer = {n: np.nextafter(v, np.float32(9), dtype=np.float32) for n, v in answer.items()}
        return answer

    monkeypatch.setitem(executors.ALL, "eager-cpu", replace(EAGER_CPU, run=run))


def test_kept_promises_exit_with_0(folder: Path, run: Run) -> None:
    ran = run("agree", "net.onnx", "--on", "reference,eager-cpu,onnxruntime", "--batch-size", "2")
    assert ran.code == 0 and ran.out.count("every promise is kept") == len(LABELS) and ran.err == ""
    assert [line.removeprefix("inputs: ") for line in ran.out.splitlines() if line.startswith("inputs")] == LABELS
    found = json.loads(run("agree", "net.onnx", "--json").out)["results"]
    assert [r["inputs"] for r in found] == LABELS
    assert all(r["kept"] and r["broken"] is None and len(r["nodes"]) == 3 for r in found)


def test_a_broken_promise_exits_with_1_and_names_the_first_node(folder: Path, run: Run, broken: None) -> None:
    ran = run("agree", "net.onnx")
    assert ran.code == 1 and "BROKEN" in ran.out
    said = [line for line in ran.out.splitlines() if "breaks the promise of eager-cpu" in line]
    assert said and all("relu" in line and "in place of" in line for line in said)
    ran = run("agree", "net.onnx", "--json")
    first = json.loads(ran.out)["results"][1]["broken"]
    assert ran.code == 1 and (first["op"], first["executor"], first["ulps"]) == ("relu", "eager-cpu", 1)


def test_json_holds_no_infinity(folder: Path, run: Run, broken: None) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(word)

    json.loads(run("agree", "net.onnx", "--json").out, parse_constant=refuse)


def test_a_node_that_cannot_run_exits_with_3(folder: Path, run: Run) -> None:
    def model(g: Any, x: Any) -> Any:
        return g.scatter_add(x, g.constant(np.arange(3)), axis=-1, size=4)

    Program(trace(ops.ALL, model, x=f32[2, 3])).save("scatter.json")
    ran = run("agree", "scatter.json", "--on", "eager-cpu,onnxruntime")
    assert ran.code == 3 and "1 could not be run (scatter_add on onnxruntime)" in ran.out
    assert run("agree", "scatter.json", "--on", "eager-cpu").code == 0


def test_an_absent_device_or_package_exits_with_3(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    if not torch.cuda.is_available():
        run("agree", "net.onnx", "--on", "eager-cpu,eager-cuda").fails(3, "no CUDA device")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    run("agree", "net.onnx", "--on", "onnxruntime").fails(3, "onnxruntime is not installed", "pip install")


def test_inputs_from_a_file(folder: Path, run: Run) -> None:
    np.save("x.npy", np.ones((3, 2), np.float32))
    ran = run("agree", "net.onnx", "--input", "x.npy")
    assert ran.code == 0 and ran.out.startswith("inputs: x.npy") and ran.out.count("inputs:") == 1


def test_integer_inputs_are_indices_that_exist(folder: Path, run: Run) -> None:
    graph = trace(ops.ALL, lambda g, x, i: g.gather(x, i, axis=-2), x=f32["n", 3], i=i64["n"])
    Program(graph).save("gather.json")
    assert run("agree", "gather.json", "--on", "eager-cpu,onnxruntime").code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("net.onnx", "--on", "abacus"), "'abacus'"),
        (("net.onnx", "--on", ""), "''"),
        (("net.onnx", "--on", "eager-cpu,"), "''"),
        (("net.onnx", "--on", "reference"), "at least one executor besides the reference"),
        (("net.onnx", "--on", "eager-cpu,eager-cpu"), "each named once"),
        (("--on", "eager-cpu"), "no program is named"),
        (("absent.onnx",), "absent.onnx"),
        (("net.onnx", "--input", "absent.npy"), "absent.npy"),
        (("net.onnx", "--batch-size", "0"), "--batch-size"),
    ],
)
def test_bad_input_is_one_error(folder: Path, run: Run, words: tuple[str, ...], said: str) -> None:
    run("agree", *words).fails(2, said)


def test_promises_are_printed(run: Run) -> None:
    text = run("agree", "--promises")
    assert text.code == 0 and "tolerances-1" in text.out and "Winograd" in text.out and "2^-20" in text.out
    found = json.loads(run("agree", "--promises", "--json").out)
    assert [e["name"] for e in found["executors"]] == ["reference", "eager-cpu", "eager-cuda", "onnxruntime"]
    kinds = {(r["op"], r["executor"]): r["promise"] for r in found["ops"]}
    assert kinds["conv", "eager-cuda"] == "standard" and kinds["relu", "onnxruntime"] == "exact"
    assert kinds["scatter_add", "onnxruntime"] == "none" and len(kinds) == 4 * len({op for op, _ in kinds})
    log = next(t for t in found["tolerances"] if t["function"] == "log")
    assert (log["a"], log["r"], log["lo"]) == ("2^-126", "2^-20", "2^-126")
