"""Degenerate networks and properties: an error or an answer, never a false verdict."""

from __future__ import annotations

import numpy as np
import pytest

import torchlean_check as tc
from torchlean.errors import FileError, TorchLeanError
from torchlean.verify.files import verify_files
from torchlean.verify.verdict import Status


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["weight", "bias"])
def test_a_weight_that_is_not_finite_is_refused(lab, bad, where) -> None:
    net = [lab.layer([[1, 2], [3, 4]]), lab.layer([[1, 1]])]
    net[0][where == "bias"].flat[1] = bad
    with pytest.raises(FileError) as caught:
        verify_files(lab.network(net), lab.claim([0, 0], [1, 1], 1, "(>= Y_0 100.0)"))
    assert "Gemm_0" in caught.value.where and "finite" in caught.value.expected
    assert all((caught.value.what, caught.value.got, caught.value.fix))


@pytest.mark.parametrize("semantics", ["float32", "real"])
@pytest.mark.parametrize("depth", [2, 5, 12])
def test_a_bound_that_overflows_is_no_verdict(lab, depth, semantics) -> None:
    """Weights of 2^126: float32 overflows in the second layer, float64 bounds in the ninth; y > 0 on the region."""
    net = [lab.layer([[2.0**126]]) for _ in range(depth)]
    files = lab.network(net), lab.claim([0.5], [1], 1, "(<= Y_0 0.0)")
    verdict = verify_files(*files, timeout=5, semantics=semantics)
    assert verdict.status is not Status.SAT
    assert verdict.status is not Status.UNSAT or verdict.semantics == "real"


def test_an_empty_region_is_refused(lab) -> None:
    net = [lab.layer([[1]])]
    with pytest.raises(FileError) as caught:
        verify_files(lab.network(net), lab.claim([1], [0.5], 1, "(>= Y_0 100.0)"))
    assert "VNN-LIB" in caught.value.where and caught.value.fix


@pytest.mark.parametrize(
    "violation", ["(or)", "(or (and))", "(and)", "(>= X_0 0.25)", "(or (>= Y_0 9.0) (>= X_0 0.25))"]
)
def test_a_clause_that_says_nothing_about_outputs_is_refused(lab, violation) -> None:
    with pytest.raises(TorchLeanError) as caught:
        verify_files(lab.network([lab.layer([[1]])]), lab.claim([0], [1], 1, violation))
    assert caught.value.where.startswith("VNN-LIB") and caught.value.fix


NETS = {
    "one gemm": [([[2.0]], [0.5])],
    "two layers": [([[1.0]], [0.0]), ([[2.0]], [0.5])],
    "a constant": [([[0.0]], [2.0])],
}


@pytest.mark.parametrize("title", NETS)
@pytest.mark.parametrize("box", [(0.5, 0.5), (0.1, 0.1), (0.25, 1.0)], ids=["a float", "a decimal", "an interval"])
def test_one_by_one_networks_and_regions_of_one_point(lab, title, box) -> None:
    net = [lab.layer(w, b) for w, b in NETS[title]]
    model = lab.network(net)
    text = lab.claim([0], [0], 1, "(>= Y_0 9.0)").replace(b"(>= X_0 0)", f"(>= X_0 {box[0]})".encode())
    text = text.replace(b"(<= X_0 0)", f"(<= X_0 {box[1]})".encode())
    holds = verify_files(model, text, timeout=5)
    assert holds.status is Status.UNSAT and holds.semantics == "float32"
    assert tc.check(model, text, holds.certificate).status == "valid"
    fails = verify_files(model, text.replace(b"(>= Y_0 9.0)", b"(>= Y_0 0.6)"), timeout=5)
    assert fails.status is Status.SAT and fails.witness.membership in ("exact", "rounded")


def test_a_network_of_one_relu(lab) -> None:
    model = lab.model([("Relu", ["x"], "y", {})], {}, (1, 1))
    assert verify_files(model, lab.claim([-1], [1], 1, "(>= Y_0 1.5)"), timeout=5).semantics == "float32"
    assert verify_files(model, lab.claim([-1], [1], 1, "(>= Y_0 0.75)"), timeout=5).status is Status.SAT


@pytest.mark.parametrize("violation", ["(< Y_0 Y_0)", "(<= Y_0 Y_0)", "(> Y_0 (+ Y_0 1.0))", "(<= 0.0 1.0)"])
def test_an_inequality_without_variables_is_refused(lab, violation) -> None:
    with pytest.raises(TorchLeanError) as caught:
        verify_files(lab.network([lab.layer([[1]])]), lab.claim([0], [1], 1, violation))
    assert caught.value.where.startswith("VNN-LIB") and "variable" in caught.value.expected


@pytest.mark.parametrize("contradiction", ["(and (>= Y_0 1.0) (<= Y_0 0.5))", "(and (> Y_0 Y_1) (<= Y_0 Y_1))"])
def test_a_property_that_every_output_has_gets_no_witness(lab, contradiction) -> None:
    files = lab.network([lab.layer([[1, -1], [1, 1]], [0.25, 0])]), lab.claim([0, 0], [1, 1], 2, contradiction)
    verdict = verify_files(*files, timeout=1)
    assert verdict.status is not Status.SAT
    if verdict.status is Status.UNSAT:
        assert tc.check(*files, verdict.certificate).status == "valid"


@pytest.mark.parametrize("everything", ["(or (<= Y_0 0.0) (>= Y_0 0.0))", "(or (< Y_0 Y_1) (>= Y_0 Y_1))"])
def test_a_property_that_no_output_has_is_violated_at_once(lab, everything) -> None:
    files = lab.network([lab.layer([[1, -1], [1, 1]], [0.25, 0])]), lab.claim([0, 0], [1, 1], 2, everything)
    verdict = verify_files(*files, timeout=5)
    assert verdict.status is Status.SAT and verdict.witness.reference and verdict.witness.real


def test_five_thousand_clauses(lab) -> None:
    """All are refuted but the last, which is met at one corner."""
    net = [lab.layer([[1, 1], [1, -1]]), lab.layer([[1, 1], [1, -1]])]
    model = lab.network(net)
    parts = [f"(and (>= Y_0 {3 + k / 1000}) (<= Y_1 {k / 1000 - 2}))" for k in range(4999)]
    for last, status in (("(>= Y_0 2.5)", Status.UNSAT), ("(>= Y_0 1.75)", Status.SAT)):
        text = lab.claim([0, 0], [1, 1], 2, f"(or {' '.join(parts)} {last})")
        verdict = verify_files(model, text, timeout=60)
        assert verdict.status is status
        if status is Status.UNSAT:
            assert verdict.semantics == "float32" and tc.check(model, text, verdict.certificate).status == "valid"


def test_a_chain_of_a_hundred_layers(lab) -> None:
    """Each layer halves and doubles, so the function is relu; float32's errors add up along the chain."""
    net = [lab.layer([[2.0 if k % 2 else 0.5]]) for k in range(100)]
    model = lab.network(net)
    text = lab.claim([-1], [1], 1, "(>= Y_0 1.001)")
    verdict = verify_files(model, text, timeout=30)
    assert verdict.status is Status.UNSAT and verdict.semantics == "float32"
    assert tc.check(model, text, verdict.certificate).status == "valid"
    assert verify_files(model, lab.claim([-1], [1], 1, "(>= Y_0 0.999)"), timeout=30).status is Status.SAT
