"""SoftFloat: in binary32 to nearest the reference execution bit for bit; in other formats and directions their own."""

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from torchlean import floats, ops
from torchlean.errors import DomainError, ShapeError, Unsupported, UsageError
from torchlean.floats import BFLOAT16, BINARY16, BINARY32, BINARY64, E4M3FN, TF32, Format, Rounding, soft
from torchlean.grad import grad
from torchlean.ir import Builder, f32, trace
from torchlean.meaning import Float, NumberSystem, SoftFloat, cells, fold_dot, to_numpy
from torchlean.meaning.evaluate import evaluate

law = settings(deadline=None, derandomize=True, max_examples=30)
MILLION = 1_000_000
REFERENCE, SOFT = Float(), SoftFloat()
EXTREMES = np.array([0.0, -0.0, 1e-45, -1e-45, 1.17549435e-38, 3.4028235e38, -3.4028235e38, np.inf, -np.inf, np.nan,
                     1.0, -1.0, 0.5, 1.5, 2.5, -2.5, 1 / 3, 8388607.5, 2147483648.0, 9.3e18], np.float32)  # fmt: skip


def same(ours: Any, theirs: np.ndarray) -> None:
    """Equal dtypes, shapes and bits; a NaN equals a NaN (IEEE 754 leaves its payload to the implementation)."""
    ours = to_numpy(ours)
    assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
    if ours.dtype.kind in "iub":
        np.testing.assert_array_equal(ours, theirs)
        return
    nan = np.isnan(ours)
    np.testing.assert_array_equal(nan, np.isnan(theirs))
    as_bits = floats.format_of(ours.dtype).storage
    np.testing.assert_array_equal(
        np.ascontiguousarray(ours)[~nan].view(as_bits), np.ascontiguousarray(theirs)[~nan].view(as_bits)
    )


