"""Functions of one variable and products: boxes and lines against Arb and rationals, without tolerance."""

from fractions import Fraction

import flint
import numpy as np
import pytest

from torchlean_check.network import Curve, Product, Select
from torchlean_check.rules import convex, curve, product, steps
from torchlean_check.rules.elementary import ERROR
from torchlean_check.rules.functions import FUNCTIONS, find, named_elu, named_power

ARB = {
    "exp": lambda x: x.exp(),
    "log": lambda x: x.log(),
    "sqrt": lambda x: x.sqrt(),
    "rsqrt": lambda x: 1 / x.sqrt(),
    "reciprocal": lambda x: 1 / x,
    "square": lambda x: x * x,
    "sigmoid": lambda x: 1 / (1 + (-x).exp()),
    "tanh": lambda x: x.tanh(),
    "erf": lambda x: x.erf(),
    "softplus": lambda x: x.exp().log1p(),
    "silu": lambda x: x / (1 + (-x).exp()),
    "gelu": lambda x: x * (-x).erfc(),
    "sin": lambda x: x.sin(),
    "cos": lambda x: x.cos(),
}
SLOPE = {
    "exp": lambda x: x.exp(),
    "log": lambda x: 1 / x,
    "sqrt": lambda x: 1 / (2 * x.sqrt()),
    "rsqrt": lambda x: -1 / (2 * x * x.sqrt()),
    "reciprocal": lambda x: -1 / (x * x),
    "square": lambda x: 2 * x,
    "sigmoid": lambda x: 1 / ((1 + (-x).exp()) * (1 + x.exp())),
    "tanh": lambda x: 1 / x.cosh() ** 2,
    "erf": lambda x: 2 / flint.arb.pi().sqrt() * (-x * x).exp(),
    "softplus": lambda x: 1 / (1 + (-x).exp()),
    "silu": lambda x: (1 + x / (1 + x.exp())) / (1 + (-x).exp()),
    "gelu": lambda x: (-x).erfc() + 2 * x / flint.arb.pi().sqrt() * (-x * x).exp(),
    "sin": lambda x: x.cos(),
    "cos": lambda x: -x.sin(),
}
POWERS = [3.0, 4.0, 7.0, 64.0, float(np.float32(0.3)), 0.0625, 2.5, float(np.float32(7.9)), -1.5, -2.0, -8.0]
ARB |= {named_power(p): lambda x, p=p: x ** int(p) if p == int(p) else x**p for p in POWERS}
SLOPE |= {named_power(p): lambda x, p=p: p * (x ** int(p - 1) if p == int(p) else x ** (p - 1)) for p in POWERS}
ELUS = [1.0, 0.25, 1.67326319217681884765625, 8.0]
ARB |= {named_elu(a): lambda x, a=a: x if x > 0 else a * x.expm1() for a in ELUS}
SLOPE |= {named_elu(a): lambda x, a=a: flint.arb(1) if x > 0 else a * x.exp() for a in ELUS}
each = pytest.mark.parametrize("name", [*FUNCTIONS, *map(named_power, POWERS), *map(named_elu, ELUS)])


def boxes(name, count=400, seed=0):
    """Boxes of all widths and places inside the domain; some are points, some begin or end at a bend."""
    rng = np.random.default_rng(seed)
    middle = rng.normal(size=count) * 10 ** rng.uniform(-3, 1.5, count)
    half = 10 ** rng.uniform(-8, 1.3, count) * (rng.random(count) > 0.1)
    lo, hi = middle - half, middle + half
    if find(name).wave is not None:
        lo[:40] = np.rint(lo[:40] / np.pi) * np.pi * (1 if name == "sin" else 0.5)
        lo[40:50] *= 1000.0
        hi = np.maximum(lo, lo + 2 * half)
    elif find(name).positive or name in ("sqrt", "reciprocal"):
        lo = np.abs(lo) + (1e-9 if name != "sqrt" else 0.0)
        hi = lo + 2 * half
        if name == "reciprocal":
            lo, hi = np.where(middle > 0, lo, -hi), np.where(middle > 0, hi, -lo)
    elif name in ("pow 7.0", "pow 64.0"):  # of ordinary size
        lo, hi = np.clip(lo, -8.0, 8.0), np.clip(hi, -8.0, 8.0)
    elif find(name).gate:  # ends near the bends and the least point
        spots = rng.choice([find(name).bend, -find(name).bend, find(name).dip], (2, 150))
        lo[:150], hi[:150] = np.sort(spots + 10 ** rng.uniform(-6, 0, (2, 150)) * rng.integers(-1, 2, (2, 150)), axis=0)
    else:
        lo[:20], hi[20:40] = 0.0, 0.0
        lo, hi = np.minimum(lo, hi), np.maximum(lo, hi)
    return lo, hi


