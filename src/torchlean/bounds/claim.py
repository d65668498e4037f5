"""Properties written in Python: forall(region, lambda y: (15 <= y[0]) & (y[0] <= 32)).

`y` is a symbolic vector of outputs, so a comparison gives a formula instead of a bool. `&`, `|`, `~` join formulas;
Python's `and`, `or`, `not` and chained comparisons cannot be given a meaning and are refused. A float means its exact
value; "0.1" and Fraction(1, 10) mean the decimal.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import reduce
from inspect import Parameter, signature
from operator import index, or_
from typing import Any, NoReturn

from torchlean.bounds.balls import Ball
from torchlean.bounds.dnf import And, Atom, Logic, Not, Or, clauses_of
from torchlean.bounds.exact import Number, exact
from torchlean.bounds.property import Clause, Violation, inequality
from torchlean.bounds.region import Box
from torchlean.errors import TorchLeanError, UsageError
from torchlean.frozen import frozen


class Formula:
    """A statement about one input and its output: comparisons joined by &, | and ~."""

    def __init__(
        self,
        logic: Callable[[int], Logic],
        kind: type[And] | type[Or] | None = None,
        parts: tuple[Formula, ...] = (),
    ) -> None:
        self._logic, self._kind, self._parts = logic, kind, parts

    def logic(self, outputs: int) -> Logic:
        """The formula for a network of that many outputs."""
        return self._logic(outputs)

    def __and__(self, other: Formula) -> Formula:
        return self._join(And, other)

    def __or__(self, other: Formula) -> Formula:
        return self._join(Or, other)

    def __invert__(self) -> Formula:
        return Formula(lambda outputs: Not(self._logic(outputs)))

    def _join(self, kind: type[And] | type[Or], other: Formula) -> Formula:
        if not isinstance(other, Formula):
            return NotImplemented
        parts = self._operands(kind) + other._operands(kind)  # flat, so that a loop over & does not nest
        return Formula(lambda outputs: kind(tuple(p.logic(outputs) for p in parts)), kind, parts)

    def _operands(self, kind: type[And] | type[Or]) -> tuple[Formula, ...]:
        return self._parts if self._kind is kind else (self,)

    def __rrshift__(self, region: Box | Ball) -> Property:
        """region >> formula: the formula holds for every input of the region."""
        return forall(region, self)

    def __bool__(self) -> NoReturn:
        raise UsageError(
            "a comparison of symbolic outputs is a formula, not True or False",
            where="a chained comparison, `and`, `or`, `not` or `if` in a property",
            expected="formulas joined by &, | and ~, each comparison in parentheses",
            got="a formula where Python needs a bool",
            fix="write (15 <= y[0]) & (y[0] <= 32) instead of 15 <= y[0] <= 32",
        )


class Term:
    """A linear expression over inputs and outputs with exact coefficients."""

    __array_ufunc__ = None  # a numpy scalar on the left must leave the comparison to us

    def __init__(self, x: dict[int, Fraction], y: dict[int, Fraction], constant: Fraction) -> None:
        self.x, self.y, self.constant = x, y, constant

    def __add__(self, other: Operand) -> Term:
        return self._plus(other, 1)

    def __sub__(self, other: Operand) -> Term:
        return self._plus(other, -1)

    def __radd__(self, other: Operand) -> Term:
        return self._plus(other, 1)

    def __rsub__(self, other: Operand) -> Term:
        return (-self)._plus(other, 1)

    def __neg__(self) -> Term:
        return self._times(Fraction(-1))

    def __mul__(self, other: Number) -> Term:
        if isinstance(other, Term):
            raise UsageError(
                "a property must be linear",
                where="a product in a property",
                expected="a number times an output",
                got="a product of two symbolic values",
                fix="give a linear inequality, or compute the product inside the program",
            )
        return self._times(exact(other, "a factor in a property"))

    __rmul__ = __mul__

    def __truediv__(self, other: Number) -> Term:
        divisor = exact(other, "a divisor in a property")
        if divisor == 0:
            raise UsageError(
                "division by zero",
                where="a divisor in a property",
                expected="a number other than 0",
                got="0",
                fix="correct the divisor",
            )
        return self._times(1 / divisor)

    def __le__(self, other: Operand | Others) -> Formula:
        return _compare(self, other, strict=False, flip=False)

    def __lt__(self, other: Operand | Others) -> Formula:
        return _compare(self, other, strict=True, flip=False)

    def __ge__(self, other: Operand | Others) -> Formula:
        return _compare(self, other, strict=False, flip=True)

    def __gt__(self, other: Operand | Others) -> Formula:
        return _compare(self, other, strict=True, flip=True)

    def __eq__(self, other: object) -> Formula:  # type: ignore[override]  # a formula, as the other comparisons give
        return (self <= other) & (self >= other)  # type: ignore[operator]  # _term refuses what is no number

    def __ne__(self, other: object) -> Formula:  # type: ignore[override]
        return ~(self == other)

    def __and__(self, other: object) -> NoReturn:
        raise UsageError(
            "& binds tighter than <=",
            where="& next to an output in a property",
            expected="each comparison in parentheses",
            got="& between symbolic values or numbers",
            fix="write (15 <= y[0]) & (y[0] <= 32)",
        )

    __or__ = __rand__ = __ror__ = __and__

    __hash__ = None  # type: ignore[assignment]  # equality is symbolic

    def _plus(self, other: Operand, sign: int) -> Term:
        term = _term(other)
        return Term(_merged(self.x, term.x, sign), _merged(self.y, term.y, sign), self.constant + sign * term.constant)

    def _times(self, factor: Fraction) -> Term:
        x, y = {i: c * factor for i, c in self.x.items()}, {j: c * factor for j, c in self.y.items()}
        return Term(x, y, self.constant * factor)


class Others:
    """All outputs that the compared term does not mention: y[3] > y.others is y[3] above each of them."""

    __array_ufunc__ = None

    def __le__(self, other: Operand) -> Formula:
        return _compare(_term(other), self, strict=False, flip=True)

    def __lt__(self, other: Operand) -> Formula:
        return _compare(_term(other), self, strict=True, flip=True)

    def __ge__(self, other: Operand) -> Formula:
        return _compare(_term(other), self, strict=False, flip=False)

    def __gt__(self, other: Operand) -> Formula:
        return _compare(_term(other), self, strict=True, flip=False)


Operand = Term | Number


class Vector:
    """A symbolic flat vector, `y` of outputs or `x` of inputs: y[3] is a term."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getitem__(self, position: int) -> Term:
        try:
            i = index(position)
        except TypeError:
            i = -1
        if i < 0:
            raise UsageError(
                "a symbolic vector is flat and counted from 0",
                where=f"{self._name}[{position!r}]",
                expected="one index >= 0, row-major over the tensor's axes",
                got=repr(position),
                fix=f"write {self._name}[i] with a number i",
            )
        one = {i: Fraction(1)}
        return Term(one, {}, Fraction(0)) if self._name == "x" else Term({}, one, Fraction(0))

    @property
    def others(self) -> Others:
        """All outputs that the compared term does not mention."""
        if self._name == "x":
            raise _no_formula("others of an input vector")
        return Others()

    def __iter__(self) -> NoReturn:
        raise UsageError(
            "a symbolic vector has no length until it meets a network",
            where=f"iterating over {self._name}",
            expected=f"indices, or {self._name}.others",
            got="a loop or unpacking",
            fix=f"loop over range(n) and use {self._name}[i]",
        )


