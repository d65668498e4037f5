"""What products lose, as one quadratic form of the inputs: exactly at least what is charged, and next to nothing where
it is convex."""

import itertools
from fractions import Fraction

import numpy as np
import pytest

import torchlean_check as tc
from torchlean_check import forms
from torchlean_check.forms import Form, Forms
from torchlean_check.network import Product, Select
from torchlean_check.rules import convexity, product, quadratic

ROUNDED = tc.arith.arithmetic("rounded")


def exactly(q, e):
    """e' Q e"""
    return sum(Fraction(q[i, j]) * e[i] * e[j] for i in range(len(e)) for j in range(len(e)))


def points(rng, n, count=12):
    """Corners and inner points of [-1, 1]^n, the middle first."""
    yield [Fraction(0)] * n
    for k in range(count):
        yield [Fraction(int(v), 16) for v in (16 * rng.choice([-1, 1], n) if k % 2 else rng.integers(-16, 17, n))]


def matrices(rng, n):
    """Convex, nearly so, of low rank, of any kind, of other sizes, and 0: stacked.   Shapes  [n, n, R]"""
    a = rng.normal(size=(n, n))
    convex, low = a @ a.T, np.outer(a[0], a[0])
    turned = convex + np.triu(a, 1) - np.triu(a, 1).T  # the same form, not symmetric
    found = [convex, turned, convex - 0.05 * np.eye(n), low, low - 2.0**-44 * np.eye(n), a, -convex, 2.0**60 * a,
             2.0**-90 * convex, 2.0**-340 * convex, np.diag([1.0] * (n - 1) + [0.0]), np.zeros((n, n))]  # fmt: skip
    return np.stack(found, axis=2)


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("steps", [0, 5])
def test_elimination_keeps_below_the_form(n, steps):
    rng = np.random.default_rng(n)
    for _ in range(6):
        q = matrices(rng, n)
        low, p = convexity.least(q, steps)
        assert (low <= 0).all() and (steps or not p.any())
        for r in range(q.shape[2]):
            for e in points(rng, n):
                left = exactly(q[:, :, r], e) - exactly(p[:, :, r], e) - Fraction(low[r])
                least = -Fraction(1, 2**700) if r in (9, 11) else 0  # the walk charges underflow
                assert left >= least and exactly(q[:, :, r], e) - Fraction(low[r]) >= least


@pytest.mark.parametrize("n", [2, 3])
def test_eliminations_charge_their_rounding(n):
    """Of convex forms next to nothing is left but what rounds: at every corner it is charged."""
    a = np.random.default_rng(n).normal(size=(n, n, 1500))
    q = np.einsum("ikr,jkr->ijr", a, a)
    low, p = convexity.least(q, n)
    for r in range(q.shape[2]):
        rest = [[Fraction(x) - Fraction(y) for x, y in zip(*rows, strict=True)]
                for rows in zip(q[:, :, r].tolist(), p[:, :, r].tolist(), strict=True)]  # fmt: skip
        for e in itertools.product((1, -1), repeat=n - 1):
            signs = (1, *e)
            left = sum(rest[i][j] * signs[i] * signs[j] for i in range(n) for j in range(n))
            assert left >= Fraction(low[r])


def test_a_pivot_whose_row_underflows_is_not_taken():
    """Its square would be lost: what is taken would not be convex."""
    q = np.array([[2.0**-1000, 2.0**-540], [2.0**-540, 0.0]])[:, :, None]
    low, _ = convexity.least(q, 2)
    assert Fraction(low[0]) <= exactly(q[:, :, 0], [1, -1])


@pytest.mark.parametrize("steps", [0, 1])
def test_dominance_charges_its_rounding(steps):
    """Where the bound is attained: on the plane e_0 = 0 of a form whose rest falls along (1, 1) or (1, -1)."""
    rng = np.random.default_rng(8)
    q = rng.normal(size=(3, 3, 400))
    q[0] *= steps
    q[:, 0] *= steps
    q[0, 0] = 90.0 * steps
    q[1, 1] = -np.abs(q[1, 1])
    q[2, 2] = -np.abs(q[2, 2])
    low, p = convexity.least(q, steps)
    assert low.max() < -0.01 and bool(p.any()) == bool(steps)
    for r in range(400):
        gaps = [exactly(q[:, :, r], e) - exactly(p[:, :, r], e) - Fraction(low[r]) for e in ((0, 1, 1), (0, 1, -1))]
        assert 0 <= min(gaps) < 2.0**-38


