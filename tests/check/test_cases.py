"""Bounds that are the least over cases of their own: no execution lies outside; what is no tree is refused."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

import torchlean_check as tc
from torchlean_check import cases
from torchlean_check.records import Bound, Derivation, Record

A, B, C = (2, 0), (2, 1), (2, 3)


def random_cases(rng, names, depth):
    """A tree in preorder."""
    if depth == 0 or rng.random() < 0.01:
        return (None,)
    name = names[rng.integers(len(names))]
    return (name, *random_cases(rng, names, depth - 1), *random_cases(rng, names, depth - 1))


def unstable(state, values):
    return [
        (v, int(i)) for v in values for i in np.flatnonzero((state.boxes[v][0][0] < 0) & (state.boxes[v][1][0] > 0))
    ]


def paths(tree):
    """The splits above each leaf, read node by node; None for what is no full binary tree."""
    found, waiting = [], [()]
    for case in tree or (None,):
        if not waiting:
            return None
        path = waiting.pop()
        if case is None:
            found.append(path)
        else:
            waiting += [(*path, (*case, 1)), (*path, (*case, -1))]
    return None if waiting else found


def accepted(trees):
    """The sizes of trees that were checked."""
    cases.check(trees.words >= 0, trees.sizes)
    return trees.leaves.tolist()


def test_leaves_are_the_paths_of_preorder_trees():
    assert paths((A, None, B, None, None)) == [((2, 0, -1),), ((2, 0, 1), (2, 1, -1)), ((2, 0, 1), (2, 1, 1))]
    rng = np.random.default_rng(0)
    for _ in range(60):
        trees = [random_cases(rng, [A, B, C, (5, 1)], int(rng.integers(6))) for _ in range(rng.integers(1, 6))]
        trees[rng.integers(len(trees))] = ()
        of, splits = cases.Trees.of(trees).rows()
        expected = [(bound, path) for bound, tree in enumerate(trees) for path in paths(tree)]
        assert of.tolist() == [bound for bound, _ in expected] and not splits.at.any()
        assert (np.diff(splits.row) >= 0).all()
        found = [[] for _ in expected]
        for row, *split in np.stack([splits.row, splits.value, splits.entry, splits.side], axis=1).tolist():
            found[row].append(tuple(split))
        assert [sorted(path) for _, path in expected] == [sorted(path) for path in found]
        for part in cases.shares(cases.Trees.of(trees), 3):
            some = cases.Trees.of(trees).take(part)
            assert some.rows()[0].tolist() == [bound - part.start for bound, _ in expected
                                               if part.start <= bound < part.stop]  # fmt: skip
        assert accepted(cases.Trees.of(trees)) == [len(paths(tree)) for tree in trees]


@pytest.mark.parametrize(
    "wrong",
    [
        (A,),
        (A, None),
        (None, None),
        (A, None, None, None),
        (None, A, None, None),
        (A, B, None, None),
        (A, None, B, None),
    ],
)
def test_what_is_no_full_binary_tree_is_refused(wrong):
    assert paths(wrong) is None
    for trees in ([wrong], [(A, None, None), wrong]):
        with pytest.raises(tc.CheckError, match="full binary tree"):
            accepted(cases.Trees.of(trees))


def test_too_many_leaves_are_refused():
    comb = (*[A, None] * (cases.MOST - 1), None)
    assert accepted(cases.Trees.of([comb])) == [cases.MOST]
    with pytest.raises(tc.CheckError, match="too many"):
        accepted(cases.Trees.of([(A, None, *comb)]))


@pytest.mark.parametrize("semantics", ["float32", "real"])
@pytest.mark.parametrize("arithmetic", ["rounded", "exact"])
def test_no_execution_is_outside_of_a_bound_over_cases(tools, semantics, arithmetic):
    """Random trees of splits, slopes and clause weights on random networks, against executions in random orders."""
    narrower = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        model = tools.mlp_bytes([3, 8, 8, 8, 2], seed=seed, scale=2.0)
        claim = tools.property_text(3, 2, ["(assert (>= Y_0 0.5))"])
        network, (region,) = tc.load(model, claim)
        kernel = tc.Kernel(network, region, semantics, arithmetic)
        first, second, third = network.relu_inputs
        plain, forked = kernel.start(), kernel.start()
        names = unstable(plain, (first, second))
        slopes = {v: rng.random((1, 8)) for v in (first, second)} if seed % 2 else None
        asked = [(i, side, ()) for i in range(8) for side in (1, -1)]
        kernel.derive_at(plain, third, asked, slopes)
        for depth in (1, 2, 4):
            trees = [random_cases(rng, names, depth) for _ in asked]
            kernel.derive_at(forked, third, asked, slopes, trees=cases.Trees.of(trees))
        before, (lo, hi) = plain.boxes[third], (end[0] for end in forked.boxes[third])
        narrower += int((lo > before[0][0]).sum() + (hi < before[1][0]).sum())
        for _ in range(60 if semantics == "real" else 400):
            x = rng.choice([-1.0, 1.0], 3) if rng.random() < 0.5 else rng.uniform(-1, 1, 3).astype(np.float32)
            run = tools.exact_run(network, x.tolist()) if semantics == "real" else tools.float32_run(network, x, rng)
            z = [Fraction(v) if semantics == "real" else Fraction(float(v)) for v in run[third]]
            assert all(Fraction(a) <= v <= Fraction(b) for a, v, b in zip(lo.tolist(), z, hi.tolist(), strict=True))
        assert not forked.empty.any()
    assert narrower > 10


def test_a_clause_joins_the_bound_in_every_case(tools):
    """Only executions that violate the clause need to be inside."""
    rng = np.random.default_rng(0)
    model = tools.mlp_bytes([3, 8, 8, 8, 2], seed=1, scale=2.0)
    points = [rng.choice([-1.0, 1.0], 3) * rng.random(3).astype(np.float32) ** 0.2 for _ in range(3000)]
    network, _ = tc.load(model, tools.property_text(3, 2, ["(assert (>= Y_0 0.0))"]))
    runs = [tools.float32_run(network, x, rng) for x in points]
    top = float(np.quantile([run[-1][0] for run in runs], 0.98))
    network, (region,) = tc.load(model, tools.property_text(3, 2, [f"(assert (>= Y_0 {top:.4f}))"]))
    kernel, state = tc.Kernel(network, region), tc.Kernel(network, region).start()
    first, second, third = network.relu_inputs
    before = tuple(end.copy() for end in state.boxes[third])
    for weight in (0.1, 0.5, 2.0):
        asked = [(i, side, ((0, weight),)) for i in range(8) for side in (1, -1)]
        trees = [random_cases(rng, unstable(state, (first, second)), 4) for _ in asked]
        kernel.derive_at(state, third, asked, None, clause=0, trees=cases.Trees.of(trees))
    lo, hi = (end[0] for end in state.boxes[third])
    assert (lo > before[0][0]).any() or (hi < before[1][0]).any()
    seen = 0
    for values in runs:
        if values[-1][0] >= top + 1e-4:
            seen += 1
            assert (values[third] >= lo).all() and (values[third] <= hi).all()
    assert seen > 10


def test_cases_that_contradict_the_boxes_hold_no_execution(tools):
    """A stable neuron leaves one live case; where no case is live the state is empty, which a split may cause."""
    model = tools.mlp_bytes([3, 8, 8, 2], seed=0, scale=2.0)
    network, (region,) = tc.load(model, tools.property_text(3, 2, ["(assert (>= Y_0 50.0))"], "0.1", "0.3"))
    kernel = tc.Kernel(network, region)
    first, second = network.relu_inputs
    state = kernel.start()
    stable = int(np.argmax(state.boxes[first][0][0]))
    assert state.boxes[first][0][0, stable] > 0
    asked = [(0, 1, ()), (0, -1, ())]
    alone = kernel.start()
    kernel.derive_at(alone, second, asked)
    kernel.derive_at(state, second, asked, trees=cases.Trees.of([((first, stable), None, None)] * 2))
    assert all(np.array_equal(a, b) for a, b in zip(state.boxes[second], alone.boxes[second], strict=True))
    low, _ = kernel.split_value(kernel.start(), first, stable, 0.0)
    kernel.derive_at(low, second, asked, trees=cases.Trees.of([((second, 0), None, None)] * 2))
    assert low.empty.all() and all(np.isfinite(end).all() for end in low.boxes[second])


def test_cases_are_encoded_and_a_certificate_that_needs_them_is_valid(small):
    network, _ = tc.load(small.model, small.claim)
    first, second = network.relu_inputs
    tree = ((first, 0), (first, 1), None, None, None)
    record = Record((Derivation(second, (Bound(0, 1, (), -1, (), tree), Bound(1, -1))),), ())
    builder = tc.TreeBuilder()
    builder.record(0, record)
    certificate = replace(small.certificate, trees=(builder.build()[0],))
    again = tc.format.decode(tc.encode(certificate))
    assert again.trees[0].records == (record,) and tc.encode(again) == tc.encode(certificate)
    assert tc.check(small.model, small.claim, tc.encode(certificate)).status == "invalid"  # it proves too little, only
    for wrong in (
        tree[:-1],
        (*tree, None),
        ((first, 99), None, None),
        ((99, 0), None, None),
        ((1 << 30, 0), None, None),
    ):
        bad = Record((Derivation(second, (Bound(0, 1, (), -1, (), wrong),)),), ())
        builder.record(0, bad)
        with pytest.raises(tc.CheckError):
            tc.check(small.model, small.claim, tc.encode(replace(certificate, trees=(builder.build()[0],))))


def test_several_processes_find_the_same_bounds(tools, monkeypatch):
    """With slopes, multipliers and clause weights of each bound, but for sums in another order."""
    rng = np.random.default_rng(0)
    model = tools.mlp_bytes([3, 8, 8, 8, 2], seed=1, scale=2.0)
    network, (region,) = tc.load(model, tools.property_text(3, 2, ["(assert (>= Y_0 0.5))"]))
    first, second, third = network.relu_inputs
    asked = [(i, side, ((0, float(rng.random())),)) for i in range(8) for side in (1, -1)]
    names = unstable(tc.Kernel(network, region).start(), (first, second))
    trees = cases.Trees.of([random_cases(rng, names, 3) for _ in asked])
    slopes = {v: rng.random((len(asked), 8)) for v in (first, second)}
    push = tc.Pushes.split([(j, *names[j % len(names)], 1, 0.0, 0.01) for j in range(len(asked))])
    found = []
    for threads in (1, 3):
        kernel = tc.Kernel(network, region)
        kernel.threads = threads
        monkeypatch.setattr(cases, "MUCH", 0)
        for clause in (None, 0):
            state = kernel.start()
            kernel.derive_at(state, third, asked, slopes, push, clause, trees)
            found.append(state.boxes[third])
    for one, other in zip(found[:2], found[2:], strict=True):
        assert all(np.allclose(a, b, rtol=1e-9, atol=0.0) for a, b in zip(one, other, strict=True))
    assert not np.array_equal(found[0][0], found[1][0])
