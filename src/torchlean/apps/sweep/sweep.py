"""All instances that have no result yet, several at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from torchlean.apps.sweep.instances import Instance
from torchlean.apps.sweep.one import Paths, Row, Settings, run_one
from torchlean.apps.sweep.process import Processes, Stopped
from torchlean.apps.sweep.results import Results


def sweep(
    instances: Sequence[Instance],
    results: Results,
    settings: Settings,
    paths: Paths | None = None,
    jobs: int = 1,
    told: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """Run every instance that `results` has no row of; returns all rows in the order of the list.

    jobs     whole processes at a time
    told     called after each row is on disk, in the order in which instances end
    Raises   what one instance raises (FileError: a full disk), or what interrupts this call: then every process is
             ended and the rows that are on disk stay; nothing else is lost
    """
    processes = Processes()
    waiting: SimpleQueue[Instance] = SimpleQueue()
    for instance in instances:
        if instance.number not in results.rows:
            waiting.put(instance)
    failures: list[BaseException] = []
    writing = threading.Lock()

    def work() -> None:
        try:
            while not failures:
                row = run_one(waiting.get_nowait(), settings, paths or Paths(), processes)
                with writing:
                    results.append(row)
                    told(row)
        except (Empty, Stopped):
            return
        except BaseException as failure:
            failures.append(failure)
            processes.stop()

    workers = [threading.Thread(target=work, daemon=True) for _ in range(min(jobs, waiting.qsize()))]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        processes.stop()
        for worker in workers:
            if worker.ident is not None:
                worker.join()
    if failures:
        raise failures[0]
    return [results.rows[instance.number] for instance in instances]