def test_little_is_left_of_a_convex_form():
    q = matrices(np.random.default_rng(0), 5)
    size = np.abs(q).sum(axis=(0, 1))
    low, _ = convexity.least(q, 5)
    every = [0, 1, 3, 4, 8, 10, 11]
    assert (low[every] >= -(2.0**-30) * size[every]).all()
    plain, _ = convexity.least(q, 0)
    assert (plain[[0, 1, 3]] < -0.1).all() and (low >= plain - 2.0**-30 * size).all()
    assert -0.5 < low[2] < 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_proves_nothing(bad):
    q = np.full((2, 2, 1), bad)
    with np.errstate(all="ignore"):
        low, _ = convexity.least(q, 2)
    assert not np.isfinite(low).any()


def tangents(rng, n, q, width, centre):
    """The bounds before and after a tangent: known forms of the inputs, and what convexity says of q."""
    lo = centre - width * rng.random((1, n + 1))
    hi = centre + width * rng.random((1, n + 1))
    hi[0, 0] = lo[0, 0]  # one input does not vary
    known = Forms(ROUNDED, np.arange(1, n + 1))
    known.known[0] = forms.start(lo, hi, known.varying)
    rows = q.shape[2]
    form, offset = rng.normal(size=(rows, n + 1)), rng.normal(size=rows)
    low, p = convexity.least(q, n)
    with np.errstate(all="ignore"):
        out = convexity.tangent(p, form, offset, known, np.zeros(rows, np.int64))
    return lo[0], hi[0], known.known[0].m[0], form, offset, low, out


@pytest.mark.parametrize("width, centre", [(1.0, 0.0), (2.0**-20, 3.0), (2.0**20, -1.0)])
def test_a_tangent_keeps_below_the_form(width, centre):
    rng = np.random.default_rng(3)
    for n in (1, 2, 4):
        q = matrices(rng, n)
        lo, hi, given, form, offset, low, (new, shift) = tangents(rng, n, q, width, centre)
        for corner in itertools.islice(itertools.product((0, 0.5, 1), repeat=n), 0, None, 2):
            x = [Fraction(float(a)) for a in (lo + np.array([0, *corner]) * (hi - lo))]
            e = [(x[j + 1] - Fraction(given[0, j + 1])) / Fraction(given[1 + j, j + 1]) for j in range(n)]
            for r in range(q.shape[2]):
                before = sum(Fraction(f) * v for f, v in zip(form[r], x, strict=True)) + Fraction(offset[r])
                after = sum(Fraction(f) * v for f, v in zip(new[r], x, strict=True)) + Fraction(shift[r])
                assert after + Fraction(low[r]) <= before + exactly(q[:, :, r], e)


def test_a_tangent_touches_near_the_least_point():
    """e^2 - e / 2 on [-1, 1]: least at 1 / 4, where it is -1 / 16; the form alone is -1 / 2 at an end."""
    known = Forms(ROUNDED, np.arange(1))
    known.known[0] = forms.start(np.array([[-1.0]]), np.array([[1.0]]), known.varying)
    low, p = convexity.least(np.ones((1, 1, 1)), 1)
    form, offset = convexity.tangent(p, np.array([[-0.5]]), low, known, np.zeros(1, np.int64))
    assert abs(offset[0] - abs(form[0, 0]) + 1 / 16) < 2.0**-40


def random_parts(rng, size, scale, shift):
    """Two values with forms and boxes that hold them, in 2 boxes of 3 inputs, and a product of selections of them."""
    known, boxes = Forms(ROUNDED, np.arange(3)), []
    for k in (1, 2):
        m, p = rng.normal(size=(2, 4, 4)) * scale, np.zeros((2, 4, 4))
        m[:, 0] += shift
        p[:, 0] = np.abs(rng.normal(size=(2, 4))) * scale * rng.choice([0.0, 2.0**-6, 1.0], (2, 4))
        p[:, 1:] = 0.2 * p[:, :1] * rng.normal(size=(2, 3, 4)).clip(-1, 1)
        known.known[k] = Form(m, p)
        low, high = known.known[k].box()
        share = rng.choice([0.0, 0.4], (2, 2, 4))  # boxes may be narrower than forms
        boxes.append((low + share[0] * (high - low), high - share[1] * (high - low)))
    left, right = rng.integers(0, 4, (2, size))
    return known, boxes, Product(Select(left, 4), Select(right, 4), (1, 2), size, (size,), "y")


