"""The float64 kernels of the circular functions and their inverses against Arb. A band is a claim: no slack."""

import itertools
import math

import flint
import numpy as np
import pytest

from torchlean import floats
from torchlean.floats import next_down, next_up
from torchlean.floats.elementary import arc, reduction, trig

U = 2.0**-53
TURNS = ("sin", "cos", "tan")
BALLS = {
    "sin": lambda x: x.sin(),
    "cos": lambda x: x.cos(),
    "tan": lambda x: x.tan(),
    "asin": lambda x: x.asin(),
    "acos": lambda x: x.acos(),
    "atan": lambda x: x.atan(),
    "atan2": lambda y, x: flint.arb.atan2(y, x),
}
KERNELS = {**trig.KERNELS, **arc.KERNELS}


def assert_within_band(name, *arguments, precision=320):
    """Every value is within the kernel's band of Arb's."""
    kernel = KERNELS[name]
    before = [a.copy() for a in arguments]
    with np.errstate(all="ignore"):
        values = kernel.evaluate(*arguments)
    for a, b in zip(arguments, before, strict=True):
        np.testing.assert_array_equal(a, b)
    with flint.ctx.workprec(precision):
        for *at, value in zip(*(a.tolist() for a in arguments), values.tolist(), strict=True):
            true = BALLS[name](*map(flint.arb, at))
            assert abs(value - true) <= kernel.band * abs(true), (name, at, value)


def binary32(x):
    return np.asarray(x, np.float32).astype(np.float64)


def spread(rng, n, low, high):
    """Binary32 numbers of both signs, their exponents spread over [low, high)."""
    return binary32(np.exp2(rng.uniform(low, high, n)) * rng.choice([-1.0, 1.0], n))


def around(x):
    """Numbers, their binary32 neighbours, and all negated."""
    x = np.asarray(x, np.float32)
    x = np.concatenate([x, next_up(x), next_down(x)])
    return np.concatenate([x, -x]).astype(np.float64)


def nearest_to_quarter_turns():
    """(distance of x from a multiple of pi / 2 in quarter turns, x): per exponent, the binary32 numbers next to one.

    For a fixed weight 2^e of the last bit, the least |M 2^e 2 / pi - k| over 0 < M < 2^24 is reached at a convergent of
    the continued fraction of 2^e 2 / pi.
    """
    with flint.ctx.workprec(800):
        numerator = int((2 / flint.arb.pi() * flint.arb(2) ** 600).floor().unique_fmpz())
    found = []
    for e in range(-24, 105):
        top, bottom = numerator << max(e, 0), 1 << 600 + max(-e, 0)
        a, b, p, q, last_p, last_q = top, bottom, 1, 0, 0, 1
        while b:
            whole, rest = divmod(a, b)
            a, b, p, last_p, q, last_q = b, rest, whole * p + last_p, p, whole * q + last_q, q
            if q >= 1 << 24:
                break
            found.append((abs(q * top - p * bottom) / bottom, math.ldexp(q, e)))
    return found


NEAREST = nearest_to_quarter_turns()
WORST = binary32([x for _, x in NEAREST if x > 0.5])


def test_no_argument_is_nearer_to_a_quarter_turn_than_the_reduction_presumes():
    distance, x = min((d, x) for d, x in NEAREST if x > 0.75)
    assert (distance * math.pi / 2 > 2.0**-29.3, x) == (True, 16367173 * 2.0**72)
    assert min(d for d, x in NEAREST if 0.75 < x < reduction.CODY_WAITE) * math.pi / 2 > 2.0**-28


@pytest.mark.parametrize("low, high", [(-2, 20), (20, 128)])
def test_the_reduction_keeps_relative_accuracy(low, high):
    x = np.concatenate([spread(np.random.default_rng(5), 5000, low, high), WORST, -WORST])
    k, r = reduction.quarter_turns(x)
    with flint.ctx.workprec(400):
        for a, turns, rest in zip(x.tolist(), k.tolist(), r.tolist(), strict=True):
            exact = flint.arb(a) / (flint.arb.pi() / 2)
            whole = int((exact + 0.5).floor().unique_fmpz())
            true = flint.arb(a) - whole * flint.arb.pi() / 2
            if (turns - whole) % 4 != 0:  # the other neighbour, of two about equally near
                assert abs(abs(rest) - math.pi / 4) < 1e-8
            else:
                assert abs(rest - true) <= 3.5 * 2.0**-53 * abs(true)


