"""How a search ends: with a proof, or with one of these exceptions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torchlean_check as tc
from torchlean.frozen import frozen

if TYPE_CHECKING:
    from torchlean.verify.witness import Witness


class Found(Exception):
    """A witness: the search is over."""

    def __init__(self, witness: Witness) -> None:
        self.witness = witness
        super().__init__("a witness was found")


class Stuck(Exception):
    """No verdict: why."""


class Budget(Exception):
    """It holds over the reals on a box where float32's rounding alone keeps it open: no splitting will close it."""


@frozen
class Proof:
    """A tree whose every leaf the kernel closed."""

    tree: tc.Tree
    leaves: int
    boxes: int

    @staticmethod
    def of_one_leaf() -> Proof:
        return Proof(tc.TreeBuilder().build()[0], 1, 1)
