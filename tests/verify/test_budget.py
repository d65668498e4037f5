"""Memory that is kept to, and a clock that counts steps."""

from __future__ import annotations

import os
import re
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import torchlean_check as tc
from torchlean.errors import UsageError
from torchlean.verify import command, dual, forks, inputs
from torchlean.verify.boxes import Search
from torchlean.verify.budget import CALM, LEAST, Memory, ran_out, resident
from torchlean.verify.clock import STEP, Deadline, OutOfTime, Steps
from torchlean.verify.files import verify_files
from torchlean.verify.forest import Forest
from torchlean.verify.verdict import Status, Verdict

Claim = tuple[bytes, bytes]


@pytest.fixture
def claims(mlp: Any, files: Any) -> Callable[[int, int, float], Claim]:
    def make(inputs: int, width: int, margin: float) -> Claim:
        """The output stays below its sampled maximum and `margin` of its range."""
        weights, model = mlp((inputs, width, width, 1), 5)
        x = np.random.default_rng(0).uniform(-1, 1, (20_000, inputs))
        for w, b in weights[:-1]:
            x = np.maximum(x @ w.T + b, 0)
        y = x @ weights[-1][0].T + weights[-1][1]
        asserts = [f"(assert (>= Y_0 {y.max() + margin * np.ptp(y):.4f}))"]
        return model, files[1](["-1.0"] * inputs, ["1.0"] * inputs, 1, asserts)

    return make


@pytest.fixture
def hard(claims: Callable[[int, int, float], Claim]) -> Claim:
    """Some dozens of leaves, by splitting inputs."""
    return claims(3, 16, 0.1)


@pytest.fixture
def deep(claims: Callable[[int, int, float], Claim]) -> Claim:
    """Some hundreds of leaves, by splitting neurons."""
    return claims(30, 20, 0.9)


def failing(function: Callable[..., Any], size: Callable[..., int], most: int, problem: Exception) -> Any:
    """The function, which fails for more than `most` at once; and how often it did."""
    failed = [0]

    def call(*args: Any, **named: Any) -> Any:
        if size(*args) > most:
            failed[0] += 1
            raise problem
        return function(*args, **named)

    return call, failed


def proved(claim: Claim, verdict: Verdict) -> None:
    assert verdict.status is Status.UNSAT and verdict.leaves > 8
    assert tc.check(*claim, verdict.certificate).status == "valid"


