"""What a kernel promises: a float64 value close to the function's, from operations that every machine rounds alike.

A kernel module has, for each of its functions, one kernel of the function's name and one entry of its table KERNELS.
A kernel is written over whole arrays with float64 add, subtract, multiply, divide, sqrt, rint, comparisons, integer
operations on bits, and table look-ups: each is one IEEE 754 rounding, or exact, in every numpy. No libm, and no
contraction to fma, can change a bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

from torchlean.floats.rounding import F64
from torchlean.frozen import frozen

Evaluate: TypeAlias = Callable[..., F64]  # x, or x and y: [n] float64 -> [n] float64


@frozen
class Kernel:
    """A float64 evaluation of f with a relative error band.

    evaluate   For each finite nonzero argument of f's domain that is a binary32 number, and at which f is not zero or
               infinite: within `band` |f| of f; or, where f is so large or so small that every format up to
               binary32 rounds it alike, any nonzero value of f's sign of that size. At NaN, infinities, zeros, poles
               and outside of the domain the result means nothing; nothing is raised (floating-point warnings are
               silenced by the caller). The argument is not written to. Exact zeros of f beside these (log 1, acos 1)
               are decided by the function's rule, not here.
    band       the largest relative error, proved, or measured with a margin; the module says which
    wide       the same promise for every float64 x with wide[0] <= |x| <= wide[1] in the domain, with the same band
               and no exception for size; an empty range where there is none
    """

    evaluate: Evaluate
    band: float
    wide: tuple[float, float] = (math.inf, 0.0)


def horner(x: F64, coefficients: Sequence[float]) -> F64:
    """sum c[n] x^n, from the highest power down: one multiplication and one addition for each."""
    total = x * coefficients[-1]
    for c in coefficients[-2:0:-1]:
        total += c
        total *= x
    total += coefficients[0]
    return total
