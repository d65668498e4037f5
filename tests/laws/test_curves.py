"""Lines of smooth functions: sound at many points of ordinary boxes, and touching the function. No tolerance in the
first; the second says how close.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import array_api_compat.numpy as xp
import array_api_compat.torch
import flint
import numpy as np
import pytest
import torch

from torchlean import ops
from torchlean.meaning import Real
from torchlean.ops import gates
from torchlean.ops.curves import Curve, curved
from torchlean.ops.lines import Lines

N = Real()
CURVES = {"exp": (-6.0, 6.0), "log": (2.0**-10, 6.0), "sqrt": (2.0**-10, 6.0), "tanh": (-4.0, 4.0),
          "sigmoid": (-8.0, 8.0), "square": (-6.0, 6.0), "erf": (-3.0, 3.0),
          "sin": (-9.0, 9.0), "cos": (-9.0, 9.0), "log1p": (-1 + 2.0**-10, 6.0), "expm1": (-6.0, 6.0),
          "softplus": (-9.0, 9.0), "silu": (-9.0, 9.0), "gelu": (-5.0, 5.0), "gelu_tanh": (-5.0, 5.0),
          "elu 0.5": (-6.0, 6.0), "elu 1.75": (-6.0, 6.0), "reciprocal": (2.0**-10, 6.0), "reciprocal -": (-6.0, -0.25),
          "power 3": (-4.0, 4.0), "power 4": (-4.0, 4.0), "power 2.5": (2.0**-10, 6.0), "power 0.75": (2.0**-10, 6.0),
          "power -1.5": (0.25, 6.0), "power -2": (-6.0, -0.25), "power -3": (-6.0, -0.25)}  # fmt: skip


def named(text: str) -> tuple[Any, dict[str, float]]:
    """An op and its attribute, as `CURVES` spells them."""
    name, _, number = text.partition(" ")
    attribute = {"elu": "alpha", "power": "exponent"}.get(name)
    return ops.ALL[name], {attribute: float(number)} if attribute else {}


PARTS = np.linspace(0, 1, 17)
CLOSE = {np.float32: 2.0**-16, np.float64: 2.0**-40}  # of the sizes that the lines' biases are computed from


def boxes(op: str, dtype: type, count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Wide boxes, narrow ones, and points."""
    least, most = CURVES[op]
    rng = np.random.default_rng(5)
    lo, width = rng.uniform(least, most, count), rng.choice([1.0, 1.0, 0.1, 2.0**-20, 0.0], count)
    hi = lo + (most - lo) * rng.random(count) * width
    return lo.astype(dtype), np.maximum(hi, lo).astype(dtype)


def lines(op: str, lo: np.ndarray, hi: np.ndarray, slope: float | None) -> Lines:
    free = None if slope is None else np.full_like(lo, slope)
    record, attrs = named(op)
    found: Lines = record.rule("relax")(xp, ((lo, hi),), free, **attrs)
    return found


def inside(lo: np.ndarray, hi: np.ndarray) -> np.ndarray:
    """Points of the boxes, [parts, count]."""
    return np.clip(lo + (hi - lo) * PARTS[:, None].astype(lo.dtype), lo, hi)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("op", CURVES)
