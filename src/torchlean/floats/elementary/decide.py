"""Correct rounding: rules, then the kernel's band, then balls.

A kernel's value y with a relative band b says that the function lies in [y - b |y|, y + b |y|]. Where both ends round
to one number, that number is the answer. The few arguments left undecided, and those with a special value, go through
the rules; exclusive bounds of the function cut the band; what is still undecided is left to Arb.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchlean.errors import UsageError
from torchlean.floats.elementary.arb import value
from torchlean.floats.elementary.function import Function
from torchlean.floats.elementary.table import ELEMENTARY, FUNCTIONS
from torchlean.floats.formats import BINARY32, Format, format_of, next_down, next_up
from torchlean.floats.rounding import F64, Rounding, round_down, round_nearest, round_up

CHUNK = 1 << 14  # elements: a dozen float64 buffers of a kernel stay in the second-level cache
_SLACK = 2.0**-52  # for the two roundings of an end of the band


def function(name: str) -> Function:
    try:
        return FUNCTIONS[name]
    except KeyError:
        raise UsageError(
            "no elementary function of this name",
            where="floats.elementary",
            expected=", ".join(ELEMENTARY),
            got=name,
            fix="use one of these names",
        ) from None


def rounded(
    name: str,
    x: NDArray[Any],
    mode: Rounding = Rounding.NEAREST,
    fmt: Format | None = None,
    *,
    second: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """A function's value at each element, correctly rounded.

    name     one of ELEMENTARY
    fmt      the format of the result; None: that of x
    second   the second argument of pow (the exponent), hypot, and atan2 (the abscissa; x is the ordinate)

    Shapes   x, second: [*s], broadcast, of one float dtype -> [*s] of the format's dtype
    Error    one rounding of the exact value: at most half an ulp to nearest, below one ulp directed
    Domain   NaN gives NaN, and so does an argument outside of the domain; poles and infinities give their limits. The
             special values of IEEE 754-2019, 9.2.1, for the functions that it lists.
    Zeros    f(-0) = -0 where f is odd, and for silu and gelu; other exact zero results are +0
    Speed    up to binary32: tens of millions of elements a second (bench/elementary.py); binary64: tens of thousands
    """
    f = function(name)
    arguments = _arguments(f, x, second)
    if not isinstance(mode, Rounding):
        raise UsageError(
            "a rounding mode is a member of Rounding",
            where=f"floats.rounded, {name}",
            expected=", ".join(f"Rounding.{m.name}" for m in Rounding),
            got=repr(mode),
            fix="pass one of these",
        )
    source = format_of(arguments[0].dtype)
    target = fmt or source
    out = np.empty(arguments[0].shape, target.dtype)
    flat, places = [a.reshape(-1) for a in arguments], out.reshape(-1)
    with np.errstate(all="ignore"):
        if name == "sqrt" and mode is Rounding.NEAREST and target == source:
            return np.sqrt(arguments[0], out=out)  # IEEE 754: correctly rounded; through float32 in narrower formats
        fast = _within_binary32(source) and _within_binary32(target)
        for first in range(0, out.size, CHUNK):
            part = slice(first, first + CHUNK)
            wide = [np.ascontiguousarray(a[part], np.float64) for a in flat]
            (_by_kernel if fast else _by_ball)(f, wide, target, mode, places[part])
    return out


def _arguments(f: Function, x: NDArray[Any], second: NDArray[Any] | None) -> tuple[NDArray[Any], ...]:
    x = np.asarray(x)
    if (second is not None) != (f.arity == 2):
        raise UsageError(
            f"{f.name} takes {f.arity} argument{'s' if f.arity == 2 else ''}",
            where=f"floats.rounded, {f.name}",
            expected="x and second" if f.arity == 2 else "x alone",
            got="x alone" if second is None else "x and second",
            fix="pass second=..." if second is None else "leave second out",
        )
    if second is None:
        return (x,)
    second = np.asarray(second)
    if x.dtype != second.dtype:
        raise UsageError(
            "two formats are not mixed",
            where=f"floats.rounded, {f.name}",
            expected=f"second of dtype {x.dtype.name}, as x",
            got=second.dtype.name,
            fix="cast one of them",
        )
    return tuple(np.broadcast_arrays(x, second))


def _within_binary32(fmt: Format) -> bool:
    return fmt.precision <= BINARY32.precision and BINARY32.emin <= fmt.emin and fmt.emax <= BINARY32.emax


def _by_kernel(f: Function, x: list[F64], fmt: Format, mode: Rounding, out: NDArray[Any]) -> None:
    """One chunk, of binary32 numbers at most."""
    y = f.kernel.evaluate(*x)
    band = f.kernel.band + _SLACK
    if fmt == BINARY32 and mode is Rounding.NEAREST:
        other = np.empty_like(out)
        np.multiply(y, 1.0 - band, out=out, casting="same_kind")
        np.multiply(y, 1.0 + band, out=other, casting="same_kind")
    else:
        out[...], other = (into(y * side, fmt, mode) for side in (1.0 - band, 1.0 + band))
    undecided = out != other
    exceptions = special(f, x)
    if exceptions is not None:
        undecided |= exceptions
    if undecided.any():
        index = np.flatnonzero(undecided)
        out[index] = _resolve(f, [a[index] for a in x], fmt, mode)


def special(f: Function, x: list[F64]) -> NDArray[np.bool_] | None:
    """Where the kernel promises nothing. None where that is nowhere, which costs a few reductions."""
    if f.arity == 2:  # a zero, an infinity or a NaN makes this quotient other than 1
        sizes = np.abs(x[0]) * np.abs(x[1])
        return ~((sizes > 0) & (sizes < np.inf))
    only, (low, high) = x[0], f.plain
    if only.min() > low and only.max() < high and not (f.zeros and not only.all()):
        return None
    ordinary = (only > low) & (only < high)
    if f.zeros:
        ordinary &= only != 0
    return np.asarray(~ordinary)


def _resolve(f: Function, x: list[F64], fmt: Format, mode: Rounding) -> NDArray[Any]:
    """Rules, and the band cut by exclusive bounds, then balls."""
    values, settled = f.rule(*x)
    out = into(values, fmt, mode)
    index = np.flatnonzero(~settled)
    if not index.size:
        return out
    x = [a[index] for a in x]
    bounds = f.between(*x) if f.between is not None else None
    if f.alike is not None:
        x = list(f.alike(*x))
    y = f.kernel.evaluate(*x)
    width = np.abs(y) * (f.kernel.band + _SLACK)
    low, high = y - width, y + width
    if bounds is not None:
        # No boundary of a format up to binary32 lies between a bound and the next float64, nor at the latter.
        low = np.fmax(low, np.nextafter(bounds[0], np.inf))
        high = np.fmin(high, np.nextafter(bounds[1], -np.inf))
    down, up = into(low, fmt, mode), into(high, fmt, mode)
    for i in np.flatnonzero(~((down == up) & np.isfinite(y))).tolist():
        down[i] = value(f, tuple(float(a[i]) for a in x), fmt, mode)
    out[index] = down
    return out


def _by_ball(f: Function, x: list[F64], fmt: Format, mode: Rounding, out: NDArray[Any]) -> None:
    values, settled = f.rule(*x)
    out[...] = into(values, fmt, mode)
    alike = f.alike(*x) if f.alike is not None else x
    for i in np.flatnonzero(~settled).tolist():
        out[i] = value(f, tuple(float(a[i]) for a in alike), fmt, mode)


def into(x: F64, fmt: Format, mode: Rounding) -> NDArray[Any]:
    """x rounded once to the format, in any mode.

    Shapes   x: [*s] float64 -> [*s] of the format's dtype
    """
    with np.errstate(all="ignore"):
        return _into(x, fmt, mode)


def _into(x: F64, fmt: Format, mode: Rounding) -> NDArray[Any]:
    if fmt.precision == 53:
        return x
    if mode is Rounding.NEAREST:
        return round_nearest(x, fmt)
    if mode is Rounding.UP:
        return round_up(x, fmt)
    if mode is Rounding.DOWN:
        return round_down(x, fmt)
    inner = np.where(np.signbit(x), round_up(x, fmt), round_down(x, fmt)).astype(fmt.dtype)
    if mode is Rounding.TOWARD_ZERO:
        return inner
    back = inner.astype(np.float64)
    if mode is Rounding.TO_ODD:
        bits = inner.view(f"u{inner.itemsize}")
        return (bits | (back != x)).view(fmt.dtype)
    outer = np.where(np.signbit(x), next_down(inner), next_up(inner)).astype(np.float64)
    step = np.where(np.abs(back) == fmt.max, np.ldexp(1.0, fmt.emax - fmt.precision + 1), np.abs(outer - back))
    away = np.isfinite(x) & (back != x) & (np.abs(x) >= np.abs(back) + step * 0.5)
    return np.where(away, outer, back).astype(fmt.dtype)
