"""Interval arithmetic, held against exact rationals: every result is the smallest interval of its format."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from torchlean import floats
from torchlean.errors import DomainError, ShapeError, UsageError
from torchlean.floats import BINARY32, BINARY64, Interval, Rounding
from torchlean.floats.interval import around, enclose, point, quotients
from torchlean.floats.interval.matrix import matmul_ends, sparse_ends
from torchlean.floats.steps import BLOCK

law = settings(deadline=None, derandomize=True, max_examples=60)
both = pytest.mark.parametrize("fmt", [BINARY32, BINARY64], ids=str)
INF = float("inf")


@st.composite
def intervals(draw, fmt, bounded=False):
    """A pair of ends, often equal, often at an extreme, sometimes unbounded."""
    tiny, normal, most = fmt.smallest_subnormal, fmt.smallest_normal, fmt.max
    ends = [0.0, -0.0, tiny, -tiny, normal, -normal, most, -most, 1.0, -1.0, 3.0, 1 - fmt.unit_roundoff]
    number = st.one_of(
        st.floats(width=fmt.dtype.itemsize * 8, allow_nan=False, allow_infinity=False),
        st.sampled_from(ends),
        st.integers(-5, 5).map(float),
    )
    a = draw(number)
    lo, hi = sorted((a, a if draw(st.integers(0, 4)) == 0 else draw(number)))
    if not bounded and draw(st.integers(0, 9)) == 0:
        lo = -INF
    if not bounded and draw(st.integers(0, 9)) == 0:
        hi = INF
    return lo, hi


def of(pair, fmt):
    return Interval(np.array([pair[0]], fmt.dtype), np.array([pair[1]], fmt.dtype))


def product(x, y):
    """Exact, with 0 times an infinite end 0."""
    return 0 if x == 0 or y == 0 else _sign_product(x, y) if INF in (abs(x), abs(y)) else Fraction(x) * Fraction(y)


def _sign_product(x, y):
    return INF if (x > 0) == (y > 0) else -INF


def total(x, y):
    return x + y if INF in (abs(x), abs(y)) else Fraction(x) + Fraction(y)


def quotient(x, y):
    if y in (INF, -INF):
        return 0
    return _sign_product(x, y) if abs(x) == INF else Fraction(x) / Fraction(y)


def exact_add(a, b):
    return total(a[0], b[0]), total(a[1], b[1])


def exact_sub(a, b):
    return total(a[0], -b[1]), total(a[1], -b[0])


def exact_mul(a, b):
    four = [product(x, y) for x in a for y in b]
    return min(four), max(four)


def exact_div(a, b):
    """The hull of the quotients by nonzero numbers, piece by piece of the divisor."""
    if a[0] == a[1] == 0:
        return 0, 0
    found = []
    for side in (-1, 1):
        lo, hi = (max(b[0], 0.0), b[1]) if side > 0 else (b[0], min(b[1], 0.0))
        if (hi <= 0 and side > 0) or (lo >= 0 and side < 0):
            continue
        for x in a:
            for y in (lo, hi):
                limit = quotient(x, y) if y else 0 if x == 0 else INF if (x > 0) == (side > 0) else -INF
                found.append(limit)
    return min(found), max(found)


def rounded(q, fmt, mode):
    return q if q in (INF, -INF) else floats.round_rational(Fraction(q), fmt, mode)


def assert_tightest(result, exact, fmt):
    assert result.lo.dtype == result.hi.dtype == fmt.dtype
    got = float(result.lo.ravel()[0]), float(result.hi.ravel()[0])
    assert got == (rounded(exact[0], fmt, Rounding.DOWN), rounded(exact[1], fmt, Rounding.UP))


BINARY = {
    "add": (lambda x, y: x + y, exact_add),
    "sub": (lambda x, y: x - y, exact_sub),
    "mul": (lambda x, y: x * y, exact_mul),
    "div": (lambda x, y: x / y, exact_div),
    "minimum": (lambda x, y: x.minimum(y), lambda a, b: (min(a[0], b[0]), min(a[1], b[1]))),
    "maximum": (lambda x, y: x.maximum(y), lambda a, b: (max(a[0], b[0]), max(a[1], b[1]))),
    "hull": (lambda x, y: x.hull(y), lambda a, b: (min(a[0], b[0]), max(a[1], b[1]))),
}
each_binary = pytest.mark.parametrize("name", BINARY)


@each_binary
@both
@law
@given(data=st.data())
def test_binary_operations_give_the_smallest_interval(name, fmt, data):
    a, b = data.draw(intervals(fmt)), data.draw(intervals(fmt))
    operation, exact = BINARY[name]
    if name == "div" and b[0] == b[1] == 0:
        with pytest.raises(DomainError, match=r"division by the interval \[0, 0\]"):
            operation(of(a, fmt), of(b, fmt))
        return
    assert_tightest(operation(of(a, fmt), of(b, fmt)), exact(a, b), fmt)


GRID = [-INF, -3.0, -1.0, -(2.0**-149), -0.0, 0.0, 2.0**-149, 0.5, 3.0, float(np.finfo(np.float32).max), INF]
BOXES = [(a, b) for a, b in itertools.product(GRID, GRID) if a <= b and a < INF and b > -INF]


@each_binary
@both
def test_every_pair_of_a_grid_of_signs_and_extremes(name, fmt):
    operation, exact = BINARY[name]
    pairs = [(a, b) for a in BOXES for b in BOXES if name != "div" or any(b)]
    lo_a, hi_a, lo_b, hi_b = (np.array([p[i][j] for p in pairs], fmt.dtype) for i in (0, 1) for j in (0, 1))
    result = operation(Interval(lo_a, hi_a), Interval(lo_b, hi_b))
    for (a, b), lo, hi in zip(pairs, result.lo, result.hi, strict=True):
        assert_tightest(Interval(lo, hi), exact(a, b), fmt)


UNARY = {
    "neg": (lambda x: -x, lambda a: (-a[1], -a[0])),
    "abs": (abs, lambda a: (0 if a[0] <= 0 <= a[1] else min(map(abs, a)), max(map(abs, a)))),
    "square": (lambda x: x.square(), lambda a: exact_square(a)),
}


def exact_square(a):
    low, high = UNARY["abs"][1](a)
    return product(low, low), product(high, high)


@pytest.mark.parametrize("name", UNARY)
@both
@law
@given(data=st.data())
def test_unary_operations_give_the_smallest_interval(name, fmt, data):
    a = data.draw(intervals(fmt))
    operation, exact = UNARY[name]
    assert_tightest(operation(of(a, fmt)), exact(a), fmt)


@both
@law
@given(data=st.data())
def test_square_roots_are_the_smallest(fmt, data):
    lo, hi = sorted(map(abs, data.draw(intervals(fmt))))
    hi = fmt.max if lo == INF else hi
    result = of((min(lo, hi), hi), fmt).sqrt()
    for root, x, up in ((result.lo, min(lo, hi), False), (result.hi, hi, True)):
        if x == INF:
            assert root == INF
            continue
        r, beside = Fraction(float(root[0])), (floats.next_down if up else floats.next_up)(root)[0]
        assert (r * r >= Fraction(x)) if up else (r * r <= Fraction(x))
        inner = Fraction(float(beside))
        assert r * r == Fraction(x) or ((inner * inner < Fraction(x)) if up else (inner * inner > Fraction(x)))


@both
@law
@given(data=st.data(), n=st.integers(-7, 12))
@example(data=None, n=3)
def test_integer_powers_enclose_and_are_close(fmt, data, n):
    a = (-2.0, 3.0) if data is None else data.draw(intervals(fmt, bounded=True))
    if n < 0 and a[0] <= 0 <= a[1]:
        return
    result = of(a, fmt) ** n
    powers = [Fraction(x) ** n for x in a] + ([Fraction(0)] if n > 0 and a[0] <= 0 <= a[1] else [])
    low, high = min(powers), max(powers)
    lo, hi = float(result.lo[0]), float(result.hi[0])
    assert lo == -INF or Fraction(lo) <= low
    assert hi == INF or Fraction(hi) >= high
    steps = 1 if fmt is BINARY32 else 2 * abs(n)  # (n - 1) 2^-52, in ulps of at least 2^-53
    if n >= 0:
        inner = np.array([lo, hi], fmt.dtype)
        for _ in range(steps):
            inner = np.array([floats.next_up(inner)[0], floats.next_down(inner)[1]])
        assert Fraction(float(inner[0])) >= low if np.isfinite(inner[0]) else True
        assert Fraction(float(inner[1])) <= high if np.isfinite(inner[1]) else True


def test_a_power_of_a_divisor_through_zero_is_unbounded():
    x = of((-2.0, 4.0), BINARY32)
    odd, even = x**-1, x**-2
    assert (odd.lo[0], odd.hi[0]) == (-INF, INF)
    assert (even.lo[0], even.hi[0]) == (1 / 16, INF)
    assert ((x**0).lo[0], (x**0).hi[0]) == (1, 1)


@both
@law
@given(data=st.data())
@example(data=None)
def test_quotients_are_the_two_pieces_of_an_extended_division(fmt, data):
    a, b = ((1.0, 2.0), (-2.0, 4.0)) if data is None else (data.draw(intervals(fmt)), data.draw(intervals(fmt)))
    if b[0] == b[1] == 0:
        return
    first, second = quotients(of(a, fmt), of(b, fmt))
    if b[0] < 0 < b[1] and not a[0] <= 0 <= a[1]:
        near = a[0] if a[0] > 0 else a[1]
        p, q = (quotient(near, end) for end in b)
        assert_tightest(first, (-INF, min(p, q)), fmt)
        assert_tightest(second, (max(p, q), INF), fmt)
    else:
        for piece in (first, second):
            assert_tightest(piece, exact_div(a, b), fmt)


@both
def test_long_arrays_and_broadcasts_agree_with_single_elements(fmt):
    rng = np.random.default_rng(3)
    lo = rng.normal(size=(2, BLOCK + 3)).astype(fmt.dtype)
    x, y = Interval(lo, lo + np.abs(lo)), Interval(lo[0] - 1, lo[0] + 1)
    for name, (operation, _) in BINARY.items():
        whole = operation(x, y)
        for i, j in ((0, 0), (1, 17), (1, BLOCK + 2)):
            one = operation(x[i, j], y[j])
            assert (one.lo, one.hi) == (whole.lo[i, j], whole.hi[i, j]), name


@both
@law
@given(data=st.data())
def test_sums_round_the_exact_sum_once(fmt, data):
    rows = data.draw(st.lists(intervals(fmt), min_size=1, max_size=6))
    x = Interval(np.array([r[0] for r in rows], fmt.dtype), np.array([r[1] for r in rows], fmt.dtype))
    exact = (-INF if -INF in x.lo else sum(map(Fraction, map(float, x.lo))),
             INF if INF in x.hi else sum(map(Fraction, map(float, x.hi))))  # fmt: skip
    assert_tightest(x.sum(), exact, fmt)


# sets


@both
@law
@given(data=st.data())
def test_midpoint_radius_and_width_describe_the_interval(fmt, data):
    a = data.draw(intervals(fmt))
    x = of(a, fmt)
    middle, radius, width = float(x.midpoint[0]), float(x.radius[0]), float(x.width[0])
    assert a[0] <= middle <= a[1] and np.isfinite(middle)
    if INF in (a[1], -a[0]):
        assert radius == width == INF
        return
    lo, hi = map(Fraction, a)
    exact = max(hi - Fraction(middle), Fraction(middle) - lo)
    assert radius == rounded(exact, fmt, Rounding.UP)
    assert width == rounded(hi - lo, fmt, Rounding.UP)
    left, right = x.split()
    assert (left.lo[0], right.hi[0]) == a and left.hi == right.lo == middle
    assert left.subset(x).all() and right.subset(x).all() and left.hull(right).lo == x.lo


def test_membership_is_exact():
    x = enclose(np.array([0.1]), np.array([0.1]), BINARY32)
    assert x.lo < x.hi and x.contains(0.1).all() and x.contains(Fraction(1, 10)).all()
    y = around("0.1", BINARY64)
    assert y.contains(Fraction(1, 10)).all() and not point(np.array(0.1)).contains(Fraction(1, 10)).all()
    assert y.contains(np.array([0.1, np.nan, INF])).tolist() == [True, False, False]
    assert around(2**60 + 1, BINARY64).contains(2**60 + 1).all()
    assert not Interval(np.array(0.0), np.array(2.0**60)).contains(2**60 + 1).all()


def test_sets_meet_and_join():
    x, y = of((0.0, 2.0), BINARY64), of((1.0, 3.0), BINARY64)
    both_ = x.intersection(y)
    assert (both_.lo[0], both_.hi[0]) == (1, 2)
    assert not x.disjoint(y).any() and x.disjoint(of((2.5, 3.0), BINARY64)).all()
    assert both_.subset(x).all() and not x.subset(y).any()
    assert (x.magnitude[0], x.mignitude[0], (-y).mignitude[0]) == (2, 0, 1)


def test_formats_convert_outward():
    x = Interval(np.array([0.1]), np.array([0.2]))
    narrow = x.to(BINARY32)
    assert x.subset(narrow.to(BINARY64)).all() and narrow.lo.dtype == np.float32
    assert narrow.to(BINARY64).to(BINARY32).lo == narrow.lo


def test_scalars_and_arrays_are_operands():
    x = of((1.0, 2.0), BINARY32)
    assert (2 - x).lo[0] == 0 and (1 / x).hi[0] == 1 and (x + 0.5).hi[0] == 2.5 and (3 * x).hi[0] == 6
    assert (np.float32([4.0]) - x).hi[0] == 3 and (x / np.float32(2)).lo[0] == 0.5
    assert x.shape == (1,) and x.fmt == BINARY32 and "float32" in repr(x) and "1.0" in repr(x[0])


def test_bad_intervals_are_refused():
    zero, one, nan = np.array([0.0, 0.0]), np.array([0.0, 1.0]), np.array([0.0, np.nan])
    for lo, hi in ((one, zero), (nan, one), (zero, nan), (np.array([INF]), np.array([INF])), (-np.array([INF]),) * 2):
        with pytest.raises(UsageError, match="lo <= hi, no NaN"):
            Interval(lo, hi)
    with pytest.raises(UsageError, match="of one format"):
        Interval(zero, zero.astype(np.float32))
    with pytest.raises(UsageError, match="of one format"):
        Interval(np.array([1]), np.array([2]))
    with pytest.raises(ShapeError, match="one shape"):
        Interval(zero, np.zeros(3))
    x, y = Interval(zero, one), Interval(np.float32([0]), np.float32([1]))
    for operation in (lambda: x + y, lambda: x.hull(y), lambda: x * np.float32([2]), lambda: x.disjoint(y)):
        with pytest.raises(UsageError, match="two formats"):
            operation()
    for number in (0.1, 10**40, float("nan")):
        with pytest.raises((UsageError, ValueError), match=r"not one of the interval's|NaN"):
            y + number
    with pytest.raises(UsageError, match="disjoint"):
        x.intersection(x + 2)
    with pytest.raises(UsageError, match="cut inside"):
        x.split(np.array(7.0))
    with pytest.raises(UsageError, match="neither true nor false"):
        bool(x)
    with pytest.raises(UsageError, match="power is an integer"):
        x**0.5
    with pytest.raises(DomainError, match="square root"):
        (x - 1).sqrt()
    with pytest.raises(UsageError, match="no floating-point format"):
        enclose(np.array([1]), np.array([2]))
    with pytest.raises(ValueError, match="read-only"):
        x.lo[0] = 5


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("size", [1.0, 2.0**-530, 2.0**500])
def test_products_with_a_matrix_of_few_entries(seed: int, size: float) -> None:
    """The exact hull lies inside, the ends are no wider than those of the whole product, and 0 stays 0."""
    rng = np.random.default_rng(seed)
    m, k, n = int(rng.integers(1, 4)), 256, 300
    w = np.where(rng.uniform(size=(n, k)) < rng.choice([0.002, 0.02]), rng.standard_normal((n, k)), 0.0)
    w[:5] = 0.0
    w *= size
    lo = rng.standard_normal((m, k)) * size
    hi = np.where(rng.uniform(size=lo.shape) < 0.5, lo, lo + rng.uniform(size=lo.shape) * size)
    lo[:, ::7] = hi[:, ::7] = 0.0
    found = sparse_ends(lo, hi, w)
    assert found is not None
    whole = matmul_ends(lo, hi, w.T, w.T)
    for i, j in itertools.product(range(m), range(n)):
        at = np.flatnonzero(w[j])
        factors = [Fraction(v) for v in w[j, at].tolist()]
        pairs = [(Fraction(a), Fraction(b)) for a, b in zip(lo[i, at].tolist(), hi[i, at].tolist(), strict=True)]
        least = sum((min(v * a, v * b) for v, (a, b) in zip(factors, pairs, strict=True)), Fraction(0))
        most = sum((max(v * a, v * b) for v, (a, b) in zip(factors, pairs, strict=True)), Fraction(0))
        assert found[0][i, j] <= least <= most <= found[1][i, j]
        if all(pair == (0, 0) for pair in pairs):
            assert found[0][i, j] == found[1][i, j] == 0
    wide, most_wide = found[1] - found[0], whole[1] - whole[0]
    assert (wide <= most_wide * (1 + 2.0**-40) + 2.0**-1000).all()


def test_what_is_not_plain_is_left_to_the_whole_product() -> None:
    w = np.zeros((300, 256))
    w[3, 4] = 2.0
    x = np.ones((1, 256))
    assert sparse_ends(x, x, w) is not None
    assert sparse_ends(x, x, w[:20]) is None  # small
    assert sparse_ends(x, x, np.ones((300, 256))) is None  # full
    assert sparse_ends(np.ones((17, 256)), np.ones((17, 256)), w) is None  # many rows
    assert sparse_ends(x, x, np.where(w > 0, INF, w)) is None and sparse_ends(x, x, 0 * w) is None
    assert sparse_ends(x, np.where(x > 0, INF, x), w) is None
    assert sparse_ends(x * 1e308, x * 1e308, w) is None  # overflow
