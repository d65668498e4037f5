"""Exact sums and dot products rounded once, held against exact rationals bit for bit."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from torchlean import floats
from torchlean.errors import ShapeError, UsageError
from torchlean.floats import BINARY16, BINARY32, BINARY64, Rounding

law = settings(deadline=None, derandomize=True, max_examples=80)
MAX = np.finfo(np.float64).max
both = pytest.mark.parametrize("fmt", [BINARY32, BINARY64], ids=str)


def numbers(width):
    least = 2.0**-149 if width == 32 else 5e-324
    most = float(np.finfo(np.float32).max) if width == 32 else MAX
    ends = [0.0, -0.0, least, -least, most, -most, 1.0, -1.0, 2.0**-30, 1 + 2.0**-23]
    return st.one_of(st.floats(width=width, allow_nan=False, allow_infinity=False), st.sampled_from(ends))


def assert_once(got, exact, fmt, mode):
    want = floats.round_rational(exact, fmt, mode)
    assert got.dtype == fmt.dtype
    assert float(got) == want
    assert want != 0 or exact == 0 or math.copysign(1, float(got)) == math.copysign(1, want)


@both
@law
@given(data=st.data(), mode=st.sampled_from(list(Rounding)))
def test_a_sum_is_rounded_once(fmt, data, mode):
    x = np.array(data.draw(st.lists(numbers(fmt.dtype.itemsize * 8), max_size=9)), fmt.dtype)
    assert_once(floats.rounded_sum(x, mode=mode), floats.exact_dot(x), fmt, mode)


@law
@given(x=st.lists(numbers(64), min_size=1, max_size=7), mode=st.sampled_from(list(Rounding)))
@example(x=[MAX, MAX, -MAX], mode=Rounding.NEAREST)
@example(x=[5e-324] * 6, mode=Rounding.NEAREST)
@example(x=[2.0**53, 1.0, 2.0**-1074], mode=Rounding.NEAREST)
@example(x=[2.0**53, 1.0, -(2.0**-1074)], mode=Rounding.NEAREST)
@example(x=[1.0, 2.0**-1074], mode=Rounding.UP)
@example(x=[-1.0, 2.0**-1074], mode=Rounding.TO_ODD)
def test_a_float64_sum_narrows_once(x, mode):
    for fmt in (BINARY16, BINARY32, BINARY64):
        assert_once(floats.rounded_sum(np.array(x), fmt=fmt, mode=mode), floats.exact_dot(x), fmt, mode)


@both
@law
@given(data=st.data(), mode=st.sampled_from(list(Rounding)), biased=st.booleans())
def test_a_dot_product_is_rounded_once(fmt, data, mode, biased):
    term = numbers(fmt.dtype.itemsize * 8)
    rows = data.draw(st.lists(st.tuples(term, term), max_size=7))
    x, w = np.array([r[0] for r in rows], fmt.dtype), np.array([r[1] for r in rows], fmt.dtype)
    b = data.draw(term) if biased else 0.0
    got = floats.rounded_dot(x, w, np.array(b, fmt.dtype) if biased else None, mode=mode)
    assert_once(got, floats.exact_dot(x, w, b), fmt, mode)


@both
@pytest.mark.parametrize("spread", [1, 60, 120])
def test_long_rows_are_summed_exactly(fmt, spread):
    """Long enough for the extraction of high parts, with cancellation down to the last bits."""
    rng = np.random.default_rng(spread)
    half = (rng.normal(size=(4, 300)) * 2.0 ** rng.integers(-spread, spread // 2 + 1, (4, 300))).astype(fmt.dtype)
    x = np.concatenate([half, -half * fmt.dtype.type(1 + 2.0**-20), half[:, :7]], axis=1)
    x = rng.permuted(x, axis=1)
    w = rng.normal(size=x.shape).astype(fmt.dtype)
    sums, dots = floats.rounded_sum(x), floats.rounded_dot(x, w)
    for row, weights, s, d in zip(x, w, sums, dots, strict=True):
        assert_once(s, floats.exact_dot(row), fmt, Rounding.NEAREST)
        assert_once(d, floats.exact_dot(row, weights), fmt, Rounding.NEAREST)
    if fmt is BINARY64:
        assert sums.tolist() == [math.fsum(row) for row in x]


def test_the_order_of_the_terms_changes_no_bit():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(5, 1000)) * 2.0 ** rng.integers(-200, 200, (5, 1000))
    np.testing.assert_array_equal(floats.rounded_sum(x), floats.rounded_sum(rng.permuted(x, axis=1)))


def test_shapes_and_axes():
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    for axis in (0, 1, -1):
        np.testing.assert_array_equal(floats.rounded_sum(x, axis), x.sum(axis))
    np.testing.assert_array_equal(floats.rounded_dot(x, x[0, 0]), (x * x[0, 0]).sum(-1))
    assert floats.rounded_sum(np.zeros((3, 0))).tolist() == [0.0] * 3
    assert floats.rounded_sum(np.zeros((0, 3))).shape == (0,)
    many = np.full((70000, 2), 0.1)  # more rows than one chunk
    np.testing.assert_array_equal(floats.rounded_sum(many), np.full(70000, 0.2))


def test_infinities_and_nan_are_those_of_ieee():
    inf, nan = np.inf, np.nan
    x = np.array([[inf, 1, 2], [inf, -inf, 1], [1, nan, 2], [MAX, MAX, -MAX], [1, 2, -inf]])
    np.testing.assert_array_equal(floats.rounded_sum(x), [inf, nan, nan, MAX, -inf])
    w = np.array([[1.0, 0, 0]])
    np.testing.assert_array_equal(floats.rounded_dot(x, w), [inf, nan, nan, MAX, nan])
    np.testing.assert_array_equal(floats.rounded_dot(np.array([MAX, MAX]), np.array([2.0, -2.0])), 0.0)
    np.testing.assert_array_equal(floats.rounded_dot(x[:1, 1:], x[:1, 1:], np.array([-inf])), [-inf])


def test_bad_operands_are_refused():
    with pytest.raises(UsageError, match="operands of one format"):
        floats.rounded_dot(np.zeros(3, np.float32), np.zeros(3))
    with pytest.raises(ShapeError, match="do not broadcast"):
        floats.rounded_dot(np.zeros(3), np.zeros(4))
    with pytest.raises(UsageError, match="no floating-point format"):
        floats.rounded_sum(np.arange(3))
