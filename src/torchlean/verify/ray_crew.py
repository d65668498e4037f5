"""A crew on a ray cluster (extra `ray`): each part of a search is a task."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from torchlean.errors import Exhausted, InternalError, Unsupported
from torchlean.verify.crew import Answer, Common, Crew, Part
from torchlean.verify.shift import search_part

ANSWER = 5.0  # seconds that a cluster has to answer
RETRIES = 2  # times that a task whose worker died runs again


def connect(address: str | None) -> bool:
    """Join a running cluster, or without an address one of this machine alone; whether it is new here.

    Raises   Unsupported where ray is not installed or nothing answers
    """
    require()
    import ray

    if ray.is_initialized():
        return False
    try:
        if address is not None:  # ray itself would wait for minutes
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), ANSWER).close()
        ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.CRITICAL)
    except (OSError, ValueError) as problem:
        raise Unsupported("no ray cluster answers", where="--ray-address", expected="HOST:PORT of a running cluster",
                          got=f"{address}: {' '.join(str(problem).split())[:120]}",
                          fix="ray start --head on one machine, and its address here") from None  # fmt: skip
    return True


def require() -> None:
    """Raises Unsupported where ray is not installed."""
    if not sys.modules.get("ray") and find_spec("ray") is None:
        raise Unsupported("ray is not installed", where="--engine ray", expected="the extra torchlean[ray]",
                          got="no module named ray",
                          fix='pip install "torchlean[ray]", or --engine local')  # fmt: skip


class RayCrew(Crew):
    """Tasks of one processor each. The cluster is joined when the first part is sent.

    size   at a time      address   of a running cluster; None: one of this machine alone, which ends with the process
    Raises Unsupported where ray is not installed, and, from `send`, where no cluster answers
    """

    def __init__(self, size: int, address: str | None = None, retries: int = RETRIES) -> None:
        require()
        self.size, self.address, self.retries = size, address, retries
        self._running: dict[Any, int] = {}
        self._sent = 0
        self._common: tuple[Common | None, Any] = None, None  # what all parts have in common, where the cluster has it

    def send(self, common: Common, part: Part) -> int:
        with _interruptible():
            connect(self.address)
            import ray

            if self._common[0] is not common:
                self._common = common, ray.put(common)
            work = ray.remote(search_part).options(max_retries=self.retries, num_cpus=1)
            self._sent += 1
            self._running[work.remote(self._common[1], part)] = self._sent
            return self._sent

    def next(self, seconds: float) -> tuple[int, Answer] | None:
        import ray

        try:
            with _interruptible():
                ready, _ = ray.wait(list(self._running), num_returns=1, timeout=seconds)
                return (self._running.pop(ready[0]), ray.get(ready[0])) if ready else None
        except ray.exceptions.RayTaskError as problem:
            raise InternalError("a worker failed at a part of the search", where="--engine ray", expected="an answer",
                                got=" ".join(str(problem.cause).split())[:200],
                                fix="report it, with the two files") from None  # fmt: skip
        except ray.exceptions.RayError as problem:
            raise Exhausted("a part of the search was lost on the cluster", where="--engine ray",
                            expected="a worker that lives until it answers",
                            got=f"{self.retries + 1} tries: {type(problem).__name__}",
                            fix="look at the workers' memory, or give --memory") from None  # fmt: skip

    def end(self) -> None:
        import ray

        with _interruptible():
            while self._running:
                ray.cancel(self._running.popitem()[0], force=True)


@contextmanager
def _interruptible() -> Iterator[None]:
    """What a signal's handler raises inside ray comes out of it as it is."""
    try:
        yield
    except SystemError as problem:  # by which ray's compiled parts replace it
        if problem.__cause__ is None:
            raise
        raise problem.__cause__ from None
