"""Layers that move values without changing them."""

from __future__ import annotations

from dataclasses import dataclass

from torchlean.ir import Tensor
from torchlean.nn.layer import Layer


@dataclass(frozen=True)
class Flatten(Layer):
    """[batch, *s] -> [batch, prod(s)], row-major."""

    def forward(self, x: Tensor) -> Tensor:
        return x.builder.flatten(x)
