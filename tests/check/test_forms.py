"""Affine forms of the inputs: every execution obeys them, and they spare the backward walk most of its rows."""

import itertools
from fractions import Fraction

import numpy as np
import pytest

import torchlean_check as tc
from torchlean_check import forms
from torchlean_check.forms import Form, Forms
from torchlean_check.network import Affine, Dense, Product, Scale, Select
from torchlean_check.rules import relu

CLAIM = ["(assert (<= Y_0 0.0))"]
f32 = lambda rng, *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731


def networks(tools):
    rng = np.random.default_rng(7)
    yield "mlp", tools.mlp_bytes([3, 9, 8, 2], seed=4), 3
    yield "wide values", tools.mlp_bytes([3, 9, 9, 2], seed=3, scale=40.0), 3
    nodes = [
        ("ConvTranspose", "xwb", "c", {"strides": [2]}), ("Relu", "c", "a", {}),
        ("Conv", "ak", "d", {"strides": [2], "pads": [1, 1]}), ("Relu", "d", "e", {}), ("Add", "de", "s", {}),
        ("Flatten", "s", "f", {}), ("Gemm", "fo", "y", {}),
    ]  # fmt: skip
    weights = {"w": f32(rng, 1, 2, 3), "b": f32(rng, 2), "k": f32(rng, 2, 2, 3), "o": f32(rng, 10, 2)}
    yield "transposed", tools.model_bytes(nodes, weights, (1, 1, 4)), 4
    nodes = [
        ("Gemm", "xwb", "h", {}), ("Relu", "h", "r", {}), ("Gemm", "ruc", "g", {}), ("Mul", "hg", "p", {}),
        ("Mul", "pg", "q", {}), ("Relu", "p", "s", {}), ("Add", "qs", "t", {}), ("Gemm", "to", "y", {}),
    ]  # fmt: skip
    factors = {"w": f32(rng, 3, 5), "b": f32(rng, 5), "u": f32(rng, 5, 5), "c": f32(rng, 5), "o": f32(rng, 5, 2)}
    yield "products", tools.model_bytes(nodes, factors, (1, 3)), 3


def load(tools, title, semantics, arithmetic, low="-0.4", high="0.3"):
    model, inputs = next((m, n) for t, m, n in networks(tools) if t == title)
    network, (region,) = tc.load(model, tools.property_text(inputs, 2, CLAIM, low, high))
    return tc.Kernel(network, region, semantics, arithmetic)


def carried(kernel, state):
    """The forms of every value, on the boxes that intervals and forms give."""
    found, values = Forms(kernel.arith, np.arange(kernel.network.inputs)), {}
    for k in range(len(kernel.network.nodes)):
        values[k] = kernel._forward(k, state, values, found)
    return found.known


def derived(kernel, state):
    """Those of a derivation, which leans them on the bounds of backward walks."""
    return kernel.derive(state, local=True).forms.known


@pytest.mark.parametrize("arithmetic", ["rounded", "exact"])
@pytest.mark.parametrize("semantics", ["float32", "real"])
@pytest.mark.parametrize("title", ["mlp", "wide values", "products", "transposed"])
@pytest.mark.parametrize("forms_of", [carried, derived])
def test_every_execution_obeys_the_forms(tools, monkeypatch, forms_of, title, semantics, arithmetic):
    """|z - m(e)| <= p(e) at the e of the point itself, in rational numbers."""
    monkeypatch.setattr(forms, "LEAST", 0)
    kernel = load(tools, title, semantics, arithmetic)
    rng = np.random.default_rng(0)
    state = kernel.split(kernel.start(), np.array([1]))[1]
    known = forms_of(kernel, state)
    lo, hi = state.lo[0].astype(np.float32), state.hi[0].astype(np.float32)
    for n in range(12):
        mix = rng.random(len(lo)) if n % 2 else rng.integers(0, 2, len(lo))
        x = np.clip((lo + mix * (hi - lo)).astype(np.float32), lo, hi)
        values = (
            tools.exact_run(kernel.network, x.tolist())
            if semantics == "real"
            else tools.float32_run(kernel.network, x, rng)
        )
        at = known[0].m[0]
        e = [(Fraction(float(x[i])) - Fraction(at[0, i])) / Fraction(at[1 + i, i]) for i in range(len(x))]
        assert all(-1 <= v <= 1 for v in e)
        one = [Fraction(1), *e]
        for k, value in enumerate(values):
            for i, z in enumerate(value):
                middle, radius = (sum(Fraction(a) * b for a, b in zip(part[0, :, i].tolist(), one, strict=True))
                                  for part in (known[k].m, known[k].p))  # fmt: skip
                exact = z if isinstance(z, Fraction) else Fraction(float(z))
                assert abs(exact - middle) <= radius, (k, i)


