"""Activations as layers. Each is one op of the same name; none has parameters.

Shapes   x: [*s] -> [*s]
"""

from __future__ import annotations

from dataclasses import dataclass

from torchlean.ir import Tensor
from torchlean.nn.layer import Layer


@dataclass(frozen=True)
class ReLU(Layer):
    """max(x, 0)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.builder.relu(x)


@dataclass(frozen=True)
class LeakyReLU(Layer):
    """x where x >= 0, else slope x."""

    slope: float = 0.01

    def forward(self, x: Tensor) -> Tensor:
        return x.builder.leaky_relu(x, slope=self.slope)


@dataclass(frozen=True)
class ELU(Layer):
    """x where x >= 0, else alpha (e^x - 1)."""

    alpha: float = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return x.builder.elu(x, alpha=self.alpha)


@dataclass(frozen=True)
class Softplus(Layer):
    """log(1 + e^x)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.builder.softplus(x)


@dataclass(frozen=True)
class SiLU(Layer):
    """x / (1 + e^-x)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.builder.silu(x)


@dataclass(frozen=True)
class GELU(Layer):
    """x times the normal distribution function; with `tanh`, its approximation by a hyperbolic tangent."""

    tanh: bool = False

    def forward(self, x: Tensor) -> Tensor:
        return x.builder.gelu_tanh(x) if self.tanh else x.builder.gelu(x)


@dataclass(frozen=True)
class Mish(Layer):
    """x tanh(softplus(x))."""

    def forward(self, x: Tensor) -> Tensor:
        return x.builder.mish(x)


@dataclass(frozen=True)
class Sigmoid(Layer):
    """1 / (1 + exp(-x))."""

    def forward(self, x: Tensor) -> Tensor:
        return x.builder.sigmoid(x)


@dataclass(frozen=True)
class Tanh(Layer):
    """tanh(x)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.builder.tanh(x)


@dataclass(frozen=True)
class Softmax(Layer):
    """exp(x - max x) over its sum, along one axis (counted from the end)."""

    axis: int = -1

    def forward(self, x: Tensor) -> Tensor:
        return x.builder.softmax(x, axis=self.axis)


@dataclass(frozen=True)
class LogSoftmax(Layer):
    """log of softmax, computed as x - max x - log sum exp(x - max x)."""

    axis: int = -1

    def forward(self, x: Tensor) -> Tensor:
        return x.builder.log_softmax(x, axis=self.axis)
