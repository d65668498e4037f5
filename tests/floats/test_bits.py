"""Formats as data, and their bit patterns: fields, classes, neighbours, order, hexadecimal text."""

import math
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

from torchlean import floats
from torchlean.errors import DataError, ShapeError, Unsupported, UsageError
from torchlean.floats import CATALOG, E4M3FN, E5M2, TF32, Format, Specials, bits
from torchlean.floats.bits import Class

T132 = Format.custom("1-3-2", 3, 3)
named = pytest.mark.parametrize("fmt", CATALOG.values(), ids=str)
small = pytest.mark.parametrize("fmt", [T132, E4M3FN, E5M2, floats.BINARY16, floats.BFLOAT16], ids=str)


def samples(fmt, count=20_000):
    """Random patterns, and the ends of every region."""
    rng = np.random.default_rng(3)
    drawn = rng.integers(0, 2**fmt.width, count, dtype=np.uint64) if fmt.width < 64 else rng.integers(
        0, 2**64 - 1, count, dtype=np.uint64, endpoint=True)  # fmt: skip
    ends = [0, 1, 2, (1 << fmt.fraction_bits) - 1, 1 << fmt.fraction_bits, fmt.max_bits, fmt.max_bits + 1,
            fmt.last_number_bits, fmt.nan_bits, fmt.magnitude_mask]  # fmt: skip
    both = ends + [e | (fmt.magnitude_mask + 1) for e in ends]
    return np.concatenate([drawn, np.array(both, np.uint64)]).astype(fmt.storage)


def values(x, fmt):
    """What numpy and ml_dtypes say the patterns are."""
    with np.errstate(all="ignore"):
        single = (x << np.uint32(13)).view(np.float32) if fmt is TF32 else x.view(fmt.dtype)
        return single.astype(np.float64)


def test_the_catalog_has_the_constants_of_the_standards():
    widths = {"float16": 16, "float32": 32, "float64": 64, "bfloat16": 16, "tf32": 19, "float8_e4m3fn": 8,
              "float8_e5m2": 8}  # fmt: skip
    assert {f.name: f.width for f in CATALOG.values()} == widths
    assert [f.storage.name for f in CATALOG.values()] == [
        "uint16", "uint32", "uint64", "uint16", "uint32", "uint8", "uint8"]  # fmt: skip
    assert E4M3FN.max == 448 and E5M2.max == 57344 and E4M3FN.smallest_subnormal == 2.0**-9
    for fmt in CATALOG.values():
        if fmt is not TF32:
            info = ml_dtypes.finfo(fmt.dtype)
            assert float(info.max) == fmt.max and float(info.smallest_normal) == fmt.smallest_normal
            assert float(info.smallest_subnormal) == fmt.smallest_subnormal
            assert info.nmant == fmt.fraction_bits and info.nexp == fmt.exponent_bits


def test_custom_formats_are_the_named_ones():
    assert Format.custom("float16", 5, 11) == floats.BINARY16
    assert Format.custom("bfloat16", 8, 8) == floats.BFLOAT16
    assert Format.custom("float8_e4m3fn", 4, 4, Specials.ONE_NAN) == E4M3FN
    assert Format.custom("float64", 11, 53) == floats.BINARY64
    assert (T132.emin, T132.emax, T132.width, T132.max) == (-2, 3, 6, 14.0)


@pytest.mark.parametrize("exponent_bits", [-1, 0, 1])
def test_a_format_without_exponent_bits_is_refused(exponent_bits):
    with pytest.raises(UsageError, match="a format needs exponent bits"):
        Format.custom("fixed", exponent_bits, 8)


def test_formats_that_no_field_encodes_or_binary64_does_not_hold_are_refused():
    with pytest.raises(UsageError, match="do not fill a field"):
        Format("odd", 4, -5, 4)
    for exponent_bits, precision in ((12, 24), (8, 54), (11, 54), (70, 3)):
        with pytest.raises(UsageError, match="beyond binary64"):
            Format.custom("quad", exponent_bits, precision)
    with pytest.raises(UsageError, match="two significand bits"):
        Format.custom("one", 4, 1)


