"""Kernels of the dual bound's ascent: what stands between its products of matrices, each pass over memory once.

One program bounds one problem in `back` and `end`, whose sums it keeps; `ahead`, `move` and `cost` take entry by entry.
`place` says what each entry of a relu's input is: the position of an unstable neuron in the flat vector, or ACTIVE, or
DEAD. Contract: fused.py does by these what ascent.py and walk.py do, to the rounding of float32.

Shapes   P problems, U unstable neurons; rows, out, value: [P, size]; place, bias, kappa: [size];
         alpha, beta, side, upper, pre: [P, U]; lo, hi: [P, U], or [U] with `apart` 0; total, charge: [P]
"""

# mypy: ignore-errors
from __future__ import annotations

import triton
import triton.language as tl

ACTIVE, DEAD = -2, -1
_ACTIVE: tl.constexpr = tl.constexpr(ACTIVE)
_FIRST: tl.constexpr = tl.constexpr(0.2)  # how fast the moments follow
_SECOND: tl.constexpr = tl.constexpr(0.05)


@triton.jit
def _lines(alpha, side, lo, hi):
    """The slope below, the chord's slope and bias, and whether the lower slope is free (walk.Lines)."""
    free = (side == 0) & (lo < 0) & (hi > 0)
    fixed = tl.where((side > 0) | (lo >= 0), 1.0, 0.0)
    chord = tl.where(free, hi / tl.where(free, hi - lo, 1.0), fixed)
    return tl.where(free, alpha, fixed), chord, tl.where(free, -chord * lo, 0.0), free


@triton.jit
def _sign(x):
    return tl.where(x > 0, 1.0, tl.where(x < 0, -1.0, 0.0))


