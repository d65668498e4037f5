"""The dual bound: below every execution that its splits allow, whatever slopes and multipliers; on numpy and torch."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import torchlean_check as tc
from torchlean.verify.ascent import Ascent, Best, Given, ascend, looked, schedule
from torchlean.verify.choice import Choice, first_multiplier, worth
from torchlean.verify.dual import Dual, Neurons
from torchlean.verify.forks import AtOnce
from torchlean.verify.forms import Clause, Forms
from torchlean.verify.fused import Fused
from torchlean.verify.graphs import filled
from torchlean.verify.maps import NumpyMaps, TorchMaps
from torchlean.verify.planes import Edges, Family
from torchlean.verify.walk import Walk
from torchlean_check.network import Affine, Relu

FACTOR = 1e4  # of float32's error boxes, so that charging them wrongly shows


def residual_bytes(rng):
    """conv -> relu -> conv -> + skip -> relu -> flatten -> gemm, with odd pads, strides and groups."""

    def tensor(name, *shape):
        values = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:], initial=1))
        return numpy_helper.from_array(values.astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], name="c1", pads=[1, 0, 0, 1], strides=[2, 1],
                         kernel_shape=[2, 2]),
        helper.make_node("Relu", ["c1"], ["r1"], name="r1"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], name="c2", pads=[1, 1, 1, 1], group=2,
                         kernel_shape=[3, 3]),
        helper.make_node("Add", ["c2", "r1"], ["s"], name="s"),
        helper.make_node("Relu", ["s"], ["r2"], name="r2"),
        helper.make_node("Flatten", ["r2"], ["f"], name="f"),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["y"], name="g", transB=1),
    ]  # fmt: skip
    tensors = [tensor("w1", 4, 2, 2, 2), tensor("b1", 4), tensor("w2", 4, 2, 3, 3), tensor("b2", 4),
               tensor("w3", 3, 4 * 3 * 4), tensor("b3", 3)]  # fmt: skip
    ins = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 5, 4])]
    outs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])]
    graph = helper.make_graph(nodes, "g", ins, outs, initializer=tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()


@pytest.fixture
def kernel_of(mlp, files):
    """Network's name and seed -> the kernel on a small region."""

    def make(name, seed, width=0.6):
        rng = np.random.default_rng(seed)
        model, inputs, outputs = (mlp((3, 8, 8, 2), seed)[1], 3, 2) if name == "mlp" else (residual_bytes(rng), 40, 3)
        ends = [f"-{width}"] * inputs, [f"{width}"] * inputs
        claim = files[1](*ends, outputs, ["(assert (>= Y_0 Y_1))"])
        return tc.Kernel(*(lambda n, r: (n, r[0]))(*tc.load(model, claim)))

    return make


PLANES = pytest.mark.parametrize("planes", [False, True])


def neurons_of(kernel, planes=False, factor=1.0):
    """The root's boxes and their neurons; with planes of any shares above those of the first layer, if wanted.

    factor   of the error that planes allow for
    """
    boxes, family = {k: (lo[0], hi[0]) for k, (lo, hi) in kernel.start().boxes.items()}, None
    if planes:
        edges = Edges.of(kernel)
        edges = replace(edges, error=factor * edges.error)
        family, _ = Family.of(kernel, edges, np.random.default_rng(9).random(edges.weight.shape), 0)
    return boxes, Neurons.of(boxes, family=family)


def dual_of(kernel, kind="numpy", planes=False, factor=1.0):
    boxes, neurons = neurons_of(kernel, planes, factor)
    maps = NumpyMaps(kernel.network) if kind == "numpy" else TorchMaps(kernel.network, "cpu")
    return Dual(kernel, boxes, neurons, maps), neurons


def forms(dual, rows):
    return Forms(dual.network.output, dual.maps.put(rows), None, dual.maps.put(np.zeros(len(rows))))


def executions(dual, neurons, x, rng):
    """Values of the unstable neurons and of the output, with errors anywhere inside the charged boxes."""
    values, flat = {0: x}, np.zeros((len(x), len(neurons)))
    for k, node in enumerate(dual.network.nodes):
        if isinstance(node, Affine):
            total = node.bias + np.zeros((len(x), 1))
            for map_, source in node.terms:
                total = total + map_.apply(values[source], np.matmul)
            values[k] = total + dual.charge[k] * rng.choice([-1.0, 1.0, 0.3], size=total.shape)
        elif isinstance(node, Relu):
            flat[:, neurons.at[node.source]] = values[node.source][:, neurons.index[node.source]]
            values[k] = np.maximum(values[node.source], 0)
    return flat, values[dual.network.output]


