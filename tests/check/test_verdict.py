"""What a certificate must not get away with. Half of these are rejections, each with its title."""

from dataclasses import replace

import numpy as np
import pytest

import torchlean_check as tc
from torchlean_check import format, records
from torchlean_check.errors import CheckError
from torchlean_check.packed import Records
from torchlean_check.records import (
    HOLE,
    KIND,
    LEAF,
    NONE,
    RECORD,
    SPLIT,
    SPLIT_AT,
    SPLIT_CLAUSE,
    Bound,
    Derivation,
    Record,
    Refutation,
    SlopeTable,
    Tree,
)


def verdict(small, certificate, **options):
    return tc.check(small.model, small.claim, tc.encode(certificate), **options)


def columns(tree, **changes):
    return replace(tree, **changes)


def with_tree(small, tree, **changes):
    return replace(small.certificate, trees=(tree,), **changes)


@pytest.mark.parametrize("arithmetic", ["rounded", "exact"])
def test_a_true_proof_is_valid(small, arithmetic):
    v = verdict(small, small.certificate, arithmetic=arithmetic)
    tree = small.certificate.trees[0]
    assert (v.status, v.assumed, v.semantics, v.arithmetic, v.table) == ("valid", 0, "float32", arithmetic, "none/1")
    assert v.leaves >= (tree.op & KIND == LEAF).sum() > 50 and v.hash == format.digest(small.data) and "relu" in v.rules


def test_encoding_round_trips_bit_for_bit(small):
    builder = tc.TreeBuilder()
    low, high = builder.split([0], [2], at=[0.1])
    a, b = builder.split_value(low, 2, 3, 1e-300)
    builder.record(
        high[0],
        Record(
            (
                Derivation(2),
                Derivation(4, (Bound(1, 1, ((0, 0.5),), 0, ((2, 1, -1, 0.3),)), Bound(5, -1)), 0),
            ),
            (Refutation(0, ((0, 2.5),), 1, ()),),
        ),
    )
    builder.hole(a)
    builder.flag(b, tc.DERIVE)
    entries = {2: np.array([0, 3, 9]), 4: np.arange(2)}
    slopes = np.arange(10, dtype=np.int16).reshape(2, 5)
    tables = SlopeTable(entries, slopes[0]), NONE, SlopeTable(entries, slopes[1])
    certificate = replace(small.certificate, trees=(builder.build()[0], small.certificate.trees[0]), tables=tables)
    again = format.decode(tc.encode(certificate))
    assert tc.encode(again) == tc.encode(certificate)
    assert again.trees[0].records == certificate.trees[0].records
    rows = records.slope_rows(again.tables, {2: 10, 4: 3}.__getitem__)
    assert again.tables[0].entries is again.tables[2].entries
    for value, size in ((2, 10), (4, 3)):
        whole = np.full((3, size), np.nan)
        for row, table in enumerate(tables):
            places = [(k, e) for k in table.entries for e in table.entries[k]]
            for (k, e), slope in zip(places, table.slopes, strict=True):
                if k == value:
                    whole[row, e] = slope * 2.0**-14
        assert np.array_equal(rows[value], whole, equal_nan=True)


def test_an_assumed_leaf_makes_it_holey(small):
    tree = small.certificate.trees[0]
    leaf = int(np.nonzero(tree.op & KIND == LEAF)[0][-1])
    op = tree.op.copy()
    op[leaf] = HOLE
    v = verdict(small, with_tree(small, columns(tree, op=op)))
    assert (v.status, v.assumed) == ("holey", 1) and v.where == (f"tree 0, node {leaf}: assumed",)


def test_a_root_that_is_assumed_proves_nothing(small):
    builder = tc.TreeBuilder()
    builder.hole([0])
    v = verdict(small, with_tree(small, builder.build()[0]))
    assert (v.status, v.leaves, v.assumed) == ("holey", 0, 1)


def test_real_semantics_is_said(small):
    certificate = replace(small.certificate, semantics="real")
    assert verdict(small, certificate).semantics == "real"


def test_one_leaf_too_few_splits_is_invalid(small):
    builder = tc.TreeBuilder()
    builder.flag([0], tc.DERIVE)
    v = verdict(small, with_tree(small, builder.build()[0]))
    assert v.status == "invalid" and v.where == ("tree 0, node 0: not refuted",)


