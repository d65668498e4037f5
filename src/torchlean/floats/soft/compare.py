"""The order of the numbers: the 22 comparison predicates, total order, and the eight minima and maxima."""

from __future__ import annotations

from enum import Enum
from functools import partial

import numpy as np
from numpy.typing import NDArray

from torchlean.floats.bits import Bits
from torchlean.floats.formats import Format
from torchlean.floats.rounding import Rounding
from torchlean.floats.soft.pack import Flags, is_nan, is_signaling, with_nans
from torchlean.floats.soft.rules import DEFAULT, Context, Flag, Result, Rules, context, member
from torchlean.floats.soft.run import on_patterns
from torchlean.floats.soft.words import Word

_LESS, _EQUAL, _GREATER, _UNORDERED = 1, 2, 4, 8


class Predicate(Enum):
    """The predicates of IEEE 754-2019, tables 5.1 to 5.3: the relations that make each true, and whether it signals.

    A signaling predicate raises invalid for every NaN, a quiet one for a signaling NaN only.
    """

    QUIET_EQUAL = (_EQUAL, False)
    QUIET_NOT_EQUAL = (_LESS | _GREATER | _UNORDERED, False)
    QUIET_GREATER = (_GREATER, False)
    QUIET_GREATER_EQUAL = (_GREATER | _EQUAL, False)
    QUIET_LESS = (_LESS, False)
    QUIET_LESS_EQUAL = (_LESS | _EQUAL, False)
    QUIET_UNORDERED = (_UNORDERED, False)
    QUIET_NOT_GREATER = (_LESS | _EQUAL | _UNORDERED, False)
    QUIET_LESS_UNORDERED = (_LESS | _UNORDERED, False)
    QUIET_NOT_LESS = (_GREATER | _EQUAL | _UNORDERED, False)
    QUIET_GREATER_UNORDERED = (_GREATER | _UNORDERED, False)
    QUIET_ORDERED = (_LESS | _EQUAL | _GREATER, False)
    SIGNALING_EQUAL = (_EQUAL, True)
    SIGNALING_NOT_EQUAL = (_LESS | _GREATER | _UNORDERED, True)
    SIGNALING_GREATER = (_GREATER, True)
    SIGNALING_GREATER_EQUAL = (_GREATER | _EQUAL, True)
    SIGNALING_LESS = (_LESS, True)
    SIGNALING_LESS_EQUAL = (_LESS | _EQUAL, True)
    SIGNALING_NOT_GREATER = (_LESS | _EQUAL | _UNORDERED, True)
    SIGNALING_LESS_UNORDERED = (_LESS | _UNORDERED, True)
    SIGNALING_NOT_LESS = (_GREATER | _EQUAL | _UNORDERED, True)
    SIGNALING_GREATER_UNORDERED = (_GREATER | _UNORDERED, True)

    @property
    def relations(self) -> int:
        return self.value[0]

    @property
    def signaling(self) -> bool:
        return self.value[1]


def compare(a: Bits, b: Bits, fmt: Format, predicate: Predicate) -> Result:
    """Whether the predicate holds, element by element. The zeros are equal; a NaN is unordered to everything.

    Shapes   a, b: broadcast, of fmt.storage -> bool, and flags: invalid at most
    Source   IEEE 754-2019, 5.6.1 and 5.11
    """
    member(predicate, Predicate, "soft.compare")
    return on_patterns(partial(_compare, fmt, predicate), (a, b), fmt, np.bool_, "soft.compare")


def _compare(fmt: Format, predicate: Predicate, a: Word, b: Word) -> tuple[NDArray[np.bool_], Flags]:
    x, y = _value_order(a, fmt), _value_order(b, fmt)
    unordered = is_nan(a, fmt) | is_nan(b, fmt)
    found = np.zeros(a.shape, bool)
    if predicate.relations & _LESS:
        found |= x < y
    if predicate.relations & _EQUAL:
        found |= x == y
    if predicate.relations & _GREATER:
        found |= x > y
    found[unordered] = bool(predicate.relations & _UNORDERED)
    invalid = unordered if predicate.signaling else is_signaling(a, fmt) | is_signaling(b, fmt)
    return found, invalid * np.uint8(Flag.INVALID)


