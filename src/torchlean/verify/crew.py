"""Workers elsewhere that search parts of one tree, and what is said between them and the search that deals (parts.py).

A part is a few open nodes of the tree, as the kernel's states there. A worker searches below them for a while and
answers with a certificate of the part: a tree with all of them in it, whose holes are what it left open.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import field
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.frozen import frozen

Ints = NDArray[np.int64]


@frozen
class Common:
    """What all parts of one region's search have in common.

    model, claim   the bytes of the two files          place    of the region among the property's
    root           the rule of the root's boxes        memory   bytes that each worker may take
    way            what is split: "inputs" or "neurons"
    cases          whether the bounds of hidden neurons are worth trees of their own
    scales         clause -> the size of its g, where neurons are split
    """

    model: bytes
    claim: bytes
    place: int
    semantics: str
    root: str
    memory: int | None
    way: str
    cases: bool = False
    scales: Mapping[int, float] = field(default_factory=dict)


@frozen(eq=False)
class Part:
    """Open nodes, for this many seconds of search."""

    state: tc.State
    seconds: float


@frozen(eq=False)
class Answer:
    """What a worker says: one of these, and what it ran.

    proof    a certificate with one tree, in which the part's nodes stand as `joined` has them
    point    an input that violates the property
    budget   whether float32's rounding alone keeps a box open         stuck   why the search cannot go on
    boxes    how many were bounded, but for those of cases that time cut off
    source   the hash of the worker's torchlean
    """

    source: str
    proof: bytes | None = None
    point: NDArray[np.float32] | None = None
    budget: bool = False
    stuck: str = ""
    boxes: int = 0


class Crew(ABC):
    """Some workers, of which `size` search at a time."""

    size: int

    @abstractmethod
    def send(self, common: Common, part: Part) -> int:
        """Let a worker search a part; returns the number that its answer comes back with."""

    @abstractmethod
    def next(self, seconds: float) -> tuple[int, Answer] | None:
        """An answer and its number, waited for at most so long. Raises Exhausted where a part is lost for good."""

    @abstractmethod
    def end(self) -> None:
        """Stop what runs: no answer is waited for."""


def joined(count: int, split: Callable[[Ints], tuple[Ints, Ints]]) -> Ints:
    """Nodes of one tree, so many, in which the nodes of a part stand: splits above them that hold them together.

    split   makes or finds the children of some nodes
    """
    nodes = np.zeros(1, np.int64)
    while (more := count - len(nodes)) > 0:
        low, high = split(nodes[:more])
        nodes = np.concatenate([nodes[more:], np.stack([low, high], axis=1).ravel()])
    return nodes


@lru_cache(maxsize=1)
def source_hash() -> str:
    """A hash of the program: every Python file of torchlean and of the checker."""
    import torchlean_check

    found = sha256()
    checker = Path(str(torchlean_check.__file__)).parent
    for root in (Path(__file__).parent.parent, checker):
        for path in sorted(root.rglob("*.py")):
            found.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
    return found.hexdigest()