def million(seed: int) -> np.ndarray:
    """Any pattern; numbers near 1, which cancel and tie; and the extremes."""
    rng = np.random.default_rng(seed)
    anything = rng.integers(0, 2**32, MILLION // 2, dtype=np.uint64).astype(np.uint32).view(np.float32)
    near = (rng.integers(-4096, 4096, MILLION // 2) * 2.0 ** rng.integers(-14, 6, MILLION // 2)).astype(np.float32)
    mixed = np.concatenate([anything, near])
    rng.shuffle(mixed)
    mixed[: EXTREMES.size] = EXTREMES
    return mixed


UNARY = ("neg", "abs", "sqrt", "floor", "round", "isnan")
BINARY = ("add", "sub", "mul", "div", "maximum", "minimum", "less", "less_equal", "equal")


@pytest.mark.slow
@pytest.mark.parametrize("name", UNARY + BINARY)
def test_every_operation_has_the_bits_of_the_reference_on_a_million_cases(name):
    given = [million(i) for i in range(1 if name in UNARY else 2)]
    with np.errstate(all="ignore"):
        same(getattr(SOFT, name)(*map(SOFT.constant, given)), getattr(REFERENCE, name)(*given))


@pytest.mark.slow
@pytest.mark.parametrize("target", ["float64", "float16", "bfloat16", "int8", "int64", "uint32", "bool"])
def test_every_cast_has_the_bits_of_the_reference_on_a_million_cases(target):
    x = million(3)
    same(SOFT.cast(SOFT.constant(x), target), REFERENCE.cast(x, target))
    with np.errstate(all="ignore"):
        back = REFERENCE.cast(x, target)
        same(SOFT.cast(SOFT.cast(SOFT.constant(x), target), "float32"), REFERENCE.cast(back, "float32"))
    if target != "bool":
        same(SOFT.round_to(SOFT.constant(x), target), REFERENCE.round_to(x, target))


@pytest.mark.parametrize("dtype", ["float16", "float64", "bfloat16"])
def test_other_declared_dtypes_have_the_bits_of_the_reference(dtype):
    with np.errstate(all="ignore"):
        x, y = (REFERENCE.cast(million(i)[:50_000].astype(np.float64) * 1.1, dtype) for i in (4, 5))
    ends = REFERENCE.cast(EXTREMES, dtype)
    x[: ends.size], y[: ends.size] = ends, ends[::-1]
    for name in BINARY:
        same(getattr(SOFT, name)(SOFT.constant(x), SOFT.constant(y)), getattr(REFERENCE, name)(x, y))


@law
@given(seed=st.integers(0, 2**32), n=st.integers(1, 12))
@example(seed=0, n=1)
def test_folds_have_the_bits_of_the_reference(seed, n):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(2, 3, n)) * 2.0 ** rng.integers(-8, 8, (2, 3, n))).astype(np.float32)
    w = rng.choice(EXTREMES[:15], (2, 4, n))
    x[rng.random(x.shape) < 0.1] = -0.0
    s, t = SOFT.constant(x), SOFT.constant(w)
    same(SOFT.dot(s, t), REFERENCE.dot(x, w))
    same(SOFT.dot(s, t), fold_dot(REFERENCE, x, w))
    for axes in ((0,), (2, 0), ()):
        same(SOFT.sum(s, axes, keepdims=True), REFERENCE.sum(x, axes, keepdims=True))
        same(SOFT.max(t, axes), REFERENCE.max(w, axes))
    same(SOFT.argmax(t, 1), REFERENCE.argmax(w, 1))
    indices = rng.integers(-5, 5, (3,))
    same(SOFT.scatter_add(s, indices, 1, 5), REFERENCE.scatter_add(x, indices, 1, 5))


def test_structure_moves_the_patterns():
    x = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4) - 7.5
    s = SOFT.constant(x)
    for name, args in {
        "reshape": ((4, 6),), "permute": ((3, 2, 0, 1),), "broadcast": ((5, 2, 3, 4),),
        "slice": ((0, 0, 2, 3), (1, 2, -1, 0), (1, 1, -1, -2)), "pad": ((0, 1, 0, -1), (0, 0, 2, 0), -0.1),
        "gather": (np.array([1, -2]), 1), "windows": ((2, 2), (1, 2), (2, 1), (1, 0), (0, 1), 0.1),
    }.items():  # fmt: skip
        same(getattr(SOFT, name)(s, *args), getattr(REFERENCE, name)(x, *args))
    same(SOFT.concat([s, s], 2), REFERENCE.concat([x, x], 2))
    flags = x > 0
    same(SOFT.where(flags, s, 0.1), REFERENCE.where(flags, x, 0.1))
    assert SOFT.shape(s) == x.shape and SOFT.dtype(s) == "float32"
    assert cells(s)[:2] == cells(x)[:2] == ["-7.5", "-6.5"]


def test_integers_and_bools_are_those_of_the_reference():
    x, y = np.array([7, -7, 3], np.int32), np.array([2, 2, -3], np.int32)
    for name in BINARY:
        same(getattr(SOFT, name)(x, y), getattr(REFERENCE, name)(x, y))
    same(SOFT.cast(x, "bool"), np.array([True, True, True]))
    same(SOFT.cast(np.array([True, False]), "float32"), np.array([1, 0], np.float32))
    same(SOFT.cast(np.array([2**63 - 1]), "float32"), np.array([2.0**63], np.float32))
    same(SOFT.add(x, 1), x + 1)
    with pytest.raises(DomainError, match="divided by zero"):
        SOFT.div(x, np.zeros_like(x))


def network(g: Builder, x: Any) -> Any:
    """Convolution, pooling, a residual connection, a softmax and a loss: most of what a program is made of."""
    w, b = g.parameter("w", f32[3, 1, 3, 3]), g.parameter("b", f32[3])
    h = g.relu(g.conv(x, w, b, stride=(1, 1), padding=((1, 1), (1, 1)), dilation=(1, 1), groups=1))
    h = g.add(h, g.tanh(h))
    h = g.reshape(h, shape=(2, 48))
    y = g.linear(h, g.parameter("v", f32[4, 48]), g.parameter("c", f32[4]))
    return g.sum(g.mul(g.softmax(y, axis=-1), g.sigmoid(y)), axes=(-2, -1), keepdims=False)


