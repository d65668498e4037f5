"""`torchlean sweep`: every instance once, results that survive a kill, and no crash among the verdicts."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src"
SWEEP = ("sweep", "list.csv", "--out", "results.csv")


@pytest.fixture
def listed(folder: Path) -> Path:
    """An instance that holds, one that fails, and one whose network is damaged."""
    Path("bad.onnx").write_bytes(Path("net.onnx").read_bytes()[:-40])
    Path("list.csv").write_text(
        "onnx,vnnlib,timeout_s,expected\nnet.onnx,holds.vnnlib,30,unsat\nnet.onnx,fails.vnnlib,30,sat\n"
        "bad.onnx,holds.vnnlib,30,unsat\n"
    )
    return folder


def rows(path: str = "results.csv") -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return sorted(csv.DictReader(file), key=lambda row: int(row["number"]))


def test_a_sweep_with_everything(listed: Path, run: Callable[..., Any]) -> None:
    ran = run(*SWEEP, "--jobs", "2", "--logs", "logs", "--certificates", "proofs", "--check", "--html", "page.html")
    assert ran.code == 0 and ran.err == "", ran.err
    assert [row["status"] for row in rows()] == ["unsat", "sat", "error"]
    assert [row["checked"] for row in rows()] == ["valid", "", ""]
    assert "ONNX" in rows()[2]["reason"] or "onnx" in rows()[2]["reason"]
    said = dict(line.rsplit(maxsplit=1) for line in ran.out.splitlines()[3:])
    assert (said["solved"], said["sat"], said["unsat"], said["error"], said["wrong"]) == ("2", "1", "1", "1", "0")
    (proof,) = Path("proofs").iterdir()
    assert run("check", "net.onnx", "holds.vnnlib", proof).out.startswith("valid")
    logs = {path.name: path.read_text() for path in Path("logs").iterdir()}
    assert sorted(logs) == ["0001_net_holds.log", "0002_net_fails.log", "0003_bad_holds.log"]
    assert "exit code 0" in logs["0001_net_holds.log"] and "valid" in logs["0001_net_holds.log"]
    assert "expected:" in logs["0003_bad_holds.log"] and "status: error" in logs["0003_bad_holds.log"]
    page = Path("page.html").read_text()
    assert "2 of 3 solved" in page and "<svg" in page and "bad.onnx" in page and "http" not in page.split("<svg")[0]
    record = json.loads(Path("results.csv.run.json").read_text())
    assert record["settings"]["check"] and len(record["files"]) == 4 and len(record["stretches"]) == 1


def test_a_finished_sweep_runs_nothing_again(listed: Path, run: Callable[..., Any]) -> None:
    assert run(*SWEEP).code == 0
    before = Path("results.csv").read_bytes()
    ran = run(*SWEEP, "--json")
    found = json.loads(ran.out)
    assert ran.code == 0 and Path("results.csv").read_bytes() == before
    assert found["summary"]["counts"] == {"sat": 1, "unsat": 1, "unknown": 0, "timeout": 0, "error": 1}
    assert [row["status"] for row in found["rows"]] == ["unsat", "sat", "error"]
    assert len(json.loads(Path("results.csv.run.json").read_text())["stretches"]) == 2


def test_memory_and_determinism_are_passed_on(folder: Path, run: Callable[..., Any]) -> None:
    Path("list.csv").write_text("net.onnx,holds.vnnlib,30\n")
    assert run(*SWEEP, "--memory", "512MiB", "--deterministic", "--logs", "logs").code == 0
    (log,) = Path("logs").iterdir()
    assert "--memory 536870912 --deterministic" in log.read_text() and rows()[0]["status"] == "unsat"
    run(*SWEEP[:-1], "other.csv", "--memory", "1MB").fails(2, "leave room")


def test_results_of_another_run_are_refused(listed: Path, run: Callable[..., Any]) -> None:
    Path("list.csv").write_text("net.onnx,holds.vnnlib,30\n")
    assert run(*SWEEP).code == 0
    before = Path("results.csv").read_bytes()
    run(*SWEEP, "--timeout-cap", "5").fails(2, "another run", "timeout_cap")
    run(*SWEEP, "--check").fails(2, "another run", "check")
    Path("holds.vnnlib").write_text(Path("holds.vnnlib").read_text() + "; more\n")
    run(*SWEEP).fails(2, "another run", "holds.vnnlib")
    Path("list.csv").write_text("net.onnx,fails.vnnlib,30\n")
    run(*SWEEP).fails(2, "another run")
    assert Path("results.csv").read_bytes() == before


def test_bad_lines_are_one_error_each_and_nothing_runs(listed: Path, run: Callable[..., Any]) -> None:
    Path("list.csv").write_text("net.onnx,holds.vnnlib\nnet.onnx,holds.vnnlib,soon\nno.onnx,holds.vnnlib,5\n")
    ran = run(*SWEEP, "--logs", "logs", "--html", "page.html")
    assert (ran.code, ran.out) == (2, "") and ran.err.count("FileError:") == 3
    assert [f"list.csv, line {n}" in ran.err for n in (1, 2, 3)] == [True] * 3
    assert all(ran.err.count(f"  {part}") == 3 for part in ("where:", "expected:", "got:", "fix:"))
    assert not any(Path(name).exists() for name in ("results.csv", "results.csv.run.json", "logs", "page.html"))


@pytest.mark.parametrize(
    ("words", "said"),
    [(("sweep", "list.csv"), "--out"), (("sweep", "none.csv", "--out", "r"), "none.csv"),
     ((*SWEEP, "--jobs", "0"), "positive"), ((*SWEEP, "--timeout-cap", "nan"), "finite"),
     ((*SWEEP, "--html", "none/page.html"), "none/page.html"), ((*SWEEP, "--logs", "net.onnx"), "net.onnx"),
     (("sweep", "list.csv", "--out", "none/results.csv"), "none")],
)  # fmt: skip
def test_usage(words: tuple[str, ...], said: str, listed: Path, run: Callable[..., Any]) -> None:
    run(*words).fails(2, said)
    assert not Path("results.csv").exists()


def test_a_full_disk_loses_no_row(listed: Path, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from torchlean.apps.sweep import Results

    real, done = Results._write, []

    def full(self: Results, line: bytes) -> None:
        if len(done) == 2:  # the head and one row
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, os.strerror(28))))
                real(self, line)
        done.append(line)
        real(self, line)

    monkeypatch.setattr(Results, "_write", full)
    ran = run(*SWEEP)
    assert ran.code == 2 and "the disk is full" in ran.err and len(rows()) == 1
    monkeypatch.undo()
    monkeypatch.chdir(listed)
    assert run(*SWEEP).code == 0
    assert [row["status"] for row in rows()] == ["unsat", "sat", "error"]


def test_a_log_that_cannot_be_written_is_no_finished_instance(
    listed: Path, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchlean.apps.sweep import one
    from torchlean.files import unwritable

    def full(path: Path, content: bytes) -> None:
        raise unwritable(path, OSError(28, os.strerror(28)), len(content))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(one, "atomic_write", full)
        ran = run(*SWEEP, "--logs", "logs")
    assert ran.code == 2 and ran.err.count("the disk is full") == 1 and rows() == []
    assert run(*SWEEP, "--logs", "logs").code == 0 and len(rows()) == 3


def started(*more: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-m", "torchlean", *SWEEP, *more], text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(SOURCE)})  # fmt: skip


def test_kill_9_in_the_middle_loses_nothing(folder: Path, run: Callable[..., Any]) -> None:
    Path("list.csv").write_text("net.onnx,holds.vnnlib,30\nnet.onnx,fails.vnnlib,30\n" * 2)
    sweep = started()
    assert sweep.stdout is not None
    assert sweep.stdout.readline().split()[:2] == ["1", "unsat"]
    sweep.kill()
    sweep.communicate()
    before = Path("results.csv").read_bytes()
    finished = len(rows())
    assert 1 <= finished < 4
    Path("results.csv").write_bytes(before + b'3,"net.on')  # what a kill inside the write would leave
    assert run(*SWEEP).code == 0
    assert Path("results.csv").read_bytes().startswith(before)
    assert [row["number"] for row in rows()] == ["1", "2", "3", "4"]
    assert [row["status"] for row in rows()] == ["unsat", "sat"] * 2


def test_a_reader_that_has_gone_loses_nothing(folder: Path) -> None:
    """The sweep goes on, and its exit code says that every instance has a result."""
    Path("list.csv").write_text("net.onnx,holds.vnnlib,30\nnet.onnx,fails.vnnlib,30\n")
    sweep = started()
    assert sweep.stdout is not None and sweep.stderr is not None
    sweep.stdout.close()
    assert (sweep.stderr.read(), sweep.wait()) == ("", 0)
    sweep.stderr.close()
    assert [row["status"] for row in rows()] == ["unsat", "sat"]


@pytest.mark.parametrize(("number", "code", "said"), [(signal.SIGTERM, 130, "interrupted\n"), (signal.SIGKILL, -9, "")])
def test_a_sweep_that_is_ended_ends_every_process(number: int, code: int, said: str, listed: Path, make: Any) -> None:
    make.hard("hard.onnx", "hard.vnnlib")
    Path("list.csv").write_text("net.onnx,holds.vnnlib,30\nhard.onnx,hard.vnnlib,600\n")
    sweep = started()
    assert sweep.stdout is not None and sweep.stdout.readline().split()[1] == "unsat"
    while len(make.running("hard.vnnlib")) < 2:  # the one that waits, and the one that searches
        time.sleep(0.02)
    sweep.send_signal(number)
    _, errors = sweep.communicate(timeout=60)
    assert (sweep.returncode, errors) == (code, said)
    make.ends("hard.vnnlib")
    assert [row["status"] for row in rows()] == ["unsat"]
