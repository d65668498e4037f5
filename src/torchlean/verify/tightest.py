"""The tightest interval that branch and bound proves for one output over a region.

An attack reaches a least and a greatest value; no proof can be inside them. Claims that leave a gap outside are then proved,
each with a quarter of the gap before, until one is not: what is left is the gap between proof and attack.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np

from torchlean.bounds.claim import Property, forall
from torchlean.bounds.region import Box
from torchlean.errors import Exhausted
from torchlean.grad import grad
from torchlean.ir import Builder
from torchlean.run.program import Program
from torchlean.run.schedule import builder
from torchlean.verify.program import one_example, verify_program
from torchlean.verify.verdict import Status, Verdict

STARTS, STEPS = 4_000, 40
GAPS = tuple(4.0**-k for k in range(-2, 10))  # each side's, as parts of the attacked interval's width


@dataclass(frozen=True)
class Range:
    """A proved interval.

    lower, upper   every float32 execution stays inside        verdict   of the claim that says so, with its certificate
    attacked       the least and the greatest value found, by the reference executor
    """

    lower: float
    upper: float
    attacked: tuple[float, float]
    verdict: Verdict

    @property
    def gap(self) -> float:
        """What the two sides together leave between proof and attack."""
        return (self.attacked[0] - self.lower) + (self.upper - self.attacked[1])


def tightest(
    program: Program,
    region: Box,
    output: int = 0,
    timeout: float = 60.0,
    seed: int = 0,
    say: Callable[[str], None] = lambda line: None,
) -> Range:
    """The tightest [lower, upper] for the flat output entry `output`, proved for every float32 execution.

    say      is told each attempt in a line
    Raises   Exhausted when nothing is proved within `timeout` seconds
    """
    end = time.monotonic() + timeout
    low, high = attacked(program, region, output, seed)
    say(f"attack: the output reaches {low:.6g} and {high:.6g}")
    width = max(high - low, abs(low) * 2.0**-20, 2.0**-100)
    best: Range | None = None
    for part in GAPS:
        left = end - time.monotonic()
        if left <= 0:
            break
        lower, upper = low - part * width, high + part * width
        share = left if best is None else left / 2
        verdict = verify_program(program, _inside(region, output, lower, upper), share, "float32", seed)
        say(f"claim:  {lower:.6g} <= y <= {upper:.6g}   {verdict}")
        if verdict.status is not Status.UNSAT or verdict.semantics != "float32":
            break
        best = Range(lower, upper, (low, high), verdict)
    if best is not None:
        return best
    raise Exhausted(
        "no interval was proved",
        where="tightest",
        expected=f"a proof within {timeout:g} s",
        got=f"the output reaches {low:.6g} to {high:.6g}; no interval around that was proved",
        fix="give more time, or a smaller region",
    )


def _inside(region: Box, output: int, lower: float, upper: float) -> Property:
    return forall(region, lambda y: (lower <= y[output]) & (y[output] <= upper))


def attacked(program: Program, region: Box, output: int, seed: int) -> tuple[float, float]:
    """The least and the greatest value of one output entry that samples and signed gradient steps find in the region."""
    lo, hi = (a.ravel() for a in region.floats32())
    rng = np.random.default_rng(seed)
    corner = rng.random((STARTS, 1)) < 0.5
    share = np.where(corner, rng.random((STARTS, lo.size)) < 0.5, rng.random((STARTS, lo.size)))
    single = one_example(program)
    value, slope = _batched(single, output, STARTS)
    found = []
    for sign in (-1.0, 1.0):
        x = np.clip(lo + share * (hi - lo), lo, hi).astype(np.float32)
        best = np.full(STARTS, -np.inf)
        for step in range(STEPS):
            best = np.maximum(best, sign * value(x).astype(np.float64))
            move = sign * np.sign(slope(x)) * (hi - lo) * (0.5 * 0.85**step)
            x = np.clip(x + move, lo, hi).astype(np.float32)
        found.append(sign * float(np.max(np.maximum(best, sign * value(x).astype(np.float64)))))
    return found[0], found[1]


def _batched(
    single: Program, output: int, rows: int
) -> tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]:
    """The output entry and its gradient, of many inputs at once, on the reference executor."""
    from torchlean import ops
    from torchlean.passes import vmap

    name, kind = next(iter(single.graph.source_types("input").items()))
    g: Builder = builder("attack")
    y = next(iter(g.inline(single.graph, {name: g.input(name, kind)}).values()))
    flat = g.reshape(y, shape=(prod(y.type.sizes),))
    entry = g.reshape(g.slice(flat, starts=(output,), stops=(output + 1,), steps=(1,)), shape=())
    graph = g.finish({"y": entry})

    def runner(program: Program) -> Callable[[np.ndarray], np.ndarray]:
        many = program.with_graph(vmap(program.graph, ops.ALL, (name,), rows))

        def run(x: np.ndarray) -> np.ndarray:
            answer: np.ndarray = many(x.reshape(rows, *kind.sizes))
            return answer.reshape(rows) if answer.ndim == 1 else answer.reshape(rows, -1)

        return run

    whole = single.with_graph(graph)
    return runner(whole), runner(grad(whole, [name]))
