"""Witnesses: a float32 point, replayed by the reference executor and over the rationals.

Nothing of the search is trusted here: the point runs through the program that the ONNX file states, node by node.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torchlean.bounds.property import Violation

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Witness:
    """A float32 input, its reference output, and what each replay said.

    membership       "exact", "rounded" or "outside" (of the region; SEMANTICS 4)
    reference, real  whether the reference execution, and the exact rational evaluation, violate the property
    onnxruntime      the same for onnxruntime without graph rewriting; None where it is not installed
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
        said = {True: "yes", False: "no", None: "not installed"}
        return (f"input {self.membership}; violated by the reference executor: {said[self.reference]}, "
                f"in exact arithmetic: {said[self.real]}, by onnxruntime: {said[self.onnxruntime]}")  # fmt: skip


class Replay:
    """The program and the violation of two files, read once by torchlean's own readers."""

    def __init__(self, model: bytes, claim: bytes) -> None:
        from torchlean.io.onnx import read_onnx
        from torchlean.io.vnnlib import read_vnnlib

        self.model = model
        program = read_onnx(model).inference()
        symbols = {str(s): 1 for s in program.input_type.shape if not isinstance(s, int)}
        self.program = program.specialise(**symbols)
        self.violation: Violation = read_vnnlib(claim)

    def check(self, x: F32) -> Witness | None:
        """The witness at x, or None when neither the reference nor the exact evaluation violates the property there."""
        shaped = np.asarray(x, np.float32).reshape(self.program.input_type.sizes)
        membership = self._membership(shaped.ravel())
        y = np.asarray(self.program(shaped), np.float32)
        point = [Fraction(float(v)) for v in shaped.ravel()]
        reference = bool(np.isfinite(y).all()) and self._violates(
            point, [Fraction(float(v)) for v in y.ravel()], membership
        )
        if membership == "outside" or not (reference or membership == "exact"):
            return None
        real = membership == "exact" and self._violates(point, self._exact(shaped), membership)
        if not (reference or real):
            return None
        return Witness(
            shaped.ravel(), y.ravel(), membership, reference, real, self._onnxruntime(shaped, point, membership)
        )

    def _membership(self, x: F32) -> str:
        """The best over the property's boxes."""
        rank = ("exact", "rounded", "outside")
        return min(
            (str(box.membership(x).value) for box, _ in self.violation.regions()), key=rank.index, default="outside"
        )

    def _violates(self, x: list[Fraction], y: list[Fraction], membership: str) -> bool:
        """Whether some clause is met whose box holds x (or, for a rounded input, whose float32 hull does)."""
        single = np.array([float(v) for v in x], np.float32)
        return any(
            all(g.holds(x, y) for g in clause.inequalities)
            for clause in self.violation.clauses
            if str(clause.box.membership(single).value) in ("exact", "rounded")
        )

    def _exact(self, x: F32) -> list[Fraction]:
        from torchlean.meaning import Real
        from torchlean.meaning.evaluate import evaluate

        N = Real()
        values = {
            name: N.constant(np.asarray(v)) for name, v in {**self.program.parameters, **self.program.states}.items()
        }
        values[next(iter(self.program.graph.inputs))] = N.constant(x)
        (output,) = evaluate(self.program.graph, N, values).values()
        return [_fraction(v) for v in np.ravel(output.values if hasattr(output, "values") else output)]

    def _onnxruntime(self, x: F32, point: list[Fraction], membership: str) -> bool | None:
        try:
            import onnxruntime
        except ImportError:
            return None
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(self.model, options, providers=["CPUExecutionProvider"])
        (y,) = session.run(None, {session.get_inputs()[0].name: x})
        return bool(np.isfinite(y).all()) and self._violates(
            point, [Fraction(float(v)) for v in np.ravel(y)], membership
        )


def _fraction(v: Any) -> Fraction:
    return Fraction(int(v.p), int(v.q))
