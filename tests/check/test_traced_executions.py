"""Executions are followed through the replay of trees that nobody trusts: each node that one is in keeps it.

A pair is an execution and a clause that it violates. It goes to the children whose case it is in, of which there is
one at least; there the state must leave the clause open, and hold every value in its boxes. A leaf with a pair stays
unrefuted, whatever slopes, multipliers, weights, cases, thresholds and flags the certificate has.
"""

import pickle
import sys
from fractions import Fraction

import numpy as np
import pytest

import torchlean_check as tc
from torchlean_check import format
from torchlean_check.parallel import replay_parallel
from torchlean_check.records import SPLIT_CLAUSE, SPLIT_VALUE, Bound, Derivation, Record, Refutation, SlopeTable
from torchlean_check.tree import Plan, Replay

GOOD = pickle.dumps(Replay(1, np.zeros(0, np.int64), None, 1, True))
NUMBERS = [0.0, -0.0, 1.0, 0.25, -1.0, 5e-324, 2.0**-150, 1e30, 1e200, 1.7e308, -1.7e308]


class Tracer(Plan):
    """A plan that follows pairs; `lost` says what no proof may do."""

    def follow(self, runs, pairs):
        """runs: the values of each execution;  pairs: (execution, clause)"""
        self.runs, self.at, self.seen = runs, {0: set(pairs)}, 0

    def visit(self, nodes, state, slack):
        for row, node in enumerate(nodes.tolist()):
            self._holds(state, row, self.at.get(node, set()), node)
        closed, fronts, holes = super().visit(nodes, state, slack)
        for node, done in zip(nodes.tolist(), closed.tolist(), strict=True):
            assert not (done and self.at.get(node)), f"node {node} is closed"
        child = {int(n): (front.state, row) for front in fronts for row, n in enumerate(front.nodes)}
        for node in nodes.tolist():
            pairs = self.at.get(node, set())
            if not pairs or self.kind[node] < 2:
                continue
            low = int(self.child[node])
            parts = [self._case(node, side, *child[low + i], pairs) for i, side in enumerate((-1, 1))]
            assert parts[0] | parts[1] == pairs, f"no child of node {node} has it"
            self.at[low], self.at[low + 1] = parts
        return closed, fronts, holes

    def _case(self, node, side, state, row, pairs):
        if self.kind[node] == SPLIT_VALUE:
            i = self.value_at[node]
            value, index, at = int(self.tree.value[i]), int(self.tree.index[i]), Fraction(float(self.tree.value_at[i]))
            return {(e, c) for e, c in pairs if (self.runs[e][value][index] - at) * side >= 0}
        axis = int(self.tree.axis[self.axis_at[node]])
        if self.kind[node] == SPLIT_CLAUSE:
            return {(e, c) for e, c in pairs if (c == axis) == (side < 0)}
        lo, hi = Fraction(state.lo[row, axis]), Fraction(state.hi[row, axis])
        return {(e, c) for e, c in pairs if lo <= self.runs[e][0][axis] <= hi}

    def _holds(self, state, row, pairs, node):
        for e, c in pairs:
            self.seen += 1
            assert not state.empty[row] and state.open[row, c], f"node {node} has lost clause {c}"
            for k, (lo, hi) in {0: (state.lo, state.hi), **state.boxes}.items():
                ends = zip(lo[row].tolist(), self.runs[e][k], hi[row].tolist(), strict=True)
                assert all(a <= z <= b for a, z, b in ends), f"node {node}, value {k}"


def random_cases(rng, network, depth):
    if depth == 0 or rng.random() < 0.3:
        return (None,)
    value = int(rng.choice(network.boxed))
    split = value, int(rng.integers(network.nodes[value].size))
    return (split, *random_cases(rng, network, depth - 1), *random_cases(rng, network, depth - 1))


def some(rng):
    """Most often small and positive, as what helps a proof; else anything."""
    return float(rng.choice(NUMBERS)) if rng.random() < 0.1 else float(rng.exponential()) * rng.choice([1.0, 1.0, -1.0])


def random_record(rng, network, region, path, clause, tables):
    """Derivations and refutations with anything that is not refused. clause: the only one open, or -1"""

    def duals(c):
        weights = tuple((int(rng.integers(len(region.clauses[c]))), some(rng)) for _ in range(rng.integers(3)))
        splits = [path[rng.integers(len(path))] for _ in range(rng.integers(4))] if path else []
        table = int(rng.integers(-1, tables))
        return weights if c >= 0 else (), table, tuple((v, i, int(side), some(rng)) for v, i, side in splits)

    derivations = []
    for _ in range(rng.integers(4)):
        value, c = int(rng.choice(network.boxed)), int(rng.choice([clause, -1, 0], p=[0.7, 0.29, 0.01]))
        size, bounds = network.nodes[value].size, []
        for _ in range(rng.integers(4)):
            cases = random_cases(rng, network, 3) if rng.random() < 0.5 else ()
            bounds.append(Bound(int(rng.integers(size)), int(rng.choice([-1, 1])), *duals(c), cases))
        derivations.append(Derivation(value, tuple(bounds) or None, c))
    refuted = [int(rng.integers(len(region.clauses))) for _ in range(rng.integers(3))]
    return Record(tuple(derivations), tuple(Refutation(c, *duals(c)) for c in refuted))


