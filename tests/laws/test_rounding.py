"""Every float32 execution lies within the record's `rounding` of the real meaning. Exactly compared; no tolerance.

Executions: the reference, numpy's and torch's kernels; for linear ops also any tree over the terms, with and without
fused products, wide partial sums and flushed subnormals; for the others, library kernels.
"""

from __future__ import annotations

from typing import Any

import flint
import numpy as np
import pytest
import torch
from law_cases import CASES, Case

from torchlean import ops
from torchlean.floats import Format, format_of
from torchlean.floats.sums import Execution, blocked, left_fold, pairwise, permuted, random_order
from torchlean.floats.sums import execute as any_order
from torchlean.ir import COMPARED, EXACT, DType, Linear, Missing, bf16, f16, f32, f64
from torchlean.meaning import Real
from torchlean.meaning.evaluate import evaluate
from torchlean.passes import expand
from torchlean.run.execute import execute
from torchlean.run.promises import takes_format
from torchlean.run.schedule import schedule

ROUNDED = tuple(c for c in CASES if callable(ops.ALL[c.op].rounding) and c.floats)
each_rounded = pytest.mark.parametrize("case", ROUNDED, ids=str)
SCALES = (1.0, 2.0**-70, 2.0**20)


def magnitude(x: np.ndarray) -> np.ndarray:
    return np.abs(x.astype(np.float64)) if x.dtype.kind == "f" else x


def exact_values(case: Case, values: dict[str, np.ndarray], dtype: DType = f32) -> np.ndarray:
    """The real meaning, as an object array of rationals and balls."""
    N = Real(precision=256)
    found: Any = evaluate(case.graph(dtype), N, {n: N.constant(v) for n, v in values.items()})
    (result,) = found.values()
    if isinstance(result, np.ndarray):
        return result.astype(object)
    return np.asarray(result.values, object)


def upward(x: Any) -> float:
    """A float64 not below |x|."""
    return float(np.nextafter(abs(float(flint.arb(x).abs_upper())), np.inf))


def within(found: np.ndarray, exact: np.ndarray, bound: np.ndarray) -> bool:
    """Whether |found - exact| <= bound at every entry; a NaN or an infinity is not."""
    if found.shape != exact.shape or not np.isfinite(found).all():
        return False
    bound = np.broadcast_to(bound, found.shape)
    for f, e, b in zip(found.ravel().tolist(), exact.ravel().tolist(), bound.ravel().tolist(), strict=True):
        if b == np.inf:
            continue
        gap = abs(flint.fmpq(*f.as_integer_ratio()) - e) if isinstance(e, flint.fmpq) else abs(flint.arb(f) - e)
        limit = flint.fmpq(*b.as_integer_ratio())
        if not (gap <= limit):
            return False
    return True


def bound_of(case: Case, values: dict[str, np.ndarray], exact: np.ndarray, **form: Format) -> np.ndarray:
    size = np.array([upward(v) for v in exact.ravel().tolist()]).reshape(exact.shape)
    node = case.graph(f32).nodes[-1]
    rounding = ops.ALL[case.op].rule("rounding")
    found = rounding(tuple(magnitude(v) for v in values.values()), size, **node.attributes, **form)
    return np.asarray(found)


def scaled(case: Case, scale: float, seed: int) -> dict[str, np.ndarray]:
    """Inputs of another magnitude where the op has no domain to leave; some entries 0."""
    values = case.values(f32, seed)
    rng = np.random.default_rng(seed)
    for i in case.floats:
        if case.args[i].lo < 0:
            zero = rng.random(values[f"x{i}"].shape) < 0.1
            values[f"x{i}"] = np.asarray(np.where(zero, 0, values[f"x{i}"] * np.float32(scale)).astype(np.float32))
    return values