def random_form(rng, size, scale=1.0):
    m, p = rng.normal(size=(2, 1, 4, size)) * scale
    p[:, 0] = np.abs(p).sum(axis=1)
    return Form(m, p)


def ends(form, i):
    """Middle and radius of entry i at every corner of e, exactly."""
    for e in itertools.product([-1, 1], repeat=3):
        yield [
            sum(Fraction(a) * b for a, b in zip(x[0, :, i].tolist(), [1, *e], strict=True)) for x in (form.m, form.p)
        ]


@pytest.mark.parametrize("arithmetic", ["rounded", "exact"])
@pytest.mark.parametrize("kappa", [0.0, 0.3])
def test_an_affine_step_holds_what_it_may_read_at_its_worst(arithmetic, kappa):
    """Values at the ends of their forms, on the side that each weight asks for: rounding is all that is left."""
    rng = np.random.default_rng(2)
    arith = tc.arith.arithmetic(arithmetic)
    for scale in (1.0, 2.0**40, 2.0**-60, 2.0**-1065):
        weight = rng.normal(size=(6, 5)).astype(np.float32)
        weight[3:, 0] = 0.0  # these do not read the entry that is made large below, for which exact rows lose digits
        maps = Dense(weight), Scale(rng.normal(size=6).astype(np.float32))
        bias, zero = rng.normal(size=6) * (scale >= 1.0), np.zeros(6)
        node = Affine(((maps[0], 0), (maps[1], 1)), bias, 6, (6,), zero, False, 0.0, zero, np.abs(bias), "y")
        read = [random_form(rng, 5, scale), random_form(rng, 6, scale)]
        for part in (read[0].m, read[0].p):
            part[:, :, 0] *= 2.0**80
        made = forms.affine(node, tuple(m.absolute() for m in maps), read, kappa, arith)
        weights = np.concatenate([maps[0].weight, np.diag(maps[1].factor)], axis=1)
        corners = [*zip(*(ends(form, j) for form in read for j in range(form.m.shape[2])), strict=True)]
        for i in range(6):
            row = [Fraction(w) for w in weights[i].tolist()]
            for corner, (middle, radius) in zip(corners, ends(made, i), strict=True):
                centre = sum(w * m for w, (m, _) in zip(row, corner, strict=True)) + Fraction(bias[i])
                spread = sum(abs(w) * p for w, (_, p) in zip(row, corner, strict=True)) + Fraction(kappa)
                assert abs(centre - middle) + spread <= radius


@pytest.mark.parametrize("kappa", [0.0, 0.3])
def test_a_bent_step_holds_both_lines_at_their_worst(kappa):
    rng = np.random.default_rng(3)
    for scale in (1.0, 2.0**-60, 2.0**-1065):
        form = random_form(rng, 60, scale)
        a, s, q = rng.normal(size=(3, 1, 60))
        q = q * (scale > 2.0**-1000)
        t = q + 100.0 * scale
        made = forms.bent(form, relu.Lines(a, s, q, t), kappa)
        for i in range(60):
            slopes = [Fraction(v[0, i]) for v in (a, s, q, t)]
            for (m, p), (middle, radius) in zip(ends(form, i), ends(made, i), strict=True):
                assert middle - radius <= slopes[0] * m - abs(slopes[0]) * p + slopes[2] - Fraction(kappa)
                assert middle + radius >= slopes[1] * m + abs(slopes[1]) * p + slopes[3] + Fraction(kappa)


