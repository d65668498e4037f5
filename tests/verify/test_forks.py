"""Small trees of bounds: which leaves are split, how trees are written down, and what is no number."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from torchlean.verify import derive, forks
from torchlean.verify.budget import Memory
from torchlean.verify.clock import Deadline
from torchlean.verify.forks import Forks, Leaves, Trees, fork
from torchlean.verify.maps import NumpyMaps, TorchMaps
from torchlean_check import cases

NOTHING = SimpleNamespace(nodes=())
both_maps = pytest.mark.parametrize("maps", [NumpyMaps(NOTHING), TorchMaps(NOTHING, "cpu")], ids=["numpy", "torch"])  # type: ignore[arg-type]


def slow(of, value, best, count, most):
    """The rule in words: of each bound that goes on, the worse half, the first of equal ones, while there is room."""
    split, stay, least = [], [], {}
    for bound in range(count):
        mine = sorted(np.flatnonzero(of == bound).tolist(), key=lambda leaf: value[leaf])
        if not mine:
            continue
        least[bound] = value[mine[0]]
        if len(mine) < most and value[mine[0]] < derive.STABLE and best[mine[0]] >= 0:
            room = min((len(mine) + 1) // 2, most - len(mine))
            split += [leaf for leaf in mine[:room] if best[leaf] >= 0]
            stay += [leaf for n, leaf in enumerate(mine) if n >= room or best[leaf] < 0]
    return sorted(split), sorted(stay), least


@both_maps
def test_the_worse_half_of_a_bound_that_goes_on_is_split(maps) -> None:
    rng, count, most, split = np.random.default_rng(0), 9, 6, 0
    for _ in range(60):
        of = rng.choice(count, 30)
        of = of[np.array([(of[:k] == c).sum() < most for k, c in enumerate(of)])]
        value, best = rng.choice([-2.0, -1.0, -0.5, 0.0, 1.0], len(of)), rng.integers(-1, 4, len(of))
        before = maps.put(np.full(count, 7.0))
        leaves = Leaves(maps.index(of), None, None, maps.put(value), maps.index(best))
        at, stay, least = (maps.get(a).tolist() for a in forks._worst(maps, leaves, before, most))
        expected = slow(of, value, best, count, most)
        assert (at, stay) == expected[:2]
        assert least == [expected[2].get(bound, 7.0) for bound in range(count)]
        split += len(at)
    assert split > 200


def test_preorder_is_what_a_walk_down_the_tree_meets() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        low, case, leaves = [-1] * 5, [-1] * 5, list(range(5))
        for _ in range(rng.integers(1, 12)):
            node = leaves.pop(rng.integers(len(leaves)))
            low[node], case[node] = len(low), int(rng.integers(99))
            leaves += [len(low), len(low) + 1]
            low, case = [*low, -1, -1], [*case, -1, -1]

        def down(node, low=low, case=case):
            return [case[node]] if low[node] < 0 else [case[node], *down(low[node]), *down(low[node] + 1)]

        roots = np.flatnonzero(rng.random(5) < 0.6)
        sizes, found = Trees(np.array(case), np.array(low)).preorder(roots)
        expected = [down(root) for root in roots.tolist()]
        assert sizes.tolist() == [len(tree) for tree in expected]
        assert found.tolist() == [n for tree in expected for n in tree]


class FourNeurons:
    value, entry = np.full(4, 3), np.arange(4) + 10

    def __len__(self):
        return 4


def forked(maps, leaf, most, size=64):
    """Three bounds over trees on four neurons; `leaf` stands for the walk: bounds, costs and what each side may gain,
    by seed and splits."""

    def gains(forms, side, *_, **__):
        value, cost, *sides = map(maps.put, leaf(maps.get(forms.seed), maps.get(side)))
        return SimpleNamespace(value=value, cost=cost), *(sides or (cost, cost))

    network = SimpleNamespace(nodes=[SimpleNamespace(size=3)])
    zero = maps.put(np.zeros(()))
    dual = SimpleNamespace(maps=maps, xp=maps.xp, neurons=FourNeurons(), network=network, gains=gains, zero=zero)
    nothing = maps.zeros(3, 4)
    given = Forks(0, maps.count(3), maps.put(np.array([1.0, 2.0, 3.0])), nothing, nothing, nothing)
    return fork(dual, given, most, size, Deadline(60), Deadline(60), Memory())  # type: ignore[arg-type]


@both_maps
@pytest.mark.parametrize("size", [2, 64])
def test_a_bound_is_the_least_of_its_leaves_and_its_tree_is_full(maps, size) -> None:
    """Each split of neuron n gains 2^-n on either side; the bounds start above -1, -2, -3, and need not all."""
    gain, little = 2.0 ** -np.arange(4), 2.0**-6

    def leaf(seed, side):
        return abs(side) @ gain - seed.sum(axis=1) + little, np.where(side == 0, gain, 0.0)

    least, trees = forked(maps, leaf, 5, size)
    sizes, words = trees.preorder(np.arange(3))
    found = [[None if w < 0 else (w >> 32, w & 0xFFFFFFFF) for w in part.tolist()]
             for part in np.split(words, np.cumsum(sizes)[:-1])]  # fmt: skip
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
        return (trees.case[:3] & 0xFFFFFFFF).tolist()

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
