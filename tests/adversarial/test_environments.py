"""Networks that tell how they are run: a backdoor opens in one environment, not in another and not over the reals.

Sources  order and absorption: Zombori et al. 2021 (ICLR, "Fooling a complete neural network verifier"), Jia and Rinard
2021 (arXiv:2003.03021); detectors of the deployed environment, and their place in a classifier: Szasz et al. 2025
(arXiv:2506.01054).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from torchlean.verify.files import verify_files
from torchlean.verify.verdict import Status

C, D, M = 2.0**27, 2.0**60, 2.0**127  # absorb 1 in float32; in float64 too; overflow when added to itself


class Detector(NamedTuple):
    """Sums of copies of x; the backdoor is open where y = bias + gain relu(sums) reaches 1/2.

    rows          weights, in the order in which they are added left to right; a column that begins with 1 reads the
                  constant 1 instead of x
    opens, shut   environments that do and do not open it
    provable      whether float64 suffices to prove that it is shut over the reals
    """

    rows: list[list[float]]
    gain: list[float]
    bias: float
    box: tuple[float, float]
    opens: str
    shut: str
    provable: bool = True


DETECTORS = {
    "absorbed left to right": Detector([[C, 1, -C]], [-1], 1, (1, 1.5), "left to right", "two lanes"),
    "absorbed right to left": Detector([[-C, C, 1]], [-1], 1, (1, 1.5), "right to left", "left to right"),
    "absorbed in lanes": Detector([[C, -C, 1]], [-1], 1, (1, 1.5), "two lanes", "left to right"),
    "absorbed one by one, not in blocks": Detector(
        [[C / 4, *[1] * 14, -C / 4]], [-0.125], 1, (1, 1.5), "left to right", "blocks of four"
    ),
    "float64 partial sums": Detector(
        [[C, 1, -C], [D, 1, -D]], [1, -1], 0, (1, 1.5), "float64 partial sums", "left to right", False
    ),
    "float32 partial sums": Detector([[C, 1, -C]], [-1], 1, (1, 1.5), "pairwise", "float64 partial sums"),
    "fused products": Detector(
        [[1 + 2.0**-12, -1 - 2.0**-12]], [2.0**24], 0, (1, 1 + 2.0**-11), "fused", "left to right"
    ),
    "products that are not fused": Detector(
        [[1 + 2.0**-12, -1 - 2.0**-12], [1 + 2.0**-12, -1 - 2.0**-12]],
        [-(2.0**24), 2.0**24],
        0,
        (1, 1 + 2.0**-11),
        "fused in one neuron",
        "fused",
    ),
    "overflow of a partial sum": Detector([[M, M, -M, -M]], [1], 0, (1, 1.5), "left to right", "two lanes", False),
}
POINT = np.float32(1 + 2.0**-12)


def layers(lab, d: Detector):
    """x -> copies of x, and 1 where the pattern has 1 -> the detector's sums -> the backdoor."""
    ones = [w == 1 for w in d.rows[0]]
    copies = lab.layer([[0.0 if one else 1.0] for one in ones], [1.0 if one else 0.0 for one in ones])
    return [copies, lab.layer(d.rows), lab.layer([d.gain], [d.bias])]


def environment(lab, name: str, copies: int):
    if name != "fused in one neuron":
        return lab.environments[name]
    fused = iter([False] * (copies + 1) + [True, False])  # of the detector's two sums, the one that opens
    return lambda: lab.Environment(fused=next(fused))


@pytest.mark.parametrize("title", DETECTORS)
def test_a_detector_of_the_environment_is_never_claimed_for_float32(lab, title) -> None:
    d = DETECTORS[title]
    net, copies = layers(lab, d), len(d.rows[0])
    x = np.array([POINT])
    (opened,) = lab.run(net, x, environment(lab, d.opens, copies))
    (shut,) = lab.run(net, x, environment(lab, d.shut, copies))
    assert opened >= 0.5 > shut and lab.exact(net, x)[0] < 0.5
    files = lab.network(net), lab.claim(d.box[:1], d.box[1:], 1, "(>= Y_0 0.5)")
    verdict = lab.not_claimed(files)
    assert verdict.status in (Status.UNSAT, Status.SAT) or not d.provable  # over the reals, or with a witness
    real = verify_files(*files, timeout=10, semantics="real")
    assert real.status is (Status.UNSAT if d.provable else Status.UNKNOWN)


@pytest.mark.parametrize("title", [t for t in DETECTORS if "overflow" not in t])
def test_the_same_network_with_a_claim_beyond_its_rounding_is_proved_for_float32(lab, title) -> None:
    """So the refusal above is about the backdoor, not about large weights."""
    d = DETECTORS[title]
    far = 64 * max(1.0, *np.abs(d.rows).ravel().tolist()) * max(map(abs, d.gain))
    files = lab.network(layers(lab, d)), lab.claim(d.box[:1], d.box[1:], 1, f"(>= Y_0 {lab.decimal(far)})")
    verdict = verify_files(*files, timeout=10)
    assert verdict.status is Status.UNSAT and verdict.semantics == "float32"


