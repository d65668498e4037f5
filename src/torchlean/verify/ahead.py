"""Calls that begin before their results are wanted, each in a thread of its own.

Reading, expanding and hashing large files leave the interpreter to others: meanwhile modules load, and the network is
read.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """A call that has begun. `result` waits for what it gives, or raises what it raised."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._given: list[T] = []
        self._raised: BaseException | None = None
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._given.append(self._call())
        except BaseException as error:
            self._raised = error

    def result(self) -> T:
        self._thread.join()
        if self._raised is not None:
            raise self._raised
        return self._given[0]
