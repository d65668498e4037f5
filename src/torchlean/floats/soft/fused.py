"""Fused multiply-add, and the remainder: the two operations whose exact result is longer than a product."""

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
from torchlean.floats.soft.words import SINGLE, Double, Single, Word

_INVALID = np.uint8(Flag.INVALID)


def fma(a: Bits, b: Bits, c: Bits, fmt: Format, mode: Rounding = Rounding.NEAREST, rules: Rules = DEFAULT) -> Result:
    """a b + c, rounded once.

    Shapes   a, b, c: broadcast, of fmt.storage -> the same
    Zeros    an exact zero of opposite signs is +0, and -0 when rounding down
    Invalid  zero times infinity, even where c is a quiet NaN (7.2 c leaves that open); infinities of opposite signs;
             signaling NaN. Of several NaNs the first of a, b, c counts.
    Source   IEEE 754-2019, 5.4.1
    """
    ctx = context("soft.fma", fmt, mode, rules)
    return on_patterns(partial(_fma, ctx), (a, b, c), fmt, fmt.storage, "soft.fma")


def _fma(ctx: Context, a: Word, b: Word, c: Word) -> tuple[Word, Flags]:
    fmt = ctx.fmt
    x, y, z = (v & fmt.magnitude_mask for v in (a, b, c))
    sign = sign_of(a ^ b, fmt)
    opposite = sign ^ sign_of(c, fmt)
    (ea, sa), (eb, sb), (ec, sc) = unpack(x, fmt), unpack(y, fmt), unpack(z, fmt)
    exponent = ea + eb
    ahead = exponent - ec
    # A shift loses bits only where the other number is so much larger that nothing cancels.
    back, forth = np.maximum(-ahead, 0), np.maximum(ahead, 0)
    if fmt.precision <= SINGLE:
        negative, single = Single.product(sa, sb).shifted(back).plus(Single.widened(sc).shifted(forth), opposite)
        significand, shift = single.normalised()
    else:
        negative, double = Double.product(sa, sb).shifted(back).plus(Double.widened(sc).shifted(forth), opposite)
        significand, shift = double.normalised()
    sign ^= negative
    zero = np.flatnonzero(significand == 0)
    if zero.size:
        sign[zero] = np.where(opposite[zero] == 0, sign[zero], ctx.mode is Rounding.DOWN)
    bits, flags = pack(ctx, sign, np.maximum(exponent, ec) + 2 - shift, significand)
    special = np.flatnonzero(np.maximum(np.maximum(x, y), z) > fmt.max_bits)
    if special.size:
        bits[special], flags[special] = _fma_special(ctx, a[special], b[special], c[special])
    return bits, flags


def _fma_special(ctx: Context, a: Word, b: Word, c: Word) -> tuple[Word, Flags]:
    fmt = ctx.fmt
    sign = sign_of(a ^ b, fmt)
    clash = (is_infinite(a, fmt) & is_zero(b, fmt)) | (is_infinite(b, fmt) & is_zero(a, fmt))
    known = ~(is_nan(a, fmt) | is_nan(b, fmt))
    infinite = (is_infinite(a, fmt) | is_infinite(b, fmt)) & known & ~clash
    clash |= infinite & is_infinite(c, fmt) & (sign != sign_of(c, fmt))
    bits = np.where(infinite, signed(fmt.last_number_bits, sign, fmt), c)
    return with_nans(ctx, (a, b, c), np.where(clash, fmt.nan_bits, bits), clash * _INVALID)


def remainder(a: Bits, b: Bits, fmt: Format, rules: Rules = DEFAULT) -> Result:
    """a - n b with n the whole number nearest to a / b, even where two are: always exact.

    Shapes   a, b: broadcast, of fmt.storage -> the same
    Zeros    a zero result has the sign of a;  remainder(a, infinity) is a
    Invalid  a infinite, b zero, signaling NaN
    Speed    a step of long division for each 63 - precision binades between a and b
    Source   IEEE 754-2019, 5.3.1
    """
    ctx = context("soft.remainder", fmt, Rounding.NEAREST, rules, overflows=False)
    return on_patterns(partial(_remainder, ctx), (a, b), fmt, fmt.storage, "soft.remainder")


def _remainder(ctx: Context, a: Word, b: Word) -> tuple[Word, Flags]:
    fmt = ctx.fmt
    x, y = a & fmt.magnitude_mask, b & fmt.magnitude_mask
    (ea, sa), (eb, sb) = unpack(x, fmt), unpack(y, fmt)
    rest, divisor = sa >> (TOP + 1 - fmt.precision), np.maximum(sb >> (TOP + 1 - fmt.precision), 1)
    left = ea - eb
    halves = left == -1  # a may exceed b / 2: the same steps, with no quotient, at half the unit
    divisor <<= halves
    odd = ((rest >= divisor) & (left >= 0)).astype(np.int64)
    rest -= odd * divisor
    active = np.flatnonzero((left > 0) & (y != 0))
    while active.size:
        shift = np.minimum(left[active], 63 - fmt.precision)
        part, by = rest[active] << shift, divisor[active]
        quotient = part // by
        rest[active], odd[active] = part - quotient * by, quotient & 1
        left[active] -= shift
        active = active[left[active] > 0]
    over = (2 * rest > divisor) | ((2 * rest == divisor) & (odd == 1))
    rest = np.where(over, divisor - rest, rest)
    exponent, significand = normalise(eb - halves + (TOP + 1 - fmt.precision), rest)
    exact, _ = pack(ctx, sign_of(a, fmt) ^ over, exponent, significand)
    bits, flags = np.where(ea - eb < -1, a, exact), np.zeros(a.shape, np.uint8)
    special = np.flatnonzero((np.maximum(x, y) > fmt.max_bits) | (y == 0))
    if special.size:
        bits[special], flags[special] = _remainder_special(ctx, a[special], b[special])
    return bits, flags


def _remainder_special(ctx: Context, a: Word, b: Word) -> tuple[Word, Flags]:
    fmt = ctx.fmt
    invalid = (is_infinite(a, fmt) | is_zero(b, fmt)) & ~is_nan(a, fmt) & ~is_nan(b, fmt)
    return with_nans(ctx, (a, b), np.where(invalid, fmt.nan_bits, a), invalid * _INVALID)
