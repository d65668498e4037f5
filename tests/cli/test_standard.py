"""VNN-LIB 2.0's command line, and queries through our own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from torchlean import __version__
from torchlean.cli.standard_entry import CAPABILITIES, PROGRAM, main

QUERY = """(vnnlib-version <2.0>)
(declare-network f (declare-input X {0} [2]) (declare-output Y {0} [1,2]))
(assert (and (>= X[0] -1.0) (<= X[0] 1.0)))(assert (and (>= X[1] -1.0) (<= X[1] 1.0)))
(assert (>= Y[0,0] {1}))
"""


@pytest.fixture
def queries(folder: Path) -> Path:
    Path("holds2.vnnlib").write_text(QUERY.format("float32", "100.0"))
    Path("fails2.vnnlib").write_text(QUERY.format("float32", "-100.0"))
    return folder


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*words: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main([str(w) for w in words])
        return code, *capfd.readouterr()

    return run


def refused(answer: tuple[int, str, str], code: int, word: str) -> None:
    assert answer[:2] == (code, "") and word in answer[2], answer
    assert all(answer[2].count(f"  {part}:") == 1 for part in ("where", "expected", "got", "fix"))


def test_name_and_version(call: Callable[..., Any]) -> None:
    assert call("--name") == (0, "TorchLean\n", "")
    assert call("--version") == (0, f"{__version__}\n", "")
    assert call("--help")[1].startswith("`torchlean-vnnlib`")


def test_the_first_line_is_the_word_alone(queries: Path, call: Callable[..., Any]) -> None:
    assert call("verify", "holds2.vnnlib", "--network", "f=net.onnx", "--timeout", "20")[:2] == (0, "unsat\n")
    code, out, err = call("verify", "fails2.vnnlib", "--network", "f=net.onnx")
    lines = out.splitlines()
    assert code == 0 and (lines[0], lines[1], lines[4]) == ("sat", "X float32 [2]", "Y float32 [1,2]")
    assert len(lines) == 7 and all(float(v) is not None for v in (*lines[2:4], *lines[5:]))
    assert "violates" in err and "\n" in err
    code, out, err = call("verify", "holds2.vnnlib", "--network", "f=net.onnx", "--timeout", "0.00001")
    assert (code, out) == (0, "timed-out\n") and "time limit" in err


def test_a_search_that_dies_or_hangs_is_no_verdict(
    queries: Path, call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import os
    import signal
    import time

    from torchlean.verify import command, query

    monkeypatch.setattr(query, "verify_query", lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL))
    assert call("verify", "holds2.vnnlib", "--network", "f=net.onnx")[:2] == (0, "unknown\n")
    monkeypatch.setattr(query, "verify_query", lambda *a, **k: time.sleep(600))
    monkeypatch.setattr(command, "GRACE", 0.1)
    assert call("verify", "holds2.vnnlib", "--network", "f=net.onnx", "--timeout", "1")[:2] == (0, "timed-out\n")
    monkeypatch.setattr(query, "verify_query", lambda *a, **k: 1 // 0)
    code, out, err = call("verify", "holds2.vnnlib", "--network", "f=net.onnx")
    assert (code, out) == (5, "") and err.startswith("InternalError")


def test_what_holds_over_the_reals_alone_is_unknown_for_float32(
    folder: Path, call: Callable[..., Any], run: Callable[..., Any]
) -> None:
    """y = relu(3e7 x0 - 3e7 x1 + 0.1 x2) at (1, 1, 1): rounding alone stands between 0.1 and 0.5."""
    from torchlean import ops
    from torchlean.io.onnx import write_onnx
    from torchlean.ir import Builder, f32
    from torchlean.run.program import Program

    g = Builder(ops.ALL)
    x = g.input("x", f32["batch", 3])
    g_out = g.relu(g.linear(x, g.parameter("w", f32[1, 3]), g.parameter("b", f32[1])))
    arrays = {"w": np.array([[3e7, -3e7, 0.1]], np.float32), "b": np.zeros(1, np.float32)}
    write_onnx(Program(g.finish({"y": g_out}), arrays), "sharp.onnx")
    text = "(vnnlib-version <2.0>)(declare-network f (declare-input X {0} [3]) (declare-output Y {0} [1]))"
    text += "".join(f"(assert (== X[{i}] 1.0))" for i in range(3)) + "(assert (>= Y[0] 0.5))"
    for element, word in (("float32", "unknown"), ("real", "unsat")):
        Path(f"{element}.vnnlib").write_text(text.format(element))
        code, out, err = call("verify", f"{element}.vnnlib", "--network", "f=sharp.onnx")
        assert (code, out) == (0, f"{word}\n") and "over the real numbers" in err
    assert run("verify", "sharp.onnx", "float32.vnnlib").out.startswith("unsat        holds over the real numbers")


def test_assignments_as_files(queries: Path, call: Callable[..., Any]) -> None:
    for flag in ("--serialise-assignments", "--assignments"):
        code, out, _ = call("verify", "fails2.vnnlib", "--network", "f=net.onnx", flag, "found")
        assert (code, out) == (0, "sat\n")
        assert sorted(path.name for path in Path("found").iterdir()) == ["X.pb", "Y.pb"]
        tensors = [onnx.TensorProto.FromString(Path("found", name).read_bytes()) for name in ("X.pb", "Y.pb")]
        x, y = map(numpy_helper.to_array, tensors)
        assert (x.shape, x.dtype, y.shape, y.dtype) == ((2,), np.float32, (1, 2), np.float32)
        assert (np.abs(x) <= 1).all() and y[0, 0] >= -100


def test_a_certificate_for_a_query(queries: Path, call: Callable[..., Any], run: Callable[..., Any]) -> None:
    assert call("verify", "holds2.vnnlib", "--network", "f=net.onnx", "--certificate", "proof")[1] == "unsat\n"
    assert run("check", "net.onnx", "proof.vnnlib", "proof").out.startswith("valid")
    ran = run("verify", "net.onnx", "holds2.vnnlib", "--certificate", "other")
    assert ran.out.startswith("unsat ") and "about        other.vnnlib" in ran.out and "not checked" in ran.out
    assert Path("other.vnnlib").read_bytes() == Path("proof.vnnlib").read_bytes()
    told = json.loads(run("verify", "net.onnx", "holds2.vnnlib", "--certificate", "third", "--json").out)
    assert told["about"] == ["third.vnnlib"] and told["verdict"] == "unsat"


def test_named_networks_through_our_own_command(queries: Path, run: Callable[..., Any]) -> None:
    other = "(declare-network g (isomorphic-to f) (declare-input U real [2]) (declare-output V real [1,2]))"
    pair = QUERY.format("real", "0.0").replace("[1,2]))\n", f"[1,2])){other}")
    Path("pair.vnnlib").write_text(pair + "(assert (and (== U[0] X[0]) (== U[1] X[1])))(assert (>= V[0,0] 100.0))")
    ran = run("verify", "[('f', 'net.onnx'), ('g', 'net.onnx')]", "pair.vnnlib", "--certificate", "proof")
    assert ran.out.startswith("unsat") and run("check", "proof.onnx", "proof.vnnlib", "proof").code == 0
    run("verify", "net.onnx", "pair.vnnlib").fails(2, "network f")
    run("verify", "[('f', 'net.onnx')]", "holds.vnnlib").fails(2, "only a query of VNN-LIB 2.0")
    run("verify", "[('f',", "holds2.vnnlib").fails(2, "list of networks")


def test_queries_in_a_sweep(queries: Path, run: Callable[..., Any]) -> None:
    Path("list.csv").write_text("net.onnx,holds2.vnnlib,30\n\"[('f', 'net.onnx')]\",fails2.vnnlib,30\n")
    found = json.loads(run("sweep", "list.csv", "--out", "r.csv", "--check", "--json").out)
    assert [(row["status"], row["checked"]) for row in found["rows"]] == [("unsat", "valid"), ("sat", "")]


def test_must_error(queries: Path, call: Callable[..., Any]) -> None:
    net = ("--network", "f=net.onnx")
    refused(call("verify", "holds2.vnnlib"), 2, "no network is given")
    refused(call("verify", "holds2.vnnlib", "--network", "g=net.onnx"), 2, "not the networks")
    refused(call("verify", "holds2.vnnlib", *net, "--network", "g=net.onnx"), 2, "not the networks")
    refused(call("verify", "holds2.vnnlib", *net, *net), 2, "each name once")
    refused(call("verify", "holds2.vnnlib", "--network", "net.onnx"), 2, "NAME=FILE")
    refused(call("verify", "holds2.vnnlib", "--network", "f=none.onnx"), 2, "none.onnx")
    refused(call("verify", "holds.vnnlib", "--network", "f=net.onnx"), 2, "VNN-LIB 1.0")
    Path("wide.vnnlib").write_text(QUERY.format("float64", "100.0"))
    refused(call("verify", "wide.vnnlib", *net), 3, "float64")
    refused(call("verify", "holds2.vnnlib", *net, "--time", "3"), 2, "--time")
    refused(call("prove"), 2, "no such command")
    refused(call(), 2, "no such command")


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_supports(capability: str, call: Callable[..., Any]) -> None:
    for command in ("supports", "capabilities"):
        code, out, err = call(command, capability)
        assert code == 0 and err == "" and all(line.strip() == line != "" for line in out.splitlines())
    lines = out.splitlines()
    if capability.endswith("versions"):
        assert len(lines) == 2
    if capability == "--onnx-operators":
        assert {"Relu", "Gemm", "Conv"} <= set(lines)
    if capability in ("--optimised-disjunctive-reasoning", "--serialise-assignments", "--unsat-proofs"):
        assert lines in (["true"], ["false"])


def test_supports_nothing_else(call: Callable[..., Any]) -> None:
    refused(call("supports", "--everything"), 2, "--vnnlib-versions")
    refused(call("supports"), 2, PROGRAM)


def test_bad_queries_name_the_file_and_the_line(queries: Path, run: Callable[..., Any]) -> None:
    Path("bad.vnnlib").write_text(QUERY.format("float32", "1"))
    run("verify", "net.onnx", "bad.vnnlib").fails(2, "bad.vnnlib, line 4", "mixes types")
    Path("bad.vnnlib").write_text(QUERY.format("float32", "(* Y[0,0] Y[0,1])"))
    run("verify", "net.onnx", "bad.vnnlib").fails(3, "bad.vnnlib, line 4", "linear")
