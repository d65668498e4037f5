"""Planes above relus of the first layer: every bound holds, at exact points and for float32 executions, without
tolerance; they are as tight as the hull; and what names planes that are not there is refused."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

import torchlean_check as tc
from torchlean_check import cases, records, tree
from torchlean_check.cuts import Cuts
from torchlean_check.errors import CheckError
from torchlean_check.kernel import Facts
from torchlean_check.pushes import Splits
from torchlean_check.records import SlopeTable
from torchlean_check.rules import planes, relu

EXTREME = np.array([-32768, -1, 0, 1, 16384, 16385, 32767], np.int16)
f32 = lambda rng, *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731


def networks(tools):
    rng = np.random.default_rng(5)
    yield "dense", tools.mlp_bytes([4, 8, 6, 2], seed=2)
    yield (
        "conv",
        tools.model_bytes(
            [
                ("Conv", "xwb", "c", {}),
                ("Relu", "c", "a", {}),
                ("Flatten", "a", "f", {}),
                ("Gemm", "fk", "d", {}),
                ("Relu", "d", "e", {}),
                ("Gemm", "eo", "y", {}),
            ],
            {"w": f32(rng, 3, 1, 2, 2), "b": f32(rng, 3), "k": f32(rng, 90, 4), "o": f32(rng, 4, 2)},
            (1, 1, 6, 7),
        ),
    )
    yield (
        "residual",
        tools.model_bytes(
            [
                ("Gemm", "xwb", "z", {}),
                ("Relu", "z", "a", {}),
                ("MatMul", "av", "t", {}),
                ("Add", "ta", "u", {}),
                ("Relu", "u", "r", {}),
                ("Add", "rx", "s", {}),
                ("Gemm", "so", "y", {}),
            ],
            {"w": f32(rng, 3, 3), "b": f32(rng, 1, 3), "v": f32(rng, 3, 3), "o": f32(rng, 3, 2)},
            (1, 3),
        ),
    )
    yield (
        "convs alone",
        tools.model_bytes(
            [
                ("Conv", "xwb", "z", {}),
                ("Relu", "z", "a", {}),
                ("Conv", "avc", "u", {}),
                ("Relu", "u", "r", {}),
                ("Conv", "ro", "y", {}),
            ],
            {
                "w": f32(rng, 2, 1, 2, 2),
                "b": f32(rng, 2),
                "v": f32(rng, 2, 2, 2, 2),
                "c": f32(rng, 2),
                "o": f32(rng, 1, 2, 1, 1),
            },
            (1, 1, 5, 5),
        ),
    )


def load(tools, title, box=None):
    """The network, and a region on this box: both sides of each output are its inequalities."""
    model = next(model for name, model in networks(tools) if name == title)
    inputs, outputs = {"dense": (4, 2), "conv": (42, 2), "residual": (3, 2), "convs alone": (25, 9)}[title]
    low, high = (np.full(inputs, -1.0), np.full(inputs, 1.0)) if box is None else box(inputs)
    network, (region,) = tc.load(model, tools.any_sign(low, high, outputs))
    return network, region


def first(network):
    """The relu of the first layer."""
    return next(k for k in range(len(network.nodes)) if network.first(k))


def numbers(size, rng):
    """Between 0 and 1 mostly."""
    some = np.where(rng.random(size) < 0.3, rng.choice(EXTREME, size), rng.integers(0, 16385, size))
    return some.astype(np.int16)


def weights(network):
    """Of the first layer."""
    _, node = network.first(first(network))
    return node.terms[0][0].transpose(np.eye(node.size), np.matmul)


def family(network, rng, keep=0.7):
    """Planes with any numbers, for some weights, and for a few that are 0."""
    key, weight = 3 * len(network.nodes) + first(network), weights(network).reshape(-1)
    assert len(weight) == network.places(key)
    edges = np.flatnonzero(rng.random(len(weight)) < np.where(weight != 0, keep, 0.002)).astype(np.uint32)
    return SlopeTable({key: edges}, numbers(len(edges), rng))


def neurons(network, table):
    ((_, edges),) = table.entries.items()
    return np.unique(edges // network.inputs)


def shares(network, which, families, rng):
    """A table with a share of each plane, and lower slopes."""
    count, k = len(network.nodes), first(network)
    keys = {(4 + n) * count + k: neurons(network, families[n]) for n in which} | {
        v: np.arange(network.nodes[v].size) for v in network.relu_inputs
    }
    return SlopeTable(keys, numbers(sum(map(len, keys.values())), rng))


def execution(tools, network, point, semantics, rng):
    if semantics == "real":
        return tools.exact_run(network, point.tolist())
    return [[Fraction(float(v)) for v in value] for value in tools.float32_run(network, point, rng)]


def points(low, high, rng):
    """Float32 points of a box: vertices, and others."""
    for n in range(6):
        mix = rng.integers(0, 2, len(low)) if n % 2 else rng.random(len(low))
        yield np.clip((low + mix * (high - low)).astype(np.float32), low, high)


def dot(coefficients, values):
    return sum((Fraction(c) * v for c, v in zip(coefficients.tolist(), values, strict=True)), Fraction(0))


BOXES = {
    "wide": lambda n: (np.full(n, -1.0), np.full(n, 1.0)),
    "one-sided": lambda n: (np.zeros(n), np.full(n, 0.5)),
    "uneven": lambda n: (-0.25 * (1 + np.arange(n) % 3), 0.5 + 0.25 * (np.arange(n) % 2)),
    "partly pinned": lambda n: (np.where(np.arange(n) % 2, 0.25, -1.0), np.where(np.arange(n) % 2, 0.25, 0.75)),
    "pinned": lambda n: (np.full(n, 0.375), np.full(n, 0.375)),
}


@pytest.mark.parametrize("arithmetic", ["rounded", "exact"])
@pytest.mark.parametrize("semantics", ["float32", "real"])
@pytest.mark.parametrize("title", ["dense", "conv", "residual", "convs alone"])
def test_bounds_hold_whatever_the_numbers(tools, title, semantics, arithmetic):
    rng = np.random.default_rng(11)
    for box in BOXES.values():
        network, region = load(tools, title, box)
        kernel = tc.Kernel(network, region, semantics, arithmetic)
        kernel.row_chunk = 7  # so many planes are made at once
        tables = [family(network, rng), family(network, rng, 0.2)]
        tables += [shares(network, n, tables, rng) for n in ([0], [1], [0, 1])] + [records.NONE]
        planes.known(kernel, tables)
        state = kernel.start()
        for _ in range(2):
            state = tc.State.join(list(kernel.split(state, rng.integers(0, network.inputs, len(state)))))
        slopes = records.slope_rows(tables[2:], network.places)  # one row for each row of the state
        row = rng.integers(0, len(state), 8)
        start = rng.normal(size=(len(row), network.outputs)) * rng.choice([0.0, 1.0, 2.0**40], (len(row), 1))
        form, offset = kernel.walk(Facts(state, slopes, kernel.compress), network.output, row, start)
        low = kernel.lowest(state, row, form, offset)
        assert np.isfinite(low).all()
        for r, b in enumerate(row.tolist()):
            for point in points(state.lo[b], state.hi[b], rng):
                values = execution(tools, network, point, semantics, rng)
                got = dot(start[r], values[network.output])
                assert got >= dot(form[r], values[0]) + Fraction(float(offset[r]))
                assert got >= Fraction(float(low[r]))


def most(line, low, high):
    """The largest value of a linear form on a box."""
    return sum(max(c * Fraction(a), c * Fraction(b)) for c, a, b in zip(line, low.tolist(), high.tolist(), strict=True))


@pytest.mark.parametrize("arithmetic", ["rounded", "exact"])
@pytest.mark.parametrize("semantics", ["float32", "real"])
@pytest.mark.parametrize("title", ["dense", "conv", "residual", "convs alone"])
def test_planes_are_what_the_page_says(tools, title, semantics, arithmetic):
    """a is float32(m w), const at least both maxima, and little more; what is charged covers the products' rounding."""
    rng = np.random.default_rng(3)
    network, region = load(tools, title, BOXES["uneven"])
    kernel, k = tc.Kernel(network, region, semantics, arithmetic), first(network)
    kernel.row_chunk = 7
    tables = [family(network, rng, 0.5)]
    tables.append(shares(network, [0], tables, rng))
    planes.known(kernel, tables)
    (made,) = kernel.planes.values()
    source, node = network.first(k)
    weight = weights(network)
    m = np.zeros(weight.size)
    m[next(iter(tables[0].entries.values()))] = np.clip(tables[0].slopes / 2.0**14, 0, 1)
    a = made.a.product(np.eye(len(made.neurons)), np.arange(len(made.neurons)), kernel.arith)
    assert np.array_equal(a, (m.reshape(weight.shape) * weight).astype(np.float32)[made.neurons])
    for line, const, kappa, u in zip(a.tolist(), made.const.tolist(), made.kappa.tolist(), made.neurons, strict=True):
        line = [Fraction(c) for c in line]
        rest = [Fraction(w) - c for w, c in zip(weight[u].tolist(), line, strict=True)]
        error = Fraction(float(kernel.charges[source].kappa[u]))
        least = max(
            most([-c for c in line], region.lo, region.hi),
            most(rest, region.lo, region.hi) + Fraction(float(node.bias[u])) + error,
        )
        size = sum(abs(c) * Fraction(x) for c, x in zip(line, kernel.mags[0].tolist(), strict=True)) + abs(least)
        assert least <= Fraction(const) <= least + Fraction(1, 2**28)
        assert Fraction(kernel.arith.gamma(len(a) + 2)) * size <= Fraction(kappa) <= Fraction(1, 2**40) * (size + 1)
    for _ in range(10):
        point = np.where(rng.random(network.inputs) < 0.5, region.lo, region.hi).astype(np.float32)
        values = execution(tools, network, point, semantics, rng)
        for line, const, u in zip(a, made.const.tolist(), made.neurons.tolist(), strict=True):
            assert values[k][u] <= dot(line, values[0]) + Fraction(const)


