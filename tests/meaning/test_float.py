"""Float: IEEE results, left-to-right folds, the same bits as the definition."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from torchlean import floats
from torchlean.errors import DomainError, ShapeError, Unsupported
from torchlean.meaning import Float, fold_dot

N = Float()
law = settings(deadline=None, derandomize=True, max_examples=80)
EXTREMES = np.array([0.0, -0.0, 1e-45, -1e-45, 1.17549435e-38, 3.4028235e38, -3.4028235e38, np.inf, -np.inf, np.nan,
                     1.0, -1.0, 0.5, 2.5, 1 / 3], np.float32)  # fmt: skip
PAIRS = tuple(a.ravel() for a in np.meshgrid(EXTREMES, EXTREMES))


def bits(x):
    return x.view({2: np.int16, 4: np.int32, 8: np.int64}[x.dtype.itemsize])


def same_bits(a, b):
    """Equal bits; a NaN equals a NaN."""
    assert a.dtype == b.dtype
    assert a.shape == b.shape
    assert (np.isnan(a) == np.isnan(b)).all()
    kept = ~np.isnan(a)
    np.testing.assert_array_equal(bits(np.ascontiguousarray(a))[kept], bits(np.ascontiguousarray(b))[kept])


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div"])
def test_arithmetic_rounds_the_exact_result_once(name):
    x, y = PAIRS
    got = getattr(N, name)(x, y)
    exact = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}[name]
    with np.errstate(all="ignore"):
        same_bits(got, exact(x.astype(np.float64), y.astype(np.float64)).astype(np.float32))  # 53 >= 2 * 24 + 2


def test_maximum_and_minimum_order_the_zeros_and_pass_nan():
    x, y = PAIRS
    largest, least = N.maximum(x, y), N.minimum(x, y)
    for a, b, high, low in zip(x, y, largest, least, strict=True):
        if np.isnan(a) or np.isnan(b):
            assert np.isnan(high) and np.isnan(low)
        elif a == b == 0:
            assert np.signbit(high) == (np.signbit(a) and np.signbit(b))
            assert np.signbit(low) == (np.signbit(a) or np.signbit(b))
        else:
            assert high == max(a, b) and low == min(a, b)
    same_bits(N.maximum(x, N.zero), N.maximum(x, np.zeros_like(x)))
    same_bits(N.maximum(np.float32(-0.0).reshape(()), N.zero), np.array(0.0, np.float32))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
def test_untyped_scalars_take_the_other_dtype(dtype):
    x = N.cast(np.array([1.5, -2.0]), dtype)
    for y in (N.add(x, N.one), N.mul(N.zero, x), N.maximum(x, N.zero), N.where(np.array([True, False]), x, N.zero)):
        assert y.dtype.name == dtype
    assert N.literal(0.1, x).dtype.name == dtype


def loop_sum(x):
    total = x.dtype.type(0)
    with np.errstate(all="ignore"):
        for term in x:
            total = x.dtype.type(total + term)
    return total


@law
@given(n=st.integers(0, 60), seed=st.integers(0, 2**32), dtype=st.sampled_from([np.float16, np.float32, np.float64]))
@example(n=1, seed=0, dtype=np.float32)
def test_a_sum_is_the_left_fold_from_zero(n, seed, dtype):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(n, 3)) * 2.0 ** rng.integers(-8, 8, (n, 3))).astype(dtype)
    x[rng.random(x.shape) < 0.2] = -0.0
    got = N.sum(x, (0,))
    same_bits(got, np.array([loop_sum(x[:, j]) for j in range(3)], dtype))
    wide = np.broadcast_to(x[:, :, None], (n, 3, 70))
    same_bits(N.sum(wide, (0,), keepdims=True), np.broadcast_to(got[None, :, None], (1, 3, 70)))


def test_a_sum_over_several_axes_goes_in_row_major_order():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(3, 4, 5)).astype(np.float32)
    same_bits(N.sum(x, (2, 0)), np.array([loop_sum(x[:, j].ravel()) for j in range(4)], np.float32))
    assert N.sum(x, (0, 2), keepdims=True).shape == (1, 4, 1)
    same_bits(N.sum(x, ()), x)


@pytest.mark.parametrize("n", [0, 1, 7, 8, 30])
def test_a_sum_of_negative_zeros_starts_at_positive_zero(n):
    assert not np.signbit(N.sum(np.full((n,), -0.0, np.float32), (0,)))


@law
@given(
    m=st.integers(0, 5), n=st.integers(0, 6), k=st.integers(0, 40), seed=st.integers(0, 2**32),
    dtype=st.sampled_from([np.float32, np.float64, np.float16]),
    lead=st.sampled_from([((), ()), ((2,), (2,)), ((3, 2), (2,))]),
)  # fmt: skip
def test_dot_is_its_definition_bit_for_bit(m, n, k, seed, dtype, lead):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(*lead[0], m, k)) * 2.0 ** rng.integers(-30, 12, (*lead[0], m, k))).astype(dtype)
    w = rng.choice(np.array([0.0, -0.0, 1.0, -3.25, 1e-4, 0.1]), (*lead[1], n, k)).astype(dtype)
    same_bits(N.dot(x, w), fold_dot(N, x, w))


def test_dot_is_its_definition_on_extremes_and_at_size():
    rng = np.random.default_rng(0)
    with np.errstate(all="ignore"):
        x, w = rng.choice(EXTREMES, (6, 4)), rng.choice(EXTREMES, (7, 4))
        same_bits(N.dot(x, w), fold_dot(N, x, w))
    for m, n in ((300, 500), (1, 700), (700, 1)):
        x, w = rng.normal(size=(m, 37)).astype(np.float32), rng.normal(size=(n, 37)).astype(np.float32)
        same_bits(N.dot(x, w), fold_dot(N, x, w))
        order = floats.Execution(floats.left_fold(37))
        assert floats.execute(order, x[0], w[-1]) == N.dot(x, w)[0, -1]


def test_dot_never_fuses():
    x = np.array([[1.0, 1 + 2.0**-12]], np.float32)
    w = np.array([[-1.0, 1 + 2.0**-12]], np.float32)
    assert N.dot(x, w)[0, 0] == np.float32(2.0**-11)  # fused: 2^-11 + 2^-24


def test_integers_wrap_and_divide_toward_zero():
    x, y = np.array([127, -7, 7], np.int8), np.array([1, 2, -2], np.int8)
    assert N.add(x, y).tolist() == [-128, -5, 5]
    assert N.div(x, y).tolist() == [127, -3, -3]
    assert N.dot(x[None], y[None]).dtype == np.int8
    with pytest.raises(DomainError, match="divided by zero"):
        N.div(x, np.zeros(3, np.int8))


def test_casts_have_one_meaning_each():
    x = np.array([1.9, -1.9, 300.0, -300.0, np.nan, np.inf, -np.inf, -0.0], np.float32)
    assert N.cast(x, "i8").tolist() == [1, -1, 127, -128, 0, 127, -128, 0]
    assert N.cast(x, "u8").tolist() == [1, 0, 255, 0, 0, 255, 0, 0]
    assert N.cast(x, "i64").tolist()[5:7] == [2**63 - 1, -(2**63)]
    assert N.cast(x, "bool").tolist() == [True, True, True, True, True, True, True, False]
    assert N.cast(np.array([300, -1]), "u8").tolist() == [44, 255]
    assert N.cast(np.array([2**24 + 1, 2**62 + 2**37]), "f32").tolist() == [2.0**24, 2.0**62]
    twice = 2**62 + 2**54 + 1  # above the midpoint of two bfloat16 numbers by less than float32 sees
    assert float(N.cast(np.array([twice]), "bf16")[0]) == 2.0**62 + 2.0**55
    assert float(N.cast(np.array([1 + 2.0**-8 + 2.0**-40]), "bf16")[0]) == 1 + 2.0**-7
    with pytest.raises(Unsupported, match="fp8"):
        N.cast(x, "f8e4m3")
    with pytest.raises(ShapeError, match="no dtype"):
        N.cast(x, "float33")


def test_round_to_keeps_the_dtype_and_moves_the_value():
    x = np.array([0.1, 2.5, 3.5, 1e9, -1e9], np.float32)
    assert N.round_to(x, "i8").tolist() == [0, 2, 4, 127, -128]
    assert N.round_to(x, "f16").dtype == np.float32
    assert N.round_to(x, "f16")[0] == np.float32(np.float16(0.1))


def test_max_and_argmax():
    x = np.array([[-0.0, 0.0, -0.0], [1.0, np.nan, 2.0], [3.0, 3.0, -np.inf]], np.float32)
    got = N.max(x, (1,))
    assert not np.signbit(got[0]) and np.isnan(got[1]) and got[2] == 3.0
    assert np.signbit(N.max(x[:1, :1], (1,)))[0]
    assert N.argmax(x, 1).tolist() == [0, 1, 0]
    with pytest.raises(DomainError, match="largest of no values"):
        N.max(x[:, :0], (1,))
    with pytest.raises(DomainError, match="largest of no values"):
        N.argmax(x[:, :0], 1)


def test_gather_and_scatter_add_are_transposes_in_index_order():
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    indices = np.array([[2, 0], [-1, 2]])
    assert N.gather(x, indices, 1).shape == (3, 2, 2)
    np.testing.assert_array_equal(N.gather(x, indices, 1), np.take(x, indices, axis=1))
    terms = np.array([1e8, 1.0, -1e8, 1.0], np.float32)
    assert N.scatter_add(terms, np.array([1, 1, 1, 1]), 0, 3).tolist() == [0.0, 1.0, 0.0]
    back = N.scatter_add(N.gather(x, indices, 1), indices, 1, 4)
    np.testing.assert_array_equal(back, x * np.array([1, 0, 2, 1], np.float32))
    with pytest.raises(DomainError, match="out of range"):
        N.gather(x, np.array([4]), 1)


def test_windows_show_every_place_of_a_kernel():
    x = np.arange(2 * 5 * 6, dtype=np.float32).reshape(1, 2, 5, 6)
    got = N.windows(x, (2, 3), (2, 1), (1, 2), (1, 0), (0, 1), -1.0)
    assert got.shape == (1, 2, 3, 3, 2, 3)
    assert (got[0, 0, 0, :, 0] == -1).all()
    np.testing.assert_array_equal(got[0, 1, 1, 1], x[0, 1, 1:3, 1:6:2])
    assert got[0, 0, 2, 2, 1, 2] == -1


def test_structure_moves_values_only():
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert N.slice(x, (0, 2), (2, -1), (1, -1)).tolist() == [[2, 1, 0], [5, 4, 3]]
    assert N.pad(x, (1, 0), (0, -1), 9).tolist() == [[9, 9], [0, 1], [3, 4]]
    assert N.concat([x, x], 1).shape == (2, 6)
    assert N.permute(x, (1, 0)).shape == (3, 2)
    assert N.broadcast(x, (4, 2, 3)).shape == (4, 2, 3)
    assert N.reshape(x, (3, 2)).tolist() == [[0, 1], [2, 3], [4, 5]]


def test_comparisons_with_nan_are_false():
    nan, one = np.array([np.nan], np.float32), np.array([1.0], np.float32)
    assert not N.less(nan, one)[0] and not N.less_equal(one, nan)[0] and not N.equal(nan, nan)[0]
    assert N.isnan(nan)[0] and not N.isnan(one)[0]


def test_functions_are_correctly_rounded_and_silent():
    x = np.array([0.0, 1.0, -1.0, np.nan, np.inf], np.float32)
    for name in ("exp", "log", "tanh", "sigmoid", "expm1", "log1p", "sin", "cos", "erf", "sqrt", "softplus", "silu",
                 "gelu"):  # fmt: skip
        same_bits(getattr(N, name)(x), floats.rounded(name, x))
