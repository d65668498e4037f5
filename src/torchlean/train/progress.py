"""How far a run is: a bar on a terminal, a few plain lines elsewhere, or nothing. On standard error."""

from __future__ import annotations

import sys
import time
from typing import Any

from torchlean.streams import complain

LINES = 10  # plain lines per run


class Progress:
    """Shows the step, the loss and the latest validation."""

    def __init__(self, steps: int, shown: bool) -> None:
        self.steps = steps
        self._shown = shown
        self._every = max(1, steps // LINES)
        self._bar: Any = None
        self._task: Any = None
        self._next = 0.0
        self._note = ""

    def __enter__(self) -> Progress:
        if self._shown and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("train"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.description}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._bar.start()
            self._task = self._bar.add_task("", total=self.steps)
        return self

    def __exit__(self, *problem: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def note(self, text: str) -> None:
        """What stands behind the loss from now on: the latest validation."""
        self._note = text

    def step(self, done: int, loss: float) -> None:
        """`done` updates are made; the latest had this loss. At most ten times a second on a terminal."""
        if not self._shown:
            return
        last = done == self.steps
        if self._bar is not None:
            now = time.monotonic()
            if now >= self._next or last:
                self._next = now + 0.1
                self._bar.update(self._task, completed=done, description=f"loss {loss:.4g}   {self._note}")
        elif last or done % self._every == 0:
            complain(f"step {done}/{self.steps}   loss {loss:.6g}   {self._note}".rstrip())
