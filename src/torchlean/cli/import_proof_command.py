"""`torchlean import-proof MODEL PROPERTY ARTEFACT`: the first word printed is the verdict."""

from __future__ import annotations

import argparse
from typing import Any

from torchlean.cli import values
from torchlean.errors import Exhausted


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="ONNX file, plain or gzipped", metavar="MODEL")
    parser.add_argument("property", help="VNN-LIB 1.0 file, plain or gzipped", metavar="PROPERTY")
    parser.add_argument("artefact", help="a Marabou proof, alpha-beta-CROWN leaves, or LiRPA bounds",
                        metavar="ARTEFACT")  # fmt: skip
    parser.add_argument("--timeout", type=values.seconds, default=60.0, help="seconds of wall clock (60)")
    parser.add_argument("--certificate", help="where to write the proof of an unsat verdict", metavar="FILE")
    parser.add_argument("--semantics", choices=("float32", "real"), default="float32")
    parser.add_argument("--seed", type=values.seed, default=0, help="of the attack's random starts")
    parser.add_argument("--json", action="store_true", help="one machine-readable line")


def run(options: Any) -> int:
    """Complete and print; returns the exit code."""
    from torchlean.files import atomic_write_all, check_target, read_bytes
    from torchlean.verify import show
    from torchlean.verify.clock import Deadline
    from torchlean.verify.command import naming
    from torchlean.verify.foreign import KINDS, import_proof
    from torchlean.verify.verdict import Status

    deadline = Deadline(options.timeout)
    model, claim, artefact = (read_bytes(path) for path in (options.model, options.property, options.artefact))
    if options.certificate:
        check_target(options.certificate)
    kinds = [(kind, f"{options.artefact}, {kind}") for kind in KINDS]
    names = [("ONNX model", options.model), ("VNN-LIB property", options.property), ("artefact", options.artefact)]
    with naming([*names, *kinds]):
        verdict = import_proof(model, claim, artefact, options.timeout, options.semantics, options.seed, deadline)
    if verdict.certificate is not None and options.certificate:
        atomic_write_all({options.certificate: verdict.certificate})
    told = show.as_json if options.json else show.as_text
    print(told(verdict, options.certificate, deadline.spent, None), flush=True)
    return Exhausted.exit_code if verdict.status is Status.TIMEOUT else 0
