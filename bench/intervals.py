"""Interval operations and matrix products beside plain numpy and beside Arb, and how wide the results are beside Arb's.

    OMP_NUM_THREADS=1 python bench/intervals.py [--size N] [--matrix N] [--write]

Prints nanoseconds an element, the ratio to plain numpy, Arb's time (at the format's precision, one ball at a time) and
the median ratio of widths, ours to Arb's.
Predicted: binary32 ops convert to float64 and back, 10 to 20 passes where numpy makes one; a binary64 product needs
two error-free products and the choice of ends, 50 passes; a matrix product needs two or three library products.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import flint
import numpy as np

from table import report
from torchlean import floats
from torchlean.floats import BINARY32, BINARY64, Format, Interval
from torchlean.floats.interval import apply, enclose, from_arb, point, to_arb

BASIC: dict[str, tuple[Callable[..., Any], Callable[..., Any], int]] = {
    "add": (lambda x, y: x + y, lambda x, y: x + y, 2),
    "sub": (lambda x, y: x - y, lambda x, y: x - y, 2),
    "mul": (lambda x, y: x * y, lambda x, y: x * y, 2),
    "div": (lambda x, y: x / y, lambda x, y: x / y, 2),
    "square": (lambda x: x.square(), lambda x: x * x, 1),
    "sqrt": (lambda x: x.sqrt(), np.sqrt, 1),
    "pown 5": (lambda x: x**5, lambda x: x**5, 1),
    "exp": (lambda x: apply("exp", x), np.exp, 1),
    "log": (lambda x: apply("log", x), np.log, 1),
    "tanh": (lambda x: apply("tanh", x), np.tanh, 1),
    "sin": (lambda x: apply("sin", x), np.sin, 1),
}


def seconds(function: Callable[[], object], runs: int = 9) -> float:
    """Least wall time of `runs` calls, after one that is not counted: calls are short, and other work only adds."""
    function()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def on_balls(name: str, x: list[flint.arb], y: list[flint.arb]) -> list[flint.arb]:
    """Arb's version of one row."""
    if name == "square":
        return [p * p for p in x]
    if name == "pown 5":
        return [p**5 for p in x]
    if name in ("sqrt", "exp", "log", "tanh", "sin"):
        return [getattr(p, name)() for p in x]
    return [BASIC[name][0](p, q) for p, q in zip(x, y, strict=True)]


def width_ratio(ours: Interval, theirs: Interval) -> float:
    """Median of ours over Arb's where Arb's has width."""
    a, b = ours.width.ravel().astype(np.float64), theirs.width.astype(np.float64)
    return float(np.median(a[b > 0] / b[b > 0]))


def elementwise(fmt: Format, size: int, few: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    middle, radius = rng.random((2, size)) * 8 + 1, rng.random((2, size)) * 2.0**-10
    x, y = (enclose(middle[i] - radius[i], middle[i] + radius[i], fmt) for i in (0, 1))
    rows = []
    for name, (ours, plain, arity) in BASIC.items():
        basic = name in ("add", "sub", "mul", "div", "square", "sqrt", "pown 5")
        count = size if basic or fmt is BINARY32 else few  # binary64 functions are evaluated one by one
        count = count if basic else min(count, 20_000)
        operands = [x[:count], y[:count]][:arity]
        mids = [p.midpoint for p in operands]
        with flint.ctx.workprec(fmt.precision):
            balls = to_arb(x[:few]), to_arb(y[:few])
            arb = seconds(lambda balls=balls, name=name: on_balls(name, *balls)) / few
            theirs = from_arb(on_balls(name, *balls), fmt)
        mine = seconds(lambda ours=ours, operands=operands: ours(*operands)) / count
        numpy = seconds(lambda plain=plain, mids=mids: plain(*mids)) / count
        rows.append(
            {
                "format": str(fmt),
                "operation": name,
                "ns": 1e9 * mine,
                "numpy ns": 1e9 * numpy,
                "ratio": mine / numpy,
                "Arb ns": 1e9 * arb,
                "width / Arb's": width_ratio(ours(*(p[:few] for p in operands)), theirs),
            }
        )
    return rows


def products(fmt: Format, n: int, few: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(1)
    a, b = (rng.normal(size=(n, n)).astype(fmt.dtype) for _ in range(2))
    width = fmt.dtype.type(2.0**-10)
    rows = []
    for name, x, y in (
        ("point @ point", point(a), point(b)),
        ("point @ interval", point(a), Interval(b - width, b + width)),
        ("interval @ interval", Interval(a - width, a + width), Interval(b - width, b + width)),
    ):
        mine, numpy = seconds(lambda x=x, y=y: x @ y), seconds(lambda: a @ b)
        small = [p.move(lambda end: np.ascontiguousarray(end[:few, :few])) for p in (x, y)]
        with flint.ctx.workprec(fmt.precision):
            left, right = (flint.arb_mat(few, few, to_arb(p)) for p in small)
            arb = seconds(lambda left=left, right=right: left * right) * (n / few) ** 3
            theirs = from_arb((left * right).entries(), fmt)
        rows.append(
            {
                "format": str(fmt),
                "operation": f"{name}, n = {n}",
                "ns": 1e9 * mine / n**3,
                "numpy ns": 1e9 * numpy / n**3,
                "ratio": mine / numpy,
                "Arb ns": 1e9 * arb / n**3,
                "width / Arb's": width_ratio(small[0] @ small[1], theirs),
            }
        )
    return rows


def sums(n: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(2)
    rows = []
    for fmt in (BINARY32, BINARY64):
        x = rng.normal(size=(n // 1000, 1000)).astype(fmt.dtype)
        numpy = seconds(lambda x=x: x.sum(axis=1)) / x.size
        for name, run in (
            ("exact sum, rounded once", lambda x=x: floats.rounded_sum(x)),
            ("exact dot, rounded once", lambda x=x: floats.rounded_dot(x, x)),
            ("interval sum", lambda x=x: point(x).sum()),
        ):
            mine = seconds(run) / x.size
            rows.append(
                {
                    "format": str(fmt),
                    "operation": name,
                    "ns": 1e9 * mine,
                    "numpy ns": 1e9 * numpy,
                    "ratio": mine / numpy,
                    "Arb ns": "",
                    "width / Arb's": "",
                }
            )
    return rows


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=200_000, help="elements of the elementwise rows")
    parser.add_argument("--matrix", type=int, default=512, help="side of the matrix products")
    parser.add_argument("--write", action="store_true", help="keep the table under bench/results")
    options = parser.parse_args()
    rows = []
    for fmt in (BINARY32, BINARY64):
        rows += elementwise(fmt, options.size, 500) + products(fmt, options.matrix, 64)
    rows += sums(options.size)
    report(
        "intervals",
        rows,
        {
            "ns": "an element; of a matrix product, a multiply-add",
            "widths": "at the same precision, intervals of radius about 2^-10; 1 is as tight as Arb",
            "Arb's matrix product": "timed at n = 64 and scaled by n^3",
        },
        options.write,
    )


if __name__ == "__main__":
    main()