def random_tree(rng, network, region, anchor, tables):
    """Splits close in on one pair, the anchor, whose leaf is split again and again: so its boxes are narrow."""
    values, violated = anchor
    builder, node, path, clause = tc.TreeBuilder(), 0, (), -1
    others = []
    for _ in range(int(rng.integers(4, 12))):
        flags, kind = int(rng.choice([0, tc.DERIVE, tc.EXAMINE, tc.DERIVE | tc.EXAMINE])), rng.integers(5)
        if rng.random() < 0.6:
            builder.record(node, random_record(rng, network, region, path, clause, tables))
        if kind < 2:
            axis = int(rng.integers(2))
            at = float(values[0][axis]) + float(rng.choice([0.0, 0.1, -0.1, 0.0, some(rng)]))
            left, right = builder.split([node], [axis], at=[at], flags=flags)
            side = float(values[0][axis]) >= at
            after = (path, clause), (path, clause)
        elif kind < 4:
            value = int(rng.choice(network.boxed))
            index = int(rng.integers(network.nodes[value].size))
            z = values[value][index]
            at = float(rng.choice([0.0, float(z), float(z) + 0.2, float(z) - 0.2, some(rng)]))
            left, right = builder.split_value([node], value, index, at, flags=flags)
            side, after = z >= Fraction(at), tuple(((*path, (value, index, s)), clause) for s in (-1, 1))
        else:
            chosen = int(rng.choice([violated, violated, rng.integers(len(region.clauses))]))
            left, right = builder.split_clause([node], [chosen])
            side, after = chosen != violated, ((path, chosen if clause in (-1, chosen) else clause), (path, -1))
        ids = int(left[0]), int(right[0])
        others.append((ids[not side], *after[not side]))
        node, (path, clause) = ids[side], after[side]
    for leaf, *rest in [*others, (node, path, clause)]:
        builder.flag([leaf], int(rng.choice([0, tc.DERIVE])))
        if rng.random() < 0.1:
            builder.hole([leaf])
        builder.record(leaf, random_record(rng, network, region, *rest, tables))
    return builder.build()[0]


def random_tables(rng, network):
    """Slopes of relus and places of products, for some entries or for none; two tables share their entries."""

    def entries():
        some = [k for k in range(3 * len(network.nodes)) if network.places(k) and rng.random() < 0.7]
        return {k: np.flatnonzero(rng.random(network.places(k)) < rng.choice([0.0, 0.5, 1.0])) for k in some}

    first = entries()
    sets = first, first, entries(), {}
    sizes = [sum(map(len, each.values())) for each in sets]
    kinds = rng.permutation([(0, 16385), (-32768, 32768), (0, 16385), (0, 1)])
    return tuple(SlopeTable(each, rng.integers(low, high, size).astype(np.int16))
                 for each, (low, high), size in zip(sets, kinds, sizes, strict=True))  # fmt: skip


def products(tools, seed):
    """A network of relus and products, on few inputs: so that forms of them are carried along."""
    rng = np.random.default_rng(seed)
    sizes = {"w": (2, 6), "b": (6,), "u": (6, 6), "c": (6,), "o": (6, 2)}
    w = {name: rng.normal(size=size).astype(np.float32) for name, size in sizes.items()}
    nodes = [("Gemm", "xwb", "h", {}), ("Relu", "h", "r", {}), ("Gemm", "ruc", "g", {}), ("Mul", "hg", "p", {}),
             ("Mul", "pg", "q", {}), ("Relu", "q", "s", {}), ("Add", "sp", "t", {}),
             ("Gemm", "to", "y", {})]  # fmt: skip
    return tools.model_bytes(nodes, w, (1, 2))


