"""Equal inputs as one, and bounds that follow: every point of the one violation is a point of the other."""

from __future__ import annotations

import itertools
from fractions import Fraction as F

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchlean.bounds.property import Clause, Inequality, Violation, inequality
from torchlean.bounds.region import Box
from torchlean.errors import DataError
from torchlean.io.decimals import decimal_text
from torchlean.io.query import merge_equal_inputs, read_query, with_decimal_boxes
from torchlean.io.query.implied import imply_bounds
from torchlean.io.vnnlib_region import Assertions

GRID = [F(n, 2) for n in range(-2, 3)]
POINTS = [[F(int(n), 6) for n in row] for row in np.random.default_rng(0).integers(-24, 25, (30, 5))]
HALVES = st.integers(-2, 2).map(lambda n: F(n, 2))


def equal(i: int, j: int) -> list[Inequality]:
    return [inequality({i: F(1), j: F(-1)}, {}, F(0)), inequality({i: F(-1), j: F(1)}, {}, F(0))]


@st.composite
def violations(draw: st.DrawFn) -> Violation:
    """4 inputs, 1 output, up to 3 clauses; equalities in all of them or in some."""
    pairs = st.tuples(st.integers(0, 3), st.integers(0, 3)).filter(lambda p: p[0] != p[1])
    shared = [g for i, j in draw(st.lists(pairs, max_size=3)) for g in equal(i, j)]
    boxes = []
    for _ in range(2):
        ends = [sorted((draw(HALVES), draw(HALVES))) for _ in range(4)]
        boxes.append(Box(tuple(a for a, _ in ends), tuple(b for _, b in ends), (4,)))
    clauses = []
    for _ in range(draw(st.integers(1, 3))):
        own = [g for i, j in draw(st.lists(pairs, max_size=1)) for g in equal(i, j)]
        x = draw(st.dictionaries(st.integers(0, 3), HALVES, max_size=3))
        other = inequality(x, {0: F(1)}, draw(HALVES), draw(st.booleans()))
        clauses.append(Clause(draw(st.sampled_from(boxes)), (*shared, *own, other)))
    return Violation(4, 1, tuple(clauses))


@settings(deadline=None, derandomize=True, max_examples=40)
@given(violation=violations())
def test_the_merged_violation_holds_at_the_same_points(violation: Violation) -> None:
    points = list(itertools.product(GRID, repeat=4))
    outputs = [[F(-1)], [F(1, 2)]]
    truth = {(x, k): violation.evaluate_exact(x, y) for x in points[::5] for k, y in enumerate(outputs)}
    try:
        merged, place = merge_equal_inputs(violation, "here")
    except DataError:
        assert not any(truth.values())
        return
    assert merged.inputs == max(place) + 1 == len(set(place)) and len(place) == 4
    for (x, k), held in truth.items():
        one = dict(zip(place, x, strict=True))
        copied = all(one[at] == v for at, v in zip(place, x, strict=True))
        y = outputs[k]
        if copied:
            assert merged.evaluate_exact([one[i] for i in range(merged.inputs)], y) is held
        else:
            assert not held


def test_a_chain_of_equal_inputs_is_one_input() -> None:
    chain = [g for i in range(9) for g in equal(i, i + 1)]
    box = Box((F(0),) * 10, (F(1),) * 9 + (F(1, 2),), (10,))
    merged, place = merge_equal_inputs(Violation(10, 1, (Clause(box, (*chain, inequality({}, {0: F(1)}, F(0)))),)), "")
    assert place == (0,) * 10 and merged.clauses[0].box == Box((F(0),), (F(1, 2),), (1,))
    assert merged.clauses[0].inequalities == (inequality({}, {0: F(1)}, F(0)),)


X, Y = F(1), F(-1)


@pytest.mark.parametrize(
    "pair",
    [
        (({0: X, 1: Y}, {}, F(0)), ({0: Y, 1: X}, {}, F(1))),
        (({0: X, 1: Y}, {}, F(1)), ({0: Y, 1: X}, {}, F(-1))),
        (({0: X, 1: Y}, {}, F(0)), ({0: X, 1: Y}, {}, F(0))),
        (({0: X, 1: X}, {}, F(0)), ({0: Y, 1: Y}, {}, F(0))),
        (({0: F(2), 1: Y}, {}, F(0)), ({0: F(-2), 1: X}, {}, F(0))),
        (({0: X, 1: Y}, {0: X}, F(0)), ({0: Y, 1: X}, {0: Y}, F(0))),
    ],
)
def test_what_is_not_an_equality_of_inputs_merges_nothing(pair) -> None:
    box = Box((F(0),) * 2, (F(1),) * 2, (2,))
    violation = Violation(2, 1, (Clause(box, tuple(inequality(*g) for g in pair)),))
    assert merge_equal_inputs(violation, "") == (violation, (0, 1))


