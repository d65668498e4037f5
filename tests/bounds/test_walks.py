"""The interval walk and the backward linear walk on graphs of every kind that they take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import torchlean as tl
from torchlean import floats, ops
from torchlean.errors import MissingRule, ShapeError, UsageError
from torchlean.ir import Builder, TensorType, f32, trace
from torchlean.run.program import Program

Body = Callable[[Builder, Any], Any]


def weights(g: Builder, name: str, *shape: int) -> Any:
    return g.parameter(name, f32[shape])


def program(body: Body, kind: TensorType, seed: int = 0) -> Program:
    rng = np.random.default_rng(seed)
    graph = trace(ops.ALL, body, x=kind)
    arrays = {
        n: (rng.standard_normal(t.sizes) / 2).astype(np.float32) for n, t in graph.source_types("parameter").items()
    }
    arrays = {n: np.abs(a) + np.float32(0.5) if n == "var" else a for n, a in arrays.items()}
    return Program(graph, arrays)


def dense(g: Builder, x: Any) -> Any:
    h = g.relu(g.linear(x, weights(g, "w0", 8, 4), weights(g, "b0", 8)))
    h = g.relu(g.add(g.matmul(h, weights(g, "w1", 8, 8)), weights(g, "b1", 8)))
    return g.linear(h, weights(g, "w2", 3, 8), weights(g, "b2", 3))


def residual(g: Builder, x: Any) -> Any:
    h = g.relu(g.linear(x, weights(g, "w0", 4, 4), weights(g, "b0", 4)))
    h = g.relu(g.add(g.linear(h, weights(g, "w1", 4, 4)), x))
    return g.sub(h, g.mul(x, weights(g, "scale", 4)))


def computed_constant(g: Builder, x: Any) -> Any:
    scale = g.mul(weights(g, "a", 4), weights(g, "b", 4))  # a constant known only to a range in float32
    return g.relu(g.mul(x, scale))


def pieces(g: Builder, x: Any) -> Any:
    h = g.linear(x, weights(g, "w", 4, 4), weights(g, "b", 4))
    h = g.maximum(g.leaky_relu(h, slope=0.1), g.abs(x))
    h = g.minimum(h, g.clip(x, lo=-0.5, hi=0.5))
    return g.max(h, axes=(-1,), keepdims=True)


def convolution(g: Builder, x: Any) -> Any:
    h = g.conv(x, weights(g, "k0", 3, 2, 3, 3), weights(g, "c0", 3), stride=(1, 1), padding=((1, 1), (1, 1)),
               dilation=(1, 1), groups=1)  # fmt: skip
    h = g.batch_norm(h, *(weights(g, n, 3) for n in ("gamma", "beta", "mean", "var")), epsilon=1e-5)
    h = g.max_pool(g.relu(h), kernel=(2, 2), stride=(2, 2), padding=((0, 0), (0, 0)))
    return g.linear(g.flatten(h), weights(g, "w", 2, 12), weights(g, "b", 2))


def smooth(op: str) -> Body:
    def body(g: Builder, x: Any) -> Any:
        h = g.apply(op, g.linear(x, weights(g, "w0", 8, 4), weights(g, "b0", 8)))
        h = g.apply(op, g.linear(h, weights(g, "w1", 8, 8), weights(g, "b1", 8)))
        return g.linear(h, weights(g, "w2", 3, 8), weights(g, "b2", 3))

    return body


def positive(g: Builder, x: Any) -> Any:
    h = g.add(g.square(g.linear(x, weights(g, "w0", 4, 4), weights(g, "b0", 4))), 0.25)
    return g.sub(g.log(h), g.sqrt(g.add(h, g.exp(g.neg(h)))))


def attention(g: Builder, x: Any) -> Any:
    """One head: a product of two varying matrices, softmax of it, and a product of that with a third."""
    q, k, v = (g.linear(x, weights(g, n, 3, 4), weights(g, f"{n}b", 3)) for n in "qkv")
    scores = g.matmul(q, g.permute(k, axes=(-3, -1, -2)))
    return g.log_softmax(g.matmul(g.softmax(scores, axis=-1), v), axis=-2)


def quotients(g: Builder, x: Any) -> Any:
    """Products and quotients of varying numbers, a choice by one of them, waves and steps."""
    h = g.linear(x, weights(g, "w", 4, 4), weights(g, "b", 4))
    h = g.div(g.mul(h, g.sin(x)), g.add(g.exp(h), 1.0))
    return g.where(g.less(h, 0.01), g.mul(h, g.cos(x)), g.add(g.floor(x), g.erf(h)))


def truths(g: Builder, x: Any) -> Any:
    """Comparisons and logic as numbers that are computed with."""
    h = g.linear(x, weights(g, "w", 4, 4), weights(g, "b", 4))
    a, b = g.less(h, x), g.less_equal(g.mul(h, 0.5), 0.1)
    both = g.logical_or(g.logical_and(a, b), g.logical_not(g.logical_and(a, g.less(x, 0.0))))
    return g.add(g.cast(both, dtype="f32"), g.mul(x, g.cast(a, dtype="f32")))


CASES: dict[str, tuple[Body, TensorType]] = {
    "truths": (truths, f32["n", 4]),
    "attention": (attention, f32["n", 5, 4]),
    "quotients": (quotients, f32["n", 4]),
    "tanh": (smooth("tanh"), f32["n", 4]),
    "sigmoid": (smooth("sigmoid"), f32["n", 4]),
    "positive": (positive, f32["n", 4]),
    "dense": (dense, f32["n", 4]),
    "dense, fixed batch": (dense, f32[1, 4]),
    "residual": (residual, f32["n", 4]),
    "computed constant": (computed_constant, f32["n", 4]),
    "pieces": (pieces, f32["n", 4]),
    "convolution": (convolution, f32["n", 2, 4, 4]),
}
each_case = pytest.mark.parametrize("case", CASES)
each_method = pytest.mark.parametrize("method", ["interval", "crown"])


def shape_of(kind: TensorType) -> tuple[int, ...]:
    return tuple(s for s in kind.shape if isinstance(s, int))


def regions(kind: TensorType, count: int = 3, width: float = 0.3) -> list[Any]:
    rng = np.random.default_rng(1)
    return [
        tl.box(rng.standard_normal(shape_of(kind)).astype(np.float32), width * (i + 1) / count) for i in range(count)
    ]


def samples(region: Any, count: int) -> np.ndarray:
    lo, hi = region.hull32()
    rng = np.random.default_rng(2)
    points = lo + (hi - lo) * rng.random((count, *lo.shape), np.float32)
    points[: count // 2] = np.where(rng.random((count // 2, *lo.shape)) < 0.5, lo, hi)  # corners
    return np.clip(points, lo, hi).astype(np.float32)


def run(p: Program, x: np.ndarray, backend: str = "reference") -> np.ndarray:
    t = p.input_type
    if isinstance(t.shape[0], int):
        return np.stack([p(one.reshape(t.sizes), backend=backend) for one in x])
    return np.asarray(p(x.reshape(len(x), *t.shape[1:]), backend=backend))


@each_case
@each_method
def test_every_execution_lies_in_the_float32_bounds(case: str, method: str) -> None:
    body, kind = CASES[case]
    for seed in range(4):
        p = program(body, kind, seed)
        for region in regions(kind):
            lo, hi = tl.bounds(p, region, method, semantics="float32")
            for backend in ("reference", "eager-cpu"):
                y = run(p, samples(region, 60), backend).astype(np.float64)
                assert (lo <= y).all() and (y <= hi).all()


@each_case
def test_the_linear_walk_is_never_looser_than_intervals(case: str) -> None:
    body, kind = CASES[case]
    for region in regions(kind):
        p = program(body, kind)
        (a, b), (c, d) = (tl.bounds(p, region, m) for m in ("interval", "crown"))
        assert (a <= c).all() and (d <= b).all()


@pytest.mark.parametrize("case", ["tanh", "sigmoid", "attention"])
def test_lines_of_smooth_functions_beat_intervals(case: str) -> None:
    body, kind = CASES[case]
    for region in regions(kind):
        p = program(body, kind)
        (a, b), (c, d) = (tl.bounds(p, region, m) for m in ("interval", "crown"))
        assert ((d - c) < 0.6 * (b - a)).all()


@each_case
def test_float32_intervals_contain_the_real_ones(case: str) -> None:
    body, kind = CASES[case]
    p, region = program(body, kind), regions(kind)[0]
    (a, b), (c, d) = (tl.bounds(p, region, "interval", semantics=s) for s in ("float32", "real"))
    assert (a <= c).all() and (d <= b).all()


@each_case
def test_equal_boxes_in_a_batch_are_bounded_as_alone(case: str) -> None:
    body, kind = CASES[case]
    p, region = program(body, kind), regions(kind)[2]
    lo, hi = tl.bounds(p, [region] * 3)
    low, high = tl.bounds(p, region)
    for i in range(3):
        # float64 sums in another order: 1e-12 is 4,500 ulps at 1
        np.testing.assert_allclose(lo[i].ravel(), low.ravel(), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(hi[i].ravel(), high.ravel(), rtol=1e-12, atol=1e-12)


@each_case
def test_row_chunks_and_torch_change_nothing(case: str) -> None:
    body, kind = CASES[case]
    p, region = program(body, kind), regions(kind)[0]
    whole = tl.bounds(p, region)
    for other in (tl.bounds(p, region, budget=1), tl.bounds(p, region, device="cpu")):
        np.testing.assert_allclose(np.stack(other), np.stack(whole), rtol=1e-12, atol=1e-12)  # orders of sums differ


def test_a_linear_program_is_bounded_exactly() -> None:
    p = program(lambda g, x: g.linear(x, weights(g, "w", 3, 4), weights(g, "b", 3)), f32[1, 4])
    region = tl.box(np.zeros(4, np.float32), 0.5)
    lo, hi = tl.bounds(p, region)
    w, b = p.parameters["w"].astype(np.float64), p.parameters["b"].astype(np.float64)
    np.testing.assert_allclose(lo[0], b - 0.5 * np.abs(w).sum(1), rtol=1e-14)
    np.testing.assert_allclose(hi[0], b + 0.5 * np.abs(w).sum(1), rtol=1e-14)


def test_float32_bounds_cover_sums_in_every_order() -> None:
    """One cancelling row: the left fold and a permuted one differ by far more than the real bounds' width."""
    rng = np.random.default_rng(5)
    w = np.concatenate([rng.standard_normal(64) * 1e4, np.zeros(64)]).astype(np.float32)
    w[64:] = -w[:64]
    x = np.ones(128, np.float32)
    p = Program(trace(ops.ALL, lambda g, x: g.linear(x, weights(g, "w", 1, 128)), x=f32[1, 128]), {"w": w[None]})
    lo, hi = tl.bounds(p, tl.box(x, 0), semantics="float32")
    real_lo, real_hi = tl.bounds(p, tl.box(x, 0))
    escaped = 0
    for _ in range(50):
        order = floats.random_order(128, rng)
        for fused in (False, True):
            y = floats.execute(floats.Execution(order, fused=(fused,) * 128), x, w)
            assert (lo <= y).all() and (y <= hi).all()
            escaped += not ((real_lo <= y).all() and (y <= real_hi).all())
    assert escaped > 50  # so the error boxes are what holds here


