"""onnxruntime in a process of its own: its output, or none, and never a fault of ours."""

import os
import signal

import numpy as np
import pytest

from torchlean import ops
from torchlean.io.onnx import write_onnx
from torchlean.ir import Builder, f32
from torchlean.run.program import Program
from torchlean.verify import runtime
from torchlean.verify.runtime import Runtime
from torchlean.verify.witness import Replay

X = np.array([0.5, -0.25], np.float32)
CLAIM = b"""(declare-const X_0 Real) (declare-const X_1 Real) (declare-const Y_0 Real)
(assert (>= X_0 -1)) (assert (<= X_0 1)) (assert (>= X_1 -1)) (assert (<= X_1 1)) (assert (<= Y_0 10))"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    g = Builder(ops.ALL)
    y = g.relu(g.linear(g.input("x", f32["batch", 2]), g.parameter("w", f32[1, 2]), g.parameter("b", f32[1])))
    arrays = {"w": np.array([[2.0, -4.0]], np.float32), "b": np.array([0.125], np.float32)}
    path = tmp_path_factory.mktemp("runtime") / "net.onnx"
    write_onnx(Program(g.finish({"y": y}), arrays), path)
    return path.read_bytes()


def children():
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return file.read().split()


def test_its_output(model):
    pytest.importorskip("onnxruntime")
    found = Runtime(model, X).output()
    assert found is not None and found.dtype == np.float32 and found.tolist() == [2.125]


@pytest.mark.parametrize("fault", ["killed", "exit", "raise", "import"])
def test_a_fault_is_no_output(model, fault, monkeypatch, capfd):
    def broken(model, x):
        {
            "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
            "exit": lambda: os._exit(3),
            "raise": lambda: 1 // 0,
            "import": lambda: __import__("none"),
        }[fault]()

    monkeypatch.setattr(runtime, "run", broken)
    assert Runtime(model, X).output() is None
    witness = Replay(model, CLAIM).check(X)
    assert witness is not None and witness.reference and witness.real and witness.onnxruntime is None
    assert "by onnxruntime: no answer" in str(witness)
    assert capfd.readouterr() == ("", "")


def test_a_model_that_it_refuses_has_no_output(model):
    assert Runtime(model[:-10], X).output() is None
    assert Runtime(model, X[:1]).output() is None


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="the system does not list a process's children")
def test_no_process_is_left(model):
    before = children()
    Runtime(model, X).end()
    Runtime(model, X).output()
    replay = Replay(model, CLAIM.replace(b"(<= Y_0 10)", b"(<= Y_0 -1)"))
    assert replay.check(X) is None and replay.check(X) is None
    assert children() == before
