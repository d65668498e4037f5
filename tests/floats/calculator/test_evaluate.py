"""Expressions: bits against numpy and floats.rounded, flags against MPFR, and the exact value around them."""

from __future__ import annotations

import math
from typing import Any

import flint
import gmpy2
import numpy as np
import pytest

from torchlean import floats
from torchlean.errors import UsageError
from torchlean.floats import BFLOAT16, BINARY16, BINARY32, BINARY64, CATALOG, E4M3FN, TF32, Format, Rounding, soft
from torchlean.floats.calculator import ARITY, Real, evaluate, look, parse, real_value
from torchlean.floats.calculator.functions import elementary
from torchlean.floats.soft import Flag, Overflow, Rules

RULES = Rules(overflow=Overflow.SPECIAL)
FUNCTIONS = [name for name in ARITY if name in floats.ELEMENTARY]
each_function = pytest.mark.parametrize("name", FUNCTIONS)
EXTREMES = [0.0, -0.0, 1.0, -1.0, 2.0, 0.5, 1e-44, 2.0**-126, 1e-20, 3e38, 88.8, -104.0, 20.0]
EXTREMES += [math.inf, -math.inf, math.nan]


def arguments(count: int, seed: int) -> list[np.ndarray]:
    """float32 numbers of every size, and every pair of extremes."""
    rng = np.random.default_rng(seed)
    random = [np.concatenate([rng.normal(size=6), rng.normal(size=4) * 10.0 ** rng.integers(-30, 30, 4)])
              for _ in range(count)]  # fmt: skip
    ends = np.meshgrid(*[EXTREMES if count == 1 else EXTREMES[::2]] * count)
    return [np.concatenate([r, e.ravel()]).astype(np.float32) for r, e in zip(random, ends, strict=True)]


def rounded(name: str, x: list[float], fmt: Format, mode: Rounding) -> Any:
    operands = [soft.encode([v], fmt, rules=RULES).bits for v in x]
    return elementary(name, operands, fmt, mode, RULES), [float(soft.decode(a, fmt)[0]) for a in operands]


@each_function
@pytest.mark.parametrize("fmt", [BINARY32, BINARY64, BINARY16, BFLOAT16], ids=str)
def test_the_bits_are_those_of_floats_rounded(name: str, fmt: Format) -> None:
    seed = FUNCTIONS.index(name)
    for i, x in enumerate(zip(*(a.tolist() for a in arguments(ARITY[name], seed)), strict=True)):
        mode = list(Rounding)[i % len(Rounding)]
        found, held = rounded(name, list(x), fmt, mode)
        first, *second = (np.array([v]).astype(fmt.dtype) for v in held)
        expected = floats.rounded(name, first, mode, second=second[0] if second else None)
        bits = expected.view(fmt.storage)
        both_nan = floats.bits.is_nan(bits, fmt)[0] and floats.bits.is_nan(found.bits, fmt)[0]
        assert both_nan or found.bits[0] == bits[0], (name, held, mode)


MPFR = {"rsqrt": "rec_sqrt"} | {name: name for name in FUNCTIONS if name != "rsqrt" and hasattr(gmpy2, name)}
MODES = {Rounding.NEAREST: gmpy2.RoundToNearest, Rounding.TOWARD_ZERO: gmpy2.RoundToZero,
         Rounding.UP: gmpy2.RoundUp, Rounding.DOWN: gmpy2.RoundDown}  # fmt: skip


