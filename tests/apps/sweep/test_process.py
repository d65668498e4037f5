"""Whole processes: what they say, what they cost, and that nothing of them outlives its time."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from torchlean.apps.sweep import Processes, Stopped

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for processes in /proc")
# A process that starts another, in a process group of its own, as the search does; both sleep.
FAMILY = """
import os, sys, time
child = os.fork()
if child == 0:
    os.setpgid(0, 0)
else:
    print(os.getpid(), child, flush=True)
time.sleep({})
"""


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")


def test_output_errors_code_and_cost() -> None:
    code = "import sys; print('out'); print('err', file=sys.stderr); sum(range(10**6)); sys.exit(3)"
    ended = Processes().run([sys.executable, "-c", code], 60)
    assert (ended.code, ended.late, ended.output, ended.errors) == (3, False, "out\n", "err\n")
    assert ended.seconds > 0 and ended.cpu_seconds > 0 and ended.memory > 1e6


def test_more_output_than_a_pipe_holds() -> None:
    ended = Processes().run([sys.executable, "-c", "print('x' * 10**6)"], 60)
    assert ended.code == 0 and len(ended.output) == 10**6 + 1


def test_a_signal() -> None:
    ended = Processes().run([sys.executable, "-c", "import os; os.kill(os.getpid(), 11)"], 60)
    assert ended.code == -signal.SIGSEGV and not ended.late


def test_the_wall_clock_ends_the_whole_family() -> None:
    ended = Processes().run([sys.executable, "-c", FAMILY.format(600)], 1.0)
    assert ended.late and ended.code == -signal.SIGKILL
    assert not any(alive(int(word)) for word in ended.output.split())


def test_what_a_process_leaves_behind_is_ended() -> None:
    code = FAMILY.format(600).replace("print(os.getpid(), child, flush=True)", "print(child); sys.exit(0)")
    ended = Processes().run([sys.executable, "-c", code], 60)
    assert ended.code == 0 and not ended.late and not alive(int(ended.output))


def test_stop_ends_what_runs_and_starts_nothing_more() -> None:
    processes, seen = Processes(), []

    def run() -> None:
        try:
            processes.run([sys.executable, "-c", "import time; time.sleep(600)"], 600)
        except Stopped:
            seen.append("stopped")

    worker = threading.Thread(target=run)
    worker.start()
    while not processes._running:
        time.sleep(0.01)
    processes.stop()
    worker.join(60)
    assert seen == ["stopped"]
    with pytest.raises(Stopped):
        processes.run([sys.executable, "-c", ""], 60)


def test_an_interrupt_ends_what_runs(silent: Any) -> None:
    """In the main thread, where `run` itself is interrupted; nothing waits for the limit."""
    code = f"open({str(silent.path)!r}).read()"

    def interrupt() -> None:
        silent.wait()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    processes = Processes()
    with pytest.raises(KeyboardInterrupt):
        processes.run([sys.executable, "-c", code], 600)
    assert not silent.is_read() and not processes._running and threading.active_count() == 1
