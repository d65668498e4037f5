"""All instances that have no result yet, several at a time."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from torchlean.apps.sweep.instances import Instance
from torchlean.apps.sweep.one import Paths, Row, Settings, run_one
from torchlean.apps.sweep.process import Processes, Stopped
from torchlean.apps.sweep.results import Results


class Engine(ABC):
    """Where instances run."""

    @abstractmethod
    def run(self, instance: Instance, settings: Settings, paths: Paths) -> Row:
        """One instance, from any thread. Raises Stopped, FileError."""

    @abstractmethod
    def stop(self) -> None:
        """End what runs; nothing is started after this."""


class Local(Engine):
    """Processes of this machine."""

    def __init__(self) -> None:
        self.processes = Processes()

    def run(self, instance: Instance, settings: Settings, paths: Paths) -> Row:
        return run_one(instance, settings, paths, self.processes)

    def stop(self) -> None:
        self.processes.stop()


def sweep(
    instances: Sequence[Instance],
    results: Results,
    settings: Settings,
    paths: Paths | None = None,
    jobs: int = 1,
    told: Callable[[Row], None] = lambda row: None,
    engine: Engine | None = None,
) -> list[Row]:
    """Run every instance that `results` has no row of; returns all rows in the order of the list.

    jobs     instances at a time      engine   where they run; None: here
    told     called after each row is on disk, in the order in which instances end
    Raises   what one instance raises (FileError: a full disk), or what interrupts this call: then every process is
             ended and the rows that are on disk stay; nothing else is lost
    """
    engine = engine or Local()
    waiting: SimpleQueue[Instance] = SimpleQueue()
    for instance in instances:
        if instance.number not in results.rows:
            waiting.put(instance)
    failures: list[BaseException] = []
    writing = threading.Lock()

    def work() -> None:
        try:
            while not failures:
                row = engine.run(waiting.get_nowait(), settings, paths or Paths())
                with writing:
                    results.append(row)
                    told(row)
        except (Empty, Stopped):
            return
        except BaseException as failure:
            failures.append(failure)
            engine.stop()

    workers = [threading.Thread(target=work, daemon=True) for _ in range(min(jobs, waiting.qsize()))]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            while worker.is_alive():  # a signal that another thread receives does not wake a wait without an end
                worker.join(0.1)
    finally:
        engine.stop()
        for worker in workers:
            if worker.ident is not None:
                worker.join()
    if failures:
        raise failures[0]
    return [results.rows[instance.number] for instance in instances]
