"""VNN-LIB 1.0 reader: properties as files that state the violation.

A file declares real inputs X_0 ... and outputs Y_0 ..., and asserts linear inequalities joined by and, or and not. Its
assertions together say what must not happen. Every decimal is read exactly; nothing is rounded here.

Source   VNN-LIB 1.0, https://www.vnnlib.org
"""

from __future__ import annotations

import os
from fractions import Fraction

from torchlean.bounds.dnf import And, Atom, Conjunction, Logic, clauses_of, disjuncts, input_bound, tighten
from torchlean.bounds.exact import exceeds
from torchlean.bounds.property import Violation
from torchlean.bounds.region import Box
from torchlean.errors import DataError, FileError
from torchlean.files import decode, read_bytes
from torchlean.io.vnnlib_terms import Declared, logic_of
from torchlean.io.vnnlib_text import Place, decimal, statements


def read_vnnlib(source: str | os.PathLike[str] | bytes) -> Violation:
    """The violation that a VNN-LIB 1.0 file states.

    source   a path (plain or gzip; NAME also finds NAME.gz), or the uncompressed bytes
    Returns  clauses in lexicographic order of the file's alternatives. Bounds of one input become the clause's box,
             which clauses share where they can; a strict one stays an inequality too. Alternatives that no input can
             meet are left out.
    Errors   FileError: not VNN-LIB 1.0, with the line; DataError: an input without a bound, or lo > hi; Unsupported: a
             term that is not linear, too many alternatives
    """
    where = "the property" if isinstance(source, bytes) else os.fspath(source)
    raw = source if isinstance(source, bytes) else read_bytes(source)
    return _Reader(where).read(decode(raw, where))


class _Reader:
    """One pass over a file: declarations, bounds of single inputs, and everything else in file order."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.declared = Declared()
        self.low: dict[int, Fraction] = {}
        self.high: dict[int, Fraction] = {}
        self.rest: list[Logic] = []

    def read(self, text: str) -> Violation:
        place = Place(self.where, text)
        for statement in statements(text, place):
            if isinstance(statement, list):
                self._assertion(logic_of(statement[1], self.declared, place))
            elif statement[0] in ("X", "Y"):
                self._declare(statement[0], int(statement[1]), place)
            else:
                self._bound(statement[0], int(statement[1]), decimal(statement[2]), place)
        inputs, outputs = self._sizes(place)
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

    def _declare(self, kind: str, i: int, place: Place) -> None:
        names = self.declared.inputs if kind == "X" else self.declared.outputs
        if i in names:
            raise place.error(f"{kind}_{i} is declared twice", "one declaration for each variable", f"{kind}_{i} again")
        names.add(i)

    def _bound(self, relation: str, i: int, value: Fraction, place: Place) -> None:
        """The usual line: (assert (<= X_i value))."""
        if i not in self.declared.inputs:
            raise place.unknown(f"X_{i}")
        if relation == "<=":
            if i not in self.high or value < self.high[i]:
                self.high[i] = value
        elif i not in self.low or value > self.low[i]:
            self.low[i] = value

    def _assertion(self, logic: Logic) -> None:
        if isinstance(logic, And):
            for part in logic.parts:
                self._assertion(part)
            return
        if isinstance(logic, Atom) and input_bound(logic.inequality):
            self._tighten(logic)
            if not logic.inequality.strict:
                return
        self.rest.append(logic)

    def _tighten(self, atom: Atom) -> None:
        i = atom.inequality.x[0][0]
        bounds: dict[int, tuple[Fraction | None, Fraction | None]] = {i: (self.low.get(i), self.high.get(i))}
        tighten(bounds, atom.inequality)
        low, high = bounds[i]
        if low is not None:
            self.low[i] = low
        if high is not None:
            self.high[i] = high

    def _sizes(self, place: Place) -> tuple[int, int]:
        for kind, names in (("X", self.declared.inputs), ("Y", self.declared.outputs)):
            meaning = "inputs" if kind == "X" else "outputs"
            if not names:
                raise FileError(
                    f"the property declares no {meaning}",
                    where=self.where,
                    expected=f"(declare-const {kind}_0 Real) and so on, one for each of the network's {meaning}",
                    got=f"no {kind}",
                    fix="check that this is a VNN-LIB file and not another format",
                )
            if max(names) != len(names) - 1:
                missing = next(i for i in range(len(names)) if i not in names)
                raise FileError(
                    f"the {meaning} must be numbered without a gap",
                    where=self.where,
                    expected=f"{kind}_0 to {kind}_{max(names)}, each declared",
                    got=f"no declaration of {kind}_{missing}",
                    fix=f"declare {kind}_{missing}, or renumber",
                )
        return len(self.declared.inputs), len(self.declared.outputs)

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
                    where=f"{self.where}, X_{i}",
                    expected="lo <= hi",
                    got=f"lo = {float(self.low[i])!r}, hi = {float(self.high[i])!r}",
                    fix=f"correct the bounds of X_{i}",
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
                where=f"{self.where}, X_{i}",
                expected="a lower and an upper bound for every input, in every alternative",
                got=f"no {side} bound of X_{i}",
                fix=f"add (assert ({'>=' if side == 'lower' else '<='} X_{i} ...))",
            )
        return value
