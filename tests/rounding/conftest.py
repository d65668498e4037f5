"""Programs to analyse, and executions that are allowed and unfriendly."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import flint
import numpy as np
import pytest

import torchlean as tl
from torchlean import floats, nn, ops, optim
from torchlean.grad import value_and_grad
from torchlean.ir import f32
from torchlean.meaning import Float, Real, Reals
from torchlean.meaning.evaluate import evaluate
from torchlean.train.step import build_step, loss_graph

TINY = 2.0**-126


class Adverse(Float):
    """Float executions that SEMANTICS 2 allows: random orders, fused products, flushed subnormals, functions off."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.flush = bool(seed % 2)

    def out(self, x: Any) -> Any:
        x = np.asarray(x)
        if not self.flush or x.dtype != np.float32:
            return x
        return np.where(np.abs(x) < TINY, np.copysign(np.float32(0), x), x).astype(np.float32)

    def how(self, leaves: int) -> floats.Execution:
        order = floats.permuted(floats.random_order(leaves, self.rng), self.rng.permutation(leaves).tolist())
        fused = tuple((self.rng.random(leaves) < 0.5).tolist())
        wide = tuple((self.rng.random(leaves - 1) < 0.2).tolist())
        return floats.Execution(order, fused, wide, self.flush)

    def add(self, x: Any, y: Any) -> Any:
        return self.out(super().add(*self._flushed(x, y)))

    def sub(self, x: Any, y: Any) -> Any:
        return self.out(super().sub(*self._flushed(x, y)))

    def mul(self, x: Any, y: Any) -> Any:
        return self.out(super().mul(*self._flushed(x, y)))

    def div(self, x: Any, y: Any) -> Any:
        a, b = self._flushed(x, y)
        if a.dtype == np.float32 and self.rng.random() < 0.5 and not (b == 0).any():
            return self.out(a * self.out(np.float32(1) / b))  # by reciprocal
        return self.out(super().div(a, b))

    def less(self, x: Any, y: Any) -> Any:
        return super().less(*self._flushed(x, y))

    def _flushed(self, x: Any, y: Any) -> tuple[Any, Any]:
        a, b = self._pair(x, y)
        return self.out(a), self.out(b)

    def _function(self, name: str, x: Any) -> Any:
        y = super()._function(name, x)
        if name in ("exp", "log", "tanh", "sigmoid") and y.dtype == np.float32:
            off = 2.0**-21 * self.rng.uniform(-1, 1, y.shape)
            moved = (y.astype(np.float64) * (1 + off)).astype(np.float32)
            low, high = {"tanh": (-1, 1), "sigmoid": (0, 1), "exp": (0, np.inf)}.get(name, (-np.inf, np.inf))
            y = np.clip(moved, np.float32(low), np.float32(high))
        return self.out(y)

    def sum(self, x: Any, axes: Any, keepdims: bool = False) -> Any:
        if x.dtype != np.float32:
            return super().sum(x, axes, keepdims)
        axes = tuple(a % x.ndim for a in axes)
        kept = [a for a in range(x.ndim) if a not in axes]
        rows = np.transpose(x, [*kept, *axes]).reshape(*[x.shape[a] for a in kept], -1)
        total = floats.execute(self.how(rows.shape[-1]), rows)
        return total.reshape([1 if a in axes else n for a, n in enumerate(x.shape)]) if keepdims else total

    def dot(self, x: Any, w: Any) -> Any:
        lead = np.broadcast_shapes(x.shape[:-2], w.shape[:-2])
        xs, ws = np.broadcast_to(x, (*lead, *x.shape[-2:])), np.broadcast_to(w, (*lead, *w.shape[-2:]))
        a, b = np.broadcast_arrays(xs[..., :, None, :], ws[..., None, :, :])
        return floats.execute(self.how(a.shape[-1]), a, b) if a.shape[-1] else super().dot(x, w)


def rational(x: Any) -> Any:
    return flint.fmpq(*float(x).as_integer_ratio())


def real_values(graph: Any, values: Any) -> dict[int, Any]:
    """The exact value of every node's first result: object arrays of rationals and balls, or integers and bools."""
    N = Real(precision=200)
    found: dict[int, Any] = {}

    def keep(number: int, node: Any, results: Any) -> None:
        r = results[0]
        found[number] = r.values if isinstance(r, Reals) else np.asarray(r)

    evaluate(graph, N, {n: N.constant(np.asarray(v)) for n, v in values.items()}, keep)
    return found


