"""Trusted. Minima and maxima that are written with four relus each, read with one.

Lattice networks (Ferlez and Shoukry 2020, arXiv:2003.09955) write, with p = a + b and q = b - a,
    min(a, b), max(a, b) = (relu(p) - relu(-p)) / 2 + w (relu(q) + relu(-q)),  w = -1/2, 1/2.
For any linear p and q of a value v this is y = p / 2 - w q + 2 w relu(q), since relu(p) - relu(-p) = p and
relu(q) + relu(-q) = 2 relu(q) - q. So the three nodes A (v to +-p, +-q), relu and B become D (v to q), relu and Y.
What is lost otherwise: four lines instead of none and one.

Y's error box holds that of all the nodes it stands for. Let |q| <= |p| weight by weight, at most two weights a row,
|weight| <= 2, V = sum |p_j| |v_j|, and A's and B's sums have m and n leaves (SEMANTICS 3). The four relus are off by
at most E_A = g_m V + t_m each, and B adds g_n R + t_n, R <= 2 (V + E_A) being half of the sum of what they give:
    |error| <= 2 E_A + 2 g_n (V + E_A) + t_n.
Y reads p / 2, so that its magnitude sum is at least V / 2, and 4 (m + n) leaves cover what multiplies V: with
c = (1 + u)^(m + n),  2 g_m + 2 g_n (1 + g_m) = 2 (c - 1) <= (c^4 - 1) / 2. Sixteen times the underflow that these have
covers 2 t_m (1 + g_n) + t_n, as V <= 2 sum |v_j|. With |v_j| <= 2^120 nothing overflows.
Over the reals nothing changes. No execution computes D, so it rounds nothing.

Where (p - q) / 2 and (p + q) / 2 are two entries a and b of v, y is their minimum or maximum up to the same error: the
interval walk then takes it from their boxes. Through p and q apart it would not see that y is one of the two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from torchlean_check.frozen import frozen
from torchlean_check.network import (
    Affine,
    AnyNode,
    Curve,
    Dense,
    Floats,
    Ints,
    Map,
    Pair,
    Relu,
    Scale,
    from_entries,
    sources,
)
from torchlean_check.sparse import Sparse

MOST_LEAVES = 64
MOST = 2.0**120


def merged(nodes: Sequence[AnyNode], output: int) -> tuple[AnyNode, ...]:
    """The nodes, where three that are such a group have its short form. Every value keeps its number."""
    read = Counter(j for node in nodes for j in {*sources(node), node.wide if isinstance(node, Curve) else 0})
    read[output] += 1
    found = list(nodes)
    for k in range(len(nodes)):
        group = _group(nodes, k)
        if group is not None and read[k - 1] == read[k - 2] == 1:
            found[k - 2 : k + 1] = _short(group, nodes[group.source].size, k - 2)
    return tuple(found)


@frozen(eq=False)
class Group:
    """y = p / 2 - w q + 2 w relu(q) of a value, by the nodes A and B.

    on, p, q   the at most two entries of the value, and their weights      Shapes  [n, 2]; w: [n]
    """

    on: Ints
    p: Floats
    q: Floats
    w: Floats
    source: int
    a: Affine
    b: Affine


def _plain(node: Affine) -> tuple[Ints, Ints, Floats] | None:
    """The entries of a node that multiplies by one matrix of exact weights and does nothing else, row by row."""
    if len(node.terms) != 1:
        return None
    exact = node.weight_rel == 0.0 and not node.bias_err.any() and not node.bias.any() and not node.magnitude.any()
    linear = node.terms[0][0]
    if not exact or node.scale != 1.0 or node.leaves.max() > MOST_LEAVES or not isinstance(linear, (Dense, Sparse)):
        return None
    if isinstance(linear, Sparse):
        return linear.row, linear.column, linear.weight
    row, column = np.nonzero(linear.weight)
    return row, column, linear.weight[row, column]


def _group(nodes: Sequence[AnyNode], k: int) -> Group | None:
    """What ends with node k, where it is such a group."""
    if sources(nodes[k]) != [k - 1] or sources(nodes[k - 1]) != [k - 2]:
        return None
    a, bend, b = nodes[k - 2 : k + 1]
    if not (isinstance(a, Affine) and isinstance(bend, Relu) and isinstance(b, Affine)):
        return None
    above, below = _plain(b), _plain(a)
    if above is None or below is None or not np.array_equal(above[0], np.repeat(np.arange(b.size), 4)):
        return None
    column, factor, (row, at, weight) = above[1].reshape(-1, 4), above[2].reshape(-1, 4), below
    slot = np.arange(len(row)) - np.searchsorted(row, row)
    if (slot > 1).any() or (np.abs(weight) > 2.0).any() or (np.abs(factor) != 0.5).any():
        return None
    where, what = np.full((a.size, 2), -1), np.zeros((a.size, 2))
    where[row, slot], what[row, slot] = at, weight
    on_p, on_minus_p, on_q, on_minus_q = (where[column[:, i]] for i in range(4))
    p, minus_p, q, minus_q = (what[column[:, i]] for i in range(4))
    opposite = (p == -minus_p) & (q == -minus_q) & (on_p == on_minus_p) & (on_q == on_minus_q)
    inside = (q == 0.0) | ((on_p == on_q) & (np.abs(q) <= np.abs(p)))
    signs = (factor[:, 0] == 0.5) & (factor[:, 1] == -0.5) & (factor[:, 2] == factor[:, 3])
    if not (opposite.all() and inside.all() and signs.all()):
        return None
    return Group(on_p, p, q, factor[:, 2], a.terms[0][1], a, b)


def _map(group: Group, weight: Floats, width: int) -> Dense | Sparse:
    """Weights of the entries `on`, as a matrix."""
    row, slot = np.nonzero(weight)
    return from_entries((len(weight), width), row, group.on[row, slot], weight[row, slot])


def _pair(group: Group, source: int, apart: int) -> Pair | None:
    """The two entries (p - q) / 2 and (p + q) / 2 of the value, where each of them is one."""
    ends = [(group.p + sign * group.q) / 2 for sign in (-1.0, 1.0)]
    if not all(((end == 0.0) | (end == 1.0)).all() and (end.sum(axis=1) == 1.0).all() for end in ends):
        return None
    left, right = (np.take_along_axis(group.on, end.argmax(axis=1)[:, None], axis=1)[:, 0] for end in ends)
    return Pair(source, apart, left, right, group.w > 0.0)


def _short(group: Group, width: int, at: int) -> tuple[Affine, Relu, Affine]:
    """D, relu and Y, which become the nodes `at`, `at` + 1 and `at` + 2; they read `width` entries of their source."""
    a, b, source, zero = group.a, group.b, group.source, np.zeros(group.b.size)
    d = replace(b, terms=((_map(group, group.q, width), source),), bias=zero, bias_err=zero, magnitude=zero,
                leaves=zero, adds=False, where=a.where)  # fmt: skip
    terms: tuple[tuple[Map, int], ...] = (
        (_map(group, 0.5 * group.p, width), source), (Scale(-group.w), at), (Scale(2.0 * group.w), at + 1),
    )  # fmt: skip
    y = replace(b, terms=terms, leaves=zero + 4.0 * (a.leaves.max() + b.leaves.max()), adds=False,
                most=min(a.most, b.most, MOST), scale=16.0, pair=_pair(group, source, at))  # fmt: skip
    return d, Relu(at, b.size, b.shape, a.where), y
