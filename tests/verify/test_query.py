"""Queries of VNN-LIB 2.0 decided: a certificate that the checker accepts, or a witness in the query's own names."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction as F

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import torchlean_check as tc
from torchlean.errors import FileError, ShapeError, TorchLeanError, Unsupported, UsageError
from torchlean.verify.query import lower, verify_query
from torchlean.verify.verdict import Status

HEAD = "(vnnlib-version <2.0>)\n"
ONE = "(declare-network f (declare-input X float32 [1,2]) (declare-output Y float32 [1]))\n"
PAIR = ONE + "(declare-network g (equal-to f) (declare-input U float32 [1,2]) (declare-output V float32 [1]))\n"
BOX = "".join(f"(assert (and (>= X[0,{i}] -1.0) (<= X[0,{i}] 1.0)))\n" for i in range(2))
BOTH = BOX + BOX.replace("X[", "U[")
SAME = "(assert (== X[0,0] U[0,0]))(assert (== X[0,1] U[0,1]))\n"


def query(networks: str, *asserts: str) -> bytes:
    return (HEAD + networks + "\n".join(a if a.startswith("(assert ") else f"(assert {a})" for a in asserts)).encode()


@pytest.fixture
def net(files) -> bytes:
    """y = relu(x0 + 2 x1) - relu(x0): between -1 and 3 less 1 on the unit box."""
    w = np.array([[1, 2], [1, 0]], np.float32)
    return files[0]([(w, np.zeros(2, np.float32)), (np.array([[1, -1]], np.float32), np.zeros(1, np.float32))])


def y(x: np.ndarray) -> float:
    return float(max(x[0] + 2 * x[1], 0) - max(x[0], 0))


def test_one_network_keeps_its_file_and_gets_a_checked_certificate(net: bytes) -> None:
    claim = query(ONE, BOX, "(>= Y[0] 2.5)")
    verdict, lowered = verify_query({"f": net}, claim, timeout=20)
    assert verdict.status is Status.UNSAT and verdict.semantics == "float32"
    assert not lowered.composed and verdict.model == net and verdict.claim == lowered.claim != claim
    assert tc.check(net, lowered.claim, verdict.certificate).status == "valid"
    assert list(lowered.beside("p")) == ["p.vnnlib"]
    assert verify_query({"": net}, claim, timeout=20)[0].certificate == verdict.certificate


def test_a_witness_is_told_in_the_query_s_names(net: bytes) -> None:
    verdict, lowered = verify_query({"f": net}, query(ONE, BOX, "(>= Y[0] 1.5)"), timeout=20)
    assert verdict.status is Status.SAT
    found = {v.name: values for v, values in lowered.assignment(verdict.witness)}
    assert found["X"].shape == (1, 2) and found["Y"].shape == (1,)
    assert found["Y"][0] == np.float32(y(found["X"][0])) >= 1.5
    text = lowered.assignment_text(verdict.witness).splitlines()
    assert (text[0], text[3]) == ("X float32 [1,2]", "Y float32 [1]") and len(text) == 5
    assert [np.float32(F(line)) for line in text[1:3]] == list(found["X"][0])


def test_two_equal_networks_that_read_one_point_cannot_differ(net: bytes) -> None:
    """Over the reals; in float32 each of the two may round in its own order, so the two are only close."""
    claim = query(PAIR, BOTH, SAME, "(>= Y[0] (+ V[0] 0.001))")
    verdict, lowered = verify_query({"f": net}, claim, timeout=30)
    assert lowered.place == (0, 1, 0, 1) and lowered.composed
    assert verdict.status is Status.UNSAT
    assert tc.check(lowered.model, lowered.claim, verdict.certificate).status == "valid"
    assert list(lowered.beside("p")) == ["p.onnx", "p.vnnlib"]


def test_two_networks_at_two_points(net: bytes) -> None:
    """Monotone in x1: not in x0."""
    rising = "(assert (== X[0,0] U[0,0]))(assert (<= X[0,1] U[0,1]))"
    holds = query(PAIR, BOTH, rising, "(>= Y[0] (+ V[0] 0.5))")
    verdict, lowered = verify_query({"f": net}, holds, timeout=30)
    assert verdict.status is Status.UNSAT
    assert tc.check(lowered.model, lowered.claim, verdict.certificate).status == "valid"
    fails = query(PAIR, BOTH, "(assert (== X[0,1] U[0,1]))(assert (<= X[0,0] U[0,0]))", "(>= Y[0] (+ V[0] 0.5))")
    verdict, lowered = verify_query({"f": net}, fails, timeout=30)
    assert verdict.status is Status.SAT
    found = {v.name: values.ravel() for v, values in lowered.assignment(verdict.witness)}
    assert found["X"][1] == found["U"][1] and found["X"][0] <= found["U"][0]
    assert found["Y"][0] == np.float32(y(found["X"])) and found["V"][0] == np.float32(y(found["U"]))
    assert F(float(found["Y"][0])) >= F(float(found["V"][0])) + F(1, 2)


def test_isomorphic_networks_take_two_files(net: bytes) -> None:
    model = onnx.load_model_from_string(net)
    last = model.graph.initializer[-1]
    last.CopyFrom(numpy_helper.from_array(np.array([0.25], np.float32), last.name))
    other = model.SerializeToString()
    pair = PAIR.replace("equal-to", "isomorphic-to")
    for gap, status in ((F(1, 5), Status.SAT), (F(3, 10), Status.UNSAT)):
        claim = query(pair, BOTH, SAME, f"(>= V[0] (+ Y[0] {float(gap)}))")
        verdict, lowered = verify_query({"f": net, "g": other}, claim, timeout=30)
        assert verdict.status is status
        if status is Status.UNSAT:
            assert tc.check(lowered.model, lowered.claim, verdict.certificate).status == "valid"
    with pytest.raises(UsageError, match="network g"):
        verify_query({"f": net}, claim)


def test_a_hidden_node_by_value_and_by_node_name(net: bytes) -> None:
    """relu(x0 + 2 x1) = 0 keeps y <= 0."""
    for name in ("a0", "relu0"):
        hidden = ONE.replace("(declare-output", f'(declare-hidden H float32 [1,2] "{name}") (declare-output')
        for bound, status in (("(>= Y[0] 0.1)", Status.UNSAT), ("(<= Y[0] -0.1)", Status.SAT)):
            verdict, lowered = verify_query({"f": net}, query(hidden, BOX, "(<= H[0,0] 0.0)", bound), timeout=20)
            assert verdict.status is status
            if status is Status.SAT:
                found = {v.name: values.ravel() for v, values in lowered.assignment(verdict.witness)}
                assert found["H"][0] == 0 and list(found) == ["X", "H", "Y"]
            else:
                assert tc.check(lowered.model, lowered.claim, verdict.certificate).status == "valid"
    with pytest.raises(FileError, match="no such value"):
        verify_query({"f": net}, query(hidden.replace("relu0", "none"), BOX, "(<= H[0,0] 0.0)"))


def ends(nodes: list[onnx.NodeProto], ins: dict[str, list[object]], outs: dict[str, list[object]]) -> bytes:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "g", [value(n, TensorProto.FLOAT, s) for n, s in ins.items()],
                              [value(n, TensorProto.FLOAT, s) for n, s in outs.items()])  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()


@pytest.fixture
def sums() -> bytes:
    """s = a + b and d = a - b, both of shape [1, 2]."""
    nodes = [helper.make_node("Add", ["a", "b"], ["s"]), helper.make_node("Sub", ["a", "b"], ["d"])]
    return ends(nodes, {"a": ["n", 2], "b": ["n", 2]}, {"s": ["n", 2], "d": ["n", 2]})


def tensors(*names: str, node: bool = False) -> str:
    kinds = ("input", "input", "output", "output")
    parts = (f'(declare-{k} {n.upper()} float32 [1,2]{f" {chr(34)}{n}{chr(34)}" if node else ""})'
             for k, n in zip(kinds, names, strict=True))  # fmt: skip
    return f"(declare-network f {' '.join(parts)})\n"


@pytest.mark.parametrize("by_name", [False, True])
def test_several_inputs_and_outputs_by_order_and_by_name(by_name: bool, sums: bytes) -> None:
    names = ("b", "a", "d", "s") if by_name else ("a", "b", "s", "d")
    box = [f"(and (>= {n}[0,{i}] {i}.0) (<= {n}[0,{i}] {i}.5))" for n in "AB" for i in range(2)]
    networks = tensors(*names, node=by_name)
    verdict, lowered = verify_query({"f": sums}, query(networks, *box, "(>= D[0,1] 0.4)"), timeout=20)
    assert verdict.status is Status.SAT
    found = {v.name: values for v, values in lowered.assignment(verdict.witness)}
    assert np.array_equal(found["S"], found["A"] + found["B"]) and np.array_equal(found["D"], found["A"] - found["B"])
    assert found["D"][0, 1] >= np.float32(0.4) and (found["A"] >= [0, 1]).all() and (found["A"] <= [0.5, 1.5]).all()
    verdict, lowered = verify_query({"f": sums}, query(networks, *box, "(and (>= D[0,1] 0.2) (<= S[0,1] 2.1))"),
                                    timeout=20)  # fmt: skip
    assert verdict.status is Status.UNSAT
    assert tc.check(lowered.model, lowered.claim, verdict.certificate).status == "valid"


def test_the_converted_file_reads_back_as_the_merged_violation(net: bytes) -> None:
    from torchlean.io.query import merge_equal_inputs, read_query
    from torchlean.io.vnnlib import read_vnnlib

    claims = [query(PAIR, BOTH, SAME, "(or (>= Y[0] 2.5) (and (< V[0] -0.1) (!= Y[0] V[0])))"),
              query(ONE, BOX, "(or (and (<= (* 3.0 X[0,0]) 1.0) (>= Y[0] 2.0)) (<= Y[0] X[0,1]))")]  # fmt: skip
    for claim in claims:
        merged, _ = merge_equal_inputs(read_query(claim).violation, "")
        assert read_vnnlib(lower({"f": net}, claim).claim) == merged


def test_files_and_declarations_must_fit(net: bytes, sums: bytes) -> None:
    good = ("(>= Y[0] 2.5)",)
    cases: list[tuple[dict[str, bytes], bytes, type[TorchLeanError], str]] = [
        ({}, query(ONE, BOX, *good), UsageError, "f=FILE.onnx"),
        ({"g": net}, query(ONE, BOX, *good), UsageError, "f=FILE.onnx"),
        ({"f": net, "g": net}, query(ONE, BOX, *good), UsageError, "network f"),
        ({"": net, "f": net}, query(ONE, BOX, *good), UsageError, "network f"),
        ({"f": net, "g": sums}, query(PAIR, BOTH, *good), UsageError, "network g"),
        ({"f": net}, query(ONE.replace("[1,2]", "[1,3]"), BOX.replace("X[0,1]", "X[0,2]"), *good), TorchLeanError, ""),
        ({"f": net}, query(ONE.replace("Y float32 [1]", "Y float32 [2]"), BOX, *good), ShapeError, "Y float32 [2]"),
        ({"f": sums}, query(ONE, BOX, *good), ShapeError, "inputs"),
        ({"f": b"no model"}, query(ONE, BOX, *good), FileError, "ONNX"),
        ({"f": net}, b"(vnnlib-version <2.0>)", FileError, "without an assertion"),
        ({"f": net}, query(ONE, BOX, "(<= (* Y[0] Y[0]) 1.0)"), Unsupported, "linear"),
    ]
    for models, claim, kind, word in cases:
        with pytest.raises(kind) as caught:
            verify_query(models, claim, timeout=5)
        assert word in str(caught.value)
    named = tensors("a", "b", "s", "d", node=True).replace('"d"', '"e"')
    box = [f"(and (>= {n}[0,{i}] 0.0) (<= {n}[0,{i}] 1.0))" for n in "AB" for i in range(2)]
    with pytest.raises(FileError, match="does not have"):
        verify_query({"f": sums}, query(named, *box, "(<= D[0,0] 0.0)"))


def test_axes_of_size_1_may_be_left_out_and_others_may_not(sums: bytes) -> None:
    asserts = [f"(and (>= {n}[{i}] 0.0) (<= {n}[{i}] 1.0))" for n in "AB" for i in range(2)]
    flat = tensors("a", "b", "s", "d").replace("[1,2]", "[2]")
    assert verify_query({"f": sums}, query(flat, *asserts, "(>= S[0] 2.5)"), timeout=20)[0].status is Status.UNSAT
    with pytest.raises(ShapeError):
        verify_query({"f": sums}, query(flat.replace("S float32 [2]", "S float32 [3]"), *asserts, "(>= S[0] 2.5)"))


def test_an_equal_network_may_be_given_its_file_again(net: bytes) -> None:
    claim = query(PAIR, BOTH, SAME, "(>= Y[0] (+ V[0] 0.5))")
    first = lower({"f": net}, claim)
    assert lower({"f": net, "g": net}, claim) == first == lower({"": net}, claim)


def test_sizes_that_the_graph_hides_are_checked_by_the_checker(files: tuple[Callable[..., bytes], object]) -> None:
    """An output without a shape: a wrong size in the query is an error, not a shift of all later outputs."""
    nodes = [helper.make_node("Add", ["a", "b"], ["s"]), helper.make_node("Sub", ["a", "b"], ["d"])]
    graph = onnx.load_model_from_string(ends(nodes, {"a": [1, 2], "b": [1, 2]}, {"s": [1, 2], "d": [1, 2]}))
    for output in graph.graph.output:
        output.type.tensor_type.ClearField("shape")
    asserts = [f"(and (>= {n}[{i}] 0.0) (<= {n}[{i}] 1.0))" for n in "AB" for i in range(2)]
    networks = tensors("a", "b", "s", "d").replace("[1,2]", "[2]")
    good = query(networks, *asserts, "(>= S[0] 2.5)")
    assert verify_query({"f": graph.SerializeToString()}, good, timeout=20)[0].status is Status.UNSAT
    wrong = networks.replace("S float32 [2]", "S float32 [1]").replace("D float32 [2]", "D float32 [3]")
    with pytest.raises(TorchLeanError):
        verify_query({"f": graph.SerializeToString()}, query(wrong, *asserts, "(>= S[0] 2.5)"), timeout=20)
