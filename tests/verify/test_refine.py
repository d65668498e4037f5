"""Tightening hidden boxes: by slopes, by a clause, below splits. The kernel derives; certificates replay it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import torchlean_check as tc
from torchlean.verify import advance, forest, neurons
from torchlean.verify.advance import _dearest
from torchlean.verify.cases import Case, Start, Warm, states
from torchlean.verify.choice import BALANCE
from torchlean.verify.clock import Deadline
from torchlean.verify.derive import GAIN, MARGIN, STABLE, derive, helps
from torchlean.verify.dual import Dual, Neurons
from torchlean.verify.files import verify_files
from torchlean.verify.forms import Clause, Forms
from torchlean.verify.maps import Engine, NumpyMaps
from torchlean.verify.neurons import prove_by_neurons
from torchlean.verify.problem import Files, Problem
from torchlean.verify.refine import Refinement
from torchlean.verify.relus import Relus
from torchlean.verify.tables import units
from torchlean.verify.tighten import Tightening
from torchlean.verify.walk import Walk

SIZES = (24, 12, 12, 12, 2)
NO_TREES = forest.Forest(tc.TreeBuilder(), [], [], {})
NO_FOREST = SimpleNamespace(grow=lambda *_: NO_TREES)


def problem_of(mlp, files, seed, top):
    model = mlp(SIZES, seed)[1]
    claim = files[1](["-0.5"] * 24, ["0.5"] * 24, 2, [f"(assert (>= Y_0 (+ Y_1 {top})))"])
    network, (region,) = tc.load(model, claim)
    return Problem(Files(model, claim), network, region, "float32", Deadline(60), np.random.default_rng(0))


def greatest(mlp, seed):
    """About the greatest value of Y_0 - Y_1, from below: corners by ascent."""
    weights = mlp(SIZES, seed)[0]
    rng = np.random.default_rng(seed)
    x = rng.choice([-0.5, 0.5], (5_000, 24))
    most = -np.inf
    for _ in range(20):
        y, active = x, []
        for k, (w, b) in enumerate(weights):
            z = y @ w.T + b
            active.append(z > 0)
            y = np.maximum(z, 0) if k + 1 < len(weights) else z
        most = max(most, float((y[:, 0] - y[:, 1]).max()))
        g = np.repeat((weights[-1][0][0] - weights[-1][0][1])[None], len(x), axis=0)
        for (w, _), a in zip(weights[-2::-1], active[-2::-1], strict=True):
            g = (g * a) @ w
        x = np.where(g + rng.standard_normal(g.shape) * 0.1 > 0, 0.5, -0.5)
    return most


def bound_of(problem, state):
    """The bound of the one inequality with slopes optimised, from the boxes of a state."""
    boxes = {k: (lo[0], hi[0]) for k, (lo, hi) in state.boxes.items()}
    neurons = Neurons.of(boxes)
    dual = Dual(problem.kernel, boxes, neurons, NumpyMaps(problem.network))
    region, nothing = problem.region, np.zeros((1, len(neurons)))
    forms = Forms(problem.network.output, region.rows_y, None, region.rows_c)
    return float(dual.maximise(forms, nothing, neurons.default()[None], nothing, 60, target=np.inf).value[0])


def tightening_of(problem, state, scale, splits=(), trust=True):
    """A case at the state, and what tightens it by the one clause."""
    relus = Relus(problem, state, Engine(problem.network), splits, trust)
    neurons = relus.neurons
    case = Case(0, 0, neurons.side(splits), neurons.lo.copy(), neurons.hi.copy(), 0.0)
    return Tightening(relus, {0: scale}), case, relus


def after(relus, case):
    """The kernel's state with the boxes of a case."""
    return states(relus.state, relus.neurons, case.lo[None], case.hi[None])


def test_the_clause_closes_without_a_split_what_slopes_do_not(mlp, files) -> None:
    """Some properties need their clause, and no case distinction."""
    closed = 0
    for seed in range(4):
        problem = problem_of(mlp, files, seed, f"{1.9 * greatest(mlp, seed):.4f}")
        state = problem.kernel.start()
        problem.kernel.bound(state, derive=True)
        Refinement(problem, state, Engine(problem.network)).forward(Deadline(60))
        plain = bound_of(problem, state)
        if plain > 0:
            continue
        tightening, case, relus = tightening_of(problem, state, abs(plain))
        for _ in range(6):
            if not case.empty:
                tightening.cycle([case], Deadline(60))
        found = np.inf if case.empty else bound_of(problem, after(relus, case))
        assert found > plain
        closed += found > 0
    assert closed