def drawn(graph: Any, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    kinds = {n.name: n.type for n in graph.nodes if n.op in ("input", "parameter")}
    return {k: (rng.standard_normal(t.sizes) * 0.5).astype(np.float32) for k, t in kinds.items()}


def outcome(graph: Any, N: Any, values: dict[str, np.ndarray]) -> dict[str, Any]:
    return evaluate(graph, N, {k: N.constant(v) for k, v in values.items()})


def test_whole_programs_have_the_bits_of_the_reference():
    forward = trace(ops.ALL, network, x=f32[2, 1, 4, 4])
    backward = grad(forward, ["x", "w", "b", "v", "c"])
    for graph in (forward, backward):
        values = drawn(graph, 1)
        ours, theirs = outcome(graph, SOFT, values), outcome(graph, REFERENCE, values)
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            same(ours[name], value)


@pytest.mark.parametrize("mode", list(Rounding), ids=lambda m: m.name)
@pytest.mark.parametrize("fmt", [BINARY16, BFLOAT16, TF32, BINARY64, Format.custom("1-6-9", 6, 10)], ids=str)
def test_another_format_computes_in_it(fmt, mode):
    N: NumberSystem = SoftFloat(fmt, mode)
    x, y = np.array([1 / 3, -5.7, 0.1], np.float32), np.array([3.1, 1e-3, 7], np.float32)
    s, t = N.constant(x), N.constant(y)
    a, b = (soft.encode(v, fmt, mode).bits for v in (x, y))
    np.testing.assert_array_equal(s.bits, a)
    assert N.dtype(s) == "float32" and s.fmt == fmt
    for name in ("add", "sub", "mul", "div"):
        np.testing.assert_array_equal(getattr(N, name)(s, t).bits, getattr(soft, name)(a, b, fmt, mode).bits)
    np.testing.assert_array_equal(N.sqrt(t).bits, soft.sqrt(b, fmt, mode).bits)
    total = soft.add(soft.add(soft.add(np.zeros((), fmt.storage), a[0], fmt, mode).bits, a[1], fmt, mode).bits,
                     a[2], fmt, mode).bits  # fmt: skip
    assert N.sum(s, (0,)).bits == total
    wide = N.cast(s, "float64")
    assert wide.fmt is BINARY64 and (wide.numpy() == soft.decode(a, fmt)).all()


def test_a_direction_bounds_the_result_of_a_sum_of_positive_terms():
    rng = np.random.default_rng(7)
    x = rng.random((40, 50)).astype(np.float32)
    exact = x.astype(np.float64).sum(axis=0)  # 29 bits more than float32: exact
    down, up = (SoftFloat(BINARY32, m) for m in (Rounding.DOWN, Rounding.UP))
    low, high = (to_numpy(N.sum(N.constant(x), (0,))).astype(np.float64) for N in (down, up))
    assert (low <= exact).all() and (exact <= high).all() and (low < high).any()


def test_what_the_system_cannot_mean_is_refused():
    with pytest.raises(UsageError, match="what an overflow gives is not stated"):
        SoftFloat(E4M3FN)
    with pytest.raises(UsageError, match="is no Rounding"):
        SoftFloat(BINARY32, "UP")  # type: ignore[arg-type]
    half = SoftFloat(BINARY16).constant(np.ones(2, np.float32))
    for attempt in (lambda: SOFT.add(half, SOFT.constant(np.ones(2, np.float32))), lambda: SOFT.add(half, 1.0),
                    lambda: SOFT.sum(half, (0,)), lambda: SOFT.exp(half), lambda: SOFT.concat([half, half], 0),
                    lambda: SOFT.sqrt(half)):  # fmt: skip
        with pytest.raises(UsageError, match="a value of another format"):
            attempt()
    with pytest.raises(Unsupported, match="do not compute in fp8"):
        SOFT.cast(SOFT.constant(np.ones(2, np.float32)), "f8e4m3")
    with pytest.raises(ShapeError, match="no dtype of this name"):
        SOFT.cast(SOFT.constant(np.ones(2, np.float32)), "f80")
    with pytest.raises(UsageError, match="exp of integers"):
        SOFT.exp(np.array([1]))
    saturating = SoftFloat(E4M3FN, rules=soft.Rules(overflow=soft.Overflow.SATURATE))
    assert to_numpy(saturating.mul(saturating.constant(np.array([300.0], np.float32)), 2.0)) == 448.0
