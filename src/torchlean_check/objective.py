"""What is bounded below: the inequalities of a region, and sums of them with weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np

from torchlean_check.arith import Arithmetic, each
from torchlean_check.frozen import frozen
from torchlean_check.network import Floats, Ints

WIDER = 1.0 + 2.0**-32  # covers the rounding of sums of up to 2^20 terms of one sign


@frozen(eq=False)
class Objective:
    """Rows g = y Y + x X + c with what their floats differ from the exact numbers.

    Shapes  [R, outputs], [R, inputs], [R]; x and err_x have no columns where no inequality reads an input
    """

    y: Floats
    x: Floats
    c: Floats
    err_y: Floats
    err_x: Floats
    err_c: Floats

    def take(self, rows: slice | Ints) -> Objective:
        return Objective(*(getattr(self, f.name)[rows] for f in fields(self)))

    def by_box(self, ends: tuple[Floats, Floats], box: Ints, arith: Arithmetic) -> Floats:
        """At most y Y, by the outputs' least and largest values in each row's box.

        Shapes  ends: [B, outputs] or [1, outputs]; box: [R]; -> [R]
        """
        lo, hi = (each(end, box) for end in ends)
        low = arith.dots(np.maximum(self.y, 0.0), lo) + arith.dots(np.minimum(self.y, 0.0), hi)
        size = arith.dots(np.abs(self.y), np.maximum(np.abs(lo), np.abs(hi)))
        found: Floats = low - (arith.gamma(self.y.shape[1]) + 2.0**-50) * size * WIDER
        return found

    @staticmethod
    def join(parts: Sequence[Objective]) -> Objective:
        return Objective(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Objective)))

    def combine(self, weights: Floats) -> Objective:
        """Sums of weights * rows, weights >= 0; their own rounding goes into the errors.   Shapes  [sums, R]"""
        slack = 2.0**-52 * (weights.shape[1] + 4)

        def total(a: Floats) -> Floats:
            found = np.zeros((len(weights), *a.shape[1:]))
            for w, row in zip(weights.T, a, strict=True):
                found = found + np.multiply.outer(w, row)
            return found

        errors = [
            total(e) * WIDER + slack * total(np.abs(a))
            for e, a in ((self.err_y, self.y), (self.err_x, self.x), (self.err_c, self.c))
        ]
        return Objective(total(self.y), total(self.x), total(self.c), *errors)
