"""Command lines that make no sense, full disks, and files that are not the ones a certificate is about."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from torchlean.cli.main import COMMANDS
from torchlean.errors import FileError
from torchlean.report import Page
from torchlean.train.checkpoint import Checkpoint, Settings, save_checkpoint

SOURCE = Path(__file__).resolve().parents[2] / "src"
VERIFY = ("verify", "net.onnx", "holds.vnnlib")
SWEEP = ("sweep", "list.csv", "--out", "results.csv")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("prove", "a"), "no such command"),
        (("--verify",), "no such command"),
        (("verify",), "required: model, property"),
        (("verify", "net.onnx"), "required: property"),
        ((*VERIFY, "third"), "third"),
        ((*VERIFY, "--unknown", "1"), "--unknown"),
        ((*VERIFY, "--time", "1"), "--time"),
        ((*VERIFY, "--cert=proof"), "--cert"),
        ((*VERIFY, "--timeout", "1", "--timeout", "2"), "--timeout is given twice"),
        ((*VERIFY, "--json", "--json"), "--json is given twice"),
        ((*VERIFY, "--semantics", "float64"), "float64"),
        ((*VERIFY, "--seed", "-1"), "--seed"),
        ((*VERIFY, "--seed", "1.5"), "--seed"),
        ((*VERIFY, "--certificate"), "--certificate"),
        *(((*VERIFY, "--timeout", bad), "--timeout") for bad in ("0", "-1", "nan", "inf", "-inf", "ten", "")),
        ((*VERIFY, "--subtrees", "0", "--engine", "ray"), "--subtrees"),
        ((*VERIFY, "--subtrees", "2"), "parts of a search go with --engine ray"),
        ((*VERIFY, "--ray-address", "127.0.0.1:1"), "an address goes with --engine ray"),
        ((*VERIFY, "--engine", "ray", "--ray-address", "here"), "expected HOST:PORT"),
        ((*VERIFY, "--engine", "ray", "--deterministic"), "its certificate does not repeat"),
        ((*SWEEP, "--subtrees", "0", "--engine", "ray"), "--subtrees"),
        ((*SWEEP, "--subtrees", "x", "--engine", "ray"), "--subtrees"),
        ((*SWEEP, "--subtrees", "2"), "parts of a search go with --engine ray"),
        ((*SWEEP, "--subtrees", "2", "--engine", "local"), "parts of a search go with --engine ray"),
        ((*SWEEP, "--subtrees", "2", "--engine", "ray", "--deterministic"), "its certificate does not repeat"),
        (("inspect", "net.onnx", "--js"), "--js"),
        (("meanings", "net.onnx", "--digits", "0"), "--digits"),
        (("export", "net.onnx", "out.txt"), "out.txt"),
        (("import", "net.onnx", "out.onnx"), "out.onnx"),
        (("quickstart", "--steps", "0"), "--steps"),
        (("quickstart", "--timeout", "nan"), "--timeout"),
        (("quickstart", "extra"), "extra"),
        (("check", "net.onnx", "holds.vnnlib"), "certificate"),
        (("check", "net.onnx", "holds.vnnlib", "absent"), "absent"),
        (("check", "net.onnx", "holds.vnnlib", "x", "--fast"), "--fast"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, tuple) else "",
)
def test_usage_is_one_error_and_exit_code_2(
    words: tuple[str, ...], said: str, folder: Path, run: Callable[..., Any]
) -> None:
    before = sorted(folder.iterdir())
    run(*words).fails(2, said)
    assert sorted(folder.iterdir()) == before


def test_no_command_prints_the_help(run: Callable[..., Any]) -> None:
    ran = run()
    assert ran.code == 2 and all(f"  {name} " in ran.out for name in COMMANDS)


def options(text: str) -> set[str]:
    return set(re.findall(r"\[(-[-a-z]+)", text)) | set(re.findall(r" (--[-a-z]+) ", text))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, run: Callable[..., Any]) -> None:
    ran = run(command, "--help")
    assert ran.code == 0 and ran.out.startswith("usage: torchlean") and ran.err == ""


@pytest.mark.parametrize("command", ["sweep", "robustness"])
def test_the_documents_show_every_option(command: str, run: Callable[..., Any]) -> None:
    text = (SOURCE.parent / "docs" / f"{command}.md").read_text()
    shown = text.split("```")[1]
    assert shown.startswith(f"\ntorchlean {command} ")
    assert options(shown) == options(run(command, "--help").out.split("options:")[0]) - {"-h"}


def test_a_process_says_the_same(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "torchlean", "verify", "net.onnx", "absent.vnnlib"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.startswith("FileError: the file does not exist")


def test_a_certificate_of_other_files(folder: Path, run: Callable[..., Any], make: Any) -> None:
    assert run(*VERIFY, "--certificate", "proof").code == 0
    Path("other.vnnlib").write_text(make.claim(2, 2, "(assert (>= Y_0 101.0))"))
    for files in (("net.onnx", "other.vnnlib", "proof"), ("net.onnx", "holds.vnnlib", "net.onnx")):
        ran = run("check", *files)
        assert ran.code == 4 and ran.out.split()[0] == "invalid"
        assert all(ran.err.count(part) == 1 for part in ("where:", "expected:", "got:", "fix:"))
    assert "another VNN-LIB property" in run("check", "net.onnx", "other.vnnlib", "proof").err


@pytest.mark.usefixtures("full_disk")
class TestFullDisk:
    """Nothing is left behind and the old file stays."""

    @pytest.mark.parametrize("old", [None, b"old"])
    def test_certificate(self, old: bytes | None, folder: Path, run: Callable[..., Any]) -> None:
        if old is not None:
            Path("proof").write_bytes(old)
        before = sorted(folder.iterdir())
        run(*VERIFY, "--certificate", "proof").fails(2, "the disk is full", "proof")
        assert sorted(folder.iterdir()) == before
        assert old is None or Path("proof").read_bytes() == old

    @pytest.mark.parametrize("words", [("export", "net.onnx", "out.onnx"), ("import", "net.onnx", "out")])
    def test_models(self, words: tuple[str, ...], folder: Path, run: Callable[..., Any]) -> None:
        before = sorted(folder.iterdir())
        run(*words).fails(2, "the disk is full")
        assert sorted(folder.iterdir()) == before

    def test_page(self, folder: Path) -> None:
        before = sorted(folder.iterdir())
        with pytest.raises(FileError, match="the disk is full"):
            Page("title", "lead").write(Path("page.html"))
        assert sorted(folder.iterdir()) == before

    def test_checkpoint(self, folder: Path) -> None:
        settings = Settings("p", "mse", "adam", 1, 0, "keep", 1, "d", "eager")
        before = sorted(folder.iterdir())
        with pytest.raises(FileError, match="the disk is full"):
            save_checkpoint("run", Checkpoint(settings, 1, {"w": np.zeros(3, np.float32)}))
        assert sorted(folder.iterdir()) == before


def test_a_folder_that_is_missing_is_known_before_the_search(
    folder: Path, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchlean.verify import files

    def search(*words: object, **more: object) -> None:
        raise AssertionError("the search began")

    monkeypatch.setattr(files, "verify_files", search)
    run(*VERIFY, "--certificate", "absent/proof").fails(2, "absent/proof")
    run(*VERIFY, "--certificate", folder).fails(2, "directory")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("words", [VERIFY, ("inspect", "net.onnx"), ("--help",)])
def test_an_answer_that_cannot_be_written(words: tuple[str, ...], folder: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "torchlean", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
        )
    assert done.returncode == 2 and done.stderr.startswith("FileError: the answer cannot be written")
    assert done.stderr.count("Error") == 1


@pytest.mark.parametrize("closed", [False, True], ids=["its reader has gone", "closed"])
@pytest.mark.parametrize(
    ("entry", "words", "code", "out"),
    [
        ("torchlean.cli", ("verify", "absent.onnx", "holds.vnnlib"), 2, ""),
        ("torchlean.cli", ("verify", "net.onnx"), 2, ""),
        ("torchlean.cli.standard_entry", ("verify", "holds.vnnlib", "--network", "f=net.onnx"), 2, ""),
        ("torchlean.cli.standard_entry", ("verify", "holds2.vnnlib", "--network", "f=net.onnx"), 0, "unsat\n"),
    ],
    ids=["a file", "usage", "a file of another kind", "an answer"],
)
def test_standard_error_takes_no_part_in_the_answer(
    closed: bool, entry: str, words: tuple[str, ...], code: int, out: str, folder: Path
) -> None:
    """And what it does not take does not go to standard output."""
    Path("holds2.vnnlib").write_text(
        "(vnnlib-version <2.0>)(declare-network f (declare-input X float32 [2]) (declare-output Y float32 [1,2]))"
        "(assert (and (>= X[0] -1.0) (<= X[0] 1.0)))(assert (== X[1] 0.0))(assert (>= Y[0,0] 100.0))"
    )
    ready, done = os.pipe()
    os.close(ready)
    streams: dict[str, Any] = {"preexec_fn": lambda: os.close(2)} if closed else {"stderr": done}
    ended = subprocess.run([sys.executable, "-c", f"import sys, {entry} as entry; sys.exit(entry.main())", *words],
                           stdout=subprocess.PIPE, text=True, check=False,
                           env={**os.environ, "PYTHONPATH": str(SOURCE)}, **streams)  # fmt: skip
    os.close(done)
    assert (ended.returncode, ended.stdout) == (code, out)
