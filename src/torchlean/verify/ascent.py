"""Slopes and multipliers improved together: Adam with projection, on a batch of problems.

Every operation of a step works in place on arrays whose shapes do not change, and none of them asks the host for
anything: a device may record a step once and repeat it (graphs.py).

A multiplier moves by a share of the coefficient on its neuron, which it is to take away or to add to, and of what turns
the neuron's width into the bound's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol

from torchlean.frozen import frozen
from torchlean.verify.forms import Forms
from torchlean.verify.walk import Walk

if TYPE_CHECKING:
    from torchlean.verify.dual import Dual

RATE, WEIGHT_RATE = 0.3, 0.15  # of slopes and splits' multipliers; of a clause's
NARROW = 1e-9  # the least width that a multiplier's steps are measured by


@frozen(eq=False)
class Given:
    """Problems, and where to start.

    hold     whether the slopes stay as they are
    Shapes   side, beta: [P, U], alpha: [P, U + K], weight: [P, r] or None, box: [P, U] or [U]
    """

    forms: Forms
    side: Any
    alpha: Any
    beta: Any
    weight: Any | None
    box: tuple[Any, Any]
    hold: bool = False

    def take(self, i: Any, side: Any | None = None) -> Given:
        """Copies of some problems, with these splits or their own.   i: of their arrays"""
        side, (lo, hi) = self.side[i] if side is None else side, self.box
        weight = None if self.weight is None else self.weight[i]
        box = (lo[i], hi[i]) if lo.ndim > 1 else self.box
        return Given(self.forms.take(i), side, self.alpha[i], self.beta[i], weight, box, self.hold)


@dataclass(eq=False)
class Best:
    """The best bound of each problem, and where it was reached.

    alpha   [P, U + K] slopes, and the shares of planes
    charge  [P] what float32's error boxes take from it: without them it is a bound over the reals
    weight  [P, r] the clause's multipliers, or None
    upper   [P, U] the coefficients on the relus' outputs
    cost    [P, U] what the lines of each neuron may cost the bound: what splitting it may gain
    point   [P, n] the input at which the bound is reached
    """

    value: Any
    charge: Any
    alpha: Any
    beta: Any
    weight: Any | None
    upper: Any
    cost: Any
    point: Any

    @property
    def columns(self) -> tuple[Any, ...]:
        """Its fields, in their order."""
        return tuple(getattr(self, f.name) for f in fields(self))


def schedule(steps: int) -> list[tuple[float, float, float]]:
    """For each step: what corrects the first and the second moment, and what is left of the rate."""
    fall = max(0.96, 0.05 ** (1 / max(steps, 1)))
    return [(1 / (1 - 0.8 ** (t + 1)), 1 / (1 - 0.95 ** (t + 1)), fall**t) for t in range(steps)]


class Question(Protocol):
    """What operations on the arrays of problems find, none of which asks the host for anything.

    Questions are equal where they do the same.   Shapes  of `more`, and of each answer: a row for each problem
    """

    def __hash__(self) -> int: ...

    def __call__(self, dual: Dual, given: Given, /, *more: Any) -> tuple[Any, ...]: ...


class Run(Protocol):
    """One run: `look` or `begin`, then `step` and at last `finish`, each with its row of the schedule.

    value   the best bound of each problem so far
    """

    given: Given

    @property
    def value(self) -> Any: ...

    @property
    def best(self) -> Best: ...

    def look(self) -> Any: ...

    def begin(self, now: Any) -> None: ...

    def step(self, now: Any) -> None: ...

    def finish(self) -> None: ...

    def gains(self) -> tuple[Any, Any]:
        """What splits may gain where the run starts (walk.py)."""


class Ascent:
    """A run by plain operations.

    lazy   whether a step may leave out what changes nothing, which it must ask the device for
    """

    def __init__(self, dual: Dual, given: Given, lazy: bool = True) -> None:
        self.dual, self.xp, self.given, self.lazy = dual, dual.xp, given, lazy

    def look(self) -> tuple[Walk, Any]:
        """The bound where the run starts: the walk and its minimiser."""
        self.lines = self.dual.lines(self.given.side, self.given.box)
        starts = (self.given.alpha, self.given.beta, self.given.weight)
        self.free = [v + 0 for v in starts if v is not None]
        walk = self._walk()
        point = walk.point
        self.kept = [v + 0 for v in self._now(walk, point)]
        if self.given.hold:
            self.kept[2] = self.free[0]
        return walk, point

    def begin(self, now: Sequence[Any]) -> None:
        """Look, and make the first step."""
        xp = self.xp
        walk, point = self.look()
        width = xp.clip(self.lines.hi - self.lines.lo, NARROW, None)
        self.rates = [RATE, RATE * (abs(walk.upper) + abs(walk.total)[:, None] / width), WEIGHT_RATE]
        self.moving = range(int(self.given.hold), len(self.free))
        self.moments = {i: (xp.zeros_like(self.free[i]), xp.zeros_like(self.free[i])) for i in self.moving}
        self._move(walk, point, now)

    def step(self, now: Sequence[Any]) -> None:
        """Keep what is better than before, and move on."""
        walk = self._walk()
        point = walk.point
        self._keep(walk, point)
        self._move(walk, point, now)

    def finish(self) -> None:
        walk = self._walk()
        self._keep(walk, walk.point)

    def gains(self) -> tuple[Any, Any]:
        return self.look()[0].gains()

    @property
    def value(self) -> Any:
        return self.kept[0]

    @property
    def best(self) -> Best:
        value, charge, alpha, beta, *weight, upper, cost, point = self.kept
        return Best(value, charge, alpha, beta, weight[0] if weight else None, upper, cost, point)

    def _now(self, walk: Walk, point: Any) -> tuple[Any, ...]:
        return walk.total, walk.charge, *self.free, walk.upper, walk.cost, point

    def _walk(self) -> Walk:
        alpha, beta, *weight = self.free
        return Walk(self.dual, self.given.forms, self.given.side, alpha, beta, self.lines, *weight)

    def _keep(self, walk: Walk, point: Any) -> None:
        better = walk.total > self.kept[0]
        if self.lazy and not bool(better.any()):
            return
        for kept, new in zip(self.kept, self._now(walk, point), strict=True):
            if kept is new:
                continue  # it does not move
            kept[...] = self.xp.where(better if kept.ndim == 1 else better[:, None], new, kept)

    def _move(self, walk: Walk, point: Any, now: Sequence[Any]) -> None:
        gradients = walk.gradients(point)
        for i in self.moving:
            climb(self.xp, self.free[i], gradients[i], *self.moments[i], self.rates[i], now, None if i else 1)


def climb(xp: Any, v: Any, gradient: Any, first: Any, second: Any, rate: Any, now: Sequence[Any], most: Any) -> None:
    """A step of Adam on v within 0 and `most`, in place.   Source  Kingma and Ba 2014, arXiv:1412.6980"""
    first += 0.2 * (gradient - first)
    second += 0.05 * (gradient * gradient - second)
    move = (first * now[0]) / (xp.sqrt(second * now[1]) + 1e-12)
    v[...] = xp.clip(v + now[2] * rate * move, 0, most)


def ascend(ascent: Run, plan: Any, target: float) -> Best:
    """Run it by this plan (`schedule`), until every problem's bound is above `target`."""
    if not len(plan):
        ascent.look()
        return ascent.best
    ascent.begin(plan[0])
    for now in plan[1:]:
        if bool((ascent.value > target).all()):
            return ascent.best
        ascent.step(now)
    ascent.finish()
    return ascent.best


def looked(dual: Dual, given: Given) -> tuple[Any, ...]:
    """The bounds where problems start: what `Best` has."""
    run = dual.ascent(given, lazy=False)
    run.look()
    return run.best.columns
