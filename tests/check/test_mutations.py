"""2,000 seeded mutants of real certificates, networks and properties: none crashes, none makes a false claim valid.

A mutant certificate that is accepted proves the same claim, which is true, so only its verdict's kind is checked. A
mutant network or property with its hash recomputed is another claim: when it is accepted, attacks with exact
evaluation must not refute it.
"""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

import torchlean_check as tc
from torchlean_check import format
from torchlean_check.errors import CheckError
from torchlean_check.packed import Records
from torchlean_check.records import Bound, Derivation, Record, Refutation, SlopeTable

ODD = [0, 1, -1, 2**31, -(2**31), 2**63 - 1, -(2**63)]


@pytest.fixture(scope="module")
def rich(tools):
    """A small proof that uses every part of the format, of the lowest threshold (in steps of 1/8) that its tree
    proves."""
    model = tools.mlp_bytes([2, 6, 6, 2], seed=0, scale=2.0)
    for eighths in range(-16, 160):
        top = eighths / 8
        claim = tools.property_text(
            2, 2, [f"(assert (or (and (>= Y_0 {top}) (<= Y_1 {top + 20})) (and (> (- Y_0 Y_1) {top + 8}))))"]
        )
        network, (region,) = tc.load(model, claim)
        tree, tables = hints(network)
        if tc.replay(tc.Kernel(network, region), tree, tables=tables).failed is None:
            break
    certificate = tc.Certificate.of(model, claim, semantics="float32", trees=(tree,), tables=tables, writer="test")
    assert tc.check(model, claim, tc.encode(certificate)).status == "valid"
    return model, claim, certificate


def hints(network):
    first, second = network.relu_inputs
    builder = tc.TreeBuilder()
    low, high = builder.split([0], [0], flags=tc.DERIVE | tc.EXAMINE)
    a, b = builder.split(low, [1], at=[0.125])
    c, d = builder.split_value(high, second, 2, 0.0)
    entries = {first: np.arange(6), second: np.array([0, 1, 3, 4, 5])}
    tables = (SlopeTable(entries, np.array([8192] * 6 + [0, 16384, 1, 2, 3], np.int16)),)
    split = ((second, 2, 1, 0.25),)
    refutations = (Refutation(0, ((0, 1.0), (1, 0.125)), 0, split), Refutation(1))
    one, other = builder.split_clause(d, 0)
    cases = (first, 1), None, (first, 3), None, None
    bounds = Bound(0, 1, (), 0, split, cases), Bound(3, -1, (), -1, split)
    builder.record(int(d[0]), Record((Derivation(second), Derivation(second, bounds))))
    weighed = Bound(0, -1, ((0, 0.5), (1, 0.125)), 0, split), Bound(3, 1, ((0, 0.25),), -1, (), cases)
    builder.record(int(one[0]), Record((Derivation(second, weighed, 0),), refutations[:1]))
    builder.record(int(other[0]), Record((), refutations[1:]))
    builder.flag(np.concatenate([a, b, c, one, other]), tc.DERIVE)
    return builder.build()[0], tables


def is_true(network, regions, rng, count=60):
    """Whether exact evaluation at sampled points, corners among them, fails to refute the claim."""
    for region in regions:
        lo, hi = region.exact_lo, region.exact_hi
        for _ in range(count):
            mix = [
                Fraction(int(t), 16)
                for t in (rng.integers(0, 17, len(lo)) if rng.random() < 0.5 else 16 * rng.integers(0, 2, len(lo)))
            ]
            x = [a + t * (b - a) for a, b, t in zip(lo, hi, mix, strict=True)]
            y = exact(network, x)
            for clause in region.clauses:
                g = [
                    (
                        sum((c * y[i] for i, c in q.y.items()), q.constant) + sum(c * x[i] for i, c in q.x.items()),
                        q.strict,
                    )
                    for q in clause
                ]
                if all(v < 0 or (v == 0 and not strict) for v, strict in g):
                    return False
    return True


def exact(network, x):
    values = [x]
    for node in network.nodes[1:]:
        if type(node).__name__ == "Relu":
            values.append([max(v, Fraction(0)) for v in values[node.source]])
        else:
            ((linear, source),) = node.terms
            values.append(
                [
                    sum((Fraction(w) * v for w, v in zip(row, values[source], strict=True)), Fraction(b))
                    for row, b in zip(linear.weight.tolist(), node.bias.tolist(), strict=True)
                ]
            )
    return values[network.output]


def outcome(model, claim, data):
    """The verdict, or None where a file was refused. Any other exception fails the test."""
    try:
        verdict = tc.check(model, claim, data)
    except CheckError as error:
        assert error.what and error.fix
        return None
    assert verdict.status in ("valid", "holey", "invalid")
    return verdict


def flip(data, rng):
    raw = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(0, len(raw)))
        raw[at] ^= 1 << int(rng.integers(0, 8))
    return bytes(raw)


