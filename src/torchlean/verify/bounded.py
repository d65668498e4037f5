"""Nodes of trees with the bounds of their clauses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchlean.frozen import frozen
from torchlean.verify.ascent import Best
from torchlean.verify.maps import Maps
from torchlean.verify.nodes import Nodes

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]


@frozen(eq=False)
class Bounded:
    """Nodes with the bounds of their clauses, each by the one inequality in `row`, in the arrays of these maps.

    own           whether each has slopes of its own: else it has those of its nodes
    charge, cost  what float32's error boxes take from it, and what all of its lines may cost it
    Shapes        row, value, own, charge, cost: [N]
    """

    nodes: Nodes
    row: Ints
    best: Best
    value: F64
    own: NDArray[np.bool_]
    charge: F64
    cost: F64
    maps: Maps

    def at(self, number: Ints, home: Ints | None = None) -> Bounded:
        """The same at other tree nodes, and in other homes."""
        home = self.nodes.home if home is None else home
        return replace(self, nodes=replace(self.nodes, number=number, home=home))

    def improved(self, items: Ints) -> Nodes:
        """Some of the nodes, starting from where their bounds were reached."""
        return replace(self.nodes, alpha=self.best.alpha, beta=self.best.beta).pick(items, self.maps)

    def take(self, items: Ints) -> Bounded:
        i, nodes = self.maps.index(items), self.nodes.pick(items, self.maps)
        best = Best(*(None if a is None else a[i] for a in self.best.columns))
        host: dict[str, Any] = {name: getattr(self, name)[items] for name in HOST}
        return replace(self, nodes=nodes, best=best, **host)

    def put(self, maps: Maps) -> Bounded:
        """In the arrays of these maps."""
        if self.maps is maps:
            return self

        def moved(a: Any) -> Any:
            return None if a is None else maps.put(self.maps.get(a))

        best = Best(*map(moved, self.best.columns))
        return replace(self, nodes=self.nodes.put(moved), best=best, maps=maps)

    @staticmethod
    def join(parts: Sequence[tuple[Bounded, int]], maps: Maps) -> Bounded:
        """One item of each; those of one batch are taken together."""
        batches = {id(found): found for found, _ in parts}
        places: dict[int, list[int]] = {key: [] for key in batches}
        for place, (found, _) in enumerate(parts):
            places[id(found)].append(place)
        taken = [batches[key].take(np.array([parts[p][1] for p in at])).put(maps) for key, at in places.items()]
        if len(taken) == 1:
            return taken[0]
        rows = zip(*(each.best.columns for each in taken), strict=True)
        best = Best(*(None if column[0] is None else maps.xp.concatenate(column) for column in rows))
        host: dict[str, Any] = {name: np.concatenate([getattr(each, name) for each in taken]) for name in HOST}
        whole = replace(taken[0], nodes=Nodes.join([each.nodes for each in taken], maps.xp), best=best, **host)
        return whole.take(np.argsort([p for at in places.values() for p in at]))


HOST = ("row", "value", "own", "charge", "cost")
