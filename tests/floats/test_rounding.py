"""Rounding, held against exact rationals without tolerance."""

from fractions import Fraction

import gmpy2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from torchlean import floats
from torchlean.errors import UsageError
from torchlean.floats import FORMATS, Rounding

MAX = np.finfo(np.float64).max
EXTREMES = [0.0, -0.0, 5e-324, -5e-324, 2.0**-1022, 2.0**-149, 1.5 * 2.0**-150, 2.0**-126, 65519.9, 65520.0, 3.4e38,
            3.4028235677973366e38, 1.0, -1.0, 1 + 2.0**-24, 1 + 2.0**-24 + 2.0**-52, MAX, -MAX]  # fmt: skip
finite = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(EXTREMES))
law = settings(deadline=None, derandomize=True, max_examples=300)
formats = pytest.mark.parametrize("fmt", FORMATS.values(), ids=str)


def value(x):
    return float(x) if np.isinf(x) else Fraction(float(x))


@formats
@law
@given(x=finite)
def test_directed_rounding_is_the_nearest_number_on_its_side(fmt, x):
    up, down = floats.round_up(np.array([x]), fmt), floats.round_down(np.array([x]), fmt)
    assert value(down[0]) <= Fraction(x) <= value(up[0])
    assert value(floats.next_up(down)[0]) > Fraction(x) or down[0] == up[0] == x
    assert value(floats.next_down(up)[0]) < Fraction(x) or down[0] == up[0] == x


@formats
@law
@given(x=finite)
def test_array_and_rational_rounding_agree(fmt, x):
    for mode, rounded in (
        (Rounding.NEAREST, floats.round_nearest), (Rounding.UP, floats.round_up), (Rounding.DOWN, floats.round_down)
    ):  # fmt: skip
        assert float(rounded(np.array([x]), fmt)[0]) == floats.round_rational(Fraction(x), fmt, mode)


@formats
@law
@given(p=st.integers(-(10**20), 10**20), q=st.integers(1, 10**40))
@example(p=1, q=3)
@example(p=10**20, q=1)
def test_rational_rounding_brackets_the_rational(fmt, p, q):
    exact = Fraction(p, q)
    down, up = (floats.round_rational(exact, fmt, mode) for mode in (Rounding.DOWN, Rounding.UP))
    near = floats.round_rational(exact, fmt)
    assert value(down) <= exact <= value(up)
    assert near in (down, up)
    if np.isfinite(down) and np.isfinite(up):
        assert abs(exact - Fraction(near)) == min(exact - Fraction(down), Fraction(up) - exact)
        assert down == up or float(floats.next_up(np.array([down], fmt.dtype))[0]) == up


@pytest.mark.parametrize(
    ("mode", "theirs"),
    [
        (Rounding.NEAREST, gmpy2.RoundToNearest),
        (Rounding.TOWARD_ZERO, gmpy2.RoundToZero),
        (Rounding.UP, gmpy2.RoundUp),
        (Rounding.DOWN, gmpy2.RoundDown),
    ],
)
def test_rational_rounding_is_that_of_mpfr(mode, theirs):
    rng = np.random.default_rng(5)
    draws = rng.integers([-(10**9), 1, -160], [10**9, 10**9, 130], (2000, 3)).tolist()
    with gmpy2.context(gmpy2.ieee(32), round=theirs):
        for p, q, shift in draws:
            exact = Fraction(p, q) * Fraction(2) ** shift
            assert floats.round_rational(exact, mode=mode) == float(gmpy2.mpfr(gmpy2.mpq(exact)))


def test_away_and_odd_break_ties_as_their_names_say():
    tie, beyond = 1 + Fraction(1, 2**24), 1 + Fraction(1, 2**30)
    assert floats.round_rational(tie, mode=Rounding.NEAREST_AWAY) == 1 + 2.0**-23
    assert floats.round_rational(-tie, mode=Rounding.NEAREST_AWAY) == -1 - 2.0**-23
    assert floats.round_rational(beyond, mode=Rounding.NEAREST_AWAY) == 1.0
    assert floats.round_rational(beyond, mode=Rounding.TO_ODD) == 1 + 2.0**-23
    assert floats.round_rational(1 + Fraction(3, 2**24), mode=Rounding.TO_ODD) == 1 + 2.0**-23
    assert floats.round_rational(Fraction(1, 2**200), mode=Rounding.TO_ODD) == 2.0**-149
    assert floats.round_rational(Fraction(2) ** 200, mode=Rounding.TO_ODD) == floats.BINARY32.max


def test_nearest_breaks_ties_to_even():
    assert floats.round_rational(Fraction(1) + Fraction(1, 2**24)) == 1.0
    assert floats.round_rational(Fraction(1) + Fraction(3, 2**24)) == 1 + 2.0**-22
    assert floats.round_rational(Fraction(1, 2**150)) == 0.0
    assert floats.round_rational(Fraction(3, 2**150)) == 2.0**-148


def test_bfloat16_rounds_once():
    x = np.array([1 + 2.0**-8 + 2.0**-40, 1 + 2.0**-8, -(1 + 2.0**-8 + 2.0**-40)])  # through float32: 1, 1, -1
    assert floats.round_nearest(x, floats.BFLOAT16).astype(float).tolist() == [1 + 2.0**-7, 1.0, -(1 + 2.0**-7)]


def test_nan_and_infinities_pass_through_the_roundings():
    x = np.array([np.nan, np.inf, -np.inf])
    for rounded in (floats.round_up(x), floats.round_down(x), floats.round_nearest(x)):
        np.testing.assert_array_equal(rounded, x.astype(np.float32))


@formats
def test_neighbours_agree_with_numpy(fmt):
    if fmt.name == "bfloat16":
        pytest.skip("numpy has no bfloat16")
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**63, 4000, dtype=np.int64)
    x = np.concatenate([bits.view(fmt.dtype), np.array([0.0, -0.0, np.inf, -np.inf, fmt.max, -fmt.max], fmt.dtype)])
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(floats.next_up(x), np.nextafter(x, np.array(np.inf, fmt.dtype)))
        np.testing.assert_array_equal(floats.next_down(x), np.nextafter(x, np.array(-np.inf, fmt.dtype)))


def test_ulp_is_the_gap_to_the_next_number():
    x = np.array([1.0, 1.5, 2.0, 2.0**-126, 2.0**-140, 0.0, 3e38])
    gap = floats.next_up(x.astype(np.float32)).astype(np.float64) - x.astype(np.float32)
    np.testing.assert_array_equal(floats.ulp(x.astype(np.float32).astype(np.float64)), gap)
    assert np.isnan(floats.ulp(np.array([np.nan, np.inf]))).all()


def test_what_is_no_format_and_no_number_is_refused():
    with pytest.raises(UsageError, match="no floating-point format of this name"):
        floats.format_of("float80")
    with pytest.raises(UsageError, match="two significand bits"):
        floats.Format("broken", 1, -2, 2)
    with pytest.raises(UsageError, match="only a finite float"):
        floats.exact(float("nan"))
