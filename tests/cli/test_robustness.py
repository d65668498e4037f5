"""`torchlean robustness`: one table, one page, one object; bad input is one error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from torchlean.cli.programs import load

DATA = ("net.onnx", "data.npz", "--eps")


@pytest.fixture
def data(folder: Path) -> Path:
    """Five points with the network's own labels, and one with another."""
    x = np.random.default_rng(0).uniform(-1, 1, (6, 2)).astype(np.float32)
    y = load("net.onnx")(x).argmax(axis=1)
    y[5] = 1 - y[5]
    np.savez("data.npz", x=x, y=y)
    return folder


def test_a_table_an_object_and_a_page(data: Path, run: Callable[..., Any]) -> None:
    words = (
        *DATA,
        "0.01,2",
        "--count",
        "6",
        "--domain=-1,1",
        "--timeout",
        "30",
        "--jobs",
        "2",
        "--certificates",
        "proofs",
    )
    ran = run("robustness", *words, "--html", "page.html", "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    small, large = found["levels"]
    assert found["nominal"] == [0, 1, 2, 3, 4] and found["domain"] == ["-1.0", "1.0"]
    assert small["eps"] == "0.01" and not small["unknown"] and not large["unknown"]
    assert sorted(small["attacked"] + small["complete"]) == found["nominal"] and small["complete"]
    assert set(large["complete"]) <= set(small["complete"]) and set(small["attacked"]) <= set(large["attacked"])
    proof = next(Path("proofs").glob("*.tlcert"))
    claim = Path("proofs", proof.stem[len("0001_model_") :] + ".vnnlib")
    assert run("check", "proofs/model.onnx", claim, proof).out.startswith("valid")
    page = Path("page.html").read_text()
    assert "<svg" in page and "83.3 %" in page and "http" not in page.split("<svg")[0]


def test_the_table_says_what_it_rests_on(data: Path, run: Callable[..., Any]) -> None:
    ran = run("robustness", *DATA, "0.5,0.001", "--method", "crown", "--count", "5")
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    head = next(k for k, line in enumerate(lines) if line.split()[:2] == ["eps", "nominal"])
    assert lines[head + 1].split()[0] == "0.001" and lines[head + 2].split()[0] == "0.5"
    assert lines[head + 1].split()[-2] == "-"  # complete was not computed
    assert "not cut" in ran.out and "every float32 execution" in ran.out and "not charged; not certified" in ran.out


def test_balls_are_measured_and_small_l1_balls_are_proved(data: Path, run: Callable[..., Any]) -> None:
    ran = run("robustness", *DATA, "0.05,0.5", "--norm", "2", "--method", "crown", "--json", "--count", "2")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert found["norm"] == "2" and found["levels"][0]["crown"]
    ran = run("robustness", *DATA, "0.05", "--norm", "1", "--count", "1", "--timeout", "30", "--certificates", "proofs")
    assert ran.code == 0, ran.err
    assert "balls     |x - example|_1 <= eps" in ran.out and list(Path("proofs").glob("*.tlcert"))


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((*DATA, "-0.1"), 2, "radii"),
        (("net.onnx", "data.npz", "--eps=-0.1"), 2, "radii from 0"),
        ((*DATA, "nan"), 2, "finite decimal"),
        ((*DATA, "inf"), 2, "finite decimal"),
        ((*DATA, "1/3"), 2, "finite decimal"),
        ((*DATA, "0.1,,0.2"), 2, "finite decimal"),
        ((*DATA, "1e99999999"), 2, "finite decimal"),
        ((*DATA, "0.1", "--norm", "2"), 3, "an L2 ball"),
        ((*DATA, "0.1", "--norm", "3"), 2, "invalid choice"),
        ((*DATA, "0.1", "--domain", "1,0"), 2, "LO < HI"),
        ((*DATA, "0.1", "--domain", "0,0.25"), 2, "outside the input domain"),
        ((*DATA, "0.1", "--scale", "0"), 2, "above 0"),
        ((*DATA, "0.1", "--timeout", "0"), 2, "above 0"),
        ((*DATA, "0.1", "--count", "0"), 2, "positive int"),
        ((*DATA, "0.1", "--method", "magic"), 2, "invalid choice"),
        ((*DATA, "0.1", "--html", "none/page.html"), 2, "none/page.html"),
        (("net.onnx", "none.npz", "--eps", "0.1"), 2, "none.npz"),
        (("net.onnx", "holds.vnnlib", "--eps", "0.1"), 2, "holds.vnnlib"),
        (("none.onnx", "data.npz", "--eps", "0.1"), 2, "none.onnx"),
    ],
)
def test_bad_input_is_one_error(data: Path, run: Callable[..., Any], words: Any, code: int, said: str) -> None:
    if words[3:4] == ("-0.1",):
        words, said = (*words[:2], "--eps", "-0.1"), "--eps"
    run("robustness", *words).fails(code, said)


def test_a_damaged_file_is_refused(data: Path, run: Callable[..., Any]) -> None:
    Path("data.npz").write_bytes(Path("data.npz").read_bytes()[:60])
    run("robustness", *DATA, "0.1").fails(2, "data.npz")


def test_a_full_disk_ends_the_run(data: Path, full_disk: None, run: Callable[..., Any]) -> None:
    ran = run("robustness", *DATA, "0.001", "--count", "2")
    assert ran.code == 2 and ran.out == "" and "disk is full" in ran.err
