"""A search dealt out in parts: the tree that comes together is a proof, and no worker is believed.

The workers are in this process here; test_ray_crew.py has them elsewhere.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import torchlean_check as tc
from torchlean.errors import InternalError, Unsupported
from torchlean.verify import inputs, neurons, parts, verify_files
from torchlean.verify.clock import Deadline
from torchlean.verify.crew import Answer, Common, Crew, Part, joined
from torchlean.verify.plant import moved, plant
from torchlean.verify.shift import search_part
from torchlean.verify.verdict import Status
from torchlean_check.format import decode, encode
from torchlean_check.records import HOLE, KIND, LEAF, SPLIT
from torchlean_check.tree import Plan

BOXES = 2  # of a part of a search that deals where there are four
WAY = {"boxes": "inputs", "clauses": "neurons"}


class Here(Crew):
    """Workers in this process, each of which gets a copy. `tamper` sees each answer before it is given back."""

    def __init__(self, size: int, tamper: Callable[[Answer], Answer] = lambda answer: answer) -> None:
        self.size, self.tamper = size, tamper
        self.sent: dict[int, bytes] = {}
        self.count, self.answers = 0, list[Answer]()

    def send(self, common: Common, part: Part) -> int:
        assert len(self.sent) < self.size
        self.count += 1
        self.sent[self.count] = pickle.dumps((common, part))
        return self.count

    def next(self, seconds: float) -> tuple[int, Answer]:
        number = min(self.sent)
        self.answers.append(search_part(*pickle.loads(self.sent.pop(number))))
        return number, self.tamper(self.answers[-1])

    def end(self) -> None:
        self.sent.clear()

    @property
    def holes(self) -> list[int]:
        """What each part left open."""
        return [int((decode(a.proof).trees[0].op & KIND == HOLE).sum()) for a in self.answers if a.proof]


def outputs(weights: Any, x: Any) -> Any:
    for k, (w, b) in enumerate(weights):
        x = x @ w.T + b if k == 0 else np.maximum(x, 0) @ w.T + b
    return x


@pytest.fixture
def boxes(mlp: Any, files: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[bytes, bytes]:
    """A true claim of three inputs that takes some hundred boxes, dealt as soon as there are a few."""
    monkeypatch.setattr(inputs, "FORK_AFTER", 0.0)
    start = tc.Kernel.start
    monkeypatch.setattr(tc.Kernel, "start", lambda self: (setattr(self, "chunk", 4), start(self))[1])
    weights, model = mlp((3, 16, 16, 1), 5)
    y = outputs(weights, np.random.default_rng(0).uniform(-1, 1, (20_000, 3)))
    return model, files[1](["-1.0"] * 3, ["1.0"] * 3, 1, [f"(assert (>= Y_0 {y.max() + 0.1 * np.ptp(y):.4f}))"])


@pytest.fixture
def clauses(mlp: Any, files: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[bytes, bytes]:
    """A true claim of 24 inputs and two clauses, each with a tree of relu splits below a root that is not refined."""
    monkeypatch.setattr(neurons, "SMALL", 0)
    monkeypatch.setattr(neurons, "LEAVES", (1,))
    weights, model = mlp((24, 14, 14, 2), 3)
    top = outputs(weights, np.random.default_rng(0).choice([-0.5, 0.5], (40_000, 24))).max(axis=0)
    either = " ".join(f"(and (>= Y_{i} {1.3 * v:.4f}))" for i, v in enumerate(top))
    return model, files[1](["-0.5"] * 24, ["0.5"] * 24, 2, [f"(assert (or {either}))"])


class Short(Deadline):
    """A deadline that is over after some looks at it, whatever the clock says."""

    looks = 3

    @property
    def left(self) -> float:
        self.looks -= 1
        return 1.0 if self.looks > 0 else 0.0

    def part(self, seconds: float) -> Deadline:
        return self


@pytest.mark.parametrize("size", [1, 3])
def test_boxes_are_dealt_and_their_trees_come_together(size: int, boxes: tuple[bytes, bytes]) -> None:
    alone = verify_files(*boxes, timeout=60, workers=1)
    crew = Here(size)
    verdict = verify_files(*boxes, timeout=60, workers=1, crew=crew)
    assert verdict.status is Status.UNSAT and crew.count >= size and not any(crew.holes)
    assert verdict.certificate == alone.certificate and verdict.boxes == alone.boxes
    assert tc.check(*boxes, verdict.certificate).status == "valid"


@pytest.mark.parametrize("files_of", ["boxes", "clauses"])
def test_what_a_worker_leaves_open_is_dealt_anew(
    files_of: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each shift ends early; what was closed in it is kept, and the rest goes to all."""
    of = request.getfixturevalue(files_of)
    monkeypatch.setattr("torchlean.verify.shift.Deadline", Short)
    monkeypatch.setattr(Short, "looks", 3 if files_of == "boxes" else 30)
    crew = Here(2)
    verdict = verify_files(*of, timeout=100, workers=1, strategy=WAY[files_of], crew=crew)
    assert verdict.status is Status.UNSAT and tc.check(*of, verdict.certificate).status == "valid"
    assert any(crew.holes) and not crew.holes[-1]


