"""Bounds: how far a sum of products in any order, or in one, may be from its exact value.

`any_order_bound` is the one statement of SEMANTICS.md section 3 in this project: ops, bounds and verifier call it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from torchlean.floats.formats import BINARY32, Format
from torchlean.floats.rounding import F64

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
    flush: bool = True,
    wide: bool = True,
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
    flush      False: subnormals are kept, as IEEE 754 says. Each of at most 2 N roundings then underflows by at most
               half a subnormal, h: the second term is h (1 + g) 2 N, and h (1 + g) N where `wide` is False too
    wide       False: every partial sum is rounded to the format. Then g = N u, which has no higher-order terms, and
               needs no limit on N

    Shapes   broadcast -> float64, rounded up
    Source   SEMANTICS.md section 3; Jeannerod and Rump 2013, doi:10.1137/120894488, theorems 3.1 and 4.2 for N u,
             which docs/floats.md extends to fused products and to underflow
    """
    count = np.asarray(leaves, np.float64)
    unit = fmt.unit_roundoff
    if depth is not None:
        g = growth(depth, unit)
    else:
        g = growth(count, unit) if wide else count * unit  # exact: a power of two
    with np.errstate(over="ignore", invalid="ignore"):
        relative = g * np.asarray(weighted, np.float64)
        if flush:
            underflows = 3 * count + np.asarray(weights, np.float64) + np.asarray(inputs, np.float64)
            absolute = fmt.smallest_normal * (1 + g) * underflows
        else:
            # Half a subnormal of binary64 is no number: the factor 1/2 goes to the count.
            absolute = np.ceil((1 + g) * count * (1.0 if wide else 0.5) * _UP) * fmt.smallest_subnormal
        bound = (relative + absolute) * _UP
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


__all__ = ["any_order_bound", "growth", "stays_finite", "upper_matmul"]