def test_any_slope_is_sound_and_slopes_matter() -> None:
    p = program(dense, f32["n", 4])
    region = tl.box(np.zeros(4, np.float32), 1.0)
    relus = [i for i, n in enumerate(p.graph.nodes) if n.op == "relu"]
    y = run(p, samples(region, 200)).astype(np.float64)
    found = []
    for value in (0.0, 0.3, 1.0):
        lo, hi = tl.bounds(p, region, semantics="float32", slopes={i: np.full((1, 8), value) for i in relus})
        assert (lo <= y).all() and (y <= hi).all()
        found.append(lo)
    assert (found[0] != found[2]).any()


def test_a_missing_relaxation_raises() -> None:
    p = program(lambda g, x: g.cast(g.cast(x, dtype="i32"), dtype="f32"), f32["n", 4])
    with pytest.raises(MissingRule):
        tl.bounds(p, tl.box(np.zeros(4), 1))


def test_a_position_is_bounded_by_those_that_may_win() -> None:
    p = program(lambda g, x: g.cast(g.argmax(x, axis=-1), dtype="f32") * 2.0, f32["n", 4])
    low, high = tl.bounds(p, tl.box(np.array([-9.0, 0.0, 1.0, -9.0]), 1))
    assert low.tolist() == [2.0] and high.tolist() == [4.0]


