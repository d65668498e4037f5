"""VNN-LIB 1.0 writer, and VNN-COMP's form of a witness.

Numbers are exact decimals without exponents: every float has one, and readers of VNN-LIB 1.0 agree on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import lcm
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchlean.bounds.property import Clause, Inequality, Terms, Violation
from torchlean.bounds.region import Box
from torchlean.errors import DataError, UsageError
from torchlean.io.decimals import decimal_text


def write_vnnlib(violation: Violation, title: str = "") -> str:
    """VNN-LIB 1.0 text that reads back as the same violation.

    title    a comment for the first lines
    Errors   UsageError: an input bound that no finite decimal equals (1/3), or no clause at all
    """
    if not violation.clauses:
        raise UsageError(
            "a violation without a clause cannot be written",
            where="write_vnnlib",
            expected="at least one clause",
            got="none",
            fix="use Property.violation, which states an impossible clause for a claim that always holds",
        )
    lines = [f"; {line}" for line in title.splitlines()]
    lines += [f"(declare-const X_{i} Real)" for i in range(violation.inputs)]
    lines += [f"(declare-const Y_{j} Real)" for j in range(violation.outputs)]
    lines += _assertions(violation)
    return "\n".join(lines) + "\n"


def write_witness(x: NDArray[Any], y: NDArray[Any]) -> str:
    """A witness as VNN-COMP reads it: ((X_0 v) ... (Y_0 v)), one value a line, exact decimals.

    Shapes   x, y: any, taken row-major
    Errors   DataError where a value is not finite
    """
    pairs = [
        f"({kind}_{i} {text})" for kind, values in (("X", x), ("Y", y)) for i, text in enumerate(exact_texts(values))
    ]
    return "(" + "\n".join(pairs) + ")\n"


def _assertions(violation: Violation) -> Iterator[str]:
    """Bounds that every clause has stand alone; with several clauses, one `or` holds the rest."""
    (first, _), *others = violation.regions()
    if not others:
        yield from (f"(assert {bound})" for bound in _bounds(first))
        if len(violation.clauses) == 1:
            yield from (f"(assert {_inequality(g)})" for g in violation.clauses[0].inequalities)
            return
    yield "(assert (or"
    yield from (f"  {_conjunction(clause, with_box=bool(others))}" for clause in violation.clauses)
    yield "))"


def _conjunction(clause: Clause, *, with_box: bool) -> str:
    parts = list(_bounds(clause.box)) if with_box else []
    parts += [_inequality(g) for g in clause.inequalities]
    return f"(and {' '.join(parts)})" if parts else "(and (<= 0.0 0.0))"


def _bounds(box: Box) -> Iterator[str]:
    for i, (lo, hi) in enumerate(zip(box.lo, box.hi, strict=True)):
        yield f"(>= X_{i} {_bound(lo, i)})"
        yield f"(<= X_{i} {_bound(hi, i)})"


def _bound(value: Fraction, i: int) -> str:
    text = decimal_text(value)
    if text is None:
        raise UsageError(
            "an input bound has no finite decimal, so a file cannot state it exactly",
            where=f"X_{i}",
            expected="a float, or a decimal",
            got=str(value)[:80],
            fix="give the bound as a float or as decimal text",
        )
    return text


def _inequality(g: Inequality) -> str:
    """terms <= constant, in the short form that most files have where it fits.

    Coefficients without a finite decimal are cleared by a positive factor, which changes nothing.
    """
    g = _with_decimals(g)
    relation, opposite = ("<", ">") if g.strict else ("<=", ">=")
    names = [(f"X_{i}", c) for i, c in g.x] + [(f"Y_{j}", c) for j, c in g.y]
    match names:
        case [(name, c)] if abs(c) == 1:
            return f"({relation if c > 0 else opposite} {name} {decimal_text(-g.constant * c)})"
        case [(a, c), (b, d)] if c == -d and abs(c) == 1 and g.constant == 0:
            return f"({relation} {a} {b})" if c > 0 else f"({relation} {b} {a})"
    terms = [name if c == 1 else f"(* {decimal_text(c)} {name})" for name, c in names] or ["0.0"]
    left = terms[0] if len(terms) == 1 else f"(+ {' '.join(terms)})"
    return f"({relation} {left} {decimal_text(-g.constant)})"


def _with_decimals(g: Inequality) -> Inequality:
    numbers = [c for _, c in g.x + g.y] + [g.constant]
    if all(decimal_text(c) is not None for c in numbers):
        return g
    factor = lcm(*(c.denominator for c in numbers))

    def scaled(terms: Terms) -> Terms:
        return tuple((i, c * factor) for i, c in terms)

    return Inequality(scaled(g.x), scaled(g.y), g.constant * factor, g.strict)


def exact_texts(values: NDArray[Any]) -> Iterator[str]:
    """Every value as an exact decimal without exponent, row-major. Raises DataError where one is not finite."""
    flat = np.asarray(values).ravel()
    if not bool(np.isfinite(flat).all()):
        raise DataError(
            "a witness must be finite",
            where="write_witness",
            expected="finite inputs and outputs",
            got="NaN or infinity",
            fix="replay the point: a witness whose output is not finite is no witness",
        )
    for value in flat.tolist():
        yield decimal_text(Fraction(value)) or ""
