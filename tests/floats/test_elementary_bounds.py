"""The exclusive bounds of the table of elementary functions are true: a false one would settle a rounding wrongly."""

import flint
import numpy as np
import pytest

from torchlean.floats.elementary import FUNCTIONS

BOUNDED = [f for f in FUNCTIONS.values() if f.between is not None]


def points(rng, low, high):
    """Binary32 numbers of all sizes up to 2^5 inside of a domain: e^-x^2 beside 1 needs 1500 bits there."""
    x = np.exp2(np.concatenate([rng.uniform(-149, 0, 400), rng.uniform(-4, 5, 400)])) * rng.choice([-1.0, 1.0], 800)
    x = np.concatenate([x, np.exp2(np.arange(-149.0, 6)), -np.exp2(np.arange(-149.0, 6)), np.arange(-40.0, 40) / 4])
    x = x.astype(np.float32).astype(np.float64)
    return x[(x >= low) & (x <= high)]


@pytest.mark.parametrize("f", BOUNDED, ids=lambda f: f.name)
def test_exclusive_bounds_hold(f):
    rng = np.random.default_rng(1)
    arguments = [points(rng, *f.domain)]
    if f.arity == 2:
        arguments.append(rng.permutation(arguments[0]))
        simple = 3 * np.exp2(np.arange(-140.0, 100, 4))  # exact quotients, and powers with the exponents 1 and -1
        for one in (1.0, -1.0, 2.0, 2.0**-9):
            arguments = [np.append(arguments[0], simple), np.append(arguments[1], np.full_like(simple, one))]
    with np.errstate(all="ignore"):
        _, settled = f.rule(*arguments)
        low, high = f.between(*arguments)
        alike = f.alike(*arguments) if f.alike is not None else arguments
    assert (~settled).sum() > 300
    stated = 0
    with flint.ctx.workprec(1500):
        for i in np.flatnonzero(~settled & (np.isfinite(low) | np.isfinite(high))).tolist():
            exact = f.ball(*(flint.arb(float(a[i])) for a in alike))
            assert float(low[i]) < exact, [float(a[i]) for a in arguments]
            assert exact < float(high[i]), [float(a[i]) for a in arguments]
            stated += 1
    assert stated > 40
    for bound in (low, high):
        odd_bits = np.ascontiguousarray(bound).view(np.int64) & 1
        assert not odd_bits[np.isfinite(bound)].any(), "at most 52 significant bits"
