"""Bit patterns of any format: fields, classes, neighbours, the order of the numbers, and C's hexadecimal text.

A pattern is an unsigned integer of `Format.storage`, in arrays of any shape; no function here looks at more than one
element to answer for another.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from torchlean.errors import DataError, ShapeError, UsageError
from torchlean.floats.formats import Format, step_bits

Bits: TypeAlias = NDArray[Any]


def patterns(x: Any, fmt: Format, where: str) -> Bits:
    """x itself, checked to hold patterns. Raises ShapeError for another dtype, DataError for stray bits."""
    if not isinstance(x, np.ndarray | np.generic) or x.dtype != fmt.storage:
        raise ShapeError(
            "bit patterns have the wrong dtype",
            where=where,
            expected=f"a numpy array of {fmt.storage.name}, the storage of {fmt}",
            got=x.dtype.name if isinstance(x, np.ndarray | np.generic) else type(x).__name__,
            fix=f"x.view(np.{fmt.storage.name}) of an array of {fmt}, or floats.soft.convert from another format",
        )
    array = np.asarray(x)
    if fmt.width < 8 * fmt.storage.itemsize and (array >> fmt.storage.type(fmt.width)).any():
        raise DataError(
            "a bit pattern is wider than its format",
            where=where,
            expected=f"patterns below 2^{fmt.width}, the width of {fmt}",
            got=hex(int(array.max())),
            fix="keep a pattern in the low bits",
        )
    return array


class Fields(NamedTuple):
    """Sign, biased exponent and fraction, each of the pattern's dtype and shape."""

    sign: Bits
    exponent: Bits
    fraction: Bits


def fields(bits: Bits, fmt: Format) -> Fields:
    """The three fields of each pattern (IEEE 754-2019, 3.4)."""
    bits, kind = patterns(bits, fmt, "floats.bits.fields"), fmt.storage.type
    exponent = (bits & kind(fmt.magnitude_mask)) >> kind(fmt.fraction_bits)
    return Fields(bits >> kind(fmt.width - 1), exponent, bits & kind((1 << fmt.fraction_bits) - 1))


def from_fields(sign: Bits, exponent: Bits, fraction: Bits, fmt: Format) -> Bits:
    """The patterns with these fields. Raises DataError where a field is wider than its place."""
    kind = fmt.storage.type
    parts = (("sign", sign, 1), ("exponent", exponent, fmt.exponent_bits), ("fraction", fraction, fmt.fraction_bits))
    for name, part, width in parts:
        if part.dtype != fmt.storage or (part >> kind(width)).any():
            raise DataError(
                f"the {name} field does not fit",
                where="floats.bits.from_fields",
                expected=f"{fmt.storage.name} below 2^{width}",
                got=f"{part.dtype.name} up to {part.max() if part.size else 0}",
                fix="pass the biased exponent and the fraction without the hidden bit",
            )
    return np.asarray((sign << kind(fmt.width - 1)) | (exponent << kind(fmt.fraction_bits)) | fraction)


class Class(IntEnum):
    """The ten classes of IEEE 754-2019, 5.7.2."""

    SIGNALING_NAN = 0
    QUIET_NAN = 1
    NEGATIVE_INFINITY = 2
    NEGATIVE_NORMAL = 3
    NEGATIVE_SUBNORMAL = 4
    NEGATIVE_ZERO = 5
    POSITIVE_ZERO = 6
    POSITIVE_SUBNORMAL = 7
    POSITIVE_NORMAL = 8
    POSITIVE_INFINITY = 9


def classify(bits: Bits, fmt: Format) -> NDArray[np.uint8]:
    """The `Class` of each pattern, as uint8."""
    bits, kind = patterns(bits, fmt, "floats.bits.classify"), fmt.storage.type
    magnitude = bits & kind(fmt.magnitude_mask)
    positive = np.full(bits.shape, Class.POSITIVE_ZERO, np.uint8)
    for least, name in (
        (1, Class.POSITIVE_SUBNORMAL),
        (1 << fmt.fraction_bits, Class.POSITIVE_NORMAL),
        (fmt.max_bits + 1, Class.POSITIVE_INFINITY),
    ):
        positive[magnitude >= kind(least)] = name
    found = np.where(bits > kind(fmt.magnitude_mask), 11 - positive, positive).astype(np.uint8)
    found[magnitude > kind(fmt.last_number_bits)] = Class.QUIET_NAN
    found[is_signaling(bits, fmt)] = Class.SIGNALING_NAN
    return found


