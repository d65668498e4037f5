"""What a nonlinear op's `relax` returns: a line below and a line above it on a box.

    lower: sum_i lower[i] * x_i + lower_bias <= f(x) <= sum_i upper[i] * x_i + upper_bias     on lo_i <= x_i <= hi_i

Elementwise, so each array has the output's shape (inputs broadcast to it); leading batch axes are allowed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Lines:
    """Slopes per input, and one bias each. Sound over the reals for the slopes as stored."""

    lower: tuple[Any, ...]
    lower_bias: Any
    upper: tuple[Any, ...]
    upper_bias: Any


class Relax(Protocol):
    """(xp, boxes, slope, **attrs) -> Lines.

    boxes   a (lo, hi) pair per input        slope   the free lower slope in [0, 1], or None for the rule's own choice
    """

    def __call__(self, xp: Any, boxes: tuple[tuple[Any, Any], ...], slope: Any | None, **attrs: Any) -> Lines: ...
