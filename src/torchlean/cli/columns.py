"""A table as plain text: columns aligned, nothing cut off: the same in a terminal, a file and a pipe."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence


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


def fitted(rows: Sequence[Mapping[str, str]], width: int | None = None, right: Collection[str] = ()) -> str:
    """Rows under their heads where that fits in `width`, else each row's cells below its first, digit under digit.

    width   None: the terminal's, 120 where there is none
    """
    width = shutil.get_terminal_size((120, 40)).columns if width is None else width
    table = columns(list(rows[0]), [list(row.values()) for row in rows], right)
    if max(map(len, table.splitlines())) <= width:
        return table
    return "\n".join(
        columns((next(iter(row.values())), ""), [(f"  {head}", text) for head, text in list(row.items())[1:]])
        for row in rows
    )
