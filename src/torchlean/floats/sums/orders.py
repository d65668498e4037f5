"""Orders of summation as data: a binary tree over the leaves of a sum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from torchlean.errors import UsageError
from torchlean.frozen import frozen


@frozen
class Order:
    """A binary tree over leaves 0 .. leaves-1.

    steps   [leaves - 1, 2]: step i adds the two values named and its result is value leaves + i; each value is used
            once, and the last step is the root
    """

    leaves: int
    steps: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        used = [value for step in self.steps for value in step]
        ordered = all(max(step) < self.leaves + i for i, step in enumerate(self.steps))
        whole = sorted(used) == list(range(self.leaves + len(self.steps) - 1))
        if self.leaves < 1 or len(self.steps) != self.leaves - 1 or not ordered or not whole:
            raise UsageError(
                "an order of summation is one binary tree over all leaves",
                where="floats.Order",
                expected=f"{max(self.leaves - 1, 0)} steps, each adding two earlier values that nothing else uses",
                got=f"{len(self.steps)} steps over {self.leaves} leaves",
                fix="build it with left_fold, pairwise, blocked or random_order",
            )

    @property
    def depth(self) -> int:
        """The largest number of additions above a leaf."""
        height = [0] * self.leaves
        for a, b in self.steps:
            height.append(1 + max(height[a], height[b]))
        return height[-1]


def _join(values: Sequence[int], steps: list[tuple[int, int]], leaves: int) -> int:
    """Appends the left fold of the values; returns the value that holds it."""
    total = values[0]
    for value in values[1:]:
        steps.append((total, value))
        total = leaves + len(steps) - 1
    return total


def left_fold(leaves: int) -> Order:
    """((0 + 1) + 2) + ..."""
    steps: list[tuple[int, int]] = []
    _join(range(leaves), steps, leaves)
    return Order(leaves, tuple(steps))


def pairwise(leaves: int) -> Order:
    """Neighbours first, then neighbours of those: depth ceil(log2(leaves))."""
    steps: list[tuple[int, int]] = []
    level = list(range(leaves))
    while len(level) > 1:
        pairs = [level[i : i + 2] for i in range(0, len(level), 2)]
        level = [_join(pair, steps, leaves) for pair in pairs]
    return Order(leaves, tuple(steps))


def blocked(leaves: int, block: int) -> Order:
    """Left folds of `block` leaves each, whose results are left-folded."""
    steps: list[tuple[int, int]] = []
    sums = [_join(range(i, min(i + block, leaves)), steps, leaves) for i in range(0, leaves, block)]
    _join(sums, steps, leaves)
    return Order(leaves, tuple(steps))


def strided(leaves: int, lanes: int) -> Order:
    """Lane j folds leaves j, j + lanes, ...; the lanes are then added pairwise: what a vector unit does."""
    steps: list[tuple[int, int]] = []
    level = [_join(range(j, leaves, lanes), steps, leaves) for j in range(min(lanes, leaves))]
    while len(level) > 1:
        pairs = [level[i : i + 2] for i in range(0, len(level), 2)]
        level = [_join(pair, steps, leaves) for pair in pairs]
    return Order(leaves, tuple(steps))


def random_order(leaves: int, rng: np.random.Generator) -> Order:
    """Two random values are added until one is left."""
    alive = list(range(leaves))
    steps: list[tuple[int, int]] = []
    while len(alive) > 1:
        i, j = rng.choice(len(alive), size=2, replace=False)
        steps.append((alive[i], alive[j]))
        alive = [v for n, v in enumerate(alive) if n not in (i, j)] + [leaves + len(steps) - 1]
    return Order(leaves, tuple(steps))


def permuted(order: Order, permutation: Sequence[int]) -> Order:
    """The same tree with leaf i replaced by leaf permutation[i]."""
    new = [int(p) for p in permutation]

    def name(value: int) -> int:
        return new[value] if value < order.leaves else value

    return Order(order.leaves, tuple((name(a), name(b)) for a, b in order.steps))


__all__ = ["Order", "blocked", "left_fold", "pairwise", "permuted", "random_order", "strided"]
