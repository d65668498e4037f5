"""Two files to a verdict: right, with evidence that replays and checks, and never a verdict without it."""

from __future__ import annotations

import time

import numpy as np
import pytest

import torchlean_check as tc
from torchlean.errors import FileError, TorchLeanError, UsageError
from torchlean.verify.attack import evolve
from torchlean.verify.clock import Deadline
from torchlean.verify.files import kept, verify_files
from torchlean.verify.outcome import Proof
from torchlean.verify.problem import Files, Problem
from torchlean.verify.verdict import Status
from torchlean_check.records import NONE, rules


def output_range(weights, lo, hi, count=20_000):
    x = np.random.default_rng(0).uniform(lo, hi, (count, weights[0][0].shape[1]))
    for w, b in weights[:-1]:
        x = np.maximum(x @ w.T + b, 0)
    y = x @ weights[-1][0].T + weights[-1][1]
    return y.min(axis=0), y.max(axis=0)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("inputs", [3, 40], ids=["inputs are split", "relus are split"])
def test_unsat_has_a_certificate_that_checks(seed, inputs, mlp, files) -> None:
    weights, model = mlp((inputs, 12, 12, 1), seed)
    low, high = output_range(weights, -0.15, 0.15)
    far = high[0] + (0.25 if inputs == 3 else 3 * (high[0] - low[0]))
    claim = files[1](["-0.15"] * inputs, ["0.15"] * inputs, 1, [f"(assert (>= Y_0 {far:.3f}))"])
    verdict = verify_files(model, claim, timeout=30, strategy="inputs" if inputs == 3 else "neurons")
    assert verdict.status is Status.UNSAT and verdict.semantics == "float32"
    for arithmetic in ("rounded", "exact"):
        checked = tc.check(model, claim, verdict.certificate, arithmetic=arithmetic)
        assert checked.status == "valid" and checked.assumed == 0


def corners(weights):
    """What interval arithmetic says about the output over [-1, 1]^n: low, high."""
    lo, hi = -np.ones(weights[0][0].shape[1]), np.ones(weights[0][0].shape[1])
    for k, (w, b) in enumerate(weights):
        lo, hi = np.minimum(w, 0) @ hi + np.maximum(w, 0) @ lo + b, np.minimum(w, 0) @ lo + np.maximum(w, 0) @ hi + b
        if k + 1 < len(weights):
            lo, hi = np.maximum(lo, 0), np.maximum(hi, 0)
    return lo, hi


@pytest.mark.parametrize("semantics", ["float32", "real"])
@pytest.mark.parametrize(("inputs", "rule"), [(3, "derive"), (40, "interval")])
def test_boxes_at_the_root_that_are_enough_make_the_proof(inputs, rule, semantics, mlp, files) -> None:
    weights, model = mlp((inputs, 8, 8, 2), 1)
    low, high = corners(weights)
    far = f"(assert (or (and (>= Y_0 {high[0] + 1:.3f})) (and (<= Y_1 {low[1] - 1:.3f}))))"
    claim = files[1](["-1.0"] * inputs, ["1.0"] * inputs, 2, [far])
    verdict = verify_files(model, claim, timeout=30, semantics=semantics)
    assert (verdict.status, verdict.semantics, verdict.leaves) == (Status.UNSAT, semantics, 1)
    assert verdict.strategy.startswith("root: ") and tc.decode(verdict.certificate).root == rule
    for arithmetic in ("rounded", "exact"):
        assert tc.check(model, claim, verdict.certificate, arithmetic=arithmetic).status == "valid"
    forced = verify_files(model, claim, timeout=30, semantics=semantics, strategy="inputs")
    assert forced.status is Status.UNSAT and forced.strategy == "inputs: asked for"
    assert tc.decode(forced.certificate).root == "derive"


@pytest.mark.parametrize(("inputs", "said"), [(3, "inputs: "), (40, "neurons: ")])
def test_one_region_that_the_root_leaves_open_is_enough_for_a_search(inputs, said, mlp, files) -> None:
    weights, model = mlp((inputs, 12, 12, 1), 1)
    far = 2 * corners(weights)[1][0]
    low, high = output_range(weights, -0.3, 0.3)
    near = high[0] + (0.02 if inputs == 3 else 1.0) * (high[0] - low[0])
    names = [*(f"(declare-const X_{i} Real)" for i in range(inputs)), "(declare-const Y_0 Real)"]
    parts = [
        f"(and {' '.join(f'(>= X_{i} {a}) (<= X_{i} 0.3)' for i in range(inputs))} (>= Y_0 {bound:.3f}))"
        for a, bound in (("-0.2", far), ("-0.3", near))
    ]
    claim = "\n".join([*names, f"(assert (or {' '.join(parts)}))"]).encode()
    verdict = verify_files(model, claim, timeout=30)
    assert verdict.status is Status.UNSAT and verdict.strategy.startswith(said)
    assert tc.decode(verdict.certificate).root == "derive"
    assert tc.check(model, claim, verdict.certificate).status == "valid"


