"""Pages about numbers: a format's bits as cells, and the number line around a value."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import flint
import numpy as np

from torchlean.floats import Format, bits, soft
from torchlean.floats.calculator import Look, Outcome, Real, shortest
from torchlean.report.page import Page

CELL, WIDE, SIDE = 13, 920, 130  # of a bit, of a line, and what the line leaves at its ends
_FEW = 64  # ticks on a line
_STYLE = (
    "text{font:12px ui-monospace,monospace;fill:#1b1f24;text-anchor:middle}.sign{fill:#f6d5c2}"
    ".exponent{fill:#cfe3f7}.fraction{fill:#d9efd9}rect{stroke:#ffffff}.line{stroke:#59636e;stroke-width:1.4}"
    ".number{fill:#0a5cad}.exact{fill:#c4561b}.mark{stroke:#c4561b;stroke-width:2}"
)


def page_of_number(
    title: str, looks: Sequence[tuple[Any, Look]], tables: Sequence[tuple[str, Sequence[Mapping[str, str]]]]
) -> Page:
    """A number in several formats.

    looks    each with what it was computed in, whose `label` names it
    tables   (heading, rows)
    """
    page = Page(title, "One number in several formats: its bits, what the rounding changed, and its neighbours.")
    page.section("Bits")
    page.text("Sign, exponent and fraction; below them the number, its neighbours, and in orange the exact value.")
    for arithmetic, found in looks:
        kind = found.kind.name.lower().replace("_", " ")
        page.figure(picture(found), f"{arithmetic.label}: {found.pattern}, {found.hex_text} = {found.decimal}, {kind}")
    for heading, rows in tables:
        page.section(heading)
        _table(page, rows)
    return page


def page_of_expression(
    text: str,
    exact: str,
    outcomes: Sequence[tuple[Any, Outcome]],
    real: Real | str,
    rows: Sequence[Mapping[str, str]],
) -> Page:
    """An expression in several formats and rounding directions, with every rounding on the way.

    exact   the value over the reals, in words
    rows    one per outcome
    """
    page = Page(text, "One expression, every operation rounded once, in several formats and rounding directions.")
    page.verdict("Over the reals", exact)
    _table(page, rows)
    page.section("The results on the number line")
    for fmt in dict.fromkeys(found.format for _, found in outcomes):
        group = [found for _, found in outcomes if found.format == fmt]
        drawing = results(group, real)
        if drawing:
            page.figure(drawing, f"{fmt}: its numbers as ticks, in orange the exact value.")
        else:
            page.text(f"{fmt}: no finite results to draw.")
    page.section("Step by step")
    for fmt in dict.fromkeys(found.format for _, found in outcomes):
        group = [found for _, found in outcomes if found.format == fmt]
        page.text(str(fmt))
        names = [step.text for step in group[0].steps]
        page.table(
            ["step", *(found.mode.value for found in group)],
            [[name, *(shortest(found.steps[i].bits, fmt) for found in group)] for i, name in enumerate(names)],
        )
    return page


def page_of_program(title: str, rows: Sequence[Mapping[str, str]], apart: Sequence[Mapping[str, str]]) -> Page:
    """A program's outputs in several arithmetics, and how far they are apart."""
    page = Page(title, "One program in several arithmetics.")
    page.section("Outputs")
    _table(page, rows)
    page.section("Differences from float32")
    page.text("In ulps of the coarser of float32 and the format that a system computes in.")
    _table(page, apart)
    return page


def picture(found: Look) -> str:
    """The bits as coloured cells, over the number line from the neighbour below to the one above."""
    shapes, x = [], 2
    for kind, text in zip(("sign", "exponent", "fraction"), found.fields, strict=True):
        for bit in text:
            shapes.append(f'<rect x="{x}" y="2" width="{CELL}" height="22" class="{kind}"/>')
            shapes.append(_text(x + CELL / 2, 18, bit))
            x += CELL
        x += 6
    near = [n for n in (found.below, found, found.above) if n is not None and np.isfinite(n.value)]
    if len(near) < 2 or not np.isfinite(found.value):
        return _svg(x, 28, shapes)
    exact = found.exact if isinstance(found.exact, flint.fmpq) else None
    numbers = {_rational(n.value): n.hex_text for n in near}
    at = _scale(list(numbers), exact)
    shapes += _line(at, list(numbers), exact, 62)
    shapes += [_text(at(p), 84, name) for p, name in numbers.items()]
    return _svg(max(x, WIDE), 92, shapes)


