"""No input of the region escapes a certified difference. Exactly compared; no tolerance."""

from __future__ import annotations

from typing import Any

import flint
import numpy as np
import pytest
from networks import NETWORKS, inputs, network

import torchlean as tl
from torchlean import ops
from torchlean.errors import ShapeError, UsageError
from torchlean.ir import Builder, f32, i8
from torchlean.meaning import Float, IntervalReal, Real
from torchlean.meaning.evaluate import evaluate
from torchlean.quant import Difference, calibrate, difference, quantize_program
from torchlean.quant.noise import quantize_noise, round_to_noise
from torchlean.run.program import Program

FORMATS = [
    ("int8", "none"),
    ("int4", "none"),
    ("int8", "int8"),
    ("none", "int4"),
    ("bf16", "bf16"),
    ("f8e4m3", "f8e5m2"),
]
each_format = pytest.mark.parametrize(("weights", "activations"), FORMATS)
each_network = pytest.mark.parametrize("name", NETWORKS)


def both(name: str, weights: str, activations: str) -> tuple[Program, Program]:
    program = network(name)
    made = quantize_program(program, weights, activations, calibration_data=inputs(name, 40), overflow="saturate")
    return program, made


def samples(region: Any, count: int, seed: int = 0) -> np.ndarray:
    """Float32 points of the hull: corners, ends, and between."""
    lo, hi = region.hull32()
    rng = np.random.default_rng(seed)
    t = rng.choice([0.0, 1.0, 0.5, 0.25, rng.random()], (count, *lo.shape))
    return np.clip((lo + t * (hi.astype(np.float64) - lo)).astype(np.float32), lo, hi)


def inside(found: Difference, first: np.ndarray, second: np.ndarray) -> bool:
    """float32 outputs differ exactly in float64 (their exponents here are close), or the test is told so."""
    gap = second.astype(np.float64) - first
    assert (gap + first == second).all()
    return bool((np.squeeze(found.lo) <= gap).all() and (gap <= np.squeeze(found.hi)).all())


@each_network
@each_format
def test_executions_do_not_escape(name: str, weights: str, activations: str) -> None:
    program, made = both(name, weights, activations)
    for seed, radius in enumerate((0.0, 0.01, 0.3)):
        region = tl.box(inputs(name, 1, seed=seed + 5), radius)
        found = difference(program, made, region)
        assert np.isfinite(found.lo).all() and found.largest > 0
        x = samples(region, 12, seed)[:, 0]
        first, second = (np.stack([p(v[None], backend=how)[0] for v in x]) for p, how in
                         ((program, "reference"), (made, "reference")))  # fmt: skip
        assert inside(found, first, second)
        assert inside(found, program(x, backend="eager-cpu"), made(x))
        assert inside(found, program(x), made(x, backend="eager-cpu"))


@pytest.mark.parametrize("name", ["dense", "product", "image"])
@each_format
def test_real_meanings_do_not_escape(name: str, weights: str, activations: str) -> None:
    program, made = both(name, weights, activations)
    N = Real()
    for seed, radius in enumerate((0.0, 0.05)):
        region = tl.box(inputs(name, 1, seed=seed + 5), radius)
        for semantics in ("real", "float32"):
            found = difference(program, made, region, semantics=semantics)
            for x in samples(region, 2, seed):
                values = []
                for p in (program, made):
                    p = p.specialise(batch=1)
                    given = {n: N.constant(a) for n, a in {**p.parameters, "x": x}.items()}
                    values.append(evaluate(p.graph, N, given)["y"])
                gap = N.sub(values[1], values[0])
                assert bool(N.less_equal(N.constant(found.lo), gap).all())
                assert bool(N.less_equal(gap, N.constant(found.hi)).all())


def test_it_is_far_below_two_intervals() -> None:
    """What bounding both programs alone would say about their difference."""
    program, made = both("dense", "int8", "none")
    region = tl.box(inputs("dense", 1), 0.05)
    (lo, hi), (low, high) = (tl.bounds(p, region, "interval") for p in (program, made))
    assert difference(program, made, region).largest < np.maximum(high - lo, hi - low).max() / 20


def test_a_program_does_not_differ_from_itself_over_the_reals() -> None:
    program = network("dense")
    region = tl.box(inputs("dense", 1), 0.1)
    assert difference(program, program, region, semantics="real").largest == 0
    rounding = difference(program, program, region)  # two executions may round differently
    assert 0 < rounding.largest < 1e-4


def test_each_side_may_round_to_its_own_end() -> None:
    """The error box of SEMANTICS 3, once for each program: two executions may err in opposite directions.

    A value is a float32, so either end may lie up to an ulp inside its box: 3 % covers that here.
    """
    rng = np.random.default_rng(3)
    w, x = rng.normal(size=(5, 50)).astype(np.float32), rng.normal(size=(1, 50)).astype(np.float32)
    g = Builder(ops.ALL)
    layer = Program(g.finish({"y": g.linear(g.input("x", f32["batch", 50]), g.parameter("w", f32[5, 50]))}), {"w": w})
    sizes = np.abs(x).astype(np.float64), np.abs(w).astype(np.float64)
    error = ops.ALL["linear"].rule("rounding")(sizes, sizes[0] @ sizes[1].T)
    found = difference(layer, layer, tl.box(x, 0.0))
    assert (found.hi >= 1.97 * error).all() and (found.lo <= -1.97 * error).all()
    assert (found.hi <= 2.001 * error).all()


