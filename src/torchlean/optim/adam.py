"""Adam and AdamW."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from torchlean.ir import Builder, Tensor, TensorType, f64
from torchlean.optim.optimizer import Optimizer, Tensors, cast, fraction, not_negative, zeros_for
from torchlean.optim.schedules import Schedule


@dataclass(frozen=True)
class Adam(Optimizer):
    """p - (rate / c1) m / (sqrt(v) / sqrt(c2) + epsilon), moments m and v of the gradient, c = 1 - beta^t.

    weight_decay   added to the gradient, times p (L2); AdamW takes it off the parameter instead
    States     m and v per parameter; beta1^t and beta2^t in f64: the difference 1 - beta^t cancels, so float32 powers
               would cost 1e-5 of the step size
    Source     Kingma and Ba 2015, arXiv:1412.6980; the order of operations is PyTorch's
    """

    learning_rate: float | Schedule = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        name = type(self).__name__
        fraction(name, beta1=self.beta1, beta2=self.beta2)
        not_negative(name, epsilon=self.epsilon, weight_decay=self.weight_decay)

    def states(self, parameters: Mapping[str, TensorType]) -> dict[str, np.ndarray]:
        return {
            "beta1_power": np.array(1.0, dtype=np.float64),
            "beta2_power": np.array(1.0, dtype=np.float64),
            **zeros_for("moment1", parameters),
            **zeros_for("moment2", parameters),
        }

    def decay(self, p: Tensor, d: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
        """(parameter, gradient) with the weight decay in its place."""
        return p, d + p * self.weight_decay if self.weight_decay else d

    def step(
        self, g: Builder, parameters: Tensors, gradients: Tensors, states: Tensors, rate: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        power1 = states["beta1_power"] * self.beta1
        power2 = states["beta2_power"] * self.beta2
        kept = {"beta1_power": power1, "beta2_power": power2}
        exact = cast(g, rate, f64) / (1.0 - power1), g.sqrt(1.0 - power2)
        scales = {
            dtype: [cast(g, t, dtype) for t in (*exact, rate)]
            for dtype in dict.fromkeys(p.dtype for p in parameters.values())
        }
        new = {}
        for name, p in parameters.items():
            size, spread, own = scales[p.dtype]
            p, d = self.decay(p, gradients[name], own)
            m, v = states[f"moment1/{name}"], states[f"moment2/{name}"]
            m = m + (d - m) * (1.0 - self.beta1)
            v = v * self.beta2 + d * d * (1.0 - self.beta2)
            new[name] = p - size * (m / (g.sqrt(v) / spread + self.epsilon))
            kept[f"moment1/{name}"], kept[f"moment2/{name}"] = m, v
        return new, kept


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay: p is first scaled by 1 - rate weight_decay.

    Source   Loshchilov and Hutter 2019, arXiv:1711.05101
    """

    weight_decay: float = 1e-2

    def decay(self, p: Tensor, d: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
        return p * (1.0 - rate * self.weight_decay) if self.weight_decay else p, d
