"""Properties written in Python: forall(region, lambda y: (15 <= y[0]) & (y[0] <= 32)).

`y` is a symbolic vector of outputs, so a comparison gives a formula instead of a bool. `&`, `|`, `~` join formulas;
Python's `and`, `or`, `not` and chained comparisons cannot be overloaded and are refused. A float means its exact value;
"0.1" and Fraction(1, 10) mean the decimal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torchlean.bounds.property import Violation
from torchlean.bounds.region import Box


class Formula:
    """A statement about outputs (and inputs): comparisons joined by &, | and ~."""


class Vector:
    """A symbolic vector: y[3] is a term, y[3] > y.others compares with all other outputs."""


@dataclass(frozen=True)
class Property:
    """`claim` must hold for every input of `region`."""

    region: Box
    claim: Formula

    def violation(self, outputs: int) -> Violation:
        """What the property forbids, for a network of that many flat outputs."""
        raise NotImplementedError


def forall(region: Box, claim: Callable[..., Formula] | Formula) -> Property:
    """The property that `claim` holds for every x in `region`; claim takes (y) or (x, y)."""
    raise NotImplementedError
