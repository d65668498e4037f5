"""Lines of relus, curves and products, optimised for linear forms of a value (alpha-CROWN for any network).

The walk is the kernel's, in float32 on torch, differentiable in what a certificate holds: the lower slopes of relus,
the places of tangents and planes, and the multipliers of value splits. What it finds counts once the kernel used it.

Shapes   P forms, one for each row of a state, or all for its only row; size_k entries of value k; parameters [P, size]
Source   Xu et al. 2021, arXiv:2011.13824; Wang et al. 2021, arXiv:2103.06624; Shi et al. 2024, arXiv:2405.21063
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

import torchlean_check as tc
from torchlean.verify.forms import Forms
from torchlean.verify.maps import TorchMaps
from torchlean.verify.tables import UNIT
from torchlean_check.network import Affine, Curve, Network, Product, Relu
from torchlean_check.rules import curve

Places = dict[int, Tensor]  # key of a slope table -> parameters
Pushes = dict[
    int, tuple[Tensor, Tensor, Tensor]
]  # split value -> side (-1, 0, 1), threshold, multiplier, [P, size] each
WORK = 1 << 23  # entries that a batch of forms has together, on the CPU
RATE, DECAY = 0.3, 0.97  # of a step
GRID = 2.0**-6  # of the parameters in a certificate
FLAT = 1e-9  # of a value's size
SAMPLES = 9  # places at which a curve's lines are known; between them they are interpolated


class Bent:
    """One network with the boxes of the rows of a state. A box that all rows share is held once: [1, size]."""

    def __init__(self, kernel: tc.Kernel, state: tc.State, maps: TorchMaps) -> None:
        self.network, self.maps, self.device = kernel.network, maps, maps.device
        self.kappa = {k: maps.put(c.kappa) for k, c in kernel.charges.items()}
        self._raw = {k: (_once(lo), _once(hi)) for k, (lo, hi) in state.boxes.items()}
        self.boxes = {k: (maps.put(lo), maps.put(hi)) for k, (lo, hi) in self._raw.items()}
        lo, hi = _once(state.lo), _once(state.hi)
        self.center, self.radius = maps.put(0.5 * lo + 0.5 * hi), maps.put(0.5 * hi - 0.5 * lo)
        self._curves: dict[int, list[tuple[Tensor, Tensor]]] = {}

    def ends(self, value: np.ndarray, row: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The boxes of single entries of values.   Shapes  [N] each -> [N], [N]"""
        found = np.zeros((2, len(value)))
        for k in np.unique(value).tolist():
            mine = value == k
            for out, end in zip(found, self._raw[k], strict=True):
                out[mine] = end[row[mine] if len(end) > 1 else 0, index[mine]]
        return found[0], found[1]

    def keys(self, k: int) -> tuple[int, int]:
        """Of a curve or a product: the keys of its places below and above."""
        first = len(self.network.nodes) + 2 * k
        return first, first + 1

    def start(self, forms: int, target: int) -> Places:
        """The default parameters of all nonlinear nodes up to a value."""
        found: Places = {}
        for k, node in enumerate(self.network.nodes[: target + 1]):
            if isinstance(node, Relu):
                lo, hi = self.boxes[node.source]
                found[node.source] = (hi > -lo).float().expand(forms, -1).clone()
            elif isinstance(node, (Curve, Product)):
                found |= {key: torch.zeros((forms, node.size), device=self.device) for key in self.keys(k)}
        return found

    def bound(self, forms: Forms, places: Places, pushes: Pushes, losses: dict[int, Tensor] | None = None) -> Tensor:
        """Lower bounds of the forms.   Shapes  -> [P]

        losses   is filled with what the lines of the nodes that read each value may cost: [P, size]
        """
        pending: dict[int, Tensor] = {forms.target: forms.seed}
        total: Tensor = forms.bias

        def add(k: int, part: Tensor) -> None:
            pending[k] = pending[k] + part if k in pending else part

        def lost(k: int, part: Tensor) -> None:
            if losses is not None:
                losses[k] = losses.get(k, 0) + part.detach()

        for k in range(max(forms.target, *pushes, 0), 0, -1):
            if k in pushes:
                side, at, beta = pushes[k]
                add(k, -beta * side)
                total = total + (beta * side * at).sum(1)
            g = pending.pop(k, None)
            if g is None:
                continue
            node = self.network.nodes[k]
            if k in self.kappa:
                total = total - g.abs() @ self.kappa[k]
            if isinstance(node, Affine):
                total = total + g @ self.maps.bias[k]
                for j, (_, source) in enumerate(node.terms):
                    add(source, self.maps.transpose(k, j, g))
                continue
            up = g.clamp(min=0.0)
            down = g - up
            if isinstance(node, Relu):
                slope, chord, offset, gap = self._relu(node.source, places)
                total = total + (down * offset).sum(1)
                add(node.source, up * slope + down * chord)
                lost(node.source, up * gap - down * offset)
            elif isinstance(node, Curve):
                (a, p), (s, t) = self._curve(k, node, places)
                total = total + (up * p).sum(1) + (down * t).sum(1)
                add(node.source, up * a + down * s)
                middle = 0.5 * sum(self.boxes[node.source])
                lost(node.source, g.abs() * (0.5 * ((s - a) * middle + t - p)).clamp(min=0))
            elif isinstance(node, Product):
                low, high, apart = self._planes(k, node, places)
                total = total + (up * low[2]).sum(1) + (down * high[2]).sum(1)
                for which, select in enumerate((node.left, node.right)):
                    source = node.sources[which]
                    add(source, self.maps.scatter(up * low[which] + down * high[which], select))
                    if losses is not None:
                        lost(source, self.maps.scatter(0.5 * g.abs() * apart, select))
        form = pending.get(0, torch.zeros_like(self.center))
        if forms.direct is not None:
            form = form + forms.direct
        return total + (form * self.center).sum(1) - (form.abs() * self.radius).sum(1)

    def _relu(self, value: int, places: Places) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        lo, hi = self.boxes[value]
        unstable, active = (lo < 0) & (hi > 0), lo >= 0
        chord = torch.where(unstable, hi / (hi - lo).clamp(min=1e-30), active.float())
        offset = torch.where(unstable, -chord * lo, torch.zeros_like(lo))
        slope = torch.where(unstable, places[value].clamp(0, 1), active.float())
        right, left = (1 - slope) * hi, -slope * lo
        gap = torch.where(unstable, torch.minimum(right, left), torch.zeros_like(lo))
        return slope, chord, offset, gap

    def _curve(self, k: int, node: Curve, places: Places) -> list[tuple[Tensor, Tensor]]:
        if k not in self._curves:
            samples = [self.maps.put(values) for values in _samples(node, self._raw[node.source])]
            self._curves[k] = [(samples[0], samples[1]), (samples[2], samples[3])]
        return [_between(s, places[key].clamp(-1, 1)) for s, key in zip(self._curves[k], self.keys(k), strict=True)]

    def _planes(self, k: int, node: Product, places: Places) -> tuple[list[Tensor], list[Tensor], Tensor]:
        (xl, xh), (yl, yh) = (
            tuple(side[:, self.maps.index(select.index)] for side in self.boxes[source])
            for source, select in zip(node.sources, (node.left, node.right), strict=True)
        )
        m, n, h, q = 0.5 * (xl + xh), 0.5 * (yl + yh), 0.5 * (xh - xl), 0.5 * (yh - yl)
        found = []
        for key, side in zip(self.keys(k), (1.0, -1.0), strict=True):
            place = places[key].clamp(-1, 1)
            turn = side * place * h
            found.append([n + place * q, m + turn, -m * n - place * q * m - turn * n - side * h * q])
        return found[0], found[1], 2 * h * q

    def improve(
        self, forms: Forms, places: Places, pushes: Pushes, steps: int, goal: float
    ) -> tuple[Tensor, Places, Pushes]:
        """Adam on the parameters and the multipliers: the best bounds, and what each was reached with. It stops when
        every bound is above `goal`.
        """
        count = len(self.network.nodes)
        free = {**places, **{-k: beta for k, (_, _, beta) in pushes.items()}}
        for p in free.values():
            p.requires_grad_()
        best = torch.full_like(forms.bias, -torch.inf)
        kept = {k: p.detach().clone() for k, p in free.items()}
        optimizer = torch.optim.Adam(list(free.values()), lr=RATE)
        for step in range(steps + 1):
            now = {k: (side, at, free[-k]) for k, (side, at, _) in pushes.items()}
            bound = self.bound(forms, {k: p for k, p in free.items() if k >= 0}, now)
            better = bound.detach() > best
            for k, p in free.items():
                kept[k][better] = p.detach()[better]
            best = torch.where(better, bound.detach(), best)
            if step == steps or not bound.requires_grad or bool((best > goal).all()):
                break  # nothing left to do, or no line that stands below the forms
            optimizer.zero_grad()
            (-bound.clamp(max=goal + 1.0).sum()).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.param_groups[0]["lr"] *= DECAY
            with torch.no_grad():
                for k, p in free.items():
                    p.nan_to_num_(0.0).clamp_(-1 if k >= count else 0, None if k < 0 else 1)
        after = {k: (side, at, kept[-k]) for k, (side, at, _) in pushes.items()}
        return best, {k: p for k, p in kept.items() if k >= 0}, after


