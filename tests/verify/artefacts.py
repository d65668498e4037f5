"""Artefacts in other tools' formats, written for tests: no tool made them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np

Neuron = tuple[int, int]  # layer from 0, entry


def all_cases(neurons: Sequence[Neuron]) -> list[dict[Neuron, int]]:
    """The leaves of the tree that splits each neuron in turn."""
    return [dict(zip(neurons, signs, strict=True)) for signs in product((-1, 1), repeat=len(neurons))]


def histories(leaves: Sequence[dict[Neuron, int]], layers: int, parts: int = 5) -> list[dict[str, tuple[Any, ...]]]:
    """As alpha-beta-CROWN's domains hold them: tensors of indices, signs and points, with scores and depths."""
    import torch

    out = []
    for leaf in leaves:
        history = {}
        for layer in range(layers):
            mine = [(entry, sign) for (k, entry), sign in leaf.items() if k == layer]
            columns = (
                torch.tensor([entry for entry, _ in mine], dtype=torch.long),
                torch.tensor([float(sign) for _, sign in mine]),
                torch.zeros(len(mine)),
                torch.zeros(len(mine)),
                torch.arange(len(mine)),
            )
            history[f"/input.{2 * layer + 1}"] = columns[:parts]
        out.append(history)
    return out


def saved(data: Any) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save(data, buffer)
    return buffer.getvalue()


class Marabou:
    """A query and proof in the form of Marabou's JsonWriter, for a dense relu network.

    Variables: inputs, then for each layer its b, f and aux; the output; a fixed one for each equation.
    """

    def __init__(self, weights: Sequence[tuple[np.ndarray, np.ndarray]], lo: Sequence[float], hi: Sequence[float]):
        count = len(lo)
        self.rows: list[dict[int, float]] = []
        self.scalars: list[float] = []
        self.relus: list[tuple[int, int, int]] = []
        self.b: dict[Neuron, int] = {}
        before = list(range(count))
        for layer, (w, bias) in enumerate(weights):
            last = layer + 1 == len(weights)
            size = len(bias)
            b = list(range(count, count + size))
            count += size
            for i in range(size):
                self.rows.append({v: float(c) for v, c in zip(before, w[i], strict=True)} | {b[i]: -1.0})
                self.scalars.append(-float(bias[i]))
            if last:
                break
            f, aux = list(range(count, count + size)), list(range(count + size, count + 2 * size))
            count += 2 * size
            for i in range(size):
                self.b[layer, i] = b[i]
                self.relus.append((b[i], f[i], aux[i]))
                self.rows.append({f[i]: 1.0, b[i]: -1.0, aux[i]: -1.0})
                self.scalars.append(0.0)
            before = f
        self.lo = [*lo, *[-100.0] * (count - len(lo)), *self.scalars]
        self.hi = [*hi, *[100.0] * (count - len(hi)), *self.scalars]
        for k, row in enumerate(self.rows):
            row[count + k] = -1.0

    def split(self, neuron: Neuron, sign: int) -> list[dict[str, Any]]:
        b, f, aux = next(relu for relu in self.relus if relu[0] == self.b[neuron])
        pairs = [(b, "L"), (aux, "U")] if sign > 0 else [(b, "U"), (f, "U")]
        return [{"var": v, "val": 0.0, "bound": end} for v, end in pairs]

    def tree(self, neurons: Sequence[Neuron]) -> dict[str, Any]:
        """Each neuron in turn, all its cases; every leaf with a Farkas vector of ones."""
        if not neurons:
            return {"contradiction": [{"var": k, "val": 1.0} for k in range(len(self.rows))]}
        children = [{"split": self.split(neurons[0], sign), **self.tree(neurons[1:])} for sign in (-1, 1)]
        return {"children": children}

    def data(self, proof: dict[str, Any]) -> dict[str, Any]:
        return {
            "tableau": [[{"var": v, "val": c} for v, c in row.items() if c] for row in self.rows],
            "upperBounds": self.hi,
            "lowerBounds": self.lo,
            "constraints": [{"constraintType": 0, "vars": [*relu, len(self.lo) - 1]} for relu in self.relus],
            "proof": proof,
        }

    def file(self, neurons: Sequence[Neuron], change: Callable[[dict[str, Any]], None] | None = None) -> bytes:
        data = self.data(self.tree(neurons))
        if change is not None:
            change(data)
        return json.dumps(data).encode()