def test_the_two_reductions_agree_where_they_meet():
    x = around(np.random.default_rng(6).uniform(2.0**19, 2.0**20 - 1, 2000))
    k, r = reduction._cody_waite(x)
    other_k, other_r = reduction._payne_hanek(x)
    assert ((k - other_k) % 4 == 0).all()
    assert (np.abs(r - other_r) <= 6 * 2.0**-53 * np.abs(r)).all()


@pytest.mark.parametrize("name", TURNS)
def test_circular_functions_stay_in_their_band(name):
    rng = np.random.default_rng(7)
    turns = binary32(rng.integers(1, 1 << 20, 2000) * (math.pi / 4))  # multiples of pi / 4, rounded
    ends = around([2.0**20, 2.0**-149, 2.0**-126, 3.4028234663852886e38 / 2, math.pi / 4, math.pi / 2, math.pi])
    small, every = spread(rng, 6000, -14, 20), spread(rng, 6000, -149, 128)
    assert_within_band(name, np.concatenate([small, every, turns, WORST, -WORST, ends]))


@pytest.mark.parametrize("name", ["asin", "acos"])
def test_arc_sine_and_cosine_stay_in_their_band(name):
    rng = np.random.default_rng(8)
    near_one = binary32(1 - np.exp2(rng.uniform(-24, -1, 2000)))
    ends = around([2.0**-149, 2.0**-126, 0.5, math.sqrt(0.5), math.sin(1 / 32)])
    edges = around(np.sin(np.arctan((np.arange(16) + 0.5) / 16)))
    whole = np.concatenate([binary32(rng.uniform(-1, 1, 6000)), spread(rng, 4000, -149, 0), near_one, -near_one])
    ones = np.array([1.0, -1.0]) if name == "asin" else np.array([-1.0])
    assert_within_band(name, np.concatenate([whole, ends, edges, ones]))


def test_arc_tangent_stays_in_its_band():
    rng = np.random.default_rng(9)
    edges = (np.arange(16) + 0.5) / 16
    ends = around([2.0**-149, 2.0**-126, 1.0, 3e38])
    x = [spread(rng, 8000, -14, 14), spread(rng, 4000, -149, 128), around(edges), around(1 / edges), ends]
    assert_within_band("atan", np.concatenate(x))


def test_the_angle_of_a_vector_stays_in_its_band():
    rng = np.random.default_rng(10)
    y, x = spread(rng, 8000, -149, 128), spread(rng, 8000, -149, 128)
    assert_within_band("atan2", y, x, precision=900)
    x = spread(rng, 8000, -20, 20)
    y = binary32(x * np.exp2(rng.uniform(-10, 10, 8000)) * rng.choice([-1.0, 1.0], 8000))
    assert_within_band("atan2", y, x)
    edges = np.repeat((np.arange(16) + 0.5) / 16, 200)
    x = spread(rng, 3200, -60, 60)
    assert_within_band("atan2", binary32(x * edges), x)
    assert_within_band("atan2", binary32(x / edges), x)
    assert_within_band("atan2", x, x)
    assert_within_band("atan2", -x, x)


@pytest.mark.parametrize("name", [n for n in KERNELS if n != "atan2"])
def test_the_promise_for_float64_arguments(name):
    rng = np.random.default_rng(11)
    low, high = KERNELS[name].wide
    assert low < high
    x = np.exp2(rng.uniform(-30, min(math.log2(high), 60), 6000)) * rng.choice([-1.0, 1.0], 6000)
    if name in TURNS:
        turns = rng.integers(1, 81, 2000) * (math.pi / 4)  # as near to the multiples as float64 has numbers
        x = np.concatenate([x, turns[turns <= high]])
    elif high == 1.0:
        x = np.concatenate([x, 1 - np.exp2(rng.uniform(-53, -1, 2000)), [1 - 2.0**-53]])
    assert_within_band(name, np.concatenate([x, [low, -low]]), precision=2600)