def test_a_strict_pair_or_one_in_some_clauses_only_merges_nothing() -> None:
    box = Box((F(0),) * 2, (F(1),) * 2, (2,))
    y = inequality({}, {0: F(1)}, F(0))
    strict = tuple(Inequality(g.x, g.y, g.constant, True) for g in equal(0, 1))
    for clauses in ((Clause(box, (*strict, y)),), (Clause(box, (*equal(0, 1), y)), Clause(box, (y,)))):
        violation = Violation(2, 1, clauses)
        assert merge_equal_inputs(violation, "") == (violation, (0, 1))


HEAD = "(vnnlib-version <2.0>)(declare-network f (declare-input X real [3]) (declare-output Y real [1]))"


def test_bounds_follow_from_other_inputs() -> None:
    box = "(assert (and (>= X[0] 0.0) (<= X[0] 1.0)))(assert (<= X[1] X[0]))(assert (>= X[1] -1.0))"
    more = "(assert (>= (* 2.0 X[2]) (+ X[1] 0.5)))(assert (<= (+ X[2] X[0]) 3.0))(assert (<= Y[0] 0.0))"
    query = read_query((HEAD + box + more).encode())
    (clause,) = query.violation.clauses
    assert clause.box.lo == (F(0), F(-1), F(-1, 4)) and clause.box.hi == (F(1), F(1), F(3))
    assert len(clause.inequalities) == 4  # what bounded the inputs is still asserted


def test_an_end_that_is_no_decimal_is_rounded_outward_and_stated() -> None:
    text = HEAD + "(assert (and (>= X[0] 0.0) (<= X[0] 1.0)))(assert (<= (* 3.0 X[1]) X[0]))"
    text += "(assert (>= (* 3.0 X[1]) -1.0))"
    text += "(assert (and (<= (* -7.0 X[2]) 1.0) (<= (* 7.0 X[2]) 1.0)))(assert (<= Y[0] 0.0))"
    violation = read_query(text.encode()).violation
    (clause,) = violation.clauses
    assert F(1, 3) < clause.box.hi[1] < F(1, 3) + F(1, 10**39)  # implied, so the file need not state it
    assert (clause.box.lo[1:], clause.box.hi[2]) == ((F(-1, 3), F(-1, 7)), F(1, 7))
    (made,) = with_decimal_boxes(violation).clauses
    ends = [F(-1, 3), F(-1, 7)], [F(1, 7)]
    assert all(0 < v - w < F(1, 10**39) for v, w in zip(ends[0], made.box.lo[1:], strict=True))
    assert 0 < made.box.hi[2] - F(1, 7) < F(1, 10**39)
    assert all(decimal_text(v) is not None for v in (*made.box.lo, *made.box.hi))
    stated = {inequality({1: Y}, {}, F(-1, 3)), inequality({2: Y}, {}, F(-1, 7)), inequality({2: X}, {}, F(-1, 7))}
    assert set(made.inequalities) == stated | set(clause.inequalities)


def test_a_violation_of_decimals_is_left_as_it_is() -> None:
    violation = Violation(1, 1, (Clause(Box((F(0),), (F(1),), (1,)), (inequality({}, {0: X}, F(0)),)),))
    assert with_decimal_boxes(violation) == violation


def test_an_input_bounded_by_nothing_is_refused() -> None:
    text = HEAD + "(assert (and (>= X[0] 0.0) (<= X[0] 1.0)))(assert (<= X[1] X[2]))(assert (<= X[2] X[1]))"
    with pytest.raises(DataError, match="unbounded"):
        read_query((text + "(assert (<= Y[0] 0.0))").encode())


@settings(deadline=None, derandomize=True, max_examples=60)
@given(data=st.data())
def test_an_implied_bound_holds_wherever_the_assertions_do(data: st.DataObject) -> None:
    from torchlean.bounds.dnf import Atom

    assertions = Assertions("here", str)
    coefficient = st.integers(-7, 7).map(lambda n: F(n, 4))
    nonzero = coefficient.filter(bool)
    for i in range(2):
        a, b = sorted((data.draw(HALVES), data.draw(HALVES)))
        assertions.bound(">=", i, a)
        assertions.bound("<=", i, b)
    linear = []
    for _ in range(data.draw(st.integers(1, 4))):
        x = data.draw(st.dictionaries(st.integers(0, 4), nonzero, min_size=2, max_size=3))
        linear.append(inequality(x, {}, data.draw(coefficient), data.draw(st.booleans())))
        assertions.add(Atom(linear[-1]))
    imply_bounds(assertions, 5)
    implied = [v for side in (assertions.low, assertions.high) for i, v in side.items() if i >= 2]
    assert all(decimal_text(v) is not None for v in implied)
    for x in POINTS:
        inside = all(assertions.low[i] <= x[i] <= assertions.high[i] for i in range(2))
        if inside and all(g.holds(x, [F(0)]) for g in linear):
            assert all(value <= x[i] for i, value in assertions.low.items())
            assert all(x[i] <= value for i, value in assertions.high.items())