@pytest.mark.parametrize("size", [1, 2, 5])
def test_clauses_are_dealt_and_split_where_they_are_fewer_than_the_workers(
    size: int, clauses: tuple[bytes, bytes]
) -> None:
    crew = Here(size)
    verdict = verify_files(*clauses, timeout=100, workers=1, strategy="neurons", crew=crew)
    assert verdict.status is Status.UNSAT and crew.count >= max(2, size) and verdict.leaves > 20
    assert tc.check(*clauses, verdict.certificate).status == "valid"


def edited(answer: Answer, **changed: Any) -> Answer:
    """With another certificate in the place of the worker's."""
    assert answer.proof is not None
    return replace(answer, proof=encode(replace(decode(answer.proof), **changed)))


def grown() -> tuple[tc.TreeBuilder, Any]:
    """A tree that ends where the nodes of a part of BOXES stand."""
    builder = tc.TreeBuilder()
    return builder, joined(BOXES, lambda nodes: builder.split(nodes, 0 * nodes))


def pruned(answer: Answer) -> Answer:
    """Everything is closed, at once."""
    builder, _ = grown()
    return edited(answer, trees=(builder.build()[0],))


def filled(answer: Answer) -> Answer:
    """One split more, and everything is closed."""
    builder, roots = grown()
    builder.split(roots[-1:], [0])
    return edited(answer, trees=(builder.build()[0],))


def flagged(answer: Answer) -> Answer:
    """A hole that clips its box, too."""
    builder, roots = grown()
    builder.hole(roots)
    builder.flag(roots[:1], tc.EXAMINE)
    return edited(answer, trees=(builder.build()[0],))


def parted(answer: Answer) -> Answer:
    """One node, which is the whole part."""
    return edited(answer, trees=(tc.TreeBuilder().build()[0],))


def tabled(answer: Answer) -> Answer:
    return edited(answer, tables=(tc.SlopeTable({1: np.array([10**6], np.uint32)}, np.zeros(1, np.int16)),))


LIES: dict[str, tuple[Callable[[Answer], Answer], str]] = {
    "cut off": (lambda a: replace(a, proof=a.proof and a.proof[:-9]), "not valid here"),
    "no certificate": (lambda a: replace(a, proof=b"unsat"), "not valid here"),
    "other files": (lambda a: edited(a, property="0" * 64), "other files"),
    "other semantics": (lambda a: edited(a, semantics="real"), "other files, another semantics"),
    "two trees": (lambda a: edited(a, trees=2 * decode(a.proof or b"").trees), "other files"),
    "nothing proved": (pruned, "leaves not refuted"),
    "a leaf too early": (filled, "leaves not refuted"),
    "a hole with a flag": (flagged, "does more than stand open"),
    "nodes elsewhere": (parted, "do not stand where they must"),
    "a slope table of no neuron": (tabled, "slope table does not fit"),
    "no witness": (lambda a: replace(a, point=np.zeros(3, np.float32)), "violates nothing here"),
    "a witness of another size": (lambda a: replace(a, point=np.zeros(2, np.float32)), "violates nothing here"),
    "a witness that is no number": (lambda a: replace(a, point=np.full(3, np.nan, np.float32)), "violates nothing"),
    "a witness outside": (lambda a: replace(a, point=np.full(3, 9.0, np.float32)), "violates nothing here"),
}


@pytest.mark.parametrize(("tamper", "said"), LIES.values(), ids=LIES)
def test_what_a_worker_says_and_the_kernel_does_not_is_an_error(
    tamper: Callable[[Answer], Answer], said: str, boxes: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "MOST", BOXES)
    crew = Here(2, tamper)
    with pytest.raises(InternalError, match="a worker's answer does not count") as caught:
        verify_files(*boxes, timeout=60, workers=1, crew=crew)
    assert said in str(caught.value)


