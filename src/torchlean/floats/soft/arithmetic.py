"""Addition, subtraction, multiplication, division and square root: each the exact result rounded once.

A kernel computes for all elements as if they were finite, then again, by rule, for the few that are not.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from torchlean.floats.bits import Bits
from torchlean.floats.formats import Format
from torchlean.floats.rounding import Rounding
from torchlean.floats.soft.pack import (
    TOP,
    Flags,
    is_infinite,
    is_nan,
    is_zero,
    normalise,
    pack,
    sign_of,
    signed,
    unpack,
    with_nans,
)
from torchlean.floats.soft.rules import DEFAULT, Context, Flag, Result, Rules, context
from torchlean.floats.soft.run import on_patterns
from torchlean.floats.soft.words import SINGLE, Double, Single, Word, shift_right_sticky

_INVALID, _BY_ZERO = np.uint8(Flag.INVALID), np.uint8(Flag.DIVIDE_BY_ZERO)


def add(a: Bits, b: Bits, fmt: Format, mode: Rounding = Rounding.NEAREST, rules: Rules = DEFAULT) -> Result:
    """a + b, rounded once.

    Shapes   a, b: broadcast, of fmt.storage -> the same
    Zeros    x + -x is +0, and -0 when rounding down; -0 + -0 is -0
    Invalid  infinities of opposite signs, signaling NaN
    Source   IEEE 754-2019, 5.4.1 and 6.3
    """
    ctx = context("soft.add", fmt, mode, rules)
    return on_patterns(partial(_add, ctx), (a, b), fmt, fmt.storage, "soft.add")


def sub(a: Bits, b: Bits, fmt: Format, mode: Rounding = Rounding.NEAREST, rules: Rules = DEFAULT) -> Result:
    """a - b, rounded once: a + (-b), except that a NaN keeps its sign. See `add`."""
    ctx = context("soft.sub", fmt, mode, rules)
    return on_patterns(partial(_sub, ctx), (a, b), fmt, fmt.storage, "soft.sub")


def _sub(ctx: Context, a: Word, b: Word) -> tuple[Word, Flags]:
    return _add(ctx, a, b, 1)


def _add(ctx: Context, a: Word, b: Word, subtract: int = 0) -> tuple[Word, Flags]:
    fmt = ctx.fmt
    x, y = a & fmt.magnitude_mask, b & fmt.magnitude_mask
    signs, other = sign_of(a, fmt), sign_of(b, fmt) ^ subtract
    opposite = signs ^ other
    large, small = np.maximum(x, y), np.minimum(x, y)
    sign = signs ^ (opposite & (y > x))
    # No subnormal is normalised: its exponent is that of the smallest normal number, its hidden bit 0. The sum of two
    # significands with their leading bits at TOP - 1 stays below bit TOP + 1.
    exponent, significand = _aligned(large, fmt)
    less, addend = _aligned(small, fmt)
    addend = shift_right_sticky(addend, np.minimum(exponent - less, 62))
    total = significand + ((addend ^ -opposite) + opposite)
    zero = np.flatnonzero(total == 0)
    if zero.size:
        sign[zero] = np.where(opposite[zero] == 0, sign[zero], ctx.mode is Rounding.DOWN)
    exponent, total = normalise(exponent + 1, total)
    bits, flags = pack(ctx, sign, exponent, total)
    special = np.flatnonzero(large > fmt.max_bits)
    if special.size:
        bits[special], flags[special] = _add_special(ctx, a[special], b[special], subtract)
    return bits, flags


def _aligned(magnitude: Word, fmt: Format) -> tuple[Word, Word]:
    """(exponent, significand), the leading bit of a normal number at TOP - 1."""
    field = magnitude >> fmt.fraction_bits
    normal = np.minimum(field, 1)
    hidden = (magnitude & ((1 << fmt.fraction_bits) - 1)) | (normal << fmt.fraction_bits)
    return field - normal + fmt.emin, hidden << (60 - fmt.fraction_bits)


def _add_special(ctx: Context, a: Word, b: Word, subtract: int) -> tuple[Word, Flags]:
    flipped = b ^ (ctx.sign_bit if subtract else 0)
    first = is_infinite(a, ctx.fmt)
    clash = first & is_infinite(b, ctx.fmt) & (a != flipped)
    return with_nans(ctx, (a, b), np.where(clash, ctx.fmt.nan_bits, np.where(first, a, flipped)), clash * _INVALID)


def mul(a: Bits, b: Bits, fmt: Format, mode: Rounding = Rounding.NEAREST, rules: Rules = DEFAULT) -> Result:
    """a b, rounded once.

    Shapes   a, b: broadcast, of fmt.storage -> the same
    Invalid  zero times infinity, signaling NaN
    Source   IEEE 754-2019, 5.4.1
    """
    ctx = context("soft.mul", fmt, mode, rules)
    return on_patterns(partial(_mul, ctx), (a, b), fmt, fmt.storage, "soft.mul")


def _mul(ctx: Context, a: Word, b: Word) -> tuple[Word, Flags]:
    fmt = ctx.fmt
    x, y = a & fmt.magnitude_mask, b & fmt.magnitude_mask
    sign = sign_of(a ^ b, fmt)
    (ea, sa), (eb, sb) = unpack(x, fmt), unpack(y, fmt)
    words = Single if fmt.precision <= SINGLE else Double
    product = words.product(sa, sb).collapsed()  # leading bit 59 or 60
    carry = product >> 60
    bits, flags = pack(ctx, sign, ea + eb + carry, product << (2 - carry))
    special = np.flatnonzero(np.maximum(x, y) > fmt.max_bits)
    if special.size:
        bits[special], flags[special] = _mul_special(ctx, a[special], b[special])
    return bits, flags


def _mul_special(ctx: Context, a: Word, b: Word) -> tuple[Word, Flags]:
    fmt = ctx.fmt
    clash = (is_infinite(a, fmt) & is_zero(b, fmt)) | (is_infinite(b, fmt) & is_zero(a, fmt))
    infinity = signed(fmt.last_number_bits, sign_of(a ^ b, fmt), fmt)
    return with_nans(ctx, (a, b), np.where(clash, fmt.nan_bits, infinity), clash * _INVALID)


def div(a: Bits, b: Bits, fmt: Format, mode: Rounding = Rounding.NEAREST, rules: Rules = DEFAULT) -> Result:
    """a / b, rounded once.

    Shapes           a, b: broadcast, of fmt.storage -> the same
    Divide by zero   a finite and not zero, b zero: infinity, or what the rules put in its place
    Invalid          0 / 0, infinity / infinity, signaling NaN
    Source           IEEE 754-2019, 5.4.1 and 7.3
    """
    ctx = context("soft.div", fmt, mode, rules)
    return on_patterns(partial(_div, ctx), (a, b), fmt, fmt.storage, "soft.div")


def _div(ctx: Context, a: Word, b: Word) -> tuple[Word, Flags]:
    fmt = ctx.fmt
    x, y = a & fmt.magnitude_mask, b & fmt.magnitude_mask
    sign = sign_of(a ^ b, fmt)
    (ea, sa), (eb, sb) = unpack(x, fmt), unpack(y, fmt)
    # Long division, as many quotient bits at a time as a word has room for.
    numerator, divisor = sa >> (TOP + 1 - fmt.precision), np.maximum(sb >> (TOP + 1 - fmt.precision), 1)
    digit = 63 - fmt.precision
    steps = -(-(fmt.precision + 2) // digit)
    quotient = (numerator >= divisor).astype(np.int64)
    rest = numerator - quotient * divisor
    for _ in range(steps):
        rest <<= digit
        part = rest // divisor
        rest -= part * divisor
        quotient = (quotient << digit) | part
    significand = (quotient << (TOP - steps * digit)) | (rest != 0)
    low = 1 - (significand >> TOP)  # 1 where the quotient is below 1
    bits, flags = pack(ctx, sign, ea - eb - low, significand << low)
    special = np.flatnonzero((np.maximum(x, y) > fmt.max_bits) | (y == 0))
    if special.size:
        bits[special], flags[special] = _div_special(ctx, a[special], b[special])
    return bits, flags


def _div_special(ctx: Context, a: Word, b: Word) -> tuple[Word, Flags]:
    fmt = ctx.fmt
    sign = sign_of(a ^ b, fmt)
    infinite, by_infinity, zero, by_zero = is_infinite(a, fmt), is_infinite(b, fmt), is_zero(a, fmt), is_zero(b, fmt)
    clash = (infinite & by_infinity) | (zero & by_zero)
    pole = by_zero & ~zero & ~infinite & ~is_nan(a, fmt)
    magnitude = np.where(by_infinity, 0, np.where(pole, ctx.infinite_bits, fmt.last_number_bits))
    bits = np.where(clash, fmt.nan_bits, signed(magnitude, sign, fmt))
    return with_nans(ctx, (a, b), bits, (clash * _INVALID) | (pole * _BY_ZERO))


def sqrt(a: Bits, fmt: Format, mode: Rounding = Rounding.NEAREST, rules: Rules = DEFAULT) -> Result:
    """The square root, rounded once.

    Shapes   a: [*s] of fmt.storage -> the same
    Zeros    sqrt(-0) is -0
    Invalid  a below zero, signaling NaN
    Source   IEEE 754-2019, 5.4.1
    """
    ctx = context("soft.sqrt", fmt, mode, rules, overflows=False)
    return on_patterns(partial(_sqrt, ctx), (a,), fmt, fmt.storage, "soft.sqrt")


def _sqrt(ctx: Context, a: Word) -> tuple[Word, Flags]:
    fmt = ctx.fmt
    x = a & fmt.magnitude_mask
    exponent, significand = unpack(x, fmt)
    odd = exponent & 1
    # One bit of the root r a step: with y = 2^(i+1) (m - r^2), m in [1, 4), the next bit is set where 2 r + bit <= y.
    places = fmt.precision + 1
    one = 1 << places
    y = ((significand >> (TOP - places)) << odd) - one << 1
    double = np.full(a.shape, 2 * one, np.int64)
    bit = one >> 1
    while bit:
        trial = double | bit
        y -= trial
        less = y >> 63  # all ones where the bit stays 0
        y += trial & less
        y <<= 1
        double |= (2 * bit) & ~less
        bit >>= 1
    root = (double << (TOP - 1 - places)) | (y != 0)
    bits, flags = pack(ctx, np.zeros_like(a), exponent >> 1, root)
    special = np.flatnonzero((x > fmt.max_bits) | (x == 0) | (a != x))
    if special.size:
        a, x = a[special], x[special]
        below = (a != x) & (x != 0)
        bits[special], flags[special] = with_nans(
            ctx, (a,), np.where(below, fmt.nan_bits, a), (below & ~is_nan(a, fmt)) * _INVALID
        )
    return bits, flags