@pytest.mark.parametrize("name", ["mlp", "residual"])
@pytest.mark.parametrize("seed", range(4))
@PLANES
def test_no_execution_that_meets_the_splits_is_below_the_bound(planes, name, seed, kernel_of) -> None:
    rng = np.random.default_rng(seed)
    kernel = kernel_of(name, seed)
    dual, neurons = dual_of(kernel, planes=planes, factor=FACTOR)
    for k in dual.charge:
        dual.charge[k] = dual.charge[k] * FACTOR
    assert len(neurons) > 4
    x = rng.uniform(kernel.region.lo, kernel.region.hi, (400, kernel.network.inputs)).repeat(6, axis=0)
    flat, y = executions(dual, neurons, x, rng)
    side = np.zeros((3, len(neurons)))
    for p in (1, 2):  # splits that some execution meets
        some = rng.choice(len(neurons), 2, replace=False)
        side[p, some] = np.where(flat[rng.integers(len(flat)), some] >= 0, 1.0, -1.0)
    # Executions with enlarged errors may leave the root's boxes; the relaxation speaks of those that do not.
    inside = ((flat >= neurons.lo) & (flat <= neurons.hi)).all(axis=1)
    rows = rng.standard_normal((3, kernel.network.outputs))
    alpha, beta = rng.random((3, neurons.width)), rng.random(side.shape) * 2 * (side != 0)
    for steps in (0, 12):
        best = dual.maximise(forms(dual, rows), side, alpha, beta, steps, target=np.inf)
        for p in range(3):
            meets = inside & ((side[p] * flat >= 0) | (side[p] == 0)).all(axis=1)
            assert meets.any()
            g = y[meets] @ rows[p]
            assert not (g < best.value[p] - 1e-12).any()  # 1e-12: this walk is a search; the kernel is the proof


@pytest.mark.parametrize("name", ["mlp", "residual"])
@PLANES
def test_gradients_are_those_of_the_bound(planes, name, kernel_of) -> None:
    """Against differences: the bound is piecewise smooth, so at random slopes and multipliers nearly all entries
    agree."""
    rng = np.random.default_rng(0)
    kernel = kernel_of(name, 1)
    dual, neurons = dual_of(kernel, planes=planes)
    side = np.zeros((1, len(neurons)))
    side[0, :3] = 1.0, -1.0, 1.0
    alpha, beta = rng.random((1, neurons.width)), rng.random(side.shape) * (side != 0)
    rows = rng.standard_normal((1, kernel.network.outputs))

    def value(a, b):
        return Walk(dual, forms(dual, rows), side, a, b, dual.lines(side))

    walk = value(alpha, beta)
    found = walk.gradients(dual.center - np.sign(walk.form) * dual.radius)
    assert np.abs(found[0]).max() > 1e-3 and np.abs(found[1]).max() > 1e-4
    if planes:
        assert np.abs(found[0][0, len(neurons) :]).max() > 1e-3
    for which, start in enumerate((alpha, beta)):
        for n in range(start.shape[1]):
            step = np.zeros_like(start)
            step[0, n] = 1e-7
            if which == 1 and side[0, n] == 0:
                continue
            ends = [(alpha, beta + s) if which else (alpha + s, beta) for s in (step, -step)]
            up, down = (value(*end).total[0] for end in ends)
            assert (up - down) / 2e-7 == pytest.approx(found[which][0, n], abs=1e-5)


def side_bounds(dual, neurons, rows, alpha, sign):
    """The bound with each neuron split on this side alone, its multiplier such that the lower line stays as it was."""
    size = len(neurons)
    start = dual.maximise(forms(dual, rows), np.zeros((1, size)), alpha, np.zeros((1, size)), 0)
    each = first_multiplier(np, alpha[0, :size], start.upper[0], sign)
    given = forms(dual, rows.repeat(size, axis=0)), sign * np.eye(size), alpha.repeat(size, axis=0), np.diag(each)
    return start, dual.maximise(*given, 0).value - start.value[0]


