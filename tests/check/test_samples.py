"""10,000 samples of the region try to refute each accepted certificate.

Samples are evaluated in float64 with a rigorous error, and exactly where that does not decide; corners and float32
neighbours take part.
"""

from fractions import Fraction

import numpy as np
import pytest

import torchlean_check as tc


def decide(network, regions, points):
    """How many of the points violate some clause; a sign that float64 leaves open is decided exactly (ReLU MLPs
    only)."""
    values, error = points, np.zeros_like(points)
    for node in network.nodes[1:]:
        if type(node).__name__ == "Relu":
            values = np.maximum(values, 0.0)
        else:
            ((linear, _),) = node.terms
            size = np.abs(values) @ np.abs(matrix(linear, node).T) + np.abs(node.bias)
            error = error @ np.abs(matrix(linear, node).T) + size * (values.shape[1] + 8) * 2.0**-53 * 1.001
            values = values @ matrix(linear, node).T + node.bias
    violations = 0
    for region in regions:
        inside = ((points >= region.lo) & (points <= region.hi)).all(axis=1)
        g = values @ region.rows_y.T + points @ region.rows_x.T + region.rows_c
        slack = error @ np.abs(region.rows_y).T + 1e-12 * (
            np.abs(values) @ np.abs(region.rows_y).T + np.abs(region.rows_c)
        )
        for clause in range(len(region.clauses)):
            rows = region.row_clause == clause
            maybe = inside & (g[:, rows] <= slack[:, rows]).all(axis=1)
            for point in points[maybe]:
                violations += exactly(network, region.clauses[clause], point)
    return violations


def matrix(linear, node):
    return linear.weight if hasattr(linear, "weight") else np.diag(linear.factor)


def exactly(network, clause, point):
    x = [Fraction(float(p)) for p in point]
    values = x
    for node in network.nodes[1:]:
        if type(node).__name__ == "Relu":
            values = [max(v, Fraction(0)) for v in values]
        else:
            ((linear, _),) = node.terms
            values = [
                sum((Fraction(w) * v for w, v in zip(row, values, strict=True) if w), Fraction(b))
                for row, b in zip(matrix(linear, node).tolist(), node.bias.tolist(), strict=True)
            ]
    g = [
        (sum((c * values[i] for i, c in q.y.items()), q.constant) + sum(c * x[i] for i, c in q.x.items()), q.strict)
        for q in clause
    ]
    return all(v < 0 or (v == 0 and not strict) for v, strict in g)


def samples(region, rng, count):
    mix = rng.random((count, len(region.lo)))
    corner = rng.random((count, 1)) < 0.3
    mix = np.where(corner, np.round(mix), mix)
    points = region.lo + mix * (region.hi - region.lo)
    return np.clip(points.astype(np.float32).astype(np.float64), region.lo, region.hi)


def test_small_certificate_stands(small):
    assert tc.check(small.model, small.claim, small.data).status == "valid"
    network, regions = tc.load(small.model, small.claim)
    assert decide(network, regions, samples(regions[0], np.random.default_rng(0), 10_000)) == 0


def test_the_attack_finds_what_is_there(small, tools):
    claim = tools.property_text(3, 2, [f"(assert (>= Y_0 {small.top - 1.5}))"])
    network, regions = tc.load(small.model, claim)
    assert decide(network, regions, samples(regions[0], np.random.default_rng(0), 2_000)) > 0
    assert tools.certify(small.model, claim, limit=300) is None


@pytest.mark.parametrize(("net", "prop"), [("1_1", 1), ("2_2", 4), ("1_1", 3)])
def test_acasxu_certificates_stand(tools, net, prop):
    model, claim = tools.acasxu(net, prop)
    certificate = tools.certify(model, claim)
    data = tc.encode(certificate)
    verdict = tc.check(model, claim, data)
    assert verdict.status == "valid" and verdict.semantics == "float32"
    nodes = sum(len(t.op) for t in certificate.trees)
    assert len(data) < 700 + nodes  # the header and at most a byte a node
    network, regions = tc.load(model, claim)
    rng = np.random.default_rng(prop)
    for region in regions:
        assert decide(network, regions, samples(region, rng, 10_000)) == 0


def test_acasxu_in_exact_arithmetic(tools):
    model, claim = tools.acasxu("2_2", 4)
    verdict = tc.check(model, claim, tc.encode(tools.certify(model, claim)), arithmetic="exact")
    assert (verdict.status, verdict.arithmetic) == ("valid", "exact")


def test_two_input_boxes_have_two_trees(tools):
    model, claim = tools.acasxu("1_1", 6)
    _network, regions = tc.load(model, claim)
    assert len(regions) == 2 and all(len(r.clauses) == 4 for r in regions)


def test_a_claim_with_a_counterexample_is_not_proved(tools):
    """prop_2 on 2_1 is violated; its tree never closes, and an unfinished one is invalid."""
    model, claim = tools.acasxu("2_1", 2)
    network, (region,) = tc.load(model, claim)
    builder, closed = tools.prove(tc.Kernel(network, region), limit=300)
    certificate = tc.Certificate.of(model, claim, semantics="float32", trees=[builder.build()[0]], writer="test")
    assert not closed and tc.check(model, claim, tc.encode(certificate)).status == "invalid"
