"""binary16, binary32 and binary64 against MPFR, bit for bit, with flags; and laws on drawn and extreme operands."""

import gmpy2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from torchlean import floats
from torchlean.errors import ShapeError, UsageError
from torchlean.floats import BFLOAT16, BINARY16, BINARY32, BINARY64, E4M3FN, TF32, Rounding, bits, soft
from torchlean.floats.soft import Flag, Overflow, Predicate, Result, Rules

law = settings(deadline=None, derandomize=True, max_examples=150)
formats = pytest.mark.parametrize("fmt", [BINARY16, BINARY32, BINARY64], ids=str)
MODES = {Rounding.NEAREST: gmpy2.RoundToNearest, Rounding.TOWARD_ZERO: gmpy2.RoundToZero, Rounding.UP: gmpy2.RoundUp,
         Rounding.DOWN: gmpy2.RoundDown}  # fmt: skip
THEIRS = {"add": gmpy2.add, "sub": gmpy2.sub, "mul": gmpy2.mul, "div": gmpy2.div, "sqrt": gmpy2.sqrt,
          "fma": gmpy2.fma, "remainder": gmpy2.remainder}  # fmt: skip
COUNT = {"sqrt": 1, "fma": 3}


def extremes(fmt):
    step = 1 << fmt.fraction_bits
    one = fmt.bias << fmt.fraction_bits
    ends = [0, 1, 2, 3, step - 1, step, step + 1, one - 1, one, one + 1, one + step, fmt.max_bits - 1, fmt.max_bits,
            fmt.last_number_bits]  # fmt: skip
    return np.array(ends + [e | (fmt.magnitude_mask + 1) for e in ends], np.uint64).astype(fmt.storage)


def operands(name, fmt, seed):
    """Extremes against each other, any patterns, and patterns near in exponent, that cancel, underflow, overflow."""
    rng, count, n = np.random.default_rng(seed), COUNT.get(name, 2), 1500
    grid = [x.ravel() for x in np.meshgrid(*[extremes(fmt)] * count)]
    grid = [x[rng.permutation(x.size)[:1000]] for x in grid] if count == 3 else grid
    anything = [rng.integers(0, 2**63, n).astype(np.uint64) * np.uint64(2) + np.uint64(1) for _ in range(count)]
    anything = [(x >> np.uint64(64 - fmt.width)).astype(fmt.storage) for x in anything]
    base = rng.integers(0, fmt.max_bits, n)
    shifts = rng.integers(-3 << fmt.fraction_bits, 3 << fmt.fraction_bits, (count, n))
    signs = rng.integers(0, 2, (count, n)).astype(fmt.storage) << fmt.storage.type(fmt.width - 1)
    near = [np.clip(base + s, 0, fmt.max_bits).astype(fmt.storage) ^ g for s, g in zip(shifts, signs, strict=True)]
    if count == 3:  # c near -a b
        with np.errstate(all="ignore"):
            product = -(near[0].view(fmt.dtype) * near[1].view(fmt.dtype))
        near[2] = product.view(fmt.storage) + rng.integers(0, 3, n).astype(fmt.storage)
    return [np.concatenate(parts) for parts in zip(grid, anything, near, strict=True)]


@formats
@pytest.mark.parametrize("name", THEIRS)
def test_results_and_flags_are_those_of_mpfr(name, fmt):
    given = operands(name, fmt, 11)
    values = [soft.decode(x, fmt).tolist() for x in given]
    for mode, direction in MODES.items():
        if name == "remainder":
            if mode is not Rounding.NEAREST:
                continue
            got = soft.remainder(*given, fmt)
        else:
            got = getattr(soft, name)(*given, fmt, mode)
        want, flags = [], []
        with gmpy2.context(gmpy2.ieee(fmt.width), round=direction) as ctx:
            for row in zip(*values, strict=True):
                numbers = [gmpy2.mpfr(v) for v in row]
                ctx.clear_flags()
                want.append(float(THEIRS[name](*numbers)))
                flags.append(Flag.INEXACT * ctx.inexact | Flag.OVERFLOW * ctx.overflow | Flag.INVALID * ctx.invalid
                             | Flag.DIVIDE_BY_ZERO * ctx.divzero)  # fmt: skip
        ours, want = soft.decode(got.bits, fmt), np.array(want)
        nan = np.isnan(ours)
        np.testing.assert_array_equal(nan, np.isnan(want))
        np.testing.assert_array_equal(ours[~nan].view(np.int64), want[~nan].view(np.int64))
        quiet = ~np.any([bits.is_nan(x, fmt) for x in given], axis=0)
        seen = got.flags & ~np.uint8(Flag.UNDERFLOW)
        np.testing.assert_array_equal(seen[quiet], np.array(flags)[quiet])
        subnormal = np.abs(ours) < fmt.smallest_normal
        inexact = (got.flags & Flag.INEXACT) != 0
        under = (got.flags & Flag.UNDERFLOW) != 0
        assert (under[inexact & subnormal]).all() and not under[~inexact].any()
        assert not under[np.abs(ours) > fmt.smallest_normal].any()


patterns32 = st.one_of(st.integers(0, 2**32 - 1), st.sampled_from(extremes(BINARY32).tolist()))


def array(*xs, fmt=BINARY32):
    return [np.array([x], fmt.storage) for x in xs]


