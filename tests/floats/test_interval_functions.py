"""Elementary functions and matrix products of intervals, and Arb beside them. No tolerance but in stated widths."""

import itertools

import flint
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from torchlean import floats
from torchlean.errors import DomainError, ShapeError, UsageError
from torchlean.floats import BINARY32, BINARY64, Interval, Rounding
from torchlean.floats.elementary import FUNCTIONS
from torchlean.floats.interval import apply, enclose, from_arb, point, to_arb
from torchlean.floats.interval.functions import DECREASING, INCREASING

law = settings(deadline=None, derandomize=True, max_examples=40)
both = pytest.mark.parametrize("fmt", [BINARY32, BINARY64], ids=str)
DOMAINS = {"log": (0, np.inf), "log1p": (-1, np.inf), "sqrt": (0, np.inf), "log2": (0, np.inf), "log10": (0, np.inf),
           "asin": (-1, 1), "acos": (-1, 1), "atanh": (-1, 1), "acosh": (1, np.inf), "rsqrt": (0, np.inf)}  # fmt: skip
INF = np.inf


def boxes(name, fmt, seed, n=40):
    """Intervals of all widths inside the domain, some of them points."""
    rng = np.random.default_rng(seed)
    low, high = DOMAINS.get(name, (-INF, INF))
    a = rng.normal(size=n) * 2.0 ** rng.integers(-8, 6, n)
    b = np.where(rng.random(n) < 0.2, a, a + np.abs(rng.normal(size=n)) * 2.0 ** rng.integers(-20, 4, n))
    if low > -INF and high == INF:
        a, b = a - a.min() + low, b - a.min() + low
    elif high < INF:
        a, b = np.clip(a, low, high), np.clip(b, low, high)
    a, b = a.astype(fmt.dtype), b.astype(fmt.dtype)
    inside = (a < b) | ((a > low) & (b < high))
    return Interval(np.minimum(a, b)[inside], np.maximum(a, b)[inside])


@pytest.mark.parametrize("name", sorted(name for name, f in FUNCTIONS.items() if f.arity == 1))
@both
def test_a_function_s_range_holds_its_values(name, fmt):
    x = boxes(name, fmt, 1)
    result = apply(name, x)
    assert result.fmt == fmt
    for t in (0.0, 0.3, 1.0):
        inner = np.clip((x.lo + t * (x.hi - x.lo)).astype(fmt.dtype), x.lo, x.hi)
        down, up = (floats.rounded(name, inner, mode) for mode in (Rounding.DOWN, Rounding.UP))
        usable = np.isfinite(down) & np.isfinite(up)
        # The exact value lies in [down, up], neighbours; outward means to hold both where they are the ends.
        assert (result.lo <= down)[usable].all() and (up <= result.hi)[usable].all()


@pytest.mark.parametrize("name", sorted((INCREASING | DECREASING) & set(floats.ELEMENTARY)))
def test_monotone_functions_give_the_smallest_interval(name):
    x = boxes(name, BINARY32, 2)
    result = apply(name, x)
    start, stop = (x.lo, x.hi) if name in INCREASING else (x.hi, x.lo)
    np.testing.assert_array_equal(result.lo, floats.rounded(name, start, Rounding.DOWN))
    np.testing.assert_array_equal(result.hi, floats.rounded(name, stop, Rounding.UP))


def test_sine_and_cosine_see_their_extrema():
    ends = np.float32([[0, 1], [1, 2], [0, 7], [4, 5], [-1, 4], [3, 3.25], [1e6, 1e6 + 1]])
    x = Interval(ends[:, 0], ends[:, 1])
    sine, cosine = apply("sin", x), apply("cos", x)
    assert sine.hi[[1, 2, 4]].tolist() == [1, 1, 1] and sine.lo[[2, 3]].tolist() == [-1, -1]
    assert sine.hi[0] < 0.85 and sine.lo[0] == 0 and sine.lo[1] > 0.8
    assert cosine.hi[[0, 2, 4]].tolist() == [1, 1, 1] and cosine.lo[[2, 4, 5]].tolist() == [-1, -1, -1]
    whole = apply("sin", Interval(np.float32([-INF]), np.float32([INF])))
    assert (whole.lo[0], whole.hi[0]) == (-1, 1)