def is_nan(bits: Bits, fmt: Format) -> NDArray[np.bool_]:
    """Whether each pattern is a NaN."""
    return np.asarray((bits & fmt.storage.type(fmt.magnitude_mask)) > fmt.storage.type(fmt.last_number_bits))


def is_signaling(bits: Bits, fmt: Format) -> NDArray[np.bool_]:
    """Whether each pattern is a NaN whose quiet bit is 0; a format with a single NaN has none."""
    kind = fmt.storage.type
    return is_nan(bits, fmt) & ((bits & kind(fmt.quiet_bit)) == 0) & fmt.has_infinity


def ulp(bits: Bits, fmt: Format) -> NDArray[np.float64]:
    """Spacing of the format's numbers in the binade of each pattern; the subnormal spacing below it.

    Shapes     bits: [*s] -> [*s] float64, exact
    NaN, inf   NaN
    """
    bits, kind = patterns(bits, fmt, "floats.bits.ulp"), fmt.storage.type
    magnitude = bits & kind(fmt.magnitude_mask)
    exponent = np.maximum(magnitude >> kind(fmt.fraction_bits), kind(1)).astype(np.int64) - fmt.bias
    return np.where(magnitude > kind(fmt.max_bits), np.nan, np.ldexp(1.0, exponent - fmt.fraction_bits))


def next_up(bits: Bits, fmt: Format) -> Bits:
    """The least number above; inf and NaN stay, and the largest number of a format without infinity becomes NaN.

    Shapes   bits: [*s] -> the same.   Source   IEEE 754-2019, 5.3.1 nextUp, but a signaling NaN stays what it is.
    """
    return step_bits(patterns(bits, fmt, "floats.bits.next_up"), fmt, upward=True)


def next_down(bits: Bits, fmt: Format) -> Bits:
    """The greatest number below: the mirror image of `next_up`."""
    return step_bits(patterns(bits, fmt, "floats.bits.next_down"), fmt, upward=False)


def ordinal(bits: Bits, fmt: Format) -> NDArray[np.int64]:
    """Integers in the order of the numbers, 0 for both zeros, 1 for the smallest subnormal, one more per number.

    Shapes   bits: [*s] -> [*s] int64.   Raises DataError for a NaN, which has no place in the order.
    """
    bits, kind = patterns(bits, fmt, "floats.bits.ordinal"), fmt.storage.type
    if is_nan(bits, fmt).any():
        raise DataError(
            "a NaN has no place among the numbers",
            where="floats.bits.ordinal",
            expected="finite numbers and infinities",
            got="a NaN",
            fix="treat NaNs first: floats.bits.is_nan",
        )
    magnitude = (bits & kind(fmt.magnitude_mask)).astype(np.int64)
    return np.where(bits > kind(fmt.magnitude_mask), -magnitude, magnitude)


def from_ordinal(places: NDArray[np.int64], fmt: Format) -> Bits:
    """The pattern at each place of `ordinal`; +0 at 0. Raises DataError beyond infinity or the largest number."""
    size = np.abs(places)
    if (size > fmt.last_number_bits).any() or (size < 0).any():
        raise DataError(
            "no number of the format is so far from zero",
            where="floats.bits.from_ordinal",
            expected=f"-{fmt.last_number_bits} to {fmt.last_number_bits}",
            got=f"{int(places.min())} to {int(places.max())}",
            fix="clip the ordinals",
        )
    sign = (places < 0).astype(fmt.storage) << fmt.storage.type(fmt.width - 1)
    return np.asarray(size.astype(fmt.storage) | sign)


def distance(a: Bits, b: Bits, fmt: Format) -> NDArray[np.uint64]:
    """Steps along the number line from a to b: 0 between the zeros, 1 between neighbours.

    Shapes   a, b: broadcast -> uint64.   Raises DataError for a NaN.
    """
    x, y = ordinal(a, fmt), ordinal(b, fmt)
    return np.asarray(np.maximum(x, y).view(np.uint64) - np.minimum(x, y).view(np.uint64))


