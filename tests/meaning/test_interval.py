"""The interval systems enclose: Real inside IntervalReal, Float (and any other order of sums) inside IntervalFloat."""

from fractions import Fraction

import flint
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from torchlean import floats
from torchlean.errors import DomainError, UsageError
from torchlean.meaning import Float, IntervalFloat, IntervalReal, Real, cells, fold_dot

FLOAT, REAL, IR, IF = Float(), Real(), IntervalReal(), IntervalFloat()
law = settings(deadline=None, derandomize=True, max_examples=120)
EXTREMES = [0.0, -0.0, 2.0**-149, -(2.0**-149), 2.0**-126, 3.4028234663852886e38, -3.4028234663852886e38, np.inf,
            -np.inf, 1.0, -1.0, 0.5, 88.0, -104.0]  # fmt: skip
number = st.one_of(st.sampled_from(EXTREMES), st.floats(width=32, allow_nan=False), st.floats(-4, 4, width=32))
finite = number.filter(np.isfinite)

UNARY = [
    "neg", "abs", "sqrt", "floor", "round", "exp", "log", "tanh", "sigmoid", "expm1", "log1p", "sin", "cos", "erf",
    "softplus", "silu", "gelu",
]  # fmt: skip
BINARY = ["add", "sub", "mul", "div", "maximum", "minimum", "less", "less_equal", "equal"]


@st.composite
def boxes(draw, values=number):
    """An interval, and a float inside: an end, or something between."""
    a, b = draw(values), draw(values)
    lo, hi = (a, a) if draw(st.integers(0, 4)) == 0 else (min(a, b), max(a, b))
    middle = float(np.float32(np.clip(np.float32(draw(values)), lo, hi)))
    return lo, hi, draw(st.sampled_from([lo, hi, middle]))


def ranges(N, lo, hi):
    return N.enclose(np.array([lo]), np.array([hi]), "f32")


def f32(*values):
    return np.array(values, np.float32)


def real(*values):
    return REAL.constant(f32(*values))


def holds(box, value):
    """Whether the real or the decided bool lies in the box, exactly."""
    if isinstance(value, np.ndarray):
        return bool(box.contains(value).all())
    (v,) = value.values.ravel().tolist()
    lo, hi = float(box.lo.ravel()[0]), float(box.hi.ravel()[0])
    if isinstance(v, flint.arb):  # some real of the ball lies inside; balls are far narrower than float64 steps
        return flint.arb(lo) <= v.upper() and flint.arb(hi) >= v.lower()
    exact = Fraction(int(v.numerator), int(v.denominator))
    return (lo == -np.inf or Fraction(lo) <= exact) and (hi == np.inf or Fraction(hi) >= exact)


@pytest.mark.parametrize("name", BINARY)
@law
@given(x=boxes(finite), y=boxes(finite))
@example(x=(-1.0, 1.0, 0.0), y=(0.0, 1.0, 1.0))
@example(x=(1.0, 1.0, 1.0), y=(-0.0, 0.0, 0.0))
def test_real_inside_interval(name, x, y):
    box = getattr(IR, name)(ranges(IR, *x[:2]), ranges(IR, *y[:2]))
    try:
        value = getattr(REAL, name)(real(x[2]), real(y[2]))
    except DomainError:
        assert box.nan.all()
        return
    assert holds(box, value)


@pytest.mark.parametrize("name", UNARY)
@law
@given(x=boxes(finite))
@example(x=(-1.0, 1.0, 0.5))
@example(x=(-1.0, 0.0, -0.5))
@example(x=(1.5, 1.6, 1.5703125))
def test_real_inside_interval_for_functions(name, x):
    box = getattr(IR, name)(ranges(IR, *x[:2]))
    if name in ("exp", "expm1", "sin", "cos", "softplus", "silu", "gelu") and abs(x[2]) > 1e5:
        return  # the balls of Real are not for these; the float law covers them
    try:
        value = getattr(REAL, name)(real(x[2]))
    except DomainError:
        assert box.nan.all()
        return
    assert holds(box, value)


def flushed(x):
    return np.where(np.abs(x) < 2.0**-126, np.copysign(0, x), x).astype(np.float32)


