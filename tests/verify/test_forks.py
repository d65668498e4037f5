"""Small trees of bounds: which leaves are split, how trees are written down, and what is no number."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from torchlean.verify import derive
from torchlean.verify.ascent import Given
from torchlean.verify.clock import Deadline, OutOfTime
from torchlean.verify.forks import AT_ONCE, Trees, fork
from torchlean.verify.forms import Forms
from torchlean.verify.maps import NumpyMaps, TorchMaps
from torchlean_check import cases

NOTHING = SimpleNamespace(nodes=())


MAPS = [NumpyMaps(NOTHING), TorchMaps(NOTHING, "cpu"), NumpyMaps(NOTHING), TorchMaps(NOTHING, "cpu")]  # type: ignore[arg-type]
for maps in MAPS[2:]:
    maps.records = True  # as where operations are recorded: trees of few leaves grow without a look at what is found
both_maps = pytest.mark.parametrize("maps", MAPS, ids=["numpy", "torch", "recorded", "recorded torch"])


def slow(leaf, seed, most):
    """The rule in words, for one bound: in each round, the worse half of the leaves is split, the first of equal ones,
    while there is room and the worst one is not stable; those that no split helps stay."""
    root = tuple([0] * 4)
    slots, tree = [(root, *leaf(seed, root))], {}
    for count, room in ((1, 1), (2, 1), (3, 2), (5, 3), (8, 4), (12, 6)):
        room = min(room, most - count)
        order = sorted(range(len(slots)), key=lambda k: (slots[k] is None, slots[k] and slots[k][1]))
        worst, made = slots[order[0]], []
        for k in order[: max(0, room)]:
            if worst[1] >= derive.STABLE or worst[2] < 0 or slots[k] is None or slots[k][2] < 0:
                made.append(None)
                continue
            sides, _, split = slots[k]
            low, high = ((*sides[:split], s, *sides[split + 1 :]) for s in (-1, 1))
            tree[sides] = split
            slots[k] = (low, *leaf(seed, low))
            made.append((high, *leaf(seed, high)))
        slots += made

    def down(sides):
        if sides not in tree:
            return [None]
        n = tree[sides]
        return [(3, n + 10), *(w for s in (-1, 1) for w in down((*sides[:n], s, *sides[n + 1 :])))]

    return min(slot[1] for slot in slots if slot), down(root)


@both_maps
@pytest.mark.parametrize("most", [1, 2, 5, 8, 12, 16, 18])
@pytest.mark.parametrize("size", [3, 64])
def test_trees_grow_by_their_worst_leaves(maps, most, size) -> None:
    """Bounds and splits at random, some stable, some that no split helps; grown at once, and by rounds."""
    rng, told, sizes = np.random.default_rng(most), {}, set()

    def one(seed, sides):
        key = seed, tuple(int(s) for s in sides)
        if key not in told:
            free = [n for n in range(4) if not key[1][n]]
            split = int(rng.choice(free)) if free and rng.random() < 0.9 else -1
            told[key] = float(rng.choice([-2.0, -1.5, -1.0, -0.5, 0.25])), split
        return told[key]

    def leaf(seed, side):
        found = [one(round(s), row) for s, row in zip(seed.sum(axis=1), side, strict=True)]
        value, split = map(np.array, zip(*found, strict=True))
        cost = np.where(np.arange(4) == split[:, None], 1.0, 0.0)
        return value, cost

    for _ in range(20):
        told.clear()
        least, trees = forked(maps, leaf, most, size)
        for bound, tree in enumerate(written(trees)):
            expected = slow(one, bound + 1, most)
            assert (least[bound], tree) == expected
            sizes.add(len(tree) // 2 + 1)
    assert most / 2 < max(sizes) <= most


def written(trees):
    """Each tree in preorder: (value, entry) of what is split, None at a leaf."""
    sizes, words = trees.preorder(np.arange(3))
    return [[None if w < 0 else (w >> 32, w & 0xFFFFFFFF) for w in part.tolist()]
            for part in np.split(words, np.cumsum(sizes)[:-1])]  # fmt: skip


def test_preorder_is_what_a_walk_down_the_tree_meets() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        low, case = np.full((5, 25), -1), np.full((5, 25), -1)
        for tree in range(5):
            leaves, made = [0], 1
            for _ in range(rng.integers(0, 12)):
                node = leaves.pop(rng.integers(len(leaves)))
                low[tree, node], case[tree, node] = made, rng.integers(99)
                leaves += [made, made + 1]
                made += 2

        def down(tree, node=0, low=low, case=case):
            own, first = [int(case[tree, node])], int(low[tree, node])
            return own if first < 0 else [*own, *down(tree, first), *down(tree, first + 1)]

        some = np.flatnonzero(rng.random(5) < 0.6)
        sizes, found = Trees(case, low).preorder(some)
        expected = [down(tree) for tree in some.tolist()]
        assert sizes.tolist() == [len(tree) for tree in expected]
        assert found.tolist() == [n for tree in expected for n in tree]


class FourNeurons:
    value, entry = np.full(4, 3), np.arange(4) + 10

    def __len__(self):
        return 4


def forked(maps, leaf, most, size=64, deadline=None, share=None):
    """Three bounds over trees on four neurons; `leaf` stands for the walk: bounds, costs and what each side may gain,
    by seed and splits."""

    def run(given, lazy):
        assert not lazy
        value, cost, *sides = map(maps.put, leaf(maps.get(given.forms.seed), maps.get(given.side)))
        return SimpleNamespace(best=SimpleNamespace(value=value, cost=cost), gains=lambda: sides or (cost, cost))

    ends = dict.fromkeys(("lo", "hi", "zero"), maps.put(np.zeros(()))) | {"one": maps.put(np.ones(()))}
    dual = SimpleNamespace(maps=maps, xp=maps.xp, neurons=FourNeurons(), ascent=run, **ends)
    dual.answer = lambda question, given: question(dual, given)
    nothing, seed = maps.zeros(3, 4), maps.put(np.array([[1.0], [2.0], [3.0]]))
    forms = Forms(0, seed, None, maps.zeros(3))
    given = Given(forms, nothing, nothing, nothing, None, (dual.lo, dual.hi))
    return fork(dual, given, most, size, deadline or Deadline(60), share or Deadline(60))  # type: ignore[arg-type]


@both_maps
@pytest.mark.parametrize("size", [2, 64])
def test_a_bound_is_the_least_of_its_leaves_and_its_tree_is_full(maps, size) -> None:
    """Each split of neuron n gains 2^-n on either side; the bounds start above -1, -2, -3, and need not all."""
    gain, little = 2.0 ** -np.arange(4), 2.0**-6

    def leaf(seed, side):
        return abs(side) @ gain - seed.sum(axis=1) + little, np.where(side == 0, gain, 0.0)

    least, trees = forked(maps, leaf, 5, size)
    found = written(trees)
    for bound, tree in enumerate(found):
        of, splits = cases.Trees.of([tree]).rows()
        reached = np.bincount(splits.row, gain[splits.entry - 10], minlength=len(of))
        assert least[bound] == reached.min() - (bound + 1) + little
    assert cases.Trees.of(found).leaves.tolist() == [2, 5, 5]
    assert least.tolist() == [little, -0.5 + little, -1.5 + little]


@both_maps
def test_a_neuron_is_stable_by_more_than_a_bound_gives_away(maps) -> None:
    """For what is taken of it is less, and a neuron that the replay finds stable must be so in the search."""

    def leaf(seed, side):
        return abs(side).sum(axis=1) - 1 + 2.0**-12, np.where(side == 0, 1.0, 0.0)

    least, _ = forked(maps, leaf, 8)
    assert least.tolist() == [1 + 2.0**-12] * 3 and 2.0**-12 < derive.MARGIN < derive.STABLE


@both_maps
def test_the_neuron_whose_worse_side_gains_most_is_split(maps) -> None:
    """Where no side gains, the one whose lines cost most; never one that costs nothing, nor by what is no number."""

    def told(low, high, cost=(1.0, 1.0, 1.0, 1.0)):
        def leaf(seed, side):
            each = [np.where(side == 0, np.array(a), 0.0) for a in (cost, low, high)]
            return -seed.sum(axis=1), *each

        _, trees = forked(maps, leaf, 2)
        return (trees.case[:, 0] & 0xFFFFFFFF).tolist()

    assert told([0.1, 0.3, 0.9, 0.0], [9.0, 0.4, 0.2, 9.0]) == [11] * 3
    assert told([0.0] * 4, [9.0, 1.0, 1.0, 1.0], [1.0, 2.0, 3.0, 0.0]) == [12] * 3
    assert told([5.0, 1.0, 0.0, 0.0], [5.0, 1.0, 0.0, 0.0], [0.0, 1.0, 1.0, 1.0]) == [11] * 3
    assert told([np.nan, 1.0, 0.0, 0.0], [5.0, 1.0, 0.0, 0.0]) == [11] * 3


@both_maps
def test_what_is_no_number_is_no_bound(maps) -> None:
    def leaf(seed, side):
        value = -seed.sum(axis=1)
        value[(seed.sum(axis=1) == 2) & (side[:, 0] > 0)] = np.nan
        return value, np.where(side == 0, 1.0, 0.0)

    least, _ = forked(maps, leaf, 2)
    assert least.tolist() == [-1.0, -np.inf, -3.0]


@pytest.mark.parametrize("most", [8, 32])
def test_trees_end_in_time(most) -> None:
    """A share that is over leaves them as they are, a deadline ends the search; what is recorded looks at neither."""

    def leaf(seed, side):
        return abs(side).sum(axis=1) - 9.0, np.where(side == 0, 1.0, 0.0)

    over = Deadline(60)
    over.end = -np.inf
    for maps in MAPS:
        at_once = maps.records and most <= AT_ONCE
        least, trees = forked(maps, leaf, most, share=over)
        assert (least.tolist() == [-9.0] * 3) == (not at_once) and ((trees.low >= 0).any()) == at_once
        if at_once:
            assert forked(maps, leaf, most, deadline=over)[0].tolist() == least.tolist()
        else:
            with pytest.raises(OutOfTime):
                forked(maps, leaf, most, deadline=over)
