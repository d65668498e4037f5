"""Conversions: between small formats against the oracle, wider ones against ml_dtypes, integers against Python's."""

from bisect import bisect_left
from fractions import Fraction

import numpy as np
import pytest
from oracle import (
    E4M3FN,
    E5M2,
    INEXACT,
    INF,
    INVALID,
    MODES,
    NAN,
    T143,
    TOYS,
    all_patterns,
    pick,
    settle,
    table,
)

from torchlean import floats
from torchlean.errors import ShapeError, UsageError
from torchlean.floats import BFLOAT16, BINARY16, BINARY32, BINARY64, TF32, Rounding, soft
from torchlean.floats.soft import Flag, Overflow, Rules, Tininess

SPECIAL = Rules(overflow=Overflow.SPECIAL)
BEFORE = Rules(tininess=Tininess.BEFORE, overflow=Overflow.SATURATE)


def converted(s, t, pattern, mode, rules):
    """One conversion by the oracle's tables."""
    value, sign = s.value[pattern], s.sign[pattern]
    if value is NAN:
        quiet = 1 << (s.fraction_bits - 1)
        payload = pattern & (quiet - 1) if s.fmt.has_infinity and t.fmt.has_infinity else 0
        payload = (payload << t.fraction_bits) >> s.fraction_bits
        signaling = s.fmt.has_infinity and not pattern & quiet
        return t.signed(t.nan | payload, sign), INVALID if signaling else 0
    if value is INF:
        if rules.overflow is Overflow.SATURATE:
            return t.signed(t.largest, sign), int(Flag.OVERFLOW | Flag.INEXACT)
        return t.signed(t.infinity, sign), 0 if t.fmt.has_infinity else int(Flag.OVERFLOW | Flag.INEXACT)
    if value == 0:
        return t.signed(0, sign), 0
    return settle(t, (-value if sign else value) * t.units, s.units, mode, rules.tininess, rules.overflow)


@pytest.mark.parametrize("target", TOYS, ids=str)
@pytest.mark.parametrize("source", [*TOYS, BINARY16], ids=str)
def test_every_pattern_in_every_direction(source, target):
    x = all_patterns(source)[:: 61 if source is BINARY16 else 1]
    for mode in MODES:
        for rules in (SPECIAL, BEFORE):
            got = soft.convert(x, source, target, mode, rules)
            want = np.array([converted(table(source), table(target), p, mode, rules) for p in x.tolist()])
            np.testing.assert_array_equal(got.bits, want[:, 0], err_msg=f"{mode} {rules}")
            np.testing.assert_array_equal(got.flags, want[:, 1], err_msg=f"{mode} {rules}")


def same_values(bits, fmt, theirs):
    """Equal numbers and signs; a NaN equals a NaN."""
    with np.errstate(all="ignore"):
        ours, theirs = bits.view(fmt.dtype).astype(np.float64), theirs.astype(np.float64)
    nan = np.isnan(ours)
    np.testing.assert_array_equal(nan, np.isnan(theirs))
    np.testing.assert_array_equal(ours[~nan].view(np.int64), theirs[~nan].view(np.int64))


@pytest.mark.parametrize("target", [E4M3FN, E5M2, BFLOAT16, BINARY16, BINARY32], ids=str)
@pytest.mark.parametrize("source", [BFLOAT16, BINARY16, E4M3FN, E5M2, BINARY32], ids=str)
def test_every_value_converts_as_ml_dtypes_does(source, target):
    if source is BINARY32:
        rng = np.random.default_rng(2)
        x = rng.integers(0, 2**32, 200_000, dtype=np.uint64).astype(np.uint32)
    else:
        x = np.arange(2**source.width).astype(source.storage)
    with np.errstate(all="ignore"):
        theirs = x.view(source.dtype).astype(np.float32).astype(target.dtype)  # float32 holds all: one rounding
    same_values(soft.convert(x, source, target, rules=SPECIAL).bits, target, theirs)


def test_binary64_converts_once():
    rng = np.random.default_rng(4)
    near = (1 + rng.integers(0, 128, 50_000) / 128 + rng.choice([0, 2.0**-40, -(2.0**-40)], 50_000)) * 2.0 ** (
        rng.integers(-140, 128, 50_000))  # fmt: skip
    x = np.concatenate([near, -near, rng.integers(0, 2**64, 50_000, dtype=np.uint64).view(np.float64)])
    for fmt in (BFLOAT16, BINARY16, BINARY32):
        same_values(soft.convert(x.view(np.uint64), BINARY64, fmt).bits, fmt, floats.round_nearest(x, fmt))
    for mode, rounded in ((Rounding.UP, floats.round_up), (Rounding.DOWN, floats.round_down)):
        same_values(soft.convert(x.view(np.uint64), BINARY64, BINARY32, mode).bits, BINARY32, rounded(x))


def test_tf32_is_the_upper_part_of_binary32():
    x = np.arange(2**19, dtype=np.uint32)
    wide = soft.convert(x, TF32, BINARY32).bits
    signaling = floats.bits.is_signaling(x, TF32)
    np.testing.assert_array_equal(wide, (x << np.uint32(13)) | (signaling * np.uint32(BINARY32.quiet_bit)))
    np.testing.assert_array_equal(soft.convert(wide, BINARY32, TF32).bits[~signaling], x[~signaling])


def whole(n, d, negative, mode):
    """n / d >= 0 rounded to a whole number."""
    low, rest = divmod(n, d)
    return pick((2 * n, d), low, low + 1, low % 2 == 0, negative, mode) if rest else low