def test_processes_agree_with_one(small):
    network, (region,) = tc.load(small.model, small.claim)
    tree = small.certificate.trees[0]
    from torchlean_check.parallel import replay_parallel
    from torchlean_check.tree import Front, Plan

    kernel = tc.Kernel(network, region)
    kernel.chunk = 1
    alone = tc.replay(kernel, tree)
    for workers in (2, 5):
        start = Front(np.zeros(1, np.int64), kernel.start())
        both = replay_parallel(Plan(tree, kernel, ()), start, 0.0, workers, None, False)
        assert both.finished and both.failed is None and (both.leaves, both.nodes) == (alone.leaves, alone.nodes)


def test_nodes_that_are_not_to_be_visited_are_left(small):
    from torchlean_check.tree import Front, Plan, run

    network, (region,) = tc.load(small.model, small.claim)
    tree = small.certificate.trees[0]
    kernel = tc.Kernel(network, region)
    plan, alone = Plan(tree, kernel, ()), tc.replay(kernel, tree)
    only = np.arange(len(tree.op)) < 5
    first = run(plan, Front(np.zeros(1, np.int64), kernel.start()), 0.0, None, False, only)
    assert not first.finished and first.nodes == 5 and not only[first.failed.nodes].any()
    rest = run(plan, first.failed, 0.0, None, False)
    assert rest.failed is None and first.leaves + rest.leaves == alone.leaves
    assert run(plan, first.failed, 0.0, None, False, only).nodes == 0


def test_shares_are_dealt_by_the_work_of_subtrees(small):
    from torchlean_check.parallel import deal, subtrees, work
    from torchlean_check.tree import Plan

    network, (region,) = tc.load(small.model, small.claim)
    plan = Plan(small.certificate.trees[0], tc.Kernel(network, region), ())

    def count(node):
        return 1 + sum(count(int(plan.child[node]) + i) for i in (0, 1)) if plan.kind[node] >= tc.records.SPLIT else 1

    assert subtrees(plan).tolist() == [count(i) for i in range(len(plan.kind))]
    value, cases = network.relu_inputs[0], ((network.relu_inputs[0], 1), None, (network.relu_inputs[0], 3), None, None)
    bounds = Bound(0, 1), Bound(1, 1, (), -1, (), cases)
    record = Record((Derivation(value, bounds), Derivation(value)), (Refutation(0),))
    assert Records.of([record]).columns.rows().tolist() == [1 + 3 + 1]
    tree = small.certificate.trees[0]
    op = tree.op.copy()
    op[3] |= RECORD
    more = Plan(replace(tree, op=op, records=(record,)), plan.kernel, ())
    assert (work(more) - work(plan)).tolist() == [5 * (i == 3) for i in range(len(op))]
    shares = deal(np.array([1, 9, 2, 5, 5, 4]), 2)
    assert [x.tolist() for x in shares] == [[1, 5], [0, 2, 3, 4]]


def test_a_writer_asks_for_more_margin_than_the_checker(small):
    network, (region,) = tc.load(small.model, small.claim)
    kernel = tc.Kernel(network, region)
    assert tc.replay(kernel, small.certificate.trees[0], slack=2.0**-40).failed is None
    failed = tc.replay(kernel, small.certificate.trees[0], slack=1.0).failed
    assert failed is not None
    builder = tc.TreeBuilder()  # and goes on from the leaves that failed
    again = tc.replay(kernel, small.certificate.trees[0], front=failed)
    assert again.failed is None and again.nodes == len(failed.nodes) and len(builder) == 1


def test_multi_inequality_clauses_close_with_weights(tools):
    """Neither Y_0 - Y_1 >= 0.1 nor Y_1 - Y_0 >= 0.1 is impossible alone; their sum is."""
    model = tools.model_bytes([("Gemm", ["x", "w"], "y", {})], {"w": np.array([[1, 0], [0, 1]], np.float32)})
    claim = tools.property_text(2, 2, ["(assert (>= (- Y_0 Y_1) 0.1))", "(assert (>= (- Y_1 Y_0) 0.1))"])
    for weights, status in (
        ((), "invalid"),
        (((0, 1.0), (1, 1.0)), "valid"),
        (((0, 1.0), (1, -1.0)), "invalid"),
        (((0, 0.0), (1, 0.0)), "invalid"),
    ):
        builder = tc.TreeBuilder()
        builder.record(0, Record(refutations=(Refutation(0, weights),)))
        certificate = tc.Certificate.of(model, claim, semantics="float32", trees=[builder.build()[0]], writer="test")
        assert tc.check(model, claim, tc.encode(certificate)).status == status, weights