@pytest.mark.parametrize("name", BINARY)
@law
@given(x=boxes(), y=boxes())
@example(x=(0.0, 1.0, 0.0), y=(5.0, np.inf, np.inf))
@example(x=(-np.inf, np.inf, np.inf), y=(-np.inf, np.inf, -np.inf))
@example(x=(1.0, np.inf, np.inf), y=(1.0, np.inf, np.inf))
@example(x=(2.0**-126, 2.0**-126, 2.0**-126), y=(0.25, 0.25, 0.25))
def test_float_inside_interval(name, x, y):
    box = getattr(IF, name)(ranges(IF, *x[:2]), ranges(IF, *y[:2]))
    operation = getattr(FLOAT, name)
    result = operation(f32(x[2]), f32(y[2]))
    assert box.contains(result).all()
    daz = operation(flushed(f32(x[2])), flushed(f32(y[2])))  # subnormals may be flushed
    assert box.contains(daz).all()
    assert daz.dtype == bool or box.contains(flushed(daz)).all()


@pytest.mark.parametrize("name", UNARY)
@law
@given(x=boxes())
@example(x=(-np.inf, np.inf, np.inf))
@example(x=(0.0, 1.0, 0.0))
@example(x=(-2.0, -1.0, -1.5))
def test_float_inside_interval_for_functions(name, x):
    box = getattr(IF, name)(ranges(IF, *x[:2]))
    assert box.contains(getattr(FLOAT, name)(f32(x[2]))).all()
    assert box.contains(getattr(FLOAT, name)(flushed(f32(x[2])))).all()


def test_point_intervals_of_floats_are_points_where_nothing_may_differ():
    x, y = ranges(IF, 1.5, 1.5), ranges(IF, 0.1, 0.1)
    for name in ("add", "sub", "mul", "div", "maximum"):
        box = getattr(IF, name)(x, y)
        assert box.lo == box.hi == getattr(FLOAT, name)(f32(1.5), box_value(y))


def box_value(y):
    return y.lo.astype(np.float32)


def test_real_intervals_are_tight():
    x = ranges(IR, 1.0, 2.0)
    product = IR.mul(x, ranges(IR, -3.0, 1.0))
    assert (IR.add(x, x).lo, product.lo, product.hi) == (2.0, -6.0, 2.0)
    third = IR.div(ranges(IR, 1.0, 1.0), ranges(IR, 3.0, 3.0))
    assert third.hi == np.nextafter(third.lo, 1)


def test_dependence_on_one_value_is_seen():
    x = ranges(IR, -1.0, 2.0)
    assert (IR.mul(x, x).lo, IR.mul(x, x).hi) == (0.0, 4.0)
    assert (IR.sub(x, x).lo, IR.sub(x, x).hi) == (0.0, 0.0)
    assert IR.less_equal(x, x).lo.all() and not IR.less(x, x).hi.any()
    other = ranges(IR, -1.0, 2.0)
    assert IR.mul(x, other).lo == -2.0


def rows(rng, shape, wide):
    """Ends and a point between, float32."""
    point = (rng.normal(size=shape) * 2.0 ** rng.integers(-10, 10, shape)).astype(np.float32)
    point[rng.random(shape) < 0.2] = 0
    width = np.abs(rng.normal(size=(2, *shape))) * (rng.random(shape) < wide)
    low, high = (point - width[0]).astype(np.float32), (point + width[1]).astype(np.float32)
    return np.minimum(low, point), np.maximum(high, point), point


@law
@given(m=st.integers(1, 3), n=st.integers(1, 3), k=st.integers(0, 12), seed=st.integers(0, 2**32),
       wide=st.sampled_from([(0, 0), (0.7, 0), (0, 0.7), (0.7, 0.7)]))  # fmt: skip
def test_dot_encloses_real_and_every_float_execution(m, n, k, seed, wide):
    rng = np.random.default_rng(seed)
    (xl, xh, x), (wl, wh, w) = rows(rng, (m, k), wide[0]), rows(rng, (n, k), wide[1])
    if rng.random() < 0.7:  # the corner that makes entry [0, 0] largest or smallest, where only x has width
        x = np.where((w[0] > 0) == (rng.random() < 0.5), xh, xl)
        w = np.where(rng.random(w.shape) < 0.5, wl, wh)
    real_box = IR.dot(IR.enclose(xl, xh), IR.enclose(wl, wh))
    float_box = IF.dot(IF.enclose(xl, xh), IF.enclose(wl, wh))
    exact = REAL.dot(REAL.constant(x), REAL.constant(w))
    for i in np.ndindex(m, n):
        value = REAL.slice(exact, i, (i[0] + 1, i[1] + 1), (1, 1))
        assert holds(IR.slice(real_box, i, (i[0] + 1, i[1] + 1), (1, 1)), value)
    assert float_box.contains(FLOAT.dot(x, w)).all()
    assert not float_box.nan.any()
    if k > 0:
        order = floats.permuted(floats.random_order(k, rng), rng.permutation(k))
        how = floats.Execution(order, fused=tuple((rng.random(k) < 0.5).tolist()), flush=bool(rng.random() < 0.5))
        got = np.array([[floats.execute(how, x[i], w[j]) for j in range(n)] for i in range(m)])
        assert float_box.contains(got).all()


