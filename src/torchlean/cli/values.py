"""What a flag's value may be: each function reads one, or says what was expected."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from collections.abc import Callable
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


def seed(text: str) -> int:
    """An int from 0, as the generators of random numbers take it."""
    value = _number(text, int, "an int from 0")
    if value < 0:
        raise ArgumentTypeError(f"expected an int from 0, got {text}")
    return value


def _number(text: str, kind: Callable[[str], Number], expected: str) -> Number:
    try:
        return kind(text)
    except ValueError:
        raise ArgumentTypeError(f"expected {expected}, got {text!r}") from None
