"""Lines around a smooth function that is convex on some pieces of the line and concave on the others.

The lower line of slope s, any number. Where f is concave, f(v) - s v is least at an end: an end of the box, or a point
that belongs to a convex piece, too. On a convex piece, cut to the box as [c, d], convexity gives for any p in it, with
D between the bounds of f'(p),

    f(v) - s v >= f(p) - s p - max(0, s - D)(d - p) - max(0, D - s)(p - c).

Hence the bias: the least of the gaps at both ends of the box and of the right sides above. Nothing is assumed of s and
p. p is searched for where f'(p) = s, so that nothing is lost but rounding. The upper line is the negative of the lower
one of -f. A knot between two pieces is known to an error e of 2^-25 and a rounding, and there f'' = 0, so that the
function differs by at most e^2 |f'''| times the width from one that bends as told; |f'''| <= 2 for the functions here.

Shapes   boxes, slopes, biases: [*s]
Source   Zhang et al. 2018, arXiv:1811.00866, section 3.2; Shi et al. 2024, arXiv:2405.21063, appendix (gelu)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from torchlean.ops.curves import Curve, Pair
from torchlean.ops.lines import Lines, below

HALVINGS = 26  # of a search for a touching point: any point is sound
Piece = tuple[float, float]


def pieced(
    xp: Any, box: Pair, curve: Curve, convex: Sequence[Piece], concave: Sequence[Piece], free: Any | None, hull: Pair
) -> Lines:
    """The lines of a curve whose `convex` and `concave` pieces cover the real line.

    The slope is that of the chord, of the tangent at the middle, or of a tangent through an end of the box, whichever
    line is the closest at the middle, hence on the whole; `free` in [0, 1] goes from the least of these slopes to the
    largest, in both lines.

    hull   constants below and above f on the box, for where a slope or a bias overflows
    """
    lo, hi = box
    with np.errstate(all="ignore"):
        slope, bias = _under(xp, lo, hi, curve, convex, free, hull[0])
        upper, most = _under(xp, lo, hi, curve.negated(), concave, free, -hull[1])
    return Lines((slope,), bias, (-upper,), -most)


def _under(xp: Any, lo: Any, hi: Any, curve: Curve, convex: Sequence[Piece], free: Any | None, least: Any) -> Pair:
    inside = [(xp.minimum(xp.clip(lo, a, None), hi), xp.maximum(xp.clip(hi, None, b), lo)) for a, b in convex]
    meets = [(lo <= b) & (hi >= a) for a, b in convex]
    at_lo, at_hi = curve.value(lo)[0], curve.value(hi)[0]
    middle, width = lo / 2 + hi / 2, hi - lo
    chord = xp.where(width > 0, (at_hi - at_lo) / xp.where(width > 0, width, xp.ones_like(lo)), curve.rate(lo)[0])
    slopes = [chord, curve.rate(middle)[0], *_through_ends(xp, lo, hi, curve, inside, meets, chord)]
    info = xp.finfo(lo.dtype)
    slopes = [xp.where(xp.abs(s) < float(info.max), s, xp.zeros_like(s)) for s in slopes]
    if free is not None:
        first, last = slopes[0], slopes[0]
        for s in slopes[1:]:
            first, last = xp.minimum(first, s), xp.maximum(last, s)
        slopes = [first + xp.clip(free, 0.0, 1.0) * (last - first)]
    knot = max((abs(k) for piece in convex for k in piece if abs(k) < np.inf), default=0.0)
    lost = 8 * (float(info.eps) * knot + (2.0**-25 if knot else 0.0)) ** 2
    best: Pair | None = None
    for s in slopes:
        points = [(lo, at_lo), (hi, at_hi)]
        for (c, d), held in zip(inside, meets, strict=True):
            p = _where_rate_is(xp, c, d, curve, s)
            down, up = curve.rate(p)
            zero = xp.zeros_like(p)
            right = xp.where(d > p, xp.maximum(s - down, zero) * (d - p), zero)
            left = xp.where(p > c, xp.maximum(up - s, zero) * (p - c), zero)
            touched = curve.value(p)[0] - (left + right) * (1 + 8 * float(info.eps))
            points.append((xp.where(held, p, lo), xp.where(held, touched, at_lo)))
        bias = below(xp, s, points) - lost * width
        sound = (xp.abs(bias) < float(info.max)) & (xp.abs(s * lo) < float(info.max))
        s, bias = xp.where(sound, s, xp.zeros_like(s)), xp.where(sound, bias, least)
        if best is None:
            best = s, bias
        else:
            better = s * middle + bias > best[0] * middle + best[1]
            best = xp.where(better, s, best[0]), xp.where(better, bias, best[1])
    assert best is not None
    return best


def _where_rate_is(xp: Any, c: Any, d: Any, curve: Curve, slope: Any) -> Any:
    """The point of the convex piece [c, d] where the rate, which increases, passes `slope`; else the nearer end."""
    first, last = c, d
    for _ in range(HALVINGS):
        p = first / 2 + last / 2
        low = curve.rate(p)[0] < slope
        first, last = xp.where(low, p, first), xp.where(low, last, p)
    return xp.where(curve.rate(c)[0] >= slope, c, xp.where(curve.rate(d)[0] <= slope, d, last))


def _through_ends(
    xp: Any, lo: Any, hi: Any, curve: Curve, inside: Sequence[Pair], meets: Sequence[Any], otherwise: Any
) -> list[Any]:
    """Slopes of the tangents of convex pieces through (lo, f(lo)) and through (hi, f(hi))."""
    found = []
    for (c, d), held in zip(inside, meets, strict=True):
        for end, sign in ((lo, -1.0), (hi, 1.0)):
            target = curve.value(end)[0]
            first, last = (d, c) if sign < 0 else (c, d)  # from the side of the piece away from the end
            for _ in range(HALVINGS):
                p = first / 2 + last / 2
                fits = curve.value(p)[0] + curve.rate(p)[0] * (end - p) <= target
                first, last = xp.where(fits, p, first), xp.where(fits, last, p)
            found.append(xp.where(held, curve.rate(first)[0], otherwise))
    return found


__all__ = ["Piece", "pieced"]
