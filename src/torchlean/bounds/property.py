"""Violations: what a property forbids, as exact linear inequalities over inputs and outputs.

A `Violation` is what a VNN-LIB file states: a disjunction of clauses, each a box of inputs and a conjunction of
inequalities. The property holds when no input of the region meets any clause. All arithmetic here is exact.

Source   SEMANTICS.md, section 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from torchlean.bounds.region import Box
from torchlean.errors import DataError, ShapeError
from torchlean.frozen import frozen

Terms = tuple[tuple[int, Fraction], ...]


@frozen
class Inequality:
    """sum(c * X[i] for i, c in x) + sum(c * Y[j] for j, c in y) + constant <= 0, or < 0 when `strict`.

    Normal form: indices rise, no coefficient is 0. Use `inequality` to bring terms into it.
    """

    x: Terms
    y: Terms
    constant: Fraction
    strict: bool = False

    def __post_init__(self) -> None:
        for name, terms in (("x", self.x), ("y", self.y)):
            indices = [i for i, _ in terms]
            if any(i < 0 for i in indices) or indices != sorted(set(indices)) or any(c == 0 for _, c in terms):
                raise DataError(
                    "the terms of an inequality must be in normal form",
                    where=f"Inequality.{name}",
                    expected="rising indices from 0, each once, no zero coefficient",
                    got=str([(i, str(c)) for i, c in terms]),
                    fix="build it with inequality(x, y, constant, strict)",
                )

    def value(self, x: Sequence[Fraction], y: Sequence[Fraction] | Mapping[int, Fraction]) -> Fraction:
        """The left side at one input and one output, exactly."""
        total = self.constant
        for i, c in self.x:
            total += c * x[i]
        for j, c in self.y:
            total += c * y[j]
        return total

    def holds(self, x: Sequence[Fraction], y: Sequence[Fraction] | Mapping[int, Fraction]) -> bool:
        """Whether the inequality is true at one input and one output, exactly."""
        value = self.value(x, y)
        return value < 0 if self.strict else value <= 0

    def decided(self, x: Sequence[Fraction], lo: Sequence[float], hi: Sequence[float]) -> bool | None:
        """Whether it is true at every output between `lo` and `hi` (finite); None where it is true at some and false at
        others.
        """
        either = {
            self.holds(x, {j: Fraction(float((hi if (c > 0) is up else lo)[j])) for j, c in self.y})
            for up in (True, False)
        }
        return either.pop() if len(either) == 1 else None

    def negated(self) -> Inequality:
        """The inequality that is true exactly where this one is false: not (g <= 0) is -g < 0."""
        x, y = tuple((i, -c) for i, c in self.x), tuple((j, -c) for j, c in self.y)
        return Inequality(x, y, -self.constant, not self.strict)

    def constant_truth(self) -> bool | None:
        """True or False where no variable occurs; None where one does."""
        if self.x or self.y:
            return None
        return self.constant < 0 if self.strict else self.constant <= 0


def inequality(
    x: Mapping[int, Fraction], y: Mapping[int, Fraction], constant: Fraction, strict: bool = False
) -> Inequality:
    """An Inequality in normal form: indices sorted, zero coefficients dropped."""
    return Inequality(_normal(x), _normal(y), constant, strict)


@frozen
class Clause:
    """All (x, y) with x in `box` and every inequality true. Clauses over one region share one Box object."""

    box: Box
    inequalities: tuple[Inequality, ...]

    def holds(self, x: Sequence[Fraction], y: Sequence[Fraction]) -> bool:
        """Whether the clause is met at one input and one output, exactly."""
        return self.box.contains_exact(x) and all(g.holds(x, y) for g in self.inequalities)


@frozen
class Violation:
    """A disjunction of clauses over `inputs` flat inputs and `outputs` flat outputs. No clause: nothing is forbidden.

    Errors   ShapeError where a box or an index does not fit the counts
    """

    inputs: int
    outputs: int
    clauses: tuple[Clause, ...]

    def __post_init__(self) -> None:
        for k, clause in enumerate(self.clauses):
            if clause.box.size != self.inputs:
                raise _unfit(k, f"a box of {self.inputs} inputs", f"{clause.box.size} inputs")
            for g in clause.inequalities:
                if (g.x and g.x[-1][0] >= self.inputs) or (g.y and g.y[-1][0] >= self.outputs):
                    raise _unfit(k, f"indices below {self.inputs} inputs and {self.outputs} outputs", str(g))

    def evaluate_exact(self, x: Sequence[Fraction], y: Sequence[Fraction]) -> bool:
        """Whether input x with output y violates the property, in exact arithmetic.

        Shapes   x: [inputs], y: [outputs]
        """
        if len(x) != self.inputs or len(y) != self.outputs:
            raise ShapeError(
                "a point must fit the property",
                where="Violation.evaluate_exact",
                expected=f"{self.inputs} inputs and {self.outputs} outputs",
                got=f"{len(x)} inputs and {len(y)} outputs",
                fix="flatten input and output, row-major",
            )
        return any(clause.holds(x, y) for clause in self.clauses)

    def regions(self) -> list[tuple[Box, list[int]]]:
        """The distinct boxes, each with the indices of the clauses over it, in order of first use."""
        same: dict[int, tuple[Box, list[int]]] = {}  # by identity first: hashing thousands of rationals is slow
        for k, clause in enumerate(self.clauses):
            same.setdefault(id(clause.box), (clause.box, []))[1].append(k)
        if len(same) == 1:
            return list(same.values())
        found: dict[Box, list[int]] = {}
        for box, numbers in same.values():
            found.setdefault(box, []).extend(numbers)
        return [(box, sorted(numbers)) for box, numbers in found.items()]

    def check_fits(self, inputs: int, outputs: int, where: str) -> None:
        """Refuse a network of other sizes.

        Errors   ShapeError with both sizes
        """
        if (inputs, outputs) != (self.inputs, self.outputs):
            raise ShapeError(
                "the property does not fit the network",
                where=where,
                expected=f"a property of {inputs} inputs and {outputs} outputs, as the network has",
                got=f"{self.inputs} inputs and {self.outputs} outputs",
                fix="give the property file that was made for this network",
            )


def _normal(terms: Mapping[int, Fraction] | Iterable[tuple[int, Fraction]]) -> Terms:
    items = terms.items() if isinstance(terms, Mapping) else terms
    return tuple(sorted((i, c) for i, c in items if c))


def _unfit(clause: int, expected: str, got: str) -> ShapeError:
    return ShapeError(
        "a clause does not fit the sizes of its violation",
        where=f"clause {clause}",
        expected=expected,
        got=got,
        fix="give the numbers of inputs and outputs that the network has",
    )