def points(lo, hi, count=15):
    return [np.clip(lo + t * (hi - lo), lo, hi) for t in np.linspace(0.0, 1.0, count)]


@each
def test_values_and_slopes_are_within_the_proved_error(name):
    for z in points(*boxes(name, 300, 1), 3):
        found, slopes = find(name).value(z), find(name).slope(z)
        with flint.ctx.workprec(200):
            for x, y, g in zip(z.tolist(), found.tolist(), slopes.tolist(), strict=True):
                for got, exact in ((y, ARB[name]), (g, SLOPE[name])):
                    if name == "sqrt" and x == 0.0:
                        continue
                    true = exact(flint.arb(x))
                    ample = 2 if name.startswith("pow") else 16
                    assert abs(flint.arb(got) - true) < ERROR * (1 + abs(true)) / ample, (x, got)


@each
def test_boxes_and_lines_enclose_the_function(name):
    lo, hi = boxes(name)
    rng = np.random.default_rng(5)
    below, above = (np.clip(1.5 * rng.normal(size=len(lo)), -1, 1) * (rng.random(len(lo)) > 0.3) for _ in range(2))
    box, found = convex.interval(name, lo, hi), convex.lines(name, lo, hi, below, above)
    assert np.isfinite(np.stack([*box, found.a, found.p, found.s, found.t])).all()
    with flint.ctx.workprec(200):
        for z in points(lo, hi):
            for i, x in enumerate(z.tolist()):
                x, true = flint.arb(x), ARB[name](flint.arb(x))
                assert not (true < box[0][i] or true > box[1][i]), (lo[i], hi[i])  # undecided within 2^-200
                assert found.a[i] * x + found.p[i] < true < found.s[i] * x + found.t[i], (lo[i], hi[i])


@pytest.mark.parametrize("name", [name for name, f in FUNCTIONS.items() if f.gate])
def test_gates_bend_and_dip_where_it_is_said(name):
    """The second derivative changes its sign at the bends, the first at the least point, within 2^-40."""
    f = find(name)
    with flint.ctx.workprec(200):

        def derivative(order, x):
            return ARB[name](flint.arb_series([flint.arb(x), 1]))[order]

        for bend in (-f.bend, f.bend):
            assert (bend < 0) == (derivative(2, bend - 2.0**-40) < 0) == (derivative(2, bend + 2.0**-40) > 0)
        assert derivative(1, f.dip - 2.0**-40) < 0 < derivative(1, f.dip + 2.0**-40)


@pytest.mark.parametrize("name", [*FUNCTIONS, *(named_power(p) for p in POWERS if abs(p) < 4)])
def test_lines_are_near_on_narrow_boxes(name):
    """On a box of width w the lines are apart by the order of w^2: a rule that only knew the range would have w."""
    lo, hi = boxes(name)
    lo = np.where(np.abs(lo) < 0.1, 0.5, np.clip(lo, -3.0, 3.0))
    hi = lo + 2.0**-12
    found = convex.lines(name, lo, hi, 0.0 * lo, 0.0 * lo)
    middle = 0.5 * (lo + hi)
    gap = (found.s - found.a) * middle + found.t - found.p
    assert (gap <= 2.0**-24 * 40 / np.minimum(1.0, np.abs(middle)) ** 3).all()


