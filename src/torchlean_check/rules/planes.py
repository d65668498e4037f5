"""Planes above relus of the first layer: upper bounds of relu(z) that are affine in the network's inputs.

Let z be w.x + b up to kappa, the charge of its affine node (kernel.py). For any a, y = relu(z) <= a.x + c on the box of
the inputs if c >= max -a.x and c >= max (w - a).x + b + kappa over it: then a.x + c >= 0 and a.x + c >= z. With
a = m w, 0 <= m <= 1 by entries, these are the facets of y's hull over the box; chords have one m for all entries.

A backward step takes a part v <= 0 of the coefficient G on y to its plane: with H = fl(G - v), G y is at least
H y - 2^-53 |H| |y| + v (a.x + c). v a and v c are products like any other: of n planes they are off by at most
gamma(n + 2) |v| (|a| mag + |c|), 2 being more than blocks add to the longest sum. v may be any number <= 0, so what
moves when it is trimmed is not charged.
Source  Anderson et al. 2020, arXiv:1811.01988; Tjandraatmadja et al. 2020, arXiv:2006.14076.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from torchlean_check.arith import Floats, Ints, Rounded, each
from torchlean_check.blocks import Blocks
from torchlean_check.fit import bad
from torchlean_check.frozen import frozen
from torchlean_check.objective import WIDER
from torchlean_check.records import NONE, UNIT, SlopeTable, distinct

if TYPE_CHECKING:
    from torchlean_check.kernel import Facts, Kernel, Live
    from torchlean_check.network import Affine


@frozen(eq=False)
class Planes:
    """y <= a.x + const for some neurons (rising) of one relu, by the m of a table; kappa: what |v| is charged with."""

    family: SlopeTable
    source: int  # the value of the z
    neurons: Ints
    a: Blocks
    const: Floats
    kappa: Floats

    @staticmethod
    def of(kernel: Kernel, family: SlopeTable, source: int, node: Affine) -> Planes:
        arith, root, inputs = kernel.arith, kernel.start(), kernel.network.inputs
        ((edges,), ((linear, _),), kappas) = family.entries.values(), node.terms, kernel.charges[source].kappa
        neuron, column = np.divmod(edges.astype(np.int64), inputs)
        neurons, row = np.unique(neuron, return_inverse=True)
        a, const, size = np.zeros(len(row)), np.zeros(len(neurons)), np.zeros(len(neurons))
        for at in range(0, len(neurons), kernel.row_chunk):
            u = neurons[at : at + kernel.row_chunk]
            some, mine = slice(at, at + len(u)), slice(*np.searchsorted(row, (at, at + len(u))))
            w = linear.transpose(np.equal.outer(u, np.arange(node.size)) * 1.0, Rounded().product)  # one term: exact
            m, there, box = np.zeros_like(w), (row[mine] - at, column[mine]), np.zeros_like(u)
            m[there] = np.clip(family.slopes[mine] * UNIT, 0.0, 1.0)
            part = (m * w).astype(np.float32).astype(np.float64)  # of few bits, for exact products
            total = arith.against(np.abs(w) + np.abs(part), kernel.mags[0]) + np.abs(node.bias[u]) + kappas[u]
            top = node.bias[u] + kappas[u] + 2.0**-50 * total  # the last for its own rounding and that of w - a
            c = -np.minimum(kernel.lowest(root, box, part, 0.0 * top), kernel.lowest(root, box, part - w, -top))
            a[mine], const[some], size[some] = part[there], c, arith.against(np.abs(part), kernel.mags[0]) + np.abs(c)
        kappa = (arith.gamma(len(neurons) + 2) * size * WIDER + 2.0**-900) * WIDER
        return Planes(family, source, neurons, Blocks.of((len(neurons), inputs), row, column, a), const, kappa)


def known(kernel: Kernel, tables: Sequence[SlopeTable]) -> None:
    """Bring the planes that tables have shares of into kernel.planes; CheckError where there are none."""
    count = len(kernel.network.nodes)
    for key, entries in (item for table in distinct(tables) for item in table.entries.items() if item[0] >= 4 * count):
        number, k = key // count - 4, key % count
        family, first = tables[number] if number < len(tables) else NONE, kernel.network.first(k)
        if list(family.entries) != [3 * count + k] or first is None:
            raise bad("a slope table has shares of planes that are not there", f"relu {k}", "a table of planes", number)
        if key not in kernel.planes or kernel.planes[key].family is not family:
            with np.errstate(all="ignore"):
                kernel.planes[key] = Planes.of(kernel, family, *first)
        if not np.isin(entries, kernel.planes[key].neurons).all():
            raise bad("a share is of a neuron that has no plane", f"relu {k}", f"neurons of table {number}", entries)


def back(kernel: Kernel, facts: Facts, k: int, live: Live, rows: Floats, box: Ints) -> Iterator[tuple[Floats, ...]]:
    """Take the planes' parts out of coefficients on relu k, in place. Of each family: what comes onto the inputs, what
    is added to the bounds, and its charge.   Shapes  rows: [R, live]; box: [R]; -> [R, inputs], [R], [R]"""
    count, arith, given = len(kernel.network.nodes), kernel.arith, facts.slopes or {}
    for key in sorted(key for key in given if key // count > 3 and key % count == k):
        planes, place = kernel.planes[key], np.full(kernel.network.nodes[k].size, -1)
        place[slice(None) if live.columns is None else live.columns[: live.unstable]] = np.arange(live.unstable)
        which = np.flatnonzero(place[planes.neurons] >= 0)
        if not len(which):
            continue
        neurons, at = planes.neurons[which], place[planes.neurons[which]]
        lo, hi = facts.boxes(planes.source, neurons)  # a stable one has its exact line
        share = np.where((lo < 0.0) & (hi > 0.0), given[key].take(neurons, axis=1), 0.0)
        left = rows.T[at]
        part = left * each(share, box).T
        v = arith.trim(np.fmin(part, 0.0, out=part).T)[0]  # a new array would take longer than the sum
        rows.T[at] = np.subtract(left, v.T, out=left)
        size = np.abs(left, out=left).T
        charge = arith.against(size, 2.0**-52 * kernel.mags[k][neurons]) - arith.against(v, planes.kappa[which])
        yield planes.a.product(v, which, arith), arith.against(v, planes.const[which]), charge