@pytest.mark.parametrize("arithmetic", ["rounded", "exact"])
@pytest.mark.parametrize("title", ["dense", "conv", "residual", "convs alone"])
def test_a_step_back_is_what_the_page_says(tools, title, arithmetic):
    """Against the definition, neuron by neuron, where some are stable and some have no plane or no share."""
    rng = np.random.default_rng(21)
    for box in (BOXES["one-sided"], BOXES["uneven"]):
        network, region = load(tools, title, box)
        kernel, k = tc.Kernel(network, region, "real", arithmetic), first(network)
        source, node = network.first(k)
        tables, count = [family(network, rng, 0.1), family(network, rng, 0.2)], len(network.nodes)
        tables += [shares(network, n, tables, rng) for n in ([0, 1], [1])]
        planes.known(kernel, tables)
        state = tc.State.join(list(kernel.split(kernel.start(), np.zeros(1, np.int64))))
        slopes, row = records.slope_rows(tables[2:], network.places), np.array([1, 0, 1])
        start = rng.normal(size=(3, node.size))
        form, offset = kernel.walk(Facts(state, slopes, kernel.compress), k, row, start)
        lo, hi = state.boxes[source]
        a, s, p, t = (getattr(relu.lines(lo, hi, slopes[source]), name) for name in ("a", "s", "p", "t"))
        p = np.zeros_like(t) if p is None else p
        weight, stable = weights(network), (lo >= 0) | (hi <= 0)
        assert stable.any() or title in ("dense", "convs alone")
        for r, b in enumerate(row.tolist()):
            left, want, at = start[r].copy(), np.zeros(network.inputs), 0.0
            for number in (0, 1):
                made = kernel.planes[(4 + number) * count + k]
                planed = made.a.product(np.eye(len(made.neurons)), np.arange(len(made.neurons)), kernel.arith)
                for line, const, u in zip(planed, made.const, made.neurons, strict=True):
                    v = slopes[(4 + number) * count + k][b, u] * left[u]
                    if v < 0 and not stable[b, u]:
                        left[u], want, at = left[u] - v, want + v * line, at + v * const
            for u, g in enumerate(left):
                slope, rest = (a[b, u], p[b, u]) if g > 0 else (s[b, u], t[b, u])
                want, at = want + g * slope * weight[u], at + g * (rest + slope * node.bias[u])
            assert np.allclose(form[r], want, rtol=0, atol=1e-9) and np.isclose(offset[r], at, rtol=0, atol=1e-9)


