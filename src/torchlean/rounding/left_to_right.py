"""LeftToRight: what the reference executor rounds. One order, no FMA, no flush: each operation rounds once.

The error of a left fold is summed step by step from the magnitude of each partial sum, which for a long sum of small
terms is far below the any-order bound.

Source   Jeannerod and Rump 2013, doi:10.1137/120894488: rounding to nearest errs by at most u |z| / (1 + u), so by
         u |z|; Higham 2002, section 3.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from torchlean import floats
from torchlean.bounds.rounding import magnitude
from torchlean.floats import Format
from torchlean.meaning import Ranges, structure
from torchlean.meaning.float_system import Float
from torchlean.rounding.differences import Differences, Operand
from torchlean.rounding.twin import F64, Twin, meet, ranges, rounded, symmetric

UP = 1.0 + 2.0**-40  # covers the float64 roundings of an error that is itself summed in float64


class LeftToRight(Differences):
    """Number system over twins whose `computed` encloses the reference execution (`meaning.Float`)."""

    name = "differences(reference)"

    def _result(self, name: str, real: Ranges, computed: Ranges, gap: Ranges) -> Twin:
        """One rounding to nearest, ties to even."""
        fmt = floats.format_of(computed.dtype)
        exact = meet(real, computed, gap)
        before = exact.computed
        error = fmt.unit_roundoff * magnitude(before)
        if name not in ("add", "sub"):  # a sum in the subnormal range is exact
            error = np.maximum(error, fmt.smallest_subnormal / 2)
        lo, hi = (floats.round_nearest(end, fmt).astype(np.float64) for end in (before.lo, before.hi))
        untouched = (before.lo == before.hi) & (lo == before.lo)
        error = np.where(untouched, 0.0, error * UP)
        spread = symmetric(np.where(np.isnan(error), np.inf, error))
        gap = ranges(floats.add_down(exact.gap.lo, spread.lo), floats.add_up(exact.gap.hi, spread.hi))
        return meet(real, Ranges(lo, hi, before.nan, computed.dtype), gap)

    def sum(self, x: Twin, axes: Sequence[int], keepdims: bool = False) -> Twin:
        exact = super().sum(x, axes, keepdims)
        if not x.is_float:
            return exact
        lo, hi = (structure.reduced_first(end, axes)[0] for end in (x.computed.lo, x.computed.hi))
        terms = ((a, b, np.zeros(np.shape(a))) for a, b in zip(lo, hi, strict=True))
        return self._after_fold(exact, terms, lambda a: structure.restored(a, x.shape, axes, keepdims))

    def dot(self, x: Operand, w: Operand) -> Twin:
        a, b = self._pair(x, w)
        exact = super().dot(a, b)
        if not a.is_float:
            return exact
        fmt = floats.format_of(a.dtype)
        factors = [(np.moveaxis(t.computed.lo, -1, 0), np.moveaxis(t.computed.hi, -1, 0)) for t in (a, b)]

        def products() -> Iterable[tuple[F64, F64, F64]]:
            (x_lo, x_hi), (w_lo, w_hi) = factors
            with np.errstate(all="ignore"):
                for k in range(len(x_lo)):
                    four = [p[..., :, None] * q[..., None, :] for p in (x_lo[k], x_hi[k]) for q in (w_lo[k], w_hi[k])]
                    lo, hi = np.minimum.reduce(four), np.maximum.reduce(four)
                    size = np.maximum(np.abs(lo), np.abs(hi))
                    yield lo, hi, np.where(size > 0, np.maximum(fmt.unit_roundoff * size, fmt.smallest_subnormal), 0.0)

        return self._after_fold(exact, products(), lambda e: e)

    def scatter_add(self, x: Twin, indices: Operand, axis: int, size: int) -> Twin:
        """Terms arrive in index order; where the indices are not sure, every term may arrive everywhere."""
        exact = super().scatter_add(x, indices, axis, size)
        at = self._lift(indices)
        if not x.is_float:
            return exact
        sure = bool(at.same.all() and (at.real.lo == at.real.hi).all())
        terms = magnitude(x.computed)
        if sure:
            total = Float().scatter_add(terms, at.real.lo, axis, size)
            count = Float().scatter_add((terms > 0).astype(np.float64), at.real.lo, axis, size)
        else:
            axes = tuple(range(axis % len(x.shape), axis % len(x.shape) + len(at.shape)))
            kept = terms.sum(axis=axes)
            total = np.broadcast_to(np.expand_dims(kept, axes[0]), exact.shape)
            count = np.full(exact.shape, float(np.prod(at.shape)))
        fmt = floats.format_of(x.dtype)
        error = floats.growth(np.maximum(count - 1, 0), fmt.unit_roundoff) * total * UP * (1 + count * 2.0**-50)
        return rounded(exact, error, ~floats.stays_finite(total * UP, error, fmt))

    def _after_fold(self, exact: Twin, terms: Iterable[tuple[F64, F64, F64]], back: Any) -> Twin:
        fmt = floats.format_of(exact.dtype)
        error, broken = left_fold_error(terms, fmt)
        if error.shape == () and exact.shape != ():
            error, broken = np.broadcast_to(error, exact.shape), np.broadcast_to(broken, exact.shape)
            return rounded(exact, error, broken)
        return rounded(exact, back(error), back(broken))


def left_fold_error(terms: Iterable[tuple[F64, F64, F64]], fmt: Format) -> tuple[F64, Any]:
    """How far the fold ((0 + t1) + t2) + ... may be from the sum of the terms' exact values, and where it may overflow.

    terms    lo, hi of each term's exact value, float64 within a relative 2^-52, and how far the float term is from it

    Method   s_j - S_j = (s_(j-1) - S_(j-1)) + error of the term + d, |d| <= u |s_(j-1) + t_j|; d = 0 where t_j = 0
    """
    lo = hi = total = error = np.zeros(())
    broken: Any = np.False_
    count, started = 0, np.zeros((), bool)
    with np.errstate(all="ignore"):
        for low, high, own in terms:
            size = np.maximum(np.abs(low), np.abs(high))
            lo, hi, total, count = lo + low, hi + high, total + size, count + 1
            error = error + own
            partial = np.maximum(np.abs(lo), np.abs(hi)) + (count + 1) * 2.0**-51 * total + error
            present = size > 0
            error = error + np.where(present & started, fmt.unit_roundoff * partial, 0.0)
            started = started | present
            broken = broken | ~(partial + error < 2.0**fmt.emax)
        return np.asarray(error * (1 + (count + 8) * 2.0**-50)), broken
