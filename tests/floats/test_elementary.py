"""Elementary functions against MPFR: every 16-bit argument in every mode, samples of the wider formats, known cases."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from torchlean import floats
from torchlean.errors import UsageError
from torchlean.floats import BFLOAT16, BINARY16, BINARY32, BINARY64, Rounding, next_down, next_up
from torchlean.floats.elementary import FUNCTIONS
from torchlean.floats.elementary.decide import into
from torchlean.floats.elementary.kernel import Kernel

INF, NAN = math.inf, math.nan
UNARY = [name for name, f in FUNCTIONS.items() if f.arity == 1]
BINARY = [name for name, f in FUNCTIONS.items() if f.arity == 2]
unary = pytest.mark.parametrize("name", UNARY)
binary = pytest.mark.parametrize("name", BINARY)
each_mode = pytest.mark.parametrize("mode", list(Rounding), ids=lambda m: m.name)
EXTREMES = [0.0, -0.0, 2.0**-149, -(2.0**-149), 3 * 2.0**-149, 2.0**-126, -(2.0**-126), 1.0, -1.0, 0.5, -0.5, 2.0, 4.0,
            8.0, 88.7, 88.8, -87.3, -103.9, -104.0, -104.1, 20.0, -20.1, 38.1, 9.0, 128.0, -149.0, -150.0, 1e3, 1e10,
            27.0, -64.0, 1e-3, math.pi / 2, -17.4,
            3.4028234663852886e38, -3.4028234663852886e38, INF, -INF, NAN]  # fmt: skip

# Arguments whose results lie closest to a midpoint of binary32: the first of exp, log, tanh and sigmoid among all 2^32,
# by bench/exhaustive.py; the others among every 37th bit pattern, by the kernels.
HARD = {
    "exp": ("-0x1.d2259ap+3", "0x1.01753ap-9", "-0x1.2c77b6p+4", "0x1.9a0bccp+0"),
    "exp2": ("0x1.4b4baep+0", "-0x1.43c8aep-7", "-0x1.fd8ea2p-9"),
    "expm1": ("-0x1.680cbap-4", "0x1.fe20b4p-7", "0x1.a6c58ep-4"),
    "log": ("0x1.917748p-100", "0x1.f0dde0p-8", "0x1.b7bb4ep-12", "0x1.eed410p+121"),
    "log1p": ("0x1.1b84a0p+1", "0x1.eed410p+121", "0x1.025b66p+13"),
    "log2": ("0x1.229520p+99", "0x1.229520p-81", "0x1.229520p+120"),
    "log10": ("0x1.1d9ad4p-116", "0x1.c6cdf6p-21", "0x1.bcc4d6p+47"),
    "sinh": ("0x1.965ee6p+0", "-0x1.344d88p+0", "0x1.1bfe5ap-7"),
    "cosh": ("0x1.db157cp-5", "-0x1.ad9c28p-4", "0x1.6c3706p+0"),
    "tanh": ("0x1.86fbc4p-10", "-0x1.86fbc4p-10", "-0x1.d9ff12p-2", "0x1.a071b2p+1"),
    "asinh": ("0x1.a6a590p-11", "-0x1.3e47d6p+90", "-0x1.6269b2p+71"),
    "acosh": ("0x1.f7955cp+61", "0x1.a4a80ap+70", "0x1.abfddcp+96"),
    "atanh": ("-0x1.4f7472p-11", "-0x1.643960p-4", "-0x1.64e8fep-6"),
    "sigmoid": ("-0x1p-24", "0x1.d13002p-11", "-0x1.372cfap+1", "0x1.726f64p+3"),
    "silu": ("0x1.29d2fcp+0", "-0x1.519256p+0", "0x1.fdd916p-6"),
    "softplus": ("0x1.7c066ap-1", "0x1.d8829cp+2", "0x1.ee3a3ep-1"),
    "rsqrt": ("0x1.7431c6p-51", "0x1.7431c6p-5", "0x1.7431c6p+41"),
    "cbrt": ("-0x1.06a76ap+52", "-0x1.06a76ap+31", "0x1.06a76ap+40"),
    "sin": ("-0x1.0ca1d4p-5", "-0x1.a6ab8ap+75", "-0x1.c1d960p+93"),
    "cos": ("-0x1.e072ecp+67", "-0x1.ae2e7ep+110", "-0x1.9fabb0p+105"),
    "tan": ("0x1.02e9bap+2", "0x1.8ae94cp+60", "0x1.6d153ep+112"),
    "asin": ("0x1.2b0760p-9", "-0x1.5863eap-1", "0x1.fd9944p-5"),
}  # fmt: skip


def assert_same(got, want, *arguments):
    """Equal numbers, signs of zeros included; NaN for NaN."""
    got, want = got.astype(np.float64), want.astype(np.float64)
    same = ((got == want) & (np.signbit(got) == np.signbit(want))) | (np.isnan(got) & np.isnan(want))
    wrong = np.flatnonzero(~same)[:5]
    assert same.all(), [(*(float(a[i]) for a in arguments), float(got[i]), float(want[i])) for i in wrong]


def wide(x):
    with np.errstate(invalid="ignore"):  # signaling NaN
        return x.astype(np.float64)


def spread(rng, n):
    """Numbers of every size, and more of those of ordinary size and near 1."""
    near = rng.normal(size=n // 4) * 4, 1 + rng.normal(size=n // 4) * 2.0 ** rng.integers(-23, 0, n // 4)
    far = rng.integers(0, 1 << 32, n // 2, dtype=np.uint64).astype(np.uint32).view(np.float32)
    with np.errstate(invalid="ignore"):  # signaling NaN
        return np.concatenate([EXTREMES, *near, far]).astype(np.float32)


@unary
@pytest.mark.parametrize("fmt", [BFLOAT16, BINARY16], ids=str)
def test_every_16_bit_argument_in_every_mode(mpfr, name, fmt):
    x = np.arange(1 << 16, dtype=np.uint16).view(fmt.dtype)
    exact = mpfr.odd(name, wide(x))
    for mode in Rounding:
        assert_same(floats.rounded(name, x, mode), into(exact, fmt, mode), x)
        if fmt is BFLOAT16:
            assert_same(floats.rounded(name, x, mode, BINARY32), into(exact, BINARY32, mode), x)


@unary
def test_binary32_in_every_mode(mpfr, name):
    x = spread(np.random.default_rng(3), 8000)
    exact = mpfr.odd(name, x.astype(np.float64))
    for mode in Rounding:
        assert_same(floats.rounded(name, x, mode), into(exact, BINARY32, mode), x)
    for fmt in (BFLOAT16, BINARY16):  # one rounding from binary32 arguments
        assert_same(floats.rounded(name, x, fmt=fmt), into(exact, fmt, Rounding.NEAREST), x)


@unary
@pytest.mark.slow
def test_a_million_binary32_arguments(mpfr, name):
    x = spread(np.random.default_rng(5), 1 << 20)
    exact = mpfr.odd(name, x.astype(np.float64))
    assert_same(floats.rounded(name, x), into(exact, BINARY32, Rounding.NEAREST), x)


@binary
@pytest.mark.slow
def test_a_million_pairs_of_binary32_arguments(mpfr, name):
    rng = np.random.default_rng(43)
    x = spread(rng, 1 << 20)
    with np.errstate(all="ignore"):
        exponents = (rng.uniform(-100, 88, x.size) / np.log(np.abs(x))).astype(np.float32)
    y = np.where(rng.random(x.size) < 0.5, exponents, rng.permutation(x))
    exact = mpfr.odd(name, x.astype(np.float64), y.astype(np.float64))
    assert_same(floats.rounded(name, x, second=y), into(exact, BINARY32, Rounding.NEAREST), x, y)


@pytest.mark.parametrize("name", HARD)
def test_hard_arguments(mpfr, name):
    x = np.array([float.fromhex(h) for h in HARD[name]], np.float32)
    exact = mpfr.odd(name, x.astype(np.float64))
    bits = exact.view(np.int64) & ((1 << 29) - 1)
    assert np.all(np.abs(bits - (1 << 28)) < 1 << 12), "closer to a midpoint than 2^-16 ulps"
    for mode in Rounding:
        assert_same(floats.rounded(name, x, mode), into(exact, BINARY32, mode), x)


@unary
@pytest.mark.parametrize("side", [-1, 1])
def test_a_kernel_may_err_as_far_as_its_band(monkeypatch, name, side):
    """A kernel moved by nearly all of a wide band changes no result: what the band leaves open goes to the ball."""
    f = FUNCTIONS[name]
    x = np.concatenate([spread(np.random.default_rng(31), 400), [float.fromhex(h) for h in HARD.get(name, ())]])
    x = x.astype(np.float32)
    want = [floats.rounded(name, x, mode, BINARY32) for mode in (Rounding.NEAREST_AWAY, Rounding.UP)]

    def evaluate(v):
        return f.kernel.evaluate(v) * (1 + side * 2.0**-27.1)

    monkeypatch.setitem(FUNCTIONS, name, replace(f, kernel=Kernel(evaluate, 2.0**-27)))
    for mode, expected in zip((Rounding.NEAREST_AWAY, Rounding.UP), want, strict=True):
        assert_same(floats.rounded(name, x, mode), expected, x)


@binary
@pytest.mark.parametrize("fmt", [BFLOAT16, BINARY16, BINARY32], ids=str)
def test_two_arguments(mpfr, name, fmt):
    rng = np.random.default_rng(7)
    values = np.array([*EXTREMES, 3.0, 9.0, 16.0, 1.5, 0.25, 0.75, 5.0, 12.0, -3.0, 1e-5, 4097.0], np.float32)
    x, y = (a.ravel() for a in np.meshgrid(values, values))
    with np.errstate(all="ignore"):
        x, y = (np.concatenate([a, spread(rng, 6000)]) for a in (x, y))
        near = (1 + rng.normal(size=3000) * 2.0 ** rng.integers(-20, -1, 3000)).astype(np.float32)
        x = np.concatenate([x, near]).astype(fmt.dtype)
        exponents = rng.uniform(-100, 88, 3000) / np.log(np.abs(near))  # every size of pow
        y = np.concatenate([y, exponents]).astype(fmt.dtype)
    exact = mpfr.odd(name, wide(x), wide(y))
    for mode in Rounding:
        assert_same(floats.rounded(name, x, mode, second=y), into(exact, fmt, mode), x, y)


def test_powers_that_are_exact_or_midpoints(mpfr):
    odd = np.arange(3, 70000, 2, dtype=np.float32)
    roots = np.array([r**k for k in (2, 4, 8) for r in range(3, 20, 2) if r**k < 1 << 24], np.float32)
    cases = [(odd, n) for n in (2, 3, 4, 5, -1, -2)] + [(roots, n) for n in (0.5, 0.25, 0.125, 1.5, 0.75, 0.375, -0.5)]
    x = np.concatenate([c for c, _ in cases])
    y = np.concatenate([np.full_like(c, n) for c, n in cases])
    exact = mpfr.odd("pow", x.astype(np.float64), y.astype(np.float64))
    for mode in Rounding:
        assert_same(floats.rounded("pow", x, mode, second=y), into(exact, BINARY32, mode), x, y)
    a, b = np.array([3, 5, 8, 20, 2999, 4095 * 2]), np.array([4, 12, 15, 21, 4498500, 4095**2 - 1])
    x, y = a.astype(np.float32), b.astype(np.float32)  # legs: hypotenuses of up to 25 bits
    exact = mpfr.odd("hypot", x.astype(np.float64), y.astype(np.float64))
    for mode in Rounding:
        assert_same(floats.rounded("hypot", x, mode, second=y), into(exact, BINARY32, mode), x, y)


@pytest.mark.parametrize(
    ("name", "exact"),
    [("exp2", lambda n: n), ("log2", lambda n: 2.0**n), ("cbrt", lambda n: n**3), ("sqrt", lambda n: n * n),
     ("rsqrt", lambda n: 4.0**n), ("log10", lambda n: 10.0 ** min(n, 10))],
)  # fmt: skip
def test_exact_results_are_decided_without_a_ball(name, exact, monkeypatch):
    def ball(*_):
        raise AssertionError("the rule leaves an exact case to the ball")

    monkeypatch.setattr("torchlean.floats.elementary.decide.value", ball)
    x = np.array([exact(n) for n in range(1, 40)], np.float32)
    results = [floats.rounded(name, x, mode) for mode in Rounding]
    for result in results[1:]:
        assert_same(result, results[0], x)


@pytest.mark.parametrize("name", floats.ELEMENTARY)
@each_mode
def test_binary64(mpfr, name, mode):
    import gmpy2

    rounding = {Rounding.NEAREST: 0, Rounding.TOWARD_ZERO: 1, Rounding.UP: 2, Rounding.DOWN: 3}
    if mode not in rounding:
        pytest.skip("no mode of MPFR")
    rng = np.random.default_rng(11)
    x = np.concatenate([EXTREMES, rng.normal(size=40), rng.normal(size=20) * 40])
    arguments = [x, rng.permutation(x)][: FUNCTIONS[name].arity]
    context = gmpy2.context(precision=53, emin=-1073, emax=1024, subnormalize=True, round=rounding[mode])
    want = np.array(list(map(float, mpfr.values(name, arguments, context))))
    assert_same(floats.rounded(name, x, mode, second=arguments[1] if len(arguments) == 2 else None), want, *arguments)


def test_binary64_overflow_underflow_and_odd_and_away():
    x = np.array([710.0, -746.0, 1e300, -1e300])
    up, down = floats.rounded("exp", x, Rounding.UP), floats.rounded("exp", x, Rounding.DOWN)
    largest = np.finfo(np.float64).max
    assert up.tolist() == [INF, 5e-324, INF, 5e-324]
    assert down.tolist() == [largest, 0.0, largest, 0.0]
    odd = floats.rounded("exp", np.array([1.0]), Rounding.TO_ODD)
    assert int(odd.view(np.int64)[0]) & 1 == 1
    assert floats.rounded("sqrt", np.array([4.0]), Rounding.NEAREST_AWAY).tolist() == [2.0]


@pytest.mark.parametrize(
    ("name", "table"),
    [("pow", [(0.0, -1.0, INF), (-0.0, -1.0, -INF), (-0.0, -2.0, INF), (-0.0, -INF, INF), (-0.0, 3.0, -0.0),
              (-0.0, 0.5, 0.0), (-1.0, INF, 1.0), (-1.0, -INF, 1.0), (1.0, NAN, 1.0), (NAN, 0.0, 1.0), (NAN, 1.0, NAN),
              (0.5, INF, 0.0), (0.5, -INF, INF), (-2.0, INF, INF), (-2.0, -INF, 0.0), (-INF, -3.0, -0.0),
              (-INF, 3.0, -INF), (-INF, 0.5, INF), (INF, -1.0, 0.0), (-2.0, 0.5, NAN), (-8.0, 3.0, -512.0)]),
     ("hypot", [(INF, NAN, INF), (NAN, -INF, INF), (NAN, 1.0, NAN), (-0.0, -0.0, 0.0), (-3.0, 0.0, 3.0)]),
     ("atan2", [(0.0, 1.0, 0.0), (-0.0, 1.0, -0.0), (0.0, 0.0, 0.0), (-0.0, 0.0, -0.0), (1.0, INF, 0.0),
                (-1.0, INF, -0.0), (NAN, 1.0, NAN), (1.0, NAN, NAN)])],
)  # fmt: skip
def test_special_values_of_two_arguments(name, table):
    """IEEE 754-2019, 9.2.1."""
    x, y, want = (np.array(column, np.float32) for column in zip(*table, strict=True))
    for mode in Rounding:
        assert_same(floats.rounded(name, x, mode, second=y), want, x, y)


def test_multiples_of_pi_are_rounded_once():
    """atan2 of zeros and infinities. Source: IEEE 754-2019, 9.2.1."""
    table = [(0.0, -0.0, 1.0), (0.0, -1.0, 1.0), (1.0, -INF, 1.0), (1.0, 0.0, 0.5), (INF, 1.0, 0.5), (INF, INF, 0.25),
             (INF, -INF, 0.75)]  # fmt: skip
    y, x, quarter = (np.array(column) for column in zip(*table, strict=True))
    pi = Fraction(3141592653589793238462643383279502884197, 10**39)
    for fmt in (BINARY32, BINARY64):
        for mode, mirrored in ((Rounding.UP, Rounding.DOWN), (Rounding.NEAREST, Rounding.NEAREST)):
            want = np.array([floats.round_rational(Fraction(q) * pi, fmt, mode) for q in quarter.tolist()])
            a, b = y.astype(fmt.dtype), x.astype(fmt.dtype)
            assert_same(floats.rounded("atan2", a, mode, second=b), want, a, b)
            assert_same(floats.rounded("atan2", -a, mirrored, second=b), -want, a, b)


@unary
def test_special_values_of_one_argument(name):
    got = floats.rounded(name, np.array([NAN, INF, -INF, 0.0, -0.0], np.float32)).tolist()
    odd = {"expm1", "log1p", "sinh", "tanh", "asinh", "atanh", "silu", "gelu", "cbrt", "sqrt", "sin", "tan", "asin",
           "atan", "erf"}  # fmt: skip
    assert math.isnan(got[0])
    if name in odd:
        assert (math.copysign(1, got[3]), math.copysign(1, got[4])) == (1, -1)
        assert got[3] == got[4] == 0
    elif name == "rsqrt":
        assert got[3:] == [INF, -INF]
    else:
        assert got[3] == got[4] or (math.isnan(got[3]) and math.isnan(got[4]))


@each_mode
@pytest.mark.parametrize("fmt", [BFLOAT16, BINARY16, BINARY32], ids=str)
def test_the_last_rounding(mode, fmt):
    rng = np.random.default_rng(13)
    numbers = rng.integers(0, 1 << 8 * fmt.dtype.itemsize, 400, dtype=np.uint64).astype(f"u{fmt.dtype.itemsize}")
    x = wide(numbers.view(fmt.dtype))
    x = x[np.isfinite(x)]
    with np.errstate(all="ignore"):
        middles = (x + wide(next_up(x.astype(fmt.dtype)))) / 2
    overflows = np.ldexp(2 - 2.0**-fmt.precision, fmt.emax)
    edge = np.array([fmt.max, overflows, fmt.smallest_subnormal / 2, 2.0**200, 1e-300])
    x = np.concatenate([x, middles[np.isfinite(middles)], edge, -edge])
    x = np.concatenate([x, next_up(x), next_down(x)])
    want = np.array([floats.round_rational(Fraction(v), fmt, mode) for v in x.tolist()])
    got = into(x, fmt, mode)
    assert got.dtype == fmt.dtype
    np.testing.assert_array_equal(wide(got), want)


def test_shapes_and_strides():
    x = np.arange(1, 25, dtype=np.float32).reshape(2, 3, 4)
    assert floats.rounded("log", x).shape == (2, 3, 4)
    np.testing.assert_array_equal(floats.rounded("log", x.T), floats.rounded("log", x).T)
    assert floats.rounded("log", np.float32(1.0)).shape == ()
    assert floats.rounded("log", np.empty((0, 3), np.float32)).shape == (0, 3)
    assert floats.rounded("pow", x, second=np.float32(2.0)).tolist() == (x * x).tolist()


def test_an_unknown_function_is_named():
    with pytest.raises(UsageError, match="no elementary function of this name"):
        floats.rounded("gamma", np.zeros(1))
    with pytest.raises(UsageError, match="no elementary function of this name"):
        floats.enclosure("gamma", np.zeros(1), np.zeros(1))


def test_bad_input_is_named():
    x = np.ones(2, np.float32)
    with pytest.raises(UsageError, match="no floating-point format"):
        floats.rounded("exp", np.ones(2, np.int64))
    with pytest.raises(UsageError, match="a rounding mode is a member of Rounding"):
        floats.rounded("exp", x, "up")
    with pytest.raises(UsageError, match="pow takes 2 arguments"):
        floats.rounded("pow", x)
    with pytest.raises(UsageError, match="exp takes 1 argument"):
        floats.rounded("exp", x, second=x)
    with pytest.raises(UsageError, match="two formats are not mixed"):
        floats.rounded("pow", x, second=np.ones(2))
    with pytest.raises(UsageError, match="enclosures are of functions of one argument"):
        floats.enclosure("pow", np.ones(1), np.ones(1))
    with pytest.raises(UsageError, match="an interval with lo > hi"):
        floats.enclosure("exp", np.array([1.0]), np.array([0.0]))
