"""Bushes, cuts and duals: what a batch of leaves is told at once is what the nodes above them say one by one."""

import numpy as np
import pytest

import torchlean_check as tc
from torchlean_check import bush, tree
from torchlean_check.cuts import Cuts
from torchlean_check.duals import duals
from torchlean_check.packed import Records
from torchlean_check.pushes import Splits
from torchlean_check.records import Bound, Refutation, SlopeTable


def network_and_kernel(tools, seed, top=3.0, semantics="float32", arithmetic="rounded", clauses=1):
    model = tools.mlp_bytes([3, 8, 8, 2], seed=seed, scale=2.0)
    lines = {1: [f"(assert (>= Y_0 {top}))"], 2: [f"(assert (or (and (>= Y_0 {top})) (and (<= Y_1 {-top}))))"]}[clauses]
    network, (region,) = tc.load(model, tools.property_text(3, 2, lines))
    return network, tc.Kernel(network, region, semantics, arithmetic)


def grown(kernel, rng, depth, clauses=1):
    """Random trees of value splits below two halves of the input, whose leaves all have refutations, with random slopes
    and multipliers."""
    network, builder, tables = kernel.network, tc.TreeBuilder(), []
    slopes = (0, 16385) if rng.random() < 0.6 else (-2000, 20000)
    entries = {value: np.arange(network.nodes[value].size) for value in network.relu_inputs}
    waiting = [(int(half[0]), ()) for half in builder.split([0], [int(rng.integers(3))], [0.5])]
    while waiting:
        node, path = waiting.pop()
        if len(path) < depth and (not path or rng.random() < 0.8):
            value, index = int(rng.choice(network.relu_inputs)), int(rng.integers(8))
            at = float(rng.choice([0.0, 0.0, -0.25, 0.25]))
            low, high = builder.split_value([node], value, index, at)
            waiting += [(int(low[0]), (*path, (value, index, -1))), (int(high[0]), (*path, (value, index, 1)))]
            continue
        refutations = []
        for clause in range(clauses):
            named = [path[i] for i in rng.permutation(len(path))[: rng.integers(len(path) + 1)]]
            multipliers = tuple((*split, float(rng.exponential(0.2))) for split in named)
            table = int(rng.integers(-1, len(tables))) if tables and rng.random() < 0.3 else len(tables)
            if table == len(tables):
                tables.append(SlopeTable(entries, rng.integers(*slopes, 16).astype(np.int16)))
            refutations.append(Refutation(clause, ((0, 1.0),) if rng.random() < 0.3 else (), table, multipliers))
        builder.record(node, tc.Record((), tuple(refutations)))
    return builder.build()[0], tuple(tables)


def outcome(replay):
    """What is open, and what is not finished or assumed: a node where no execution is left counts once or leaf by
    leaf."""
    lost = [] if replay.failed is None else replay.failed.nodes.tolist()
    return sorted(lost), replay.finished, replay.holes.tolist()


def boxes(front):
    """The state at each node, as numbers."""
    order, state = np.argsort(front.nodes), front.state
    return [state.lo[order], state.hi[order], *(end[order] for box in state.boxes.values() for end in box)]


@pytest.mark.parametrize("arithmetic", ["rounded", "exact"])
@pytest.mark.parametrize("clauses", [1, 2])
def test_a_bush_is_the_same_as_its_nodes_one_by_one(tools, monkeypatch, arithmetic, clauses):
    """The same leaves close; those that do not have the same state."""
    closed = lost = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        _, kernel = network_and_kernel(tools, seed % 4, 1.5 + rng.random(), arithmetic=arithmetic, clauses=clauses)
        grown_tree, tables = grown(kernel, rng, 6, clauses)
        assert tree.Plan(grown_tree, kernel, tables).bush[1:3].sum() == (len(grown_tree.op) + 1) // 2
        together = tc.replay(kernel, grown_tree, tables=tables)
        for most in (0, 4):  # none, and small ones
            with monkeypatch.context() as patch:
                patch.setattr(bush, "MOST", most)
                alone = tc.replay(kernel, grown_tree, tables=tables)
            assert outcome(alone) == outcome(together)
            if alone.failed is not None:
                assert all((a == b).all() for a, b in zip(boxes(alone.failed), boxes(together.failed), strict=True))
                lost += len(alone.failed.nodes)
        closed += together.leaves
    assert closed > 30 and lost > 100


def test_what_is_no_bush(tools):
    """A flag, a derivation, a hole, a leaf without a record, a split of another kind."""
    _, kernel = network_and_kernel(tools, 0)
    value = kernel.network.relu_inputs[0]
    refuted = tc.Record((), (Refutation(0),))
    cases = {
        "bush": lambda b, low, high: b.record(low, refuted),
        "flag": lambda b, low, high: (b.record(low, refuted), b.flag([low], tc.DERIVE)),
        "examined": lambda b, low, high: (b.record(low, refuted), b.flag([0], tc.EXAMINE)),
        "derivation": lambda b, low, high: b.record(low, tc.Record((tc.Derivation(value),), refuted.refutations)),
        "hole": lambda b, low, high: b.hole([low]),
        "none": lambda b, low, high: None,
        "input": lambda b, low, high: [b.record(int(n), refuted) for n in np.concatenate(b.split([low], [0]))],
        "above": lambda b, low, high: (b.record(low, refuted), b.record(0, refuted)),
    }
    for name, change in cases.items():
        builder = tc.TreeBuilder()
        low, high = builder.split_value([0], value, 0)
        change(builder, int(low[0]), int(high[0]))
        builder.record(int(high[0]), refuted)
        assert (tree.Plan(builder.build()[0], kernel, ()).bush[0] == 2) == (name == "bush"), name


