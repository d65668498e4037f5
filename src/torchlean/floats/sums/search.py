"""Searching for a bad order: what an adversary who chooses the tree, the fusing and the flushing can do to one sum."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchlean.errors import ShapeError
from torchlean.floats.formats import Format, format_of
from torchlean.floats.rounding import F64, odd_sum, round_nearest
from torchlean.floats.sums.exact import rounded_dot
from torchlean.floats.sums.executions import Execution, execute
from torchlean.floats.sums.orders import Order, left_fold, pairwise, permuted, random_order

_Leaves = tuple[NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]


def worst_execution(
    x: NDArray[Any],
    w: NDArray[Any] | None = None,
    bias: NDArray[Any] | None = None,
    *,
    rng: np.random.Generator,
    rounds: int = 20,
) -> tuple[Execution, float]:
    """The worst execution found, and its distance from the exact value (in float64, good to some digits).

    Two trees are built greedily, adding at each step the two values whose rounding adds most to the error of one sign;
    these, two families and random trees are then improved by exchanging leaves, moving subtrees and toggling fused
    products and flushing, as long as something helps and at most `rounds` times. No order is proved to be the worst.

    Shapes   x, w: [n] of float32 or narrower, bias: [] -> the execution has n leaves, one more with a bias
    Cost     about rounds * n^2 evaluations of n steps
    """
    x = np.asarray(x)
    if x.ndim != 1 or x.size == 0:
        raise ShapeError(
            "the search takes one row",
            where="floats.worst_execution",
            expected="x: [n], n >= 1",
            got=f"x: {list(x.shape)}",
            fix="search each row by itself",
        )
    leaves: _Leaves = (x, w, None if bias is None else np.asarray(bias, x.dtype).reshape(()))
    n = x.size + (bias is not None)
    exact = _exact(leaves)
    starts = [_greedy(_products(leaves), format_of(x.dtype), sign) for sign in (1.0, -1.0)]
    starts += [left_fold(n), pairwise(n), *(random_order(n, rng) for _ in range(2))]
    best: tuple[Execution, float] = (Execution(starts[0]), -1.0)
    for order in starts:
        for flush in (False, True):
            now = Execution(order, fused=(False,) * x.size if w is not None else (), flush=flush)
            error = _error(now, leaves, exact)
            for _ in range(rounds):
                found = _better(now, error, leaves, exact, rng)
                if found is None:
                    break
                now, error = found
            if error > best[1]:
                best = (now, error)
    return best


def _exact(leaves: _Leaves) -> tuple[float, float]:
    """The exact value as the sum of two float64 numbers."""
    x, w, bias = (None if a is None else a.astype(np.float64) for a in leaves)
    assert x is not None
    row, weight = (x, np.ones_like(x) if w is None else w)
    high = float(rounded_dot(row, weight, bias))
    more = [np.append(a, b) for a, b in ((row, -high), (weight, 1.0))]
    return high, float(rounded_dot(more[0], more[1], bias))


def _error(how: Execution, leaves: _Leaves, exact: tuple[float, float]) -> float:
    value = float(execute(how, *leaves))
    return abs((value - exact[0]) - exact[1]) if np.isfinite(value) else np.inf


def _products(leaves: _Leaves) -> F64:
    x, w, bias = leaves
    values = x.astype(np.float64) if w is None else x.astype(np.float64) * w.astype(np.float64)
    return values if bias is None else np.append(values, np.float64(bias))


def _greedy(terms: F64, fmt: Format, sign: float) -> Order:
    """Adds at each step the two values that make the accumulated error, of one sign, grow most."""
    n = len(terms)
    values = round_nearest(terms, fmt).astype(np.float64)
    alive, steps = list(range(n)), []
    while len(alive) > 1:
        a, b = np.triu_indices(len(alive), 1)
        held = values[alive]
        with np.errstate(all="ignore"):
            sums = round_nearest(odd_sum(held[a], held[b]), fmt).astype(np.float64)
            gained = sign * ((sums - held[a]) - held[b])
        k = int(np.argmax(np.where(np.isnan(gained), -np.inf, gained)))
        i, j = int(a[k]), int(b[k])
        steps.append((alive[i], alive[j]))
        values = np.append(values, sums[k])
        alive = [v for p, v in enumerate(alive) if p not in (i, j)] + [len(values) - 1]
    return Order(n, tuple(steps))


def _better(
    now: Execution, error: float, leaves: _Leaves, exact: tuple[float, float], rng: np.random.Generator
) -> tuple[Execution, float] | None:
    """The best of all neighbours, where one is worse for the sum than `now`."""
    best = max(((how, _error(how, leaves, exact)) for how in _neighbours(now, rng)), key=lambda p: p[1], default=None)
    return best if best is not None and best[1] > error else None


def _neighbours(now: Execution, rng: np.random.Generator) -> Iterator[Execution]:
    n = now.order.leaves
    pairs = [(i, j) for i in range(n) for j in range(i)]
    for i, j in _some(pairs, 3 * n, rng):
        exchanged = list(range(n))
        exchanged[i], exchanged[j] = j, i
        yield replace(now, order=permuted(now.order, exchanged))
    for step in range(1, len(now.order.steps)):
        yield from (replace(now, order=order) for order in _rotated(now.order, step))
    for j in range(len(now.fused)):
        yield replace(now, fused=(*now.fused[:j], not now.fused[j], *now.fused[j + 1 :]))


def _some(pairs: list[tuple[int, int]], most: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    if len(pairs) <= most:
        return pairs
    return [pairs[k] for k in rng.choice(len(pairs), most, replace=False)]


def _rotated(order: Order, step: int) -> Iterator[Order]:
    """(p + q) + r becomes p + (q + r) and q + (p + r), at one step whose first or second operand is a sum."""
    n, steps = order.leaves, list(order.steps)
    for side in (0, 1):
        inner, rest = steps[step][side], steps[step][1 - side]
        if inner < n or rest > inner:  # the inner sum is moved: what it takes up must exist before it
            continue
        p, q = steps[inner - n]
        for kept, taken in ((p, q), (q, p)):
            moved = steps.copy()
            moved[inner - n] = (taken, rest)
            moved[step] = (kept, inner)
            yield Order(n, tuple(moved))


__all__ = ["worst_execution"]
