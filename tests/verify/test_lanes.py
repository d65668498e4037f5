"""Work side by side: who does what, what ends it, and searches that share a tree and its tables."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import torchlean_check as tc
from torchlean.verify import advance, clauses
from torchlean.verify.cases import Case, Warm
from torchlean.verify.clock import Deadline, OutOfTime
from torchlean.verify.files import verify_files
from torchlean.verify.lanes import SWITCH, Lanes
from torchlean.verify.maps import Engine, NumpyMaps
from torchlean.verify.problem import Files, Problem
from torchlean.verify.relus import Relus

LEAVES = 14  # of the proof of claims that are true by far
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
    works, before = [Work(threading.Barrier(2))] * 2, sys.getswitchinterval()
    with Lanes(MAPS, works) as lanes:
        assert sys.getswitchinterval() == pytest.approx(SWITCH)
        assert lanes.busy == 0
        lanes.start("meets")
        lanes.start("meets")
        assert lanes.busy == 2
        assert [lanes.next(), lanes.next()] == [("meets", "meets")] * 2
        lanes.start("again")
        assert lanes.next() == ("again", "again") and lanes.busy == 0
    assert sys.getswitchinterval() == pytest.approx(before)


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


class Slow(list):
    """A list that others may read and change just after it grew."""

    def __iadd__(self, more):
        self.extend(more)
        time.sleep(0.001)
        return self


def test_tables_that_come_from_several_threads_stand_where_it_is_said() -> None:
    files = Files(b"", b"", Slow())

    def adds(i: int) -> None:
        for n in range(20):
            mine = [tc.SlopeTable({}, np.array([i, n, k], np.int16)) for k in range(3)]
            for table, at in zip(mine, files.add(mine).tolist(), strict=True):
                assert files.tables[at] is table

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(adds, range(4)))
    assert len(files.tables) == 4 * 20 * 3


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


@pytest.fixture
def root(several):
    """The root's relus of that claim, as a search begins."""
    model, claim = several[0], several[1](1.5)
    network, (region,) = tc.load(model, claim)
    problem = Problem(Files(model, claim), network, region, "float32", Deadline(60), np.random.default_rng(0))
    return Relus(problem, problem.kernel.start(), Engine(network), (), trust=True)


def test_lanes_have_clocks_and_homes_of_their_own_and_share_what_is_recorded(root) -> None:
    first = advance.Advance(root, {0: 1.0, 1: 1.0}, False)
    one, other = first.beside(2), first.beside(2)
    for a, b in itertools.combinations([first, one, other], 2):
        assert a.relus is not b.relus and a.relus.refuter is not b.relus.refuter
        assert a.deadline is not b.deadline and a.deadline.memory is b.deadline.memory
        assert a.relus.dual is b.relus.dual and a.tightening._clause() is b.tightening._clause()
        assert a.relus.problem.files is b.relus.problem.files
    for each in (first, one, other):
        relus, deadline = each.relus, each.deadline
        assert deadline is relus.problem.deadline is relus.refuter.problem.deadline is each.tightening.problem.deadline
        assert each.tightening.relus is relus
    one.relus.refuter._placed[3] = 1
    assert not other.relus.refuter._placed and not root.refuter._placed
    n = root.neurons
    case = Case(0, 0, n.side(()), n.lo, n.hi, 0.0)
    one.relus.enter([case, case])
    assert len(one.relus.lo) == 2 and len(other.relus.lo) == len(root.lo) == 1
    assert not one.relus.refuter._placed
    end = first.deadline.end
    one.stop()
    assert (first.deadline.end, other.deadline.end) == (end, end)
    with pytest.raises(OutOfTime):
        one.deadline.check()


def test_cases_in_lanes_make_one_proof(several, monkeypatch) -> None:
    """Splits, trees that are given up, and other lanes that enter their cases at every turn."""
    own, enter, meet, met, worked = advance.Advance._advance, Relus.enter, threading.Barrier(2), [0], set()

    def meets(self, batch):
        worked.add(self)
        if met[0] < 2:
            met[0] += 1
            meet.wait(60)  # two batches at once, or the test fails
        return own(self, batch)

    def waits(self, cases):
        enter(self, cases)
        time.sleep(0.002)

    monkeypatch.setattr(advance.Advance, "_advance", meets)
    monkeypatch.setattr(Relus, "enter", waits)
    monkeypatch.setattr(advance, "FAR", 0.1)  # few trees, and more cases
    monkeypatch.setattr(advance, "TINY", 0)
    grafts, graft = [], tc.TreeBuilder.graft
    monkeypatch.setattr(tc.TreeBuilder, "graft", lambda self, *a: grafts.append(a[0]) or graft(self, *a))
    model, claim = several[0], several[1](1.35)
    verdict = verify_files(model, claim, 120.0, strategy="neurons")
    assert (verdict.status.value, verdict.reason) == ("unsat", "proved") and len(worked) >= 2
    assert len(grafts) >= 6 and len(set(grafts)) == len(grafts)
    assert LEAVES // 2 < verdict.leaves < 2 * LEAVES
    assert tc.check(model, claim, verdict.certificate).status == "valid"