def test_a_leaf_that_refutations_do_not_close_is_bounded_by_default(tools):
    """Only the default bound closes it here, as it would without a bush."""
    for seed in range(20):
        _, kernel = network_and_kernel(tools, seed, 60.0)
        state = kernel.start()
        if kernel.refuted(state, kernel.bound(state, derive=False).margin).all():
            break
    value = kernel.network.relu_inputs[0]
    worst = SlopeTable({v: np.arange(8) for v in kernel.network.relu_inputs}, np.full(16, 32767, np.int16))
    builder = tc.TreeBuilder()
    for node in np.concatenate(builder.split_value([0], value, 0)).tolist():
        builder.record(node, tc.Record((), (Refutation(0, (), 0, ()),)))
    grown_tree = builder.build()[0]
    plan = tree.Plan(grown_tree, kernel, (worst,))
    done, left = bush.replay(plan, np.zeros(1, np.int64), kernel.start())
    assert (done, [node for node, _ in left]) == (1, [1, 2])
    found = tc.replay(kernel, grown_tree, tables=(worst,))
    assert found.failed is None and (found.leaves, found.nodes) == (2, 3)


def random_splits(rng, network, rows, each):
    """Splits row by row; some entries are split more than once."""
    found = []
    for row in range(rows):
        for _ in range(int(rng.integers(each + 1))):
            value, side = int(rng.choice(network.relu_inputs)), int(rng.choice([-1, 1]))
            found.append((row, value, int(rng.integers(4)), side, float(rng.normal())))
    return found


def test_cuts_are_boxes_split_one_after_the_other(tools):
    network, kernel = network_and_kernel(tools, 1)
    rng, empty = np.random.default_rng(0), 0
    for _ in range(30):
        state = kernel.start().take([0, 0, 0])
        for lo, hi in state.boxes.values():
            lo += rng.random(lo.shape) * (hi - lo) * 0.4
        given, home = random_splits(rng, network, 5, 4), rng.integers(0, 3, 5)
        cuts = Cuts.of(state, home, Splits.of(given))
        columns = rng.permutation(8)[:5]
        for row in range(5):
            one = state.take([home[row]])
            for r, value, index, side, at in given:
                if r == row:
                    one = kernel.split_value(one, value, index, at)[side > 0]
            assert cuts.empty[row] == one.empty[0]
            empty += int(one.empty[0])
            for value in network.relu_inputs:
                found = cuts.boxes(value, state.boxes[value], None)
                part = cuts.boxes(value, state.boxes[value], columns)
                if not one.empty[0]:
                    assert all((a[row] == b[0]).all() for a, b in zip(found, one.boxes[value], strict=True))
                assert all((a[row] == b[row, columns]).all() for a, b in zip(part, found, strict=True))
                assert (found[0] <= found[1]).all()
    assert empty > 5


def test_a_multiplier_has_the_threshold_of_the_tightest_such_split_above_its_own_row(tools):
    network, _ = network_and_kernel(tools, 1)
    rng = np.random.default_rng(0)
    for _ in range(30):
        above = [random_splits(rng, network, 1, 6) for _ in range(4)]
        steps = []
        for path in above:
            named = [path[i][1:4] for i in rng.integers(0, len(path), 5)] if path else []
            steps.append(Bound(0, 1, (), -1, tuple((*split, float(rng.normal())) for split in named)))
        splits = Splits.of([(row, *split[1:]) for row, path in enumerate(above) for split in path])
        columns = Records.of([tc.Record((tc.Derivation(1, tuple(steps)),))]).columns
        slopes, pushes = duals(network, (), columns.steps, np.arange(4), splits, np.zeros(4, np.int64))
        expected = {}
        for row, (path, step) in enumerate(zip(above, steps, strict=True)):
            for value, index, side, m in step.multipliers:
                at = [split[4] for split in path if split[1:4] == (value, index, side)]
                key = row, value, index, side, max(at) if side > 0 else min(at)
                expected[key] = expected.get(key, 0.0) + max(m, 0.0)
        columns = pushes.row, pushes.value, pushes.entry, pushes.factor, pushes.at
        found = sorted(zip(*(c.tolist() for c in columns), strict=True))
        assert not slopes and (np.diff(pushes.row) >= 0).all()
        wanted = sorted((r, v, i, -side * m, at) for (r, v, i, side, at), m in expected.items())
        assert [(*f[:3], f[4]) for f in found] == [(*w[:3], w[4]) for w in wanted]
        assert np.allclose([f[3] for f in found], [w[3] for w in wanted], rtol=2.0**-50, atol=0)


@pytest.mark.parametrize("named", [(1, 0, 1), (1, 1, -1), (3, 0, -1)])
def test_a_multiplier_of_a_split_elsewhere_is_refused(tools, named):
    """On the other side, of another entry, of another value: and all of these are split above the other leaf."""
    network, kernel = network_and_kernel(tools, 1)
    first, second = network.relu_inputs
    assert (first, second) == (1, 3)
    builder = tc.TreeBuilder()
    low, high = builder.split_value([0], first, 0)
    for value, entry in ((first, 1), (second, 0)):
        builder.record(int(low[0]), tc.Record((), (Refutation(0, (), -1, ((first, 0, -1, 1.0),)),)))
        lower, high = builder.split_value(high, value, entry)
        builder.record(int(lower[0]), tc.Record((), (Refutation(0),)))
    builder.record(int(high[0]), tc.Record((), (Refutation(0),)))
    tc.replay(kernel, builder.build()[0])
    builder.record(int(low[0]), tc.Record((), (Refutation(0, (), -1, ((*named, 1.0),)),)))
    with pytest.raises(tc.CheckError, match="not on its path") as error:
        tc.replay(kernel, builder.build()[0])
    assert error.value.where == "node 1"
