"""Inputs that a query sets equal, as one input: two networks that read one point have one box to search, not two."""

from __future__ import annotations

from fractions import Fraction

from torchlean.bounds.property import Clause, Inequality, Violation, inequality
from torchlean.bounds.region import Box
from torchlean.errors import DataError


def merge_equal_inputs(violation: Violation, where: str) -> tuple[Violation, tuple[int, ...]]:
    """The same violation over fewer inputs, and for each old input the new one that it equals.

    Two inputs are merged where every clause states both x_i - x_j <= 0 and x_j - x_i <= 0. A point of the new
    violation, copied to the old inputs, is a point of the old one, and every point of the old one is such a copy.
    Errors   DataError when the merged bounds leave no clause
    """
    place = _places(violation)
    if len(set(place)) == violation.inputs:
        return violation, tuple(range(violation.inputs))
    boxes: dict[int, Box | None] = {}
    clauses = []
    for clause in violation.clauses:
        if id(clause.box) not in boxes:
            boxes[id(clause.box)] = _merged_box(clause.box, place)
        box = boxes[id(clause.box)]
        kept = [_merged(g, place) for g in clause.inequalities]
        if box is not None and not any(g.constant_truth() is False for g in kept):
            clauses.append(Clause(box, tuple(g for g in kept if g.constant_truth() is None)))
    if not clauses:
        raise DataError("the query asks for no input at all", where=where, got="bounds that exclude each other",
                        expected="bounds that equal inputs can share", fix="correct the bounds")  # fmt: skip
    return Violation(max(place) + 1, violation.outputs, tuple(clauses)), place


def _places(violation: Violation) -> tuple[int, ...]:
    """For each input its place among the merged ones, in the order of first inputs."""
    ordered = set.intersection(*({p for g in c.inequalities if (p := _at_most(g))} for c in violation.clauses))
    leader = list(range(violation.inputs))

    def find(i: int) -> int:
        while leader[i] != i:
            i = leader[i]
        return i

    for low, high in ordered:
        if (high, low) in ordered:
            a, b = sorted((find(low), find(high)))
            leader[b] = a
    places = {first: n for n, first in enumerate(sorted({find(i) for i in range(violation.inputs)}))}
    return tuple(places[find(i)] for i in range(violation.inputs))


def _at_most(g: Inequality) -> tuple[int, int] | None:
    """(i, j) where the inequality is x_i <= x_j."""
    if g.y or g.strict or g.constant or len(g.x) != 2:
        return None
    (i, c), (j, d) = g.x
    if c + d:
        return None
    return (i, j) if c > 0 else (j, i)


def _merged(g: Inequality, place: tuple[int, ...]) -> Inequality:
    x: dict[int, Fraction] = {}
    for i, c in g.x:
        x[place[i]] = x.get(place[i], Fraction(0)) + c
    return inequality(x, dict(g.y), g.constant, g.strict)


def _merged_box(box: Box, place: tuple[int, ...]) -> Box | None:
    lo: dict[int, Fraction] = {}
    hi: dict[int, Fraction] = {}
    for i, at in enumerate(place):
        lo[at] = max(lo.get(at, box.lo[i]), box.lo[i])
        hi[at] = min(hi.get(at, box.hi[i]), box.hi[i])
    if any(lo[at] > hi[at] for at in lo):
        return None
    return Box(tuple(lo[at] for at in sorted(lo)), tuple(hi[at] for at in sorted(hi)), (len(lo),))
