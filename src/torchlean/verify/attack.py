"""The attack: gradient search for a violating input, batched over starts.

It only proposes points; `witness.py` replays them exactly.

Shapes   P points, n inputs, m outputs, R inequalities of the region
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchlean.frozen import frozen
from torchlean.verify.clock import Deadline
from torchlean.verify.maps import Maps
from torchlean.verify.slopes import curve_of
from torchlean_check.network import Affine, Curve, Network, Nonlinear, Product, Relu
from torchlean_check.vnnlib_reader import Region

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]


MEMORY = 1 << 21  # values of the network, or of the inequalities, that `evolve` computes at once


@frozen
class Target:
    """One region as the attack sees it: the float32 points between `lo` and `hi`, and the clauses' rows."""

    network: Network
    region: Region
    lo: F64
    hi: F64
    maps: Maps

    @cached_property
    def _grouped(self) -> tuple[Ints, Ints, Ints]:
        """The inequalities clause by clause, the clauses that have any, and where those begin."""
        count = np.bincount(self.region.row_clause, minlength=len(self.region.clauses))
        some = np.flatnonzero(count)
        return np.argsort(self.region.row_clause, kind="stable"), some, (np.cumsum(count) - count)[some]

    def clip(self, x: F64) -> F64:
        """The nearest float32 points of the hull."""
        single = np.asarray(x, np.float32).astype(np.float64)
        return np.minimum(np.maximum(single, self.lo), self.hi)

    @np.errstate(all="ignore")  # nan and infinity look like no violation
    def rows(self, x: F64) -> F64:
        """Every inequality's g at each point; <= 0 is a violation of its part. Shapes: [P, n] -> [P, R]"""
        y, _ = forward(self.network, self.maps, x)
        return y @ self.region.rows_y.T + x @ self.region.rows_x.T + self.region.rows_c

    def worst(self, g: F64) -> F64:
        """Per clause, the largest g: <= 0 where the whole clause is met. Shapes: [P, R] -> [P, C]"""
        order, some, first = self._grouped
        out = np.full((len(g), len(self.region.clauses)), -np.inf)
        if some.size:
            out[:, some] = np.maximum.reduceat(g[:, order], first, axis=1)
        return out


def forward(network: Network, maps: Maps, x: F64) -> tuple[F64, dict[int, tuple[Any, ...]]]:
    """Outputs, and the slopes of each nonlinear node in its sources, in the arrays of `maps`.

    Shapes   [P, n] -> [P, m]
    """
    values: dict[int, Any] = {0: maps.put(x)}
    slopes = {}
    for i, node in enumerate(network.nodes):
        if isinstance(node, Affine):
            value = maps.bias[i]
            for j, (_, source) in enumerate(node.terms):
                value = value + maps.apply(i, j, values[source])
            values[i] = value
        elif isinstance(node, Nonlinear):
            values[i], slopes[i] = _bent(node, maps, values)
    return np.asarray(maps.get(values[network.output]), np.float64), slopes


def _bent(node: Nonlinear, maps: Maps, values: dict[int, Any]) -> tuple[Any, tuple[Any, ...]]:
    """The value of a nonlinear node, and its slopes in its sources."""
    if isinstance(node, Product):
        x, y = values[node.sources[0]][:, node.left.index], values[node.sources[1]][:, node.right.index]
        return x * y, (y, x)
    z = values[node.source]
    if isinstance(node, Curve):
        value, slope = curve_of(node.name)
        return value(maps.xp, z), (slope(maps.xp, z),)
    return maps.xp.clip(z, 0, None), (z > 0,)


def backward(network: Network, maps: Maps, slopes: dict[int, tuple[Any, ...]], weights: F64) -> F64:
    """The gradient of sum weights * y in x. Shapes: [P, m] -> [P, n]"""
    cotangents: dict[int, Any] = {network.output: maps.put(weights)}
    for i in range(len(network.nodes) - 1, 0, -1):
        g = cotangents.pop(i, None)
        if g is None:
            continue
        node = network.nodes[i]
        if isinstance(node, Product):
            each = [g * slope for slope in slopes[i]]
            parts = [
                (maps.scatter(rows, select), source)
                for rows, select, source in zip(each, (node.left, node.right), node.sources, strict=True)
            ]
        elif isinstance(node, (Relu, Curve)):
            parts = [(g * slopes[i][0], node.source)]
        elif isinstance(node, Affine):
            parts = [(maps.transpose(i, j, g), source) for j, (_, source) in enumerate(node.terms)]
        else:
            continue
        for part, source in parts:
            cotangents[source] = cotangents[source] + part if source in cotangents else part
    if 0 not in cotangents:
        return np.zeros((len(weights), network.inputs))
    return np.asarray(maps.get(cotangents[0]), np.float64)


