"""What every benchmark does with its rows: print a markdown table, and write JSON with machine and versions.

And what those do that run whole commands: end them where they are ended.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torchlean.apps.sweep import machine
from torchlean.cli.terminable import terminable

RESULTS = Path(__file__).resolve().parent / "results"


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a markdown table; floats with three significant digits."""
    if not rows:
        return "(no rows)"
    head = list(rows[0])

    def cell(value: Any) -> str:
        return f"{value:.3g}" if isinstance(value, float) else str(value)

    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell(row[h]) for h in head) + " |" for row in rows]
    return "\n".join(lines)


def report(name: str, rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any], write: bool) -> None:
    """Print; and with `write`, put NAME.json and NAME.md into bench/results."""
    where = machine()
    text = "\n".join(
        [
            f"# {name}",
            "",
            f"{where['processor']}, {where['cores']} cores, "
            + (f"{where['gpu']}, " if where.get("gpu") else "")
            + f"Python {where['python']}, "
            + ", ".join(f"{k} {v}" for k, v in where["versions"].items() if v),
            "",
            markdown(rows),
            "",
            *(f"- {k}: {v}" for k, v in summary.items()),
            "",
        ]
    )
    print(text)
    if write:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.md").write_text(text)
        record = {"name": name, "machine": where, "summary": dict(summary), "rows": list(rows)}
        (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")


def run(main: Callable[[], None]) -> None:
    """Run a benchmark. An interrupt or a request to terminate ends what it has started, and it."""
    try:
        with terminable():
            main()
    except KeyboardInterrupt:
        sys.exit(130)
