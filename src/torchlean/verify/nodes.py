"""The open nodes of a tree of relu splits, in arrays: each has one clause, its splits, and the duals of its parent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchlean.verify.maps import Maps

Ints = NDArray[np.int64]

SHARES = 16  # of the memory, of which waiting nodes may take one: older ones go to the host's


@dataclass(frozen=True, eq=False)
class Nodes:
    """Open nodes.

    number, clause   the tree node of each and the clause that is open there; the root of several clauses stands once
                     for each
    home             the case below which it stands: its boxes are that case's
    depth            splits below the root of the tree
    side             -1 where z <= 0 was split, +1 where z >= 0, else 0
    alpha, beta      slopes and split multipliers to start from
    Shapes           [N]; side, alpha, beta: [N, U], arrays of a search's maps
    """

    number: Ints
    clause: Ints
    home: Ints
    depth: Ints
    side: Any
    alpha: Any
    beta: Any

    def __len__(self) -> int:
        return len(self.number)

    def take(self, rows: slice) -> Nodes:
        return Nodes(*(getattr(self, name)[rows] for name in (*HOST, *DEVICE)))

    @staticmethod
    def join(parts: list[Nodes], xp: Any) -> Nodes:
        if len(parts) == 1:
            return parts[0]
        host = (np.concatenate([getattr(part, name) for part in parts]) for name in HOST)
        return Nodes(*host, *(xp.concatenate([getattr(part, name) for part in parts]) for name in DEVICE))

    def by_home(self, maps: Maps) -> Nodes:
        """In the order of their homes."""
        if (self.home[1:] >= self.home[:-1]).all():
            return self
        order = np.argsort(self.home, kind="stable")
        i = maps.index(order)
        return Nodes(*(getattr(self, name)[order] for name in HOST), *(getattr(self, name)[i] for name in DEVICE))

    def put(self, move: Callable[[Any], Any]) -> Nodes:
        """With the arrays of its maps moved elsewhere."""
        return replace(self, **{name: move(getattr(self, name)) for name in DEVICE})


HOST, DEVICE = ("number", "clause", "home", "depth"), ("side", "alpha", "beta")


class Waiting:
    """A stack of open nodes. What is deep in it, and would fill the device, waits on the host."""

    def __init__(self, nodes: Nodes, maps: Maps) -> None:
        self._parts, self._maps, self._hosted = [nodes], maps, 0

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def push(self, nodes: Nodes) -> None:
        self._parts += [nodes] if len(nodes) else []
        each, room = 12 * nodes.side.shape[1], self._maps.memory // SHARES
        while self._hosted < len(self._parts) - 1 and each * sum(map(len, self._parts[self._hosted :])) > room:
            self._parts[self._hosted] = self._parts[self._hosted].put(self._maps.get)
            self._hosted += 1

    def pop(self, size: int) -> Nodes:
        """The newest nodes, at most so many."""
        taken: list[Nodes] = []
        while self._parts and size > 0:
            part = self._parts.pop()
            if len(self._parts) < self._hosted:
                self._hosted -= 1
                part = part.put(self._maps.put)
            if len(part) > size:
                self._parts.append(part.take(slice(0, len(part) - size)))
                part = part.take(slice(len(part) - size, None))
            taken.append(part)
            size -= len(part)
        return Nodes.join(taken, self._maps.xp)

    def all(self) -> Nodes:
        return self.pop(len(self))

    def move(self, maps: Maps) -> None:
        """Change the arrays of what waits."""
        nodes = self.all().put(self._maps.get)
        self._parts, self._maps, self._hosted = [nodes.put(maps.put)], maps, 0

    def weight(self) -> float:
        """What share of the tree's root is open: a half for each split."""
        return float(sum((0.5**part.depth).sum() for part in self._parts))
