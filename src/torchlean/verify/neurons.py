"""A region decided by splitting relus: for inputs of high dimension.

The root is bounded by the kernel, then with slopes for the clauses, then with slopes for every unstable neuron. What is
still open is taken clause by clause: boxes are tightened by the clause (refine.py) while that helps, and a node that
stays open is split. Where little is missing, a tree is tried whose boxes change only where a split says so (relus.py).
Only what the kernel repeats counts.

Source   Kotha et al. 2023, arXiv:2302.01404 (INVPROP)
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

import torchlean_check as tc
from torchlean.verify.attack import attack
from torchlean.verify.boxes import search_with_kernel
from torchlean.verify.dual import Split
from torchlean.verify.maps import Engine
from torchlean.verify.nodes import Nodes
from torchlean.verify.problem import SLACK, Budget, Problem, Proof, Stuck
from torchlean.verify.refine import Refinement, Warm
from torchlean.verify.relus import STEPS_ROOT, Bounded, Relus
from torchlean.verify.seal import seal

SHARE, TIGHTEN = 0.3, 0.4  # of the time that is left: for boxes before clauses are taken apart, and for each clause
NEAR, SMALL, TINY = 0.15, 256, 64  # where a clause lacks this share of its first bound, or where neurons are so few
PROGRESS = 0.05  # of a clause's first bound: what a cycle of tightening must bring, to be followed by another
FEW = 64  # inputs up to which a network without unstable neurons is searched over its inputs


def prove_by_neurons(problem: Problem) -> Proof:
    """Raises Found, Stuck, OutOfTime."""
    kernel, builder = problem.kernel, tc.TreeBuilder()
    state = kernel.start()
    bounds = kernel.bound(state, derive=True)
    problem.deadline.check()
    builder.flag(0, tc.DERIVE)
    if kernel.refuted(state, bounds.margin, problem.slack()).all():
        return Proof(builder.build()[0], 1, 1)
    search = _Search(problem, builder, state, 0, Engine(problem.network))
    share = problem.deadline.part(max(0.01, min(10.0, 0.15 * problem.deadline.left)))
    problem.try_points(attack(problem.target, problem.rng, 64, 300, 50, share))
    if len(search.relus.neurons) == 0 and len(problem.varying) <= FEW:
        boxes = search_with_kernel(problem, builder, np.zeros(1, np.int64), kernel.start())
        return Proof(builder.build()[0], len(builder.leaves()), boxes)
    nodes = search.run()
    return seal(problem, builder, nodes, lambda number, state: _again(problem, builder, number, state, search.engine))


def _again(problem: Problem, builder: tc.TreeBuilder, number: int, state: tc.State, engine: Engine) -> int:
    """Close a leaf that the replay did not, with the kernel's word at every step; how many nodes were bounded."""
    splits = tuple((value, index, side) for value, index, side, _ in state.paths[0])
    other, nodes = number, 0
    for clause in np.flatnonzero(state.open[0]).tolist():
        alone, other = (int(n[0]) for n in builder.split_clause(other, clause))
        below = _Search(problem, builder, only(state, clause), alone, engine, splits, trust=False)
        nodes += below.run_clause(clause, float(problem.slack().max() / SLACK), 0.0, {})
    return nodes


def only(state: tc.State, clause: int) -> tc.State:
    """A copy where one clause alone is open."""
    alone = state.take([0])
    alone.open[0] = np.arange(alone.open.shape[1]) == clause
    return alone