def test_zero_weights_on_a_strict_clause_prove_nothing(tools):
    """0 >= 0 must not count: a strict inequality helps only with a positive weight."""
    model = tools.model_bytes([("Relu", ["x"], "y", {})], {})
    claim = tools.property_text(2, 2, ["(assert (> Y_0 0.5))"])
    for weight in (0.0, -1.0, 5e-324):
        builder = tc.TreeBuilder()
        builder.record(0, Record(refutations=(Refutation(0, ((0, weight),)),)))
        certificate = tc.Certificate.of(model, claim, semantics="real", trees=[builder.build()[0]], writer="test")
        assert tc.check(model, claim, tc.encode(certificate)).status == "invalid"


@pytest.mark.parametrize(
    ("line", "status"),
    [("(assert (>= Y_0 0))", "invalid"), ("(assert (> Y_0 0))", "invalid"), ("(assert (>= Y_0 0.001))", "valid")],
)
def test_a_bound_that_touches_the_border_does_not_refute(tools, line, status):
    """relu(x) <= 0 on x <= 0, so Y_0 >= 0 happens: it must never be refuted; and no rounding may refute the strict
    one either."""
    model = tools.model_bytes([("Relu", ["x"], "y", {})], {})
    claim = tools.property_text(2, 2, [line], low="-1.0", high="0.0")
    builder = tc.TreeBuilder()
    builder.flag([0], tc.DERIVE)
    certificate = tc.Certificate.of(model, claim, semantics="float32", trees=[builder.build()[0]], writer="test")
    assert tc.check(model, claim, tc.encode(certificate)).status == status


def test_one_ulp_too_tight_is_invalid(tools):
    """y = x: y >= 1 happens at x = 1; y >= 1 + 5e-8 does not, but is within one rounding of float32 (2^-24 = 6e-8); 1
    + 1 ulp is not."""
    model = tools.model_bytes([("Gemm", ["x", "w"], "y", {})], {"w": np.eye(2, dtype=np.float32)})
    statuses = {}
    for semantics in ("float32", "real"):
        for top in ("1.0", "1.00000005", "1.000000119"):
            claim = tools.property_text(2, 2, [f"(assert (>= Y_0 {top}))"])
            certificate = tc.Certificate.of(
                model, claim, semantics=semantics, trees=[tc.TreeBuilder().build()[0]], writer="test"
            )
            statuses[semantics, top] = tc.check(model, claim, tc.encode(certificate)).status
    assert statuses == {
        ("float32", "1.0"): "invalid",
        ("float32", "1.00000005"): "invalid",
        ("float32", "1.000000119"): "valid",
        ("real", "1.0"): "invalid",
        ("real", "1.00000005"): "valid",
        ("real", "1.000000119"): "valid",
    }


@pytest.mark.parametrize(
    ("m", "status"), [(None, "invalid"), (1.0, "valid"), (0.0, "invalid"), (-1.0, "invalid"), (40.0, "invalid")]
)
def test_value_splits_close_with_multipliers(tools, m, status):
    """y0 = relu(s) - relu(-s) = s with s = x0 + x1, so y0 - x0 = x1 <= 1. Where both neurons are active, s = 0 is
    known only through a multiplier."""
    model = tools.model_bytes(
        [("MatMul", ["x", "w"], "z", {}), ("Relu", ["z"], "a", {}), ("MatMul", ["a", "v"], "y", {})],
        {"w": np.array([[1, -1], [1, -1]], np.float32), "v": np.array([[1, 0], [-1, 0]], np.float32)},
    )
    claim = tools.property_text(2, 2, ["(assert (>= (- Y_0 X_0) 1.001))"])
    network, _ = tc.load(model, claim)
    value = network.relu_inputs[0]
    builder = tc.TreeBuilder()
    low, high = builder.split_value([0], value, 0)
    _, both = builder.split_value(np.concatenate([low, high]), value, 1)
    if m is not None:
        builder.record(int(both[1]), Record(refutations=(Refutation(0, (), -1, ((value, 1, 1, m),)),)))
    certificate = tc.Certificate.of(model, claim, semantics="float32", trees=[builder.build()[0]], writer="test")
    assert tc.check(model, claim, tc.encode(certificate)).status == status


