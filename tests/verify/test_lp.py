"""Linear programs: their duals are the checker's numbers, and nothing of them counts but what the kernel accepts."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import torchlean_check as tc
from torchlean.errors import Unsupported, UsageError
from torchlean.files import read_bytes
from torchlean.verify.attack import descend
from torchlean.verify.clock import Deadline
from torchlean.verify.dual import Dual
from torchlean.verify.files import verify_files
from torchlean.verify.forms import Forms
from torchlean.verify.maps import NumpyMaps
from torchlean.verify.outcome import Found
from torchlean.verify.problem import Files, Problem
from torchlean.verify.verdict import Status
from torchlean_check.records import slope_rows

SHARED = Path(__file__).resolve().parents[3] / "shared" / "vnncomp"
CLAUSES = ["(assert (or (and (<= Y_0 Y_1) (<= Y_0 Y_2)) (and (>= Y_1 0.7))))"]


def test_without_highs_the_strategy_says_what_to_install(monkeypatch, mlp, files) -> None:
    monkeypatch.setitem(sys.modules, "highspy", None)
    _, model = mlp((2, 3, 1), 0)
    claim = files[1](["-1.0"] * 2, ["1.0"] * 2, 1, ["(assert (>= Y_0 100.0))"])
    with pytest.raises(Unsupported) as error:
        verify_files(model, claim, strategy="lp")
    assert error.value.fix == "pip install torchlean[lp]" and error.value.exit_code == 3


def test_an_unknown_strategy_is_refused(mlp, files) -> None:
    _, model = mlp((2, 3, 1), 0)
    claim = files[1](["-1.0"] * 2, ["1.0"] * 2, 1, ["(assert (>= Y_0 100.0))"])
    with pytest.raises(UsageError, match="no such strategy"):
        verify_files(model, claim, strategy="simplex")


highspy = pytest.importorskip("highspy", reason="the extra lp is not installed")

from torchlean.verify.lp import highs, integer, regions, search, triangle  # noqa: E402
from torchlean.verify.lp.integer import neurons_to_split  # noqa: E402
from torchlean.verify.lp.multipliers import multipliers, refuted  # noqa: E402
from torchlean.verify.lp.tighten import tighten  # noqa: E402
from torchlean.verify.lp.triangle import Triangle  # noqa: E402


@pytest.fixture
def problem_of(mlp, files):
    def make(seed, sizes=(4, 12, 12, 3), asserts=CLAUSES, width=0.5, semantics="float32"):
        _, model = mlp(sizes, seed)
        claim = files[1]([f"-{width}"] * sizes[0], [str(width)] * sizes[0], sizes[-1], asserts)
        network, (region,) = tc.load(model, claim)
        return Problem(Files(model, claim), network, region, semantics, Deadline(60), np.random.default_rng(0))

    return make


def triangle_of(problem, state=None):
    state = problem.kernel.start() if state is None else state
    boxes = {k: (lo[0], hi[0]) for k, (lo, hi) in state.boxes.items()}
    return Triangle(problem.kernel, boxes, state.lo[0], state.hi[0])


def least(problem) -> float:
    """The least Y_0 that descents from many points find."""
    x = np.random.default_rng(1).uniform(problem.region.lo, problem.region.hi, (3000, problem.network.inputs))
    x = x[np.argsort(problem.target.rows(x)[:, 0])[:60]]
    _, g = descend(problem.target, x, np.zeros(60, np.int64), 80, Deadline(30), until=-np.inf)
    return float(g.min() - problem.region.rows_c[0])


def unused_tables(data) -> set[int]:
    """Slope tables of a certificate that no record names: tried in vain, and written all the same."""
    certificate = tc.decode(data)
    records = [record for tree in certificate.trees for record in tree.records]
    steps = [b for record in records for d in record.derivations for b in d.bounds or ()]
    used = {step.table for step in [*steps, *(step for record in records for step in record.refutations)]}
    return set(range(len(certificate.tables))) - used


def walked(problem, relaxation, m, clause, side):
    """The bound of the backward walk with the dual's numbers."""
    dual = Dual(problem.kernel, relaxation.boxes, relaxation.neurons, NumpyMaps(problem.network))
    region, w = problem.region, np.array(m.weights)
    rows = np.flatnonzero(region.row_clause == clause)
    forms = Forms(problem.network.output, (w @ region.rows_y[rows])[None], (w @ region.rows_x[rows])[None],
                  np.array([w @ region.rows_c[rows]]))  # fmt: skip
    return dual.maximise(forms, side[None], m.alpha[None], m.beta[None], 0).value[0]