@pytest.mark.parametrize("arithmetic", ["rounded", "exact"])
def test_what_a_step_rounds_is_charged(tools, arithmetic):
    """At least kappa |v|, and 2^-53 |H| mag for each H = fl(G - v)."""
    rng = np.random.default_rng(2)
    network, region = load(tools, "conv")
    kernel, k = tc.Kernel(network, region, "float32", arithmetic), first(network)
    tables = [family(network, rng, 1.0)]
    tables.append(shares(network, [0], tables, rng))
    planes.known(kernel, tables)
    ((key, made),) = kernel.planes.items()
    slopes = records.slope_rows(tables[1:], network.places)
    state, start = kernel.start(), rng.normal(size=(3, network.nodes[k].size))
    lo, hi = (end[0] for end in state.boxes[network.first(k)[0]])
    assert len(made.neurons) == len(lo) and ((lo < 0) & (hi > 0)).all()
    rows = start.copy()
    facts = Facts(state, slopes, kernel.compress)
    ((_, _, charge),) = planes.back(kernel, facts, k, facts.live(network.first(k)[0]), rows, np.zeros(3, np.int64))
    v = kernel.arith.trim(np.minimum(slopes[key] * start, 0.0))[0]
    assert np.array_equal(rows, start - v) and (v < 0).any()
    for r in range(3):
        least = dot(-v[r], map(Fraction, made.kappa.tolist()))
        least += dot(np.abs(rows[r]), map(Fraction, kernel.mags[k].tolist())) * Fraction(1, 2**53)
        assert least <= Fraction(float(charge[r])) <= 3 * least


