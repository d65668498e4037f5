"""A sweep's page: summary, cactus plot, every instance, and what it was run with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torchlean.report import plots
from torchlean.report.page import Page

if TYPE_CHECKING:
    from torchlean.apps.sweep import Row, Summary

HEAD = ("", "network", "property", "status", "expected", "seconds", "of", "processor s", "MB", "leaves", "check", "why")


def page(listed: str, rows: Sequence[Row], summary: Summary, record: Mapping[str, Any]) -> Page:
    """Everything about one sweep.

    listed   the list's path      record   as `make_record` gives it
    """
    result = Page(f"Sweep of {listed}", "Every instance ran as a whole process under a hard wall clock.")
    result.section("Summary")
    result.verdict(f"{summary.solved} of {summary.instances} solved", f"{summary.wrong} wrong")
    result.text("Only sat and unsat are verdicts. A timeout, a crash or an error counts as unsolved.")
    result.table(("", ""), summary.rows())
    result.section("Cactus plot")
    every = sorted(summary.times["sat"] + summary.times["unsat"])
    curves = {"solved": every, **summary.times}
    result.figure(plots.cactus({name: times for name, times in curves.items() if times}),
                  "How many instances are solved within a time each: lower and further right is better.")  # fmt: skip
    result.section("Instances")
    result.table(HEAD, [_cells(row) for row in rows])
    result.section("Run")
    result.table(("", ""), [(name, record[name]) for name in ("torchlean", "source_sha256", "list_sha256", "settings")])
    result.table(("started", "jobs", "processor", "cores", "python", "versions"),
                 [[s.get(k, "") for k in ("started", "jobs", "processor", "cores", "python", "versions")]
                  for s in record["stretches"]])  # fmt: skip
    result.table(("file", "sha256 of its uncompressed bytes"), record["files"].items())
    return result


def _cells(row: Row) -> tuple[object, ...]:
    checked = f"{row.checked} {row.check_seconds:.2f} s" if row.checked else ""
    status = f"{row.status} {row.semantics}".strip() if row.solved else row.status
    return (row.number, row.onnx, row.vnnlib, f"{status}{'  WRONG' if row.wrong else ''}", row.expected,
            f"{row.seconds:.2f}", f"{row.timeout:g}", f"{row.cpu_seconds:.2f}", f"{row.memory_mb:.0f}", row.leaves,
            checked, row.reason if row.status in ("error", "unknown") else "")  # fmt: skip
