"""What the bounds of sums promise beyond all orders: fewer freedoms, one order, and how near the worst they come."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchlean import floats
from torchlean.errors import ShapeError, Unsupported, UsageError
from torchlean.floats import BFLOAT16, BINARY32, Execution

pytest.importorskip("ml_dtypes", reason="bfloat16 arrays need ml_dtypes")

law = settings(deadline=None, derandomize=True, max_examples=20)
UP = 1 + 2.0**-40
each_format = pytest.mark.parametrize("fmt", [BINARY32, BFLOAT16], ids=str)


def row(rng, n, fmt):
    """Terms of one magnitude, of many, near the underflow, of one sign, or below half an ulp of the first."""
    kind = rng.integers(5)
    x = rng.normal(size=n)
    if kind == 1:
        x *= 2.0 ** rng.integers(-40, 20, n)
    if kind == 2:
        x *= 2.0 ** (fmt.emin // 2 - rng.integers(-8, 16, n))
    if kind == 3:
        x = np.abs(x)
    if kind == 4:
        x = np.where(np.arange(n) > 0, fmt.unit_roundoff * (1 - rng.integers(0, 3, n) * 2.0**-6), 1.0)
    return floats.round_nearest(x, fmt)


def bound(x, w, b, **how):
    x, w, b = (np.abs(a.astype(np.float64)) for a in (x, w, b))
    leaves = np.count_nonzero(x * w) + np.count_nonzero(b)
    return floats.any_order_bound((float(x @ w) + float(b)) * UP, leaves, w.sum() * UP, x.sum() * UP, **how)


def distance(value, exact):
    return abs(floats.rational(float(value)) - exact)


def some_order(rng, n):
    orders = [floats.left_fold(n), floats.pairwise(n), floats.strided(n, 4), floats.random_order(n, rng)]
    return floats.permuted(orders[rng.integers(4)], rng.permutation(n))


@each_format
@pytest.mark.parametrize(("flush", "wide"), [(False, False), (False, True), (True, False)])
@law
@given(n=st.integers(1, 60), seed=st.integers(0, 2**32))
def test_fewer_freedoms_have_a_smaller_bound_that_holds(fmt, flush, wide, n, seed):
    rng = np.random.default_rng(seed)
    x, w, b = row(rng, n, fmt), row(rng, n, fmt), row(rng, 1, fmt)[0]
    exact = floats.exact_dot(x, w, float(b))
    limit = bound(x, w, b, fmt=fmt, flush=flush, wide=wide)
    assert limit <= bound(x, w, b, fmt=fmt)
    for _ in range(4):
        how = Execution(some_order(rng, n + 1), fused=tuple((rng.random(n + 1) < 0.5).tolist()), flush=flush)
        if wide:
            how = replace(how, wide=tuple((rng.random(n) < 0.4).tolist()))
        assert distance(floats.execute(how, x, w, b), exact) <= floats.rational(float(limit))


def test_the_linear_bound_is_reached_but_for_one_term():
    """1 + u + u + ...: every addition loses all of u, to the even neighbour."""
    n, u = 200, BFLOAT16.unit_roundoff
    x = floats.round_nearest(np.append(1.0, np.full(n - 1, u)), BFLOAT16)
    one = floats.round_nearest(np.ones(n), BFLOAT16)
    error = distance(floats.execute(Execution(floats.left_fold(n)), x, one), floats.exact_dot(x))
    tight = bound(x, one, x[0] * 0, fmt=BFLOAT16, flush=False, wide=False)
    assert error == floats.rational((n - 1) * u)
    assert tight <= n * u * (1 + (n - 1) * u) * (1 + 2.0**-30)
    assert float(bound(x, one, x[0] * 0, fmt=BFLOAT16)) > 1.4 * tight


def test_kept_subnormals_and_rounded_partial_sums_are_what_the_smaller_bounds_need():
    x, w, zero = np.float32([2.0**-127]), np.float32([2.0**-10]), np.float32(0)
    flushed = floats.execute(Execution(floats.left_fold(1), flush=True), x, w)
    assert distance(flushed, floats.exact_dot(x, w)) > floats.rational(float(bound(x, w, zero, flush=False)))
    kept = floats.execute(Execution(floats.left_fold(1)), x, w)
    assert distance(kept, floats.exact_dot(x, w)) <= floats.rational(float(bound(x, w, zero, flush=False)))


def test_one_product_and_deep_underflow_are_what_the_small_terms_are_for():
    """The rounding of a single product, and products whose rounding loses half a subnormal, far above N u of them."""
    for scale, n in ((1.0, 1), (2.0**-70, 1), (2.0**-70, 9)):
        x = np.full(n, (1 + 2.0**-12) * scale, np.float32)
        w = x if scale == 1 else np.full(n, 1.75 * 2.0**-9 * scale, np.float32)
        error = distance(floats.execute(Execution(floats.left_fold(n)), x, w), floats.exact_dot(x, w))
        limit = bound(x, w, np.float32(0), flush=False, wide=False)
        terms = x.astype(np.float64) * w.astype(np.float64)
        tight, _ = floats.left_fold_bound(terms, terms, products=True)
        relative = n * n * 2.0**-24 * float(terms[0])
        assert 0 < error <= floats.rational(float(tight)) and error <= floats.rational(float(limit))
        assert scale == 1 or error > floats.rational(16 * relative)


@pytest.mark.parametrize(("made", "n", "factor"), [
    ("for it", 2, 5), ("for it", 4, 2), ("for it", 6, 1.6), ("at random", 4, 6), ("at random", 6, 10)
])  # fmt: skip
def test_the_bound_is_within_a_stated_factor_of_the_worst_order_found(made, n, factor):
    rng = np.random.default_rng(0)
    for _ in range(3):
        if made == "for it":  # a first product that rounds badly, and terms that vanish beside it
            x, w = ((1 + rng.integers(0, 2**11, n) * 2.0**-23).astype(np.float32) for _ in range(2))
            x[1:] *= np.float32(2.0**-24)
        else:
            x, w = (np.abs(rng.normal(size=n)).astype(np.float32) for _ in range(2))
        how, error = floats.worst_execution(x, w, rng=rng, rounds=3)
        limit = float(bound(x, w, np.float32(0)))
        assert limit / factor < error <= limit
        true = distance(floats.execute(how, x, w), floats.exact_dot(x, w))
        assert abs(true - floats.rational(error)) <= true / 10**6


def test_the_search_is_not_better_off_by_chance():
    """It finds more than each of its starting families, and as much as every order of four leaves holds."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=4).astype(np.float32)
    exact = floats.exact_dot(x)
    most = 0.0
    for seed in range(400):
        order = floats.random_order(4, np.random.default_rng(seed))
        error = distance(floats.execute(Execution(order), x), exact)
        most = max(most, int(error.p) / int(error.q))
    assert floats.worst_execution(x, rng=rng)[1] >= most > 0