@pytest.mark.parametrize("name", MPFR)
@pytest.mark.parametrize("fmt", [BINARY32, BINARY64, TF32], ids=str)
def test_flags_are_those_of_mpfr(name: str, fmt: Format) -> None:
    """Rounded with the format's precision and no end of exponents: inexact, poles, invalid; and where overflow and
    underflow begin. A result that is exact there may be inexact only as a subnormal."""
    for i, x in enumerate(zip(*(a.tolist() for a in arguments(ARITY[name], 7)), strict=True)):
        mode = list(MODES)[i % len(MODES)]
        found, held = rounded(name, list(x), fmt, mode)
        with gmpy2.context(precision=fmt.precision, round=MODES[mode]) as context:
            wide = getattr(gmpy2, MPFR[name])(*map(gmpy2.mpfr, held))
        flags = Flag(int(found.flags[0]))
        invalid = gmpy2.is_nan(wide) and not any(map(math.isnan, held))
        pole = gmpy2.is_infinite(wide) and all(map(math.isfinite, held)) and context.divzero
        assert bool(flags & Flag.INVALID) == invalid, (held, mode)
        assert bool(flags & Flag.DIVIDE_BY_ZERO) == pole, (held, mode)
        if gmpy2.is_finite(wide):
            tiny = abs(wide) < fmt.smallest_normal and wide != 0
            assert bool(flags & Flag.OVERFLOW) == (abs(wide) > fmt.max), (held, mode)
            assert flags & Flag.INEXACT or not context.inexact, (held, mode)
            assert not flags & Flag.INEXACT or context.inexact or tiny or flags & Flag.OVERFLOW, (held, mode)
            assert bool(flags & Flag.UNDERFLOW) == bool(tiny and flags & Flag.INEXACT), (held, mode)


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("1 / 0", Flag.DIVIDE_BY_ZERO),
        ("0 / 0", Flag.INVALID),
        ("log(0)", Flag.DIVIDE_BY_ZERO),
        ("log(-1)", Flag.INVALID),
        ("pow(0, -1)", Flag.DIVIDE_BY_ZERO),
        ("pow(nan, 0)", Flag(0)),
        ("exp(nan)", Flag(0)),
        ("exp(inf)", Flag(0)),
        ("sqrt(-1)", Flag.INVALID),
        ("exp(1000)", Flag.OVERFLOW | Flag.INEXACT),
        ("exp(-1000)", Flag.UNDERFLOW | Flag.INEXACT),
        ("exp2(-149)", Flag(0)),
        ("0.5 + 0.25", Flag(0)),
        ("1e39", Flag.OVERFLOW | Flag.INEXACT),
        ("1 / 3 - 1 / 0", Flag.INEXACT | Flag.DIVIDE_BY_ZERO),
        ("min(1, nan)", Flag(0)),
        ("-nan", Flag(0)),
        ("inf - inf", Flag.INVALID),
        ("fma(0.5, 0.5, -0.25)", Flag(0)),
    ],
)
def test_flags_are_gathered(text: str, flags: Flag) -> None:
    assert evaluate(text).flags == flags


@pytest.mark.parametrize("mode", Rounding, ids=lambda m: m.name)
def test_a_literal_is_rounded_in_the_direction(mode: Rounding) -> None:
    for text in ("0.1", "0.7", "1e39", "0x1.000001p-130"):
        found, expected = evaluate(text, BINARY32, mode), look(text, BINARY32, mode)
        assert (found.bits, found.flags) == (expected.bits, expected.flags)


def test_a_pole_without_infinity_takes_the_stated_policy() -> None:
    for policy, bits in ((Overflow.SATURATE, E4M3FN.max_bits), (Overflow.SPECIAL, E4M3FN.nan_bits)):
        for text in ("1 / 0", "rsqrt(0)"):
            found = evaluate(text, E4M3FN, rules=Rules(overflow=policy))
            assert found.bits == bits and found.flags == Flag.DIVIDE_BY_ZERO
    with pytest.raises(UsageError, match="not stated"):
        evaluate("1", E4M3FN)


def test_a_nan_keeps_its_payload_and_a_signaling_one_is_invalid() -> None:
    quiet, signaling = (np.array([v], np.uint32) for v in (0xFFC00123, 0x7F800123))
    found = elementary("exp", [quiet], BINARY32, Rounding.NEAREST, Rules())
    assert found.bits[0] == 0xFFC00123 and found.flags[0] == 0
    found = elementary("pow", [signaling, quiet], BINARY32, Rounding.NEAREST, Rules())
    assert found.bits[0] == 0x7FC00123 and found.flags[0] == Flag.INVALID


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arithmetic_is_numpy_s(dtype: Any) -> None:
    rng, fmt = np.random.default_rng(3), floats.format_of(dtype)
    for a, b, c in (rng.normal(size=(50, 3)) * 10.0 ** rng.integers(-8, 8, size=(50, 3))).tolist():
        text = f"({a!r} + {abs(b)!r} * 3) / sqrt({abs(c)!r}) - max({a!r}, {b!r})"
        x, y, z = (dtype(v) for v in (a, b, c))
        expected = (x + abs(y) * dtype(3)) / np.sqrt(abs(z)) - np.maximum(x, y)
        found = evaluate(text, fmt)
        assert found.bits == int(expected.view(fmt.storage)) and found.value == float(expected)
        assert found.steps[-1].bits == found.bits and [s.text for s in found.steps].count("3") == 1