def test_unbounded_arguments_and_domains():
    line = Interval(np.array([-INF]), np.array([INF]))
    assert (apply("exp", line).lo[0], apply("exp", line).hi[0]) == (0, INF)
    assert (apply("tanh", line).lo[0], apply("tanh", line).hi[0]) == (-1, 1)
    closed = apply("log", Interval(np.array([0.0]), np.array([1.0])))
    assert (closed.lo[0], closed.hi[0]) == (-INF, 0)
    for name, lo, hi in (("log", -1.0, 1.0), ("log", 0.0, 0.0), ("log1p", -2.0, 0.0), ("sqrt", -1e-300, 1.0)):
        with pytest.raises(DomainError, match=f"{name} is not defined"):
            apply(name, Interval(np.array([1.0, lo]), np.array([1.0, hi])))
    with pytest.raises(UsageError, match="no elementary function"):
        apply("expo", line)


# matrix products


def exact_hull(a, b):
    """The exact hull of a product of interval matrices, as pairs of rationals."""
    k = a.shape[-1]
    result = {}
    for i, j in itertools.product(range(a.shape[-2]), range(b.shape[-1])):
        low = high = flint.fmpq(0)
        for t in range(k):
            corners = [
                floats.rational(float(x[i, t])) * floats.rational(float(y[t, j]))
                for x in (a.lo, a.hi) for y in (b.lo, b.hi)
            ]  # fmt: skip
            low, high = low + min(corners), high + max(corners)
        result[i, j] = low, high
    return result


def matrix(rng, m, n, fmt, kind):
    x = rng.normal(size=(m, n))
    if kind == "spread":
        x *= 2.0 ** rng.integers(-200 if fmt is BINARY64 else -40, 40, (m, n))
    if kind == "tiny":
        x *= fmt.smallest_normal if fmt is BINARY64 else 2.0**-70
    if kind == "zeros":
        x *= rng.random((m, n)) < 0.4
    x = x.astype(fmt.dtype)
    width = np.abs(x) * fmt.dtype.type(rng.choice([0, 2.0**-40, 0.01, 3])) * (rng.random((m, n)) < 0.7)
    return Interval((x - width).astype(fmt.dtype), (x + width).astype(fmt.dtype))


@pytest.mark.parametrize("kind", ["plain", "spread", "tiny", "zeros"])
@both
@law
@given(seed=st.integers(0, 2**32), k=st.integers(1, 12))
def test_a_matrix_product_holds_the_exact_hull_and_is_not_much_wider(kind, fmt, seed, k):
    rng = np.random.default_rng(seed)
    a, b = matrix(rng, 2, k, fmt, kind), matrix(rng, k, 2, fmt, rng.choice([kind, "plain"]))
    got = a @ b
    size = point(a.magnitude.astype(np.float64)) @ point(b.magnitude.astype(np.float64))
    for (i, j), (low, high) in exact_hull(a, b).items():
        lo, hi = floats.rational(float(got.lo[i, j])), floats.rational(float(got.hi[i, j]))
        assert lo <= low <= high <= hi
        rounding = 2 * (3 * k + 12) * floats.rational(2.0**-53) * floats.rational(float(size.hi[i, j]))
        rounding += 4 * k * floats.rational(2.0**-1020)
        if fmt is BINARY32:
            ulps = [floats.rational(float(floats.ulp(np.float64(end)))) for end in (got.lo[i, j], got.hi[i, j])]
            rounding += ulps[0] + ulps[1]
        assert hi - lo <= 3 * (high - low) / 2 + rounding
        if low == high == 0 and not (a.magnitude[i] * b.magnitude[:, j]).any():
            assert lo == hi == 0 or kind in ("tiny", "spread")


