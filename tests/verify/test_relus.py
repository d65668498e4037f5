"""Trees of relu splits: what waits for the replay is decided there; open nodes survive every move; parts of trees."""

from __future__ import annotations

import itertools
import pickle
from dataclasses import fields, replace

import numpy as np
import pytest

import torchlean_check as tc
from torchlean.verify import Status, choice, relus, verify_files
from torchlean.verify.ascent import Best
from torchlean.verify.bounded import Bounded
from torchlean.verify.choice import BALANCE, worth
from torchlean.verify.dual import Neurons
from torchlean.verify.maps import Engine, NumpyMaps, TorchMaps
from torchlean.verify.nodes import Nodes, Queue
from torchlean.verify.refuter import Refuter
from torchlean.verify.relus import Relus
from torchlean.verify.tables import multipliers, units
from torchlean_check.onnx_reader import read_network
from torchlean_check.packed import Records
from torchlean_check.parallel import below, subtrees
from torchlean_check.pushes import Splits
from torchlean_check.records import RECORD, SPLIT
from torchlean_check.tree import Front, Plan, run


def claim_of(mlp, files, seed, factor, sizes=(24, 14, 14, 1)):
    """A true claim: the output stays below a factor of the greatest value that corners reach."""
    weights, model = mlp(sizes, seed)
    x = np.random.default_rng(0).choice([-0.5, 0.5], (40_000, sizes[0]))
    for k, (w, b) in enumerate(weights):
        x = x @ w.T + b if k == 0 else np.maximum(x, 0) @ w.T + b
    top = f"{factor * x.max():.4f}"
    return model, files[1](["-0.5"] * sizes[0], ["0.5"] * sizes[0], 1, [f"(assert (>= Y_0 {top}))"])


def trees_alone(monkeypatch):
    """Clause by clause from the start, a tree at once, and no box is tightened."""
    monkeypatch.setattr("torchlean.verify.neurons.SMALL", 0)
    monkeypatch.setattr("torchlean.verify.neurons.LEAVES", (1,))
    monkeypatch.setattr("torchlean.verify.advance.NEAR", 1e9)
    monkeypatch.setattr("torchlean.verify.tighten.Tightening.cycle", lambda *_: None)


def test_what_the_search_trusted_wrongly_is_searched_again(mlp, files, monkeypatch) -> None:
    """Every third refutation that waits for the replay loses its multipliers: the replay sees it, and mends it."""
    refute, agreed, own, seen, spoiled = Refuter.refute, Refuter._agreed, Refuter._multipliers, [], []

    def sees(self, found, items):
        seen.extend(items)
        return agreed(self, found, items)

    def spoils(self, found, items):
        splits, waiting = own(self, found, items), np.flatnonzero(~np.isin(items, seen))[::3]
        spoiled.extend(waiting)
        lost = np.isin(splits.row, waiting)
        return Splits(*(getattr(splits, f.name)[~lost] for f in fields(Splits)))

    monkeypatch.setattr(Refuter, "refute", lambda *a, **k: seen.clear() or refute(*a, **k))
    monkeypatch.setattr(Refuter, "_agreed", sees)
    monkeypatch.setattr(Refuter, "_multipliers", spoils)
    monkeypatch.setattr("torchlean.verify.advance.NEAR", 1e9)
    monkeypatch.setattr("torchlean.verify.neurons.LEAVES", (1,))
    monkeypatch.setattr("torchlean.verify.tighten.Tightening.cycle", lambda *_: None)
    kernel = tc.Kernel.__init__

    def small_chunks(self, *a, **k):
        kernel(self, *a, **k)
        self.chunk = 2

    monkeypatch.setattr(tc.Kernel, "__init__", small_chunks)
    model, claim = claim_of(mlp, files, 1, 1.15)
    verdict = verify_files(model, claim, 60.0, strategy="neurons")
    assert verdict.status.value == "unsat" and len(spoiled) > 3
    assert tc.check(model, claim, verdict.certificate).status == "valid"


def test_a_tree_that_is_given_up_after_it_went_over_to_torch(mlp, files, monkeypatch) -> None:
    """What was bounded before it, in numpy's arrays, is bounded again in torch's, and split."""
    given_up = []

    def goes_over(self, builder, nodes, seconds, most):
        given_up.append(self.engine.move(np.inf))
        self.take_maps()
        return nodes.put(self.maps.put) if given_up[-1] else nodes

    monkeypatch.setattr(Relus, "grow", goes_over)
    trees_alone(monkeypatch)
    model, claim = claim_of(mlp, files, 1, 1.3)
    verdict = verify_files(model, claim, 300.0, strategy="neurons")
    assert verdict.status.value == "unsat" and given_up[0]
    assert tc.check(model, claim, verdict.certificate).status == "valid"


