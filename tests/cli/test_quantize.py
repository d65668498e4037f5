"""torchlean quantize: sizes, files, the bound; and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from torchlean.cli.quantize_command import _up
from torchlean.io.onnx import read_onnx
from torchlean.run.program import Program

QUANTIZE = ("quantize", "net.onnx")


@pytest.fixture(autouse=True)
def data(folder: Path) -> None:
    rng = np.random.default_rng(0)
    np.save("many.npy", rng.uniform(-1, 1, (40, 2)))
    np.save("one.npy", np.float32([[0.25, -0.5]]))
    np.save("empty.npy", np.ones((0, 2), np.float32))
    np.save("nan.npy", np.full((3, 2), np.nan, np.float32))


def test_it_writes_and_says_how_far(run: Callable[..., Any]) -> None:
    words = ("--activations", "int8", "--calibration", "many.npy", "--region", "one.npy", "--radius", "0.05")
    ran = run(*QUANTIZE, *words, "--out", "q.onnx", "--report")
    assert ran.code == 0, ran.err
    first, second, third, fourth = ran.out.splitlines()[:4]
    assert first == "weights int8, activations int8" and second.startswith("parameters  88 bytes -> ")
    bound = float(third.split()[3])
    assert fourth == "written     q.onnx" and "w0.codes" in ran.out and "dequantize" in ran.out
    program, made = read_onnx("net.onnx"), read_onnx("q.onnx")
    x = (np.float32([0.25, -0.5]) + np.random.default_rng(1).uniform(-0.0499, 0.0499, (300, 2))).astype(np.float32)
    worst = np.abs(program(x).astype(np.float64) - made(x)).max()
    assert 0 < worst <= bound < 1


def test_json_and_a_program_file(run: Callable[..., Any]) -> None:
    ran = run(*QUANTIZE, "--weights", "f8e4m3", "--overflow", "saturate", "--region", "one.npy", "--out", "q", "--json")
    answer = json.loads(ran.out)
    assert answer["before"]["bytes"] == 88 and answer["after"]["bytes"] == 88 - 3 * 16
    assert answer["semantics"] == "float32" and 0 < answer["difference"] < 1
    assert {r["name"]: r["type"] for r in answer["parameters"]}["w0"].startswith("f8e4m3")
    assert Program.load("q").parameters["w0"].dtype.name == "float8_e4m3fn"


def test_four_bits_are_counted_as_four(run: Callable[..., Any]) -> None:
    ran = run(*QUANTIZE, "--weights", "int4", "--per-tensor")
    assert "with four bits a code" in ran.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--weights", "int3"), "int3"),
        (("--weights", "bf16"), "saturate or ieee"),
        (("--activations", "int8"), "calibration_data"),
        (("--activations", "int8", "--calibration", "empty.npy"), "nothing to calibrate"),
        (("--activations", "int8", "--calibration", "nan.npy"), "finite"),
        (("--activations", "int8", "--calibration", "absent.npy"), "absent.npy"),
        (("--radius", "0.1"), "--region"),
        (("--region", "one.npy", "--radius", "-1"), "--radius"),
        (("--region", "one.npy", "--radius", "nan"), "--radius"),
        (("--region", "nan.npy"), "finite"),
        (("--weights", "none", "--weights", "int8"), "given twice"),
        (("--out",), "--out"),
    ],
)
def test_what_is_refused(words: tuple[str, ...], said: str, run: Callable[..., Any], folder: Path) -> None:
    before = sorted(folder.iterdir())
    run(*QUANTIZE, *words).fails(2, said)
    assert sorted(folder.iterdir()) == before


def test_what_is_printed_is_not_below_what_was_proved() -> None:
    for value in np.random.default_rng(0).uniform(0, 1, 500) * 10.0 ** np.arange(-250, 250):
        assert value <= float(_up(float(value))) <= value * 1.0011
