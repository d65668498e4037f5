"""Learning rates over time. A schedule is data: each step's rate is a number that enters the step's graph as an input.

Units   step: updates done so far, from 0; rate: per update
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import cos, pi

from torchlean.errors import UsageError


class Schedule(ABC):
    """The learning rate as a function of the step."""

    @abstractmethod
    def rate(self, step: int) -> float:
        """The rate of the update number `step`, counted from 0."""


def _positive(schedule: str, **values: float) -> None:
    for name, value in values.items():
        if not (isinstance(value, int | float) and value > 0 and value < float("inf")):
            raise UsageError(
                f"{name} must be positive",
                where=f"optim.{schedule}",
                expected=f"a finite {name} > 0",
                got=repr(value),
                fix=f"give a positive {name}",
            )


@dataclass(frozen=True)
class Constant(Schedule):
    """The same rate always."""

    base: float

    def __post_init__(self) -> None:
        _positive("Constant", rate=self.base)

    def rate(self, step: int) -> float:
        return self.base


@dataclass(frozen=True)
class Step(Schedule):
    """base times factor^(step // every)."""

    base: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        _positive("Step", rate=self.base, every=self.every, factor=self.factor)

    def rate(self, step: int) -> float:
        return float(self.base * self.factor ** (step // self.every))


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from base at 0 down to `floor` at `steps`, and `floor` after. Source: arXiv:1608.03983."""

    base: float
    steps: int
    floor: float = 0.0

    def __post_init__(self) -> None:
        _positive("Cosine", rate=self.base, steps=self.steps)

    def rate(self, step: int) -> float:
        done = min(step, self.steps) / self.steps
        return self.floor + (self.base - self.floor) * 0.5 * (1.0 + cos(pi * done))


@dataclass(frozen=True)
class Warmup(Schedule):
    """Linear growth over the first `steps` updates to the rate of `after`, which then starts at its own step 0.

    Update k < steps has (k + 1) / (steps + 1) of after's first rate.
    """

    after: Schedule
    steps: int

    def __post_init__(self) -> None:
        _positive("Warmup", steps=self.steps)

    def rate(self, step: int) -> float:
        if step < self.steps:
            return self.after.rate(0) * (step + 1) / (self.steps + 1)
        return self.after.rate(step - self.steps)


def as_schedule(rate: float | Schedule) -> Schedule:
    """A number is the constant schedule."""
    return rate if isinstance(rate, Schedule) else Constant(rate)