def test_the_kernel_is_asked_of_some_batches_and_of_each_since_it_disagreed(mlp, files, monkeypatch) -> None:
    refute, agreed, said, log = Refuter.refute, Refuter._agreed, [], []

    def disagrees(self, found, items):
        own = agreed(self, found, items)
        said.append(len(items) if len(log) % 5 else 0)  # to the last part, which is all there is
        return own if said[-1] else items[:0]

    def seen(self, found, trust=None, ask=True):
        said.clear()
        closed = refute(self, found, trust, ask)
        log.append((ask or trust is False, int((found.value > self.target).sum()), list(said), len(closed[0])))
        return closed

    monkeypatch.setattr(Refuter, "_agreed", disagrees)
    monkeypatch.setattr(Refuter, "refute", seen)
    monkeypatch.setattr(Engine, "batch", lambda *_: 8)
    trees_alone(monkeypatch)
    model, claim = claim_of(mlp, files, 1, 1.2)
    verdict = verify_files(model, claim, 300.0, strategy="neurons")
    assert verdict.status.value == "unsat"
    assert tc.check(model, claim, verdict.certificate).status == "valid"
    sure = False
    for ask, closing, asked, closed in log:
        assert bool(asked) == bool(closing and (ask or not sure)) and closed == (sum(asked) if asked else closing)
        sure = asked[-1] > 0 if asked else sure and not ask
    kinds = {(ask, bool(asked)) for ask, closing, asked, _ in log if closing}
    assert kinds == {(True, True), (False, True), (False, False)}


def test_nodes_share_their_slopes_until_they_have_their_own(mlp, files, monkeypatch) -> None:
    """Between the levels where slopes are optimised, a table holds those of many leaves; the checker agrees."""
    held, renewed, own = [], [], Relus.bound

    def bound(self, nodes, steps, hold=False):
        found = own(self, nodes, steps, hold)
        if hold:
            last = found.own  # no split was left to gain by
            same = np.asarray(found.best.alpha == nodes.alpha).all(axis=1)
            assert same[~last].all()
            held.append(len(nodes) - int(last.sum()))
        elif nodes.depth.any():
            renewed.extend(nodes.depth.tolist())
        return found

    places = Refuter._places

    def named(self, found, items):
        out = places(self, found, items)
        upper, alpha = (found.maps.get(a)[items] for a in (found.best.upper, found.best.alpha))
        read = np.concatenate([upper, -upper[:, self._neurons.below_planes]], axis=1) > 0
        slopes = np.where(read | ~found.own[items][:, None], units(np, alpha), 0)
        assert all((self.problem.files.tables[p].slopes == s).all() for p, s in zip(out.tolist(), slopes, strict=True))
        return out

    monkeypatch.setattr(Relus, "bound", bound)
    monkeypatch.setattr(Refuter, "_places", named)
    monkeypatch.setattr("torchlean.verify.relus.LEVELS", 4)
    trees_alone(monkeypatch)
    model, claim = claim_of(mlp, files, 1, 1.15)
    verdict = verify_files(model, claim, 300.0, strategy="neurons")
    assert verdict.status.value == "unsat" and sum(held) > 100
    assert 4 in renewed and all(depth % 4 == 0 for depth in renewed)
    assert tc.check(model, claim, verdict.certificate).status == "valid"
    certificate = tc.decode(verdict.certificate)
    refutations = [r for tree in certificate.trees for record in tree.records for r in record.refutations]
    tables = {r.table for r in refutations}
    assert 2 < len(tables) < len(refutations) / 2