@pytest.mark.parametrize("trust", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_boxes_tightened_by_the_clause_keep_every_violation(mlp, files, seed, trust) -> None:
    """A property that is violated: no violating point is cut off, though boxes shrink."""
    high = greatest(mlp, seed)
    problem = problem_of(mlp, files, seed, f"{0.7 * high:.4f}")
    before = {k: (lo.copy(), hi.copy()) for k, (lo, hi) in problem.kernel.start().boxes.items()}
    tightening, case, relus = tightening_of(problem, problem.kernel.start(), 1.0, trust=trust)
    for _ in range(2):
        tightening.cycle([case], Deadline(60))
    assert not case.empty and case.found
    boxes = after(relus, case).boxes
    assert any((boxes[k][1] < before[k][1]).any() or (boxes[k][0] > before[k][0]).any() for k in before)
    weights = mlp(SIZES, seed)[0]
    rng = np.random.default_rng(seed)
    x = rng.uniform(-0.5, 0.5, (200_000, 24))
    x[:100_000] = np.sign(x[:100_000]) * 0.5
    y, values = x, []
    for k, (w, b) in enumerate(weights):
        values.append(y @ w.astype(float).T + b)
        y = np.maximum(values[-1], 0) if k + 1 < len(weights) else values[-1]
    bad = y[:, 0] - y[:, 1] >= 0.7 * high + 1e-4
    assert bad.sum() > 10
    for k, z in zip(problem.network.relu_inputs, values, strict=False):
        lo, hi = boxes[k]
        assert (z[bad] >= lo).all() and (z[bad] <= hi).all()


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_bounds_with_trees_of_their_own_are_narrower_and_the_checker_derives_them(
    mlp, files, monkeypatch, kind
) -> None:
    """Bit for bit; more leaves are never worse; executions stay inside."""
    widths, runs = [], np.random.default_rng(0).choice([-0.5, 0.5], (100_000, 24))
    weights = mlp(SIZES, 0)[0]
    values, y = [], runs
    for w, b in weights[:-1]:
        values.append(y @ w.astype(float).T + b)
        y = np.maximum(values[-1], 0)
    for leaves in (1, 4, 16):
        seen = derived(monkeypatch)
        problem = problem_of(mlp, files, 0, "1.0")
        state = problem.kernel.start()
        refinement = Refinement(problem, state, Engine(problem.network, heavy=kind == "torch"))
        refinement.forward(Deadline(60), leaves=leaves)
        most = max(len(b.cases) // 2 + 1 for d in refinement.found for b in d.bounds or ())
        assert 1 < most <= leaves or leaves == most == 1
        builder = tc.TreeBuilder()
        builder.record(0, tc.Record(tuple(refinement.found)))
        mine = seen.copy()
        seen.clear()
        tc.replay(problem.kernel, builder.build()[0], tables=tuple(problem.files.tables))
        assert len(seen) == len(mine)
        for found, checked in zip(mine, seen, strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(found, checked, strict=True))
        for k, z in zip(problem.network.relu_inputs, values, strict=True):
            assert (z >= state.boxes[k][0]).all() and (z <= state.boxes[k][1]).all()
        widths.append(sum(float((hi - lo).sum()) for lo, hi in state.boxes.values()))
        monkeypatch.undo()
    assert widths[0] > 1.01 * widths[1] > 1.02 * widths[2]


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_a_box_that_is_trusted_contains_the_one_that_the_replay_derives(mlp, files, kind) -> None:
    """Also in float32: what a bound gives away covers its rounding."""
    for seed, leaves in ((0, 1), (1, 16)):
        problem = problem_of(mlp, files, seed, "1.0")
        trusted, derived_ = problem.kernel.start(), problem.kernel.start()
        engine = Engine(problem.network, heavy=kind == "torch")
        refinement = Refinement(problem, trusted, engine, trust=True)
        refinement.forward(Deadline(60), leaves=leaves)
        assert sum(len(d.bounds or ()) for d in refinement.found) > 20
        for d in refinement.found:
            if d.bounds:
                assert len(list(derive(problem, derived_, d.value, d.bounds))) >= 1
            else:
                problem.kernel.derive_at(derived_, d.value)
        for k, (lo, hi) in derived_.boxes.items():
            assert (trusted.boxes[k][0] <= lo).all() and (hi <= trusted.boxes[k][1]).all()
            given_away = np.maximum(lo - trusted.boxes[k][0], trusted.boxes[k][1] - hi)
            assert (given_away <= 0.01 * (hi - lo)).all()


def test_boxes_over_cases_prove_at_the_root_what_slopes_alone_do_not(mlp, files, monkeypatch) -> None:
    bounds = []
    for leaves in (1, 16):
        problem = problem_of(mlp, files, 1, "10.0")
        state = problem.kernel.start()
        problem.kernel.bound(state, derive=True)
        for n in (1, leaves):
            Refinement(problem, state, Engine(problem.network)).forward(Deadline(60), leaves=n)
        bounds.append(bound_of(problem, state))
    between = f"{10.0 - sum(bounds) / 2:.6f}"  # a bound is as much larger as the threshold is
    assert bounds[1] > bounds[0] + 0.01
    monkeypatch.setattr(neurons, "forest", NO_FOREST)
    proof = prove_by_neurons(problem_of(mlp, files, 1, between))
    assert len(proof.tree.op) == 1 and any(b.cases for d in proof.tree.records[0].derivations for b in d.bounds or ())
    monkeypatch.setattr(neurons, "LEAVES", (1,))
    assert len(prove_by_neurons(problem_of(mlp, files, 1, between)).tree.op) > 1


def halves(problem, value, index):
    """Both sides of a split: builder, and for each its state, splits and tree node."""
    builder = tc.TreeBuilder()
    states_ = problem.kernel.split_value(problem.kernel.start(), value, index, 0.0)
    nodes = builder.split_value(0, value, index, 0.0)
    return builder, [
        (s, ((value, index, side),), int(n[0])) for s, side, n in zip(states_, (-1, 1), nodes, strict=True)
    ]


def widest(problem):
    value = problem.network.relu_inputs[1]
    lo, hi = problem.kernel.start().boxes[value]
    return value, int(np.minimum(-lo[0], hi[0]).argmax())


def derived(monkeypatch):
    """What the kernel's derivations leave, one entry each."""
    seen: list[list[np.ndarray]] = []
    derive = tc.Kernel.derive_at

    def recorded(kernel, state, *more, **named):
        derive(kernel, state, *more, **named)
        seen.append([end for k in sorted(state.boxes) for end in state.boxes[k]])

    monkeypatch.setattr(tc.Kernel, "derive_at", recorded)
    return seen


def test_boxes_that_the_kernel_derives_are_those_of_the_checker(mlp, files, monkeypatch) -> None:
    """With multipliers of the split and of the clause, bit for bit, after each derivation."""
    seen = derived(monkeypatch)
    problem = problem_of(mlp, files, 0, f"{0.7 * greatest(mlp, 0):.4f}")
    builder, parts = halves(problem, *widest(problem))
    both = 0
    for state, splits, node in parts:
        tightening, case, _ = tightening_of(problem, state, 5.0, splits, trust=False)
        for _ in range(2):
            tightening.cycle([case], Deadline(60))
        builder.record(node, tc.Record(tuple(case.found)))
        both += sum(bool(b.multipliers and b.weights) for d in case.found for b in d.bounds or ())
    assert both
    mine = seen.copy()
    seen.clear()
    tc.replay(problem.kernel, builder.build()[0], tables=tuple(problem.files.tables))
    assert len(seen) == len(mine) > 4
    for found, checked in zip(mine, seen, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(found, checked, strict=True))


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_boxes_that_are_trusted_hold_those_of_the_checker(mlp, files, monkeypatch, kind) -> None:
    """In float32 too: what the replay derives is at least as narrow. Both halves are tightened together."""
    problem = problem_of(mlp, files, 0, f"{0.7 * greatest(mlp, 0):.4f}")
    value, index = widest(problem)
    start = problem.kernel.start()
    engine = Engine(problem.network, heavy=kind == "torch")
    relus = Relus(problem, start, engine, (), trust=True)
    neuron = int(np.flatnonzero((relus.neurons.value == value) & (relus.neurons.entry == index))[0])
    root = Case(0, 0, relus.neurons.side(()), relus.neurons.lo.copy(), relus.neurons.hi.copy(), 0.0)
    builder, parts = halves(problem, value, index)
    cases = [root.child(node, [(neuron, side)], None) for side, (_, _, node) in zip((-1, 1), parts, strict=True)]
    tightening = Tightening(relus, {0: 5.0})
    for _ in range(2):
        tightening.cycle(cases, Deadline(60))
    for case in cases:
        builder.record(case.number, tc.Record(tuple(case.found)))
        assert any(b.multipliers and b.weights for d in case.found for b in d.bounds)
    seen = derived(monkeypatch)
    tc.replay(problem.kernel, builder.build()[0], tables=tuple(problem.files.tables))
    assert len(seen) == sum(len(case.found) for case in cases) > 4
    last = {len(cases[0].found) - 1: cases[0], len(seen) - 1: cases[1]}
    for position, case in last.items():
        trusted = after(relus, case).boxes
        ends = iter(seen[position])
        for k in sorted(trusted):
            assert (next(ends)[0] >= trusted[k][0][0]).all() and (next(ends)[0] <= trusted[k][1][0]).all()


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_clauses_are_tightened_side_by_side_each_by_its_own(mlp, files, monkeypatch, kind) -> None:
    """A case alone has the same boxes as beside another clause's; the checker's are at least as narrow."""
    model, high = mlp(SIZES, 0)[1], greatest(mlp, 0)
    lines = f"(and (>= Y_0 (+ Y_1 {0.7 * high:.4f}))) (and (>= Y_1 (+ Y_0 {0.2 * high:.4f})) (<= Y_0 0.0))"
    claim = files[1](["-0.5"] * 24, ["0.5"] * 24, 2, [f"(assert (or {lines}))"])
    network, (region,) = tc.load(model, claim)
    problem = Problem(Files(model, claim), network, region, "float32", Deadline(60), np.random.default_rng(0))
    relus = Relus(problem, problem.kernel.start(), Engine(network, heavy=kind == "torch"), (), trust=True)
    builder, n = tc.TreeBuilder(), relus.neurons
    first, second = (int(i[0]) for i in builder.split_clause(0, 0))

    def tightened(clauses):
        ids = {0: first, 1: second}
        cases = [Case(ids[c], c, n.side(()), n.lo.copy(), n.hi.copy(), 0.0) for c in clauses]
        tightening = Tightening(relus, {0: 5.0, 1: 2.0})
        for _ in range(2):
            tightening.cycle(cases, Deadline(60))
        return cases

    both, (alone,) = tightened([0, 1]), tightened([1])
    assert not np.allclose(both[0].lo, both[1].lo, atol=1e-3)
    np.testing.assert_allclose(both[1].lo, alone.lo, atol=2e-3)
    np.testing.assert_allclose(both[1].hi, alone.hi, atol=2e-3)
    for case, inequalities in zip(both, (1, 2), strict=True):
        builder.record(case.number, tc.Record(tuple(case.found)))
        bounds = [b for d in case.found for b in d.bounds]
        assert all(d.clause == case.clause for d in case.found) and any(w for b in bounds for _, w in b.weights)
        assert {i for b in bounds for i, _ in b.weights} == set(range(inequalities))
    seen = derived(monkeypatch)
    tc.replay(problem.kernel, builder.build()[0], tables=tuple(problem.files.tables))
    last = {len(both[0].found) - 1: both[0], len(seen) - 1: both[1]}
    assert len(seen) == sum(len(case.found) for case in both)
    for position, case in last.items():
        trusted, ends = after(relus, case).boxes, iter(seen[position])
        for k in sorted(trusted):
            assert (next(ends)[0] >= trusted[k][0][0]).all() and (next(ends)[0] <= trusted[k][1][0]).all()


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_a_pass_starts_where_the_last_one_of_each_case_ended(mlp, files, kind) -> None:
    """Neurons that it did not have, cases that had none, and what other maps left, start anew."""
    problem, rng = problem_of(mlp, files, 0, "1.0"), np.random.default_rng(0)
    relus = Relus(problem, problem.kernel.start(), Engine(problem.network, heavy=kind == "torch"), (), trust=True)
    tightening, n, maps = Tightening(relus, {0: 1.0}), relus.neurons, relus.maps
    value = max(n.at)
    size = n.at[value].stop - n.at[value].start
    cases = [Case(i, 0, n.side(()), n.lo, n.hi, 0.0) for i in range(5)]
    for i, own in ((0, maps), (2, maps), (3, NumpyMaps(problem.network)), (4, maps)):
        at = np.full((2, size), -1)
        some = rng.permutation(2 * size)[: size + i]
        at.ravel()[some] = np.arange(len(some))
        duals = own.put(rng.random((len(some), n.width + len(n) + len(tightening.rows))))
        cases[i].warm[value] = Warm(own, at, duals)
    column, sign = np.tile(np.arange(size), 2 * len(cases)), np.tile(np.repeat([1.0, -1.0], size), len(cases))
    parts = [slice(2 * size * i, 2 * size * (i + 1)) for i in range(len(cases))]
    found = np.asarray(maps.get(tightening._start(value, cases, parts, column, sign)))
    fresh = np.concatenate([n.default(), np.zeros(len(n)), np.zeros(len(tightening.rows))])
    for i, rows in enumerate(parts):
        warm = cases[i].warm.get(value)
        for r in range(2 * size):
            at = -1 if warm is None or warm.maps is not maps else warm.at[r // size, r % size]
            wanted = fresh if at < 0 else np.asarray(maps.get(warm.duals[at]))
            assert (found[rows.start + r] == wanted).all()


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_first_neurons_keep_the_slopes_of_the_clause_and_only_what_matters_is_bounded(
    mlp, files, monkeypatch, kind
) -> None:
    """One table for all bounds of the first value, whose box the checker derives at least as narrow."""
    monkeypatch.setattr("torchlean.verify.derive.GAIN", 0.0)
    monkeypatch.setattr("torchlean.verify.tighten.LEAST", 0.0)
    problem = problem_of(mlp, files, 0, f"{0.7 * greatest(mlp, 0):.4f}")
    relus = Relus(problem, problem.kernel.start(), Engine(problem.network, heavy=kind == "torch"), (), trust=True)
    n, rng = relus.neurons, np.random.default_rng(0)
    case = Case(0, 0, n.side(()), n.lo.copy(), n.hi.copy(), 0.0, matters=rng.random(len(n)) < 0.6)
    relus.enter([case])
    best = relus.bound(relus.roots([case]), 60).best
    case.start = Start(relus.maps, alpha := best.alpha[0], best.beta[0])
    tightening = Tightening(relus, {0: 5.0})
    for _ in range(2):
        tightening.cycle([case], Deadline(60))
    first, *later = sorted(problem.network.relu_inputs)
    of = {k: [b for d in case.found if d.value == k for b in d.bounds] for k in (first, *later)}
    for k, found in of.items():
        assert found and {b.index for b in found} <= set(n.index[k][case.matters[n.at[k]]].tolist())
    passes = [d for d in case.found if d.value == first]
    assert all(len({b.table for b in d.bounds}) == 1 for d in passes) and len(of[first]) > len(passes)
    table = problem.files.tables[of[first][0].table]
    assert np.array_equal(table.slopes, units(np, relus.maps.get(alpha)))
    assert len({b.table for b in of[later[-1]]}) == len(of[later[-1]])
    builder = tc.TreeBuilder()
    builder.record(0, tc.Record(tuple(case.found)))
    seen = derived(monkeypatch)
    tc.replay(problem.kernel, builder.build()[0], tables=tuple(problem.files.tables))
    trusted, ends = after(relus, case).boxes, iter(seen[-1])
    for k in sorted(trusted):
        assert (next(ends)[0] >= trusted[k][0][0]).all() and (next(ends)[0] <= trusted[k][1][0]).all()


def test_what_empties_a_case_is_kept_alone(mlp, files) -> None:
    """Of the last bounds, those of one neuron; the checker closes the leaf by what is kept."""
    emptied = 0
    for seed in range(4):
        problem = problem_of(mlp, files, seed, f"{2.2 * greatest(mlp, seed):.4f}")
        tightening, case, _ = tightening_of(problem, problem.kernel.start(), 5.0)
        for _ in range(6):
            if not case.empty:
                tightening.cycle([case], Deadline(60))
        if not case.empty:
            continue
        emptied += 1
        assert len({b.index for b in case.found[-1].bounds}) == 1
        assert any(len(d.bounds) > 2 for d in case.found[:-1])
        builder = tc.TreeBuilder()
        builder.record(0, tc.Record(tuple(case.found)))
        outcome = tc.replay(problem.kernel, builder.build()[0], tables=tuple(problem.files.tables))
        assert outcome.failed is None and outcome.leaves == 1
    assert emptied


def test_the_dearest_neurons_are_the_fewest_with_a_share_of_the_cost() -> None:
    cost = np.array([[1.0, 5.0, 0.0, 4.0], [0.0, 0.0, 0.0, 0.0], [2.0, 2.0, 2.0, 2.0]])
    assert _dearest(cost, 0.9).tolist() == [
        [False, True, False, True],
        [False, False, False, False],
        [True, True, True, True],
    ]
    assert _dearest(cost[:1], 0.91).tolist() == [[True, True, False, True]]


def test_a_search_that_tightens_splits_and_tightens_again_proves(mlp, files, monkeypatch) -> None:
    """Without small trees, every open node is tightened before it is split; the search replays what it found."""
    monkeypatch.setattr("torchlean.verify.forest.grow", NO_FOREST.grow)
    monkeypatch.setattr("torchlean.verify.neurons.LEAVES", (1,))
    monkeypatch.setattr("torchlean.verify.advance.LEAVES_ROOT", 1)
    problem = problem_of(mlp, files, 1, f"{1.1 * greatest(mlp, 1):.4f}")
    proof = prove_by_neurons(problem)
    assert proof.leaves > 10


@pytest.mark.parametrize(
    ("left", "device", "passes"),
    [(0.7, False, [1, 16, 64, 256, 1024]), (0.8, False, [1, 16]), (0.8, True, [1, 16, 64, 256, 1024]),
     (0.4, False, [1, 16, 64, 256, 1024, 4096])],
)  # fmt: skip
def test_passes_at_the_root_end_where_they_bring_little(mlp, files, monkeypatch, left, device, passes) -> None:
    """On the host, whose passes take long; a last one must halve what is missing wherever it runs."""
    taken: list[int] = []
    bounded: list[object] = []

    def missing(relus, found):
        if found not in bounded:
            bounded.append(found)
        return left ** bounded.index(found)

    class Ended(Exception):
        pass

    def searched(*_: object) -> None:
        raise Ended

    monkeypatch.setattr(Refinement, "forward", lambda self, share, only=None, leaves=1: taken.append(leaves))
    monkeypatch.setattr(Engine, "device", property(lambda _: device))
    monkeypatch.setattr(neurons, "_missing", missing)
    monkeypatch.setattr(neurons, "SMALL", 0)
    monkeypatch.setattr(neurons, "ClauseSearch", searched)
    with pytest.raises(Ended):
        prove_by_neurons(problem_of(mlp, files, 1, f"{1.1 * greatest(mlp, 1):.4f}"))
    assert taken == passes


@pytest.mark.parametrize(
    ("device", "worth", "most", "balance"),
    [(False, 0.3, advance.MOST_HOST, BALANCE), (False, -9.0, advance.MOST_HOST, BALANCE),
     (True, 0.3, forest.MOST, advance.STEEP), (True, -9.0, advance.MOST_CASES, BALANCE)],
)  # fmt: skip
def test_trees_of_cases_are_small_on_the_host(mlp, files, monkeypatch, device, worth, most, balance) -> None:
    """Where hidden neurons have no trees of their own (a pass must bring more than 30 %), and where they have."""
    asked: list[tuple[int, float]] = []

    class Ended(Exception):
        pass

    def tried(relus, found, seconds, nodes):
        asked.append((nodes, relus.balance))
        raise Ended

    monkeypatch.setattr(Engine, "device", property(lambda _: device))
    monkeypatch.setattr(neurons, "forest", NO_FOREST)
    monkeypatch.setattr(forest, "grow", tried)
    monkeypatch.setattr(neurons, "LEAVES", (neurons.FIRST,))
    monkeypatch.setattr(neurons, "WORTH", worth)
    monkeypatch.setattr(Refinement, "forward", lambda *_, **__: None)
    with pytest.raises(Ended):
        prove_by_neurons(problem_of(mlp, files, 1, f"{1.1 * greatest(mlp, 1):.4f}"))
    assert asked == [(most, balance)]


@pytest.mark.parametrize("spoiled", ["box", "empty"])
@pytest.mark.parametrize("twice", [False, True])
def test_a_box_that_was_trusted_wrongly_is_searched_again(mlp, files, monkeypatch, spoiled, twice) -> None:
    """Boxes cut too narrow, or called empty, close leaves; the replay opens these, and the search mends them: by bounds
    that it trusts again, and where these fail as well, by none."""
    own, count, mended = Tightening._take, [0], list[bool]()

    def cuts(self, value, cases, *more):
        own(self, value, cases, *more)
        if self.relus.trust and count[0] < (1000 if twice else 6) and (twice or not mended):
            count[0] += 1
            cases[0].lo += 0.1 * (cases[0].hi - cases[0].lo)
            cases[0].empty |= spoiled == "empty"

    again = neurons.search_below
    monkeypatch.setattr(neurons, "search_below", lambda *a, **k: mended.append(a[-2]) or again(*a, **k))
    monkeypatch.setattr(neurons, "forest", NO_FOREST)
    monkeypatch.setattr(neurons, "LEAVES", (1,))
    monkeypatch.setattr(Tightening, "_take", cuts)
    problem = problem_of(mlp, files, 1, f"{1.2 * greatest(mlp, 1):.4f}")
    proof = prove_by_neurons(problem)
    assert proof.leaves and set(mended) == ({True, False} if twice else {True})
    assert tc.replay(problem.kernel, proof.tree, tables=tuple(problem.files.tables)).failed is None


def test_several_clauses_are_taken_one_by_one(mlp, files, monkeypatch) -> None:
    monkeypatch.setattr("torchlean.verify.neurons.SMALL", 0)
    monkeypatch.setattr("torchlean.verify.neurons.LEAVES", (1,))
    weights, model = mlp((24, 12, 12, 3), 1)
    rng = np.random.default_rng(0)
    x = rng.choice([-0.5, 0.5], (40_000, 24))
    y = x
    for k, (w, b) in enumerate(weights):
        y = y @ w.T + b
        y = np.maximum(y, 0) if k < 2 else y
    tops = (y[:, 0].max() * 1.7, y[:, 1].max() * 1.7, (y[:, 0] - y[:, 2]).max() * 1.7)
    lines = [f"(and (>= Y_0 {tops[0]:.4f}))", f"(and (>= Y_1 {tops[1]:.4f}) (<= Y_0 100.0))",
             f"(and (>= (- Y_0 Y_2) {tops[2]:.4f}))"]  # fmt: skip
    claim = files[1](["-0.5"] * 24, ["0.5"] * 24, 3, [f"(assert (or {' '.join(lines)}))"])
    verdict = verify_files(model, claim, 60.0, strategy="neurons")
    assert verdict.status.value == "unsat"
    assert tc.check(model, claim, verdict.certificate).status == "valid"


def test_the_gradient_in_the_clause_multipliers_is_that_of_the_bound(mlp, files) -> None:
    problem = problem_of(mlp, files, 0, "1.0")
    boxes = {k: (lo[0], hi[0]) for k, (lo, hi) in problem.kernel.start().boxes.items()}
    neurons = Neurons.of(boxes)
    dual = Dual(problem.kernel, boxes, neurons, NumpyMaps(problem.network))
    value = problem.network.relu_inputs[1]
    region, rng = problem.region, np.random.default_rng(0)
    clause = Clause(region.rows_y, rng.standard_normal((1, 24)) * 0.1, region.rows_c)
    seed = np.zeros((1, 12))
    seed[0, int(neurons.entry[neurons.at[value]][0])] = 1.0
    forms, none = Forms(value, seed, None, np.zeros(1), clause), np.zeros((1, len(neurons)))
    alpha = rng.random(none.shape)

    def walk(weight):
        return Walk(dual, forms, none, alpha, none, dual.lines(none), np.full((1, 1), weight))

    for weight in (0.05, 0.3, 2.0):
        now = walk(weight)
        found = now.gradients(dual.center - np.sign(now.form) * dual.radius)[2][0, 0]
        slope = (walk(weight + 1e-7).total[0] - walk(weight - 1e-7).total[0]) / 2e-7
        assert found == pytest.approx(slope, abs=1e-5)


def test_a_bound_that_only_the_replay_would_find_stable_is_not_taken() -> None:
    """After it gave MARGIN away, what is taken has the sign of what was found."""
    bound, old = np.array([-0.5, -0.02, -1e-9, 0.0, 1e-9, MARGIN, STABLE - 1e-9, STABLE, 0.3]), np.full(9, -0.4)
    taken = helps(bound, old)
    assert taken.tolist() == [1, 2, 7, 8]
    assert (np.sign(bound[taken] - MARGIN) == np.sign(bound[taken])).all()
    assert helps(np.array([GAIN, 1.5 * GAIN]), np.zeros(2)).tolist() == [1]
