"""A program and a Python claim, decided through the files that the certificate is about."""

from __future__ import annotations

from math import prod

from torchlean.bounds.claim import Property
from torchlean.errors import ShapeError
from torchlean.io.onnx import write_onnx
from torchlean.io.vnnlib_write import write_vnnlib
from torchlean.run.program import Program
from torchlean.verify.files import verify_files
from torchlean.verify.verdict import Verdict


def one_example(program: Program) -> Program:
    """The program frozen for inference, with every symbolic axis of size 1: what is exported and verified."""
    frozen = program.inference() if program.graph.states or program.graph.updates else program
    return frozen.specialise(**dict.fromkeys(frozen.graph.symbols(), 1))


def exported(program: Program, claim: Property) -> tuple[bytes, bytes]:
    """The ONNX and VNN-LIB bytes of a program and what must hold for it.

    Raises   ShapeError when the region does not have the input's number of coordinates
    """
    single = one_example(program)
    inputs = prod(single.input_type.sizes)
    if claim.region.size != inputs:
        raise ShapeError(
            "the region does not fit the program's input",
            where="verify",
            expected=f"{inputs} coordinates, because the input is {program.input_type}",
            got=f"{claim.region.size} coordinates",
            fix="build the box from one input of the program",
        )
    outputs = prod(single.graph.type(single.graph.output()).sizes)
    return write_onnx(single), write_vnnlib(claim.violation(outputs)).encode()


def verify_program(program: Program, claim: Property, timeout: float, semantics: str, seed: int) -> Verdict:
    """See `torchlean.verify.verify`."""
    model, violation = exported(program, claim)
    return verify_files(model, violation, timeout, semantics, seed)