@pytest.mark.parametrize("seed", range(6))
def test_the_walk_with_the_duals_numbers_reaches_the_programs_value(seed, problem_of) -> None:
    """Strong duality, at the root and under splits; 1e-9 is the solver's, and no soundness rests on it."""
    problem = problem_of(seed)
    relaxation = triangle_of(problem)
    rng, count = np.random.default_rng(seed), len(relaxation.neurons)
    assert count > 15
    for splits in (0, 2, 5):
        side = np.zeros(count)
        side[rng.choice(count, splits, replace=False)] = rng.choice([-1.0, 1.0], splits)
        for clause in (0, 1):
            solved = relaxation.clause(clause, side, 10)
            m = multipliers(relaxation, solved, clause)
            value = walked(problem, relaxation, m, clause, side)
            if solved.value == highs.INF:  # no point meets the splits: the multipliers alone say so
                assert not any(m.weights) and value > 1e-6
            else:
                assert value == pytest.approx(solved.value, abs=1e-9) and sum(m.weights) == pytest.approx(1)


def test_a_conjunction_is_refuted_by_weights_that_no_single_inequality_has(files) -> None:
    """y_0 = x_0, y_1 = -x_0 + 0.5: never both at most 0, and each is somewhere."""
    model = files[0]([(np.array([[1.0], [-1.0]]), np.array([0.0, 0.5]))])
    claim = files[1](["-1.0"], ["1.0"], 2, ["(assert (<= Y_0 0.0))", "(assert (<= Y_1 0.0))"])
    network, (region,) = tc.load(model, claim)
    problem = Problem(Files(model, claim), network, region, "float32", Deadline(60), np.random.default_rng(0))
    relaxation, state = triangle_of(problem), problem.kernel.start()
    solved = relaxation.clause(0, np.zeros(0), 10)
    assert solved.value == pytest.approx(0.25, abs=1e-5)
    refutation = refuted(problem, relaxation, 0, solved, state)
    assert refutation is not None and all(w > 0.1 for _, w in refutation.weights)


@pytest.mark.parametrize("seed", range(4))
def test_no_duals_refute_what_happens(seed, problem_of) -> None:
    """Whatever numbers the solver returned: a clause that the middle of the box meets stays open."""
    problem = problem_of(seed, (4, 12, 12, 1), ["(assert (>= Y_0 -100.0))"])
    relaxation, rng = triangle_of(problem), np.random.default_rng(seed)
    solved = relaxation.clause(0, np.zeros(len(relaxation.neurons)), 10)
    for scale in (0.0, 1.0, 1e6, np.nan, np.inf):
        with np.errstate(all="ignore"):
            duals = (d + scale * rng.standard_normal(len(d)) for d in (solved.column_dual, solved.row_dual))
            wrong = highs.Solution(1.0, solved.columns, *duals)
            assert refuted(problem, relaxation, 0, wrong, problem.kernel.start()) is None
    assert not problem.files.tables


@pytest.mark.parametrize("seed", range(3))
def test_tightened_boxes_hold_every_execution(seed, problem_of) -> None:
    problem = problem_of(seed, (4, 10, 10, 10, 3))
    state = problem.kernel.start()
    before = {k: (hi - lo).sum() for k, (lo, hi) in state.boxes.items()}
    derivations = tighten(problem, state, Deadline(30))
    assert any(d.bounds for d in derivations)
    last = max(state.boxes)
    lo, hi = state.boxes[last]
    assert (hi - lo).sum() < 0.97 * before[last]
    x = np.random.default_rng(seed).uniform(problem.region.lo, problem.region.hi, (2000, 4))
    for k, node in enumerate(problem.network.nodes[: last + 1]):
        if k in state.boxes:
            values = {0: x}
            for j, n in enumerate(problem.network.nodes[: k + 1]):
                if j and hasattr(n, "terms"):
                    values[j] = n.bias + sum(m.apply(values[s], np.matmul) for m, s in n.terms)
                elif j:
                    values[j] = np.maximum(values[n.source], 0)
            low, high = state.boxes[k]
            assert (values[k] >= low[0]).all() and (values[k] <= high[0]).all()
        assert node is problem.network.nodes[k]
    again = problem.kernel.start()  # as the checker will
    for d in derivations:
        for bound in d.bounds or (None,):
            asked = None if bound is None else [(bound.index, bound.side, bound.weights)]
            table = None if bound is None else slope_rows([problem.files.tables[bound.table]], problem.network.places)
            problem.kernel.derive_at(again, d.value, asked, table)
    assert all((again.boxes[k][0] == state.boxes[k][0]).all() for k in again.boxes)


