"""The float32 hull, membership and constructors of boxes, against exact rational arithmetic."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from torchlean.bounds.region import Box, Membership, box
from torchlean.errors import DataError, DomainError, ShapeError, UsageError

MAX32 = Fraction(float(np.finfo(np.float32).max))
TINY32 = Fraction(1, 2**149)

near_floats = st.floats(width=32, allow_nan=False, allow_infinity=False).map(Fraction)
nudges = st.sampled_from([Fraction(0), Fraction(1, 10**60), Fraction(-1, 10**60), Fraction(1, 3**40), -TINY32 / 2])
rationals = st.one_of(
    near_floats,
    st.tuples(near_floats, nudges).map(sum),
    st.floats(min_value=-3e38, max_value=3e38).map(Fraction),
    st.fractions(min_value=-(10**9), max_value=10**9),
    st.decimals(min_value=-1000, max_value=1000, places=9).map(Fraction),
).filter(lambda v: abs(v) <= MAX32)


def only(*values: Fraction) -> Box:
    return Box(values, values, (len(values),))


@given(v=rationals)
@example(v=Fraction(0))
@example(v=MAX32)
@example(v=-MAX32)
@example(v=TINY32 / 2)
@example(v=-TINY32 / 2)
@example(v=Fraction(1, 10**400))
@example(v=Fraction(1, 10))
@example(v=1 + Fraction(1, 2**24) + Fraction(1, 2**60))
@example(v=1 + Fraction(1, 2**23) - Fraction(1, 2**80))
@settings(deadline=None, derandomize=True, max_examples=400)
def test_the_hull_of_a_number_is_its_two_neighbouring_floats(v: Fraction) -> None:
    (lo,), (hi,) = only(v).hull32()
    assert Fraction(float(lo)) <= v <= Fraction(float(hi))
    if Fraction(float(lo)) == v:
        assert lo == hi
    else:
        assert np.nextafter(lo, np.float32(np.inf)) == hi


@given(a=rationals, b=rationals)
@settings(deadline=None, derandomize=True, max_examples=200)
def test_the_outer_box_encloses_region_and_hull_and_the_real_one_is_tight(a: Fraction, b: Fraction) -> None:
    region = Box((min(a, b),), (max(a, b),), (1,))
    (lo,), (hi,) = region.outer64()
    (low,), (high,) = region.hull32()
    assert Fraction(float(lo)) <= region.lo[0] and region.hi[0] <= Fraction(float(hi))
    assert lo <= low and high <= hi
    (tight_lo,), (tight_hi,) = region.real64()
    assert lo <= tight_lo and tight_hi <= hi
    assert Fraction(float(tight_lo)) <= region.lo[0] and region.hi[0] <= Fraction(float(tight_hi))
    assert Fraction(float(np.nextafter(tight_lo, np.inf))) > region.lo[0]
    assert Fraction(float(np.nextafter(tight_hi, -np.inf))) < region.hi[0]


@given(a=rationals, b=rationals, pick=st.sampled_from(["low", "high", "below", "above", "first", "last"]))
@example(a=Fraction(1, 10), b=Fraction(1, 10), pick="low")
@example(a=Fraction(1, 10), b=Fraction(1, 10), pick="below")
@example(a=Fraction(1, 10), b=Fraction(2, 10), pick="low")
@settings(deadline=None, derandomize=True, max_examples=300)
def test_membership_says_what_the_definition_says(a: Fraction, b: Fraction, pick: str) -> None:
    region = Box((min(a, b),), (max(a, b),), (1,))
    (low,), (high,) = region.hull32()
    (first,), (last,) = region.floats32()
    with np.errstate(over="ignore"):  # above the largest float is infinity
        x = {
            "low": low,
            "high": high,
            "below": np.nextafter(low, np.float32(-np.inf)),
            "above": np.nextafter(high, np.float32(np.inf)),
            "first": first,
            "last": last,
        }[pick]
    if not np.isfinite(x):
        return
    some_float_inside = any(region.lo[0] <= Fraction(float(f)) <= region.hi[0] for f in (low, high, first, last))
    if region.lo[0] <= Fraction(float(x)) <= region.hi[0]:
        expected = Membership.EXACT
    elif low <= x <= high and not some_float_inside:
        expected = Membership.ROUNDED
    else:
        expected = Membership.OUTSIDE
    assert region.membership(np.array([x], np.float32)) == expected
    assert region.contains_exact([x]) == (expected == Membership.EXACT)


def test_a_witness_in_the_offered_floats_is_never_outside() -> None:
    region = box(lo=["0.1", "0.1", 0], hi=["0.1", "0.7", 1])
    lo, hi = region.floats32()
    assert region.membership(lo) == region.membership(hi) == Membership.ROUNDED  # the pinned 0.1
    assert box(lo=["0.1"], hi=["0.7"]).membership(box(lo=["0.1"], hi=["0.7"]).floats32()[0]) == Membership.EXACT


@pytest.mark.parametrize("x", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_never_inside(x: float) -> None:
    region = box([0.0, 0.0], 1)
    assert not region.contains_exact(np.array([0, x], np.float32))
    if np.isnan(x):
        with pytest.raises(DataError, match="float32 point"):
            region.membership(np.array([0, x], np.float32))
    else:
        assert region.membership(np.array([0, x], np.float32)) == Membership.OUTSIDE


def test_minus_zero_is_in_a_box_from_zero() -> None:
    assert box(lo=[0.0], hi=[1.0]).membership(np.array([-0.0], np.float32)) == Membership.EXACT


def test_a_float64_point_that_is_no_float32_is_refused() -> None:
    with pytest.raises(DataError, match=r"x\[1\]"):
        box([0.0, 0.0], 1).membership(np.array([0.5, 0.1]))


def test_a_float_means_its_exact_value_and_text_its_decimal() -> None:
    assert box(0.1, 0).lo == (Fraction(0.1),)
    assert box("0.1", 0).lo == (Fraction(1, 10),)
    assert box(np.float32(0.1), 0).lo == (Fraction(float(np.float32(0.1))),)
    assert box(Decimal("0.1"), 0).lo == (Fraction(1, 10),)
    assert box(["1e-3", 2, Fraction(1, 3)], 0).lo == (Fraction(1, 1000), 2, Fraction(1, 3))


def test_center_and_radius() -> None:
    b = box(np.zeros((2, 3), np.float32), "0.1")
    assert b.shape == (2, 3) and b.size == 6
    assert b.lo == (Fraction(-1, 10),) * 6 and b.hi == (Fraction(1, 10),) * 6
    assert box([0, 0], ["0.1", 2]).hi == (Fraction(1, 10), 2)
    assert box([0.0, 0.5, 1.0], 0.25, clip=(0, 1)).lo == (0, Fraction(1, 4), Fraction(3, 4))
    assert box([0.0, 0.5, 1.0], 0.25, clip=(0, 1)).hi == (Fraction(1, 4), Fraction(3, 4), 1)


def test_a_relative_box_moves_only_the_named_coordinates() -> None:
    b = box([10, -20, 30], relative="0.05", only=[1, 2])
    assert b.lo == (10, -21, Fraction(57, 2)) and b.hi == (10, -19, Fraction(63, 2))


def test_narrow_gives_the_intersection_or_nothing() -> None:
    b = box([0, 0], 1)
    assert b.narrow({0: (Fraction(-2), Fraction(2))}) is b
    half = b.narrow({1: (Fraction(0), None)})
    assert half is not None and half.lo == (-1, 0) and half.hi == (1, 1) and half == Box((-1, 0), (1, 1), (2,))
    point = b.narrow({0: (Fraction(1), None)})
    assert point is not None and point.lo[0] == point.hi[0] == 1
    assert b.narrow({0: (Fraction(2), None)}) is None
    with pytest.raises(ShapeError, match="index below 2"):
        b.narrow({2: (None, Fraction(0))})


def test_arrays_are_read_only() -> None:
    lo, _ = box([0.0], 1).hull32()
    with pytest.raises(ValueError, match="read-only"):
        lo[0] = 5


REFUSED = {
    "no arguments": (lambda: box(), UsageError, "given by a center or by two ends"),
    "center and ends": (lambda: box(0, 1, lo=0, hi=1), UsageError, "given by a center or by two ends"),
    "one end": (lambda: box(lo=0), UsageError, "given by a center or by two ends"),
    "no radius": (lambda: box(0), UsageError, "one radius"),
    "two radii": (lambda: box(0, 1, relative=1), UsageError, "one radius"),
    "eps with ends": (lambda: box(lo=0, hi=1, only=[0]), UsageError, "go with a center"),
    "nan": (lambda: box([0.0, float("nan")], 1), DataError, r"center\[1\]"),
    "nan in an array": (lambda: box(np.array([0, np.nan]), 1), DataError, r"center\[1\]"),
    "infinity": (lambda: box(lo=[0.0], hi=[np.inf]), DataError, r"hi\[0\]"),
    "infinite text": (lambda: box(["inf"], 1), DataError, r"center\[0\]"),
    "nan radius": (lambda: box([0.0], float("nan")), DataError, r"eps\[0\]"),
    "text": (lambda: box(["ten"], 1), DataError, "ten"),
    "a bool": (lambda: box([True], 1), DataError, "finite number"),
    "a huge exponent": (lambda: box(["1e99999"], 1), DataError, "finite number"),
    "lo above hi": (lambda: box(lo=[0, 2], hi=[1, 1]), DataError, "coordinate 1"),
    "negative radius": (lambda: box([0], -1), DataError, "must not be negative"),
    "clip leaves nothing": (lambda: box([5.0], 1, clip=(0, 1)), DataError, "must not be empty"),
    "shapes differ": (lambda: box(lo=[0, 0], hi=[1]), ShapeError, "one shape"),
    "radius of another shape": (lambda: box([0, 0], [1, 1, 1]), ShapeError, "as large as center"),
    "ragged": (lambda: box([[0], [1, 2]], 1), ShapeError, "ragged"),
    "only out of range": (lambda: box([0, 0], 1, only=[2]), UsageError, "0 to 1"),
    "beyond float32": (lambda: box([1e39], 1).hull32(), DomainError, "coordinate 0"),
    "just beyond float32": (lambda: only(MAX32 + TINY32).hull32(), DomainError, "coordinate 0"),
    "far beyond float64": (lambda: only(Fraction(10**400)).hull32(), DomainError, "coordinate 0"),
    "a point of another size": (lambda: box([0, 0], 1).membership(np.zeros(3)), ShapeError, "region's shape"),
    "a point of another shape": (lambda: box([0, 0], 1).contains_exact(np.zeros((2, 1))), ShapeError, "region's"),
    "reshape": (lambda: box([0, 0], 1).reshape((3,)), ShapeError, "number of coordinates"),
    "sizes of Box": (lambda: Box((Fraction(0),), (Fraction(0),), (2,)), ShapeError, "2 bounds each"),
}


@pytest.mark.parametrize("title", REFUSED)
def test_bad_regions_are_refused(title: str) -> None:
    make, kind, text = REFUSED[title]
    with pytest.raises(kind, match=text) as caught:
        make()
    assert all((caught.value.what, caught.value.where, caught.value.expected, caught.value.got, caught.value.fix))
