"""A forked child answers through its pipe, and ends when its parent was killed, whatever its siblings inherited."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import torchlean
from torchlean.verify.child import end, fork

ENV = {**os.environ, "PYTHONPATH": str(Path(torchlean.__file__).parents[1])}
FAMILY = """
import os, signal, sys, time
from torchlean.verify.child import fork

def family(depth):
    for _ in range(2):
        ours, theirs = os.pipe()
        if fork(theirs) == 0:
            os.close(ours)
            os.write(1, b"%d\\n" % os.getpid())  # in one piece, whatever buffers there are
            family(depth - 1) if depth else None
            time.sleep(600)
        os.close(theirs)

family(1)
sys.stdin.read(1)
os.kill(os.getpid(), signal.SIGKILL)
"""


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except OSError:
        return False


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for processes in /proc")
def test_children_and_theirs_end_with_the_first() -> None:
    with subprocess.Popen([sys.executable, "-c", FAMILY], env=ENV, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as p:
        assert p.stdin is not None and p.stdout is not None
        found = [int(p.stdout.readline()) for _ in range(6)]
        assert all(map(alive, found))
        p.stdin.close()
        p.wait()
        for _ in range(3000):
            if not any(map(alive, found)):
                break
            time.sleep(0.02)
        assert not any(map(alive, found))


def test_an_answer_comes_whole_and_an_end_is_an_end() -> None:
    ours, theirs = os.pipe()
    process = fork(theirs)
    if process == 0:
        os.close(ours)
        os.write(theirs, b"answer")
        os._exit(0)
    os.close(theirs)
    with open(ours, "rb") as pipe:
        assert pipe.read() == b"answer"
    end(process)
    end(process)  # and once more does nothing
    with pytest.raises(ChildProcessError):
        os.waitpid(process, 0)


def test_a_worker_of_the_checker_ends_with_its_reader() -> None:
    command = [sys.executable, "-m", "torchlean_check.worker"]
    with subprocess.Popen(command, env=ENV, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        worker.stdout.close()
        assert worker.wait(120) == -9
