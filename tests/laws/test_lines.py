"""Lines enclose: at exact rationals, for any free slope, on numpy and torch, in float32 and float64. No tolerance."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import array_api_compat.numpy
import array_api_compat.torch
import numpy as np
import pytest
import torch
from law_cases import CASES, Arg, Case

from torchlean import ops
from torchlean.ir import Linear, TensorType, f32, f64
from torchlean.meaning import Real, Reals
from torchlean.ops.lines import Lines

BOXES = 80


def lined(case: Case) -> Any:
    """The op's lines: those for several varying inputs where it is linear in one."""
    relax = ops.ALL[case.op].relax
    return relax.lines if isinstance(relax, Linear) else relax


LINED = tuple(
    replace(c, constant=()) if isinstance(ops.ALL[c.op].relax, Linear) else c
    for c in CASES
    if callable(lined(c))
    and not (c.op == "mul" and "i64" in str(c))
    and c.op not in ("softmax", "log_softmax")  # test_curves.py: on boxes whose exponentials can be worked out
    and not (c.op == "cast" and "i" in str(c.attrs["dtype"]))
    and c.attrs.get("overflow") != "ieee"  # no line where a box leaves the grid's range
)
each_case = pytest.mark.parametrize("case", [c for c in LINED if c.floats or "bool" in c.args[0].type], ids=str)


def test_every_relax_is_a_rule_a_reason_or_linear() -> None:
    for op in ops.ALL.values():
        if isinstance(op.relax, Linear):
            arity = {len(c.args) for c in CASES if c.op == op.name}
            assert op.name == "concat" or all(a < max(arity) for a in op.relax.args) or not arity, op.name


