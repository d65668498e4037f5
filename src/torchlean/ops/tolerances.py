"""How far an implementation of an elementary function may be from the function itself: one versioned table.

    |f^(x) - f(x)| <= a + r |f(x)|        for every float32 x in [lo, hi] whose f(x) is below 2^128 - 2^103

An entry covers torch on CPU, torch on CUDA and onnxruntime on CPU where they have the function, with subnormal operands
and results flushed or not. `bench/tolerances.py` measures what is used of it: bench/results/tolerances_*.md holds the
figures with the versions, and no measured use is above 1/2. CUDA's documented errors (CUDA C++ Programming Guide,
appendix "Mathematical Functions") are at most 4 ulp; an ulp is at most 2^-23 of the result, so that 2^-20 is 8 ulp.

A new function may join the table; a change of an entry makes a new TABLE_ID, unless it narrows a range within which
every claim already is (the checker proves that gelu's sums stay below 2^127).
"""

from __future__ import annotations

from math import inf

from torchlean.frozen import frozen

TABLE_ID = "tolerances-1"


@frozen
class Tolerance:
    """a: absolute part; r: relative part; [lo, hi]: where it holds (of `div`'s divisor, `pow`'s base); why: what made
    an entry larger, or its range smaller, than the others.
    """

    a: float
    r: float
    lo: float = -inf
    hi: float = inf
    why: str = ""


TINY = 2.0**-126
FLUSHED = "a flushed operand is 0, where there is a pole"

TOLERANCES: dict[str, Tolerance] = {
    "exp": Tolerance(2.0**-124, 2.0**-20),
    "exp2": Tolerance(2.0**-124, 2.0**-20),
    "expm1": Tolerance(2.0**-125, 2.0**-20),
    "log": Tolerance(2.0**-126, 2.0**-20, lo=TINY, why=FLUSHED),
    "log1p": Tolerance(2.0**-125, 2.0**-20),
    "log2": Tolerance(2.0**-126, 2.0**-20, lo=TINY, why=FLUSHED),
    "log10": Tolerance(2.0**-126, 2.0**-20, lo=TINY, why=FLUSHED),
    "sin": Tolerance(2.0**-125, 2.0**-20),
    "cos": Tolerance(2.0**-125, 2.0**-20),
    "tan": Tolerance(2.0**-125, 2.0**-20),
    "asin": Tolerance(2.0**-125, 2.0**-19, -1.0, 1.0, "onnxruntime: above 4 ulp"),
    "acos": Tolerance(2.0**-125, 2.0**-19, -1.0, 1.0, "onnxruntime: above 4 ulp"),
    "atan": Tolerance(2.0**-125, 2.0**-19, why="onnxruntime: above 4 ulp"),
    "sinh": Tolerance(2.0**-125, 2.0**-20, -88.0, 88.0, "torch on CPU: e^x overflows first"),
    "cosh": Tolerance(2.0**-125, 2.0**-20, -88.0, 88.0, "torch on CPU: e^x overflows first"),
    "tanh": Tolerance(2.0**-125, 2.0**-20),
    "asinh": Tolerance(2.0**-125, 2.0**-20),
    "acosh": Tolerance(2.0**-125, 2.0**-20, lo=1.0),
    "atanh": Tolerance(2.0**-125, 2.0**-20, -1.0, 1.0),
    "sigmoid": Tolerance(2.0**-21, 2.0**-20, why="onnxruntime: a clamp at 18, and up to 2^-22.9 before it"),
    "erf": Tolerance(2.0**-124, 2.0**-20),
    "gelu": Tolerance(
        2.0**-20, 2.0**-20, hi=2.0**126,
        why="x (1 + erf(x / sqrt 2)) / 2 cancels for negative x: no relative bound; torch with AVX-512 doubles x first",
    ),
    "gelu_tanh": Tolerance(2.0**-19, 2.0**-20, why="x (1 + tanh(u)) / 2 cancels for negative x: no relative bound"),
    "silu": Tolerance(2.0**-119, 2.0**-20, why="x / (1 + e^-x): e^-x overflows at -88.7"),
    "softplus": Tolerance(2.0**-124, 2.0**-20),
    "sqrt": Tolerance(2.0**-62, 2.0**-22, lo=0.0, why="the root of a flushed operand: up to 2^-63"),
    "rsqrt": Tolerance(2.0**-126, 2.0**-20, lo=TINY, why=FLUSHED),
    "div": Tolerance(
        2.0**-126, 3 * 2.0**-24, TINY, 1 / TINY, "by reciprocal, which must not be flushed; a flushed dividend is apart"
    ),
    "hypot": Tolerance(2.0**-125, 2.0**-20),
    "atan2": Tolerance(2.0**-125, 2.0**-20),
    "pow": Tolerance(2.0**-124, 2.0**-19, lo=TINY, why="a flushed or negative base is left out"),
}