def test_few_neurons_are_tried_and_the_best_is_nearly_always_among_them(mlp, files, monkeypatch) -> None:
    """What is split is what would be if all were tried; of the few, none is stable or split already."""
    own, same = choice.choose, []

    def choose(self, found, items, cost):
        chosen = own(self, found, items, cost)
        if len(items):
            side = np.asarray(self.maps.get(found.nodes.side))[items, chosen]
            assert (side == 0).all() and (self.neurons.lo[chosen] < 0).all() and (self.neurons.hi[chosen] > 0).all()
            with monkeypatch.context() as setting:
                setting.setattr("torchlean.verify.choice.CANDIDATES", len(self.neurons))
                same.extend((own(self, found, items, cost) == chosen).tolist())
        return chosen

    monkeypatch.setattr(relus, "choose", choose)
    trees_alone(monkeypatch)
    for seed in (1, 3, 4):
        model, claim = claim_of(mlp, files, seed, 1.3)
        assert verify_files(model, claim, 300.0, strategy="neurons").status.value == "unsat"
    assert len(same) > 100 and np.mean(same) > 0.98


@pytest.mark.parametrize("seed", [5, 8])
def test_a_bound_that_uses_no_chord_is_optimised_and_not_split(seed, mlp, files, monkeypatch) -> None:
    """No split can help it: the neurons that are split have chords in use."""
    own, upper = choice.choose, []

    def choose(self, found, items, cost):
        chosen = own(self, found, items, cost)
        upper.extend(np.asarray(self.maps.get(found.best.upper))[items, chosen].tolist())
        return chosen

    monkeypatch.setattr(relus, "choose", choose)
    trees_alone(monkeypatch)
    model, claim = claim_of(mlp, files, seed, 1.3)
    verdict = verify_files(model, claim, 300.0, strategy="neurons")
    assert verdict.status.value == "unsat" and len(upper) > 100 and (np.array(upper) < 0).all()
    assert tc.check(model, claim, verdict.certificate).status == "valid"


def test_splits_are_ranked_by_the_trees_that_they_would_make() -> None:
    """Against the growth of a tree whose splits all gain as much, by bisection: the law of `worth`'s docstring."""
    high = 1.0
    for low in (1.0, 0.6, 0.3, 0.1, 0.03, 0.01):
        least, most = 0.0, 1000.0
        for _ in range(100):
            y = 0.5 * (least + most)
            least, most = (y, most) if np.exp(-y * low) + np.exp(-y * high) > 1 else (least, y)
        alike = np.log(2) / y  # what both sides of an even split gain whose tree grows as much
        assert (worth(low, high) / worth(alike, alike)) ** (1 / BALANCE) == pytest.approx(1, abs=0.03)
        assert worth(low, high) == worth(high, low) < worth(1.01 * low, high)


def test_what_a_tree_closed_before_it_was_given_up_is_kept(mlp, files, monkeypatch) -> None:
    """What is left is searched as cases of their own, and the whole is a proof."""
    cuts, own = [], tc.TreeBuilder.cut

    def seen(self, root, leaves, most):
        left = own(self, root, leaves, most)
        cuts.append((len(self), left))
        return left

    monkeypatch.setattr(tc.TreeBuilder, "cut", seen)
    monkeypatch.setattr("torchlean.verify.relus.TRIAL", 8)
    monkeypatch.setattr("torchlean.verify.relus._given_up", lambda used, closed: closed > 0.6)
    trees_alone(monkeypatch)
    monkeypatch.setattr("torchlean.verify.forest.REST", 4)
    monkeypatch.setattr(Engine, "batch", lambda *_: 4)
    model, claim = claim_of(mlp, files, 1, 1.3)
    verdict = verify_files(model, claim, 300.0, strategy="neurons")
    assert verdict.status.value == "unsat"
    assert tc.check(model, claim, verdict.certificate).status == "valid"
    assert sum(bool(left) for _, left in cuts) >= 1 and all(len(left) <= 4 for _, left in cuts)


@pytest.mark.parametrize("place", [(Relus, "_beyond"), (relus, "costs")])
def test_a_node_that_no_split_helps_is_a_case_of_its_own(mlp, files, monkeypatch, place) -> None:
    """The boxes that its tree has may be at fault: neither the tree nor float32 is given up for it."""
    own, halves, refused = getattr(*place), Relus._halves, []
    depth = [np.zeros(0, np.int64)]

    def seen(self, builder, found, items):
        depth[0] = found.nodes.depth[items]
        return halves(self, builder, found, items)

    def helps(*given):
        told, deep = own(*given), np.flatnonzero(depth[0] == 2)
        lost = told[1] if isinstance(told, tuple) else told
        if not refused and len(deep):
            refused.append(len(depth[0]))
            lost[deep[0]] = True
        return told

    monkeypatch.setattr(Relus, "_halves", seen)
    monkeypatch.setattr(*place, helps)
    trees_alone(monkeypatch)
    model, claim = claim_of(mlp, files, 1, 1.3)
    verdict = verify_files(model, claim, 300.0, strategy="neurons")
    assert refused and (verdict.status.value, verdict.semantics) == ("unsat", "float32")
    assert tc.check(model, claim, verdict.certificate).status == "valid"