def test_a_format_without_a_dtype_says_so():
    for fmt in (TF32, T132, Format.custom("float32", 8, 11)):
        with pytest.raises(Unsupported, match="no numpy dtype stores this format"):
            _ = fmt.dtype
    assert floats.format_of(np.dtype(ml_dtypes.float8_e5m2)) is E5M2


@named
def test_fields_and_classes_agree_with_the_values(fmt):
    x = samples(fmt)
    sign, exponent, fraction = bits.fields(x, fmt)
    np.testing.assert_array_equal(bits.from_fields(sign, exponent, fraction, fmt), x)
    v, kind = values(x, fmt), bits.classify(x, fmt)
    np.testing.assert_array_equal(np.signbit(v)[~np.isnan(v)], (sign == 1)[~np.isnan(v)])
    np.testing.assert_array_equal(kind <= Class.QUIET_NAN, np.isnan(v))
    np.testing.assert_array_equal(bits.is_nan(x, fmt), np.isnan(v))
    np.testing.assert_array_equal(np.isin(kind, [Class.NEGATIVE_INFINITY, Class.POSITIVE_INFINITY]), np.isinf(v))
    np.testing.assert_array_equal(np.isin(kind, [Class.NEGATIVE_ZERO, Class.POSITIVE_ZERO]), v == 0)
    tiny = (v != 0) & (np.abs(v) < fmt.smallest_normal)
    np.testing.assert_array_equal(np.isin(kind, [Class.NEGATIVE_SUBNORMAL, Class.POSITIVE_SUBNORMAL]), tiny)
    number = ~np.isnan(v)
    np.testing.assert_array_equal((kind >= Class.POSITIVE_ZERO)[number], (sign == 0)[number])
    quiet = (fraction >> fmt.storage.type(fmt.fraction_bits - 1)) == 1
    np.testing.assert_array_equal(kind == Class.SIGNALING_NAN, np.isnan(v) & ~quiet)


@named
def test_neighbours_ordinals_and_ulps_agree_with_the_values(fmt):
    x = samples(fmt)
    x = x[~bits.is_nan(x, fmt)]
    v, place = values(x, fmt), bits.ordinal(x, fmt)
    up, down = bits.next_up(x, fmt), bits.next_down(x, fmt)
    inside = np.abs(v) < fmt.max
    np.testing.assert_array_equal(bits.ordinal(up[inside], fmt), place[inside] + 1)
    np.testing.assert_array_equal(bits.ordinal(down[inside], fmt), place[inside] - 1)
    above, here, below = values(up[inside], fmt), v[inside], values(down[inside], fmt)
    assert (below < here).all() and (here < above).all()
    np.testing.assert_array_equal(bits.ulp(x, fmt)[inside], np.where(here >= 0, above - here, here - below))
    np.testing.assert_array_equal(bits.from_ordinal(place, fmt)[v != 0], x[v != 0])
    order = np.argsort(place, kind="stable")
    assert (np.diff(v[order][np.isfinite(v[order])]) >= 0).all()
    assert np.isnan(bits.ulp(np.array([fmt.nan_bits], fmt.storage), fmt)).all()


@named
def test_neighbours_at_the_ends(fmt):
    kind = fmt.storage.type
    minus = fmt.magnitude_mask + 1
    x = np.array([0, minus, minus | 1, fmt.max_bits, fmt.nan_bits, fmt.max_bits | minus], fmt.storage)
    beyond = fmt.max_bits + 1  # infinity, or the NaN of a format without it
    np.testing.assert_array_equal(bits.next_up(x, fmt)[:5], np.array([1, 1, minus, beyond, fmt.nan_bits], kind))
    assert bits.next_down(x, fmt)[5] == kind(beyond | minus)
    if fmt.has_infinity:
        ends = np.array([beyond, beyond | minus], kind)
        np.testing.assert_array_equal(bits.next_up(ends, fmt), np.array([beyond, fmt.max_bits | minus], kind))
        np.testing.assert_array_equal(bits.next_down(ends, fmt), np.array([fmt.max_bits, beyond | minus], kind))