def test_a_plane_pays_for_the_error_of_what_it_is_above(tools):
    """At one point, where z is 0 up to rounding: an execution is above w x + b, and the plane above the execution."""
    rng, above = np.random.default_rng(0), 0
    for _ in range(40):
        w, point = f32(rng, 1, 7), np.round(rng.normal(size=7) * 64) / 64
        b = -np.float32([dot(w[0].astype(float), [Fraction(p) for p in point.tolist()])])
        model = tools.model_bytes(
            [("Gemm", "xwb", "z", {"transB": 1}), ("Relu", "z", "a", {}), ("Gemm", "ao", "y", {})],
            {"w": w, "b": b, "o": np.ones((1, 1), np.float32)},
            (1, 7),
        )
        network, (region,) = tc.load(model, tools.any_sign(point, point, 1))
        kernel = tc.Kernel(network, region)
        count = len(network.nodes)
        every = SlopeTable({3 * count + 2: np.arange(7)}, np.full(7, 16384, np.int16))
        share = SlopeTable({4 * count + 2: np.arange(1)}, np.full(1, 16384, np.int16))
        planes.known(kernel, [every, share])
        facts = Facts(kernel.start(), records.slope_rows([share], network.places))
        form, offset = kernel.walk(facts, network.output, np.zeros(1, np.int64), np.full((1, 1), -1.0))
        for _ in range(10):
            values = execution(tools, network, point, "float32", rng)
            above += values[2][0] > max(dot(w[0].astype(float), values[0]) + Fraction(float(b[0])), 0)
            assert -values[network.output][0] >= dot(form[0], values[0]) + Fraction(float(offset[0]))
    assert above > 20


