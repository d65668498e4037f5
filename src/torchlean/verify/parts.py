"""A search dealt out in parts: open nodes of the tree go to the workers of a crew (crew.py), and what is proved of them
comes back into the tree.

No worker is believed. Each returned leaf is replayed here, by the checker's kernel and from the states that this search
itself sent; a point counts after a replay on the files here. What a worker leaves open is dealt anew: so a part whose
time is up is split among the workers that are idle by then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.errors import InternalError, TorchLeanError, Unsupported
from torchlean.verify.crew import Answer, Common, Crew, Part, joined, source_hash
from torchlean.verify.outcome import Budget, Stuck
from torchlean.verify.plant import moved, plant
from torchlean.verify.problem import Problem
from torchlean_check.format import digest
from torchlean_check.records import HOLE, KIND, LEAF, SPLIT, distinct
from torchlean_check.tree import Plan

Ints = NDArray[np.int64]

LOOK = 0.5  # seconds between looks at the clock
SHIFT = 4.0  # seconds of a part of boxes, after which what it left open is dealt anew
MOST = 256  # boxes of a part
LEAST = 5.0  # seconds of a part of cases, whose search tightens before it splits
AGAIN = 3  # rounds of parts for which time is kept, for what cases leave open in theirs
FINER = 4  # cases come in parts of so many that each worker gets this many parts, where there are enough


def finish(
    problem: Problem,
    builder: tc.TreeBuilder,
    front: tc.Front,
    way: str,
    cases: bool = False,
    scales: Mapping[int, float] | None = None,
    meanwhile: Callable[[], None] = lambda: None,
) -> int:
    """Close open nodes of a tree by parts; returns how many boxes or nodes the workers bounded.

    front                leaves without records, and the kernel's states there
    way, cases, scales   see `Common`
    meanwhile            called while no answer has come; may raise Found
    Raises               Found, Budget, Stuck, OutOfTime; InternalError for an answer that does not check, Unsupported
                         for a worker's other version, Exhausted for a part that is lost
    """
    assert problem.crew is not None
    common = Common(bytes(problem.files.model), problem.files.claim, problem.place, problem.semantics, problem.root,
                    problem.deadline.memory.limit, way, cases, dict(scales or {}))  # fmt: skip
    return _Deal(problem, problem.crew, builder, common).run(front, meanwhile)


class _Deal:
    """waiting: open nodes that nobody has; running: those of each part that is out."""

    def __init__(self, problem: Problem, crew: Crew, builder: tc.TreeBuilder, common: Common) -> None:
        self.problem, self.crew, self.builder, self.common = problem, crew, builder, common
        self.waiting: list[tc.Front] = []
        self.running: dict[int, tc.Front] = {}
        self.boxes = 0
        self._about = digest(common.model), digest(common.claim), common.semantics, common.root

    def run(self, front: tc.Front, meanwhile: Callable[[], None]) -> int:
        self.waiting.append(front)
        try:
            while self.waiting or self.running:
                self.problem.deadline.check()
                self._send()
                found = self.crew.next(min(LOOK, max(self.problem.deadline.left, 0.0)))
                if found is None:
                    meanwhile()
                    continue
                part = self.running.pop(found[0])
                self._send()  # nobody waits for the replay
                self._take(part, found[1])
        finally:
            self.crew.end()
        return self.boxes

    def _send(self) -> None:
        """Give the idle workers what waits."""
        idle = self.crew.size - len(self.running)
        if not idle or not self.waiting:
            return
        nodes, state = np.concatenate([f.nodes for f in self.waiting]), tc.State.join([f.state for f in self.waiting])
        count, left = len(nodes), self.problem.deadline.left
        if self.common.way == "inputs":
            shares, each, seconds = idle, MOST, min(SHIFT, left)
        else:
            each = max(1, count // (FINER * self.crew.size))
            shares = min(idle, -(-count // each))
            seconds = min(left, max(LEAST, left / (AGAIN + -(-count // (each * self.crew.size)))))
        taken = np.arange(min(count, shares * each))
        for i in range(shares):
            mine = taken[i::shares]  # alike
            if len(mine):
                part = tc.Front(nodes[mine], state.take(mine))
                self.running[self.crew.send(self.common, Part(part.state, max(0.01, seconds)))] = part
        rest = np.arange(len(taken), count)
        self.waiting = [tc.Front(nodes[rest], state.take(rest))] if len(rest) else []

    def _take(self, front: tc.Front, answer: Answer) -> None:
        """Bring an answer into the tree, once every leaf of it is replayed."""
        if answer.source != source_hash():
            raise Unsupported("a worker runs another torchlean", where="--engine ray",
                              expected=f"source {source_hash()[:12]}", got=f"source {answer.source[:12]}",
                              fix="install one version on all machines")  # fmt: skip
        if answer.point is not None:
            self._confirm(answer.point)
        if answer.budget:
            raise Budget
        if answer.stuck or answer.proof is None:
            raise Stuck(answer.stuck or "a worker has neither a proof nor a reason")
        self.boxes += answer.boxes
        problem = self.problem
        try:
            plan, tables, roots, holes = self._read(answer.proof, len(front.nodes))
            outcome = tc.replay(problem.kernel, plan.tree, tables=tables, front=tc.Front(roots, front.state),
                                workers=problem.replayers, deadline=problem.deadline.end)  # fmt: skip
        except tc.CheckError as error:
            _refuse(f"{error.what}: {error.where}, {error.got}")
        problem.deadline.check()
        left = outcome.failed
        if left is not None and not np.isin(left.nodes, holes).all():
            open_ = np.setdiff1d(left.nodes, holes)
            _refuse(f"{len(open_)} of its leaves not refuted, node {open_[0]} first")
        before = len(problem.files.tables)
        ids = plant(self.builder, front.nodes, plan, roots, before)
        problem.files.tables += moved(tables, before, len(problem.network.nodes))
        if left is not None:
            self.waiting.append(tc.Front(ids[left.nodes], left.state))

    def _read(self, proof: bytes, count: int) -> tuple[Plan, tuple[tc.SlopeTable, ...], Ints, Ints]:
        """The tree of a part's certificate, holes as leaves; its tables; where the part's nodes stand; the holes.

        Raises CheckError
        """
        found = tc.decode(proof)
        if (found.model, found.property, found.semantics, found.root) != self._about or len(found.trees) != 1:
            _refuse("it is about other files, another semantics or another root")
        kernel = self.problem.kernel
        for table in distinct(found.tables):
            for value, entries in table.entries.items():
                size = kernel.network.places(value)
                if not (np.diff(entries, prepend=-1) > 0).all() or not (entries < size).all():
                    _refuse("a slope table does not fit the network")
        op = found.trees[0].op
        holes = np.flatnonzero(op & KIND == HOLE)
        if (op[holes] != HOLE).any():
            _refuse("a hole does more than stand open")
        plan = Plan(replace(found.trees[0], op=np.where(op == HOLE, np.uint8(LEAF), op)), kernel, found.tables)

        def split(nodes: Ints) -> tuple[Ints, Ints]:
            if (op[nodes] != SPLIT).any():
                _refuse("its nodes do not stand where they must")
            return plan.child[nodes], plan.child[nodes] + 1

        return plan, found.tables, joined(count, split), holes

    def _confirm(self, point: NDArray[np.float32]) -> NoReturn:
        """Raises Found where the point violates the property here, too."""
        try:
            self.problem.ask(np.asarray(point, np.float32))
        except (TorchLeanError, ValueError) as problem:  # a point of another size
            raise _lie("violates nothing here", " ".join(str(problem).split())[:120]) from None
        raise _lie("violates nothing here", "a point that is no witness")


def _refuse(why: str) -> NoReturn:
    raise _lie("its certificate is not valid here", why)


def _lie(what: str, got: str) -> InternalError:
    return InternalError(f"a worker's answer does not count: {what}", where="a part of the search",
                         expected="leaves that the kernel refutes, or a witness", got=got,
                         fix="look at the workers' machines, or search without --engine ray")  # fmt: skip
