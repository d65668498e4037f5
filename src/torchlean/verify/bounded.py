"""Nodes of trees with the bounds of their clauses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
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
        return replace(self.nodes, alpha=self.best.alpha, beta=self.best.beta).pick(items, self.maps)

    def take(self, items: Ints) -> Bounded:
        i, nodes = self.maps.index(items), self.nodes.pick(items, self.maps)
        best = Best(*(None if a is None else a[i] for a in self._columns()))
        return Bounded(nodes, self.row[items], best, self.value[items], self.own[items], self.maps)

    def put(self, maps: Maps) -> Bounded:
        """In the arrays of these maps."""
        if self.maps is maps:
            return self

        def moved(a: Any) -> Any:
            return None if a is None else maps.put(self.maps.get(a))

        best = Best(*map(moved, self._columns()))
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
        rows = zip(*(each._columns() for each in taken), strict=True)
        best = Best(*(None if column[0] is None else maps.xp.concatenate(column) for column in rows))
        row, value, own = (np.concatenate([getattr(e, name) for e in taken]) for name in ("row", "value", "own"))
        whole = Bounded(Nodes.join([each.nodes for each in taken], maps.xp), row, best, value, own, maps)
        return whole.take(np.argsort([p for at in places.values() for p in at]))

    def _columns(self) -> list[Any]:
        return [getattr(self.best, f.name) for f in fields(Best)]
