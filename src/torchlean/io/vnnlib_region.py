"""Assertions brought together: the box that bounds of single inputs make, and clauses over it."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from torchlean.bounds.dnf import And, Atom, Conjunction, Logic, clauses_of, disjuncts, input_bound, tighten
from torchlean.bounds.exact import exceeds
from torchlean.bounds.property import Violation
from torchlean.bounds.region import Box
from torchlean.errors import DataError


class Assertions:
    """Bounds of single inputs, and everything else in file order.

    where   the file, for errors      name   an input's name, by its flat index
    """

    def __init__(self, where: str, name: Callable[[int], str]) -> None:
        self.where, self.name = where, name
        self.low: dict[int, Fraction] = {}
        self.high: dict[int, Fraction] = {}
        self.rest: list[Logic] = []

    def bound(self, relation: str, i: int, value: Fraction) -> None:
        """The usual assertion: input i <= value, or >= value."""
        if relation == "<=":
            if i not in self.high or value < self.high[i]:
                self.high[i] = value
        elif i not in self.low or value > self.low[i]:
            self.low[i] = value

    def add(self, logic: Logic) -> None:
        """Any assertion."""
        if isinstance(logic, And):
            for part in logic.parts:
                self.add(part)
            return
        if isinstance(logic, Atom) and input_bound(logic.inequality):
            self._tighten(logic)
            if not logic.inequality.strict:
                return
        self.rest.append(logic)

    def violation(self, inputs: int, outputs: int) -> Violation:
        """What the assertions together state.

        Errors   DataError: an input without a bound, lo > hi, or no alternative that any input can meet
        """
        region, rest = self._region(inputs)
        clauses = clauses_of(rest, region, self.where)
        if not clauses:
            raise DataError(
                "the property asks for no input at all",
                where=self.where,
                expected="at least one alternative that some input and output can meet",
                got="assertions that contradict each other",
                fix="correct the assertions: each alternative needs lo <= hi for every input",
            )
        return Violation(inputs, outputs, clauses)

    def _tighten(self, atom: Atom) -> None:
        i = atom.inequality.x[0][0]
        bounds: dict[int, tuple[Fraction | None, Fraction | None]] = {i: (self.low.get(i), self.high.get(i))}
        tighten(bounds, atom.inequality)
        low, high = bounds[i]
        if low is not None:
            self.low[i] = low
        if high is not None:
            self.high[i] = high

    def _region(self, inputs: int) -> tuple[Box, Logic]:
        """The box that holds every clause's box, and what is left to say inside it.

        An input that only the alternatives bound takes the loosest of their bounds here; `clauses_of` narrows each
        clause.
        """
        rest: Logic = And(tuple(self.rest))
        if len(self.low) < inputs or len(self.high) < inputs:
            self._loosest(disjuncts(rest, self.where), inputs)
        for i in range(inputs):
            if exceeds(self.low[i], self.high[i]):
                raise DataError(
                    "an input's lower bound is above its upper bound",
                    where=f"{self.where}, {self.name(i)}",
                    expected="lo <= hi",
                    got=f"lo = {float(self.low[i])!r}, hi = {float(self.high[i])!r}",
                    fix=f"correct the bounds of {self.name(i)}",
                )
        lo, hi = (tuple(side[i] for i in range(inputs)) for side in (self.low, self.high))
        return Box(lo, hi, (inputs,)), rest

    def _loosest(self, alternatives: list[Conjunction], inputs: int) -> None:
        every: list[dict[int, tuple[Fraction | None, Fraction | None]]] = []
        for conjunction in alternatives:
            bounds: dict[int, tuple[Fraction | None, Fraction | None]] = {}
            for g in conjunction:
                if input_bound(g):
                    tighten(bounds, g)
            every.append(bounds)
        for i in range(inputs):
            pairs = [bounds.get(i, (None, None)) for bounds in every]
            if i not in self.low:
                self.low[i] = min(self._given(i, "lower", low) for low, _ in pairs)
            if i not in self.high:
                self.high[i] = max(self._given(i, "upper", high) for _, high in pairs)

    def _given(self, i: int, side: str, value: Fraction | None) -> Fraction:
        if value is None:
            raise DataError(
                "an input of the property is unbounded",
                where=f"{self.where}, {self.name(i)}",
                expected="a lower and an upper bound for every input, in every alternative",
                got=f"no {side} bound of {self.name(i)}",
                fix=f"add (assert ({'>=' if side == 'lower' else '<='} {self.name(i)} ...))",
            )
        return value
