"""A foreign tree completed: every node is bounded by our own optimised slopes, and closed only by the kernel.

A node that closes early makes what the tool split below it superfluous; a leaf of the tool that does not close is
split further. So an artefact can save the search, and nothing else.

Source   Xu et al. 2021, arXiv:2011.13824 (slopes); Wang et al. 2021, arXiv:2103.06624 (split multipliers)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.frozen import frozen
from torchlean.verify.ascent import Best
from torchlean.verify.dual import Dual, Neurons
from torchlean.verify.foreign.cases import Hints, Neuron
from torchlean.verify.forms import Forms
from torchlean.verify.maps import Engine, NumpyMaps
from torchlean.verify.outcome import Budget, Proof, Stuck
from torchlean.verify.problem import Problem
from torchlean.verify.refine import Refinement
from torchlean.verify.tables import multipliers, pushes, slope_table
from torchlean_check.records import slope_rows
from torchlean_check.woven import refutations

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]
STEPS = 40  # of the optimisation at each node
REFINE = 0.3  # of the time, for tighter boxes at the root
SHARE = 0.95  # of the time: what is left is for saying how far it came
GAIN = 0.01  # of a neuron's width: where a foreign bound is better by more, ours is refined


@frozen(eq=False)
class Node:
    """An open tree node.

    case   its number in the hints, -1 below their leaves     under   the hints' leaf that it stands under, -1 above
    side   [U] as in `Dual`      open   its open clauses      alpha, beta   [U] to start from
    """

    number: int
    case: int
    under: int
    side: F64
    open: tuple[int, ...]
    alpha: F64
    beta: F64


def complete(problem: Problem, hints: Hints) -> Proof:
    """Raises Found, Stuck (it says how many of the hints' leaves stay open), Budget, OutOfTime."""
    kernel = problem.kernel
    bounds = kernel.bound(kernel.start(), derive=True)
    if kernel.refuted(kernel.start(), bounds.margin, problem.slack()).all():
        builder = tc.TreeBuilder()
        builder.flag(0, tc.DERIVE)
        return Proof(builder.build()[0], 1, 1)
    return _Completion(problem, hints).run()


def better(hints: Hints, state: tc.State) -> dict[int, Ints]:
    """The unstable neurons of each value whose foreign bounds are tighter than those of `state`, by more than GAIN."""
    found = {}
    for value, (lo, hi) in hints.bounds.items():
        low, high = (side[0] for side in state.boxes[value])
        gain = np.maximum(lo - low, high - hi) > GAIN * (high - low)
        found[value] = np.flatnonzero(gain & (low < 0) & (high > 0))
    return found


class _Completion:
    """`state` is the root's after its derivations; its boxes are those of every node, but for the splits."""

    def __init__(self, problem: Problem, hints: Hints) -> None:
        self.problem, self.hints, self.builder = problem, hints, tc.TreeBuilder()
        self.deadline = problem.deadline.part(max(0.01, SHARE * problem.deadline.left))
        self.state, self.engine, self.host = problem.kernel.start(), Engine(problem.network), NumpyMaps(problem.network)
        only = better(hints, self.state) if hints.bounds else None
        refinement = Refinement(problem, self.state, self.engine)
        refinement.forward(problem.deadline.part(max(0.01, REFINE * problem.deadline.left)), only)
        self.derivations = tuple(refinement.found)
        boxes = {k: (lo[0], hi[0]) for k, (lo, hi) in self.state.boxes.items()}
        self.neurons = Neurons.of(boxes)
        self.dual = Dual(problem.kernel, boxes, self.neurons, self.engine.maps)
        self.position: dict[Neuron, int] = {
            (int(v), int(i)): n for n, (v, i) in enumerate(zip(self.neurons.value, self.neurons.entry, strict=True))
        }
        self.target = 4 * float(problem.slack().max())
        self.nodes = 0

    def run(self) -> Proof:
        problem = self.problem
        count = len(self.neurons)
        clauses = tuple(range(len(problem.region.clauses)))
        root = Node(0, 0, -1, np.zeros(count), clauses, self.neurons.default(), np.zeros(count))
        waiting = [self._entered(root)]
        while waiting:
            problem.deadline.check()
            if self.deadline.left < 0:
                raise Stuck(self._left(waiting))
            size = self.engine.batch(count)
            batch, waiting = waiting[-size:], waiting[:-size]
            waiting += self._visit(batch)
        tree, _ = self.builder.build()
        outcome = tc.replay(problem.kernel, tree, tables=tuple(problem.files.tables), deadline=problem.deadline.end)
        problem.deadline.check()
        if outcome.failed is not None or len(outcome.holes):
            raise Stuck("the proof's replay does not agree with the completion")
        return Proof(tree, outcome.leaves, self.nodes)

    def _left(self, waiting: list[Node]) -> str:
        """How many of the hints' leaves stay open."""
        stack = [node.case for node in waiting if node.case >= 0]
        leaves = {node.under for node in waiting if node.case < 0}
        while stack:
            number = stack.pop()
            case = self.hints.cases[number]
            if case.neuron is None:
                leaves.add(number)
            else:
                stack += [case.low, case.high]
        return f"{len(leaves)} of {self.hints.leaves} leaves of the {self.hints.source} stay open at the time limit"

    def _entered(self, node: Node) -> Node:
        """The node with its case brought down past splits that the boxes decide, and with the tool's slopes."""
        number = node.case
        while number >= 0 and (neuron := self.hints.cases[number].neuron) is not None and neuron not in self.position:
            lo = self.state.boxes[neuron[0]][0][0, neuron[1]]
            number = self.hints.cases[number].high if lo >= 0 else self.hints.cases[number].low
        alpha = node.alpha.copy()
        for neuron, slope in (self.hints.cases[number].slopes if number >= 0 else {}).items():
            if neuron in self.position:
                alpha[self.position[neuron]] = slope
        return Node(node.number, number, node.under, node.side, node.open, alpha, node.beta)

    def _visit(self, batch: list[Node]) -> list[Node]:
        """Bound a batch; returns the children of those nodes that stay open."""
        self.nodes += len(batch)
        region, put, get = self.problem.region, self.dual.maps.put, self.dual.maps.get
        rows = [np.flatnonzero(region.row_clause == c) for c in range(len(region.clauses))]
        items = [(i, row) for i, node in enumerate(batch) for c in node.open for row in rows[c].tolist()]
        at, row = (np.array(a, np.int64) for a in zip(*items, strict=True))
        direct = put(region.rows_x[row]) if region.rows_x.any() else None
        forms = Forms(self.problem.network.output, put(region.rows_y[row]), direct, put(region.rows_c[row]))
        side, alpha, beta = (np.stack([getattr(n, name) for n in batch])[at] for name in ("side", "alpha", "beta"))
        best = self.dual.maximise(forms, put(side), put(alpha), put(beta), STEPS, target=self.target)
        names = ("value", "charge", "alpha", "beta", "upper", "cost", "point")
        found = Best(weight=None, **{name: np.asarray(get(getattr(best, name)), np.float64) for name in names})
        self._try_points(found, region.row_clause[row])
        children = []
        for i, node in enumerate(batch):
            mine = np.flatnonzero(at == i)
            record, left = self._refute(node, mine[np.argsort(-found.value[mine], kind="stable")], row, found)
            if record:
                self.builder.record(node.number, tc.Record(() if node.number else self.derivations, tuple(record)))
            elif not node.number and self.derivations:
                self.builder.record(0, tc.Record(self.derivations, ()))
            if left:
                worst = min(left, key=lambda c: found.value[mine][region.row_clause[row[mine]] == c].max())
                hardest = mine[region.row_clause[row[mine]] == worst]
                item = int(hardest[found.value[hardest].argmax()])
                children += self._split(node, tuple(left), found.cost[item], found.alpha[item], found.beta[item])
        return children

    def _try_points(self, found: Best, clause: Ints) -> None:
        """Replay the minimisers that look violating. Raises Found."""
        target = self.problem.target
        points = target.clip(found.point)
        met = target.worst(target.rows(points))[np.arange(len(points)), clause] <= 0
        if met.any():
            self.problem.try_points(points[met])

    def _refute(self, node: Node, items: Ints, row: Ints, found: Best) -> tuple[list[tc.Refutation], list[int]]:
        """The kernel's refutations of the node's clauses with the optimised numbers, and the clauses that stay open."""
        region, kernel, tables = self.problem.region, self.problem.kernel, self.problem.files.tables
        state = self._state(node.side)
        left, record = list(node.open), list[tc.Refutation]()
        for j in items.tolist():
            clause = int(region.row_clause[row[j]])
            if clause not in left or not found.value[j] > self.target:
                continue
            table = slope_table(self.neurons, found.alpha[j])
            beta = np.where((node.side != 0) & (found.beta[j] > 0), found.beta[j], 0.0)
            splits = multipliers(self.neurons, self.host, node.side[None], beta[None])
            if kernel.refute(state, [(clause, ())], slope_rows([table], kernel.network.places), pushes(splits))[0]:
                record += refutations(np.array([clause]), np.array([len(tables)]), splits)[0].refutations
                tables.append(table)
                left.remove(clause)
        return record, left

    def _state(self, side: F64) -> tc.State:
        """The kernel's state where these splits hold."""
        state = self.state.take([0])
        for value, part in self.neurons.at.items():
            i, mine = self.neurons.index[value], side[part]
            lo, hi = state.boxes[value]
            lo[0, i], hi[0, i] = np.where(mine > 0, 0.0, lo[0, i]), np.where(mine < 0, 0.0, hi[0, i])
        state.given[:] = bool((side != 0).any())
        return state

    def _split(self, node: Node, left: tuple[int, ...], cost: F64, alpha: F64, beta: F64) -> list[Node]:
        """The node's children: at the hints' neuron, or below their leaves at the one that costs most."""
        case = self.hints.cases[node.case] if node.case >= 0 else None
        if case is not None and case.neuron is not None:
            chosen, cases, under = self.position[case.neuron], (case.low, case.high), -1
        else:
            cost = np.where(node.side == 0, cost, 0.0)
            chosen, cases, under = int(cost.argmax()) if len(cost) else 0, (-1, -1), max(node.case, node.under)
            if not cost.max(initial=0.0) > 0:
                if self.problem.semantics == "float32":
                    raise Budget
                raise Stuck("every relu that matters is decided, and the bound still does not close")
        value, entry = int(self.neurons.value[chosen]), int(self.neurons.entry[chosen])
        pair = self.builder.split_value(node.number, value, entry, 0.0)
        children = []
        for number, below, sign in zip(pair, cases, (-1.0, 1.0), strict=True):
            side = node.side.copy()
            side[chosen] = sign
            children.append(self._entered(Node(int(number[0]), below, under, side, left, alpha, beta)))
        return children
