"""VNN-LIB 1.0 reader: properties as files that state the violation.

A file declares real inputs X_0 ... and outputs Y_0 ..., and asserts linear inequalities joined by and, or and not. Its
assertions together say what must not happen. Every decimal is read exactly; nothing is rounded here.

Source   VNN-LIB 1.0, https://www.vnnlib.org
"""

from __future__ import annotations

import os
from fractions import Fraction

from torchlean.bounds.property import Violation
from torchlean.errors import FileError
from torchlean.files import decode, read_bytes
from torchlean.io.vnnlib_region import Assertions
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
    """One pass over a file: declarations and assertions."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.declared = Declared()
        self.assertions = Assertions(where, "X_{}".format)

    def read(self, text: str) -> Violation:
        place = Place(self.where, text)
        for statement in statements(text, place):
            if isinstance(statement, list):
                self.assertions.add(logic_of(statement[1], self.declared, place))
            elif statement[0] in ("X", "Y"):
                self._declare(statement[0], int(statement[1]), place)
            else:
                self._bound(statement[0], int(statement[1]), decimal(statement[2]), place)
        return self.assertions.violation(*self._sizes())

    def _declare(self, kind: str, i: int, place: Place) -> None:
        names = self.declared.inputs if kind == "X" else self.declared.outputs
        if i in names:
            raise place.error(f"{kind}_{i} is declared twice", "one declaration for each variable", f"{kind}_{i} again")
        names.add(i)

    def _bound(self, relation: str, i: int, value: Fraction, place: Place) -> None:
        """The usual line: (assert (<= X_i value))."""
        if i not in self.declared.inputs:
            raise place.unknown(f"X_{i}")
        self.assertions.bound(relation, i, value)

    def _sizes(self) -> tuple[int, int]:
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