@law
@given(a=patterns32, b=patterns32, mode=st.sampled_from(list(Rounding)))
@example(a=0x7F7FFFFF, b=0xFF7FFFFF, mode=Rounding.DOWN)
@example(a=0x80000001, b=0x00000001, mode=Rounding.NEAREST)
def test_laws_of_the_directions(a, b, mode):
    """Operands commute; turning both signs turns the result and swaps up with down; odd lies between the others."""
    mirror = {Rounding.UP: Rounding.DOWN, Rounding.DOWN: Rounding.UP}.get(mode, mode)
    a, b = array(a, b)
    if bits.is_nan(a, BINARY32) or bits.is_nan(b, BINARY32):
        return
    minus = np.uint32(1 << 31)
    for operation in (soft.add, soft.mul):
        here, there = operation(a, b, BINARY32, mode), operation(b, a, BINARY32, mode)
        assert here.bits == there.bits and here.flags == there.flags
    here, there = soft.add(a, b, BINARY32, mode), soft.add(a ^ minus, b ^ minus, BINARY32, mirror)
    assert here.flags == there.flags
    if not bits.is_nan(here.bits, BINARY32):
        x, y = soft.decode(here.bits, BINARY32), soft.decode(there.bits, BINARY32)
        assert x == -y and (x == 0 or here.bits ^ minus == there.bits)
        low, high = (soft.decode(soft.add(a, b, BINARY32, m).bits, BINARY32) for m in (Rounding.DOWN, Rounding.UP))
        assert low <= x <= high


@law
@given(a=patterns32, b=patterns32, c=patterns32)
@example(a=0x3F800001, b=0x3F800001, c=0xBF800002)
def test_fma_of_a_product_that_is_exact_is_the_sum(a, b, c):
    a, b, c = array(a, b, c)
    product = soft.mul(a, b, BINARY32)
    fused = soft.fma(a, b, c, BINARY32)
    if product.flags == 0 and not bits.is_nan(c, BINARY32):
        assert fused.bits == soft.add(product.bits, c, BINARY32).bits


@pytest.mark.parametrize("fmt", [TF32, BFLOAT16], ids=str)
def test_formats_that_mpfr_does_not_name_round_the_exact_result(fmt):
    """A binary64 sum, product or quotient rounded to odd, rounded again, is rounded once: 53 >= 2 precision + 2."""
    rng = np.random.default_rng(12)
    a, b = (rng.integers(0, 2**fmt.width, (2, 60_000))).astype(fmt.storage)
    wide = [soft.convert(x, fmt, BINARY64).bits for x in (a, b)]
    number = ~(bits.is_nan(a, fmt) | bits.is_nan(b, fmt))
    for name in ("add", "sub", "mul", "div"):
        operation = getattr(soft, name)
        odd = operation(*wide, BINARY64, Rounding.TO_ODD).bits
        for mode in Rounding:
            once, twice = operation(a, b, fmt, mode).bits, soft.convert(odd, BINARY64, fmt, mode).bits
            differ = number & (once != twice)
            # an exact zero's sign is the one thing that a direction decides before the second rounding
            assert not differ.any() or (mode is Rounding.DOWN and not soft.decode(once[differ], fmt).any())


def test_results_have_the_operands_shape_and_broadcast():
    a, b = np.zeros((2, 3), np.uint32), np.full((3,), 0x3F800000, np.uint32)
    got = soft.add(a, b, BINARY32)
    assert isinstance(got, Result) and got.bits.shape == got.flags.shape == (2, 3)
    assert soft.add(a[:0], b, BINARY32).bits.shape == (0, 3)
    scalar = soft.sqrt(np.uint32(0x40800000), BINARY32)
    assert scalar.bits.shape == () and scalar.bits == 0x40000000
    long = np.arange(70_000, dtype=np.uint32)
    np.testing.assert_array_equal(soft.add(long[::-1], np.uint32(0), BINARY32).bits, long[::-1])
    assert long[5] == 5  # operands are not written to


def test_operands_and_rules_that_do_not_fit_are_refused():
    a, half = np.zeros(3, np.uint32), np.zeros(3, np.uint16)
    for wrong in (half, a.view(np.float32), a.view(np.int32), 0, 0.5, [0, 0, 0]):
        with pytest.raises(ShapeError, match="bit patterns have the wrong dtype"):
            soft.add(a, wrong, BINARY32)
        with pytest.raises(ShapeError, match="bit patterns have the wrong dtype"):
            soft.compare(wrong, a, BINARY32, Predicate.QUIET_LESS)
    with pytest.raises(ShapeError, match="do not broadcast"):
        soft.mul(a, a[:2], BINARY32)
    for mode in ("UP", "nearest", None, 1):
        with pytest.raises(UsageError, match="is no Rounding"):
            soft.add(a, a, BINARY32, mode)
    with pytest.raises(UsageError, match="is no Predicate"):
        soft.compare(a, a, BINARY32, "less")
    with pytest.raises(UsageError, match="is no Extremum"):
        soft.extremum("minimum", a, a, BINARY32)
    with pytest.raises(UsageError, match="the rules are no Rules"):
        soft.add(a, a, BINARY32, rules=Overflow.SATURATE)
    tiny = np.zeros(3, np.uint8)
    for attempt in (
        lambda: soft.add(tiny, tiny, E4M3FN), lambda: soft.mul(tiny, tiny, E4M3FN),
        lambda: soft.div(tiny, tiny, E4M3FN), lambda: soft.fma(tiny, tiny, tiny, E4M3FN),
        lambda: soft.convert(a, BINARY32, E4M3FN), lambda: soft.from_integer(a, E4M3FN), lambda: soft.encode(1, E4M3FN),
    ):  # fmt: skip
        with pytest.raises(UsageError, match="what an overflow gives is not stated"):
            attempt()
    assert soft.sqrt(tiny, E4M3FN).bits.tolist() == [0, 0, 0]
    largest = tiny + np.uint8(0x7E)
    assert (soft.mul(largest, largest, E4M3FN, rules=Rules(overflow=Overflow.SATURATE)).bits == 0x7E).all()
    assert floats.format_of("float8_e4m3fn") is E4M3FN
