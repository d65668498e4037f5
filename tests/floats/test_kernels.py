"""Every kernel within its band, for binary32 arguments and for the float64 arguments that it promises, against MPFR."""

import numpy as np
import pytest

from torchlean.floats import next_down, next_up
from torchlean.floats.elementary import FUNCTIONS, exponential, logarithm

each = pytest.mark.parametrize("f", FUNCTIONS.values(), ids=lambda f: f.name)
# Where the methods change: ends of table intervals, and of the clamps.
STEPS = (np.arange(-40, 41) + 0.5) * np.log(2) / 512
ENDS = [87.0, 88.7, -87.3, -103.9, 8.0]


def errors(mpfr, f, arguments):
    """Relative errors of the kernel, with the arguments that f takes to a number of ordinary size."""
    import gmpy2

    with np.errstate(all="ignore"):
        found = f.kernel.evaluate(*arguments)
    size = np.abs(mpfr.odd(f.name, *arguments))
    usual = (size > 2.0**-160) & (size < 2.0**200)
    arguments = [a[usual] for a in arguments]
    exact = mpfr.values(f.name, arguments, gmpy2.context(precision=100))
    with gmpy2.context(precision=100):
        return np.array([float(abs(y / v - 1)) for y, v in zip(found[usual].tolist(), exact, strict=True)]), arguments


def inside(f, x):
    low, high = f.plain
    return x[(x > low) & (x < high) & (x != 0)]


def some(rng):
    n = 1500
    return np.concatenate([
        rng.normal(size=n) * 2.0 ** rng.integers(-12, 7, n), 1 + rng.normal(size=n) * 2.0 ** rng.integers(-23, -1, n),
        rng.normal(size=n // 3) * 2.0 ** rng.integers(-145, 127, n // 3), STEPS, 1 + STEPS / 8, ENDS,
    ])  # fmt: skip


@each
def test_binary32(mpfr, f):
    rng = np.random.default_rng(23)
    with np.errstate(all="ignore"):
        x = some(rng).astype(np.float32)
    x = np.concatenate([x, next_up(x), next_down(x)])
    x = x[np.isfinite(x)].astype(np.float64)
    arguments = [inside(f, x)]
    if f.arity == 2:
        arguments.append(rng.permutation(arguments[0]))
        if f.name == "pow":
            arguments[0] = np.abs(arguments[0])
    found, arguments = errors(mpfr, f, arguments)
    worst = int(np.argmax(found))
    assert found.size > 300
    assert found[worst] <= f.kernel.band, [float(a[worst]).hex() for a in arguments]


def test_powers_of_numbers_near_one(mpfr):
    """Every size of result: the exponent is large where the logarithm is small."""
    rng = np.random.default_rng(37)
    size = 2.0 ** rng.uniform(-23, 1, 4000)
    x = (1 + np.where(size < 0.99, rng.choice([-1.0, 1.0], 4000), 1.0) * size).astype(np.float32).astype(np.float64)
    x = x[x != 1]
    y = (rng.uniform(-100, 88, x.size) / np.log(x)).astype(np.float32).astype(np.float64)
    found, arguments = errors(mpfr, FUNCTIONS["pow"], [x, y])
    worst = int(np.argmax(found))
    assert found.size > 3000
    assert found[worst] <= FUNCTIONS["pow"].kernel.band, [float(a[worst]).hex() for a in arguments]


@pytest.mark.parametrize("f", [f for f in FUNCTIONS.values() if f.kernel.wide[1] > 0], ids=lambda f: f.name)
def test_float64(mpfr, f):
    x = inside(f, some(np.random.default_rng(29)))
    x = np.concatenate([x, next_up(x), next_down(x)])
    nearest, farthest = f.kernel.wide
    x = x[(np.abs(x) >= nearest) & (np.abs(x) <= farthest)]
    found, (x,) = errors(mpfr, f, [inside(f, x)])
    worst = int(np.argmax(found))
    assert found.size > 300
    assert found[worst] <= f.kernel.band, float(x[worst]).hex()


@each
def test_bands_leave_few_undecided(f):
    """A band of 2^-48 leaves one rounding to binary32 in 2^22 to a ball."""
    assert 0 < f.kernel.band <= 2.0**-48


def test_what_the_reductions_take_as_exact():
    """Products of an exponent and the first part of a constant, and sums of these, lose nothing."""
    _, high, _ = exponential._steps()
    k = np.arange(-(1 << 19), 1 << 19, 7)
    assert np.all(k.astype(np.float64) * high == (k * int(high * 2.0**42)) * 2.0**-42)
    c, log_c, _ = logarithm._tables()
    assert np.array_equal(c * 2.0**26, np.rint(c * 2.0**26))
    assert np.array_equal(log_c * 2.0**42, np.rint(log_c * 2.0**42))
    ln2, _ = logarithm._ln2()
    assert ln2 * 2.0**42 == int(ln2 * 2.0**42)


def test_no_kernel_writes_to_its_argument():
    for f in FUNCTIONS.values():
        arguments = [np.linspace(0.1, 0.9, 50) for _ in range(f.arity)]
        for a in arguments:
            a.flags.writeable = False
        with np.errstate(all="ignore"):
            f.kernel.evaluate(*arguments)
