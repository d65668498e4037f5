"""Instances on a ray cluster: nothing that a worker says is believed, and a worker that dies costs nothing but time.

The first tests put a stand-in in ray's place, so that they run everywhere; the last ones need ray.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from torchlean.apps.sweep import Paths, Results, Row, Settings, cluster, read_instances, sweep
from torchlean.apps.sweep.cluster import Answer, Ray, Task, work
from torchlean.errors import Unsupported
from torchlean.io.onnx import write_onnx

CLAIM = "\n".join(
    ["(declare-const X_0 Real)", "(declare-const X_1 Real)", "(declare-const Y_0 Real)", "(assert (>= X_0 0.0))",
     "(assert (<= X_0 1.0))", "(assert (>= X_1 0.0))", "(assert (<= X_1 1.0))", "(assert (>= Y_0 {}))"]
)  # fmt: skip


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """y = relu(x0 + x1): one claim that holds, one that fails, one that does not end well."""
    import numpy as np

    import torchlean as tl
    from torchlean import ops

    monkeypatch.chdir(tmp_path)
    w = np.ones((1, 2), np.float32)
    program = tl.trace(lambda x: x @ w.T, tl.f32["n", 2])
    assert ops.ALL
    write_onnx(program, "net.onnx")
    Path("holds.vnnlib").write_text(CLAIM.format("2.5"))
    Path("fails.vnnlib").write_text(CLAIM.format("1.5"))
    Path("bad.vnnlib").write_text(CLAIM.format("1.5")[:-1])
    Path("list.csv").write_text("net.onnx,holds.vnnlib,30\nnet.onnx,fails.vnnlib,30\nnet.onnx,bad.vnnlib,30\n")
    return tmp_path


class StandIn(ModuleType):
    """What `cluster` asks of ray, in this process. `tamper` sees each answer before it comes back."""

    class exceptions:
        class RayError(Exception):
            pass

    def __init__(self, tamper: Callable[[Answer], Answer], deaths: int = 0) -> None:
        super().__init__("ray")
        self.tamper, self.deaths = tamper, deaths

    def is_initialized(self) -> bool:
        return False

    def init(self, **options: Any) -> None:
        assert options["address"] is None

    def remote(self, function: Any) -> Any:
        return SimpleNamespace(options=lambda **kept: SimpleNamespace(remote=lambda task: (function, task)))

    def get(self, reference: Any) -> Answer:
        if self.deaths:
            raise self.exceptions.RayError("the worker died")
        function, task = reference
        return self.tamper(function(task))

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(gcs_address="127.0.0.1:1")

    def cancel(self, reference: Any, force: bool) -> None:
        assert force

    def shutdown(self) -> None:
        pass


def swept(
    ray: StandIn, monkeypatch: pytest.MonkeyPatch, folder: str | None = None, subtrees: int = 1
) -> dict[str, Any]:
    monkeypatch.setitem(sys.modules, "ray", ray)
    instances, _ = read_instances("list.csv")
    paths = Paths(None, None)
    if folder is not None:
        Path(folder).mkdir()
        paths = Paths(None, Path(folder))
    with Results("results.csv") as results:
        rows = sweep(instances, results, Settings(subtrees=subtrees), paths, 2, engine=Ray())
    return {Path(row.vnnlib).stem: row for row in rows}


def test_a_worker_s_proof_is_checked_here(listed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = swept(StandIn(lambda answer: answer), monkeypatch, "proofs")
    assert [rows[n].status for n in ("holds", "fails", "bad")] == ["unsat", "sat", "error"]
    assert rows["holds"].checked == "valid" and rows["holds"].certificate_bytes > 0
    assert [path.name for path in Path("proofs").iterdir()] == ["0001_net_holds.tlcert"]


def forged(answer: Answer) -> Answer:
    """A worker that calls everything proved, with whatever bytes it has."""
    return replace(answer, verified=replace(answer.verified, status="unsat"), proof=answer.proof or b"TLCERT1")


def damaged(answer: Answer) -> Answer:
    return replace(answer, proof=answer.proof and answer.proof[:-20] + b"\0" * 20)


def missing(answer: Answer) -> Answer:
    return replace(answer, proof=None)


@pytest.mark.parametrize(("tamper", "wrong"), [(forged, "fails"), (damaged, "holds"), (missing, "holds")])
def test_an_unsat_without_a_valid_proof_is_an_error(
    tamper: Callable[[Answer], Answer], wrong: str, listed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = swept(StandIn(tamper), monkeypatch)[wrong]
    assert row.status == "error" and "not valid here" in row.reason and row.checked != "valid" and not row.solved


def elsewhere(answer: Answer) -> Answer:
    """A worker whose witness is no witness."""
    return replace(answer, verified=replace(answer.verified, status="sat", witness=(0.25, 0.25)))


def nowhere(answer: Answer) -> Answer:
    return replace(answer, verified=replace(answer.verified, status="sat", witness=()))


@pytest.mark.parametrize("tamper", [elsewhere, nowhere])
def test_a_sat_without_a_witness_is_an_error(
    tamper: Callable[[Answer], Answer], listed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for row in swept(StandIn(tamper), monkeypatch).values():
        assert row.status == "error" and "violates nothing here" in row.reason


def test_a_proof_of_another_claim_is_refused(listed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker proves something easier and sends that certificate."""
    real = cluster.work

    def easier(task: Task) -> Answer:
        files = {n: CLAIM.format("9.5").encode() if n.endswith(".vnnlib") else data for n, data in task.files.items()}
        return real(replace(task, files=files))

    monkeypatch.setattr(cluster, "work", easier)
    rows = swept(StandIn(lambda answer: answer), monkeypatch)
    assert rows["holds"].status == rows["fails"].status == "error" and not rows["fails"].solved


