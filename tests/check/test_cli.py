"""torchlean-check: the first word is the verdict, exit codes say it again, every bad file is one error."""

import ast
import gzip
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import torchlean_check as tc
from torchlean_check import tree, worker
from torchlean_check.cli import main
from torchlean_check.process import processors

SOURCE = Path(tc.__file__).parents[1]


@pytest.fixture
def files(small, tmp_path):
    paths = [tmp_path / name for name in ("model.onnx", "claim.vnnlib", "proof.tlcert")]
    for path, data in zip(paths, (small.model, small.claim, small.data), strict=True):
        path.write_bytes(data)
    return [str(p) for p in paths]


def test_valid(files, capsys):
    assert main(files) == 0
    out = capsys.readouterr().out
    assert (
        out.startswith("valid ")
        and "holds for every float32 execution" in out
        and "rounded arithmetic" in out
        and "sha256" in out
    )


def test_a_name_may_stand_as_that_of_a_gzip_file(files, capsys):
    """As for `torchlean verify`: the same words check what it wrote."""
    for path in map(Path, files[:2]):
        Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert main(files) == 0 and capsys.readouterr().out.startswith("valid ")


def ends(files, **streams):
    """The whole process."""
    command = [sys.executable, "-m", "torchlean_check", *files]
    env = {**os.environ, "PYTHONPATH": str(SOURCE)}
    return subprocess.run(command, env=env, text=True, timeout=100, check=False, **streams)


def test_a_reader_that_has_gone_is_no_verdict(files):
    """And no traceback."""
    ready, done = os.pipe()
    os.close(ready)
    ended = ends(files, stdout=done, stderr=subprocess.PIPE)
    os.close(done)
    assert ended.returncode == 141 and not ended.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_an_answer_that_cannot_be_written_is_no_verdict(files):
    with open("/dev/full", "wb") as full:
        ended = ends(files, stdout=full, stderr=subprocess.PIPE)
    assert ended.returncode == 2 and ended.stderr.startswith("CheckError: the answer cannot be written")
    assert ended.stderr.count("Error") == 1


def test_an_error_that_nobody_reads_keeps_its_exit_code(files):
    """And standard output has the verdict alone."""
    Path(files[2]).write_bytes(b"hello")
    ready, done = os.pipe()
    os.close(ready)
    for streams in ({"stderr": done}, {"preexec_fn": lambda: os.close(2)}):
        ended = ends(files, stdout=subprocess.PIPE, **streams)
        assert (ended.returncode, ended.stdout) == (4, "invalid      a file was refused\n")
        assert ends(["absent", *files[1:]], stdout=subprocess.PIPE, **streams).returncode == 2
    os.close(done)


def test_exact_json(files, capsys):
    assert main([*files, "--exact", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["status"] == "valid" and answer["arithmetic"] == "exact" and answer["assumed"] == 0


def test_holey_is_3(small, files, capsys):
    builder = tc.TreeBuilder()
    builder.hole([0])
    Path(files[2]).write_bytes(tc.encode(replace(small.certificate, trees=(builder.build()[0],))))
    assert main(files) == 3
    assert capsys.readouterr().out.startswith("holey ")


def test_invalid_is_4(small, files, capsys):
    Path(files[2]).write_bytes(tc.encode(replace(small.certificate, trees=(tc.TreeBuilder().build()[0],))))
    assert main(files) == 4
    out = capsys.readouterr().out
    assert out.startswith("invalid ") and "node 0: not refuted" in out and "holds" not in out


def test_a_worker_that_fails_is_no_verdict(files, capsys, monkeypatch, tmp_path):
    """Neither valid nor invalid: no file is at fault."""
    idle = tmp_path / "worker"
    idle.write_text("#!/bin/sh\ncat > /dev/null\necho hello\n")
    idle.chmod(0o755)
    monkeypatch.setattr(tree, "MUCH", 0)
    assert main([*files, "--workers", "2"]) == 0
    capsys.readouterr()
    monkeypatch.setattr(sys, "executable", str(idle))
    for more in ([], ["--json"]):
        assert main([*files, "--workers", "2", *more]) == 5
        got = capsys.readouterr()
        assert not got.out and got.err.startswith("WorkerError: a worker process ended without an answer")
        assert all(got.err.count(part) == 1 for part in ("where:", "expected:", "got:", "fix:"))
    assert main([*files, "--workers", "1"]) == 0


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no process can be stopped here")
def test_a_worker_that_stands_still_is_no_verdict(files, capsys, monkeypatch, tmp_path):
    """And it is ended, though it has not read its share."""
    idle = tmp_path / "worker"
    idle.write_text(f"#!/bin/sh\necho $$ > '{tmp_path}/number'\nkill -STOP $$\n")
    idle.chmod(0o755)
    monkeypatch.setattr(tree, "MUCH", 0)
    monkeypatch.setattr(worker, "LOOK", 0.02)
    monkeypatch.setattr(sys, "executable", str(idle))
    assert main([*files, "--workers", "2"]) == 5
    got = capsys.readouterr()
    assert not got.out and got.err.startswith("WorkerError: a worker process stands still")
    assert all(got.err.count(part) == 1 for part in ("where:", "expected:", "got:", "fix:"))
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "number").read_text()), 0)


