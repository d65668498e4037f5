"""How far each input may move what a property asks about, all paths of the network added up: a score for splitting.

A linear bound of an inequality knows which inputs move it, but not which make it loose; this knows both, roughly.
Source   the maximal smear of Kearfott and Novoa 1990, ACM TOMS 16 (INTBIS); Clip-and-Verify (NeurIPS 2025)

Shapes   B boxes
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean_check.kernel import RULES
from torchlean_check.network import Affine, Curve, Product, Relu

F64 = NDArray[np.float64]
NOWHERE = np.zeros((1, 1))  # the middle places of lines


def smear(kernel: tc.Kernel, state: tc.State) -> F64:
    """|rows| |W| D |W| ... D |W|, D being each relu's chord on the box; 0 past other nodes.   Shapes  -> [B, inputs]"""
    network, region = kernel.network, kernel.region
    start = np.abs(region.rows_y).max(axis=0, initial=0.0)
    pending: dict[int, Any] = {network.output: np.broadcast_to(start, (len(state), len(start)))}
    for k in range(network.output, 0, -1):
        rows, node = pending.pop(k, None), network.nodes[k]
        if rows is None:
            continue
        if isinstance(node, Affine):
            maps = zip(kernel.absolute[k], node.terms, strict=True)
            parts = [(source, map_.transpose(rows, np.matmul)) for map_, (_, source) in maps]
        elif isinstance(node, Relu):
            lo, hi = state.boxes[node.source]
            top = np.maximum(hi, 0.0)
            parts = [(node.source, rows * (top / np.maximum(top - np.minimum(lo, 0.0), 2.0**-100)))]
        elif isinstance(node, Curve):
            lines = RULES[Curve].lines(node, (NOWHERE, NOWHERE), state.boxes[node.source])
            parts = [(node.source, rows * np.nan_to_num(np.maximum(np.abs(lines.a), np.abs(lines.s))))]
        elif isinstance(node, Product):
            factors = zip(node.sources, (node.left, node.right), strict=True)
            sizes = [np.maximum(*(np.abs(side[:, s.index]) for side in state.boxes[k])) for k, s in factors]
            parts = [
                (source, select.transpose(rows * size, np.matmul))
                for source, select, size in zip(node.sources, (node.left, node.right), sizes[::-1], strict=True)
            ]
        else:
            continue
        for source, part in parts:
            pending[source] = pending[source] + part if source in pending else part
    found: F64 = pending[0] if 0 in pending else np.zeros((len(state), network.inputs))
    return found + np.abs(region.rows_x).max(axis=0, initial=0.0)
