"""VNN-COMP's three scripts, run as the competition runs them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parents[2]
ACASXU = ROOT.parent / "shared" / "vnncomp" / "acasxu"
needs_acasxu = pytest.mark.skipif(not ACASXU.is_dir(), reason="the VNN-COMP files are not beside the repository")
pytestmark = pytest.mark.skipif(not (shutil.which("bash") and shutil.which("setsid")), reason="needs bash and setsid")


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """call("run_instance.sh", ...): a script with this Python's torchlean."""
    monkeypatch.chdir(tmp_path)
    environment = {**os.environ, "TORCHLEAN": f"{sys.executable} -m torchlean", "TMPDIR": str(tmp_path),
                   "PYTHONPATH": str(ROOT / "src")}  # fmt: skip

    def run(script: str, *words: object, **more: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", str(ROOT / "vnncomp" / script), *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, env={**environment, **more}, check=False)

    run.environment = environment
    return run


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    """y = x on [0, 1]: a network, a property that holds and one that fails."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="m")], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])],
        initializer=[numpy_helper.from_array(np.eye(1, dtype=np.float32), "w")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    box = "(declare-const X_0 Real)(declare-const Y_0 Real)(assert (>= X_0 0.0))(assert (<= X_0 1.0))"
    (tmp_path / "holds.vnnlib").write_text(f"{box}(assert (>= Y_0 2.0))")
    (tmp_path / "fails.vnnlib").write_text(f"{box}(assert (>= Y_0 0.5))")
    return tmp_path / "net.onnx", tmp_path / "holds.vnnlib", tmp_path / "fails.vnnlib"


def instance(call, *words: object, **more: str) -> str:
    ran = call("run_instance.sh", "v1", "test", *words[:2], "out/results.txt", words[2], **more)
    assert ran.returncode == 0 and ran.stdout == "", ran.stderr
    assert [path.name for path in Path("out").iterdir()] == ["results.txt"]
    return Path("out/results.txt").read_text()


@needs_acasxu
def test_acasxu(call) -> None:
    Path("out").mkdir()
    net, holds, fails = (ACASXU / name for name in ("onnx/ACASXU_run2a_1_2_batch_2000.onnx", "vnnlib/prop_1.vnnlib",
                                                    "vnnlib/prop_2.vnnlib"))  # fmt: skip
    assert call("prepare_instance.sh", "v1", "acasxu", net, holds).returncode == 0
    assert instance(call, net, holds, "116") == "unsat\n"
    word, *witness = instance(call, net, fails, 116).splitlines()
    assert word == "sat" and witness[0].startswith("((X_0 ") and witness[-1].startswith("(Y_4 ")
    names = [line.strip("()").split()[0] for line in witness]
    assert names == [f"X_{i}" for i in range(5)] + [f"Y_{i}" for i in range(5)] and witness[-1].endswith("))")


def test_every_word(call, files: tuple[Path, Path, Path]) -> None:
    net, holds, fails = files
    Path("out").mkdir()
    assert instance(call, net, holds, "5.0") == "unsat\n"
    word, x, y = instance(call, net, fails, 5).splitlines()
    assert word == "sat" and x.startswith("((X_0 ") and y.startswith("(Y_0 ") and y.endswith("))")
    assert float(x.split()[1][:-1]) >= 0.5
    assert instance(call, net, holds, "1e-9") == "timeout\n"
    assert instance(call, "none.onnx", holds, 5) == "error\n"
    assert instance(call, net, net, 5) == "error\n"
    assert instance(call, net, holds, "soon") == "error\n"


@pytest.mark.parametrize(
    "tool",
    ["kill -SEGV $$", "echo unsat; exit 1", "echo unsat; exit 5", "echo sat; kill -9 $$", "echo unsat, perhaps; exit 0",
     "exit 0", "echo timeout; exit 0"],
)  # fmt: skip
def test_no_crash_is_a_verdict(tool: str, call, files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    Path("out").mkdir()
    (tmp_path / "tool").write_text(f"#!/bin/bash\n{tool}\n")
    os.chmod(tmp_path / "tool", 0o755)
    assert instance(call, *files[:2], 5, TORCHLEAN=str(tmp_path / "tool")) == "error\n"


def test_prepare(call, files: tuple[Path, Path, Path]) -> None:
    net, holds, _ = files
    assert call("prepare_instance.sh", "v1", "test", net, holds).returncode == 0
    assert call("prepare_instance.sh", "v1", "test", "[('f', 'net.onnx')]", holds).returncode == 0
    missing = call("prepare_instance.sh", "v1", "test", "none.onnx", holds)
    assert missing.returncode == 1 and "none.onnx" in missing.stderr
    assert call("prepare_instance.sh", "v1", "test", net, holds, TORCHLEAN="/bin/false").returncode != 0


@pytest.mark.parametrize("script", ["install_tool.sh", "prepare_instance.sh", "run_instance.sh"])
def test_another_version_or_no_arguments(script: str, call) -> None:
    for words in ([], ["v2", "test", "a", "b", "c", "5"]):
        ran = call(script, *words)
        assert ran.returncode == 1 and "v1" in ran.stderr


@pytest.mark.parametrize("script", ["prepare_instance.sh", "run_instance.sh"])
def test_a_wrong_number_of_arguments(script: str, call) -> None:
    ran = call(script, "v1", "test", "a")
    assert ran.returncode == 1 and "expected: v1 CATEGORY" in ran.stderr


def test_install_makes_the_environment(call, tmp_path: Path) -> None:
    """With another `make`, and a copy of the scripts: what is asked for, not the download."""
    shutil.copytree(ROOT / "vnncomp", tmp_path / "copy" / "vnncomp")
    for name, text in (("make", 'echo "$@" > asked'), ("copy/.venv/bin/torchlean", "echo torchlean 1.2.3")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        os.chmod(tmp_path / name, 0o755)
    ran = subprocess.run(["bash", "copy/vnncomp/install_tool.sh", "v1"], capture_output=True, text=True, check=False,
                         env={**call.environment, "PATH": f"{tmp_path}:{os.environ['PATH']}"})  # fmt: skip
    assert ran.returncode == 0 and "torchlean 1.2.3" in ran.stdout
    assert Path("asked").read_text() == f"-C {tmp_path}/copy .venv/installed\n"
    target = (ROOT / "Makefile").read_text()
    assert "\n$(VENV)/installed:" in target and "\nVENV   := .venv\n" in target


@pytest.mark.skipif(not (os.path.isdir("/proc/self") and shutil.which("pkill")), reason="needs /proc and pkill")
def test_prepare_ends_what_a_killed_instance_left(call, files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    tool = tmp_path / "torchlean-tool"
    tool.write_text("#!/bin/bash\n[ $1 = --version ] && exit\nsleep 600 & echo $! > child; echo $$ > leader; wait\n")
    os.chmod(tool, 0o755)
    environment = {**call.environment, "TORCHLEAN": str(tool)}
    words = ["v1", "test", *map(str, files[:2]), "results.txt", "5"]
    script = subprocess.Popen(["bash", str(ROOT / "vnncomp" / "run_instance.sh"), *words], env=environment,
                              stderr=subprocess.DEVNULL)  # fmt: skip
    while not (Path("leader").exists() and Path("leader").read_text()):
        time.sleep(0.01)
    script.send_signal(signal.SIGKILL)
    script.wait()
    left = [int(Path(name).read_text()) for name in ("leader", "child")]
    assert all(alive(process) for process in left)
    assert call("prepare_instance.sh", "v1", "test", *files[:2], TORCHLEAN=str(tool)).returncode == 0
    assert not any(alive(process) for process in left) and not Path("results.txt").exists()


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except OSError:
        return False
