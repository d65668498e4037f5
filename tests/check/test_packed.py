"""Records as words: what is packed comes back, and columns say what the records say."""

import pickle

import numpy as np
import pytest

import torchlean_check as tc
from torchlean_check import cases, fit, woven
from torchlean_check.errors import CheckError
from torchlean_check.packed import Records, columns, read
from torchlean_check.pushes import Splits
from torchlean_check.records import Bound, Derivation, Record, Refutation


def random_tree(rng, splits):
    """Cases in preorder."""
    if not splits:
        return (None,)
    low = int(rng.integers(splits))
    return ((int(rng.integers(9)), int(rng.integers(1 << 32))), *random_tree(rng, low),
            *random_tree(rng, splits - 1 - low))  # fmt: skip


def random_records(rng, count):
    def duals():
        weights = tuple((int(i), float(rng.normal())) for i in range(rng.integers(3)))
        numbers = rng.choice([0.0, -0.0, np.inf, -1e300, 5e-324, 0.1], 4).tolist()
        named = [(int(rng.integers(1 << 40)), int(rng.integers(-3, 3)), int(rng.choice([-1, 1])), m) for m in numbers]
        return weights, int(rng.integers(-1, 1 << 32)), tuple(named[: rng.integers(5)])

    def bound():
        tree = random_tree(rng, int(rng.integers(4))) if rng.random() < 0.5 else ()
        return Bound(int(rng.integers(1 << 20)), int(rng.choice([-1, 1])), *duals(), tree)

    def derivation():
        bounds = tuple(bound() for _ in range(rng.integers(4)))
        return Derivation(int(rng.integers(9)), bounds or None, int(rng.integers(-1, 3)))

    return tuple(
        Record(
            tuple(derivation() for _ in range(rng.integers(3))),
            tuple(Refutation(int(rng.integers(3)), *duals()) for _ in range(rng.integers(3))),
        )
        for _ in range(count)
    )


@pytest.mark.parametrize("seed", range(30))
def test_what_is_packed_comes_back(seed):
    rng = np.random.default_rng(seed)
    records = random_records(rng, int(rng.integers(5)))
    packed = Records.of(records)
    assert Records.of(packed) is packed and packed == records and len(packed) == len(records)
    for again in (read(packed.words, len(records)), pickle.loads(pickle.dumps(packed))):
        assert again == records and (again.words == packed.words).all() and (again.starts == packed.starts).all()
    more = np.concatenate([packed.words, [7, 8]])
    assert read(more, len(records)) == records
    assert packed[-1:] == list(records[-1:])
    which = rng.random(len(records)) < 0.5
    kept = packed.kept(which)
    assert kept == [record if keep else Record() for record, keep in zip(records, which, strict=True)]
    assert (read(kept.words, len(records)).starts == kept.starts).all()


def columns_of(steps):
    """Their multipliers and weights as `woven` takes them."""
    splits = [(row, *m) for row, step in enumerate(steps) for m in step.multipliers]
    row, value, entry, side, at = (np.array(c) for c in zip(*splits, strict=True)) if splits else [np.zeros(0, int)] * 5
    weights = [weight for step in steps for weight in step.weights]
    which, weight = (np.array([w[k] for w in weights], kind) for k, kind in enumerate((np.int64, np.float64)))
    each = np.array([len(step.weights) for step in steps])
    return (each, which, weight), np.array([step.table for step in steps]), Splits(row, value, entry, side, at)


@pytest.mark.parametrize("seed", range(30))
def test_steps_made_of_columns_are_those_made_one_by_one(seed):
    """The same words, whether a derivation's bounds or a whole record came so, or neither."""
    rng = np.random.default_rng(seed)
    records = [record for record in random_records(rng, 12) if any(d.bounds for d in record.derivations)]
    mixed = []
    for record in records:
        derivations = []
        for d in record.derivations:
            made = d.bounds
            if d.bounds:
                nodes = [-1 if case is None else case[0] << 32 | case[1] for b in d.bounds for case in b.cases]
                sizes = np.array([len(b.cases) for b in d.bounds])
                entry, side = (np.array([getattr(b, name) for b in d.bounds]) for name in ("index", "side"))
                made = woven.bounds(entry, side, *columns_of(d.bounds), (sizes, np.array(nodes, np.int64)))
                assert made == d.bounds and pickle.loads(pickle.dumps(made)) == d.bounds
                assert made.part(slice(1, len(made))) == d.bounds[1:]
            derivations.append(Derivation(d.value, made, d.clause))
        mixed.append(Record(tuple(derivations), record.refutations))
    plain = Records.of(records)
    packed = Records.of([next(iter(Records.of([r]).each())) if n % 2 else r for n, r in enumerate(mixed)])
    assert (packed.words == plain.words).all() and (packed.starts == plain.starts).all()
    alone = [Refutation(r.clause, (), r.table, r.multipliers) for record in records for r in record.refutations]
    if alone:
        clause = np.array([r.clause for r in alone])
        assert woven.refutations(clause, *columns_of(alone)[1:]) == [Record((), (r,)) for r in alone]