@each_rounded
@pytest.mark.parametrize("scale", SCALES)
def test_library_executions_are_enclosed(case: Case, scale: float) -> None:
    if case.op in ("exp", "expm1", "softmax", "log_softmax") and scale > 1:
        scale = 16.0
    for seed in range(3):
        values = scaled(case, scale, seed)
        exact = exact_values(case, values)
        bound = bound_of(case, values, exact)
        assert bound.dtype == np.float64
        assert bool(np.all(bound >= 0))
        graph = case.graph(f32)
        for found in (
            execute(graph, values, "reference"),
            execute(graph, values, "eager-cpu"),
            schedule(graph).run(np, values),
        ):
            (got,) = found.values()
            if got.dtype != np.float32:
                continue
            assert within(np.asarray(got), exact, bound)


@pytest.mark.parametrize("dtype", [f64, f16, bf16], ids=str)
@pytest.mark.parametrize("case", [c for c in ROUNDED if takes_format(c.op) and c.op != "cast"], ids=str)
def test_executions_in_other_formats_are_enclosed(case: Case, dtype: DType) -> None:
    values = {n: np.asarray(v) for n, v in case.values(dtype, 3).items()}
    wide = {n: v.astype(np.float64) if n in {f"x{i}" for i in case.floats} else v for n, v in values.items()}
    exact = exact_values(case, wide, dtype)
    bound = bound_of(case, wide, exact, fmt=format_of(dtype.numpy))
    for how in ("reference", "eager-cpu"):
        (got,) = execute(case.graph(dtype), values, how).values()
        assert got.dtype.name in (dtype.numpy, "int64")
        assert within(got.astype(np.float64), exact, bound)
    # The bound follows the format: it is far below binary32's for f64, and above it for the short formats.
    single = bound_of(case, wide, exact)
    felt = single > 2.0**-100
    ratio = np.broadcast_to(bound, felt.shape)[felt] / single[felt]
    assert np.all(ratio <= 2.0**-28) if dtype == f64 else np.all(ratio >= 2.0**12)


@pytest.mark.gpu
@each_rounded
def test_cuda_executions_are_enclosed(case: Case) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    for scale in (1.0, 2.0**-70):
        values = scaled(case, scale, 0)
        exact = exact_values(case, values)
        (got,) = execute(case.graph(f32), values, "eager-cuda").values()
        if got.dtype == np.float32:
            assert within(np.asarray(got), exact, bound_of(case, values, exact))


LINEAR = tuple(
    c
    for c in ROUNDED
    if isinstance(ops.ALL[c.op].relax, Linear)
    and c.op not in ("div", "add", "sub", "mul", "batch_norm", "resize_linear", "scatter_nd")
)


def terms(case: Case, values: dict[str, np.ndarray]) -> np.ndarray:
    """J[*out, *in]: the derivative by the first input, in float64; exact, since each coefficient is one weight."""
    graph = case.graph(f32)
    rest = {n: v.astype(np.float64) if v.dtype.kind == "f" else v for n, v in values.items()}
    if len(case.args) == 3:
        rest["x2"] = np.zeros_like(rest["x2"])
    x = rest["x0"]
    columns = []
    for j in range(x.size):
        unit = np.zeros(x.size)
        unit[j] = 1.0
        (y,) = schedule(graph).run(np, {**rest, "x0": unit.reshape(x.shape)}).values()
        columns.append(np.asarray(y, np.float64))
    return np.stack(columns, axis=-1)


def executions(count: int, rng: np.random.Generator) -> list[Execution]:
    """Orders that libraries use, and random trees; each with another choice of fusing, widening and flushing."""
    orders = [left_fold(count), pairwise(count), blocked(count, 2), random_order(count, rng)]
    orders.append(permuted(left_fold(count), rng.permutation(count).tolist()))
    found = []
    for i, order in enumerate(orders):
        fused = tuple(bool(v) for v in rng.random(count) < 0.5) if i % 2 else ()
        wide = tuple(bool(v) for v in rng.random(max(count - 1, 0)) < 0.3) if i == 3 else ()
        found.append(Execution(order, fused, wide, flush=i == 1))
    return found