def test_distance_counts_steps():
    x = np.array([1.0, -0.0, -np.inf], np.float32).view(np.uint32)
    y = np.array([1 + 2.0**-22, 0.0, np.inf], np.float32).view(np.uint32)
    assert bits.distance(x, y, floats.BINARY32).tolist() == [2, 0, 2 * 0x7F800000]
    far = np.array([np.inf, -np.inf]).view(np.uint64)
    assert bits.distance(far, far[::-1], floats.BINARY64).tolist() == [2 * 0x7FF0000000000000] * 2


@small
def test_hexadecimal_text_names_every_pattern(fmt):
    x = np.arange(2**fmt.width).astype(fmt.storage)
    text = bits.hex_text(x, fmt)
    np.testing.assert_array_equal(bits.from_hex_text(text, fmt), x)
    assert len(set(text.tolist())) == x.size
    finite = ~bits.is_nan(x, fmt)
    if fmt is T132:
        return
    np.testing.assert_array_equal([float.fromhex(t) for t in text[finite]], values(x[finite], fmt))


def test_hexadecimal_text_is_that_of_c_and_python():
    def text(x):
        return str(bits.hex_text(np.array(x, np.float64).view(np.uint64), floats.BINARY64))

    assert [text(v) for v in (1.0, -3.0, 0.1, 5e-324, -0.0, math.inf)] == [
        "0x1p+0", "-0x1.8p+1", "0x1.999999999999ap-4", "0x0.0000000000001p-1022", "-0x0p+0", "inf"]  # fmt: skip
    rng = np.random.default_rng(0)
    for v in rng.integers(0, 2**62, 500).view(np.float64).tolist():
        assert float.fromhex(text(v)) == v and bits.from_hex_text(v.hex(), floats.BINARY64).view(np.float64) == v
    assert bits.from_hex_text("0x.8p1", floats.BINARY32) == np.float32(1).view(np.uint32)
    assert bits.from_hex_text("-0X1P-149", floats.BINARY32) == 0x80000001


@pytest.mark.parametrize(
    "text", ["", "1.5", "0x", "0xp1", "0x1", "0x1p", "0x1.1p-149", "0x1p-150", "0x1.000001p+0", "0x1p128", "snan",
             "nan(0x400000)", "infinity", "0x1p1 x", "nan(-1)"],
)  # fmt: skip
def test_text_that_names_no_number_of_the_format_is_refused(text):
    with pytest.raises(UsageError, match="names no number of float32"):
        bits.from_hex_text(text, floats.BINARY32)
    with pytest.raises(UsageError, match="names no number of float8_e4m3fn"):
        bits.from_hex_text("inf", E4M3FN)


def test_what_is_no_pattern_is_refused():
    single = np.zeros(3, np.float32)
    for wrong in (single, single.view(np.int32), np.zeros(3, np.uint64), 0, [0, 1]):
        with pytest.raises(ShapeError, match="bit patterns have the wrong dtype"):
            bits.classify(wrong, floats.BINARY32)
    with pytest.raises(DataError, match="wider than its format"):
        bits.classify(np.array([1 << 19], np.uint32), TF32)
    with pytest.raises(DataError, match="a NaN has no place"):
        bits.ordinal(np.array([0x7F], np.uint8), E4M3FN)
    with pytest.raises(DataError, match="so far from zero"):
        bits.from_ordinal(np.array([-128]), E4M3FN)
    with pytest.raises(DataError, match="the fraction field does not fit"):
        bits.from_fields(*np.array([[0], [0], [4]], np.uint8), T132)


def test_rounding_directions_have_names():
    for mode in floats.Rounding:
        assert floats.Rounding.named(mode.name) is mode
    assert floats.Rounding.named("roundTiesToAway") is floats.Rounding.NEAREST_AWAY
    assert floats.Rounding.named("roundTowardNegative") is floats.Rounding.DOWN
    with pytest.raises(UsageError, match="no rounding direction of this name"):
        floats.Rounding.named("nearest")


def test_rounding_without_a_rule_for_overflow_is_refused_and_fp8_is_rounded_once():
    with pytest.raises(UsageError, match="no infinity to overflow to"):
        floats.round_rational(Fraction(1, 3), E4M3FN)
    assert floats.round_nearest(np.array([1.125 + 2.0**-40]), E5M2) == 1.25
