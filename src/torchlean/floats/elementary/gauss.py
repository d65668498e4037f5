"""float64 kernels of erf and gelu: tables of Taylor polynomials of an integral of the bell curve.

In the error bounds u is 2^-53, a rounding's largest relative error.
"""

from __future__ import annotations

from functools import cached_property

import flint
import numpy as np

from torchlean.floats.elementary.kernel import Kernel
from torchlean.floats.rounding import F64
from torchlean.frozen import frozen

SCALE = 32


@frozen
class Integral:
    """F with F'' = -a x F', by its Taylor polynomials about j / 32 for j = first ... last.

    a        2 for erf, 1 for the distribution function of the normal law
    degree   of each polynomial
    """

    a: int
    first: int
    last: int
    degree: int

    def coefficients(self, x: flint.arb, count: int) -> list[flint.arb]:
        """c[0] ... c[count - 1] of F(x + h) = sum c[n] h^n; (n + 2)(n + 1) c[n+2] = -a (x (n + 1) c[n+1] + n c[n])."""
        if self.a == 2:
            c = [x.erf(), 2 / flint.arb.pi().sqrt() * (-x * x).exp()]
        else:
            c = [(-x / flint.arb(2).sqrt()).erfc() / 2, (-x * x / 2).exp() / (2 * flint.arb.pi()).sqrt()]
        for n in range(count - 2):
            c.append(-self.a * (x * (n + 1) * c[n + 1] + n * c[n]) / ((n + 2) * (n + 1)))
        return c

    @cached_property
    def table(self) -> list[F64]:
        """Row n: c[n] about each center, rounded once."""
        with flint.ctx.workprec(256):
            centers = [flint.arb(j) / SCALE for j in range(self.first, self.last + 1)]
            columns = [[float(c.mid()) for c in self.coefficients(x, self.degree + 1)] for x in centers]
        return list(np.array(columns).T.copy())

    def __call__(self, x: F64) -> F64:
        """The polynomial about the center nearest to x, for x from the first to the last."""
        j = np.rint(x * SCALE)
        h = x - j * (1 / SCALE)  # exact, or x itself
        column = j.astype(np.int64)
        column -= self.first
        rows = self.table
        total = rows[-1].take(column, mode="clip")
        for row in rows[-2::-1]:
            total *= h
            total += row.take(column, mode="clip")
        return total


ERF = Integral(2, 0, 6 * SCALE, 8)
PHI = Integral(1, -(15 * SCALE), 9 * SCALE, 12)


def erf(x: F64) -> F64:
    """erf x; beyond 6, erf 6: from there on it is 1 within 2^-55.

    Error   relative, 6.5 u, which a test proves on every piece. Most is lost left of 1/32, where the table's value is
            twice the result; the terms left out are below 1.1 u (about 0, h^8 / 216).
    """
    return np.copysign(ERF(np.minimum(np.abs(x), 6.0)), x)


def gelu(x: F64) -> F64:
    """x Phi(x), where Phi is the distribution function of the normal law; for x below -15, gelu(-15) = -5e-50.

    Error   relative, 4.5 u for x >= -15: 3.5 u of Phi, which a test proves on every piece, and the product. At the
            far left the terms, about those of e^(-c h) with |c h| <= 0.24, add up to at most 1.6 times the result.
    """
    x = np.maximum(x, -15.0)
    return x * PHI(np.minimum(x, 9.0))


KERNELS = {
    "erf": Kernel(erf, 2.0**-50, (2.0**-1000, 6.0)),
    "gelu": Kernel(gelu, 2.0**-50, (2.0**-1000, 15.0)),
}
