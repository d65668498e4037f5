"""The examples run as they stand, where their data are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"
EXAMPLES = {"mnist_robustness.py": ("mnist_test_uint8.npz",)}


def test_every_example_is_run_here() -> None:
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == set(EXAMPLES)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(name) -> None:
    files = [DATA / file for file in EXAMPLES[name]]
    if missing := [path.name for path in files if not path.exists()]:
        pytest.skip(f"{', '.join(missing)} not in ../shared/data")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    ran = subprocess.run([sys.executable, ROOT / "examples" / name, *files], capture_output=True, text=True,
                         env=environment, check=False)  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "torchlean-check: valid" in ran.stdout and "eps" in ran.stdout
