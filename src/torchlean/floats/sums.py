"""Sums and dot products in any order: orders as data, their evaluation, exact values, and the bound for all of them.

An order is a binary tree over the leaves of a sum. `any_order_bound` is the one statement of SEMANTICS.md section 3 in
this project: ops, bounds and verifier call it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import flint
import numpy as np
from numpy.typing import ArrayLike, NDArray

from torchlean.errors import UsageError
from torchlean.floats.formats import BINARY32, Format
from torchlean.floats.rounding import F32, F64, odd_sum, rational


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class Execution:
    """How a float32 program adds one row: everything that SEMANTICS.md section 2 leaves open.

    order   the tree; the bias, where there is one, is the last leaf
    fused   per leaf: fuse this product into the addition above it, where its partner is not fused
    wide    per step: keep this partial sum in float64
    flush   subnormal operands and results become zero
    """

    order: Order
    fused: tuple[bool, ...] = ()
    wide: tuple[bool, ...] = ()
    flush: bool = False


def _flushed(x: F64, flush: bool) -> F64:
    return np.where(np.abs(x) < BINARY32.smallest_normal, np.copysign(0.0, x), x) if flush else x


def execute(how: Execution, x: F32, w: F32 | None = None, bias: F32 | None = None) -> F32:
    """The float32 sum or dot product along the last axis, as one execution computes it.

    Slow (one numpy call a step); it is the oracle that bounds are held against.

    Shapes   x, w: [*s, n] float32; bias: [*s] float32 -> [*s] float32
    """
    x64, flush = _flushed(x.astype(np.float64), how.flush), how.flush
    products = x64 if w is None else x64 * _flushed(w.astype(np.float64), flush)  # exact: 48 bits
    leaves = [products[..., j] for j in range(x.shape[-1])]
    product = [w is not None] * len(leaves)
    if bias is not None:
        leaves.append(_flushed(bias.astype(np.float64), flush))
        product.append(False)
    if len(leaves) != how.order.leaves:
        raise UsageError(
            "the order has another number of leaves than the sum",
            where="floats.execute",
            expected=f"{len(leaves)} leaves",
            got=f"{how.order.leaves} leaves",
            fix="build the order for the row's length, plus one where there is a bias",
        )
    with np.errstate(all="ignore"):

        def settle(value: F64, wide: bool) -> F64:
            rounded = value if wide else value.astype(np.float32).astype(np.float64)
            return _flushed(rounded, flush)

        values = list(leaves)
        raw = [product[j] and bool(how.fused) and how.fused[j] for j in range(len(leaves))]
        for j in range(len(leaves)):
            if product[j] and not raw[j]:
                values[j] = settle(values[j], wide=False)
        raw += [False] * len(how.order.steps)
        for i, (a, b) in enumerate(how.order.steps):
            if raw[a] and raw[b]:
                values[b] = settle(values[b], wide=False)
            wide = bool(how.wide) and how.wide[i]
            total = values[a] + values[b] if wide else odd_sum(values[a], values[b])
            values.append(settle(total, wide))
        return settle(values[-1], wide=False).astype(np.float32)


def exact_dot(x: ArrayLike, w: ArrayLike | None = None, bias: float = 0.0) -> flint.fmpq:
    """The sum of x, or the dot product with w, plus bias, as an exact rational. Finite one-dimensional input.

    Shapes   x, w: [n]
    """
    xs = np.asarray(x, np.float64)
    ws = np.ones_like(xs) if w is None else np.asarray(w, np.float64)
    total = rational(bias)
    for a, b in zip(xs.tolist(), ws.tolist(), strict=True):
        total += rational(a) * rational(b)
    return total


_UP = 1.0 + 2.0**-45  # covers 100 float64 roundings


def growth(roundings: ArrayLike, unit_roundoff: float = BINARY32.unit_roundoff) -> F64:
    """An upper bound of (1 + u)^N - 1, within u + 2^-44 of it relatively while N u <= 1.

    Shapes   roundings: [*s], integers below 2^53 -> [*s] float64
    Method   (1 + u)^N <= exp(t), t = N u, and the Taylor series of expm1 at t / 2^8 with its tail, then
             g(2t) = g(t) (2 + g(t)); every term is positive, so a relative margin covers the float64 roundings.
    """
    t = np.asarray(roundings, np.float64) * unit_roundoff
    with np.errstate(over="ignore"):
        halvings = 8 if t.size and float(t.max()) > 2.0**-8 else 0
        small = t * 2.0**-halvings
        # For t <= 1/4 the tail after t^7 is below t^8/8! (1 + t/9 + ...) <= t^8/8! 1.03. A larger t has no use: the
        # bound is then not below the magnitude itself, and infinity says so.
        series = small * (1 + small / 2 * (1 + small / 3 * (1 + small / 4 * (1 + small / 5 * (
            1 + small / 6 * (1 + small / 7 * (1 + small / 8 * 1.03)))))))  # fmt: skip
        g = series * _UP
        for _ in range(halvings):
            g = g * (2 + g) * (1 + 2.0**-50)
    return np.where(t <= 64.0, g * _UP, np.inf)


def any_order_bound(
    weighted: ArrayLike,
    leaves: ArrayLike,
    weights: ArrayLike,
    inputs: ArrayLike,
    *,
    depth: ArrayLike | None = None,
    fmt: Format = BINARY32,
) -> F64:
    """How far a float32 sum of products, in any order, may be from its exact value on the same float inputs.

        E = g (sum |w_j| X_j + |b|) + tiny (1 + g)(3 N + sum |w_j| + sum X_j),   g = (1 + u)^N - 1

    covers every binary tree, fused or not, partial sums kept in float64 or wider or not, subnormals flushed on input
    and output or not, zero terms added or dropped. It presumes that no partial sum overflows: `stays_finite` says so.
    (A wide partial sum that is rounded back counts once: rounding to nearest errs by at most u / (1 + u), which leaves
    room for a factor 1 + 2^-53.)

    weighted   sum |w_j| X_j + |b|, or an upper bound        X_j >= |x_j|
    leaves     N: the number of nonzero terms, the bias among them
    weights    sum |w_j| over the leaves, or an upper bound; N for a plain sum
    inputs     sum X_j over the leaves, or an upper bound
    depth      use g = (1 + u)^depth - 1 instead: for trees with at most so many roundings above a leaf, its product
               among them (pairwise and blocked sums); that is the semantics float32/depth(h)
    fmt        the format of the sums: u = 2^-precision, tiny = 2^emin

    Shapes   broadcast -> float64, rounded up
    Source   SEMANTICS.md section 3; Jeannerod and Rump 2013, doi:10.1137/120894488, for the standard model.
    """
    count = np.asarray(leaves, np.float64)
    g = growth(count if depth is None else np.asarray(depth, np.float64), fmt.unit_roundoff)
    with np.errstate(over="ignore", invalid="ignore"):
        relative = g * np.asarray(weighted, np.float64)
        underflows = 3 * count + np.asarray(weights, np.float64) + np.asarray(inputs, np.float64)
        bound = (relative + fmt.smallest_normal * (1 + g) * underflows) * _UP
    # An underflow here loses at most a subnormal; 0 * inf is no bound at all.
    stepped = np.where(count > 0, np.nextafter(bound + 2.0**-1070, np.inf), bound)
    return np.where(np.isnan(stepped), np.inf, stepped)


def stays_finite(weighted: ArrayLike, error: ArrayLike, fmt: Format = BINARY32) -> NDArray[np.bool_]:
    """Whether no partial sum of an execution can overflow: weighted + error < 2^emax, of which MAX is almost twice.

    weighted   sum |w_j| X_j + |b|        error   its `any_order_bound`

    Shapes   broadcast -> bool. NaN gives False.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        total = (np.asarray(weighted, np.float64) + np.asarray(error, np.float64)) * _UP
    return np.asarray(total < 2.0**fmt.emax)


def upper_matmul(a: F64, b: F64) -> F64:
    """An upper bound of a @ b for nonnegative a, b: float64 products in any order, and their own rounding.

    Shapes   a: [*s, m, k], b: [*s, k, n] -> [*s, m, n]
    Error    relative (k + 4) 2^-53, absolute k 2^-1021, one-sided
    """
    k = a.shape[-1]
    with np.errstate(over="ignore", invalid="ignore"):
        product = np.matmul(a, b)
        bound = np.asarray(product * (1 + (k + 4) * 2.0**-52) + k * 2.0**-1021)
    return np.where(np.isnan(bound), np.inf, bound)


__all__ = [
    "Execution", "Order", "any_order_bound", "blocked", "exact_dot", "execute", "growth", "left_fold", "pairwise",
    "permuted", "random_order", "stays_finite", "strided", "upper_matmul",
]  # fmt: skip

