"""The dual bound with optimised slopes and split multipliers (alpha-beta-CROWN), batched over problems.

For each problem (boxes, split signs, one linear form of a value) the backward walk gives a lower bound that is concave
piecewise in the lower slopes alpha and the multipliers beta. Its gradient needs no autograd: with x* the minimiser, run
the chosen lines forward from x*; then d bound / d alpha = max(A, 0) z and d bound / d beta = -side z.

Only the neurons that the root's boxes leave unstable have slopes, signs and multipliers: they stand in one flat vector,
relu by relu in the order of the network (`Neurons`). Each problem may have narrower boxes of its own for them.

Shapes   P problems, n inputs, U unstable neurons, size_k entries of value k
Source   Xu et al. 2021, arXiv:2011.13824 (alpha); Wang et al. 2021, arXiv:2103.06624 (beta)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.verify.maps import Maps
from torchlean_check.network import Affine, Network, Relu

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]
Boxes = Mapping[int, tuple[F64, F64]]  # value that a relu reads -> (lo, hi), each [size]
Split = tuple[int, int, int]  # value, entry, side: -1 where z <= 0, +1 where z >= 0
NARROW = 1e-9  # the least width that a multiplier's steps are measured by


@dataclass(frozen=True, eq=False)
class Neurons:
    """The unstable neurons of a set of boxes, and those that splits above made stable: they have multipliers.

    at      value that a relu reads -> its part of the flat vector
    index   value that a relu reads -> the flat indices in the value of the neurons of that part
    value, entry   [U]: the value and the index in it of each
    lo, hi  [U]
    """

    at: dict[int, slice]
    index: dict[int, Ints]
    value: Ints
    entry: Ints
    lo: F64
    hi: F64

    @staticmethod
    def of(boxes: Boxes, splits: Sequence[Split] = ()) -> Neurons:
        at, index, start = {}, {}, 0
        for k, (lo, hi) in sorted(boxes.items()):
            undecided = (lo < 0) & (hi > 0)
            mine = [entry for value, entry, _ in splits if value == k]
            undecided[mine] = lo[mine] < hi[mine]
            index[k] = np.flatnonzero(undecided)
            at[k] = slice(start, start + len(index[k]))
            start = at[k].stop

        def flat(parts: list[Any]) -> Any:
            return np.concatenate([*parts, np.zeros(0, parts[0].dtype if parts else np.int64)])

        return Neurons(
            at,
            index,
            flat([np.full(len(i), k) for k, i in index.items()]),
            flat(list(index.values())),
            flat([boxes[k][0][i] for k, i in index.items()]).astype(np.float64),
            flat([boxes[k][1][i] for k, i in index.items()]).astype(np.float64),
        )

    def __len__(self) -> int:
        return len(self.value)

    def side(self, splits: Sequence[Split]) -> NDArray[np.int8]:
        """-1, +1 or 0 where there is no split.   Shapes  [U]"""
        found = np.zeros(len(self), np.int8)
        for value, entry, side in splits:
            found[(self.value == value) & (self.entry == entry)] = side
        return found

    def multipliers(self, side: NDArray[Any], beta: F64) -> tuple[tuple[int, int, int, float], ...]:
        """Those that are not 0, as a certificate names them.   Shapes  [U] each"""
        at = np.flatnonzero(beta)
        columns = self.value[at], self.entry[at], side[at].astype(np.int64), beta[at]
        return tuple(zip(*(column.tolist() for column in columns), strict=True))

    def default(self) -> F64:
        """The slopes that leave the smaller areas.   Shapes  [U]"""
        return (self.hi > -self.lo).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Clause:
    """A clause of the violation: every execution in question has rows . output + direct . x + bias <= 0.

    Shapes  [r, outputs], [r, n] or None, [r]
    """

    rows: Any
    direct: Any | None
    bias: Any


@dataclass(frozen=True, eq=False)
class Forms:
    """What is bounded: seed . value(target) + direct . x + bias.   Shapes  [P, size], [P, n] or None, [P]

    clause   what may be added to it with multipliers >= 0, because it is <= 0 (INVPROP)
    """

    target: int
    seed: Any
    direct: Any | None
    bias: Any
    clause: Clause | None = None

    @staticmethod
    def entries(maps: Maps, value: int, size: int, entry: Ints, factor: F64, clause: Clause | None = None) -> Forms:
        """factor times one entry of a value of this size, a problem each.   Shapes  entry, factor: [P]"""
        seed = maps.zeros(len(entry), size)
        seed[maps.index(np.arange(len(entry))), maps.index(entry)] = maps.put(factor)
        return Forms(value, seed, None, maps.zeros(len(entry)), clause)


@dataclass(eq=False)
class Best:
    """The best bound of each problem, and where it was reached.

    weight  [P, r] the clause's multipliers, or None
    upper   [P, U] the coefficients on the relus' outputs
    cost    [P, U] what the lines of each neuron may cost the bound: what splitting it may gain
    point   [P, n] the input at which the bound is reached
    """

    value: Any
    alpha: Any
    beta: Any
    weight: Any | None
    upper: Any
    cost: Any
    point: Any


@dataclass(frozen=True, eq=False)
class Lines:
    """below: the lower slope where it is fixed; chord, bias: the upper line; free: where the lower slope is free.

    lo, hi   the boxes
    Shapes   [P, U], or [U] where all problems have one box
    """

    lo: Any
    hi: Any
    below: Any
    chord: Any
    bias: Any
    free: Any


class Dual:
    """The walk on one network with the root's boxes and the kernel's charges."""

    def __init__(self, kernel: tc.Kernel, boxes: Boxes, neurons: Neurons, maps: Maps) -> None:
        network, region = kernel.network, kernel.region
        self.network: Network = network
        self.neurons, self.maps, self.xp = neurons, maps, maps.xp
        put = maps.put
        self.charge = {k: put(c.kappa) for k, c in kernel.charges.items()}
        self.active = {k: put(((lo >= 0) & (hi > 0)).astype(np.float64)) for k, (lo, hi) in boxes.items()}
        self.index = {k: maps.index(i) for k, i in neurons.index.items()}
        self.lo, self.hi = put(neurons.lo), put(neurons.hi)
        self.center, self.radius = put(0.5 * (region.lo + region.hi)), put(0.5 * (region.hi - region.lo))
        self.zero, self.one = put(np.zeros(())), put(np.ones(()))

    def maximise(
        self,
        forms: Forms,
        side: Any,
        alpha: Any,
        beta: Any,
        steps: int,
        rate: float = 0.3,
        target: float = 0.0,
        weight: Any | None = None,
        box: tuple[Any, Any] | None = None,
    ) -> Best:
        """Adam with projection; stops when every problem's bound is above `target`.

        A multiplier moves by a share of the coefficient on its neuron, which it is to take away or to add to, and of
        what turns the neuron's width into the bound's size.

        side    [P, U]: -1 where z <= 0 was split, +1 where z >= 0, else 0
        alpha, beta   [P, U]: where to start; weight   [P, r]: the same for the clause's multipliers
        box     lo, hi of the neurons, each [P, U]; None: the root's
        """
        xp = self.xp
        chosen = self.lines(side, box)
        fall = max(0.96, 0.05 ** (1 / max(steps, 1)))
        free = [alpha, beta, *([] if weight is None else [weight])]
        best: list[Any] = []
        moments: list[Any] = []
        rates: list[Any] = []
        for step in range(steps + 1):
            walk = Walk(self, forms, side, free[0], free[1], chosen, *free[2:])
            point = self.center - xp.sign(walk.form) * self.radius
            now = [walk.total, *free, walk.upper, walk.cost, point]
            if not best:
                best = now
            else:
                better = walk.total > best[0]
                if bool(better.any()):
                    rows = better[:, None]
                    best = [xp.where(better if i == 0 else rows, new, best[i]) for i, new in enumerate(now)]
            if step == steps or bool((best[0] > target).all()):
                break
            gradients = walk.gradients(point)
            if not moments:
                moments = [xp.zeros_like(g) for g in (*gradients, *gradients)]
                size = abs(walk.upper) + abs(walk.total)[:, None] / xp.clip(chosen.hi - chosen.lo, NARROW, None)
                rates = [rate, rate * size, 0.5 * rate]
            for i, (v, g) in enumerate(zip(free, gradients, strict=True)):
                first, second = moments[i], moments[len(free) + i]
                first += 0.2 * (g - first)
                second += 0.05 * (g * g - second)
                bias1, bias2 = 1 - 0.8 ** (step + 1), 1 - 0.95 ** (step + 1)
                move = (first / bias1) / (xp.sqrt(second / bias2) + 1e-12)
                free[i] = xp.clip(v + fall**step * rates[i] * move, 0, 1 if i == 0 else None)
        value, a, b, *w, upper, cost, point = best
        return Best(value, a, b, w[0] if w else None, upper, cost, point)

    def lines(self, side: Any, box: tuple[Any, Any] | None = None) -> Lines:
        """The lines of every neuron where these splits and boxes hold."""
        xp = self.xp
        lo, hi = (self.lo, self.hi) if box is None else box
        on = (side > 0) | (lo >= 0)
        free = ~(on | (side < 0) | (hi <= 0))
        fixed = xp.where(on, self.one, self.zero)
        chord = xp.where(free, hi / xp.where(free, hi - lo, self.one), fixed)
        return Lines(lo, hi, fixed, chord, xp.where(free, -chord * lo, self.zero), free)


class Walk:
    """One backward walk with given slopes and multipliers.

    total, form   [P] the bound; [P, n] its coefficients on x
    """

    def __init__(
        self, dual: Dual, forms: Forms, side: Any, alpha: Any, beta: Any, lines: Lines, weight: Any | None = None
    ) -> None:
        self.dual, self.forms, self.lines, self.side = dual, forms, lines, side
        xp, network, maps, neurons = dual.xp, dual.network, dual.maps, dual.neurons
        self.below = xp.where(lines.free, alpha, lines.below)
        self.upper = xp.zeros_like(self.below)  # coefficients on the relus' outputs
        self.cost = xp.zeros_like(self.below)
        self.rows: dict[int, Any] = {}  # per affine node, the coefficients on its value
        push = beta * side
        total = forms.bias
        direct = forms.direct
        self.top = forms.target
        pending: dict[int, Any] = {forms.target: forms.seed}

        def add(k: int, rows: Any) -> None:
            pending[k] = pending[k] + rows if k in pending else rows

        self.clause = None if weight is None else forms.clause
        if self.clause is not None:
            clause = self.clause
            self.top = max(self.top, network.output)
            add(network.output, weight @ clause.rows)
            total = total + weight @ clause.bias
            if clause.direct is not None:
                direct = weight @ clause.direct + (0 if direct is None else direct)
        for k in range(self.top, -1, -1):
            rows = pending.pop(k, None)
            if rows is None:
                continue
            if k in neurons.at and neurons.at[k].start < neurons.at[k].stop and k != self.top:
                if rows is forms.seed:
                    rows = rows + 0.0
                rows[:, dual.index[k]] -= push[:, neurons.at[k]]
            node = network.nodes[k]
            if isinstance(node, Relu):
                z, s = rows * dual.active[node.source], neurons.at[node.source]
                if s.start < s.stop:
                    i = dual.index[node.source]
                    a = rows[:, i]
                    plus = xp.clip(a, 0, None)
                    minus = a - plus
                    lost = minus * lines.bias[:, s]
                    self.upper[:, s], self.cost[:, s] = a, plus * self._gap(s) - lost
                    total = total + lost.sum(-1)
                    z[:, i] = plus * self.below[:, s] + minus * lines.chord[:, s]
                add(node.source, z)
            elif isinstance(node, Affine):
                self.rows[k] = rows
                total = total + rows @ maps.bias[k] - abs(rows) @ dual.charge[k]
                for j, (_, source) in enumerate(node.terms):
                    add(source, maps.transpose(k, j, rows))
            else:
                pending[-1] = rows
        form = pending.get(-1)
        if form is None:
            form = xp.zeros_like(total[:, None] * dual.center)
        if direct is not None:
            form = form + direct
        self.form = form
        self.total = total + form @ dual.center - abs(form) @ dual.radius

    def _gap(self, s: slice) -> Any:
        """How far the lower lines of these neurons may be below relu: at the nearer end, and a little at the other.

        At the best slope one end is as near as it gets, and the multipliers of both sides' splits act on it.
        """
        xp, dual = self.dual.xp, self.dual
        right, left = (1 - self.below[:, s]) * self.lines.hi[..., s], -self.below[:, s] * self.lines.lo[..., s]
        return xp.where(self.lines.free[:, s], xp.minimum(right, left) + 0.01 * xp.maximum(right, left), dual.zero)

    def gradients(self, point: Any) -> list[Any]:
        """Of the bound in alpha, in beta and in the clause's multipliers.

        The chosen lines are run forward from the minimiser.
        """
        dual, xp, lines = self.dual, self.dual.xp, self.lines
        network, maps, neurons = dual.network, dual.maps, dual.neurons
        pre = xp.zeros_like(self.below)
        values: dict[int, Any] = {0: point}
        for k, node in enumerate(network.nodes[: self.top + 1]):
            if isinstance(node, Affine):
                if k not in self.rows:
                    continue  # nothing that is bounded reads it
                value = maps.bias[k] - xp.sign(self.rows[k]) * dual.charge[k]
                for j, (_, source) in enumerate(node.terms):
                    value = value + maps.apply(k, j, values[source])
                values[k] = value
            elif isinstance(node, Relu) and node.source in values and k <= self.top:
                z, s = values[node.source], neurons.at[node.source]
                value = z * dual.active[node.source]
                if s.start < s.stop:
                    i = dual.index[node.source]
                    pre[:, s] = here = z[:, i]
                    value[:, i] = xp.where(
                        self.upper[:, s] >= 0, self.below[:, s] * here, lines.chord[:, s] * here + lines.bias[:, s]
                    )
                values[k] = value
        alpha = xp.where(lines.free, xp.clip(self.upper, 0, None) * pre, dual.zero)
        out = [alpha, -self.side * pre]
        if self.clause is not None:
            clause = self.clause
            g = values[network.output] @ clause.rows.T + clause.bias
            out.append(g if clause.direct is None else g + point @ clause.direct.T)
        return out
