"""Witnesses: a float32 point, replayed by the reference executor and over the rationals.

Nothing of the search is trusted here: the point runs through the program that the ONNX file states, node by node.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from torchlean.frozen import frozen
from torchlean.verify.runtime import Runtime

if TYPE_CHECKING:
    from torchlean.bounds.property import Clause
    from torchlean.bounds.region import Box
    from torchlean.run.program import Program
    from torchlean_check.gzipped import Bytes

F32 = NDArray[np.float32]


@frozen
class Witness:
    """A float32 input, its reference output, and what each replay said.

    membership       "exact", "rounded" or "outside" (of the region; SEMANTICS 4)
    reference, real  whether the reference execution, and the exact rational evaluation, violate the property
    onnxruntime      the same for onnxruntime without graph rewriting; None where it is not installed, or fails
    """

    x: F32
    y: F32
    membership: str
    reference: bool
    real: bool
    onnxruntime: bool | None

    def vnncomp(self) -> str:
        """The VNN-COMP form, ((X_0 0.5) ... (Y_0 1.25)): exact decimals, which no reader can round."""
        from torchlean.io.vnnlib_write import write_witness

        return write_witness(self.x, self.y).rstrip()

    def __str__(self) -> str:
        said = {True: "yes", False: "no", None: "no answer"}
        return (f"input {self.membership}; violated by the reference executor: {said[self.reference]}, "
                f"in exact arithmetic: {said[self.real]}, by onnxruntime: {said[self.onnxruntime]}")  # fmt: skip


class Replay:
    """The program and the violation of two files, read once by torchlean's own readers, when the first point comes."""

    def __init__(self, model: Bytes, claim: bytes) -> None:
        self.model, self.claim = model, claim
        self._begun = False

    @cached_property
    def program(self) -> Program:
        from torchlean.io.onnx import read_onnx

        program = read_onnx(self.model, copy=False).inference()
        return program.specialise(**{str(s): 1 for s in program.input_type.shape if not isinstance(s, int)})

    @cached_property
    def regions(self) -> list[tuple[Box, list[Clause]]]:
        from torchlean.io.vnnlib import read_vnnlib

        violation = read_vnnlib(self.claim)
        return [(box, [violation.clauses[k] for k in part]) for box, part in violation.regions()]

    def check(self, x: F32) -> Witness | None:
        """The witness at x, or None when neither the reference nor the exact evaluation violates the property there."""
        flat = np.asarray(x, np.float32).ravel()
        early = None if self._begun else Runtime(self.model, flat)  # most first points are witnesses
        self._begun = True
        try:
            return self._check(flat, early)
        finally:
            if early is not None:
                early.end()

    def _check(self, flat: F32, early: Runtime | None) -> Witness | None:
        shaped = flat.reshape(self.program.input_type.sizes)
        near = [(str(box.membership(flat).value), clauses) for box, clauses in self.regions]
        membership = min((said for said, _ in near), key=_RANK.index, default="outside")
        clauses = [clause for said, part in near if said != "outside" for clause in part]
        y = np.asarray(self.program(shaped), np.float32)
        point = [Fraction(v) for v in flat.tolist()]
        reference = _violated(clauses, point, y)
        if membership == "outside" or not (reference or membership == "exact"):
            return None
        inside = [clause for said, part in near if said == "exact" for clause in part]
        real = bool(inside) and self._really(inside, shaped, point)
        if not (reference or real):
            return None
        theirs = (early or Runtime(self.model, flat)).output()
        said = None if theirs is None else _violated(clauses, point, theirs)
        return Witness(flat, y.ravel(), membership, reference, real, said)

    def _really(self, clauses: Sequence[Clause], x: F32, point: list[Fraction]) -> bool:
        """Whether the real function violates the property at an exact input: by an enclosure of its outputs, which
        nearly always tells, else by rationals.
        """
        from torchlean.meaning import IntervalReal

        outputs = self._evaluate(IntervalReal(), x)
        lo, hi = outputs.lo.ravel(), outputs.hi.ravel()
        if not outputs.nan.any() and np.isfinite([lo, hi]).all():
            said = [[g.decided(point, lo.tolist(), hi.tolist()) for g in clause.inequalities] for clause in clauses]
            if any(all(clause) for clause in said):
                return True
            if all(False in clause for clause in said):
                return False
        from torchlean.meaning import Real  # loads python-flint

        output = self._evaluate(Real(), x)
        exact = [_fraction(v) for v in np.ravel(output.values if hasattr(output, "values") else output)]
        return _met(clauses, point, exact)

    def _evaluate(self, N: Any, x: F32) -> Any:
        """The one output in a number system."""
        from torchlean.meaning.evaluate import evaluate

        values = {
            name: N.constant(np.asarray(v)) for name, v in {**self.program.parameters, **self.program.states}.items()
        }
        values[next(iter(self.program.graph.inputs))] = N.constant(x)
        (output,) = evaluate(self.program.graph, N, values).values()
        return output


_RANK = ("exact", "rounded", "outside")


def _violated(clauses: Sequence[Clause], x: list[Fraction], y: F32) -> bool:
    """Whether a float32 output violates the property; one that is not finite never does."""
    return bool(np.isfinite(y).all()) and _met(clauses, x, [Fraction(v) for v in y.ravel().tolist()])


def _met(clauses: Sequence[Clause], x: list[Fraction], y: list[Fraction]) -> bool:
    """Whether some clause is met, its box aside."""
    return any(all(g.holds(x, y) for g in clause.inequalities) for clause in clauses)


def _fraction(v: Any) -> Fraction:
    return Fraction(int(v.p), int(v.q))
