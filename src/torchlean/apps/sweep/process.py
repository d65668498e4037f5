"""One whole process under a hard wall clock, with everything that it started.

Each process leads a session of its own. When it ends, or when its time is over, whatever is left of that session is
ended too: a search that forked cannot outlive its instance. It ends by itself where this process was killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from torchlean.errors import Unsupported
from torchlean_check.parent import READER


class Stopped(Exception):
    """No process is started any more."""


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    code           its exit code, or minus the signal that ended it
    late           whether the wall clock ended it
    cpu_seconds    of it and of the children that it waited for       memory   most resident bytes of one of them
    """

    code: int
    late: bool
    output: str
    errors: str
    seconds: float
    cpu_seconds: float
    memory: int


class Processes:
    """Runs processes, from any thread, until it is stopped."""

    def __init__(self) -> None:
        if not hasattr(os, "waitid"):
            raise Unsupported("this system cannot watch processes as a sweep must", where="sweep",
                              expected="Linux, or macOS with Python 3.13", got=os.name,
                              fix="run the sweep on such a system")  # fmt: skip
        self._lock = threading.Lock()
        self._running: set[int] = set()
        self._stopped = False

    def run(self, command: Sequence[str], limit: float) -> Ended:
        """Run one process for at most `limit` seconds. Raises Stopped. An interrupt here ends it too."""
        with self._lock:
            if self._stopped:
                raise Stopped
            start = time.perf_counter()
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                     start_new_session=True, env=_environment())  # fmt: skip
            self._running.add(child.pid)
        late = threading.Event()

        def end() -> None:
            late.set()
            end_session(child.pid)

        timer = threading.Timer(limit, end)
        timer.start()
        try:
            assert child.stdout is not None and child.stderr is not None
            texts = [_Reader(child.stdout), _Reader(child.stderr)]
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # not reaped yet: its number cannot be used again
        finally:
            seconds = time.perf_counter() - start
            timer.cancel()
            timer.join()
            end_session(child.pid)
            with self._lock:
                self._running.discard(child.pid)
                _, status, usage = os.wait4(child.pid, 0)
                stopped = self._stopped
            child.returncode = os.waitstatus_to_exitcode(status)
        output, errors = (text.result() for text in texts)
        if stopped:
            raise Stopped
        return Ended(child.returncode, late.is_set(), output, errors, seconds, usage.ru_utime + usage.ru_stime,
                     usage.ru_maxrss * 1024)  # fmt: skip

    def stop(self) -> None:
        """End every process that runs; none is started after this."""
        with self._lock:
            self._stopped = True
            for leader in self._running:
                end_session(leader)


class _Reader(threading.Thread):
    """Reads a pipe to its end, so that the process never waits for a reader."""

    def __init__(self, pipe: IO[bytes]) -> None:
        super().__init__(daemon=True)
        self._pipe, self._read = pipe, b""
        self.start()

    def run(self) -> None:
        with self._pipe as pipe:
            self._read = pipe.read()

    def result(self) -> str:
        self.join()
        return self._read.decode("utf-8", "replace")


def end_session(leader: int) -> None:
    """End the leader of a session, not yet reaped, and every process in it."""
    for _ in range(100):
        members = _members(leader)
        for process in members:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        if not members:
            return
        time.sleep(0.002)


def _members(session: int) -> list[int]:
    """The living processes of a session; where the system does not tell, its leader's group is ended at once."""
    if not os.path.isdir("/proc/self"):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(session, signal.SIGKILL)
        return []
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError):
                text = Path("/proc", name, "stat").read_bytes()
                state, _, _, its = text[text.rindex(b")") + 2 :].split(maxsplit=4)[:4]
                if int(its) == session and state not in (b"Z", b"X"):
                    found.append(int(name))
    return found


def _environment() -> dict[str, str]:
    """This environment, in which a child imports the same torchlean, and ends with this process."""
    import torchlean

    source = str(Path(torchlean.__file__).resolve().parent.parent)
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, READER: "1", "PYTHONPATH": f"{source}{os.pathsep}{path}" if path else source}
