"""Small networks and properties as files, and a runner of commands that catches what a forked child prints."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from torchlean import ops
from torchlean.cli import main
from torchlean.io.onnx import write_onnx
from torchlean.ir import Builder, f32
from torchlean.run.program import Program

PARTS = ("where:", "expected:", "got:", "fix:")


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    def fails(self, code: int, *words: str) -> None:
        """Exactly one error of five parts, the exit code, and nothing that could be read as a verdict."""
        assert (self.code, self.out) == (code, ""), (self.code, self.out, self.err)
        assert all(self.err.count(f"  {part}") == 1 for part in PARTS), self.err
        assert "InternalError" not in self.err and "Traceback" not in self.err, self.err
        assert all(word in self.err for word in words), (words, self.err)


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """run("verify", path, ...) in this process."""

    def call(*words: object) -> Ran:
        capfd.readouterr()
        try:
            code = main([str(w) for w in words])
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capfd.readouterr()
        return Ran(code, out, err)

    return call


def network(sizes: tuple[int, ...] = (2, 4, 2), seed: int = 1) -> Program:
    """A relu network with random weights, its bias last."""
    g, rng = Builder(ops.ALL), np.random.default_rng(seed)
    x = g.input("x", f32["batch", sizes[0]])
    arrays: dict[str, np.ndarray] = {}
    for i, (a, b) in enumerate(itertools.pairwise(sizes)):
        arrays[f"w{i}"] = rng.normal(size=(b, a)).astype(np.float32)
        arrays[f"b{i}"] = rng.normal(size=b).astype(np.float32)
        x = g.linear(x, g.parameter(f"w{i}", f32[b, a]), g.parameter(f"b{i}", f32[b]))
        x = x if i == len(sizes) - 2 else g.relu(x)
    return Program(g.finish({"y": x}), arrays)


def claim(inputs: int, outputs: int, *lines: str, low: str = "-1.0", high: str = "1.0") -> str:
    """A property over the box [low, high]^inputs."""
    text = [f"(declare-const X_{i} Real)" for i in range(inputs)]
    text += [f"(declare-const Y_{i} Real)" for i in range(outputs)]
    text += [f"(assert (>= X_{i} {low}))\n(assert (<= X_{i} {high}))" for i in range(inputs)]
    return "\n".join([*text, *lines, ""])


def hard(model: str, prop: str) -> None:
    """Files of an instance that is searched for minutes."""
    write_onnx(network((12, 100, 100, 1), seed=3), model)
    Path(prop).write_text(claim(12, 1, "(assert (>= Y_0 1000.0))"))


def running(word: str) -> list[int]:
    """The processes, started in this directory, whose command line names such a file."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            here = os.readlink(f"/proc/{name}/cwd") == os.getcwd()
            words = Path(f"/proc/{name}/cmdline").read_text().split("\0")
            if here and any(Path(w).name == word for w in words):
                found.append(int(name))
    return found


def ends(word: str) -> None:
    """None of these processes goes on for long."""
    for _ in range(3000):
        if not running(word):
            return
        time.sleep(0.02)
    raise AssertionError(f"{running(word)} still run")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, with net.onnx and the properties holds.vnnlib and fails.vnnlib."""
    monkeypatch.chdir(tmp_path)
    write_onnx(network(), "net.onnx")
    Path("holds.vnnlib").write_text(claim(2, 2, "(assert (>= Y_0 100.0))"))
    Path("fails.vnnlib").write_text(claim(2, 2, "(assert (>= Y_0 -100.0))"))
    yield tmp_path


@pytest.fixture
def make() -> Any:
    """The makers of files: make.network, make.claim, make.hard; and who works on them: make.running, make.ends."""

    class Makers:
        network = staticmethod(network)
        claim = staticmethod(claim)
        hard = staticmethod(hard)
        running = staticmethod(running)
        ends = staticmethod(ends)

    return Makers


@pytest.fixture
def full_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every write of a file fails with ENOSPC after its bytes were handed over."""
    import errno

    def fsync(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
