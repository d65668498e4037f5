"""A verdict as the command prints it."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING

from torchlean.verify.verdict import MEANS, Status, Verdict

if TYPE_CHECKING:
    from torchlean.verify.query import Lowered


def as_text(verdict: Verdict, path: str | None, seconds: float, lowered: Lowered | None = None) -> str:
    """The verdict first; then its evidence; for `sat` the witness in VNN-COMP form.

    lowered   where a query of VNN-LIB 2.0 was decided
    """
    said = MEANS[verdict.semantics] if verdict.status is Status.UNSAT else verdict.reason
    lines = [f"{verdict.status.value:<12} {said}"]
    if verdict.certificate is not None:
        size = f"{verdict.leaves} leaves, {_bytes(len(verdict.certificate))}"
        where = path or "not written (--certificate FILE)"
        lines.append(f"certificate  {where}  {size}  {seconds:.2f} s")
        lines.append(
            f"checked      semantics {verdict.semantics}, tolerance table none/1, arithmetic rounded, "
            f"rules affine relu, sha256 {sha256(verdict.certificate).hexdigest()[:16]}"
        )
        if lowered is not None:
            made = ", ".join(lowered.beside(path or "CERTIFICATE"))
            lines.append(f"about        {made}: the query as VNN-LIB 1.0, exactly; that conversion is not checked")
        lines.append(f"strategy     {verdict.strategy}")
        lines.append(
            "not covered  Winograd, FFT or Strassen products, TF32 or bf16 splitting, nodes computed twice, "
            "rewritten graphs"
        )
    elif verdict.witness is not None:
        lines += [f"strategy     {verdict.strategy}", f"witness      {verdict.witness}  {seconds:.2f} s"]
        lines.append(verdict.witness.vnncomp() if lowered is None else lowered.assignment_text(verdict.witness))
    else:
        lines += [f"strategy     {verdict.strategy}", f"spent        {seconds:.2f} s"]
    return "\n".join(lines)


def as_json(verdict: Verdict, path: str | None, seconds: float, lowered: Lowered | None = None) -> str:
    """One line of JSON; the witness's floats as decimals that read back exactly.

    For a query of VNN-LIB 2.0, `about` names the files beside the certificate that it is about.
    """
    witness = verdict.witness
    about = {} if lowered is None else {"about": list(lowered.beside(path)) if path and verdict.certificate else []}
    return json.dumps({
        **about,
        "verdict": verdict.status.value, "semantics": verdict.semantics, "reason": verdict.reason,
        "strategy": verdict.strategy,
        "seconds": round(seconds, 3), "leaves": verdict.leaves, "boxes": verdict.boxes,
        "certificate": path if verdict.certificate is not None else None,
        "certificate_bytes": len(verdict.certificate) if verdict.certificate is not None else None,
        "witness": None if witness is None else {
            "x": [repr(float(v)) for v in witness.x], "y": [repr(float(v)) for v in witness.y],
            "input": witness.membership, "reference": witness.reference, "real": witness.real,
            "onnxruntime": witness.onnxruntime,
        },
    })  # fmt: skip


def _bytes(count: int) -> str:
    return f"{count} B" if count < 1000 else f"{count / 1000:.1f} kB" if count < 1_000_000 else f"{count / 1e6:.1f} MB"
