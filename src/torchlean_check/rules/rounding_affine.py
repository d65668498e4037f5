"""Trusted. Sums and products: float and real enclosures, their difference, and the E of any order (SEMANTICS 3)."""

from __future__ import annotations

import numpy as np

from torchlean_check.twin import TINY, UNIT, Floats, Twin, down, joined, rounded, up


def product(a: Floats, b: Floats) -> Floats:
    """At least a @ b for nonnegative a, b: products in any order err by (k + 2) 2^-53 relatively, or underflow."""
    k = a.shape[-1]
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray((a @ b) * (1 + (k + 8) * 2.0**-52) + k * 2.0**-1020)


def interval_product(a: tuple[Floats, Floats], b: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """All A @ B with A, B in these boxes: midpoints and radii (Rump 1999, doi:10.1023/A:1022374804152)."""
    (ma, ra), (mb, rb) = _middle(*a), _middle(*b)
    with np.errstate(over="ignore", invalid="ignore"):
        middle, size = ma @ mb, product(np.abs(ma), np.abs(mb))
        k = ma.shape[-1]
        radius = product(np.abs(ma), rb) + product(ra, np.abs(mb)) + product(ra, rb) + (k + 8) * 2.0**-53 * size
        radius = radius * (1 + 2.0**-45) + k * 2.0**-1020
        return down(middle - radius), up(middle + radius)


def _middle(lo: Floats, hi: Floats) -> tuple[Floats, Floats]:
    middle = np.where(lo == hi, lo, lo / 2 + hi / 2)
    return middle, np.where(lo == hi, 0.0, up(np.maximum(hi - middle, middle - lo)))


def growth(leaves: Floats, unit: float) -> Floats:
    """At least (1 + u)^N - 1: N u / (1 - N u), infinite where N u >= 1/2 (Higham 2002, lemma 3.1)."""
    t = leaves * unit
    return np.where(t < 0.5, t / (1 - np.minimum(t, 0.5)) * (1 + 2.0**-48), np.inf)


def any_order(dtype: str, total: Floats, leaves: Floats, weights: Floats, inputs: Floats) -> Floats:
    """E = g total + tiny (1 + g)(3 N + weights + inputs), rounded up; 0 without leaves."""
    g = growth(leaves, UNIT[dtype])
    with np.errstate(over="ignore", invalid="ignore"):
        bound = (g * total + TINY[dtype] * (1 + g) * (3 * leaves + weights + inputs)) * (1 + 2.0**-45)
    return np.where(leaves > 0, up(bound + 2.0**-1060), 0.0)


def matmul(x: Twin, w: Twin, bias: Twin | None = None) -> Twin:
    """x @ w + bias as one sum in any order.   Shapes  [*s, m, k], [*s, k, n], bias broadcast to [*s, m, n]"""
    floats = interval_product((x.lo, x.hi), (w.lo, w.hi))
    reals = interval_product((x.real_lo, x.real_hi), (w.real_lo, w.real_hi))
    apart = up(product(x.apart, w.size) + product(x.real_size, w.apart))
    size, some_x, some_w = product(x.size, w.size), _some(x.size), _some(w.size)
    leaves, weights, inputs = some_x @ some_w, product(some_x, w.size), product(x.size, some_w)
    signed = bool((x.lo >= 0).all() and (w.lo >= 0).all())
    if bias is not None:
        floats = down(floats[0] + bias.lo), up(floats[1] + bias.hi)
        reals = down(reals[0] + bias.real_lo), up(reals[1] + bias.real_hi)
        apart, size, leaves = up(apart + bias.apart), up(size + bias.size), leaves + (bias.size > 0)
        signed = False
    return _folded(joined(x.dtype, floats, reals, apart), size, leaves, weights, inputs, signed)


def reduce_sum(x: Twin, axes: tuple[int, ...], keepdims: bool) -> Twin:
    """A sum over axes in any order: the product with ones, along one joined axis."""
    kept = [i for i in range(len(x.shape)) if i not in axes]
    rows = x.move(lambda a: a.transpose([*kept, *axes]).reshape(*(a.shape[i] for i in kept), 1, -1))
    ones = np.ones((rows.shape[-1], 1))
    floats, reals = (interval_product(box, (ones, ones)) for box in ((rows.lo, rows.hi), (rows.real_lo, rows.real_hi)))
    size, leaves = product(rows.size, ones), _some(rows.size) @ ones
    exact = joined(x.dtype, floats, reals, product(rows.apart, ones))
    found = _folded(exact, size, leaves, leaves, size, bool((x.lo >= 0).all()))
    shape = [1 if i in axes else n for i, n in enumerate(x.shape)] if keepdims else [x.shape[i] for i in kept]
    return found.move(lambda a: a.reshape(shape))


def _some(size: Floats) -> Floats:
    """1 where a factor may be nonzero."""
    return (size > 0).astype(np.float64)


def _folded(x: Twin, size: Floats, leaves: Floats, weights: Floats, inputs: Floats, signed: bool) -> Twin:
    """After rounding; NaN, so refused, where a partial sum may overflow."""
    error = any_order(x.dtype, size, leaves, weights, inputs)
    whole = bool((up(size + error) < (2.0**127 if x.dtype == "float32" else 2.0**1023)).all())
    return rounded(x, error if whole else np.full(x.shape, np.inf), signed)
