"""Certified accuracy of a classifier over examples, radius by radius.

An example is *robust* at a radius where every float32 execution on every point of its box or ball puts its label
strictly above every other class. Nominal and attacked are upper bounds of the robust share, each by an execution; IBP,
CROWN and complete are lower bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from torchlean.apps.robustness.attack import Strength, attack
from torchlean.apps.robustness.examples import Examples, classes_of
from torchlean.apps.robustness.proofs import Proofs
from torchlean.bounds import Ball, ball, bounds, margins
from torchlean.bounds.region import Box
from torchlean.errors import DataError, InternalError, UsageError
from torchlean.io.decimals import decimal_text
from torchlean.run.program import Program

Bools = NDArray[np.bool_]
METHODS = ("ibp", "crown", "complete")
CHUNK = 32  # regions bounded at once


@dataclass(frozen=True)
class Settings:
    """What is measured.

    epsilons   radii, rising      norm   inf (boxes), 2 or 1 (balls)
    domain     every region is cut with [domain[0], domain[1]]
    method     the last of the lower bounds that is computed: ibp, crown, complete
    semantics  float32: of every float32 execution; real: of the real function
    """

    epsilons: tuple[Fraction, ...]
    domain: tuple[Fraction, Fraction] | None = None
    method: str = "complete"
    semantics: str = "float32"
    seed: int = 0
    strength: Strength = field(default_factory=Strength)
    norm: str = "inf"

    def __post_init__(self) -> None:
        rising = list(self.epsilons) == sorted(set(self.epsilons))
        if not self.epsilons or not rising or self.epsilons[0] < 0 or None in map(decimal_text, self.epsilons):
            raise UsageError("the radii must rise from 0 or more", where="eps", expected="finite decimals, each once",
                             got=", ".join(map(str, self.epsilons)) or "none", fix="0.01,0.02,0.05")  # fmt: skip
        if self.norm not in ("inf", "2", "1"):
            raise UsageError("no such norm", where="robustness", expected='"inf", "2" or "1"', got=repr(self.norm),
                             fix='Settings(epsilons, norm="2")')  # fmt: skip
        if self.method not in METHODS or self.semantics not in ("float32", "real"):
            raise UsageError("no such method or semantics", where="robustness",
                             expected=f"{', '.join(METHODS)}; float32 or real", got=f"{self.method}, {self.semantics}",
                             fix='Settings(epsilons, method="complete", semantics="float32")')  # fmt: skip


def text(value: Fraction) -> str:
    """The decimal of a radius, which has one."""
    found = decimal_text(value)
    assert found is not None
    return found


@dataclass
class Level:
    """What is known at one radius, example by example. Shapes: each [n] bool

    attacked   a point of the box was found that the reference executor misclassifies (always, where not nominal)
    ibp        bounded by intervals: rigorous, no certificate       crown   bounded by the linear walk: its own rounding
               is not charged, no certificate
    proved     the checker called a certificate valid, for this radius or a larger one
    real       proved, but over the reals alone
    reasons    why an example is open, in the verifier's words
    """

    eps: Fraction
    attacked: Bools
    ibp: Bools
    crown: Bools
    proved: Bools
    real: Bools
    reasons: dict[int, str] = field(default_factory=dict)

    def unknown(self, method: str) -> Bools:
        """Neither attacked nor bounded from below by `method`."""
        lower = {"ibp": self.ibp, "crown": self.crown, "complete": self.proved}[method]
        return ~self.attacked & ~lower


@dataclass(frozen=True)
class Measured:
    """nominal: the reference executor puts the label strictly first, [n]"""

    nominal: Bools
    levels: tuple[Level, ...]
    settings: Settings


def measure(
    program: Program,
    examples: Examples,
    settings: Settings,
    proofs: Proofs | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Measured:
    """Nominal, attacked and certified accuracy.

    proofs   needed for the method `complete`
    Raises   MissingRule, Unsupported where the program has an op that the method lacks, or no certificate can be about
             the balls; DataError for an example
             outside the domain; InternalError where a lower bound and an attack contradict each other
    """
    classes = classes_of(program)
    if settings.method == "complete":
        some = _regions(examples, np.arange(1), settings.epsilons[-1], settings)[0]
        if isinstance(some, Ball):
            some.facets()
    nominal = _nominal(program, examples)
    rows = np.flatnonzero(nominal)
    n, levels = len(examples), []
    known: dict[int, NDArray[np.float32]] = {}
    for eps in settings.epsilons:
        regions = _regions(examples, rows, eps, settings)
        rest = [i for i in rows.tolist() if i not in known]
        found = attack(program, [regions[i] for i in rest], examples.y[rest], settings.seed, settings.strength)
        known.update((i, point) for i, point in zip(rest, found, strict=True) if point is not None)
        ibp, crown, proved, real = np.zeros((4, n), bool)
        level = Level(eps, ~nominal, ibp, crown, proved, real)
        level.attacked[list(known)] = True
        _bound(program, examples, rows, regions, classes, settings, level)
        levels.append(level)
        say(f"eps {float(eps):g}: {int(level.attacked.sum())} attacked or wrong, {int(level.ibp.sum())} by IBP, "
            f"{int(level.crown.sum())} by CROWN")  # fmt: skip
    if settings.method == "complete" and proofs is not None:
        _complete(examples, classes, levels, settings, proofs, say)
    if settings.semantics == "float32":  # over the reals a float32 execution contradicts nothing
        _check(levels)
    return Measured(nominal, tuple(levels), settings)


def _nominal(program: Program, examples: Examples) -> Bools:
    single = program.specialise(**dict.fromkeys(program.graph.symbols(), 1))
    result = np.zeros(len(examples), bool)
    for i, (x, label) in enumerate(zip(examples.x, examples.y.tolist(), strict=True)):
        y = single(x).ravel()
        result[i] = bool(np.isfinite(y).all()) and bool((y[label] > np.delete(y, label)).all())
    return result


def _regions(examples: Examples, rows: NDArray[np.intp], eps: Fraction, settings: Settings) -> dict[int, Box | Ball]:
    if settings.domain is not None:
        lo, hi = settings.domain
        for i, x in enumerate(examples.x):
            least, most = Fraction(float(x.min())), Fraction(float(x.max()))
            if not (lo <= least and most <= hi):
                raise DataError("an example lies outside the input domain", where=f"example {i}",
                                expected=f"values in [{float(lo):g}, {float(hi):g}]",
                                got=f"{float(least):g} to {float(most):g}",
                                fix="correct --domain, or divide the values with --scale")  # fmt: skip
    return {i: ball(examples.x[i], eps, settings.norm, clip=settings.domain) for i in rows.tolist()}


def _bound(
    program: Program,
    examples: Examples,
    rows: NDArray[np.intp],
    regions: dict[int, Box | Ball],
    classes: int,
    settings: Settings,
    level: Level,
) -> None:
    for method, into in (("ibp", level.ibp), ("crown", level.crown)):
        if method == "crown" and settings.method == "ibp":
            return
        for start in range(0, len(rows), CHUNK):
            chosen = rows[start : start + CHUNK]
            C = margins(examples.y[chosen], classes)
            low, _ = bounds(program, [regions[i] for i in chosen.tolist()], method, semantics=settings.semantics, C=C)
            into[chosen] = (low > 0).all(axis=1)  # a NaN bounds nothing


def _complete(
    examples: Examples,
    classes: int,
    levels: Sequence[Level],
    settings: Settings,
    proofs: Proofs,
    say: Callable[[str], None],
) -> None:
    """From the largest radius down: a proof holds for every smaller radius, a witness for every larger one."""
    for k in reversed(range(len(levels))):
        level = levels[k]
        waiting = np.flatnonzero(level.unknown("complete"))
        regions = _regions(examples, waiting, level.eps, settings)
        for i, row in proofs.decide(regions, examples.y, classes, level.eps).items():
            if row.status == "sat" and row.semantics in ("float32", settings.semantics):
                for larger in levels[k:]:
                    larger.attacked[i] = True
                    larger.reasons.pop(i, None)
            elif row.status == "unsat" and row.checked == "valid":
                whole = row.semantics in ("float32", settings.semantics)
                for smaller in levels[: k + 1]:
                    (smaller.proved if whole else smaller.real)[i] = True
                if not whole:
                    level.reasons[i] = "proved over the reals alone"
            else:
                level.reasons[i] = f"{row.status}: {row.reason or row.checked}"
        level.reasons = {i: why for i, why in level.reasons.items() if level.unknown("complete")[i]}
        done = int(level.proved.sum()), int(level.attacked.sum())
        say(f"eps {float(level.eps):g}: {done[0]} proved, {done[1]} attacked or wrong")


def _check(levels: Sequence[Level]) -> None:
    for level in levels:
        for name, lower in (("IBP", level.ibp), ("CROWN", level.crown), ("a checked certificate", level.proved)):
            both = np.flatnonzero(level.attacked & lower)
            if both.size:
                raise InternalError("an attack contradicts a lower bound", where=f"example {both[0]}, {name}",
                                    expected="one or the other", got=f"both at eps {float(level.eps):g}",
                                    fix="report it, with the program and the example")  # fmt: skip
