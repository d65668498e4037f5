"""Which search decides a region, and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torchlean.errors import UsageError
from torchlean.frozen import frozen

if TYPE_CHECKING:
    from torchlean.verify.outcome import Proof
    from torchlean.verify.problem import Problem

NAMES = ("auto", "inputs", "neurons", "lp")
FEW = 20  # inputs that vary: with so many a region is decided by splitting them
MORE = 32  # with so many it is tried for a share of the time (safenlp has 30, and gains fivefold)
SHARE = 0.15  # what inputs decide, they decide early


@frozen
class Strategy:
    """inputs: boxes of inputs are split; neurons: relus are, into their two phases; lp: linear programs.

    share   of the time, after which neurons are split; None: all of it
    prove   what makes the proof, where it is none of these
    """

    name: str
    why: str
    share: float | None = None
    prove: Callable[[Problem], Proof] | None = None

    def __str__(self) -> str:
        return f"{self.name}: {self.why}" + ("" if self.share is None else "; neurons after a share of the time")


def check_name(name: str) -> str:
    """Raises UsageError."""
    if name not in NAMES:
        raise UsageError("no such strategy", where="verify", expected=" or ".join(NAMES), got=repr(name),
                         fix='strategy="auto"')  # fmt: skip
    return name


def choose(asked: str | Strategy, problem: Problem) -> Strategy:
    """The strategy asked for; for "auto", the one that fits the region."""
    if isinstance(asked, Strategy):
        return asked
    if asked != "auto":
        return Strategy(asked, "asked for")
    varying = len(problem.varying)
    vary = "1 input varies" if varying == 1 else f"{varying} inputs vary"
    if varying <= FEW:
        return Strategy("inputs", f"{vary}, at most {FEW}")
    if varying <= MORE:
        return Strategy("inputs", f"{vary}, at most {MORE}", SHARE)
    return Strategy("neurons", f"{vary}, more than {MORE}")