def hex_text(bits: Bits, fmt: Format) -> NDArray[Any]:
    """Each pattern as C's %a writes it, exactly: 0x1.8p+1, -0x0.04p-126 for a subnormal, inf, nan.

    A NaN shows its sign, and its payload where there is one: nan(0x1), -snan(0x2a). `from_hex_text` reads all back.

    Shapes   bits: [*s] -> [*s] str (object).   Source   C17 7.21.6.1, conversion a, without trailing zeros
    """
    sign, exponent, fraction = fields(bits, fmt)
    flat = zip(sign.ravel().tolist(), exponent.ravel().tolist(), fraction.ravel().tolist(), strict=True)
    text = np.empty(bits.size, object)
    text[:] = [_text(s, e, f, fmt) for s, e, f in flat]
    return text.reshape(bits.shape)


def _text(sign: int, exponent: int, fraction: int, fmt: Format) -> str:
    minus = "-" if sign else ""
    magnitude = (exponent << fmt.fraction_bits) | fraction
    if magnitude > fmt.last_number_bits:
        if not fmt.has_infinity:
            return minus + "nan"
        payload = fraction & (fmt.quiet_bit - 1)
        name = "nan" if fraction & fmt.quiet_bit else "snan"
        return f"{minus}{name}({payload:#x})" if payload else minus + name
    if magnitude > fmt.max_bits:
        return minus + "inf"
    if magnitude == 0:
        return minus + "0x0p+0"
    digits = -(-fmt.fraction_bits // 4)
    places = f"{fraction << (4 * digits - fmt.fraction_bits):0{digits}x}".rstrip("0")
    lead, power = (1, exponent - fmt.bias) if exponent else (0, fmt.emin)
    return f"{minus}0x{lead}{'.' if places else ''}{places}p{power:+d}"


_HEX = re.compile(r"([+-]?)(?:0x([0-9a-f]*)\.?([0-9a-f]*)p([+-]?\d{1,6})|(inf)|(s?nan)(?:\(0x([0-9a-f]+)\))?)")


def from_hex_text(text: str | NDArray[Any], fmt: Format) -> Bits:
    """The patterns that hexadecimal texts name, exactly: nothing is rounded.

    Shapes   a string, or [*s] of strings -> [*s] of fmt.storage
    Raises   UsageError for another spelling, and for a number that the format does not have
    """
    texts = np.asarray(text)
    read = [_read(str(t), fmt) for t in texts.ravel().tolist()]
    return np.array(read, fmt.storage).reshape(texts.shape)


def _read(text: str, fmt: Format) -> int:
    found = _HEX.fullmatch(text.strip().lower())
    pattern = None
    if found and (found[2] or found[3] or found[4] is None):
        pattern = _number(found, fmt) if found[4] else _special(found, fmt)
    if pattern is None:
        raise UsageError(
            f"this text names no number of {fmt}",
            where="floats.bits.from_hex_text",
            expected="[-]0xH.HHHp[+-]D with a value of the format, inf, nan or nan(0xPAYLOAD)",
            got=text,
            fix="correct the text, or round a value with floats.soft.encode",
        )
    return pattern | ((fmt.magnitude_mask + 1) if found and found[1] == "-" else 0)


def _special(found: re.Match[str], fmt: Format) -> int | None:
    if found[5]:
        return fmt.last_number_bits if fmt.has_infinity else None
    payload, quiet = int(found[7] or "0", 16), found[6] == "nan"
    if not fmt.has_infinity:
        return fmt.nan_bits if quiet and payload == 0 else None
    if payload >= fmt.quiet_bit or not (quiet or payload):
        return None
    return fmt.last_number_bits | payload | (fmt.quiet_bit if quiet else 0)


def _number(found: re.Match[str], fmt: Format) -> int | None:
    """digits 2^(power - 4 places), as a whole number of the quantum of its binade."""
    value, power = int((found[2] + found[3]) or "0", 16), int(found[4]) - 4 * len(found[3])
    if value == 0:
        return 0
    quantum = max(power + value.bit_length() - fmt.precision, fmt.emin - fmt.fraction_bits)
    shift = power - quantum
    if shift < 0 and value & ((1 << -shift) - 1):
        return None
    whole = value << shift if shift >= 0 else value >> -shift
    pattern = ((quantum - (fmt.emin - fmt.fraction_bits)) << fmt.fraction_bits) + whole
    return pattern if pattern <= fmt.max_bits else None
