"""What the op table says of certificates is what the checker reads: every op, exported with one input that varies."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from torchlean import ops
from torchlean.errors import TorchLeanError
from torchlean.io.onnx import write_onnx
from torchlean.ir import f32, trace
from torchlean.run.program import Program
from torchlean_check.errors import CheckError
from torchlean_check.onnx_reader import read_network

ROOT = Path(__file__).resolve().parents[2]


def module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = found  # dataclasses look their module up
    spec.loader.exec_module(found)
    return found


CASES = module(ROOT / "tests" / "laws" / "law_cases.py").CASES
TABLE = module(ROOT / "docs" / "op_table.py")
# Not by themselves: sources, truths and integers as results or operands, and programs inside programs.
APART = {
    "input", "parameter", "state", "constant", "size", "less", "less_equal", "equal", "logical_and", "logical_or",
    "logical_not", "quantize", "argmax", "one_hot", "call", "custom_vjp", "scan",
}  # fmt: skip


def read(case: Any) -> bool:
    """Whether the checker reads the op on one example, as a function of its first float input."""
    types = [a.of(f32).substitute({"b": 1}) for a in case.args]
    vary = next(i for i, t in enumerate(types) if t.dtype.kind == "float")
    rng, values = np.random.default_rng(0), []
    for arg, kind in zip(case.args, types, strict=True):
        whole = kind.dtype.kind != "float"
        drawn = rng.integers(int(arg.lo), int(arg.hi), kind.sizes) if whole else rng.uniform(arg.lo, arg.hi, kind.sizes)
        values.append(np.asarray(drawn, kind.dtype.numpy))

    def program(g: Any, x: Any) -> Any:
        return g.apply(case.op, *(x if i == vary else g.constant(v) for i, v in enumerate(values)), **case.attrs)

    try:
        read_network(write_onnx(Program(trace(ops.ALL, program, x=types[vary]))))
    except (CheckError, TorchLeanError):
        return False
    return True


@pytest.mark.parametrize("name", [name for name in ops.ALL if name not in APART])
def test_the_table_says_what_the_checker_reads(name: str) -> None:
    said = TABLE.certificate(ops.ALL[name])
    if name in TABLE.PARTS:
        return
    assert any(read(case) for case in CASES if case.op == name) == (said != "none"), said
