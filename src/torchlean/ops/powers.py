"""Powers with a constant exponent, and the reciprocal.

Shapes   x: [*s] -> [*s]
Floats   the reference multiplies from the left, divides, or has e^(y log x); a library's pow is within the table of
         `tolerances.py`. `rounding` covers both
"""

from __future__ import annotations

from dataclasses import replace
from math import isfinite
from typing import Any

import numpy as np

from torchlean.floats.formats import BINARY32, Format
from torchlean.floats.sums import growth
from torchlean.ir import ALIGNED, DERIVED, Onnx, Op, TensorType
from torchlean.ops.common import TINY, UP, Attrs, Types, U, arity, elementwise, is_float, only_attrs, refuse
from torchlean.ops.curves import LIBRARY, Curve, curved, rough, turned_over
from torchlean.ops.lines import Lines
from torchlean.ops.tolerances import TOLERANCES

LARGEST = 64  # of |exponent|: beyond, a power of anything but 1 hardly fits a float


def reciprocal_meaning(N: Any, x: Any) -> Any:
    """1 / x."""
    return N.div(N.literal(1.0, x), x)


def reciprocal_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """Minus the cotangent over x^2."""
    (y,), (dx,) = outputs, cotangents
    return (g.neg(g.mul(g.mul(dx, y), y)),)


def reciprocal_relax(xp: Any, boxes: Any, slope: Any | None = None) -> Lines:
    """Convex above 0, the negative of that below (`_one_sided`); infinite biases where the box holds 0."""
    curve = Curve(lambda v: rough(xp, 1 / v, 4, least=0.0), lambda v: rough(xp, -1 / v / v, 8))
    return _one_sided(xp, boxes[0], curve, np.inf, slope, odd=True)


def reciprocal_rounding(magnitudes: Any, result: np.ndarray, *, fmt: Format = BINARY32) -> np.ndarray:
    """3 u / |x|, by any formula for a quotient, and 2^emin. Infinite where x may be subnormal: flushed, it is 0."""
    bound: np.ndarray = (3 * fmt.unit_roundoff * result + fmt.smallest_normal) * UP
    return np.where(result < 1 / fmt.smallest_normal, bound, np.inf)


def power_type(attrs: Attrs, *types: TensorType) -> Types:
    """A finite exponent that is not 0, of at most 64."""
    arity("power", types, 1)
    only_attrs("power", attrs, "exponent")
    is_float("power", *types)
    y = attrs["exponent"]
    if isinstance(y, bool) or not isinstance(y, int | float) or not isfinite(y) or not 0 < abs(y) <= LARGEST:
        raise refuse(
            "power",
            "the exponent must be a constant number",
            f"0 < |exponent| <= {LARGEST}",
            str(y),
            "write exp(mul(y, log(x))) for another exponent",
        )
    return types


def power_meaning(N: Any, x: Any, *, exponent: float) -> Any:
    """x^n: for a whole n, products from the left, and 1 over them where n < 0; else e^(n log x), for x > 0 only."""
    if exponent != int(exponent):
        return N.exp(N.mul(N.log(x), N.literal(exponent, x)))
    product = _product(N, x, abs(int(exponent)))
    return product if exponent > 0 else N.div(N.literal(1.0, x), product)


def _product(N: Any, x: Any, count: int) -> Any:
    y = x
    for _ in range(count - 1):
        y = N.mul(y, x)
    return y


def power_interval(N: Any, x: Any, *, exponent: float) -> Any:
    """A whole power of |x|, whose products are monotone; with the sign of x where it is odd."""
    if exponent != int(exponent):
        return power_meaning(N, x, exponent=exponent)
    count = abs(int(exponent))
    if count % 2 == 0:
        found = _product(N, N.abs(x), count)
    else:  # an increasing function, whose products at a point have the point's sign
        low, high = (_product(N, end, count) for end in (replace(x, hi=x.lo), replace(x, lo=x.hi)))
        found = replace(low, hi=high.hi, nan=low.nan | high.nan)
    return found if exponent > 0 else N.div(N.literal(1.0, x), found)


def power_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any, *, exponent: float) -> Any:
    """n x^(n - 1) times the cotangent."""
    (x,), (y,), (dy,) = inputs, outputs, cotangents
    scaled = g.mul(dy, float(exponent))
    if exponent == 1:
        return (dy,)
    if exponent == int(exponent):
        return (g.mul(scaled, g.power(x, exponent=exponent - 1)),)
    return (g.div(g.mul(scaled, y), x),)


