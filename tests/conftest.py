"""A file that keeps its reader waiting."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import pytest


class Silent:
    """A named pipe that nobody writes to: who reads it as a file waits without end."""

    def __init__(self, path: Path) -> None:
        self.path, self._end = path, -1
        os.mkfifo(path)

    def wait(self) -> None:
        """Until somebody reads."""
        limit = time.monotonic() + 60
        while self._end < 0:
            assert time.monotonic() < limit, "nobody reads"
            with suppress(OSError):
                self._end = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
            time.sleep(0.01)

    def is_read(self) -> bool:
        """Whether somebody still does."""
        try:
            os.write(self._end, b"\0")
        except BrokenPipeError:
            return False
        return True

    def close(self) -> None:
        if self._end >= 0:
            os.close(self._end)


@pytest.fixture
def silent(tmp_path: Path):
    pipe = Silent(tmp_path / "silent.onnx")
    yield pipe
    pipe.close()