@pytest.mark.parametrize("seed", range(4))
def test_numbers_of_certificates(rich, seed):
    """700 mutants: one number of any array, to an odd value, a neighbour or random bits."""
    model, claim, certificate = rich
    rng = np.random.default_rng(seed)
    seen = {"valid": 0, "holey": 0, "invalid": 0, None: 0}
    arrays = [(n, t) for t in certificate.trees for n in ("op", "axis", "at", "value", "index", "value_at")]
    words = Records.of(certificate.trees[0].records).words.tolist()
    for _ in range(175):
        kind = rng.integers(0, 4)
        if kind < 2:
            name, tree = arrays[rng.integers(0, len(arrays))]
            column = getattr(tree, name).copy()
            bits = column.view(f"u{column.itemsize}")
            i = int(rng.integers(0, len(bits)))
            bits[i] = rng.choice(
                [
                    bits[i] + 1 & (1 << 8 * column.itemsize - 1) - 1,
                    0,
                    int(rng.integers(0, 1 << 62)) & (1 << 8 * column.itemsize) - 1,
                ]
            )
            data = encode_raw(replace(certificate, trees=(replace(tree, **{name: column}),)))
        elif kind == 2:
            mutant = list(words)
            i = int(rng.integers(0, len(mutant)))
            mutant[i] = int(
                rng.choice([*ODD, mutant[i] + 1, mutant[i] - 1, mutant[i] ^ (1 << int(rng.integers(0, 63)))])
            )
            data = encode_raw(certificate, mutant)
        else:
            table = certificate.tables[0]
            slopes = table.slopes.copy()
            slopes[rng.integers(0, len(slopes))] = rng.integers(-32768, 32768)
            entries = {k: e.copy() for k, e in table.entries.items()}
            if rng.random() < 0.3:
                mine = entries[list(entries)[rng.integers(0, 2)]]
                mine[rng.integers(0, len(mine))] = rng.choice([0, 1, 5, 6, 7, (1 << 32) - 1])
            data = tc.encode(replace(certificate, tables=(SlopeTable(entries, slopes),)))
        verdict = outcome(model, claim, data)
        seen[None if verdict is None else verdict.status] += 1
        assert verdict is None or verdict.status != "holey" or verdict.assumed > 0
    assert seen["valid"] and (seen["invalid"] or seen[None])


def encode_raw(certificate, words=None):
    """Encode with the record words replaced."""
    if words is not None:
        tree = certificate.trees[0]
        records = Records(np.array(words, np.int64), np.zeros(len(tree.records) + 1, np.int64))
        certificate = replace(certificate, trees=(replace(tree, records=records),))
    return tc.encode(certificate)


@pytest.mark.parametrize("seed", range(3))
def test_bits_of_certificates(rich, seed):
    """600 mutants of the file's own bytes; the hash in the verdict is always that of what was read."""
    model, claim, certificate = rich
    data = tc.encode(certificate)
    rng = np.random.default_rng(seed)
    for _ in range(200):
        verdict = outcome(model, claim, flip(data, rng))
        assert verdict is None or verdict.hash != format.digest(data)


def test_bits_of_networks_and_properties_change_the_hash(rich):
    """200 mutants: with the old hash, every change is refused."""
    model, claim, certificate = rich
    data = tc.encode(certificate)
    rng = np.random.default_rng(0)
    for n in range(200):
        files = (flip(model, rng), claim) if n % 2 else (model, flip(claim, rng))
        if files != (model, claim):
            assert outcome(*files, data) is None


@pytest.mark.parametrize("which", ["network", "property"])
def test_bits_of_networks_and_properties_with_their_hash(rich, which):
    """500 mutants that are their own claim: what is accepted, exact attacks do not refute."""
    model, claim, certificate = rich
    rng = np.random.default_rng(1)
    accepted = refuted = 0
    for _ in range(250):
        files = (flip(model, rng), claim) if which == "network" else (model, flip(claim, rng))
        mutant = replace(certificate, model=format.digest(files[0]), property=format.digest(files[1]))
        verdict = outcome(*files, tc.encode(mutant))
        if verdict is not None and verdict.status == "valid":
            accepted += 1
            assert is_true(*tc.load(*files), rng, 12)
        elif verdict is not None:
            refuted += 1
    assert accepted and refuted


def test_false_claims_are_never_accepted(rich, tools):
    """For claims that an exact point refutes, no mutant of a certificate helps."""
    model, _, certificate = rich
    rng = np.random.default_rng(2)
    network, _ = tc.load(*rich[:2])
    best = max(
        exact(network, [Fraction(int(a), 8), Fraction(int(b), 8)])[0] for a in range(-8, 9) for b in range(-8, 9)
    )
    claim = tools.property_text(
        2, 2, [f"(assert (or (and (>= Y_0 {float(best) - 1e-6:.9f}) (<= Y_1 99)) (and (> (- Y_0 Y_1) 99))))"]
    )
    words = Records.of(certificate.trees[0].records).words.tolist()
    for _ in range(100):
        mutant = list(words)
        for _ in range(3):
            mutant[rng.integers(0, len(mutant))] = int(rng.choice(ODD))
        data = encode_raw(replace(certificate, property=format.digest(claim)), mutant if rng.random() < 0.7 else words)
        verdict = outcome(model, claim, data)
        assert verdict is None or verdict.status == "invalid"
