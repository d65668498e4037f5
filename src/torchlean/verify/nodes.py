"""The open nodes of trees of relu splits, in arrays: each has one clause, its splits, and the duals of its parent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchlean.frozen import frozen
from torchlean.verify.maps import Maps

Ints = NDArray[np.int64]

FEW = 8  # times those that wait, where they are fewer than a batch: other homes join
JOIN = 8  # of the homes that are left, one in so many at once
SHARES = 16  # of the memory, of which waiting nodes may take one: older ones go to the host's


@frozen(eq=False)
class Nodes:
    """Open nodes.

    number, clause   the tree node of each and the clause that is open there; the root of several clauses stands once
                     for each
    home             the case below which it stands: its boxes are that case's
    depth            splits below the root of the tree
    source           what the slopes come from, which nodes may share: a number for each
    side             -1 where z <= 0 was split, +1 where z >= 0, else 0
    alpha, beta      slopes and split multipliers to start from
    Shapes           [N]; side, alpha, beta: [N, U], arrays of a search's maps
    """

    number: Ints
    clause: Ints
    home: Ints
    depth: Ints
    source: Ints
    side: Any
    alpha: Any
    beta: Any

    def __len__(self) -> int:
        return len(self.number)

    @cached_property
    def weight(self) -> float:
        """What share of all they are, where a node counts half of its parent."""
        return float((0.5**self.depth).sum())

    def take(self, rows: slice) -> Nodes:
        return Nodes(*(getattr(self, name)[rows] for name in (*HOST, *DEVICE)))

    def pick(self, items: Ints, maps: Maps) -> Nodes:
        i = maps.index(items)
        return Nodes(*(getattr(self, name)[items] for name in HOST), *(getattr(self, name)[i] for name in DEVICE))

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
        return self.pick(np.argsort(self.home, kind="stable"), maps)

    def put(self, move: Callable[[Any], Any]) -> Nodes:
        """With the arrays of its maps moved elsewhere."""
        return replace(self, **{name: move(getattr(self, name)) for name in DEVICE})


HOST, DEVICE = ("number", "clause", "home", "depth", "source"), ("side", "alpha", "beta")


class Queue:
    """The open nodes of trees, those of the last home first, and of each home the newest.

    Homes join when few nodes wait, a few with each batch, so that trees end one after the other. What is deep in the
    stack, and would fill the device, waits on the host.
    """

    def __init__(self, nodes: Nodes, maps: Maps) -> None:
        self._maps = maps
        nodes = nodes.by_home(maps)
        first = np.flatnonzero(np.diff(nodes.home, prepend=-1)).tolist()
        self._homes = [nodes.take(slice(a, b)) for a, b in pairwise([*first, len(nodes)])]  # not begun yet
        self._parts: list[Nodes] = []
        self._hosted, self._whole = 0, sum(part.weight for part in self._homes)

    def __len__(self) -> int:
        return sum(map(len, self._homes)) + sum(map(len, self._parts))

    def closed(self) -> float:
        """What share is closed."""
        return 1 - sum(part.weight for part in self._homes + self._parts) / self._whole

    def push(self, nodes: Nodes) -> None:
        if not len(nodes):
            return
        self._parts.append(nodes.by_home(self._maps))
        each, room = 12 * nodes.side.shape[1], self._maps.memory // SHARES
        while self._hosted < len(self._parts) - 1 and each * sum(map(len, self._parts[self._hosted :])) > room:
            self._parts[self._hosted] = self._parts[self._hosted].put(self._maps.get)
            self._hosted += 1

    def pop(self, size: int) -> Nodes:
        """The next nodes, at most so many."""
        if self._homes and FEW * sum(map(len, self._parts)) < size:
            for _ in range(1 + len(self._homes) // JOIN):
                self._parts.insert(self._hosted, self._homes.pop())
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
        parts = [part.put(self._maps.put) if i < self._hosted else part for i, part in enumerate(self._parts)]
        return Nodes.join(self._homes + parts, self._maps.xp)

    def move(self, maps: Maps) -> None:
        """Change the arrays of what waits."""
        host = [part if i < self._hosted else part.put(self._maps.get) for i, part in enumerate(self._parts)]
        self._homes = [part.put(self._maps.get).put(maps.put) for part in self._homes]
        self._parts, self._maps, self._hosted = [part.put(maps.put) for part in host], maps, 0
