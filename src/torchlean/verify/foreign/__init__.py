"""What other verifiers left, read as hints: each is turned into our certificate, or refused with the reason."""

from __future__ import annotations

import numpy as np

from torchlean.verify.clock import Deadline
from torchlean.verify.files import plain, read, translated, verify_files
from torchlean.verify.foreign.artefact import read_artefact
from torchlean.verify.foreign.cases import Hints
from torchlean.verify.foreign.completion import complete
from torchlean.verify.foreign.crown import BOUNDS, LEAVES
from torchlean.verify.foreign.marabou import SOURCE
from torchlean.verify.outcome import Proof
from torchlean.verify.problem import Files, Problem
from torchlean.verify.strategy import Strategy
from torchlean.verify.verdict import Verdict
from torchlean_check.vnnlib_reader import Region

KINDS = (SOURCE, LEAVES, BOUNDS)  # as errors and results name them

__all__ = ["KINDS", "Hints", "complete", "import_proof", "read_artefact"]


def import_proof(
    model: bytes,
    claim: bytes,
    artefact: bytes,
    timeout: float = 60.0,
    semantics: str = "float32",
    seed: int = 0,
    deadline: Deadline | None = None,
) -> Verdict:
    """Complete another tool's proof or bounds to a certificate; the arguments are those of `verify_files`.

    artefact   a Marabou proof, alpha-beta-CROWN leaves, or LiRPA bounds; each speaks of one region
    Returns    unknown, with the number of its leaves that stay open, where time does not suffice
    Raises     as verify_files; FileError and Unsupported for the artefact
    """
    deadline = deadline or Deadline(timeout)
    content = bytes(plain(artefact, "artefact"))
    network, regions = read(plain(model, "ONNX model"), bytes(plain(claim, "VNN-LIB property")))
    files, rng = Files(model, claim), np.random.default_rng(seed)
    # All of the artefact is read before anything is decided: a damaged one is never passed over.
    hints = {}
    for region in regions:
        with translated():
            hints[_box(region)] = read_artefact(content, Problem(files, network, region, semantics, deadline, rng))

    def prove(problem: Problem) -> Proof:
        return complete(problem, hints[_box(problem.region)])

    told = ", ".join(dict.fromkeys(f"{h.source}, {h.leaves} leaves" for h in hints.values()))
    way = Strategy("artefact", f"completed from {told}", prove=prove)
    return verify_files(model, claim, timeout, semantics, seed, deadline=deadline, strategy=way)


def _box(region: Region) -> tuple[bytes, bytes]:
    return region.lo.tobytes(), region.hi.tobytes()
