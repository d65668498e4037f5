"""What is written reads back as the same violation, with exact decimals."""

import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from torchlean.bounds.claim import forall
from torchlean.bounds.property import Clause, Violation, inequality
from torchlean.bounds.region import Box, box
from torchlean.errors import DataError, UsageError
from torchlean.io.decimals import decimal_text
from torchlean.io.vnnlib import read_vnnlib
from torchlean.io.vnnlib_write import write_vnnlib, write_witness

F = Fraction
finite = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(Fraction),
    st.decimals(min_value=-(10**6), max_value=10**6, places=7).map(Fraction),
    st.integers(-(10**20), 10**20).map(Fraction),
)


@given(value=finite)
@example(value=F(0))
@example(value=F(-5e-324))
@example(value=F(1.7976931348623157e308))
@example(value=F(-1, 10**9))
@settings(deadline=None, derandomize=True, max_examples=200)
def test_a_decimal_is_exact_and_has_no_exponent(value: Fraction) -> None:
    text = decimal_text(value)
    assert text is not None and re.fullmatch(r"-?[0-9]+\.[0-9]+", text)
    assert Fraction(text) == value


@pytest.mark.parametrize("value", [F(1, 3), F(-2, 7), F(1, 6), F(10, 33)])
def test_a_fraction_without_a_finite_decimal_has_none(value: Fraction) -> None:
    assert decimal_text(value) is None


coefficients = st.one_of(st.sampled_from([F(1), F(-1), F(2), F(-1, 2)]), finite)
forms = st.tuples(
    st.dictionaries(st.integers(0, 1), coefficients, max_size=2),
    st.dictionaries(st.integers(0, 2), coefficients, min_size=1, max_size=3),
    st.one_of(st.just(F(0)), finite),
    st.booleans(),
).map(lambda p: inequality(*p))
usable = forms.filter(lambda g: g.constant_truth() is None and not (len(g.x) == 1 and not g.y))
boxes = st.lists(st.tuples(finite, finite), min_size=2, max_size=2).map(
    lambda pairs: Box(tuple(min(p) for p in pairs), tuple(max(p) for p in pairs), (2,))
)


@given(data=st.data())
@settings(deadline=None, derandomize=True, max_examples=150)
def test_reading_gives_back_what_was_written(data: st.DataObject) -> None:
    shared = data.draw(boxes)
    own = st.one_of(st.just(shared), boxes)
    clauses = st.builds(Clause, own, st.lists(usable, max_size=3).map(tuple))
    violation = Violation(2, 3, tuple(data.draw(st.lists(clauses, min_size=1, max_size=4))))
    assert read_vnnlib(write_vnnlib(violation).encode()) == violation


def test_the_short_forms_that_other_readers_know() -> None:
    region = box(lo=["-0.1", 0], hi=[0.5, 1])
    claim = forall(region, lambda y: (y[0] >= 15.0) & (y[0] <= "32.1"))
    text = write_vnnlib(claim.violation(1), "a car\nin pounds")
    assert text == (
        "; a car\n; in pounds\n"
        "(declare-const X_0 Real)\n(declare-const X_1 Real)\n(declare-const Y_0 Real)\n"
        "(assert (>= X_0 -0.1))\n(assert (<= X_0 0.5))\n(assert (>= X_1 0.0))\n(assert (<= X_1 1.0))\n"
        "(assert (or\n  (and (< Y_0 15.0))\n  (and (> Y_0 32.1))\n))\n"
    )
    text = write_vnnlib(forall(region, lambda y: y[0] > y.others).violation(3))
    assert "(and (<= Y_0 Y_1))" in text and "(and (<= Y_0 Y_2))" in text
    assert "(assert (> Y_0 1.0))" in write_vnnlib(forall(region, lambda y: y[0] <= 1).violation(1))


def test_a_property_with_its_own_cases_comes_back() -> None:
    region = box([0.1, 0.2], 0.05)
    violation = forall(region, lambda x, y: ((x[0] > "0.12") | (y[0] - 2 * y[1] + 3 <= x[1])) & (y[1] < 4)).violation(2)
    assert read_vnnlib(write_vnnlib(violation).encode()) == violation
    for claim in (lambda y: y[0] <= y[0], lambda y: y[0] < y[0]):
        trivial = forall(region, claim).violation(1)
        assert read_vnnlib(write_vnnlib(trivial).encode()) == trivial


def test_a_coefficient_without_a_decimal_is_cleared_by_a_factor() -> None:
    violation = Violation(1, 1, (Clause(box([0], 1), (inequality({}, {0: F(1, 3)}, F(-1, 7), True),)),))
    (back,) = read_vnnlib(write_vnnlib(violation).encode()).clauses
    assert back.inequalities == (inequality({}, {0: F(7)}, F(-3), True),)


def test_a_bound_without_a_decimal_is_refused() -> None:
    with pytest.raises(UsageError, match="X_0"):
        write_vnnlib(Violation(1, 1, (Clause(box(["1/3"], 0), ()),)))


def test_no_clause_is_refused() -> None:
    with pytest.raises(UsageError, match="without a clause"):
        write_vnnlib(Violation(1, 1, ()))


def test_a_witness_is_exact() -> None:
    x = np.array([[0.1, -0.0], [1e-45, 3.4028235e38]], np.float32)
    text = write_witness(x, np.array([0.25], np.float32))
    pairs = re.findall(r"\((\w_\d+) (\S+?)\)", text)
    assert text.startswith("((X_0 0.100000001490116119384765625)\n(X_1 ") and text.endswith("(Y_0 0.25))\n")
    assert [n for n, _ in pairs] == ["X_0", "X_1", "X_2", "X_3", "Y_0"]
    assert [Fraction(v) for _, v in pairs] == [Fraction(float(v)) for v in [*x.ravel(), 0.25]]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_witness_that_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(DataError, match="finite"):
        write_witness(np.zeros(1, np.float32), np.array([bad], np.float32))
