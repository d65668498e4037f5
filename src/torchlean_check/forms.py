"""Trusted. Boxes carried forward as affine forms of the few inputs that vary: one pass through the network, however
wide it is, where the backward walk needs two rows for every neuron.

With x = c + h e, e in [-1, 1]^n, a value z has forms m and p, in every execution that the state is about:
    |z - (m_0 + sum m_i e_i)| <= p_0 + sum p_i e_i
Affine nodes, y = W z + b up to an error kappa (see `kernel`):  m' = W m + b,  p' = |W| p + kappa, by the triangle
inequality for each e. Nodes with lines  a z + q <= f(z) <= s z + t  on z's box:  f(z) lies between
a m - |a| p + q  and  s m + |s| p + t;  the new m is the middle of those two, the new p half their distance. Products
of x = c + u and y = d + v with |u| <= h, |v| <= k:  x y = d x + c y - c d + u v  and |u v| <= h k. What rounding moves
is at most gamma times S, the sum of the sizes of what is added up, and is charged to p_0; since |e_i| <= 1, a
coefficient counts with its size. Where the backward walk bounds a value, its two bounds replace a wider form.
Source  SEMANTICS 5; de Figueiredo and Stolfi 2004, doi:10.1023/B:NUMA.0000049462.70970.b6 (affine arithmetic).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from torchlean_check.arith import Arithmetic, Ints, Rounded
from torchlean_check.frozen import frozen
from torchlean_check.network import Affine, AnyNode, Curve, Floats, Input, Map, Network, Product, Relu
from torchlean_check.rules import curve, relu

Bools = npt.NDArray[np.bool_]
Box = tuple[Floats, Floats]
Lowest = Callable[[Ints, Floats, Floats], Floats]  # of boxes, forms and offsets
UNDERFLOW = 2.0**-700  # over all underflows of one bound or step, each at most 2^-1021 times a magnitude below 2^200
LOOSE, FLAT = 2.0**-4, 2.0**-60
MOST, LEAST = 16, 1 << 12  # inputs that vary, and the width of a value from which on it pays


@frozen(eq=False)
class Form:
    """Shapes  [B, 1 + n, size]: constants first"""

    m: Floats
    p: Floats

    def size(self) -> Floats:
        """S: all sizes added up, to within 2^-47 of it: each charge has more room than that.   Shapes  [B, size]"""
        total: Floats = (np.abs(self.m) + np.abs(self.p)).sum(axis=1)
        return total

    def box(self) -> Box:
        """Least and largest values, outward. A sum does not underflow."""
        slack = (self.m.shape[1] + 8) * 2.0**-52 * self.size()
        low = self.m[:, 0] - self.p[:, 0] - np.abs(self.m[:, 1:] - self.p[:, 1:]).sum(axis=1)
        high = self.m[:, 0] + self.p[:, 0] + np.abs(self.m[:, 1:] + self.p[:, 1:]).sum(axis=1)
        return low - slack, high + slack


def start(lo: Floats, hi: Floats, varying: Ints) -> Form:
    """The inputs themselves: c - h <= lo and hi <= c + h; one that does not vary is c up to h.

    Shapes   lo, hi: [B, inputs]; varying: [n]
    """
    c = 0.5 * lo + 0.5 * hi
    h = np.nextafter(np.maximum(hi - c, c - lo), np.inf)
    m, p = (np.zeros((len(lo), 1 + len(varying), lo.shape[1])) for _ in range(2))
    m[:, 0], p[:, 0] = c, h
    m[:, 1 + np.arange(len(varying)), varying] = h[:, varying]
    p[:, 0, varying] = 0.0
    return Form(m, p)


def affine(node: Affine, absolute: tuple[Map, ...], read: list[Form], kappa: Floats | float, arith: Arithmetic) -> Form:
    """absolute: the maps with |weights|.   Shapes  kappa: [size] or [B, size]"""
    batch, count = read[0].m.shape[:2]
    m, p = (np.zeros((batch, count, node.size)) for _ in range(2))
    m[:, 0], sizes, terms = node.bias, np.abs(node.bias)[None], 16 + 2 * len(node.terms)
    for (linear, _), size, form in zip(node.terms, absolute, read, strict=True):
        middle, moved = arith.trim(form.m.reshape(batch * count, -1))
        radius, shaken = arith.trim(form.p.reshape(batch * count, -1))
        total = form.size()
        if moved is not None and shaken is not None:
            off = np.zeros_like(total) + (moved + shaken).reshape(batch, -1).sum(axis=1, keepdims=True)
            p[:, 0] += size.apply(arith.trim_up(off), arith.product)  # whose rounding the 2 off below pay for
            total = total + 2.0 * off
        m += linear.apply(middle, arith.product).reshape(m.shape)
        p += size.apply(radius, arith.product).reshape(m.shape)
        sizes = sizes + size.apply(arith.trim_up(total), arith.product)
        terms = max(terms, linear.depth + 16 + 2 * len(node.terms))
    p[:, 0] += (kappa + arith.gamma(terms) * sizes * (1.0 + 2.0**-18)) * (1.0 + 2.0**-18) + UNDERFLOW
    return Form(m, p)


def bent(form: Form, lines: relu.Lines, kappa: Floats | float) -> Form:
    """Through lines below and above, and an error of the result.   Shapes  lines, kappa: [B, size] or [1, size]"""
    a, s, t = lines.a, lines.s, lines.t
    q = np.zeros_like(t) if lines.p is None else lines.p
    size = (np.abs(a) + np.abs(s)) * form.size() + np.abs(q) + np.abs(t) + kappa
    up, turn = (0.5 * (s + a))[:, None], (0.5 * (s - a))[:, None]
    more, both = (0.5 * (np.abs(s) - np.abs(a)))[:, None], (0.5 * (np.abs(s) + np.abs(a)))[:, None]
    m, p = up * form.m + more * form.p, turn * form.m + both * form.p
    m[:, 0] += 0.5 * (q + t)
    p[:, 0] += 0.5 * (t - q) + kappa + 2.0**-48 * size + UNDERFLOW
    return Form(m, p)


def product(node: Product, x: Form, y: Form, kappa: Floats | float) -> Form:
    """With an error of the result.   Shapes  kappa: [size]"""
    x, y = (Form(v.m[:, :, s.index], v.p[:, :, s.index]) for v, s in ((x, node.left), (y, node.right)))
    c, d = x.m[:, :1], y.m[:, :1]
    far = (np.abs(v.m[:, 1:]).sum(axis=1) + np.abs(v.p).sum(axis=1) for v in (x, y))
    m, p = d * x.m + c * y.m, np.abs(d) * x.p + np.abs(c) * y.p
    m[:, 0] = c[:, 0] * d[:, 0]
    p[:, 0] += next(far) * next(far) + kappa + 2.0**-46 * (x.size() * y.size() + kappa) + UNDERFLOW
    return Form(m, p)


def few(region_lo: Floats, region_hi: Floats, network: Network) -> Ints | None:
    """The inputs that vary, where forms of them pay: in a network of products, or with a value of many entries, unless
    these are a lattice's, of which intervals say enough."""
    varying = np.flatnonzero(region_lo < region_hi)
    pays = any(isinstance(n, Product) or n.size >= LEAST for n in network.nodes) and not network.lattice
    return varying if pays and 0 < len(varying) <= MOST else None


