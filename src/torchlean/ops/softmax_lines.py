"""Lines of softmax and log_softmax: each result by all entries along the axis.

With v_j = x_j - c for a fixed c, S = sum_j e^(v_j), and D = sum_j e^(x_j - x_i), softmax_i is p = e^(v_i) / S = 1 / D.
Each e^(v_j) lies below its chord (`curves`), so that S lies below a linear form. For any T > 0 and R > 0, since e^y
lies above its tangents and log below its own,

    p = e^(v_i - log S) >= T (2 - 2 log T + log R) + T v_i - R S        (touches where p = T and S = T / R)
    log p = v_i - log S >= 1 + log R + v_i - R S
    log p = -log D <= -sum_j w_j (x_j - x_i) + sum_j w_j log w_j,  w_j >= 0 with sum 1            (Gibbs' inequality)
    p = e^(log p) <= a log p + b,  b the larger of p - a log p at the two ends of p's range     (e^y - a y is convex)

Slopes T, R, w and a are free, as stored; what the products of slopes round is charged to the biases.

Shapes   lo, hi: [*s]; slopes [*s, n]: those of result i along the axis on the n entries along it; biases [*s]
Source   Wei et al. 2023, arXiv:2303.01713, section 3 (log-sum-exp). On boxes of a vision transformer's size both lines
         are closer at the middle than those by exponential and reciprocal of Shi et al. 2020, arXiv:2002.06622
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np

from torchlean.frozen import frozen
from torchlean.ops.curves import Curve, curved, rough
from torchlean.ops.lines import Lines, slack


@frozen
class _Sum:
    """Both sums, the axis last.

    Shapes   center [*s, 1]: c; slopes, biases [*s, n]: the chords above e^(v_j); lo, hi [*s, n]: the ends of v_j;
             least, middle, most [*s, n]: of D; reach [*s, n, n]: |x_i| + |x_j|; size [*s, n]: |x_j| + |c|;
             others [*s, n, n]: the e^(x_j - x_i) at the middle, j not i; own [*s, n, n]: where j is i
    """

    center: Any
    slopes: Any
    biases: Any
    lo: Any
    hi: Any
    least: Any
    middle: Any
    most: Any
    reach: Any
    size: Any
    others: Any
    own: Any


def softmax_relax(xp: Any, boxes: Any, slope: Any | None = None, *, axis: int) -> Lines:
    """By tangents of exponential and logarithm below, by the chord of e^(log p) above. `slope` moves the lower line's
    point from where p is least to where it is largest; by default it is the middle of the box.
    """

    def lines(d: _Sum, t: Any | None) -> tuple[Any, ...]:
        tiny = float(xp.finfo(d.lo.dtype).smallest_normal) ** 0.5
        v, total = _point(xp, d, t)
        touch = xp.clip(xp.exp(v) / total, tiny, None)
        rate = xp.clip(touch / total, tiny, None)
        logs = 2 * xp.log(touch), xp.log(rate)
        size = touch * (2 + xp.abs(logs[0]) + xp.abs(logs[1]))
        low = _below(xp, d, touch, rate, touch * (2 - logs[0] + logs[1]), size)
        slopes, bias, reached = _gibbs(xp, d)
        first, last = -rough(xp, xp.log(d.most))[1], -rough(xp, xp.log(d.least))[0]
        wide = last > first
        a = (1 / d.least - 1 / d.most) / xp.where(wide, last - first, xp.ones_like(last))
        a = xp.clip(xp.where(wide, a, 1 / d.least), 0.0, 1.0)
        ends = ((d.most, -first), (d.least, -last))
        b = xp.maximum(*(rough(xp, 1 / s + a * log, 8)[1] + 64 * slack(xp, a * log) for s, log in ends))
        high = _from_differences(xp, d, a[..., None] * slopes, a * bias + b, a * reached + xp.abs(b))
        zero = xp.zeros_like(d.least)
        return low, (zero, rough(xp, 1 / d.most, 4, least=0.0)[0]), high, (zero, rough(xp, 1 / d.least, 4)[1])

    return _along(xp, boxes[0], slope, axis, lines)


def log_softmax_relax(xp: Any, boxes: Any, slope: Any | None = None, *, axis: int) -> Lines:
    """By a tangent of log below, and above by the tangent plane at the middle of the box, its weights w being softmax
    there. `slope` moves the lower line's point as softmax's.
    """

    def lines(d: _Sum, t: Any | None) -> tuple[Any, ...]:
        rate = 1 / _point(xp, d, t)[1]
        log = xp.log(rate)
        low = _below(xp, d, xp.ones_like(rate), rate, 1 + log, 1 + xp.abs(log))
        high = _from_differences(xp, d, *_gibbs(xp, d))
        zero = xp.zeros_like(d.least)
        return low, (zero, -rough(xp, xp.log(d.most))[1]), high, (zero, -rough(xp, xp.log(d.least))[0])

    return _along(xp, boxes[0], slope, axis, lines)


def _point(xp: Any, d: _Sum, t: Any | None) -> tuple[Any, Any]:
    """v_i and the chords' sum where the lower line is to touch: at the middle, or on the way of result i from its least
    (t = 0: v_i at its lower end, the others at their upper ones) to its largest.
    """
    if t is None:
        v = d.lo / 2 + d.hi / 2
        return v, xp.sum(d.slopes * v + d.biases, axis=-1)[..., None] + xp.zeros_like(v)
    width = d.hi - d.lo
    total = xp.sum(d.slopes * d.hi + d.biases, axis=-1)[..., None] - t * xp.sum(d.slopes * width, axis=-1)[..., None]
    return d.lo + t * width, total + d.slopes * width * (2 * t - 1)


def _below(xp: Any, d: _Sum, own: Any, rate: Any, constant: Any, size: Any) -> tuple[Any, Any]:
    """constant + own v_i - rate (the chords' sum), as slopes on x and a bias; what rounds is charged to the bias."""
    n, zero = d.lo.shape[-1], xp.zeros_like(d.reach)
    apart = rate[..., None] * d.slopes[..., None, :]
    slopes = xp.where(d.own, own[..., None], zero) - apart
    bias = constant - rate * xp.sum(d.biases, axis=-1)[..., None] - d.center * xp.sum(slopes, axis=-1)
    info = xp.finfo(slopes.dtype)
    lost = xp.abs(apart) + xp.where(d.own, own[..., None], zero) + float(info.smallest_normal) / float(info.eps)
    size = size + rate * xp.sum(xp.abs(d.biases), axis=-1)[..., None] + xp.sum(lost * d.size[..., None, :], axis=-1)
    return slopes, bias - 16 * n * slack(xp, size)


def _gibbs(xp: Any, d: _Sum) -> tuple[Any, Any, Any]:
    """Above log p: slopes on the differences x_j - x_i, a bias, and the size of the numbers it was made of."""
    eps, n = float(xp.finfo(d.middle.dtype).eps), d.others.shape[-1]
    w = d.others / d.middle[..., None] * (1 - 16 * n * eps)
    rest = 1 - xp.sum(w, axis=-1)  # the weight of x_i - x_i = 0, known to n eps
    rest = xp.where(rest > 4 * n * eps, rest, xp.full_like(rest, np.nan))
    each = xp.where(w > 0, w * xp.log(xp.where(w > 0, w, xp.ones_like(w))), xp.zeros_like(w))
    bias = xp.sum(each, axis=-1) + rest * xp.log(rest)
    bias = bias + 2 * n * eps * (2 - xp.log(rest))  # v log v moves by |1 + log v| per unit of v
    bias = bias + (2 * n + 40) * eps * (1 + xp.sum(xp.abs(each), axis=-1))
    return -w, bias, xp.abs(bias)


def _from_differences(xp: Any, d: _Sum, slopes: Any, bias: Any, size: Any) -> tuple[Any, Any]:
    """sum_j s_j (x_j - x_i) + bias, above: slopes on x; what rounds is charged to the bias."""
    info, n = xp.finfo(slopes.dtype), slopes.shape[-1]
    slopes = xp.where(d.own, xp.zeros_like(slopes), slopes)
    lost = xp.abs(slopes) + float(info.smallest_normal) / float(info.eps)  # a slope may have underflowed
    bias = bias + 8 * n * slack(xp, size + xp.sum(lost * d.reach, axis=-1))
    return xp.where(d.own, -xp.sum(slopes, axis=-1)[..., None], slopes), bias


def _along(
    xp: Any, box: Any, free: Any | None, axis: int, lines: Callable[[_Sum, Any | None], tuple[Any, ...]]
) -> Lines:
    """The lines with the axis put back; where one overflowed, the constant bound beside it."""
    lo, hi = (xp.moveaxis(v, axis, -1) for v in box)
    t = None if free is None else xp.moveaxis(xp.clip(free, 0.0, 1.0) + xp.zeros_like(box[0]), axis, -1)
    with np.errstate(all="ignore"):
        low, least, high, most = lines(_sum(xp, lo, hi), t)
        below, above = _kept(xp, low, least[1]), _kept(xp, high, most[1])

    def back(v: Any, last: int) -> Any:
        return xp.moveaxis(v, -1 - last, axis - last)

    return Lines((back(below[0], 1),), back(below[1], 0), (back(above[0], 1),), back(above[1], 0), mixes=axis)


def _kept(xp: Any, line: tuple[Any, Any], constant: Any) -> tuple[Any, Any]:
    slopes, bias = line
    good = xp.isfinite(bias) & xp.all(xp.isfinite(slopes), axis=-1)
    return xp.where(good[..., None], slopes, xp.zeros_like(slopes)), xp.where(good, bias, constant)


def _sum(xp: Any, lo: Any, hi: Any) -> _Sum:
    n = lo.shape[-1]
    reach = xp.abs(lo) + xp.abs(hi)
    center = xp.max(lo / 2 + hi / 2, axis=-1, keepdims=True)
    size = reach + xp.abs(center)
    reach = reach[..., None, :] + reach[..., :, None]
    place = xp.cumulative_sum(xp.ones_like(lo), axis=-1)
    own = place[..., None, :] == place[..., :, None]
    zero = xp.zeros_like(reach)
    low = xp.where(own, zero, lo[..., None, :] - hi[..., :, None] - slack(xp, reach))
    high = xp.where(own, zero, hi[..., None, :] - lo[..., :, None] + slack(xp, reach))

    def value(v: Any) -> Any:
        return rough(xp, xp.exp(v), least=0.0)

    left, right = lo - center - slack(xp, size), hi - center + slack(xp, size)
    chords = curved(xp, (left, right), Curve(value, value), inf, None, (value(left)[0], value(right)[1]))
    one = zero + 1
    more = 1 + 4 * n * float(xp.finfo(lo.dtype).eps)
    others = xp.where(own, zero, xp.exp(xp.clip(low / 2 + high / 2, None, 80.0)))
    least = xp.sum(xp.where(own, one, value(low)[0]), axis=-1) / more
    most = xp.sum(xp.where(own, one, value(high)[1]), axis=-1) * more
    at = xp.minimum(xp.maximum(1 + xp.sum(others, axis=-1), least), most)
    return _Sum(
        center, chords.upper[0], chords.upper_bias, left, right,
        xp.maximum(least, xp.ones_like(least)), at, most, reach, size, others, own,
    )  # fmt: skip