def slope_tables(places: Places, rows: np.ndarray) -> list[tc.SlopeTable]:
    """What a certificate holds of the parameters of these rows: on a coarse grid, so that they take little room."""
    units = [(np.rint(p.cpu().numpy()[rows] / GRID) * (GRID * UNIT)).astype(np.int16) for p in places.values()]
    entries = {k: np.arange(p.shape[1]) for k, p in places.items()}
    return [tc.SlopeTable(entries, row) for row in np.concatenate([np.zeros((len(rows), 0), np.int16), *units], axis=1)]


def wide(lo: np.ndarray, hi: np.ndarray) -> np.ndarray:
    """Whether boxes are wide enough for float32 to see, so that narrower ones could help."""
    return np.asarray(hi - lo > np.maximum(FLAT * np.maximum(np.abs(lo), np.abs(hi)), 2.0**-100))


def batch(network: Network, maps: TorchMaps) -> int:
    """How many forms to walk at once."""
    entries = sum(node.size for node in network.nodes)
    return max(1, (WORK if maps.device == "cpu" else 32 * WORK) // (2 * entries))


def entries(
    node: Curve, places: tuple[np.ndarray, np.ndarray], box: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, ...]:
    """Of a curve on boxes of single entries: slope and offset below, slope and offset above.   Shapes  [N] each"""
    found = curve.lines(node, places, box)
    return found.a, np.zeros_like(found.t) if found.p is None else found.p, found.s, found.t


def _samples(node: Curve, box: tuple[np.ndarray, np.ndarray]) -> list[np.ndarray]:
    """Slopes and offsets of a curve's lines, below and above, at SAMPLES places; each box that is met is asked once.

    Most rows have the boxes of the root, and what they split they share with their siblings.

    Shapes   box: [P, size] -> [SAMPLES, P, size] each
    """
    lo, hi = np.broadcast_arrays(*box)
    size, wide = lo.shape[1], (lo.min(axis=0), hi.max(axis=0))
    row, entry = np.nonzero((lo != wide[0]) | (hi != wide[1]))
    new, which = np.unique(np.stack([entry, lo[row, entry], hi[row, entry]]), axis=1, return_inverse=True)
    ends = [np.tile(np.concatenate([end, more]), SAMPLES) for end, more in zip(wide, new[1:], strict=True)]
    place = np.repeat(np.linspace(-1, 1, SAMPLES), size + new.shape[1])
    out = []
    for found in entries(node, (place, place), (ends[0], ends[1])):
        values = found.reshape(SAMPLES, 1, -1)
        every = np.repeat(values[..., :size], len(lo), axis=1)
        every[:, row, entry] = values[:, 0, size + which.reshape(-1)]
        out.append(every)
    return out


def _once(values: np.ndarray) -> np.ndarray:
    return values[:1] if (values == values[:1]).all() else values


def _between(samples: tuple[Tensor, Tensor], place: Tensor) -> tuple[Tensor, Tensor]:
    """The line between the two nearest samples.   Shapes  [SAMPLES, P or 1, size], [P, size] -> [P, size]"""
    at = (place + 1.0) * (0.5 * (SAMPLES - 1))
    first = at.detach().floor().clamp(0, SAMPLES - 2).long()
    share, found = at - first, []
    for s in samples:
        wide = s.expand(-1, len(place), -1)
        low, high = (torch.gather(wide, 0, i[None])[0] for i in (first, first + 1))
        found.append(low + (high - low) * share)
    return found[0], found[1]