@pytest.mark.parametrize("name", ["mlp", "residual"])
@pytest.mark.parametrize("seed", range(4))
@PLANES
def test_no_side_of_a_split_gains_more_than_the_minimiser_tells(planes, name, seed, kernel_of) -> None:
    """And as much, where the side keeps the minimiser, as in the first layer some do; nothing, under a lower line."""
    rng = np.random.default_rng(seed)
    kernel = kernel_of(name, seed)
    dual, neurons = dual_of(kernel, planes=planes)
    for k in dual.charge:
        dual.charge[k] = dual.charge[k] * FACTOR
    rows, alpha = rng.standard_normal((1, kernel.network.outputs)), rng.random((1, neurons.width))
    zero = np.zeros((1, len(neurons)))
    run = dual.ascent(Given(forms(dual, rows), zero, alpha, zero, None, (dual.lo, dual.hi)))
    told = run.gains()
    assert run.value == dual.maximise(forms(dual, rows), zero, alpha, zero, 0).value
    reached = 0
    for sign, most in zip((-1, 1), (gain[0] for gain in told), strict=True):
        start, gain = side_bounds(dual, neurons, rows, alpha, sign)
        assert (gain <= most + 1e-12).all()  # 1e-12: rounding in sums of another order
        assert (most[start.upper[0] >= 0] == 0).all() and (most >= -1e-12).any()
        reached += int((gain > 0.999 * most)[most > 1e-3].sum())
    assert reached >= 2


@pytest.mark.parametrize("kind", [NumpyMaps, lambda network: TorchMaps(network, "cpu")])
@pytest.mark.parametrize("own", [False, True])
@PLANES
def test_the_neuron_whose_sides_gain_most_is_chosen(planes, own, kind, kernel_of, monkeypatch) -> None:
    """Against the bounds of both sides of every neuron, one after the other; however many are walked at once."""
    monkeypatch.setattr("torchlean.verify.choice.CANDIDATES", 99)
    kernel, rng, count = kernel_of("mlp", 3), np.random.default_rng(5), 32
    (boxes, neurons), maps = neurons_of(kernel, planes), kind(kernel.network)
    dual, put = Dual(kernel, boxes, neurons, maps), maps.put
    u, rows = len(neurons), put(rng.standard_normal((count, kernel.network.outputs)))
    side, beta, alpha = np.zeros((count, u)), np.zeros((count, u)), rng.random((count, neurons.width))
    side[:, 0], beta[:, 0] = rng.choice([-1.0, 1.0], count), rng.random(count)
    ends = (neurons.lo * rng.uniform(0.5, 1, (count, u)), neurons.hi * rng.uniform(0.5, 1, (count, u)))
    box = (put(ends[0]), put(ends[1])) if own else (dual.lo, dual.hi)
    given = Given(forms(dual, rows), put(side), put(alpha), put(beta), None, box, True)
    before = dual.maximise(given.forms, given.side, given.alpha, given.beta, 0, box=box)
    cost, value, upper = (maps.get(a).astype(np.float64) for a in (before.cost, before.value, before.upper))
    cost[:, 0], target = 0.0, float(value.max()) + 0.05
    cost[rng.random(cost.shape) < 0.3] = 0.0
    score = np.full((count, u), -1.0)
    for n in range(1, u):
        gains = []
        for s in (-1, 1):
            sides = side.copy()
            sides[:, n] = s
            found = dual.maximise(given.forms, put(sides), given.alpha, given.beta, 0, box=box).value
            gains.append(np.clip(np.minimum(maps.get(found), target) - value, 1e-9, None))
        score[:, n] = np.where(upper[:, n] < 0, worth(*gains, 0.3), 0.0)
    score[cost <= 0] = -1.0
    assert len(set(score.argmax(axis=1).tolist())) > 1 and (score.max(axis=1) > 1e-2).mean() > 0.9
    for size in (1, 3 * count, 1000):
        (chosen,) = dual.answer(Choice(target, 0.3, size), given, put(cost))
        picked = np.take_along_axis(score, maps.get(chosen)[:, None], axis=1)[:, 0]
        assert (picked >= score.max(axis=1) * (1 - 1e-4)).all()  # torch has float32


