"""The files of a rounding certificate: model, region, and claims that `torchlean-check` derives again."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import prod

import numpy as np

from torchlean import __version__
from torchlean.bounds.property import Clause, Inequality, Violation
from torchlean.bounds.region import Box
from torchlean.errors import Unsupported
from torchlean.frozen import frozen
from torchlean.io.onnx import write_onnx
from torchlean.io.vnnlib_write import write_vnnlib
from torchlean.rounding.analysis import fitted
from torchlean.rounding.subject import stateless
from torchlean.run.program import Program, sizes_of
from torchlean_check import wire
from torchlean_check.errors import CheckError
from torchlean_check.gzipped import unpack
from torchlean_check.rounding import derive
from torchlean_check.rounding_verdict import claim_of, encode
from torchlean_check.twin import Twin
from torchlean_check.vnnlib_reader import read_property

MARGIN = 1.0 + 2.0**-40  # machines differ in the last bits of a float64 product


@frozen
class Certificate:
    """Three files' bytes. `claims`: how many values the certificate bounds."""

    model: bytes
    region: bytes
    certificate: bytes
    claims: int


def region_text(program: Program, boxes: Mapping[str, Box]) -> bytes:
    """VNN-LIB whose X_i are the entries of all inputs, in order. It must state something about Y: that is not read."""
    ordered = [boxes[name] for name in program.graph.inputs]
    joined = Box(tuple(v for b in ordered for v in b.lo), tuple(v for b in ordered for v in b.hi),
                 (sum(b.size for b in ordered),))  # fmt: skip
    clause = Clause(joined, (Inequality((), ((0, Fraction(1)),), Fraction(0)),))
    return write_vnnlib(Violation(joined.size, 1, (clause,)), "the region of a rounding analysis").encode()


def certify(
    program: Program, region: Box | Mapping[str, Box], model: bytes | None = None, text: bytes | None = None
) -> Certificate:
    """Bounds of |float32 - real| for every value of the program's ONNX form, as the checker derives them.

    The claims are the checker's own bounds with a margin of 2^-40, so they may be wider than `analyse` gives.

    model, text   the files that the program and the region were read from; None: written here
    Raises        Unsupported where the checker has no rule, or a value may overflow, be NaN or be undefined
    """
    boxes = fitted(program, region)
    if model is None:
        sized = program.specialise(**sizes_of(program.graph, {n: np.empty(b.shape) for n, b in boxes.items()}))
        model = write_onnx(stateless(sized))
    text = region_text(program, boxes) if text is None else text
    try:
        parsed = wire.parse(unpack(model))
        (part,) = read_property(unpack(text)).regions
        twins = derive(parsed, part)
    except CheckError as error:
        raise Unsupported("the checker cannot derive these bounds", where=error.where, expected=error.expected,
                          got=f"{error.what}: {error.got}", fix="leave --certificate out, or take a smaller region",
                          ) from None  # fmt: skip
    claims = [_claim(name, twin) for name, twin in twins.items()]
    data = encode(model, text, claims, f"torchlean {__version__}")
    return Certificate(model, text, data, len(claims))


def _claim(name: str, twin: Twin) -> tuple[str, float, float, float, float, float]:
    name, apart, lo, hi, real_lo, real_hi = claim_of(name, twin)
    slack = (MARGIN - 1) * max(abs(lo), abs(hi), abs(real_lo), abs(real_hi))
    return name, apart * MARGIN + slack * 2.0**-24, lo - slack, hi + slack, real_lo - slack, real_hi + slack


def split(box: Box, program: Program) -> dict[str, Box]:
    """A flat box over all inputs as one box an input. A symbolic axis is 1."""
    found, taken = {}, 0
    for name, t in program.graph.source_types("input").items():
        shape = tuple(s if isinstance(s, int) else 1 for s in t.shape)
        end = taken + prod(shape)
        found[name] = Box(box.lo[taken:end], box.hi[taken:end], shape)
        taken = end
    return found