def _value_order(x: Word, fmt: Format) -> Word:
    """Integers in the order of the numbers, 0 for both zeros."""
    magnitude = x & fmt.magnitude_mask
    return np.where(x == magnitude, magnitude, -magnitude)


def _total_order(x: Word, fmt: Format) -> Word:
    """Integers in the order of the patterns: each sign's NaNs outermost, -0 next below +0."""
    magnitude = x & fmt.magnitude_mask
    return np.where(x == magnitude, magnitude, ~magnitude)


def total_order(a: Bits, b: Bits, fmt: Format) -> NDArray[np.bool_]:
    """totalOrder(a, b): a is not above b in -NaN < -inf < ... < -0 < +0 < ... < inf < NaN, by payload among NaNs.

    Shapes   a, b: broadcast -> bool; no flags.   Source   IEEE 754-2019, 5.10
    """

    def kernel(x: Word, y: Word) -> tuple[NDArray[np.bool_], Flags]:
        return _total_order(x, fmt) <= _total_order(y, fmt), np.zeros(x.shape, np.uint8)

    return on_patterns(kernel, (a, b), fmt, np.bool_, "soft.total_order").bits


class Extremum(Enum):
    """The operations of IEEE 754-2019, 9.6: (sign of the order, by magnitude first, a number beats a NaN)."""

    MINIMUM = (1, False, False)
    MINIMUM_NUMBER = (1, False, True)
    MAXIMUM = (-1, False, False)
    MAXIMUM_NUMBER = (-1, False, True)
    MINIMUM_MAGNITUDE = (1, True, False)
    MINIMUM_MAGNITUDE_NUMBER = (1, True, True)
    MAXIMUM_MAGNITUDE = (-1, True, False)
    MAXIMUM_MAGNITUDE_NUMBER = (-1, True, True)


def extremum(which: Extremum, a: Bits, b: Bits, fmt: Format, rules: Rules = DEFAULT) -> Result:
    """The smaller or larger of two numbers; -0 is below +0.

    NaN      a quiet NaN propagates, or in the ...NUMBER operations the other operand is the result; two NaNs give one
    Invalid  signaling NaN, also where the other operand is the result
    Shapes   a, b: broadcast, of fmt.storage -> the same.   Source   IEEE 754-2019, 9.6
    """
    member(which, Extremum, "soft.extremum")
    ctx = context("soft.extremum", fmt, Rounding.NEAREST, rules, overflows=False)
    return on_patterns(partial(_extremum, ctx, which), (a, b), fmt, fmt.storage, f"soft.{which.name.lower()}")


def _extremum(ctx: Context, which: Extremum, a: Word, b: Word) -> tuple[Word, Flags]:
    fmt = ctx.fmt
    order, by_magnitude, number = which.value
    x, y = order * _total_order(a, fmt), order * _total_order(b, fmt)
    first = x <= y
    if by_magnitude:
        x, y = order * (a & fmt.magnitude_mask), order * (b & fmt.magnitude_mask)
        first = (x < y) | ((x == y) & first)
    bits, flags = np.where(first, a, b), np.zeros(a.shape, np.uint8)
    special = np.flatnonzero(is_nan(a, fmt) | is_nan(b, fmt))
    if special.size:
        a, b = a[special], b[special]
        chosen, flags[special] = with_nans(ctx, (a, b), bits[special], flags[special])
        if number:
            chosen = np.where(is_nan(a, fmt), np.where(is_nan(b, fmt), chosen, b), a)
        bits[special] = chosen
    return bits, flags


def minimum(a: Bits, b: Bits, fmt: Format, rules: Rules = DEFAULT) -> Result:
    """The smaller; NaN propagates. See `extremum` for the eight operations."""
    return extremum(Extremum.MINIMUM, a, b, fmt, rules)


def maximum(a: Bits, b: Bits, fmt: Format, rules: Rules = DEFAULT) -> Result:
    """The larger; NaN propagates. See `extremum` for the eight operations."""
    return extremum(Extremum.MAXIMUM, a, b, fmt, rules)
