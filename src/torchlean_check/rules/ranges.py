"""Trusted. What a function of one variable does to a box: its ends, where it is monotone, and its extremes inside."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from torchlean_check.rules.elementary import ERROR, Floats
from torchlean_check.rules.functions import find

Bools = npt.NDArray[np.bool_]
Box = tuple[Floats, Floats]


def interval(name: str, lo: Floats, hi: Floats) -> Box:
    """f([lo, hi]), outward; NaN where the box leaves f's domain."""
    f = find(name)
    with np.errstate(all="ignore"):
        ends = f.value(lo), f.value(hi)
        low, high = np.minimum(*ends), np.maximum(*ends)
        low, high = low - ERROR * (1.0 + np.abs(low)), high + ERROR * (1.0 + np.abs(high))
        if f.wave is not None:
            high = np.where(_meets(lo, hi, 0.5 - f.wave), 1.0, high)
            low = np.where(_meets(lo, hi, 1.5 - f.wave), -1.0, low)
        elif f.dip is not None:
            least = f.value(np.full_like(lo, f.dip)) - 2.0 * ERROR
            low = np.where((lo <= f.dip) & (hi >= f.dip), np.minimum(low, least), low)
        if name == "reciprocal":
            low, high = (np.where((lo > 0.0) | (hi < 0.0), v, np.nan) for v in (low, high))
        if f.positive:
            low, high = (np.where(lo >= 2.0**-126, v, np.nan) for v in (low, high))
    return np.maximum(low, f.reach[0]), np.minimum(high, f.reach[1])


def _meets(lo: Floats, hi: Floats, phase: float) -> Bools:
    """Whether the box comes near some (phase + 2 k) pi."""
    first, last = ((z / np.pi - phase) * 0.5 for z in (lo, hi))
    return np.asarray(np.floor(last + 2.0**-30) >= np.ceil(first - 2.0**-30))
