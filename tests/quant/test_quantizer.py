"""A quantizer keeps its law exactly: half a step inside, the ends beyond, 0 is 0, codes are fixed points."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchlean.errors import DataError, ShapeError, TorchLeanError, UsageError
from torchlean.quant import METHODS, Quantizer, calibrate

SETTINGS = settings(deadline=None, derandomize=True, max_examples=60)
NUMBERS = st.floats(-1e6, 1e6, width=32).filter(lambda v: v == 0 or abs(v) > 1e-30)


def fractions(x: Any) -> list[Fraction]:
    return [Fraction(float(v)) for v in np.asarray(x).ravel()]


@SETTINGS
@given(
    values=st.lists(NUMBERS, min_size=1, max_size=20),
    bits=st.sampled_from([2, 4, 8]),
    symmetric=st.booleans(),
    other=st.lists(st.floats(-1e7, 1e7, width=32), max_size=20),
)
def test_the_law(values: list[float], bits: int, symmetric: bool, other: list[float]) -> None:
    q = calibrate(np.float32(values), bits, symmetric=symmetric)
    assert q.bits == bits and (q.symmetric or not symmetric)
    scale, zero = Fraction(float(q.scale)), int(q.zero_point)
    least, most = (q.lo - zero) * scale, (q.hi - zero) * scale
    x = np.float32([*values, *other, 0.0])
    for v, r in zip(fractions(x), fractions(q.round(x)), strict=True):
        near = max(least - scale / 2, min(most + scale / 2, v)) == v
        slack = abs(v) * Fraction(1, 2**24)  # the quotient is a float32
        if near:
            assert abs(r - v) <= scale / 2 + slack
        elif v - slack > most or v + slack < least:
            assert r == (most if v > 0 else least)
        assert least <= r <= most
    assert q.round(np.float32([0.0, -0.0])).tolist() == [0.0, 0.0]
    seen = np.float32(values)  # nothing that it was calibrated from saturates
    for v, r in zip(fractions(seen), fractions(q.round(seen)), strict=True):
        assert abs(r - v) <= scale / 2 * (1 + Fraction(1, 2**15))


@SETTINGS
@given(values=st.lists(NUMBERS, min_size=1, max_size=10), bits=st.integers(2, 8), symmetric=st.booleans())
def test_every_code_is_a_fixed_point_and_its_number_exact(values: list[float], bits: int, symmetric: bool) -> None:
    q = calibrate(np.float32(values), bits, symmetric=symmetric)
    codes = np.arange(q.lo, q.hi + 1).astype(np.int8)
    numbers = q.values(codes)
    np.testing.assert_array_equal(q.codes(numbers), codes)
    scale = Fraction(float(q.scale))
    assert fractions(numbers) == [(int(c) - int(q.zero_point)) * scale for c in codes]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("symmetric", [True, False])
def test_a_channel_alone_has_the_same_quantizer(method: str, axis: int, symmetric: bool) -> None:
    x = np.random.default_rng(0).normal(0, 1, (3, 4, 5)).astype(np.float32) * np.float32([1, 10, 100, 1000, 0])
    q = calibrate(x, axis=axis, symmetric=symmetric, method=method)
    assert q.axis is not None and q.axis < 0
    for i in range(x.shape[axis]):
        alone = calibrate(np.take(x, i, axis=axis), symmetric=symmetric, method=method)
        assert (alone.scale, alone.zero_point) == (q.scale[i], q.zero_point[i])
        np.testing.assert_array_equal(np.take(q.round(x), i, axis=axis), alone.round(np.take(x, i, axis=axis)))


def test_methods_trade_the_range_for_the_step() -> None:
    x = np.random.default_rng(1).normal(0, 1, 5000).astype(np.float32)
    x[0] = 50.0
    whole, part, best = (calibrate(x, 4, method=m) for m in METHODS)
    assert part.scale < whole.scale and best.scale < whole.scale
    squared = [float(np.square(q.round(x).astype(np.float64) - x).sum()) for q in (whole, part, best)]
    assert squared[2] < squared[0]
    assert calibrate(x, 4, method="percentile", percentile=100).scale == whole.scale
    uneven = calibrate(np.abs(x), 8, symmetric=False, method="percentile")
    assert uneven.zero_point == -128


def test_scales_have_sixteen_bits_and_cover_the_range() -> None:
    rng = np.random.default_rng(2)
    for _ in range(200):
        x = (rng.normal(0, 1, 9) * 10.0 ** rng.uniform(-40, 30)).astype(np.float32)
        q = calibrate(x)
        mantissa, _ = np.frexp(float(q.scale))
        assert mantissa * 2**16 == int(mantissa * 2**16)
        assert float(np.abs(x).max()) <= q.ends[1] and (q.ends[1] == 127 * float(q.scale))


def test_zeros_have_a_quantizer() -> None:
    q = calibrate(np.zeros(4, np.float32), 4, symmetric=False)
    assert q.round(np.zeros(4, np.float32)).tolist() == [0.0] * 4


GOOD = {"scale": np.float32(0.5), "zero_point": np.int8(0), "lo": -128, "hi": 127}


@pytest.mark.parametrize(
    ("title", "change", "error"),
    [
        ("scale 0", {"scale": np.float32(0)}, DataError),
        ("a negative scale", {"scale": np.float32(-1)}, DataError),
        ("a NaN scale", {"scale": np.float32(np.nan)}, DataError),
        ("an infinite scale", {"scale": np.float32(np.inf)}, DataError),
        ("a subnormal scale", {"scale": np.float32(1e-40)}, DataError),
        ("one bad scale of two", {"scale": np.float32([1, 0]), "zero_point": np.int8([0, 0]), "axis": -1}, DataError),
        ("a float64 scale", {"scale": np.float64(1)}, DataError),
        ("a zero point out of range", {"zero_point": np.int8(9), "lo": -8, "hi": 7}, DataError),
        ("a zero point of 32 bits", {"zero_point": np.int32(0)}, DataError),
        ("codes beyond the dtype", {"lo": -129}, DataError),
        ("an empty range", {"lo": 5, "hi": 5}, DataError),
        ("scales without an axis", {"scale": np.float32([1, 2]), "zero_point": np.int8([0, 0])}, ShapeError),
        ("lengths that differ", {"scale": np.float32([1, 2]), "zero_point": np.int8([0]), "axis": -1}, ShapeError),
        ("an axis from the front", {"scale": np.float32([1]), "zero_point": np.int8([0]), "axis": 0}, ShapeError),
    ],
)
def test_what_a_quantizer_refuses(title: str, change: dict[str, Any], error: type[TorchLeanError]) -> None:
    with pytest.raises(error) as caught:
        Quantizer(**{**GOOD, **change})  # type: ignore[arg-type]
    assert all(getattr(caught.value, part) for part in ("what", "where", "expected", "got", "fix"))


@pytest.mark.parametrize(
    ("title", "arguments", "error"),
    [
        ("16 bits", ([1.0], 16), UsageError),
        ("1 bit", ([1.0], 1), UsageError),
        ("8.0 bits", ([1.0], 8.0), UsageError),
        ("nothing", ([],), DataError),
        ("NaN", ([1.0, np.nan],), DataError),
        ("an infinity", ([np.inf],), DataError),
        ("text", (["a"],), DataError),
        ("numbers too large", ([3e38],), DataError),
    ],
)
def test_what_calibration_refuses(title: str, arguments: tuple[Any, ...], error: type[TorchLeanError]) -> None:
    with pytest.raises(error) as caught:
        calibrate(*arguments)
    assert all(getattr(caught.value, part) for part in ("what", "where", "expected", "got", "fix"))


@pytest.mark.parametrize("options", [{"axis": 2}, {"axis": -3}, {"method": "best"}, {"percentile": 40.0}])
def test_options_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        calibrate(np.ones((2, 2), np.float32), **options)


def test_an_array_of_other_channels_is_refused() -> None:
    q = calibrate(np.ones((3, 2), np.float32), axis=0)
    for x in (np.ones((4, 2), np.float32), np.ones(3, np.float32)):
        with pytest.raises(ShapeError, match="channels"):
            q.codes(x)