output = Vector("y")


@frozen(eq=False)
class Property:
    """`claim` must hold for every input of `region`. The region counts inputs row-major."""

    region: Box
    claim: Formula

    def violation(self, outputs: int) -> Violation:
        """What the property forbids, for a network of that many flat outputs, as a disjunction of clauses.

        A claim that nothing can violate gives one clause that is contradictory on its face (Y_0 <= 0 and Y_0 >= 1), so
        that it can still be written as a file and certified.
        Errors   ShapeError for an index beyond the sizes; Unsupported when the disjunction grows too large
        """
        clauses = clauses_of(Not(self.claim.logic(outputs)), self.region, where="the property")
        if not clauses:
            y0 = Fraction(1)
            never = inequality({}, {0: y0}, Fraction(0)), inequality({}, {0: -y0}, Fraction(1))
            clauses = (Clause(self.region, never),)
        return Violation(self.region.size, outputs, clauses)


def forall(region: Box | Ball, claim: Callable[..., Formula] | Formula) -> Property:
    """The property that `claim` holds for every x in `region`.

    region   a box; or an L1 ball of few inputs, which is stated by its facets on the box around it
    claim    a function of y, or of x and y, that gives a formula; or a formula over `output`
    Errors   UsageError when the region is none or the claim gives no formula; Unsupported for a ball that linear
             inequalities do not state
    """
    if isinstance(region, Ball):
        outside = [Formula(lambda _, g=g: Atom(g.negated())) for g in region.facets()]  # type: ignore[misc]
        inner = forall(region.box, claim)
        return Property(inner.region, reduce(or_, outside) | inner.claim)
    if not isinstance(region, Box):
        raise UsageError(
            "a property is stated on a region",
            where="forall",
            expected="a region, such as box(center, eps)",
            got=type(region).__name__,
            fix="forall(box(x, 0.1), lambda y: y[0] <= 1)",
        )
    formula = claim if isinstance(claim, Formula) else _called(claim)
    if not isinstance(formula, Formula):
        raise _no_formula(type(formula).__name__)
    return Property(region, formula)


