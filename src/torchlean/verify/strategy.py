"""Which search decides a region, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torchlean.errors import UsageError

if TYPE_CHECKING:
    from torchlean.verify.problem import Problem

NAMES = ("auto", "inputs", "neurons")
FEW = 32  # inputs that vary: with so many a region is decided by splitting them (safenlp has 30, and gains fivefold)


@dataclass(frozen=True)
class Strategy:
    """inputs: boxes of inputs are split; neurons: relus are, into their two phases."""

    name: str
    why: str

    def __str__(self) -> str:
        return f"{self.name}: {self.why}"


def check_name(name: str) -> str:
    """Raises UsageError."""
    if name not in NAMES:
        raise UsageError("no such strategy", where="verify", expected=" or ".join(NAMES), got=repr(name),
                         fix='strategy="auto"')  # fmt: skip
    return name


def choose(asked: str, problem: Problem) -> Strategy:
    """The strategy asked for; for "auto", the one that fits the region."""
    if asked != "auto":
        return Strategy(asked, "asked for")
    varying = len(problem.varying)
    vary = "1 input varies" if varying == 1 else f"{varying} inputs vary"
    if varying <= FEW:
        return Strategy("inputs", f"{vary}, at most {FEW}")
    return Strategy("neurons", f"{vary}, more than {FEW}")
