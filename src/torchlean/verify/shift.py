"""A worker's shift: the search below a part's nodes (crew.py), from their states to a certificate with holes.

Time is looked at where the search asks for it; what is open then becomes holes, and what was closed is kept.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.verify.boxes import Search, look_at
from torchlean.verify.budget import OUT_OF_MEMORY, Memory, ran_out
from torchlean.verify.clock import Deadline, OutOfTime
from torchlean.verify.crew import Answer, Common, Part, joined, source_hash
from torchlean.verify.files import kept, read, write
from torchlean.verify.outcome import Budget, Found, Proof, Stuck
from torchlean.verify.problem import Files, Problem
from torchlean_check.format import digest
from torchlean_check.process import prepare

Ints = NDArray[np.int64]


def search_part(common: Common, part: Part) -> Answer:
    """On a worker: what the search below the part's nodes came to. Raises FileError, Unsupported for broken files."""
    prepare()
    memory = Memory(common.memory)
    memory.keep()
    kernel, sums = _kernel(common.model, common.claim, common.place, common.semantics, common.root)
    files = Files(common.model, common.claim)
    deadline, rng = Deadline(part.seconds, memory), np.random.default_rng(0)
    problem = Problem(files, kernel.network, kernel.region, common.semantics, deadline, rng, root=common.root)
    problem.take(kernel)
    builder = tc.TreeBuilder()
    front = tc.Front(joined(len(part.state), lambda nodes: builder.split(nodes, 0 * nodes)), part.state)
    try:
        boxes = _by_inputs(problem, builder, front) if common.way == "inputs" else _by_neurons(
            problem, builder, front, common)  # fmt: skip
        proof = Proof(builder.build()[0], 0, boxes)
        tables = kept(kernel.network, files.tables, [proof])
        made = write(list(sums), common.semantics, kernel.network.table, tables, [proof], common.root)
    except Found as found:
        return Answer(source_hash(), point=found.witness.x)
    except Budget:
        return Answer(source_hash(), budget=True)
    except Stuck as stuck:
        return Answer(source_hash(), stuck=str(stuck))
    except (MemoryError, RuntimeError) as problem_met:
        if not ran_out(problem_met):
            raise
        return Answer(source_hash(), stuck=OUT_OF_MEMORY)
    return Answer(source_hash(), proof=made, boxes=boxes)


@lru_cache(maxsize=1)
def _kernel(model: bytes, claim: bytes, place: int, semantics: str, root: str) -> tuple[tc.Kernel, tuple[str, str]]:
    """The region's kernel and the digests of the files: the next part is most often of the same search."""
    network, regions = read(model, claim)
    return tc.Kernel(network, regions[place], semantics=semantics, root=root), (digest(model), digest(claim))


def _by_inputs(problem: Problem, builder: tc.TreeBuilder, front: tc.Front) -> int:
    search = Search(problem, builder, front.nodes, front.state)
    while search.waiting and problem.deadline.left > 0:
        search.step()
        look_at(problem, search.points)
    if search.waiting:
        builder.hole(search.take_all()[0])
    return search.boxes


def _by_neurons(problem: Problem, builder: tc.TreeBuilder, front: tc.Front, common: Common) -> int:
    """One node after the other. A replay says what is open: there the kernel's word is asked for, unless time is up.

    A node of which nothing was closed is split: its halves take less time.
    """
    from torchlean.verify.below import halve, search_below
    from torchlean.verify.maps import Engine

    engine, whole, boxes = Engine(problem.network), problem.deadline, 0
    todo = front
    for trust in (True, False):
        late = False
        for i, number in enumerate(todo.nodes.tolist()):
            problem.deadline = whole.part(max(0.01, whole.left / (len(todo.nodes) - i)))
            try:
                boxes += search_below(problem, builder, number, todo.state.take([i]), engine, common.scales,
                                      common.cases, trust)  # fmt: skip
            except OutOfTime:
                late = True
        tree, position = builder.build()
        outcome = tc.replay(problem.kernel, tree, tables=tuple(problem.files.tables),
                            front=tc.Front(position[front.nodes], front.state))  # fmt: skip
        if outcome.failed is None:
            return boxes
        todo = tc.Front(np.argsort(position)[outcome.failed.nodes], outcome.failed.state)
        for number in todo.nodes.tolist():
            builder.forget(number)
        if late or not whole.left > 0:
            for i, number in enumerate(todo.nodes.tolist()):
                same = number in front.nodes
                builder.hole(halve(problem, builder, number, todo.state.take([i]), engine) if same else [number])
            return boxes
    raise Stuck("the proof's replay does not agree with the search")
