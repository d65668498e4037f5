"""Directed operations and error-free transforms, held against exact rationals without tolerance."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from torchlean import floats
from torchlean.errors import UsageError
from torchlean.floats import BINARY16, BINARY32, BINARY64, FORMATS, Rounding
from torchlean.floats.steps import BLOCK

law = settings(deadline=None, derandomize=True, max_examples=80)
MAX = {"float32": float(np.finfo(np.float32).max), "float64": float(np.finfo(np.float64).max)}
OPERATIONS = {
    "add": (floats.add_down, floats.add_up, lambda a, b: a + b),
    "sub": (floats.sub_down, floats.sub_up, lambda a, b: a - b),
    "mul": (floats.mul_down, floats.mul_up, lambda a, b: a * b),
    "div": (floats.div_down, floats.div_up, lambda a, b: a / b),
}
each_operation = pytest.mark.parametrize("name", OPERATIONS)


def finite(width):
    fmt = BINARY32 if width == 32 else BINARY64
    tiny, normal, most = fmt.smallest_subnormal, fmt.smallest_normal, fmt.max
    ends = [0.0, -0.0, tiny, -tiny, 3 * tiny, normal, -normal, normal - tiny, most, -most, most / 2, 1.0, -1.0, 3.0,
            1 + 2.0 ** (1 - fmt.precision), 1 - fmt.unit_roundoff]  # fmt: skip
    return st.one_of(st.floats(width=width, allow_nan=False, allow_infinity=False), st.sampled_from(ends))


def value(x):
    return float(x) if np.isinf(x) else Fraction(float(x))


def assert_tight(lo, hi, true, fmt):
    """lo and hi are the neighbours of the exact value in the format, or the value itself."""
    assert float(lo) == floats.round_rational(true, fmt, Rounding.DOWN)
    assert float(hi) == floats.round_rational(true, fmt, Rounding.UP)


@each_operation
@law
@given(a=finite(64), b=finite(64))
@example(a=MAX["float64"], b=MAX["float64"])
@example(a=MAX["float64"], b=2.0**970)
@example(a=MAX["float64"], b=2.0**969)
@example(a=-MAX["float64"], b=2.0**969)
@example(a=MAX["float64"], b=5e-324)
@example(a=5e-324, b=MAX["float64"])
@example(a=-5e-324, b=0.5)
@example(a=2.0**-500, b=2.0**-574 * (1 + 2.0**-52))
@example(a=2.0**1000, b=2.0**-1074)
@example(a=3 * 2.0**-1074, b=7.0)
def test_float64_operations_are_tight(name, a, b):
    down, up, exact = OPERATIONS[name]
    if name != "div" or b != 0:
        assert_tight(down(a, b), up(a, b), exact(Fraction(a), Fraction(b)), BINARY64)


@each_operation
@law
@given(a=finite(32), b=finite(32))
@example(a=MAX["float32"], b=2.0**102)
@example(a=MAX["float32"], b=2.0**-149)
@example(a=2.0**-149, b=0.5)
@example(a=2.0**-149, b=-MAX["float32"])
@example(a=16777213.0, b=16777215.0)
def test_float32_operations_are_tight(name, a, b):
    down, up, exact = OPERATIONS[name]
    x, y = np.float32(a), np.float32(b)
    if name != "div" or b != 0:
        lo, hi = down(x, y, BINARY32), up(x, y, BINARY32)
        assert lo.dtype == hi.dtype == np.float32
        assert_tight(lo, hi, exact(Fraction(a), Fraction(b)), BINARY32)


@each_operation
@pytest.mark.parametrize("fmt", [f for f in FORMATS.values() if f is not BINARY64], ids=str)
@law
@given(a=finite(64), b=finite(64))
def test_a_narrower_result_is_rounded_once(name, fmt, a, b):
    down, up, exact = OPERATIONS[name]
    if name != "div" or b != 0:
        assert_tight(down(a, b, fmt), up(a, b, fmt), exact(Fraction(a), Fraction(b)), fmt)


@each_operation
@pytest.mark.parametrize("fmt", [BINARY32, BINARY64], ids=str)
def test_random_bits_are_rounded_tightly(name, fmt):
    """Every exponent with every other, where hypothesis rarely looks."""
    rng = np.random.default_rng(17)
    bits = rng.integers(0, 256, (2, 3000, fmt.dtype.itemsize), dtype=np.uint8)
    a, b = bits.view(fmt.dtype)[..., 0]
    usable = np.isfinite(a) & np.isfinite(b) & (b != 0)
    a, b = a[usable], b[usable]
    down, up, exact = OPERATIONS[name]
    for x, y, lo, hi in zip(a, b, down(a, b, fmt), up(a, b, fmt), strict=True):
        assert_tight(lo, hi, exact(value(x), value(y)), fmt)


@pytest.mark.parametrize("fmt", [BINARY32, BINARY64], ids=str)
@law
@given(a=finite(64).map(abs))
@example(a=2.0**-1070)
@example(a=4.0)
@example(a=MAX["float64"])
def test_directed_sqrt_is_tight(fmt, a):
    a = np.abs(floats.round_down(np.float64(a), fmt))
    lo, hi = float(floats.sqrt_down(a, fmt)), float(floats.sqrt_up(a, fmt))
    true = value(a)
    assert value(lo) ** 2 <= true <= value(hi) ** 2
    assert hi == lo or (value(lo) ** 2 < true < value(hi) ** 2 and hi == float(floats.next_up(np.array(lo, fmt.dtype))))


@each_operation
@pytest.mark.parametrize("fmt", [BINARY32, BINARY64], ids=str)
def test_infinities_and_nan_are_those_of_ieee(name, fmt):
    specials = np.array([0.0, -0.0, 1.5, -2.0, np.inf, -np.inf, np.nan], fmt.dtype)
    a, b = specials[:, None], specials[None, :]
    plain = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}[name]
    with np.errstate(all="ignore"):
        want = plain(a, b)
    settled = ~np.isfinite(want)
    for operation in OPERATIONS[name][:2]:
        np.testing.assert_array_equal(operation(a, b, fmt)[settled], want[settled])


@each_operation
def test_long_arrays_are_cut_into_blocks_without_a_trace(name):
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(3, BLOCK + 5)), rng.normal(size=(BLOCK + 5,))
    a[0, :9] = 2.0 ** np.arange(-1070, -1061)
    for operation in OPERATIONS[name][:2]:
        whole = operation(a, b)
        assert whole.shape == a.shape
        for i in range(3):
            for cut in (slice(0, 4000), slice(4000, None)):
                np.testing.assert_array_equal(whole[i, cut], operation(a[i, cut], b[cut]))
        strided = operation(a.T[::2], b[::2, None])
        np.testing.assert_array_equal(strided, whole.T[::2])
    assert operation(np.zeros((0, 3)), np.zeros(3)).shape == (0, 3)


@pytest.mark.parametrize("fmt", [BINARY32, BINARY64], ids=str)
@law
@given(data=st.data())
def test_error_free_transforms_are_error_free(fmt, data):
    numbers = finite(32 if fmt is BINARY32 else 64)
    a, b = fmt.dtype.type(data.draw(numbers)), fmt.dtype.type(data.draw(numbers))
    big, low, high = (2.0**995, 2.0**-968, 2.0**1020) if fmt is BINARY64 else (2.0**114, 2.0**-101, 2.0**126)
    with np.errstate(all="ignore"):
        s, e = floats.two_sum(a, b)
        if np.isfinite(s) and np.isfinite(e):
            assert value(s) + value(e) == value(a) + value(b)
        larger, smaller = (a, b) if abs(a) >= abs(b) else (b, a)
        s, e = floats.fast_two_sum(larger, smaller)
        if np.isfinite(s) and np.isfinite(e):
            assert value(s) + value(e) == value(a) + value(b)
        p, f = floats.two_product(a, b)
        assert p.dtype == f.dtype == fmt.dtype
        if max(abs(a), abs(b)) <= big and (low <= abs(p) <= high or a * b == 0 == min(abs(a), abs(b))):
            assert value(p) + value(f) == value(a) * value(b)


def test_a_product_is_split_in_two_formats_only():
    with pytest.raises(UsageError, match="splits float32 and float64"):
        floats.two_product(np.float16(1), np.float16(2))


def test_half_precision_operations_by_every_small_pair():
    """All pairs of a sweep of float16 numbers: operands of another dtype than the result's go through float64."""
    a = np.arange(0, 0x7C00, 311, dtype=np.uint16).view(np.float16)
    x, y = np.meshgrid(a, -a)
    lo, hi = floats.mul_down(x, y, BINARY16), floats.mul_up(x, y, BINARY16)
    for p, q, low, high in zip(x.ravel(), y.ravel(), lo.ravel(), hi.ravel(), strict=True):
        assert_tight(low, high, value(p) * value(q), BINARY16)
    assert not math.isnan(float(lo.min()))