def test_a_proof_of_something_easier_does_not_count(
    boxes: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker searches for another claim, and writes the digest of this one."""

    class Easier(Here):
        def send(self, common: Common, part: Part) -> int:
            claim = common.claim.replace(b"(>= Y_0 ", b"(>= Y_0 9")
            return super().send(replace(common, claim=claim), part)

    crew = Easier(
        2, lambda a: edited(a, property=tc.Certificate.of(*boxes, semantics="real", trees=(), writer="").property)
    )
    with pytest.raises(InternalError, match="leaves not refuted"):
        verify_files(*boxes, timeout=60, workers=1, crew=crew)


def test_a_worker_s_point_counts_after_its_replay(
    mlp: Any, files: Any, boxes: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claim fails, and the search here does not look for points."""
    model, claim = boxes
    y = float(outputs(mlp((3, 16, 16, 1), 5)[0], np.array([[0.5, -0.25, 0.125]]))[0, 0])
    claim = claim[: claim.index(b"(assert (>= Y_0")] + f"(assert (>= Y_0 {y - 1e-3:.6f}))".encode()
    monkeypatch.setattr("torchlean.verify.problem.Problem.attack", lambda *_: None)
    monkeypatch.setattr("torchlean.verify.inputs.look_at", lambda *_: None)
    crew = Here(2)
    verdict = verify_files(model, claim, timeout=60, workers=1, crew=crew)
    assert verdict.status is Status.SAT and crew.answers[-1].point is not None
    assert verdict.witness is not None and (verdict.witness.x == crew.answers[-1].point).all()


def test_budget_and_reasons_come_through(boxes: tuple[bytes, bytes]) -> None:
    """Rounding that stands against float32 on a worker: the verdict is about the reals. A stuck search: none."""
    blocked: list[Answer] = []

    def once(answer: Answer) -> Answer:
        blocked.append(answer)
        return replace(answer, budget=True) if len(blocked) == 1 else answer

    verdict = verify_files(*boxes, timeout=60, workers=1, crew=Here(2, once))
    assert (verdict.status, verdict.semantics) == (Status.UNSAT, "real")
    assert tc.check(*boxes, verdict.certificate).semantics == "real"
    verdict = verify_files(*boxes, timeout=60, workers=1, crew=Here(2, lambda a: replace(a, stuck="a wall")))
    assert (verdict.status, verdict.reason) == (Status.UNKNOWN, "a wall")
    with pytest.raises(Unsupported, match="another torchlean"):
        verify_files(*boxes, timeout=60, workers=1, crew=Here(2, lambda a: replace(a, source="0" * 64)))


def test_a_crew_that_never_answers_costs_the_time_limit(boxes: tuple[bytes, bytes]) -> None:
    class Silent(Here):
        ended = 0

        def next(self, seconds: float) -> None:  # type: ignore[override]
            time.sleep(min(seconds, 0.05))

        def end(self) -> None:
            self.ended += 1

    crew = Silent(2)
    verdict = verify_files(*boxes, timeout=1.0, workers=1, crew=crew)
    assert verdict.status is Status.TIMEOUT and crew.ended == 1


def test_tables_name_planes_where_they_come_to_stand() -> None:
    """Of a network of ten nodes: shares of table 0 are of table 7 when seven tables stand before."""
    family = tc.SlopeTable({32: np.arange(4)}, np.zeros(4, np.int16))
    entries = {1: np.arange(2), 23: np.arange(1), 42: np.arange(2)}
    first, second = (tc.SlopeTable(entries, np.full(5, n, np.int16)) for n in range(2))
    a, b, c = moved([family, first, second], 7, 10)
    assert list(a.entries) == [32] and list(b.entries) == [1, 23, 112] and b.entries is c.entries
    assert a.slopes is family.slopes and (b.slopes == 0).all() and (c.slopes == 1).all()


def test_a_planted_tree_is_the_tree(boxes: tuple[bytes, bytes], mlp: Any) -> None:
    """Splits of all kinds, flags, records whose tables move: below a root, in the place of a leaf."""
    network, (region,) = tc.load(*boxes)
    kernel = tc.Kernel(network, region)
    value = network.relu_inputs[0]
    one = tc.TreeBuilder()
    low, high = one.split([0], [1])
    a, b = one.split(low, [2], [0.25], tc.EXAMINE)
    c, d = one.split_value(a, value, 3, 0.5, tc.DERIVE)
    e, _ = one.split_clause(d, 0)
    one.flag(b, tc.DERIVE)
    weights, multipliers = ((0, 0.1),), ((value, 3, -1, 2.5),)
    bound = tc.Bound(4, 1, table=0, cases=((value, 1), None, None))
    one.record(int(c[0]), tc.Record((tc.Derivation(value, (bound,)),), (tc.Refutation(0, weights, 1, multipliers),)))
    one.record(int(e[0]), tc.Record((), (tc.Refutation(0, table=-1),)))
    one.hole(high)
    tree, position = one.build()
    table = tc.SlopeTable({value: np.array([0], np.uint32)}, np.zeros(1, np.int16))
    other = tc.TreeBuilder()
    into = other.split([0], [0])[1]
    open_ = replace(tree, op=np.where(tree.op == HOLE, np.uint8(LEAF), tree.op))
    ids = plant(other, into, Plan(open_, kernel, [table, table]), np.zeros(1, np.int64), 7)
    got, at = other.build()
    assert sorted(ids.tolist()) == sorted({int(into[0]), *range(3, len(tree.op) + 2)})
    assert (got.op[at[ids]] == open_.op).all() and got.op[0] == SPLIT
    for column in ("axis", "value", "index", "at", "value_at"):
        assert getattr(got, column).tolist()[-len(getattr(tree, column)) :] == getattr(tree, column).tolist()
    (first, last), later = got.records, got.records[0].derivations[0].bounds[0]
    assert (later.table, first.refutations[0].table, last.refutations[0].table) == (7, 8, -1)
    assert replace(later, table=0) == bound and replace(first.refutations[0], table=1) == tree.records[0].refutations[0]
    again, where = one.build()
    assert (where == position).all() and (again.op == tree.op).all()
