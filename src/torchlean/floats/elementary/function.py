"""One record per elementary function: its kernel, its ball, and what is decided by rule."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

import flint
import numpy as np
from numpy.typing import NDArray

from torchlean.floats.elementary.kernel import Kernel
from torchlean.floats.rounding import F64
from torchlean.frozen import frozen

Settled: TypeAlias = tuple[F64, NDArray[np.bool_]]  # values, and where they are the answer
Rule: TypeAlias = Callable[..., Settled]
Bounds: TypeAlias = Callable[..., "tuple[F64, F64]"]


@frozen
class Points:
    """Exact results of one argument. NaN gives NaN, and so does every x outside of [low, high].

    at          results at listed arguments, an infinity where the function has a limit or a pole
    keep_zero   a zero gives itself, with its sign
    exact       results at further arguments: powers of two, say
    """

    at: Mapping[float, float]
    keep_zero: bool = False
    low: float = -math.inf
    high: float = math.inf
    exact: Rule | None = None

    def __call__(self, x: F64) -> Settled:
        values = np.full(x.shape, np.nan)
        settled = np.isnan(x) | (x < self.low) | (x > self.high)
        if self.exact is not None:
            found, known = self.exact(x)
            known &= ~settled
            values[known] = found[known]
            settled |= known
        for point, value in self.at.items():
            here = x == point
            values[here] = value
            settled |= here
        if self.keep_zero:
            zero = x == 0
            values[zero] = x[zero]
            settled |= zero
        return values, settled


@frozen
class Monotone:
    """On its whole domain."""

    increasing: bool


@frozen
class Valley:
    """Decreasing, then increasing. The least value lies between `first` and `last`, and is at least `least`."""

    first: float
    last: float
    least: float


@frozen
class Wave:
    """+1 at (k + offset) pi for even k, -1 for odd k, monotone between. The offset is a dyadic number."""

    offset: float


@frozen
class Branches:
    """Increasing between poles at (k + 1/2) pi."""


Shape: TypeAlias = "Monotone | Valley | Wave | Branches"
INCREASING = Monotone(True)


@frozen
class Function:
    """One real function of one or two arguments.

    kernel      its value in float64 within a relative band
    ball        its value as an Arb ball at the working precision, for arguments that the rule does not settle
    rule        x (, y) -> exact results: NaN, infinities, zeros, poles, and each exact result that no ball decides
    plain       an open interval of arguments that the rule leaves to the kernel, but for exact results, which the band
                either rounds alike or leaves undecided
    zeros       whether an argument 0 is an exception to that: the rule decides there
    between     x (, y) -> (lower, upper), exclusive bounds of the exact value, each with at most 52 significant bits;
                infinite where nothing is known. They decide what lies too close to a limit, or to x, for a band.
    alike       x (, y) -> arguments at which f rounds as here, in every format: finite, and not too large for a ball
    low, high   the function's range, closed
    domain      where f of one argument is defined, closed; poles may lie at its ends
    shape       how f of one argument runs over its domain
    """

    name: str
    kernel: Kernel
    ball: Callable[..., flint.arb]
    rule: Rule
    plain: tuple[float, float] = (-math.inf, math.inf)
    zeros: bool = False
    between: Bounds | None = None
    alike: Callable[..., tuple[F64, ...]] | None = None
    low: float = -math.inf
    high: float = math.inf
    domain: tuple[float, float] = (-math.inf, math.inf)
    arity: int = 1
    shape: Shape = INCREASING