def test_what_a_query_comes_to_is_derived_here(listed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a query of VNN-LIB 2.0 a proof is about converted files: a worker's own are not looked at."""
    query = """(vnnlib-version <2.0>)
(declare-network f (declare-input X real [1, 2]) (declare-output Y real [1, 1]))
(assert (and (<= 0.0 X[0, 0]) (<= X[0, 0] 1.0) (<= 0.0 X[0, 1]) (<= X[0, 1] 1.0)))
(assert (>= Y[0, 0] {}))
"""
    Path("holds.vnnlib").write_text(query.format("2.5"))
    rows = swept(StandIn(lambda answer: answer), monkeypatch, "proofs")
    assert rows["holds"].status == "unsat" and rows["holds"].checked == "valid"
    assert {path.suffix for path in Path("proofs").iterdir()} == {".tlcert", ".vnnlib"}
    Path("results.csv").unlink()
    real = cluster.work

    def easier(task: Task) -> Answer:
        files = {n: query.format("9.5").encode() if n.endswith(".vnnlib") else data for n, data in task.files.items()}
        return real(replace(task, files=files))

    monkeypatch.setattr(cluster, "work", easier)
    about = ("holds.vnnlib", "../proofs/0001_net_holds.tlcert.vnnlib")
    rows = swept(StandIn(lambda a: replace(a, verified=replace(a.verified, about=about))), monkeypatch)
    assert rows["holds"].status == "error" and "not valid here" in rows["holds"].reason


def test_a_worker_that_is_lost_for_good_is_an_error_and_another_version_ends_the_sweep(
    listed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = swept(StandIn(lambda answer: answer, deaths=3), monkeypatch)
    assert all(row.status == "error" and "lost on the cluster, 3 tries" in row.reason for row in rows.values())
    Path("results.csv").unlink()
    with pytest.raises(Unsupported, match="another torchlean"):
        swept(StandIn(lambda answer: replace(answer, source="0" * 64)), monkeypatch)


def test_without_ray_the_engine_is_refused(listed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(Unsupported, match="ray is not installed"):
        Ray()


needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra ray is not installed")


@needs_ray
def test_parts_are_dealt_by_a_verifier_here_and_its_proof_is_checked(
    listed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """These searches end before a part is dealt; the verifier joins no cluster."""
    rows = swept(StandIn(lambda answer: answer), monkeypatch, "proofs", subtrees=2)
    assert [rows[n].status for n in ("holds", "fails", "bad")] == ["unsat", "sat", "error"]
    assert rows["holds"].checked == "valid" and [p.name for p in Path("proofs").iterdir()] == ["0001_net_holds.tlcert"]
    Path("results.csv").unlink()
    real = cluster.run_one

    def refused(*given: Any) -> Row:
        assert given[-1] == ["--engine", "ray", "--ray-address", "127.0.0.1:1", "--subtrees", "3"]
        row = real(*given)
        return replace(row, checked="invalid" if row.status == "unsat" else row.checked)

    monkeypatch.setattr(cluster, "run_one", refused)
    rows = swept(StandIn(lambda answer: answer), monkeypatch, subtrees=3)
    assert [rows[n].status for n in ("holds", "fails", "bad")] == ["error", "sat", "error"]
    assert "not valid here" in rows["holds"].reason


@pytest.fixture
def local_ray() -> Iterator[Any]:
    """A cluster of this machine with two workers; ray's own processes leave sockets that Python warns about."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ray

        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
        yield ray
        ray.shutdown()


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_sweep_on_two_workers_survives_a_kill(listed: Path, local_ray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first worker of each task is killed by a signal; ray starts the task again."""
    monkeypatch.setattr(cluster, "work", dying(str(listed)))
    instances, _ = read_instances("list.csv")
    with Results("results.csv") as results:
        rows = sweep(instances, results, Settings(), Paths(), 2, engine=Ray(processors=1))
    assert [row.status for row in rows] == ["unsat", "sat", "error"] and rows[0].checked == "valid"
    assert len(list(listed.glob("died*"))) == 3


ACASXU = Path(__file__).resolve().parents[4] / "shared" / "vnncomp" / "acasxu"


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not ACASXU.exists(), reason="the benchmark files are not here")
def test_a_sweep_whose_search_is_dealt_out(tmp_path: Path, local_ray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five inputs, some thousand boxes: the parts of one search run on two workers."""
    monkeypatch.chdir(tmp_path)
    network, claim = ACASXU / "onnx" / "ACASXU_run2a_1_1_batch_2000.onnx", ACASXU / "vnnlib" / "prop_3.vnnlib"
    Path("logs").mkdir()
    Path("list.csv").write_text(f"{network},{claim},120\n")
    instances, _ = read_instances("list.csv")
    with Results("results.csv") as results:
        (row,) = sweep(instances, results, Settings(subtrees=2), Paths(Path("logs"), None), 1, engine=Ray())
    assert (row.status, row.checked) == ("unsat", "valid") and row.leaves > 1000
    assert "--subtrees 2" in next(Path("logs").iterdir()).read_text()


def dying(folder: str) -> Callable[[Task], Answer]:
    def once(task: Task) -> Answer:
        mark = Path(folder, f"died{task.instance.number}")
        if not mark.exists():
            mark.touch()
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGKILL)
        return work(task)

    return once
