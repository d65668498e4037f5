"""Dimensions: the normal form is a ring homomorphism's worth of evaluation, and prints to what it reads back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchlean.errors import ShapeError
from torchlean.ir import f32, parse_type, symbol
from torchlean.ir.dims import Dim, parse, substitute, symbols
from torchlean.ir.types import DTYPES, TensorType

NAMES = ("n", "batch", "f32", "_k2")
AT = {"n": 3, "batch": 7, "f32": 1, "_k2": 5}


def pairs():
    """A dimension beside its value at AT, both made by the same operations."""
    leaves = st.integers(-9, 9).map(lambda i: (i, i)) | st.sampled_from(NAMES).map(lambda s: (symbol(s), AT[s]))
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.tuples(inner, inner).map(lambda p: (p[0][0] + p[1][0], p[0][1] + p[1][1])),
            st.tuples(inner, inner).map(lambda p: (p[0][0] - p[1][0], p[0][1] - p[1][1])),
            st.tuples(inner, inner).map(lambda p: (p[0][0] * p[1][0], p[0][1] * p[1][1])),
            st.tuples(inner, st.integers(1, 5)).map(lambda p: (p[0][0] // p[1], p[0][1] // p[1])),
        ),
        max_leaves=8,
    )


@settings(deadline=None, derandomize=True, max_examples=150)
@given(pairs())
def test_evaluation_commutes_with_arithmetic(pair):
    size, value = pair
    assert substitute(size, AT) == value


@settings(deadline=None, derandomize=True, max_examples=150)
@given(pairs())
def test_printing_reads_back(pair):
    size, _ = pair
    assert parse(str(size)) == size
    if not isinstance(size, int) or size >= 0:
        assert parse_type(str(f32[size, 2])) == f32[size, 2]


@settings(deadline=None, derandomize=True, max_examples=80)
@given(pairs(), pairs(), pairs())
def test_ring_laws_hold_as_equality_of_normal_forms(a, b, c):
    x, y, z = a[0], b[0], c[0]
    assert x + y == y + x and x * y == y * x
    assert (x + y) + z == x + (y + z) and (x * y) * z == x * (y * z)
    assert x * (y + z) == x * y + x * z
    assert x - x == 0 and x + 0 == x and x * 1 == x and x * 0 == 0


def test_a_known_dimension_is_an_int():
    n = symbol("n")
    assert (n + 1) - n == 1 and type((n + 1) - n) is int
    assert (6 * n + 3) // 3 == 2 * n + 1
    assert isinstance(n // 2, Dim) and symbols((n // 2) * symbol("m")) == {"n", "m"}


def test_two_symbols_differ_even_where_a_run_gives_them_one_size():
    assert symbol("n") != symbol("batch")


def test_substitution_is_simultaneous():
    n, m = symbol("n"), symbol("m")
    assert substitute(n + 2 * m, {"n": m, "m": n}) == m + 2 * n


@pytest.mark.parametrize(
    "text", ["", "n +", "n / 2", "n ** 2", "1.5", "True", "n // 0", "n // m", "f(n)", "None", "((" * 60, "\0"]
)
def test_text_that_is_no_dimension_is_refused(text):
    with pytest.raises(ShapeError, match=r"dimension|divided"):
        parse(text)


@pytest.mark.parametrize("name", ["", "2n", "a b", "None", "lambda", "é", "n\n"])
def test_a_name_that_would_not_print_back_is_refused(name):
    with pytest.raises(ShapeError):
        symbol(name)


@pytest.mark.parametrize("text", ["f32", "f31[2]", "f32[2", "f32[-1]", "f32[2,,3]", "f32[nan]x", "f32[1.0]"])
def test_text_that_is_no_type_is_refused(text):
    with pytest.raises(ShapeError):
        parse_type(text)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_types_print_back(dtype):
    for shape in [(), (0,), (3, symbol("n") // 2)]:
        assert parse_type(str(TensorType(shape, dtype))) == TensorType(shape, dtype)