def walked(network, kernel, state, slopes, cuts, box, start):
    """Forms, offsets and the least values of rows with these slopes."""
    facts = Facts(state, slopes, kernel.compress, None, cuts)
    form, offset = kernel.walk(facts, network.output, box, start)
    return form, offset, kernel.lowest(state, cuts.home[box], form, offset)


@pytest.mark.parametrize("arithmetic", ["rounded", "exact"])
@pytest.mark.parametrize("title", ["dense", "conv", "residual", "convs alone"])
def test_rows_below_a_state_have_their_own_shares(tools, title, arithmetic):
    """Rows that differ by splits, some without planes, in any order: each has the bound that it has alone."""
    rng = np.random.default_rng(8)
    network, region = load(tools, title)
    kernel = tc.Kernel(network, region, "float32", arithmetic)
    tables = [family(network, rng), family(network, rng, 0.4)]
    tables += [shares(network, n, tables, rng) for n in ([0], [1], [0, 1], [])] + [records.NONE]
    planes.known(kernel, tables)
    state, value = kernel.start(), network.nodes[first(network)].source
    lo, hi = state.boxes[value]
    split = list(zip(np.flatnonzero((lo[0] < 0) & (hi[0] > 0))[:2].tolist(), (1, -1), strict=True))
    splits = Splits.of([(r, value, i, side, 0.0) for r in (1, 3, 5) for i, side in split])
    cuts, mine = Cuts.of(state, np.zeros(6, np.int64), splits), [tables[t] for t in (2, 6, 4, 3, 5, 2)]
    start, order = rng.normal(size=(6, network.outputs)), rng.permutation(6)
    slopes = records.slope_rows(mine, network.places)
    form, offset, together = walked(network, kernel, state, slopes, cuts, order, start[order])
    for key in slopes:  # what is split is stable: its plane is not used
        if key > 4 * len(network.nodes):
            slopes[key][splits.row, splits.entry] = np.nan
    assert np.array_equal(walked(network, kernel, state, slopes, cuts, order, start[order])[1], offset)
    for n, r in enumerate(order.tolist()):
        own = Cuts.of(state, np.zeros(1, np.int64), splits.take(np.array([r])))
        slopes = records.slope_rows([mine[r]], network.places)
        _, _, alone = walked(network, kernel, state, slopes, own, np.zeros(1, np.int64), start[r : r + 1])
        assert np.isclose(together[n], alone[0], rtol=1e-9)  # sums of other orders, and of rows without planes
        for point in points(state.lo[0], state.hi[0], rng):
            values = execution(tools, network, point, "float32", rng)
            if r % 2 and any(values[value][i] * side < 0 for i, side in split):
                continue  # on the other side of a split
            assert dot(start[r], values[network.output]) >= dot(form[n], values[0]) + Fraction(float(offset[n]))


@pytest.mark.parametrize("arithmetic", ["rounded", "exact"])
@pytest.mark.parametrize("title", ["dense", "conv", "residual", "convs alone"])
def test_derived_boxes_hold(tools, title, arithmetic):
    """Bounds of hidden entries, some with cases of their own, by tables with and without shares."""
    rng = np.random.default_rng(13)
    network, region = load(tools, title)
    kernel, value = tc.Kernel(network, region, "float32", arithmetic), network.relu_inputs[-1]
    assert kernel.compress == (arithmetic == "rounded" and title != "convs alone")
    source = network.first(first(network))[0]
    tables = [family(network, rng)]
    tables += [shares(network, [0], tables, rng), shares(network, [], tables, rng), records.NONE]
    planes.known(kernel, tables)
    state, outer = kernel.start(), tc.State.join([kernel.start()])
    lo, hi = (end[0] for end in outer.boxes[source])
    case = (source, int(np.flatnonzero((lo < 0) & (hi > 0))[0])), None, None
    size = network.nodes[value].size
    bounds = [(i, side, n) for i in rng.permutation(size)[:3].tolist() for side in (1, -1) for n in range(1, 4)]
    slopes = records.slope_rows([tables[n] for _, _, n in bounds], network.places)
    trees = cases.Trees.of([case if n == 1 else () for _, _, n in bounds])
    kernel.derive_at(state, value, [(i, side, ()) for i, side, _ in bounds], slopes, trees=trees)
    before, after = outer.boxes[value], state.boxes[value]
    assert (after[0] >= before[0]).all() and (after[1] <= before[1]).all()
    for _ in range(4):
        for point in points(region.lo, region.hi, rng):
            values = execution(tools, network, point, "float32", rng)
            lo, hi = (end[0].tolist() for end in state.boxes[value])
            assert all(Fraction(a) <= v <= Fraction(b) for a, v, b in zip(lo, values[value], hi, strict=True))


