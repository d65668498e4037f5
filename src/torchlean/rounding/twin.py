"""The carrier of the analysis: what a value may be in float arithmetic, over the reals, and how far these are apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from torchlean import floats
from torchlean.errors import InternalError
from torchlean.floats import Format
from torchlean.frozen import frozen
from torchlean.meaning import Ranges
from torchlean.meaning.dtypes import kind_of

F64: TypeAlias = NDArray[np.float64]
Bool: TypeAlias = NDArray[np.bool_]


@frozen(eq=False)
class Twin:
    """One value of a program, computed twice from the same inputs.

    real       encloses the real meaning            computed   encloses the float executions
    gap        encloses computed - real, element by element, as float64; infinite where either may be infinite, NaN or
               undefined. Of a discrete value (int, bool): [0, 0] says that both are surely equal
    """

    real: Ranges
    computed: Ranges
    gap: Ranges

    @property
    def dtype(self) -> str:
        return self.real.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self.real.shape

    @property
    def is_float(self) -> bool:
        return kind_of(self.dtype) == "float"

    @property
    def same(self) -> Bool:
        """Where the two computations surely agree."""
        return np.asarray((self.gap.lo == 0) & (self.gap.hi == 0))

    def move(self, f: Callable[[Ranges], Ranges]) -> Twin:
        """The same structural step on all three."""
        return Twin(f(self.real), f(self.computed), f(self.gap))


def ranges(lo: Any, hi: Any) -> Ranges:
    """Numbers of the analysis itself: float64 ends, without NaN."""
    low, high = np.broadcast_arrays(np.asarray(lo, np.float64), np.asarray(hi, np.float64))
    return Ranges(low, high, np.zeros(low.shape, bool), "float64")


def exactly(values: Ranges) -> Twin:
    """A source: both computations start from the same value."""
    return Twin(values, values, ranges(np.zeros(values.shape), 0.0))


def symmetric(error: F64) -> Ranges:
    """[-error, error]."""
    return ranges(-error, error)


def ends(x: Ranges) -> tuple[F64, F64]:
    """The ends as float64, outward: integers beyond 2^53 move by one step."""
    if x.lo.dtype != np.int64:
        return x.lo.astype(np.float64), x.hi.astype(np.float64)
    low, high = x.lo.astype(np.float64), x.hi.astype(np.float64)
    wide = (np.abs(low) > 2.0**53) | (np.abs(high) > 2.0**53)
    return np.where(wide, np.nextafter(low, -np.inf), low), np.where(wide, np.nextafter(high, np.inf), high)


def apart(x: Ranges, y: Ranges) -> Ranges:
    """x - y for values that may be unrelated. Not IntervalReal.sub, which reads one object twice as one value."""
    (x_lo, x_hi), (y_lo, y_hi) = ends(x), ends(y)
    lo, hi = floats.sub_down(x_lo, y_hi), floats.sub_up(x_hi, y_lo)
    return ranges(np.where(np.isnan(lo), -np.inf, lo), np.where(np.isnan(hi), np.inf, hi))


def meet(real: Ranges, computed: Ranges, gap: Ranges) -> Twin:
    """The twin of these three, each made no wider than the other two allow. Raises InternalError if nothing is left."""
    far = apart(computed, real)
    lost = computed.nan | real.nan | ~np.isfinite(far.lo) | ~np.isfinite(far.hi)
    lo = np.where(lost, -np.inf, np.where(gap.nan, far.lo, np.maximum(gap.lo, far.lo)))
    hi = np.where(lost, np.inf, np.where(gap.nan, far.hi, np.minimum(gap.hi, far.hi)))
    if kind_of(real.dtype) == "float":
        low, high = floats.add_down(real.lo, lo), floats.add_up(real.hi, hi)
        low, high = np.where(lost, computed.lo, low), np.where(lost, computed.hi, high)
        tight = np.maximum(computed.lo, low), np.minimum(computed.hi, high)
        computed = Ranges(*tight, computed.nan, computed.dtype)
    if not (bool((lo <= hi).all()) and bool((computed.lo <= computed.hi).all())):
        raise InternalError("an enclosure of something is empty", where="rounding analysis", expected="lo <= hi",
                            got=f"{int((~(lo <= hi)).sum())} differences where it fails",
                            fix="report it with the program and the region")  # fmt: skip
    return Twin(real, computed, ranges(lo, hi))


def onto_grid(lo: F64, hi: F64, fmt: Format) -> tuple[F64, F64]:
    """The ends moved inward onto numbers of the format: the value is one of them."""
    return floats.round_up(lo, fmt).astype(np.float64), floats.round_down(hi, fmt).astype(np.float64)


def rounded(
    x: Twin, error: F64, broken: Any, *, ends: tuple[F64, F64] | None = None, keeps_sign: Any = False,
    may_be_nan: Any = True,
) -> Twin:  # fmt: skip
    """x, whose `computed` is exact on its inputs, as a float result that may be off by `error`.

    ends         how far a result near the lower and the upper end may be off, where less than `error`
    broken       where it may overflow on the way: infinite, and NaN where `may_be_nan`
    keeps_sign   where the result has the exact value's sign or is zero: one rounded operation, whose zero may also
                 come from a flushed subnormal; a sum of terms of one sign

    Shapes   all broadcast to x
    """
    fmt = floats.format_of(x.dtype)
    error = np.broadcast_to(np.asarray(error, np.float64), x.shape)
    broken = np.broadcast_to(broken, x.shape) | ~np.isfinite(error)
    with np.errstate(invalid="ignore"):
        below, above = (error, error) if ends is None else ends
        lo, hi = floats.sub_down(x.computed.lo, below), floats.add_up(x.computed.hi, above)
    lo = np.where(keeps_sign & (x.computed.lo >= 0), np.maximum(lo, 0.0), lo)
    hi = np.where(keeps_sign & (x.computed.hi <= 0), np.minimum(hi, 0.0), hi)
    lo, hi = onto_grid(np.where(broken, -np.inf, lo), np.where(broken, np.inf, hi), fmt)
    lo = np.where(broken & keeps_sign & (x.computed.lo >= 0), 0.0, lo)
    nan = x.computed.nan | (broken & may_be_nan)
    spread = symmetric(error)
    gap = ranges(floats.add_down(x.gap.lo, spread.lo), floats.add_up(x.gap.hi, spread.hi))
    return meet(x.real, Ranges(lo, hi, np.asarray(nan), x.dtype), gap)