def test_a_product_step_holds_its_factors_at_their_worst():
    """Both factors at the ends of their forms, at every corner; with a sum of sizes as the only other loss."""
    rng = np.random.default_rng(4)
    for scale, other in ((1.0, 1.0), (2.0**-60, 1.0), (2.0**30, 1.0), (2.0**-535, 2.0**-535)):
        x, y = random_form(rng, 4, scale), random_form(rng, 5, other)
        left, right = np.array([0, 1, 2, 3, 0]), np.array([4, 3, 2, 1, 0])
        node = Product(Select(left, 4), Select(right, 5), (0, 1), 5, (5,), "y")
        kappa = 0.3 * scale * (other == 1.0)
        made = forms.product(node, x, y, kappa)
        for i in range(5):
            for (a, p), (b, q), (middle, radius) in zip(
                ends(x, left[i]), ends(y, right[i]), ends(made, i), strict=True
            ):
                for one, other in itertools.product((a - p, a + p), (b - q, b + q)):
                    assert abs(one * other - middle) + Fraction(kappa) <= radius


def test_a_product_step_charges_its_error_and_rounding():
    """Where all is positive, what is charged is attained: rounding and the error are all that is left."""
    rng = np.random.default_rng(9)
    places = Select(np.arange(200), 200)
    node = Product(places, places, (0, 1), 200, (200,), "y")
    for scale, kappa in ((1.0, 0.0), (1.0, 0.25), (2.0**-535, 0.0)):
        x, y = (Form(scale * np.abs(rng.normal(size=(1, 4, 200))), np.zeros((1, 4, 200))) for _ in range(2))
        made = forms.product(node, x, y, kappa)
        for i in range(200):
            one, other, middle, radius = (
                sum(map(Fraction, part[0, :, i].tolist())) for part in (x.m, y.m, made.m, made.p)
            )
            assert 0 <= radius - (one * other - middle + Fraction(kappa)) < 2.0**-36


def test_bounds_from_both_sides_lean_a_form():
    """z at either of two given bounds, at every corner, is held by the new form; and the narrower form is kept."""
    rng = np.random.default_rng(5)
    lo, hi = -rng.random((1, 4)), rng.random((1, 4))
    known = Forms(tc.arith.arithmetic("rounded"), np.arange(3))  # the last input varies too, but not in the forms
    known.known[0] = forms.start(lo, hi, np.arange(3))
    form, offset = rng.normal(size=(100, 4)), rng.normal(size=100) - 8.0
    form[50:80] = 0.1 * form[50:80] - form[:30]  # F and G nearly cancel: z >= F x + p, -z >= G x + q
    form[80:90] = form[30:40]
    form[90:99] = form[40:49] + 2.0**-20 * form[:9]
    half = 0.5 * form[40:49] + 0.5 * form[90:99]  # where the bounds meet but for 2^-40, the forms' rounding is left
    least = np.minimum(half * lo[0], half * hi[0]).sum(axis=1)
    offset[40:49] = offset[90:99] = -least - 2.0**-40

    def lowest(box, slope, at):
        exact = [
            sum(min(Fraction(v) * Fraction(e) for e in (a, b)) for v, a, b in zip(row, lo[0], hi[0], strict=True))
            + Fraction(t) for row, t in zip(slope.tolist(), at.tolist(), strict=True)]  # fmt: skip
        return np.array([v if Fraction(v) <= e else np.nextafter(v, -np.inf) for e in exact for v in (float(e),)])

    known.known[1] = Form(np.zeros((1, 4, 50)), np.zeros((1, 4, 50)))
    known.known[1].p[:, 0] = 60.0
    known.known[1].p[:, 0, 49] = 0.5
    known.lean(1, np.zeros(50, np.int64), np.arange(50), form, offset, lowest)
    made = known.known[1]
    assert made.p[0, 0, 49] == 0.5 and (made.p[0, 0, :49] < 40.0).all()
    given, gaps = known.known[0].m[0], []
    for i in range(49):
        for corner in itertools.product((0, 1), repeat=4):
            x = [Fraction(v) for v in np.where(corner, hi[0], lo[0])]
            e = [(x[j] - Fraction(given[0, j])) / Fraction(given[1 + j, j]) for j in range(3)]
            middle, radius = (
                sum(Fraction(a) * b for a, b in zip(part[0, :, i].tolist(), [1, *e], strict=True))
                for part in (made.m, made.p)
            )
            below, above = (
                sum(Fraction(f) * v for f, v in zip(form[n].tolist(), x, strict=True)) + Fraction(offset[n])
                for n in (i, i + 50)
            )
            gaps += [below - middle + radius, middle + radius + above]
    assert 0 <= min(gaps) < 2.0**-40