def test_a_table_without_shares_has_the_bounds_that_it_had(tools):
    network, region = load(tools, "conv")
    rng = np.random.default_rng(4)
    kernel, other = tc.Kernel(network, region), tc.Kernel(network, region)
    tables = [family(network, rng)]
    planes.known(kernel, tables)
    assert not kernel.planes  # nothing has a share
    tables.append(shares(network, [0], tables, rng))
    planes.known(kernel, tables)
    (made,) = kernel.planes.values()
    planes.known(kernel, tables)
    assert list(kernel.planes.values()) == [made]
    planes.known(kernel, [replace(tables[0]), tables[1]])  # another table in its place
    assert list(kernel.planes.values()) != [made]
    plain = records.slope_rows([shares(network, [], [], np.random.default_rng(1))], network.places)
    start, box = rng.normal(size=(3, 2)), np.zeros(3, np.int64)
    found = [k.walk(Facts(k.start(), plain, k.compress), network.output, box, start) for k in (kernel, other)]
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))


def test_overflow_loses_the_bound(tools):
    network, region = load(tools, "dense")
    rng = np.random.default_rng(4)
    kernel, tables = tc.Kernel(network, region), [family(network, rng)]
    tables.append(shares(network, [0], tables, rng))
    planes.known(kernel, tables)
    facts = Facts(kernel.start(), records.slope_rows(tables[1:], network.places), kernel.compress)
    for bad in (np.inf, -np.inf, np.nan, 1e308):
        with np.errstate(all="ignore"):
            form, offset = kernel.walk(facts, network.output, np.zeros(1, np.int64), np.full((1, 2), bad))
            assert kernel.lowest(kernel.start(), np.zeros(1, np.int64), form, offset)[0] < -1e300


# -- tightness, and certificates ---------------------------------------------------------------------------------------
# y = relu(x_0 + x_1 - 1) + relu(x_0 - x_1) on [0, 1]^2. The hull's facets x_1 and 1 - x_1 add up to 1; the chords
# (x_0 + x_1) / 2 and (x_0 - x_1 + 1) / 2 to 3 / 2.


def hand(tools, least="1.0625", box=("0.0", "1.0")):
    weights = {
        "w": np.array([[1, 1], [1, -1]], np.float32),
        "b": np.array([-1, 0], np.float32),
        "o": np.ones((2, 1), np.float32),
    }
    nodes = [("Gemm", "xwb", "z", {"transB": 1}), ("Relu", "z", "a", {}), ("Gemm", "ao", "y", {})]
    claim = tools.property_text(2, 1, [f"(assert (>= Y_0 {least}))"], *box)
    return tools.model_bytes(nodes, weights, (1, 2)), claim


COUNT = 4  # nodes of it; its relu is node 2
FAMILY = SlopeTable({3 * COUNT + 2: np.array([1, 3])}, np.array([16384, 16384], np.int16))
SHARE = SlopeTable({4 * COUNT + 2: np.array([0, 1])}, np.array([16384, 16384], np.int16))


