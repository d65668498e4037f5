"""A region decided by linear programs: relus are split, and every leaf is closed by a dual solution.

The root is tightened by a linear program for each end of each unstable neuron. Of the candidates at a node the one
whose worse child is best is split; where the tree grows, a mixed-integer program learns which relus have to be exact,
and those go first. What looks refuted is refuted by the kernel with the dual's numbers, and only that counts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.frozen import frozen
from torchlean.verify.clock import Deadline
from torchlean.verify.lp.highs import INF, Solution
from torchlean.verify.lp.integer import REAL, gaps, neurons_to_split, try_point
from torchlean.verify.lp.multipliers import refuted
from torchlean.verify.lp.tighten import tighten
from torchlean.verify.lp.triangle import Triangle
from torchlean.verify.outcome import Budget, Proof, Stuck
from torchlean.verify.problem import Problem

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]
CANDIDATES = 5  # neurons that are tried on both sides
TIGHTEN, LEARN = 0.3, 0.25  # of the time that is left
PLAIN = 60  # nodes before the integer program is asked: easy trees need none


@frozen(eq=False)
class Node:
    """An open tree node: its number, the side of each neuron ([U], 0 where it is not split), its open clauses."""

    number: int
    side: F64
    open: tuple[int, ...]


def prove_by_neurons(problem: Problem) -> Proof:
    """Raises Found, Stuck, Budget, OutOfTime, Unsupported."""
    kernel, builder = problem.kernel, tc.TreeBuilder()
    bounds = kernel.bound(kernel.start(), derive=True)
    if kernel.refuted(kernel.start(), bounds.margin, problem.slack()).all():
        builder.flag(0, tc.DERIVE)
        return Proof(builder.build()[0], 1, 1)
    share = Deadline(max(0.01, min(3.0, 0.05 * problem.deadline.left)))
    problem.attack(64, 300, 50, share)
    return _Search(problem, builder).run()


class _Search:
    """The tree of one problem. `state` is the root's after its derivations; its boxes are those of every node, but for
    the splits."""

    def __init__(self, problem: Problem, builder: tc.TreeBuilder) -> None:
        self.problem, self.builder = problem, builder
        self.state = problem.kernel.start()
        self.target = 4 * float(problem.slack().max())
        self.nodes = 0
        self._settle()

    def _settle(self) -> None:
        boxes = {k: (lo[0], hi[0]) for k, (lo, hi) in self.state.boxes.items()}
        self.triangle = Triangle(self.problem.kernel, boxes, self.state.lo[0], self.state.hi[0])
        self.first = np.zeros(len(self.triangle.neurons))  # of the score: what the integer program learned

    def run(self) -> Proof:
        problem, deadline = self.problem, self.problem.deadline
        root, found, refutations = self._close(self._root(range(len(problem.region.clauses))))
        derivations: tuple[tc.Derivation, ...] = ()
        if root.open:
            derivations = tighten(problem, self.state, Deadline(max(0.01, TIGHTEN * deadline.left)))
            self._settle()
            root, found, more = self._close(self._root(root.open))
            refutations += more  # what was refuted before the derivations is refuted again after them
        if derivations or refutations:
            self.builder.record(0, tc.Record(derivations, tuple(refutations)))
        first, learned, waiting = found, False, self._children(root, found)
        while waiting:
            deadline.check()
            if self.nodes > PLAIN and not learned:
                self._learn({c: first[c] for c in sorted({c for node in waiting for c in node.open})})
                learned = True
            node, found, refutations = self._close(waiting.pop())
            if refutations:
                self.builder.record(node.number, tc.Record((), tuple(refutations)))
            waiting += self._children(node, found)
        tree, _ = self.builder.build()
        # Each leaf was refuted by the kernel when it was found; the whole tree is replayed as the checker will.
        outcome = tc.replay(problem.kernel, tree, tables=tuple(problem.files.tables), deadline=deadline.end)
        deadline.check()
        if outcome.failed is not None or len(outcome.holes):
            raise Stuck("the proof's replay does not agree with the search")
        return Proof(tree, outcome.leaves, self.nodes)

    def _learn(self, found: dict[int, Solution]) -> None:
        """Which relus the open clauses need to be exact, from their solutions at the root. Raises Found."""
        share = Deadline(max(0.01, LEARN * self.problem.deadline.left))
        for clause, solution in found.items():
            if solution.value < INF:
                self.first[neurons_to_split(self.problem, self.triangle, clause, solution, share)] = 1.0

    def _root(self, clauses: range | tuple[int, ...]) -> Node:
        return Node(0, np.zeros(len(self.triangle.neurons)), tuple(clauses))

    def _close(self, node: Node) -> tuple[Node, dict[int, Solution], list[tc.Refutation]]:
        """The node with what stays open, those clauses' solutions, and refutations of the others. Raises Found."""
        self.nodes += 1
        found, refutations = {}, []
        state = self._state(node.side)
        for clause in node.open:
            solved = self.triangle.clause(clause, node.side, self.problem.deadline.left)
            self.problem.deadline.check()
            if solved is None:
                raise Stuck("HiGHS gave no solution of a linear program")
            if solved.value > self.target:
                refutation = refuted(self.problem, self.triangle, clause, solved, state)
                if refutation is not None:
                    refutations.append(refutation)
                    continue
            if solved.value < INF:
                try_point(self.problem, solved.columns[: self.problem.network.inputs], clause)
            found[clause] = solved
        return Node(node.number, node.side, tuple(found)), found, refutations

    def _state(self, side: F64) -> tc.State:
        """The kernel's state where these splits hold."""
        state = self.state.take([0])
        neurons = self.triangle.neurons
        for value, part in neurons.at.items():
            i, mine = neurons.index[value], side[part]
            lo, hi = state.boxes[value]
            lo[0, i], hi[0, i] = np.where(mine > 0, 0.0, lo[0, i]), np.where(mine < 0, 0.0, hi[0, i])
        state.given[:] = bool((side != 0).any())
        return state

    def _children(self, node: Node, found: dict[int, Solution]) -> list[Node]:
        """The two sides of the best neuron; the harder one last, so that it is looked at first."""
        if not node.open:
            return []
        chosen, worse = self._choose(node, found)
        neurons = self.triangle.neurons
        value, entry = int(neurons.value[chosen]), int(neurons.entry[chosen])
        low, high = self.builder.split_value(node.number, value, entry, 0.0)
        children = [Node(int(number[0]), _split(node.side, chosen, sign), node.open)
                    for number, sign in ((low, -1.0), (high, 1.0))]  # fmt: skip
        return children if worse > 0 else children[::-1]

    def _choose(self, node: Node, found: dict[int, Solution]) -> tuple[int, float]:
        """A neuron, and its side with the lower bound."""
        clause = min(found, key=lambda c: found[c].value)
        solved = found[clause]
        gap = gaps(self.triangle, solved.columns) if solved.value < INF else np.zeros(len(node.side))
        if not (gap > REAL).any():
            if self.problem.semantics == "float32":
                raise Budget
            raise Stuck("every relu that matters is decided, and the bound still does not close")
        used = self.triangle.z >= 0
        score = np.zeros(len(gap))
        score[used] = gap[used] * (np.abs(solved.row_dual[self.triangle.chord[used]]) + 1e-9)
        order = np.lexsort((-score, -self.first * (gap > REAL)))
        tried = [n for n in order[:CANDIDATES].tolist() if gap[n] > REAL]
        if len(tried) == 1:
            return tried[0], 1.0
        sides = [[self._value(node, clause, n, sign) for sign in (-1.0, 1.0)] for n in tried]
        best = max(range(len(tried)), key=lambda i: (min(sides[i]) + 0.1 * max(sides[i]), -i))
        return tried[best], 1.0 if sides[best][1] < sides[best][0] else -1.0

    def _value(self, node: Node, clause: int, neuron: int, sign: float) -> float:
        """What splitting a neuron gives on one side, up to the target."""
        self.problem.deadline.check()
        solved = self.triangle.clause(clause, _split(node.side, neuron, sign), self.problem.deadline.left)
        return min(solved.value, self.target) if solved is not None else -INF


def _split(side: F64, neuron: int, sign: float) -> F64:
    new = side.copy()
    new[neuron] = sign
    return new
