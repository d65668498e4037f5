"""What a dual bound is of: linear forms of a value of the network, a problem each."""

from __future__ import annotations

from typing import Any

from torchlean.frozen import frozen
from torchlean.verify.maps import Maps


@frozen(eq=False)
class Clause:
    """Clauses of the violation: where one holds, its rows . output + direct . x + bias <= 0.

    Shapes  [r, outputs], [r, n] or None, [r]
    """

    rows: Any
    direct: Any | None
    bias: Any


@frozen(eq=False)
class Forms:
    """What is bounded: seed . value(target) + direct . x + bias.   Shapes  [P, size], [P, n] or None, [P]

    clause   what may be added to it with multipliers >= 0, because it is <= 0 (INVPROP)
    own      [P, r] which of the clause's rows each problem may add: 1, or 0; None: all
    """

    target: int
    seed: Any
    direct: Any | None
    bias: Any
    clause: Clause | None = None
    own: Any | None = None

    def take(self, i: Any) -> Forms:
        """Those of some problems.   i: of these maps"""
        direct, own = (None if a is None else a[i] for a in (self.direct, self.own))
        return Forms(self.target, self.seed[i], direct, self.bias[i], self.clause, own)

    @staticmethod
    def entries(
        maps: Maps, value: int, size: int, entry: Any, factor: Any, clause: Clause | None = None, own: Any = None
    ) -> Forms:
        """factor times one entry of a value of this size, a problem each.   Shapes  entry, factor: [P], of the maps"""
        seed = maps.zeros(len(entry), size)
        seed[maps.count(len(entry)), entry] = factor
        return Forms(value, seed, None, maps.zeros(len(entry)), clause, own)
