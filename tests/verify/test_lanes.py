"""Work side by side: who does what, what ends it, and searches that share a tree and its tables."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import torchlean_check as tc
from torchlean.verify import advance, clauses
from torchlean.verify.clock import Deadline, OutOfTime
from torchlean.verify.files import verify_files
from torchlean.verify.lanes import Lanes
from torchlean.verify.maps import Engine, NumpyMaps
from torchlean.verify.problem import Files

MAPS = NumpyMaps.__new__(NumpyMaps)  # no network: lanes ask it for contexts alone


class Work:
    """Waits for the others, so that a job alone would not end; or raises; or goes on until it is stopped."""

    def __init__(self, meet: threading.Barrier) -> None:
        self.meet, self.jobs, self.stopped, self.ended = meet, list[str](), threading.Event(), False

    def __call__(self, job: str) -> str:
        self.jobs.append(job)
        if job == "meets":
            self.meet.wait(30)
        if job == "fails":
            raise OSError("no more")
        if job == "goes on":
            assert self.stopped.wait(30)
            time.sleep(0.1)
            self.ended = True
            raise OutOfTime("stopped", where="", expected="", got="", fix="")
        return job

    def stop(self) -> None:
        self.stopped.set()


def test_jobs_run_side_by_side_and_each_comes_back_once() -> None:
    works = [Work(threading.Barrier(2))] * 2
    with Lanes(MAPS, works) as lanes:
        assert (lanes.free, lanes.busy) == (2, 0)
        lanes.start("meets")
        lanes.start("meets")
        assert (lanes.free, lanes.busy) == (0, 2)
        assert [lanes.next(), lanes.next()] == [("meets", "meets")] * 2
        lanes.start("again")
        assert lanes.next() == ("again", "again") and lanes.free == 2


def test_what_a_job_raises_comes_out_once_the_others_have_ended() -> None:
    works = [Work(threading.Barrier(1)) for _ in range(3)]

    def searched() -> None:
        with Lanes(MAPS, works) as lanes:
            for job in ("goes on", "goes on", "fails"):
                lanes.start(job)
            lanes.next()

    with pytest.raises(OSError, match="no more"):
        searched()
    going = [work for work in works if work.jobs == ["goes on"]]
    assert len(going) == 2 and all(work.ended for work in going)


def test_tables_that_come_from_several_threads_stand_where_it_is_said() -> None:
    files = Files(b"", b"")

    def adds(i: int) -> None:
        for n in range(200):
            mine = [tc.SlopeTable({}, np.array([i, n, k], np.int16)) for k in range(3)]
            for table, at in zip(mine, files.add(mine).tolist(), strict=True):
                assert files.tables[at] is table

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(adds, range(4)))
    assert len(files.tables) == 4 * 200 * 3


@pytest.fixture
def several(mlp, files, monkeypatch):
    """A network, and a claim of three clauses that are not closed at the root; factor: 1 is the greatest value found.

    Each batch of cases waits, once, for one in another lane; which lanes worked is remembered.
    """
    monkeypatch.setattr("torchlean.verify.neurons.SMALL", 0)
    monkeypatch.setattr("torchlean.verify.neurons.LEAVES", (1,))
    monkeypatch.setattr(Engine, "device", property(lambda _: True))
    weights, model = mlp((24, 12, 12, 3), 1)
    rng = np.random.default_rng(0)
    y = rng.choice([-0.5, 0.5], (40_000, 24))
    for k, (w, b) in enumerate(weights):
        y = y @ w.T + b
        y = np.maximum(y, 0) if k < 2 else y
    lines = y[:, 0].max(), y[:, 1].max(), (y[:, 0] - y[:, 2]).max()

    def claim(factor: float) -> bytes:
        a, b, c = (f"{factor * line:.4f}" for line in lines)
        asked = f"(and (>= Y_0 {a})) (and (>= Y_1 {b}) (<= Y_0 100.0)) (and (>= (- Y_0 Y_2) {c}))"
        made: bytes = files[1](["-0.5"] * 24, ["0.5"] * 24, 3, [f"(assert (or {asked}))"])
        return made

    return model, claim


def test_cases_in_lanes_make_one_proof(several, monkeypatch) -> None:
    own, meet, met, worked = advance.Advance._advance, threading.Barrier(2), [0], set()

    def meets(self, batch):
        worked.add(self)
        if met[0] < 2:
            met[0] += 1
            meet.wait(60)  # two batches at once, or the test fails
        return own(self, batch)

    monkeypatch.setattr(advance.Advance, "_advance", meets)
    model, claim = several[0], several[1](1.5)
    verdict = verify_files(model, claim, 120.0, strategy="neurons")
    assert verdict.status.value == "unsat" and verdict.leaves > 3 and len(worked) >= 2
    assert tc.check(model, claim, verdict.certificate).status == "valid"


def test_memory_that_ran_out_in_a_lane_gives_its_cases_back(several, monkeypatch) -> None:
    own, failed = advance.Advance._advance, []

    def fails(self, batch):
        if len(batch) > 1 or len(failed) < 2:
            failed.append(len(batch))
            if len(failed) < 3:
                own(self, batch)  # what is found and lost again may not count
            raise MemoryError
        return own(self, batch)

    monkeypatch.setattr(advance.Advance, "_advance", fails)
    monkeypatch.setattr(clauses, "LANES", 1)
    deadline = Deadline(120)
    model, claim = several[0], several[1](1.5)
    verdict = verify_files(model, claim, deadline=deadline, strategy="neurons")
    assert failed[:2] == [3, 1] and verdict.status.value == "unsat" and deadline.memory.share < 1
    assert tc.check(model, claim, verdict.certificate).status == "valid"


def test_a_witness_of_one_lane_ends_all(several, monkeypatch) -> None:
    """While another goes on and on, until it is told to stop."""
    begun, ended = threading.Event(), []
    own = advance.Advance._advance

    def acts(self, batch):
        if not begun.is_set():
            begun.set()
            try:
                while True:
                    self.deadline.check()
                    time.sleep(0.01)
            finally:
                ended.append(self)
        assert begun.wait(60)
        self.relus.problem.ask(self.relus.problem.nearest[0].astype(np.float32))
        return own(self, batch)

    monkeypatch.setattr(advance.Advance, "_advance", acts)
    monkeypatch.setattr("torchlean.verify.problem.Problem.try_points", lambda *_: None)
    model, claim = several[0], several[1](0.99)
    verdict = verify_files(model, claim, 120.0, strategy="neurons")
    assert verdict.status.value == "sat" and len(ended) == 1


def test_the_clock_ends_all_lanes(several, monkeypatch) -> None:
    ended = []

    def goes_on(self, batch):
        try:
            while True:
                self.deadline.check()
                time.sleep(0.01)
        finally:
            ended.append(self)

    monkeypatch.setattr(advance.Advance, "_advance", goes_on)
    verdict = verify_files(several[0], several[1](1.5), 4.0, strategy="neurons")
    assert verdict.status.value == "timeout" and len(ended) == 3
