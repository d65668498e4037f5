"""What IEEE 754-2019 leaves to the implementation, as data; and what an operation returns."""

from __future__ import annotations

from enum import Enum, IntFlag
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from torchlean.errors import UsageError
from torchlean.floats.formats import Format
from torchlean.floats.rounding import Rounding
from torchlean.frozen import frozen


class Flag(IntFlag):
    """The five exceptions of IEEE 754-2019, clause 7, under default handling."""

    INEXACT = 1
    UNDERFLOW = 2
    OVERFLOW = 4
    DIVIDE_BY_ZERO = 8
    INVALID = 16


class Result(NamedTuple):
    """What an operation returns.

    bits    [*s]: patterns of the result's format; integers or bools where the operation says so
    flags   [*s] uint8: each element's own `Flag`s, or-ed
    """

    bits: NDArray[Any]
    flags: NDArray[np.uint8]


class NaNRule(Enum):
    """Which NaN an operation on NaNs returns (6.2.3 recommends one of its operands')."""

    FIRST = "the first NaN among the operands, quieted, with its sign and payload"
    CANONICAL = "the quiet NaN with sign and payload 0"


class Tininess(Enum):
    """When a result counts as tiny, which is underflow where it is also inexact (7.5 allows both)."""

    AFTER = "rounded as if the exponent range had no end, it is below the smallest normal number"
    BEFORE = "exactly, it is below the smallest normal number"


class Overflow(Enum):
    """What becomes of a result beyond the largest number where the rounding direction says infinity.

    SPECIAL keeps IEEE 754's infinity, or NaN in a format without one (OCP FP8 calls it non-saturating). SATURATE puts
    the largest number in its place, also for x / 0, and for an infinity that is converted from another format.
    """

    SPECIAL = "infinity, or NaN where the format has none"
    SATURATE = "the largest finite number"


@frozen
class Rules:
    """The choices an implementation makes. By default NaNs propagate as in x86 SSE, tininess is SSE's too.

    A NaN that an operation makes (0 / 0) is always the quiet one with sign and payload 0.

    overflow   None: infinity. A format without infinity needs a choice.
    """

    nan: NaNRule = NaNRule.FIRST
    tininess: Tininess = Tininess.AFTER
    overflow: Overflow | None = None


DEFAULT = Rules()


@frozen
class Context:
    """Where results go: the format, the direction, the rules. What every kernel takes.

    Kernels compute in int64; a significand there is a whole number whose leading bit is bit TOP, with the
    value significand 2^(exponent - TOP), and whose last bit may be sticky: set where nonzero bits were shifted out.
    """

    fmt: Format
    mode: Rounding
    rules: Rules

    @cached_property
    def sign_bit(self) -> int:
        """In int64, where binary64's sign bit is negative."""
        return -(1 << 63) if self.fmt.width == 64 else self.fmt.magnitude_mask + 1

    @cached_property
    def infinite_bits(self) -> int:
        """The magnitude that stands for an infinite result of finite operands."""
        if self.rules.overflow is Overflow.SATURATE:
            return self.fmt.max_bits
        return self.fmt.last_number_bits if self.fmt.has_infinity else self.fmt.nan_bits


def member(x: object, kind: type[Enum], where: str) -> None:
    """Raises UsageError unless x is a member of the enumeration."""
    if not isinstance(x, kind):
        raise UsageError(
            f"the argument is no {kind.__name__}",
            where=where,
            expected=", ".join(f"{kind.__name__}.{m.name}" for m in kind),
            got=repr(x),
            fix=f"import {kind.__name__} and pick one" + "; Rounding.named reads names" * (kind is Rounding),
        )


def context(where: str, fmt: Format, mode: Rounding, rules: Rules, overflows: bool = True) -> Context:
    """The checked context. Raises UsageError for what is no direction, no rules, and for an overflow not decided."""
    member(mode, Rounding, where)
    if not isinstance(rules, Rules):
        raise UsageError(
            "the rules are no Rules",
            where=where,
            expected="Rules(nan=..., tininess=..., overflow=...)",
            got=repr(rules),
            fix="from torchlean.floats.soft import Rules",
        )
    if overflows and not fmt.has_infinity and rules.overflow is None:
        raise UsageError(
            f"{fmt} has no infinity, and what an overflow gives is not stated",
            where=where,
            expected="Rules(overflow=Overflow.SATURATE) or Rules(overflow=Overflow.SPECIAL), which is NaN",
            got="overflow=None",
            fix="state it: frameworks differ, so there is no default",
        )
    return Context(fmt, mode, rules)