@triton.jit
def back(
    rows, extra, out, place, alpha, beta, side, lo, hi, apart, upper, total, charge, bias, kappa, size, neurons,
    RELU: tl.constexpr, EXTRA: tl.constexpr, PUSH: tl.constexpr, AFFINE: tl.constexpr,
    BLOCK: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    """Coefficients cross a relu, take what else is on its input, the multipliers, and the affine node's bias."""
    p = tl.program_id(0).to(tl.int64)
    gain, paid = tl.zeros((BLOCK,), tl.float32), tl.zeros((BLOCK,), tl.float32)
    for b in range(BLOCKS):
        j = b * BLOCK + tl.arange(0, BLOCK)
        here = j < size
        a = tl.load(rows + p * size + j, mask=here, other=0.0)
        if RELU or PUSH:
            u = tl.load(place + j, mask=here, other=-1)
            some = u >= 0
            s = tl.load(side + p * neurons + u, mask=some, other=0.0)
        if RELU:
            slope = tl.load(alpha + p * neurons + u, mask=some, other=0.0)
            low = tl.load(lo + p * apart + u, mask=some, other=0.0)
            high = tl.load(hi + p * apart + u, mask=some, other=0.0)
            tl.store(upper + p * neurons + u, a, mask=some)
            below, chord, over, _ = _lines(slope, s, low, high)
            plus = tl.maximum(a, 0.0)
            minus = a - plus
            gain += minus * over  # 0 where there is no neuron
            a = tl.where(some, plus * below + minus * chord, tl.where(u == _ACTIVE, a, 0.0))
        if EXTRA:
            a += tl.load(extra + p * size + j, mask=here, other=0.0)
        if PUSH:
            a -= s * tl.load(beta + p * neurons + u, mask=some, other=0.0)
        if AFFINE:
            cost = tl.abs(a) * tl.load(kappa + j, mask=here, other=0.0)
            paid += cost
            gain += a * tl.load(bias + j, mask=here, other=0.0) - cost
        if RELU or EXTRA or PUSH:
            tl.store(out + p * size + j, a, mask=here)
    tl.store(total + p, tl.load(total + p) + tl.sum(gain))
    if AFFINE:
        tl.store(charge + p, tl.load(charge + p) + tl.sum(paid))


@triton.jit
def end(
    form, direct, center, radius, total, charge, point, best, best_charge, best_point, better, size,
    DIRECT: tl.constexpr, KEEP: tl.constexpr, BLOCK: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    """The minimum over the input box, and where it lies; what is better than before is kept.   Shapes  form: [P, n]"""
    p = tl.program_id(0).to(tl.int64)
    gain = tl.zeros((BLOCK,), tl.float32)
    for b in range(BLOCKS):
        j = b * BLOCK + tl.arange(0, BLOCK)
        here = j < size
        f = tl.load(form + p * size + j, mask=here, other=0.0)
        if DIRECT:
            f += tl.load(direct + p * size + j, mask=here, other=0.0)
        c, r = tl.load(center + j, mask=here, other=0.0), tl.load(radius + j, mask=here, other=0.0)
        gain += f * c - tl.abs(f) * r
        tl.store(point + p * size + j, c - _sign(f) * r, mask=here)
    found = tl.load(total + p) + tl.sum(gain)
    tl.store(total + p, found)
    if KEEP:
        gained = found > tl.load(best + p)
        tl.store(better + p, gained.to(tl.int8))
        tl.store(best + p, found, mask=gained)
        tl.store(best_charge + p, tl.load(charge + p), mask=gained)
        taken = tl.where(gained, size, 0)
        for b in range(BLOCKS):
            j = b * BLOCK + tl.arange(0, BLOCK)
            here = j < taken
            x = tl.load(point + p * size + j, mask=here, other=0.0)
            tl.store(best_point + p * size + j, x, mask=here)


@triton.jit
def ahead(
    value, out, rows, bias, kappa, place, alpha, side, lo, hi, apart, upper, pre, size, neurons,
    AFFINE: tl.constexpr, KEEP: tl.constexpr, RELU: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """From an affine node's products to its value, and through the lines that the walk chose to its relu's output."""
    p, j = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    here = j < size
    v = tl.load(value + p * size + j, mask=here, other=0.0)
    if AFFINE:
        a = tl.load(rows + p * size + j, mask=here, other=0.0)
        v += tl.load(bias + j, mask=here, other=0.0) - _sign(a) * tl.load(kappa + j, mask=here, other=0.0)
    if KEEP:
        tl.store(value + p * size + j, v, mask=here)
    if RELU:
        u = tl.load(place + j, mask=here, other=-1)
        some = u >= 0
        slope = tl.load(alpha + p * neurons + u, mask=some, other=0.0)
        s = tl.load(side + p * neurons + u, mask=some, other=0.0)
        low = tl.load(lo + p * apart + u, mask=some, other=0.0)
        high = tl.load(hi + p * apart + u, mask=some, other=0.0)
        below, chord, over, _ = _lines(slope, s, low, high)
        a = tl.load(upper + p * neurons + u, mask=some, other=0.0)
        tl.store(pre + p * neurons + u, v, mask=some)
        y = tl.where(a >= 0, below * v, chord * v + over)
        tl.store(out + p * size + j, tl.where(some, y, tl.where(u == _ACTIVE, v, 0.0)), mask=here)


@triton.jit
def _adam(v, gradient, first, second, rate, now, at, mask):
    """Where a variable moves; its moments follow.   Source  Kingma and Ba 2014, arXiv:1412.6980"""
    m = tl.load(first + at, mask=mask, other=0.0)
    n = tl.load(second + at, mask=mask, other=0.0)
    m += _FIRST * (gradient - m)
    n += _SECOND * (gradient * gradient - n)
    tl.store(first + at, m, mask=mask)
    tl.store(second + at, n, mask=mask)
    moved = m * tl.load(now) / (tl.sqrt(n * tl.load(now + 1)) + 1e-12)
    return v + tl.load(now + 2) * rate * moved


@triton.jit
def move(
    alpha, beta, side, lo, hi, apart, upper, pre, better, best_alpha, best_beta, best_upper, alpha_first, alpha_second,
    beta_first, beta_second, rate, beta_rate, now, neurons,
    HOLD: tl.constexpr, KEEP: tl.constexpr, MOVE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Keep the slopes and multipliers of what is better, and take a step."""
    p, u = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    here = u < neurons
    at = p * neurons + u
    a, b = tl.load(alpha + at, mask=here, other=0.0), tl.load(beta + at, mask=here, other=0.0)
    coefficient = tl.load(upper + at, mask=here, other=0.0)
    if KEEP:
        kept = u < tl.where(tl.load(better + p) != 0, neurons, 0)
        if not HOLD:
            tl.store(best_alpha + at, a, mask=kept)
        tl.store(best_beta + at, b, mask=kept)
        tl.store(best_upper + at, coefficient, mask=kept)
    if MOVE:
        s, z = tl.load(side + at, mask=here, other=0.0), tl.load(pre + at, mask=here, other=0.0)
        if not HOLD:
            low = tl.load(lo + p * apart + u, mask=here, other=0.0)
            high = tl.load(hi + p * apart + u, mask=here, other=0.0)
            free = (s == 0) & (low < 0) & (high > 0)
            gradient = tl.where(free, tl.maximum(coefficient, 0.0) * z, 0.0)
            a = _adam(a, gradient, alpha_first, alpha_second, rate, now, at, here)
            tl.store(alpha + at, tl.minimum(tl.maximum(a, 0.0), 1.0), mask=here)
        speed = tl.load(beta_rate + at, mask=here, other=0.0)
        b = _adam(b, -s * z, beta_first, beta_second, speed, now, at, here)
        tl.store(beta + at, tl.maximum(b, 0.0), mask=here)


@triton.jit
def cost(alpha, side, lo, hi, apart, upper, out, neurons, BLOCK: tl.constexpr):
    """What the lines of each neuron may cost the bound (walk.Walk.cost)."""
    p, u = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    here = u < neurons
    at = p * neurons + u
    low = tl.load(lo + p * apart + u, mask=here, other=0.0)
    high = tl.load(hi + p * apart + u, mask=here, other=0.0)
    s = tl.load(side + at, mask=here, other=0.0)
    below, _, over, free = _lines(tl.load(alpha + at, mask=here, other=0.0), s, low, high)
    a = tl.load(upper + at, mask=here, other=0.0)
    plus = tl.maximum(a, 0.0)
    right, left = (1 - below) * high, -below * low
    gap = tl.where(free, tl.minimum(right, left) + 0.01 * tl.maximum(right, left), 0.0)
    tl.store(out + at, plus * gap - (a - plus) * over, mask=here)