def values_at(known, boxes, k, index, row, e, rng):
    """A value that its form and its box allow at e, often at an end; None where there is none."""
    form, (lo, hi) = known.known[k], boxes[k - 1]
    m, p = (sum(Fraction(c) * v for c, v in zip(part[row, :, index].tolist(), [1, *e], strict=True))
            for part in (form.m, form.p))  # fmt: skip
    low, high = max(m - p, Fraction(lo[row, index])), min(m + p, Fraction(hi[row, index]))
    return None if low > high else low + (high - low) * Fraction(int(rng.choice([0, 0, 1, 2, 2])), 2)


@pytest.mark.parametrize("rest", [0.0, 0.125, 8.0])
def test_one_product_at_its_worst(rest):
    """Factors that rise together, at the ends of their forms or boxes: what is charged is attained."""
    rng, node, one = np.random.default_rng(6), Product(Select(np.array([0]), 1), Select(np.array([0]), 1), (1, 2), 1,
                                                       (1,), "y"), np.zeros(1, np.int64)  # fmt: skip
    gaps = []
    for case in range(60):
        known, boxes, sides = Forms(ROUNDED, np.arange(2)), [], []
        for k in (1, 2):
            m, p = np.abs(rng.normal(size=(1, 3, 1))), np.zeros((1, 3, 1))
            m[:, 0] = (0.0, 3.0, -1.0)[case % 3]
            p[:, 0] = rest * rng.random()
            known.known[k] = Form(m, p)
            low, high = (np.array([[Fraction(m[0, 0, 0]) + sign * sum(map(Fraction, (*m[0, 1:, 0], p[0, 0, 0])))]])
                         for sign in (-1, 1))  # fmt: skip
            share = [[0, 0], [0.75, 0], [0, 0.75], [0.4375, 0.4375]][case % 4]
            width = (high - low)[0, 0]
            box = float(low[0, 0] + Fraction(share[0]) * width), float(high[0, 0] - Fraction(share[1]) * width)
            boxes.append((np.array([[box[0]]]), np.array([[box[1]]])))
        made = quadratic.parts(node, known, boxes, 8)
        g = np.array([[(1.0, -1.0, 0.7)[case % 3]]])
        mags = [np.maximum(np.abs(lo[0]), np.abs(hi[0])) for lo, hi in boxes]
        shift, charge, (a, b) = product.cross(node, made.planes, g, one, ROUNDED, mags)
        q = np.broadcast_to(made.gram(g, one, ROUNDED), (2, 2, 1))[:, :, 0]
        for e in itertools.product((-1, 1), repeat=2):
            sides = []
            for k in (1, 2):
                middle, radius = (sum(Fraction(c) * v for c, v in zip(part[0, :, 0].tolist(), [1, *e], strict=True))
                                  for part in (known.known[k].m, known.known[k].p))  # fmt: skip
                lo, hi = (Fraction(v[0, 0]) for v in boxes[k - 1])
                sides.append({max(middle - radius, lo), min(middle + radius, hi)}
                             if max(middle - radius, lo) <= min(middle + radius, hi) else ())  # fmt: skip
            for x, y in itertools.product(*sides):
                low = Fraction(a[0, 0]) * x + Fraction(b[0, 0]) * y + Fraction(shift[0]) - Fraction(charge[0])
                gaps.append(Fraction(g[0, 0]) * x * y - low - exactly(q, e))
                assert gaps[-1] >= 0, case
    assert min(gaps) < 2.0**-30


def bound_of_products(known, boxes, pairs, g, e):
    """What planes and form say of sum g x y at e, in rationals; the factors are what their forms, which are exact, say.
    Also that sum, and whether all factors are in their boxes."""
    size = len(pairs[0])
    selections = [Select(np.array(index), known.known[1 + k].m.shape[2]) for k, index in enumerate(pairs)]
    made = quadratic.parts(Product(*selections, (1, 2), size, (size,), "y"), known, boxes, 8)
    mags = [np.maximum(np.abs(lo[0]), np.abs(hi[0])) for lo, hi in boxes]
    zero = np.zeros(1, np.int64)
    node = Product(*selections, (1, 2), size, (size,), "y")
    shift, charge, (a, b) = product.cross(node, made.planes, g, zero, ROUNDED, mags)
    q = np.broadcast_to(made.gram(g, zero, ROUNDED), (len(e), len(e), 1))[:, :, 0]
    values, inside = [], True
    for k, (lo, hi) in enumerate(boxes):
        m = known.known[1 + k].m[0]
        values.append([sum(Fraction(c) * v for c, v in zip(m[:, i].tolist(), [1, *e], strict=True))
                       for i in range(m.shape[1])])  # fmt: skip
        inside &= all(u <= z <= v for u, z, v in zip(lo[0].tolist(), values[-1], hi[0].tolist(), strict=True))
    plane = sum(Fraction(c) * v for c, v in zip([*a[0], *b[0]], [*values[0], *values[1]], strict=True))
    low = plane + Fraction(shift[0]) - Fraction(charge[0]) + exactly(q, e)
    true = sum(Fraction(w) * values[0][i] * values[1][j] for w, i, j in zip(g[0].tolist(), *pairs, strict=True))
    return low, true, inside