@each_function
@pytest.mark.parametrize("fmt", CATALOG.values(), ids=str)
def test_one_operation_is_within_its_rounding_of_the_exact_value(name: str, fmt: Format) -> None:
    """On arguments that every format holds: half an ulp to nearest, below one in a direction, on its side."""
    for i, x in enumerate(((1.5, 0.75), (0.875, 1.25), (0.0625, 3.0), (2.5, -1.5), (-0.375, 2.0))):
        held = ", ".join(f"({v!r})" for v in x[: ARITY[name]])
        tree = parse(f"{name}({held})")
        real, mode = real_value(tree), list(Rounding)[i]
        found = evaluate(tree, fmt, mode, RULES)
        if isinstance(real, str):
            assert math.isnan(found.value), (tree, real)
            continue
        off = found.off_by(real)
        assert off is not None
        assert abs(off) <= flint.fmpq(1, 2) if mode.to_nearest else abs(off) < 1, (str(tree), mode)
        assert mode is not Rounding.UP or off >= 0
        assert mode is not Rounding.DOWN or off <= 0
        assert (found.flags & Flag.INEXACT != 0) == (off != 0) or not real.is_exact


@pytest.mark.parametrize("name", MPFR)
def test_the_exact_value_is_mpfr_s(name: str) -> None:
    tenths = ((11,) if name == "acosh" else (1, 7))[: ARITY[name]]
    with gmpy2.context(precision=400):
        expected = getattr(gmpy2, MPFR[name])(*(gmpy2.mpfr(gmpy2.mpq(n, 10)) for n in tenths))
    found = real_value(parse(f"{name}({', '.join(f'{n} / 10' for n in tenths)})"))
    assert isinstance(found, Real) and found.upper - found.lower <= abs(found.middle) / 2**199
    p, q = expected.as_integer_ratio()
    slack = abs(found.middle) / flint.fmpq(2) ** 390  # of a tenth and of the function, at 400 bits
    assert found.lower - slack <= flint.fmpq(int(p), int(q)) <= found.upper + slack


def test_functions_far_out_keep_their_distance() -> None:
    """gelu(x) < x, softplus(x) > x, silu(x) < x: also where no format shows it."""
    for text, below in (("gelu(20) - 20", True), ("softplus(100) - 100", False), ("silu(90) - 90", True)):
        found = real_value(parse(text))
        assert isinstance(found, Real) and (found.upper < 0 if below else found.lower > 0), text
    for text, size in (("gelu(20) - 20", 80), ("silu(90) - 90", 36)):
        far = real_value(parse(text))
        assert isinstance(far, Real) and abs(far.middle) < flint.fmpq(1, 10**size), text
    power = real_value(parse("pow(10, 400)"))
    assert isinstance(power, Real) and power.lower <= flint.fmpq(10**400) <= power.upper
    ratio = real_value(parse("(softplus(100) - 100) * exp(100)"))
    assert isinstance(ratio, Real) and abs(ratio.middle - 1) < flint.fmpq(1, 10**43)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.1 + 0.2 * 3", "7/10"),
        ("sqrt(9/4)", "3/2"),
        ("pow(2, 10)", "1024"),
        ("cbrt(-27)", "-3"),
        ("log2(8)", "3"),
        ("log10(1000)", "3"),
        ("min(1/3, 0.3)", "3/10"),
        ("max(1/3, 0.3)", "1/3"),
        ("fma(0.1, 0.1, -0.01)", "0"),
        ("exp(0)", "1"),
        ("-(1 - 2)", "1"),
    ],
)
def test_what_is_rational_stays_exact(text: str, value: str) -> None:
    found = real_value(parse(text))
    assert isinstance(found, Real) and found.is_exact and str(found.lower) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1 / 0", "a division by zero"),
        ("1 / (0.3 - 0.1 * 3)", "a division by zero"),
        ("log(-0.5)", "outside of the domain of log"),
        ("log(0)", "log has no value there"),
        ("sqrt(-2)", "outside of the domain of sqrt"),
        ("pow(-8, 0.5)", "pow has no value there"),
        ("acosh(sin(1))", "outside of the domain of acosh"),
        ("inf - inf", "inf is no real number"),
        ("1 / (sqrt(2) * sqrt(2) - 2)", "16384 bits do not decide it"),
        ("exp(1e9)", "its magnitude is above 2^65536"),
    ],
)
def test_what_has_no_real_value_says_why(text: str, reason: str) -> None:
    assert real_value(parse(text)) == reason


def test_a_value_of_no_size_is_bounded_by_its_sign() -> None:
    small, zero = real_value(parse("exp(-1e9)")), real_value(parse("sqrt(2) * sqrt(2) - 2"))
    assert isinstance(small, Real) and small.lower == 0 < small.upper < flint.fmpq(1, 2**1399)
    assert isinstance(zero, Real) and zero.lower < 0 < zero.upper
