"""Real: exact rationals, balls that sharpen when a comparison needs it, domain errors."""

from fractions import Fraction

import flint
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchlean.errors import DomainError, Undecided
from torchlean.meaning import Real, cells, fold_dot, to_numpy

N = Real()
law = settings(deadline=None, derandomize=True, max_examples=60)
small = st.floats(width=32, allow_nan=False, allow_infinity=False)


def fractions(x):
    return [Fraction(int(v.numerator), int(v.denominator)) for v in x.values.ravel().tolist()]


@law
@given(a=small, b=small)
def test_arithmetic_is_exact(a, b):
    x, y = N.constant(np.array([a], np.float32)), N.constant(np.array([b], np.float32))
    p, q = Fraction(a), Fraction(b)
    assert fractions(N.add(x, y)) == [p + q]
    assert fractions(N.sub(x, y)) == [p - q]
    assert fractions(N.mul(x, y)) == [p * q]
    assert fractions(N.maximum(x, y)) == [max(p, q)]
    assert fractions(N.minimum(x, y)) == [min(p, q)]
    assert fractions(N.abs(x)) == [abs(p)]
    assert fractions(N.floor(x)) == [Fraction(p.numerator // p.denominator)]
    assert fractions(N.round(x)) == [Fraction(round(p))]
    assert N.less(x, y).tolist() == [p < q]
    assert N.less_equal(x, y).tolist() == [p <= q]
    assert N.equal(x, y).tolist() == [p == q]
    if b != 0:
        assert fractions(N.div(x, y)) == [p / q]


@law
@given(m=st.integers(1, 3), n=st.integers(1, 3), k=st.integers(0, 8), seed=st.integers(0, 2**32))
def test_dot_is_its_definition(m, n, k, seed):
    rng = np.random.default_rng(seed)
    x = N.constant((rng.normal(size=(2, m, k)) * 2.0 ** rng.integers(-90, 90, (2, m, k))).astype(np.float32))
    w = N.div(N.constant(rng.integers(-9, 9, (n, k)).astype(np.float32)), N.constant(np.array(3, np.float32)))
    assert fractions(N.dot(x, w)) == fractions(fold_dot(N, x, w))


def test_dot_of_balls_overlaps_its_definition():
    x = N.exp(N.constant(np.array([[1.0, 2.0]], np.float32)))
    w = N.constant(np.array([[3.0, -1.0]], np.float32))
    a, b = N.dot(x, w).values[0, 0], fold_dot(N, x, w).values[0, 0]
    assert a.overlaps(b)


def test_sums_and_casts_do_not_round():
    x = N.constant(np.array([1e30, 1.0, -1e30], np.float32))
    assert fractions(N.sum(x, (0,))) == [Fraction(1)]
    third = N.div(N.constant(np.array(1.0)), N.constant(np.array(3.0)))
    assert fractions(N.cast(third, "f16")) == [Fraction(1, 3)]
    assert N.dtype(N.cast(third, "f16")) == "float16"
    assert fractions(N.round_to(third, "f32")) == [Fraction(float(np.float32(1) / np.float32(3)))]
    assert N.cast(N.constant(np.array([1.9, -1.9, 400.0])), "i8").tolist() == [1, -1, 127]


def test_round_takes_ties_to_even():
    ties = N.constant(np.array([0.5, 1.5, 2.5, -0.5, -1.5]))
    assert fractions(N.round(ties)) == [0, 2, 2, 0, -2]
    assert fractions(N.round_to(N.constant(np.array([2.5, 300.0])), "i8")) == [2, 127]


def test_a_close_comparison_raises_the_precision():
    x = N.constant(np.array([2.0]))
    nearly = N.add(N.exp(N.log(x)), N.constant(np.array([2.0**-600])))  # 2 + 2^-600 in balls
    assert N.less(x, nearly).tolist() == [True]
    assert N.less_equal(nearly, x).tolist() == [False]
    assert N.equal(x, nearly).tolist() == [False]
    assert fractions(N.floor(N.mul(nearly, 1.5))) == [Fraction(3)]


def test_an_equality_of_balls_is_undecided():
    x = N.constant(np.array([2.0]))
    again = N.exp(N.log(x))
    with pytest.raises(Undecided, match="stays undecided"):
        N.less(again, x)
    with pytest.raises(Undecided):
        N.floor(again)
    assert N.less(again, again).tolist() == [False]
    assert N.less_equal(again, again).tolist() == [True]
    low, high = (float(v) for v in (N.maximum(again, x).values[0].lower(), N.maximum(again, x).values[0].upper()))
    assert low <= 2.0 <= high


def test_refining_goes_through_every_kind_of_operation_and_is_not_recursive():
    x = N.constant(np.array([[1.0, 2.0], [0.5, 0.25]]))
    y = N.exp(x)
    for _ in range(1200):  # deeper than Python's recursion limit
        y = N.neg(y)
    y = N.concat([N.pad(N.permute(y, (1, 0)), (0, 0), (1, 0), 1.0), N.constant(np.ones((1, 2)))], 0)
    y = N.where(np.array([True, False]), N.gather(y, np.array([0, 2, 3, 0]), 0), N.zero)
    y = N.scatter_add(N.reshape(N.slice(y, (0, 0), (4, 2), (1, 1)), (8,)), np.arange(8) % 3, 0, 3)
    y = N.max(N.dot(N.broadcast(y, (2, 3)), N.windows(y, (3,), (1,), (1,), (1,), (1,), 0.0)), (0,))
    sharp = N.refined(y, 2000)
    for coarse, fine in zip(y.values.ravel(), sharp.values.ravel(), strict=True):
        assert coarse.overlaps(fine) if isinstance(coarse, flint.arb) else coarse == fine
    assert sharp.values[1].rel_accuracy_bits() > 1500 > y.values[1].rel_accuracy_bits()


@pytest.mark.parametrize(("name", "bad"), [("log", 0.0), ("log", -1.0), ("sqrt", -1e-30), ("log1p", -1.0)])
def test_outside_the_domain_is_an_error(name, bad):
    with pytest.raises(DomainError, match="not defined here"):
        getattr(N, name)(N.constant(np.array([1.0, bad])))


def test_division_by_zero_and_undefined_forms_are_errors():
    one, zero = N.constant(np.array([1.0])), N.constant(np.array([0.0]))
    with pytest.raises(DomainError, match="div is not defined"):
        N.div(one, zero)
    infinite = N.constant(np.array([np.inf]))
    with pytest.raises(DomainError, match="no real value"):
        N.sub(infinite, infinite)
    with pytest.raises(DomainError, match="NaN is not a real number"):
        N.constant(np.array([np.nan]))
    with pytest.raises(DomainError, match="out of range"):
        N.gather(one, np.array([1]), 0)


def test_minus_infinity_serves_as_a_limit():
    x = N.constant(np.array([-np.inf, 1.0]))
    assert fractions(N.max(x, (0,))) == [Fraction(1)]
    assert N.exp(x).values[0] == 0
    assert N.argmax(x, 0) == 1
    padded = N.windows(N.constant(np.array([[3.0]])), (2,), (1,), (1,), (1,), (0,), -np.inf)
    assert fractions(N.max(padded, (2,))) == [Fraction(3)]


def test_exact_points_of_functions_stay_rational():
    zero = N.constant(np.array(0.0))
    for name, at in (("exp", 1), ("tanh", 0), ("sin", 0), ("cos", 1), ("erf", 0), ("expm1", 0), ("log1p", 0)):
        assert fractions(getattr(N, name)(zero)) == [Fraction(at)]
    assert N.equal(N.sigmoid(zero), 0.5).all()
    assert fractions(N.sqrt(N.constant(np.array(2.25)))) == [Fraction(3, 2)]
    assert N.sqrt(N.constant(np.array(2.0))).values.item().overlaps(flint.arb(2).sqrt())


def test_argmax_takes_the_first_of_equals():
    x = N.constant(np.array([[1.0, 3.0, 3.0], [2.0, 1.0, 0.0]]))
    assert N.argmax(x, 1).tolist() == [1, 0]
    assert N.argmax(N.exp(N.constant(np.array([[1.0, 3.0, 2.0]]))), 1).tolist() == [1]


def test_integers_and_bools_are_those_of_the_program():
    x = N.constant(np.array([120, 10], np.int8))
    assert N.add(x, x).tolist() == [-16, 20]
    assert N.logical_not(N.less(x, N.literal(50, x))).tolist() == [True, False]
    assert fractions(N.cast(x, "f32")) == [Fraction(120), Fraction(10)]


def test_values_print():
    third = N.div(N.constant(np.array([1.0, 1.0])), N.constant(np.array([3.0, 2.0])))
    assert cells(third) == ["1/3", "1/2"]
    assert cells(N.exp(N.constant(np.array([1.0]))))[0].startswith("[2.71828183 +/-")
    np.testing.assert_array_equal(to_numpy(third), [1 / 3, 0.5])
