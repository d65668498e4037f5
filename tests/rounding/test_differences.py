"""Each operation of the carrier: exact results of two different points, and their exact difference, are enclosed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchlean.errors import DomainError
from torchlean.meaning import IntervalReal, Real
from torchlean.rounding.differences import Differences
from torchlean.rounding.left_to_right import LeftToRight
from torchlean.rounding.twin import Twin, meet, ranges

N, IR, REAL = Differences(), IntervalReal(), Real(precision=300)
law = settings(deadline=None, derandomize=True, max_examples=60)

UNARY = (
    "neg", "abs", "sqrt", "exp", "log", "tanh", "sigmoid", "expm1", "log1p", "sin", "cos", "erf", "softplus", "silu",
    "gelu", "floor", "round",
)  # fmt: skip
BINARY = ("add", "sub", "mul", "div", "maximum", "minimum", "less", "less_equal", "equal")
FOLDS = {
    "sum": lambda S, x: S.sum(x, (-1,)),
    "max": lambda S, x: S.max(x, (-1,)),
    "square": lambda S, x: S.mul(x, x),
    "nothing": lambda S, x: S.sub(x, x),
    "argmax": lambda S, x: S.argmax(x, -1),
    "windows": lambda S, x: S.windows(x, (2,), (1,), (1,), (1,), (0,), 1.5),
    "pad": lambda S, x: S.pad(x, (0, 1), (0, 0), -2.0),
    "gather": lambda S, x: S.gather(x, np.array([3, 0, 3]), 1),
    "scatter": lambda S, x: S.scatter_add(x, np.array([1, 0, 1, 2]), 1, 3),
    "chosen": lambda S, x: S.where(S.less(x, S.literal(0.3, x)), S.mul(x, x), S.neg(x)),
    "gathered": lambda S, x: S.gather(x, S.argmax(x, 1), 1),
    "concat": lambda S, x: S.concat([S.neg(x), S.mul(x, x)], -1),
    "to int": lambda S, x: S.cast(x, "int64"),
    "from int": lambda S, x: S.cast(S.cast(x, "int32"), "float32"),
}


def twins(rng: np.random.Generator, shape: tuple[int, ...], positive: bool = False) -> tuple[Twin, Any, Any]:
    """A twin, and a real and a computed point of it."""
    real = rng.normal(size=shape).astype(np.float32).astype(float)
    if positive:
        real = np.abs(real) + 0.125
    size = 2.0 ** rng.integers(-24, 0, shape)
    computed = (real + size * rng.uniform(-1, 1, shape) * (rng.random(shape) < 0.8)).astype(np.float32).astype(float)
    if positive:
        computed = np.abs(computed) + 2.0**-10
    wide = np.abs(rng.normal(size=(4, *shape))) * (rng.random((4, *shape)) < 0.6) * rng.choice([0.01, 1.0])
    floor = 2.0**-11 if positive else -np.inf
    apart = computed - real  # both have few bits: exact
    sure = rng.random(shape) < 0.3
    gap = ranges(np.where(sure, apart, apart - size * wide[2]), np.where(sure, apart, apart + size * wide[3]))
    real_box = IR.enclose(np.maximum(real - wide[0], floor), real + wide[1])
    computed_box = IR.enclose(np.maximum(computed - wide[1], floor), computed + wide[0])
    return meet(real_box, computed_box, gap), real, computed


def enclosed(tools: Any, found: Twin, real: Any, computed: Any) -> None:
    """The results of the two points lie where `found` says."""
    if isinstance(real, np.ndarray):
        assert found.real.contains(real).all() and found.computed.contains(computed).all()
        apart = computed.astype(float) - real.astype(float)
        assert (found.gap.lo <= apart).all() and (apart <= found.gap.hi).all()
        return
    boxes = (found.real.lo, found.real.hi, found.computed.lo, found.computed.hi, found.gap.lo, found.gap.hi)
    flat = [np.broadcast_to(b, found.shape).ravel().tolist() for b in boxes]
    pairs = zip(real.values.ravel().tolist(), computed.values.ravel().tolist(), strict=True)
    for (r, f), ends in zip(pairs, zip(*flat, strict=True), strict=True):
        assert tools.inside(r, *ends[:2]) and tools.inside(f, *ends[2:4]) and tools.inside(f - r, *ends[4:])


@pytest.mark.parametrize("name", UNARY)
@law
@given(seed=st.integers(0, 2**32))
def test_functions(tools: Any, name: str, seed: int) -> None:
    x, real, computed = twins(np.random.default_rng(seed), (3,), positive=name in ("sqrt", "log", "log1p"))
    found = getattr(N, name)(x)
    enclosed(tools, found, *(getattr(REAL, name)(REAL.constant(p.astype(np.float64))) for p in (real, computed)))


@pytest.mark.parametrize("name", BINARY)
@law
@given(seed=st.integers(0, 2**32))
def test_pairs(tools: Any, name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    (x, *px), (y, *py) = twins(rng, (2, 3)), twins(rng, (3,), positive=bool(rng.random() < 0.5))
    found = getattr(N, name)(x, y)
    try:
        values = [getattr(REAL, name)(REAL.constant(a), REAL.constant(b)) for a, b in zip(px, py, strict=True)]
    except DomainError:
        assert found.real.nan.any()
        return
    enclosed(tools, found, *values)


@pytest.mark.parametrize("name", FOLDS)
@law
@given(seed=st.integers(0, 2**32))
def test_folds_and_structure(tools: Any, name: str, seed: int) -> None:
    x, *points = twins(np.random.default_rng(seed), (2, 4))
    enclosed(tools, FOLDS[name](N, x), *(FOLDS[name](REAL, REAL.constant(p)) for p in points))


@law
@given(seed=st.integers(0, 2**32), constant=st.booleans())
def test_dot(tools: Any, seed: int, constant: bool) -> None:
    rng = np.random.default_rng(seed)
    (x, *px), (w, *pw) = twins(rng, (2, 5)), twins(rng, (3, 5))
    if constant:
        weights = rng.normal(size=(3, 5))
        w, pw = N.constant(weights), [weights, weights]
    values = [REAL.dot(REAL.constant(a), REAL.constant(b)) for a, b in zip(px, pw, strict=True)]
    enclosed(tools, N.dot(x, w), *values)


@law
@given(seed=st.integers(0, 2**32))
def test_the_reference_rounds_once(tools: Any, seed: int) -> None:
    """float32 results of the reference on the computed points are in `computed`, and their difference in `gap`."""
    from torchlean.meaning import Float

    rng, S, F = np.random.default_rng(seed), LeftToRight(), Float()
    (x, *px), (y, *py) = twins(rng, (2, 6)), twins(rng, (2, 6), positive=True)
    singles = [np.asarray(p[1], np.float32) for p in (px, py)]
    tests: dict[str, Any] = {
        "mul": lambda s, a, b: s.mul(a, b), "div": lambda s, a, b: s.div(a, b), "add": lambda s, a, b: s.add(a, b),
        "dot": lambda s, a, b: s.dot(a, b), "sum": lambda s, a, b: s.sum(a, (-1,)), "exp": lambda s, a, b: s.exp(a),
        "scatter": lambda s, a, b: s.scatter_add(b, np.array([1, 0, 1, 1, 2, 2]), 1, 3),
    }  # fmt: skip
    for f in tests.values():
        found, got = f(S, x, y), f(F, *singles)
        exact = f(REAL, REAL.constant(px[0]), REAL.constant(py[0]))
        assert found.computed.contains(got).all()
        flat = (exact.values.ravel().tolist(), got.ravel().tolist(), found.gap.lo.ravel(), found.gap.hi.ravel())
        for r, value, lo, hi in zip(*flat, strict=True):
            assert tools.inside(tools.rational(value) - r, float(lo), float(hi))


def test_what_surely_agrees_has_no_difference() -> None:
    x = N.constant(np.array([0.5, -2.0], np.float32))
    for name in ("exp", "tanh", "floor", "sin"):
        assert getattr(N, name)(x).same.all()
    row = N.reshape(x, (1, 2))
    assert N.less(x, 0.0).same.all() and N.div(x, 3.0).same.all() and N.dot(row, np.ones((1, 2), np.float32)).same.all()


def test_a_decided_branch_costs_nothing_of_the_other() -> None:
    box = meet(IR.enclose([1.0], [2.0]), IR.enclose([1.0], [2.0]), ranges([-1e-6], [1e-6]))
    other = N.constant(np.array([100.0], np.float32))
    chosen = N.where(N.less(box, 5.0), box, other)
    assert chosen.gap.hi[0] == 1e-6 and N.minimum(box, other).gap.lo[0] == -1e-6
    open_ = N.where(N.less(box, 1.5), box, other)
    assert open_.gap.hi[0] >= 98 and open_.gap.lo[0] <= -98