@pytest.mark.parametrize("seed", range(30))
def test_columns_say_what_the_records_say(seed):
    rng = np.random.default_rng(seed)
    records = random_records(rng, int(rng.integers(1, 5)))
    c = Records.of(records).columns
    s = c.steps
    every = [(d, b) for r in records for d in r.derivations for b in d.bounds or ()]
    refutations = [(i, r) for i, record in enumerate(records) for r in record.refutations]
    steps = [*(b for _, b in every), *(r for _, r in refutations)]
    assert s.index.tolist() == [*(b.index for _, b in every), *(0 for _ in refutations)]
    assert s.side.tolist() == [*(b.side for _, b in every), *(0 for _ in refutations)]
    assert s.clause.tolist() == [*(d.clause for d, _ in every), *(r.clause for _, r in refutations)]
    assert s.table.tolist() == [step.table for step in steps]
    i = rng.permutation(len(steps))
    assert s.weighed(i) == [steps[k].weights for k in i]
    given = s.multipliers(i)
    found = zip(given.row, given.value, given.entry, given.side, given.at, strict=True)
    assert [tuple(f) for f in found] == [(n, *m) for n, k in enumerate(i) for m in steps[k].multipliers]
    bounds = rng.permutation(len(every))
    trees, expected = s.trees(bounds), cases.Trees.of([every[k][1].cases for k in bounds])
    assert (trees is None) == (not any(b.cases for _, b in every))
    if trees is not None:
        assert (trees.words.tolist(), trees.sizes.tolist()) == (expected.words.tolist(), expected.sizes.tolist())
    assert c.value.tolist() == [d.value for r in records for d in r.derivations]
    assert c.clause.tolist() == [d.clause for r in records for d in r.derivations]
    assert np.diff(c.bounds).tolist() == [len(d.bounds or ()) for r in records for d in r.derivations]
    assert np.diff(c.derivations).tolist() == [len(r.derivations) for r in records]
    chosen = rng.integers(len(records), size=4)
    row, step = c.refuting(chosen)
    expected = [(n, r) for n, k in enumerate(chosen) for at, r in refutations if at == k]
    assert [(n, steps[k]) for n, k in zip(row, step, strict=True)] == expected
    leaves = [sum(max(1, b.cases.count(None)) for d in r.derivations for b in d.bounds or ()) for r in records]
    assert c.rows().tolist() == [a + len(r.refutations) for a, r in zip(leaves, records, strict=True)]


def test_damaged_words_are_refused_or_read_as_something_else():
    """Never anything but records or a CheckError; words that are cut off are refused."""
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        records = random_records(rng, 3)
        words = Records.of(records).words.copy()
        cut = int(rng.integers(len(words)))
        with pytest.raises(CheckError, match="cut off"):
            columns(words[:cut], 3)
        words[rng.integers(len(words))] = rng.choice([-1, 1 << 62, -(1 << 62), 1 << 31, 3, 0])
        try:
            found = read(words, 3)
        except CheckError:
            refused += 1
            continue
        assert found.starts[-1] <= len(words) and len(list(found)) == 3
    assert refused > 20
    for count in (-1, (1 << 30) + 1):
        with pytest.raises(CheckError, match="out of range"):
            columns(np.array([0, count]), 1)


def fails(call, *given):
    try:
        call(*given)
    except CheckError:
        return True
    return False


def is_none(run):
    """Whether it is no full binary tree, read node by node."""
    waiting = 1
    for case in run:
        if waiting == 0:
            return True
        waiting += 1 if case is not None else -1
    return bool(run) and waiting > 0


def test_trees_of_cases_are_told_from_others():
    """The check of many at once agrees with the reading of each."""
    rng = np.random.default_rng(0)
    good = 0
    for _ in range(400):
        runs = []
        for _ in range(rng.integers(1, 5)):
            run = random_tree(rng, int(rng.integers(6))) if rng.random() < 0.8 else ()
            if run and rng.random() < 0.1:
                at = int(rng.integers(len(run)))
                other = [(), ((0, 0),), (run[at], None)][rng.integers(3)]
                run = (*run[:at], *other, *run[at + 1 :])
            runs.append(run)

        inner = np.array([case is not None for run in runs for case in run], np.bool_)
        sizes = np.array([len(run) for run in runs])
        one_by_one = any(is_none(run) for run in runs)
        assert fails(cases.check, inner, sizes) == one_by_one
        good += not one_by_one
    assert 50 < good < 350


@pytest.mark.parametrize("splits", [cases.MOST - 1, cases.MOST])
def test_cases_have_at_most_so_many_leaves(splits):
    tree = (*(((0, 0), None) * splits), None)
    inner = np.array([case is not None for case in tree])
    if splits < cases.MOST:
        cases.check(inner, np.array([len(tree)]))
    else:
        with pytest.raises(CheckError, match="full binary tree"):
            cases.check(inner, np.array([len(tree)]))


def test_what_does_not_exist_is_refused_wherever_it_stands(small):
    """Records are looked at before any is used, so those of nodes that are never reached count, too."""
    network, (region,) = tc.load(small.model, small.claim)
    tree, value = tc.TreeBuilder().build()[0], network.relu_inputs[0]

    def refuted(*multiplier):
        return Record((), (Refutation(0, (), -1, (multiplier,)),))

    fit.check(network, region, tree, Records.of([refuted(value, 0, 1, 0.5)]), ())
    alias = value - len(network.nodes) - 1
    for wrong in ((value, -1, 1, 0.5), (value, 10, 1, 0.5), (0, 0, 1, 0.5), (99, 0, 1, 0.5), (alias, 0, 1, 0.5),
                  (value, 0, 0, 0.5), (value, 0, 2, 0.5), (value, 0, 1, np.inf), (value, 0, 1, np.nan)):  # fmt: skip
        with pytest.raises(CheckError):
            fit.check(network, region, tree, Records.of([refuted(*wrong)]), ())
    for wrong in (((value, 0), None), ((value, 10), None, None), ((0, 0), None, None)):
        record = Record((Derivation(network.relu_inputs[1], (Bound(0, 1, (), -1, (), wrong),)),))
        with pytest.raises(CheckError):
            fit.check(network, region, tree, Records.of([record]), ())
