"""A second process: its splits become the same tree, and what it leaves open comes back."""

from __future__ import annotations

import numpy as np
import pytest

import torchlean_check as tc
from torchlean.verify import inputs
from torchlean.verify.files import verify_files
from torchlean.verify.team import Log
from torchlean.verify.verdict import Status


@pytest.mark.parametrize("shift", [0.01, 4.0], ids=["short shifts", "one shift"])
def test_a_search_in_two_processes_has_a_certificate_that_checks(shift, mlp, files, monkeypatch) -> None:
    monkeypatch.setattr(inputs, "FORK_AFTER", 0.0)
    monkeypatch.setattr(inputs, "SHIFT", shift)
    start = tc.Kernel.start
    monkeypatch.setattr(tc.Kernel, "start", lambda self: (setattr(self, "chunk", 2), start(self))[1])
    weights, model = mlp((3, 16, 16, 1), 5)
    x = np.random.default_rng(0).uniform(-1, 1, (20_000, 3))
    for w, b in weights[:-1]:
        x = np.maximum(x @ w.T + b, 0)
    y = x @ weights[-1][0].T + weights[-1][1]
    claim = files[1](["-1.0"] * 3, ["1.0"] * 3, 1, [f"(assert (>= Y_0 {y.max() + 0.1 * np.ptp(y):.4f}))"])
    verdict = verify_files(model, claim, timeout=30, workers=2)
    assert verdict.status is Status.UNSAT and verdict.leaves > 20
    assert tc.check(model, claim, verdict.certificate).status == "valid"


def test_a_log_writes_the_tree_that_it_recorded() -> None:
    log = Log(2)
    low, high = log.split(np.array([1]), np.array([0]))
    log.flag(high, tc.DERIVE)
    lower, _ = log.split(np.array([0, int(low[0])]), np.array([1, 0]))
    log.flag(np.array([], np.int64), tc.DERIVE)
    builder = tc.TreeBuilder()
    first, second = builder.split([0], [2])
    ids = log.write(builder, np.array([int(second[0]), int(first[0])]))
    assert len(ids) == 2 + 2 + 4 and len(builder) == 1 + 2 + 2 + 4 and len(set(ids.tolist())) == len(ids)
    tree, position = builder.build()
    assert (tree.op[position[ids[high]]] & tc.DERIVE).all() and not tree.op[position[ids[lower]]].any()
    assert sorted(tree.axis.tolist()) == [0, 0, 1, 2]
