"""Layers made of layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

from torchlean.errors import ShapeError, UsageError
from torchlean.ir import Tensor
from torchlean.nn.activations import ReLU
from torchlean.nn.layer import Layer
from torchlean.nn.linear import Linear
from torchlean.nn.norm import BatchNorm
from torchlean.nn.windows import Conv2d, GlobalAvgPool


@dataclass(frozen=True, init=False)
class Sequential(Layer):
    """One layer after the other; by keyword to name them: `Sequential(fc1=nn.Linear(7, 64), act=nn.ReLU())`.

    Paths    `0.weight`, or `fc1.weight`
    """

    flat: ClassVar[bool] = True
    layers: tuple[Layer, ...]
    names: tuple[str, ...]

    def __init__(self, *layers: Layer, **named: Layer) -> None:
        if layers and named:
            raise UsageError(
                "layers are given either by position or by name",
                where="nn.Sequential",
                fix="name all or none",
                expected="one of the two",
                got=f"{len(layers)} by position, {len(named)} by name",
            )
        for layer in (*layers, *named.values()):
            if not callable(layer):
                raise UsageError(
                    "Sequential is made of layers",
                    where="nn.Sequential",
                    expected="layers",
                    got=type(layer).__name__,
                    fix="write nn.ReLU(), with its parentheses",
                )
            if isinstance(layer, type):
                raise UsageError(
                    "a layer's class stands where a layer is needed",
                    where="nn.Sequential",
                    expected="a layer",
                    got=layer.__name__,
                    fix=f"write nn.{layer.__name__}()",
                )
        object.__setattr__(self, "layers", (*layers, *named.values()))
        object.__setattr__(self, "names", tuple(named))

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
        return x


@dataclass(frozen=True)
class Residual(Layer):
    """x + body(x), with x through `shortcut` first where the shapes differ.

    Shapes   x: [*s] -> [*t], where body and shortcut both give [*t]
    """

    body: Layer
    shortcut: Layer | None = None

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        kept = x if self.shortcut is None else self.shortcut(x)
        if kept.shape != y.shape:
            raise ShapeError(
                "residual: the two branches have different shapes",
                where=f"Residual, {self._where}",
                expected=f"body(x): {kept.type}",
                got=f"body(x): {y.type}",
                fix="give a shortcut layer, such as nn.Linear or nn.Conv2d(kernel=1)",
            )
        return kept + y


@dataclass(frozen=True, init=False)
class MLP(Layer):
    """Dense layers with an activation between: `MLP(7, 64, 64, 1)`.

    Shapes   x: [*batch, sizes[0]] -> [*batch, sizes[-1]]
    """

    layers: tuple[Layer, ...]

    def __init__(self, *sizes: int, activation: Layer | None = None) -> None:
        if len(sizes) < 2:
            raise UsageError(
                "an MLP needs at least its input and output size",
                where="nn.MLP",
                expected="two sizes or more",
                got=str(list(sizes)),
                fix="nn.MLP(7, 64, 1)",
            )
        object.__setattr__(self, "layers", _join([Linear(a, b) for a, b in pairwise(sizes)], activation))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


@dataclass(frozen=True, init=False)
class CNN(Layer):
    """Convolutions of stride 2 with an activation after each, the mean over what is left, and one dense layer.

    `CNN(1, 16, 32, classes=10)` takes one channel through 16 and 32.
    Shapes   x: [batch, channels[0], height, width] -> [batch, classes]
    """

    layers: tuple[Layer, ...]

    def __init__(
        self, *channels: int, classes: int, kernel: int = 3, batch_norm: bool = False, activation: Layer | None = None
    ) -> None:
        if len(channels) < 2:
            raise UsageError(
                "a CNN needs its input channels and one convolution or more",
                where="nn.CNN",
                expected="two channel counts or more",
                got=str(list(channels)),
                fix="nn.CNN(1, 16, classes=10)",
            )
        layers: list[Layer] = []
        for a, b in pairwise(channels):
            layers.append(Conv2d(a, b, kernel, stride=2, padding=kernel // 2, bias=not batch_norm))
            layers += [BatchNorm(b)] if batch_norm else []
            layers.append(activation or ReLU())
        object.__setattr__(self, "layers", (*layers, GlobalAvgPool(), Linear(channels[-1], classes)))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def _join(parts: Sequence[Layer], activation: Layer | None) -> tuple[Layer, ...]:
    """The parts with the activation between them."""
    between = activation or ReLU()
    return tuple(layer for part in parts for layer in (part, between))[:-1]