def test_optimising_never_loses(kernel_of) -> None:
    dual, neurons = dual_of(kernel_of("mlp", 1))
    zero = np.zeros((2, len(neurons)))
    start = np.repeat(neurons.default()[None], 2, axis=0)
    rows = np.eye(2)
    before = dual.maximise(forms(dual, rows), zero, start, zero, 0).value
    after = dual.maximise(forms(dual, rows), zero, start, zero, 40, target=np.inf).value
    assert (after >= before).all() and (after > before + 1e-3).any()


def again(dual, given, best):
    """The bounds where an ascent says that it reached them."""
    run = Ascent(dual, replace(given, alpha=best.alpha, beta=best.beta, weight=best.weight))
    run.look()
    return run.value


@pytest.mark.parametrize("hold", [False, True])
@PLANES
def test_a_bound_is_reached_where_an_ascent_says(planes, hold, kernel_of) -> None:
    kernel, rng = kernel_of("mlp", 1), np.random.default_rng(0)
    dual, neurons = dual_of(kernel, planes=planes)
    side = np.zeros((9, len(neurons)))
    side[:, :3] = rng.choice([-1.0, 1.0], (9, 3))
    clause = Clause(rng.standard_normal((2, 2)), None, rng.standard_normal(2))
    seed = Forms(kernel.network.output, rng.standard_normal((9, 2)), None, np.zeros(9), clause, np.ones((9, 2)))
    start = rng.random((9, neurons.width)), np.zeros(side.shape), 0.1 * rng.random((9, 2))
    given = Given(seed, side, *start, (dual.lo, dual.hi), hold)
    for steps in (1, 12):
        best = ascend(Ascent(dual, given), schedule(steps), np.inf)
        assert np.allclose(again(dual, given, best), best.value, rtol=1e-12)
    assert (best.weight != start[2]).any() and (best.beta > 0).any() and (best.alpha == start[0]).all() == hold


@pytest.mark.parametrize("kind", [NumpyMaps, lambda network: TorchMaps(network, "cpu")])
@PLANES
def test_slopes_that_are_held_stay_and_multipliers_gain(planes, kind, kernel_of) -> None:
    kernel = kernel_of("mlp", 1)
    (boxes, neurons), maps = neurons_of(kernel, planes), kind(kernel.network)
    dual, rng = Dual(kernel, boxes, neurons, maps), np.random.default_rng(0)
    side = np.zeros((6, len(neurons)))
    side[:, :3] = rng.choice([-1.0, 1.0], (6, 3))
    rows = maps.put(np.eye(2)[[0, 1] * 3])
    alpha = maps.put(rng.random((6, neurons.width)))
    given = Forms(kernel.network.output, rows, None, maps.zeros(6)), maps.put(side), alpha, maps.zeros(*side.shape)
    before = dual.maximise(*given, 0)
    after = dual.maximise(*given, 30, target=np.inf, hold=True)
    assert np.array_equal(maps.get(after.alpha), maps.get(given[2]))  # bit for bit
    gain = maps.get(after.value) - maps.get(before.value)
    assert (gain >= 0).all() and (gain > 1e-3).any() and (maps.get(after.beta) > 0).any()


