"""Trusted. Functions of one variable: lines below and above on a box, by convexity.

Where f is convex, it is above every tangent; where it is concave, it is least at an end. So for any slope s, the
minimum of f(z) - s z is at least the smallest of f(d) - f'(d) d + (f'(d) - s) z at the ends z of the convex part, d
being any point of it, and of f(z) - s z at the ends of the concave part. Lines above f are lines below -f. A bend that
is known to 2^-36 counts as exact: between it and the true one |f''| < 2^-36 leaves less than 2^-100.
Source  SEMANTICS 5; Zhang et al. 2018, arXiv:1811.00866 (tangents and chords).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from torchlean_check.rules import gate
from torchlean_check.rules.elementary import ERROR, Floats
from torchlean_check.rules.functions import Function, find
from torchlean_check.rules.ranges import Box, interval
from torchlean_check.rules.relu import Lines

Bools = npt.NDArray[np.bool_]
STEPS = 12  # halvings of the search for a tangent: any result is sound


def lines(name: str, lo: Floats, hi: Floats, below: Floats, above: Floats) -> Lines:
    """a z + p <= f(z) <= s z + t on [lo, hi], also after a G and s G are rounded. below, above: where tangents touch,
    as far as they may, from -1 to 1 over the box."""
    f = find(name)
    bend, left = np.full_like(lo, f.bend), np.full(lo.shape, f.convex)
    beyond = np.zeros(lo.shape, np.bool_)
    if f.wave is not None:
        k = np.floor(lo / np.pi + f.wave)
        bend, left = (k + 1.0 - f.wave) * np.pi, k % 2 == 1
        beyond = hi > bend + np.pi
    if f.gate:
        bend, left = np.where(hi > f.bend, f.bend, -f.bend), hi > f.bend
    box = interval(name, lo, hi)
    with np.errstate(all="ignore"):
        a, p = _below(f, 1.0, lo, hi, bend, left, below)
        s, t = _below(f, -1.0, lo, hi, bend, ~left, above)
        if f.gate:
            both, wide = (lo < -f.bend) & (hi > f.bend), (*gate.below(f, lo, hi, below), *gate.above(f, lo, hi))
            a, p, s, t = (np.where(both, new, old) for new, old in zip(wide, (a, p, s, t), strict=True))
        flat = beyond | ~np.isfinite(a + p + s + t + box[0])
    pairs = (0.0, a), (0.0, -s), (box[0], p), (box[1], -t)
    a, s, p, t = (np.where(flat, constant, line) for constant, line in pairs)
    return Lines(a, s, p, t)


def _below(f: Function, sign: float, lo: Floats, hi: Floats, bend: Floats, left: Bools, place: Floats) -> Box:
    """A slope and an offset of a line below sign f, which is convex left of the bend where `left`, else right of it."""

    def value(z: Floats) -> Floats:
        return sign * f.value(z)

    def slope(z: Floats) -> Floats:
        return sign * f.slope(z)

    aim, cut = np.clip(0.5 * lo + 0.5 * hi + place * (0.5 * hi - 0.5 * lo), lo, hi), np.clip(bend, lo, hi)
    outer, far = np.where(left, lo, hi), np.where(left, hi, lo)  # ends of the convex and of the concave part
    at_outer, at_far, at_cut = value(outer), value(far), value(cut)
    convex, concave = cut == far, cut == outer
    chord = np.where(hi > lo, (at_far - at_outer) / (far - outer), 0.0)
    d = np.where(concave, outer, aim)
    mixed = ~(convex | concave)
    tangent = convex
    if mixed.any():
        low, high = np.zeros_like(lo), np.ones_like(lo)  # where the tangent still passes below the far end
        tangent = convex | (mixed & (at_outer + slope(outer) * (far - outer) <= at_far))
        for _ in range(STEPS):
            share = 0.5 * (low + high)
            z = outer + share * (cut - outer)
            fits = value(z) + slope(z) * (far - z) <= at_far
            low, high = np.where(fits, share, low), np.where(fits, high, share)
        span = np.where(mixed, cut - outer, 1.0)
        share = np.minimum(low, np.clip((aim - outer) / span, 0.0, 1.0))
        d = np.where(mixed, np.where(tangent, outer + share * (cut - outer), outer), d)
    at, g = value(d), slope(d)
    s = np.where(tangent, g, chord)
    offset = at - g * d + np.minimum((g - s) * outer, (g - s) * cut)
    ends = np.minimum(at_cut - s * cut, at_far - s * far)
    p = np.where(concave, ends, np.where(convex, offset, np.minimum(offset, ends)))
    size = np.maximum(np.abs(lo), np.abs(hi))
    loss = np.abs(at_outer) + np.abs(at_far) + np.abs(at_cut) + np.abs(at) + 1.0
    return s, p - 8.0 * ERROR * (loss + np.where(concave, np.abs(s), np.abs(s) + np.abs(g) + 1.0) * size)
