"""Enclosures of elementary functions: every value inside, and close to the tightest."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchlean import floats
from torchlean.floats import Rounding
from torchlean.floats.elementary import FUNCTIONS

law = settings(deadline=None, derandomize=True, max_examples=100)
UNARY = [name for name, f in FUNCTIONS.items() if f.arity == 1]
unary = pytest.mark.parametrize("name", UNARY)
COMPOSED = ("sigmoid", "silu", "softplus", "gelu")  # the oracle composes them at 1000 bits at most


def points(name):
    """float64 numbers of every kind, in the domain."""
    rng = np.random.default_rng(17)
    n = 1500
    near = 1 + rng.normal(size=n) * 2.0 ** rng.integers(-50, 0, n)
    sized = [rng.normal(size=n) * scale for scale in (3, 200, 2.0 ** rng.integers(-60, 12, n))]
    x = np.concatenate([near, *sized])
    if name not in COMPOSED:
        x = np.concatenate([x, rng.normal(size=150) * 2.0 ** rng.integers(-1070, 1020, 150)])
    low, high = FUNCTIONS[name].domain
    return x[(x > low) & (x < high) & (x != 0)]


def directed(mpfr, name, x, mode):
    import gmpy2

    context = gmpy2.context(precision=53, emin=-1073, emax=1024, subnormalize=True, round=mode)
    return np.array(list(map(float, mpfr.values(name, [x], context))))


@unary
def test_a_point_is_enclosed_tightly(mpfr, name):
    x = points(name)
    low, high = floats.enclosure(name, x, x)
    down, up = directed(mpfr, name, x, 3), directed(mpfr, name, x, 2)
    assert np.all(low <= down), x[~(low <= down)][:5]
    assert np.all(high >= up), x[~(high >= up)][:5]
    with np.errstate(all="ignore"):
        slack = 2.0**-47 * np.abs(down) + 2.0**-1074
        assert np.all((low == down) | (down - low <= slack))
        assert np.all((high == up) | (high - up <= slack))


@unary
@law
@given(a=st.floats(), b=st.floats(), t=st.floats(0, 1))
def test_an_enclosure_holds_every_value_inside(name, a, b, t):
    if math.isnan(a) or math.isnan(b):
        return
    lo, hi = min(a, b), max(a, b)
    low, high = floats.enclosure(name, np.array([lo]), np.array([hi]))
    assert low[0] <= high[0]
    middle = lo + t * (hi - lo) if math.isfinite(hi - lo) else lo
    for x in (lo, hi, min(max(middle, lo), hi)):
        down = float(floats.rounded(name, np.array([x]), Rounding.DOWN)[0])
        up = float(floats.rounded(name, np.array([x]), Rounding.UP)[0])
        if not math.isnan(down):
            assert low[0] <= down
            assert high[0] >= up


@unary
def test_poles_zeros_and_ends_of_domains(name):
    f = FUNCTIONS[name]
    edges = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, 5e-324, *f.domain, *f.plain, *f.kernel.wide, *f.kernel.wide[::-1]]
    x = np.array([e for e in edges if f.domain[0] <= e <= f.domain[1]])
    x = np.concatenate([x, -x[(-x >= f.domain[0]) & (-x <= f.domain[1])]])
    down, up = (floats.rounded(name, x, mode) for mode in (Rounding.DOWN, Rounding.UP))
    x, down, up = (a[~np.isnan(down)] for a in (x, down, up))
    if name == "rsqrt":  # of the real function: a pole has the limit from inside the domain
        up, down = np.where(x == 0, np.inf, up), np.where(x == 0, np.inf, down)
    low, high = floats.enclosure(name, x, x)
    assert np.all(low <= down), (x, low, down)
    assert np.all(high >= up), (x, high, up)


@unary
def test_intervals_hold_samples(name):
    rng = np.random.default_rng(19)
    middle = rng.normal(size=400) * 2.0 ** rng.integers(-3, 5, 400)
    width = np.abs(rng.normal(size=400)) * 2.0 ** rng.integers(-10, 4, 400)
    lo, hi = (middle - width).astype(np.float32), (middle + width).astype(np.float32)
    low, high = floats.enclosure(name, lo.astype(np.float64), hi.astype(np.float64))
    inside = lo + (hi - lo) * rng.random((64, 400), np.float32)
    inside = np.clip(inside, lo, hi)
    down, up = (floats.rounded(name, inside, mode).astype(np.float64) for mode in (Rounding.DOWN, Rounding.UP))
    values = ~np.isnan(down)
    # A float32 below every value at or above `low`, and a float32 above: what the samples can refute.
    assert np.all((floats.round_down(low).astype(np.float64) <= down) | ~values)
    assert np.all((floats.round_up(high).astype(np.float64) >= up) | ~values)


def test_sine_and_cosine_reach_their_extrema():
    lo, hi = np.array([1.5, 4.0, -0.1, 3.0, 0.0, 1e10, -np.inf]), np.array([1.6, 5.0, 0.1, 3.2, 7.0, 1e10, 0.0])
    low, high = floats.enclosure("sin", lo, hi)
    assert high[0] == 1.0 > low[0] > 0.99
    assert low[1] == -1.0
    assert (low[2] < 0 < high[2]) and high[2] < 0.11
    assert (low[4], high[4]) == (low[6], high[6]) == (-1.0, 1.0)
    assert high[5] - low[5] < 1e-15
    low, high = floats.enclosure("cos", lo, hi)
    assert high[2] == 1.0
    assert low[3] == -1.0


@pytest.mark.parametrize(("name", "shift"), [("sin", 0.5), ("cos", 0.0)])
def test_extrema_near_and_far(name, shift):
    """Around each extremum, and on each side of it."""
    k = np.concatenate([np.arange(-40, 41), [3000, 123456789, -(10**12)]])
    place = (k + shift) * math.pi
    step = 1e-3
    sign = np.where(k % 2 == 0, 1.0, -1.0)
    low, high = floats.enclosure(name, place - step, place + step)
    np.testing.assert_array_equal(np.where(sign > 0, high, low), sign)
    for a, b in ((place - 2 * step, place - step), (place + step, place + 2 * step)):
        low, high = floats.enclosure(name, a, b)
        assert np.all(np.abs(np.where(sign > 0, high, low)) < 1)


def test_a_pole_of_the_tangent_opens_the_interval():
    low, high = floats.enclosure("tan", np.array([1.5, 1.5, -0.5, 4.7]), np.array([1.6, 1.57, 0.5, 4.8]))
    assert (low[0], high[0]) == (low[3], high[3]) == (-np.inf, np.inf)
    assert 14 < low[1] < high[1] < 1256
    assert -0.55 < low[2] < 0 < high[2] < 0.55


@pytest.mark.parametrize(("name", "place"), [("silu", -1.2784645427610738), ("gelu", -0.7517915246935645), ("cosh", 0)])
def test_the_bottom_of_a_valley(name, place):
    f = FUNCTIONS[name]
    low, high = floats.enclosure(name, np.array([place - 1.0, place + 0.5]), np.array([place + 1.0, place + 1.0]))
    assert low[0] == f.low
    assert high[0] > high[1] > low[1] > low[0] or high[0] == high[1] > low[1] > low[0]
    ends = np.array([place - 1.0, place + 1.0])
    assert high[0] >= floats.rounded(name, ends, Rounding.UP).max()


@pytest.mark.parametrize(("name", "least"), [("silu", -1.2784645427610738), ("gelu", -0.7517915246935645)])
def test_the_least_value_is_a_lower_bound(name, least):
    """f is convex around its minimum: where its slope changes sign, the tangents bound it from below."""
    import flint

    f = FUNCTIONS[name]
    with flint.ctx.workprec(300):
        a, b = flint.arb(f.shape.first), flint.arb(f.shape.last)
        assert slope(name, a) < 0 < slope(name, b)
        width = b - a
        assert f.ball(a) + slope(name, a) * width > flint.arb(f.shape.least)
        assert f.ball(a) < flint.arb(float(np.nextafter(f.shape.least, 0.0)))


def slope(name, x):
    import flint

    if name == "silu":
        s = 1 / (1 + (-x).exp())
        return s * (1 + x * (1 - s))
    phi = (-x * x / 2).exp() / (2 * flint.arb.pi()).sqrt()
    return (-x / flint.arb(2).sqrt()).erfc() / 2 + x * phi


def test_enclosures_outside_the_domain():
    low, high = floats.enclosure("log", np.array([-2.0, -2.0, 0.0]), np.array([-1.0, 1.0, 1.0]))
    assert low.tolist() == [-np.inf] * 3
    assert high.tolist() == [np.inf, 0.0, 0.0]
    low, high = floats.enclosure("sqrt", np.array([-2.0, -1.0]), np.array([-1.0, 4.0]))
    assert (low.tolist(), high.tolist()) == ([-np.inf, 0.0], [np.inf, 2.0])
    low, high = floats.enclosure("asin", np.array([-2.0, 2.0]), np.array([0.0, 3.0]))
    assert (low[0], high.tolist()) == (FUNCTIONS["asin"].low, [0.0, np.inf])
    low, high = floats.enclosure("rsqrt", np.array([-1.0, 0.0]), np.array([4.0, 1.0]))
    assert high.tolist() == [np.inf, np.inf]
    assert 0.5 - 2.0**-50 < low[0] <= 0.5 < 1 - 2.0**-50 < low[1] <= 1
    low, high = floats.enclosure("exp", np.array([np.nan]), np.array([1.0]))
    assert (low[0], high[0]) == (-np.inf, np.inf)


def test_a_number_is_enclosed_as_an_array_is() -> None:
    """Near the extremes of a wave, far from 0, and elsewhere: of shape [] as of shape [1]."""
    for lo, hi in ((0.0, 1.0), (1.0, 4.0), (2000.0, 2001.0), (-1e300, 1e300)):
        for name in ("sin", "cos", "exp"):
            alone = floats.enclosure(name, np.float64(lo), np.float64(hi))
            assert [e.tolist() for e in floats.enclosure(name, np.array([lo]), np.array([hi]))] == [[e] for e in alone]