def test_the_input_search_halves_its_batch(hard: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    call, failed = failing(tc.Kernel.bound, lambda kernel, state: len(state), 8, MemoryError("out of memory"))
    monkeypatch.setattr(tc.Kernel, "bound", call)
    verdict = verify_files(*hard, timeout=60, workers=1)
    monkeypatch.undo()  # the checker has the same kernel
    proved(hard, verdict)
    assert failed[0] >= 1


@pytest.mark.parametrize("problem", [MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")])
def test_the_neuron_search_halves_its_batch(deep: Claim, problem: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    call, failed = failing(dual.Dual.maximise, lambda walk, forms, side, *rest: len(side), 100, problem)
    monkeypatch.setattr(dual.Dual, "maximise", call)
    monkeypatch.setattr("torchlean.verify.maps.PATIENCE", 1e9)  # numpy throughout
    deadline = Deadline(60)
    proved(deep, verify_files(*deep, deadline=deadline, workers=1, strategy="neurons"))
    assert failed[0] >= 1


@pytest.mark.parametrize("module", ["refine", "tighten"])
def test_trees_of_hidden_bounds_halve_their_batch(deep: Claim, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass whose trees ran out of memory goes on with fewer at once, and leaves no bound out."""
    call, failed = failing(forks.fork, lambda walk, given, *rest: len(given.side), 8, RuntimeError("out of memory"))
    monkeypatch.setattr(f"torchlean.verify.{module}.fork", call)
    monkeypatch.setattr("torchlean.verify.budget.CALM", 1 << 30)
    if module == "tighten":
        monkeypatch.setattr("torchlean.verify.neurons.LEAVES", (1,))
        monkeypatch.setattr("torchlean.verify.forest.grow", lambda *_: Forest(tc.TreeBuilder(), [], [], {}))
    deadline = Deadline(60)
    verdict = verify_files(*deep, deadline=deadline, workers=1, strategy="neurons")
    assert verdict.status is Status.UNSAT and tc.check(*deep, verdict.certificate).status == "valid"
    assert failed[0] >= 1 and deadline.memory.share < 1


@pytest.mark.parametrize("problem", [MemoryError(), RuntimeError("DefaultCPUAllocator: not enough memory")])
def test_where_nothing_helps_the_answer_is_unknown(hard: Claim, problem: Exception,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    call, _ = failing(tc.Kernel.bound, lambda kernel, state: 1, 0, problem)
    monkeypatch.setattr(tc.Kernel, "bound", call)
    verdict = verify_files(*hard, timeout=60, workers=1)
    assert verdict.status is Status.UNKNOWN and verdict.reason == "out of memory" and verdict.exhausted
    other, _ = failing(tc.Kernel.bound, lambda kernel, state: 1, 0, RuntimeError("a bug"))
    monkeypatch.setattr(tc.Kernel, "bound", other)
    with pytest.raises(RuntimeError, match="a bug"):
        verify_files(*hard, timeout=60, workers=1)


def test_a_call_is_tried_again_only_where_that_is_safe() -> None:
    def fails() -> int:
        raise MemoryError

    def grows() -> int:
        tree.append(1)
        raise MemoryError

    memory, tree = Memory(), [0]
    assert memory.size(100) == 100 and memory.attempt(lambda: 5, 1) == 5
    assert memory.attempt(fails, 8) is None and memory.size(100) == 50 and memory.size(1) == 1
    with pytest.raises(MemoryError):
        memory.attempt(fails, 1)
    with pytest.raises(MemoryError):
        memory.attempt(grows, 8, tree)
    with pytest.raises(RuntimeError, match="another"):
        memory.attempt(lambda: (_ for _ in ()).throw(RuntimeError("another")), 8)
    assert not ran_out(ValueError("out of memory"))


def test_a_budget_without_room_is_refused() -> None:
    with pytest.raises(UsageError, match="leave room"):
        Memory(LEAST - 1)
    assert Memory(LEAST).limit == LEAST and Memory().limit is None


needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="reads /proc")


@needs_proc
def test_an_allocation_beyond_the_budget_fails_where_it_is_made() -> None:
    """In a child: the limit stays with a process."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            used = int(re.search(r"VmData:\s+(\d+)", Path("/proc/self/status").read_text())[1]) << 10  # type: ignore[index]
            Memory(used + (1 << 30)).keep()
            np.ones(1 << 20)
            try:
                np.ones(1 << 28)  # 2 GiB
            except MemoryError:
                code = 0 if resource.getrlimit(resource.RLIMIT_DATA)[0] == used + (1 << 30) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@needs_proc
def test_the_resident_memory_of_a_group_is_seen() -> None:
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        held = np.ones(1 << 24)
        time.sleep(60 if held[0] else 0)
        os._exit(0)
    try:
        end = time.monotonic() + 20
        while resident(child) < 1 << 27 and time.monotonic() < end:
            time.sleep(0.01)
        assert 1 << 27 <= resident(child) < 1 << 33
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert resident(child) == 0


@needs_proc
@pytest.mark.parametrize("form", ["text", "standard"])
def test_what_no_limit_stops_is_ended_from_outside(form: str, monkeypatch: pytest.MonkeyPatch,
                                                   capfd: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    def decide(options: command.Options, start: float) -> int:
        held = [np.ones(1 << 23) for _ in range(8)]  # 512 MiB, and no limit of its own
        time.sleep(60)
        return len(held)

    monkeypatch.setattr(command, "_decide", decide)
    options = command.Options((("", "net.onnx"),), "claim.vnnlib", form=form, memory=LEAST)
    start = time.monotonic()
    code = command.run_verify(options)
    said = capfd.readouterr()
    assert time.monotonic() - start < 30
    if form == "text":
        assert code == 4 and said.out.startswith("unknown  out of memory") and "--memory" in said.out
    else:
        assert code == 0 and said.out == "unknown\n" and "out of memory" in said.err


def test_a_clock_of_steps_is_moved_by_checks_alone() -> None:
    clock = Steps(1000)
    part = clock.part(3 * STEP)
    time.sleep(0.01)
    assert clock.spent == part.spent == 0 and clock.left == 1000 and clock.elapsed >= 0.01
    for _ in range(4):
        clock.check()
    assert clock.spent == part.spent == 4 * STEP and part.left < 0 < clock.left
    late = Steps(0.001)
    time.sleep(0.01)
    with pytest.raises(OutOfTime):
        late.check()


@pytest.mark.parametrize("way", ["inputs", "neurons"])
def test_steps_make_the_certificate_s_bytes_repeat(
    way: str, hard: Claim, deep: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same search, once undisturbed and once with pauses that would move it to other choices."""
    claim = hard if way == "inputs" else deep
    # by time, numpy's maps would be left for torch's in the slow run alone
    monkeypatch.setattr("torchlean.verify.maps.PATIENCE", 60 * STEP)
    monkeypatch.setattr(inputs, "FIRST_ATTACK", 2 * STEP)
    monkeypatch.setattr(inputs, "FORK_AFTER", 3 * STEP)
    first = verify_files(*claim, deadline=Steps(60), seed=3, strategy=way)
    for owner, name in ((Search, "step"), (tc.Kernel, "refute")):
        monkeypatch.setattr(owner, name, late(getattr(owner, name)))
    second = verify_files(*claim, deadline=Steps(60), seed=3, strategy=way)
    proved(claim, first)
    assert first.certificate == second.certificate


def late(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **named: Any) -> Any:
        time.sleep(0.01)
        return function(*args, **named)

    return call


def test_what_is_kept_for_later_is_given_back_before_a_single_item_fails() -> None:
    memory, calls = Memory(), [0]

    def call() -> str:
        calls[0] += 1
        if calls[0] == 1:
            raise RuntimeError("CUDA out of memory")
        return "done"

    assert (memory.attempt(call, 1), memory.share) == ("done", 1.0)
    calls[0] = 0
    assert (memory.attempt(call, 2), memory.share) == (None, 0.5)
    for _ in range(CALM):
        assert memory.attempt(call, 1) == "done"
    assert memory.share == 1.0
    with pytest.raises(MemoryError):
        memory.attempt(lambda: (_ for _ in ()).throw(MemoryError("out of memory")), 1)
