"""Elementary functions of intervals: monotone ones end by end, the others through `floats.enclosure`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from torchlean.errors import DomainError
from torchlean.floats.interval.carrier import Interval, enclose
from torchlean.floats.rounding import Rounding

INCREASING = frozenset({
    "exp", "exp2", "expm1", "log", "log1p", "log2", "log10", "asin", "atan", "sinh", "tanh", "asinh", "acosh", "atanh",
    "sigmoid", "erf", "softplus", "cbrt", "sqrt",
})  # fmt: skip
DECREASING = frozenset({"acos"})


def apply(name: str, x: Interval) -> Interval:
    """The range of one of `floats.ELEMENTARY` over each interval, rounded outward.

    Error    monotone functions: the smallest interval of the format. Others (sin and cos with their extrema inside,
             and whatever `floats.enclosure` knows): binary64 ends within two ulps, then rounded outward
    Domain   DomainError where a number inside is outside the domain; its closed ends are inside: log over [0, 1] is
             (-inf, 0]
    Errors   UsageError for a name that is not in `floats.ELEMENTARY`, and for a function of two arguments
    """
    from torchlean.floats.elementary import enclosure, rounded

    if name in INCREASING or name in DECREASING:
        start, stop = (x.lo, x.hi) if name in INCREASING else (x.hi, x.lo)
        low, high = rounded(name, start, Rounding.DOWN), rounded(name, stop, Rounding.UP)
        _defined(name, x, np.isnan(low) | np.isnan(high) | (low == np.inf) | (high == -np.inf))
        return Interval(low, high)
    most = x.lo.dtype.type(x.fmt.max)
    probes = [rounded(name, np.clip(end, -most, most), Rounding.DOWN) for end in (x.lo, x.hi)]
    _defined(name, x, np.isnan(probes[0]) | np.isnan(probes[1]))
    return enclose(*enclosure(name, x.lo.astype(np.float64), x.hi.astype(np.float64)), x.fmt)


def _defined(name: str, x: Interval, outside: NDArray[np.bool_]) -> None:
    if outside.any():
        index = tuple(int(i) for i in np.argwhere(outside)[0])
        raise DomainError(
            f"{name} is not defined on the whole interval",
            where="floats.interval.apply" + (f", element {index}" if index else ""),
            expected="intervals inside the domain",
            got=f"[{float(x.lo[index])!r}, {float(x.hi[index])!r}] and {int(outside.sum()) - 1} more",
            fix="intersect with the domain where the values are known to lie in it",
        )


__all__ = ["DECREASING", "INCREASING", "apply"]
