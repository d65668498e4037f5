"""Trusted. Quadratic forms e' Q e on [-1, 1]^n, n small: elementwise arithmetic, so every machine finds the same.

With S = (Q + Q') / 2, e' Q e = e' S e >= sum_j min(0, S_jj - sum_{k != j} |S_jk|), since 2 |e_j e_k| <= e_j^2 + e_k^2.
And (c e)^2 / d >= 0 for any c and d > 0: taking c c' / d from S leaves a form with a smaller minimum. Elimination with
the largest pivots, c being a row of S and d its pivot, leaves next to nothing of a form that is convex.
What it took, P, is convex: e' P e >= 2 d' P e - d' P d for any d, a tangent that is best where d is the least point.
Source  Horn and Johnson 2013, Matrix Analysis, 6.1 (diagonal dominance) and 7.2; Higham 2002, 10.1 and 10.3 (pivoted
Cholesky factors, and the size of their rounding).
"""

from __future__ import annotations

import numpy as np

from torchlean_check.arith import Ints
from torchlean_check.forms import Forms
from torchlean_check.rules.elementary import Floats

SWEEPS = 6  # over the coordinates, in search of the least point: any result is sound


def _total(s: Floats) -> Floats:
    """Shapes  [n, n, R] -> [R]"""
    found: Floats = np.abs(s).sum(axis=0).sum(axis=0)
    return found


def _dominance(s: Floats) -> Floats:
    """The bound of a symmetric S by its diagonal, but for rounding.   Shapes  [n, n, R] -> [R]"""
    diagonal, rows = np.einsum("jjr->jr", s), np.abs(s).sum(axis=0)
    low: Floats = np.minimum(diagonal + np.abs(diagonal) - rows, 0.0).sum(axis=0)
    return low


def least(q: Floats, steps: int) -> tuple[Floats, Floats]:
    """low <= 0 and P after so many eliminations: e' Q e >= low + e' P e, where P is PSD but for rounding that low pays
    for. NaN where Q is not finite.   Shapes  [n, n, R] -> [R], [n, n, R], n <= 16

    Rounding: 3 n 2^-53 of the sizes in the bound of the last S, 2^-53 of those in each S, and in P (n + 2) 2^-53 of
    what was taken, four times for a tangent (e - d is at most 2). Below the floor, squares would underflow.
    """
    s, p, every = 0.5 * q + 0.5 * q.transpose(1, 0, 2), np.zeros_like(q), np.arange(q.shape[2])
    size = _total(q)
    best, spent, floor = _dominance(s), 2.0**-46 * size, 2.0**-40 * size + 2.0**-300
    for _ in range(steps):
        j = np.einsum("jjr->jr", s).argmax(axis=0)
        row = s[j, :, every].T
        pivot = row[j, every]
        taken = row[:, None] * row[None] / np.where(pivot > floor, pivot, 1.0)
        low = _dominance(s - taken)
        kept = (pivot > floor) & (low >= best - 2.0**-30 * size)
        taken, best = np.where(kept, taken, 0.0), np.where(kept, low, best)
        s, p = s - taken, p + taken
        spent = spent + 2.0**-46 * (_total(s) + _total(taken))
    return best - spent, p


def tangent(p: Floats, form: Floats, offset: Floats, forms: Forms, box: Ints) -> tuple[Floats, Floats]:
    """A form and offset below form x + offset + e' P e: of a tangent near its least point, at any d in [-1, 1]^n.

    P is one of `least`, which pays for its rounding. x = c + h e for the inputs that vary, so t e is (t / h)(x - c).
    Shapes   p: [n, n, R]; form: [R, inputs]; offset, box: [R]
    """
    varying, given = forms.varying, forms.known[0].m.take(box, axis=0)
    c, h = given[:, 0, varying].T, given[:, 1 + np.arange(len(p)), varying].T
    b, d = form[:, varying].T * h, np.zeros_like(c)
    for _ in range(SWEEPS):
        for j, row in enumerate(p):
            slope = b[j] + 2.0 * ((row * d).sum(axis=0) - row[j] * d[j])
            d[j] = np.clip(np.nan_to_num(-slope / (2.0 * row[j] + 2.0**-1000)), -1.0, 1.0)
    turn = 2.0 * (p * d).sum(axis=1)
    down, turn = 0.5 * (turn * d).sum(axis=0), turn / h
    out = form.copy()
    out[:, varying] += turn.T
    reach = ((np.abs(form[:, varying].T) + np.abs(turn)) * (np.abs(c) + h)).sum(axis=0)
    loss = 2.0**-45 * (_total(p) + reach + np.abs(offset))
    return out, offset - down - (turn * c).sum(axis=0) - loss
