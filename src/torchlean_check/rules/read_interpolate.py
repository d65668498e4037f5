"""Trusted. Linear interpolation along r axes, one after the other. Source: onnx.ai/onnx/operators (Resize).

An axis reads x_i and x_(i+1) at a coordinate c in [0, old - 1], i = floor(c), with weights 1 - w and w, w = c - i. With
u = 2^-24, an execution has c within d = 4 u (n + 2), n the larger size, by at most four roundings; d = 0 where they
round nothing. Interpolation is continuous, and along an axis its slope is at most |x_i| + |x_(i+1)|, each interpolated
along the others with weights up to 1. So this moves a result by at most the sum of d over the axes, times the sum of
|x| over all entries that a c within d reads, the window. Steps a + w (b - a) err by 4 u (|a| + |b|) for each axis, no
more than 4 u times that sum; sums of products by (1 + u)^(2^r + 4 r) - 1 times that of the exact weights. With twice
the 4 u for what is of second order:
    a = the window's entries,  s = sum a with an error box of at least L u sum |a|,  k L >= sum over axes (d / u + 8),
    y = sum of weight a + k (s - sum a),  over the reals the interpolation, whatever k.
A small power of two k keeps what s - sum a adds to intervals small.
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from torchlean_check.conv import Conv
from torchlean_check.network import Floats, Ints, Ref, Scale, Select
from torchlean_check.rules.read_sums import sums
from torchlean_check.wire import Node

if TYPE_CHECKING:
    from torchlean_check.onnx_reader import Reader

MOST = 2.0**120  # of inputs: a difference does not overflow
LONGEST, AXES, LEAVES = 1 << 12, 3, 1 << 18
MODES = b"half_pixel", b"pytorch_half_pixel", b"asymmetric", b"align_corners"


def coordinates(old: int, new: int, mode: bytes) -> list[Fraction]:
    """Where each of the `new` entries lies among the `old` ones, before it is moved into their range."""
    half, scale = Fraction(1, 2) if mode.endswith(b"half_pixel") else Fraction(0), Fraction(old, new)
    if mode == b"align_corners" or (mode == b"pytorch_half_pixel" and new == 1):
        half, scale = Fraction(0), Fraction(old - 1, new - 1) if new > 1 else Fraction(0)
    return [(i + half) * scale - half for i in range(new)]


def error(old: int, new: int, mode: bytes) -> Fraction:
    """d: how far a computed coordinate may be off; 0 where the scale is a power of two, or no coordinate matters."""
    above, below = (new - 1, old - 1) if mode == b"align_corners" else (new, old)
    quotient = Fraction(above, below) if min(above, below) > 0 else Fraction(1)
    whole = max(quotient.numerator, quotient.denominator)
    exact = 1 in (quotient.numerator, quotient.denominator) and whole & (whole - 1) == 0
    return Fraction(0 if exact or old == 1 else 4 * (max(old, new) + 2), 1 << 24)


def _taps(old: int, new: int, mode: bytes) -> tuple[Ints, Floats, float]:
    """Which entries an axis reads, from -1 on where there is none, their weights, and d / u.   Shapes  [new, taps]"""
    d, windows = error(old, new, mode), []
    for c in coordinates(old, new, mode):
        low, at, high = (min(max(v, Fraction(0)), Fraction(old - 1)) for v in (c - d, c, c + d))
        reads = range(math.floor(low), min(math.floor(high) + 1, old - 1) + 1)
        weights = {j: max(1 - abs(at - j), Fraction(0)) for j in reads}
        windows.append([(j, float(w)) for j, w in weights.items() if w or d])
    most = max(map(len, windows))
    full = np.array([[*window, *[(-1, 0.0)] * (most - len(window))] for window in windows])
    return full[:, :, 0].astype(np.int64), full[:, :, 1], float(d * (1 << 24))


def interpolated(r: Reader, node: Node, x: Ref, new: tuple[int, ...], mode: bytes) -> Ref:
    moved = [a for a, (o, n) in enumerate(zip(x.shape, new, strict=True)) if o != n]
    if mode not in MODES or len(moved) > AXES or max(*x.shape, *new) > LONGEST:
        expected = f"{', '.join(m.decode() for m in MODES)}; up to {AXES} axes, {LONGEST} entries along one"
        raise r.beyond(node, "this interpolation is not supported", expected, f"{mode.decode()}, {x.shape} to {new}")
    axes = [_taps(o, n, mode if o != n else b"asymmetric") for o, n in zip(x.shape, new, strict=True)]
    count, size, units = math.prod(t.shape[1] for t, _, _ in axes), math.prod(new), sum(axes[a][2] + 8.0 for a in moved)
    r.broadcast(node, (size, count), (1,))
    index, weight, places = np.empty((count, size), np.int64), np.empty((count, size)), np.arange(math.prod(x.shape))
    for k, taps in enumerate(itertools.product(*(range(t.shape[1]) for t, _, _ in axes))):
        mesh = np.ix_(*(t[:, j] for (t, _, _), j in zip(axes, taps, strict=True)))
        inside = reduce(np.logical_and, [m >= 0 for m in mesh])
        index[k] = np.where(inside, places.reshape(x.shape)[mesh], -1).reshape(-1)
        weight[k] = reduce(np.multiply, np.ix_(*(w[:, j] for (_, w, _), j in zip(axes, taps, strict=True)))).reshape(-1)
    a = r.affine(node, ((Select(index.T.reshape(-1), places.size), x.value),), (size * count,))
    b = r.affine(node, ((Scale(weight.T.reshape(-1)), a.value),), a.shape, weight_rel=2.0**-50)
    small = 2.0 ** -math.floor(math.log2(LEAVES / max(units, 8.0)))
    s = sums(r, node, a, count, leaves=math.ceil(units / small))
    add = Conv(np.ones((1, 1, count)), (count,), (0, 0), (1,), 1, (1, size * count), (1, size))
    less = Conv(np.full((1, 1, count), -small), (count,), (0, 0), (1,), 1, (1, size * count), (1, size))
    terms = (add, b.value), (less, a.value), (Scale(np.full(size, small)), s.value)
    return r.affine(node, terms, new, leaves=2.0 ** len(moved) + 4.0 * len(moved), most=MOST)
