"""Slopes as a certificate holds them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.verify.lower import Origin
from torchlean_check.network import Network

UNIT = 2.0**14  # slopes in tables are multiples of 2^-14
DEFAULT = -32768  # the checker's own rule


def slope_table(network: Network, origins: tuple[Origin, ...], alpha: list[NDArray[np.float64]]) -> tc.SlopeTable:
    """Lower slopes of the relus, from one array per layer of a stack. Shapes: alpha[k]: [n_k]"""
    slopes: dict[int, NDArray[np.int16]] = {}
    for (value, index), mine in zip(origins, alpha, strict=True):
        units = np.rint(mine[: len(value)] * UNIT).astype(np.int16)
        for v in np.unique(value).tolist():
            at = value == v
            slopes.setdefault(v, np.full(network.nodes[v].size, DEFAULT, np.int16))[index[at]] = units[at]
    return tc.SlopeTable(slopes)
