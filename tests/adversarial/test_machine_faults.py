"""A search that goes wrong while it runs: NaN in its bounds, a device that vanishes, a process that is killed, splits
that contradict each other. What comes out is right or no answer.
"""

from __future__ import annotations

import os
import signal
import struct
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import pytest

import torchlean_check as tc
from torchlean.verify import boxes, dual, inputs, maps, strategy, team
from torchlean.verify.files import verify_files
from torchlean.verify.tables import slope_table
from torchlean.verify.verdict import Status, Verdict
from torchlean_check.records import slope_rows

CUDA = RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors might be asynchronously reported")


def layers(lab: Any, sizes: tuple[int, ...], seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return [
        (rng.normal(size=(n, m)).astype(np.float32), rng.normal(size=n).astype(np.float32) / 4)
        for m, n in pairwise(sizes)
    ]


@pytest.fixture
def cases(lab: Any) -> Callable[[int], tuple[bytes, bytes, bytes]]:
    """(model, a claim that holds, a claim that fails at one corner or so); both take some search."""

    def make(size: int) -> tuple[bytes, bytes, bytes]:
        net = layers(lab, (size, 16, 16, 1), 3)
        x = np.random.default_rng(0).uniform(-1, 1, (20_000, size))
        x[: 2**10] = np.sign(x[: 2**10])
        for w, b in net[:-1]:
            x = np.maximum(x @ w.T + b, 0)
        y = x @ net[-1][0].T + net[-1][1]
        top, wide = float(y.max()), float(np.ptp(y))
        low, high = [-1.0] * size, [1.0] * size
        texts = (f"(>= Y_0 {top + margin * wide:.4f})" for margin in ((0.02 if size < 6 else 0.3), -0.0002))
        return (lab.network(net), *(lab.claim(low, high, 1, text) for text in texts))

    return make


def never_wrong(model: bytes, holds: bytes, fails: bytes, **options: Any) -> list[Verdict]:
    with np.errstate(all="ignore"):  # numpy would warn of the NaN that is put in
        found = [verify_files(model, claim, timeout=4, **options) for claim in (holds, fails)]
    assert found[0].status is not Status.SAT and found[1].status is not Status.UNSAT
    return found


def spoiled(arrays: Any, share: float, rng: np.random.Generator) -> Any:
    """A share of the numbers made NaN or infinite."""
    out = np.array(arrays, copy=True)
    hit = rng.uniform(size=out.shape) < share
    out[hit] = rng.choice([np.nan, np.inf, -np.inf], size=int(hit.sum()))
    return out


@pytest.mark.parametrize("share", [0.02, 1.0])
def test_nan_in_the_scores_of_the_input_search(cases: Any, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    own, rng = boxes.smear, np.random.default_rng(0)
    monkeypatch.setattr(boxes, "smear", lambda *args: spoiled(own(*args), share, rng))
    holds, _ = never_wrong(*cases(3), workers=1)
    if holds.status is Status.UNSAT:
        assert tc.check(holds.model, holds.claim, holds.certificate).status == "valid"


@pytest.mark.parametrize("share", [0.02, 1.0])
def test_nan_in_the_bounds_of_the_neuron_search(cases: Any, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    own, rng = dual.Dual.maximise, np.random.default_rng(1)

    def maximise(self: Any, *args: Any, **named: Any) -> Any:
        best, put = own(self, *args, **named), self.maps.put
        return replace(best, **{n: put(spoiled(self.maps.get(getattr(best, n)), share, rng))
                                for n in ("value", "alpha", "beta", "cost")})  # fmt: skip

    monkeypatch.setattr(dual.Dual, "maximise", maximise)
    monkeypatch.setattr(strategy, "FEW", 0)
    monkeypatch.setattr(strategy, "MORE", 0)
    monkeypatch.setattr(maps, "PATIENCE", 1e9)
    holds, _ = never_wrong(*cases(8), workers=1)
    if holds.status is Status.UNSAT:
        assert tc.check(holds.model, holds.claim, holds.certificate).status == "valid"


def test_a_slope_that_is_no_number_becomes_a_legal_one() -> None:
    neurons = dual.Neurons.of({1: (-np.ones(5), np.ones(5))})
    table = slope_table(neurons, np.array([np.nan, np.inf, -np.inf, -0.5, 0.5]))
    assert (slope_rows([table], {1: 5}.__getitem__)[1] == [[0.0, 1.0, 0.0, 0.0, 0.5]]).all()


@pytest.mark.parametrize("after", [0, 3, 10])
def test_a_device_that_vanishes_is_unknown(cases: Any, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The maps' device answers some calls, and then fails each one."""
    calls = [0]

    def vanishing(own: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            calls[0] += 1
            if calls[0] > after:
                raise CUDA
            return own(*args, **named)

        return call

    monkeypatch.setattr(strategy, "FEW", 0)
    monkeypatch.setattr(strategy, "MORE", 0)
    monkeypatch.setattr(dual.Dual, "maximise", vanishing(dual.Dual.maximise))
    model, holds, _ = cases(8)
    verdict = verify_files(model, holds, timeout=20, workers=1)
    assert verdict.status is Status.UNKNOWN and verdict.reason.startswith("the device failed: CUDA error")
    assert verdict.certificate is None and not verdict.exhausted


def test_any_other_error_of_the_runtime_is_no_answer_at_all(cases: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **named: Any) -> Any:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(strategy, "FEW", 0)
    monkeypatch.setattr(strategy, "MORE", 0)
    monkeypatch.setattr(dual.Dual, "maximise", broken)
    model, holds, _ = cases(8)
    with pytest.raises(RuntimeError, match="shapes"):
        verify_files(model, holds, timeout=20, workers=1)


@pytest.mark.parametrize("when", ["at once", "while it sends"])
def test_a_second_process_that_is_killed_loses_nothing(cases: Any, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own, started = os.getpid(), []

    def killed(*arguments: Any) -> None:
        assert os.getpid() != own
        if when == "while it sends":
            pipe, data = arguments
            os.write(pipe.fileno(), struct.pack("!i", len(data)) + data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    start = team.start

    def counted(front: Any, work: Any) -> Any:
        started.append(len(front.nodes))
        return start(front, work)

    monkeypatch.setattr(team, "start", counted)
    if when == "at once":
        monkeypatch.setattr(inputs, "_half", killed)
    else:
        monkeypatch.setattr(Connection, "send_bytes", killed)
    monkeypatch.setattr(inputs, "FORK_AFTER", 0.0)
    root = tc.Kernel.start

    def small(kernel: tc.Kernel) -> tc.State:
        kernel.chunk = 1
        return root(kernel)

    monkeypatch.setattr(tc.Kernel, "start", small)
    model, holds, _ = cases(3)
    verdict = verify_files(model, holds, timeout=30, workers=2)
    assert verdict.status is Status.UNSAT and started
    assert tc.check(model, holds, verdict.certificate).status == "valid"


@pytest.mark.parametrize("way", ["inputs", "neurons"])
def test_splits_that_contradict_each_other(lab: Any, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each neuron stands there three times: itself, again, and negated. Most combinations of splits hold no point."""
    for name in ("FEW", "MORE"):
        monkeypatch.setattr(strategy, name, 20 if way == "inputs" else 0)
    (w, b), (v, c) = layers(lab, (3, 5, 1), 7)
    both = np.concatenate([w, w, -w]), np.concatenate([b, b, -b])
    net = [both, (np.concatenate([v, -v, v], axis=1), c)]
    x = np.random.default_rng(0).uniform(-1, 1, (50_000, 3))
    y = np.maximum(x @ both[0].T + both[1], 0) @ net[1][0].T + c
    model, box = lab.network(net), ([-1.0] * 3, [1.0] * 3, 1)
    holds = lab.claim(*box, f"(>= Y_0 {float(y.max()) + 0.05 * float(np.ptp(y)):.4f})")
    verdict = verify_files(model, holds, timeout=20, workers=1)
    assert verdict.status is not Status.SAT
    if way == "inputs" or verdict.status is Status.UNSAT:
        assert verdict.status is Status.UNSAT and tc.check(model, holds, verdict.certificate).status == "valid"
    fails = lab.claim(*box, f"(>= Y_0 {float(y.max()) - 0.05 * float(np.ptp(y)):.4f})")
    assert verify_files(model, fails, timeout=20, workers=1).status is Status.SAT
