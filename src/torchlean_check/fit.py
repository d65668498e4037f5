"""Whether what a tree names exists: neurons, clauses, inequalities, slope tables."""

from __future__ import annotations

import numpy as np

from torchlean_check import cases
from torchlean_check.errors import CheckError
from torchlean_check.network import Network
from torchlean_check.records import Bound, Record, Refutation, Tree
from torchlean_check.vnnlib_reader import Region


def bad(what: str, where: str, expected: str, got: object) -> CheckError:
    return CheckError(what, where=where, expected=expected, got=str(got), fix="write the certificate again")


def check(network: Network, region: Region, tree: Tree, tables: int) -> None:
    """CheckError where a value split or a record names what is not there.   tables: how many there are"""
    for value, index in zip(tree.value.tolist(), tree.index.tolist(), strict=True):
        _neuron(network, value, index)
    for record in tree.records:
        _record(network, region, record, tables)


def _neuron(network: Network, value: int, index: int) -> None:
    if value not in network.boxed or not 0 <= index < network.nodes[value].size:
        raise bad(
            "a neuron does not exist",
            "tree",
            "a value that a nonlinear node reads, an index inside it",
            f"value {value}, index {index}",
        )


def _record(network: Network, region: Region, record: Record, tables: int) -> None:
    clauses = region.clauses
    steps: list[tuple[int, Bound | Refutation]] = [(r.clause, r) for r in record.refutations]
    for d in record.derivations:
        bounds = d.bounds or ()
        _neuron(network, d.value, 0)
        for b in bounds:
            _neuron(network, d.value, b.index)
            for split in {c[:2] for path in cases.leaves(b.cases) for c in path}:
                _neuron(network, *split)
        if not -1 <= d.clause < len(clauses) or any(b.side not in (-1, 1) for b in bounds):
            raise bad("a derivation is not understood", "record", "bounds of side 1 or -1, a clause or -1", d)
        steps += [(d.clause, b) for b in bounds]
    for clause, step in steps:
        if not 0 <= clause < len(clauses) and (isinstance(step, Refutation) or step.weights):
            raise bad("a clause does not exist", "record", f"below {len(clauses)}", clause)
        if any(not 0 <= i < len(clauses[clause]) or not np.isfinite(w) for i, w in step.weights):
            raise bad("a clause weight names no inequality, or is not finite", "record", "others", step.weights)
        if not -1 <= step.table < tables:
            raise bad("a slope table does not exist", "record", f"-1 to {tables - 1}", step.table)
        for value, index, side, m in step.multipliers:
            _neuron(network, value, index)
            if side not in (-1, 1) or not np.isfinite(m):
                raise bad("a split multiplier is not understood", "record", "side 1 or -1, finite", f"{side}, {m}")
