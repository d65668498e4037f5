"""Slopes and multipliers as a certificate holds them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.verify.dual import Neurons
from torchlean.verify.maps import Maps
from torchlean_check.pushes import Splits

UNIT = 2.0**14  # slopes in tables are multiples of 2^-14


def units(xp: Any, alpha: Any) -> Any:
    """Slopes in the units of a table; what is no number is 0.   Shapes  any"""
    inside = xp.clip(xp.nan_to_num(alpha, nan=0.0, posinf=1.0, neginf=0.0), 0, 1)
    return xp.asarray(xp.round(inside * UNIT), dtype=xp.int16)


def on_grid(xp: Any, alpha: Any) -> Any:
    """The slopes that a table has for these.   Shapes  any"""
    return units(xp, alpha) / UNIT


def slope_tables(
    neurons: Neurons, maps: Maps, alpha: Any, upper: Any | None = None, whole: Any | None = None
) -> list[tc.SlopeTable]:
    """The lower slopes of unstable neurons, a table for each row.

    upper    the coefficients on the relus' outputs: where they are not positive, no slope is read, and where they are
             no plane's share; 0 packs best
    whole    the rows that keep every number
    Shapes   alpha: [B, U + K], upper: [B, U], whole: [B, 1], of these maps
    """
    if upper is not None:
        read = maps.xp.concatenate([upper, -upper[:, maps.index(neurons.below_planes)]], -1)
        kept = read > 0 if whole is None else (read > 0) | whole
        alpha = maps.xp.where(kept, alpha, maps.xp.zeros_like(alpha))
    return [tc.SlopeTable(neurons.entries, row) for row in maps.get(units(maps.xp, alpha))]


def slope_table(neurons: Neurons, alpha: NDArray[np.float64]) -> tc.SlopeTable:
    """The same for one row.   Shapes  alpha: [U]"""
    return tc.SlopeTable(neurons.entries, units(np, alpha))


def multipliers(
    neurons: Neurons, maps: Maps, side: Any, beta: Any, scale: NDArray[np.float64] | None = None
) -> Splits:
    """Those of splits that are above 0, in the place of `at`: row by row, in the order of the neurons.

    Shapes   side, beta: [B, U], of these maps; scale: [B]
    """
    beta = maps.xp.clip(beta, 0, None)
    nothing = maps.xp.zeros_like(beta)  # not 0 * beta: it may be no number there
    signed = maps.xp.where(side < 0, -beta, maps.xp.where(side > 0, beta, nothing))
    at = maps.nonzero(signed)
    row, n = np.asarray(maps.get(maps.xp.stack(at)))
    found = np.asarray(maps.get(signed[at]), np.float64)
    factor = abs(found) if scale is None else abs(found) * scale[row]
    return Splits(row, neurons.value[n], neurons.entry[n], np.where(np.signbit(found), -1, 1), factor)


def pushes(splits: Splits) -> tc.Pushes:
    """What the kernel adds for these multipliers of splits at 0."""
    zero = np.zeros(len(splits.at))
    return tc.Pushes(splits.row, splits.value, splits.entry, -np.maximum(splits.at, 0.0) * splits.side, zero)
