"""Directed rounding from exact numbers is exact: neighbours bracket, equality stays."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchlean_check.hull import down, hull, up

numbers = st.fractions(min_value=-1000, max_value=1000) | st.floats(
    allow_nan=False, allow_infinity=False, width=32
).map(Fraction)


@settings(deadline=None, derandomize=True)
@given(numbers)
def test_down_is_the_largest_float_below(x):
    f = down(x)
    assert Fraction(f) <= x < Fraction(float(np.nextafter(f, np.inf)))
    assert Fraction(up(x)) >= x > Fraction(float(np.nextafter(up(x), -np.inf)))


@settings(deadline=None, derandomize=True)
@given(numbers, st.fractions(min_value=0, max_value=3))
def test_float32_hull_contains_the_box_and_its_floats_tightly(x, width):
    (lo,), (hi,) = hull([x], [x + width], "float32")
    assert Fraction(lo) <= x and x + width <= Fraction(hi)
    assert lo == np.float32(lo) and hi == np.float32(hi)
    assert Fraction(float(np.nextafter(np.float32(lo), np.float32(np.inf)))) > x


def test_pinned_input_is_at_most_two_floats():
    tenth = Fraction(1, 10)
    (lo,), (hi,) = hull([tenth], [tenth], "float32")
    assert hi == np.nextafter(np.float32(lo), np.float32(1))


def test_bound_beyond_float32_is_refused():
    with pytest.raises(OverflowError):
        hull([Fraction(10) ** 39], [Fraction(10) ** 39], "float32")
