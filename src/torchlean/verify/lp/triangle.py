"""The triangle relaxation of a network over a box, as one linear program.

Columns: the inputs, every affine value that something live reads, and the output of each unstable relu; an inactive
relu is 0 and an active one is what it reads. Rows, with kappa the kernel's charge of an affine entry:
    z - W x in [b - kappa, b + kappa]        a >= z        a - s z <= -s l, the chord        (a >= 0 bounds the column)
    t - g_i >= 0 for every inequality of the clause that is asked for
Its least t is then the best bound that the checker's walk can reach with one set of slopes, weights and multipliers.

Source   Ehlers 2017, arXiv:1705.01320; Salman et al. 2019, arXiv:1902.08722 (the dual is the backward walk)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.errors import Unsupported
from torchlean.verify.dual import Boxes, Neurons
from torchlean.verify.lp.highs import INF, LinearProgram, Rows, Solution
from torchlean_check.network import Affine, Input, Network, Relu

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]
LARGEST = 30_000_000  # nonzeros: HiGHS takes about 40 bytes for each
CHUNK = 1 << 24  # numbers of a map's matrix that are made at once


class Triangle:
    """The relaxation where the values that relus read lie in `boxes`, and the inputs in [lo, hi].

    target    (value, entries) whose bounds are asked for in place of clauses; `boxes` are then those before that value
    place     value -> the column of each entry, -1 where it is 0
    z, a      [U] the columns of each unstable neuron's input and output; -1 where nothing reads it
    over, chord   [U] the rows a >= z and a <= chord of each

    Raises   Unsupported: other nodes than affine ones and relus, or too large
    """

    def __init__(
        self, kernel: tc.Kernel, boxes: Boxes, lo: F64, hi: F64, target: tuple[int, Ints] | None = None
    ) -> None:
        self.kernel, self.boxes, self.neurons = kernel, boxes, Neurons.of(boxes)
        self._col_lo, self._col_hi = [lo], [hi]
        self._columns = len(lo)
        self._row_lo: list[F64] = []
        self._row_hi: list[F64] = []
        self._counts: list[Ints] = []
        self._index: list[Ints] = []
        self._value: list[F64] = []
        self._rows = 0
        self.place: dict[int, Ints] = {0: np.arange(len(lo))}
        count = len(self.neurons)
        self.z, self.a, self.over, self.chord = (np.full(count, -1) for _ in range(4))
        self._build(kernel.network, target)
        self.t = self._new_columns(1, -INF, INF)[0]
        self.first_clause_row = self._rows
        if target is None:
            self._clause_rows()
        start = np.concatenate([[0], np.cumsum(np.concatenate(self._counts))]).astype(np.int64)
        rows = Rows(np.concatenate(self._col_lo), np.concatenate(self._col_hi), np.zeros(self._columns),
                    np.concatenate(self._row_lo), np.concatenate(self._row_hi),
                    start, np.concatenate(self._index), np.concatenate(self._value))  # fmt: skip
        self.program = LinearProgram(rows)
        self.side = np.zeros(count)
        self._clause: int | None = None

    # -- what is asked -----------------------------------------------------------------------------------------------

    def clause(self, clause: int, side: F64, seconds: float) -> Solution | None:
        """The least t: > 0 where no point of the relaxation is in the clause. `side` as in `Dual`.   Shapes  [U]"""
        self._split(side)
        self._ask(clause)
        return self.program.minimise(np.array([self.t]), np.ones(1), seconds)

    def entry(self, value: int, entry: int, sign: float, seconds: float) -> Solution | None:
        """The least sign * z of one of the target's entries."""
        return self.program.minimise(self.place[value][[entry]], np.array([sign]), seconds)

    def clause_only(self, clause: int) -> None:
        """Bring the program's rows into the state of `clause` without splits."""
        self._split(np.zeros(len(self.neurons)))
        self._ask(clause)

    def rows_of(self, clause: int) -> Ints:
        """Where the rows t - g_i >= 0 of a clause stand."""
        return np.flatnonzero(self.kernel.region.row_clause == clause) + self.first_clause_row

    def _ask(self, clause: int) -> None:
        if clause == self._clause:
            return
        region = self.kernel.region
        on = region.row_clause == clause
        index = np.arange(len(on)) + self.first_clause_row
        self.program.set_rows(index, np.where(on, region.rows_c, -INF), np.full(len(on), INF))
        self._clause = clause

    def _split(self, side: F64) -> None:
        """Case z >= 0: a = z, and a >= 0 says the rest. Case z <= 0: a = 0, and a >= z says the rest."""
        moved = np.flatnonzero((side != self.side) & (self.z >= 0))
        self.side = side.copy()
        if not len(moved):
            return
        s = side[moved]
        a, over, chord = (c[moved] for c in (self.a, self.over, self.chord))
        lo, hi = self.neurons.lo[moved], self.neurons.hi[moved]
        nothing = np.full(len(moved), -INF)
        self.program.set_columns(a, np.zeros(len(moved)), np.where(s < 0, 0.0, INF))
        self.program.set_rows(over, np.zeros(len(moved)), np.where(s > 0, 0.0, INF))
        self.program.set_rows(chord, nothing, np.where(s == 0, -hi / (hi - lo) * lo, INF))

    # -- building ----------------------------------------------------------------------------------------------------

    def _build(self, network: Network, target: tuple[int, Ints] | None) -> None:
        last, entries = target or (network.output, np.arange(network.outputs))
        needed = self._needed(network, last, entries)
        for k, node in enumerate(network.nodes[: last + 1]):
            if isinstance(node, Affine):
                self._affine(k, node, needed[k])
            elif isinstance(node, Relu):
                self._relu(k, node, needed[k])

    def _needed(self, network: Network, last: int, entries: Ints) -> list[NDArray[np.bool_]]:
        """The entries of each value that these ones may depend on."""
        needed = [np.zeros(node.size, np.bool_) for node in network.nodes]
        needed[last][entries] = True
        for k in range(last, -1, -1):
            node = network.nodes[k]
            if isinstance(node, Affine):
                if needed[k].any():
                    for _, source in node.terms:
                        relu = network.nodes[source]
                        live = self.boxes[relu.source][1] > 0 if isinstance(relu, Relu) else True
                        needed[source] |= live
            elif isinstance(node, Relu):
                needed[node.source] |= needed[k]
            elif not isinstance(node, Input):
                raise Unsupported("linear programs are made of affine nodes and relus", where=f"value {k}",
                                  expected="Affine or Relu", got=type(node).__name__,
                                  fix="another strategy")  # fmt: skip
        return needed

    def _affine(self, k: int, node: Affine, needed: NDArray[np.bool_]) -> None:
        entries = np.flatnonzero(needed)
        place = np.full(node.size, -1)
        place[entries] = self._new_columns(len(entries), -INF, INF)
        self.place[k] = place
        kappa = self.kernel.charges[k].kappa
        wide = sum(self.kernel.network.nodes[source].size for _, source in node.terms)
        step = max(1, CHUNK // max(wide, node.size))
        for at in range(0, len(entries), step):
            mine = entries[at : at + step]
            unit = np.zeros((len(mine), node.size))
            unit[np.arange(len(mine)), mine] = 1.0
            parts = [(np.arange(len(mine)), place[mine], np.ones(len(mine)))]
            for linear, source in node.terms:
                matrix = linear.transpose(unit, np.matmul)
                matrix[:, self.place[source] < 0] = 0.0
                row, column = np.nonzero(matrix)
                parts.append((row, self.place[source][column], -matrix[row, column]))
            row, index, value = (np.concatenate(a) for a in zip(*parts, strict=True))
            if len(node.terms) > 1:  # two terms may read one column
                row, index, value = _merged(row, index, value, self._columns)
            order = np.argsort(row, kind="stable")
            counts = np.bincount(row, minlength=len(mine))
            self._new_rows(node.bias[mine] - kappa[mine], node.bias[mine] + kappa[mine], counts, index[order],
                           value[order])  # fmt: skip

    def _relu(self, k: int, node: Relu, needed: NDArray[np.bool_]) -> None:
        lo, hi = self.boxes[node.source]
        before = self.place[node.source]
        place = np.where(needed & (lo >= 0), before, -1)
        self.place[k] = place
        part = self.neurons.at[node.source]
        entries = self.neurons.index[node.source]
        used = needed[entries] & (before[entries] >= 0)
        i, n = entries[used], np.arange(part.start, part.stop)[used]
        if not len(i):
            return
        a, z = self._new_columns(len(i), 0.0, INF), before[i]
        place[i] = a
        s, count = hi[i] / (hi[i] - lo[i]), len(i)
        pair, nothing = np.stack([a, z], axis=1), np.full(count, INF)
        self.z[n], self.a[n] = z, a
        self.over[n] = self._new_rows(np.zeros(count), nothing, np.full(count, 2), pair.ravel(),
                                      np.tile([1.0, -1.0], count))  # fmt: skip
        self.chord[n] = self._new_rows(-nothing, -s * lo[i], np.full(count, 2), pair.ravel(),
                                       np.stack([np.ones(count), -s], axis=1).ravel())  # fmt: skip

    def _clause_rows(self) -> None:
        """t - g_i >= 0 for every inequality, none of them in force yet."""
        region, out = self.kernel.region, self.place[self.kernel.network.output]
        for y, x in zip(region.rows_y, region.rows_x, strict=True):
            j, i = np.flatnonzero((y != 0) & (out >= 0)), np.flatnonzero(x)
            row, index, value = _merged(np.zeros(1 + len(j) + len(i), np.int64),
                                        np.concatenate([[self.t], out[j], i]), np.concatenate([[1.0], -y[j], -x[i]]),
                                        self._columns)  # fmt: skip
            self._new_rows(np.array([-INF]), np.array([INF]), np.array([len(row)]), index, value)

    def _new_columns(self, count: int, lo: float, hi: float) -> Ints:
        self._col_lo.append(np.full(count, lo))
        self._col_hi.append(np.full(count, hi))
        self._columns += count
        return np.arange(self._columns - count, self._columns)

    def _new_rows(self, lo: F64, hi: F64, counts: Ints, index: Ints, value: F64) -> Ints:
        for column, new in ((self._row_lo, lo), (self._row_hi, hi), (self._value, value)):
            column.append(np.asarray(new, np.float64))
        self._counts.append(counts)
        self._index.append(index)
        self._rows += len(lo)
        if sum(map(len, self._index)) > LARGEST:
            raise Unsupported("the network is too large for a linear program", where="strategy lp",
                              expected=f"at most {LARGEST} nonzero weights", got="more",
                              fix="another strategy")  # fmt: skip
        return np.arange(self._rows - len(lo), self._rows)


def _merged(row: Ints, index: Ints, value: F64, columns: int) -> tuple[Ints, Ints, F64]:
    """The entries of a matrix with those at one place added up."""
    key, where = np.unique(row * columns + index, return_inverse=True)
    total: F64 = np.bincount(where, value, minlength=len(key)).astype(np.float64)
    return key // columns, key % columns, total
