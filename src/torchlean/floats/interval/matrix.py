"""Matrix products of intervals by midpoints and radii: library products, and a rigorous term for their rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchlean.floats.entries import ROWS, entries
from torchlean.floats.formats import BINARY64
from torchlean.floats.rounding import F64
from torchlean.floats.sums.bounds import growth, upper_matmul

_U, _STEP, _TINY = BINARY64.unit_roundoff, 2.0**-52, BINARY64.smallest_subnormal


def _above(x: F64) -> F64:
    """Above the exact value that the nonnegative x is the nearest float64 number to; at most three steps."""
    return x + (x * _STEP + _TINY)


def midpoints(lo: F64, hi: F64) -> tuple[F64, F64, NDArray[np.bool_]]:
    """Midpoint and radius with [lo, hi] inside middle +- radius; unbounded elements as 0 and 0 and a flag."""
    unbounded = np.isinf(lo) | np.isinf(hi)
    if unbounded.any():
        lo, hi = np.where(unbounded, 0.0, lo), np.where(unbounded, 0.0, hi)
    if np.array_equal(lo, hi):
        return lo, np.zeros(lo.shape), unbounded
    middle = np.where(lo == hi, lo, lo * 0.5 + hi * 0.5)
    radius = np.maximum(hi - middle, middle - lo)
    return middle, np.where(radius > 0, _above(radius), 0.0), unbounded


def matmul_ends(alo: F64, ahi: F64, blo: F64, bhi: F64) -> tuple[F64, F64]:
    """float64 ends around every product of a matrix in the first interval with one in the second.

        middle  fl(mA mB)
        radius  |mA| (rB + g |mB|) + rA (|mB| + rB) + k 2^-1021,   g = (1 + u)^k - 1

    g |mA| |mB| bounds the rounding of the midpoint product in every order of its sums, fused or not, blocked or not, in
    float64 or wider; the last term, which `upper_matmul` adds, covers products that underflow. It does not hold for
    Strassen-like products, which no float64 BLAS in use computes. Two library products where the first factor is a
    point, three otherwise. Radii are computed by nearest operations and a margin.

    Shapes    a: [*s, m, k], b: [*s, k, n] -> two of [*s, m, n]
    Error     at most 1.5 times as wide as the exact hull where both factors have width; else the exact hull, but for
              the rounding term
    Overflow  where a row or column holds an unbounded element, or a product overflows: the whole line
    Source    Rump 1999, doi:10.1023/A:1022374804152; Revol and Theveny 2014, doi:10.1109/TC.2014.2322593, for products
              in an unknown order; g: SEMANTICS.md section 3
    """
    depth = alo.shape[-1]
    (ma, ra, lost_a), (mb, rb, lost_b) = midpoints(alo, ahi), midpoints(blo, bhi)
    size_a, size_b = np.abs(ma), np.abs(mb)
    with np.errstate(all="ignore"):
        middle = np.matmul(ma, mb)
        radius = upper_matmul(size_a, _above(rb + _above(growth(depth, _U) * size_b)))
        if ra.any():
            radius = _above(radius + upper_matmul(ra, _above(size_b + rb)))
        lo, hi = middle - radius, middle + radius
        lo, hi = lo - (np.abs(lo) * _STEP + _TINY), hi + (np.abs(hi) * _STEP + _TINY)
    rows, columns = np.any(lost_a, axis=-1, keepdims=True), np.any(lost_b, axis=-2, keepdims=True)
    lost = rows | columns | ~np.isfinite(middle) | ~np.isfinite(radius)
    if lost.any():
        lo, hi = np.where(lost, -np.inf, lo), np.where(lost, np.inf, hi)
    none = (middle == 0) & ~lost
    if none.any():  # rows whose every product is zero give exactly zero
        used_a, used_b = ((most > 0).astype(np.float64) for most in (size_a + ra, size_b + rb))
        none &= np.matmul(used_a, used_b) == 0
        lo, hi = np.where(none, 0.0, lo), np.where(none, 0.0, hi)
    return lo, hi


def sparse_ends(alo: F64, ahi: F64, w: NDArray[Any]) -> tuple[F64, F64] | None:
    """`matmul_ends` with the transpose of a matrix of points, summed over the entries that are not zero.

    None where that does not pay or is not plain: a small matrix, one of many entries, many rows, or what is not finite.

    Shapes    a: [m, k], w: [n, k] of float32 or float64 -> two of [m, n]
    Error     as `matmul_ends`, k being the most entries of a row of w
    """
    few = entries(w) if alo.ndim == 2 and len(alo) <= ROWS else None
    if few is None:
        return None
    row, column, weight = few[0], few[1], few[2].astype(np.float64)
    middle, radius, lost = midpoints(alo, ahi)
    if not len(row) or lost.any() or not np.isfinite(weight).all():
        return None
    first = np.flatnonzero(np.diff(row, prepend=-1))
    depth = int(np.diff(first, append=len(row)).max())

    def summed(terms: F64) -> F64:
        return np.asarray(np.add.reduceat(terms, first, axis=1))

    with np.errstate(all="ignore"):
        terms, size = middle[:, column] * weight, np.abs(middle[:, column]) * np.abs(weight)
        centre, spread = summed(terms), summed(radius[:, column] * np.abs(weight))
        spread = spread + growth(depth + 1, _U) * summed(size)
        spread = spread * (1 + (depth + 8) * 2.0**-52) + depth * 2.0**-1021
        low, high = centre - spread, centre + spread
        low, high = low - (np.abs(low) * _STEP + _TINY), high + (np.abs(high) * _STEP + _TINY)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        return None
    none = summed(((np.abs(middle) + radius) > 0).astype(np.float64)[:, column]) == 0
    lo, hi = np.zeros((2, len(alo), len(w)))
    lo[:, row[first]], hi[:, row[first]] = np.where(none, 0.0, low), np.where(none, 0.0, high)
    return lo, hi


__all__ = ["matmul_ends", "midpoints", "sparse_ends"]