@pytest.mark.parametrize("m", [-1.0, -0.5, 1.0, -1e30])
def test_a_negative_multiplier_proves_no_false_claim(tools, m):
    """y = relu(x) reaches 1. Where z >= 0, a multiplier of -1 on it would turn 0.5 - z into 0.5."""
    model = tools.model_bytes(
        [("MatMul", ["x", "w"], "z", {}), ("Relu", ["z"], "y", {})], {"w": np.eye(2, dtype=np.float32)}
    )
    claim = tools.property_text(2, 2, ["(assert (>= Y_0 0.5))"])
    value = tc.load(model, claim)[0].relu_inputs[0]
    builder = tc.TreeBuilder()
    _, high = builder.split_value([0], value, 0)
    builder.record(int(high[0]), Record(refutations=(Refutation(0, (), -1, ((value, 0, 1, m),)),)))
    certificate = tc.Certificate.of(model, claim, semantics="real", trees=[builder.build()[0]], writer="test")
    assert tc.check(model, claim, tc.encode(certificate)).status == "invalid"


@pytest.mark.parametrize("m", [0.0, 1.0, -5.0, 1e300])
def test_split_multipliers_need_their_split(tools, small, m):
    network, (_region,) = tc.load(small.model, small.claim)
    value = network.relu_inputs[0]
    builder = tc.TreeBuilder()
    builder.record(0, Record(refutations=(Refutation(0, (), -1, ((value, 0, 1, m),)),)))
    with pytest.raises(CheckError, match="not on its path"):
        verdict(small, with_tree(small, builder.build()[0]))
    builder = tc.TreeBuilder()
    low, _high = builder.split_value([0], value, 0)
    builder.record(
        int(low[0]), Record(refutations=(Refutation(0, (), -1, ((value, 0, 1, m),)),))
    )  # the other side's multiplier
    with pytest.raises(CheckError, match="not on its path"):
        verdict(small, with_tree(small, builder.build()[0]))


def rejected(title):
    """Certificates that must be refused with an error, by title."""

    def split_tree(**changes):
        full = {
            "op": np.array([SPLIT, 0, 0], np.uint8),
            "axis": np.zeros(1, np.uint16),
            "at": np.zeros(0),
            "value": np.zeros(0, np.uint32),
            "index": np.zeros(0, np.uint32),
            "value_at": np.zeros(0),
            "records": (),
        }
        return Tree(**{**full, **changes})

    u8, u16 = np.uint8, np.uint16
    trees = {
        "empty proof": split_tree(op=np.zeros(0, u8), axis=np.zeros(0, u16)),
        "missing leaf": split_tree(op=np.array([SPLIT, 0], u8)),
        "one leaf too many": split_tree(op=np.array([SPLIT, 0, 0, 0], u8)),
        "child before its parent": split_tree(op=np.array([0, SPLIT, 0], u8)),
        "unknown kind": split_tree(op=np.array([5, 0, 0], u8), axis=np.zeros(0, u16)),
        "unknown flag": split_tree(op=np.array([SPLIT | 64, 0, 0], u8)),
        "split of an input that does not exist": split_tree(axis=np.array([9], u16)),
        "threshold nan": split_tree(op=np.array([SPLIT_AT, 0, 0], u8), at=np.array([np.nan])),
        "threshold infinite": split_tree(op=np.array([SPLIT_AT, 0, 0], u8), at=np.array([np.inf])),
        "value split of the output": split_tree(
            op=np.array([4, 0, 0], u8),
            axis=np.zeros(0, u16),
            value=np.array([5], np.uint32),
            index=np.array([0], np.uint32),
            value_at=np.zeros(1),
        ),
        "value split of a neuron that does not exist": split_tree(
            op=np.array([4, 0, 0], u8),
            axis=np.zeros(0, u16),
            value=np.array([1], np.uint32),
            index=np.array([10], np.uint32),
            value_at=np.zeros(1),
        ),
        "unknown clause": split_tree(
            op=np.array([SPLIT | 32, 0, 0], u8), records=(Record(refutations=(Refutation(1),)),)
        ),
        "unknown inequality": split_tree(
            op=np.array([SPLIT | 32, 0, 0], u8), records=(Record(refutations=(Refutation(0, ((1, 1.0),)),)),)
        ),
        "weight nan": split_tree(
            op=np.array([SPLIT | 32, 0, 0], u8), records=(Record(refutations=(Refutation(0, ((0, float("nan")),)),)),)
        ),
        "multiplier infinite": split_tree(
            op=np.array([SPLIT | 32, 0, 0], u8),
            records=(Record((Derivation(1, (Bound(0, 1, (), -1, ((1, 0, 1, float("inf")),)),)),)),),
        ),
        "unknown slope table": split_tree(
            op=np.array([SPLIT | 32, 0, 0], u8), records=(Record((Derivation(1, (Bound(0, 1, (), 0),)),)),)
        ),
        "derivation of the input": split_tree(op=np.array([SPLIT | 32, 0, 0], u8), records=(Record((Derivation(0),)),)),
        "derivation of a value after the last": split_tree(
            op=np.array([SPLIT | 32, 0, 0], u8), records=(Record((Derivation(99),)),)
        ),
        **{
            name: split_tree(op=np.array([SPLIT | 32, 0, 0], u8), records=(Record((Derivation(1, bounds, clause),)),))
            for name, bounds, clause in (
                ("negative target", (Bound(-1, 1),), -1),
                ("target beyond the value", (Bound(10, 1),), -1),
                ("bound of no side", (Bound(0, 0),), -1),
                ("derivation by a clause that does not exist", (Bound(0, 1, ((0, 1.0),)),), 1),
                ("derivation by a clause below -1", (Bound(0, 1),), -2),
                ("clause weights without a clause", (Bound(0, 1, ((0, 1.0),)),), -1),
                ("clause weight of no inequality", (Bound(0, 1, ((1, 1.0),)),), 0),
                ("clause weight infinite", (Bound(0, 1, ((0, float("inf")),)),), 0),
            )
        },
        "split of a clause that does not exist": split_tree(
            op=np.array([SPLIT_CLAUSE, 0, 0], u8), axis=np.array([1], u16)
        ),
    }
    return trees[title] if title else list(trees)