class _Search:
    """The search below one tree node, whose boxes it tightens: `state` is that node's."""

    def __init__(
        self,
        problem: Problem,
        builder: tc.TreeBuilder,
        state: tc.State,
        number: int,
        engine: Engine,
        splits: tuple[Split, ...] = (),
        trust: bool = True,
    ) -> None:
        self.problem, self.builder, self.state, self.number, self.engine = problem, builder, state, number, engine
        self.splits = splits  # above the node
        self.relus = Relus(problem, state, engine, splits, trust)

    def run(self) -> int:
        """Close what is open: with slopes for the clauses alone, then for hidden neurons, then clause by clause.

        Returns how many nodes were bounded.
        """
        begun, deadline = self.problem.deadline.spent, self.problem.deadline
        found, refutations = self._close()
        refinement = Refinement(self.problem, self.state, self.engine)
        if self.state.open.any():
            refinement.forward(deadline.part(max(0.01, SHARE * deadline.left)))
            self.relus.settle()
            # a clause that was refuted before the derivations is refuted again by the same numbers after them
            found, more = self._close()
            refutations += more
        if refinement.found or refutations:
            self.builder.record(self.number, tc.Record(tuple(refinement.found), tuple(refutations)))
        margins = {int(c): float(v) for c, v in zip(found.nodes.clause, found.value, strict=True)}
        left = sorted((v, c) for c, v in margins.items() if self.state.open[0, c])
        tried = tc.TreeBuilder()
        small = left and len(self.relus.neurons) <= SMALL
        roots = self._try_forest(tried, found, deadline.spent - begun) if small else {}
        nodes, other = self.relus.visited, self.number
        for margin, clause in left:  # the last `other` has no open clause
            alone, other = (int(n[0]) for n in self.builder.split_clause(other, clause))
            if clause in roots:
                self.builder.graft(alone, tried, roots[clause])
                continue
            below = _Search(
                self.problem, self.builder, only(self.state, clause), alone, self.engine, (), self.relus.trust
            )
            nodes += below.run_clause(clause, abs(margin), margin, {})
        return nodes

    def run_clause(self, clause: int, scale: float, before: float, warm: dict[int, Warm], patience: float = 1.0) -> int:
        """Close the one clause that is open, whose g is of this size: tighten boxes by it while that helps, then split.

        before     the bound above      warm   where earlier passes over the boxes ended
        patience   how often the time of tightening a tree may take that is tried with the boxes as they are
        Returns how many nodes were bounded.
        """
        relus, deadline = self.relus, self.problem.deadline
        begun, share = deadline.spent, deadline.part(max(0.01, TIGHTEN * deadline.left))
        refinement = Refinement(self.problem, self.state, self.engine, clause, scale, self.splits, warm)
        bounds = [before]
        while True:
            if self.engine.move(deadline.spent):
                relus.take_maps()
            refinement.cycle(share)
            if self.state.empty[0]:
                self.builder.record(self.number, tc.Record(tuple(refinement.found)))
                return relus.visited
            relus.settle()
            found, refutations = self._close()
            bounds.append(float(found.value[0]))
            if refutations or share.left < 0 or bounds[-1] < bounds[-2] + PROGRESS * scale:
                break
        self.builder.record(self.number, tc.Record(tuple(refinement.found), tuple(refutations)))
        if refutations:
            return relus.visited
        tightens = bounds[-1] > before + PROGRESS * scale
        if not tightens or bounds[-1] > -NEAR * scale or len(relus.neurons) <= TINY:
            tried, maps = tc.TreeBuilder(), relus.maps
            if roots := self._try_forest(tried, found, patience * (deadline.spent - begun)):
                self.builder.graft(self.number, tried, roots[clause])
                return relus.visited
            if relus.maps is not maps:  # the tree went over to torch: the bounds of its root are numpy's arrays
                found = relus.bound(relus.root(self.number), STEPS_ROOT)
        children = relus.children(self.builder, found, np.zeros(1, np.int64))
        nodes = relus.visited
        for below in self._below(children):
            patient = patience if tightens else 2 * patience
            nodes += below.run_clause(clause, scale, bounds[-1], refinement.warm, patient)
        return nodes

    def _close(self) -> tuple[Bounded, list[tc.Refutation]]:
        """Bound the open clauses of the node itself; refutations of the kernel close them."""
        found = self.relus.bound(self.relus.root(self.number), STEPS_ROOT)
        self.relus.descend(found)
        refutations = [r for r in self.relus.refute(found, trust=False) if r is not None]
        for refutation in refutations:
            self.state.open[0, refutation.clause] = False
        return found, refutations

    def _try_forest(self, tried: tc.TreeBuilder, found: Bounded, seconds: float) -> dict[int, int]:
        """Trees for the open clauses, in another builder; the roots there of the clauses that they close."""
        roots, other = {}, 0
        items = np.flatnonzero(self.state.open[0, found.nodes.clause])
        for clause in found.nodes.clause[items].tolist():
            alone, other = (int(n[0]) for n in tried.split_clause(other, clause))
            roots[clause] = alone
        numbers = found.nodes.number.copy()
        numbers[items] = list(roots.values())
        try:
            left = self.relus.grow(tried, self.relus.children(tried, found.numbered(numbers), items), seconds)
        except (Budget, Stuck):
            return {}
        for clause in () if left is None else set(left.clause.tolist()):
            del roots[clause]
        return roots

    def _below(self, nodes: Nodes) -> Iterator[_Search]:
        """The searches below some nodes of this one's tree, each with boxes of its own."""
        relus, kernel = self.relus, self.problem.kernel
        sides = relus.maps.get(nodes.side)
        above = relus.neurons.side(self.splits)
        for number, side in zip(nodes.number.tolist(), sides, strict=True):
            state, splits = self.state, self.splits
            for n in np.flatnonzero(side != above).tolist():
                split = int(relus.neurons.value[n]), int(relus.neurons.entry[n]), int(side[n])
                state = kernel.split_value(state, *split[:2], 0.0)[split[2] > 0]
                splits = (*splits, split)
            yield _Search(self.problem, self.builder, state, number, self.engine, splits, relus.trust)