def boxes(shape: tuple[int, ...], dtype: type, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """[BOXES, *shape]: of every magnitude, degenerate, narrow, wide, around 0, with subnormals and large numbers."""
    rng = np.random.default_rng(seed)
    info = np.finfo(dtype)

    def draw() -> np.ndarray:
        exponent = rng.choice(
            [0.0, 0.0, 0.0, -1.0, 3.0, info.minexp, info.minexp - 20, info.maxexp - 3.0], (BOXES, *shape)
        )
        sign = rng.choice([-1.0, 1.0, 1.0, 0.0], (BOXES, *shape))
        return np.asarray((sign * rng.uniform(0.5, 1, (BOXES, *shape)) * np.exp2(exponent)).astype(dtype))

    a, b = draw(), draw()
    kind = rng.integers(0, 5, (BOXES, *shape))
    b = np.where(kind == 0, a, np.where(kind == 1, np.nextafter(a, dtype(np.inf)), b)).astype(dtype)
    return np.minimum(a, b), np.maximum(a, b)


def codes(type: TensorType, arg: Arg, dtype: Any, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """[BOXES, *shape]: ranges of whole numbers, or of truth values as 0 and 1."""
    if type.dtype.kind == "bool":
        arg = Arg(arg.type, 0, 2)
    ends = np.random.default_rng(seed).integers(int(arg.lo), int(arg.hi), (2, BOXES, *type.sizes)).astype(dtype)
    return ends.min(axis=0), ends.max(axis=0)


def points(case: Case, lo: np.ndarray, hi: np.ndarray, seed: int) -> list[np.ndarray]:
    """Ends, middles, 0 and the kinks: points of every box, as floats."""
    rng = np.random.default_rng(seed)
    middle = np.clip(lo + rng.random(lo.shape).astype(lo.dtype) * (hi / 2 - lo / 2) * 2, lo, hi)
    mixed = np.where(rng.random(lo.shape) < 0.5, lo, hi)
    kinks = [case.attrs[k] for k in ("lo", "hi") if k in case.attrs and np.isfinite(case.attrs[k])]
    at = [np.clip(np.full_like(lo, k), lo, hi) for k in (0.0, *kinks)]
    return [lo, hi, middle, mixed, *at]


def as_numpy(x: Any) -> np.ndarray:
    return x.numpy() if isinstance(x, torch.Tensor) else np.asarray(x)


def check(case: Case, lines: Lines, x: list[np.ndarray], outward: tuple[np.ndarray, ...] = ()) -> None:
    """lower <= f <= upper at the points x, in exact rationals."""
    N = Real()
    values = [N.constant(v) for v in x]
    attrs = {**case.attrs, **({"axes": case.attrs["axes"]} if "axes" in case.attrs else {})}
    exact: Any = ops.ALL[case.op].meaning(N, *values, **attrs)  # type: ignore[operator]
    exact = exact if isinstance(exact, Reals) else N.cast(exact, "float64")

    def line(slopes: tuple[Any, ...], bias: Any) -> Any:
        total = N.constant(as_numpy(bias))
        for slope, v in zip(slopes, values, strict=not case.constant):  # constants stand in the biases
            if slope is None:  # a condition
                continue
            v = v if isinstance(v, Reals) else N.cast(v, "float64")
            term = N.mul(N.constant(as_numpy(slope)), v)
            if "axes" in attrs:
                term = N.sum(term, attrs["axes"], attrs["keepdims"])
            total = N.add(total, term)
        return total

    for bias in (lines.lower_bias, lines.upper_bias):
        assert not np.isnan(as_numpy(bias)).any()
    below, above = line(lines.lower, lines.lower_bias), line(lines.upper, lines.upper_bias)
    assert N.shape(below) == N.shape(above) == N.shape(exact)
    assert bool(np.all(N.less_equal(below, exact)))
    assert bool(np.all(N.less_equal(exact, above)))


@each_case
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("free", ["own", "random"])
def test_lines_enclose_the_meaning(case: Case, dtype: type, library: str, free: str) -> None:
    types = case.static_types(f64)
    ends = [boxes(t.sizes, dtype, seed) if t.dtype.kind == "float" else codes(t, case.args[seed], dtype, seed)
            for seed, t in enumerate(types)]  # fmt: skip
    for i, arg in enumerate(case.args):
        if arg.lo >= 0 and types[i].dtype.kind == "float":  # a domain without negative numbers
            ends[i] = tuple(np.sort(np.abs(np.stack(ends[i])) + np.finfo(dtype).tiny, axis=0))  # type: ignore[assignment]
    for i in case.constant:
        ends[i] = (case.values(f64)[f"x{i}"].astype(dtype),) * 2
    if len(ends) > 1 and not case.constant:  # batch axes: operands of equal rank, as the walk gives them
        rank = max(lo.ndim for lo, _ in ends)
        ends = [tuple(v.reshape(v.shape[0], *([1] * (rank - v.ndim)), *v.shape[1:]) for v in e) for e in ends]  # type: ignore[misc]
    out = ends[0][0].shape if case.constant else np.broadcast_shapes(*(lo.shape for lo, _ in ends))
    slope = None if free == "own" else np.random.default_rng(3).choice([0.0, 1.0, 0.3, 0.7], out).astype(dtype)
    attrs = {k: float(np.asarray(v).astype(np.float32)) if isinstance(v, float) else v for k, v in case.attrs.items()}
    rounded = Case(case.op, case.args, attrs, case.constant)
    xp: Any = array_api_compat.numpy
    given: Any = tuple(ends)
    if library == "torch":
        xp = array_api_compat.torch
        given = tuple(tuple(torch.from_numpy(v) for v in e) for e in ends)
        slope = None if slope is None else torch.from_numpy(slope)
    with np.errstate(over="ignore"):
        lines = lined(case)(xp, given, slope, **attrs)
    sampled = [points(rounded, lo, hi, 9) for lo, hi in ends]
    found = list(zip(*sampled, strict=True))
    if len(ends) == 2 and not case.constant:  # corners of the box, and points of its edges
        (lx, hx), (ly, hy) = ends
        mx, my = (s[2] for s in sampled)
        found += [(lx, hy), (hx, ly), (lx, my), (hx, my), (mx, ly), (mx, hy)]
    for x in found:
        check(rounded, lines, [v if t.dtype.kind == "float" else v.astype(t.dtype.numpy)
                               for v, t in zip(x, types, strict=True)])  # fmt: skip


def test_lines_are_tight_where_nothing_bends() -> None:
    """On a stable box both lines are the function: a walk loses nothing there."""
    for op, lo, hi, slope in (
        ("relu", 1.0, 2.0, 1.0),
        ("relu", -2.0, -1.0, 0.0),
        ("abs", 1.0, 2.0, 1.0),
        ("abs", -2.0, -1.0, -1.0),
    ):
        lines = ops.ALL[op].rule("relax")(np, ((np.array([lo]), np.array([hi])),), None)
        assert lines.lower[0] == lines.upper[0] == slope
        assert lines.lower_bias == lines.upper_bias == 0


def test_f32_attributes_are_the_programs_own() -> None:
    """0.1 is stored as the float32 nearest to it, so that every system and every line reads one number."""
    node = next(c for c in CASES if c.op == "leaky_relu").graph(f32).nodes[-1]
    assert node.attributes["slope"] == float(np.float32(0.1))
