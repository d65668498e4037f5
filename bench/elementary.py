"""Elementary functions: elements a second on one core, beside numpy, gmpy2 and mpmath.

    python bench/elementary.py [--write]

binary32 arguments of ordinary size, in million elements a second of processor time. numpy's float32 functions are not
correctly rounded; numpy's float64 functions cost what a kernel on libm would. gmpy2 rounds correctly at 24 bits where
MPFR has the function. mpmath works at 53 bits.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import gmpy2
import mpmath
import numpy as np

import mpfr
from table import report
from torchlean import floats
from torchlean.floats import BFLOAT16, Rounding
from torchlean.floats.elementary import FUNCTIONS

NUMPY = {
    "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "log2": np.log2,
    "log10": np.log10, "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos,
    "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh, "asinh": np.arcsinh, "acosh": np.arccosh,
    "atanh": np.arctanh, "cbrt": np.cbrt, "sqrt": np.sqrt, "hypot": np.hypot, "atan2": np.arctan2, "pow": np.power,
}  # fmt: skip
MPMATH = {"pow": mpmath.power}
UNIT = ("asin", "acos", "atanh")
POSITIVE = ("log", "log2", "log10", "log1p", "sqrt", "rsqrt", "pow")


def arguments(name: str, n: int) -> list[Any]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=n) * 4
    if name in UNIT:
        x = rng.uniform(-1, 1, n)
    elif name in POSITIVE:
        x = np.abs(x)
    elif name == "acosh":
        x = 1 + np.abs(x)
    return [a.astype(np.float32) for a in (x, rng.normal(size=n) * 4)[: FUNCTIONS[name].arity]]


def rate(run: Callable[[], Any], n: int) -> float:
    """Millions of elements a second: the best of five."""
    run()
    best = float("inf")
    for _ in range(5):
        start = time.process_time()
        run()
        best = min(best, time.process_time() - start)
    return n / best / 1e6


def scalar(function: Callable[..., Any], columns: list[Any], n: int) -> float:
    lists = [column[:n].tolist() for column in columns]
    return rate(lambda: list(map(function, *lists)), n)


def row(name: str) -> dict[str, Any]:
    n = 1 << 20
    columns = arguments(name, n)
    second = columns[1] if len(columns) == 2 else None
    wide = [column.astype(np.float64) for column in columns]
    narrow = [column.astype(BFLOAT16.dtype) for column in columns]
    narrow_second = narrow[1] if len(narrow) == 2 else None
    cells: dict[str, Any] = {
        "function": name,
        "nearest": rate(lambda: floats.rounded(name, columns[0], second=second), n),
        "up": rate(lambda: floats.rounded(name, columns[0], Rounding.UP, second=second), n),
        "bfloat16": rate(lambda: floats.rounded(name, narrow[0], second=narrow_second), n),
        "enclosure": rate(lambda: floats.enclosure(name, wide[0], wide[0]), n) if second is None else "",
    }
    with np.errstate(all="ignore"):
        known = NUMPY.get(name)
        cells["numpy f32"] = rate(lambda: known(*columns), n) if known else ""
        cells["numpy f64"] = rate(lambda: known(*wide), n) if known else ""
    with gmpy2.context(precision=24, emin=-148, emax=128, subnormalize=True):
        direct = mpfr.direct(name)
        cells["gmpy2"] = scalar(direct, columns, 20000) if direct else ""
    slow = MPMATH.get(name) or getattr(mpmath, name, None)
    cells["mpmath"] = scalar(slow, columns, 2000) if slow else ""
    return cells


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="keep the table under bench/results")
    options = parser.parse_args()
    rows = [row(name) for name in floats.ELEMENTARY]
    versions = f"gmpy2 {gmpy2.version()} with {gmpy2.mpfr_version()}, mpmath {mpmath.__version__}"
    summary = {"unit": "million elements a second, one core", "versions": versions}
    report("elementary", rows, summary, options.write)


if __name__ == "__main__":
    main()
