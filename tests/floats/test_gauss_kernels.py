"""The float64 kernels of erf and gelu: their bands proved piece by piece, and measured, against Arb."""

import math

import flint
import numpy as np
import pytest

from torchlean.floats import next_down, next_up
from torchlean.floats.elementary import gauss
from torchlean.floats.elementary.gauss import ERF, PHI, SCALE

U = 2.0**-53


def phi(x):
    return (-x / flint.arb(2).sqrt()).erfc() / 2


BALLS = {"erf": lambda x: x.erf(), "gelu": lambda x: x * phi(x)}


def assert_within_band(name, x):
    kernel = gauss.KERNELS[name]
    values = kernel.evaluate(x)
    with flint.ctx.workprec(200):
        for at, value in zip(x.tolist(), values.tolist(), strict=True):
            true = BALLS[name](flint.arb(at))
            assert abs(value - true) <= kernel.band * abs(true), (at, value)


def spread(rng, n, low, high):
    x = np.exp2(rng.uniform(low, high, n)) * rng.choice([-1.0, 1.0], n)
    return x.astype(np.float32).astype(np.float64)


def edges(integral):
    """The ends of all pieces, and the binary32 numbers beside them."""
    x = ((np.arange(integral.first, integral.last) + 0.5) / SCALE).astype(np.float32)
    return np.concatenate([x, next_up(x), next_down(x)]).astype(np.float64)


def test_erf_stays_in_its_band():
    rng = np.random.default_rng(3)
    ends = np.array([2.0**-149, 2.0**-126, 6.0, 7.0, 3.4028234663852886e38])
    x = np.concatenate([rng.uniform(0, 6, 6000), rng.uniform(0, 0.1, 4000), edges(ERF), ends])
    assert_within_band("erf", np.concatenate([spread(rng, 6000, -149, -3), x, -x]))


def test_gelu_stays_in_its_band():
    rng = np.random.default_rng(4)
    ends = np.array([2.0**-149, 2.0**-126, -(2.0**-149), -15.0, 9.0, 12.0, 3.4028234663852886e38])
    x = [spread(rng, 6000, -149, 0), rng.uniform(-15, 9, 12000), rng.uniform(-15, -12, 3000), edges(PHI), ends]
    assert_within_band("gelu", np.concatenate(x))


def test_gelu_far_to_the_left_is_a_negative_number_below_every_subnormal():
    x = np.array([-15.0, -15.0625, -20.0, -1e30, -3.4e38])
    assert (gauss.gelu(x) < 0).all()
    assert (gauss.gelu(x) > -(2.0**-160)).all()


def test_the_promise_for_float64_arguments():
    rng = np.random.default_rng(5)
    for name, kernel in gauss.KERNELS.items():
        low, high = kernel.wide
        assert low < high
        x = np.exp2(rng.uniform(-1000, math.log2(high), 3000))
        x = np.concatenate([x, rng.uniform(0, high, 4000), [low, high]])
        assert_within_band(name, np.concatenate([x, -x]))


def error_of(integral, coefficients, omitted, h):
    """A bound of (polynomial in float64 - F) / F over a ball of h: coefficients, each rounding, and the terms left out.

    With c[0] = 0 both sides are divided by h, and the last addition, of 0, is exact.
    """
    u = flint.arb(U) * (1 + flint.arb(2) ** -40)
    start = 1 if coefficients[0] == 0 else 0
    value, error = coefficients[-1], u * coefficients[-1].abs_upper()
    for c in reversed(coefficients[start:-1]):
        product, size = value * h, h.abs_upper()
        error = size * error + u * product.abs_upper()
        value = product + c
        error += u * c.abs_upper() + u * value.abs_upper()
    error += start * u * value.abs_upper()  # the last product, with h
    n = len(coefficients)
    error += omitted.abs_upper() * h.abs_upper() ** (n - start)
    return error / value.abs_lower()


@pytest.mark.parametrize("integral, claim", [(ERF, 6.5), (PHI, 3.5)], ids=["erf", "gelu"])
def test_the_band_holds_on_every_piece(integral, claim):
    """Running error analysis in ball arithmetic: no point is left out."""
    worst = 0.0
    parts = 4
    half = flint.arb(1) / (2 * SCALE)
    with flint.ctx.workprec(120):
        for j in range(integral.first, integral.last + 1):
            center = flint.arb(j) / SCALE
            exact = integral.coefficients(center, integral.degree + 1)
            around = integral.coefficients(flint.arb(center.mid(), half.abs_upper()), integral.degree + 2)
            for part in range(-parts, parts):
                h = flint.arb((part + 0.5) / parts / (2 * SCALE), 0.5 / parts / (2 * SCALE))
                bound = error_of(integral, exact, around[-1], h)
                worst = max(worst, float(bound.upper()))
    assert worst <= claim * U, worst / U
