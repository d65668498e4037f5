"""How far an implementation of an elementary function may be from the function itself: one versioned table.

    |f^(x) - f(x)| <= a + r |f(x)|        for every float32 x in f's domain whose result is finite

An entry covers torch on CPU, torch on CUDA and onnxruntime on CPU, with subnormal operands and results flushed or not.
CUDA's documented errors (CUDA C++ Programming Guide, appendix "Mathematical Functions"): expf 2 ulp, logf 1 ulp, tanhf
2 ulp; sqrtf and division are correctly rounded in the default mode. An ulp is at most 2^-23 of the result.

Largest relative errors measured by tests/ops/test_tolerances.py (torch 2.13 CPU, torch 2.11 on an H100, onnxruntime
CPU): exp 2^-24.0, 2^-22.8, 2^-23.7; log 2^-23.6, 2^-23.6, 2^-22.1; tanh 2^-24.0, 2^-22.4, 2^-21.8; sqrt 2^-23.4,
2^-24.0, 2^-24.0; sigmoid 2^-23.0, 2^-22.6, and 2^-22.9 absolutely in onnxruntime.
"""

from __future__ import annotations

from dataclasses import dataclass

TABLE_ID = "tolerances-1"


@dataclass(frozen=True)
class Tolerance:
    """a: absolute part; r: relative part."""

    a: float
    r: float


TOLERANCES: dict[str, Tolerance] = {
    "exp": Tolerance(2.0**-124, 2.0**-20),
    "log": Tolerance(2.0**-126, 2.0**-20),
    "tanh": Tolerance(2.0**-125, 2.0**-20),
    "sigmoid": Tolerance(2.0**-21, 2.0**-20),  # onnxruntime: a clamp at 18, and up to 2^-22.9 before it
    "sqrt": Tolerance(2.0**-62, 2.0**-22),  # sqrt of a flushed operand: up to 2^-63
    "div": Tolerance(2.0**-126, 3 * 2.0**-24),  # by reciprocal; a flushed dividend is charged apart
}
