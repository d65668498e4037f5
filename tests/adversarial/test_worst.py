"""The worst execution found of a random sum or network, as the threshold of a property: no proof may exclude it."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from torchlean import floats
from torchlean.verify.files import verify_files
from torchlean.verify.verdict import Status


@pytest.mark.parametrize("seed", range(8))
def test_the_worst_order_of_a_sum_is_not_excluded(lab, seed) -> None:
    """A sum with much cancellation; y is at the worst order's value or beyond it, on the side away from the exact."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.5, 1.5, 6).astype(np.float32)
    w = (rng.normal(size=6) * 2.0 ** rng.integers(-8, 9, 6)).astype(np.float32)
    b = np.float32(-floats.rounded_dot(x.astype(np.float64), w.astype(np.float64)))
    how, error = floats.worst_execution(x, w, b, rng=np.random.default_rng(seed), rounds=2)
    worst = float(floats.execute(how, x, w, np.asarray(b)))
    (real,) = lab.exact([(w[None], b[None])], x)
    assert error > 0 and Fraction(worst) != real
    sign = ">=" if worst > real else "<="
    model = lab.network([(w[None], b[None])])
    lab.not_claimed((model, lab.claim(x, x, 1, f"({sign} Y_0 {lab.decimal(worst)})")))
    far = lab.decimal(worst + 100 * (worst - float(real)))
    verdict = verify_files(model, lab.claim(x, x, 1, f"({sign} Y_0 {far})"), timeout=10)
    assert verdict.status is Status.UNSAT and verdict.semantics == "float32"


@pytest.mark.parametrize("seed", range(8))
def test_the_worst_of_many_executions_of_a_network_is_not_excluded(lab, seed) -> None:
    """Each neuron has an environment of its own; the threshold is the largest output that any execution gave."""
    rng = np.random.default_rng(seed)
    sizes = [(3, 6), (6, 6), (6, 1)]
    net = [
        ((rng.normal(size=(n, m)) * 2.0 ** rng.integers(-6, 7, (n, m))).astype(np.float32),
         rng.normal(size=n).astype(np.float32))
        for m, n in sizes
    ]  # fmt: skip
    x = rng.uniform(-1, 1, 3).astype(np.float32)
    choices = list(lab.environments.values())
    choices += [
        lab.Environment(lambda n, s=s: floats.random_order(n, np.random.default_rng(s)), bool(s % 2)) for s in range(6)
    ]
    found = [float(lab.run(net, x, lambda: choices[rng.integers(len(choices))])[0]) for _ in range(40)]
    real = float(lab.exact(net, x)[0])
    assert len(set(found)) > 1  # the executions differ
    for sign, worst in ((">=", max(found)), ("<=", min(found))):
        files = lab.network(net), lab.claim(x, x, 1, f"({sign} Y_0 {lab.decimal(worst)})")
        verdict = lab.not_claimed(files)
        assert verdict.status is not Status.SAT or verdict.witness.x.tolist() == x.tolist()
    far = real + (max(found) - min(found) + 2.0**-20 * abs(real)) * 2.0**12
    far_claim = lab.claim(x, x, 1, f"(>= Y_0 {lab.decimal(far)})")
    verdict = verify_files(lab.network(net), far_claim, timeout=10)
    assert verdict.status is Status.UNSAT and verdict.semantics == "float32"
