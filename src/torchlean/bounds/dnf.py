"""And, or, not over linear inequalities, and their disjunctive normal form.

Order is part of the meaning for certificates: clauses come in lexicographic order of the alternatives as written, and a
clause's inequalities in the order as written.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import chain, product
from math import prod

from torchlean.bounds.property import Clause, Inequality
from torchlean.bounds.region import Box
from torchlean.errors import Unsupported
from torchlean.frozen import frozen

MOST_CLAUSES = 100_000


@frozen
class Atom:
    """One inequality."""

    inequality: Inequality


@frozen
class And:
    """All of the parts; true when there are none."""

    parts: tuple[Logic, ...]


@frozen
class Or:
    """At least one of the parts; false when there are none."""

    parts: tuple[Logic, ...]


@frozen
class Not:
    """The opposite of the part."""

    part: Logic


Logic = Atom | And | Or | Not
Conjunction = tuple[Inequality, ...]


def disjuncts(logic: Logic, where: str, *, negate: bool = False) -> list[Conjunction]:
    """The disjunctive normal form: a list of conjunctions, whose disjunction means the same.

    Errors   Unsupported when more than MOST_CLAUSES would result
    """
    if isinstance(logic, Atom):
        return [(logic.inequality.negated() if negate else logic.inequality,)]
    if isinstance(logic, Not):
        return disjuncts(logic.part, where, negate=not negate)
    if isinstance(logic, Or) != negate:  # an or, or a negated and
        alternatives: list[Conjunction] = []
        for part in logic.parts:
            alternatives += disjuncts(part, where, negate=negate)
            _limit(len(alternatives), where)
        return alternatives
    choices = [disjuncts(part, where, negate=negate) for part in logic.parts]
    _limit(prod(map(len, choices)), where)
    return [tuple(chain.from_iterable(picked)) for picked in product(*choices)]


def clauses_of(logic: Logic, region: Box, where: str) -> tuple[Clause, ...]:
    """The clauses of a formula over a region; those that cannot be met for reasons of constants or boxes are left out.

    An inequality over one input alone narrows the clause's box; a strict one also stays an inequality. Clauses that
    narrow nothing share the object `region`.
    """
    made = (clause(conjunction, region) for conjunction in disjuncts(logic, where))
    return tuple(c for c in made if c is not None)


def clause(conjunction: Sequence[Inequality], region: Box) -> Clause | None:
    """One conjunction over a region as a clause; None where it is contradictory by constants or by the box alone."""
    kept: list[Inequality] = []
    bounds: dict[int, tuple[Fraction | None, Fraction | None]] = {}
    for g in conjunction:
        truth = g.constant_truth()
        if truth is False:
            return None
        if truth is None:
            if input_bound(g):
                tighten(bounds, g)
            if not input_bound(g) or g.strict:
                kept.append(g)
    box = region.narrow(bounds) if bounds else region
    return None if box is None else Clause(box, tuple(kept))


def input_bound(g: Inequality) -> bool:
    """Whether the inequality bounds one input and nothing else."""
    return len(g.x) == 1 and not g.y


def tighten(bounds: dict[int, tuple[Fraction | None, Fraction | None]], g: Inequality) -> None:
    """Enter c X_i + d <= 0 as a bound of X_i."""
    ((i, c),) = g.x
    at = -g.constant / c
    low, high = bounds.get(i, (None, None))
    if c > 0:
        bounds[i] = (low, at if high is None or at < high else high)
    else:
        bounds[i] = (at if low is None or at > low else low, high)


def _limit(count: int, where: str) -> None:
    if count > MOST_CLAUSES:
        raise Unsupported(
            "the property has too many alternatives",
            where=where,
            expected=f"at most {MOST_CLAUSES} clauses once the disjunctions are multiplied out",
            got=f"at least {count}",
            fix="split the property into several, each with fewer disjunctions",
        )