@pytest.mark.parametrize("fmt", [T143, E4M3FN, E5M2, BINARY16], ids=str)
def test_every_pattern_to_whole_numbers(fmt):
    t, x = table(fmt), all_patterns(fmt)[:: 41 if fmt is BINARY16 else 1]
    for mode in MODES:
        ends = {np.dtype(d): np.iinfo(d) for d in ("i1", "u1", "i2", "u2", "i4", "u8")}
        want = {d: [] for d in ends}
        integral = []
        for p in x.tolist():
            value, sign = t.value[p], t.sign[p]
            if isinstance(value, str):
                quiet = p | (1 << (t.fraction_bits - 1)) if value is NAN else p
                integral.append((quiet, INVALID if quiet != p else 0))
                for d, info in ends.items():
                    want[d].append((0 if value is NAN else int(info.min) if sign else int(info.max), INVALID))
                continue
            n = whole(value, t.units, sign, mode)
            changed = INEXACT if n * t.units != value else 0
            integral.append((t.signed(bisect_left(t.numbers, n * t.units), sign), changed))
            n = -n if sign else n
            for d, info in ends.items():
                kept = min(max(n, int(info.min)), int(info.max))
                want[d].append((kept, changed if kept == n else INVALID))
        got = soft.round_to_integral(x, fmt, mode, signal_inexact=True)
        np.testing.assert_array_equal(np.stack([got.bits, got.flags], -1), integral)
        assert not (soft.round_to_integral(x, fmt, mode).flags & INEXACT).any()
        for d in ends:
            got = soft.to_integer(x, fmt, d, mode, signal_inexact=True)
            assert got.bits.dtype == d
            np.testing.assert_array_equal(got.bits, np.array([v for v, _ in want[d]], d))
            np.testing.assert_array_equal(got.flags, [f for _, f in want[d]])
            assert not (soft.to_integer(x, fmt, d, mode).flags & INEXACT).any()


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.int32, np.uint32])
def test_wide_numbers_to_and_from_integers(dtype):
    info, rng = np.iinfo(dtype), np.random.default_rng(5)
    spread = rng.integers(info.min, info.max, 3000, dtype=dtype, endpoint=True) >> rng.integers(
        0, info.bits, 3000).astype(dtype)  # fmt: skip
    edges = [e for e in (2**63 + 2**10 + 1, 2**62 + 2**9 + 1, 2**62 + 2**38 + 1) if e <= info.max]
    edges += [info.min, info.min + 1, info.max, info.max - 1, 0, 1, 2**24 + 1, 2**25 + 2, 2**31 - 64, 2**30 + 2**5 + 1]
    x = np.concatenate([spread, np.array(edges, dtype)])
    for fmt in (BINARY32, BINARY64):
        for mode in MODES:
            bits, flags = soft.from_integer(x, fmt, mode)
            back, beyond = soft.to_integer(bits, fmt, dtype, mode)
            for n, b, f, m, g in zip(x.tolist(), soft.decode(bits, fmt).tolist(), flags.tolist(), back.tolist(),
                                     beyond.tolist(), strict=True):  # fmt: skip
                assert b == floats.round_rational(Fraction(n), fmt, mode)
                assert (f == INEXACT) == (Fraction(b) != n)
                kept = min(max(int(b), int(info.min)), int(info.max))
                assert m == kept and g == (0 if kept == int(b) else INVALID)
        same_values(soft.from_integer(x, fmt).bits, fmt, x.astype(fmt.dtype))


def test_encode_rounds_the_exact_value_once_and_decode_returns_it():
    rng = np.random.default_rng(6)
    draws = rng.integers([-(10**9), 1, -170], [10**9, 10**9, 170], (600, 3)).tolist()
    exact = [Fraction(p, q) * Fraction(2) ** e for p, q, e in draws]
    exact += [Fraction(0), Fraction(1, 3), Fraction(1, 10**400)]
    for fmt in (BINARY16, BINARY32, BINARY64, BFLOAT16):
        for mode in MODES:
            got = soft.decode(soft.encode(exact, fmt, mode).bits, fmt)
            assert got.tolist() == [floats.round_rational(q, fmt, mode) for q in exact]
    for fmt in (E4M3FN, E5M2):
        t = table(fmt)
        for mode in MODES:
            got = soft.encode(exact[:-1], fmt, mode, SPECIAL)
            want = [settle(t, q.numerator * t.units, q.denominator, mode) if q else (0, 0) for q in exact[:-1]]
            np.testing.assert_array_equal(np.stack(got, -1), want)
    ten = 10**400
    assert soft.encode(ten, BINARY32, Rounding.DOWN).bits == BINARY32.max_bits
    assert soft.encode([[1.5, -0.0]], BINARY16).bits.tolist() == [[0x3E00, 0x8000]]
    assert soft.encode(0.1, BINARY32) == (np.float32(0.1).view(np.uint32), INEXACT)
    assert soft.encode(np.float16(0.1), BINARY64).bits == np.float64(np.float16(0.1)).view(np.uint64)
    assert soft.encode(7, BINARY32).bits.shape == () and soft.encode([], BINARY32).bits.shape == (0,)


def test_what_is_no_number_is_refused():
    for wrong in ("1", None, True, [1, 0.5], [0.5, 1], 1j):
        with pytest.raises(UsageError, match="no number to encode"):
            soft.encode(wrong, BINARY32)
    with pytest.raises(ShapeError, match="not an integer dtype"):
        soft.to_integer(np.zeros(1, np.uint32), BINARY32, np.float32)
    with pytest.raises(ShapeError, match="not an integer dtype"):
        soft.from_integer(np.zeros(1), BINARY32)