def test_a_tree_in_several_processes_is_the_tree_in_one(mlp, files) -> None:
    """Each process gets the records and tables of its own share alone."""
    model, claim = claim_of(mlp, files, 1, 1.12)
    verdict = verify_files(model, claim, 60.0, strategy="neurons")
    certificate = tc.format.decode(verdict.certificate)
    network, (region,) = tc.load(model, claim)
    kernel = tc.Kernel(network, region, root=certificate.root)
    plan = Plan(certificate.trees[0], kernel, certificate.tables)
    assert (plan.tree.op & RECORD).any()
    alone = run(plan, Front(np.zeros(1, np.int64), kernel.start()), 0.0, None, False)
    assert alone.failed is None
    much = subtrees(plan) > len(plan.kind) // 8
    first = run(plan, Front(np.zeros(1, np.int64), kernel.start()), 0.0, None, False, only=much)
    assert len(first.failed.nodes) > 3
    leaves = first.leaves
    for i in range(len(first.failed.nodes)):
        front = Front(first.failed.nodes[[i]], first.failed.state.take([i]))
        part = below(plan, front.nodes)
        assert part.kind is plan.kind and len(part.tables) < len(plan.tables)
        sent = pickle.loads(pickle.dumps(part.tables))  # as a process gets them
        assert list(sent) == list(part.tables)
        for i, table in sent.items():
            whole = plan.tables[i]
            assert np.array_equal(table.slopes, whole.slopes) and list(table.entries) == list(whole.entries)
            assert all(np.array_equal(mine, whole.entries[k]) for k, mine in table.entries.items())
        done = run(part, front, 0.0, None, False)
        assert done.failed is None
        leaves += done.leaves
    assert leaves == alone.leaves


def some_nodes(rng, count, first=0):
    side, alpha, beta = (rng.standard_normal((count, 5)).astype(np.float32).astype(np.float64) for _ in range(3))
    number = first + np.arange(count)
    return Nodes(number, number % 3, number % 2, number % 7, number % 5, side, alpha, beta)


@pytest.mark.parametrize("memory", [1, 1 << 35])
def test_a_queue_gives_back_what_was_pushed(memory, mlp) -> None:
    """Also what waited on the host, and what changed its arrays in between."""
    _, model = mlp((3, 4, 2), 0)
    network = read_network(model)
    rng, maps = np.random.default_rng(0), NumpyMaps(network)
    maps.memory = memory
    parts = [some_nodes(rng, n, 100 * n) for n in (4, 7, 1, 6)]
    whole = Nodes.join(parts, np)
    queue = Queue(parts[0], maps)
    assert len(queue) == 4 and queue.closed() == 0
    taken = [queue.pop(1)]
    assert taken[0].home.tolist() == [1]  # of the last home, which begins alone
    for part in parts[1:]:
        queue.push(part)
    assert len(queue) == 17
    taken.append(queue.pop(5))
    torch = TorchMaps(network, "cpu")
    queue.move(torch)
    while len(queue) > 3:
        taken.append(queue.pop(4).put(torch.get))
    taken.append(queue.all().put(torch.get))
    number = np.concatenate([t.number for t in taken])
    order = np.argsort(number)
    assert number[order].tolist() == np.sort(whole.number).tolist()
    for name in ("clause", "home", "depth", "side", "alpha", "beta"):
        found = np.concatenate([np.asarray(getattr(t, name)) for t in taken])[order]
        assert np.array_equal(found, getattr(whole, name)[np.argsort(whole.number)])


