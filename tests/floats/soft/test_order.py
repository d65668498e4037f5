"""Comparisons, total order, minima and maxima: every pair of small formats, from the words of the standard."""

import numpy as np
import pytest
from oracle import INF, INVALID, NAN, TOYS, all_tuples, table

from torchlean import floats
from torchlean.floats import bits, soft
from torchlean.floats.soft import Extremum, NaNRule, Predicate, Rules

toys = pytest.mark.parametrize("fmt", TOYS, ids=str)

# Tables 5.1 to 5.3 read as text: which of the four relations make each predicate true.
TRUE = {
    "EQUAL": "=", "NOT_EQUAL": "<>?", "GREATER": ">", "GREATER_EQUAL": ">=", "LESS": "<", "LESS_EQUAL": "<=",
    "UNORDERED": "?", "NOT_GREATER": "<=?", "LESS_UNORDERED": "<?", "NOT_LESS": ">=?", "GREATER_UNORDERED": ">?",
    "ORDERED": "<=>",
}  # fmt: skip


def pairs(fmt):
    a, b = all_tuples(fmt, 2)
    t = table(fmt)
    number = np.array([np.nan if v is NAN else np.inf if v is INF else float(v) for v in t.value])
    number = np.where(np.array(t.sign) == 1, -number, number)
    signaling = np.array([v is NAN and fmt.has_infinity and not p & (1 << (t.fraction_bits - 1))
                          for p, v in enumerate(t.value)])  # fmt: skip
    return a, b, number[a], number[b], signaling[a] | signaling[b]


@toys
def test_every_predicate_on_every_pair(fmt):
    a, b, x, y, signaling = pairs(fmt)
    unordered = np.isnan(x) | np.isnan(y)
    relation = np.where(unordered, "?", np.where(x < y, "<", np.where(x > y, ">", "=")))
    assert len(Predicate) == 22
    for predicate in Predicate:
        quiet = predicate.name.startswith("QUIET_")
        true = TRUE[predicate.name.removeprefix("QUIET_").removeprefix("SIGNALING_")]
        got = soft.compare(a, b, fmt, predicate)
        np.testing.assert_array_equal(got.bits, np.isin(relation, list(true)))
        np.testing.assert_array_equal(got.flags, np.where(signaling if quiet else unordered, INVALID, 0))


@toys
def test_every_minimum_and_maximum_on_every_pair(fmt):
    a, b, x, y, signaling = pairs(fmt)
    negative = a >> fmt.storage.type(fmt.width - 1) == 1
    for which in Extremum:
        got = soft.extremum(which, a, b, fmt)
        by_magnitude, sign = "MAGNITUDE" in which.name, 1 if which.name.startswith("MINIMUM") else -1
        first = (sign * x < sign * y) | ((x == y) & (negative == (sign == 1)))
        if by_magnitude:
            first = (sign * abs(x) < sign * abs(y)) | ((abs(x) == abs(y)) & first)
        want = np.where(first, a, b)
        quieted_a, quieted_b = a | fmt.storage.type(fmt.quiet_bit), b | fmt.storage.type(fmt.quiet_bit)
        nan_a, nan_b = np.isnan(x), np.isnan(y)
        want = np.where(nan_a, quieted_a, np.where(nan_b, quieted_b, want))
        if which.name.endswith("NUMBER"):
            want = np.where(nan_a & ~nan_b, b, np.where(nan_b & ~nan_a, a, want))
        np.testing.assert_array_equal(got.bits, want, err_msg=which.name)
        np.testing.assert_array_equal(got.flags, np.where(signaling, INVALID, 0))
        assert got.bits.dtype == fmt.storage


def test_the_short_names_are_the_plain_operations():
    a, b = all_tuples(TOYS[0], 2)
    for name in ("minimum", "maximum"):
        want = soft.extremum(Extremum[name.upper()], a, b, TOYS[0])
        np.testing.assert_array_equal(getattr(soft, name)(a, b, TOYS[0]).bits, want.bits)


@toys
def test_total_order_is_the_order_of_signed_patterns(fmt):
    a, b = all_tuples(fmt, 2)
    # -NaN by falling payload, the numbers, NaN by rising payload: sorting the patterns as sign and magnitude
    rank = np.concatenate([np.arange(fmt.magnitude_mask + 1), -1 - np.arange(fmt.magnitude_mask + 1)])
    np.testing.assert_array_equal(soft.total_order(a, b, fmt), rank[a] <= rank[b])
    numbers = ~(bits.is_nan(a, fmt) | bits.is_nan(b, fmt))
    less = soft.compare(a, b, fmt, Predicate.QUIET_LESS).bits
    assert soft.total_order(a, b, fmt)[numbers & less].all()


@pytest.mark.parametrize("fmt", floats.FORMATS.values(), ids=str)
def test_the_order_of_wide_formats_is_that_of_numpy(fmt):
    rng = np.random.default_rng(8)
    a, b = (rng.integers(0, 2**63, (2, 40_000)).astype(np.uint64) * np.uint64(2)).astype(fmt.storage)
    a[:100], a[100:200] = b[:100], b[100:200] ^ fmt.storage.type(fmt.magnitude_mask + 1)
    with np.errstate(all="ignore"):
        x, y = (v.view(fmt.dtype).astype(np.float64) for v in (a, b))
        np.testing.assert_array_equal(soft.compare(a, b, fmt, Predicate.QUIET_LESS).bits, x < y)
        np.testing.assert_array_equal(soft.compare(a, b, fmt, Predicate.QUIET_EQUAL).bits, x == y)
        np.testing.assert_array_equal(soft.decode(soft.maximum(a, b, fmt).bits, fmt), np.maximum(x, y))


def test_a_canonical_nan_replaces_every_nan_that_an_operation_makes():
    fmt, rules = floats.BINARY32, Rules(nan=NaNRule.CANONICAL)
    nan, one = np.array([0xFFC12345], np.uint32), np.array([0x3F800000], np.uint32)
    results = [
        soft.add(nan, one, fmt, rules=rules), soft.mul(one, nan, fmt, rules=rules), soft.sqrt(nan, fmt, rules=rules),
        soft.fma(one, one, nan, fmt, rules=rules), soft.div(nan, nan, fmt, rules=rules),
        soft.remainder(one, nan, fmt, rules=rules), soft.minimum(nan, one, fmt, rules=rules),
        soft.round_to_integral(nan, fmt, rules=rules), soft.convert(nan, fmt, fmt, rules=rules),
    ]  # fmt: skip
    assert all(r.bits[0] == 0x7FC00000 and r.flags[0] == 0 for r in results)
    assert soft.extremum(Extremum.MINIMUM_NUMBER, nan, one, fmt, rules).bits[0] == one[0]
    assert soft.add(one, nan, fmt).bits[0] == nan[0]
