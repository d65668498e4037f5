"""Bounds of inputs that follow from others: a query may bound an input of one network by that of another.

And bounds that no finite decimal equals, which a VNN-LIB 1.0 file cannot state.
"""

from __future__ import annotations

from fractions import Fraction
from math import floor

from torchlean.bounds.dnf import Atom
from torchlean.bounds.property import Clause, Inequality, Violation, inequality
from torchlean.bounds.region import Box
from torchlean.io.decimals import decimal_text
from torchlean.io.vnnlib_region import Assertions

_GRID = 10**40


def imply_bounds(assertions: Assertions, inputs: int) -> None:
    """Give inputs without a bound one that every point of the assertions keeps. The assertions stay as they are.

    A bound that no finite decimal equals is rounded outward to a multiple of 10^-40.
    """
    linear = [a.inequality for a in assertions.rest if isinstance(a, Atom) and not a.inequality.y]
    linear = [g for g in linear if len(g.x) > 1]
    for _ in range(2 * inputs):  # each round but the last finds a bound
        found = False
        for g in linear:
            found |= any(_imply(assertions, g, k) for k in range(len(g.x)))
        if not found:
            return


def with_decimal_boxes(violation: Violation) -> Violation:
    """The same violation, whose boxes have ends that finite decimals equal.

    Another end is rounded outward, and stated by an inequality of its own.
    """
    boxes: dict[int, tuple[Box, tuple[Inequality, ...]]] = {}
    clauses = []
    for clause in violation.clauses:
        if id(clause.box) not in boxes:
            boxes[id(clause.box)] = _decimal_box(clause.box)
        box, ends = boxes[id(clause.box)]
        clauses.append(Clause(box, (*ends, *clause.inequalities)) if ends else clause)
    return Violation(violation.inputs, violation.outputs, tuple(clauses))


def _decimal_box(box: Box) -> tuple[Box, tuple[Inequality, ...]]:
    ends = [inequality({i: Fraction(-1)}, {}, v) for i, v in enumerate(box.lo) if decimal_text(v) is None]
    ends += [inequality({i: Fraction(1)}, {}, -v) for i, v in enumerate(box.hi) if decimal_text(v) is None]
    if not ends:
        return box, ()
    lo, hi = (tuple(_outward(v, up=up) for v in side) for side, up in ((box.lo, False), (box.hi, True)))
    return Box(lo, hi, box.shape), tuple(ends)


def _imply(assertions: Assertions, g: Inequality, k: int) -> bool:
    """Whether sum(c x) + constant <= 0 gave the k-th of its inputs a bound that it lacked."""
    i, c = g.x[k]
    side = assertions.high if c > 0 else assertions.low
    if i in side:
        return False
    least = g.constant
    for j, other in g.x[:k] + g.x[k + 1 :]:
        at = (assertions.low if other > 0 else assertions.high).get(j)
        if at is None:
            return False
        least += other * at
    side[i] = _outward(-least / c, up=c > 0)
    return True


def _outward(value: Fraction, *, up: bool) -> Fraction:
    if decimal_text(value) is not None:
        return value
    return Fraction(floor(value * _GRID) + up, _GRID)
