"""What `torchlean floats` shows, as rows of text: the same cells for the terminal, for JSON and for the page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import flint

from torchlean.floats.calculator import Look, Outcome, Real, pattern_text, shortest
from torchlean.floats.calculator.number import decimal_text
from torchlean.floats.soft import Flag

# Tables by title: which of a look's cells stand side by side.
LOOK = {
    "Bits": ("sign", "exponent", "fraction", "pattern"),
    "Value": ("value", "hexadecimal", "class"),
    "Rounding": ("error", "relative", "in ulps", "flags"),
    "Neighbours": ("below", "above", "ulp"),
}
NUMBERS = ("error", "relative", "in ulps")
_LONG = 40


def of_look(label: str, found: Look) -> dict[str, str]:
    """Every cell about a number in a format."""
    sign, exponent, fraction = found.fields
    return {
        "format": label,
        "sign": sign,
        "exponent": exponent,
        "fraction": fraction,
        "pattern": found.pattern,
        "hexadecimal": found.hex_text,
        "value": found.decimal,
        "class": found.kind.name.lower().replace("_", " "),
        "error": _signed(found.error),
        "relative": _signed(found.relative_error),
        "in ulps": _signed(found.error_in_ulps),
        "flags": flags(found.flags),
        "below": found.below.decimal if found.below else "-",
        "above": found.above.decimal if found.above else "-",
        "ulp": "-" if found.ulp is None else f"2^{math.frexp(found.ulp)[1] - 1}",
    }


def split(rows: Sequence[Mapping[str, str]], titles: Iterable[str]) -> list[tuple[str, list[dict[str, str]]]]:
    """(title, rows of the first cell and the table's own) for tables of LOOK; long decimals are cut, and say so."""
    return [(title, [{h: _cut(r[h]) for h in ("format", *LOOK[title])} for r in rows]) for title in titles]


def of_real(real: Real | str) -> str:
    """The exact value: a finite decimal or a fraction where it is short, else 40 digits, or why there is none."""
    if isinstance(real, str):
        return f"no value: {real}"
    text = decimal_text(real.middle, 40)
    if real.is_exact and flint.fmpq(*Decimal(text).as_integer_ratio()) == real.lower:
        return text
    return f"{real.lower}, about {text}" if real.is_exact and len(str(real.lower)) <= 40 else f"about {text}"


def of_outcome(label: str, found: Outcome, real: Real | str) -> dict[str, str]:
    """A row about an expression in one format and direction."""
    return {
        "format": label,
        "rounding": found.mode.value,
        "result": shortest(found.bits, found.format),
        "pattern": found.pattern,
        "in ulps": "-" if isinstance(real, str) else _signed(found.off_by(real)),
        "flags": flags(found.flags),
    }


def steps(found: Outcome) -> list[dict[str, str]]:
    """A row per rounding."""
    return [
        {
            "step": step.text,
            "result": shortest(step.bits, found.format),
            "pattern": pattern_text(step.bits, found.format),
            "flags": flags(step.flags),
        }
        for step in found.steps
    ]


def of_parting(found: Any, limit: float) -> dict[str, str]:
    """A row about a system beside float32."""
    return {
        "system": found.system,
        "outputs differ by, ulps": f"{found.outputs:.4g}",
        f"first node beyond {limit:g} ulp{'' if limit == 1 else 's'}": found.node or "none",
        "there, ulps": "-" if found.ulps is None else f"{found.ulps:.4g}",
    }


def flags(raised: Flag) -> str:
    """By name."""
    return ", ".join(f.name.lower().replace("_", " ") for f in Flag if f & raised and f.name) or "none"


def _signed(x: flint.fmpq | None) -> str:
    if x is None:
        return "-"
    return ("+" if x > 0 else "") + decimal_text(x, 4)


def _cut(text: str) -> str:
    if len(text) <= _LONG or "." not in text:  # patterns stay whole
        return text
    mantissa, mark, power = text.partition("e")
    digits = sum(c.isdigit() for c in mantissa)
    return f"{mantissa[: _LONG - 16]}...{mark}{power} ({digits} digits)"
