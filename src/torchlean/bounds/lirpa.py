"""The call form of LiRPA libraries, for examples that were written in it.

    bounded = BoundedModule(program)
    x = BoundedTensor(images, PerturbationLpNorm(eps=0.01))
    lower, upper = bounded.compute_bounds(x=(x,), method="CROWN", C=bounds.margins(labels, 10))

Everything is `tl.bounds`; what it says about rounding and missing rules holds here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchlean.bounds import Ball, Box, ball, bounds, box
from torchlean.errors import Unsupported, UsageError
from torchlean.frozen import frozen


@frozen
class PerturbationLpNorm:
    """All x with |x - center| <= eps in the norm, or x_L <= x <= x_U where these are given."""

    eps: Any = 0
    norm: float = np.inf
    x_L: Any = None
    x_U: Any = None

    def __post_init__(self) -> None:
        if self.norm not in (1, 2, np.inf) or (self.norm != np.inf and self.x_L is not None):
            raise Unsupported("no such region", where="PerturbationLpNorm", expected="norm=1, 2 or inf; inf where x_L "
                              "and x_U are given", got=f"norm={self.norm}", fix="norm=2")  # fmt: skip
        if np.shape(self.x_L) != np.shape(self.x_U) or (self.x_L is None) != (self.x_U is None):
            raise UsageError(
                "x_L and x_U go together",
                where="PerturbationLpNorm",
                expected="both, of one shape [B, ...]",
                got=f"x_L: {np.shape(self.x_L)}, x_U: {np.shape(self.x_U)}",
                fix="give both, or eps alone",
            )


@frozen
class BoundedTensor:
    """A batch of centers [B, *shape] and how far from them."""

    data: Any
    ptb: PerturbationLpNorm


@frozen
class BoundedModule:
    """A program with one input."""

    program: Any

    def compute_bounds(
        self, x: tuple[BoundedTensor, ...], method: str = "CROWN", C: Any = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(lower, upper) over the reals, one row for each row of the batch. Shapes and errors: `tl.bounds`."""
        if len(x) != 1 or not isinstance(x[0], BoundedTensor):
            raise UsageError("bounds are of a program with one input", where="compute_bounds", expected="x=(tensor,)",
                             got=f"{len(x)} values",
                             fix="x=(BoundedTensor(data, PerturbationLpNorm(eps=0.1)),)")  # fmt: skip
        data, ptb = np.asarray(x[0].data), x[0].ptb
        if ptb.x_L is None and ptb.x_U is None:
            regions: list[Box | Ball] = [ball(row, ptb.eps, ptb.norm) for row in data]
        else:
            ends = zip(np.asarray(ptb.x_L), np.asarray(ptb.x_U), strict=True)
            regions = [box(lo=lo, hi=hi) for lo, hi in ends]
        return bounds(self.program, regions, method, C=C)
