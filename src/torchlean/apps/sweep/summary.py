"""What a sweep comes to: counts of each status, and times over whole processes."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from torchlean.apps.sweep.one import STATUSES, Row


@dataclass(frozen=True)
class Summary:
    """The numbers of one sweep.

    counts    instances of each status, every status named
    wrong     answers against what the list knows, and proofs that the checker refused
    times     seconds of every solved instance, rising
    """

    instances: int
    counts: dict[str, int]
    wrong: int
    float32: int
    checked: int
    valid: int
    times: dict[str, list[float]]
    median: float
    mean: float
    total: float

    @property
    def solved(self) -> int:
        return self.counts["sat"] + self.counts["unsat"]

    def rows(self) -> list[tuple[str, str]]:
        """(name, value), as printed."""
        found = [("instances", str(self.instances)), ("solved", str(self.solved))]
        found += [(status, str(count)) for status, count in self.counts.items()]
        found += [("wrong", str(self.wrong)), ("unsat for float32", str(self.float32))]
        if self.checked:
            found.append(("certificates valid", f"{self.valid} of {self.checked}"))
        return [*found, ("median seconds", f"{self.median:.3f}"), ("mean seconds", f"{self.mean:.3f}"),
                ("total seconds", f"{self.total:.1f}")]  # fmt: skip


def summarise(rows: Sequence[Row]) -> Summary:
    """The summary of at least one row."""
    seconds = [row.seconds for row in rows]
    times = {s: sorted(row.seconds for row in rows if row.status == s) for s in ("sat", "unsat")}
    return Summary(
        instances=len(rows),
        counts={status: sum(row.status == status for row in rows) for status in STATUSES},
        wrong=sum(row.wrong for row in rows),
        float32=sum(row.status == "unsat" and row.semantics == "float32" for row in rows),
        checked=sum(bool(row.checked) for row in rows),
        valid=sum(row.checked == "valid" for row in rows),
        times=times,
        median=statistics.median(seconds),
        mean=statistics.fmean(seconds),
        total=sum(seconds),
    )
