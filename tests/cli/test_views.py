"""`meanings`: the same program in several arithmetics."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from torchlean.cli.columns import columns, fitted
from torchlean.io.onnx import read_onnx

HEADS = ["value", "float32", "real", "interval of real", "interval of float32"]
ACAS = Path(__file__).parents[3] / "shared/vnncomp/acasxu/onnx/ACASXU_run2a_1_1_batch_2000.onnx.gz"


def ends(text: str) -> tuple[Fraction, Fraction]:
    """The ends of a printed interval, exactly."""
    low, _, high = text.strip("[]").partition(", ")
    return Fraction(low), Fraction(high or low)


def check_rows(rows: list[dict[str, str]]) -> None:
    """Each printed interval encloses the printed float32 value, and the float one is the wider."""
    for row in rows:
        assert list(row) == HEADS
        value = Fraction(row["float32"])
        (a, b), (lo, hi) = ends(row["interval of real"]), ends(row["interval of float32"])
        assert lo <= value <= hi and lo <= a <= b <= hi, row


def test_meanings_encloses_what_it_prints(folder: Path, run: Callable[..., Any]) -> None:
    np.save("x.npy", np.array([[0.1, -0.7]]))
    ran = run("meanings", "net.onnx", "--input", "x.npy", "--json")
    found = json.loads(ran.out)
    assert ran.code == 0 and found["input"] == "x.npy" and [r["value"] for r in found["rows"]] == ["y[0]", "y[1]"]
    check_rows(found["rows"])
    y = np.asarray(read_onnx("net.onnx")(np.array([[0.1, -0.7]], np.float32))).ravel()
    assert [np.float32(r["float32"]) for r in found["rows"]] == list(y)
    few = json.loads(run("meanings", "net.onnx", "--input", "x.npy", "--json", "--digits", "3").out)
    check_rows([{**r, "float32": f"{float(r['float32']):.9f}"} for r in few["rows"]])


def test_meanings_of_every_node_and_of_a_batch(folder: Path, run: Callable[..., Any]) -> None:
    found = json.loads(run("meanings", "net.onnx", "--nodes", "--batch-size", "2", "--json").out)
    names = [r["value"] for r in found["rows"]]
    assert [n.split()[1] for n in names if n.startswith("%")] == ["linear", "relu", "linear"]
    assert names[3:] == ["y[0]", "y[1]", "y[2]", "y[3]"]
    check_rows(found["rows"])


def test_meanings_fits_the_terminal(folder: Path, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    wide = run("meanings", "net.onnx").out.splitlines()
    assert wide[0] == "net.onnx on standard normal" and [h for h in HEADS if h in wide[2]] == HEADS
    monkeypatch.setenv("COLUMNS", "80")
    narrow = run("meanings", "net.onnx").out.splitlines()
    assert max(map(len, narrow)) <= 80 and narrow[2] == "y[0]" and narrow[3].split()[0] == "float32"


def test_fitted_loses_nothing() -> None:
    rows = [{"value": "y[0]", "float32": "1.0", "real": "1"}]
    for width in (10, 100):
        assert set(" ".join(fitted(rows, width).split()).split()) >= {"y[0]", "float32", "1.0", "real", "1"}


def test_columns_align() -> None:
    assert columns(["name", "n"], [["a", "12"], ["bcdef", "3"]], right=("n",)) == "name    n\na      12\nbcdef   3"


@pytest.mark.skipif(not ACAS.exists(), reason=f"{ACAS} is absent")
def test_meanings_of_a_real_network(run: Callable[..., Any]) -> None:
    ran = run("meanings", ACAS, "--json")
    rows = json.loads(ran.out)["rows"]
    assert ran.code == 0 and len(rows) == 5
    check_rows(rows)
