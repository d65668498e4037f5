"""VNN-LIB: what is read means what the file says; everything else is refused with one error."""

import time
from fractions import Fraction

import pytest

from torchlean_check.errors import CheckError
from torchlean_check.vnnlib_reader import read_property


def read(tools, lines, inputs=2, outputs=2, **box):
    return read_property(tools.property_text(inputs, outputs, lines, **box))


def test_conjunction_of_outputs_is_one_clause(tools):
    (region,) = read(tools, ["(assert (<= Y_0 Y_1))", "(assert (< Y_1 0.25))"]).regions
    assert region.rows_y.tolist() == [[1.0, -1.0], [0.0, 1.0]]
    assert (
        region.rows_c.tolist() == [0.0, -0.25]
        and region.row_strict.tolist() == [False, True]
        and len(region.clauses) == 1
    )


def test_disjunction_over_outputs_is_several_clauses(tools):
    (region,) = read(tools, ["(assert (or (and (>= Y_1 Y_0)) (and (>= Y_0 2) (<= Y_1 0))))"]).regions
    assert region.row_clause.tolist() == [0, 1, 1] and region.rows_c.tolist() == [0.0, 2.0, 0.0]


def test_disjunction_over_input_boxes_is_several_regions(tools):
    box = "(assert (or (and (<= X_0 0.1) (>= X_0 0)) (and (<= X_0 -0.1) (>= X_0 -0.2))))"
    regions = read(tools, [box, "(assert (or (>= Y_0 1) (>= Y_1 1)))"]).regions
    assert [(r.exact_lo[0], r.exact_hi[0], len(r.clauses)) for r in regions] == [
        (0, Fraction(1, 10), 2),
        (Fraction(-1, 5), Fraction(-1, 10), 2),
    ]


def test_not_negates_and_turns_strict(tools):
    (region,) = read(tools, ["(assert (not (or (> Y_0 1) (not (>= Y_1 2)))))"]).regions
    assert (
        region.rows_y.tolist() == [[1.0, 0.0], [0.0, -1.0]]
        and region.rows_c.tolist() == [-1.0, 2.0]
        and not region.row_strict.any()
    )


def test_linear_terms_are_exact(tools):
    (region,) = read(tools, ["(assert (<= (+ (* 0.1 Y_0) (- X_1) (* 2 3 Y_1) 0.3) (- Y_0 (* X_0 -1.5))))"]).regions
    (g,) = region.clauses[0]
    assert (
        g.y == {0: Fraction(1, 10) - 1, 1: 6} and g.x == {1: -1, 0: Fraction(-3, 2)} and g.constant == Fraction(3, 10)
    )
    assert all(
        abs(Fraction(float(region.rows_y[0, i])) - v) <= Fraction(float(region.err_y[0, i])) for i, v in g.y.items()
    )


def test_bounds_intersect_and_scale(tools):
    (region,) = read(
        tools, ["(assert (<= (* -2 X_0) 0.5))", "(assert (< X_1 0.7))", "(assert (<= X_1 0.9))", "(assert (>= Y_0 0))"]
    ).regions
    assert region.exact_lo[0] == Fraction(-1, 4) and region.exact_hi[1] == Fraction(7, 10)


def test_a_megabyte_is_read_within_a_second(tools):
    data = tools.property_text(12000, 2, ["(assert (>= Y_0 0))"], low="-0.1234567890123456", high="0.1234567890123456")
    begin = time.process_time()
    assert len(data) > 900_000 and read_property(data).inputs == 12000
    assert time.process_time() - begin < 4  # under 1 s on an idle machine; the margin is for a loaded one


@pytest.mark.parametrize(
    ("title", "lines"),
    [
        ("lower above upper", ["(assert (>= X_0 2.0))", "(assert (>= Y_0 0))"]),
        ("unknown symbol", ["(assert (>= Z_0 2.0))"]),
        ("undeclared variable", ["(assert (>= Y_7 2.0))"]),
        ("huge exponent", ["(assert (>= Y_0 1e-9999))"]),
        ("exponent without digits", ["(assert (>= Y_0 1e))"]),
        ("nan", ["(assert (>= Y_0 nan))"]),
        ("infinity", ["(assert (>= Y_0 inf))"]),
        ("product of variables", ["(assert (>= (* Y_0 X_0) 1))"]),
        ("no clause over outputs", []),
        ("unknown command", ["(check-sat)", "(assert (>= Y_0 0))"]),
        ("equality", ["(assert (= Y_0 0))"]),
        ("implication", ["(assert (=> (> Y_0 0) (> Y_1 0)))"]),
        ("three sides", ["(assert (<= 0 Y_0 1))"]),
        ("empty or", ["(assert (or))"]),
        ("declared twice", ["(declare-const X_0 Real)", "(assert (>= Y_0 0))"]),
        ("type other than Real", ["(declare-const X_2 Int)", "(assert (>= Y_0 0))"]),
        ("gap in the numbering", ["(declare-const X_3 Real)", "(assert (>= Y_0 0))"]),
        ("declared but unbounded", ["(declare-const X_2 Real)", "(assert (>= Y_0 0))"]),
        ("parenthesis left open", ["(assert (>= Y_0 0)"]),
        ("parenthesis too many", ["(assert (>= Y_0 0)))"]),
        ("deep nesting", ["(assert " + "(not " * 80 + "(>= Y_0 0)" + ")" * 81]),
        ("too many clauses", ["(assert (or (>= Y_0 0) (>= Y_1 0)))"] * 20),
        (
            "bound beyond float32",
            [
                "(declare-const X_2 Real)",
                "(assert (<= X_2 1" + "0" * 45 + "))",
                "(assert (>= X_2 0))",
                "(assert (>= Y_0 0))",
            ],
        ),
        ("constant comparison", ["(assert (>= 1 0))"]),
        ("unicode digits", ["(assert (>= Y_0 \u0661))"]),
    ],
)
def test_refused(tools, title, lines):
    with pytest.raises(CheckError) as error:
        read(tools, lines)
    assert error.value.where.startswith("VNN-LIB property") and error.value.fix


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"hello", b"()", b"(assert)"])
def test_other_bytes_are_refused(data):
    with pytest.raises(CheckError):
        read_property(data)