def _called(claim: Callable[..., Formula]) -> Any:
    if not callable(claim):
        raise _no_formula(type(claim).__name__)
    positional = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    count = sum(p.kind in positional for p in signature(claim).parameters.values())
    if count not in (1, 2):
        raise _no_formula(f"a function of {count} arguments")
    return claim(output) if count == 1 else claim(Vector("x"), output)


def _no_formula(got: str) -> TorchLeanError:
    return UsageError(
        "a claim must give a formula",
        where="forall",
        expected="a function of y (or of x and y) that compares outputs: lambda y: y[0] <= 1",
        got=got,
        fix="compare outputs with <=, <, >=, > and join the comparisons with &, | and ~",
    )


def _compare(left: Term, right: Operand | Others, *, strict: bool, flip: bool) -> Formula:
    """left <= right; with `flip`, left >= right."""
    if isinstance(right, Others):
        return Formula(lambda outputs: _against_others(left, outputs, strict, flip))
    difference = left - right
    if flip:
        difference = -difference
    atom = Atom(inequality(difference.x, difference.y, difference.constant, strict))
    return Formula(lambda _: atom)


def _against_others(left: Term, outputs: int, strict: bool, flip: bool) -> Logic:
    atoms: list[Logic] = []
    for j in range(outputs):
        if j not in left.y:
            difference = left - output[j]
            if flip:
                difference = -difference
            atoms.append(Atom(inequality(difference.x, difference.y, difference.constant, strict)))
    return And(tuple(atoms))


def _term(value: Operand) -> Term:
    if isinstance(value, Term):
        return value
    if isinstance(value, Vector | Others | Formula):
        raise _no_formula(f"arithmetic with a {type(value).__name__}")
    return Term({}, {}, exact(value, "a number in a property"))


def _merged(first: dict[int, Fraction], second: dict[int, Fraction], sign: int) -> dict[int, Fraction]:
    merged = dict(first)
    for i, c in second.items():
        merged[i] = merged.get(i, Fraction(0)) + sign * c
    return merged
