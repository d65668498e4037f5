"""A tree of case distinctions on relus, as another tool left it: a hint where to split, never a proof.

Source   Bunel et al. 2020, arXiv:1909.06588 (splits of relus at 0)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import field

import numpy as np
from numpy.typing import NDArray

from torchlean.errors import FileError
from torchlean.frozen import frozen
from torchlean_check.network import Network

F64 = NDArray[np.float64]
Neuron = tuple[int, int]  # the value that a relu reads, and the entry in it
Sides = dict[Neuron, int]  # +1: z >= 0, -1: z <= 0


@frozen
class Case:
    """A node: the neuron that it splits and its two children's numbers; None at a leaf.

    slopes   lower slopes to start from, where the tool told
    """

    neuron: Neuron | None = None
    low: int = -1
    high: int = -1
    slopes: Mapping[Neuron, float] = field(default_factory=dict)


@frozen
class Hints:
    """What an artefact says about one region.

    source   the artefact's kind, for messages
    cases    the tree; 0 is its root
    bounds   value that a relu reads -> (lo, hi) [size] that the tool believes in
    """

    source: str
    cases: tuple[Case, ...] = (Case(),)
    bounds: Mapping[int, tuple[F64, F64]] = field(default_factory=dict)

    @property
    def leaves(self) -> int:
        return sum(case.neuron is None for case in self.cases)


def refuse(what: str, source: str, expected: str, got: object, fix: str = "write the file again") -> FileError:
    return FileError(what, where=source, expected=expected, got=str(got)[:200], fix=fix)


def check_tree(cases: Sequence[Case], network: Network, source: str) -> tuple[Case, ...]:
    """The cases, where they are a tree over neurons of the network. Raises FileError."""
    waiting: list[tuple[int, frozenset[Neuron]]] = [(0, frozenset())]
    seen = 0
    while waiting:
        number, above = waiting.pop()
        seen += 1
        case = cases[number]
        if case.neuron is None:
            continue
        check_neuron(case.neuron, network, source)
        if case.neuron in above:
            raise refuse("a neuron is split twice on one path", source, "each neuron at most once above a leaf",
                         f"value {case.neuron[0]}, entry {case.neuron[1]}")  # fmt: skip
        waiting += [(case.low, above | {case.neuron}), (case.high, above | {case.neuron})]
    assert seen == len(cases)
    return tuple(cases)


def check_neuron(neuron: Neuron, network: Network, source: str) -> None:
    value, entry = neuron
    if value not in network.relu_inputs or not 0 <= entry < network.nodes[value].size:
        sizes = [network.nodes[k].size for k in network.relu_inputs]
        raise refuse("a split names a neuron that does not exist", source, f"an entry of a relu of sizes {sizes}",
                     f"value {value}, entry {entry}", "give the artefact of this network")  # fmt: skip


def tree_of(leaves: Sequence[Sides], network: Network, source: str) -> tuple[Case, ...]:
    """The tree whose leaves these are, each by the sides of its splits. A leaf inside another is dropped.

    Raises   FileError: no leaf, a neuron that does not exist, a case that no leaf covers
    """
    if not leaves:
        raise refuse("there are no leaves", source, "at least one", 0)
    for neuron in {neuron for leaf in leaves for neuron in leaf}:
        check_neuron(neuron, network, source)
    cases: list[Case] = [Case()]
    waiting: list[tuple[int, list[Sides], Sides]] = [(0, list(leaves), {})]
    while waiting:
        number, inside, path = waiting.pop()
        if not inside:
            told = ", ".join(f"z[{v}][{i}] {'>=' if s > 0 else '<='} 0" for (v, i), s in path.items())
            raise refuse("the leaves do not cover every case", source, "a leaf for each side of each split",
                         f"none where {told}", "dump every leaf of the tree, closed ones too")  # fmt: skip
        if any(not leaf for leaf in inside):
            continue
        counts = Counter(neuron for leaf in inside for neuron in leaf)
        neuron = min(counts, key=lambda n: (-counts[n], n))
        cases[number] = Case(neuron, len(cases), len(cases) + 1)
        cases += [Case(), Case()]
        for child, side in ((cases[number].low, -1), (cases[number].high, 1)):
            part = [{n: s for n, s in leaf.items() if n != neuron} for leaf in inside if leaf.get(neuron, side) == side]
            waiting.append((child, part, {**path, neuron: side}))
    return tuple(cases)
