"""Stochastic gradient descent, with momentum or without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from torchlean.errors import UsageError
from torchlean.ir import Builder, Tensor, TensorType
from torchlean.optim.optimizer import Optimizer, Tensors, cast, fraction, not_negative, zeros_for
from torchlean.optim.schedules import Schedule


@dataclass(frozen=True)
class SGD(Optimizer):
    """p - rate d, where d = g + weight_decay p, with momentum v = momentum v + d in its place (v starts at 0).

    nesterov   d + momentum v takes v's place
    Floats     the product with the rate is rounded, then the difference: two roundings an entry without momentum, decay
    Source     Sutskever et al. 2013; the form is PyTorch's (dampening 0)
    """

    learning_rate: float | Schedule
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        fraction("SGD", momentum=self.momentum)
        not_negative("SGD", weight_decay=self.weight_decay)
        if self.nesterov and self.momentum == 0.0:
            raise UsageError(
                "Nesterov's step needs momentum",
                where="optim.SGD",
                expected="momentum > 0",
                got="momentum=0",
                fix="optim.SGD(rate, momentum=0.9, nesterov=True)",
            )

    def states(self, parameters: Mapping[str, TensorType]) -> dict[str, np.ndarray]:
        return zeros_for("velocity", parameters) if self.momentum else {}

    def step(
        self, g: Builder, parameters: Tensors, gradients: Tensors, states: Tensors, rate: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        new, kept = {}, {}
        for name, p in parameters.items():
            d = gradients[name]
            if self.weight_decay:
                d = d + p * self.weight_decay
            if self.momentum:
                v = states[f"velocity/{name}"] * self.momentum + d
                kept[f"velocity/{name}"] = v
                d = d + v * self.momentum if self.nesterov else v
            new[name] = p - d * cast(g, rate, p.dtype)
        return new, kept
