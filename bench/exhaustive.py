"""All 2^32 arguments of a function of one argument in binary32, rounded to nearest, against MPFR.

    python bench/exhaustive.py FUNCTION [--state DIR] [--jobs N] [--minutes M] [--shards A:B] [--modes all]

The arguments are cut into 2048 shards of 2^21 neighbouring bit patterns, and these into blocks of 2^14: each is one
sign, and in order of magnitude. A run may stop at any time and goes on later from the state file; after M minutes no
further shard is begun. Every argument goes through floats.rounded. What its result must be is known by

    run         MPFR, value by value
    constant    MPFR at both ends of a block: where they round alike and the function is monotone between them, every
                value between rounds so
    undefined   MPFR at both ends: where both are NaN, the block, which has one sign, lies on one side of the domain,
                which is an interval (or is made of NaN)
    itself      |x| <= NEAR[function], where the function is so close to x that x is the nearest number: see NEAR

For values that were run, the kernel's relative error is held against its band: exactly where MPFR's float64 does not
show that it is inside, and for the four largest of each block, whose largest is printed as the measured error.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import gmpy2
import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

import mpfr
from torchlean import floats
from torchlean.errors import FileError, UsageError
from torchlean.files import atomic_write
from torchlean.floats import BINARY32, Rounding
from torchlean.floats.elementary import FUNCTIONS
from torchlean.floats.elementary.decide import into

SHARD, BLOCK = 1 << 21, 1 << 14
COUNT = (1 << 32) // SHARD
F64 = mpfr.F64

# |x| <= the limit implies |f(x) - x| < 2^-25 |x|, which is at most half the distance from x to a neighbour, on the side
# toward 0 of a power of two too. By the alternating or positive series: sin, tan, tanh, asinh, sinh, asin, atanh, atan
# differ from x by less than 0.34 |x|^3 for |x| <= 2^-12, and 0.34 2^-24 < 2^-25; expm1 and log1p by less than
# 0.51 x^2 for |x| <= 2^-25, and 0.51 2^-25 < 2^-25. Below the smallest normal number half a step is larger still.
NEAR = dict.fromkeys(("sin", "tan", "tanh", "asinh", "sinh", "asin", "atanh", "atan"), 2.0**-12)
NEAR |= dict.fromkeys(("expm1", "log1p"), 2.0**-25)
# Where a function is known to be monotone, on each sign; the others are, on each side of 0 in their domain.
MONOTONE = {
    "sin": [(-1.5, 1.5)], "cos": [(-1.5, 0.0), (0.0, 1.5)], "tan": [(-1.5, 1.5)],
    "silu": [(-math.inf, -1.279), (-1.278, math.inf)], "gelu": [(-math.inf, -0.752), (-0.751, math.inf)],
}  # fmt: skip


@dataclass
class Found:
    """What was seen: counts by the way of knowing, differences, errors.

    error, error_at        the largest exact relative error of the kernel, and where
    hardest, hardest_at    the least distance to a midpoint of binary32, in its ulps, and where
    """

    run: int = 0
    constant: int = 0
    undefined: int = 0
    itself: int = 0
    differences: int = 0
    outside_band: int = 0
    examples: list[str] = field(default_factory=list)
    error: float = 0.0
    error_at: str = ""
    hardest: float = 1.0
    hardest_at: str = ""

    def add(self, other: Found) -> None:
        for name in ("run", "constant", "undefined", "itself", "differences", "outside_band"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.examples = (self.examples + other.examples)[:8]
        if other.error > self.error:
            self.error, self.error_at = other.error, other.error_at
        if other.hardest < self.hardest:
            self.hardest, self.hardest_at = other.hardest, other.hardest_at


def monotone(name: str, low: float, high: float) -> bool:
    return any(a <= low and high <= b for a, b in MONOTONE.get(name, [(-math.inf, math.inf)]))


def same(a: Any, b: Any) -> Any:
    return ((a == b) & (np.signbit(a) == np.signbit(b))) | (np.isnan(a) & np.isnan(b))


def errors(name: str, x: F64, y: F64) -> F64:
    """The kernel's relative errors, from 100 bits."""
    with gmpy2.context(precision=200):
        exact = mpfr.values(name, [x], gmpy2.context(precision=100))
        return np.array([float(abs(v / e - 1)) for v, e in zip(y.tolist(), exact, strict=True)])


