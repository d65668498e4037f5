"""What steps of a record read: slope tables, and multipliers of the splits above. No number of them can make a bound
wrong (kernel.py), but a multiplier must name a split that holds where the bound is to hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from torchlean_check.fit import bad
from torchlean_check.network import Floats, Ints, Network
from torchlean_check.packed import Steps
from torchlean_check.pushes import Pushes, Splits
from torchlean_check.records import NONE, SlopeTable, slope_rows


def duals(
    network: Network, tables: Sequence[SlopeTable] | Mapping[int, SlopeTable], steps: Steps, i: Ints,
    splits: Splits, nodes: Ints,
) -> tuple[dict[int, Floats], Pushes]:  # fmt: skip
    """Slopes and split multipliers, one row a step; a multiplier takes the threshold of the tightest such split.

    splits   above each of the steps i; nodes: the tree node of each, for the error where a multiplier names none
    """
    given = steps.multipliers(i)
    slopes = slope_rows([tables[table] if table >= 0 else NONE for table in steps.table[i].tolist()], network.places)
    above, asked = _keys(network, splits), _keys(network, given)
    order = np.lexsort((splits.at * splits.side, above))  # the last of equal keys is the tightest
    found = np.searchsorted(above[order], asked, side="right") - 1
    there = (found >= 0) & (len(order) > 0)
    there[there] = above[order[found[there]]] == asked[there]
    if not there.all():
        j = int(np.argmin(there))
        raise bad(
            "a multiplier names a split that is not on its path",
            f"node {nodes[given.row[j]]}",
            "a value split above",
            f"{given.value[j]}, {given.entry[j]}, {given.side[j]}",
        )
    _, first, which = np.unique(asked, return_index=True, return_inverse=True)
    factor = np.bincount(which, np.maximum(given.at, 0.0), len(first)) * -given.side[first].astype(np.float64)
    at = splits.at[order[found[first]]] if len(first) else given.at
    return slopes, Pushes(given.row[first], given.value[first], given.entry[first], factor, at)


def _keys(network: Network, splits: Splits) -> Ints:
    """A number for each row, entry of a value, and side; rows ascend with it."""
    start = np.cumsum([0] + [node.size for node in network.nodes])
    keys: Ints = 2 * (splits.row * start[-1] + start[splits.value] + splits.entry) + (splits.side > 0)
    return keys
