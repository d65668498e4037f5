"""A table as plain text: columns aligned, nothing cut off: the same in a terminal, a file and a pipe."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def columns(head: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = ()) -> str:
    """One line for the heads, one per row.

    right   heads of the columns that stand at the right, as numbers do
    """
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    flush = [name in right for name in head]
    return "\n".join(
        "  ".join(
            cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(line, widths, flush, strict=True)
        ).rstrip()
        for line in lines
    )