def test_what_lies_beside_a_limit_or_an_exact_quotient_needs_no_ball(monkeypatch):
    def ball(*_):
        raise AssertionError("a bound leaves this to the ball")

    monkeypatch.setattr("torchlean.floats.elementary.decide.value", ball)
    turns = WORST.astype(np.float32)
    y = np.outer([3.0, 5.0, 255.0, 8388609.0], np.exp2(np.arange(-149.0, -60.0))).ravel()
    x = np.tile([1.0, 2.0, 3.0, 0.25, 2.0**-70], len(y) // 5 + 1)[: len(y)]
    quotients = (binary32(y) / x).astype(np.float32)
    short = quotients.astype(np.float64) * x == y
    for mode in floats.Rounding:
        for name in ("sin", "cos"):
            result = floats.rounded(name, np.concatenate([turns, -turns]), mode)
            assert (np.abs(result) <= 1).all()
        angles = floats.rounded("atan2", y.astype(np.float32), mode, second=x.astype(np.float32))
        small = short & (np.abs(quotients) < 2.0**-30)
        assert small.sum() > 50
        below = mode in (floats.Rounding.DOWN, floats.Rounding.TOWARD_ZERO)
        if mode is not floats.Rounding.TO_ODD:
            np.testing.assert_array_equal(angles[small], next_down(quotients)[small] if below else quotients[small])


def test_taylor_coefficients_are_the_nearest_numbers():
    with flint.ctx.workprec(200):
        for n, c in enumerate(trig.SINE, 1):
            assert c == float((-1) ** n / flint.arb(2 * n + 1).gamma() / (2 * n + 1))
        for n, c in enumerate(trig.COSINE, 2):
            assert c == float((-1) ** n / flint.arb(2 * n + 1).gamma())
        for n, c in enumerate(arc.ARC, 1):
            assert c == float(flint.arb((-1) ** n) / (2 * n + 1))


def test_the_terms_left_out_are_as_small_as_the_docstrings_say():
    """Alternating series with falling terms: what is left out is below its first term, at the largest argument."""
    with flint.ctx.workprec(200):
        z = flint.arb(math.pi / 4 * (1 + 2.0**-30)) ** 2
        assert z**8 / flint.arb(18).gamma() <= 0.6 * 0.9 * U  # r^17 / 17! over sin r, and sin r / r is above 0.9
        assert z**9 / flint.arb(19).gamma() <= 0.02 * U  # r^18 / 18!
        assert flint.arb(2) ** -60 / 13 <= 0.01 * U  # t^13 / 13 over t, |t| <= 1/32
        assert sum(abs(c) * z**n for n, c in enumerate(trig.SINE, 1)) <= 0.12  # times U: the coefficients' roundings
        assert sum(abs(c) * z**n for n, c in enumerate(trig.COSINE, 2)) <= 0.02


class Tracked:
    """A number of a float64 evaluation: a ball of the exact value, and a bound of the distance to the computed one."""

    def __init__(self, value, error=0.0):
        self.value, self.error = flint.arb(value), flint.arb(error)

    def after(self, value, error):
        """One rounding more: half an ulp of the binade that holds the largest."""
        _, exponent = math.frexp(float((value.abs_upper() + error).upper()))
        return Tracked(value, error + flint.arb(2) ** (exponent - 54))

    def __mul__(self, other):
        other = other if isinstance(other, Tracked) else Tracked(other)
        a, b = self.value.abs_upper(), other.value.abs_upper()
        error = a * other.error + b * self.error + self.error * other.error
        return self.after(self.value * other.value, error)

    def __add__(self, other):
        other = other if isinstance(other, Tracked) else Tracked(other)
        return self.after(self.value + other.value, self.error + other.error)

    def __rsub__(self, other):
        return self.after(other - self.value, self.error)

    __rmul__ = __mul__


def test_the_polynomials_errors_are_proved_by_running_them_on_balls():
    """Running error analysis of the code itself, its rounded coefficients taken as exact."""
    ends = np.exp2(np.linspace(-30, math.log2(math.pi / 4 * (1 + 2.0**-30)), 1000))
    with flint.ctx.workprec(120):
        for left, right in itertools.pairwise(ends.tolist()):
            r = flint.arb((left + right) / 2, (right - left) / 2 * (1 + 2.0**-40))
            z = Tracked(r) * Tracked(r)
            assert trig._sine(Tracked(r), z).error <= 1.2 * U * r.sin().abs_lower()
            assert trig._cosine(z).error <= 2.25 * U * r.cos().abs_lower()