@law
@given(n=st.integers(1, 30), seed=st.integers(0, 2**32), flush=st.booleans())
def test_the_left_fold_stays_within_its_own_bound(n, seed, flush):
    rng = np.random.default_rng(seed)
    fmt = BINARY32 if rng.random() < 0.5 else BFLOAT16
    x, w, b = row(rng, n, fmt), row(rng, n, fmt), row(rng, 1, fmt)
    wx, ww = (np.append(a.astype(np.float64), last) for a, last in ((x, b[0]), (w, 1.0)))
    lower, upper = floats.mul_down(wx, ww), floats.mul_up(wx, ww)
    lost = fmt.smallest_normal * (np.abs(wx) + np.abs(ww)) * UP if flush else None
    limit, finite = floats.left_fold_bound(lower, upper, products=True, fmt=fmt, flushed=lost)
    assert finite
    exact = floats.exact_dot(x, w, float(b[0]))
    fold = floats.left_fold(n + 1)
    for fused in ((), (True,) * (n + 1), tuple((rng.random(n + 1) < 0.5).tolist())):
        got = floats.execute(Execution(fold, fused=fused, flush=flush), x, w, b[0])
        assert distance(got, exact) <= floats.rational(float(limit))


@law
@given(n=st.integers(1, 30), seed=st.integers(0, 2**32))
def test_the_left_fold_of_any_point_of_a_box_stays_within_the_bound_of_the_box(n, seed):
    rng = np.random.default_rng(seed)
    x = row(rng, n, BINARY32).astype(np.float64)
    wide = np.abs(x) * 2.0 ** rng.integers(-10, 2)
    lower, upper = floats.round_up(x - wide), floats.round_down(x + wide)
    limit, finite = floats.left_fold_bound(lower, upper, products=False)
    points = np.clip(rng.uniform(lower, upper, (5, n)).astype(np.float32), lower, upper)
    for point in points:
        got = floats.execute(Execution(floats.left_fold(n)), point)
        assert finite and distance(got, floats.exact_dot(point)) <= floats.rational(float(limit))


def test_the_left_fold_bound_is_tighter_where_signs_vary():
    rng = np.random.default_rng(9)
    x = rng.normal(size=(20, 1000)).astype(np.float32)
    size = np.abs(x.astype(np.float64)).sum(axis=1) * UP
    any_order = floats.any_order_bound(size, 1000, 1000, size)
    tight, finite = floats.left_fold_bound(x, x, products=False)
    assert finite.all()
    assert (tight < any_order / 20).all()
    errors = np.abs(np.add.accumulate(x, axis=1)[:, -1].astype(np.float64) - floats.rounded_sum(x.astype(np.float64)))
    assert (errors <= tight).all()


def test_the_left_fold_bound_is_reached_where_every_step_rounds_alike():
    n, u = 100, BINARY32.unit_roundoff
    x = np.append(1.0, np.full(n - 1, u))
    tight, _ = floats.left_fold_bound(x, x, products=False)
    assert (n - 1) * u <= tight <= (n - 1) * u * (1 + 2 * n * u)


def test_an_overflow_on_the_way_is_seen():
    x = np.array([[2.0**127, 2.0**127, -(2.0**127)], [1.0, 2.0, 3.0]])
    limit, finite = floats.left_fold_bound(x, x, products=False)
    assert finite.tolist() == [False, True]
    assert limit[0] == np.inf


def test_bad_terms_are_refused():
    with pytest.raises(UsageError, match="lo <= hi"):
        floats.left_fold_bound([1.0], [0.0], products=False)
    with pytest.raises(UsageError, match="lo <= hi"):
        floats.left_fold_bound([np.nan], [np.nan], products=False)
    with pytest.raises(ShapeError, match="one shape"):
        floats.left_fold_bound([1.0, 2.0], [3.0], products=False)
    with pytest.raises(ShapeError, match="one row"):
        floats.worst_execution(np.zeros((2, 2), np.float32), rng=np.random.default_rng(0))
    with pytest.raises(Unsupported, match="simulated through float64"):
        floats.execute(Execution(floats.left_fold(2)), np.zeros(2))