def test_products_of_points_hold_products_in_other_orders():
    rng = np.random.default_rng(8)
    a, b = rng.normal(size=(20, 300)), rng.normal(size=(300, 20))
    enclosed = point(a) @ point(b)
    fold = np.zeros((20, 20))
    for t in range(300):
        fold = fold + np.outer(a[:, t], b[t])
    assert enclosed.contains(fold).all()
    assert enclosed.contains(np.flip(a, 1) @ np.flip(b, 0)).all()
    exact = floats.rounded_dot(a[:, None, :], np.ascontiguousarray(b.T)[None])
    assert enclosed.contains(exact).all()


def test_batches_and_unbounded_and_overflowing_elements():
    rng = np.random.default_rng(9)
    a, b = matrix(rng, 4, 5, BINARY32, "plain"), matrix(rng, 5, 3, BINARY32, "plain")
    stack = Interval(np.stack([a.lo, 2 * a.lo]), np.stack([a.hi, 2 * a.hi]))
    batched = stack @ b
    np.testing.assert_array_equal(batched.lo[0], (a @ b).lo)
    lo = a.lo.copy()
    lo[1, 2] = -INF
    broken = Interval(lo, a.hi) @ b
    assert np.isinf(broken.lo[1]).all() and np.isinf(broken.hi[1]).all() and np.isfinite(broken.lo[[0, 2, 3]]).all()
    most = point(np.full((1, 2), np.finfo(np.float64).max))
    over = most @ most.move(np.transpose)
    assert (over.lo[0, 0], over.hi[0, 0]) == (-INF, INF)
    assert ((a @ b.lo).shape, (a.lo @ b).shape) == ((4, 3), (4, 3))
    with pytest.raises(ShapeError, match="matrix product of intervals"):
        a @ a


# Arb

OPERATIONS = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
}


@pytest.mark.parametrize("name", OPERATIONS)
@both
@law
@given(seed=st.integers(0, 2**32))
@example(seed=0)
def test_arb_s_balls_hold_our_intervals_up_to_one_rounding(name, fmt, seed):
    """At 300 bits Arb's ball of the same operation contains the exact range: ours meets it, and is never wider
    than the ball rounded outward."""
    rng = np.random.default_rng(seed)
    x, y = (enclose(m - r, m + r, fmt) for m, r in ((rng.normal(size=5) * 8, rng.random(5) * 2.0**-k) for k in (3, 9)))
    if name == "div":
        y = y + fmt.dtype.type(64)
    ours = OPERATIONS[name](x, y)
    with flint.ctx.workprec(300):
        theirs = from_arb([OPERATIONS[name](p, q) for p, q in zip(to_arb(x), to_arb(y), strict=True)], fmt)
    assert ours.subset(theirs).all()


@pytest.mark.parametrize("name", ["exp", "log", "tanh", "sin"])
def test_arb_s_values_at_points_lie_inside(name):
    x = boxes(name, BINARY64, 5)
    middle = x.midpoint
    ours = apply(name, x)
    with flint.ctx.workprec(200):
        for value, lo, hi in zip(middle.tolist(), ours.lo.tolist(), ours.hi.tolist(), strict=True):
            ball = getattr(flint.arb(value), name)()
            assert flint.arb(lo) <= ball <= flint.arb(hi)


def test_balls_and_intervals_convert_outward():
    x = Interval(np.array([0.1, -INF, 2.0, -1e308]), np.array([0.3, 5.0, 2.0, 1e308]))
    back = from_arb(to_arb(x), BINARY64)
    assert x.subset(back).all()
    assert np.isinf(back.lo[1]) and (back.lo[2], back.hi[2]) == (2, 2)
    assert 2 <= from_arb([flint.arb(1, 1)], BINARY32).hi[0] < 2.000001  # a radius has 30 bits
    with pytest.raises(UsageError, match="no NaN"):
        from_arb([flint.arb("nan")])
