"""Every bound of the kernel holds: for exact points, and for float32 executions in random orders. No tolerance
anywhere."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

import torchlean_check as tc
from torchlean_check.errors import CheckError
from torchlean_check.kernel import Facts
from torchlean_check.objective import Objective

CLAIM = ["(assert (or (and (>= Y_0 1.5) (<= Y_1 0.25)) (and (< (+ Y_0 (* 0.3 X_1)) Y_1))))"]
f32 = lambda rng, *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731


def networks(tools):
    rng = np.random.default_rng(5)
    yield "mlp", tools.mlp_bytes([3, 7, 6, 2], seed=2), 3
    yield "wide values", tools.mlp_bytes([3, 9, 9, 2], seed=3, scale=40.0), 3
    yield (
        "residual",
        tools.model_bytes(
            [
                ("MatMul", "xw", "m", {}),
                ("Add", "mb", "z", {}),
                ("Relu", "z", "a", {}),
                ("MatMul", "av", "t", {}),
                ("Add", "tx", "u", {}),
                ("Relu", "u", "r", {}),
                ("Sub", "ra", "s", {}),
                ("Gemm", "so", "y", {}),
            ],
            {"w": f32(rng, 3, 3), "b": f32(rng, 3), "v": f32(rng, 3, 3), "o": f32(rng, 3, 2)},
            (1, 3),
        ),
        3,
    )
    yield (
        "conv",
        tools.model_bytes(
            [
                ("Conv", "xwb", "c", {"pads": [1, 1], "group": 1}),
                ("Relu", "c", "a", {}),
                ("Conv", "ak", "d", {"strides": [2]}),
                ("Relu", "d", "e", {}),
                ("Flatten", "e", "f", {}),
                ("Gemm", "fo", "y", {}),
            ],
            {"w": f32(rng, 2, 1, 3), "b": f32(rng, 2), "k": f32(rng, 3, 2, 2), "o": f32(rng, 6, 2)},
            (1, 1, 4),
        ),
        4,
    )


CASES = ["mlp", "wide values", "residual", "conv"]


def load(tools, title, semantics, arithmetic, claim=CLAIM):
    model, inputs = next((m, n) for t, m, n in networks(tools) if t == title)
    network, (region,) = tc.load(model, tools.property_text(inputs, 2, claim))
    return network, region, tc.Kernel(network, region, semantics, arithmetic)


def value_of(region, r, x, y):
    g = [g for clause in region.clauses for g in clause][r]
    return (
        sum((c * y[i] for i, c in g.y.items()), Fraction(0))
        + sum((c * x[i] for i, c in g.x.items()), Fraction(0))
        + g.constant
    )


@pytest.mark.parametrize("arithmetic", ["rounded", "exact"])
@pytest.mark.parametrize("semantics", ["float32", "real"])
@pytest.mark.parametrize("title", CASES)
def test_bounds_hold_for_executions(tools, title, semantics, arithmetic):
    network, region, kernel = load(tools, title, semantics, arithmetic)
    rng = np.random.default_rng(7)
    state = kernel.start()
    for _ in range(3):  # splits at random, so that boxes get small and bounds tight
        axis = rng.integers(0, network.inputs, len(state))
        state = tc.State.join(list(kernel.split(state, axis)))
    bounds = kernel.bound(state, derive=True)
    assert np.isfinite(bounds.margin).all()
    for b in range(len(state)):
        for n in range(4):
            mix = rng.random(network.inputs) if n < 2 else rng.integers(0, 2, network.inputs)
            point = np.clip(
                (state.lo[b] + mix * (state.hi[b] - state.lo[b])).astype(np.float32), state.lo[b], state.hi[b]
            )
            if semantics == "float32":
                values = [[Fraction(float(v)) for v in value] for value in tools.float32_run(network, point, rng)]
            else:
                values = tools.exact_run(network, point.tolist())
            for k in network.relu_inputs:
                lo, hi = state.boxes[k]
                assert all(
                    Fraction(a) <= v <= Fraction(c)
                    for a, v, c in zip(lo[b].tolist(), values[k], hi[b].tolist(), strict=True)
                )
            for r in range(len(region.rows_c)):
                g = value_of(region, r, values[0], values[network.output])
                form = sum(
                    (Fraction(c) * x for c, x in zip(bounds.form[b, r].tolist(), values[0], strict=True)),
                    Fraction(float(bounds.offset[b, r])),
                )
                assert g >= form and g >= Fraction(float(bounds.margin[b, r]))


@pytest.mark.parametrize("title", CASES)
def test_slopes_and_multipliers_may_be_anything(tools, title):
    """Random slopes in [-2, 2], multipliers on value splits, infinite ones: the bound stays a bound."""
    network, region, kernel = load(tools, title, "float32", "rounded")
    rng = np.random.default_rng(3)
    value = network.relu_inputs[-1]
    low, high = kernel.split_value(kernel.start(), value, 0, 0.125)
    box = np.zeros(len(region.rows_c), np.int64)
    for state, side in ((low, -1), (high, 1)):
        for scale in (0.0, 0.5, 30.0):
            slopes = {k: rng.uniform(-2, 2, (1, network.nodes[k].size)) for k in network.relu_inputs}
            m = scale * rng.random()
            push = tc.Pushes.split([(r, value, 0, side, 0.125, m) for r in range(len(box))])
            form, offset = kernel.walk(Facts(state, slopes, kernel.compress), network.output, box, region.rows_y, push)
            for _ in range(20):
                point = rng.uniform(region.lo, region.hi).astype(np.float32)
                values = [[Fraction(float(v)) for v in value] for value in tools.float32_run(network, point, rng)]
                if (values[value][0] - Fraction(1, 8)) * side < 0:
                    continue  # on the other side of the split
                for r, row in enumerate(region.rows_y.tolist()):
                    got = sum((Fraction(c) * v for c, v in zip(row, values[network.output], strict=True)), Fraction(0))
                    assert got >= sum(
                        (Fraction(c) * x for c, x in zip(form[r].tolist(), values[0], strict=True)),
                        Fraction(float(offset[r])),
                    )


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("at", [0.0, 0.5, -0.25])
def test_split_multipliers_are_charged_with_the_error_box(tools, side, at):
    """E multiplies the full coefficient, split multiplier included: charging |A| E before adding it is unsound."""
    network, _, kernel = load(tools, "mlp", "float32", "rounded")
    value = network.relu_inputs[0]
    state, m = kernel.start(), 1000.0
    rows, box = np.zeros((1, network.nodes[network.output].size)), np.zeros(1, np.int64)
    push = tc.Pushes.split([(0, value, 2, side, at, m)])
    form, offset = kernel.walk(Facts(state), network.output, box, rows, push)
    node = network.nodes[value]
    assert np.array_equal(
        form[0], -m * side * node.terms[0][0].weight[2]
    )  # 0 . y - m side (z - at), carried to the input
    want = m * side * at - m * side * node.bias[2] - m * kernel.charges[value].kappa[2]
    assert want - 1e-9 * m <= offset[0] <= want
    real = tc.Kernel(network, kernel.region, "real")
    assert offset[0] < real.walk(Facts(state), network.output, box, rows, push)[1][0]


def test_zero_proves_a_strict_inequality_only_with_its_weight(tools):
    _, _, kernel = load(tools, "mlp", "real", "rounded", ["(assert (and (>= Y_0 1) (> Y_1 1)))"])
    kernel.lowest = lambda *a: np.zeros(1)
    got = [
        bool(kernel.refute(kernel.start(), [(0, w)])[0])
        for w in (((0, 1.0),), ((1, 1.0),), ((0, 1.0), (1, 0.5)), ((0, 1.0), (1, -1.0)))
    ]
    assert got == [False, True, True, False]


def test_clip_stops_at_the_border(tools):
    """y = x and Y_0 >= 0.3: the box keeps [0.3, 1] and little more."""
    model = tools.model_bytes([("Gemm", ["x", "w"], "y", {})], {"w": np.eye(2, dtype=np.float32)})
    for line, side in (("(assert (>= Y_0 0.3))", "lo"), ("(assert (<= Y_0 -0.3))", "hi")):
        network, (region,) = tc.load(model, tools.property_text(2, 2, [line]))
        kernel = tc.Kernel(network, region)
        end = Fraction(float(getattr(kernel.clip(kernel.start(), kernel.bound(kernel.start(), False)), side)[0, 0]))
        border = Fraction(3, 10) if side == "lo" else Fraction(-3, 10)
        assert (end <= border) if side == "lo" else (end >= border)
        assert abs(end - border) < Fraction(1, 10**6)


def test_overflow_loses_the_bound_and_never_gains_one(tools):
    network, _region, kernel = load(tools, "mlp", "float32", "rounded")
    for bad in (np.inf, -np.inf, np.nan):
        with np.errstate(all="ignore"):
            form, offset = kernel.walk(
                Facts(kernel.start()), network.output, np.zeros(1, np.int64), np.full((1, 2), bad)
            )
            assert kernel.lowest(kernel.start(), np.zeros(1, np.int64), form, offset)[0] == -np.inf
    weights = ((0, 1e308), (1, 1e308))
    assert not kernel.refute(kernel.start(), [(0, weights)]).any()


@pytest.mark.parametrize("title", ["mlp", "residual"])
def test_error_box_is_that_of_the_page(tools, title):
    """E of SEMANTICS 3, exactly evaluated, is at most what is charged, and the charge is not much more."""
    network, region, kernel = load(tools, title, "float32", "rounded")
    own = tc.Kernel(network, region, "real").charges
    u, tiny = Fraction(1, 2**24), Fraction(1, 2**126)
    k = network.relu_inputs[0]  # a Gemm, or a MatMul and the Add after it
    node = network.nodes[k]
    ((linear, source),) = node.terms
    assert node.adds == (title == "residual")
    for i, row in enumerate(linear.weight.tolist()):
        pairs = [(abs(Fraction(w)), Fraction(x)) for w, x in zip(row, kernel.mags[source].tolist(), strict=True) if w]
        bias = abs(Fraction(float(node.bias[i])))
        leaf = [] if node.adds else [(Fraction(1), bias)]
        n = len(pairs + leaf)
        g = (1 + u) ** n - 1
        total = sum(w * x for w, x in pairs + leaf)
        e = g * total + tiny * (1 + g) * (3 * n + sum(w + x for w, x in pairs + leaf))
        if node.adds:
            e += u * (total + bias + e) + tiny  # |sum| on the box [-1, 1] reaches sum |w| + |b|
        charged = Fraction(float(kernel.charges[k].kappa[i]))
        assert e <= charged <= e * (2 if node.adds else Fraction(101, 100)) + Fraction(float(own[k].kappa[i]))


def test_float32_overflow_is_refused_and_real_is_not(tools):
    nodes = [("Mul", "xc", "t", {}), ("Mul", "tc", "u", {}), ("Relu", "u", "y", {})]
    model = tools.model_bytes(nodes, {"c": np.full(2, 1e30, np.float32)})
    network, (region,) = tc.load(model, tools.property_text(2, 2, ["(assert (<= Y_0 -1))"]))
    with pytest.raises(CheckError, match="overflow"):
        tc.Kernel(network, region, "float32")
    assert tc.Kernel(network, region, "real").bound(tc.Kernel(network, region, "real").start(), True).refuted.all()


def test_a_property_of_other_sizes_is_refused(tools):
    network, _, _ = load(tools, "mlp", "real", "rounded")
    _, region, _ = load(tools, "conv", "real", "rounded")
    with pytest.raises(CheckError):
        tc.Kernel(network, region)


def test_contradicting_bounds_are_an_error_unless_a_case_explains_them(tools):
    network, _, kernel = load(tools, "mlp", "float32", "rounded")
    state, value = kernel.start(), network.relu_inputs[0]
    lo, hi = state.boxes[value]
    with pytest.raises(CheckError, match="contradict"):
        kernel._settle(state, value, hi + 1, lo - 1)
    beyond = float(hi[0, 0]) + 1.0
    low, high = kernel.split_value(kernel.start(), value, 0, beyond)
    assert high.empty.all() and not low.empty.any()


def test_batches_and_single_boxes_agree_on_what_is_refuted(tools):
    _, _, kernel = load(tools, "mlp", "float32", "rounded", ["(assert (>= Y_0 1.75))"])
    a, b = kernel.split(kernel.start(), np.zeros(1, np.int64))
    both = kernel.bound(tc.State.join([a, b]), derive=True)
    single = [kernel.bound(s, derive=True) for s in kernel.split(kernel.start(), np.zeros(1, np.int64))]
    assert np.allclose(
        both.margin, np.concatenate([s.margin for s in single]), rtol=1e-12
    )  # products differ in their order of sums


@pytest.mark.parametrize("title", CASES)
def test_exact_bounds_do_not_depend_on_the_batch(tools, title):
    network, _, kernel = load(tools, title, "float32", "exact")
    state = kernel.start()
    for axis in range(network.inputs):
        state = tc.State.join(list(kernel.split(state, np.full(len(state), axis))))
    single = [kernel.bound(state.take([b]), derive=True).margin for b in range(len(state))]
    assert np.array_equal(kernel.bound(state, derive=True).margin, np.concatenate(single))


def test_clip_keeps_every_violation(tools):
    network, _, _ = load(tools, "mlp", "real", "rounded")
    points = np.random.default_rng(0).uniform(-1, 1, (400, 3))
    outputs = [tools.exact_run(network, point.tolist())[network.output] for point in points]
    top = f"{float(sorted(y[0] for y in outputs)[300]):.3f}"
    claim = [f"(assert (or (and (>= Y_0 {top}) (<= X_1 (+ X_0 0.3)))))"]
    _, _, kernel = load(tools, "mlp", "real", "rounded", claim)
    state = kernel.start()
    for axis in (0, 1, 2, 0, 1):
        state = tc.State.join(list(kernel.split(state, np.full(len(state), axis))))
    clipped = kernel.clip(state, kernel.bound(state, derive=True))
    assert ((clipped.lo > state.lo) | (clipped.hi < state.hi)).any(axis=1).any()
    bad = [x for x, y in zip(points, outputs, strict=True) if y[0] >= Fraction(top) and x[1] <= x[0] + 0.3]
    assert len(bad) > 3
    for x in bad:
        (b,) = np.nonzero(((state.lo <= x) & (x <= state.hi)).all(axis=1))[0]
        assert clipped.open[b].any() and (clipped.lo[b] <= x).all() and (x <= clipped.hi[b]).all()


def test_ordered_derivations_only_tighten(tools, small):
    network, (region,) = tc.load(small.model, small.claim)
    kernel = tc.Kernel(network, region, root="interval")
    loose, tight = kernel.start(), tc.Kernel(network, region).start()
    value = network.relu_inputs[1]
    state = kernel.start()
    kernel.derive_at(state, value)
    kernel.derive_at(state, value, [(1, 1, ()), (2, -1, ()), (1, -1, ())])
    lo, hi = state.boxes[value]
    assert (
        (lo >= loose.boxes[value][0]).all()
        and (hi <= loose.boxes[value][1]).all()
        and (hi - lo).sum() < (loose.boxes[value][1] - loose.boxes[value][0]).sum()
    )
    assert np.allclose(lo, tight.boxes[value][0], atol=1e-5)


def test_a_strict_inequality_is_refuted_by_a_bound_of_zero_and_a_closed_one_is_not(small):
    network, (region,) = tc.load(small.model, small.claim)
    kernel = tc.Kernel(network, region)
    state = kernel.start()
    for strict, want in ((False, False), (True, True)):
        kernel.region = replace(region, row_strict=np.array([strict]))
        assert kernel.refuted(state, np.zeros((1, 1)))[0, 0] == want
        assert (
            not kernel.refuted(state, np.full((1, 1), np.nan))[0, 0]
            and not kernel.refuted(state, np.full((1, 1), -5e-324))[0, 0]
        )


def test_sums_of_inequalities_are_within_their_errors():
    """Of any rows within the errors of each, exactly; the sum's own rounding is among them."""
    rng = np.random.default_rng(0)
    for _ in range(40):
        count = int(rng.integers(1, 5))
        y, x, c = rng.normal(size=(count, 3)), rng.normal(size=(count, 2)), rng.normal(size=count)
        errors = [rng.random(a.shape) * 2.0 ** -float(rng.integers(10, 60)) for a in (y, x, c)]
        weights = rng.random((3, count)) * 2.0 ** rng.integers(-30, 30)
        total = Objective(y, x, c, *errors).combine(weights)
        for rows, off, found, allowed in zip((y, x, c), errors, (total.y, total.x, total.c),
                                             (total.err_y, total.err_x, total.err_c), strict=True):  # fmt: skip
            for k, w in enumerate(weights.tolist()):
                for at in np.ndindex(*rows.shape[1:]):
                    for sign in (-1, 1):
                        exact = sum(
                            Fraction(w[i]) * (Fraction(rows[(i, *at)]) + sign * Fraction(off[(i, *at)]))
                            for i in range(count)
                        )
                        assert abs(exact - Fraction(found[(k, *at)])) <= Fraction(allowed[(k, *at)])