def problem(tools, seed, semantics):
    """A network, a property that few executions violate, in one clause or several, and those executions."""
    rng = np.random.default_rng(seed)
    model = products(tools, seed) if seed % 2 else tools.mlp_bytes([2, 6, 6, 2], seed=seed, scale=2.0)
    network, _ = tc.load(model, tools.property_text(2, 2, ["(assert (>= Y_0 0))"]))
    points = [rng.choice([-1, -0.5, 0, 0.5, 1], 2) if n % 3 == 0 else rng.integers(-1024, 1025, 2) / 1024.0
              for n in range(100)]  # fmt: skip
    run = {"real": tools.exact_run, "float32": lambda net, x: tools.float32_run(net, x, rng)}[semantics]
    runs = [[[Fraction(float(z)) if semantics == "float32" else z for z in value] for value in run(network, x.tolist())]
            for x in points]  # fmt: skip
    y = np.array([[float(v) for v in values[-1]] for values in runs])
    a, b = np.quantile(y[:, 0], [0.9, 0.05])
    c, d = np.quantile(y[:, 1], 0.6), np.quantile(y[:, 1] - y[:, 0], 0.95)
    clauses = f"(and (>= Y_0 {a:.6f}) (<= Y_1 {c:.6f})) (and (< Y_0 {b:.6f})) (and (>= (- Y_1 Y_0) {d:.6f}))"
    claim = tools.property_text(2, 2, [f"(assert (or {clauses}))"])
    network, (region,) = tc.load(model, claim)
    pairs = []
    for e, values in enumerate(runs):
        for k, clause in enumerate(region.clauses):
            g = [(sum((w * values[-1][i] for i, w in q.y.items()), q.constant), q.strict) for q in clause]
            if all(v < 0 or (v == 0 and not strict) for v, strict in g):
                pairs.append((e, k))
    return rng, network, region, runs, pairs


def random_plan(rng, network, kernel, region, runs, pairs):
    """A tree and its tables, through a file."""
    tables, (e, c) = random_tables(rng, network), pairs[rng.integers(len(pairs))]
    tree = random_tree(rng, network, region, (runs[e], c), len(tables))
    data = tc.encode(tc.Certificate("", "", kernel.semantics, "derive", "test", (tree,), tables))
    read = format.decode(data)
    return Tracer(read.trees[0], kernel, read.tables)


def start(kernel):
    return tc.Front(np.zeros(1, np.int64), kernel.start())


@pytest.mark.parametrize("semantics", ["float32", "real"])
@pytest.mark.parametrize("arithmetic", ["rounded", "exact"])
def test_no_tree_loses_an_execution(tools, semantics, arithmetic):
    seen = refused = closed = 0
    for seed in range(4):
        rng, network, region, runs, pairs = problem(tools, seed, semantics)
        kernel = tc.Kernel(network, region, semantics, arithmetic, root=("derive", "interval")[seed // 2])
        assert len(pairs) > 6
        for _ in range(8):
            plan = random_plan(rng, network, kernel, region, runs, pairs)
            plan.follow(runs, pairs)
            try:
                found = tc.tree.run(plan, start(kernel), 0.0, None, False)
            except tc.CheckError as error:
                assert "the only one open" in error.what
                refused += 1
                continue
            left = {*found.holes.tolist(), *(found.failed.nodes.tolist() if found.failed is not None else ())}
            assert left and found.finished
            assert {n for n, there in plan.at.items() if there and plan.kind[n] < 2} <= left
            seen += plan.seen
            closed += found.leaves
    assert seen > 1000 and closed > 10 and refused < 15


def test_several_processes_leave_what_one_leaves(tools):
    """Leaves that fail, and those assumed, wherever the work is done."""
    some_failed = 0
    for seed in range(2):
        rng, network, region, runs, pairs = problem(tools, seed, "float32")
        kernel = tc.Kernel(network, region)
        kernel.chunk = 2
        plan = random_plan(rng, network, kernel, region, runs, pairs)
        plan.follow(runs, pairs)
        alone = tc.tree.run(plan, start(kernel), 0.0, None, False)
        plan = Plan(plan.tree, kernel, plan.tables)
        both = replay_parallel(plan, start(kernel), 0.0, 3, None, False)
        assert both.finished and both.leaves == alone.leaves
        assert both.holes.tolist() == alone.holes.tolist()
        assert sorted(both.failed.nodes.tolist()) == sorted(alone.failed.nodes.tolist())
        some_failed += len(both.failed.nodes)
    assert some_failed > 2


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"", 1),
        (b"", 0),
        (b"a line that a library printed\n", 0),
        (GOOD[:-1], 0),
        (b"a line\n" + GOOD, 0),
        (GOOD, 1),
        (pickle.dumps(1.0), 0),
        (b"\x80\x04\x95" + b"\xff" * 8, 0),
        (b"cabsent\nname\n.", 0),
    ],
)
def test_a_worker_without_an_answer_is_an_error(tools, monkeypatch, tmp_path, answer, code):
    """It was killed, it ended as if all were well, or what it wrote is not a result alone."""
    (tmp_path / "answer").write_bytes(answer)
    worker = tmp_path / "worker"
    worker.write_text(f"#!/bin/sh\ncat > /dev/null\ncat '{tmp_path}/answer'\nexit {code}\n")
    worker.chmod(0o755)
    rng, network, region, runs, pairs = problem(tools, 0, "float32")
    kernel = tc.Kernel(network, region)
    plan = random_plan(rng, network, kernel, region, runs, pairs)
    plan = Plan(plan.tree, kernel, plan.tables)
    monkeypatch.setattr(sys, "executable", str(worker))
    with pytest.raises(tc.WorkerError, match=f"ended without an answer[^$]*exit status {code}, {len(answer)} bytes"):
        replay_parallel(plan, start(kernel), 0.0, 3, None, False)
