"""A number in a format: bits, neighbours and errors, against numpy and exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchlean.errors import UsageError
from torchlean.floats import BFLOAT16, BINARY32, BINARY64, CATALOG, E4M3FN, Format, Rounding
from torchlean.floats.bits import Class
from torchlean.floats.calculator import look, look_at_pattern, shortest
from torchlean.floats.soft import Flag, Overflow, Rules

RULES = Rules(overflow=Overflow.SPECIAL)
each_format = pytest.mark.parametrize("fmt", CATALOG.values(), ids=str)
each_mode = pytest.mark.parametrize("mode", Rounding, ids=lambda m: m.name)


def test_one_tenth() -> None:
    found = look("0.1")
    assert found.fields == ("0", "01111011", "10011001100110011001101") and found.pattern == "0x3dcccccd"
    assert found.decimal == "0.100000001490116119384765625" and found.hex_text == "0x1.99999ap-4"
    assert found.kind is Class.POSITIVE_NORMAL and found.flags == Flag.INEXACT and found.ulp == 2.0**-27
    assert found.error is not None and Fraction(str(found.error)) == Fraction(np.float32(0.1).item()) - Fraction(1, 10)
    assert str(found.error_in_ulps) == "1/5" and str(found.relative_error) == "1/67108864"
    assert look(0.1, BINARY64).error == 0 and look(Fraction(1, 10), BINARY64).error != 0


@each_format
@each_mode
@given(p=st.integers(-(10**30), 10**30), q=st.integers(1, 10**30))
@settings(deadline=None, derandomize=True, max_examples=20)
def test_the_error_is_within_the_rounding(fmt: Format, mode: Rounding, p: int, q: int) -> None:
    found = look(Fraction(p, q), fmt, mode, RULES)
    if found.flags & Flag.OVERFLOW:
        assert abs(Fraction(p, q)) > fmt.max
        return
    error, ulps = Fraction(str(found.error)), Fraction(str(found.error_in_ulps))
    assert Fraction(found.value) - Fraction(p, q) == error
    assert (error != 0) == bool(found.flags & Flag.INEXACT)
    assert abs(ulps) <= Fraction(1, 2) if mode.to_nearest else abs(ulps) < 1
    assert mode is not Rounding.UP or error >= 0
    assert mode is not Rounding.DOWN or error <= 0
    assert mode is not Rounding.TOWARD_ZERO or error * p <= 0


@given(x=st.floats(allow_nan=False, width=32))
@settings(deadline=None, derandomize=True)
def test_neighbours_are_numpy_s(x: float) -> None:
    found = look(x)
    sides = ((found.below, -np.inf), (found.above, np.inf))
    for neighbour, far in sides:
        expected = float(np.nextafter(np.float32(x), np.float32(far)))
        assert (neighbour is None) == (expected == x)
        assert neighbour is None or neighbour.value == expected


@given(x=st.floats(allow_nan=False), y=st.floats(allow_nan=False, width=32))
@settings(deadline=None, derandomize=True)
def test_shortest_reads_back_and_is_as_short_as_python_s(x: float, y: float) -> None:
    def digits(text: str) -> int:
        return len(text.lstrip("-").split("e")[0].replace(".", "").strip("0"))

    text = shortest(look(x, BINARY64).bits, BINARY64)
    assert float(text) == x and digits(text) <= digits(repr(x))
    text = shortest(look(y).bits, BINARY32)
    assert np.float32(text) == np.float32(y) and digits(text) <= digits(str(np.float32(y)))


@each_format
def test_every_class_of_every_format(fmt: Format) -> None:
    zero, smallest, largest = (look_at_pattern(b, fmt, fmt, rules=RULES) for b in (0, 1, fmt.max_bits))
    assert (zero.kind, smallest.kind, largest.kind) == (
        Class.POSITIVE_ZERO, Class.POSITIVE_SUBNORMAL, Class.POSITIVE_NORMAL
    )  # fmt: skip
    assert zero.below is not None and zero.below.value == -fmt.smallest_subnormal and smallest.value == zero.ulp
    assert largest.value == fmt.max and (largest.above is None) == (not fmt.has_infinity)
    nan = look("nan", fmt, rules=RULES)
    assert nan.kind is Class.QUIET_NAN and nan.below is None and nan.error is None and nan.ulp is None
    assert shortest(nan.bits, fmt) == nan.decimal == "nan"


def test_specials_keep_their_signs() -> None:
    assert look("-0").decimal == "-0" and look(-0.0).bits == 1 << 31 and look("-0").error == 0
    assert look("-inf").decimal == "-inf" and look("-inf").error is None and look("-inf").flags == 0
    assert look("1e39").flags == Flag.OVERFLOW | Flag.INEXACT and look("1e39").error is None


def test_patterns() -> None:
    quiet = look_at_pattern(0x7F800001, BINARY32, BINARY64)
    assert quiet.flags == Flag.INVALID and quiet.kind is Class.QUIET_NAN and quiet.hex_text == "nan(0x20000000)"
    own = look_at_pattern(0x7F800001, BINARY32, BINARY32)
    assert own.flags == 0 and own.kind is Class.SIGNALING_NAN and own.bits == 0x7F800001
    assert look_at_pattern(0x80000000, BINARY32, BFLOAT16).decimal == "-0"
    assert look_at_pattern(0x3DCCCCCD, BINARY32, BFLOAT16) == look(np.float32(0.1).item(), BFLOAT16)
    for wrong in (-1, 1 << 32):
        with pytest.raises(UsageError, match="wider than its format"):
            look_at_pattern(wrong, BINARY32, BINARY32)


def test_an_overflow_without_infinity_is_stated() -> None:
    with pytest.raises(UsageError, match="what an overflow gives is not stated"):
        look("0.1", E4M3FN)
    assert look("1000", E4M3FN, rules=RULES).decimal == "nan"
    assert look("1000", E4M3FN, rules=Rules(overflow=Overflow.SATURATE)).decimal == "448"
