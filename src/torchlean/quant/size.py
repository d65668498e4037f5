"""What a program's parameters take to store."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from torchlean.ir import dtype_of
from torchlean.run.program import Program


@dataclass(frozen=True)
class Stored:
    """One parameter.

    bits     of an element: of the dtype, or 4 for int8 codes that all fit into four bits
    packed   bytes with elements of so many bits      bytes   as an array of the dtype
    """

    name: str
    type: str
    elements: int
    bits: int
    bytes: int

    @property
    def packed(self) -> int:
        return -(-self.elements * self.bits // 8)


def stored(program: Program) -> tuple[Stored, ...]:
    """Every parameter and state, in order."""
    rows = []
    for name, array in {**program.parameters, **program.states}.items():
        dtype = dtype_of(array)
        short = dtype.name == "i8" and array.size > 0 and bool(((array >= -8) & (array <= 7)).all())
        type_ = f"{dtype}{list(np.shape(array))}"
        rows.append(Stored(name, type_, int(array.size), 4 if short else dtype.bits, int(array.nbytes)))
    return tuple(rows)