@law
@given(k=st.integers(1, 12), seed=st.integers(0, 2**32), large=st.sampled_from([0, 10, 24]))
def test_a_bias_may_enter_a_fold_anywhere(k, seed, large):
    """An accumulator that starts at the bias rounds each partial sum at the bias's size."""
    rng = np.random.default_rng(seed)
    (xl, xh, x), (_, _, w) = rows(rng, (1, k), 0.5), rows(rng, (1, k), 0)
    b = (rng.normal(size=1) * 2.0**large).astype(np.float32)
    y = IF.permute(IF.reshape(IF.dot(IF.enclose(xl, xh), IF.constant(w)), (1, 1, 1)), (2, 0, 1))
    box = IF.add(y, IF.constant(b))
    for order in (floats.left_fold(k + 1), floats.random_order(k + 1, rng)):
        order = floats.permuted(order, [k, *range(k)])  # the bias first
        assert box.contains(floats.execute(floats.Execution(order), x, w, b)).all()
    assert box.contains(FLOAT.add(FLOAT.dot(x, w), b)).all()
    joined = IF.add(IF.constant(np.stack([b, b])), IF.reshape(IF.concat([y, y], 1), (2, 1)))
    assert (joined.lo == box.lo.ravel()).all() and (joined.hi == box.hi.ravel()).all()


@law
@given(k=st.integers(0, 10), seed=st.integers(0, 2**32))
def test_dot_is_nearly_as_tight_as_its_definition_where_one_factor_is_a_point(k, seed):
    rng = np.random.default_rng(seed)
    (xl, xh, _), (_, _, w) = rows(rng, (2, k), 0.7), rows(rng, (3, k), 0)
    x, weights = IR.enclose(xl, xh), IR.enclose(w, w)
    got, defined = IR.dot(x, weights), fold_dot(IR, x, weights)
    slack = 1e-13 * (np.maximum(np.abs(xl), np.abs(xh)).astype(float) @ np.abs(w).astype(float).T) + 1e-300
    assert (got.lo >= defined.lo - slack).all()
    assert (got.hi <= defined.hi + slack).all()


@pytest.mark.parametrize("N", [IR, IF], ids=["real", "float"])
def test_a_large_matrix_of_points_is_what_its_elements_are(N):
    """Its ends are made late, and what a product skips of them is 0."""
    rng = np.random.default_rng(5)
    w = np.where(rng.random((300, 256)) < 0.01, rng.standard_normal((300, 256)), 0.0).astype(np.float32)
    x = rng.standard_normal((2, 256)).astype(np.float32)
    late, now = N.constant(w), N.enclose(w, w, "float32")
    small = [N.dot(N.constant(x), N.constant(part)) for part in np.split(w, 3)]
    product = N.dot(N.constant(x), late)
    if N is IF:
        assert product.contains(FLOAT.dot(x, w)).all()
    else:
        for i, j in np.ndindex(2, 300):
            at = np.flatnonzero(w[j])
            y = sum((Fraction(a) * Fraction(b) for a, b in zip(x[i, at].tolist(), w[j, at].tolist(), strict=True)),
                    Fraction(0))  # fmt: skip
            assert product.lo[i, j] <= y <= product.hi[i, j]
    assert product.shape == (2, 300) and not product.nan.any()
    around = np.concatenate([part.hi - part.lo for part in small], axis=1)
    assert (product.hi - product.lo <= around * (1 + 2.0**-40) + 2.0**-140).all()
    turned = N.permute(N.constant(np.ascontiguousarray(w.T)), (1, 0))
    again = N.dot(N.constant(x), turned)
    assert np.array_equal(again.lo, product.lo) and np.array_equal(again.hi, product.hi)
    for other in (late, turned, N.reshape(N.constant(w.reshape(256, 300)), (300, 256))):
        assert other.shape == now.shape and other.dtype == "float32"
        assert all(np.array_equal(getattr(other, end), getattr(now, end)) for end in ("lo", "hi", "nan"))
    total, same = N.add(late, now), N.add(now, now)
    assert np.array_equal(total.lo, same.lo) and np.array_equal(total.hi, same.hi)
    w[7, 9] = np.nan
    spoiled = N.constant(w)
    assert spoiled.nan[7, 9] and spoiled.lo[7, 9] == -np.inf and spoiled.hi[7, 9] == np.inf
    assert N.dot(N.constant(x), spoiled).nan[:, 7].all()