@pytest.mark.parametrize(
    ("name", "lo", "hi"),
    [("pow 0.3", 0.0, 1.0), ("pow -2.0", -2.0, -1.0), ("pow 2.5", 1e-39, 1.0), ("log", 1e-39, 1.0),
     ("rsqrt", -1.0, 1.0), ("rsqrt", 0.0, 1.0), ("reciprocal", -1.0, 1.0),
     ("reciprocal", 0.0, 1.0), ("log", 0.0, 1.0), ("sqrt", -1.0, 1.0), ("exp", 0.0, 701.0),
     ("sin", 0.0, 1e5)],
)  # fmt: skip
def test_beyond_its_domain_a_function_proves_nothing(name, lo, hi):
    box = convex.interval(name, np.array([lo]), np.array([hi]))
    found = convex.lines(name, np.array([lo]), np.array([hi]), np.zeros(1), np.zeros(1))
    proved = np.stack([*box, found.p, found.t])
    if name == "sin":  # the range is known everywhere
        assert proved.ravel().tolist() == [-1.0, 1.0, -1.0, 1.0]
    else:
        assert not np.isfinite(proved[:2]).any() and not np.isfinite(proved[2:]).all()


@pytest.mark.parametrize("name", steps.NAMES)
def test_jumps_have_both_limits(name):
    rng = np.random.default_rng(3)
    lo = np.concatenate([rng.normal(size=200) * 3, np.arange(-3.0, 4.0), np.zeros(4)])
    hi = lo + np.concatenate([10 ** rng.uniform(-3, 1, 200), np.zeros(7), [0.0, 0.5, 2.0, 1e-9]])
    box, found = steps.interval(name, lo, hi), steps.lines(name, lo, hi)
    limits = {
        "floor": lambda z: {np.floor(z), np.ceil(z) - 1.0},
        "sign": lambda z: {np.sign(z)} if z else {-1.0, 0.0, 1.0},
    }[name]
    for z in points(lo, hi):
        for i, x in enumerate(z.tolist()):
            inside = (
                limits(x)
                if lo[i] < x < hi[i] or x == lo[i] == hi[i]
                else {np.floor(x) if name == "floor" else np.sign(x)}
            )
            for y in inside:
                assert box[0][i] <= y <= box[1][i]
                low, high = (Fraction(a) * Fraction(x) + Fraction(b) for a, b in
                             ((found.a[i], found.p[i]), (found.s[i], found.t[i])))  # fmt: skip
                assert low <= Fraction(y) <= high


def test_a_product_lies_between_its_planes():
    rng = np.random.default_rng(4)
    n = 300
    size = 10 ** rng.uniform(-6, 6, (2, n))
    lo = rng.normal(size=(2, n)) * size
    hi = lo + 10 ** rng.uniform(-8, 2, (2, n)) * size * (rng.random((2, n)) > 0.2)
    every = Select(np.arange(n), n)
    node = Product(every, every, (0, 1), n, (n,), "p")
    x, y = (lo[0], hi[0]), (lo[1], hi[1])
    places = (np.clip(1.5 * rng.normal(size=n), -1, 1), np.clip(1.5 * rng.normal(size=n), -1, 1))
    low, high = product.lines(node, places, x, y)
    box = product.enclose(node, x, y, np.zeros(n))
    for u in points(*x, 5):
        for v in points(*y, 5):
            for i in range(n):
                true = Fraction(u[i]) * Fraction(v[i])
                at = [Fraction(1), Fraction(u[i]), Fraction(v[i])]
                planes = [[Fraction(w[i]) for w in (p.c, p.a, p.b)] for p in (low, high)]
                below, above = (sum(w * z for w, z in zip(p, at, strict=True)) for p in planes)
                assert below < true < above
                assert Fraction(box[0][i]) <= true <= Fraction(box[1][i])


def test_an_execution_stays_inside_of_a_curves_range():
    """The box of a value is clamped to f's range, as implementations are (SEMANTICS 2)."""
    node = Curve("sigmoid", 0, 1, (1,), "s", absolute=2.0**-21, relative=2.0**-20)
    box = np.array([20.0]), np.array([30.0])
    error, size = curve.error(node, box, 0.0)
    low, high = curve.enclose(node, *(box,), error)
    assert (
        2.0**-21 < error[0] < 2.0**-19 and high[0] == 1.0 and 1.0 - 2.0**-19 < low[0] < 1.0 and 0.999 < size[0] <= 1.0
    )