@pytest.mark.parametrize("title", rejected(""))
def test_tree_is_refused(small, title):
    with pytest.raises(CheckError) as error:
        verdict(small, with_tree(small, rejected(title)))
    assert error.value.fix


def table(value, entries):
    return (SlopeTable({value: np.array(entries)}, np.zeros(len(entries), np.int16)),)


@pytest.mark.parametrize(
    ("title", "change"),
    [
        ("wrong model hash", {"model": "0" * 64}),
        ("wrong property hash", {"property": "0" * 64}),
        ("hashes swapped", {"model": None}),
        ("unknown semantics", {"semantics": "float64"}),
        ("unknown root rule", {"root": "guess"}),
        ("unknown tolerance table", {"table": "cuda/9"}),
        ("a tree too many", {"trees": None}),
        ("slope of an entry beyond the value", {"tables": table(1, [0, 10])}),
        ("slopes of one entry twice", {"tables": table(1, [3, 3])}),
        ("slopes of entries out of order", {"tables": table(1, [3, 2])}),
        ("slope table of no relu", {"tables": table(0, [0])}),
        ("slope table of no value", {"tables": table(999, [])}),
    ],
)
def test_certificate_is_refused(small, title, change):
    if title == "hashes swapped":
        change = {"model": small.certificate.property, "property": small.certificate.model}
    if title == "a tree too many":
        change = {"trees": small.certificate.trees * 2}
    with pytest.raises(CheckError):
        verdict(small, replace(small.certificate, **change))


def test_swapped_files_are_refused(small):
    with pytest.raises(CheckError):
        tc.check(small.claim, small.model, small.data)


def test_every_truncation_is_refused(small):
    for size in [*range(0, len(small.data) - 1, 7), len(small.data) - 1]:
        with pytest.raises(CheckError):
            tc.check(small.model, small.claim, small.data[:size])


@pytest.mark.parametrize("tail", [b"\0", b"x" * 100])
def test_bytes_after_the_end_are_refused(small, tail):
    with pytest.raises(CheckError, match="follow"):
        tc.check(small.model, small.claim, small.data + tail)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"format":4', b'"format":3'),
        (b'"format":4', b'"format":4.0'),
        (b'"tables":0', b'"tables":NaN'),
        (b'"tables":0', b'"tables":-1'),
        (b'"writer"', b'"wruter"'),
        (b'"root":"derive"', b'"root":"derive","root":"derive"'),
        (b'["at","f8"', b'["at","f4"'),
        (b'["at","f8",0]', b'["at","f8",1]'),
        (b'"tables":0', b'"tables":true'),
    ],
)
def test_header_is_strict(small, old, new):
    size = int.from_bytes(small.data[8:12], "little")
    header = small.data[12 : 12 + size].replace(old, new)
    assert header != small.data[12 : 12 + size]
    data = small.data[:8] + len(header).to_bytes(4, "little") + header + small.data[12 + size :]
    with pytest.raises(CheckError):
        tc.check(small.model, small.claim, data)


