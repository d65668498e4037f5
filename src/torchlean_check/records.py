"""Split trees as data: what a node says. The replay (tree.py) gives it meaning.

A tree is columns over its nodes in breadth-first order; children of a split stand side by side and after their parent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from torchlean_check.cases import Case
from torchlean_check.frozen import frozen
from torchlean_check.network import Floats, Network

Entries = npt.NDArray[np.uint32] | npt.NDArray[np.int64]
Slopes16 = npt.NDArray[np.int16]

LEAF, HOLE, SPLIT, SPLIT_AT, SPLIT_VALUE, SPLIT_CLAUSE = range(6)
KIND, DERIVE, EXAMINE, RECORD = 7, 8, 16, 32
MAX_NODES, MAX_DEPTH = 1 << 26, 4096
UNIT = 2.0**-14  # of the slopes in tables


@frozen
class Bound:
    """One bound of entry `index` of a value: the lower for side 1, the upper for -1.

    weights      of the clause's inequalities: their sum is added
    table, multipliers   as in a refutation
    cases        splits at 0, whose leaves the bound is the least over (cases.py)
    """

    index: int
    side: int
    weights: tuple[tuple[int, float], ...] = ()
    table: int = -1
    multipliers: tuple[tuple[int, int, int, float], ...] = ()
    cases: tuple[Case, ...] = ()


@frozen
class Derivation:
    """Bounds for inputs of one relu, each from what was known before; None: default ones, where it is unstable.

    clause   -1, or the only clause that is open at the node: the bounds hold where it is violated
    """

    value: int
    bounds: Sequence[Bound] | None = None
    clause: int = -1


@frozen
class Refutation:
    """One clause refuted by explicit multipliers of splits above: (value, index, side, m).

    weights   (inequality, weight); none: any single inequality
    """

    clause: int
    weights: tuple[tuple[int, float], ...] = ()
    table: int = -1
    multipliers: tuple[tuple[int, int, int, float], ...] = ()


@frozen
class Record:
    derivations: tuple[Derivation, ...] = ()
    refutations: tuple[Refutation, ...] = ()


@frozen(eq=False)
class SlopeTable:
    """Numbers under keys (`Network.places`), in units of 2^-14: lower slopes of some entries of values that relus read,
    places of curves and products, shares of planes; the default rule for all others. Or the planes of one relu.

    entries  key -> which, in rising order: one object for all tables of a search
    slopes   [all of them] key by key
    """

    entries: Mapping[int, Entries]
    slopes: Slopes16


NONE = SlopeTable({}, np.zeros(0, np.int16))


def distinct(tables: Iterable[SlopeTable]) -> Iterable[SlopeTable]:
    """One table for each set of entries."""
    return {id(table.entries): table for table in tables}.values()


def families(tables: Iterable[SlopeTable], nodes: int) -> set[int]:
    """Where the planes stand that tables have shares of (`Network.places`).   nodes: how many the network has"""
    return {key // nodes - 4 for table in distinct(tables) for key in table.entries if key >= 4 * nodes}


def rules(network: Network, tables: Iterable[SlopeTable]) -> tuple[str, ...]:
    """What a proof by these tables rests on."""
    return (*network.rules, "planes") if families(tables, len(network.nodes)) else network.rules


def slope_rows(tables: Sequence[SlopeTable], places: Callable[[int], int]) -> dict[int, Floats]:
    """The slopes by key, a row for each table; nan: the default rule.   Shapes  [len(tables), places(key)]"""
    rows: dict[int, list[int]] = {}
    for row, table in enumerate(tables):
        rows.setdefault(id(table.entries), []).append(row)
    out: dict[int, Floats] = {}
    for same in rows.values():
        slopes, start = np.stack([tables[row].slopes for row in same]) * UNIT, 0
        for value, entries in tables[same[0]].entries.items():
            whole = out.setdefault(value, np.full((len(tables), places(value)), np.nan))
            whole[np.array(same)[:, None], entries] = slopes[:, start : start + len(entries)]
            start += len(entries)
    return out


@frozen(eq=False)
class Tree:
    """op [n] one byte a node; axis per split of kind 2, 3 or 5 (of kind 5: the clause), at per kind 3, value, index,
    value_at per kind 4, records per flag."""

    op: npt.NDArray[np.uint8]
    axis: npt.NDArray[np.uint16]
    at: Floats
    value: npt.NDArray[np.uint32]
    index: npt.NDArray[np.uint32]
    value_at: Floats
    records: Sequence[Record]
