"""An answer in VNN-LIB 2.0's own form: one word, then for `sat` the tensors. Everything else is on standard error.

A query over float32 asks for an answer about float32: what is shown over the real numbers alone is `unknown` there.
"""

from __future__ import annotations

import sys
from pathlib import Path

from torchlean.files import atomic_write_all, make_folder
from torchlean.streams import complain
from torchlean.verify.query import Lowered
from torchlean.verify.verdict import MEANS, Status, Verdict

WORDS = {Status.SAT: "sat", Status.UNSAT: "unsat", Status.UNKNOWN: "unknown", Status.TIMEOUT: "timed-out"}


def answer(verdict: Verdict, lowered: Lowered, folder: str | None) -> None:
    """Print an answer.

    folder   where the tensors of a witness go, each as one serialised ONNX TensorProto, in place of text
    """
    word, why = WORDS[verdict.status], verdict.reason
    if verdict.status is Status.UNSAT:
        why = MEANS[verdict.semantics]
    if only_real(verdict, lowered):
        word, why = "unknown", f"{word} over the real numbers only, and the query is about float32"
    if word == "sat" and folder is not None:
        _serialise(verdict, lowered, folder)
    complain(why)
    print(word)
    if word == "sat" and folder is None:
        assert verdict.witness is not None
        print(lowered.assignment_text(verdict.witness))
    sys.stdout.flush()


def only_real(verdict: Verdict, lowered: Lowered) -> bool:
    """Whether an answer is about the real numbers where the query asks for float32."""
    if "float32" not in lowered.query.elements:
        return False
    if verdict.status is Status.SAT:
        return verdict.witness is None or not verdict.witness.reference
    return verdict.status is Status.UNSAT and verdict.semantics != "float32"


def _serialise(verdict: Verdict, lowered: Lowered, folder: str) -> None:
    from onnx import numpy_helper

    assert verdict.witness is not None
    root = make_folder(folder)
    atomic_write_all({
        Path(root, f"{v.name}.pb"): numpy_helper.from_array(values, v.name).SerializeToString()
        for v, values in lowered.assignment(verdict.witness)
    })  # fmt: skip
