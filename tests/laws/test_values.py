"""Types and values of every op: against its own types at known sizes, and against PyTorch in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from law_cases import CASES, SIZES, WITHOUT_CASES, Case
from torch_reference import REFERENCE

from torchlean import ops
from torchlean.ir import EXPAND, f64
from torchlean.meaning import Float
from torchlean.meaning.evaluate import evaluate
from torchlean.passes import expand, specialise
from torchlean.run.execute import execute
from torchlean.run.schedule import schedule

each_case = pytest.mark.parametrize("case", CASES, ids=str)


def test_every_op_has_cases() -> None:
    assert set(ops.ALL) == {c.op for c in CASES} | set(WITHOUT_CASES)
    assert set(REFERENCE) == {c.op for c in CASES}


@each_case
def test_types_commute_with_specialisation(case: Case) -> None:
    symbolic = case.graph(f64, symbolic=True)
    sizes = SIZES if symbolic.symbols() else {}
    assert specialise(symbolic, **sizes).output_types == case.graph(f64).output_types


def expected(case: Case, values: dict[str, np.ndarray]) -> list[np.ndarray]:
    """PyTorch's answer."""
    found: Any = REFERENCE[case.op](*(torch.from_numpy(v) for v in values.values()), **case.attrs)
    return [t.detach().numpy() for t in (found if isinstance(found, tuple) else (found,))]


def close(found: dict[str, np.ndarray], wanted: list[np.ndarray], case: Case) -> None:
    assert len(found) == len(wanted)
    for (name, got), want, kind in zip(found.items(), wanted, case.graph(f64).output_types.values(), strict=True):
        assert got.shape == want.shape == kind.sizes, name
        assert got.dtype == kind.dtype.numpy, name
        # Another library, whose sums have another order; every case's numbers are of the order of 1.
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


@each_case
@pytest.mark.parametrize("how", ["meaning", "numpy", "torch", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_value_against_pytorch(case: Case, how: str) -> None:
    graph, values = case.graph(f64), case.values(f64)
    if how == "meaning":
        N = Float()
        found = {k: np.asarray(v) for k, v in evaluate(graph, N, {k: N.constant(v) for k, v in values.items()}).items()}
    elif how == "numpy":
        found = {k: np.asarray(v) for k, v in schedule(graph).run(np, values).items()}
    else:
        if how == "cuda" and not torch.cuda.is_available():
            pytest.skip("no CUDA device")
        found = execute(graph, values, "eager-cuda" if how == "cuda" else "eager-cpu")
    close(found, expected(case, values), case)


@pytest.mark.parametrize("case", [c for c in CASES if ops.ALL[c.op].composite], ids=str)
def test_definition_of_a_composite_is_its_meaning(case: Case) -> None:
    graph, values = case.graph(f64), case.values(f64)
    defined = expand(graph, lambda op: op.composite)
    assert not any(ops.ALL[n.op].composite for n in defined.nodes)
    assert defined.output_types == graph.output_types
    for name, value in execute(defined, values, "reference").items():
        np.testing.assert_array_equal(value, execute(graph, values, "reference")[name])


def test_expand_is_only_for_composites() -> None:
    fields = ("vjp", "batch", "relax", "rounding", "lower", "onnx")
    for op in ops.ALL.values():
        assert op.composite or not any(getattr(op, f) is EXPAND for f in fields), op.name