def measure(name: str, x: F64, toward_zero: F64, inexact: Any, found: Found) -> None:
    """The kernel's error, where its promise holds and float64 shows it; the hardest argument."""
    kernel = FUNCTIONS[name].kernel
    with np.errstate(all="ignore"):
        y = kernel.evaluate(x)
    low, high = FUNCTIONS[name].plain
    size = np.abs(toward_zero)
    fits = (size > 2.0**-160) & (size < 2.0**140) & (x > low) & (x < high) & (x != 0) & inexact
    if not fits.any():
        return
    x, y, toward_zero = x[fits], y[fits], toward_zero[fits]
    steps = y.view(np.int64) - toward_zero.view(np.int64)  # the exact value lies between steps 0 and 1
    ulp = np.spacing(np.abs(toward_zero)) / np.abs(toward_zero)
    bound = np.maximum(np.abs(steps), np.abs(steps - 1)) * ulp
    largest = np.argpartition(bound, -min(4, bound.size))[-4:]
    look = np.union1d(np.flatnonzero(bound > kernel.band), largest)
    exact = errors(name, x[look], y[look])
    found.outside_band += int(np.count_nonzero(~(exact <= kernel.band)))
    at = int(np.argmax(exact))
    if exact[at] > found.error:
        found.error, found.error_at = float(exact[at]), float(x[look[at]]).hex()
    distance = np.abs((toward_zero.view(np.int64) & ((1 << 29) - 1)) - (1 << 28))
    distance = np.where(np.abs(toward_zero) >= BINARY32.smallest_normal, distance, 1 << 29)
    at = int(np.argmin(distance))
    if distance[at] * 2.0**-29 < found.hardest:
        found.hardest, found.hardest_at = float(distance[at] * 2.0**-29), float(x[at]).hex()


def block(name: str, first: int, modes: list[Rounding], found: Found) -> None:
    numbers = np.arange(first, first + BLOCK, dtype=np.uint64).astype(np.uint32).view(np.float32)
    with np.errstate(invalid="ignore"):  # signaling NaN
        x = numbers.astype(np.float64)
    results = [floats.rounded(name, numbers, mode) for mode in modes]
    at_ends = mpfr.odd(name, x[[0, -1]])
    ends = into(at_ends, BINARY32, Rounding.NEAREST)
    low, high = sorted((float(x[0]), float(x[-1])))
    only_nearest = len(modes) == 1
    exact = None
    if np.isnan(ends).all() and not np.isinf(x[0]):
        found.undefined += BLOCK
        wants = [np.full(BLOCK, np.nan, np.float32)] * len(modes)
    elif only_nearest and name in NEAR and max(abs(low), abs(high)) <= NEAR[name]:
        found.itself += BLOCK
        wants = [numbers]
    elif only_nearest and monotone(name, low, high) and ends[0] == ends[1] and not math.isnan(high):
        found.constant += BLOCK
        wants = [np.full(BLOCK, ends[0])]
    else:
        found.run += BLOCK
        toward_zero, inexact = mpfr.toward_zero(name, x)
        exact = (toward_zero.view(np.int64) | inexact).view(np.float64)
        wants = [into(exact, BINARY32, mode) for mode in modes]
        measure(name, x, toward_zero, inexact, found)
    for mode, got, want in zip(modes, results, wants, strict=True):
        wrong = np.flatnonzero(~same(got, want))
        found.differences += wrong.size
        for i in wrong[: 8 - len(found.examples)].tolist():
            found.examples.append(f"{mode.name} {name}({float(x[i]).hex()}) = {got[i]}, MPFR {want[i]}")


def shard(name: str, index: int, every_mode: bool) -> tuple[int, dict[str, Any]]:
    """One shard's findings."""
    found = Found()
    modes = list(Rounding) if every_mode else [Rounding.NEAREST]
    for first in range(index * SHARD, (index + 1) * SHARD, BLOCK):
        block(name, first, modes, found)
    return index, asdict(found)


