"""Each rule of the rounding walk, on twins whose values lie far apart: exact results at extreme points stay inside."""

import flint
import numpy as np
import pytest

from torchlean_check.rules import rounding_affine as affine
from torchlean_check.rules import rounding_choice as choice
from torchlean_check.rules import rounding_function as function
from torchlean_check.rules import rounding_pointwise as pointwise
from torchlean_check.twin import joined


def twin(rng, shape, positive=False):
    """A twin, and real and float points of it that are as far apart as they may be."""
    middle = rng.uniform(0.5, 2.0, shape) * (1.0 if positive else rng.choice([-1.0, 1.0], shape))
    width = rng.choice([0.0, 2.0**-6, 2.0**-2], shape)
    gap = rng.choice([0.0, 2.0**-8, 2.0**-3], shape)
    real = np.float32(middle + rng.choice([-1.0, 0.0, 1.0], shape) * width).astype(float)
    side = rng.choice([-1.0, 1.0], shape)
    single = np.float32(real + side * gap).astype(float)
    box = (np.minimum(real, middle - width), np.maximum(real, middle + width))
    own = (np.minimum(single, middle - width), np.maximum(single, middle + width))
    return joined("float32", own, box, np.abs(single - real)), real, single


def balls(a):
    return np.array([flint.arb(v) for v in np.ravel(a).tolist()] + [None], object)[:-1].reshape(np.shape(a))


def holds(found, f, *points):
    """f on real points lies in the real box, on float points in the float box, their difference within `apart`."""
    with flint.ctx.workprec(200):
        real, single = (f(*(balls(p) for p in side)) for side in points)
        boxes = (found.real_lo, found.real_hi, found.lo, found.hi, found.apart)
        flat = [np.broadcast_to(b, found.shape).ravel().tolist() for b in boxes]
        for r, s, a, b, c, d, apart in zip(real.ravel().tolist(), single.ravel().tolist(), *flat, strict=True):
            assert flint.arb(a) <= r.upper() and r.lower() <= flint.arb(b)
            assert flint.arb(c) <= s.upper() and s.lower() <= flint.arb(d)
            assert abs(s - r).lower() <= flint.arb(apart)


PAIRS = {
    "add": (pointwise.add, np.add), "sub": (pointwise.sub, np.subtract), "mul": (pointwise.mul, np.multiply),
    "div": (pointwise.div, np.divide), "max": (choice.maximum, np.maximum), "min": (choice.minimum, np.minimum),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_pairs(name):
    rule, exact = PAIRS[name]
    for seed in range(30):
        rng = np.random.default_rng(seed)
        (x, *px), (y, *py) = twin(rng, (8,)), twin(rng, (8,), positive=True)
        holds(rule(x, y), exact, (px[0], py[0]), (px[1], py[1]))
        if name == "mul":
            holds(rule(x, x), lambda a: a * a, (px[0],), (px[1],))


@pytest.mark.parametrize("name", ["exp", "log", "tanh", "sigmoid", "sqrt"])
def test_functions(name):
    for seed in range(15):
        x, *p = twin(np.random.default_rng(seed), (8,), positive=name in ("log", "sqrt") or seed % 2 == 0)
        exact = (lambda a: 1 / (1 + np.exp(-a))) if name == "sigmoid" else getattr(np, name)
        holds(function.apply(name, x), exact, (p[0],), (p[1],))


@pytest.mark.parametrize("bias", [False, True])
def test_products(bias):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        (x, *px), (w, *pw), (b, *pb) = twin(rng, (2, 4)), twin(rng, (4, 3)), twin(rng, (2, 3))
        if bias:
            holds(affine.matmul(x, w, b), lambda a, c, d: a @ c + d, *zip(px, pw, pb, strict=True))
        else:
            holds(affine.matmul(x, w), np.matmul, *zip(px, pw, strict=True))
        holds(affine.reduce_sum(x, (1,), True), lambda a: a.sum(1, keepdims=True), (px[0],), (px[1],))


def test_choice_by_a_comparison_that_may_differ():
    differed = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        (c, *pc), (x, *px), (y, *py) = (twin(rng, (8,)) for _ in range(3))
        limit, *pl = twin(rng, (8,), positive=True)
        decided = choice.compare(c, limit, strict=bool(seed % 2))
        truths = [(a < b) if seed % 2 else (a <= b) for a, b in zip(pc, pl, strict=True)]
        real, single = (t.astype(float) for t in truths)
        assert ((decided.real_lo <= real) & (real <= decided.real_hi)).all()
        assert ((decided.lo <= single) & (single <= decided.hi) & (abs(single - real) <= decided.apart)).all()
        differed += int((real != single).sum())
        found = choice.where(decided, x, y)
        values = [np.where(t, a, b) for t, a, b in zip(truths, px, py, strict=True)]
        holds(found, lambda a: a, (values[0],), (values[1],))
    assert differed > 5


def test_a_product_that_underflows_in_float64_keeps_its_sign_inside():
    """-1e-200 times 1e-200 is below 0, though float64 says -0."""
    for sign in (-1.0, 1.0):
        x, y = (joined("float64", (v, v), (v, v), np.zeros(1)) for v in (np.array([sign * 1e-200]), np.array([1e-200])))
        found = pointwise.mul(x, y)
        exact = flint.arb(sign * 1e-200) * flint.arb(1e-200)
        assert flint.arb(float(found.real_lo[0])) <= exact <= flint.arb(float(found.real_hi[0]))
        assert (found.real_lo[0] < 0) == (sign < 0)
