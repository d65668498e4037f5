"""Slopes as a certificate holds them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.verify.dual import Neurons
from torchlean_check.network import Network

UNIT = 2.0**14  # slopes in tables are multiples of 2^-14
DEFAULT = -32768  # the checker's own rule


def slope_tables(network: Network, neurons: Neurons, alpha: NDArray[np.float64]) -> list[tc.SlopeTable]:
    """The lower slopes of unstable neurons, a table for each row.   Shapes  alpha: [B, U]"""
    units = np.rint(np.nan_to_num(alpha, nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1) * UNIT).astype(np.int16)
    slopes: dict[int, NDArray[np.int16]] = {}
    for value, part in neurons.at.items():
        if part.start < part.stop:
            slopes[value] = np.full((len(alpha), network.nodes[value].size), DEFAULT, np.int16)
            slopes[value][:, neurons.index[value]] = units[:, part]
    return [tc.SlopeTable({value: rows[j] for value, rows in slopes.items()}) for j in range(len(alpha))]


def slope_table(network: Network, neurons: Neurons, alpha: NDArray[np.float64]) -> tc.SlopeTable:
    """The same for one row.   Shapes  alpha: [U]"""
    return slope_tables(network, neurons, alpha[None])[0]


def joined(tables: Sequence[tc.SlopeTable]) -> dict[int, NDArray[np.float64]]:
    """The slopes of tables over the same values, a row each.   Shapes  value -> [len(tables), size]"""
    floats = [table.floats() for table in tables]
    return {value: np.concatenate([rows[value] for rows in floats]) for value in floats[0]}
