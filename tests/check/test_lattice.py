"""Minima and maxima of four relus, read with one: the same function, with error boxes that hold."""

import itertools
from dataclasses import replace
from fractions import Fraction
from unittest import mock

import numpy as np
import pytest

import torchlean_check as tc
from torchlean import ops
from torchlean.io.onnx import write_onnx
from torchlean.ir import Builder, f32
from torchlean.run.program import Program
from torchlean.verify.files import verify_files
from torchlean_check import sparse, wire
from torchlean_check.lattice import merged
from torchlean_check.network import Affine, Curve, Dense, Relu, Scale
from torchlean_check.onnx_reader import Reader, read_network
from torchlean_check.sparse import Sparse
from torchlean_check.vnnlib_reader import read_property

U = Fraction(1, 2**24)
TINY = Fraction(1, 2**126)


def group(pairs, signs, width):
    """A and B for these pairs of entries: the minimum where the sign is -1."""
    a, b = np.zeros((4 * len(pairs), width)), np.zeros((len(pairs), 4 * len(pairs)))
    for r, ((i, j), sign) in enumerate(zip(pairs, signs, strict=True)):
        for k, (s, t) in enumerate(((1, 1), (-1, -1), (-1, 1), (1, -1))):
            a[4 * r + k, i] += s
            a[4 * r + k, j] += t
        b[r, 4 * r : 4 * r + 4] = 0.5, -0.5, 0.5 * sign, 0.5 * sign
    return a, b


def onnx(folder, matrices, inputs, first=0):
    """x, `first` matrices, then A, relu and B by turns, without biases."""
    g = Builder(ops.ALL)
    value, arrays = g.input("x", f32["batch", inputs]), {}
    for k, w in enumerate(matrices):
        arrays[f"w{k}"] = np.asarray(w.T, np.float32)
        value = g.matmul(value, g.parameter(f"w{k}", f32[arrays[f"w{k}"].shape]))
        if k >= first and (k - first) % 2 == 0:
            value = g.relu(value)
    path = folder / "net.onnx"
    write_onnx(Program(g.finish({"y": value}), arrays), path)
    return path.read_bytes()


def claim(lo, hi, relation="<=", bound="0.0"):
    names = "".join(f"(declare-const X_{i} Real)\n" for i in range(len(lo))) + "(declare-const Y_0 Real)\n"
    box = "".join(
        f"(assert (>= X_{i} {exact(a)}))\n(assert (<= X_{i} {exact(b)}))\n"
        for i, (a, b) in enumerate(zip(lo, hi, strict=True))
    )
    return f"{names}{box}(assert ({relation} Y_0 {bound}))\n".encode()


def exact(v):
    return f"{float(v):.200f}".rstrip("0") + "0"


def ends(network, x, semantics):
    """Proved bounds of the output at a point."""
    low = {}
    for relation in ("<=", ">="):
        (region,) = read_property(claim(x, x, relation)).regions
        kernel = tc.Kernel(network, region, semantics)
        low[relation] = float(kernel.bound(kernel.start(), derive=False).margin[0, 0])
    return low["<="], -low[">="]


def flushed(v):
    return np.float32(0.0) if abs(v) < 2.0**-126 else v


