"""Lines of products and quotients of two inputs that both vary.

A line here is a plane s x + q y + bias. Any s and q are sound: what is left, f(x, y) - s x - q y, is linear in x, so
its extremes lie at the ends of x; there it is a function of y alone, which the biases are derived from.

Shapes   boxes, slopes: [*s], broadcast
Source   McCormick 1976, doi:10.1007/BF01580665; Xu et al. 2020, arXiv:2002.12920, appendix, for the products' planes
"""

from __future__ import annotations

from typing import Any

import numpy as np

from torchlean.ops.lines import Lines, slack


def mul_relax(xp: Any, boxes: Any, slope: Any | None = None) -> Lines:
    """Between McCormick's two planes on each side: s = ly + t (hy - ly), q = lx + t (hx - lx) below, and the other way
    round in y above; `slope` is t, by default 1/2. x y - s x - q y is linear in y as well: its extremes are corners.
    """
    (lx, hx), (ly, hy) = boxes
    with np.errstate(all="ignore"):
        zero = xp.zeros_like(lx) + xp.zeros_like(ly)
        t = 0.5 + zero if slope is None else xp.clip(slope, 0.0, 1.0) + zero
        q = lx + t * (hx - lx)
        below, above = ly + t * (hy - ly), hy - t * (hy - ly)

        def corners(s: Any) -> tuple[list[Any], Any]:
            found = [(x * y - s * x - q * y, xp.abs(x * y) + xp.abs(s * x) + xp.abs(q * y))
                     for x in (lx, hx) for y in (ly, hy)]  # fmt: skip
            return [gap for gap, _ in found], _largest(xp, [size for _, size in found])

        low, low_size = corners(below)
        high, high_size = corners(above)
        return _finite(
            xp,
            (below + zero, q + zero, -_largest(xp, [-g for g in low]) - 2 * slack(xp, low_size)),
            (above + zero, q + zero, _largest(xp, high) + 2 * slack(xp, high_size)),
        )


def div_relax(xp: Any, boxes: Any, slope: Any | None = None) -> Lines:
    """x / y where y keeps its sign; else the biases are infinite.

    At an end x, the quotient is convex in y where x / y > 0, and there the tangent at any p of y's box lies below it:
    x / y >= x (2 / p - y / p^2). Where it is concave it lies above the same line. On its other side it is bounded by
    the ends of y. s runs from 1 / hy to 1 / ly with `slope`, by default 1 / middle of y; q is that of the tangent at
    the middle, or of the chord, whichever bounds the middle of x on this side.
    """
    (lx, hx), (ly, hy) = boxes
    with np.errstate(all="ignore"):
        zero = xp.zeros_like(lx) + xp.zeros_like(ly)
        lx, hx, ly, hy = (v + zero for v in (lx, hx, ly, hy))
        kept = (ly > 0) | (hy < 0)
        one = zero + 1
        ly, hy = xp.where(kept, ly, one), xp.where(kept, hy, one)
        mx, my = lx / 2 + hx / 2, ly / 2 + hy / 2
        t = None if slope is None else xp.clip(slope, 0.0, 1.0) * one
        s = 1 / my if t is None else (1 - t) / hy + t / ly
        convex = (mx >= 0) == (my > 0)
        tangent, chord = -(mx / my) / my, -(mx / ly) / hy
        under = _extreme(xp, lx, hx, ly, hy, s, xp.where(convex, tangent, chord), 1.0)
        over = _extreme(xp, lx, hx, ly, hy, s, xp.where(convex, chord, tangent), -1.0)
        lost = xp.where(kept, zero, xp.full_like(zero, np.nan))
        return _finite(xp, (s, under[0], under[1] + lost), (s, over[0], over[1] + lost))


def _extreme(xp: Any, lx: Any, hx: Any, ly: Any, hy: Any, s: Any, q: Any, sign: float) -> tuple[Any, Any]:
    """(q, bias) of the plane below (sign 1) or above (sign -1): the least of sign (x / y - s x - q y)."""
    bias: Any = None
    for x in (lx, hx):
        bends = (sign * x > 0) == (ly > 0)  # sign x / y is convex in y
        root = xp.sqrt(xp.abs(x / q))
        p = xp.minimum(xp.maximum(xp.where(ly > 0, root, -root), ly), hy)
        p = xp.where(xp.isfinite(p), p, ly)
        for y in (ly, hy):
            parts = xp.where(bends, y / p, 0 * y)  # x / p may underflow before it is multiplied by this
            fall, value = (x / p) * parts, xp.where(bends, 2 * (x / p), x / y)
            gap = sign * (value - fall - s * x - q * y)
            size = xp.abs(value) + xp.abs(fall) + xp.abs(s * x) + xp.abs(q * y)
            gap = gap - 4 * slack(xp, size) - 4 * float(xp.finfo(y.dtype).smallest_normal) * parts
            bias = gap if bias is None else xp.minimum(bias, gap)
    return q, sign * bias


def _largest(xp: Any, values: list[Any]) -> Any:
    best = values[0]
    for v in values[1:]:
        best = xp.maximum(best, v)
    return best


def _finite(xp: Any, lower: tuple[Any, Any, Any], upper: tuple[Any, Any, Any]) -> Lines:
    """The planes; where one overflowed, no bound: slopes 0 and an infinite bias."""

    def settled(plane: tuple[Any, Any, Any], none: float) -> tuple[Any, Any, Any]:
        good = xp.isfinite(plane[0]) & xp.isfinite(plane[1]) & xp.isfinite(plane[2])
        fill = (0.0, 0.0, none)
        a, b, c = (xp.where(good, v, xp.full_like(v, f)) for v, f in zip(plane, fill, strict=True))
        return a, b, c

    s, q, bias = settled(lower, -np.inf)
    s2, q2, bias2 = settled(upper, np.inf)
    return Lines((s, q), bias, (s2, q2), bias2)
