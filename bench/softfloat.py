"""SoftFloat: operations a second on one core, beside numpy, ml_dtypes, gmpy2 and mpmath.

    python bench/softfloat.py [--write]

In million elements a second of processor time, the best of five. `soft` returns bits and flags: on normal operands
near 1, and on any bit pattern, with its subnormals, infinities and NaNs. numpy computes in hardware (float16 and what
ml_dtypes adds in float32, one element at a time); gmpy2 rounds in MPFR to the format, subnormals included; mpmath
rounds to its precision without an exponent range. Neither of the two takes arrays.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import gmpy2
import mpmath
import numpy as np

from table import report
from torchlean.floats import BFLOAT16, BINARY16, BINARY32, BINARY64, E4M3FN, E5M2, Format, Rounding, soft
from torchlean.floats.soft import Overflow, Rules

N = 1 << 20
RULES = Rules(overflow=Overflow.SPECIAL)
OPERANDS = {"add": 2, "sub": 2, "mul": 2, "div": 2, "sqrt": 1, "fma": 3, "remainder": 2, "maximum": 2}
NUMPY = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "sqrt": np.sqrt,
         "maximum": np.maximum}  # fmt: skip
GMPY2 = {"add": gmpy2.add, "sub": gmpy2.sub, "mul": gmpy2.mul, "div": gmpy2.div, "sqrt": gmpy2.sqrt,
         "fma": gmpy2.fma, "remainder": gmpy2.remainder, "maximum": gmpy2.maxnum}  # fmt: skip
MPMATH = {"add": mpmath.fadd, "sub": mpmath.fsub, "mul": mpmath.fmul, "div": mpmath.fdiv, "sqrt": mpmath.sqrt}


def rate(run: Callable[[], Any], n: int) -> float:
    """Millions of elements a second: the best of five."""
    run()
    best = float("inf")
    for _ in range(5):
        start = time.process_time()
        run()
        best = min(best, time.process_time() - start)
    return n / best / 1e6


def normal(fmt: Format, count: int) -> list[np.ndarray]:
    """Patterns of numbers of both signs near 1; positive where there is only one of them."""
    rng = np.random.default_rng(0)
    drawn = [rng.normal(size=N) for _ in range(count)]
    return [soft.encode(np.abs(x) if count == 1 else x, fmt, rules=RULES).bits for x in drawn]


def anything(fmt: Format, count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    drawn = rng.integers(0, 1 << 32, (2, count, N), dtype=np.uint64)
    return list((((drawn[0] << np.uint64(32)) | drawn[1]) >> np.uint64(64 - fmt.width)).astype(fmt.storage))


def softly(name: str, fmt: Format, given: list[np.ndarray]) -> Callable[[], Any]:
    operation = getattr(soft, name)
    rounds = name not in ("remainder", "maximum")
    return lambda: operation(*given, fmt, *((Rounding.NEAREST, RULES) if rounds else (RULES,)))


def scalar(function: Callable[..., Any], columns: list[list[Any]]) -> float:
    return rate(lambda: list(map(function, *columns)), len(columns[0]))


def row(name: str, fmt: Format) -> dict[str, Any]:
    count = OPERANDS[name]
    given = normal(fmt, count)
    cells: dict[str, Any] = {"format": fmt.name, "operation": name, "soft": rate(softly(name, fmt, given), N),
                             "soft, any pattern": rate(softly(name, fmt, anything(fmt, count)), N)}  # fmt: skip
    arrays = [x.view(fmt.dtype) for x in given]
    native = "numpy" if fmt in (BINARY16, BINARY32, BINARY64) else "ml_dtypes"
    cells |= {"numpy": "", "ml_dtypes": ""}
    if name in NUMPY:
        with np.errstate(all="ignore"):
            cells[native] = rate(lambda: NUMPY[name](*arrays), N)
    values = [soft.decode(x, fmt) for x in given]
    cells["gmpy2"] = ""
    if native == "numpy":
        with gmpy2.context(gmpy2.ieee(fmt.width)):
            cells["gmpy2"] = scalar(GMPY2[name], [[gmpy2.mpfr(v) for v in x[:20_000].tolist()] for x in values])
    with mpmath.workprec(fmt.precision):
        numbers = [[mpmath.mpf(v) for v in x[:2_000].tolist()] for x in values]
        cells["mpmath"] = scalar(MPMATH[name], numbers) if name in MPMATH else ""
    return cells


def conversion(source: Format, target: Format) -> dict[str, Any]:
    (given,), (wild,) = normal(source, 1), anything(source, 1)
    array = given.view(source.dtype)
    native = "ml_dtypes" if {source, target} & {BFLOAT16, E4M3FN, E5M2} else "numpy"
    cells: dict[str, Any] = {
        "format": source.name,
        "operation": f"to {target.name}",
        "soft": rate(lambda: soft.convert(given, source, target, rules=RULES), N),
        "soft, any pattern": rate(lambda: soft.convert(wild, source, target, rules=RULES), N),
    }
    cells |= {"numpy": "", "ml_dtypes": "", native: rate(lambda: array.astype(target.dtype), N)}
    return cells | {"gmpy2": "", "mpmath": ""}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="keep the table under bench/results")
    options = parser.parse_args()
    rows = [row(name, BINARY32) for name in OPERANDS]
    others = ("add", "mul", "div", "sqrt", "fma")
    rows += [row(name, fmt) for fmt in (BINARY64, BINARY16, BFLOAT16, E5M2) for name in others]
    pairs = ((BINARY64, BINARY32), (BINARY32, BFLOAT16), (BINARY32, BINARY16), (BINARY32, E4M3FN), (E5M2, BINARY32))
    rows += [conversion(*pair) for pair in pairs]
    binary32 = {r["operation"]: r for r in rows if r["format"] == "float32"}

    def slowest(*names: str) -> str:
        return f"{min(binary32[n][k] for n in names for k in ('soft', 'soft, any pattern')):.3g}"

    summary = {
        "unit": "million elements a second of one core",
        "binary32 add, sub, mul: the slowest": slowest("add", "sub", "mul"),
        "binary32 fma, div, sqrt: the slowest": slowest("fma", "div", "sqrt"),
    }
    report("softfloat", rows, summary, options.write)


if __name__ == "__main__":
    main()
