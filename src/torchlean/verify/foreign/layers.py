"""Another tool's layers as ours: its names and arrays of values that relus read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchlean.verify.dual import Boxes
from torchlean.verify.foreign.cases import refuse
from torchlean_check.network import Network

F64 = NDArray[np.float64]
Bounds = dict[int, tuple[F64, F64]]


def match_layers(names: Sequence[str], network: Network, source: str) -> dict[str, int]:
    """Name -> value, in the order of the network, in which the tools keep them. Raises FileError."""
    values = list(network.relu_inputs)
    if len(names) != len(values):
        raise refuse("the layers are not those of the network", source, f"{len(values)} values that relus read",
                     f"{len(names)}: {', '.join(map(str, names))}", "give the artefact of this network")  # fmt: skip
    return dict(zip(names, values, strict=True))


def numbers(data: Any, source: str, what: str) -> F64:
    """A tensor, array, list or number of finite or infinite floats. Raises FileError."""
    try:
        array = np.asarray(data.detach().cpu() if hasattr(data, "detach") else data, np.float64)
    except (TypeError, ValueError):
        raise refuse(f"{what} are not numbers", source, "numbers", type(data).__name__) from None
    if np.isnan(array).any():
        raise refuse(f"{what} hold a nan", source, "numbers", "nan")
    return array


def whole(data: Any, source: str, what: str) -> list[int]:
    """Whole numbers. Raises FileError."""
    array = numbers(data, source, what).ravel()
    if not (np.isfinite(array).all() and (array == np.rint(array)).all() and (np.abs(array) < 2.0**53).all()):
        raise refuse(f"{what} are not whole numbers", source, "whole numbers", array[:4])
    return [int(x) for x in array]


def bounds_of(lower: Mapping[str, Any], upper: Mapping[str, Any], boxes: Boxes, source: str) -> Bounds:
    """Bounds by layer name, each [size] or [batch, *size] (the hull over the batch is taken).

    boxes    our own bounds of the values that relus read: each takes the layer of its size whose bounds are nearest,
             since files keep no order and tools tell other layers too
    Raises   FileError: sizes, nan, lower above upper, no fitting layer
    """
    if set(lower) != set(upper):
        raise refuse("lower and upper bounds are of different layers", source, ", ".join(map(str, lower)),
                     ", ".join(map(str, upper)))  # fmt: skip
    low = {name: numbers(a, source, f"lower bounds of {name}") for name, a in lower.items()}
    high = {name: numbers(a, source, f"upper bounds of {name}") for name, a in upper.items()}
    for name, side in low.items():
        if side.shape != high[name].shape or side.size == 0:
            raise refuse("lower and upper bounds have different sizes", source, f"{side.shape} for {name}",
                         high[name].shape)  # fmt: skip
        if (side > high[name]).any():
            raise refuse("a lower bound is above its upper bound", source, "lower <= upper", f"layer {name}")
    found: Bounds = {}
    left = list(low)
    for value in sorted(boxes):
        size = len(boxes[value][0])
        hulls = {name: (low[name].reshape(-1, size).min(axis=0), high[name].reshape(-1, size).max(axis=0))
                 for name in left if low[name].size % size == 0}  # fmt: skip
        if not hulls:
            raise refuse("bounds have other sizes than the layers", source, f"one more layer of {size} entries",
                         ", ".join(f"{name} {low[name].shape}" for name in left) or "no layer",
                         "give the artefact of this network")  # fmt: skip
        nearest = min(hulls, key=lambda name: _distance(hulls[name], boxes[value]))
        found[value] = hulls[nearest]
        left.remove(nearest)
    return found


def _distance(one: tuple[F64, F64], other: tuple[F64, F64]) -> float:
    total = sum(np.minimum(np.abs(a - b), 1e30).sum() for a, b in zip(one, other, strict=True))
    return float(total)
