"""Enclosures of a function over intervals: float64 ends, outward."""

from __future__ import annotations

import math

import flint
import numpy as np
from numpy.typing import NDArray

from torchlean.errors import UsageError
from torchlean.floats.directed import sqrt_down, sqrt_up
from torchlean.floats.elementary.arb import ends as ends_by_ball
from torchlean.floats.elementary.decide import CHUNK, function, special
from torchlean.floats.elementary.function import Branches, Function, Valley, Wave
from torchlean.floats.rounding import F64

_SLACK = 2.0**-52  # for the two roundings of an end of the band


def enclosure(name: str, lo: F64, hi: F64) -> tuple[F64, F64]:
    """float64 bounds of a function of one argument over intervals, outward.

    An interval that leaves the domain is bounded over the part inside; the caller knows that it left. With no part
    inside, the bounds are -inf and inf; so they are where an end is NaN. A pole at an end of the domain has the limit
    from inside, at a zero of either sign.

    Shapes   lo, hi: [*s] float64, lo <= hi -> two of [*s] float64
    Error    each end within 2^-47 relative of the tightest; sqrt: the tightest
    """
    f = function(name)
    lo, hi = np.asarray(lo, np.float64), np.asarray(hi, np.float64)
    _check(f, lo, hi)
    floor, ceiling = f.domain
    outside = ~((hi >= floor) & (lo <= ceiling))
    with np.errstate(all="ignore"):
        inner = (np.where(outside, 1.0, end) for end in (np.maximum(lo, floor), np.minimum(hi, ceiling)))
        low, high = _over(f, *inner)
    outside |= np.isnan(lo) | np.isnan(hi)
    return np.where(outside, -np.inf, low), np.where(outside, np.inf, high)


def _check(f: Function, lo: F64, hi: F64) -> None:
    if f.arity != 1:
        raise UsageError(
            "enclosures are of functions of one argument",
            where=f"floats.enclosure, {f.name}",
            expected="a function of one argument",
            got=f"{f.name}, of {f.arity}",
            fix="write it by functions of one argument: x^y = exp(y log x)",
        )
    crossed = np.flatnonzero(lo > hi)
    if crossed.size:
        i = int(crossed[0])
        raise UsageError(
            "an interval with lo > hi",
            where=f"floats.enclosure, {f.name}, element {i}",
            expected="lo <= hi",
            got=f"[{lo.flat[i]}, {hi.flat[i]}]",
            fix="swap the ends",
        )


def _over(f: Function, lo: F64, hi: F64) -> tuple[F64, F64]:
    if f.name == "sqrt":
        return sqrt_down(lo), sqrt_up(hi)
    shape = f.shape
    if isinstance(shape, Wave):
        left, right = _at(f, lo), _at(f, hi)
        least, greatest = _extrema(shape.offset, lo, hi)
        low, high = np.fmin(left[0], right[0]), np.fmax(left[1], right[1])
        return np.where(least, f.low, low), np.where(greatest, f.high, high)
    if isinstance(shape, Branches):
        broken = np.logical_or(*_extrema(0.5, lo, hi))
        return np.where(broken, -np.inf, _at(f, lo)[0]), np.where(broken, np.inf, _at(f, hi)[1])
    if isinstance(shape, Valley):
        left, right = _at(f, lo), _at(f, hi)
        low = np.where(hi < shape.first, right[0], np.where(lo > shape.last, left[0], shape.least))
        return low, np.maximum(left[1], right[1])
    if not shape.increasing:
        lo, hi = hi, lo
    return _at(f, lo)[0], _at(f, hi)[1]


def _at(f: Function, x: F64) -> tuple[F64, F64]:
    """Bounds of f at each point, within its range; NaN where f is not defined."""
    low, high = np.empty(x.shape), np.empty(x.shape)
    flat, lows, highs = np.ascontiguousarray(x).reshape(-1), low.reshape(-1), high.reshape(-1)
    for first in range(0, flat.size, CHUNK):
        part = slice(first, first + CHUNK)
        lows[part], highs[part] = _chunk(f, flat[part])
    return low, high


def _chunk(f: Function, x: F64) -> tuple[F64, F64]:
    y = f.kernel.evaluate(x)
    width = np.abs(y)
    width *= f.kernel.band + _SLACK
    low, high = y - width, y + width
    nearest, farthest = f.kernel.wide
    size = np.abs(x)
    promised = (size >= nearest) & (size <= farthest)
    exceptions = special(f, [x])
    if exceptions is not None:
        promised &= ~exceptions
    rest = np.flatnonzero(~promised)
    if rest.size:
        values, settled = f.rule(x[rest])
        low[rest] = high[rest] = values
        rest = rest[~settled]
        arguments = f.alike(x[rest])[0] if f.alike is not None else x[rest]
        distinct, where = np.unique(arguments, return_inverse=True)
        pairs = np.array([ends_by_ball(f, a) for a in distinct.tolist()]).reshape(-1, 2)
        low[rest], high[rest] = pairs[where, 0], pairs[where, 1]
    return np.maximum(low, f.low), np.minimum(high, f.high)


_NEAR = 1024.0


def _extrema(offset: float, lo: F64, hi: F64) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether [lo, hi] may hold (k + offset) pi with odd k, and with even k."""
    odd, even = np.ones(lo.shape, bool), np.ones(lo.shape, bool)
    # Near 0 the quotient is known within 2^-40, so that an extremum found in error is 2^-79 away in value.
    near = (np.abs(lo) <= _NEAR) & (np.abs(hi) <= _NEAR)
    first = np.ceil(lo * (1 / math.pi) - offset - 2.0**-41)
    last = np.floor(hi * (1 / math.pi) - offset + 2.0**-41)
    several = last > first
    none = last < first
    is_odd = np.floor(first * 0.5) * 2 != first
    np.copyto(odd, ~none & (several | is_odd), where=near)
    np.copyto(even, ~none & (several | ~is_odd), where=near)
    far = ~near & np.isfinite(lo) & np.isfinite(hi) & (hi - lo < 6.3)
    for i in map(tuple, np.argwhere(far)):
        odd[i], even[i] = _extrema_far(offset, float(lo[i]), float(hi[i]))
    return odd, even


def _extrema_far(offset: float, lo: float, hi: float) -> tuple[bool, bool]:
    with flint.ctx.workprec(1200):  # pi to enough places for 2^1024
        first = (flint.arb(lo) / flint.arb.pi() - offset).lower().ceil().unique_fmpz()
        last = (flint.arb(hi) / flint.arb.pi() - offset).upper().floor().unique_fmpz()
    if first is None or last is None:
        return True, True
    count, odd = int(last) - int(first) + 1, int(first) % 2 == 1
    if count <= 0:
        return False, False
    return (True, True) if count > 1 else (odd, not odd)
