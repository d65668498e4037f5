"""Entries of an image in groups that lie side by side: what bounds one group reads is a small part of the network.

Which entries are bounded together changes no bound but for its rounding, which is charged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from torchlean_check.conv import Conv, Turned
from torchlean_check.network import Affine, AnyNode, Ints, Map, Scale, Select, sources

WORK = 1 << 28  # multiplications of two rows for each entry of a group, without windows: from there on it is divided
FEWEST = 8  # entries of a group that is divided no more


def _work(map_: Map) -> int:
    """Multiplications for one row."""
    if isinstance(map_, Turned):
        return _work(map_.conv)
    if isinstance(map_, Conv):
        return map_.weight.size * math.prod(map_.out_shape[1:])
    return math.prod(getattr(map_, "weight", np.zeros(0)).shape)


def tiled(nodes: Sequence[AnyNode]) -> dict[int, int]:
    """The affine nodes that read an image through convolutions, and how many of their entries to bound at once."""
    cost = [0] * len(nodes)
    seen: set[int] = set()
    for k, node in enumerate(nodes):
        terms = node.terms if isinstance(node, Affine) else ()
        cost[k] = sum(_work(map_) for map_, _ in terms) + sum(cost[source] for source in sources(node))
        if len(node.shape) > 2 and any(
            isinstance(map_, (Conv, Turned)) or (isinstance(map_, (Scale, Select)) and source in seen)
            for map_, source in terms
        ):
            seen.add(k)
    return {k: max(FEWEST, WORK // max(1, cost[k])) for k in seen}


def groups(index: Ints, shape: Sequence[int], most: int) -> list[Ints]:
    """Positions in `index`, at most so many a group: halves across the longer side, again and again.

    shape   of the value: batch of 1, channels, spatial axes
    """
    spots = np.stack(np.unravel_index(index, tuple(shape))[2:])
    waiting, found = [np.arange(len(index))], []
    while waiting:
        group = waiting.pop()
        if len(group) <= most:
            found.append(group)
            continue
        axis = np.ptp(spots[:, group], axis=1).argmax()
        order = group[np.argsort(spots[axis, group], kind="stable")]
        waiting += [order[len(order) // 2 :], order[: len(order) // 2]]
    return found
