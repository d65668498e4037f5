"""Networks with curves and products, decided by splitting what relus, curves and products read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import torchlean_check as tc
from torchlean.verify import verify_files
from torchlean.verify.dual import Forms
from torchlean.verify.maps import TorchMaps
from torchlean.verify.places import SAMPLES, Bent, slope_tables
from torchlean.verify.verdict import Status
from torchlean_check.kernel import Facts
from torchlean_check.records import NONE, slope_rows

Curved = tuple[Callable[..., tuple[bytes, np.ndarray]], Callable[[str], bytes]]


@pytest.mark.parametrize("seed", [0, 2])
def test_splits_of_values_prove_what_the_root_does_not(seed: int, curved: Curved) -> None:
    """Three clauses, of which the last is refuted at the root: it is closed there, the others below."""
    network, claim = curved
    model, y = network(seed)
    top, low, wide = y.max(axis=0), y.min(axis=0), np.ptp(y, axis=0)
    holds = claim(f"(or (>= Y_0 {top[0] + 0.5 * wide[0]:.4f}) (<= Y_1 {low[1] - 0.75 * wide[1]:.4f}) (>= Y_0 1000.0))")
    verdict = verify_files(model, holds, timeout=60, strategy="neurons")
    assert verdict.status is Status.UNSAT and verdict.leaves > 1 and verdict.semantics == "float32"
    found = tc.check(model, holds, verdict.certificate)
    assert found.status == "valid" and {"relu", "product", "tanh", "sigmoid"} <= set(found.rules)
    fails = claim(f"(>= Y_0 {top[0] - 0.05 * wide[0]:.4f})")
    assert verify_files(model, fails, timeout=60, strategy="neurons").status is Status.SAT


def test_boxes_of_hidden_values_prove_what_the_clause_alone_does_not(curved: Curved) -> None:
    """The certificate is of one leaf, and worth nothing without the places of its derivations."""
    network, claim = curved
    model, y = network(1, layers=2)
    low, wide = y.min(axis=0), np.ptp(y, axis=0)
    holds = claim(f"(<= Y_1 {low[1] - 2 * wide[1]:.4f})")
    verdict = verify_files(model, holds, timeout=60, strategy="neurons")
    assert verdict.status is Status.UNSAT and verdict.leaves == 1
    certificate = tc.decode(verdict.certificate)
    (record,) = certificate.trees[0].records
    assert len({d.value for d in record.derivations}) > 1 and any(d.bounds for d in record.derivations)
    assert tc.check(model, holds, verdict.certificate).status == "valid"
    read = {r.table for r in record.refutations}
    tables = tuple(t if i in read else NONE for i, t in enumerate(certificate.tables))
    assert tc.check(model, holds, tc.encode(replace(certificate, tables=tables))).status != "valid"


@pytest.mark.parametrize("semantics", ["real", "float32"])
def test_the_kernel_repeats_bounds_of_forms(semantics: str, curved: Curved) -> None:
    """With any places, of every value: in float32, so nearly."""
    network, claim = curved
    model, _ = network(1, layers=2)
    net, (region,) = tc.load(model, claim("(>= Y_0 0.0)"))
    kernel = tc.Kernel(net, region, semantics=semantics)
    maps, rng = TorchMaps(net, "cpu"), np.random.default_rng(0)
    bent = Bent(kernel, kernel.start(), maps)
    for value in sorted(net.boxed):
        size = net.nodes[value].size
        entry, sign = np.repeat(np.arange(size), 2), np.tile([1.0, -1.0], size)
        ends = np.linspace(0, 1, SAMPLES // 2 + 1)  # where a curve's lines are not interpolated
        places = {
            k: maps.put(rng.choice(ends, p.shape) * (1 if k in net.relu_inputs else rng.choice([-1, 1], p.shape)))
            for k, p in bent.start(2 * size, value).items()
        }
        found = maps.get(bent.bound(Forms.entries(maps, value, size, maps.index(entry), maps.put(sign)), places, {}))
        slopes = slope_rows(slope_tables(places, np.arange(2 * size)), net.places)
        state = kernel.start().take([0] * (2 * size))
        facts, rows = Facts(state, slopes), np.arange(2 * size)
        low = kernel.lowest(state, rows, *kernel.walk(facts, value, rows, (entry, sign)))
        np.testing.assert_allclose(found, low, rtol=1e-4, atol=1e-4)