def test_a_network_without_finite_boxes_at_the_root_is_left_to_the_search(mlp, files, monkeypatch) -> None:
    weights, model = mlp((40, 4, 1), 0)
    far = 2 * corners(weights)[1][0] + 1
    claim = files[1](["-1.0"] * 40, ["1.0"] * 40, 1, [f"(assert (>= Y_0 {far:.3f}))"])
    kernel = tc.Kernel

    def refuses(*arguments, root="derive", **options):
        if root == "interval":
            raise tc.CheckError("a value is not shown to be finite", where="", expected="", got="", fix="")
        return kernel(*arguments, root=root, **options)

    monkeypatch.setattr(tc, "Kernel", refuses, raising=False)
    assert verify_files(model, claim, timeout=30).strategy.startswith("neurons: ")


def test_a_narrow_claim_takes_many_leaves_and_still_checks(mlp, files) -> None:
    weights, model = mlp((2, 16, 16, 1), 5)
    low, high = output_range(weights, -1, 1)
    margin = 0.02 * (high[0] - low[0])
    claim = files[1](
        ["-1.0"] * 2,
        ["1.0"] * 2,
        1,
        [f"(assert (or (and (<= Y_0 {low[0] - margin:.4f})) (and (>= Y_0 {high[0] + margin:.4f}))))"],
    )
    verdict = verify_files(model, claim, timeout=30)
    assert verdict.status is Status.UNSAT and verdict.leaves > 4
    assert tc.check(model, claim, verdict.certificate).status == "valid"
    assert tc.check(model, claim, verdict.certificate).leaves <= verdict.leaves


@pytest.mark.parametrize("inputs", [3, 40])
def test_sat_has_a_witness_that_was_replayed(inputs, mlp, files) -> None:
    weights, model = mlp((inputs, 12, 12, 1), 2)
    low, high = output_range(weights, -0.5, 0.5)
    claim = files[1](["-0.5"] * inputs, ["0.5"] * inputs, 1, [f"(assert (>= Y_0 {0.5 * (low + high)[0]:.3f}))"])
    verdict = verify_files(model, claim, timeout=30)
    assert verdict.status is Status.SAT and verdict.certificate is None
    witness = verdict.witness
    assert witness.membership == "exact" and witness.reference and witness.real and witness.onnxruntime in (True, None)
    assert witness.x.dtype == np.float32 and (np.abs(witness.x) <= 0.5).all()
    assert float(witness.y[0]) >= round(0.5 * float((low + high)[0]), 3)


def test_an_input_pinned_to_a_decimal_gives_a_rounded_witness(files) -> None:
    network, write = files
    model = network([(np.eye(1, dtype=np.float32), np.zeros(1, np.float32))] * 2)
    verdict = verify_files(model, write(["0.1"], ["0.1"], 1, ["(assert (>= Y_0 0.0))"]), timeout=10)
    assert verdict.status is Status.SAT and verdict.witness.membership == "rounded" and not verdict.witness.real


def test_where_rounding_alone_stands_against_float32_the_verdict_says_real(files) -> None:
    """y = relu(3e7 x0 - 3e7 x1 + 0.1 x2) at (1, 1, 1): 0.1 over the reals, up to a few units in float32."""
    network, write = files
    w = np.array([[3.0e7, -3.0e7, 0.1]], np.float32)
    model = network([(w, np.zeros(1, np.float32)), (np.ones((1, 1), np.float32), np.zeros(1, np.float32))])
    claim = write(["1.0", "1.0", "1.0"], ["1.0", "1.0", "1.0"], 1, ["(assert (>= Y_0 0.5))"])
    for semantics in ("real", "float32"):
        verdict = verify_files(model, claim, timeout=20, semantics=semantics)
        assert verdict.status is Status.UNSAT and verdict.semantics == "real"
        checked = tc.check(model, claim, verdict.certificate)
        assert checked.status == "valid" and checked.semantics == "real"


def test_a_bound_that_is_touched_is_unknown_and_not_unsat(files) -> None:
    """y = relu(x) reaches exactly 1: the violation y >= 1 is met there; y > 1 is refuted only for the reals."""
    network, write = files
    model = network([(np.eye(1, dtype=np.float32), np.zeros(1, np.float32))] * 2)
    assert verify_files(model, write(["0.0"], ["1.0"], 1, ["(assert (>= Y_0 1.0))"]), timeout=10).status is Status.SAT
    touched = verify_files(model, write(["0.0"], ["1.0"], 1, ["(assert (> Y_0 1.0))"]), timeout=3)
    assert touched.status is not Status.SAT and not (touched.status is Status.UNSAT and touched.semantics == "float32")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # an alarm inside a destructor
def test_the_wall_clock_is_kept(mlp, files) -> None:
    weights, model = mlp((8, 64, 64, 64, 1), 3)
    _, high = output_range(weights, -1, 1)
    claim = files[1](["-1.0"] * 8, ["1.0"] * 8, 1, [f"(assert (>= Y_0 {high[0] * 1.6 + 0.5:.3f}))"])
    start = time.monotonic()
    verdict = verify_files(model, claim, timeout=0.7)
    assert verdict.status in (Status.TIMEOUT, Status.UNSAT, Status.SAT)
    assert time.monotonic() - start < 5  # loose: other work may share the machine


