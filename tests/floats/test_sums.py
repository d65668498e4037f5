"""Orders of summation and the bound that covers them all, held against exact rationals without tolerance."""

from dataclasses import replace

import flint
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchlean import floats
from torchlean.errors import UsageError
from torchlean.floats import Execution

F32 = np.float32
law = settings(deadline=None, derandomize=True, max_examples=40)


def row(rng, n, kind):
    if kind == "subnormal":
        return (rng.normal(size=n) * 2.0**-135).astype(F32)
    if kind == "cancelling":
        half = rng.normal(size=(n + 1) // 2) * 2.0 ** rng.integers(-20, 20)
        return rng.permutation(np.concatenate([half, -half])[:n]).astype(F32)
    if kind == "spread":
        return (rng.normal(size=n) * 2.0 ** rng.integers(-60, 40, n)).astype(F32)
    if kind == "edge":
        return rng.choice(np.array([1, 1 + 2.0**-23, 1 - 2.0**-24, 2.0**-24, -(2.0**-24), 0.0]), n).astype(F32)
    return rng.normal(size=n).astype(F32)


KINDS = ["plain", "subnormal", "cancelling", "spread", "edge"]


def executions(rng, leaves, products):
    """Orders of every family, with random fusing, widths and flushing."""
    block = int(rng.integers(1, leaves + 1))
    for order in (floats.left_fold(leaves), floats.pairwise(leaves), floats.blocked(leaves, block),
                  floats.strided(leaves, block), floats.random_order(leaves, rng)):  # fmt: skip
        order = floats.permuted(order, rng.permutation(leaves))
        yield Execution(order)
        yield Execution(
            order,
            fused=tuple((rng.random(leaves) < 0.5).tolist()) if products else (),
            wide=tuple((rng.random(leaves - 1) < 0.3).tolist()),
            flush=bool(rng.random() < 0.5),
        )


def bound(x, w, b, **how):
    """E, computed as a caller would: in float64, upward."""
    x, w, b = (np.abs(a.astype(np.float64)) for a in (x, w, b))
    leaves = np.count_nonzero(x * w) + np.count_nonzero(b)
    up = 1 + 2.0**-40
    return floats.any_order_bound((float(x @ w) + float(b)) * up, leaves, w.sum() * up, x.sum() * up, **how)


def distance(value, exact):
    p, q = float(value).as_integer_ratio()
    return abs(flint.fmpq(p, q) - exact)


def as_rational(x):
    p, q = float(x).as_integer_ratio()
    return flint.fmpq(p, q)


@pytest.mark.parametrize("kind", KINDS)
@law
@given(n=st.integers(1, 40), seed=st.integers(0, 2**32))
def test_no_execution_escapes_the_any_order_bound(kind, n, seed):
    rng = np.random.default_rng(seed)
    x, w, b = row(rng, n, kind), row(rng, n, rng.choice(KINDS)), row(rng, 1, "plain")[0] * F32(rng.integers(0, 2))
    exact = floats.exact_dot(x, w, float(b))
    limit = as_rational(bound(x, w, b))
    for how in executions(rng, n + 1, products=True):
        assert distance(floats.execute(how, x, w, b), exact) <= limit


@law
@given(n=st.integers(1, 40), seed=st.integers(0, 2**32), kind=st.sampled_from(KINDS))
def test_no_execution_of_depth_h_escapes_the_bound_for_h(n, seed, kind):
    rng = np.random.default_rng(seed)
    x, w, b = row(rng, n, kind), row(rng, n, "plain"), row(rng, 1, "plain")[0]
    exact = floats.exact_dot(x, w, float(b))
    for how in executions(rng, n + 1, products=True):
        limit = as_rational(bound(x, w, b, depth=how.order.depth + 1))
        assert distance(floats.execute(how, x, w, b), exact) <= limit


@law
@given(n=st.integers(1, 40), seed=st.integers(0, 2**32), kind=st.sampled_from(KINDS))
def test_plain_sums_stay_within_the_bound_too(n, seed, kind):
    rng = np.random.default_rng(seed)
    x = row(rng, n, kind)
    exact = floats.exact_dot(x)
    size = float(np.abs(x.astype(np.float64)).sum()) * (1 + 2.0**-40)
    limit = as_rational(floats.any_order_bound(size, np.count_nonzero(x), n, size))
    for how in executions(rng, n, products=False):
        assert distance(floats.execute(how, x), exact) <= limit


def test_a_looser_claim_would_be_refuted():
    """The bound without the product's rounding is too small: one product alone shows it."""
    x, w = np.array([1 + 2.0**-12], F32), np.array([1 + 2.0**-12], F32)
    got = floats.execute(Execution(floats.left_fold(1)), x, w)
    assert distance(got, floats.exact_dot(x, w)) > 0
    assert floats.any_order_bound(1.1, 1, 2, 2) >= 2.0**-24


def test_flushing_needs_the_underflow_terms():
    x, w = np.array([2.0**-127], F32), np.array([2.0**30], F32)
    how = Execution(floats.left_fold(1), flush=True)
    error = distance(floats.execute(how, x, w), floats.exact_dot(x, w))
    relative_only = 2.0**-24 * 2.0**-97
    assert error > as_rational(relative_only)
    assert error <= as_rational(bound(x, w, F32(0)))


@pytest.mark.parametrize("fmt", floats.FORMATS.values(), ids=str)
@pytest.mark.parametrize("n", [0, 1, 2, 3, 100, 785, 2**16, 2**20, 2**23, 2**24 + 1])
def test_growth_is_an_upper_bound_and_a_close_one(fmt, n):
    u = fmt.unit_roundoff
    if n * u > 64:
        assert floats.growth(n, u) == np.inf
        return
    with flint.ctx.workprec(200):
        true = (1 + flint.arb(u)) ** n - 1
        got = flint.arb(float(floats.growth(n, u)))
        assert got >= true or n == 0
        assert got <= true * (1 + 66 * (flint.arb(u) + flint.arb(2.0**-44))) or n == 0
    assert floats.growth(0, u) == 0


def test_growth_is_monotone_across_its_branches():
    n = np.unique(np.concatenate([2 ** np.arange(26), 3 * 2 ** np.arange(24)]))
    assert (np.diff(floats.growth(n)) > 0).all()
    mixed = floats.growth(np.array([1, 2**25]))
    assert mixed[0] >= 2.0**-24


def test_no_bound_is_ever_nan_or_negative():
    bounds = floats.any_order_bound([0.0, np.inf, 1e308, 0.0, 5e-324], [0, 5, 2**40, 3, 1], 0.0, 0.0)
    assert bounds[0] == 0
    assert (bounds[1:] > 0).all()
    assert not np.isnan(bounds).any()
    assert floats.stays_finite([1e38, 2e38, np.nan, np.inf], 0.0).tolist() == [True, False, False, False]


def test_upper_matmul_is_above_the_exact_product():
    rng = np.random.default_rng(3)
    a, b = rng.random((3, 200)) * 2.0 ** rng.integers(-200, 200, (3, 200)), rng.random((200, 2))
    got = floats.upper_matmul(a, b)
    for i in range(3):
        for j in range(2):
            assert as_rational(got[i, j]) >= floats.exact_dot(a[i], b[:, j])
    assert floats.upper_matmul(np.array([[np.inf]]), np.array([[0.0]])) == np.inf


def test_an_order_is_one_tree():
    assert floats.left_fold(3).steps == ((0, 1), (3, 2))
    assert floats.pairwise(4).depth == 2
    assert floats.blocked(6, 3).depth == 3
    assert floats.strided(8, 4).depth == 3
    for steps in (((0, 0),), ((0, 1), (0, 2)), (), ((0, 2), (3, 1))[:1]):
        with pytest.raises(UsageError, match="one binary tree"):
            floats.Order(3, steps)
    with pytest.raises(UsageError, match="another number of leaves"):
        floats.execute(Execution(floats.left_fold(3)), np.zeros(2, F32))


def test_the_evaluation_is_numpys_where_numpy_has_one():
    rng = np.random.default_rng(5)
    x = rng.normal(size=33).astype(F32)
    assert floats.execute(Execution(floats.left_fold(33)), x) == np.add.accumulate(x)[-1]
    how = Execution(floats.left_fold(33))
    w = rng.normal(size=33).astype(F32)
    assert floats.execute(how, x, w) == np.add.accumulate(x * w)[-1]
    fused = floats.execute(replace(how, fused=(True,) * 33), x, w)
    exact = float(np.float32(x[0] * w[0]))
    for a, b in zip(x[1:], w[1:], strict=True):  # a fused step rounds the exact a b + c once
        total = floats.exact_dot([a], [b], exact)
        exact = floats.round_rational(total)
    assert float(fused) == exact
