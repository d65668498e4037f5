"""What a run may use beside time: memory that is kept to, and steps in the place of seconds where a run must repeat.

Memory   The process limits its own data (RLIMIT_DATA), so an allocation too many fails where it is made; the search
         then halves its batch and goes on, and doubles it again in time. What nothing helps is `unknown`. From outside,
         the resident memory of the process and of all that it started is watched, for what no limit of the system
         sees: it is ended then.
Steps    A search asks the clock what to do next: when to attack, when to change to torch, when to stop refining. Where
         the clock counts steps, the same files, seed and machine give the same tree and the same bytes.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sized
from dataclasses import dataclass, field
from typing import TypeVar

from torchlean.errors import UsageError

T = TypeVar("T")

OUT_OF_MEMORY = "out of memory"
CALM = 256  # calls that had room, after which larger batches are tried again: others may have made room
recording = threading.Lock()  # held while operations of a device are recorded or repeated: it frees nothing then
LEAST = 256 << 20  # bytes; the interpreter, numpy and torch take about 180 MB before the first array


@dataclass
class Memory:
    """limit   bytes, or None: whatever the machine gives      share   of the usual batches that is tried"""

    limit: int | None = None
    share: float = 1.0
    calm: int = field(default=0, init=False)  # calls in a row that had room

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < LEAST:
            raise UsageError("a memory budget must leave room for the program itself", where="--memory",
                             expected=f"at least {LEAST >> 20} MB", got=f"{self.limit >> 20} MB",
                             fix="--memory 1GB")  # fmt: skip

    def keep(self) -> None:
        """Hold this process and its children, each, to the budget. Where the system has no such limit, nothing."""
        if self.limit is None:
            return
        try:
            import resource
        except ImportError:
            return
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = self.limit if most == resource.RLIM_INFINITY else min(self.limit, most)
        resource.setrlimit(resource.RLIMIT_DATA, (wanted, most))

    def size(self, usual: int) -> int:
        """How many problems to bound at once, where `usual` are as fast as any."""
        return max(1, int(usual * self.share))

    def attempt(self, call: Callable[[], T], size: int, tree: Sized = ()) -> T | None:
        """The call's result; None where memory ran out: then the batch, of this size, is to be tried again by halves.

        tree     what the call may have grown: a call that failed after that cannot be repeated
        Raises   MemoryError where there is nothing to halve
        """
        before, last = len(tree), False
        while True:
            try:
                found = call()
            except (MemoryError, RuntimeError) as problem:
                if not ran_out(problem):
                    raise
                if last or len(tree) != before:
                    raise MemoryError(str(problem)) from None
                _give_back()
                if size > 1:
                    self.share, self.calm = self.share / 2, 0
                    return None
                last = True  # nothing to halve: once more with what was given back
                continue
            self.calm += 1
            if self.calm % CALM == 0:
                self.share = min(1.0, 2 * self.share)
            return found


def _give_back() -> None:
    """What the device's allocator keeps, for those beside this process."""
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_initialized():
        with recording:
            sys.modules["torch"].cuda.empty_cache()


def ran_out(problem: BaseException) -> bool:
    """Whether memory was the reason: Python's and numpy's error, or torch's, on the CPU or a device."""
    text = str(problem)
    return isinstance(problem, MemoryError) or (
        isinstance(problem, RuntimeError) and any(s in text for s in ("out of memory", "not enough memory"))
    )


def resident(leader: int) -> int:
    """Resident bytes of a process group, pages that its members share counted once at most per member. 0: unknown."""
    total = 0
    try:
        names = os.listdir("/proc")
    except OSError:
        return 0
    page = os.sysconf("SC_PAGE_SIZE")
    for name in names:
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    stat = file.read()
                if int(stat[stat.rindex(b")") + 2 :].split(maxsplit=3)[2]) == leader:
                    with open(f"/proc/{name}/statm", "rb") as file:
                        pages = file.read().split()
                    total += (int(pages[1]) - (int(pages[2]) if name != str(leader) else 0)) * page
            except (OSError, ValueError):
                continue
    return total
