"""What a training run leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from torchlean.run.program import Program
from torchlean.train.data import examples
from torchlean.train.metrics import Metrics, measure
from torchlean.train.predict import predict


@dataclass(frozen=True, eq=False)
class History:
    """The curves of a run.

    loss         float64[steps]: the batch's loss before each update        rate   float64[steps]: its learning rate
    validation   per validation: the number of updates before it, and named results, `loss` among them
    """

    loss: np.ndarray
    rate: np.ndarray
    validation: tuple[tuple[int, Mapping[str, float]], ...] = ()


@dataclass(frozen=True)
class Probe:
    """A value before the first update and after the last."""

    before: Any
    after: Any


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run.

    program   the trained program, ready for inference; the one that was given is unchanged
    steps     updates made, fewer than asked for after an early stop
    best      the step of the best validation, whose parameters `program` has; None without early stopping
    seconds   wall-clock time of the updates and validations
    """

    program: Program
    history: History
    steps: int
    seconds: float
    backend: str
    best: int | None = None
    probes: Mapping[str, Probe] = field(default_factory=dict)

    def evaluate(self, data: Any) -> Metrics:
        """Metrics of the trained program on a dataset. Raises as `fit` does for data that do not fit."""
        return evaluate(self.program, data, self.backend)

    def __str__(self) -> str:
        last = f"loss {self.history.loss[-1]:.4g}" if len(self.history.loss) else "no updates"
        best = f", best after step {self.best}" if self.best is not None else ""
        return f"{self.steps} steps in {self.seconds:.1f} s, {last}{best}"


def evaluate(program: Program, data: Any, backend: str = "eager") -> Metrics:
    """Metrics of a program on a dataset: rmse, mae, r2 for float targets; accuracy, confusion matrix for labels."""
    found = examples(program, data)
    return measure(predict(program, found.x, backend), found.y)
