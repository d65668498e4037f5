"""The backward walk of a dual bound through the network, its gradients, and what splits may gain.

With x* the minimiser, the chosen lines are run forward from x*: then d bound / d alpha = max(A, 0) z and
d bound / d beta = -side z, without any record of the walk. Where A < 0, a split at z = 0 raises the bound's form at x*
by -A times what the chord has too much there: chord(z) where z <= 0 is assumed, chord(z) - z where z >= 0 is.

Shapes   P problems, n inputs, U unstable neurons, size_k entries of value k
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torchlean.frozen import frozen
from torchlean.verify.forms import Forms
from torchlean.verify.planes import Raised
from torchlean_check.network import Affine, Relu

if TYPE_CHECKING:
    from torchlean.verify.dual import Dual


@frozen(eq=False)
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


def gains(dual: Dual, lines: Lines, upper: Any, pre: Any, above: Any) -> tuple[Any, Any]:
    """What a bound may gain below and above a split of each neuron, at most, before anything is optimised there.

    The slopes and multipliers stay, and the new multiplier leaves the lower line what it was: neurons whose lower line
    is used gain nothing. The bound of a side is at most its form at the minimiser of this bound.
    upper   the coefficients on the relus' outputs      pre   the relus' inputs at the minimiser, by the chosen lines
    above   the upper lines there
    Shapes  [P, U] each
    """
    used = dual.xp.where(lines.free, -dual.xp.clip(upper, None, 0), dual.zero)
    return used * above, used * (above - pre)


class Walk:
    """One backward walk with given slopes and multipliers.

    total, form   [P] the bound; [P, n] its coefficients on x
    charge        [P] what the error boxes have taken from it
    """

    def __init__(
        self, dual: Dual, forms: Forms, side: Any, alpha: Any, beta: Any, lines: Lines, weight: Any | None = None
    ) -> None:
        self.dual, self.forms, self.lines, self.side = dual, forms, lines, side
        xp, network, maps, neurons = dual.xp, dual.network, dual.maps, dual.neurons
        self.below = xp.where(lines.free, alpha[:, : len(neurons)], lines.below)
        self.raised, planes = None, dual.planes
        if planes is not None:
            self.raised = Raised(dual, planes, alpha[:, len(neurons) :], lines.free[:, planes.flat])
        self.upper = xp.zeros_like(self.below)  # coefficients on the relus' outputs
        self.cost = xp.zeros_like(self.below)
        self.rows: dict[int, Any] = {}  # per affine node, the coefficients on its value
        push = beta * side
        total, self.charge = forms.bias, 0 * forms.bias
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
                    self.upper[:, s], self.cost[:, s] = a, plus * self._gap(s) - minus * lines.bias[:, s]
                    if self.raised is not None and k == self.raised.planes.relu:
                        slot = self.raised.planes.slot
                        gain, charge, above = self.raised.take(a[:, slot])
                        minus[:, slot] -= self.raised.weight
                        total, self.charge = total + gain, self.charge + charge
                        direct = above if direct is None else direct + above
                    total = total + (minus * lines.bias[:, s]).sum(-1)
                    z[:, i] = plus * self.below[:, s] + minus * lines.chord[:, s]
                add(node.source, z)
            elif isinstance(node, Affine):
                self.rows[k] = rows
                charge = abs(rows) @ dual.charge[k]
                self.charge = self.charge + charge
                total = total + rows @ maps.bias[k] - charge
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

    @property
    def point(self) -> Any:
        """The minimiser.   Shapes  [P, n]"""
        return self.dual.center - self.dual.xp.sign(self.form) * self.dual.radius

    def gradients(self, point: Any) -> list[Any]:
        """Of the bound in alpha, in beta and in the clause's multipliers, where its minimiser is this point."""
        pre, output = self._forward(point)
        xp = self.dual.xp
        alpha = xp.where(self.lines.free, xp.clip(self.upper, 0, None) * pre, self.dual.zero)
        if self.raised is not None:
            alpha = xp.concatenate([alpha, self.raised.gradient], -1)
        out = [alpha, -self.side * pre]
        if self.clause is not None:
            clause = self.clause
            g = output @ clause.rows.T + clause.bias
            g = g if clause.direct is None else g + point @ clause.direct.T
            out.append(g if self.forms.own is None else g * self.forms.own)
        return out

    def gains(self) -> tuple[Any, Any]:
        """See `gains`."""
        pre, _ = self._forward(self.point)
        return gains(self.dual, self.lines, self.upper, pre, self.above)

    def _forward(self, point: Any) -> tuple[Any, Any]:
        """The chosen lines run forward from a point: the relus' inputs, and the output where a clause reads it.

        Shapes  [P, U], [P, outputs] or None
        """
        dual, xp, lines = self.dual, self.dual.xp, self.lines
        network, maps, neurons = dual.network, dual.maps, dual.neurons
        pre, self.above = xp.zeros_like(self.below), xp.zeros_like(self.below)
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
                    above = lines.chord[:, s] * here + lines.bias[:, s]
                    if self.raised is not None and k == self.raised.planes.relu:
                        slot = self.raised.planes.slot
                        self.raised.meet(point, above[:, slot])
                        above[:, slot] = self.raised.above
                    self.above[:, s] = above
                    value[:, i] = xp.where(self.upper[:, s] >= 0, self.below[:, s] * here, above)
                values[k] = value
        return pre, values.get(network.output)
