"""Elementary functions against independent arithmetic (MPFR where it is installed) and against their own claims."""

import math

import flint
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchlean import floats
from torchlean.errors import UsageError
from torchlean.floats import BINARY32, BINARY64, Rounding

law = settings(deadline=None, derandomize=True, max_examples=150)
names = pytest.mark.parametrize("name", floats.ELEMENTARY)
EXTREMES = [0.0, -0.0, 2.0**-149, -(2.0**-149), 2.0**-126, 1.0, -1.0, 0.5, 88.7, 88.8, -87.3, -103.9, -104.0, -104.1,
            20.0, -20.1, 38.1, 9.0, 3.4028234663852886e38, -3.4028234663852886e38, math.pi / 2,
            1e10, -17.4, np.inf, -np.inf, np.nan]  # fmt: skip
MODES = {Rounding.NEAREST: 0, Rounding.UP: 2, Rounding.DOWN: 3}  # gmpy2's numbers of the modes


def mpfr(name, x, mode, fmt):
    gmpy2 = pytest.importorskip("gmpy2", reason="MPFR is the oracle")
    if name == "sigmoid":
        pytest.skip("MPFR has no sigmoid")
    emin, emax = fmt.emin - fmt.precision + 2, fmt.emax + 1
    with gmpy2.context(precision=fmt.precision, emin=emin, emax=emax, subnormalize=True, round=MODES[mode]):
        return float(getattr(gmpy2, name)(gmpy2.mpfr(x, precision=53)))


def same(a, b):
    return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b)) or (a == b == 0)


@names
@pytest.mark.parametrize("fmt", [BINARY32, BINARY64], ids=str)
@pytest.mark.parametrize("mode", list(Rounding), ids=lambda m: m.name)
def test_results_are_correctly_rounded(name, fmt, mode):
    rng = np.random.default_rng(11)
    spread = rng.normal(size=20) * 2.0 ** rng.integers(-120, 100, 20)
    x = np.concatenate([EXTREMES, rng.normal(size=60), rng.normal(size=60) * 40, spread]).astype(fmt.dtype)
    got = floats.rounded(name, x, mode)
    assert got.dtype == fmt.dtype
    for a, y in zip(x.tolist(), got.tolist(), strict=True):
        assert same(y, mpfr(name, a, mode, fmt)), (name, a, y)


@names
def test_odd_functions_keep_the_sign_of_zero(name):
    got = floats.rounded(name, np.array([0.0, -0.0], np.float32))
    if name in ("expm1", "log1p", "tanh", "sin", "erf", "sqrt"):
        assert np.signbit(got).tolist() == [False, True]
    else:
        assert got[0] == got[1]


def test_sigmoid_is_correctly_rounded():
    rng = np.random.default_rng(2)
    x = np.concatenate([EXTREMES[:-3], rng.normal(size=100) * 30]).astype(np.float32)
    for mode in Rounding:
        for a, y in zip(x.tolist(), floats.rounded("sigmoid", x, mode).tolist(), strict=True):
            if a < -200:
                assert y == (2.0**-149 if mode is Rounding.UP else 0.0)
            elif a > 200:
                assert y == (1 - 2.0**-24 if mode is Rounding.DOWN else 1.0)
            else:
                with flint.ctx.workprec(2000):
                    true = 1 / (1 + (-flint.arb(a)).exp())
                    up, down = (float(floats.round_rational(as_rational(end), BINARY32, m))
                                for end, m in ((true.upper(), Rounding.UP), (true.lower(), Rounding.DOWN)))
                assert y in (up, down)
                assert mode is not Rounding.UP or y == up
                assert mode is not Rounding.DOWN or y == down


def as_rational(x):
    mantissa, exponent = (int(v) for v in x.man_exp())
    return flint.fmpq(mantissa) * flint.fmpq(2) ** exponent


def test_narrow_formats_round_once():
    x = np.array([0.1, 1.0, 3.0, 300.0, -5.5], np.float16)
    for name in floats.ELEMENTARY:
        got = floats.rounded(name, x)
        assert got.dtype == np.float16
        wide = floats.rounded(name, x.astype(np.float64))
        with np.errstate(all="ignore"):
            near = wide.astype(np.float16)
        np.testing.assert_array_equal(got, near)  # no result here lies near a midpoint


@names
@law
@given(a=st.floats(width=32), b=st.floats(width=32), t=st.floats(0, 1))
def test_an_enclosure_holds_every_value_inside(name, a, b, t):
    if math.isnan(a) or math.isnan(b):
        return
    lo, hi = min(a, b), max(a, b)
    low, high = floats.enclosure(name, np.array([lo]), np.array([hi]))
    assert low[0] <= high[0]
    for x in (lo, hi, min(max(lo + t * (hi - lo), lo), hi) if math.isfinite(lo) and math.isfinite(hi) else lo):
        down = float(floats.rounded(name, np.array([x]), Rounding.DOWN)[0])
        up = float(floats.rounded(name, np.array([x]), Rounding.UP)[0])
        if not math.isnan(down):
            assert low[0] <= up
            assert high[0] >= down
            assert low[0] <= down or (low[0] <= up and np.nextafter(low[0], -np.inf) <= down)
            assert high[0] >= up or np.nextafter(high[0], np.inf) >= up


def test_sine_and_cosine_reach_their_extrema():
    lo, hi = np.array([1.5, 4.0, -0.1, 3.0, 0.0, 1e10]), np.array([1.6, 5.0, 0.1, 3.2, 7.0, 1e10])
    low, high = floats.enclosure("sin", lo, hi)
    assert high[0] == 1.0 > low[0] > 0.99
    assert low[1] == -1.0
    assert (low[2] < 0 < high[2]) and high[2] < 0.11
    assert (low[4], high[4]) == (-1.0, 1.0)
    assert high[5] - low[5] < 1e-15
    low, high = floats.enclosure("cos", lo, hi)
    assert high[2] == 1.0
    assert low[3] == -1.0


def test_enclosures_outside_the_domain():
    low, high = floats.enclosure("log", np.array([-2.0, -2.0, 0.0]), np.array([-1.0, 1.0, 1.0]))
    assert low.tolist() == [-np.inf] * 3
    assert high.tolist() == [np.inf, 0.0, 0.0]
    low, high = floats.enclosure("sqrt", np.array([-2.0, -1.0]), np.array([-1.0, 4.0]))
    assert (low.tolist(), high.tolist()) == ([-np.inf, 0.0], [np.inf, 2.0])


def test_an_unknown_function_is_named():
    with pytest.raises(UsageError, match="no elementary function of this name"):
        floats.rounded("gamma", np.zeros(1))
