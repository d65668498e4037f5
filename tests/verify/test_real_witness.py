"""`sat` under the semantics `real` is about the reals: what violates by float32 rounding alone is no witness."""

from decimal import Decimal

import numpy as np
import pytest

import torchlean_check as tc
from torchlean.verify.clock import Deadline
from torchlean.verify.files import verify_files
from torchlean.verify.outcome import Found
from torchlean.verify.problem import Files, Problem
from torchlean.verify.verdict import Status
from torchlean.verify.witness import Replay

onnx = pytest.importorskip("onnx")


def model() -> bytes:
    """y = (x + 1) - 1: over the reals y = x, in float32 y = 0 for every small x."""
    h, f = onnx.helper, onnx.TensorProto.FLOAT
    one = onnx.numpy_helper.from_array(np.ones(1, np.float32), "one")
    nodes = [
        h.make_node("Add", ["x", "one"], ["a"]),
        h.make_node("Sub", ["a", "one"], ["b"]),
        h.make_node("Relu", ["b"], ["y"]),
    ]
    ends = [h.make_tensor_value_info(name, f, [1, 1]) for name in "xy"]
    graph = h.make_graph(nodes, "g", ends[:1], ends[1:], initializer=[one])
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 13)], ir_version=8).SerializeToString()


CLAIM = b"""(declare-const X_0 Real)(declare-const Y_0 Real)
(assert (>= X_0 0.000000001))(assert (<= X_0 0.00000001))(assert (<= Y_0 0))"""


def test_rounding_alone_violates_float32_but_not_real():
    network, (region,) = tc.load(model(), CLAIM)
    point = np.array([[5e-9]])
    for semantics in ("real", "float32"):
        deadline, rng = Deadline(10.0), np.random.default_rng(0)
        problem = Problem(Files(model(), CLAIM), network, region, semantics, deadline, rng)
        if semantics == "real":
            problem.try_points(point)
        else:
            with pytest.raises(Found) as found:
                problem.try_points(point)
            assert found.value.witness.reference and not found.value.witness.real


def test_the_verdicts_agree():
    assert verify_files(model(), CLAIM, 10.0, "real").status is Status.UNSAT
    asked = verify_files(model(), CLAIM, 10.0, "float32")
    assert asked.status is not Status.UNSAT or asked.semantics == "real"


def test_an_enclosure_of_the_outputs_tells_where_it_can_and_rationals_where_it_cannot(monkeypatch):
    exact = []
    evaluate = Replay._evaluate
    monkeypatch.setattr(Replay, "_evaluate", lambda self, n, x: (exact.append(n.name), evaluate(self, n, x))[1])
    x = np.array([2.0**-60], np.float32)  # 1 + x needs more than 53 bits
    for limit, met, systems in (
        ("-1", False, ["interval(real)"]),
        ("1", True, ["interval(real)"]),
        (f"{Decimal(2.0**-60):f}", True, ["interval(real)", "real"]),
        (f"{Decimal(2.0**-61):f}", False, ["interval(real)", "real"]),
    ):
        ends = "(declare-const X_0 Real)(declare-const Y_0 Real)(assert (>= X_0 0))(assert (<= X_0 1))"
        found = Replay(model(), f"{ends}(assert (<= Y_0 {limit}))".encode()).check(x)
        assert (found is not None and found.real) == met and exact == systems
        exact.clear()