def executions(a, b, sign):
    """float32 results of one group: sums in many orders, with and without flushing."""
    with np.errstate(all="ignore"):
        for flush in (lambda v: v, flushed):
            a_, b_ = flush(a), flush(b)
            z = [flush(np.float32(s * a_ + t * b_)) for s, t in ((1, 1), (-1, -1), (-1, 1), (1, -1))]
            terms = [
                flush(np.float32(f) * max(v, np.float32(0))) for f, v in zip((0.5, -0.5, sign, sign), z, strict=True)
            ]
            for p, q, r, s in itertools.permutations(terms):
                yield flush(flush(flush(p + q) + r) + s)
                yield flush(flush(p + q) + flush(r + s))


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The networks of one minimum and of one maximum of two inputs."""
    folder = tmp_path_factory.mktemp("pair")
    return {sign: read_network(onnx(folder, group([(0, 1)], [sign], 2), 2)) for sign in (-1, 1)}


def points():
    rng = np.random.default_rng(3)
    for size in (1.0, 1e-42, 1e-38, 1e30, 1e35):
        for near in (0.0, 1e-7, 1e-3, 1.0):
            a = np.float32(rng.standard_normal() * size)
            yield a, np.float32(a * (1 + near * rng.standard_normal()))
            yield a, np.float32(-a * (1 + near * rng.standard_normal()))
    yield from [(np.float32(1.0), np.float32(2.0**-149)), (np.float32(0.0), np.float32(0.0))]


@pytest.mark.parametrize("sign", [-1, 1])
def test_every_execution_lies_in_the_bounds(pair, sign):
    for a, b in points():
        lo, hi = ends(pair[sign], (a, b), "float32")
        found = [Fraction(float(y)) for y in executions(a, b, np.float32(0.5 * sign))]
        assert lo <= min(found) <= max(found) <= hi
        size = abs(float(a)) + abs(float(b))
        assert hi - lo <= 2.0**-17 * size + 2.0**-110
        lo, hi = ends(pair[sign], (a, b), "real")
        y = min(Fraction(float(a)), Fraction(float(b))) if sign < 0 else max(Fraction(float(a)), Fraction(float(b)))
        assert lo <= y <= hi and hi - lo <= 2.0**-40 * size + 2.0**-600


@pytest.mark.parametrize("sign", [-1, 1])
def test_every_execution_lies_in_the_box_that_its_entries_give(pair, sign):
    """Beside the walk: the output's own box, at the root and as derived for a smaller one."""
    for a, b in points():
        x = np.array([a, b], np.float64)
        far = np.abs(x).max()
        for lo, hi in ((x, x), (x - far, x + 0.5 * far)):
            (region,) = read_property(claim(lo, hi)).regions
            kernel = tc.Kernel(pair[sign], region, "float32")
            state = kernel.start()
            state.lo[0], state.hi[0] = x, x
            found = [Fraction(float(y)) for y in executions(a, b, np.float32(0.5 * sign))]
            for low, high in (kernel._output, kernel.derive(state, local=True).output):
                assert low.item() <= min(found) <= max(found) <= high.item()


def lattice(rng, folder):
    """The largest of four minima of four affine pieces each: the file, and the pieces of each minimum, [4, 4, 2]."""
    pieces = np.round(rng.standard_normal((8, 2)), 2).astype(np.float32)
    chosen = rng.integers(0, 8, 16)
    layers = [group([(2 * k, 2 * k + 1) for k in range(8)], [-1] * 8, 16),
              group([(2 * k, 2 * k + 1) for k in range(4)], [-1] * 4, 8),
              group([(0, 1), (2, 3)], [1, 1], 4), group([(0, 1)], [1], 2)]  # fmt: skip
    matrices = [pieces, np.eye(8)[chosen], *(matrix for layer in layers for matrix in layer)]
    return onnx(folder, matrices, 2, first=2), pieces.astype(np.float64)[chosen].reshape(4, 4, 2)


@pytest.mark.parametrize("arithmetic", ["rounded", "exact"])
def test_what_the_intervals_of_the_pieces_say_is_proved_without_a_walk(tmp_path, arithmetic, monkeypatch):
    rng = np.random.default_rng(1)
    monkeypatch.setattr(tc.Kernel, "walk", None)
    for _ in range(8):
        data, pieces = lattice(rng, tmp_path)
        network, corner = read_network(data), np.round(rng.standard_normal(2), 2)
        lo, hi = corner - 0.25, corner + 0.25
        middle, half = pieces @ corner, np.abs(pieces) @ np.full(2, 0.25)
        high = (middle + half).min(axis=1).max()
        assert len(network.lattice) == 4
        (region,) = read_property(claim(lo, hi, ">=", exact(high + 2.0**-12))).regions
        kernel = tc.Kernel(network, region, "float32", arithmetic)
        assert kernel.bound(kernel.start(), derive=False).refuted.all()
        whole = (lo - 1.0, hi + 1.0)
        (region,) = read_property(claim(*whole, ">=", exact(high + 2.0**-12))).regions
        kernel = tc.Kernel(network, region, "float32", arithmetic)
        state = kernel.start()
        state.lo[0], state.hi[0] = lo, hi
        assert kernel.bound(state, derive=True).refuted.all()
        for x in np.float32(rng.uniform(lo, hi, (20, 2))):
            y = (pieces @ x.astype(np.float64)).min(axis=1).max()
            for low, up in (kernel.derive(state, local=True).output, kernel._output):
                assert low.item() <= y <= up.item()


