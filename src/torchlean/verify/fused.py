"""The ascent of ascent.py on a CUDA device, where kernels.py does what stands between products of matrices.

Plain operations cross memory some fifty times for each relu of a step; these cross it twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from torchlean.verify.ascent import NARROW, RATE, WEIGHT_RATE, Ascent, Best, Given, Run, climb
from torchlean.verify.planes import Raised
from torchlean.verify.walk import gains
from torchlean_check.network import Affine, Network, Relu

if TYPE_CHECKING:
    from torchlean.verify.dual import Boxes, Dual, Neurons

WIDEST = 1024  # entries that a program holds at once


class Places:
    """What the entries of relu inputs are, for one dual, and which nodes stand alone between others.

    host    value that a relu reads -> place of each entry (kernels.py)
    relus   value -> the relus that read it
    single  affine nodes that one relu alone reads: its kernel does their part as well
    """

    def __init__(self, network: Network, boxes: Boxes, neurons: Neurons) -> None:
        from torchlean.verify.kernels import ACTIVE, DEAD

        self.host: dict[int, NDArray[np.int32]] = {}
        for k, (lo, hi) in boxes.items():
            place = np.where((lo >= 0) & (hi > 0), ACTIVE, DEAD).astype(np.int32)
            place[neurons.index[k]] = np.arange(neurons.at[k].start, neurons.at[k].stop)
            self.host[k] = place
        self.relus: dict[int, list[int]] = {}
        readers: dict[int, int] = {network.output: 1}
        for k, node in enumerate(network.nodes):
            sources = [s for _, s in node.terms] if isinstance(node, Affine) else []
            if isinstance(node, Relu):
                sources = [node.source]
                self.relus.setdefault(node.source, []).append(k)
            for s in sources:
                readers[s] = readers.get(s, 0) + 1
        self.single = {s for s in self.relus if readers[s] == 1 and isinstance(network.nodes[s], Affine)}


class Fused:
    """One run, as `torchlean.verify.ascent.Ascent` has it."""

    def __init__(self, dual: Dual, given: Given, lazy: bool = True) -> None:
        from torchlean.verify import kernels

        self.dual, self.given, self.kernels = dual, given, kernels
        self.neurons, self.count = given.side.shape[1], len(given.side)
        self.lo, self.hi = given.box
        self.apart = 0 if self.lo.ndim == 1 else self.neurons
        self.clause = None if given.weight is None else given.forms.clause
        self.top = given.forms.target if self.clause is None else max(given.forms.target, dual.network.output)

    def look(self) -> None:
        given, torch = self.given, self.dual.xp
        self.alpha, self.beta = given.alpha[:, : self.neurons].clone().contiguous(), given.beta.clone()
        self.raised, planes = None, self.dual.planes
        if planes is not None:
            lo, hi = (end[..., planes.flat] for end in given.box)
            lines = self.dual.lines(given.side[:, planes.flat], (lo, hi))
            self.raised = Raised(self.dual, planes, given.alpha[:, self.neurons :].clone(), lines.free)
            self.chord, self.over = lines.chord, lines.bias
        self.weight = None if given.weight is None else given.weight.clone()
        self.upper, self.pre = torch.zeros_like(self.alpha), torch.zeros_like(self.alpha)
        self.point = torch.empty(self.count, len(self.dual.center), device=self.alpha.device)
        self._walk()
        self.value, self.best_charge, self.best_point = self.total.clone(), self.charge.clone(), self.point.clone()
        self.best_alpha = self.alpha if given.hold else self.alpha.clone()
        self.best_beta, self.best_upper = self.beta.clone(), self.upper.clone()
        self.best_weight = None if self.weight is None else self.weight.clone()
        if self.raised is not None:
            self.best_share = self.raised.share if given.hold else self.raised.share.clone()

    def begin(self, now: Any) -> None:
        torch = self.dual.xp
        self.look()
        width = torch.clip(self.hi - self.lo, NARROW, None)
        self.beta_rate = RATE * (abs(self.upper) + abs(self.total)[:, None] / width)
        self.better = torch.zeros(self.count, dtype=torch.int8, device=self.alpha.device)
        self.moments = [torch.zeros_like(self.alpha) for _ in range(2 if self.given.hold else 4)]
        if self.weight is not None:
            self.weight_moments = torch.zeros_like(self.weight), torch.zeros_like(self.weight)
        if self.raised is not None:
            self.share_moments = torch.zeros_like(self.raised.share), torch.zeros_like(self.raised.share)
        self._move(now, keep=False)

    def step(self, now: Any) -> None:
        self._walk(keep=True)
        self._move(now, keep=True)

    def finish(self) -> None:
        self._walk(keep=True)
        self._move(None, keep=True)

    def gains(self) -> tuple[Any, Any]:
        self.look()
        self._ahead()
        lines = self.dual.lines(self.given.side, self.given.box)
        above = lines.chord * self.pre + lines.bias
        if self.raised is not None and self.raised.above is not None:
            above[:, self.raised.planes.flat] = self.raised.above
        return gains(self.dual, lines, self.upper, self.pre, above)

    @property
    def best(self) -> Best:
        cost, block = self.dual.xp.empty_like(self.best_upper), _block(self.neurons)
        if self.neurons:
            lines = self.best_alpha, self.given.side, self.lo, self.hi, self.apart
            self.kernels.cost[self._grid(self.neurons)](*lines, self.best_upper, cost, self.neurons, BLOCK=block)
        alpha = self.best_alpha
        if self.raised is not None:
            alpha = self.dual.xp.concatenate([alpha, self.best_share], -1)
        duals = alpha, self.best_beta, self.best_weight, self.best_upper
        return Best(self.value, self.best_charge, *duals, cost, self.best_point)

    def _grid(self, size: int) -> tuple[int, int]:
        return self.count, -(-size // _block(size))

    def _walk(self, keep: bool = False) -> None:
        """Backward: the bound, with what `Walk` has of it."""
        dual, forms, network = self.dual, self.given.forms, self.dual.network
        self.rows: dict[int, Any] = {}
        self.total, self.charge = forms.bias.clone(), self.dual.xp.zeros_like(forms.bias)
        direct, pending = forms.direct, {forms.target: forms.seed}
        if self.clause is not None:
            weight, clause = self.weight, self.clause
            _add(pending, network.output, weight @ clause.rows)
            self.total += weight @ clause.bias
            if clause.direct is not None:
                direct = weight @ clause.direct + (0 if direct is None else direct)
        done = set()  # nodes whose part a relu's kernel did
        for k in range(self.top, -1, -1):
            rows = pending.pop(k, None)
            if rows is None:
                continue
            node = network.nodes[k]
            if k not in done:
                rows = self._back(k, rows, isinstance(node, Affine), k != self.top)
            if isinstance(node, Relu):
                source = node.source
                both = source in dual.places.single
                raised = self.raised if self.raised is not None and k == self.raised.planes.relu else None
                if raised is not None:
                    upper = rows[:, raised.planes.entry]
                    gain, charge, above = raised.take(upper)
                    self.total, self.charge = self.total + gain, self.charge + charge
                    direct = above if direct is None else direct + above
                    rows = rows.clone()
                    rows[:, raised.planes.entry] -= raised.weight
                pending[source] = self._back(source, rows, both, both, relu=True, extra=pending.get(source))
                if raised is not None:
                    self.upper[:, raised.planes.flat] = upper
                done |= {source} if both else set()
            elif isinstance(node, Affine):
                self.rows[k] = rows
                for j, (_, source) in enumerate(node.terms):
                    _add(pending, source, dual.maps.transpose(k, j, rows))
            else:
                pending[-1] = rows
        form = pending.get(-1)
        if form is None:
            form = dual.xp.zeros_like(self.point)
        kept = (self.value, self.best_charge, self.best_point, self.better) if keep else (self.total,) * 4
        n, other = form.shape[1], form if direct is None else direct.contiguous()
        self.kernels.end[(self.count,)](
            form.contiguous(), other, dual.center, dual.radius, self.total, self.charge, self.point, *kept, n,
            DIRECT=direct is not None, KEEP=keep, BLOCK=_block(n), BLOCKS=-(-n // _block(n)),
        )  # fmt: skip

    def _back(
        self, k: int, rows: Any, affine: bool, pushed: bool, relu: bool = False, extra: Any | None = None
    ) -> Any:
        """Coefficients on value k, or on its relu, with what is due there.   Shapes  rows: [P, size_k]"""
        dual = self.dual
        push = pushed and k in dual.neurons.at and dual.neurons.at[k].start < dual.neurons.at[k].stop
        if not (affine or push or relu):
            return rows
        rows, size = rows.contiguous(), rows.shape[1]
        changed = relu or push or extra is not None
        out = dual.xp.empty_like(rows) if changed else rows
        place, nothing = dual.place.get(k), self.total
        bias, kappa = (dual.maps.bias[k], dual.charge[k]) if affine else (nothing, nothing)
        self.kernels.back[(self.count,)](
            rows, rows if extra is None else extra.contiguous(), out, nothing if place is None else place, self.alpha,
            self.beta, self.given.side, self.lo, self.hi, self.apart, self.upper, self.total, self.charge, bias, kappa,
            size, self.neurons, RELU=relu, EXTRA=extra is not None, PUSH=push, AFFINE=affine, BLOCK=_block(size),
            BLOCKS=-(-size // _block(size)),
        )  # fmt: skip
        return out

    def _ahead(self) -> dict[int, Any]:
        """Forward from the minimiser along the lines of the walk: what each relu reads, in `pre`. Returns the values
        that a clause may read."""
        dual, network, places = self.dual, self.dual.network, self.dual.places
        values: dict[int, Any] = {0: self.point}
        for k, node in enumerate(network.nodes[: self.top + 1]):
            relus = [r for r in places.relus.get(k, ()) if r <= self.top]
            if isinstance(node, Affine):
                if k not in self.rows:
                    continue
                first, *others = (dual.maps.apply(k, j, values[s]) for j, (_, s) in enumerate(node.terms))
                self._relu(k, sum(others, first).contiguous(), values, relus, affine=True)
            elif k in values:
                self._relu(k, values[k], values, relus, affine=False)
        return values

    def _relu(self, k: int, value: Any, values: dict[int, Any], relus: list[int], affine: bool) -> None:
        """What stands in an affine node's value, and in those of the relus that read a value."""
        dual, size = self.dual, value.shape[1]
        if not affine and not relus:
            return
        out = dual.xp.empty_like(value) if relus else value
        rows = self.rows[k] if affine else value
        bias, kappa = (dual.maps.bias[k], dual.charge[k]) if affine else (value, value)
        self.kernels.ahead[self._grid(size)](
            value, out, rows, bias, kappa, dual.place[k] if relus else value, self.alpha, self.given.side, self.lo,
            self.hi, self.apart, self.upper, self.pre, size, self.neurons, AFFINE=affine,
            KEEP=affine and not (relus and k in dual.places.single), RELU=bool(relus), BLOCK=_block(size),
        )  # fmt: skip
        if self.raised is not None and self.raised.planes.relu in relus:
            planes = self.raised.planes
            self.raised.meet(self.point, self.chord * self.pre[:, planes.flat] + self.over)
            by_above = self.upper[:, planes.flat] < 0
            out[:, planes.entry] = self.dual.xp.where(by_above, self.raised.above, out[:, planes.entry])
        values[k] = value
        values.update(dict.fromkeys(relus, out))

    def _move(self, now: Any, keep: bool) -> None:
        """Keep what is better, and take a step; without `now` there is none."""
        values: dict[int, Any] = {}
        moments, rate, row = [self.upper] * 4, self.upper, self.upper  # which no kernel reads without a step
        if now is not None:
            values, rate, row = self._ahead(), self.beta_rate, now
            moments = [*self.moments, *self.moments][:4]  # slopes that are held have none of their own
        if self.neurons:
            self.kernels.move[self._grid(self.neurons)](
                self.alpha, self.beta, self.given.side, self.lo, self.hi, self.apart, self.upper, self.pre,
                self.better, self.best_alpha, self.best_beta, self.best_upper, *moments, RATE, rate, row,
                self.neurons, HOLD=self.given.hold, KEEP=keep, MOVE=now is not None, BLOCK=_block(self.neurons),
            )  # fmt: skip
        if self.raised is not None and not self.given.hold:
            self._move_share(self.raised, now, keep)
        if self.weight is not None:
            self._move_weight(values, now, keep)

    def _move_share(self, raised: Raised, now: Any | None, keep: bool) -> None:
        """The same for the planes' shares."""
        torch = self.dual.xp
        if keep:
            self.best_share[...] = torch.where(self.better[:, None] != 0, raised.share, self.best_share)
        if now is not None:
            climb(torch, raised.share, raised.gradient, *self.share_moments, RATE, now, 1)

    def _move_weight(self, values: dict[int, Any], now: Any | None, keep: bool) -> None:
        """The same for the clause's multipliers, which are few."""
        torch, clause = self.dual.xp, self.clause
        assert clause is not None and self.best_weight is not None and self.weight is not None
        if keep:
            self.best_weight[...] = torch.where(self.better[:, None] != 0, self.weight, self.best_weight)
        if now is None:
            return
        g = values[self.dual.network.output] @ clause.rows.T + clause.bias
        g = g if clause.direct is None else g + self.point @ clause.direct.T
        g = g if self.given.forms.own is None else g * self.given.forms.own
        first, second = self.weight_moments
        climb(torch, self.weight, g, first, second, WEIGHT_RATE, now, None)


def run_of(dual: Dual, given: Given, lazy: bool = True) -> Run:
    """By kernels where there are some for the dual's arrays."""
    return Fused(dual, given) if dual.place and len(given.side) else Ascent(dual, given, lazy)


def _block(size: int) -> int:
    """Entries that a program holds at once: a power of two."""
    return min(WIDEST, max(64, 1 << (max(1, size) - 1).bit_length()))


def _add(pending: dict[int, Any], k: int, rows: Any) -> None:
    pending[k] = pending[k] + rows if k in pending else rows