def float_values(graph: Any, N: Any, values: Any) -> dict[int, np.ndarray]:
    found: dict[int, np.ndarray] = {}
    evaluate(graph, N, values, lambda number, node, results: found.update({number: np.asarray(results[0])}))
    return found


def inside(value: Any, lo: float, hi: float) -> bool:
    """Whether a rational lies in [lo, hi]; of a ball, whether some point of it may: balls are far below an ulp."""
    if isinstance(value, flint.arb):
        return (lo == -np.inf or bool(flint.arb(lo) <= value.upper())) and (
            hi == np.inf or bool(value.lower() <= flint.arb(hi)))  # fmt: skip
    return (lo == -np.inf or rational(lo) <= value) and (hi == np.inf or value <= rational(hi))


def held(row: Any, computed: np.ndarray, exact: Any) -> None:
    """The law: the float value in `computed`, the exact one in `real`, their exact difference in `gap`."""
    twin = row.twin
    assert twin.computed.contains(computed).all(), (row.number, row.op, "computed")
    if not twin.is_float:
        assert twin.real.contains(exact).all(), (row.number, row.op, "real")
        lo, hi = np.broadcast_arrays(twin.gap.lo, twin.gap.hi)
        apart = computed.astype(np.float64) - np.asarray(exact).astype(np.float64)
        assert ((lo <= apart) & (apart <= hi)).all(), (row.number, row.op, "gap")
        return
    parts = (computed, exact, twin.real.lo, twin.real.hi, twin.gap.lo, twin.gap.hi)
    flat = [np.broadcast_to(p, row.shape).ravel().tolist() for p in parts]
    for f, r, real_lo, real_hi, lo, hi in zip(*flat, strict=True):
        assert inside(r, real_lo, real_hi), (row.number, row.op, "real", r, real_lo, real_hi)
        if np.isfinite(f):
            assert inside(rational(f) - r, lo, hi), (row.number, row.op, "gap", float(f), lo, hi)
        else:
            assert (lo, hi) == (-np.inf, np.inf)


def point(box: Any, rng: np.random.Generator) -> np.ndarray:
    """A float32 point of the hull: some coordinates at an end."""
    lo, hi = box.hull32()
    t = np.where(rng.random(box.shape) < 0.3, rng.integers(0, 2, box.shape), rng.random(box.shape))
    return np.clip((lo + (hi - lo) * t).astype(np.float32), lo, hi)


def mlp(sizes: tuple[int, ...] = (3, 6, 5, 2), last: Any = None, seed: int = 0, act: Any = None) -> Any:
    layers: list[Any] = [nn.Normalize(np.linspace(0.5, 2.0, sizes[0]), np.linspace(0.7, 3.0, sizes[0]))]
    for i, (a, b) in enumerate(itertools.pairwise(sizes)):
        layers.append(nn.Linear(a, b))
        if i < len(sizes) - 2:
            layers.append(act or nn.ReLU())
    return tl.trace(nn.Sequential(*layers, *([last] if last else [])), f32["batch", sizes[0]], seed=seed)


def function(f: Any, *shapes: tuple[int, ...]) -> Any:
    """A program of one expression."""
    from torchlean.ir import trace
    from torchlean.run.program import Program

    return Program(trace(ops.ALL, f, **{f"x{i}": f32[s] for i, s in enumerate(shapes)}))


def step(optimizer: Any, loss: Any = tl.losses.mse) -> Any:
    """One step of a small network, as a program whose parameters are states."""
    from torchlean.run.program import Program

    program = mlp((3, 4, 2), act=nn.Tanh()).specialise(batch=2)
    made = build_step(program, loss, optimizer, f32[2, 2])
    rng = np.random.default_rng(5)
    values = dict(made.values)
    for name in values:  # as after some steps
        if "moment" in name or "velocity" in name:
            values[name] = np.abs(rng.normal(size=values[name].shape) * 0.1).astype(np.float32)
        if "power" in name:
            values[name] = np.array(0.9 if "1" in name else 0.999)
    return Program(made.sized(2), {}, values)


def gradient(loss: Any = tl.losses.mse, act: Any = None, **options: Any) -> Any:
    program = mlp((3, 4, 2), act=act, **options).specialise(batch=2)
    return program.with_graph(value_and_grad(loss_graph(program, loss, f32[2, 2])))


@pytest.fixture(scope="session")
def tools() -> Any:
    return SimpleNamespace(
        Adverse=Adverse, real_values=real_values, float_values=float_values, held=held, point=point, mlp=mlp,
        function=function, step=step, gradient=gradient, optim=optim, inside=inside, rational=rational,
    )  # fmt: skip
