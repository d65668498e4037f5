"""Lines of comparisons and of logic, whose results are the numbers 0 and 1.

Shapes   boxes, slopes, biases: [*s], broadcast
"""

from __future__ import annotations

from typing import Any

import numpy as np

from torchlean.ops.lines import Lines, slack


def less_relax(xp: Any, boxes: Any, slope: Any | None = None) -> Lines:
    """x < y: a step of d = y - x at 0."""
    (lx, hx), (ly, hy) = boxes
    return _step(xp, boxes, hx < ly, lx >= hy, slope)


def less_equal_relax(xp: Any, boxes: Any, slope: Any | None = None) -> Lines:
    """x <= y: a step of d = y - x at 0."""
    (lx, hx), (ly, hy) = boxes
    return _step(xp, boxes, hx <= ly, lx > hy, slope)


def _step(xp: Any, boxes: Any, always: Any, never: Any, slope: Any | None) -> Lines:
    """Where d may have either sign, with s = t / |end|, t in [0, 1] (`slope`):

        s d <= step(d)        s = t / (largest d): at most 0 for d <= 0, at most 1 beyond
        step(d) <= 1 + s d    s = t / -(least d): at least 0 for d <= 0, at least 1 beyond

    By default t is 0 or 1, whichever line is nearer to the step on the whole. Both sides of the step are enclosed at 0.
    """
    (lx, hx), (ly, hy) = boxes
    with np.errstate(all="ignore"):
        size = xp.abs(lx) + xp.abs(hx) + xp.abs(ly) + xp.abs(hy)
        least, most = ly - hx - slack(xp, size), hy - lx + slack(xp, size)
        zero, one = xp.zeros_like(size), xp.ones_like(size)
        open_ = ~(always | never)
        smaller = 1 - 4 * float(xp.finfo(size.dtype).eps)

        def rate(end: Any, t: Any) -> Any:
            s = smaller * t / xp.where(open_, end, one)
            return xp.where(open_ & xp.isfinite(s), s, zero)

        free = None if slope is None else xp.clip(slope, 0.0, 1.0) * one
        low = rate(most, xp.where(most >= -least, one, zero) if free is None else free)
        high = rate(-least, xp.where(-least >= most, one, zero) if free is None else free)
    return Lines((-low, low), xp.where(always, one, zero), (-high, high), xp.where(never, zero, one))


def equal_relax(xp: Any, boxes: Any, slope: Any | None = None) -> Lines:
    """x == y: constants; `slope` is unused."""
    (lx, hx), (ly, hy) = boxes
    zero = xp.zeros_like(lx) + xp.zeros_like(ly)
    always, never = (lx == hx) & (ly == hy) & (lx == ly), (hx < ly) | (hy < lx)
    return Lines((zero, zero), xp.where(always, zero + 1, zero), (zero, zero), xp.where(never, zero, zero + 1))


def logical_and_relax(xp: Any, boxes: Any, slope: Any | None = None) -> Lines:
    """t (x + y - 1) <= x and y, t in [0, 1] (`slope`), by default 1 where one of them is surely true. Above: the one
    that is not known to be true, or the mean of both.
    """
    (lx, hx), (ly, hy) = boxes
    zero = xp.zeros_like(lx) + xp.zeros_like(ly)
    t = xp.where(lx + ly > 0, zero + 1, zero) if slope is None else xp.clip(slope, 0.0, 1.0) + zero
    first = xp.where((hx <= 0) | (ly > 0), zero + 1, xp.where((hy <= 0) | (lx > 0), zero, zero + 0.5))
    return Lines((t, t), -t, (first, 1 - first), zero)


def logical_or_relax(xp: Any, boxes: Any, slope: Any | None = None) -> Lines:
    """x or y = not (not x and not y): the lines of `logical_and_relax`, turned over."""
    made = logical_and_relax(xp, tuple((1 - hi, 1 - lo) for lo, hi in boxes), slope)
    (t, _), (first, second) = made.lower, made.upper
    bias = xp.where(t == 1, 0 * t, 1 - t + slack(xp, 1 + t))  # at least 1 - t; exact where it is 0
    return Lines((first, second), 0 * t, (t, t), xp.where(t == 0, 1 + 0 * t, bias))


def logical_not_relax(xp: Any, boxes: Any, slope: Any | None = None) -> Lines:
    """1 - x."""
    one = xp.ones_like(boxes[0][0])
    return Lines((-one,), one, (-one,), one)
