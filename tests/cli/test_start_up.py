"""What the front doors load: a library that is not used costs nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src"
HEAVY = {"torch", "onnx", "onnxruntime", "matplotlib", "flint", "safetensors", "rich"}


def loaded(statement: str, folder: Path) -> set[str]:
    """The top-level modules in memory after a statement in a fresh process."""
    code = (
        f"import sys, json, io, contextlib\nwith contextlib.redirect_stdout(io.StringIO()):\n    {statement}\n"
        "print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    return set(json.loads(done.stdout))


def test_import_torchlean(tmp_path: Path) -> None:
    found = loaded("import torchlean", tmp_path)
    assert "torchlean" in found and not found & {*HEAVY, "numpy"}


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["verify", "--help"]])
def test_help_and_version(words: list[str], tmp_path: Path) -> None:
    statement = f"from torchlean.cli import main\n    try: main({words!r})\n    except SystemExit: pass"
    assert not loaded(statement, tmp_path) & {*HEAVY, "numpy"}


def test_commands_that_need_no_torch(folder: Path) -> None:
    for words in (["inspect", "net.onnx"], ["meanings", "net.onnx"], ["floats", "exp(1)"]):
        found = loaded(f"from torchlean.cli import main; main({words!r})", folder)
        assert "numpy" in found and not found & {"torch", "onnx", "onnxruntime", "matplotlib"}