def test_items_of_several_batches_are_joined_in_their_order(mlp) -> None:
    """Also of batches in other arrays."""
    _, model = mlp((3, 4, 2), 0)
    network, rng = read_network(model), np.random.default_rng(0)
    kinds = NumpyMaps(network), TorchMaps(network, "cpu")

    def some(count, maps, weights):
        nodes, put = some_nodes(rng, count, 100 * count).put(maps.put), maps.put
        rows = [put(rng.standard_normal((count, *more))) for more in ((), (), (5,), (5,), (3,), (5,), (5,), (2,))]
        rows[4] = rows[4] if weights else None
        own = rng.random(count) < 0.5
        value, charge, cost = rng.standard_normal((3, count))
        return Bounded(nodes, rng.integers(0, 9, count), Best(*rows), value, own, charge, cost, maps)

    for weights, of in itertools.product((False, True), ((0, 0), (0, 1))):
        batches = [some(4, kinds[of[0]], weights), some(6, kinds[of[1]], weights)]
        parts = [(batches[b], j) for b, j in ((1, 5), (0, 3), (0, 0), (0, 2), (1, 2), (0, 1))]
        for wanted in ([parts[1]], parts[1:3], parts):
            whole = Bounded.join(wanted, kinds[0])
            assert len(whole.nodes) == len(wanted) and whole.maps is kinds[0]
            for i, (found, j) in enumerate(wanted):
                for name in ("number", "clause", "home", "depth", "source", "side", "alpha", "beta"):
                    ours, theirs = getattr(whole.nodes, name)[i], np.asarray(getattr(found.nodes, name)[j])
                    assert np.allclose(ours, theirs, rtol=1e-6)
                for name in ("row", "value", "own", "charge", "cost"):
                    assert getattr(whole, name)[i] == getattr(found, name)[j]
                for field in fields(Best):
                    ours, theirs = getattr(whole.best, field.name), getattr(found.best, field.name)
                    assert (ours is None) == (theirs is None)
                    assert ours is None or np.allclose(ours[i], np.asarray(theirs[j]), rtol=1e-6)


def test_trees_begin_one_after_the_other(mlp) -> None:
    """As long as few nodes wait, a home joins with each batch; what waits of the last is visited first."""
    _, model = mlp((3, 4, 2), 0)
    maps = NumpyMaps(read_network(model))
    nodes = some_nodes(np.random.default_rng(0), 6)
    queue = Queue(replace(nodes, home=np.array([0, 1, 2, 0, 1, 2])), maps)
    assert queue.pop(64).home.tolist() == [2, 2]
    queue.push(replace(nodes, home=np.full(6, 2)))
    assert queue.pop(4).home.tolist() == [2, 2, 2, 2]
    assert sorted(queue.pop(64).home.tolist()) == [1, 1, 2, 2]
    assert queue.pop(64).home.tolist() == [0, 0] and not len(queue) and queue.closed() == 1



def test_records_that_come_as_words_are_records() -> None:
    """One by one or many at once; what is forgotten is gone, and what is grafted keeps its own."""
    many = [tc.Record((), (tc.Refutation(k, (), k, ((1, k, 1, 0.5 * k),)),)) for k in range(3)]
    builder, other = tc.TreeBuilder(), tc.TreeBuilder()
    (low,), (high,) = builder.split_value([0], 3, 4, 0.0)
    ids = np.concatenate(other.split_value(np.concatenate(other.split_value([0], 1, 2, 0.0)), [5, 5], [6, 7], 0.0))
    other.record_all(ids[[3, 0, 1]], Records.of(many))
    other.record(int(ids[2]), tc.Record())
    other.forget(int(ids[1]))
    builder.record_all([low], Records.of(many[:1]))
    builder.graft(int(high), other)
    tree, position = builder.build()
    assert tree.records == [many[0], many[1], tc.Record(), many[0]]
    assert ((tree.op & RECORD) > 0).tolist() == [n in (position[low], 5, 6, 8) for n in range(9)]


def test_part_of_a_tree_is_grafted(mlp, files) -> None:
    """A subtree keeps its splits, thresholds and records; what stands beside it stays behind."""
    other = tc.TreeBuilder()
    (a,), (b,) = other.split_clause([0], [1])
    _, (d,) = other.split_value([b], 3, 4, 0.5)
    (e,), _ = other.split_value([a], 1, 2, 0.25)
    _, (h,) = other.split_value([e], 5, 6, 0.125)
    record = tc.Record((), (tc.Refutation(0),))
    other.record(h, record)
    other.record(d, tc.Record((), (tc.Refutation(1),)))
    builder = tc.TreeBuilder()
    (low,), (high,) = builder.split_value([0], 7, 8, 0.0)
    builder.graft(int(high), other, int(a))
    tree, _ = builder.build()
    assert tree.value.tolist() == [7, 1, 5] and tree.index.tolist() == [8, 2, 6]
    assert tree.value_at.tolist() == [0.0, 0.25, 0.125] and tree.records == (record,)
    assert ((tree.op & 15) >= SPLIT).sum() == 3 and len(tree.op) == 7
    with pytest.raises(ValueError, match="on a leaf"):
        builder.graft(0, other, int(b))
    with pytest.raises(ValueError, match="no record"):
        builder.graft(int(low), other, int(d))


