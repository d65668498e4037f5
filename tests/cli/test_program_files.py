"""The commands inspect, import and export, from one file form to the other and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from torchlean import ops
from torchlean.cli import main
from torchlean.io.onnx import read_onnx, write_onnx
from torchlean.ir import Builder, f32
from torchlean.run.program import Program


@pytest.fixture
def model(tmp_path: Path) -> Path:
    g = Builder(ops.ALL)
    x = g.input("x", f32["batch", 2])
    y = g.relu(g.linear(x, g.parameter("w", f32[3, 2]), g.parameter("b", f32[3])))
    arrays = {"w": np.arange(6, dtype=np.float32).reshape(3, 2), "b": np.zeros(3, np.float32)}
    write_onnx(Program(g.finish({"y": y}), arrays), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def test_import_then_export_gives_the_same_file(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", str(model), str(tmp_path / "net")]) == 0
    assert main(["export", str(tmp_path / "net"), str(tmp_path / "again.onnx")]) == 0
    assert (tmp_path / "again.onnx").read_bytes() == model.read_bytes()
    assert "2 nodes, 2 parameters" in capsys.readouterr().out


def test_inspect_prints_the_graph_and_the_parameters(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(model)]) == 0
    out = capsys.readouterr().out
    assert "f32[batch, 3] = relu(" in out and "9 numbers in 2 arrays" in out
    assert main(["inspect", str(model), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["graph"] == str(read_onnx(model)).splitlines()
    assert found["arrays"][0] == {
        "name": "w", "kind": "parameter", "type": "f32[3, 2]", "entries": 6, "least": "0", "largest": "5",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["inspect", "absent.onnx"], 2),
        (["import", "absent.onnx", "out"], 2),
        (["import", "MODEL", "out.onnx"], 2),
        (["export", "MODEL", "out.txt"], 2),
        (["export", "MODEL", "absent/out.onnx"], 2),
        (["inspect"], 2),
        (["inspect", "MODEL", "--unknown"], 2),
    ],
)
def test_bad_input_is_one_error(
    words: list[str], code: int, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(model.parent)
    assert main([str(model) if w == "MODEL" else w for w in words]) == code
    error = capsys.readouterr().err
    assert all(part in error for part in ("where:", "expected:", "got:", "fix:")) and error.count("where:") == 1
    assert [p.name for p in model.parent.iterdir()] == ["net.onnx"]