def digest() -> str:
    """The code that a state belongs to."""
    here = Path(floats.__file__).parent
    files = [*sorted(here.rglob("*.py")), Path(__file__), Path(mpfr.__file__)]
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()[:16]


@dataclass
class State:
    """Finished shards on disk, written whole after each."""

    path: Path
    header: dict[str, Any]
    done: dict[int, dict[str, Any]]

    @classmethod
    def open(cls, folder: Path, name: str, every_mode: bool) -> State:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}{'_modes' if every_mode else ''}.json"
        header = {"function": name, "code": digest(), "shards": COUNT}
        if not path.exists():
            return cls(path, header, {})
        held = json.loads(path.read_text())
        if held["header"] != header:
            raise FileError(
                "this state belongs to other code",
                where=str(path),
                expected=str(header),
                got=str(held["header"]),
                fix="delete the file to begin again, or give another folder with --state",
            )
        return cls(path, header, {int(k): v for k, v in held["done"].items()})

    def add(self, index: int, found: dict[str, Any]) -> None:
        self.done[index] = found

    def write(self) -> None:
        held = {"header": self.header, "done": {str(k): v for k, v in sorted(self.done.items())}}
        atomic_write(self.path, json.dumps(held).encode())

    def total(self) -> Found:
        total = Found()
        for found in self.done.values():
            total.add(Found(**found))
        return total


def go(state: State, name: str, todo: Iterator[int], jobs: int, minutes: float, every_mode: bool, size: int) -> None:
    """Shards, as many at once as jobs, until there are none or the time is over."""
    stop = time.monotonic() + 60 * minutes
    written = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn()) as bar, ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        task = bar.add_task(name, total=size)
        flying: set[Future[tuple[int, dict[str, Any]]]] = set()
        while True:
            while len(flying) < jobs and time.monotonic() < stop and (index := next(todo, None)) is not None:
                flying.add(pool.submit(shard, name, index, every_mode))
            if not flying:
                break
            finished, flying = wait(flying, return_when=FIRST_COMPLETED)
            for future in finished:
                state.add(*future.result())
                bar.advance(task)
            if time.monotonic() - written > 10 or not flying:
                state.write()
                written = time.monotonic()


def main() -> int:
    """Run, print what the state holds by now; 1 if there is any difference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("function", choices=[n for n, f in FUNCTIONS.items() if f.arity == 1])
    parser.add_argument("--state", type=Path, default=Path("exhaustive"), help="folder of the state files")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no shard after this time")
    parser.add_argument("--shards", default=f"0:{COUNT}", help="a range A:B of the 2048")
    parser.add_argument("--modes", choices=("nearest", "all"), default="nearest")
    options = parser.parse_args()
    first, last = (int(part) for part in options.shards.split(":"))
    if not 0 <= first < last <= COUNT or options.jobs < 1:
        raise UsageError(
            "no such shards or jobs",
            where="exhaustive",
            expected=f"0 <= A < B <= {COUNT} and at least one job",
            got=f"{options.shards}, {options.jobs}",
            fix="correct --shards or --jobs",
        )
    every_mode = options.modes == "all"
    state = State.open(options.state, options.function, every_mode)
    todo = [i for i in range(first, last) if i not in state.done]
    go(state, options.function, iter(todo), options.jobs, options.minutes, every_mode, len(todo))
    total = state.total()
    arguments = len(state.done) * SHARD
    print(f"{options.function}: {arguments:,} of {1 << 32:,} arguments{', every mode' if every_mode else ''}")
    print(f"  run {total.run:,}  constant {total.constant:,}  itself {total.itself:,}  undefined {total.undefined:,}")
    band = FUNCTIONS[options.function].kernel.band
    measured = f"2^{math.log2(total.error):.2f} at {total.error_at}" if total.error else "none"
    print(f"  kernel error {measured}; band 2^{math.log2(band):.2f}, outside of it {total.outside_band}")
    print(f"  hardest {total.hardest_at}, {total.hardest:.3g} ulp from a midpoint")
    print(f"  differences {total.differences}")
    for example in total.examples:
        print(f"    {example}")
    return int(total.differences > 0 or total.outside_band > 0)


if __name__ == "__main__":
    raise SystemExit(main())
