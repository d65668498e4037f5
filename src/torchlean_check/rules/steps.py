"""Trusted. Functions with jumps: a box that meets a jump has both limits there (SEMANTICS 2)."""

from __future__ import annotations

import numpy as np

from torchlean_check.rules.elementary import Floats
from torchlean_check.rules.relu import Lines

Box = tuple[Floats, Floats]
NAMES = ("floor", "sign")


def interval(name: str, lo: Floats, hi: Floats) -> Box:
    """floor: at an integer, also the one before it. sign: where 0 is met, -1 or 1 with it."""
    if name == "floor":
        return np.ceil(lo) - 1.0, np.floor(hi)
    return np.where(lo > 0.0, 1.0, -1.0), np.where(hi < 0.0, -1.0, 1.0)


def lines(name: str, lo: Floats, hi: Floats) -> Lines:
    """z - 1 <= floor(z) <= z; constants where no jump is met, and for sign."""
    low, high = interval(name, lo, hi)
    flat = (low == high) | (name == "sign")
    loss = 2.0**-46 * (np.maximum(np.abs(lo), np.abs(hi)) + 1.0)
    a = np.where(flat, 0.0, 1.0)
    return Lines(a, a, np.where(flat, low, -1.0 - loss), np.where(flat, high, loss))