def test_a_form_of_inputs_whose_products_underflow_is_charged():
    """Slopes and widths of 2^-535: their products are below what float64 holds exactly."""
    rng, tiny = np.random.default_rng(6), 2.0**-535
    known = Forms(tc.arith.arithmetic("rounded"), np.arange(3))
    known.known[0] = forms.start(-tiny * rng.random((1, 3)), tiny * rng.random((1, 3)), np.arange(3))
    known.known[1] = Form(np.zeros((1, 4, 40)), np.ones((1, 4, 40)))
    slope, zero = tiny * rng.normal(size=(40, 3)), np.zeros(40)
    known.replace(1, np.zeros(40, np.int64), np.arange(40), slope, zero, zero)
    for i in range(40):
        rows = [[Fraction(m) for m in row] for row in known.known[0].m[0].tolist()]
        for (middle, radius), e in zip(ends(known.known[1], i), itertools.product([-1, 1], repeat=3), strict=True):
            x = [sum(r * t for r, t in zip(column, (1, *e), strict=True)) for column in zip(*rows, strict=True)]
            assert abs(sum(Fraction(s) * v for s, v in zip(slope[i].tolist(), x, strict=True)) - middle) <= radius


def test_the_box_of_a_form_holds_its_corners():
    rng = np.random.default_rng(1)
    for scale in (1.0, 2.0**-60, 2.0**60, 2.0**-1021, 2.0**-1065):
        form = random_form(rng, 50, scale)
        low, high = form.box()
        for i in range(50):
            for middle, radius in ends(form, i):
                assert Fraction(low[0, i]) <= middle - radius and middle + radius <= Fraction(high[0, i])


def test_a_pinned_input_is_a_constant_even_where_it_is_subnormal():
    lo = np.array([[0.0, 5e-324, 1.0]])
    hi = np.array([[1.0, 5e-324, 1.0]])
    form = forms.start(lo, hi, np.array([0]))
    low, high = form.box()
    assert form.m.shape == (1, 2, 3) and (low <= lo).all() and (high >= hi).all()
    assert Fraction(form.p[0, 0, 1]) >= abs(Fraction(5e-324) - Fraction(form.m[0, 0, 1]))


def test_forms_leave_fewer_neurons_undecided_and_never_widen_a_box(tools, monkeypatch):
    model = tools.mlp_bytes([2, 40, 40, 40, 2], seed=1)
    network, (region,) = tc.load(model, tools.property_text(2, 2, CLAIM, "-0.1", "0.1"))
    plain = tc.Kernel(network, region, root="interval").start().boxes
    monkeypatch.setattr(forms, "LEAST", 0)
    kernel = tc.Kernel(network, region, root="interval")
    met = kernel.start().boxes
    assert kernel.few is not None and all(
        (met[k][0] >= plain[k][0]).all() and (met[k][1] <= plain[k][1]).all() for k in plain
    )
    undecided = [sum(int(((lo < 0) & (hi > 0)).sum()) for lo, hi in boxes.values()) for boxes in (met, plain)]
    assert undecided[0] * 2 < undecided[1]


def test_exact_boxes_do_not_depend_on_the_batch(tools, monkeypatch):
    monkeypatch.setattr(forms, "LEAST", 0)
    kernel = load(tools, "transposed", "float32", "exact")
    halves = kernel.split(kernel.start(), np.array([0]))
    halves[0].hi[0, 1] = halves[0].lo[0, 1]  # one half has an input that no longer varies
    alone = [half.take([0]) for half in halves]
    both = tc.State.join(halves)
    for state in (*alone, both):
        kernel.derive(state)
    for k, (lo, hi) in both.boxes.items():
        assert all((lo[i] == half.boxes[k][0][0]).all() and (hi[i] == half.boxes[k][1][0]).all()
                   for i, half in enumerate(alone))  # fmt: skip


def test_many_varying_inputs_are_left_to_the_walk(tools, monkeypatch):
    monkeypatch.setattr(forms, "LEAST", 0)
    for inputs in (forms.MOST, forms.MOST + 1):
        network, (region,) = tc.load(tools.mlp_bytes([inputs, 4, 2]), tools.property_text(inputs, 2, CLAIM))
        assert (tc.Kernel(network, region).few is not None) == (inputs == forms.MOST)
