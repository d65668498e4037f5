"""The bound kernel: weak duality with a charged residual (SEMANTICS 5).

A lower bound of L . z is carried backward with arbitrary coefficients; what each step changes is charged with proved
magnitudes. So no number that comes from outside (slopes, multipliers, thresholds) can make a bound wrong; it can only
make it worse.

Magnitudes |x| <= mag come from the boxes: the root's, and in a batch that is derived again the boxes of each row, in
topological order, so that every execution that reaches a row obeys them. Per affine node
    v     >= |W| mag + |b|
    error >= the float32 error box E of SEMANTICS 3 (0 for `real`), plus the distance of stored weights from exact ones
    kappa >= error + gamma v      charged as |L| kappa: float32's error and this walk's own rounding at once
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from torchlean_check import arith, cases, tiles
from torchlean_check.conv import Conv
from torchlean_check.cuts import Cuts
from torchlean_check.errors import CheckError
from torchlean_check.forms import NO_FORMS, UNDERFLOW, Forms, few
from torchlean_check.frozen import frozen
from torchlean_check.network import (
    Affine,
    AnyNode,
    Curve,
    Dense,
    Floats,
    Input,
    Network,
    Product,
    Relu,
    Select,
    exact_by_intervals,
    sources,
)
from torchlean_check.objective import WIDER, Objective
from torchlean_check.pushes import NO_PUSHES, Pushes
from torchlean_check.rules import convexity, curve, pair, planes, product, quadratic, relu
from torchlean_check.sparse import Part, Sparse, add, full
from torchlean_check.vnnlib_reader import Region

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Boxes = dict[int, tuple[Floats, Floats]]
Path = tuple[tuple[int, int, int, float], ...]  # value splits above a node: value, index, side, threshold
Slopes = Mapping[int, Floats]  # value -> lower slope per neuron [1, size], nan: the default
Weights = Sequence[tuple[int, float]]  # inequality of a clause, weight
U32 = 2.0**-24
TINY32 = 2.0**-126
HUGE = 2.0**200  # no value may reach it, in either semantics
SEMANTICS = ("float32", "real")
MOST_TIGHTENED = 1 << 26  # entries that curves and products read, times all: beyond it only relus' inputs are tightened
RULES: dict[type, Any] = {Curve: curve, Product: product}


@dataclass(eq=False)
class State:
    """What is known at a batch of tree nodes.

    lo, hi  [B, inputs]; boxes  value id -> (lo, hi) each [B, size], of `Network.boxed`; open  [B, clauses]
    empty   [B] True where two proved bounds contradict: no execution gets there
    given   [B] True where the box depends on a value split or on the clause (so that it may be empty)
    paths   the value splits above each node
    """

    lo: Floats
    hi: Floats
    boxes: Boxes
    open: Bools
    empty: Bools
    given: Bools
    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.lo)

    def take(self, rows: Ints | Sequence[int]) -> State:
        i = np.asarray(rows, dtype=np.int64)
        boxes = {k: (lo[i], hi[i]) for k, (lo, hi) in self.boxes.items()}
        paths = tuple(self.paths[j] for j in i) if any(self.paths) else ((),) * len(i)
        return State(self.lo[i], self.hi[i], boxes, self.open[i], self.empty[i], self.given[i], paths)

    @staticmethod
    def join(states: Sequence[State]) -> State:
        if len(states) == 1:
            return states[0]
        boxes = {
            k: (np.concatenate([s.boxes[k][0] for s in states]), np.concatenate([s.boxes[k][1] for s in states]))
            for k in states[0].boxes
        }
        lo, hi, opens, empty, given = (
            np.concatenate([getattr(s, name) for s in states]) for name in ("lo", "hi", "open", "empty", "given")
        )
        return State(lo, hi, boxes, opens, empty, given, tuple(p for s in states for p in s.paths))


@frozen(eq=False)
class Bounds:
    """Proved lower bounds of every inequality's g on each box; -inf where it was not computed or is not finite.

    margin         [B, R]
    refuted        [B, clauses] closed before, or refuted by some single inequality
    form, offset   [B, R, inputs], [B, R]: g >= form x + offset on the box
    """

    margin: Floats
    refuted: Bools
    form: Floats
    offset: Floats


@frozen(eq=False)
class Live:
    """One relu over a batch of boxes. Shapes of lines: [B, unstable].

    columns  entries that are not 0 in every box: first those unstable in some box, then those active in all; None:
             all, all first kind
    """

    columns: Ints | None
    unstable: int
    lines: relu.Lines


class Facts:
    """The lines of nonlinear nodes for one state, made when needed: by then the boxes they read are final.

    cuts   None, or rows below the state: then lines and slopes are theirs
    """

    def __init__(
        self,
        state: State,
        slopes: Slopes | None = None,
        compress: bool = False,
        forms: Forms | None = None,
        cuts: Cuts | None = None,
    ) -> None:
        self.state, self.slopes, self.compress, self.forms = state, slopes, compress, forms or NO_FORMS
        self.cuts = cuts
        self._columns: dict[int, tuple[Ints, Ints]] = {}
        self._live: dict[int, Live] = {}
        self._lines: dict[int, Any] = {}
        self._charges: dict[int, Floats] = {}
        self.output: tuple[Floats, Floats] | None = None  # the output's box, where it was derived
        self.matrices: dict[tuple[int, int, bool], Floats] = {}
        self._whole = None if compress else self
        self.bend = quadratic.NOTHING  # of the last whole walk: what is convex of what its products leave
        self.local: dict[int, Floats] = {}  # kappa of affine nodes, for each row's own boxes: [B, size]

    def below(self, cuts: Cuts, slopes: Slopes | None) -> Facts:
        """The same for rows below the state: columns and matrices are shared."""
        facts = Facts(self.state, slopes, self.compress, None, cuts)
        facts._columns, facts.matrices = self._columns, self.matrices
        return facts

    def boxes(self, value: int, columns: Ints | None = None) -> tuple[Floats, Floats]:
        """Of each row, for some entries or all."""
        lo, hi = self.state.boxes[value]
        if self.cuts is not None:
            return self.cuts.boxes(value, (lo, hi), columns)
        return (lo, hi) if columns is None else (lo.take(columns, axis=1), hi.take(columns, axis=1))

    def whole(self) -> Facts:
        """The same without compression."""
        if self._whole is None:
            self._whole = Facts(self.state, self.slopes, False, self.forms)
            self._whole.local = self.local
        return self._whole

    def charge(self, k: int, columns: Ints | None) -> Floats:
        """What |L| on value k is charged with per box, for the live entries.   Shapes  [B, columns]"""
        if columns is None or not self.compress:
            return self.local[k] if columns is None else self.local[k].take(columns, axis=1)
        if k not in self._charges:
            # the columns of a value are always those of its one relu
            self._charges[k] = self.local[k].take(columns, axis=1)
        return self._charges[k]

    def live(self, value: int, columns: Ints | None = None) -> Live:
        """The live entries; without compression, those of `columns`."""
        if value not in self._live:
            slope = None if self.slopes is None else self.slopes.get(value)
            if self.compress:
                if value not in self._columns:
                    lo, hi = self.state.boxes[value]
                    low, high = lo.min(axis=0) < 0.0, hi.max(axis=0) > 0.0
                    some = np.flatnonzero(low & high)
                    self._columns[value] = some, np.concatenate([some, np.flatnonzero(~low & high)])
                some, kept = self._columns[value]
                self._live[value] = Live(kept, len(some), self._relu(value, some, slope))
            else:
                lines = relu.lines(*self.boxes(value), slope)
                self._live[value] = Live(None, lines.t.shape[1], lines)
        if columns is not None and not self.compress:
            return Live(columns, len(columns), self._live[value].lines.take(columns))
        return self._live[value]

    def _relu(self, value: int, some: Ints, slope: Floats | None) -> relu.Lines:
        """The lines of some entries, those that are unstable in a state."""
        slope = None if slope is None else slope.take(some, axis=1)
        if (
            self.cuts is None
            or len(self.state) > 1
            or slope is None
            or not ((slope >= 0) & (slope <= 1) | np.isnan(slope)).all()
        ):
            return relu.lines(*self.boxes(value, some), slope)
        lo, hi = self.state.boxes[value]
        slope = np.broadcast_to(slope, (len(self.cuts.home), len(some)))
        return relu.shared((lo.take(some, axis=1), hi.take(some, axis=1)), slope, *self.cuts.entries(value, some))

    def lines(self, k: int, node: Curve | Product, first: int) -> Any:
        """What bounds a curve or a product. first: the key of its places below and above, each in [-1, 1]."""
        if k not in self._lines:
            boxes = [self.boxes(source) for source in sources(node)]
            given, forms = (self.slopes or {}).get, self.forms
            places = [np.clip(np.nan_to_num(given(key, np.zeros((1, node.size)))), -1, 1) for key in (first, first + 1)]
            self._lines[k] = (
                quadratic.parts(node, forms, boxes, first)
                if isinstance(node, Product) and forms.known
                else forms.lines[k]
                if k in forms.lines
                else RULES[type(node)].lines(node, places, *boxes)
            )
        return self._lines[k]


@frozen(eq=False)
class Charges:
    """Of one node that rounds: kappa, and the widening of its interval.   Shapes  [size] each

    rate, base: an affine node's kappa as rate v + base, for any v that bounds |W| mag + |b|
    """

    kappa: Floats
    widen: Floats
    rate: Floats
    base: Floats


class Kernel:
    """The kernel on one region. It holds the root's boxes and the charges that they imply; all else is in states."""

    def __init__(
        self,
        network: Network,
        region: Region,
        semantics: str = "float32",
        arithmetic: str = "rounded",
        root: str = "derive",
    ) -> None:
        if semantics not in SEMANTICS or root not in ("derive", "interval"):
            raise CheckError(
                "unknown semantics or root rule",
                where="kernel",
                expected="float32 or real; derive or interval",
                got=f"{semantics}, {root}",
                fix="choose one of them",
            )
        if len(region.lo) != network.inputs or region.rows_y.shape[1] != network.outputs:
            raise CheckError(
                "the property does not fit the network",
                where="sizes",
                expected=f"{network.inputs} inputs, {network.outputs} outputs",
                got=f"{len(region.lo)} inputs, {region.rows_y.shape[1]} outputs",
                fix="give the property of this network",
            )
        self.network, self.region, self.semantics = network, region, semantics
        self.arith = arith.arithmetic(arithmetic)
        # Relu and moves have no error box: what they flush counts where it is read, or here where it is the output.
        flushed = np.abs(region.rows_y).sum(axis=1) * (TINY32 * WIDER if semantics == "float32" else 0.0)
        x = slice(None if region.rows_x.any() or region.err_x.any() else 0)
        self.objectives = Objective(
            region.rows_y, region.rows_x[:, x], region.rows_c, region.err_y, region.err_x[:, x], region.err_c + flushed
        )
        self.charges: dict[int, Charges] = {}
        self.mags: list[Floats] = []
        self.sums: list[float] = []  # sum of each value's magnitudes
        self.tight = [exact_by_intervals(network.nodes, k) for k in range(len(network.nodes))]
        bent = {j for n in network.nodes if isinstance(n, (Curve, Product)) for j in sources(n)}
        cost = sum(network.nodes[k].size for k in bent) * sum(node.size for node in network.nodes)
        self.bent = bent if cost <= MOST_TIGHTENED else set()
        self.walked = {k for k in self.bent | set(network.relu_inputs) if not self.tight[k]} - network.lattice
        self.absolute = {
            k: tuple(m.absolute() for m, _ in n.terms) for k, n in enumerate(network.nodes) if isinstance(n, Affine)
        }
        self.compress = self.arith.name == "rounded" and Dense in network.maps and Sparse not in network.maps
        width = max(node.size for node in network.nodes)
        if width > 1 << 20:
            raise CheckError(
                "a value is too large",
                where="network",
                expected="at most 2^20 entries",
                got=str(width),
                fix="use a smaller network",
            )
        self.tiled = tiles.tiled(network.nodes) if self.arith.name == "rounded" else {}  # exact sums: by one order
        self.few = few(region.lo, region.hi, network)
        self.row_chunk = max(256 if Sparse in network.maps else 64, min(128, (1 << 19) // width), (1 << 17) // width)
        self.chunk = int(min(256, max(1, (1 << 19) // sum(node.size for node in network.nodes))))
        self.planes: dict[int, planes.Planes] = {}  # by the keys of their shares in slope tables
        self.threads = 1  # that bounds with cases are computed by: processes where they are many
        with np.errstate(all="ignore"):
            self._start(root == "derive")

    # -- the root ----------------------------------------------------------------------------------------------------

    def _start(self, derive: bool) -> None:
        region = self.region
        state = State(
            region.lo[None].copy(),
            region.hi[None].copy(),
            {},
            np.ones((1, len(region.clauses)), np.bool_),
            np.zeros(1, np.bool_),
            np.zeros(1, np.bool_),
            ((),),
        )
        values: Boxes = {}
        forms = Forms(self.arith, self.few)
        facts = Facts(state, None, self.compress, forms)
        for k, node in enumerate(self.network.nodes):
            if isinstance(node, Affine):
                self.charges[k] = self._charge(k, node)
            elif isinstance(node, (Curve, Product)):
                self.charges[k] = self._error(node, values)
            values[k] = self._forward(k, state, values, forms)
            self._size(k, values[k])
            if k in self.network.boxed:
                state.boxes[k] = values[k]
                if derive and k in self.walked:
                    self._tighten(facts, k)
                    values[k] = state.boxes[k]
                    self._size(k, values[k])
        self._root, self._output = state, values[self.network.output]

    def _size(self, k: int, box: tuple[Floats, Floats]) -> None:
        """Take the magnitudes of value k from its box at the root."""
        lo, hi = box[0][0], box[1][0]
        if not ((lo > -HUGE).all() and (hi < HUGE).all()):
            raise CheckError(
                "a value is not shown to be finite",
                where=f"node {k}",
                expected="bounds within 2^200",
                got="larger ones, or an overflow",
                fix="use a smaller region, or root rule `derive`",
            )
        self.mags[k:] = [np.maximum(np.abs(lo), np.abs(hi))]
        self.sums[k:] = [float(self.mags[k].sum()) * WIDER]

    def _charge(self, k: int, node: Affine) -> Charges:
        v, ones, total, depth = node.magnitude[None], np.zeros((1, node.size)), 0.0, len(node.terms)
        for linear, (_, source) in zip(self.absolute[k], node.terms, strict=True):
            v = v + linear.apply(self.arith.trim_up(self.mags[source][None]), self.arith.product)
            ones = ones + linear.apply(
                self.arith.trim_up(np.ones((1, self.network.nodes[source].size))), self.arith.product
            )
            total += self.sums[source]
            depth = max(depth, linear.depth + len(node.terms))
        v, ones = v[0] * (1.0 + 2.0**-20), ones[0] * (1.0 + 2.0**-20) + 1.0
        if node.leaves.max() * U32 > 0.125:
            raise CheckError(
                "a sum has too many terms",
                where=f"node '{node.where}'",
                expected="at most 2^21 terms",
                got=str(node.leaves.max()),
                fix="split the layer",
            )
        g = node.leaves * U32 * (1.0 + 2.0 * node.leaves * U32) * (1.0 + 2.0**-40)  # >= (1 + u)^N - 1
        moves = all(isinstance(linear, Select) for linear, _ in node.terms)
        tiny = TINY32 * node.scale * (1.0 + g) * (3.0 * node.leaves + ones + total)
        base = np.where(node.leaves > 0, tiny, 0.0 if moves else TINY32)
        rate = g
        if node.adds:  # E + u (v + E) + 2^-126, where it is not a zero that is added
            grow = np.where((len(node.terms) == 1) & (node.bias == 0.0), 0.0, U32)
            rate, base = g + grow * (1.0 + g), (1.0 + grow) * base + TINY32
        if self.semantics == "float32" and not (
            ((1.0 + g + rate) * v + base < 2.0**127).all()
            and all((self.mags[source] <= node.most).all() for _, source in node.terms)
        ):
            raise CheckError(
                "overflow of float32 is not excluded",
                where=f"node '{node.where}'",
                expected="magnitudes below 2^127",
                got=str(float(v.max())),
                fix="use a smaller region",
            )
        if self.semantics == "real":
            rate = base = np.zeros(node.size)
        rate = (rate + node.weight_rel + self.arith.gamma(depth)) * (1.0 + 2.0**-18)
        # Coefficients of any size multiply this: 2^-900, so that what underflows in it does not count.
        base = (base + node.bias_err + self.arith.gamma(node.size) * np.abs(node.bias) + 2.0**-900) * (1.0 + 2.0**-18)
        kappa = (rate * v + base) * WIDER
        return Charges(kappa, (kappa + 2.0**-46 * v) * WIDER, rate, base)

    def _error(self, node: Curve | Product, values: Boxes) -> Charges:
        """The error box of a nonlinear node that rounds (SEMANTICS 2 and 3)."""
        boxes = [(lo[0], hi[0]) for lo, hi in (values[source] for source in sources(node))]
        wide = float(self.mags[node.wide].max()) if isinstance(node, Curve) else 0.0
        error, size = curve.error(node, boxes[0], wide) if isinstance(node, Curve) else product.error(node, *boxes)
        if self.semantics == "real":
            error = np.zeros(node.size)
        elif not (size + error < 2.0**127).all():
            raise CheckError(
                "overflow of float32 is not excluded",
                where=f"node '{node.where}'",
                expected="magnitudes below 2^127",
                got=str(float(np.max(size))),
                fix="use a smaller region",
            )
        return Charges(error, error, error, error)

    def _localise(self, k: int, node: Affine, values: Boxes, facts: Facts) -> Floats:
        """The charges of node k for the boxes of each row, into `facts`; returns v.   Shapes  [B, size]"""
        v = node.magnitude[None]
        for linear, (_, source) in zip(self.absolute[k], node.terms, strict=True):
            lo, hi = values[source]
            v = v + linear.apply(self.arith.trim_up(np.maximum(np.abs(lo), np.abs(hi))), self.arith.product)
        v = v * (1.0 + 2.0**-20)
        c = self.charges[k]
        facts.local[k] = np.minimum((v * c.rate + c.base) * WIDER, c.kappa)
        return v

    def start(self) -> State:
        """The root's state, batch of 1."""
        return self._root.take([0])

    # -- interval walk -----------------------------------------------------------------------------------------------

    def _interval(
        self, k: int, node: AnyNode, state: State, values: Boxes, facts: Facts | None = None
    ) -> tuple[Floats, Floats]:
        """The box of value k from the boxes that it reads; with `facts`, charged for each row's own magnitudes."""
        if isinstance(node, Input):
            return state.lo, state.hi
        if isinstance(node, Relu):
            lo, hi = values[node.source]
            return np.maximum(lo, 0.0), np.maximum(hi, 0.0)
        if isinstance(node, (Curve, Product)):
            boxes = [values[source] for source in sources(node)]
            found: tuple[Floats, Floats] = RULES[type(node)].enclose(node, *boxes, self.charges[k].kappa)
            return found
        y = node.bias[None] + np.zeros((len(state), 1))
        radius = np.zeros_like(y)
        for (linear, source), absolute in zip(node.terms, self.absolute[k], strict=True):
            lo, hi = values[source]
            centre = self.arith.trim(0.5 * lo + 0.5 * hi)[0]
            half = self.arith.trim_up(np.maximum(np.maximum(hi - centre, centre - lo), 0.0) * (1.0 + 2.0**-50))
            y = y + linear.apply(centre, self.arith.product)
            radius = radius + absolute.apply(half, self.arith.product)
        widen = self.charges[k].widen
        if facts is not None:
            v = self._localise(k, node, values, facts)
            widen = np.minimum(widen, (facts.local[k] + 2.0**-46 * v) * WIDER)
        radius = radius * (1.0 + 2.0**-20) + widen + UNDERFLOW
        return pair.meet(node.pair, (y - radius, y + radius), values, widen)

    def _forward(
        self, k: int, state: State, values: Boxes, forms: Forms, facts: Facts | None = None
    ) -> tuple[Floats, Floats]:
        """The interval walk's box of value k, met with its affine forms of the inputs where those are carried along."""
        values[k] = self._interval(k, self.network.nodes[k], state, values, facts)
        local = {} if facts is None else facts.local
        kappa = local[k] if k in local else self.charges[k].kappa if k in self.charges else 0.0
        return forms.meet(k, self.network.nodes[k], values, self.absolute, kappa)

    # -- backward walk -----------------------------------------------------------------------------------------------

    def walk(
        self,
        facts: Facts,
        target: int,
        box: Ints,
        start: Floats | tuple[Ints, Floats],
        push: Pushes = NO_PUSHES,
    ) -> tuple[Floats, Floats]:
        """Linear lower bounds: start . value(target) >= form x + offset on each row's box.

        start  rows [R, size], or (index [R], sign [R]) for single entries;  box [R]: the state's row that each row
               belongs to
        push   what is added to each row's bound
        Shapes ([R, inputs], [R]);  NaN  an overflow gives an infinite or nan offset, since every |L| is
        multiplied by kappa >= 0
        """
        nodes, rows = self.network.nodes, len(box)
        const, mass, terms = np.zeros(rows), np.zeros(rows), 8
        acc: dict[int, Part] = {}
        node = nodes[target]
        if not isinstance(start, tuple):
            acc[target] = start.copy(), None
        elif isinstance(node, Affine) and len(node.terms) == 1 and isinstance(node.terms[0][0], Dense):
            index, sign = start
            # a row of the weights is read, not computed
            kappa = facts.local[target][box, index] if target in facts.local else self.charges[target].kappa[index]
            matrix, columns = self._matrix(facts, target, node.terms[0][0], None, node.terms[0][1])
            acc[node.terms[0][1]] = matrix.take(index, axis=0) * sign[:, None], columns
            const, mass = sign * node.bias[index] - kappa, np.abs(node.bias[index]) + kappa
        else:
            index, sign = start
            entries = np.unique(index) if target in self.tiled and not facts.compress else None
            acc[target] = np.zeros((rows, node.size if entries is None else len(entries))), entries
            acc[target][0][np.arange(rows), index if entries is None else np.searchsorted(entries, index)] = sign
        form, square = np.zeros((rows, self.network.inputs)), quadratic.NOTHING
        for k in range(max(target, int(push.value.max(initial=0))), -1, -1):
            at_k = np.flatnonzero(push.value == k)
            if k not in acc and not len(at_k):
                continue
            L, columns = acc.pop(k) if k in acc else (np.zeros((rows, nodes[k].size)), None)
            node = nodes[k]
            if len(at_k):
                L, columns = full(L, columns, node.size), None
                r, i, factor, shift = push.row[at_k], push.entry[at_k], push.factor[at_k], push.at[at_k]
                np.add.at(L, (r, i), factor)
                slack = 2.0**-51 * (np.abs(L[r, i]) + np.abs(factor)) * self.mags[k][i]
                const = const - np.bincount(r, factor * shift + slack, rows)
                mass = mass + np.bincount(r, np.abs(factor * shift) + slack, rows)
                terms += 4 + 4 * int(np.bincount(r).max())
            if isinstance(node, Affine):
                L, moved = self.arith.trim(L)
                if moved is not None:
                    charge = moved * self.sums[k] * WIDER
                    const, mass, terms = const - charge, mass + charge, terms + 1
                if k in facts.local:
                    charge = self.arith.dots(np.abs(L), facts.charge(k, columns).take(box, axis=0))
                else:
                    kappa = self.charges[k].kappa
                    charge = self.arith.against(np.abs(L), kappa if columns is None else kappa[columns])
                shift = self.arith.against(L, node.bias if columns is None else node.bias[columns])
                const, mass, terms = const + shift - charge, mass + np.abs(shift) + charge, terms + 2
                for linear, source in node.terms:
                    if isinstance(linear, Dense) and (columns is None or facts.compress):
                        matrix, below = self._matrix(facts, k, linear, columns, source)
                        new: Part = self.arith.product(L, matrix), below
                    elif facts.compress and isinstance(linear, Conv):
                        wanted = self._live(facts, source)
                        new = linear.transpose(L, self.arith.product, columns, wanted), wanted
                    elif facts.compress:
                        new = linear.transpose(full(L, columns, node.size), self.arith.product), None
                    else:
                        new = linear.back(L, columns, self.arith.product)
                    const, mass, terms = self._add(facts, acc, source, new, const, mass, terms)
            elif isinstance(node, Relu):
                live = facts.live(node.source, columns)
                if columns is not live.columns:  # they may be those of another relu, which reads this one
                    L = full(L, columns, node.size)
                    L = L if live.columns is None else L.take(live.columns, axis=1)
                for part, shift, charge in planes.back(self, facts, k, live, L, box):
                    const, mass, terms = const + shift - charge, mass + np.abs(shift) + charge, terms + 2
                    const, mass, terms = self._add(facts, acc, 0, (part, None), const, mass, terms)
                shift = relu.back(live.lines, L[:, : live.unstable], box, self.arith)
                const, mass, terms = const + shift, mass - shift, terms + 2
                const, mass, terms = self._add(facts, acc, node.source, (L, live.columns), const, mass, terms)
            elif isinstance(node, (Curve, Product)):
                L = full(L, columns, node.size)
                mags, lines = [self.mags[j] for j in sources(node)], facts.lines(k, node, len(nodes) + 2 * k)
                if isinstance(lines, quadratic.Parts):
                    square, lines = square + lines.gram(L, box, self.arith), lines.planes
                shift, charge, parts = RULES[type(node)].cross(node, lines, L, box, self.arith, mags)
                charge = charge + self.arith.against(np.abs(L), self.charges[k].kappa)
                const, mass, terms = const + shift - charge, mass + np.abs(shift) + charge, terms + 2
                for source, part in zip(sources(node), parts, strict=True):
                    const, mass, terms = self._add(facts, acc, source, (part, None), const, mass, terms)
            else:
                form = full(L, columns, node.size)
        low, facts.bend = convexity.least(square, 0 if isinstance(start, tuple) else len(square))
        const, mass = const + low, mass - low
        # The rounding of `terms` additions of numbers whose sizes `mass` adds up, and all underflows.
        return form, const - mass * (terms * 2.0**-51) - UNDERFLOW

    def _add(
        self, facts: Facts, acc: dict[int, Part], k: int, new: Part, const: Floats, mass: Floats, terms: int
    ) -> tuple[Floats, Floats, int]:
        """Add coefficients on value k. Where two paths join, the sum's rounding is charged."""
        if k in acc:
            size = self.network.nodes[k].size
            # with compression, columns are those of one relu or all
            new = (full(*acc[k], size) + full(*new, size), None) if facts.compress else add(acc[k], new, size)
            mags = self.mags[k] if new[1] is None else self.mags[k][new[1]]
            charge = self.arith.against(np.abs(new[0]), mags) * 2.0**-51
            const, mass, terms = const - charge, mass + charge, terms + 1
        acc[k] = new
        return const, mass, terms

    def _live(self, facts: Facts, k: int) -> Ints | None:
        """The entries of value k that relu does not make 0 on every box of the batch (None: all); others need no
        coefficient: G 0 - 0 z is 0."""
        node = self.network.nodes[k]
        return facts.live(node.source).columns if isinstance(node, Relu) else None

    def _matrix(
        self, facts: Facts, k: int, linear: Dense, columns: Ints | None, source: int
    ) -> tuple[Floats, Ints | None]:
        """The weights of the live outputs and inputs of a dense map, and which inputs those are (None: all)."""
        below = self._live(facts, source)
        if columns is None and below is None:
            return linear.weight, None
        key = k, source, columns is None
        if key not in facts.matrices:
            part = linear.weight if columns is None else linear.weight.take(columns, axis=0)
            facts.matrices[key] = part if below is None else part.take(below, axis=1)
        return facts.matrices[key], below

    def lowest(self, state: State, box: Ints, form: Floats, offset: Floats) -> Floats:
        """The minimum of form x + offset on each row's box, rounded down; -inf where it is not finite.   Shapes  [R]"""
        lo, hi = state.lo, state.hi
        if len(box) < len(lo):
            lo, hi, box = lo.take(box, axis=0), hi.take(box, axis=0), np.arange(len(box))
        centre = 0.5 * lo + 0.5 * hi
        half = np.maximum(hi - centre, centre - lo) * WIDER + (self.arith.gamma(lo.shape[1]) + 2.0**-50) * self.mags[0]
        middle = self.arith.dots(form, arith.each(centre, box))
        low = middle - self.arith.dots(np.abs(form), arith.each(half, box)) * WIDER
        low = low + offset - 2.0**-50 * (np.abs(low) + np.abs(offset)) - UNDERFLOW
        return np.where(np.isfinite(low), low, -np.inf)

    # -- derived boxes -----------------------------------------------------------------------------------------------

    def _tighten(self, facts: Facts, k: int) -> None:
        """Intersect the boxes of value k with bounds from the backward walk, where it is unstable; its forms too."""
        state, forms = facts.state, facts.forms
        lo, hi = state.boxes[k]
        crossing = (lo < 0.0) & (hi > 0.0) & (k in self.network.relu_inputs)
        rows, index = np.nonzero(crossing | forms.loose(k, lo, hi) if k in self.bent else crossing)
        if not len(rows):
            return
        most = self.row_chunk // 2
        if k in self.tiled:
            facts = facts.whole()
            parts = tiles.groups(index, self.network.nodes[k].shape, min(most, self.tiled[k]))
        else:
            parts = np.split(np.arange(len(rows)), range(most, len(rows), most))

        def job(part: Ints) -> tuple[Floats, Floats]:
            box, entry, sign = np.tile(rows[part], 2), np.tile(index[part], 2), np.repeat([1.0, -1.0], len(part))
            return self.walk(facts, k, box, (entry, sign))

        lo, hi = lo.copy(), hi.copy()
        done = cases.spread(job, parts, self.threads if k in self.tiled else 1)
        for part, (form, offset) in zip(parts, done, strict=True):
            r, i = rows[part], index[part]
            low = self.lowest(state, np.tile(r, 2), form, offset).reshape(2, -1)
            lo[r, i], hi[r, i] = np.maximum(lo[r, i], low[0]), np.minimum(hi[r, i], -low[1])
            forms.lean(k, r, i, form, offset, partial(self.lowest, state))
        self._settle(state, k, lo, hi)

    def _settle(self, state: State, k: int, lo: Floats, hi: Floats) -> None:
        """Store boxes. Two proved bounds that contradict show that no execution gets here, which only a case
        distinction can cause."""
        empty = (lo > hi).any(axis=1)
        if empty.any():
            if not (state.given | ~empty).all():
                raise CheckError(
                    "two proved bounds contradict each other",
                    where=f"value {k}",
                    expected="lower <= upper",
                    got="lower > upper",
                    fix="report this: the checker or the machine is faulty",
                )
            state.empty = state.empty | empty
            hi = np.maximum(lo, hi)
        if not (np.isfinite(lo).all() and np.isfinite(hi).all()):
            raise CheckError(
                "a derived box is not finite",
                where=f"value {k}",
                expected="finite bounds",
                got="nan or infinity",
                fix="report this",
            )
        state.boxes[k] = (lo, hi)

    def derive(self, state: State, local: bool = False) -> Facts:
        """Default derivation, in place: interval walk, intersection with what is known, backward walks for unstable
        neurons.

        With `local`, error boxes and rounding are charged with the magnitudes of each row's own boxes instead of the
        root's.
        """
        values: Boxes = {}
        forms = Forms(self.arith, self.few)
        facts = Facts(state, None, self.compress, forms)
        for k in range(len(self.network.nodes) if local else max(self.network.boxed, default=-1) + 1):
            lo, hi = self._forward(k, state, values, forms, facts if local else None)
            if k in state.boxes:
                self._settle(state, k, np.maximum(lo, state.boxes[k][0]), np.minimum(hi, state.boxes[k][1]))
                if k in self.walked:
                    self._tighten(facts, k)
                lo, hi = state.boxes[k]
            values[k] = (lo, hi)
        facts.output = values.get(self.network.output)
        return facts

    def derive_at(
        self,
        state: State,
        value: int,
        asked: Sequence[tuple[int, int, Weights]] | None = None,
        slopes: Slopes | None = None,
        push: Pushes = NO_PUSHES,
        clause: int | None = None,
        trees: cases.Trees | None = None,
    ) -> None:
        """An explicit derivation for a state of one row, in place: the bounds asked, or default ones where unstable.

        asked   (entry, side, weights): the lower bound for side 1, the upper for -1; each reads what was known before
        clause  where it is the only one open: sum weights g <= 0 in every execution in question, and joins the bound
        trees   the cases that each bound is the least over; None: no bound has any
        Shapes  slopes per value: [len(asked), size] or [1, size]; push: by row of `asked`
        """
        with np.errstate(all="ignore"):
            if asked is None:
                return self._tighten(Facts(state, None, self.compress), value)
            if clause is not None:
                state.given = np.ones_like(state.given)
            low = cases.least(self, state, value, asked, slopes, push, clause, trees)
            entry, side = (np.array(column, np.int64) for column in zip(*(a[:2] for a in asked), strict=True))
            lo, hi = (x.copy() for x in state.boxes[value])
            np.maximum.at(lo[0], entry[side > 0], low[side > 0])
            np.minimum.at(hi[0], entry[side < 0], -low[side < 0])
            self._settle(state, value, lo, hi)

    # -- clauses -----------------------------------------------------------------------------------------------------

    def objective(
        self, facts: Facts, box: Ints, rows: Objective, push: Pushes = NO_PUSHES, flat: bool = False
    ) -> tuple[Floats, Floats]:
        """Linear lower bounds of the rows; with `flat`, constant ones of the outputs' part, by their box."""
        form, offset = (
            (np.zeros((len(box), self.network.inputs)), rows.by_box(facts.output or self._output, box, self.arith))
            if flat
            else self.walk(facts, self.network.output, box, rows.y, push)
        )
        loss = self.arith.against(rows.err_y, self.mags[self.network.output]) + rows.err_c
        if rows.x.shape[1]:
            form = form + rows.x
            offset = offset - self.arith.against(np.abs(form), self.mags[0]) * 2.0**-51
            loss = loss + self.arith.against(rows.err_x, self.mags[0])
        offset = offset + rows.c - loss * WIDER
        return form, offset - 2.0**-50 * (np.abs(offset) + np.abs(rows.c) + loss) - UNDERFLOW

    def bound(self, state: State, derive: bool) -> Bounds:
        """Bounds of every inequality of the open clauses; with `derive`, after the default derivation (which tightens
        `state`)."""
        with np.errstate(all="ignore"):
            facts = self.derive(state, local=True) if derive else Facts(state, None, self.compress)
            return self._bound(state, facts)

    def _bound(self, state: State, facts: Facts) -> Bounds:
        region = self.region
        count, rows, inputs = len(state), len(region.rows_c), self.network.inputs
        margin, form, offset = (
            np.full((count, rows), -np.inf),
            np.zeros((count, rows, inputs)),
            np.full((count, rows), -np.inf),
        )
        box, row = np.nonzero(state.open[:, region.row_clause] & ~state.empty[:, None])
        if self.network.lattice:  # what the output's box refutes needs no walk
            margin[box, row] = self.lowest(
                state, box, *self.objective(facts, box, self.objectives.take(row), flat=True)
            )
            box, row = (i[~(margin[box, row] > 0.0)] for i in (box, row))
        for at in range(0, len(box), self.row_chunk):
            b, r = box[at : at + self.row_chunk], row[at : at + self.row_chunk]
            f, o = self.objective(facts, b, self.objectives.take(r))
            margin[b, r], form[b, r], offset[b, r] = self.lowest(state, b, f, o), f, o
            if facts.bend.any():
                high = self.lowest(state, b, *convexity.tangent(facts.bend, f, o, facts.forms, b))
                margin[b, r] = np.where(high > 0.0, high, margin[b, r])
        return Bounds(margin, self.refuted(state, margin), form, offset)

    def refuted(self, state: State, margin: Floats, slack: float | Floats = 0.0) -> Bools:
        """Clauses closed before, or with an inequality whose bound is > slack (>= for a strict one).   Shapes  [B,
        clauses]"""
        good: Bools = np.asarray((margin > slack) | (self.region.row_strict & (margin >= slack)))
        out: Bools = ~state.open | state.empty[:, None]
        for r, clause in enumerate(self.region.row_clause):
            out[:, clause] |= good[:, r]
        return out

    def weighed(self, clause: int, weights: Sequence[Weights]) -> tuple[Objective, Bools]:
        """Sums of a clause's inequalities with these weights, of which negative ones count as 0; are they strict?"""
        rows = np.nonzero(self.region.row_clause == clause)[0]
        w = np.zeros((len(weights), len(rows)))
        for k, pairs in enumerate(weights):
            w[k, [i for i, _ in pairs]] = [max(x, 0.0) for _, x in pairs]
        strict: Bools = np.asarray((self.region.row_strict[rows] & (w > 0.0)).any(axis=1))
        return self.objectives.take(rows).combine(w), strict

    def refute(
        self,
        state: State,
        asked: Sequence[tuple[int, Weights]],
        slopes: Slopes | None = None,
        push: Pushes = NO_PUSHES,
        cuts: Cuts | None = None,
    ) -> Bools:
        """Whether row i refutes the clause asked[i] by one of its inequalities, or by their sum with the weights given.

        Shapes   rows are the state's or, with `cuts`, those below it; slopes: [rows, size] or [1, size]; push: by row;
        -> [rows]
        """
        home, empty = (np.arange(len(state)), state.empty) if cuts is None else (cuts.home, cuts.empty)
        out = empty.copy()
        with np.errstate(all="ignore"):
            clauses, plain = np.array([c for c, _ in asked]), np.array([not w for _, w in asked])
            found: list[tuple[Ints, Objective, Bools]] = []
            for clause in np.unique(clauses).tolist():
                each, summed = (np.flatnonzero((clauses == clause) & kind) for kind in (plain, ~plain))
                rows = np.flatnonzero(self.region.row_clause == clause)
                every = np.tile(rows, len(each))
                found += [
                    (np.repeat(each, len(rows)), self.objectives.take(every), self.region.row_strict[every]),
                    (summed, *self.weighed(clause, [asked[i][1] for i in summed.tolist()])),
                ]
            box = np.concatenate([part[0] for part in found])
            strict = np.concatenate([part[2] for part in found])
            objectives = Objective.join([part[1] for part in found])
            # one row is no dearer than the weights' copy
            facts = Facts(state, slopes, self.compress and len(box) > 1, None, cuts)
            for at in range(0, len(box), self.row_chunk):
                k = slice(at, at + self.row_chunk)
                low = self.lowest(
                    state, home[box[k]], *self.objective(facts, box[k], objectives.take(k), push.take(box[k]))
                )
                np.logical_or.at(out, box[k], (low > 0.0) | (strict[k] & (low >= 0.0)))
        return out

    def clip(self, state: State, bounds: Bounds) -> State:
        """Close what `bounds` refuted and shrink each input box to the hull of what the open clauses leave.

        From form x + offset >= low on the box: where the clause holds, x_j <= lo_j - low / form_j (form_j > 0), and
        its mirror image.
        """
        out = State(
            state.lo.copy(),
            state.hi.copy(),
            dict(state.boxes),
            ~bounds.refuted,
            state.empty.copy(),
            state.given.copy(),
            state.paths,
        )
        with np.errstate(all="ignore"):
            step = -bounds.margin[:, :, None] / np.abs(bounds.form) * (1.0 + 2.0**-50)
            step = np.where(np.isnan(step) | (step < 0.0), np.inf, step)
            hi = np.where(bounds.form > 0.0, np.nextafter(state.lo[:, None] + step, np.inf), np.inf)
            lo = np.where(bounds.form < 0.0, np.nextafter(state.hi[:, None] - step, -np.inf), -np.inf)
            left_lo, left_hi = np.full_like(out.lo, np.inf), np.full_like(out.hi, -np.inf)
            for clause in range(out.open.shape[1]):
                rows = self.region.row_clause == clause
                on = out.open[:, clause, None]
                left_lo = np.where(on, np.minimum(left_lo, lo[:, rows].max(axis=1)), left_lo)
                left_hi = np.where(on, np.maximum(left_hi, hi[:, rows].min(axis=1)), left_hi)
            some = out.open.any(axis=1, keepdims=True)
            left_lo, left_hi = (
                np.where(some, np.maximum(left_lo, out.lo), out.lo),
                np.where(some, np.minimum(left_hi, out.hi), out.hi),
            )
            gone: Bools = np.asarray((left_lo > left_hi).any(axis=1))
            out.open[gone] = False
            out.given = out.given | (left_lo > out.lo).any(axis=1) | (left_hi < out.hi).any(axis=1)
            out.lo, out.hi = np.where(gone[:, None], out.lo, left_lo), np.where(gone[:, None], out.hi, left_hi)
        return out

    # -- splits ------------------------------------------------------------------------------------------------------

    def split(self, state: State, axis: Ints, at: Floats | None = None) -> tuple[State, State]:
        """Halves x[axis] <= at and x[axis] >= at, closed both; `at` is clamped into the box, None is the midpoint."""
        i = np.arange(len(state))
        lo, hi = state.lo[i, axis], state.hi[i, axis]
        point = np.minimum(np.maximum(0.5 * lo + 0.5 * hi if at is None else at, lo), hi)
        low, high = state.take(i), state.take(i)
        low.hi[i, axis] = point
        high.lo[i, axis] = point
        return low, high

    def split_clause(self, state: State, clause: Ints) -> tuple[State, State]:
        """Cases: this clause is violated, or another open one is."""
        one, rest = state.take(np.arange(len(state))), state.take(np.arange(len(state)))
        this = np.arange(state.open.shape[1]) == clause[:, None]
        one.open, rest.open = state.open & this, state.open & ~this
        return one, rest

    def split_value(self, state: State, value: int, index: int, at: float) -> tuple[State, State]:
        """Cases z <= at and z >= at of the executed value (after its error), closed both. An empty case is marked
        so."""
        out = []
        for side in (-1, 1):
            child = state.take(np.arange(len(state)))
            child.given = np.ones_like(child.given)
            child.paths = tuple((*p, (value, index, side, at)) for p in child.paths)
            lo, hi = child.boxes[value]
            if side > 0:
                lo[:, index] = np.maximum(lo[:, index], at)
            else:
                hi[:, index] = np.minimum(hi[:, index], at)
            self._settle(child, value, lo, hi)
            out.append(child)
        return out[0], out[1]
