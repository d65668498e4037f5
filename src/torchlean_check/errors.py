"""The checker's errors: what, where, expected, got, fix."""

from __future__ import annotations


class CheckError(Exception):
    """A file or argument that the checker refuses.

    what      one sentence: which rule was broken
    where     the file and the place in it
    expected  what would have been accepted
    got       what came
    fix       what to do instead
    """

    def __init__(self, what: str, *, where: str, expected: str, got: str, fix: str) -> None:
        self.what, self.where, self.expected, self.got, self.fix = what, where, expected, got, fix
        super().__init__(
            f"{type(self).__name__}: {what}\n"
            f"  where:    {where}\n  expected: {expected}\n  got:      {got}\n  fix:      {fix}"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.where, self.expected, self.got, self.fix)


class UnsupportedError(CheckError):
    """A file that keeps its format's rules and asks for something that this checker does not handle."""


class WorkerError(CheckError):
    """A process that takes part in a replay ended without a result: no file is at fault, and nothing is said of any."""


def _rebuild(kind: type[CheckError], what: str, where: str, expected: str, got: str, fix: str) -> CheckError:
    return kind(what, where=where, expected=expected, got=got, fix=fix)