def test_a_dot_of_zeros_is_zero():
    zero = IR.constant(np.zeros((2, 3), np.float32))
    box = IR.dot(zero, IR.enclose(-np.ones((1, 3)), np.ones((1, 3))))
    assert (box.lo == 0).all() and (box.hi == 0).all()


@law
@given(n=st.integers(0, 12), seed=st.integers(0, 2**32))
def test_sum_and_scatter_add_enclose(n, seed):
    rng = np.random.default_rng(seed)
    lo, hi, x = rows(rng, (n, 2), 0.5)
    box = IF.sum(IF.enclose(lo, hi), (0,))
    assert box.contains(FLOAT.sum(x, (0,))).all()
    assert box.contains(FLOAT.sum(x[rng.permutation(n)], (0,))).all()
    exact = REAL.sum(REAL.constant(x), (0,))
    inner = IR.sum(IR.enclose(lo, hi), (0,))
    for j in range(2):
        assert holds(IR.slice(inner, (j,), (j + 1,), (1,)), REAL.slice(exact, (j,), (j + 1,), (1,)))
    indices = rng.integers(-4, 4, n)
    spread = IF.scatter_add(IF.enclose(lo, hi), indices, 0, 4)
    assert spread.contains(FLOAT.scatter_add(x, indices, 0, 4)).all()


def test_overflow_of_a_partial_sum_may_be_nan():
    big = np.array([[3e38, 3e38, -3e38, -3e38]], np.float32)
    box = IF.dot(IF.constant(big), IF.constant(np.ones((1, 4), np.float32)))
    assert box.nan.all() and box.lo == -np.inf and box.hi == np.inf
    box = IR.dot(IR.constant(big), IR.constant(np.ones((1, 4), np.float32)))
    assert not box.nan.any() and box.lo <= 0 <= box.hi


def test_infinite_factors_give_anything():
    x = IF.constant(np.array([[np.inf, 1.0]], np.float32))
    box = IF.dot(x, IF.constant(np.array([[0.0, 1.0]], np.float32)))
    assert box.nan.all() and box.contains(np.array([[np.nan]])).all()


@law
@given(x=boxes(), y=boxes(), c=st.sampled_from([(False, False), (True, True), (False, True)]))
def test_where_is_the_hull_while_undecided(x, y, c):
    condition = IF.enclose(np.array([c[0]]), np.array([c[1]]), "bool")
    box = IF.where(condition, ranges(IF, *x[:2]), ranges(IF, *y[:2]))
    for chosen in {c[0], c[1]}:
        assert box.contains(FLOAT.where(np.array([chosen]), f32(x[2]), f32(y[2]))).all()


@law
@given(seed=st.integers(0, 2**32), n=st.integers(1, 6))
def test_argmax_ranges_hold_every_winner(seed, n):
    rng = np.random.default_rng(seed)
    lo, hi, x = rows(rng, (3, n), 0.5)
    x = np.round(x).clip(lo, hi)
    box = IF.argmax(IF.enclose(lo, hi), 1)
    assert box.contains(FLOAT.argmax(x, 1)).all()
    flags = rng.random((3, n)) < 0.2
    box = IF.argmax(IF.enclose(lo, hi, nan=flags), 1)
    assert box.contains(FLOAT.argmax(np.where(flags, np.nan, x).astype(np.float32), 1)).all()


def test_gather_by_a_range_is_the_hull_of_what_it_reaches():
    x = IF.constant(np.array([[1.0, 5.0, -2.0, 9.0]], np.float32))
    box = IF.gather(x, IF.enclose(np.array([0, -1, 3]), np.array([2, 0, 4]), "i64"), 1)
    assert box.lo.tolist() == [[-2.0, 1.0, 9.0]]
    assert box.hi.tolist() == [[5.0, 9.0, 9.0]]
    assert box.nan.tolist() == [[False, False, True]]


def test_scatter_add_by_a_range_may_reach_each_place():
    x = IR.constant(np.array([2.0, -1.0], np.float32))
    box = IR.scatter_add(x, IR.enclose(np.array([0, -1]), np.array([1, 0]), "i64"), 0, 3)
    assert box.lo.tolist() == [-1.0, -1.0, -1.0]
    assert box.hi.tolist() == [2.0, 2.0, 0.0]