def results(outcomes: Sequence[Outcome], real: Real | str) -> str:
    """Where each rounding direction's result lies, in one format; empty where none is finite."""
    named: dict[float, list[str]] = {}
    for o in outcomes:
        if np.isfinite(o.value):
            named.setdefault(o.value, []).append(o.mode.value)
    if not named:
        return ""
    exact = None if isinstance(real, str) else real.middle
    top = 16 * max(map(len, named.values())) + 24
    at = _scale([_rational(v) for v in named], exact)
    shapes = _line(at, _between(outcomes[0].format, named), exact, top, "below")
    for value, names in named.items():
        x = at(_rational(value))
        shapes.append(f'<circle cx="{x:.1f}" cy="{top}" r="5" class="number"/>')
        shapes += [_text(x, top - 14 - 16 * i, name) for i, name in enumerate(names)]
    return _svg(WIDE, top + 32, shapes)


def _between(fmt: Format, values: Iterable[float]) -> list[flint.fmpq]:
    """The format's numbers from the least of these to the greatest where they are few, else these."""
    values = sorted(values)
    rules = soft.Rules(overflow=soft.Overflow.SPECIAL)
    ends = bits.ordinal(soft.encode(values, fmt, rules=rules).bits, fmt)
    if ends[-1] - ends[0] > _FEW:
        return [_rational(v) for v in values]
    inner = bits.from_ordinal(np.arange(ends[0], ends[-1] + 1), fmt)
    return [_rational(v) for v in soft.decode(inner, fmt).tolist()]


def _scale(numbers: Sequence[flint.fmpq], exact: flint.fmpq | None) -> Callable[[flint.fmpq], float]:
    """Places on the line; what lies beyond the drawing is put at its edge."""
    low, high = min(numbers), max(numbers)
    if exact is not None and len(numbers) == 1:
        low, high = min(low, exact), max(high, exact)
    elif exact is not None:
        reach = (high - low) / 2
        low, high = max(min(low, exact), low - reach), min(max(high, exact), high + reach)
    width = high - low

    def at(p: flint.fmpq) -> float:
        part = (p - low) / width if width != 0 else flint.fmpq(1, 2)
        part = min(max(part, flint.fmpq(0)), flint.fmpq(1))
        return SIDE + (WIDE - 2 * SIDE) * (int(part.numerator) / int(part.denominator))

    return at


def _line(
    at: Callable[[flint.fmpq], float],
    numbers: Sequence[flint.fmpq],
    exact: flint.fmpq | None,
    y: int,
    side: str = "above",
) -> list[str]:
    """The axis with the format's numbers as ticks, and the exact value with its name on one side."""
    shapes = [f'<path d="M20 {y} H{WIDE - 20}" class="line"/>']
    shapes += [f'<path d="M{at(p):.1f} {y - 6} v12" class="line"/>' for p in numbers]
    if exact is not None:
        x, label = at(exact), y - 16 if side == "above" else y + 26
        shapes.append(f'<path d="M{x:.1f} {y - 11} v22" class="mark"/>')
        shapes.append(_text(x, label, "exact", "exact"))
    return shapes


def _text(x: float, y: int, words: str, kind: str = "") -> str:
    """Centred."""
    name = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y}"{name}>{html.escape(words)}</text>'


def _svg(width: int, height: int, shapes: Iterable[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img"><style>{_STYLE}</style>{"".join(shapes)}</svg>'
    )


def _rational(x: float) -> flint.fmpq:
    return flint.fmpq(*x.as_integer_ratio())


def _table(page: Page, rows: Sequence[Mapping[str, str]]) -> None:
    page.table(list(rows[0]), [list(row.values()) for row in rows])