def test_the_hull_of_a_relu_is_reached(tools):
    network, (region,) = tc.load(*hand(tools))
    assert len(network.nodes) == COUNT and network.first(2)[0] == 1
    kernel = tc.Kernel(network, region)
    first_input = SlopeTable({3 * COUNT + 2: np.array([0])}, np.array([16384], np.int16))
    share = SlopeTable({4 * COUNT + 2: np.array([0])}, np.array([16384], np.int16))
    planes.known(kernel, [first_input, share])
    low, _ = kernel.split(kernel.start(), np.zeros(1, np.int64), np.array([0.25]))
    ends = []
    for slopes in ({}, records.slope_rows([share], network.places)):
        form, offset = kernel.walk(Facts(low, slopes), 2, np.zeros(1, np.int64), np.array([[-1.0, 0.0]]))
        ends.append(kernel.lowest(low, np.zeros(1, np.int64), form, offset)[0])
    assert -0.625 - 1e-5 <= ends[0] <= -0.625  # the chord at (1/4, 1)
    assert -0.25 - 1e-5 <= ends[1] <= -0.25  # relu is at most x_0


@pytest.mark.parametrize("arithmetic", ["rounded", "exact"])
def test_planes_refute_what_chords_do_not(tools, arithmetic):
    network, (region,) = tc.load(*hand(tools))
    kernel = tc.Kernel(network, region, "float32", arithmetic)
    planes.known(kernel, [FAMILY, SHARE])
    assert not kernel.refute(kernel.start(), [(0, ())])[0]
    assert kernel.refute(kernel.start(), [(0, ())], records.slope_rows([SHARE], network.places))[0]
    half = replace(SHARE, slopes=np.array([16384, 0], np.int16))
    assert not kernel.refute(kernel.start(), [(0, ())], records.slope_rows([half], network.places))[0]
    again, (tighter,) = tc.load(*hand(tools, "1.0"))  # it is reached: at (1, 1)
    kernel = tc.Kernel(again, tighter, "real", arithmetic)
    planes.known(kernel, [FAMILY, SHARE])
    assert not kernel.refute(kernel.start(), [(0, ())], records.slope_rows([SHARE], network.places))[0]


def proof(files, tables, table=1, depth=3):
    """Splits that help nobody, and below them refutations by a table."""
    builder, nodes = tc.TreeBuilder(), np.zeros(1, np.int64)
    for _ in range(depth):
        nodes = np.concatenate(builder.split(nodes, 0 * nodes))
    for node in nodes.tolist():
        builder.record(node, tc.Record(refutations=(tc.Refutation(0, (), table),)))
    made = tc.Certificate.of(*files, semantics="float32", trees=(builder.build()[0],), tables=tables, writer="test")
    return tc.encode(made)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("arithmetic", ["rounded", "exact"])
def test_a_certificate_with_planes_is_valid(tools, monkeypatch, arithmetic, workers):
    monkeypatch.setattr(tree, "MUCH", 0)
    files = hand(tools)
    verdict = tc.check(*files, proof(files, (FAMILY, SHARE)), arithmetic, workers)
    assert verdict.status == "valid" and verdict.leaves == 8 and "planes" in verdict.rules
    plain = tc.check(*files, proof(files, (FAMILY, SHARE, records.NONE), 2), arithmetic, workers)
    assert plain.status == "invalid"
    false = hand(tools, "1.0")
    assert tc.check(*false, proof(false, (FAMILY, SHARE)), arithmetic, workers).status == "invalid"


def test_the_rule_is_named_only_where_it_is_used(tools):
    files = hand(tools, "2.5")
    verdict = tc.check(*files, proof(files, (records.NONE,), 0))
    assert verdict.status == "valid" and "planes" not in verdict.rules


def keyed(table, key, entries=None):
    ((_, old),) = table.entries.items()
    return SlopeTable({key: old if entries is None else np.array(entries)}, table.slopes)