@law
@given(x=boxes(), to=st.sampled_from(["f16", "bf16", "f64", "i8", "u8", "i64", "bool"]))
@example(x=(-0.5, 0.5, 0.25), to="bool")
def test_casts_and_round_to_enclose(x, to):
    box = ranges(IF, *x[:2])
    got = FLOAT.cast(f32(x[2]), to)
    assert IF.cast(box, to).contains(got).all()
    if to != "bool":
        assert IF.round_to(box, to).contains(FLOAT.round_to(f32(x[2]), to)).all()


INTEGERS = st.one_of(st.integers(-128, 127), st.sampled_from([-128, 127, 0, 1, -1]))


@law
@given(a=INTEGERS, b=INTEGERS, c=INTEGERS, d=INTEGERS,
       name=st.sampled_from(["add", "sub", "mul", "div", "less", "maximum"]))  # fmt: skip
@example(a=-128, b=-128, c=-1, d=-1, name="div")
def test_integer_ranges_enclose(a, b, c, d, name):
    x, y = (IF.enclose(np.array([min(p)]), np.array([max(p)]), "i8") for p in ((a, b), (c, d)))
    box = getattr(IF, name)(x, y)
    for p in (a, b):
        for q in (c, d):
            if name != "div" or q != 0:
                operands = np.array([p], np.int8), np.array([q], np.int8)
                assert box.contains(getattr(FLOAT, name)(*operands)).all()
    assert box.lo.min() >= -128 and box.hi.max() <= 127


def test_large_integers_do_not_wrap_unseen():
    x = IF.enclose(np.array([2**62]), np.array([2**62]), "i64")
    box = IF.add(x, x)
    assert (box.lo, box.hi) == (-(2**63), 2**63 - 1)
    assert IF.cast(x, "f32").contains(np.array([2.0**62])).all()


def test_structure_moves_ends_and_flags_together():
    x = IF.enclose(np.zeros((1, 1, 3)), np.ones((1, 1, 3)), "f32", nan=np.array([[[True, False, False]]]))
    box = IF.windows(x, (2,), (1,), (1,), (1,), (0,), -np.inf)
    assert box.shape == (1, 1, 3, 2)
    assert box.nan[0, 0].tolist() == [[False, True], [True, False], [False, False]]
    assert box.lo[0, 0, 0, 0] == box.hi[0, 0, 0, 0] == -np.inf
    joined = IF.concat([IF.pad(x, (0, 0, 1), (0, 0, 0), 7.0), x], 2)
    assert joined.hi[0, 0].tolist() == [7.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert joined.nan[0, 0].tolist() == [False, True, False, False, True, False, False]


def test_nan_never_counts_as_decided():
    x = IF.constant(f32(np.nan))
    assert x.nan.all()
    one = ranges(IF, 1.0, 1.0)
    for name in ("less", "less_equal", "equal"):
        box = getattr(IF, name)(x, one)
        assert box.may_be_false.all() and not box.lo.any()
    assert IF.isnan(x).may_be_true.all() and not IF.isnan(one).may_be_true.any()
    assert IF.add(x, one).nan.all() and IF.maximum(x, one).nan.all()


def test_bad_ends_are_refused():
    with pytest.raises(UsageError, match="lo <= hi"):
        IR.enclose(np.array([1.0]), np.array([0.0]))
    with pytest.raises(UsageError, match="lo <= hi"):
        IR.enclose(np.array([np.nan]), np.array([0.0]))


def test_tolerances_widen_what_they_name():
    loose = IntervalFloat({"exp": (0.0, 2.0**-20)})
    x = ranges(loose, 1.0, 1.0)
    near, wide = IF.exp(x), loose.exp(x)
    assert wide.lo < near.lo and near.hi < wide.hi
    assert loose.tanh(x).lo == IF.tanh(x).lo


@law
@given(seed=st.integers(0, 2**32))
def test_widening_by_a_rounding_rule_holds_what_is_within_it(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=5).astype(np.float32)
    box = IF.widen(IR.constant(x), np.full(5, 1e-6))
    near = (x + rng.uniform(-1e-6, 1e-6, 5)).astype(np.float32)
    inside = np.abs(near.astype(float) - x.astype(float)) <= 1e-6
    assert box.contains(near)[inside].all()
    assert IF.widen(IR.constant(x), np.full(5, np.inf)).nan.all()
    assert IF.widen(IR.constant(x), np.full(5, np.nan)).nan.all()


def test_ranges_print():
    assert cells(ranges(IR, 1.0, 2.0)) == ["[1, 2]"]
    assert cells(IF.enclose(np.array([False]), np.array([True]), "bool")) == ["true or false"]
    assert cells(IF.constant(f32(np.nan))) == ["[-inf, inf] or nan"]
