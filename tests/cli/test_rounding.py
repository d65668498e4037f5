"""`torchlean rounding`: the table, the certificate that torchlean-check accepts, and one clear error for bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Run = Callable[..., Any]


def test_the_table(folder: Path, run: Run) -> None:
    ran = run("rounding", "net.onnx", "--region", "x=-1:1")
    lines = ran.out.splitlines()
    assert ran.code == 0 and lines[0].split()[:3] == ["node", "op", "shape"]
    assert any("linear" in line and " y " in line for line in lines)
    one = json.loads(run("rounding", "net.onnx", "--region", "x=-1:1", "--order", "reference", "--json").out)
    each = json.loads(run("rounding", "net.onnx", "--region", "x=-1:1", "--json").out)
    small, large = (float(found["nodes"][-1]["difference"]) for found in (one, each))
    assert 0 < small < large < 1e-4


def test_a_box_around_a_point_and_a_property_file(folder: Path, run: Run) -> None:
    np.save("x.npy", np.zeros((1, 2), np.float32))
    a, b, c = (json.loads(run("rounding", "net.onnx", *words, "--json").out)["nodes"] for words in (
        ("--center", "x.npy", "--eps", "1"), ("--region", "holds.vnnlib"), ("--region", "x=-1:1")))  # fmt: skip
    assert a == b == c


@pytest.mark.parametrize("words", [
    ("--region", "x=-1:1"),
    ("--region", "holds.vnnlib"),
    ("--gradient", "--region", "x=-1:1", "target=0"),
    ("--gradient", "--batch-size", "2", "--region", "x=-1:1", "target=0:0.5"),
    ("--step", "sgd", "--region", "x=-1:1", "target=0", "learning_rate=0.01"),
    ("--step", "momentum", "--region", "x=-1:1", "target=0", "learning_rate=0.01"),
    ("--step", "adamw", "--region", "x=0.5:0.5001", "target=0", "learning_rate=0.01"),
])  # fmt: skip
def test_the_checker_accepts_the_certificate(folder: Path, run: Run, words: tuple[str, ...]) -> None:
    ran = run("rounding", "net.onnx", *words, "--certificate", "c.tlround")
    assert ran.code == 0, ran.err
    files = next(line for line in ran.out.splitlines() if line.startswith("certificate")).split()[1:]
    checked = run("check", *files)
    assert checked.code == 0 and checked.out.startswith("valid "), checked.out + checked.err


@pytest.mark.parametrize("words, said", [
    ((), "region is missing"),
    (("--region", "x=-1:1", "--center", "x.npy", "--eps", "1"), "given twice"),
    (("--center", "x.npy"), "--center with --eps"),
    (("--region", "z=-1:1"), "names each input once"),
    (("--region", "x=-1:1", "x=0:1"), "names each input once"),
    (("--region", "x"), "names each input once"),
    (("--region", "x=nan:1"), "nan"),
    (("--region", "x=-1:inf"), "inf"),
    (("--region", "x=1:-1"), "must not be empty"),
    (("--region", "x=:"), "lo[0]"),
    (("--region", "absent.vnnlib"), "absent.vnnlib"),
    (("--region", "x=-1:1", "--order", "left"), "--order"),
    (("--region", "x=-1:1", "--step", "lbfgs"), "--step"),
    (("--region", "x=-1:1", "--gradient", "--step", "sgd"), "--gradient or --step"),
    (("--region", "x=-1:1", "--gradient"), "a box for every input"),
    (("--region", "x=-1:1", "--order", "reference", "--certificate", "c"), "every order"),
])  # fmt: skip
def test_bad_input_is_one_error(folder: Path, run: Run, words: tuple[str, ...], said: str) -> None:
    np.save("x.npy", np.zeros((1, 2), np.float32))
    run("rounding", "net.onnx", *words).fails(2, said)


def test_a_center_of_nan_and_another_shape(folder: Path, run: Run) -> None:
    np.save("x.npy", np.full((1, 2), np.nan, np.float32))
    run("rounding", "net.onnx", "--center", "x.npy", "--eps", "1").fails(2, "nan")
    np.save("x.npy", np.zeros((1, 3), np.float32))
    run("rounding", "net.onnx", "--center", "x.npy", "--eps", "1").fails(2, "does not fit the input")


def test_what_the_checker_cannot_derive_writes_nothing(folder: Path, run: Run) -> None:
    run("rounding", "net.onnx", "--region", "x=-3e38:3e38", "--certificate", "c.tlround").fails(3, "may overflow")
    assert not Path("c.tlround").exists()