def power_relax(xp: Any, boxes: Any, slope: Any | None = None, *, exponent: float) -> Lines:
    """Convex or concave on x > 0; an even power is convex throughout, an odd one concave below 0 (`curves`)."""
    n = float(exponent)
    whole, size = n == int(n), abs(int(n))

    def value(v: Any) -> Any:
        if whole:
            p = _product(_Arrays, v, size)
            return rough(xp, p if n > 0 else 1 / p, 4 * size)
        t = n * xp.log(v)
        return rough(xp, xp.exp(t), 2 * LIBRARY + LIBRARY * xp.abs(xp.clip(t, -1e3, 1e3)), least=0.0)

    def rate(v: Any) -> Any:
        if whole and n > 0:
            return rough(xp, n * _product(_Arrays, v, size - 1) if size > 1 else xp.ones_like(v), 4 * size)
        t = (n - 1) * xp.log(v)
        return rough(xp, n * xp.exp(t), 2 * LIBRARY + LIBRARY * xp.abs(xp.clip(t, -1e3, 1e3)))

    curve = Curve(value, rate)
    ((lo, hi),) = boxes
    if n < 0:
        return _one_sided(xp, (lo, hi), curve, np.inf, slope, odd=size % 2 == 1 or not whole, both=whole)
    with np.errstate(all="ignore"):
        if not whole:
            lo, hi = xp.clip(lo, 0.0, None), xp.clip(hi, 0.0, None)
            hull = value(lo)[0], value(hi)[1]
            return curved(xp, (lo, hi), curve, np.inf if n > 1 else -np.inf, slope, hull)
        ends = [value(v) for v in (lo, hi)]
        if size % 2 == 0:
            across = (lo <= 0) & (hi >= 0)
            least = xp.where(across, xp.zeros_like(lo), xp.minimum(ends[0][0], ends[1][0]))
            return curved(xp, (lo, hi), curve, np.inf, slope, (least, xp.maximum(ends[0][1], ends[1][1])))
        return turned_over(curved(xp, (lo, hi), curve.negated(), 0.0, slope, (-ends[1][1], -ends[0][0])))


class _Arrays:
    """Products of arrays, for `_product`."""

    @staticmethod
    def mul(x: Any, y: Any) -> Any:
        return x * y


def _one_sided(
    xp: Any, box: Any, curve: Curve, bend: float, slope: Any | None, *, odd: bool, both: bool = True
) -> Lines:
    """Lines of a decreasing function with a pole at 0, from those of |x|: f(-x) = -f(x) where it is odd, else f(x).

    A box that holds 0 has no bounds: slopes 0 and infinite biases. So has one below 0, unless `both` sides are defined.
    """
    lo, hi = box
    right, left = lo > 0, (hi < 0) & both
    one, zero = xp.ones_like(lo), xp.zeros_like(lo)
    near = xp.where(right, lo, xp.where(left, -hi, one))
    far = xp.where(right, hi, xp.where(left, -lo, one))
    with np.errstate(all="ignore"):
        made = curved(xp, (near, far), curve, bend, slope, (curve.value(far)[0], curve.value(near)[1]))
    over = turned_over(made) if odd else made  # of the reflected function: its slopes change sign once more
    known = right | left

    def chosen(mine: Any, reflected: Any, none: Any) -> Any:
        return xp.where(known, xp.where(left, reflected, mine), none)

    return Lines(
        (chosen(made.lower[0], -over.lower[0], zero),),
        chosen(made.lower_bias, over.lower_bias, xp.full_like(lo, -np.inf)),
        (chosen(made.upper[0], -over.upper[0], zero),),
        chosen(made.upper_bias, over.upper_bias, xp.full_like(lo, np.inf)),
    )


def power_rounding(magnitudes: Any, result: np.ndarray, *, exponent: float) -> np.ndarray:
    """The larger of the tolerance table's and the definition's.

    A whole n: |n| - 1 products, each of which may underflow, and a division. Else e^t with t = n log x, |t| known to
    k (1 + |t|), k = r_log + 2 u: the result is off by f (e^(k (1 + |log f|)) (1 + r_exp) - 1), f |log f| at most
    max(1/e, R log R) for f <= R. Infinite where x may be subnormal: flushed, it is 0.
    """
    entry, size = TOLERANCES["pow"], abs(exponent)
    if exponent == int(exponent):
        relative = np.maximum(entry.r, 1.01 * growth(size + 3))
        bound = (relative * result + (size + 3) * TINY + entry.a) * UP
        return np.where(result < 1 / TINY, bound, np.inf) if exponent < 0 else bound
    with np.errstate(all="ignore"):
        k = TOLERANCES["log"].r + 2 * U
        spread = np.maximum(1 / np.e, result * np.abs(np.log(result)))
        spread = np.where(result > 0, spread, 0.0)
        # |log f| < 104 where f is not below the smallest number: e^d - 1 <= d e^d with d = k (1 + |log f|) < 2^-11.
        own = 1.001 * (k * (result + spread) + TOLERANCES["exp"].r * result) + TOLERANCES["exp"].a
        bound = (np.maximum(own, entry.r * result) + entry.a + size * TOLERANCES["log"].a) * UP
        reach = result < np.float64(TINY) ** exponent if exponent < 0 else np.full(np.shape(result), True)
    flushed = TINY ** min(exponent, 1.0) if exponent > 0 else 0.0  # x^n of what is flushed to 0
    return np.where(reach, bound + flushed, np.inf)


def power_lower(xp: Any, x: Any, *, exponent: float) -> Any:
    whole = exponent == int(exponent)
    return x ** (int(exponent) if whole and exponent > 0 else float(exponent))


reciprocal = Op(
    "reciprocal",
    elementwise("reciprocal", 1),
    reciprocal_meaning,
    reciprocal_vjp,
    batch=ALIGNED,
    interval=DERIVED,
    relax=reciprocal_relax,
    rounding=reciprocal_rounding,
    lower=lambda xp, x: 1 / x,
    onnx=Onnx("Reciprocal", since=6),
    composite=True,
)
power = Op(
    "power",
    power_type,
    power_meaning,
    power_vjp,
    batch=ALIGNED,
    interval=power_interval,
    relax=power_relax,
    rounding=power_rounding,
    lower=power_lower,
    onnx=Onnx("Pow", since=7),
    composite=True,
)

OPS = (reciprocal, power)
