"""What a flag's value may be: each function reads one, or says what was expected."""

from __future__ import annotations

import math
import re
from argparse import ArgumentTypeError
from collections.abc import Callable
from fractions import Fraction
from typing import TypeVar

Number = TypeVar("Number", int, float)


def seconds(text: str) -> float:
    """A finite time above zero."""
    value = _number(text, float, "a number of seconds")
    if not (value > 0 and math.isfinite(value)):
        raise ArgumentTypeError(f"expected a finite number of seconds above 0, got {text}")
    return value


def ulps(text: str) -> float:
    """A finite number from 0."""
    value = _number(text, float, "a number of ulps")
    if not (value >= 0 and math.isfinite(value)):
        raise ArgumentTypeError(f"expected a finite number of ulps from 0, got {text}")
    return value


def count(text: str) -> int:
    """An int from 1."""
    value = _number(text, int, "a positive int")
    if value < 1:
        raise ArgumentTypeError(f"expected a positive int, got {text}")
    return value


def memory(text: str) -> int:
    """Bytes: a whole number of them, or a decimal and kB, MB, GB or TB (powers of 1000; KiB, MiB, GiB: of 1024)."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([kKMGT]?)(i?)[bB]?", text.strip())
    if not found or (found[3] and not found[2]) or len(text) > 20:
        raise ArgumentTypeError(f"expected a size such as 4GB or 512MiB, got {text[:60]!r}")
    power = "KMGT".index(found[2].upper()) + 1 if found[2] else 0
    return int(Fraction(found[1]) * (1024 if found[3] else 1000) ** power)


def seed(text: str) -> int:
    """An int from 0, as the generators of random numbers take it."""
    value = _number(text, int, "an int from 0")
    if value < 0:
        raise ArgumentTypeError(f"expected an int from 0, got {text}")
    return value


def decimal(text: str) -> Fraction:
    """A finite decimal, exactly."""
    if len(text) > 60 or not re.fullmatch(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?", text.strip()):
        raise ArgumentTypeError(f"expected a finite decimal, got {text[:60]!r}")
    return Fraction(text.strip())


def positive(text: str) -> Fraction:
    """A finite decimal above 0."""
    value = decimal(text)
    if value <= 0:
        raise ArgumentTypeError(f"expected a decimal above 0, got {text}")
    return value


def radii(text: str) -> tuple[Fraction, ...]:
    """Decimals from 0, joined by commas; each once, in rising order."""
    values = tuple(sorted({decimal(part) for part in text.split(",")}))
    if values[0] < 0:
        raise ArgumentTypeError(f"expected radii from 0, got {text}")
    return values


def domain(text: str) -> tuple[Fraction, Fraction]:
    """LO,HI with LO below HI."""
    ends = [decimal(part) for part in text.split(",")]
    if len(ends) != 2 or not ends[0] < ends[1]:
        raise ArgumentTypeError(f"expected LO,HI with LO < HI, got {text}")
    return ends[0], ends[1]


def address(text: str) -> str:
    """HOST:PORT."""
    if not re.fullmatch(r"[^\s/:]+:[0-9]{1,5}|\[[0-9a-fA-F:]+\]:[0-9]{1,5}", text):
        raise ArgumentTypeError(f"expected HOST:PORT, got {text[:60]!r}")
    return text


def _number(text: str, kind: Callable[[str], Number], expected: str) -> Number:
    try:
        return kind(text)
    except ValueError:
        raise ArgumentTypeError(f"expected {expected}, got {text!r}") from None