class Forms:
    """The forms of one batch of boxes, value by value in the network's order; none without `varying`."""

    def __init__(self, arith: Arithmetic, varying: Ints | None) -> None:
        self.arith, self.varying = arith, varying
        self.known: dict[int, Form] = {}
        self.lines: dict[int, relu.Lines] = {}  # of curves

    def meet(
        self,
        k: int,
        node: AnyNode,
        values: Mapping[int, Box],
        absolute: Mapping[int, tuple[Map, ...]],
        kappa: Floats | float,
    ) -> Box:
        """The box values[k] met with what value k's forms say; those of all earlier values are known."""
        if self.varying is None:
            return values[k]
        if isinstance(node, Input):
            self.known[k] = start(*values[k], self.varying)
        elif isinstance(node, Affine):
            read = [self.known[source] for _, source in node.terms]
            self.known[k] = affine(node, absolute[k], read, kappa, self.arith)
        elif isinstance(node, Relu):
            self.known[k] = bent(self.known[node.source], relu.lines(*values[node.source]), 0.0)
        elif isinstance(node, Curve):
            middle = np.zeros((1, node.size)), np.zeros((1, node.size))
            self.lines[k] = curve.lines(node, middle, values[node.source])
            self.known[k] = bent(self.known[node.source], self.lines[k], kappa)
        else:
            x, y = (self.known[source] for source in node.sources)
            self.known[k] = product(node, x, y, kappa)
        low, high = self.known[k].box()
        return np.fmax(values[k][0], low), np.fmin(values[k][1], high)

    def far(self, k: int) -> Floats:
        """How far value k may be from what is affine in the inputs.   Shapes  [B, size]"""
        total: Floats = np.abs(self.known[k].p).sum(axis=1)
        return total

    def loose(self, k: int, lo: Floats, hi: Floats) -> Bools:
        """Where much of a box is not affine in the inputs: there another bound may pay.   Shapes  [B, size]"""
        width = hi - lo
        return width > 0.0 if self.varying is None else (self.far(k) > LOOSE * width) & (width > FLAT)

    def lean(self, k: int, box: Ints, entry: Ints, form: Floats, offset: Floats, lowest: Lowest) -> None:
        """Take two bounds of each entry in: z >= F x + p and -z >= G x + q, so that z - (F - G) x / 2 lies between
        p + (F + G) x / 2 and its mirror image. Rounding these forms moves F x by at most 2^-52 (|F| + |G|) |x|.

        Shapes   form, offset: the F of all entries, then the G
        """
        if self.varying is None:
            return
        below, above = np.split(form, 2)
        inputs = self.known[0].size()[box]
        loss = ((np.abs(below) + np.abs(above)) * inputs).sum(axis=1) * 2.0**-50
        half = 0.5 * below + 0.5 * above
        low, high = (lowest(box, half, part - loss) for part in np.split(offset, 2))
        narrow = np.flatnonzero(0.5 * -high - 0.5 * low < self.far(k)[box, entry])
        slope = 0.5 * below - 0.5 * above
        self.replace(k, box[narrow], entry[narrow], slope[narrow], low[narrow], -high[narrow])

    def replace(self, k: int, box: Ints, entry: Ints, slope: Floats, low: Floats, high: Floats) -> None:
        """Know that low <= value[entry] - slope x <= high in these boxes.

        Shapes  box, entry, low, high: [R]; slope: [R, inputs]
        """
        form, given = self.known[k], self.known[0]
        m = (given.m[box] * slope[:, None]).sum(axis=2)
        p = (given.p[box] * np.abs(slope)[:, None]).sum(axis=2)
        size = (given.size()[box] * np.abs(slope)).sum(axis=1) + np.abs(low) + np.abs(high)
        m[:, 0] += 0.5 * low + 0.5 * high
        p[:, 0] += np.maximum(0.5 * high - 0.5 * low, 0.0) + (slope.shape[1] + 16) * 2.0**-52 * size + UNDERFLOW
        form.m[box, :, entry], form.p[box, :, entry] = m, p


NO_FORMS = Forms(Rounded(), None)
