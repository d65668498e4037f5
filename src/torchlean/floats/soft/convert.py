"""Between formats, to and from integers, to whole numbers, and to and from what Python calls numbers."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchlean.errors import ShapeError, UsageError
from torchlean.floats.bits import Bits
from torchlean.floats.formats import BINARY64, Format, format_of
from torchlean.floats.rounding import Rounding
from torchlean.floats.soft.pack import (
    FAR,
    TOP,
    Flags,
    is_nan,
    is_signaling,
    normalise,
    pack,
    sign_of,
    signed,
    unpack,
    with_nans,
)
from torchlean.floats.soft.rules import DEFAULT, Context, Flag, NaNRule, Overflow, Result, Rules, context
from torchlean.floats.soft.run import on_patterns, over_chunks
from torchlean.floats.soft.words import Word, bit_length

_INVALID, _INEXACT = np.uint8(Flag.INVALID), np.uint8(Flag.INEXACT)


def convert(
    bits: Bits, source: Format, target: Format, mode: Rounding = Rounding.NEAREST, rules: Rules = DEFAULT
) -> Result:
    """Each number in another format, rounded once.

    Shapes     bits: [*s] of source.storage -> [*s] of target.storage
    NaN        quieted; sign and payload stay, aligned at the fraction's first bit, cut at its end
    Infinity   stays; where the target has none, or the rules saturate, it overflows as a large number does
    Invalid    signaling NaN
    Source     IEEE 754-2019, 5.4.2; OCP FP8 specification, section 5
    """
    ctx = context("soft.convert", target, mode, rules)
    return on_patterns(partial(_convert, ctx, source), (bits,), source, target.storage, "soft.convert")


def _convert(ctx: Context, source: Format, x: Word) -> tuple[Word, Flags]:
    magnitude, sign = x & source.magnitude_mask, sign_of(x, source)
    bits, flags = pack(ctx, sign, *unpack(magnitude, source))
    special = np.flatnonzero(magnitude > source.max_bits)
    if special.size:
        bits[special], flags[special] = _convert_special(ctx, source, x[special])
    return bits, flags


def _convert_special(ctx: Context, source: Format, x: Word) -> tuple[Word, Flags]:
    target, sign, nan = ctx.fmt, sign_of(x, source), is_nan(x, source)
    kept = target.has_infinity and ctx.rules.overflow is not Overflow.SATURATE
    infinity = signed(target.last_number_bits if kept else ctx.infinite_bits, sign, target)
    flags = np.where(nan, is_signaling(x, source) * _INVALID, np.uint8(0 if kept else Flag.OVERFLOW | Flag.INEXACT))
    if ctx.rules.nan is NaNRule.CANONICAL:
        return np.where(nan, target.nan_bits, infinity), flags
    payload = (x & (source.quiet_bit - 1)) if source.has_infinity and target.has_infinity else 0 * x
    shift = target.fraction_bits - source.fraction_bits
    payload = payload << shift if shift >= 0 else payload >> -shift
    return np.where(nan, signed(target.nan_bits | payload, sign, target), infinity), flags


def _whole(mode: Rounding, sign: Word, significand: Word, drop: Word) -> tuple[Word, NDArray[np.bool_]]:
    """significand 2^-drop rounded to a whole number, and whether it was none. 0 <= drop <= 63."""
    whole = significand >> drop
    rest = significand - (whole << drop)
    inexact = rest != 0
    half = np.int64(1) << np.maximum(drop - 1, 0)
    if mode is Rounding.NEAREST:
        up = (rest > half) | ((rest == half) & (whole & 1 == 1))
    elif mode is Rounding.NEAREST_AWAY:
        up = rest >= half
    elif mode is Rounding.TO_ODD:
        up = whole & 1 == 0
    elif mode is Rounding.TOWARD_ZERO:
        up = np.zeros_like(inexact)
    else:
        up = sign == (mode is Rounding.DOWN)
    return whole + (up & inexact), inexact


def round_to_integral(
    bits: Bits, fmt: Format, mode: Rounding = Rounding.NEAREST, rules: Rules = DEFAULT, *, signal_inexact: bool = False
) -> Result:
    """Each number rounded to a whole number of the same format. The sign stays, of zeros too; infinities stay.

    signal_inexact   roundToIntegralExact: raise inexact where the number changed

    Shapes   [*s] of fmt.storage -> the same.   Source   IEEE 754-2019, 5.3.1 and 5.9
    """
    ctx = context("soft.round_to_integral", fmt, mode, rules, overflows=False)
    kernel = partial(_round_to_integral, ctx, signal_inexact)
    return on_patterns(kernel, (bits,), fmt, fmt.storage, "soft.round_to_integral")


def _round_to_integral(ctx: Context, signal: bool, x: Word) -> tuple[Word, Flags]:
    fmt = ctx.fmt
    sign = sign_of(x, fmt)
    exponent, significand = unpack(x & fmt.magnitude_mask, fmt)
    whole, inexact = _whole(ctx.mode, sign, significand, np.clip(TOP - exponent, 0, 63))
    bits, _ = pack(ctx, sign, *normalise(np.full_like(x, TOP), whole))
    large = exponent >= fmt.fraction_bits
    flags = (inexact & ~large & signal) * _INEXACT
    special = np.flatnonzero(large)
    if special.size:  # whole already, or no number
        bits[special], flags[special] = with_nans(ctx, (x[special],), x[special], flags[special])
    return bits, flags


def to_integer(
    bits: Bits, fmt: Format, dtype: Any, mode: Rounding = Rounding.TOWARD_ZERO, *, signal_inexact: bool = False
) -> Result:
    """Each number rounded to an integer of a numpy dtype.

    Invalid          a NaN, which gives 0; an infinity or a number outside the range, which gives the nearer end
    signal_inexact   convertToIntegerExact: raise inexact where the number changed

    Shapes   [*s] of fmt.storage -> [*s] of dtype.   Source   IEEE 754-2019, 5.4.1 and 5.8
    """
    context("soft.to_integer", fmt, mode, DEFAULT, overflows=False)
    target = _integer(dtype, "soft.to_integer")
    return on_patterns(partial(_to_integer, fmt, target, mode, signal_inexact), (bits,), fmt, target, "soft.to_integer")


def _integer(dtype: Any, where: str) -> np.dtype[Any]:
    found = np.dtype(dtype)
    if found.kind not in "iu":
        raise ShapeError(
            "not an integer dtype",
            where=where,
            expected="int8 to int64 or uint8 to uint64",
            got=found.name,
            fix="floats.soft.convert goes between formats",
        )
    return found


def _to_integer(fmt: Format, target: np.dtype[Any], mode: Rounding, signal: bool, x: Word) -> tuple[Word, Flags]:
    magnitude, sign = x & fmt.magnitude_mask, sign_of(x, fmt)
    exponent, significand = unpack(magnitude, fmt)
    whole, inexact = _whole(mode, sign, significand, np.clip(TOP - exponent, 0, 63))
    size = whole.view(np.uint64) << np.clip(exponent - TOP, 0, 2).view(np.uint64)  # below 2^64 where exponent < 64
    info = np.iinfo(target)
    largest, least = np.uint64(info.max), np.uint64(-info.min)
    beyond = (exponent >= 64) | (magnitude > fmt.max_bits) | (size > np.where(sign == 1, least, largest))
    negative = sign.view(np.uint64) * np.uint64(0xFFFFFFFFFFFFFFFF)
    values = (size ^ negative) + sign.view(np.uint64)
    flags = (inexact & signal) * _INEXACT
    if beyond.any():
        ends = np.where(sign == 1, np.int64(info.min).view(np.uint64), largest)
        values[beyond] = np.where(is_nan(x, fmt), np.uint64(0), ends)[beyond]
        flags[beyond] = _INVALID
    return values.view(np.int64), flags


def from_integer(x: NDArray[Any], fmt: Format, mode: Rounding = Rounding.NEAREST, rules: Rules = DEFAULT) -> Result:
    """Each integer in the format, rounded once; 0 is +0.

    Shapes   [*s] of int8 to int64 or uint8 to uint64 -> [*s] of fmt.storage.   Source   IEEE 754-2019, 5.4.1
    """
    ctx = context("soft.from_integer", fmt, mode, rules)
    x = np.asarray(x)
    signed_source = _integer(x.dtype, "soft.from_integer").kind == "i"
    return over_chunks(partial(_from_integer, ctx, signed_source), (x,), fmt.storage, "soft.from_integer")


def _from_integer(ctx: Context, signed_source: bool, x: Word) -> tuple[Word, Flags]:
    sign = (x < 0).astype(np.int64) if signed_source else np.zeros_like(x)
    size = ((x ^ -sign) + sign).view(np.uint64)
    length = bit_length(size)
    out = np.maximum(length - (TOP + 1), 0).view(np.uint64)  # 64-bit integers lose up to two bits to the sticky one
    kept = size >> out
    word = (kept | ((kept << out) != size)).view(np.int64) << np.maximum(TOP + 1 - length, 0)
    return pack(ctx, sign, length - 1, word)


def encode(x: Any, fmt: Format, mode: Rounding = Rounding.NEAREST, rules: Rules = DEFAULT) -> Result:
    """What Python calls numbers as patterns of the format, each rounded once from its exact value.

    x   a float, int, Fraction or FLINT rational, or a list of one kind of them: nested for more axes; or a float array

    Shapes   a number -> []; an array or list [*s] -> [*s] of fmt.storage.   Raises UsageError for anything else.
    """
    values = np.asarray(x, None if isinstance(x, np.ndarray | np.generic) else object)
    if values.dtype == object and values.size and all(isinstance(v, float) for v in values.ravel().tolist()):
        values = values.astype(np.float64)
    if values.dtype != object:
        source = format_of(values.dtype)
        patterns = np.ascontiguousarray(values).view(source.storage).reshape(values.shape)
        return convert(patterns, source, fmt, mode, rules)
    ctx = context("soft.encode", fmt, mode, rules)
    parts = np.array([_exact_parts(v) for v in values.ravel().tolist()], np.int64).reshape(-1, 3)
    bits, flags = pack(ctx, *(parts[:, i].copy() for i in range(3)))
    return Result(bits.astype(fmt.storage).reshape(values.shape), flags.reshape(values.shape))


def _exact_parts(value: Any) -> tuple[int, int, int]:
    """(sign, exponent, sticky significand) of a rational."""
    import flint

    if isinstance(value, bool) or not isinstance(value, int | Fraction | flint.fmpq):
        raise UsageError(
            "this is no number to encode",
            where="soft.encode",
            expected="a float, int, Fraction or FLINT rational, or a list of one kind of them",
            got=f"{value!r} of type {type(value).__name__}",
            fix="Fraction(text) reads decimals exactly; from_integer takes integer arrays",
        )
    numerator, denominator = abs(int(value.numerator)), int(value.denominator)
    if numerator == 0:
        return 0, 0, 0
    shift = TOP + denominator.bit_length() - numerator.bit_length()
    whole, rest = divmod(numerator << max(shift, 0), denominator << max(-shift, 0))
    if whole < 1 << TOP:  # the lengths leave one bit open
        shift += 1
        whole, rest = divmod(numerator << max(shift, 0), denominator << max(-shift, 0))
    return int(value < 0), min(max(FAR, TOP - shift), -FAR), whole | (rest != 0)


def decode(bits: Bits, fmt: Format) -> NDArray[np.float64]:
    """The numbers as float64, exactly: every format here lies within binary64. NaNs are quieted.

    Shapes   [*s] of fmt.storage -> [*s]
    """
    return convert(bits, fmt, BINARY64).bits.view(np.float64)
