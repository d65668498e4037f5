"""Verdicts: a closed set of words, each with its evidence."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import TYPE_CHECKING

from torchlean.errors import UsageError
from torchlean.frozen import frozen
from torchlean.verify.budget import OUT_OF_MEMORY

if TYPE_CHECKING:
    from pathlib import Path

    from torchlean.verify.witness import Witness
    from torchlean_check.gzipped import Bytes


class Status(StrEnum):
    """SAT: a witness violates the property. UNSAT: it holds, with a certificate. Anything else is no answer."""

    SAT = "sat"
    UNSAT = "unsat"
    UNKNOWN = "unknown"
    TIMEOUT = "timeout"


MEANS = {
    "float32": "holds for every float32 execution (any order of sums, with or without FMA)",
    "real": "holds over the real numbers; not shown for float32 executions",
}


@frozen
class Verdict:
    """What was found out about one property of one network.

    semantics     the arithmetic that an `unsat` or `sat` is about: "float32" or "real"
    leaves        of the proof's trees      boxes     that were bounded to find them
    seconds       from the files' bytes to the certificate's
    strategy      what decided it, and why that was chosen
    certificate   the bytes of the proof, for `unsat`       model, claim   the bytes of the two files that it is about,
                  the model's as a memoryview where its file was packed
    rules, table  what the proof rests on: families of ops, and the table of tolerances of elementary functions
    """

    status: Status
    semantics: str
    reason: str
    seconds: float
    leaves: int = 0
    boxes: int = 0
    witness: Witness | None = None
    certificate: bytes | None = None
    model: Bytes = b""
    claim: bytes = b""
    rules: tuple[str, ...] = ()
    table: str = ""
    strategy: str = ""

    def save(self, folder: str | os.PathLike[str]) -> tuple[Path, Path, Path]:
        """Write model.onnx, claim.vnnlib and proof.tlcert, all or none; returns their paths.

        Raises   UsageError when there is no proof; FileError.
        """
        from torchlean.files import atomic_write_all, make_folder

        if self.certificate is None:
            raise UsageError(
                "there is no proof to save",
                where="verdict.save",
                expected="an unsat verdict",
                got=f"{self.status}: {self.reason}",
                fix="give more time, or a claim that holds",
            )
        root = make_folder(folder)
        files = root / "model.onnx", root / "claim.vnnlib", root / "proof.tlcert"
        atomic_write_all(dict(zip(files, (bytes(self.model), self.claim, self.certificate), strict=True)))
        return files

    @property
    def exhausted(self) -> bool:
        """Whether time or memory ran out."""
        return self.status is Status.TIMEOUT or (self.status is Status.UNKNOWN and self.reason == OUT_OF_MEMORY)

    @property
    def holds(self) -> bool:
        return self.status is Status.UNSAT

    def __str__(self) -> str:
        said = MEANS[self.semantics] if self.status is Status.UNSAT else self.reason
        tail = f", {self.leaves} leaves" if self.status is Status.UNSAT else ""
        return f"{self.status.value:<8} {said}{tail}  {self.seconds:.2f} s"
