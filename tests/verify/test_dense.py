"""The float32 search's walk: its bounds hold at sampled points and agree with the kernel's."""

from __future__ import annotations

import numpy as np
import pytest

import torchlean_check as tc
from torchlean.bounds.dense import Walk
from torchlean.verify.attack import forward
from torchlean.verify.lower import lower, lower_with_origins
from torchlean.verify.maps import NumpyMaps


def load(mlp, files, seed, sizes=(4, 16, 16, 3)):
    _, write = files
    _, model = mlp(sizes, seed)
    n = sizes[0]
    claim = write(
        ["-0.5"] * n, ["0.5"] * n, sizes[-1], ["(assert (or (and (<= Y_0 Y_1) (<= Y_0 0.1)) (and (>= Y_2 0.7))))"]
    )
    network, regions = tc.load(model, claim)
    return network, regions[0]


def boxes(rng, count, n):
    center = rng.uniform(-0.4, 0.4, (count, n))
    radius = rng.uniform(0.01, 0.1, (count, n))
    return (center - radius).astype(np.float32).astype(np.float64), (center + radius).astype(np.float32).astype(
        np.float64
    )


def walk(stack, lo, hi):
    center = (0.5 * (lo + hi)).astype(np.float32)
    radius = (np.maximum(hi - center, center - lo) * (1 + 2.0**-22)).astype(np.float32)
    wide = [np.full((len(lo), n), np.inf, np.float32) for n in stack.sizes]
    low, high = [-w for w in wide], [w.copy() for w in wide]
    engine = Walk(stack)
    lines, largest = engine.tighten(center, radius, low, high)
    margin, form = engine.objective(center, radius, lines, largest, np.arange(len(stack.rows.bias)))
    return low, high, margin, form


@pytest.mark.parametrize("seed", range(4))
def test_bounds_hold_at_sampled_points(seed, mlp, files) -> None:
    network, region = load(mlp, files, seed)
    rng = np.random.default_rng(seed)
    lo, hi = boxes(rng, 24, 4)
    _, _, margin, _ = walk(lower(network, region, "float32"), lo, hi)
    for b in range(24):
        x = rng.uniform(lo[b], hi[b], (200, 4))
        y, _ = forward(network, NumpyMaps(network), x)
        g = y @ region.rows_y.T + region.rows_c
        assert (g >= margin[b]).all()


def test_margins_agree_with_the_kernel(mlp, files) -> None:
    network, region = load(mlp, files, 7)
    lo, hi = boxes(np.random.default_rng(7), 16, 4)
    _, _, margin, _ = walk(lower(network, region, "real"), lo, hi)
    kernel = tc.Kernel(network, region, semantics="real")
    state = kernel.start().take([0] * 16)
    state.lo[:], state.hi[:] = lo, hi
    bounds = kernel.bound(state, derive=True)
    # two roads to the same lines, one in float32: no soundness rests on this
    assert np.allclose(margin, bounds.margin, atol=2e-3 * np.abs(bounds.margin).max())


def test_a_skip_passes_through_as_a_linear_entry(files) -> None:
    """y = relu(relu(x) - 0.25) + relu(x): the first relu is read by the second layer and by the output."""
    from onnx import TensorProto, helper, numpy_helper

    _, write = files
    eye = numpy_helper.from_array(np.eye(2, dtype=np.float32), "w")
    bias = numpy_helper.from_array(np.full(2, -0.25, np.float32), "b")
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Gemm", ["a", "w", "b"], ["z"]),
        helper.make_node("Relu", ["z"], ["c"]),
        helper.make_node("Add", ["a", "c"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 2]) for n in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y], initializer=[eye, bias])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
    network, (region,) = tc.load(model, write(["-1.0"] * 2, ["1.0"] * 2, 2, ["(assert (<= Y_0 -0.5))"]))
    stack, origins = lower_with_origins(network, region, "real")
    assert [len(o[0]) for o in origins] == [2, 2] and stack.layers[1].gate.tolist() == [True, True, False, False]
    lo, hi = np.array([[0.5, -1.0]]), np.array([[1.0, 1.0]])
    _, _, margin, _ = walk(stack, lo, hi)
    assert 0.70 < margin[0, 0] <= 1.25  # min of g = y_0 + 0.5 is 1.25: the walk is exact where nothing crosses 0