@pytest.mark.parametrize("seed", range(3))
def test_the_exact_relus_that_were_learned_are_enough(seed, problem_of, monkeypatch) -> None:
    """Every case of them is infeasible for the linear program, as it was for the integer one."""
    monkeypatch.setattr(integer, "EACH", 1)
    sizes = (3, 6, 6, 1)
    limit = least(problem_of(seed, sizes, ["(assert (<= Y_0 0.0))"])) - 0.01
    problem = problem_of(seed, sizes, [f"(assert (<= Y_0 {limit:.6f}))"])
    relaxation = triangle_of(problem)
    nothing = np.zeros(len(relaxation.neurons))
    root = relaxation.clause(0, nothing, 10)
    assert root.value < 0  # the triangle alone does not say so
    learned = neurons_to_split(problem, relaxation, 0, root, Deadline(30))
    assert 0 < len(learned) < len(relaxation.neurons)
    for case in np.ndindex(*(2,) * len(learned)):
        side = nothing.copy()
        side[learned] = 2.0 * np.array(case) - 1.0
        assert relaxation.clause(0, side, 10).value > -1e-6  # the solver's tolerance


def test_a_point_of_the_integer_program_is_replayed(problem_of) -> None:
    problem = problem_of(0, (4, 10, 10, 1), ["(assert (<= Y_0 100.0))"])
    relaxation = triangle_of(problem)
    root = relaxation.clause(0, np.zeros(len(relaxation.neurons)), 10)
    with pytest.raises(Found) as found:
        neurons_to_split(problem, relaxation, 0, root, Deadline(30))
    assert found.value.witness.reference


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("prove", [search.prove_by_neurons, regions.prove_by_inputs], ids=["relus", "inputs"])
def test_close_thresholds_are_proved_with_valid_certificates(seed, prove, problem_of, mlp, files, monkeypatch) -> None:
    monkeypatch.setattr("torchlean.verify.lp.prove_by_linear_programs", prove)
    monkeypatch.setattr("torchlean.verify.files.first_attacks", lambda problems: None)
    monkeypatch.setattr(search, "PLAIN", 0 if seed % 2 else 60)  # with and without the integer program
    sizes = (3, 10, 10, 1)
    lowest = least(problem_of(seed, sizes, ["(assert (<= Y_0 0.0))"]))
    _, model = mlp(sizes, seed)
    claim = files[1](["-0.5"] * 3, ["0.5"] * 3, 1, [f"(assert (<= Y_0 {lowest - 0.01:.6f}))"])
    verdict = verify_files(model, claim, strategy="lp")
    assert verdict.status is Status.UNSAT and verdict.semantics == "float32", verdict
    for arithmetic in ("rounded", "exact"):
        assert tc.check(model, claim, verdict.certificate, arithmetic=arithmetic).status == "valid"
    assert unused_tables(verdict.certificate) == set()
    claim = files[1](["-0.5"] * 3, ["0.5"] * 3, 1, [f"(assert (<= Y_0 {lowest + 0.001:.6f}))"])
    found = verify_files(model, claim, strategy="lp")
    assert found.status is Status.SAT and found.witness.reference


