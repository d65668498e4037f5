"""The page of a robustness table: shares by radius, what each column rests on, and the examples that stay open."""

from __future__ import annotations

from collections.abc import Sequence

from torchlean.report import plots
from torchlean.report.page import Page


def page(
    title: str,
    notes: Sequence[str],
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    basis: Sequence[Sequence[str]],
    open_: Sequence[Sequence[object]],
) -> Page:
    """Everything about one table.

    notes   what was asked, in words
    rows    radius, shares in percent or "-", count of open examples
    basis   (column, what it rests on)       open_   (radius, example, why)
    """
    result = Page(title, "Which share of the examples keeps its class in a box around it, from above and from below.")
    for note in notes:
        result.text(note)
    result.section("By radius")
    result.table(head, rows)
    curves = {
        name: [float(row[k].removesuffix(" %")) for row in rows]
        for k, name in enumerate(head[1:-1], 1)
        if rows[0][k] != "-"
    }
    result.figure(plots.shares([float(row[0]) for row in rows], curves, "eps, maximum norm"),
                  "Broken lines are upper bounds of the robust share, full lines lower bounds.")  # fmt: skip
    result.section("What each column rests on")
    result.table(("", ""), basis)
    if open_:
        result.section("Open examples")
        result.table(("eps", "example", "why"), open_)
    return result
