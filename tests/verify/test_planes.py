"""Planes above the first layer's relus, as a search learns and uses them: the checker makes the same of a family."""

from __future__ import annotations

import numpy as np
import pytest

import torchlean_check as tc
from torchlean.verify import facets, refine, relus
from torchlean.verify.clock import Deadline
from torchlean.verify.dual import Dual, Neurons
from torchlean.verify.files import verify_files
from torchlean.verify.forms import Forms
from torchlean.verify.maps import Engine, NumpyMaps, TorchMaps
from torchlean.verify.planes import GRID, Dense, Edges, Family, InBlocks, first_relu
from torchlean.verify.problem import Files, Problem
from torchlean.verify.refine import Refinement
from torchlean.verify.relus import STEPS_ROOT, Relus
from torchlean_check.arith import Rounded
from torchlean_check.rules.planes import known

from .test_dual import residual_bytes

SIZES = (24, 12, 12, 2)


@pytest.fixture
def problem_of(mlp, files):
    def make(top, seed=3):
        model = mlp(SIZES, seed)[1]
        claim = files[1](["-0.5"] * 24, ["0.5"] * 24, 2, [f"(assert (>= Y_0 (+ Y_1 {top})))"])
        network, (region,) = tc.load(model, claim)
        return Problem(Files(model, claim), network, region, "float32", Deadline(60), np.random.default_rng(0))

    return make


def boxes_of(kernel):
    return {k: (lo[0], hi[0]) for k, (lo, hi) in kernel.start().boxes.items()}


def kernel_of(name, mlp, files):
    model, inputs, outputs = (mlp(SIZES, 1)[1], 24, 2) if name == "mlp" else (
        residual_bytes(np.random.default_rng(1)), 40, 3)  # fmt: skip
    network, regions = tc.load(model, files[1](["-0.6"] * inputs, ["0.6"] * inputs, outputs, ["(assert (>= Y_0 Y_1))"]))
    return tc.Kernel(network, regions[0])


def family_of(kernel, rng, number=0):
    edges = Edges.of(kernel)
    return Family.of(kernel, edges, rng.random(edges.weight.shape) * 1.2 - 0.1, number)


@pytest.mark.parametrize("name", ["mlp", "residual"])
def test_the_checker_has_the_planes_of_a_family(name, mlp, files) -> None:
    kernel, rng = kernel_of(name, mlp, files), np.random.default_rng(0)
    family, table = family_of(kernel, rng, 1)
    entry = family.edges.entry
    known(kernel, [table, table, tc.SlopeTable({family.key: entry}, np.zeros(len(entry), np.int16))])
    theirs = kernel.planes[family.key]
    assert np.array_equal(theirs.neurons, entry) and len(entry) > 5
    every = np.arange(len(entry))
    assert np.array_equal(theirs.a.product(np.eye(len(entry)), every, Rounded()), family.matrix)
    assert (theirs.const >= family.const - 1e-12).all()  # 1e-12: only the checker's is rounded up
    np.testing.assert_allclose(theirs.const, family.const, rtol=1e-9, atol=1e-9)
    chord = family.edges.chord(boxes_of(kernel))
    again, shares = family.shares_of(family.edges, chord), family.edges.weight != 0
    _, other = Family.of(kernel, family.edges, again, 1)
    assert np.array_equal(table.slopes, other.slopes) and shares.any()
    assert set(np.unique(table.slopes % int(GRID * 2**14))) == {0} and table.slopes.max() == 2**14


@pytest.mark.parametrize("kind", [NumpyMaps, lambda network: TorchMaps(network, "cpu")])
@pytest.mark.parametrize("name", ["mlp", "residual"])
def test_blocks_are_the_matrix(kind, name, mlp, files) -> None:
    kernel, rng = kernel_of(name, mlp, files), np.random.default_rng(0)
    family, _ = family_of(kernel, rng)
    matrix, maps = family.matrix.copy(), kind(kernel.network)
    matrix[3] = 0.0  # a plane without any slope
    weight, point = (maps.put(rng.standard_normal((5, size))) for size in matrix.shape)
    dense, blocks = Dense(maps.put(matrix)), InBlocks(family.edges, matrix, maps)
    for mine, theirs in ((blocks.sums(weight), dense.sums(weight)), (blocks.values(point), dense.values(point))):
        np.testing.assert_allclose(maps.get(mine), maps.get(theirs), rtol=1e-4, atol=1e-5)


def missing(problem, planes):
    """The bound of the clause at the root, and what the kernel closes by it."""
    search = Relus(problem, problem.kernel.start(), Engine(problem.network), (), trust=False)
    if planes:
        search.raise_planes()
    found = search.bound(search.root(0), STEPS_ROOT)
    return float(found.value[0]), search.refuter.refute(found)[1], search