def convolution_bytes(rng) -> bytes:
    """conv -> relu -> conv -> + skip -> relu -> flatten -> gemm."""
    shapes = {"w1": (4, 1, 3, 3), "b1": (4,), "w2": (4, 4, 3, 3), "b2": (4,), "w3": (2, 64), "b3": (2,)}
    tensors = [numpy_helper.from_array((rng.standard_normal(s) / np.sqrt(np.prod(s[1:]))).astype(np.float32), name)
               for name, s in shapes.items()]  # fmt: skip
    conv = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], **conv),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], **conv),
        helper.make_node("Add", ["c2", "r1"], ["s"]),
        helper.make_node("Relu", ["s"], ["r2"]),
        helper.make_node("Flatten", ["r2"], ["f"]),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["y"], transB=1),
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [1, 1, 4, 4]), ("y", [1, 2])))
    graph = helper.make_graph(nodes, "g", [x], [y], initializer=tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()


def test_skips_and_convolutions_become_rows(files) -> None:
    model = convolution_bytes(np.random.default_rng(3))
    claim = files[1](["-1.0"] * 16, ["1.0"] * 16, 2, ["(assert (>= Y_0 Y_1))"])
    network, (region,) = tc.load(model, claim)
    problem = Problem(Files(model, claim), network, region, "float32", Deadline(60), np.random.default_rng(0))
    relaxation = triangle_of(problem)
    side = np.zeros(len(relaxation.neurons))
    side[[3, -1]] = 1.0, -1.0
    solved = relaxation.clause(0, side, 10)
    m = multipliers(relaxation, solved, 0)
    assert len(side) > 40 and m.beta.any()
    assert walked(problem, relaxation, m, 0, side) == pytest.approx(solved.value, abs=1e-9)


def test_two_terms_that_read_one_value_are_added(files) -> None:
    """y = a + a with a = relu(x): one column, coefficient 2."""
    nodes = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Add", ["a", "a"], ["y"])]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 2]) for n in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
    claim = files[1](["-1.0"] * 2, ["1.0"] * 2, 2, ["(assert (>= Y_0 2.5))"])
    network, (region,) = tc.load(model, claim)
    problem = Problem(Files(model, claim), network, region, "float32", Deadline(60), np.random.default_rng(0))
    solved = triangle_of(problem).clause(0, np.zeros(2), 10)
    assert solved.value == pytest.approx(0.5, abs=1e-5)


def test_a_solver_that_got_lost_starts_afresh(problem_of, monkeypatch) -> None:
    relaxation = triangle_of(problem_of(0))
    side = np.zeros(len(relaxation.neurons))
    value = relaxation.clause(0, side, 10).value
    run, lost = highs.LinearProgram._run, [True]
    monkeypatch.setattr(highs.LinearProgram, "_run", lambda self: None if lost and lost.pop() else run(self))
    assert relaxation.clause(0, side, 10).value == pytest.approx(value) and not lost


@pytest.mark.parametrize("prove", [search.prove_by_neurons, regions.prove_by_inputs], ids=["relus", "inputs"])
def test_clauses_are_closed_one_by_one(prove, problem_of, mlp, files, monkeypatch) -> None:
    """One clause closes at the root, one by splits: what was found before stays in the certificate."""
    monkeypatch.setattr("torchlean.verify.lp.prove_by_linear_programs", prove)
    monkeypatch.setattr("torchlean.verify.files.first_attacks", lambda problems: None)
    sizes, ends = (3, 10, 10, 1), (["-0.5"] * 3, ["0.5"] * 3)
    problem = problem_of(0, sizes, ["(assert (<= Y_0 0.0))"])
    lowest, relaxation = least(problem), triangle_of(problem)
    root = relaxation.clause(0, np.zeros(len(relaxation.neurons)), 10).value
    bound = float(problem.kernel.bound(problem.kernel.start(), derive=True).margin[0, 0])
    assert bound < root - 0.02 and root < lowest - 0.1
    between = 0.5 * bound + 0.5 * root  # the linear program closes it, the default bound does not
    text = f"(assert (or (and (<= Y_0 {between:.6f})) (and (<= Y_0 {lowest - 0.02:.6f}))))"
    _, model = mlp(sizes, 0)
    claim = files[1](*ends, 1, [text])
    verdict = verify_files(model, claim, strategy="lp")
    assert verdict.status is Status.UNSAT and verdict.leaves > 1, verdict
    assert tc.check(model, claim, verdict.certificate).status == "valid"
    assert unused_tables(verdict.certificate) == set()


def test_a_network_of_curves_is_refused(files) -> None:
    nodes = [helper.make_node("Tanh", ["x"], ["a"]), helper.make_node("Add", ["a", "x"], ["y"])]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 2]) for n in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
    network, (region,) = tc.load(model, files[1](["-1.0"] * 2, ["1.0"] * 2, 2, ["(assert (>= Y_0 1.0))"]))
    problem = Problem(Files(model, b""), network, region, "float32", Deadline(60), np.random.default_rng(0))
    with pytest.raises(Unsupported, match="affine nodes and relus"):
        triangle_of(problem)


def test_a_network_that_is_too_large_is_refused(problem_of, monkeypatch) -> None:
    monkeypatch.setattr(triangle, "LARGEST", 20)
    with pytest.raises(Unsupported, match="too large"):
        triangle_of(problem_of(0))


@pytest.mark.skipif(not SHARED.exists(), reason="the benchmark sets are not beside the repository")
@pytest.mark.parametrize("name, number", [("acasxu", 122), ("mnist_fc", 24)])
def test_real_instances(name, number) -> None:
    with (SHARED / name / "instances.csv").open() as rows:
        row = list(csv.DictReader(rows))[number]
    model, claim = (read_bytes(SHARED / name / row[key]) for key in ("onnx", "vnnlib"))
    verdict = verify_files(model, claim, 60.0, strategy="lp")
    assert verdict.status.value == row["expected"] == "unsat"
    assert tc.check(verdict.model, verdict.claim, verdict.certificate).status == "valid"
