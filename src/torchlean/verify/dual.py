"""The dual bound of a dense stack with optimised slopes and split multipliers (alpha-beta-CROWN), in numpy.

For each problem (a box of every layer, split signs, one inequality) the backward walk gives a lower bound that is
concave piecewise in the lower slopes alpha and the multipliers beta. Its gradient needs no autograd: with x* the
minimiser, run the chosen lines forward from x*; then d bound / d alpha = max(A, 0) z and d bound / d beta = -side z.

Shapes   P problems, n_k entries of layer k; alpha, beta, side: one [P, n_k] per layer
Source   Xu et al. 2021, arXiv:2011.13824 (alpha); Wang et al. 2021, arXiv:2103.06624 (beta)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from torchlean.bounds.dense import Stack

F64 = NDArray[np.float64]
Layers = list[F64]


@dataclass
class Problems:
    """What a batch is about. side: -1 where z <= 0 was split, +1 where z >= 0, else 0; row: [P] inequality of each."""

    lo: Layers
    hi: Layers
    side: Layers
    row: NDArray[np.int64]
    alpha: Layers
    beta: Layers


@dataclass
class Best:
    """The best bound of each problem, and where it was reached. fall: what splitting each neuron may gain, [P, n_k]."""

    value: F64
    alpha: Layers
    beta: Layers
    fall: Layers
    point: F64


class Dual:
    """The walk on one stack and input box, in float64."""

    def __init__(self, stack: Stack, lo: F64, hi: F64, largest: Layers, input_size: F64) -> None:
        """largest: [n_k] bounds on |a_k|; they give the error boxes. input_size: [n] bounds on |x|."""
        self.weights = [layer.weight.astype(np.float64) for layer in stack.layers]
        self.biases = [layer.bias.astype(np.float64) for layer in stack.layers]
        self.gates = [layer.gate for layer in stack.layers]
        self.errors, below = [], input_size
        for layer, mine in zip(stack.layers, largest, strict=True):
            self.errors.append((layer.size.astype(np.float64) @ below + np.abs(layer.bias)) * layer.rate)
            below = mine
        rows = stack.rows
        self.rows, self.direct = rows.weight.astype(np.float64), rows.direct.astype(np.float64)
        self.row_bias = rows.bias - (rows.size.astype(np.float64) @ below + np.abs(rows.bias)) * rows.rate
        self.center, self.radius = 0.5 * (lo + hi), 0.5 * (hi - lo)

    def maximise(self, p: Problems, steps: int, rate: float = 0.3, target: float = 0.0) -> Best:
        """Adam with projection; stops when every problem's bound is above `target`."""
        alpha, beta = [a.copy() for a in p.alpha], [b.copy() for b in p.beta]
        count = len(p.row)
        best = Best(np.full(count, -np.inf), [a.copy() for a in alpha], [b.copy() for b in beta],
                    [np.zeros_like(a) for a in alpha], np.zeros((count, len(self.center))))  # fmt: skip
        moments = [[np.zeros_like(v) for v in (*alpha, *beta)] for _ in range(2)]
        free = [(low < 0) & (high > 0) & gate for low, high, gate in zip(p.lo, p.hi, self.gates, strict=True)]
        split = [np.abs(s) > 0 for s in p.side]
        lines = [_lines(*v) for v in zip(p.lo, p.hi, self.gates, strict=True)]
        for step in range(steps + 1):
            value, upper, form, fall, pre = self._value(p, alpha, beta, lines)
            better = value > best.value
            if better.any():
                best.value[better], best.point[better] = (
                    value[better],
                    (self.center - np.sign(form) * self.radius)[better],
                )
                for into, new in zip((*best.alpha, *best.beta, *best.fall), (*alpha, *beta, *fall), strict=True):
                    into[better] = new[better]
            if step == steps or bool((best.value > target).all()):
                break
            gradients = [np.where(f, np.maximum(a, 0) * z, 0) for f, a, z in zip(free, upper, pre, strict=True)]
            gradients += [np.where(c, -s * z, 0) for c, s, z in zip(split, p.side, pre, strict=True)]
            size = rate * 0.96**step
            for i, (v, g) in enumerate(zip((*alpha, *beta), gradients, strict=True)):
                first, second = moments[0][i], moments[1][i]
                first += 0.2 * (g - first)
                second += 0.05 * (g * g - second)
                bias1, bias2 = 1 - 0.8 ** (step + 1), 1 - 0.95 ** (step + 1)
                move = size * (first / bias1) / (np.sqrt(second / bias2) + 1e-12)
                np.clip(v + move, 0, 1 if i < len(alpha) else None, out=v)
        return best

    def _value(
        self, p: Problems, alpha: Layers, beta: Layers, lines: list[tuple[F64, F64, F64]]
    ) -> tuple[F64, Layers, F64, Layers, Layers]:
        """Bound, coefficients on each a_k, form on x, cost of each chord, z_k of the chosen lines at the minimiser."""
        a = self.rows[p.row]
        total = self.row_bias[p.row].copy()
        upper, lowers, used, falls = [], [], [], []
        for k in range(len(self.weights) - 1, -1, -1):
            fixed, chord, bias = lines[k]
            below = np.where(np.isnan(fixed), alpha[k], fixed)
            plus, minus = np.maximum(a, 0), np.minimum(a, 0)
            lost = minus * bias
            total += lost.sum(axis=1)
            z = plus * below + minus * chord - beta[k] * p.side[k]
            total += z @ self.biases[k] - np.abs(z) @ self.errors[k]
            upper.append(a)
            lowers.append(z)
            used.append((below, chord, bias))
            falls.append(-lost)
            a = z @ self.weights[k]
        form = a + self.direct[p.row]
        total += form @ self.center - np.abs(form) @ self.radius
        pre = []
        value = self.center - np.sign(form) * self.radius
        for k in range(len(self.weights)):
            a, z, (below, chord, bias) = upper[-1 - k], lowers[-1 - k], used[-1 - k]
            value = value @ self.weights[k].T + self.biases[k] - np.sign(z) * self.errors[k]
            pre.append(value)
            value = np.where(a >= 0, below * value, chord * value + bias)
        return total, upper[::-1], form, falls[::-1], pre


def _lines(lo: F64, hi: F64, gate: NDArray[np.bool_]) -> tuple[F64, F64, F64]:
    """Lower slope where it is fixed (nan where free), chord slope, and chord bias."""
    unstable = (lo < 0) & (hi > 0) & gate
    linear = ((lo >= 0) | ~gate).astype(np.float64)
    chord = np.where(unstable, hi / np.where(unstable, hi - lo, 1.0), linear)
    return np.where(unstable, np.nan, linear), chord, np.where(unstable, -chord * lo, 0.0)