def test_an_index_that_varies_raises() -> None:
    p = program(lambda g, x: g.gather(weights(g, "w", 4), g.argmax(x, axis=-1), axis=-1), f32["n", 4])
    with pytest.raises(MissingRule, match="gather"):
        tl.bounds(p, tl.box(np.zeros(4), 1))


def test_a_product_is_bounded_by_planes_that_meet_it_at_the_corners() -> None:
    """x y on [1, 3] x [2, 5] has McCormick's bounds at every corner: with t = 0 and t = 1 the planes pass through two
    each.
    """
    x, y = (np.array([[1.0]]), np.array([[3.0]])), (np.array([[2.0]]), np.array([[5.0]]))
    rule = ops.ALL["mul"].rule("relax").lines
    for t, corners in ((0.0, ((1, 2), (1, 5), (3, 2))), (1.0, ((3, 5), (1, 5), (3, 2)))):
        lines = rule(np, (x, y), np.full((1, 1), t))
        for a, b in corners:
            assert abs(lines.lower[0] * a + lines.lower[1] * b + lines.lower_bias - a * b) < 1e-12


def test_bad_arguments_are_refused() -> None:
    p = program(dense, f32["n", 4])
    with pytest.raises(ShapeError, match="4 coordinates"):
        tl.bounds(p, tl.box(np.zeros(5), 1))
    with pytest.raises(UsageError, match="CROWN"):
        tl.bounds(p, tl.box(np.zeros(4), 1), "magic")
    with pytest.raises(UsageError, match="cuda"):
        tl.bounds(p, tl.box(np.zeros(4), 1), device="tpu")
    with pytest.raises(UsageError, match="no region"):
        tl.bounds(p, [])