def test_what_is_neither_of_two_entries_is_no_pair(tmp_path):
    """y = (a + b) / 2 - |b - a| / 4 is read with one relu, and is between them."""
    a, b = group([(0, 1)], [-1], 2)
    a[2:] *= 0.5
    network = read_network(onnx(tmp_path, (a, b), 2))
    assert [node.size for node in network.nodes] == [2, 1, 1, 1] and network.nodes[3].pair is None
    lo, hi = ends(network, (1.0, 3.0), "real")
    assert lo <= 1.5 <= hi and not network.lattice


def test_differences_of_other_functions_are_still_walked(tmp_path):
    """Of two outputs of a relu layer intervals do not say all: the walk goes on."""
    rng = np.random.default_rng(2)
    a, b = group([(0, 1)], [-1], 2)
    data = onnx(tmp_path, [rng.standard_normal((6, 2)), rng.standard_normal((2, 6)), a, b], 2)
    network = read_network(data)
    (last,) = [node for node in network.nodes if isinstance(node, Affine) and node.pair is not None]
    assert not network.lattice and last.pair.apart in tc.Kernel(
        network, read_property(claim((-1.0, -1.0), (1.0, 1.0))).regions[0]
    ).walked


def growth(n):
    return (1 + U) ** n - 1


def tiny(n, weights, inputs):
    return TINY * (1 + growth(n)) * (3 * n + weights + inputs)


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_error_box_holds_those_of_the_nodes_it_stands_for(pair, sign):
    network = pair[sign]
    assert [type(node).__name__ for node in network.nodes] == ["Input", "Affine", "Relu", "Affine"]
    for a, b in points():
        (region,) = read_property(claim((a, b), (a, b))).regions
        kernel = tc.Kernel(network, region, "float32")
        x = abs(Fraction(float(a))) + abs(Fraction(float(b)))
        first = growth(2) * x + tiny(2, 2, x) + TINY  # of each of the four sums
        most = x + first  # what a relu may give
        last = growth(4) * 2 * most + tiny(4, 2, 4 * most) + TINY
        assert Fraction(float(kernel.charges[3].kappa[0])) >= 2 * first + last


def test_a_lattice_is_the_same_function(tmp_path):
    """Over the reals, against the exact value at points; one relu is left of four."""
    rng = np.random.default_rng(0)
    layers = [group([(0, 1), (2, 3), (4, 4)], [-1, -1, -1], 5), group([(0, 1), (1, 2)], [-1, 1], 3),
              group([(0, 1)], [1], 2)]  # fmt: skip
    data = onnx(tmp_path, [w for layer in layers for w in layer], 5)
    network, whole = read_network(data), Reader(wire.parse(data))
    assert sum(n.size for n in network.nodes if isinstance(n, Relu)) * 4 == sum(
        n.size for n in whole.nodes if isinstance(n, Relu)
    )
    for _ in range(20):
        x = rng.standard_normal(5).astype(np.float32)
        v = [Fraction(float(t)) for t in x]
        low = [min(v[0], v[1]), min(v[2], v[3]), v[4]]
        y = max(min(low[0], low[1]), max(low[1], low[2]))
        lo, hi = ends(network, x, "real")
        assert lo <= y <= hi and hi - lo <= 2.0**-30