def test_several_regions_are_bounded_at_once() -> None:
    program, made = both("dense", "int8", "int8")
    regions = [tl.box(x, 0.02) for x in inputs("dense", 3)]
    together = difference(program, made, regions)
    for i, region in enumerate(regions):
        alone = difference(program, made, region)
        np.testing.assert_allclose(together.lo[i], alone.lo[0], rtol=1e-12)  # products of another shape: last bits
        np.testing.assert_allclose(together.hi[i], alone.hi[0], rtol=1e-12)


def test_steps_name_what_rounds() -> None:
    program, made = both("dense", "int8", "int8")
    steps = difference(program, made, tl.box(inputs("dense", 1), 0.05)).steps
    noisy = [s for s in steps if s.noise > 0]
    assert [s.op for s in noisy] == ["dequantize"] * 3
    first = next(n for n in made.graph.nodes if n.op == "quantize")
    scale = made.graph.nodes[first.inputs[1].node].attributes["value"].array  # type: ignore[union-attr]
    assert 0.5 * scale <= noisy[0].noise < 0.501 * scale


# The noise of a rounding node, at exact rationals


def noise_holds(noise: Any, x: np.ndarray, rounded: np.ndarray) -> bool:
    for lo, hi, v, r in zip(noise.lo, noise.hi, x.tolist(), rounded.tolist(), strict=True):
        gap = flint.fmpq(*r.as_integer_ratio()) - flint.fmpq(*v.as_integer_ratio())
        if not (lo == -np.inf or flint.fmpq(*float(lo).as_integer_ratio()) <= gap):
            return False
        if not (hi == np.inf or gap <= flint.fmpq(*float(hi).as_integer_ratio())):
            return False
    return True


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_noise_of_a_quantizer(bits: int, symmetric: bool) -> None:
    rng, N = np.random.default_rng(bits), IntervalReal()
    q = calibrate(rng.normal(0.3, 1, 100).astype(np.float32), bits, symmetric=symmetric)
    a, b = (rng.normal(0, 2, 400).astype(np.float32) for _ in range(2))
    lo, hi = np.minimum(a, b), np.where(rng.random(400) < 0.3, np.minimum(a, b), np.maximum(a, b))
    noise = quantize_noise(N.enclose(lo, hi), q.scale.astype(np.float64), q.zero_point.astype(np.float64), q.lo, q.hi)
    for t in (0.0, 1.0, 0.3, 0.5):
        x = np.clip((lo + t * (hi.astype(np.float64) - lo)).astype(np.float32), lo, hi)
        assert noise_holds(noise, x, q.round(x))
    ties = (np.arange(q.lo, q.hi) - float(q.zero_point) + 0.5) * float(q.scale)
    x = ties.astype(np.float32)
    noise = quantize_noise(N.enclose(x, x), q.scale.astype(np.float64), q.zero_point.astype(np.float64), q.lo, q.hi)
    assert noise_holds(noise, x, q.round(x)) and noise.hi.max() < 0.5001 * float(q.scale)


@pytest.mark.parametrize("dtype", ["f16", "bf16", "f8e4m3", "f8e5m2"])
@pytest.mark.parametrize("overflow", ["saturate", "ieee"])
def test_noise_of_a_small_float(dtype: str, overflow: str) -> None:
    rng, N, rule = np.random.default_rng(5), IntervalReal(), ops.ALL["round_to"].rule("meaning")
    x = (rng.normal(0, 1, 600) * 10.0 ** rng.uniform(-9, 6, 600)).astype(np.float32)
    rounded = rule(Float(), x, dtype=dtype, overflow=overflow)
    noise = round_to_noise(N.enclose(x, x), dtype=dtype, overflow=overflow)
    finite = np.isfinite(rounded)
    assert np.isinf(noise.hi[~finite]).all()
    assert noise_holds(N.enclose(noise.lo[finite], noise.hi[finite], "float64"), x[finite], rounded[finite])


# Programs that do not correspond


def test_programs_of_another_structure_are_refused() -> None:
    program, _ = both("dense", "int8", "none")
    region = tl.box(inputs("dense", 1), 0.1)
    with pytest.raises(UsageError, match="do not correspond"):
        difference(program, network("product"), region)
    g = Builder(ops.ALL)
    other = Program(g.finish({"z": g.relu(g.input("x", f32["batch", 4]))}))
    with pytest.raises(UsageError, match="outputs"):
        difference(program, other, region)
    with pytest.raises(UsageError, match="semantics"):
        difference(program, program, region, semantics="float64")
    with pytest.raises(ShapeError):
        difference(program, program, tl.box([0.0], 1))


def test_a_dequantize_of_other_scales_is_no_rounding() -> None:
    """Codes read with another scale than they were written with: not a value moved by half a step."""
    g = Builder(ops.ALL)
    x = g.input("x", f32["batch", 4])
    plain = Program(g.finish({"y": g.relu(x)}))
    g = Builder(ops.ALL)
    x = g.input("x", f32["batch", 4])
    zero = g.constant(np.int8(0), i8)
    codes = g.quantize(x, g.constant(np.float32(0.5)), zero, lo=-128, hi=127, axis=None)
    doubled = g.dequantize(codes, g.constant(np.float32(1.0)), zero, axis=None)
    made = Program(g.finish({"y": g.relu(doubled)}))
    with pytest.raises(UsageError, match="do not correspond"):
        difference(plain, made, tl.box([[1.0] * 4], 0.1))
