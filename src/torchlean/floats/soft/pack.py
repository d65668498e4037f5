"""Patterns apart into exponent and significand, and back: the one place where results are rounded and flagged."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from torchlean.floats.formats import Format
from torchlean.floats.rounding import Rounding
from torchlean.floats.soft.rules import Context, Flag, NaNRule, Tininess
from torchlean.floats.soft.words import Word, bit_length, shift_right_sticky

TOP = 61  # a significand's leading bit: room for a carry below int64's sign
FAR = -(1 << 20)  # the exponent of a zero: below every other
Flags: TypeAlias = NDArray[np.uint8]


def sign_of(x: Word, fmt: Format) -> Word:
    """0 or 1."""
    return (x >> (fmt.width - 1)) & 1


def unpack(magnitude: Word, fmt: Format) -> tuple[Word, Word]:
    """(exponent, significand) of finite numbers: significand 2^(exponent - TOP), its leading bit at TOP.

    A zero gives significand 0 and an exponent that loses every comparison; infinities and NaNs give garbage.
    """
    exponent = magnitude >> fmt.fraction_bits
    significand = ((magnitude & ((1 << fmt.fraction_bits) - 1)) | (1 << fmt.fraction_bits)) << (TOP - fmt.fraction_bits)
    exponent -= fmt.bias
    small = np.flatnonzero(magnitude < (1 << fmt.fraction_bits))
    if small.size:
        part = magnitude[small]
        length = bit_length(part)
        significand[small] = part << (TOP + 1 - length)
        exponent[small] = np.where(part == 0, FAR, length + (fmt.emin - fmt.precision))
    return exponent, significand


def normalise(exponent: Word, significand: Word) -> tuple[Word, Word]:
    """The leading bit moved up to TOP; 0 stays 0."""
    shift = TOP + 1 - bit_length(significand)
    return exponent - shift, significand << shift


def _increment(ctx: Context, significand: Word, sign: Word, drop: int) -> Word | int:
    """What is added before the last `drop` bits are cut off, so that cutting rounds."""
    half, rest = 1 << (drop - 1), (1 << drop) - 1
    if ctx.mode is Rounding.NEAREST:
        return (half - 1) + ((significand >> drop) & 1)
    if ctx.mode is Rounding.NEAREST_AWAY:
        return half
    if ctx.mode is Rounding.UP:
        return rest & (sign - 1)
    if ctx.mode is Rounding.DOWN:
        return rest & -sign
    return 0


def pack(ctx: Context, sign: Word, exponent: Word, significand: Word) -> tuple[Word, Flags]:
    """The number rounded once, and its flags: inexact, underflow, overflow.

    sign          0 or 1, also of a zero: significand 0 gives the zero of this sign
    significand   leading bit at TOP, last bit sticky
    """
    fmt = ctx.fmt
    drop = TOP + 1 - fmt.precision
    rest = (1 << drop) - 1
    biased = exponent + fmt.bias
    tiny = np.flatnonzero(biased < 1)
    if tiny.size:  # a subnormal has the exponent of the smallest normal number, and leading zeros
        below, kept = 1 - biased[tiny], significand[tiny]
        significand = significand.copy()
        significand[tiny] = shift_right_sticky(kept, np.minimum(below, TOP + 1))
        biased[tiny] = 1
    np.minimum(biased, (fmt.max_bits >> fmt.fraction_bits) + 1, out=biased)
    if ctx.mode is Rounding.TO_ODD:
        rounded = (significand >> drop) | ((significand & rest) != 0)
    else:
        rounded = (significand + _increment(ctx, significand, sign, drop)) >> drop
    inexact = (significand & rest) != 0
    flags = inexact.view(np.uint8)
    # The hidden bit, or a carry out of the fraction, adds 1 to the exponent field.
    magnitude = ((biased - 1) << fmt.fraction_bits) + rounded
    magnitude[np.flatnonzero(significand == 0)] = 0
    if tiny.size:
        lost = inexact[tiny]
        if ctx.rules.tininess is Tininess.AFTER:
            lost &= ~_becomes_normal(ctx, sign[tiny], below, kept, drop)
        flags[tiny] |= lost * np.uint8(Flag.UNDERFLOW)
    # Unsigned: binary64 may have wrapped into the sign.
    over = np.flatnonzero(magnitude.view(np.uint64) > np.uint64(fmt.max_bits))
    if over.size:
        magnitude[over] = _overflowed(ctx, sign[over])
        flags[over] |= np.uint8(Flag.OVERFLOW | Flag.INEXACT)
    return signed(magnitude, sign, fmt), flags


def _becomes_normal(ctx: Context, sign: Word, below: Word, significand: Word, drop: int) -> NDArray[np.bool_]:
    """Whether a number below the normal ones, rounded to full precision, is 2^emin."""
    if ctx.mode is Rounding.TO_ODD:
        return np.zeros(below.shape, bool)
    return (below == 1) & ((significand + _increment(ctx, significand, sign, drop)) >> (TOP + 1) != 0)


def _overflowed(ctx: Context, sign: Word) -> Word:
    if ctx.mode.to_nearest:
        return np.full(sign.shape, ctx.infinite_bits, np.int64)
    outward = sign == (1 if ctx.mode is Rounding.DOWN else 0)
    if ctx.mode in (Rounding.TOWARD_ZERO, Rounding.TO_ODD):
        outward = np.zeros(sign.shape, bool)
    return np.where(outward, ctx.infinite_bits, ctx.fmt.max_bits)


def signed(magnitude: Word | int, sign: Word, fmt: Format) -> Word:
    """The pattern of this magnitude and sign."""
    return magnitude | (sign << (fmt.width - 1))


def is_zero(x: Word, fmt: Format) -> NDArray[np.bool_]:
    return (x & fmt.magnitude_mask) == 0


def is_infinite(x: Word, fmt: Format) -> NDArray[np.bool_]:
    found = (x & fmt.magnitude_mask) == fmt.last_number_bits
    return found if fmt.has_infinity else np.zeros_like(found)


def is_nan(x: Word, fmt: Format) -> NDArray[np.bool_]:
    return (x & fmt.magnitude_mask) > fmt.last_number_bits


def is_signaling(x: Word, fmt: Format) -> NDArray[np.bool_]:
    """A format with a single NaN has no signaling one: its pattern has the quiet bit."""
    return is_nan(x, fmt) & ((x & fmt.quiet_bit) == 0)


def with_nans(ctx: Context, operands: tuple[Word, ...], bits: Word, flags: Flags) -> tuple[Word, Flags]:
    """The result where an operand is a NaN; bits and flags elsewhere.

    The rules choose the NaN; a signaling one raises invalid.
    """
    fmt = ctx.fmt
    signaling = np.zeros(bits.shape, bool)
    for x in reversed(operands):
        nan = is_nan(x, fmt)
        chosen = fmt.nan_bits if ctx.rules.nan is NaNRule.CANONICAL else x | fmt.quiet_bit
        bits = np.where(nan, chosen, bits)
        signaling |= is_signaling(x, fmt)
    return bits, flags | (signaling * np.uint8(Flag.INVALID))