def test_verdicts_about_a_lattice(tmp_path):
    data = onnx(tmp_path, (*group([(0, 1), (1, 2)], [-1, -1], 3), *group([(0, 1)], [1], 2)), 3)
    lo, hi = (-1.0, -0.5, -1.0), (1.0, 0.25, 1.0)  # max(min(x0, x1), min(x1, x2)) is at most 1/4
    proved = verify_files(data, claim(lo, hi, ">=", "0.251"), 20.0)
    assert proved.holds and proved.semantics == "float32"
    verdict = tc.check(data, claim(lo, hi, ">=", "0.251"), proved.certificate)
    assert verdict.status == "valid" and tc.check(data, claim(lo, hi, ">=", "0.251"), proved.certificate,
                                                  arithmetic="exact").status == "valid"  # fmt: skip
    assert verify_files(data, claim(lo, hi, ">=", "0.249"), 20.0).status == "sat"


def altered(name, a, b):
    """A group that is none any more."""
    if name == "other factor":
        b[0, 2] = b[0, 3] = 0.25
    elif name == "one factor differs":
        b[0, 3] = -b[0, 3]
    elif name == "sum is not a difference":
        b[0, 1] = 0.5
    elif name == "difference is turned":
        b[0, 0] = -0.5
    elif name == "p is not mirrored":
        a[1, 0] = -0.5
    elif name == "q is not mirrored":
        a[3, 1] = -0.5
    elif name == "q is larger than p":
        a[2:] *= 2
    elif name == "q is larger than p below 0":
        a[2], a[3] = (-2, 1, 0), (2, -1, 0)
    elif name == "q is of others":
        a[2], a[3] = (0, 1, -1), (0, -1, 1)
    elif name == "-p is of others":
        a[1] = (0, -1, -1)
    elif name == "-q is of others":
        a[3] = (0, 1, -1)
    elif name == "three terms":
        a[0, 2], a[1, 2] = 1, -1
    elif name == "large weights":
        a *= 4
    elif name == "five relus":
        b[0, 4] = 0.5
    return a, b


ALTERED = ["other factor", "one factor differs", "sum is not a difference", "difference is turned", "p is not mirrored",
           "q is not mirrored", "q is larger than p", "q is larger than p below 0", "q is of others", "-p is of others",
           "-q is of others", "three terms", "large weights", "five relus"]  # fmt: skip


@pytest.mark.parametrize("name", ALTERED)
def test_what_differs_is_left_as_it_is(name, tmp_path):
    a, b = altered(name, *group([(0, 1), (1, 2)], [-1, 1], 3))
    reader = Reader(wire.parse(onnx(tmp_path, (a, b), 3)))
    assert list(merged(reader.nodes, reader.output)) == reader.nodes