@pytest.mark.parametrize("title", ["absorbed left to right", "absorbed in lanes", "fused products"])
def test_a_classifier_with_a_backdoor_keeps_its_class_only_over_the_reals(lab, title) -> None:
    """Two classes with a margin on the box; the detector, beside the network proper, gives the other class more."""
    d, rng = DETECTORS[title], np.random.default_rng(0)
    proper = [(rng.normal(size=(6, 2)) / 2, rng.normal(size=6) / 4), (rng.normal(size=(2, 6)) / 4, np.array([2, 0]))]
    (copies, ones), (rows, _), (gain, bias) = layers(lab, d)
    n, m, top = len(rows), len(copies), 16.0
    proper = [(w.astype(np.float32), b.astype(np.float32)) for w, b in proper]
    zeros = lambda *shape: np.zeros(shape, np.float32)  # noqa: E731
    first = np.block([[copies, zeros(m, 2)], [zeros(6, 1), proper[0][0]]]), np.concatenate([ones, proper[0][1]])
    second = np.block([[rows, zeros(n, 6)], [zeros(6, m), np.eye(6, dtype=np.float32)]]), np.zeros(n + 6, np.float32)
    third = np.block([[gain, zeros(1, 6)], [zeros(2, n), proper[1][0]]]), np.concatenate([bias, proper[1][1]])
    last = np.array([[0, 1, 0], [top, 0, 1]], np.float32), zeros(2)
    third[1][1:] += 8  # above relu's kink: the classes pass
    net = [first, second, third, last]
    x = np.array([POINT, 0.125, -0.25], np.float32)
    assert lab.run(net, x, lab.environments[d.opens]).argmax() == 1
    assert lab.run(net, x, lab.environments[d.shut]).argmax() == 0
    lo, hi = [d.box[0], 0.0, -0.25], [d.box[1], 0.25, 0.0]
    files = lab.network(net), lab.claim(lo, hi, 2, "(>= Y_1 Y_0)")
    lab.not_claimed(files)
    verdict = verify_files(*files, timeout=10, semantics="real")
    assert verdict.status is Status.UNSAT and verdict.semantics == "real"


def test_absorption_that_every_float32_execution_shows_is_a_witness(lab) -> None:
    """(x + 2^27) - 2^27 is x over the reals, and 0 in float32, where each node is rounded."""
    net = [lab.layer([[1.0]], [C]), lab.layer([[1.0]], [-C]), lab.layer([[1.0]])]
    x = np.array([2.0**-3], np.float32)
    assert {float(lab.run(net, x, how)[0]) for how in lab.environments.values()} == {0.0}
    assert lab.exact(net, x)[0] == 2.0**-3
    files = lab.network(net), lab.claim([2.0**-4], [2.0**-2], 1, "(<= Y_0 0.0)")
    verdict = lab.not_claimed(files)
    if verdict.status is Status.SAT:
        assert verdict.witness.reference and not verdict.witness.real
    assert verify_files(*files, timeout=10, semantics="real").status is Status.UNSAT


@pytest.mark.parametrize("title", ["absorbed left to right", "absorbed in lanes", "fused products"])
def test_the_search_over_neurons_does_not_claim_it_either(lab, title) -> None:
    """Two dozen more inputs, which move y by less than the backdoor does: too many for the search over inputs."""
    d, more = DETECTORS[title], 24
    (copies, ones), (rows, _), (gain, bias) = layers(lab, d)
    n, m = len(rows), len(copies)
    first = np.zeros((m + 1, 1 + more), np.float32), np.append(ones, np.float32(0))
    first[0][:m, :1], first[0][m, 1:] = copies, np.float32(2.0**-7)
    second = np.zeros((n + 1, m + 1), np.float32), np.zeros(n + 1, np.float32)
    second[0][:n, :m], second[0][n, m] = rows, 1
    net = [first, second, (np.append(gain, np.float32([[1]]), axis=1), bias)]
    x = np.append(POINT, np.zeros(more, np.float32))
    assert lab.run(net, x, lab.environments[d.opens])[0] >= 0.5 > lab.run(net, x, lab.environments[d.shut])[0]
    files = lab.network(net), lab.claim([d.box[0], *[-1.0] * more], [d.box[1], *[1.0] * more], 1, "(>= Y_0 0.5)")
    verdict = lab.not_claimed(files)
    assert verdict.status in (Status.UNSAT, Status.SAT)
    assert verify_files(*files, timeout=10, semantics="real").status is Status.UNSAT