def test_memory_that_ran_out_in_a_lane_gives_its_cases_back(several, monkeypatch) -> None:
    """Fewer cases at a time, and then fewer lanes: in the end it goes on alone."""
    own, inside, sizes = advance.Advance._advance, [], []

    def fails(self, batch):
        inside.append(self)
        sizes.append(len(batch))
        try:
            if len(sizes) < 6:
                own(self, batch)  # what is found and lost again may not count
            time.sleep(0.02)
            if len(batch) > 1 or len(inside) > 1:
                raise MemoryError
            return own(self, batch)
        finally:
            inside.remove(self)

    monkeypatch.setattr(advance.Advance, "_advance", fails)
    monkeypatch.setattr(clauses, "LANES", 2)
    deadline = Deadline(120)
    model, claim = several[0], several[1](1.5)
    verdict = verify_files(model, claim, deadline=deadline, strategy="neurons")
    assert max(sizes) == 2 and verdict.status.value == "unsat" and deadline.memory.share < 1
    assert tc.check(model, claim, verdict.certificate).status == "valid"


def test_without_memory_for_one_case_alone_there_is_no_answer(several, monkeypatch) -> None:
    def fails(self, batch):
        raise MemoryError

    monkeypatch.setattr(advance.Advance, "_advance", fails)
    verdict = verify_files(several[0], several[1](1.5), 60.0, strategy="neurons")
    assert (verdict.status.value, verdict.reason) == ("unknown", "out of memory") and verdict.exhausted


def test_a_device_that_vanishes_under_a_lane_is_no_verdict(several, monkeypatch) -> None:
    def fails(self, batch):
        raise RuntimeError("CUDA error: the device is gone")

    monkeypatch.setattr(advance.Advance, "_advance", fails)
    monkeypatch.setattr(NumpyMaps, "finish", lambda self: fails(self, []))
    verdict = verify_files(several[0], several[1](1.5), 60.0, strategy="neurons")
    assert verdict.status.value == "unknown" and verdict.reason.startswith("the device failed: CUDA error")


def test_cases_that_wait_longest_start_anew_where_much_is_kept(root) -> None:
    """What cases start from takes no more bytes than there is room for; the one that is next keeps it."""
    search, n = clauses.ClauseSearch(tc.TreeBuilder(), root, {0: 1.0}), root.neurons
    warm = Warm(root.maps, np.zeros((2, 1), np.int64), np.zeros((1, 1)))
    for room, left in ((3.5, 3), (1.0, 1), (0.0, 1), (9.0, 6)):
        cases = [Case(i, 0, n.side(()), n.lo, n.hi, 0.0, warm={1: warm}) for i in range(6)]
        each = 4 * cases[0].unstable * len(n) * 4  # slopes and multipliers of two bounds for each
        assert search._kept(cases, int(room * each)) is cases
        assert [bool(case.warm) for case in cases] == [False] * (6 - left) + [True] * left


def goes_on(ended, self):
    """Until the clock ends it, which is noted."""
    try:
        while True:
            self.deadline.check()
            time.sleep(0.01)
    finally:
        ended.append(self)


def test_a_witness_of_one_lane_ends_all(several, monkeypatch) -> None:
    """While another goes on and on, until it is told to stop."""
    begun, ended = threading.Event(), []
    own = advance.Advance._advance

    def acts(self, batch):
        if not begun.is_set():
            begun.set()
            goes_on(ended, self)
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
    monkeypatch.setattr(advance.Advance, "_advance", lambda self, _: goes_on(ended, self))
    verdict = verify_files(several[0], several[1](1.5), 4.0, strategy="neurons")
    assert verdict.status.value == "timeout" and len(ended) == 3
