"""Rationals as finite decimals, exactly and without exponents."""

from __future__ import annotations

from fractions import Fraction


def decimal_text(value: Fraction) -> str | None:
    """The decimal that equals `value`, with a point and no exponent; None when no finite decimal does.

    Every float has one: a denominator 2^k needs k digits after the point.
    """
    numerator, denominator = value.numerator, value.denominator
    twos = (denominator & -denominator).bit_length() - 1
    rest, fives = denominator >> twos, 0
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    if rest != 1:
        return None
    places = max(twos, fives, 1)
    digits = str(abs(numerator) * 10**places // denominator).rjust(places + 1, "0")
    return f"{'-' if numerator < 0 else ''}{digits[:-places]}.{digits[-places:]}"
