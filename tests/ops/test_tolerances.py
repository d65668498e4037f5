"""The tolerance table against the libraries that it speaks of: torch on CPU and CUDA, onnxruntime on CPU.

`bench/tolerances.py` measures; here it is held to the table, its float64 truth to Arb, and its recorded figures to half
of the promise.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flint
import numpy as np
import pytest

import tolerances as measuring
from torchlean.floats import rounded
from torchlean.ops.tolerances import TABLE_ID, TOLERANCES

RESULTS = Path(__file__).resolve().parents[2] / "bench" / "results"
ROOT, CUBIC = (flint.arb(float(np.float32(c))) for c in ((2 / math.pi) ** 0.5, 0.044715))
each_function = pytest.mark.parametrize("name", TOLERANCES)


def ball(name: str) -> Callable[..., Any]:
    """The function over Arb balls."""
    arb = flint.arb
    return {
        "exp2": lambda x: arb(2) ** x,
        "log2": lambda x: x.log() / arb(2).log(),
        "log10": lambda x: x.log() / arb(10).log(),
        "sigmoid": lambda x: 1 / (1 + (-x).exp()),
        "gelu": lambda x: x * (-x / arb(2).sqrt()).erfc() / 2,
        "gelu_tanh": lambda x: x / (1 + (-2 * ROOT * (x + CUBIC * x**3)).exp()),
        "silu": lambda x: x / (1 + (-x).exp()),
        "softplus": lambda x: x.exp().log1p(),
        "div": lambda x, y: x / y,
        "hypot": lambda x, y: (x * x + y * y).sqrt(),
        "atan2": lambda x, y: arb.atan2(x, y),
        "pow": lambda x, y: x**y,
    }.get(name) or (lambda x: getattr(x, name)())


def test_the_table_and_its_measuring_speak_of_the_same_functions() -> None:
    assert set(measuring.FUNCTIONS) == set(TOLERANCES)
    assert TABLE_ID == "tolerances-1"


@each_function
def test_the_truth_is_right_to_its_margin(name: str) -> None:
    operands = tuple(x[:150] for x in measuring.points(name, 1000))
    precision, flint.ctx.prec = flint.ctx.prec, 400
    try:
        for found, *x in zip(measuring.truth(name, operands).tolist(), *(o.tolist() for o in operands), strict=True):
            exact = ball(name)(*map(flint.arb, x))
            room = measuring.MARGIN * abs(exact) + measuring.FLOOR
            assert abs(flint.arb(found) - exact) <= room, (x, found, exact)
    finally:
        flint.ctx.prec = precision


@each_function
@pytest.mark.parametrize("library", ["torch-cpu", "onnxruntime", pytest.param("torch-cuda", marks=pytest.mark.gpu)])
def test_libraries_are_within_the_table(name: str, library: str) -> None:
    if not measuring.present(library):
        pytest.skip(f"{library} is absent")
    operands = measuring.points(name, 4000)
    for part in (operands, tuple(x[:7] for x in operands)):  # vector and scalar paths
        found = measuring.answer(library, name, part)
        if found is None:
            assert measuring.FUNCTIONS[name].onnx is None
            return
        assert measuring.measure(name, part, found)["use"] <= 1


@pytest.mark.parametrize("name", ["exp", "log", "tanh", "sigmoid", "sqrt"])
def test_the_reference_is_correctly_rounded(name: str) -> None:
    operands = tuple(x[:500] for x in measuring.points(name, 1000))
    row = measuring.measure(name, operands, np.asarray(rounded(name, operands[0])))
    assert row["ulps"] <= 0.5 + 2.0**-19 and row["use"] <= 0.5


def test_division_by_reciprocal() -> None:
    """3 u |x / y|: a rounded reciprocal, times x, rounded."""
    x, y = np.random.default_rng(5).uniform(0.5, 2, (2, 50_000)).astype(np.float32)
    for found in (x / y, x * (np.float32(1) / y)):
        assert measuring.measure("div", (x, y), found)["use"] <= 1


def test_a_library_outside_the_table_is_caught() -> None:
    """A float16 kernel, one NaN, and one result that overflows."""
    (x,) = (x[np.abs(x) < 10] for x in measuring.points("exp", 1000))
    right = np.exp(x.astype(np.float64)).astype(np.float32)
    assert measuring.measure("exp", (x,), right)["use"] <= 1
    half = right.astype(np.float16).astype(np.float32)
    for wrong in (half, np.where(x == x[3], np.nan, right), right + np.inf):
        assert measuring.measure("exp", (x,), wrong.astype(np.float32))["use"] > 1


@pytest.mark.parametrize("library", ["torch-cpu", "onnxruntime", "torch-cuda"])
def test_what_was_measured_leaves_a_margin_of_two(library: str) -> None:
    path = RESULTS / f"tolerances_{library}.json"
    if not path.exists():
        pytest.skip(f"{path.name} is absent: python bench/tolerances.py --on {library} --write")
    record = json.loads(path.read_text())
    wanted = {n for n, f in measuring.FUNCTIONS.items() if f.onnx is not None or library != "onnxruntime"}
    assert record["summary"]["table"] == TABLE_ID and {r["function"] for r in record["rows"]} == wanted
    assert {r["function"]: r["use"] for r in record["rows"] if r["use"] > 0.5} == {}
    for row in record["rows"]:
        entry = TOLERANCES[row["function"]]
        assert (row["a"], row["r"]) == (measuring.power(entry.a), measuring.power(entry.r)), "measure again"
