"""A call that another process makes: a fresh interpreter that runs this file.

It receives the call through a pipe from its own parent. While it uses its processor it says so, byte by byte before its
answer; one that is silent for long is ended, and there is no verdict.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any, TypeVar

from torchlean_check.errors import CheckError, WorkerError
from torchlean_check.parent import end_with_reader

T = TypeVar("T")

BEAT = b"\0"  # no pickle begins with it
EVERY, USED = 1.0, 0.05  # seconds after which a worker says that it used so many seconds of its processor
LOOK, LOOKS = 1.0, 60  # seconds between looks at a worker, and how many in a row may find it silent


def shared(call: Callable[..., T], mine: Sequence[Any], others: Sequence[Sequence[Any]], kind: type[T]) -> list[T]:
    """The results of a call with each of some arguments, in order: this process makes the first.

    Raises   what this process's call raises; a worker's CheckError; WorkerError where a worker fails, or stands still
    """
    running: list[Worker] = []
    try:
        for given in others:
            running.append(Worker(_started()))
            running[-1].share = pickle.dumps((call, given))
            running[-1].start()
        return [call(*mine), *(worker.result(kind) for worker in running)]
    finally:
        for worker in running:
            worker.end()


def _started() -> subprocess.Popen[bytes]:
    """A worker that waits for its share."""
    env = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, "-P", "-m", "torchlean_check.worker"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)


class Worker(Thread):
    """Sends a process its share and reads what it says: more than a pipe holds, both of it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        super().__init__(daemon=True)
        self.process, self.share, self.said = process, b"", bytearray()

    def run(self) -> None:
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None and stdout is not None
        with stdin, stdout:
            with suppress(BrokenPipeError):  # a worker that died is noticed by its exit status
                stdin.write(self.share)
                stdin.close()
            self.share = b""
            while some := os.read(stdout.fileno(), 1 << 20):
                self.said += some

    def result(self, kind: type[T]) -> T:
        """Wait for the answer. Raises the worker's CheckError; WorkerError where it fails, or stands still.

        Silence is counted in looks: when this process is stopped for a while, its workers are not at fault.
        """
        silent, heard = 0, -1
        while self.is_alive():
            self.join(LOOK)
            silent, heard = silent + 1 if len(self.said) == heard else 0, len(self.said)
            if silent > LOOKS:
                raise WorkerError(
                    "a worker process stands still",
                    where="parallel replay",
                    expected=f"a sign of work in {LOOK * LOOKS:g} s",
                    got="none: it is stopped, or has no share of a processor",
                    fix="run it again, or with --workers 1",
                )
        code, answer = self.process.wait(), bytes(self.said).lstrip(BEAT)
        try:
            part = pickle.loads(answer) if code == 0 else None
        except Exception as problem:  # bytes that are no pickle raise almost anything
            part = problem
        if isinstance(part, CheckError):
            raise part
        if not isinstance(part, kind):
            raise WorkerError(
                "a worker process ended without an answer",
                where="parallel replay",
                expected="exit status 0 and a result",
                got=f"exit status {code}, {len(answer)} bytes{f': {part!r:.200}' if part is not None else ''}",
                fix="run with --workers 1",
            )
        return part

    def end(self) -> None:
        """End the process, if it still runs; then this thread ends too."""
        self.process.kill()
        self.process.wait()
        if self.ident is None:  # it was not started: nobody else closes the pipes
            self.run()
        self.join()


@contextmanager
def _beating() -> Iterator[None]:
    """Say on standard output, again and again, that this process has used its processor; silence when it has not."""
    over = Event()

    def beat() -> None:
        used = 0.0
        while not over.wait(EVERY):
            if time.process_time() > used + USED:
                used = time.process_time()
                os.write(1, BEAT)

    beats = Thread(target=beat)
    beats.start()
    try:
        yield
    finally:
        over.set()
        beats.join()


def _work() -> None:
    end_with_reader(1)
    with _beating():
        call, given = pickle.loads(sys.stdin.buffer.read())
        try:
            answer = call(*given)
        except CheckError as error:
            answer = error
    sys.stdout.buffer.write(pickle.dumps(answer))


if __name__ == "__main__":
    _work()
