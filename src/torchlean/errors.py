"""Every error a user can meet: what, where, expected, got, fix.

Five keyword arguments, so that none is forgotten; `str(error)` lays them out as one block. `exit_code` is what a
command returns when the error ends it: 2 usage, 3 unsupported, 4 time or memory exhausted, 5 internal.
"""

from __future__ import annotations


class TorchLeanError(Exception):
    """Base of all errors raised on purpose.

    what      one sentence: which rule was broken
    where     the node, file, line or argument
    expected  what would have been accepted
    got       what came
    fix       what to write instead
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str, expected: str, got: str, fix: str) -> None:
        self.what, self.where, self.expected, self.got, self.fix = what, where, expected, got, fix
        super().__init__(
            f"{type(self).__name__}: {what}\n"
            f"  where:    {where}\n  expected: {expected}\n  got:      {got}\n  fix:      {fix}"
        )


class UsageError(TorchLeanError):
    """A command line or an argument that does not make sense."""


class ShapeError(TorchLeanError):
    """Types, shapes or dtypes that do not fit together."""


class GraphError(TorchLeanError):
    """A graph that breaks a rule of its form: order, arity, names, reachability."""


class FileError(TorchLeanError):
    """A file that is missing, empty, truncated, of another format, or damaged; or that cannot be written."""


class DataError(TorchLeanError):
    """Values that a dataset or array must not hold."""


class DomainError(TorchLeanError):
    """An operation outside its domain: log of a nonpositive, division by zero, an index out of range."""


class Undecided(TorchLeanError):
    """An exact comparison that no precision within the limit decides."""

    exit_code = 4


class Diverged(TorchLeanError):
    """Training reached a value that is not finite."""

    exit_code = 4


class MissingRule(TorchLeanError):
    """An engine needs a rule that this op's record does not have."""

    exit_code = 3


class Unsupported(TorchLeanError):
    """A part of a file or program that this version does not handle."""

    exit_code = 3


class Exhausted(TorchLeanError):
    """Time or memory ran out."""

    exit_code = 4


class InternalError(TorchLeanError):
    """A bug here: a self-check failed."""

    exit_code = 5
