"""The bound for one order, the left fold: a running sum of magnitudes instead of all of them times the depth."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from torchlean.errors import ShapeError, UsageError
from torchlean.floats.directed import add_down, add_up, mul_up
from torchlean.floats.formats import BINARY32, Format
from torchlean.floats.rounding import F64


def left_fold_bound(
    lower: ArrayLike,
    upper: ArrayLike,
    *,
    products: bool,
    fmt: Format = BINARY32,
    flushed: ArrayLike | None = None,
) -> tuple[F64, NDArray[np.bool_]]:
    """How far ((t_0 + t_1) + t_2) + ... in the format may be from its exact value, and whether it surely stays finite.

    Each step errs by at most v = u / (1 + u) times the magnitude that it rounds, so with S_i the largest magnitude of
    the exact partial sum t_0 + ... + t_i,

        E_i = E_{i-1} + d_i + v (S_i + E_{i-1} + d_i),     d_i = v |t_i| + h where t_i is a product, else 0,

    h half a subnormal. Where the signs of the terms vary, S_i stays far below the sum of magnitudes that
    `any_order_bound` multiplies. Starting at +0 changes nothing. Fusing some products into their additions is covered.

    lower, upper  [*s, n] ends of each exact term (a product w_j x_j, a bias), in the order of the fold; equal for data
    products      whether terms may be products: rounded themselves, unless fused
    flushed       None: subnormals are kept. Else [*s, n] or less: what flushing the operands of a term changes in it at
                  most (tiny (|w_j| + |x_j|) for a product); every result then loses tiny = 2^emin as well

    Shapes   lower, upper: [*s, n] -> two of [*s]; the first is rounded up, inf where the second is False
    Overflow the second result is False where a partial sum may reach 2^emax
    Source   Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 4.2, (4.3); v: Jeannerod and Rump
             2018, doi:10.1090/mcom/3234, theorem 2.1. Additions do not underflow; a fused one may, by half a subnormal.
    """
    lo, hi = np.asarray(lower, np.float64), np.asarray(upper, np.float64)
    if lo.shape != hi.shape or lo.ndim == 0:
        raise ShapeError(
            "the ends of the terms need one shape with an axis to add along",
            where="floats.left_fold_bound",
            expected="lower and upper: [*s, n]",
            got=f"{lo.shape} and {hi.shape}",
            fix="broadcast them first",
        )
    if not (lo <= hi).all():
        raise UsageError(
            "an interval needs lo <= hi, and no NaN",
            where="floats.left_fold_bound",
            expected="lower <= upper at every term",
            got=f"{int((~(lo <= hi)).sum())} terms where it fails",
            fix="order the ends",
        )
    shape = lo.shape[:-1]
    unit = fmt.unit_roundoff / (1 + fmt.unit_roundoff) * (1 + 2.0**-52)  # v, rounded up
    half = fmt.smallest_subnormal / 2 or fmt.smallest_subnormal  # of binary64 there is no half
    tiny = 0.0 if flushed is None else fmt.smallest_normal
    lost = np.broadcast_to(np.asarray(0.0 if flushed is None else flushed, np.float64), lo.shape)
    total_lo, total_hi, error = (np.zeros(shape) for _ in range(3))
    finite = np.ones(shape, bool)
    for i in range(lo.shape[-1]):
        low, high = lo[..., i], hi[..., i]
        size = np.maximum(np.abs(low), np.abs(high))
        term = lost[..., i] + np.zeros(shape)
        if products:
            term = add_up(term, add_up(mul_up(unit, add_up(size, term)), half + tiny))
        if i == 0:
            total_lo, total_hi = low, high
        else:
            total_lo, total_hi = add_down(total_lo, low), add_up(total_hi, high)
        reach = np.maximum(np.abs(total_lo), np.abs(total_hi))
        error = add_up(error, term)
        step = add_up(reach, error)
        if i > 0:  # one term alone is not added to anything; a zero in front of it changes nothing
            error = add_up(error, add_up(mul_up(unit, step), tiny))
        finite &= (step < 2.0**fmt.emax) & (add_up(size, term) < 2.0**fmt.emax)
    return np.where(finite, error, np.inf), finite


__all__ = ["left_fold_bound"]
