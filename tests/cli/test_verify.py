"""`torchlean verify` on small networks: the verdict first, then its evidence; the checker agrees."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import torchlean
from torchlean.errors import UsageError
from torchlean.io.onnx import read_onnx
from torchlean.verify.files import verify_files
from torchlean_check.process import processors

HOLDS = ("verify", "net.onnx", "holds.vnnlib")
FAILS = ("verify", "net.onnx", "fails.vnnlib")


def test_unsat_writes_a_certificate_that_the_checker_accepts(folder: Path, run: Callable[..., Any]) -> None:
    ran = run(*HOLDS, "--certificate", "proof")
    first, second, *_ = ran.out.splitlines()
    assert ran.code == 0 and ran.err == ""
    assert first.split()[0] == "unsat" and "every float32 execution" in first
    assert second.startswith("certificate  proof")
    checked = run("check", "net.onnx", "holds.vnnlib", "proof")
    assert checked.code == 0 and checked.out.startswith("valid ") and "0 assumed" in checked.out


def test_unsat_without_a_place_for_the_certificate_writes_nothing(folder: Path, run: Callable[..., Any]) -> None:
    before = sorted(folder.iterdir())
    assert run(*HOLDS).out.startswith("unsat")
    assert sorted(folder.iterdir()) == before


def test_real_semantics_is_named_in_the_verdict_and_the_certificate(folder: Path, run: Callable[..., Any]) -> None:
    ran = run(*HOLDS, "--semantics", "real", "--certificate", "proof")
    assert ran.code == 0 and ran.out.startswith("unsat ") and "over the real numbers" in ran.out.splitlines()[0]
    assert "every float32" not in ran.out
    assert "over the real numbers only" in run("check", "net.onnx", "holds.vnnlib", "proof").out


@pytest.mark.parametrize(("asked", "said"), [((), "root: its boxes are enough"),
                                             (("--strategy", "inputs"), "inputs: asked for"),
                                             (("--strategy", "neurons"), "neurons: asked for")])  # fmt: skip
def test_the_strategy_is_chosen_or_asked_for_and_named(
    folder: Path, run: Callable[..., Any], asked: tuple[str, ...], said: str
) -> None:
    ran = run(*HOLDS, *asked, "--certificate", "proof")
    assert ran.out.startswith("unsat ") and f"\nstrategy     {said}\n" in ran.out
    assert run("check", "net.onnx", "holds.vnnlib", "proof").out.startswith("valid ")
    assert json.loads(run(*HOLDS, *asked, "--json").out)["strategy"] == said


def test_another_strategy_is_refused(folder: Path, run: Callable[..., Any]) -> None:
    ran = run(*HOLDS, "--strategy", "luck")
    assert ran.code == 2 and ran.out == "" and "luck" in ran.err
    assert [part in ran.err for part in ("where:", "expected:", "got:", "fix:")] == 4 * [True]
    with pytest.raises(UsageError, match="no such strategy"):
        verify_files(b"", b"", strategy="luck")


def test_sat_prints_a_witness_that_runs(folder: Path, run: Callable[..., Any]) -> None:
    ran = run(*FAILS, "--certificate", "proof")
    assert ran.code == 0 and ran.out.split()[0] == "sat" and not Path("proof").exists()
    found = {name: float(v) for name, v in re.findall(r"\((?:\()?([XY]_\d) (\S+?)\)", ran.out)}
    assert list(found) == ["X_0", "X_1", "Y_0", "Y_1"]
    x = np.array([[found["X_0"], found["X_1"]]], np.float32)
    assert (np.abs(x) <= 1).all() and found["Y_0"] >= -100
    y = np.array([found["Y_0"], found["Y_1"]], np.float32)
    assert np.array_equal(np.asarray(read_onnx("net.onnx")(x)).ravel(), y)
    text = ran.out[ran.out.index("((X_0") :].strip()
    assert text.count("(") == text.count(")") == 5


def test_json(folder: Path, run: Callable[..., Any]) -> None:
    proved = json.loads(run(*HOLDS, "--certificate", "proof", "--json").out)
    assert proved["verdict"] == "unsat" and proved["semantics"] == "float32" and proved["leaves"] >= 1
    assert proved["certificate"] == "proof" and proved["certificate_bytes"] == len(Path("proof").read_bytes())
    refuted = json.loads(run(*FAILS, "--json").out)
    assert refuted["verdict"] == "sat" and refuted["certificate"] is None
    assert refuted["witness"]["reference"] and all(isinstance(v, str) for v in refuted["witness"]["x"])


def test_gzip_and_a_name_without_its_gz(folder: Path, run: Callable[..., Any]) -> None:
    import gzip

    for name in ("net.onnx", "holds.vnnlib"):
        Path(name + ".gz").write_bytes(gzip.compress(Path(name).read_bytes()))
        Path(name).unlink()
    assert run(*HOLDS, "--certificate", "proof").out.startswith("unsat")
    assert run("check", "net.onnx.gz", "holds.vnnlib.gz", "proof").code == 0


def test_the_checker_reads_the_gzip_files_that_verify_reads(folder: Path, run: Callable[..., Any]) -> None:
    """Several members, with padding; what was compressed twice is refused by both."""
    import gzip

    for name in ("net.onnx", "holds.vnnlib"):
        data = Path(name).read_bytes()
        Path(name + ".gz").write_bytes(gzip.compress(data[:50]) + bytes(9) + gzip.compress(data[50:]) + b"\0")
    packed = ("net.onnx.gz", "holds.vnnlib.gz")
    assert run("verify", *packed, "--certificate", "proof").out.startswith("unsat")
    assert run("check", *packed, "proof").code == run("check", "net.onnx", "holds.vnnlib", "proof").code == 0
    for name in packed:
        Path(name).write_bytes(gzip.compress(Path(name).read_bytes()))
        files = [name if name.startswith(plain) else plain for plain in ("net.onnx", "holds.vnnlib")]
        run("verify", *files).fails(2, "compressed twice", name)
        assert run("check", *files, "proof").code == 4


def test_timeout_is_a_verdict_and_exit_code_4(folder: Path, run: Callable[..., Any], make: Any) -> None:
    """A claim that is true by so little that no box closes before the time is over."""
    from torchlean.io.onnx import write_onnx

    write_onnx(make.network((6, 40, 40, 1), seed=3), "net.onnx")
    program = read_onnx("net.onnx")
    x = np.random.default_rng(0).uniform(-1, 1, (4000, 6)).astype(np.float32)
    top = float(np.asarray(program(x)).max()) * 1.3
    Path("hard.vnnlib").write_text(make.claim(6, 1, f"(assert (>= Y_0 {top:.6f}))"))
    ran = run("verify", "net.onnx", "hard.vnnlib", "--timeout", "0.05", "--certificate", "proof")
    assert ran.code == 4 and ran.out.split()[0] == "timeout" and not Path("proof").exists()


def test_the_same_seed_gives_the_same_certificate(folder: Path, run: Callable[..., Any]) -> None:
    for name in ("a", "b"):
        assert run(*HOLDS, "--seed", "7", "--certificate", name).code == 0
    assert Path("a").read_bytes() == Path("b").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_search_that_dies_is_unknown(
    number: int, folder: Path, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchlean.verify import files

    monkeypatch.setattr(files, "verify_files", lambda *a, **k: os.kill(os.getpid(), number))
    ran = run(*HOLDS, "--certificate", "proof")
    assert ran.code == 4 and ran.out.split()[0] == "unknown" and not Path("proof").exists()


def test_kill_9_ends_the_search_and_its_second_process(folder: Path, make: Any) -> None:
    make.hard("hard.onnx", "hard.vnnlib")
    command = [sys.executable, "-m", "torchlean", "verify", "hard.onnx", "hard.vnnlib", "--timeout", "600"]
    verify = subprocess.Popen([*command, "--strategy", "inputs"],
                              env={**os.environ, "PYTHONPATH": str(Path(torchlean.__file__).parents[1])})  # fmt: skip
    while len(make.running("hard.vnnlib")) < min(processors(), 2) + 1:
        time.sleep(0.02)
    verify.kill()
    verify.wait()
    make.ends("hard.vnnlib")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("torchlean.cli", ("verify", "silent.onnx", "holds.vnnlib")),
        ("torchlean.cli.standard_entry", ("verify", "holds.vnnlib", "--network", "f=silent.onnx")),
    ],
    ids=["our own", "the standard's"],
)
def test_a_request_to_terminate_ends_the_search_too(
    entry: str, words: tuple[str, ...], folder: Path, silent: Any
) -> None:
    """Its process is still reading the model."""
    source = str(Path(torchlean.__file__).parent.parent)
    command = [sys.executable, "-c", f"import sys, {entry} as entry; sys.exit(entry.main())", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": source}) as process:
        silent.wait()
        process.terminate()
        out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b"") and not silent.is_read()


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_kill_9_while_a_certificate_is_written_leaves_the_old_one(
    call: str, folder: Path, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child dies inside the call; no verdict is printed, and the same command works afterwards."""
    assert run(*HOLDS, "--certificate", "proof").code == 0
    before, own = Path("proof").read_bytes(), os.getpid()

    def killed(*arguments: Any) -> int:
        assert os.getpid() != own
        if call == "write":
            with open(arguments[0], "wb", closefd=False) as file:
                file.write(before[: len(before) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdopen" if call == "write" else call, killed)
        for name in ("proof", "new"):
            ran = run(*HOLDS, "--certificate", name)
            assert ran.code == 4 and ran.out.split()[0] == "unknown"
    assert Path("proof").read_bytes() == before and not Path("new").exists()
    assert run(*HOLDS, "--certificate", "new").code == 0 and Path("new").read_bytes() == before


def test_a_bug_is_an_internal_error_and_no_verdict(
    folder: Path, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchlean.verify import files

    monkeypatch.setattr(files, "verify_files", lambda *a, **k: 1 // 0)
    ran = run(*HOLDS)
    assert ran.code == 5 and ran.out == "" and ran.err.startswith("InternalError: a bug in torchlean")


def test_a_memory_budget_is_kept_and_said(folder: Path, run: Callable[..., Any], make: Any) -> None:
    from torchlean.io.onnx import write_onnx

    def alone(*words: str) -> subprocess.CompletedProcess[str]:
        """A process of its own: a fork of this one would have all of this one's memory."""
        source = str(Path(torchlean.__file__).parent.parent)
        return subprocess.run([sys.executable, "-m", "torchlean", *words], capture_output=True, text=True, check=False,
                              env={**os.environ, "PYTHONPATH": source})  # fmt: skip

    assert alone(*HOLDS, "--memory", "1GB", "--certificate", "proof").stdout.startswith("unsat")
    for words, said in ((("--memory", "100MB"), "leave room"), (("--memory", "much"), "a size such as 4GB"),
                        (("--memory", "4iB"), "a size such as 4GB"), (("--memory", "-1"), "expected")):  # fmt: skip
        run(*HOLDS, *words).fails(2, said)
    write_onnx(make.network((40, 2500, 2500, 2)), "large.onnx")
    Path("large.vnnlib").write_text(make.claim(40, 2, "(assert (>= Y_0 1000000.0))"))
    large = ("verify", "large.onnx", "large.vnnlib", "--timeout", "60")
    ran = alone(*large, "--memory", "256MiB", "--certificate", "none")
    assert ran.returncode == 4 and not Path("none").exists(), ran.stderr
    assert ran.stdout.split()[0] == "unknown" and "out of memory" in ran.stdout


def test_deterministic_runs_repeat(folder: Path, run: Callable[..., Any]) -> None:
    for name in ("a", "b"):
        assert run(*HOLDS, "--deterministic", "--certificate", name).out.startswith("unsat")
    assert Path("a").read_bytes() == Path("b").read_bytes()