@pytest.mark.gpu
@each_case
def test_cuda_bounds_hold_and_are_near(case: str) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    body, kind = CASES[case]
    p, region = program(body, kind), regions(kind)[0]
    # float32 coefficients on the device: a search, so nearness is what is asked; slopes of softmax cancel
    near = 1e-3 if case == "attention" else 1e-4
    np.testing.assert_allclose(
        np.stack(tl.bounds(p, region, device="cuda")), np.stack(tl.bounds(p, region)), rtol=near, atol=near
    )


def test_a_partial_sum_that_may_overflow_leaves_no_bound() -> None:
    """The real sum is 0, but an execution may add the two large products first."""
    p = Program(trace(ops.ALL, lambda g, x: g.linear(x, weights(g, "w", 1, 4)), x=f32[1, 4]),
                {"w": np.array([[3e38, 3e38, -3e38, -3e38]], np.float32)})  # fmt: skip
    lo, hi = tl.bounds(p, tl.box(np.ones(4), 0), "interval", semantics="float32")
    assert lo == -np.inf and hi == np.inf
    lo, hi = tl.bounds(p, tl.box(np.ones(4), 0), "interval")
    assert np.isfinite(lo) and np.isfinite(hi)


def test_a_divisor_that_varies_rounds_at_its_smallest() -> None:
    p = program(lambda g, x: g.div(weights(g, "w", 4), x), f32["n", 4])
    region = tl.box(np.full(4, 2.0), 0.5)
    (lo, hi), (low, high) = (tl.bounds(p, region, "interval", semantics=s) for s in ("real", "float32"))
    assert (low < lo).all() and (hi < high).all() and (high - hi < 1e-5).all()
    assert np.isinf(tl.bounds(p, tl.box(np.full(4, 2.0), 2.0), "interval", semantics="float32")[1]).all()