def exact_forms(*columns):
    """Values with forms that nothing is lost in.   columns: per value [1 + n, entries]"""
    known = Forms(ROUNDED, np.arange(len(columns[0]) - 1))
    for k, m in enumerate(columns):
        known.known[1 + k] = Form(np.array(m)[None], np.zeros((1, *np.shape(m))))
    return known


@pytest.mark.parametrize("scale, g", [(1.0, 1.0), (2.0**-534, 2.0**800), (2.0**-534, -(2.0**800))])
def test_rounding_is_charged_where_nothing_else_is(scale, g):
    """Factors that are affine, with boxes anywhere in what their forms reach; or hardly rising, one of them near 0."""
    rng, zero = np.random.default_rng(11), np.zeros((1, 1))
    for case in range(600):
        columns, boxes, e = [], [], []
        for k in range(2):
            middle = rng.choice([0.0, 1.0, -1.0, 2.0**40, -(2.0**40)]) * (1.0 + rng.random())
            steep = (3.0 + rng.random()) * max(abs(middle), 1.0)
            ends = np.sort(rng.choice([0.0, 2.0**-40, -(2.0**-30), 1.0, -1.0, 0.7], 2, replace=False)) * scale
            if case % 3 == 0:
                middle, steep = k * (1.0 + rng.random()), 2.0**-20 * (1.0 + rng.random())
                ends = (middle + steep * np.sort(rng.choice([-0.75, -0.5, 0.0, 0.5, 0.75], 2, replace=False))) * scale
            columns.append(np.array([[middle * scale], [0.0], [0.0]]))
            columns[-1][1 + k] = steep * scale
            boxes.append((zero + ends[0], zero + ends[1]))
            point = Fraction(float(ends[rng.integers(2)]))
            e.append((point - Fraction(columns[-1][0, 0])) / Fraction(columns[-1][1 + k, 0]))
        factor = zero + g * (rng.normal() if scale == 1.0 else 1.0)
        low, true, inside = bound_of_products(exact_forms(*columns), boxes, ([0], [0]), factor, e)
        assert inside and low <= true


def test_the_rounding_of_many_forms_that_nearly_cancel_is_charged():
    """x and y are small where large parts cancel: the sum of their products of such parts rounds by more than they."""
    rng, missed = np.random.default_rng(12), 0
    for _ in range(60):
        size, e = 40, [Fraction(1), Fraction(-1)]
        rise = 2.0**30 * (1.0 + rng.random((2, size)))
        columns = [np.stack([0.0 * row, row, row + rng.uniform(-0.9, 0.9, size)]) for row in rise]
        boxes = [(np.full((1, size), -1.0), np.full((1, size), 1.0)) for _ in range(2)]
        g, pairs = rng.normal(size=(1, size)), (list(range(size)),) * 2
        low, true, inside = bound_of_products(exact_forms(*columns), boxes, pairs, g, e)
        assert inside and low <= true
        missed += true - low > 0
    assert missed


