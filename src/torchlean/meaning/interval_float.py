"""IntervalFloat: enclosures of every float execution, in any order of sums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from torchlean import floats
from torchlean.floats import upper_matmul
from torchlean.floats.interval import ends
from torchlean.meaning.interval_structure import Operand
from torchlean.meaning.interval_system import EXACT, F64, IntervalReal, holds_zero
from torchlean.meaning.ranges import Fold, Ranges

CORRECTLY_ROUNDED: Mapping[str, tuple[float, float]] = MappingProxyType({})


class IntervalFloat(IntervalReal):
    """Number system that encloses every float execution in the declared dtypes.

    Elementwise   the ends are rounded to the dtype, since rounding is monotone; a range that meets the subnormals also
                  holds 0, since they may be flushed
    Folds         widened by floats.any_order_bound: every order, fused or not; NaN and infinities where a partial sum
                  may overflow. A term added to a fold's result (a bias) counts as one more leaf of it.
    Not covered   an op computed by another formula than its definition: `widen` the real enclosure by its rounding rule
    tolerances    operation -> (a, r): an implementation may differ from the exact value f by a + r |f|, clamped to
                  nothing; operations not named are rounded once (the reference executor)
    """

    name = "interval(float)"

    def __init__(self, tolerances: Mapping[str, tuple[float, float]] = CORRECTLY_ROUNDED) -> None:
        self.tolerances = tolerances

    def _source(self, x: Ranges) -> Ranges:
        return _with_zero(x) if self._is_float(x) else x

    def _divided_by_zero(self, x: Ranges) -> Any:
        return holds_zero(x)

    def _rounded(self, name: str, lo: F64, hi: F64, nan: Any, dtype: str) -> Ranges:
        fmt = floats.format_of(dtype)
        lo, hi = np.asarray(lo, np.float64), np.asarray(hi, np.float64)
        if name in self.tolerances:
            absolute, relative = (np.asarray(t, np.float64) for t in self.tolerances[name])
            lo = floats.sub_down(lo, floats.add_up(absolute, floats.mul_up(relative, np.abs(lo))))
            hi = floats.add_up(hi, floats.add_up(absolute, floats.mul_up(relative, np.abs(hi))))
            lo, hi = np.where(np.isnan(lo), -np.inf, lo), np.where(np.isnan(hi), np.inf, hi)
        near_lo, near_hi = (floats.round_nearest(end, fmt).astype(np.float64) for end in (lo, hi))
        return _with_zero(Ranges(near_lo, near_hi, np.broadcast_to(nan, lo.shape), dtype))

    def widen(self, x: Ranges, error: F64) -> Ranges:
        """x, whose values are exact, as a float result that may be off by `error`: an op's `rounding` rule.

        Where exact value plus error reaches 2^emax, the result may be infinite or NaN.

        Shapes   error: broadcasts to x
        """
        fmt = floats.format_of(x.dtype)
        size = np.maximum(np.abs(x.lo), np.abs(x.hi))
        return self._widened(x, error, ~floats.stays_finite(size, error, fmt))

    def _widened(self, x: Ranges, error: Any, overflows: Any) -> Ranges:
        fmt = floats.format_of(x.dtype)
        # The result is a number of the format, so the ends may be rounded inward onto it.
        lo = floats.round_up(floats.sub_down(x.lo, error), fmt).astype(np.float64)
        hi = floats.round_down(floats.add_up(x.hi, error), fmt).astype(np.float64)
        lo, hi = np.where(overflows, -np.inf, lo), np.where(overflows, np.inf, hi)
        return _with_zero(Ranges(lo, hi, np.asarray(x.nan | overflows), x.dtype))

    def _folded(self, x: Ranges, weighted: Any, leaves: Any, weights: Any, inputs: Any) -> Ranges:
        fmt = floats.format_of(x.dtype)
        error = floats.any_order_bound(weighted, leaves, weights, inputs, fmt=fmt)
        result = self._widened(x, error, ~floats.stays_finite(weighted, error, fmt))
        parts = (np.broadcast_to(np.asarray(p, np.float64), x.shape) for p in (weighted, leaves, weights, inputs))
        return replace(result, fold=Fold(x.lo, x.hi, *parts))

    def add(self, x: Operand, y: Operand) -> Ranges:
        """Where one operand is a fold, the other is one more leaf: it may be added anywhere in its order."""
        a, b = self._pair(x, y)
        if (a.fold is None) == (b.fold is None):
            return super().add(a, b)
        summed, other = (a, b) if a.fold is not None else (b, a)
        fold = summed.fold
        assert fold is not None
        exact = EXACT.add(Ranges(fold.lo, fold.hi, summed.nan, summed.dtype), replace(other, fold=None))
        size = np.maximum(np.abs(other.lo), np.abs(other.hi))
        weighted = floats.add_up(fold.weighted, size)
        result = self._folded(exact, weighted, fold.leaves + (size > 0), fold.weights, fold.inputs)
        return replace(result, fold=None)

    def _folded_products(self, exact: Ranges, a: Ranges, b: Ranges) -> Ranges:
        most_a, most_b = ends.magnitudes(a.lo, a.hi)[1], np.swapaxes(ends.magnitudes(b.lo, b.hi)[1], -1, -2)
        used_a, used_b = (most_a > 0).astype(np.float64), (most_b > 0).astype(np.float64)
        with np.errstate(all="ignore"):
            leaves = np.matmul(used_a, used_b)  # counts: exact
        return self._folded(
            exact, upper_matmul(most_a, most_b), leaves, upper_matmul(used_a, most_b), upper_matmul(most_a, used_b)
        )


def _with_zero(x: Ranges) -> Ranges:
    """A range that meets the subnormals (or the smallest normal, which may have been flushed) also holds 0."""
    smallest = floats.format_of(x.dtype).smallest_normal
    lo = np.where((x.lo > 0) & (x.lo <= smallest), 0.0, x.lo)
    hi = np.where((x.hi < 0) & (x.hi >= -smallest), -0.0, x.hi)
    return Ranges(lo, hi, x.nan, x.dtype)


__all__ = ["CORRECTLY_ROUNDED", "IntervalFloat"]