def test_a_decompression_bomb_is_bounded(small):
    import zlib

    size = int.from_bytes(small.data[8:12], "little")
    with pytest.raises(CheckError, match="follow"):
        tc.check(small.model, small.claim, small.data[: 12 + size] + zlib.compress(bytes(1 << 24)))


def test_write_is_whole_or_nothing(small, tmp_path):
    path = tmp_path / "proof.tlcert"
    assert tc.write_certificate(path, small.certificate) == path.read_bytes() == small.data
    broken = replace(small.certificate, trees=(None,))
    with pytest.raises(AttributeError):
        tc.write_certificate(path, broken)
    with pytest.raises(OSError):
        tc.write_certificate(tmp_path / "absent" / "proof.tlcert", small.certificate)
    assert path.read_bytes() == small.data and [p.name for p in tmp_path.iterdir()] == ["proof.tlcert"]


def two_clauses(tools):
    """Y_0 = relu(x), in [0, 1]; a violation has Y_0 >= 2, or Y_0 <= -1: both are impossible."""
    weights = {"w": np.ones((1, 1), np.float32), "v": np.ones((1, 2), np.float32)}
    nodes = [("Gemm", ["x", "w"], "z", {}), ("Relu", ["z"], "a", {}), ("Gemm", ["a", "v"], "y", {})]
    model = tools.model_bytes(nodes, weights, shape=(1, 1))
    return model, tools.property_text(1, 2, ["(assert (or (and (>= Y_0 2.0)) (and (<= Y_0 -1.0))))"])


@pytest.mark.parametrize(
    ("where", "clause", "refused"),
    [("one", 0, False), ("other", 1, False), ("one", 1, True), ("other", 0, True), ("root", 0, True)],
)
def test_a_clause_acts_only_where_it_alone_is_open(tools, where, clause, refused):
    """Used anywhere else it would cut off violations of another clause."""
    model, claim = two_clauses(tools)
    builder = tc.TreeBuilder()
    one, other = builder.split_clause([0], [0])
    place = {"root": 0, "one": int(one[0]), "other": int(other[0])}[where]
    builder.record(place, Record((Derivation(1, (Bound(0, 1, ((0, 100.0),)),), clause),)))
    certificate = tc.Certificate.of(
        model, claim, semantics="float32", trees=(builder.build()[0],), tables=(), writer="test"
    )
    if refused:
        with pytest.raises(CheckError, match="not the only one open"):
            tc.check(model, claim, tc.encode(certificate))
    else:
        assert tc.check(model, claim, tc.encode(certificate)).status == "valid"


def test_a_box_derived_by_a_clause_does_not_hold_for_another(tools):
    """By the clause that can be refuted the box becomes empty; the other clause's subtree must not profit."""
    model, _ = two_clauses(tools)
    claim = tools.property_text(1, 2, ["(assert (or (and (>= Y_0 2.0)) (and (<= Y_0 0.5))))"])  # the second can happen
    builder = tc.TreeBuilder()
    one, _ = builder.split_clause([0], [0])
    builder.record(int(one[0]), Record((Derivation(1, (Bound(0, 1, ((0, 100.0),)),), 0),)))
    for tree in (builder.build()[0], tc.TreeBuilder().build()[0]):
        certificate = tc.Certificate.of(model, claim, semantics="float32", trees=(tree,), tables=(), writer="test")
        assert tc.check(model, claim, tc.encode(certificate)).status == "invalid"
    network, (region,) = tc.load(model, claim)
    kernel = tc.Kernel(network, region)
    alone, rest = kernel.split_clause(kernel.start(), np.array([0]))
    kernel.derive_at(alone, 1, [(0, 1, ((0, 100.0),))], clause=0)
    assert alone.empty[0] and not rest.empty[0] and rest.open.tolist() == [[False, True]]


@pytest.mark.parametrize("weight", [-1.0, 0.0])
def test_a_clause_multiplier_below_zero_counts_as_zero(tools, weight):
    network, (region,) = tc.load(*two_clauses(tools))
    kernel = tc.Kernel(network, region)
    state, _ = kernel.split_clause(kernel.start(), np.array([0]))
    before = state.boxes[1][0].copy(), state.boxes[1][1].copy()
    kernel.derive_at(state, 1, [(0, 1, ((0, weight),)), (0, -1, ((0, weight),))], clause=0)
    assert (state.boxes[1][0] <= before[0] + 1e-6).all() and (state.boxes[1][1] >= before[1] - 1e-6).all()