@np.errstate(all="ignore")
def descend(
    target: Target, x: F64, clause: Ints, steps: int, deadline: Deadline, size: float = 0.25, until: float = 0.0
) -> tuple[F64, F64]:
    """Projected sign descent on the largest g of each point's clause, with steps that shrink to a hundredth.

    It stops as soon as some point's g is at most `until`.
    Shapes   x: [P, n]   clause: [P] -> the best point of each start [P, n], its largest g [P]
    """
    network, region = target.network, target.region
    width = target.hi - target.lo
    best, best_g = x.copy(), np.full(len(x), np.inf)
    every = np.arange(len(x))
    mine = region.row_clause == clause[:, None]
    for step in range(steps + 1):
        y, slopes = forward(network, target.maps, x)
        g = np.where(mine, y @ region.rows_y.T + x @ region.rows_x.T + region.rows_c, -np.inf)
        row = g.argmax(axis=1)
        value = g[every, row]
        better = value < best_g
        best[better], best_g[better] = x[better], value[better]
        if step == steps or (best_g <= until).any() or deadline.left < 0:
            break
        gradient = backward(network, target.maps, slopes, region.rows_y[row]) + region.rows_x[row]
        x = target.clip(x - size * 0.01 ** (step / max(steps - 1, 1)) * width * np.sign(gradient))
    return best, best_g


def attack(
    target: Target, rng: np.random.Generator, points: int, starts: int, steps: int, deadline: Deadline
) -> tuple[F64, F64]:
    """Points that come nearest to a violation, best first, and the least that a clause is missed by.

    points   random points to rank, corners among them      starts, steps    of the descent that follows
    Shapes   -> [P, n], [P]; <= 0 looks violating
    """
    lo, hi = target.lo, target.hi
    x = rng.uniform(size=(points, len(lo)))
    x[: points // 4] = np.rint(x[: points // 4])
    x[0] = 0.5
    x = target.clip(lo + x * (hi - lo))
    worst = target.worst(target.rows(x))
    found = (worst <= 0).any(axis=1)
    if found.any():
        return x[found], worst[found].min(axis=1)
    count = max(1, starts // worst.shape[1])
    clauses = np.argsort(worst.min(axis=0), kind="stable")[:starts]
    chosen = [np.argsort(worst[:, c], kind="stable")[:count] for c in clauses]
    clause = np.repeat(clauses, [len(i) for i in chosen])
    best, g = descend(target, x[np.concatenate(chosen)], clause, steps, deadline)
    order = np.argsort(g, kind="stable")
    return best[order], g[order]


def evolve(
    target: Target,
    rng: np.random.Generator,
    deadline: Deadline,
    parents: int = 64,
    children: int = 32,
    rounds: int = 20,
) -> F64:
    """Points that look violating, found by descent and then by random steps of shrinking size around the best points.

    Where the violation needs several outputs to be equal almost, signs of one gradient zigzag and random steps get
    through: on prop_2 of ACAS Xu 5_3, 10,000 gradient starts find nothing and this does within a few rounds.
    """
    lo, hi = target.lo, target.hi
    width = hi - lo
    most = MEMORY // max(len(target.region.rows_c), sum(node.size for node in target.network.nodes))
    parents = max(8, min(parents, most))
    many, children = max(parents, min(40 * parents, most)), max(4, min(children, most // parents))
    x = target.clip(rng.uniform(lo, hi, (many, len(lo))))
    worst = target.worst(target.rows(x))
    clauses = np.argsort(worst.min(axis=0), kind="stable")[:parents]
    each = max(1, parents // len(clauses))
    clause = np.repeat(clauses, each)
    x, g = descend(
        target,
        np.concatenate([x[np.argsort(worst[:, c], kind="stable")[:each]] for c in clauses]),
        clause,
        15,
        deadline,
    )
    size = 0.3
    every = np.arange(len(x))
    for _ in range(rounds):
        if (g <= 0).any() or deadline.left < 0:
            break
        steps = rng.standard_normal((len(x), children, len(lo))) * (size * width)
        tried = target.clip((x[:, None] + steps).reshape(-1, len(lo)))
        value = target.worst(target.rows(tried)).reshape(len(x), children, -1)[
            every[:, None], np.arange(children), clause[:, None]
        ]
        best = value.argmin(axis=1)
        better = value[every, best] < g
        x = np.where(better[:, None], tried.reshape(len(x), children, -1)[every, best], x)
        g = np.where(better, value[every, best], g)
        size *= 0.85
    order = np.argsort(g, kind="stable")
    return np.asarray(x[order][g[order] <= 0])
