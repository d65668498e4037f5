"""Lines of softmax and log_softmax: each result by all entries along the axis.

With d_j = x_j - x_i and D = sum_j e^(d_j), softmax_i = 1 / D and log_softmax_i = -log D. Each e^(d_j) lies between a
tangent and a chord (`curves`), so that D lies between two linear forms. For any k > 0:

    1 / D >= 2 sqrt(k) - k D                  (k D + 1 / D is least at D = k^(-1/2))
    1 / D <= c - k D,  c the larger of 1 / D + k D at the two ends of D's range          (1 / D + k D is convex)
    -log D >= 1 + log k - k D                 (k D - log D is least at D = 1 / k)
    -log D <= -sum_j w_j d_j + sum_j w_j log w_j,  w_j >= 0 with sum 1                   (Gibbs' inequality)

Slopes k and w are free, as stored; what the products of slopes round is charged to the biases.

Shapes   lo, hi: [*s]; slopes [*s, n]: those of result i along the axis on the n entries along it; biases [*s]
Source   Shi et al. 2020, arXiv:2002.06622, section 3; Wei et al. 2023, arXiv:2303.01713, section 3 (exponential and
         reciprocal, log-sum-exp)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np

from torchlean.ops.curves import Curve, curved, rough
from torchlean.ops.lines import Lines, slack


@dataclass(frozen=True)
class _Sum:
    """D with the axis last: forms below and above it in d, and its range.

    Shapes   forms: slopes [*s, n, n], constants [*s, n]; least, middle, most [*s, n]; reach [*s, n, n]: |x_i| + |x_j|;
             others: the e^(d_j) at the middle, j not i; own: where j is i
    """

    below: tuple[Any, Any]
    above: tuple[Any, Any]
    least: Any
    middle: Any
    most: Any
    reach: Any
    others: Any
    own: Any


def softmax_relax(xp: Any, boxes: Any, slope: Any | None = None, *, axis: int) -> Lines:
    """1 / D by its chord above and a tangent below. `slope` moves the tangent's point from the least D to the largest;
    by default it is D at the middle of the box.
    """

    def lines(d: _Sum, t: Any | None) -> tuple[Any, ...]:
        at = d.middle if t is None else d.least + t * (d.most - d.least)
        k = 1 / at / at
        low = _with(xp, d.above, k, rough(xp, 2 * xp.sqrt(k), 4)[0])
        k = 1 / d.least / d.most
        ends = [rough(xp, 1 / v + k * v, 4)[1] for v in (d.least, d.most)]
        high = _with(xp, d.below, k, xp.maximum(*ends))
        zero = xp.zeros_like(d.least)
        return low, (zero, rough(xp, 1 / d.most, 4, least=0.0)[0]), high, (zero, rough(xp, 1 / d.least, 4)[1])

    return _along(xp, boxes[0], slope, axis, lines)


def log_softmax_relax(xp: Any, boxes: Any, slope: Any | None = None, *, axis: int) -> Lines:
    """-log D by a tangent of log below, and above by the tangent plane at the middle of the box, its weights w being
    softmax there. `slope` moves the lower line's point from the least D to the largest.
    """

    def lines(d: _Sum, t: Any | None) -> tuple[Any, ...]:
        at = d.middle if t is None else d.least + t * (d.most - d.least)
        k = 1 / at
        low = _with(xp, d.above, k, 1 + rough(xp, xp.log(k))[0])
        eps, n = float(xp.finfo(k.dtype).eps), d.others.shape[-1]
        w = d.others / d.middle[..., None] * (1 - 16 * n * eps)
        rest = 1 - xp.sum(w, axis=-1)  # the weight of d_i = 0, known to n eps
        rest = xp.where(rest > 4 * n * eps, rest, xp.full_like(rest, np.nan))
        each = xp.where(w > 0, w * xp.log(xp.where(w > 0, w, xp.ones_like(w))), xp.zeros_like(w))
        bias = xp.sum(each, axis=-1) + rest * xp.log(rest)
        bias = bias + 2 * n * eps * (2 - xp.log(rest))  # v log v moves by |1 + log v| per unit of v
        bias = bias + (2 * n + 40) * eps * (1 + xp.sum(xp.abs(each), axis=-1))
        high = -w, bias, xp.abs(bias)
        zero = xp.zeros_like(d.least)
        return low, (zero, -rough(xp, xp.log(d.most))[1]), high, (zero, -rough(xp, xp.log(d.least))[0])

    return _along(xp, boxes[0], slope, axis, lines)


def _with(xp: Any, form: tuple[Any, Any], k: Any, constant: Any) -> tuple[Any, Any, Any]:
    """constant - k (form of D): the slopes on d, the bias, and the size of the numbers it was made of."""
    return -k[..., None] * form[0], constant - k * form[1], xp.abs(constant) + xp.abs(k * form[1])


def _along(
    xp: Any, box: Any, free: Any | None, axis: int, lines: Callable[[_Sum, Any | None], tuple[Any, ...]]
) -> Lines:
    """The lines in x from those in d, the axis put back; where one overflowed, the constant bound beside it."""
    lo, hi = (xp.moveaxis(v, axis, -1) for v in box)
    t = None if free is None else xp.moveaxis(xp.clip(free, 0.0, 1.0) + xp.zeros_like(box[0]), axis, -1)
    with np.errstate(all="ignore"):
        d = _sum(xp, lo, hi)
        low, least, high, most = lines(d, t)
        below = _in_x(xp, d, low, least, 1.0)
        above = _in_x(xp, d, high, most, -1.0)

    def back(v: Any, last: int) -> Any:
        return xp.moveaxis(v, -1 - last, axis - last)

    return Lines((back(below[0], 1),), back(below[1], 0), (back(above[0], 1),), back(above[1], 0), mixes=axis)


def _in_x(xp: Any, d: _Sum, line: tuple[Any, Any, Any], constant: tuple[Any, Any], sign: float) -> tuple[Any, Any]:
    """sum_j s_j (x_j - x_i) as slopes on x; what rounds is charged to the bias, below (sign 1) or above (sign -1)."""
    slopes, bias, size = line
    info, n = xp.finfo(slopes.dtype), slopes.shape[-1]
    slopes = xp.where(d.own, xp.zeros_like(slopes), slopes)
    lost = xp.abs(slopes) + float(info.smallest_normal) / float(info.eps)  # a slope may have underflowed
    bias = bias - sign * 8 * n * slack(xp, size + xp.sum(lost * d.reach, axis=-1))
    slopes = xp.where(d.own, -xp.sum(slopes, axis=-1)[..., None], slopes)
    good = xp.isfinite(bias) & xp.all(xp.isfinite(slopes), axis=-1)
    return xp.where(good[..., None], slopes, xp.zeros_like(slopes)), xp.where(good, bias, constant[1])


def _sum(xp: Any, lo: Any, hi: Any) -> _Sum:
    n = lo.shape[-1]
    reach = xp.abs(lo) + xp.abs(hi)
    reach = reach[..., None, :] + reach[..., :, None]
    place = xp.cumulative_sum(xp.ones_like(lo), axis=-1)
    own = place[..., None, :] == place[..., :, None]
    zero = xp.zeros_like(reach)
    low = xp.where(own, zero, lo[..., None, :] - hi[..., :, None] - slack(xp, reach))
    high = xp.where(own, zero, hi[..., None, :] - lo[..., :, None] + slack(xp, reach))

    def value(v: Any) -> Any:
        return rough(xp, xp.exp(v), least=0.0)

    first, last = value(low)[0], value(high)[1]
    made = curved(xp, (low, high), Curve(value, value), inf, None, (first, last))
    one = zero + 1
    more = 1 + 4 * n * float(xp.finfo(lo.dtype).eps)

    def form(slopes: Any, biases: Any, away: float) -> tuple[Any, Any]:
        biases = xp.where(own, one, biases)
        total = xp.sum(biases, axis=-1) + away * 4 * n * slack(xp, xp.sum(xp.abs(biases), axis=-1))
        return xp.where(own, zero, slopes), total

    middle = xp.exp(xp.clip(low / 2 + high / 2, None, 80.0))
    others = xp.where(own, zero, middle)
    least = xp.sum(xp.where(own, one, first), axis=-1) / more
    most = xp.sum(xp.where(own, one, last), axis=-1) * more
    at = xp.minimum(xp.maximum(1 + xp.sum(others, axis=-1), least), most)
    return _Sum(
        form(made.lower[0], made.lower_bias, -1.0),
        form(made.upper[0], made.upper_bias, 1.0),
        xp.maximum(least, xp.ones_like(least)), at, most, reach, others, own,
    )  # fmt: skip