def test_curved_lines_enclose_the_function(op: str, dtype: type) -> None:
    lo, hi = boxes(op, dtype)
    x: Any = N.constant(inside(lo, hi))
    record, attrs = named(op)
    exact = record.rule("meaning")(N, x, **attrs)
    for slope in (None, 0.0, 0.35, 1.0):
        made = lines(op, lo, hi, slope)
        below, above = (
            N.add(N.mul(N.constant(np.broadcast_to(s, (len(PARTS), *lo.shape))), x), N.constant(b[None]))
            for s, b in ((made.lower[0], made.lower_bias), (made.upper[0], made.upper_bias))
        )
        assert bool(np.all(N.less_equal(below, exact)))
        assert bool(np.all(N.less_equal(exact, above)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("op", CURVES)
def test_curved_lines_touch_the_function(op: str, dtype: type) -> None:
    """A chord at the box's ends, a tangent at its point: at some point of a fine grid the line is close to f."""
    lo, hi = boxes(op, dtype)
    grid = lo.astype(np.float64) + (hi - lo).astype(np.float64) * np.linspace(0, 1, 4097)[:, None]
    grid = np.concatenate([grid, np.clip(0.0, lo, hi)[None]])  # the kink of elu
    record, attrs = named(op)
    f = record.rule("lower")(array_api_compat.torch, torch.from_numpy(grid), **attrs).numpy()
    size = 1 + np.abs(f).max(axis=0) + np.abs(grid).max(axis=0) * 2
    for slope in (None, 0.0, 0.5, 1.0):
        made = lines(op, lo, hi, slope)
        constant = (op in ("sin", "cos")) & (hi - lo > 3)  # too wide for one bend
        steep = 1 + np.abs(made.lower[0]) + np.abs(made.upper[0])
        width = (hi - lo).astype(np.float64)
        near = CLOSE[dtype] * size * steep + 2.0**-20 * width**2 * np.exp(np.maximum(hi, 0) if op == "exp" else 1.0)
        near += np.where(constant, 2.0, 0.0)
        near += 2.0**-20 * (1 + width) * (op == "gelu_tanh")  # constants of float32 and of float64 alike
        near += 2.0**-9 * width * steep * (op in ("log", "sqrt"))  # of great curvature near 0, where the grid is coarse
        assert np.all((f - made.lower[0] * grid - made.lower_bias).min(axis=0) <= near)
        assert np.all((made.upper[0] * grid + made.upper_bias - f).min(axis=0) <= near)


def test_an_s_shape_is_bounded_by_tangents_where_the_box_holds_its_bend() -> None:
    """The published lines: the tangent through the far end, and the chord where there is none."""
    lo, hi = np.array([-2.0, -0.1]), np.array([3.0, 4.0])
    made = lines("tanh", lo, hi, 1.0)
    through = made.lower[0] * hi + made.lower_bias
    assert np.all(np.abs(through - np.tanh(hi)) < 1e-7)  # both pass through (hi, f(hi))
    assert made.lower[0][1] == pytest.approx((np.tanh(4.0) - np.tanh(-0.1)) / 4.1, rel=1e-12)  # the chord


@pytest.mark.parametrize(("least", "most", "bend"), [(-2.0, 3.0, 0.0), (-2.0, -1.0, 0.0), (0.5, 4.0, 0.0)])
def test_what_is_known_roughly_of_a_function_is_charged(least: float, most: float, bend: float) -> None:
    """tanh by bounds of its values and rates that are far off, each in its own direction at each point."""
    rng = np.random.default_rng(6)
    lo = rng.uniform(least, most, 400)
    hi = rng.uniform(lo, most)

    def off(v: np.ndarray, size: float) -> tuple[np.ndarray, np.ndarray]:
        left = size * rng.integers(0, 2, v.shape)
        return v - left, v + (size - left)

    curve = Curve(lambda v: off(np.tanh(v), 2.0**-7), lambda v: off(1 - np.tanh(v) ** 2, 0.25))
    for free in (None, rng.random(lo.shape)):
        made = curved(xp, (lo, hi), curve, bend, free, (np.full_like(lo, -1.0), np.full_like(lo, 1.0)))
        x = inside(lo, hi)
        assert np.all(made.lower[0] * x + made.lower_bias <= np.tanh(x))
        assert np.all(np.tanh(x) <= made.upper[0] * x + made.upper_bias)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("library", [xp, array_api_compat.torch], ids=["numpy", "torch"])
@pytest.mark.parametrize("axis", [-1, -2])
@pytest.mark.parametrize("op", ["softmax", "log_softmax"])
def test_lines_over_an_axis_enclose_the_function(op: str, axis: int, library: Any, dtype: type) -> None:
    """At ends and inner points, for every width, degenerate boxes among them, exactly."""
    rng = np.random.default_rng(8)
    shape = (40, 2, 3) if axis == -2 else (40, 3)
    center = rng.normal(0, rng.choice([0.0, 1.0, 8.0], (40, *(1,) * (len(shape) - 1))), shape)
    radius = rng.uniform(0, 1, shape) * rng.choice([0.0, 2.0**-20, 0.1, 1.0, 12.0], (40, *(1,) * (len(shape) - 1)))
    lo, hi = (center - radius).astype(dtype), (center + radius).astype(dtype)
    points = [np.clip(lo + (hi - lo) * rng.random(shape).astype(dtype), lo, hi) for _ in range(4)]
    points += [np.where(rng.random(shape) < 0.5, lo, hi) for _ in range(6)] + [lo, hi]
    given = (lo, hi) if library is xp else (torch.from_numpy(lo), torch.from_numpy(hi))
    for free in (None, 0.0, 0.6, 1.0):
        made = ops.ALL[op].rule("relax")(library, (given,), None if free is None else given[0] * 0 + free, axis=axis)
        assert made.mixes == axis
        slopes, biases = ([np.asarray(v) for v in vs] for vs in ((made.lower[0], made.upper[0]),
                                                                 (made.lower_bias, made.upper_bias)))  # fmt: skip
        assert slopes[0].shape == (*shape, shape[axis]) and biases[0].shape == shape
        for x in points:
            exact = ops.ALL[op].rule("meaning")(N, N.constant(x), axis=axis)
            entries = N.constant(np.expand_dims(np.moveaxis(x, axis, -1), axis - 1 if axis == -2 else -2))
            below, above = (
                N.add(N.sum(N.mul(N.constant(s), entries), (-1,)), N.constant(b))
                for s, b in zip(slopes, biases, strict=True)
            )
            assert bool(np.all(N.less_equal(below, exact)))
            assert bool(np.all(N.less_equal(exact, above)))


@pytest.mark.parametrize("op", ["softmax", "log_softmax"])
def test_lines_over_an_axis_close_in_on_a_point(op: str) -> None:
    """On a box of radius r the lines are within a multiple of r^2, and huge boxes have finite or infinite bounds."""
    x = np.array([[0.3, -1.0, 2.0, 0.0]])
    for r in (2.0**-3, 2.0**-6, 2.0**-9):
        made = ops.ALL[op].rule("relax")(xp, ((x - r, x + r),), None, axis=-1)
        y = ops.ALL[op].rule("lower")(xp, x, axis=-1)
        below, above = (
            (s[0] @ x[..., None])[..., 0].reshape(y.shape) + b
            for s, b in ((made.lower[0][None, 0], made.lower_bias), (made.upper[0][None, 0], made.upper_bias))
        )
        assert np.all(y - below <= 8 * r * r) and np.all(above - y <= 8 * r * r)
    wide = ops.ALL[op].rule("relax")(xp, ((x - 1e308, x + 1e308),), None, axis=-1)
    assert not np.isnan(wide.lower_bias).any() and not np.isnan(wide.upper_bias).any()
    assert np.isfinite(wide.lower[0]).all() and np.isfinite(wide.upper[0]).all()


def test_softmax_is_closer_at_the_middle_than_by_exponential_and_reciprocal() -> None:
    """Of the size of a vision transformer's rows; the other lines are those of arXiv:2002.06622."""
    rng = np.random.default_rng(9)
    eye = np.eye(17, dtype=bool)
    for width in (0.01, 0.1, 1.0):
        x, r = rng.normal(size=(40, 17)), width * rng.random((40, 17))
        lo, hi = x - r, x + r
        made = ops.ALL["softmax"].rule("relax")(xp, ((lo, hi),), None, axis=-1)
        below, above = (
            (s[0] @ x[..., None])[..., 0] + b for s, b in ((made.lower, made.lower_bias), (made.upper, made.upper_bias))
        )
        d = x[:, None, :] - x[:, :, None]
        least, most = (np.where(eye, 0, a[:, None, :] - b[:, :, None]) for a, b in ((lo, hi), (hi, lo)))
        chords = np.exp(least) + (np.exp(most) - np.exp(least)) / np.where(eye, 1, most - least) * (d - least)
        p, first, last = (1 / np.exp(v).sum(-1) for v in (d, most, least))
        theirs, over = p - 1 / chords.sum(-1), first + last - first * last / p - p
        assert np.all(p - below < theirs) and np.mean(p - below) < np.mean(theirs) / 2
        assert np.all(above - p < over * 0.6)


@pytest.mark.parametrize("constants", [np.float32, np.float64])
def test_the_tanh_gelu_bends_where_its_pieces_say(constants: type) -> None:
    """The sign of its second derivative, by balls over all of [0, 12] but 2^-24 around the knot; it is even.

    f'' = tanh'(u) (u' + x u'' / 2 - x u'^2 tanh u). Beyond 12, f is x to 2^-100, and 0 on the left.
    """
    root, cubic = (flint.arb(float(constants(c))) for c in (gates.ROOT, gates.CUBIC))

    def bend(x: Any) -> Any:
        u, once, twice = root * (x + cubic * x**3), root * (1 + 3 * cubic * x**2), 6 * root * cubic * x
        return once + x * twice / 2 - x * once**2 * u.tanh()

    apart = [2.0**-24]
    while apart[-1] < 12:
        apart.append(apart[-1] * 1.04)
    for near, far in pairwise(apart):
        right = flint.arb(gates.TANH_KNOT + (near + far) / 2, (far - near) / 2 * 1.001)
        assert bend(right) < 0
        if near < gates.TANH_KNOT:
            left = flint.arb(gates.TANH_KNOT - (near + far) / 2, (far - near) / 2 * 1.001)
            assert bend(left) > 0


def test_knots_are_the_zeros_of_second_derivatives() -> None:
    """gelu'' is phi(x) (2 - x^2); silu'' has the sign of 2 - x tanh(x / 2), which falls for x > 0."""
    assert abs(flint.arb(gates.GELU_KNOT) ** 2 - 2) < 2.0**-50
    knot = flint.arb(gates.SILU_KNOT)
    assert abs(2 - knot * (knot / 2).tanh()) < 2.0**-48
