"""Nodes of trees with the bounds of their clauses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchlean.frozen import frozen
from torchlean.verify.ascent import Best
from torchlean.verify.maps import Maps
from torchlean.verify.nodes import HOST, Nodes

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]


@frozen(eq=False)
class Bounded:
    """Nodes with the bounds of their clauses, each by the one inequality in `row`, in the arrays of these maps.

    own     whether each has slopes of its own: else it has those of its nodes
    Shapes  row, value, own: [N]
    """

    nodes: Nodes
    row: Ints
    best: Best
    value: F64
    own: NDArray[np.bool_]
    maps: Maps

    def at(self, number: Ints, home: Ints | None = None) -> Bounded:
        """The same at other tree nodes, and in other homes."""
        home = self.nodes.home if home is None else home
        return replace(self, nodes=replace(self.nodes, number=number, home=home))

    def improved(self, items: Ints) -> Nodes:
        """Some of the nodes, starting from where their bounds were reached."""
        i = self.maps.index(items)
        host = {name: getattr(self.nodes, name)[items] for name in HOST}
        return Nodes(**host, side=self.nodes.side[i], alpha=self.best.alpha[i], beta=self.best.beta[i])

    @staticmethod
    def join(parts: Sequence[tuple[Bounded, int]], maps: Maps) -> Bounded:
        """One item of each."""

        def moved(found: Bounded, a: Any) -> Any:
            return a if found.maps is maps else maps.put(found.maps.get(a))

        nodes = Nodes.join(
            [found.nodes.take(slice(j, j + 1)).put(partial(moved, found)) for found, j in parts], maps.xp
        )
        columns: dict[str, Any] = {}
        for name in (f.name for f in fields(Best)):
            mine = [(found, getattr(found.best, name), j) for found, j in parts]
            none = mine[0][1] is None
            columns[name] = None if none else maps.xp.stack([moved(found, a[j : j + 1])[0] for found, a, j in mine])
        row, value, own = (
            np.array([getattr(found, name)[j] for found, j in parts]) for name in ("row", "value", "own")
        )
        return Bounded(nodes, row, Best(**columns), value, own, maps)
