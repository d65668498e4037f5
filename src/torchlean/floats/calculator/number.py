"""Numbers as text, read and written: decimals, C's hexadecimal form and fractions are exact rationals."""

from __future__ import annotations

import math
import re
from decimal import Context, Decimal
from fractions import Fraction
from typing import TypeAlias

import flint

from torchlean.errors import UsageError
from torchlean.floats.formats import Format

# A rational; as floats -0, the infinities and NaN, which are none.
Exact: TypeAlias = "flint.fmpq | float"

LONGEST, FARTHEST = 1000, 2000  # characters of a text; powers of ten or two in it

LITERAL = re.compile(
    r"0x(?:[0-9a-f]+\.?[0-9a-f]*|\.[0-9a-f]+)(?:p[+-]?[0-9]+)?|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?",
    re.IGNORECASE,
)
_NUMBER = re.compile(rf"([+-]?)(?:({LITERAL.pattern})|([0-9]+)/([0-9]+)|(inf|infinity)|(nan))", re.IGNORECASE)


def literal(text: str) -> flint.fmpq:
    """The value of a text that matches LITERAL. Raises UsageError for an exponent beyond FARTHEST."""
    text = text.lower()
    base, mark, digit_bits = (16, "p", 4) if text.startswith("0x") else (10, "e", 1)
    digits, _, power = text.removeprefix("0x").partition(mark)
    if len(power.lstrip("+-")) > 9 or abs(int(power or "0")) > FARTHEST:
        raise UsageError(
            "the exponent is too large to compute with",
            where=f"the number {shortened(text)}",
            expected=f"a power between -{FARTHEST} and {FARTHEST}",
            got=shortened(power),
            fix="every format here ends within 2^-1074 and 2^1024: use inf, or 0",
        )
    whole, _, places = digits.partition(".")
    exponent = int(power or "0") - digit_bits * len(places)
    scale = (2 if base == 16 else 10) ** abs(exponent)
    value = int(whole + places, base)
    return flint.fmpq(value * scale, 1) if exponent >= 0 else flint.fmpq(value, scale)


def is_number(text: str) -> bool:
    """Whether `read_number` reads this text; other texts may be expressions."""
    found = _NUMBER.fullmatch(text.strip())
    return found is not None and (found[4] is None or found[4].strip("0") != "")


def read_number(text: str) -> Exact:
    """The exact value of `0.1`, `1e-3`, `0x1.8p+1`, `1/3`, `inf` or `nan`, with or without a sign.

    -0 is the float -0.0.   Raises UsageError for another spelling, and beyond LONGEST characters or FARTHEST powers.
    """
    check_length(text)
    found = _NUMBER.fullmatch(text.strip())
    if found is None or not is_number(text):
        raise UsageError(
            "this is no number",
            where="a number",
            expected="a decimal 0.1 or 1e-3, a hexadecimal float 0x1.8p+1, a fraction 1/3, inf or nan",
            got=repr(shortened(text)),
            fix="0.1",
        )
    sign = -1 if found[1] == "-" else 1
    if found[5] or found[6]:
        return math.copysign(math.inf if found[5] else math.nan, sign)
    value = literal(found[2]) if found[2] else flint.fmpq(int(found[3]), int(found[4]))
    return -0.0 if value == 0 and sign < 0 else sign * value


def exactly(value: str | float | Fraction | flint.fmpq) -> Exact:
    """What `read_number` makes of a text, of a Python number."""
    if isinstance(value, str):
        return read_number(value)
    if isinstance(value, flint.fmpq):
        return value
    if isinstance(value, float) and (not math.isfinite(value) or (value == 0 and math.copysign(1, value) < 0)):
        return value
    return flint.fmpq(*value.as_integer_ratio())


def check_length(text: str) -> None:
    """Raises UsageError for a text beyond LONGEST characters."""
    if len(text) > LONGEST:
        raise UsageError(
            "the text is too long",
            where="a number or an expression",
            expected=f"at most {LONGEST} characters",
            got=f"{len(text)} characters",
            fix="shorten it",
        )


def shortened(text: str) -> str:
    """At most 60 characters of a text, for an error."""
    return text if len(text) <= 60 else text[:57] + "..."


def spacing(x: flint.fmpq, fmt: Format) -> flint.fmpq:
    """Distance of the format's numbers in the binade of |x|, as if the exponents had no upper end; subnormal below.

    An error divided by it is in ulps of the exact value: at most half a one to nearest, below a one directed.
    """
    exponent = fmt.emin if x == 0 else max(floor_log2(x), fmt.emin)
    return power_of_two(exponent - fmt.fraction_bits)


def power_of_two(n: int) -> flint.fmpq:
    return flint.fmpq(1 << n, 1) if n >= 0 else flint.fmpq(1, 1 << -n)


def floor_log2(x: flint.fmpq) -> int:
    """The whole part of log2 |x|, for x not 0."""
    p, q = abs(int(x.numerator)), int(x.denominator)
    guess = p.bit_length() - q.bit_length()
    return guess - ((p << max(-guess, 0)) < (q << max(guess, 0)))


def decimal_text(x: flint.fmpq, digits: int) -> str:
    """x in `digits` significant digits, to nearest; an exponent where it is far from 1."""
    context = Context(prec=digits, Emin=-999_999, Emax=999_999)
    near = context.divide(Decimal(int(x.numerator)), Decimal(int(x.denominator)))
    if near == 0:
        return "0"
    place = near.adjusted()
    if -4 <= place < max(digits, 6):
        return f"{near:f}".rstrip("0").rstrip(".") if "." in f"{near:f}" else f"{near:f}"
    mantissa = f"{near.scaleb(-place):f}"
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{place:+d}"
