"""Verifying a program: it is exported first, so that the verdict is about files that anyone can check."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np

from torchlean.bounds.claim import Formula, Property, Vector, forall
from torchlean.bounds.region import Box
from torchlean.errors import Exhausted, ShapeError, UsageError
from torchlean.frozen import frozen
from torchlean.verify.clock import Deadline
from torchlean.verify.files import verify_files
from torchlean.verify.verdict import Status, Verdict


def exported(program: Any) -> tuple[bytes, int, int]:
    """The ONNX bytes of a program with one input and one output, symbols as 1, and its flat sizes.

    Raises   UsageError for several inputs or outputs; Unsupported where ONNX cannot say an op.
    """
    from torchlean.io.onnx import write_onnx

    program = program.inference()
    symbols = {str(s): 1 for s in program.input_type.shape if not isinstance(s, int)}
    program = program.specialise(**symbols)
    outputs = program.graph.outputs
    if len(outputs) != 1:
        raise UsageError(
            "a property is about one output tensor",
            where="verify",
            expected="a program with one output",
            got=", ".join(name for name, _ in outputs),
            fix="trace a function that returns one tensor",
        )
    size = prod(program.graph.type(outputs[0][1]).sizes)
    return write_onnx(program), prod(program.input_type.sizes), size


def claimed(claim: Property, inputs: int, outputs: int, title: str = "") -> bytes:
    """The VNN-LIB bytes that state the violation of `claim`. Raises ShapeError."""
    from torchlean.io.vnnlib_write import write_vnnlib

    if not isinstance(claim, Property):
        raise UsageError(
            "verify needs a property",
            where="verify",
            expected="tl.forall(region, lambda y: ...)",
            got=type(claim).__name__,
            fix="tl.verify(program, tl.forall(tl.box(x, 0.1), lambda y: y[0] <= 1))",
        )
    if claim.region.size != inputs:
        raise ShapeError("the region does not fit the program", where="verify", expected=f"a region of {inputs} inputs",
                         got=f"{claim.region.size} inputs", fix="give one interval for each input")  # fmt: skip
    return write_vnnlib(claim.violation(outputs), title).encode()


def verify_program(
    program: Any,
    claim: Property,
    timeout: float = 60.0,
    semantics: str = "float32",
    seed: int = 0,
    strategy: str = "auto",
) -> Verdict:
    """See `torchlean.verify.verify`."""
    deadline = Deadline(timeout)
    model, inputs, outputs = exported(program)
    return verify_files(model, claimed(claim, inputs, outputs), timeout, semantics, seed, deadline=deadline,
                        strategy=strategy)  # fmt: skip


@frozen
class Tightest:
    """A proved interval of one output over a region, and how near the attack came.

    lower, upper   proved for every float32 execution      attacked   the least and the greatest value found
    """

    lower: float
    upper: float
    attacked: tuple[float, float]
    verdict: Verdict

    @property
    def gap(self) -> float:
        """What the interval is wider than the values found, both sides together."""
        return (self.attacked[0] - self.lower) + (self.upper - self.attacked[1])


FIRST, FACTOR, LAST = (
    0.03,
    5.0,
    1e-5,
)  # of the attacked range: the margin tried first, how it shrinks, and where it stops


def tightest(
    program: Any,
    region: Box,
    output: int = 0,
    timeout: float = 60.0,
    seed: int = 0,
    say: Callable[[str], None] | None = None,
) -> Tightest:
    """The tightest interval of flat output `output` over `region` that branch and bound proves within the time.

    The attack's range is widened by a margin and proved; the margin shrinks while proofs succeed in time.
    Raises   Exhausted when nothing was proved in time
    """
    deadline = Deadline(timeout)
    model, inputs, outputs = exported(program)
    low, high = attacked_range(model, region, inputs, outputs, output, seed, deadline)
    margin, best, failed = FIRST * max(high - low, 1e-6), None, 0
    stop = LAST * max(high - low, 1e-6)
    while deadline.left > 0.2 and failed < 3:
        ends = _outward(low - margin, high + margin, margin)
        claim = forall(region, _between(output, *ends))
        share = deadline.left / 3.0 if best is None else min(deadline.left, max(2.0, 10.0 * best.verdict.seconds))
        verdict = verify_files(model, claimed(claim, inputs, outputs), share, "float32", seed)
        said = f"{float(ends[0])} <= y <= {float(ends[1])}: {verdict.status.value}, {verdict.seconds:.2f} s"
        if say is not None:
            say(said)
        if verdict.status is Status.UNSAT and verdict.semantics == "float32":
            best = Tightest(float(ends[0]), float(ends[1]), (low, high), verdict)
            if failed or margin < stop:
                break
            margin /= FACTOR
        elif verdict.status is Status.SAT and verdict.witness is not None:
            value = float(verdict.witness.y[output])
            low, high = min(low, value), max(high, value)
        else:
            failed += 1
            if best is not None:
                break
            margin *= FACTOR
    if best is None:
        raise Exhausted("no interval was proved in time", where="tightest", expected=f"a proof within {timeout:g} s",
                        got="none", fix="give more time, or a smaller region")  # fmt: skip
    return Tightest(best.lower, best.upper, (low, high), best.verdict)


def attacked_range(
    model: bytes, region: Box, inputs: int, outputs: int, output: int, seed: int, deadline: Deadline
) -> tuple[float, float]:
    """The least and greatest value of an output that descent finds, as the float64 network has them."""
    from torchlean.verify.attack import Target, descend
    from torchlean.verify.files import read
    from torchlean.verify.maps import NumpyMaps

    either = forall(region, lambda y: (y[output] > 0) & (y[output] < 0))  # violated by y <= 0, and by y >= 0
    network, regions = read(model, claimed(either, inputs, outputs))
    lo, hi = (v.ravel().astype(np.float64) for v in region.floats32())
    target = Target(network, regions[0], lo, hi, NumpyMaps(network))
    rng = np.random.default_rng(seed)
    x = target.clip(target.lo + rng.random((256, inputs)) * (target.hi - target.lo))
    ends = []
    for sign in (1.0, -1.0):
        row = int(np.argmax(sign * target.region.rows_y[:, output]))
        clause = np.full(len(x), target.region.row_clause[row])
        best, _ = descend(target, x, clause, 40, deadline, until=-np.inf)
        ends.append(target.rows(best)[:, row].min() * sign)
    return float(ends[0]), float(ends[1])


def _outward(low: float, high: float, margin: float) -> tuple[Fraction, Fraction]:
    """Short decimals at or outside both ends, by less than a tenth of the margin."""
    digits = max(0, int(np.ceil(-np.log10(margin))) + 1)
    unit = Fraction(1, 10**digits)
    return Fraction(low) // unit * unit, -(-Fraction(high) // unit) * unit


def _between(output: int, low: Fraction, high: Fraction) -> Formula:
    y = Vector("y")
    return (y[output] >= low) & (y[output] <= high)