def test_learned_planes_prove_what_chords_do_not(problem_of) -> None:
    chords, _, search = missing(problem_of(0.0), False)
    assert search.family is None
    planes, _, search = missing(problem_of(0.0), True)
    assert planes > chords + 0.1 and len(search.neurons.raised) > 3
    top = -0.5 * (chords + planes)  # its bound is above 0 by planes alone
    assert len(missing(problem_of(top), False)[1]) == 0
    problem = problem_of(top)
    value, refutations, _ = missing(problem, True)
    assert value > 0 and len(refutations) == 1  # the kernel agreed
    again = missing(problem, True)[2].family
    assert again.number > 0  # beside the first


def test_a_certificate_of_planes_is_valid(problem_of, monkeypatch) -> None:
    chords, planes = (missing(problem_of(0.0), which)[0] for which in (False, True))
    files = problem_of(-0.5 * (chords + planes)).files
    claim = files.model, files.claim
    verdict = verify_files(*claim, strategy="neurons", workers=1)
    said = tc.check(*claim, verdict.certificate)
    assert (said.status, said.leaves) == ("valid", 1) and "planes" in said.rules
    for module in (relus, refine):
        monkeypatch.setattr(module, "learn", lambda *_: None)
    without = verify_files(*claim, strategy="neurons", workers=1)
    assert tc.check(*claim, without.certificate).rules == ("affine", "relu") == without.rules
    assert verdict.rules == said.rules


def test_bounds_of_hidden_neurons_have_planes_of_their_own(problem_of, monkeypatch) -> None:
    """Derived by the kernel at once."""
    widths = []
    for planes in (True, False):
        if not planes:
            monkeypatch.setattr(refine, "learn", lambda *_: None)
        problem = problem_of(0.0)
        state = problem.kernel.start()
        made = Refinement(problem, state, Engine(problem.network))
        for leaves in (1, 4):
            made.forward(Deadline(60), leaves=leaves)
        last = max(problem.network.relu_inputs)
        widths.append(float((state.boxes[last][1] - state.boxes[last][0]).sum()))
        tables = [t for t in problem.files.tables if any(k >= 4 * len(problem.network.nodes) for k in t.entries)]
        assert bool(tables) == planes
    assert widths[0] < 0.97 * widths[1]


def test_no_planes_where_no_bound_uses_them(problem_of) -> None:
    """What rises with every relu reads lower lines alone."""
    problem = problem_of(0.0)
    kernel, maps = problem.kernel, NumpyMaps(problem.network)
    value = min(v for v in problem.network.relu_inputs if v > min(problem.network.relu_inputs))
    rows = problem.network.nodes[value].terms[0][0].transpose(np.eye(12), np.matmul)
    up = np.linalg.lstsq(rows.T, np.ones(12), rcond=None)[0]  # a form whose coefficients on the first relus are 1
    forms = Forms(value, up[None], None, np.zeros(1))
    assert facets.learn(problem, boxes_of(kernel), (), maps, forms, np.inf) is None and not problem.files.tables
    forms = Forms(value, -up[None], None, np.zeros(1))
    family = facets.learn(problem, boxes_of(kernel), (), maps, forms, np.inf)
    neurons = Neurons.of(boxes_of(kernel), family=family)
    with_planes, chords = (Dual(kernel, boxes_of(kernel), n, maps) for n in (neurons, Neurons.of(boxes_of(kernel))))
    values = [
        dual.maximise(forms, np.zeros((1, len(neurons))), dual.neurons.default()[None], np.zeros((1, len(neurons))), 60,
                      target=np.inf).value[0] for dual in (with_planes, chords)
    ]  # fmt: skip
    assert values[0] > values[1] + 0.05


def test_planes_need_a_relu_of_one_map_of_the_inputs(mlp, files, monkeypatch) -> None:
    kernel = kernel_of("residual", mlp, files)
    relu, value, node = first_relu(kernel.network)
    assert kernel.network.nodes[relu].source == value and kernel.network.nodes[value] is node
    boxes = boxes_of(kernel)
    edges = Edges.of(kernel)
    assert edges.within({k: box for k, box in boxes.items() if k != value}) is None
    assert np.array_equal(edges.within(boxes).entry, edges.entry)
    stable = boxes | {value: (boxes[value][0] + 100, boxes[value][1] + 100)}
    assert edges.within(stable) is None
    monkeypatch.setattr("torchlean.verify.planes.MOST", len(edges.entry) * node.size - 1)
    assert Edges.of(kernel) is None  # too many
