"""Planted counterexamples: one known input violates, in a set too small to be found by chance.

Source   SoundnessBench (arXiv:2412.03154): a verifier that says `unsat` here is wrong, whatever else it can do.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import torchlean_check as tc
from torchlean.verify.files import verify_files
from torchlean.verify.verdict import Status
from torchlean.verify.witness import Replay


def planted(rng: np.random.Generator, hidden: np.ndarray, width: float):
    """A random network of one output, to which a spike is added: 1 at `hidden`, 0 where |x - hidden|_1 >= width.

    |x - h|_1 is a sum of pairs of relus; all weights are powers of two, so the spike at `hidden` is exact in float32.
    """
    n = len(hidden)
    proper = rng.normal(size=(8, n)) / (8 * np.sqrt(n)), rng.normal(size=8) / 8
    eye = np.eye(n)
    first = np.vstack([eye, -eye, proper[0]]), np.concatenate([-hidden, hidden, proper[1]])
    second = np.zeros((9, 2 * n + 8))
    second[0, : 2 * n] = -1 / width
    second[1:, 2 * n :] = np.eye(8)
    last = np.concatenate([[1.0], rng.uniform(-0.05, 0.05, 8)])[None], np.zeros(1)
    bias = np.concatenate([[1.0], np.zeros(8)])
    return [(np.asarray(w, np.float32), np.asarray(b, np.float32)) for w, b in (first, (second, bias), last)]


def outputs(net, x: np.ndarray) -> np.ndarray:
    for w, b in net[:-1]:
        x = np.maximum(x @ w.T.astype(np.float64) + b, 0)
    return np.asarray(x @ net[-1][0].T.astype(np.float64) + net[-1][1])


@pytest.mark.parametrize("width", [2.0**-6, 2.0**-16])
@pytest.mark.parametrize("inputs", [1, 2, 5, 30])
def test_a_planted_counterexample_is_never_proved_away(lab, inputs, width) -> None:
    rng = np.random.default_rng(inputs)
    hidden = rng.uniform(-1, 1, inputs).astype(np.float32)
    net = planted(rng, hidden, width)
    for how in ("left to right", "pairwise", "fused"):
        assert lab.run(net, hidden, lab.environments[how])[0] >= 0.75
    lo, hi = [-1.0] * inputs, [1.0] * inputs
    files = lab.network(net), lab.claim(lo, hi, 1, "(>= Y_0 0.75)")
    witness = Replay(*files).check(hidden)
    assert witness is not None and witness.membership == "exact" and witness.reference and witness.real
    others = rng.uniform(-1, 1, (2000, inputs))
    far = np.abs(others - hidden).sum(axis=1) >= width
    assert (outputs(net, others[far]) < 0.75).all() and far.mean() > 0.9  # nothing else violates: it is hidden
    for semantics in ("float32", "real"):
        verdict = verify_files(*files, timeout=1.0, semantics=semantics, workers=1)
        assert verdict.status is not Status.UNSAT
        if verdict.status is Status.SAT:
            assert np.abs(verdict.witness.x - hidden).sum() < width
    one = verify_files(files[0], lab.claim(hidden, hidden, 1, "(>= Y_0 0.75)"), timeout=5)
    assert one.status is Status.SAT and one.witness.x.tolist() == hidden.tolist()


@pytest.mark.parametrize("inputs", [1, 2])
def test_the_same_network_without_its_spike_is_proved(lab, inputs) -> None:
    rng = np.random.default_rng(inputs)
    hidden = rng.uniform(-1, 1, inputs).astype(np.float32)
    net = planted(rng, hidden, 2.0**-6)
    net[1][1][0] = 0.0
    files = lab.network(net), lab.claim([-1.0] * inputs, [1.0] * inputs, 1, "(>= Y_0 0.75)")
    verdict = verify_files(*files, timeout=10)
    assert verdict.status is Status.UNSAT and verdict.semantics == "float32"
    assert tc.check(*files, verdict.certificate).status == "valid"


def test_the_proof_of_the_network_without_its_spike_is_no_proof_of_the_one_with_it(lab) -> None:
    """Also where the hashes are those of the network with the spike."""
    rng = np.random.default_rng(2)
    hidden = rng.uniform(-1, 1, 2).astype(np.float32)
    net = planted(rng, hidden, 2.0**-6)
    spiked, text = lab.network(net), lab.claim([-1.0] * 2, [1.0] * 2, 1, "(>= Y_0 0.75)")
    net[1][1][0] = 0.0
    proof = tc.decode(verify_files(lab.network(net), text, timeout=10).certificate)
    forged = tc.Certificate.of(
        spiked, text, semantics="real", trees=proof.trees, tables=proof.tables, root=proof.root, writer="test"
    )
    assert tc.check(spiked, text, tc.encode(forged)).status == "invalid"


def test_a_counterexample_at_the_float32_number_beside_a_pinned_decimal(lab) -> None:
    """0.1 is no float32 number: the spike sits at the one that stands for it, and is 0 at the decimal itself."""
    near = np.float32(0.1)
    net = [
        lab.layer([[1.0], [-1.0]], [-float(near), float(near)]),
        lab.layer([[-(2.0**30), -(2.0**30)]], [1.0]),
        lab.layer([[1.0]]),
    ]
    assert lab.run(net, np.array([near]), lab.environments["left to right"])[0] == 1.0
    assert abs(Fraction(1, 10) - Fraction(float(near))) * 2**30 > 1  # so the spike misses the decimal
    box = b"(assert (>= X_0 0.1))(assert (<= X_0 0.1))"
    files = lab.network(net), b"(declare-const X_0 Real)(declare-const Y_0 Real)" + box + b"(assert (>= Y_0 0.5))"
    verdict = lab.not_claimed(files)
    assert verdict.status is Status.SAT and verdict.witness.membership == "rounded" and not verdict.witness.real
    assert verdict.witness.x.tolist() == [float(near)]