BROKEN = {
    "a family number out of range": ((FAMILY, keyed(SHARE, 6 * COUNT + 2)), 1, "not there"),
    "a family that is no family": ((FAMILY, keyed(SHARE, 5 * COUNT + 2)), 1, "not there"),
    "an empty family": ((records.NONE, SHARE), 1, "not there"),
    "a family with other numbers": (
        (SlopeTable(FAMILY.entries | {1: np.zeros(1, np.int64)}, np.zeros(3, np.int16)), SHARE),
        1,
        "not there",
    ),
    "a family of a node that is no relu": ((keyed(FAMILY, 3 * COUNT + 3), SHARE), 1, "does not fit"),
    "shares of a node that is no relu": ((FAMILY, keyed(SHARE, 4 * COUNT + 1)), 1, "does not fit"),
    "an edge out of range": ((keyed(FAMILY, 3 * COUNT + 2, [1, 4]), SHARE), 1, "does not fit"),
    "edges that do not rise": ((keyed(FAMILY, 3 * COUNT + 2, [3, 1]), SHARE), 1, "does not fit"),
    "edges given twice": ((keyed(FAMILY, 3 * COUNT + 2, [3, 3]), SHARE), 1, "does not fit"),
    "a share out of range": ((FAMILY, keyed(SHARE, 4 * COUNT + 2, [0, 2])), 1, "does not fit"),
    "a share of a neuron without a plane": ((keyed(FAMILY, 3 * COUNT + 2, [0, 1]), SHARE), 1, "no plane"),
    "a step with a family as its table": ((FAMILY, SHARE), 0, "no slopes"),
}


@pytest.mark.parametrize("title", BROKEN)
def test_what_does_not_fit_is_refused(tools, title):
    files, (tables, table, what) = hand(tools), BROKEN[title]
    with pytest.raises(CheckError, match=what):
        tc.check(*files, proof(files, tables, table))


def test_planes_are_of_maps_of_the_input_alone(tools):
    weights = {"w": np.eye(2, dtype=np.float32), "v": np.ones((2, 2), np.float32)}
    nodes = [("MatMul", "xw", "z", {}), ("Relu", "z", "a", {}), ("MatMul", "av", "t", {}), ("Add", "tx", "u", {}),
             ("Relu", "u", "y", {})]  # fmt: skip
    network, _ = tc.load(tools.model_bytes(nodes, weights, (1, 2)), tools.property_text(2, 2, ["(assert (<= Y_0 -1))"]))
    count, relu = len(network.nodes), [type(n).__name__ == "Relu" for n in network.nodes]
    assert [bool(network.first(k)) for k in range(count)] == [k == relu.index(True) for k in range(count)]
    assert [key for key in range(3 * count, 6 * count) if network.places(key)] == [n * count + 2 for n in (3, 4, 5)]
    assert (network.places(3 * count + 2), network.places(4 * count + 2)) == (4, 2)


def test_planes_of_a_later_layer_are_refused(tools):
    model, claim = tools.mlp_bytes([3, 4, 4, 2]), tools.property_text(3, 2, ["(assert (>= Y_0 100))"])
    network, _ = tc.load(model, claim)
    later, count = network.nodes.index(network.nodes[-2]), len(network.nodes)
    assert [bool(network.first(k)) for k in range(count)].count(True) == 1 and not network.places(3 * count + later)
    data = proof((model, claim), (keyed(FAMILY, 3 * count + later), keyed(SHARE, 4 * count + later)))
    with pytest.raises(CheckError, match="does not fit"):
        tc.check(model, claim, data)


def test_a_damaged_file_is_refused(tools):
    files = hand(tools)
    data = proof(files, (FAMILY, SHARE))
    for size in range(0, len(data), 7):
        with pytest.raises(CheckError):
            tc.check(*files, data[:size])
    far = keyed(SHARE, (1 << 32) + 4 * COUNT + 2)  # the file has 32 bits for a key
    with pytest.raises(CheckError, match="too large"):
        proof(files, (FAMILY, far))
    with pytest.raises(CheckError, match="do not add up"):
        tc.check(*files, proof(files, (replace(FAMILY, slopes=FAMILY.slopes[:1]), SHARE)))
