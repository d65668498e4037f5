"""What an optimizer is: a rule that adds the nodes of one update to a graph.

It holds no numbers that change. Moments and counters are states of the graph, named by the parameter; the learning rate
is an input of the graph, so that a schedule is data.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np

from torchlean.errors import UsageError
from torchlean.ir import Builder, DType, Tensor, TensorType
from torchlean.optim.schedules import Schedule, as_schedule

Tensors = Mapping[str, Tensor]


class Optimizer(ABC):
    """One update of parameters from their gradients. Subclasses are frozen dataclasses.

    learning_rate   a number, or a schedule
    """

    learning_rate: float | Schedule

    def __post_init__(self) -> None:
        as_schedule(self.learning_rate)

    @property
    def schedule(self) -> Schedule:
        """The learning rate over time."""
        return as_schedule(self.learning_rate)

    @abstractmethod
    def states(self, parameters: Mapping[str, TensorType]) -> dict[str, np.ndarray]:
        """The first values of all states that the update keeps, by name."""

    @abstractmethod
    def step(
        self, g: Builder, parameters: Tensors, gradients: Tensors, states: Tensors, rate: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """New parameters and new states, as nodes of g.

        Shapes   gradients: as parameters, by the same names; states: as `states` declares; rate: f32[]
        """


def zeros_for(prefix: str, parameters: Mapping[str, TensorType]) -> dict[str, np.ndarray]:
    """A zero array `PREFIX/NAME` for every parameter."""
    return {f"{prefix}/{n}": np.zeros(t.sizes, dtype=t.dtype.numpy) for n, t in parameters.items()}


def cast(g: Builder, x: Tensor, dtype: DType) -> Tensor:
    """x in another dtype; x itself where it has that one."""
    return x if x.dtype == dtype else g.apply("cast", x, dtype=dtype)


def fraction(where: str, **values: float) -> None:
    """Raises UsageError unless each value lies in [0, 1)."""
    for name, value in values.items():
        if not 0.0 <= value < 1.0:
            raise UsageError(
                f"{name} must lie in [0, 1)",
                where=f"optim.{where}",
                expected=f"0 <= {name} < 1",
                got=repr(value),
                fix="see the optimizer's usual values",
            )


def not_negative(where: str, **values: float) -> None:
    """Raises UsageError unless each value is finite and at least 0."""
    for name, value in values.items():
        if not 0.0 <= value < float("inf"):
            raise UsageError(
                f"{name} must not be negative",
                where=f"optim.{where}",
                expected=f"finite {name} >= 0",
                got=repr(value),
                fix=f"give {name}=0 to switch it off",
            )