@pytest.mark.parametrize("name", ["mlp", "residual"])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@PLANES
def test_torch_walks_as_numpy_does(planes, name, device, kernel_of) -> None:
    torch = pytest.importorskip("torch")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    rng = np.random.default_rng(2)
    kernel = kernel_of(name, 2)
    (boxes, neurons), put = neurons_of(kernel, planes), TorchMaps(kernel.network, device).put
    kinds = NumpyMaps(kernel.network), TorchMaps(kernel.network, device)
    dual, other = (Dual(kernel, boxes, neurons, maps) for maps in kinds)
    side = np.zeros((4, len(neurons)))
    side[:, :2] = rng.choice([-1.0, 1.0], (4, 2))
    alpha, beta = rng.random((4, neurons.width)), rng.random(side.shape) * (side != 0)
    rows = rng.standard_normal((4, kernel.network.outputs))
    mine = dual.maximise(forms(dual, rows), side, alpha, beta, 0)
    theirs = other.maximise(forms(other, rows), put(side), put(alpha), put(beta), 0)
    for name in ("value", "cost", "point"):
        np.testing.assert_allclose(getattr(mine, name), other.maps.get(getattr(theirs, name)), rtol=2e-4, atol=2e-5)
    told = dual.ascent(Given(forms(dual, rows), side, alpha, beta, None, (dual.lo, dual.hi))).gains()
    given = Given(forms(other, rows), put(side), put(alpha), put(beta), None, (other.lo, other.hi))
    for mine, theirs in zip(told, other.ascent(given).gains(), strict=True):
        np.testing.assert_allclose(mine, other.maps.get(theirs), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("neurons", [0, 7, 1_500, 60_000, 10_000_000])
def test_recordings_are_of_few_sizes_and_waste_little(neurons) -> None:
    """Powers of two; more than twice the problems only where there are few, of not too many neurons."""
    sizes = [filled(count, neurons) for count in range(1, 5_000)]
    assert len(set(sizes)) <= 14
    for count, size in enumerate(sizes, start=1):
        assert size >= count and size & (size - 1) == 0
        assert size < 2 * count or (size <= 256 and size * neurons <= 1 << 19) or size == 1


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["mlp", "residual"])
@PLANES
def test_a_recorded_ascent_is_the_ascent(planes, name, kernel_of, monkeypatch) -> None:
    """Batches of several sizes through the same recordings, with boxes and clause multipliers of their own."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    rng = np.random.default_rng(3)
    kernel = kernel_of(name, 2)
    (boxes, neurons), maps = neurons_of(kernel, planes), TorchMaps(kernel.network, "cuda")
    dual, put = Dual(kernel, boxes, neurons, maps), TorchMaps(kernel.network, "cuda").put
    clause = Clause(put(kernel.region.rows_y), None, put(kernel.region.rows_c))
    assert dual.recorder is not None
    monkeypatch.setattr("torchlean.verify.graphs.LEAST", 16)
    for count in (17, 40, 33, 64, 18):
        side = np.zeros((count, len(neurons)))
        side[:, :2] = rng.choice([-1.0, 1.0], (count, 2))
        slopes = put(rng.random((count, neurons.width)))
        start = put(side), slopes, put(0.1 * rng.random(side.shape) * (side != 0))
        rows, nothing = put(rng.standard_normal((count, kernel.network.outputs))), put(np.zeros(count))
        box = put(neurons.lo * rng.random(side.shape)), put(np.tile(neurons.hi, (count, 1)))
        kinds = (0, False, False), (6, False, False), (0, True, True), (6, True, True), (30, True, False)
        mask = put(rng.integers(0, 2, (count, 1)).astype(np.float64))
        for steps, own, weight, hold in [(*kind, hold) for kind in kinds for hold in (False, True)]:
            joins = (clause, mask) if weight else (None, None)
            seed = Forms(kernel.network.output, rows, None, nothing, *joins)
            ends = box if own else (dual.lo, dual.hi)
            given = Given(seed, *start, 0.1 * mask if weight else None, ends, hold)
            for target in (np.inf, -0.2, -1e9):
                theirs = ascend(Ascent(dual, given), schedule(steps), target)
                mine = dual.recorder.ascend(given, steps, target) if steps else Best(*dual.answer(looked, given))
                assert (mine.value >= theirs.value - 1e-3).all()
                assert torch.allclose(again(dual, given, mine), mine.value, rtol=1e-3, atol=1e-3)
                early = target < np.inf and bool((theirs.value > target).all())  # where a recording may go on
                for name_ in ("value", "charge", "alpha", "beta", "upper", "cost"):
                    ours, plain = (maps.get(getattr(best, name_)) for best in (mine, theirs))
                    same = early or steps > 6 or np.allclose(ours, plain, rtol=1e-3, atol=1e-4)  # rounding adds up
                    assert len(ours) == count and same
        cost = put(rng.random(side.shape) * (side == 0))
        for question, more in ((AtOnce(6, 100), ()), (Choice(0.1, 0.3, 100), (cost,))):
            plain = question(dual, given, *more)
            for _ in range(2):
                for ours, theirs in zip(dual.answer(question, given, *more), plain, strict=True):
                    assert ours.dtype == theirs.dtype and len(ours) == count
                    assert torch.isclose(ours, theirs, rtol=1e-3, atol=1e-4).double().mean() > 0.9  # near ties differ
    assert len([kept for kept in dual.recorder.kept.values() if kept is not None]) == (3 + 2) * 2 * 2 + 2 * 2


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["mlp", "residual"])
@PLANES
def test_kernels_do_what_plain_operations_do(planes, name, kernel_of) -> None:
    """Bounds of every value that a relu reads and of the output, with all that a problem may have.

    All but one in a hundred numbers of a slope or a charge: a step is as long for a gradient that hardly differs from
    0, whichever side it is. The bounds themselves agree.
    """
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    rng, kernel = np.random.default_rng(3), kernel_of(name, 2)
    (boxes, neurons), maps = neurons_of(kernel, planes), TorchMaps(kernel.network, "cuda")
    dual, put, region = Dual(kernel, boxes, neurons, maps), maps.put, kernel.region
    if not maps.fused:
        pytest.skip("no triton, or no compiler for it")
    for k, charge in dual.charge.items():
        dual.charge[k] = put(0.01 * rng.random(len(charge)))
    clause = Clause(put(region.rows_y), put(rng.standard_normal(region.rows_x.shape)), put(region.rows_c))
    choices = itertools.product([*neurons.at, kernel.network.output], (3, 700), (0, 1, 7), *[(False, True)] * 3)
    for target, count, steps, own, joined, hold in choices:
        side = np.zeros((count, len(neurons)))
        side[:, :2] = rng.choice([-1.0, 1.0], (count, 2))
        slopes = put(rng.random((count, neurons.width)))
        start = put(side), slopes, put(0.1 * rng.random(side.shape) * (side != 0))
        box = put(neurons.lo * rng.random(side.shape)), put(np.tile(neurons.hi, (count, 1)))
        mask = put(rng.integers(0, 2, (count, len(region.rows_c))).astype(np.float64))
        seed = put(rng.standard_normal((count, kernel.network.nodes[target].size)))
        direct = put(rng.standard_normal((count, len(dual.center)))) if own else None
        joins = (clause, mask) if joined else (None, None)
        forms_ = Forms(target, seed, direct, put(rng.standard_normal(count)), *joins)
        ends = box if own else (dual.lo, dual.hi)
        given, before = Given(forms_, *start, 0.1 * mask if joined else None, ends, hold), seed.clone()
        plain = ascend(Ascent(dual, given), dual.plan(steps), np.inf)
        mine = ascend(Fused(dual, given), dual.plan(steps), np.inf)
        assert torch.equal(seed, before)
        for theirs, ours in zip(Ascent(dual, given).gains(), Fused(dual, given).gains(), strict=True):
            assert torch.allclose(theirs, ours, rtol=1e-3, atol=1e-4)
        for field in dataclasses.fields(Best):
            theirs, ours = (getattr(best, field.name) for best in (plain, mine))
            assert (theirs is None) == (ours is None)
            if theirs is not None:
                close, least = torch.isclose(theirs, ours, rtol=1e-3, atol=1e-4).double().mean(), 0.99
                assert close >= (least if steps > 1 and field.name != "value" else 1.0), (target, steps, field.name)


@pytest.mark.parametrize("beta", [0.5, 1.0, 100.0])
def test_the_error_box_is_charged_with_the_multiplier_included(beta, files) -> None:
    """z = x at x = -e/2, with an error box of e: an execution may have z >= 0, so the bound there is at most 0.

    Charging |A| E before beta is added to A would give beta e/2 > 0.
    """
    model = files[0]([(np.ones((1, 1)), np.zeros(1)), (np.zeros((1, 1)), np.zeros(1))])
    claim = files[1](["-0.5"], ["0.5"], 1, ["(assert (<= Y_0 -1.0))"])
    network, (region,) = tc.load(model, claim)
    dual, neurons = dual_of(tc.Kernel(network, region))
    assert len(neurons) == 1
    error = 0.25
    dual.charge[int(neurons.value[0])][:] = error
    dual.charge[network.output][:] = 0.0
    dual.center, dual.radius = np.array([-error / 2]), np.zeros(1)
    one = np.ones((1, 1))
    assert dual.maximise(forms(dual, one), one, one, beta * one, 0).value[0] <= 0
    dual.charge[int(neurons.value[0])][:] = 0.0
    assert dual.maximise(forms(dual, one), one, one, beta * one, 0).value[0] > 0