@pytest.mark.parametrize("arithmetic", ["rounded", "exact"])
def test_products_keep_above_planes_and_form(arithmetic):
    """sum g x y against planes and e' Q e, in rationals, with values at the ends of what forms and boxes allow."""
    arith, used, tried = tc.arith.arithmetic(arithmetic), 0, 0
    for seed in range(48):
        rng = np.random.default_rng(seed)
        size = int(rng.integers(1, 6))
        known, boxes, node = random_parts(rng, size, 2.0 ** float(rng.integers(-30, 31)), float(rng.choice([0, 0, 50])))
        known.arith = arith
        made = quadratic.parts(node, known, boxes, 8)
        used += int((made.X != 0).any(axis=1).sum())
        g, box = rng.normal(size=(4, size)), np.array([0, 1, 1, 0])
        mags = [np.maximum(np.abs(lo), np.abs(hi)).max(axis=0) for lo, hi in boxes]
        shift, charge, (a, b) = product.cross(node, made.planes, g, box, arith, mags)
        q = np.broadcast_to(made.gram(g, box, arith), (3, 3, 4))
        for e in points(rng, 3, 10):
            for r in range(4):
                x, y = ([values_at(known, boxes, k, i, box[r], e, rng) for i in range(4)] for k in (1, 2))
                if None in x or None in y:
                    continue
                tried += 1
                true = sum(Fraction(w) * x[i] * y[j] for w, i, j in zip(g[r], node.left.index, node.right.index,
                                                                       strict=True))  # fmt: skip
                plane = sum(Fraction(c) * v for c, v in zip([*a[r], *b[r]], [*x, *y], strict=True))
                low = plane + Fraction(shift[r]) - Fraction(charge[r]) + exactly(q[:, :, r], e)
                assert low <= true, (seed, r)
    assert used > 100 and tried > 300


def lyapunov(tools, away=0.0):
    """y = x' P x, P positive definite, as (x) * (x P) summed; near x = 0."""
    rng = np.random.default_rng(1)
    a = rng.normal(size=(4, 4))
    weights = {"p": (a @ a.T + np.eye(4)).astype(np.float32), "o": np.ones((4, 1), np.float32)}
    model = tools.model_bytes([("MatMul", "xp", "z", {}), ("Mul", "xz", "w", {}), ("MatMul", "wo", "y", {})], weights,
                              (1, 4))  # fmt: skip
    return model, tools.property_text(4, 1, [f"(assert (<= Y_0 {away}))"], "-0.75", "1.0")


@pytest.mark.parametrize("semantics", ["float32", "real"])
@pytest.mark.parametrize("arithmetic", ["rounded", "exact"])
def test_a_convex_form_of_the_inputs_is_bounded_at_once(tools, monkeypatch, arithmetic, semantics):
    """x' P x > -0.01 takes one box; product by product, planes are far from it."""
    network, (region,) = tc.load(*lyapunov(tools, -0.01))
    kernel = tc.Kernel(network, region, semantics, arithmetic)
    assert kernel.bound(kernel.start(), derive=True).refuted.all()
    monkeypatch.setattr(forms, "MOST", 0)
    plain = tc.Kernel(network, region, semantics, arithmetic)
    assert plain.few is None and plain.bound(plain.start(), derive=True).margin[0, 0] < -1.0


def test_a_convex_form_does_not_refute_what_its_least_point_meets(tools):
    network, (region,) = tc.load(*lyapunov(tools, 0.0))
    kernel = tc.Kernel(network, region)
    assert not kernel.bound(kernel.start(), derive=True).refuted.any()


def test_a_certificate_of_a_convex_form_is_valid_and_small(tools):
    model, claim = lyapunov(tools, -0.01)
    certificate = tools.certify(model, claim)
    assert len(certificate.trees[0].op) == 1
    assert tc.check(model, claim, tc.encode(certificate)).status == "valid"


def test_exact_bounds_do_not_depend_on_the_batch(tools):
    network, (region,) = tc.load(*lyapunov(tools))
    kernel = tc.Kernel(network, region, arithmetic="exact")
    halves = kernel.split(kernel.start(), np.array([2]))
    both = kernel.bound(tc.State.join(halves), derive=True)
    for i, half in enumerate(halves):
        alone = kernel.bound(half, derive=True)
        assert (both.margin[i] == alone.margin[0]).all() and (both.form[i] == alone.form[0]).all()


def test_clipping_keeps_what_the_clause_allows(tools):
    """The form of a tangent refutes; what clips is the form that was bounded."""
    for top in (0.5, 2.0, 6.0):
        network, (region,) = tc.load(*lyapunov(tools, top))
        kernel, rng = tc.Kernel(network, region, "real"), np.random.default_rng(2)
        state = kernel.start()
        state.lo[0] = (0.1, -0.75, 0.2, -0.1)
        clipped = kernel.clip(state, kernel.bound(state, derive=True))
        x = state.lo + rng.random((4000, 4)) * (state.hi - state.lo)
        x[::2] = state.lo + (x[::2] - state.lo) * rng.random((2000, 1))
        p = network.nodes[1].terms[0][0].apply(np.eye(4), np.matmul)
        inside = x[np.einsum("ni,ij,nj->n", x, p, x) <= top]
        assert len(inside) > 20 and (inside >= clipped.lo).all() and (inside <= clipped.hi).all()