class Said(worker.Worker):
    """A worker whose bytes come look by look."""

    def __init__(self, *said):
        super().__init__(SimpleNamespace(wait=lambda: 0))
        self.waiting = list(said)

    def is_alive(self):
        return bool(self.waiting)

    def join(self, timeout=None):
        self.said += self.waiting.pop(0)


def test_silence_is_counted_between_signs():
    found = tree.Replay(1, np.array([]), None, 1, True)
    answer, quiet = pickle.dumps(found), [b""] * worker.LOOKS
    said = Said(*quiet, worker.BEAT, *quiet, worker.BEAT * 3, answer[:9], *quiet, answer[9:])
    assert said.result(tree.Replay).finished
    with pytest.raises(tc.WorkerError, match="stands still"):
        Said(worker.BEAT, *quiet, b"", answer).result(tree.Replay)


def test_a_worker_tells_of_work_alone(capfd, monkeypatch):
    monkeypatch.setattr(worker, "EVERY", 0.001)
    for now, beats in ((worker.USED, 0), (1.0, 1)):
        seen = []
        monkeypatch.setattr(worker.time, "process_time", lambda now=now, seen=seen: seen.append(now) or now)
        with worker._beating():
            while len(seen) < 20:
                time.sleep(0.001)
        assert capfd.readouterr().out == "\0" * beats


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("data", [b"", b"\x1f\x8b\x08", b"hello", bytes(100)])
def test_damaged_files_give_one_error_of_five_parts(files, capsys, which, data):
    Path(files[which]).write_bytes(data)
    assert main(files) == 4
    got = capsys.readouterr()
    assert got.out.startswith("invalid") and got.err.count("CheckError") == 1
    assert all(part in got.err for part in ("where:", "expected:", "got:", "fix:"))


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["a"],
        ["absent", "absent", "absent"],
        ["--workers", "0", "a", "b", "c"],
        ["--fast", "a", "b", "c"],
        ["--ex", "a", "b", "c"],
    ],
)
def test_usage_is_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2


def test_runs_without_torchlean_and_its_dependencies(files):
    """The checker's process loads the standard library, numpy and itself."""
    code = (
        "import sys\nfrom torchlean_check.cli import main\ncode = main(sys.argv[1:])\n"
        "own = {m.split('.')[0] for m in sys.modules} - set(sys.stdlib_module_names)\n"
        "print(sorted(own - {'numpy', 'torchlean_check', '__main__'}))\nsys.exit(code)"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-S",
            "-c",
            f"import sys; sys.path[:0] = {[str(SOURCE), *[p for p in sys.path if 'site-packages' in p]]!r}\n{code}",
            *files,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("[]"), done.stdout


def statements(text):
    """How many statements there are, without imports and docstrings."""
    found = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.stmt)]
    notes = (ast.Import, ast.ImportFrom)
    return sum(
        not isinstance(n, notes) and not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)) for n in found
    )


def test_imports_are_the_promised_ones_and_the_core_is_small():
    core = rounding = 0
    for path in sorted((SOURCE / "torchlean_check").rglob("*.py")):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)):
            names = (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            for name in names:
                assert name.split(".")[0] in sys.stdlib_module_names | {"numpy", "flint", "torchlean_check"}, (
                    f"{path.name} imports {name}"
                )
        if path.parent.name == "rules":
            assert text.count("\n") <= 100, path.name
        if path.name in ("kernel.py", "tree.py", "onnx_reader.py", "vnnlib_reader.py", "wire.py", "gzipped.py"):
            core += statements(text)
        if path.name in ("twin.py", "rounding.py", "rounding_verdict.py"):
            rounding += statements(text)
    assert core <= 1500 and rounding <= 300


def test_workers_are_at_most_the_processors_the_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert processors() == 1
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert processors() == 1
