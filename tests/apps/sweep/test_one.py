"""What counts as a verdict: a complete answer of a process that ended well and in time, and nothing else."""

from __future__ import annotations

import json

import pytest

from torchlean.apps.sweep.one import check_outcome, outcome
from torchlean.apps.sweep.process import Ended


def ended(code: int = 0, output: str = "", errors: str = "", seconds: float = 1.0, late: bool = False) -> Ended:
    return Ended(code, late, output, errors, seconds, 0.5, 10**6)


def answer(verdict: str, **more: object) -> str:
    return json.dumps({"verdict": verdict, "semantics": "float32", "reason": "proved", **more}) + "\n"


@pytest.mark.parametrize("word", ["sat", "unsat"])
def test_a_verdict(word: str) -> None:
    status, reason, found = outcome(ended(output=answer(word)), 5.0)
    assert (status, reason, found["semantics"]) == (word, "proved", "float32")


@pytest.mark.parametrize("word", ["unknown", "timeout"])
@pytest.mark.parametrize("code", [0, 4])
def test_no_answer(word: str, code: int) -> None:
    assert outcome(ended(code, answer(word)), 5.0)[0] == word
    assert outcome(ended(code, answer(word), seconds=6.0), 5.0)[0] == word


def test_the_parent_of_a_search_that_died_speaks_without_json() -> None:
    status, reason, _ = outcome(ended(4, "unknown  the search was ended by the system (SIGSEGV)\n"), 5.0)
    assert (status, reason) == ("unknown", "the search was ended by the system (SIGSEGV)")


@pytest.mark.parametrize("word", ["sat", "unsat"])
def test_no_crash_and_no_late_or_broken_answer_is_a_verdict(word: str) -> None:
    for code in (1, 2, 3, 4, 5, -9, -11, 139):
        assert outcome(ended(code, answer(word)), 5.0)[0] == "error"
        assert outcome(ended(code, f"{word} by word\n"), 5.0)[0] == "error"
    assert outcome(ended(output=answer(word), seconds=5.1), 5.0)[0] == "timeout"
    assert outcome(ended(-9, answer(word), late=True), 5.0)[0] == "timeout"
    assert outcome(ended(output=answer(word)[:-3]), 5.0)[0] == "error"
    assert outcome(ended(output=f"{word}  in words\n"), 5.0)[0] == "error"
    assert outcome(ended(output=json.dumps([word])), 5.0)[0] == "error"
    assert outcome(ended(output=answer(word) + "and more\n"), 5.0)[0] == "error"


def test_the_reason_of_an_error_is_the_error() -> None:
    block = "FileError: the file is empty\n  where:    a.onnx\n  expected: content\n  got:      0 bytes\n  fix: x\n"
    status, reason, _ = outcome(ended(2, "", block), 5.0)
    assert status == "error" and reason == "exit code 2: FileError: the file is empty where: a.onnx got: 0 bytes"
    assert outcome(ended(-11), 5.0)[1] == "ended by signal 11: nothing on standard error"


@pytest.mark.parametrize(
    ("code", "output", "late", "word"),
    [(0, "valid  1 leaf", False, "valid"), (3, "holey  1", False, "holey"), (4, "invalid  no", False, "invalid"),
     (4, "valid  1 leaf", False, "error"), (0, "", False, "error"), (-9, "valid", True, "timeout"),
     (1, "valid", False, "error"), (0, "invalid", False, "error")],
)  # fmt: skip
def test_the_checker_s_word_and_exit_code_must_agree(code: int, output: str, late: bool, word: str) -> None:
    assert check_outcome(ended(code, output, late=late)) == word
