"""Trusted. Products of values that are nearly affine in few inputs: what the planes of all of them lose is one
quadratic form of the inputs, which `convexity` bounds.

With x = m + u and y = n + v,  x y = n x + m y - m n + u v  for any m and n. Where u = X e + r and v = Y e + s on the
box, e in [-1, 1]^n (`forms`),  u v = (X e)(Y e) + r v + s (X e) = (X e)(Y e) + s u + r (Y e).  So with weights g
    sum g u v >= e' Q e - sum |g| min(|r| |v| + |s| |X|_1, |s| |u| + |r| |Y|_1),   Q = sum g X' Y.
Products that each bend often make up a form that hardly does, or only upwards: x' P x - f(x)' P f(x), say.
Source  McCormick 1976, doi:10.1007/BF01580665, for the planes; de Figueiredo and Stolfi 2004,
doi:10.1023/B:NUMA.0000049462.70970.b6, for the forms.
"""

from __future__ import annotations

import numpy as np

from torchlean_check.arith import Arithmetic, Ints, each
from torchlean_check.forms import Forms
from torchlean_check.frozen import frozen
from torchlean_check.network import Product
from torchlean_check.rules.elementary import Floats
from torchlean_check.rules.product import Box, Plane, seen

NOTHING = np.zeros((1, 1, 1))


@frozen(eq=False)
class Parts:
    """Planes below and above x y - (X e)(Y e); X and Y are 0 where McCormick's own planes are nearer.

    Shapes  X, Y: [B, n, size]
    """

    planes: tuple[Plane, Plane]
    X: Floats
    Y: Floats

    def gram(self, g: Floats, box: Ints, arith: Arithmetic) -> Floats:
        """Q of each row; its rounding is in the planes.   Shapes  g: [R, size] -> [n, n, R], or [1, 1, 1] of 0"""
        if not (self.X.any() and self.Y.any()):
            return NOTHING
        weighted = each(self.X, box) * g[:, None]
        return arith.gram(weighted, np.broadcast_to(each(self.Y, box), weighted.shape))


def parts(node: Product, forms: Forms, boxes: list[Box], terms: int) -> Parts:
    """terms: at least as many as a Q has summands, beyond the entries of one product."""
    found = []
    places = zip(node.sources, (node.left.index, node.right.index), seen(node, *boxes), strict=True)
    for source, index, (lo, hi) in places:
        m, p = forms.known[source].m[:, :, index], forms.known[source].p[:, :, index]
        middle, rest, steep = m[:, 0], p[:, 0] + np.abs(p[:, 1:]).sum(axis=1), np.abs(m[:, 1:]).sum(axis=1)
        far = np.minimum(np.maximum(hi - middle, middle - lo), rest + steep)
        centre = 0.5 * lo + 0.5 * hi
        size = np.maximum(np.abs(middle), np.maximum(np.abs(lo), np.abs(hi)))
        found.append((m[:, 1:], middle, rest, steep, far, size, centre, np.maximum(hi - centre, centre - lo)))
    (X, m, r, x_steep, u, x_size, x_centre, h), (Y, n, s, y_steep, v, y_size, y_centre, k) = found
    bent = np.minimum(r * v + s * x_steep, s * u + r * y_steep)
    use = bent < h * k
    m, n = np.where(use, m, x_centre), np.where(use, n, y_centre)
    # `bent` and its parts round by less than 2^-47 of it, and it is less than h k, which the sizes' product bounds.
    rounding = 2.0**-45 * x_size * y_size + 2.0**-1000
    form = forms.arith.gamma(node.size + terms) * 2.0 * x_steep * y_steep
    loss = rounding + np.where(use, bent + form, h * k)
    planes = Plane(n, m, -m * n - loss), Plane(n, m, -m * n + loss)
    return Parts(planes, np.where(use[:, None], X, 0.0), np.where(use[:, None], Y, 0.0))