def test_two_regions_give_two_trees(mlp, files) -> None:
    weights, model = mlp((2, 8, 1), 4)
    _, high = output_range(weights, -1, 1)
    parts = " ".join(
        f"(and (>= X_0 {a}) (<= X_0 {b}) (>= X_1 -1.0) (<= X_1 1.0) (>= Y_0 {high[0] + 0.5:.3f}))"
        for a, b in (("-1.0", "0.0"), ("0.25", "1.0"))
    )
    claim = "\n".join(
        [*(f"(declare-const X_{i} Real)" for i in range(2)), "(declare-const Y_0 Real)", f"(assert (or {parts}))"]
    ).encode()
    verdict = verify_files(model, claim, timeout=20)
    assert verdict.status is Status.UNSAT and tc.check(model, claim, verdict.certificate).status == "valid"


def test_bad_requests_are_refused(mlp, files) -> None:
    _, model = mlp((2, 4, 1), 0)
    claim = files[1](["0.0"] * 2, ["1.0"] * 2, 1, ["(assert (>= Y_0 100.0))"])
    for arguments in ({"timeout": 0}, {"timeout": -1}, {"timeout": float("nan")}, {"semantics": "exact"}):
        with pytest.raises(UsageError):
            verify_files(model, claim, **arguments)
    with pytest.raises(FileError):
        verify_files(b"no model", claim)
    with pytest.raises(TorchLeanError):
        verify_files(model, files[1](["0.0"] * 3, ["1.0"] * 3, 1, ["(assert (>= Y_0 100.0))"]))


def test_an_input_pinned_to_zero_can_be_attacked(mlp, files) -> None:
    _, model = mlp((2, 8, 1), 4)
    claim = files[1](["0.0", "-1.0"], ["0.0", "1.0"], 1, ["(assert (>= Y_0 100.0))"])
    network, (region,) = tc.load(model, claim)
    problem = Problem(Files(model, claim), network, region, "float32", Deadline(10.0), np.random.default_rng(0))
    assert not len(evolve(problem.target, problem.rng, problem.deadline, rounds=2))


def test_the_attack_keeps_to_float32_points_inside_the_exact_region_where_there_are_any(mlp, files) -> None:
    """Ends that are floats stay, other ends move inward; a pinned decimal keeps its hull."""
    _, model = mlp((4, 4, 1), 0)
    claim = files[1](["0.0", "-0.1", "0.1", "0.3"], ["0.5", "0.1", "0.1", "0.30000000000000000001"], 1,
                     ["(assert (>= Y_0 100.0))"])  # fmt: skip
    network, (region,) = tc.load(model, claim)
    target = Problem(Files(model, claim), network, region, "float32", Deadline(10.0), np.random.default_rng(0)).target
    for i in (0, 1):
        assert region.exact_lo[i] <= target.lo[i] and target.hi[i] <= region.exact_hi[i]
    assert (target.lo[0], target.hi[0]) == (0.0, 0.5)
    below = np.nextafter(np.float32(region.hi[1]), np.float32(-np.inf))
    assert target.hi[1] == below and target.lo[1] == -below
    assert (target.lo[2:] == region.lo[2:]).all() and (target.hi[2:] == region.hi[2:]).all()


def test_a_proof_that_the_checker_would_not_read_is_no_verdict(mlp, files, monkeypatch) -> None:
    model = mlp((3, 6, 2), 0)[1]
    claim = files[1](["-0.5"] * 3, ["0.5"] * 3, 2, ["(assert (>= Y_0 50.0))"])
    assert verify_files(model, claim, 20.0).status.value == "unsat"
    monkeypatch.setattr("torchlean_check.format.MAX_BODY", 0)
    verdict = verify_files(model, claim, 20.0)
    assert verdict.status.value == "unknown" and "too large" in verdict.reason and verdict.certificate is None


def test_planes_are_kept_with_what_has_shares_of_them(mlp, files) -> None:
    """Tables that no proof reads lose their numbers, but for the planes of those that one reads."""
    claim = files[1](["-0.5"] * 3, ["0.5"] * 3, 2, ["(assert (>= Y_0 50.0))"])
    network, _ = tc.load(mlp((3, 4, 2), 0)[1], claim)
    count = len(network.nodes)
    one, two, unread = (tc.SlopeTable({3 * count + 2: np.arange(3)}, np.ones(3, np.int16)) for _ in range(3))
    shares = tc.SlopeTable({5 * count + 2: np.zeros(1, np.int64)}, np.ones(1, np.int16))
    builder = tc.TreeBuilder()
    builder.record(0, tc.Record(refutations=(tc.Refutation(0, table=3), tc.Refutation(0, table=-1))))
    proof = Proof(builder.build()[0], 1, 1)
    found = kept(network, [one, two, unread, shares], [proof])
    assert found == [NONE, two, NONE, shares] and rules(network, found) == ("affine", "relu", "planes")
    assert kept(network, [shares], [Proof.of_one_leaf()]) == [NONE] and rules(network, [NONE]) == ("affine", "relu")
