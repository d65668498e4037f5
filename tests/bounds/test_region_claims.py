"""Properties in Python mean what their formulas mean, exactly; and what cannot mean anything is refused."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchlean.bounds.claim import forall, output
from torchlean.bounds.dnf import MOST_CLAUSES, And, Atom, Logic, Not, Or, clauses_of, disjuncts
from torchlean.bounds.property import Clause, Inequality, Violation, inequality
from torchlean.bounds.region import box
from torchlean.errors import DataError, ShapeError, Unsupported, UsageError

UNIT = box([0, 0], 1)
smalls = st.integers(-2, 2).map(Fraction)


@st.composite
def atoms(draw: st.DrawFn) -> Logic:
    x, y = ({i: draw(smalls) for i in range(2)} for _ in range(2))
    return Atom(inequality(x, y, draw(smalls), draw(st.booleans())))


formulas = st.recursive(
    atoms(),
    lambda inner: st.one_of(
        inner.map(Not),
        st.lists(inner, max_size=3).map(lambda p: And(tuple(p))),
        st.lists(inner, max_size=3).map(lambda p: Or(tuple(p))),
    ),
    max_leaves=6,
)


def truth(logic: Logic, x: list[Fraction], y: list[Fraction]) -> bool:
    """The meaning of a formula, directly."""
    if isinstance(logic, Atom):
        return logic.inequality.holds(x, y)
    if isinstance(logic, Not):
        return not truth(logic.part, x, y)
    parts = [truth(part, x, y) for part in logic.parts]
    return all(parts) if isinstance(logic, And) else any(parts)


@given(logic=formulas, x=st.lists(smalls, min_size=2, max_size=2), y=st.lists(smalls, min_size=2, max_size=2))
@settings(deadline=None, derandomize=True, max_examples=400)
def test_normal_form_keeps_the_meaning(logic: Logic, x: list[Fraction], y: list[Fraction]) -> None:
    alternatives = disjuncts(logic, "test")
    assert any(all(g.holds(x, y) for g in c) for c in alternatives) == truth(logic, x, y)
    refuted = disjuncts(logic, "test", negate=True)
    assert any(all(g.holds(x, y) for g in c) for c in refuted) != truth(logic, x, y)
    region = box([0, 0], "1.5")
    violation = Violation(2, 2, clauses_of(logic, region, "test"))
    assert violation.evaluate_exact(x, y) == (region.contains_exact(x) and truth(logic, x, y))


def violated(claim: object, y: list[object]) -> bool:
    return forall(UNIT, claim).violation(len(y)).evaluate_exact([Fraction(0)] * 2, [Fraction(v) for v in y])


def test_an_interval_is_kept_or_left_exactly() -> None:
    inside = lambda y: (15.0 <= y[0]) & (y[0] <= 32.0)  # noqa: E731, SIM300
    assert not violated(inside, ["15"]) and not violated(inside, ["32"])
    assert violated(inside, ["14.9999999999999999999"]) and violated(inside, ["32.00000000000000000001"])


def test_a_float_is_its_exact_value_and_text_a_decimal() -> None:
    assert violated(lambda y: y[0] <= "0.1", [Fraction(0.1)])
    assert not violated(lambda y: y[0] <= 0.1, [Fraction(0.1)])
    assert not violated(lambda y: y[0] <= np.float64(0.1), [Fraction(0.1)])
    assert not violated(lambda y: np.float64(0.1) >= y[0], [Fraction(0.1)])
    assert violated(lambda y: y[0] <= 0.1, [Fraction(0.1) + Fraction(1, 10**40)])


def test_strictness_is_exact() -> None:
    assert violated(lambda y: y[0] < 1, ["1"]) and not violated(lambda y: y[0] <= 1, ["1"])
    assert violated(lambda y: y[0] > 1, ["1"]) and not violated(lambda y: y[0] >= 1, ["1"])
    assert violated(lambda y: y[0] != 1, ["1"]) and not violated(lambda y: y[0] == 1, ["1"])
    assert violated(lambda y: y[0] == 1, ["1.5"]) and not violated(lambda y: ~(y[0] == 1), ["1.5"])


def test_linear_arithmetic() -> None:
    claim = lambda y: y[0] - 2 * y[1] + 3 <= y[2] / 4 - (1 - y[0])  # noqa: E731
    (clause,) = forall(UNIT, claim).violation(3).clauses
    (g,) = clause.inequalities  # violated where -2 y1 - y2/4 + 4 > 0
    assert g == Inequality((), ((1, Fraction(2)), (2, Fraction(1, 4))), Fraction(-4), strict=True)


def test_others_are_the_outputs_that_are_not_compared() -> None:
    prop = forall(UNIT, lambda y: y[1] > y.others)
    assert len(prop.violation(4).clauses) == 3
    assert not prop.violation(3).evaluate_exact([Fraction(0)] * 2, [Fraction(v) for v in (0, 2, 1)])
    assert prop.violation(3).evaluate_exact([Fraction(0)] * 2, [Fraction(v) for v in (0, 2, 2)])
    assert not violated(lambda y: y.others < y[1], [0, 2, 1]) and violated(lambda y: y.others < y[1], [0, 2, 2])
    assert not violated(lambda y: y.others <= y[1], [0, 2, 2]) and violated(lambda y: y.others <= y[1], [0, 2, 3])
    assert not violated(lambda y: y.others > y[1], [3, 2, 4]) and violated(lambda y: y.others > y[1], [3, 2, 2])
    assert violated(lambda y: y.others >= y[1], [3, 2, 1])
    assert violated(lambda y: y[1] <= y.others, [0, 2, 3]) and not violated(lambda y: y.others >= y[1], [3, 2, 2])


def test_sugar_and_inputs() -> None:
    prop = UNIT >> (output[0] <= 1)
    assert prop.region is UNIT and prop.violation(1).clauses[0].box is UNIT
    two = forall(UNIT, lambda x, y: y[0] <= x[1])
    assert two.violation(1).evaluate_exact([Fraction(1), Fraction(0)], [Fraction(1, 2)])
    assert not two.violation(1).evaluate_exact([Fraction(0), Fraction(1)], [Fraction(1, 2)])


def test_a_condition_on_one_input_narrows_the_clause() -> None:
    (clause,) = forall(UNIT, lambda x, y: (x[0] <= "0.5") | (y[0] <= 1)).violation(1).clauses
    assert clause.box.lo == (Fraction(1, 2), -1)
    assert [g.strict for g in clause.inequalities] == [True, True]  # x > 0.5 stays, because the box is closed
    assert not clause.holds([Fraction(1, 2), Fraction(0)], [Fraction(2)])


def test_a_claim_that_always_holds_has_one_clause_that_cannot_be_met() -> None:
    (clause,) = forall(UNIT, lambda y: y[0] <= y[0]).violation(1).clauses
    assert not any(clause.holds([Fraction(0)] * 2, [Fraction(v, 4)]) for v in range(-8, 9))
    assert sum((g.constant for g in clause.inequalities), Fraction(0)) > 0  # both together say 1 <= 0


def test_a_claim_that_never_holds_is_violated_everywhere() -> None:
    assert forall(UNIT, lambda y: y[0] < y[0]).violation(1).clauses == (Clause(UNIT, ()),)


def test_clauses_over_one_box_form_one_region() -> None:
    x = forall(UNIT, lambda x, y: (y[0] <= 1) & ((x[0] <= 0) | (y[0] <= 0)) & (y[0] <= 2)).violation(1)
    assert [indices for _, indices in x.regions()] == [[0, 2], [1]]


def test_many_conjuncts_do_not_nest() -> None:
    claim = output[0] <= 1
    for j in range(1, 3000):
        claim = claim & (output[j] <= 1)
    assert len(forall(UNIT, claim).violation(3000).clauses) == 3000


def both(y: object) -> object:
    return y[0] <= 1 and y[1] <= 1  # type: ignore[index]


REFUSED = {
    "chained": (lambda: forall(UNIT, lambda y: 15 <= y[0] <= 32), UsageError, r"\(15 <= y\[0\]\) & \(y\[0\] <= 32\)"),
    "and": (lambda: forall(UNIT, both), UsageError, "&"),
    "no parentheses": (lambda: forall(UNIT, lambda y: y[0] >= 1 & y[0] <= 2), UsageError, "binds tighter"),
    "terms joined": (lambda: forall(UNIT, lambda y: y[0] & y[1]), UsageError, "binds tighter"),
    "a product": (lambda: forall(UNIT, lambda y: y[0] * y[1] <= 0), UsageError, "linear"),
    "division by zero": (lambda: forall(UNIT, lambda y: y[0] / 0 <= 0), UsageError, "zero"),
    "a bool": (lambda: forall(UNIT, lambda y: True), UsageError, "must give a formula"),
    "a term": (lambda: forall(UNIT, lambda y: y[0]), UsageError, "must give a formula"),
    "no function": (lambda: forall(UNIT, 3), UsageError, "must give a formula"),
    "no region": (lambda: forall([0, 1], lambda y: y[0] <= 1), UsageError, "region"),
    "three arguments": (lambda: forall(UNIT, lambda a, b, c: a[0] <= 1), UsageError, "3 arguments"),
    "nan": (lambda: forall(UNIT, lambda y: y[0] <= float("nan")), DataError, "finite number"),
    "text": (lambda: forall(UNIT, lambda y: y[0] <= "low"), DataError, "low"),
    "a whole vector": (lambda: forall(UNIT, lambda y: y[0] <= y), UsageError, "Vector"),
    "a loop": (lambda: forall(UNIT, lambda y: sum(y) <= 1), UsageError, "no length"),
    "a negative index": (lambda: forall(UNIT, lambda y: y[-1] <= 1), UsageError, "counted from 0"),
    "two indices": (lambda: forall(UNIT, lambda y: y[0, 1] <= 1), UsageError, "flat"),
    "others of inputs": (lambda: forall(UNIT, lambda x, y: y[0] <= x.others), UsageError, "input"),
    "no such output": (lambda: forall(UNIT, lambda y: y[2] <= 1).violation(2), ShapeError, "clause 0"),
    "no such input": (lambda: forall(UNIT, lambda x, y: y[0] <= x[2]).violation(1), ShapeError, "clause 0"),
    "no such bounded input": (lambda: forall(UNIT, lambda x, y: x[2] <= 1).violation(1), ShapeError, "input"),
    "another network": (lambda: Violation(2, 1, ()).check_fits(3, 1, "a.onnx"), ShapeError, "3 inputs"),
    "a short point": (lambda: Violation(2, 1, ()).evaluate_exact([Fraction(0)], [Fraction(0)]), ShapeError, "2 inputs"),
    "a repeated index": (lambda: Inequality((), ((0, 1), (0, 1)), Fraction(0)), DataError, "rising"),
}


@pytest.mark.parametrize("title", REFUSED)
def test_bad_properties_are_refused(title: str) -> None:
    make, kind, text = REFUSED[title]
    with pytest.raises(kind, match=text) as caught:
        make()
    assert all((caught.value.what, caught.value.where, caught.value.expected, caught.value.got, caught.value.fix))


def test_a_disjunction_that_grows_too_large_is_refused() -> None:
    atom = Atom(inequality({}, {0: Fraction(1)}, Fraction(0)))
    wide = And((Or((atom,) * 100),) * 3)
    assert MOST_CLAUSES < 100**3
    with pytest.raises(Unsupported, match="too many alternatives"):
        disjuncts(wide, "test")
