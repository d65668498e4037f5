"""Whether what a tree names exists: neurons, clauses, inequalities, slope tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from torchlean_check import cases
from torchlean_check.errors import CheckError
from torchlean_check.network import Ints, Network
from torchlean_check.packed import Records, Steps
from torchlean_check.pushes import runs
from torchlean_check.records import SlopeTable, Tree, distinct
from torchlean_check.vnnlib_reader import Region

TOGETHER = 1 << 16  # steps that are looked at at once


def bad(what: str, where: str, expected: str, got: object) -> CheckError:
    return CheckError(what, where=where, expected=expected, got=str(got), fix="write the certificate again")


def check(network: Network, region: Region, tree: Tree, records: Records, tables: Sequence[SlopeTable]) -> None:
    """CheckError where a value split or a record names what is not there."""
    sizes = np.zeros(len(network.nodes) + 1, np.int64)  # of values that are split; the last is none
    sizes[list(network.boxed)] = [network.nodes[value].size for value in network.boxed]
    _neurons(sizes, tree.value.astype(np.int64), tree.index.astype(np.int64))
    c, s, clauses = records.columns, records.columns.steps, len(region.clauses)
    _neurons(sizes, c.value, 0 * c.value)
    bounds, per = int(c.bounds[-1]), np.diff(c.bounds)
    _neurons(sizes, np.repeat(c.value, per), s.index[:bounds])
    if not (_among(c.clause, -1, clauses).all() and (np.abs(s.side[:bounds]) == 1).all()):
        raise bad("a derivation is not understood", "record", "bounds of side 1 or -1, a clause or -1", "others")
    wrong = ~_among(s.clause, 0, clauses) & ((np.arange(len(s.clause)) >= bounds) | (s.weights > 0))
    if wrong.any():
        raise bad("a clause does not exist", "record", f"below {clauses}", s.clause[wrong][0])
    if not _among(s.table, -1, len(tables)).all():
        raise bad("a slope table does not exist", "record", f"-1 to {len(tables) - 1}", s.table.max())
    count = len(network.nodes)
    families = {id(table.entries) for table in distinct(tables) if any(key // count == 3 for key in table.entries)}
    if families and (named := [i for i in set(s.table.tolist()) - {-1} if id(tables[i].entries) in families]):
        raise bad("a table of planes has no slopes", "record", "a table of slopes, places or shares", named[0])
    most = np.array([len(clause) for clause in region.clauses], np.int64)
    for start in range(0, len(s.table), TOGETHER):
        _steps(sizes, most, s, np.arange(start, min(start + TOGETHER, len(s.table))))


def _steps(sizes: Ints, most: Ints, s: Steps, i: Ints) -> None:
    """most: how many inequalities each clause has"""
    row, at = runs(s.weight[i], s.weights[i], 2)
    inequality, weight = s.words[at], s.words[at + 1].view(np.float64)
    if not (_among(inequality, 0, most[s.clause[i][row]]).all() and np.isfinite(weight).all()):
        raise bad("a clause weight names no inequality, or is not finite", "record", "others", weight)
    given = s.multipliers(i)
    _neurons(sizes, given.value, given.entry)
    if not ((np.abs(given.side) == 1).all() and np.isfinite(given.at).all()):
        raise bad("a split multiplier is not understood", "record", "side 1 or -1, finite", given.at)
    row, at = runs(s.case[i], s.cases[i])
    split = s.words[at]
    inner = split != -1
    _neurons(sizes, split[inner] >> 32, split[inner] & 0xFFFFFFFF)
    cases.check(inner, s.cases[i])


def _among(x: Ints, first: int, end: int | Ints) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return (x >= first) & (x < end)


def _neurons(sizes: Ints, value: Ints, entry: Ints) -> None:
    wrong = ~_among(entry, 0, sizes[np.where(_among(value, 0, len(sizes)), value, -1)])
    if wrong.any():
        raise bad(
            "a neuron does not exist",
            "tree",
            "a value that a nonlinear node reads, an index inside it",
            f"value {value[wrong][0]}, index {entry[wrong][0]}",
        )
