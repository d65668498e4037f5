"""Numbers and expressions as text: what is read, and what is refused, at which place."""

from __future__ import annotations

import math
from fractions import Fraction

import flint
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchlean.errors import UsageError
from torchlean.floats.calculator import ARITY, is_number, parse, read_number
from torchlean.floats.calculator.number import LONGEST, decimal_text, floor_log2, literal
from torchlean.floats.calculator.syntax import DEEPEST, Call, Expression, Number

PARTS = ("where:", "expected:", "got:", "fix:")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.1", Fraction(1, 10)),
        (" +.5e1 ", Fraction(5)),
        ("7.", Fraction(7)),
        ("-1e-3", Fraction(-1, 1000)),
        ("1/3", Fraction(1, 3)),
        ("-22/7", Fraction(-22, 7)),
        ("0x1.8p+1", Fraction(3)),
        ("0x.8", Fraction(1, 2)),
        ("-0X1P-2", Fraction(-1, 4)),
        ("0xe1", Fraction(225)),
        ("0", Fraction(0)),
        ("1e2000", Fraction(10**2000)),
    ],
)
def test_a_number_is_its_exact_value(text: str, value: Fraction) -> None:
    assert is_number(text) and read_number(text) == flint.fmpq(value.numerator, value.denominator)


def test_what_is_no_rational() -> None:
    assert math.copysign(1, read_number("-0")) == -1 and math.copysign(1, read_number("-0.0e5")) == -1
    assert read_number("inf") == math.inf and read_number("-Infinity") == -math.inf
    assert math.isnan(read_number("nan")) and math.copysign(1, read_number("-nan")) == -1


@pytest.mark.parametrize(
    "text",
    ["", "one", "1,5", "0.1.2", "1e", "0x", "0xp1", "1/0", "1/2/3", "1.0/3", "1e2001", "0x1p-2001", "1e99999999999",
     "--1", "1 2", "\u0661", "1_0", "9" * (LONGEST + 1)]
)  # fmt: skip
def test_what_is_no_number_is_one_error(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        read_number(text)
    assert all(str(raised.value).count(f"  {part}") == 1 for part in PARTS) and len(str(raised.value)) < 500


@given(st.floats(allow_nan=False, allow_infinity=False))
@settings(deadline=None, derandomize=True)
def test_a_float_is_read_back_exactly(x: float) -> None:
    p, q = x.as_integer_ratio()
    for text in (repr(x), x.hex()):
        assert float(Fraction(text) if "x" not in text else float.fromhex(text)) == x
    assert read_number(x.hex()) == flint.fmpq(p, q) or x == 0
    if p:
        exponent = floor_log2(flint.fmpq(p, q))
        assert Fraction(2) ** exponent <= abs(Fraction(x)) < Fraction(2) ** (exponent + 1)
        near = Fraction(decimal_text(flint.fmpq(p, q), 20))
        assert abs(near - Fraction(x)) <= abs(Fraction(x)) * Fraction(1, 10**19)


def trees() -> st.SearchStrategy[Expression]:
    texts = st.sampled_from(["0.1", "3", "0x1.8p-3", "1e5", ".5"])
    leaves = st.builds(lambda t: Number(t, literal(t)), texts)

    def calls(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
        arity = ARITY | {"add": 2, "sub": 2, "mul": 2, "div": 2, "neg": 1}
        names = st.sampled_from(["add", "sub", "mul", "div", "neg", "sqrt", "fma", "min", "pow", "exp"])
        return names.flatmap(
            lambda name: st.tuples(*[inner] * arity[name]).map(lambda arguments: Call(name, arguments))
        )

    return st.recursive(leaves, calls, max_leaves=12)


@given(trees())
@settings(deadline=None, derandomize=True)
def test_an_expression_is_read_as_it_is_written(tree: Expression) -> None:
    assert parse(str(tree)) == tree


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("1 - 2 - 3", "((1 - 2) - 3)"),
        ("1 / 2 / 3 * 4", "(((1 / 2) / 3) * 4)"),
        ("1 + 2 * 3", "(1 + (2 * 3))"),
        ("-2 * 3", "(-2 * 3)"),
        ("2 - -3", "(2 - -3)"),
        ("+(1)", "1"),
        ("1e3-1", "(1e3 - 1)"),
        ("fma(1, -2,(3))", "fma(1, -2, 3)"),
        ("min(inf , nan)", "min(inf, nan)"),
    ],
)
def test_precedence(text: str, tree: str) -> None:
    assert str(parse(text)) == tree


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("", 1, "an operand is missing"),
        ("1 +", 4, "an operand is missing"),
        ("1 + * 2", 5, "an operand is missing"),
        ("(1 + 2", 1, "a parenthesis is not closed"),
        ("2 * (3 + (4)", 5, "a parenthesis is not closed"),
        ("1 + 2)", 6, "a closing parenthesis without an opening one"),
        ("sqrt(2", 5, "a parenthesis is not closed"),
        ("(1 2)", 4, "the expression does not go on like this"),
        ("1 2", 3, "the expression does not go on like this"),
        ("1..2", 3, "the expression does not go on like this"),
        ("1 + sine(2)", 5, "no function of this name"),
        ("__import__('os')", 1, "no function of this name"),
        ("x", 1, "no function of this name"),
        ("exp", 4, "exp needs its arguments"),
        ("exp(1, 2)", 1, "exp takes 1 argument"),
        ("1 + pow(2)", 5, "pow takes 2 arguments"),
        ("fma(1, 2)", 1, "fma takes 3 arguments"),
        ("exp()", 5, "an operand is missing"),
        ("2 ** 3", 4, "an operand is missing"),
        ("(" * (DEEPEST + 2), DEEPEST + 2, "too deeply nested"),
        ("-" * 500 + "1", DEEPEST + 2, "too deeply nested"),
    ],
    ids=lambda v: repr(v)[:30],
)  # fmt: skip
def test_an_error_names_its_position(text: str, place: int, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse(text)
    assert raised.value.what == said and raised.value.where.startswith(f"position {place} of "), str(raised.value)
    assert all(str(raised.value).count(f"  {part}") == 1 for part in PARTS)


@given(st.text(alphabet="0123456789.exp()+-*/, _sqrtfmainx\n", max_size=40))
@settings(deadline=None, derandomize=True, max_examples=500)
def test_any_text_is_an_expression_or_one_error(text: str) -> None:
    try:
        parse(text)
    except UsageError as error:
        assert "\n  where:" in str(error)