def test_a_tree_is_cut_back_to_few_open_leaves() -> None:
    """Each with the splits above it; a tree that is mostly open stays as it is."""
    builder = tc.TreeBuilder()
    low, high = (int(n[0]) for n in builder.split_value(0, 3, 7))
    a, b = (int(n[0]) for n in builder.split_value(high, 3, 5))
    c, d = (int(n[0]) for n in builder.split_value(a, 5, 1))
    e, _ = (int(n[0]) for n in builder.split_value(d, 5, 2))
    size = len(builder.build()[0].op)
    assert builder.cut(0, np.array([low, c]), 2) == {}
    assert builder.cut(0, np.array([c, e]), 2) == {
        c: ((3, 7, 1), (3, 5, -1), (5, 1, -1)),
        e: ((3, 7, 1), (3, 5, -1), (5, 1, 1), (5, 2, -1)),
    }
    assert len(builder.build()[0].op) == size
    assert builder.cut(high, np.array([c, e]), 1) == {a: ((3, 5, -1),)}
    assert sorted(builder.build()[1][[0, low, high, a, b]].tolist()) == [0, 1, 2, 3, 4]
    assert len(builder.build()[0].op) == 5


def test_the_deepest_leaves_give_way_to_their_parents_until_few_are_left() -> None:
    """The rule in words, on trees at random; nothing changes where the rest would be most of the tree."""
    rng, kinds = np.random.default_rng(0), set()
    for _ in range(60):
        builder, parent, leaves = tc.TreeBuilder(), {}, [0]
        for _ in range(rng.integers(1, 40)):
            node = leaves.pop(rng.integers(len(leaves)))
            for child in builder.split_value(node, 3, int(rng.integers(9))):
                parent[int(child[0])] = node
                leaves.append(int(child[0]))

        def depth(node, parent=parent):
            return 0 if node not in parent else 1 + depth(parent[node])

        some, most = rng.choice(leaves, rng.integers(1, len(leaves) + 1), replace=False), int(rng.integers(1, 8))
        kept = set(some.tolist())
        while len(kept) > most:
            deepest = max(map(depth, kept))
            kept = {parent[node] if depth(node) == deepest else node for node in kept}
        expected = kept if sum(0.5 ** depth(node) for node in kept) <= 0.5 else set()
        assert set(builder.cut(0, np.sort(some), most)) == expected
        kinds.add((bool(expected), kept <= set(some.tolist())))
    assert len(kinds) == 4


def test_a_multiplier_without_a_split_is_none_whatever_it_is(mlp) -> None:
    """Also where it is no number: a search may have failed there."""
    network = read_network(mlp((3, 4, 2), 0)[1])
    value = next(iter(network.relu_inputs))
    neurons = Neurons.of({value: (np.full(4, -1.0), np.full(4, 1.0))})
    side, beta = np.array([[0.0, 1.0, -1.0, 0.0]]), np.array([[np.nan, 0.5, 0.0, np.inf]])
    for maps in (NumpyMaps(network), TorchMaps(network, "cpu")):
        found = multipliers(neurons, maps, maps.put(side), maps.put(beta))
        assert [getattr(found, f.name).tolist() for f in fields(Splits)] == [[0], [value], [1], [1], [0.5]]


@pytest.mark.parametrize("semantics", ["float32", "real"])
def test_a_network_without_unstable_neurons_ends_with_an_answer(files, semantics) -> None:
    """No split helps a bound that lacks less than the search's own rounding, and that is no error."""
    model = files[0]([(np.ones((3, 70)), np.full(3, 10.0)), (np.ones((1, 3)), np.zeros(1))])
    claim = files[1](["0.0"] * 70, ["1.0"] * 70, 1, ["(assert (<= Y_0 29.999999999))"])
    verdict = verify_files(model, claim, 60.0, semantics=semantics, strategy="neurons")
    assert verdict.status is Status.UNKNOWN and verdict.reason.startswith("every relu that matters is decided")