@pytest.mark.parametrize("case", LINEAR, ids=str)
@pytest.mark.parametrize("scale", [1.0, 2.0**-70, 2.0**-128])
def test_any_order_of_a_linear_op_is_enclosed(case: Case, scale: float) -> None:
    values = scaled(case, 1.0, 0)
    values["x0"] = np.asarray(values["x0"] * np.float32(scale))
    if scale < 2.0**-126 and 1 in case.constant:  # what a flush of x loses is as large as the weight makes it
        values["x1"] = np.asarray(values["x1"] * np.float32(1024))
    exact = exact_values(case, values)
    bound = np.broadcast_to(bound_of(case, values, exact), exact.shape)
    jacobian, x = terms(case, values), values["x0"].ravel()
    rng = np.random.default_rng(4)
    divides = case.op in ("mean", "avg_pool", "avg_pool_transpose")
    places = list(np.ndindex(exact.shape))
    for place in [places[i] for i in rng.permutation(len(places))[:12]]:
        row = jacobian[place]
        used = np.flatnonzero((row != 0) & (x != 0))
        if used.size == 0:
            continue
        bias = values["x2"][_bias_index(case, place)] if len(case.args) == 3 else None
        for how in executions(used.size + (bias is not None), rng):
            how = Execution(how.order, () if divides else how.fused, how.wide, how.flush)
            xs = x[used]
            if divides:
                # the sum, then the division; or each entry times the reciprocal, then the sum
                counts = np.rint(1.0 / row[used])
                if case.op == "avg_pool_transpose":
                    got = any_order(how, (xs / counts.astype(np.float32)).astype(np.float32))
                elif how.flush:
                    got = any_order(how, xs) * np.float32(1.0 / counts[0])
                else:
                    got = any_order(how, xs) / np.float32(counts[0])
            elif case.op in ("sum", "scatter_add"):
                got = any_order(how, xs)
            else:
                got = any_order(how, xs, row[used].astype(np.float32), None if bias is None else np.asarray(bias))
            found = np.asarray(got, np.float32).reshape(1)
            assert within(found, np.array([exact[place]], object), bound[place].reshape(1))


def _bias_index(case: Case, place: tuple[int, ...]) -> int:
    return place[1] if case.op == "conv" else place[-1]


@pytest.mark.parametrize("case", [c for c in CASES if ops.ALL[c.op].rounding is EXACT and c.floats], ids=str)
def test_exact_ops_are_exact(case: Case) -> None:
    values = case.values(f32)
    exact = exact_values(case, values)
    for how in ("reference", "eager-cpu"):
        (got,) = execute(case.graph(f32), values, how).values()
        assert within(np.asarray(got), exact, np.zeros(got.shape))


@pytest.mark.parametrize("case", [c for c in CASES if ops.ALL[c.op].rounding is COMPARED], ids=str)
def test_compared_ops_have_one_answer(case: Case) -> None:
    values = case.values(f32)
    (reference,) = execute(case.graph(f32), values, "reference").values()
    (eager,) = execute(case.graph(f32), values, "eager-cpu").values()
    np.testing.assert_array_equal(reference, eager)


def test_expanding_an_op_reaches_ops_with_a_rounding() -> None:
    """An op whose rounding is EXPAND has a definition whose every node states one."""
    for case in CASES:
        graph = expand(
            case.graph(f32), lambda op: op.composite and not callable(op.rounding) and op.rounding is not EXACT
        )
        for node in graph.nodes:
            assert not isinstance(ops.ALL[node.op].rounding, Missing), f"{case}: {node.op}"


def test_inputs_that_a_flush_would_ruin_have_no_bound() -> None:
    tiny = np.array([2.0**-130])
    assert ops.ALL["log"].rule("rounding")((tiny,), np.array([90.1]))[0] == np.inf
    assert ops.ALL["div"].rule("rounding")((np.ones(1), tiny), np.array([2.0**100]))[0] == np.inf
    assert ops.ALL["div"].rule("rounding")((np.ones(1), np.array([2.0**127])), np.array([2.0**-127]))[0] == np.inf
