"""Slopes and multipliers as a certificate holds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.verify.dual import Neurons
from torchlean.verify.maps import Maps
from torchlean_check.network import Network

UNIT = 2.0**14  # slopes in tables are multiples of 2^-14
DEFAULT = -32768  # the checker's own rule

Ints16 = NDArray[np.int16]
Multipliers = tuple[tuple[int, int, int, float], ...]  # value, entry, side, multiplier


class Unstable(Mapping[int, Ints16]):
    """The rows of a slope table, which are made when they are read: kept are the slopes of unstable neurons alone.

    sizes   value that a relu reads -> its size
    """

    def __init__(self, sizes: dict[int, int], neurons: Neurons, slopes: Ints16) -> None:
        self.sizes, self.neurons, self.slopes = sizes, neurons, slopes

    def __getitem__(self, value: int) -> Ints16:
        row = np.full(self.sizes[value], DEFAULT, np.int16)
        row[self.neurons.index[value]] = self.slopes[self.neurons.at[value]]
        return row

    def __iter__(self) -> Iterator[int]:
        return iter(self.sizes)

    def __len__(self) -> int:
        return len(self.sizes)


def units(xp: Any, alpha: Any) -> Any:
    """Slopes in the units of a table; what is no number is 0.   Shapes  any"""
    inside = xp.clip(xp.nan_to_num(alpha, nan=0.0, posinf=1.0, neginf=0.0), 0, 1)
    return xp.asarray(xp.round(inside * UNIT), dtype=xp.int16)


def slope_tables(network: Network, neurons: Neurons, maps: Maps, alpha: Any) -> list[tc.SlopeTable]:
    """The lower slopes of unstable neurons, a table for each row.   Shapes  alpha: [B, U], of these maps"""
    return _tables(network, neurons, maps.get(units(maps.xp, alpha)))


def slope_table(network: Network, neurons: Neurons, alpha: NDArray[np.float64]) -> tc.SlopeTable:
    """The same for one row.   Shapes  alpha: [U]"""
    return _tables(network, neurons, units(np, alpha[None]))[0]


def _tables(network: Network, neurons: Neurons, slopes: Ints16) -> list[tc.SlopeTable]:
    sizes = {value: network.nodes[value].size for value, part in neurons.at.items() if part.start < part.stop}
    return [tc.SlopeTable(Unstable(sizes, neurons, row)) for row in slopes]


def joined(tables: Sequence[tc.SlopeTable]) -> dict[int, NDArray[np.float64]]:
    """The slopes of tables over the same values, a row each.   Shapes  value -> [len(tables), size]"""
    floats = [table.floats() for table in tables]
    return {value: np.concatenate([rows[value] for rows in floats]) for value in floats[0]}


def multipliers(
    neurons: Neurons, maps: Maps, side: Any, beta: Any, scale: NDArray[np.float64] | None = None
) -> list[Multipliers]:
    """Those of splits that are not 0, each row's.   Shapes  side, beta: [B, U], of these maps; scale: [B]"""
    used = maps.xp.where(side != 0, beta, maps.xp.zeros_like(beta))  # not 0 * beta: it may be no number there
    at = maps.nonzero(used)
    row, n = (np.asarray(maps.get(i)) for i in at)
    factor, sides = np.asarray(maps.get(used[at]), np.float64), maps.get(side[at]).astype(np.int64)
    if scale is not None:
        factor = factor * scale[row]
    columns = neurons.value[n], neurons.entry[n], sides, factor
    every = list(zip(*(column.tolist() for column in columns), strict=True))
    ends = np.searchsorted(row, np.arange(len(side) + 1)).tolist()
    return [tuple(every[a:b]) for a, b in pairwise(ends)]