def test_what_others_read_or_round_otherwise_is_left_as_it_is(tmp_path):
    reader = Reader(wire.parse(onnx(tmp_path, group([(0, 1)], [-1], 2), 2)))
    start, a, relu, b = reader.nodes
    assert [node.size for node in merged(reader.nodes, 3)] == [2, 1, 1, 1]
    whole, one = Dense(np.ones((1, 4))), Dense(np.ones((1, 1)))
    bent = Curve("tanh", 2, 4, (1, 4), "t")
    again = replace(b, terms=((whole, 2), (one, 3)))
    other = replace(relu, source=0, size=2, shape=(1, 2))
    for nodes, output in (
        ([start, a, relu, b, again], 4),  # relu is read twice
        ([start, a, relu, b, replace(b, terms=((whole, 1),))], 4),  # A is
        ([start, a, relu, b, Curve("exp", 3, 1, (1, 1), "e", spread=1.0, wide=1)], 4),  # its size is
        ([start, a, relu, b], 2),  # relu is the output
        ([start, a, relu, b], 1),  # A is
        ([start, a, replace(bent, source=1), b], 3),
        ([start, a, relu, replace(relu, source=2)], 3),
        ([start, other, relu, b], 3),
        ([start, a, a, replace(relu, source=1), replace(b, terms=((b.terms[0][0], 3),))], 4),  # between A and relu
        ([start, a, relu, a, replace(relu, source=3), replace(b, terms=((b.terms[0][0], 2),)),
          replace(b, terms=((whole, 4), (one, 5)))], 6),  # B reads another relu
        ([start, a, relu, relu, replace(b, terms=((b.terms[0][0], 2),))], 4),  # between relu and B
        ([start, replace(a, terms=(*a.terms, (Dense(np.ones((4, 2))), 0))), relu, b], 3),
        ([start, replace(a, terms=((Scale(np.ones(2)), 0),), size=2), relu, b], 3),
        ([start, replace(a, bias=np.ones(4)), relu, b], 3),
        ([start, replace(a, magnitude=np.ones(4)), relu, b], 3),
        ([start, a, relu, replace(b, bias=np.ones(1))], 3),
        ([start, replace(a, weight_rel=2.0**-50), relu, b], 3),
        ([start, replace(a, bias_err=np.full(4, 2.0**-50)), relu, b], 3),
        ([start, a, relu, replace(b, scale=2.0)], 3),
        ([start, a, relu, replace(b, leaves=np.full(1, 65.0))], 3),
    ):
        assert list(merged(nodes, output)) == nodes
    assert isinstance(a, Affine) and isinstance(relu, Relu)


def test_values_that_follow_and_their_numbers_stay(tmp_path):
    """A group with a curve behind it; of entries that are one alone, and in a matrix of few entries."""
    reader = Reader(wire.parse(onnx(tmp_path, group([(0, 1), (1, 1)], [-1, 1], 2), 2)))
    last = Curve("tanh", 3, 2, (1, 2), "t")
    found = merged([*reader.nodes, last], 4)
    assert [node.size for node in found] == [2, 2, 2, 2, 2] and found[4] is last
    x = [Fraction(3, 4), Fraction(-5, 2)]

    def y(nodes):
        values = [x]
        for node in nodes[1:4]:
            if isinstance(node, Relu):
                values.append([max(v, Fraction(0)) for v in values[node.source]])
                continue
            rows = [linear.apply(np.eye(len(values[j])), np.matmul).T.tolist() for linear, j in node.terms]
            values.append([sum(Fraction(w) * v for row, (_, j) in zip(rows, node.terms, strict=True)
                               for w, v in zip(row[i], values[j], strict=True)) for i in range(node.size)])  # fmt: skip
        return values[-1]

    assert y(found) == y(reader.nodes) == [min(x), x[1]]
    with mock.patch.multiple(sparse, LEAST=0, SHARE=0):
        few = Reader(wire.parse(onnx(tmp_path, group([(0, 1), (1, 1)], [-1, 1], 2), 2)))
        assert all(isinstance(node.terms[0][0], Sparse) for node in few.nodes[1::2])
        found = merged(few.nodes, 3)
    assert [node.size for node in found] == [2, 2, 2, 2] and y(found) == [min(x), x[1]]


def test_sizes_up_to_which_what_was_replaced_does_not_overflow_stay(tmp_path):
    start, a, relu, b = Reader(wire.parse(onnx(tmp_path, group([(0, 1)], [-1], 2), 2))).nodes
    for nodes, most in (
        ([start, a, relu, b], 2.0**120),
        ([start, replace(a, most=2.0**100), relu, b], 2.0**100),
        ([start, a, relu, replace(b, most=2.0**90)], 2.0**90),
    ):
        assert merged(nodes, 3)[3].most == most


def test_an_overflow_of_what_was_replaced_is_not_excluded(pair):
    x = (np.float32(2.0**121),) * 2
    (region,) = read_property(claim(x, x)).regions
    with pytest.raises(tc.CheckError, match="overflow of float32 is not excluded"):
        tc.Kernel(pair[1], region, "float32")
    tc.Kernel(pair[1], region, "real")
